//! Clients that leave more in their session, or prepare more, than anybody needs: neither the pooler nor
//! others pay for it.

use std::fmt::Write;
use std::time::Duration;

use crate::setup::{memory_most_kib, pooler};
use crate::support::eventually;
use crate::wire::Client;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn client_that_prepares_without_end_is_refused_more() {
    let pooler = pooler("default_pool_size = 1; client_statements_size = \"64 KiB\"");
    let mut client = Client::login(pooler.port());
    let text = |number: usize| format!("select '{}', {number}", "x".repeat(9_000));
    for number in 0..6 {
        client.talk(&format!("P n{number} {} / S", text(number)), "1 ZI");
    }
    for number in 6..12 {
        client.talk(
            &format!("P n{number} {} / S", text(number)),
            if number == 6 { "1 ZI" } else { "E[53400] ZI" },
        );
    }
    client.talk(&format!("Q prepare more as {}", text(12)), "E[53400] ZI");
    client.talk(&format!("Q begin; prepare more as {}; commit", text(12)), "E[53400] ZI");
    // What is there goes on, and makes room.
    client.talk("D n0 / C n1 / C n2 / S", "t T 3 3 ZI");
    client.talk(&format!("P n7 {} / S", text(7)), "1 ZI");
    client.talk("Q deallocate all", "C[DEALLOCATE ALL] ZI");
    client.talk(&format!("Q prepare more as {}", text(12)), "C[PREPARE] ZI");
    // So does another client.
    Client::login(pooler.port()).talk(&format!("P n0 {} / S", text(0)), "1 ZI");
}

#[test]
fn long_text_that_prepares_very_many_statements_is_not_kept_once_for_each() {
    let mut pooler = pooler("default_pool_size = 2");
    let mut client = Client::login(pooler.port());
    client.talk("Q prepare one as select 1", "C[PREPARE] ZI");
    let before = memory_most_kib(pooler.pid());
    let (mut text, mut answer) = (String::new(), String::new());
    for number in 0..1_500 {
        write!(text, "prepare a{number} as select {number};").unwrap();
        answer.push_str("C[PREPARE] ");
    }
    text.push_str(&" ".repeat(60_000 - text.len()));
    client.talk(&format!("Q {text}"), &format!("{answer}ZI"));
    // They are where they are.
    client.talk("Q execute a1499", "T D[1499] C[SELECT 1] ZI");
    let took = memory_most_kib(pooler.pid()).saturating_sub(before);
    assert!(took < 40 * 1024, "{took} KiB");
    eventually("the client keeps its server", LIMIT, || {
        pooler.log().contains("client keeps its server")
    });
    Client::login(pooler.port()).talk("Q execute a1499", "E[26000] ZI");
    assert!(pooler.is_running());
}

#[test]
fn settings_by_the_hundred_travel_and_reach_nobody_else() {
    let pooler = pooler("default_pool_size = 1");
    let (mut client, mut other) = (Client::login(pooler.port()), Client::login(pooler.port()));
    for count in [40, 700] {
        let set: String = (0..count).map(|number| format!("set a.c{number} = 'x';")).collect();
        client.talk(&format!("Q {set}"), &format!("{}ZI", "C[SET] ".repeat(count)));
        let last = format!("Q select coalesce(current_setting('a.c{}', true), '')", count - 1);
        other.talk(&last, "T D[] C[SELECT 1] ZI");
        if count < 500 {
            client.talk(&last, "T D[x] C[SELECT 1] ZI");
        }
    }
}

#[test]
fn settings_without_end_stay_where_they_are() {
    let pooler = pooler("default_pool_size = 2");
    let mut client = Client::login(pooler.port());
    for number in 0..40 {
        let set = format!("set a.b{number} = '{}'", "x".repeat(4_096));
        client.talk(&format!("Q {set}"), "C[SET] ZI");
    }
    eventually("the client keeps its server", LIMIT, || {
        pooler.log().contains("settings above 128 KiB")
    });
    let length =
        |number| format!("Q select coalesce(length(current_setting('a.b{number}', true)), 0)");
    client.talk(&length(0), "T D[4096] C[SELECT 1] ZI");
    client.talk(&length(39), "T D[4096] C[SELECT 1] ZI");
    let mut other = Client::login(pooler.port());
    other.talk(&length(39), "T D[0] C[SELECT 1] ZI");
    // Who resets them is as anybody else.
    client.talk("Q discard all", "C[DISCARD ALL] ZI");
    drop(client);
    other.talk(&length(39), "T D[0] C[SELECT 1] ZI");
}

#[test]
fn pipeline_of_any_length_is_prepared() {
    let pooler = pooler("default_pool_size = 1; max_prepared_statements = 5000");
    let mut client = Client::login(pooler.port());
    let (mut asked, mut answer) = (String::new(), String::new());
    for number in 0..1_700 {
        write!(asked, "P n{number} select {number} / ").unwrap();
        answer.push_str("1 ");
    }
    client.talk(
        &format!("{asked}B n1600 / E / S / B n3 / E / S"),
        &format!("{answer}2 D[1600] C[SELECT 1] ZI 2 D[3] C[SELECT 1] ZI"),
    );
    let (mut asked, mut answer) = (String::new(), String::new());
    for number in 0..1_700 {
        write!(asked, "P - select {number} / B - / E / ").unwrap();
        write!(answer, "1 2 D[{number}] C[SELECT 1] ").unwrap();
    }
    client.talk(&format!("{asked}S"), &format!("{answer}ZI"));
    client.talk("P n1700 select 1 / P n3 select 1 / S", "1 E[42P05] ZI");
    client.talk("B n1700 / E / S", "2 D[1] C[SELECT 1] ZI");
}
