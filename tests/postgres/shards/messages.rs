//! What sessions over shards are sent, message by message.

use super::changes::reload;
use super::through::{Spread, configuration, knows_catalogs, one_each, spread, spread_by};
use crate::support::{APP_DATABASE, APP_USER, PASSWORD, Pooler};
use crate::wire::Client;

pub fn login(spread: &Spread) -> Client {
    let parameters = [("user", APP_USER), ("database", APP_DATABASE)];
    Client::login_with(spread.pooler.port(), &parameters, PASSWORD)
}

#[test]
fn user_who_may_only_read_begins_no_transaction_that_writes() {
    let spread = spread();
    let user = format!("[users.{APP_USER}]\n");
    let reads = format!("{user}read_only = true\n");
    reload(&spread, &configuration(&spread.shards, "").replacen(&user, &reads, 1));
    let insert = format!("INSERT INTO users (id) VALUES ({})", one_each()[1]);
    for begin in ["BEGIN READ WRITE", "START TRANSACTION READ WRITE", "BEGIN READ ONLY, READ WRITE"]
    {
        let mut client = login(&spread);
        client.say(&format!("Q {begin} / Q {insert} / Q COMMIT / X"));
        assert_eq!(client.rest(), "FATAL[25006]", "{begin}");
        let mut client = login(&spread);
        client.say(&format!("Q SELECT n FROM notes / Q {begin} / Q {insert} / Q COMMIT / X"));
        let heard = client.rest();
        assert!(heard.ends_with("T D[1] C[SELECT 1] ZI FATAL[25006]"), "{begin}: {heard}");
    }
    let mut client = login(&spread);
    client.talk("Q BEGIN", "C[BEGIN] ZT");
    client.say(&format!("Q {insert}"));
    let heard = client.hears_up_to("ZE");
    assert!(heard.ends_with("E[25006] ZE"), "{heard}");
    client.talk("Q ROLLBACK", "C[ROLLBACK] ZI");
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["0", "0", "0", "0"]);
}

#[test]
fn copy_goes_on_whatever_comes_behind_it() {
    let spread = spread();
    let [a, b, ..] = one_each();
    // Its data may come before its server has answered.
    let mut client = login(&spread);
    client.talk("Q COPY notes FROM STDIN / d 2\ttwo / c", "G C[COPY 1] ZI");
    client.talk("Q SELECT 1 / Q COPY notes FROM STDIN / d 3\tthree / c", "T D[1] C[SELECT 1] ZI");
    client.hears("G C[COPY 1] ZI");
    client.talk("Q COPY notes FROM STDIN / f enough", "G E[57014] ZI");
    let copy = "COPY users (id, name) FROM STDIN";
    client.talk(
        &format!("Q /* pgweir: shard=b */ {copy} / d {b}\tb / c / Q SELECT n FROM notes LIMIT 1"),
        "G C[COPY 1] ZI T D[1] C[SELECT 1] ZI",
    );
    // That of one which is refused is nobody's.
    client.talk(
        &format!("Q COPY users (name) FROM STDIN / d {a} / c / Q SELECT 1"),
        "E[0A000] ZI T D[1] C[SELECT 1] ZI",
    );
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["0", "1", "0", "0"]);
    // Nothing else may come there.
    for behind in [
        "Q BEGIN".to_owned(),
        "Q SELECT * FROM users".to_owned(),
        format!("Q SELECT name FROM users WHERE id = {b}"),
        "P - SELECT * FROM users / B - / E / S".to_owned(),
    ] {
        let mut client = login(&spread);
        client.talk("Q COPY notes FROM STDIN", "G");
        client.say(&behind);
        assert_eq!(client.rest(), "FATAL[08P01]", "{behind}");
        let mut client = login(&spread);
        client.say(&format!("Q COPY notes FROM STDIN / {behind}"));
        assert_eq!(client.rest(), "G FATAL[08P01]", "{behind}");
    }
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["0", "1", "0", "0"]);
}

#[test]
fn request_that_begins_with_a_portal_is_refused_as_any_other() {
    let spread = spread_by("bigint", "request_buffer_size = \"8 KiB\"");
    let [a, b, ..] = one_each();
    let long = "x".repeat(20_000);
    for (behind, heard) in [
        ("P - SELECT * FROM users / B - / E / S".to_owned(), "T E[0A000] ZE"),
        (format!("P - SELECT name FROM users WHERE id = {b} / B - / E / S"), "T E[0A000] ZE"),
        // It is not known yet how it goes on.
        (format!("B - {long}"), "T E[0A000]"),
    ] {
        let mut client = login(&spread);
        client.talk("Q BEGIN", "C[BEGIN] ZT");
        client.talk(&format!("Q SELECT 1 FROM users WHERE id = {a}"), "T C[SELECT 0] ZT");
        client.talk("P - SELECT 1 / B - / H", "1 2");
        client.talk(&format!("p / {behind}"), heard);
        if !heard.ends_with('E') {
            client.talk("E / S", "ZE");
        }
        client.talk("Q ROLLBACK / Q SELECT 1", "C[ROLLBACK] ZI T D[1] C[SELECT 1] ZI");
    }
}

#[test]
fn reads_over_shards_in_a_transaction_count_one_by_one() {
    let spread = spread();
    let table = format!("[databases.{APP_DATABASE}]\n");
    let allowed = format!("{table}allow_fan_out_in_transactions = true\n");
    let with = configuration(&spread.shards, "query_rate_per_application_name = \"3/1h\"");
    let pooler = Pooler::start(&with.replacen(&table, &allowed, 1));
    knows_catalogs(&pooler);
    let parameters =
        [("user", APP_USER), ("database", APP_DATABASE), ("application_name", "often")];
    let mut client = Client::login_with(pooler.port(), &parameters, PASSWORD);
    let read = "SELECT count(*) FROM users";
    client.talk(&format!("Q BEGIN / Q {read}"), "C[BEGIN] ZT T D[0] C[SELECT 1] ZT");
    client.talk(&format!("P - {read} / B - / E / S"), "1 2 D[0] C[SELECT 1] ZT");
    client.talk(&format!("P - {read} / B - / E / S / Q {read}"), "E[53400] ZE E[25P02] ZE");
    client.talk("Q ROLLBACK", "C[ROLLBACK] ZI");
}

#[test]
fn statements_over_shards_take_the_room_that_there_is_for_statements() {
    let spread = spread_by("bigint", "client_statements_size = \"64 KiB\"");
    let mut client = login(&spread);
    let read = format!("SELECT count(*) FROM users /* {} */", "x".repeat(20_000));
    let run = |name: &str| format!("P {name} {read} / B {name} / E / S");
    for name in ["one", "two", "three"] {
        client.talk(&run(name), "1 2 D[0] C[SELECT 1] ZI");
    }
    client.talk(&run("four"), "E[53400] ZI");
    client.talk("B four / E / S", "E[26000] ZI");
    // Nor may it have a name that is taken.
    client.talk(&run("three"), "E[42P05] ZI");
    client.talk(&format!("C three / {}", run("three")), "3 1 2 D[0] C[SELECT 1] ZI");
    client.talk(&format!("C two / {}", run("four")), "3 1 2 D[0] C[SELECT 1] ZI");
    client.talk(&format!("C four / {}", run("four")), "3 1 2 D[0] C[SELECT 1] ZI");
    client.talk("B four / E / S", "2 D[0] C[SELECT 1] ZI");
}
