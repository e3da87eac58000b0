//! Tables are altered while statements are prepared that select all of their columns.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::runner::{Bench, bench};
use crate::support::SUPERUSER;
use crate::wire::Client;

/// The pool has three servers, and takes another one each time: each of them has a turn.
const TURNS: usize = 12;

fn sql(sql: &str) {
    bench().cluster().primary().sql("shop", sql).unwrap();
}

/// A table of one column, and a client that has prepared a statement over it on each server.
fn altering(table: &str) -> Client {
    sql(&format!("create table public.{table} as select 1 as a; alter table {table} owner to app"));
    let mut client = bench().pooled(&[]);
    client.talk(&format!("P s select * from {table} / D s / S"), "1 t T ZI");
    for _ in 0..TURNS {
        client.talk("B s / p / E / S", "2 T D[1] C[SELECT 1] ZI");
    }
    client
}

#[test]
fn request_that_is_told_the_columns_does_not_notice_that_they_have_changed() {
    let mut client = altering("described");
    // Seen by the pooler, and not.
    let mut other = bench().pooled(&[]);
    other.talk("Q alter table described add column b int default 2", "C[ALTER TABLE] ZI");
    for _ in 0..TURNS {
        client.talk("B s / p / E / S", "2 T D[1|2] C[SELECT 1] ZI");
    }
    sql("alter table described add column c int default 3");
    for _ in 0..TURNS {
        client.talk("B s / D s / E / S", "2 t T D[1|2|3] C[SELECT 1] ZI");
    }
    sql("alter table described drop column b");
    for _ in 0..TURNS {
        client.talk("B s / p / E / S", "2 T D[1|3] C[SELECT 1] ZI");
        client.talk("D s / S", "t T ZI");
    }
}

#[test]
fn error_within_a_transaction_is_told_and_does_not_come_again() {
    let mut client = altering("within");
    sql("alter table within add column b int default 2");
    client.talk("Q begin", "C[BEGIN] ZT");
    client.talk("B s / p / E / S", "E[0A000] ZE");
    client.talk("Q rollback", "C[ROLLBACK] ZI");
    for _ in 0..TURNS {
        client.talk("Q begin", "C[BEGIN] ZT");
        client.talk("B s / p / E / S", "2 T D[1|2] C[SELECT 1] ZT");
        client.talk("Q commit", "C[COMMIT] ZI");
    }
}

#[test]
fn error_is_told_to_a_client_that_knows_other_columns_until_it_prepares_anew() {
    let mut client = altering("known");
    sql("alter table known add column b int default 2");
    client.talk("B s / E / S", "E[0A000] ZI");
    client.talk("P again select * from known / D again / S", "1 t T ZI");
    for _ in 0..TURNS {
        client.talk("B again / E / S", "2 D[1|2] C[SELECT 1] ZI");
    }
}

#[test]
fn client_that_is_not_told_the_columns_is_given_no_others() {
    for seen in [true, false] {
        let table = if seen { "seen" } else { "unseen" };
        sql(&format!("create table {table} as select 1 as a; alter table {table} owner to app"));
        let mut client = bench().pooled(&[]);
        // On one server; the others lack it when the table changes.
        client.talk(&format!("P s select * from {table} / D s / S"), "1 t T ZI");
        let change = format!("alter table {table} add column b int default 2");
        match seen {
            true => bench().pooled(&[]).talk(&format!("Q {change}"), "C[ALTER TABLE] ZI"),
            false => sql(&change),
        }
        for _ in 0..TURNS {
            client.talk("B s / E / S", "E[0A000] ZI");
        }
        client.talk("Q begin", "C[BEGIN] ZT");
        client.talk("B s / E / S", "E[0A000] ZE");
        client.talk("B s / E / S", "E[25P02] ZE");
        client.talk("Q rollback", "C[ROLLBACK] ZI");
        client.talk(&format!("C s / P s select * from {table} / D s / S"), "3 1 t T ZI");
        for _ in 0..TURNS {
            client.talk("B s / E / S", "2 D[1|2] C[SELECT 1] ZI");
        }
    }
}

/// How many columns a client is told, and then is given again and again, until it hears an error.
fn run_untold(bench: &Bench, ready: &Barrier, stop: &AtomicBool) -> usize {
    let mut client = bench.pooled(&[]);
    ready.wait();
    let mut runs = 0;
    while !stop.load(Ordering::Relaxed) {
        client.say("C s / P s select * from wide / D s / S");
        let (mut told, mut fits) = (0, true);
        loop {
            let message = client.hear();
            match message.tag {
                b'T' => told = message.body[1],
                b'Z' => break,
                // It may be altered between the two messages, as with Postgres.
                b'E' => {
                    assert!(message.text().contains("0A000"), "{}", message.text());
                    fits = false;
                }
                _ => {}
            }
        }
        while fits && !stop.load(Ordering::Relaxed) {
            client.say("B s / E / S");
            loop {
                let message = client.hear();
                match message.tag {
                    b'D' => assert_eq!(message.body[1], told, "columns"),
                    b'Z' => break,
                    b'E' => {
                        assert!(message.text().contains("0A000"), "{}", message.text());
                        fits = false;
                    }
                    _ => runs += 1,
                }
            }
        }
    }
    runs
}

#[test]
fn rows_have_the_columns_that_were_told_while_a_table_is_altered_again_and_again() {
    sql("create table public.wide as select 1 as a; alter table wide owner to app");
    let (ready, stop) = (Barrier::new(21), AtomicBool::new(false));
    let runs: usize = thread::scope(|scope| {
        let (ready, stop) = (&ready, &stop);
        let client = |_| scope.spawn(move || run_untold(bench(), ready, stop));
        let clients: Vec<_> = (0..20).map(client).collect();
        ready.wait();
        let mut pooled = bench().pooled(&[]);
        let port = bench().cluster().primary().port();
        let mut direct = Client::login_as(port, &[("user", SUPERUSER), ("database", "shop")]);
        for turn in 0..40 {
            for change in ["add column b int default 2", "drop column b"] {
                let alterer = if turn % 2 == 0 { &mut pooled } else { &mut direct };
                alterer.say(&format!("Q alter table wide {change}"));
                let heard = alterer.hears_up_to("ZI");
                stop.fetch_or(!heard.starts_with("C["), Ordering::Relaxed);
                assert!(heard.starts_with("C[ALTER TABLE]"), "{heard}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(runs > 50, "{runs}");
}

#[test]
fn error_in_a_pipeline_is_told_and_what_follows_is_answered() {
    let mut client = altering("piped");
    sql("alter table piped add column b int default 2");
    client.say("B s / p / E / S / B s / p / E / S / P / B / E / S");
    let heard = client.hears_up_to("ZI") + &client.hears_up_to("ZI") + &client.hears_up_to("ZI");
    assert!(heard.starts_with("E[0A000] ZI"), "{heard}");
}

#[test]
fn statement_that_is_wrong_now_is_run_once_more_and_its_error_told() {
    let mut client = altering("gone");
    sql("drop table gone");
    for _ in 0..TURNS {
        client.talk("B s / p / E / S", "E[42P01] ZI");
    }
    sql("create table public.gone as select 7 as a; grant all on gone to app");
    for _ in 0..TURNS {
        client.talk("B s / p / E / S", "2 T D[7] C[SELECT 1] ZI");
    }
}

/// Runs its statement until it is told to stop.
fn run(bench: &Bench, number: usize, ready: &Barrier, stop: &AtomicBool) -> usize {
    let mut client = bench.pooled(&[("application_name", &format!("client {}", number % 5))]);
    client.talk("P s select * from busy where a = $1 / D s / S", "1 t T ZI");
    ready.wait();
    let mut runs = 0;
    while !stop.load(Ordering::Relaxed) {
        client.say("B s 1 / p / E / S");
        let heard = client.hears_up_to("ZI");
        assert!(heard.starts_with("2 T D[1"), "client {number}, run {runs}: {heard}");
        runs += 1;
    }
    runs
}

#[test]
fn fifty_clients_see_no_error_while_a_table_is_altered_again_and_again() {
    const CHANGES: [&str; 4] = [
        "alter table busy add column b int default 2",
        "alter table busy alter column b type text",
        "alter table busy drop column b",
        "alter table busy alter column a type bigint; alter table busy alter column a type int",
    ];
    sql("create table public.busy as select 1 as a; alter table busy owner to app");
    let (ready, stop) = (Barrier::new(51), AtomicBool::new(false));
    let runs: usize = thread::scope(|scope| {
        let (ready, stop) = (&ready, &stop);
        let client = |number| scope.spawn(move || run(bench(), number, ready, stop));
        let clients: Vec<_> = (0..50).map(client).collect();
        ready.wait();
        let mut pooled = bench().pooled(&[]);
        let port = bench().cluster().primary().port();
        let mut direct = Client::login_as(port, &[("user", SUPERUSER), ("database", "shop")]);
        for turn in 0..10 {
            for change in CHANGES {
                // Half of them are not seen by the pooler.
                let alterer = if turn % 2 == 0 { &mut pooled } else { &mut direct };
                alterer.say(&format!("Q {change}"));
                let heard = alterer.hears_up_to("ZI");
                let done = heard.starts_with("C[ALTER TABLE]");
                stop.fetch_or(!done, Ordering::Relaxed);
                assert!(done, "{heard}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(runs > 50, "{runs}");
}
