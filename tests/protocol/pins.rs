//! Clients that would keep their server for what only it has: they may, may not, or lose it, as
//! the configuration says; and so many, for so long.

use std::time::Duration;

use crate::setup::{pooler, shared};
use crate::support::{APP_DATABASE, eventually};
use crate::wire::Client;

const REJECTED: &str = "E[0A000]";
const LIMIT: Duration = Duration::from_secs(10);

/// What each kind looks like: what leaves it, and what is answered where that is allowed.
const KINDS: [(&str, &str, &str); 6] = [
    ("pin_temporary", "create temp table mine (n int)", "C[CREATE TABLE] ZI"),
    ("pin_cursor", "declare c cursor with hold for select 1", "C[DECLARE CURSOR] ZI"),
    ("pin_lock", "select pg_advisory_lock(4711)", "T D[] C[SELECT 1] ZI"),
    ("pin_prepared", "prepare mine as select E'\\t'", "C[PREPARE] ZI"),
    ("pin_library", "load 'plpgsql'", "C[LOAD] ZI"),
    ("pin_seed", "select setseed(0.5)", "T D[] C[SELECT 1] ZI"),
];

fn pools(settings: &str) -> String {
    format!("default_pool_size = 2; {settings}")
}

#[test]
fn what_is_rejected_fails_as_if_the_server_had_refused_it() {
    for (key, sql, answer) in KINDS {
        let pooler = pooler(&pools(&format!("{key} = \"reject\"")));
        let mut client = Client::login(pooler.port());
        client.talk(&format!("Q {sql}"), &format!("{REJECTED} ZI"));
        client.talk(&format!("P - {sql} / B - / E / S"), &format!("{REJECTED} ZI"));
        client.talk(&format!("P named {sql} / S"), &format!("{REJECTED} ZI"));
        client.talk("P named select 1 / B named / E / S", "1 2 D[1] C[SELECT 1] ZI");
        // Its transaction fails with it, and is told apart from one that has failed before.
        client.talk("Q begin", "C[BEGIN] ZT");
        client.talk(&format!("Q {sql}"), &format!("{REJECTED} ZE"));
        client.talk(&format!("Q {sql}"), "E[25P02] ZE");
        client.talk("Q rollback", "C[ROLLBACK] ZI");
        // In a pipeline each answer is in its place.
        client.talk(
            &format!("Q select 1 / P - {sql} / B - / E / S / Q select 2"),
            &format!("T D[1] C[SELECT 1] ZI {REJECTED} ZI T D[2] C[SELECT 1] ZI"),
        );
        client.talk(
            &format!("P - selec / P - {sql} / S / Q select 2"),
            "E[42601] ZI T D[2] C[SELECT 1] ZI",
        );
        // Another kind is none of its business.
        let (_, other, other_answer) = KINDS[usize::from(sql == KINDS[0].1)];
        client.talk(&format!("Q {other}"), other_answer);
        assert_ne!(other, sql, "{answer}");
    }
}

#[test]
fn what_code_has_left_ends_its_client_where_it_is_rejected() {
    let pooler = pooler(&pools("pin_lock = \"reject\""));
    let mut client = Client::login(pooler.port());
    client.talk("Q do $$ begin perform pg_advisory_xact_lock(4712); end $$", "C[DO] ZI");
    client.talk("Q do $$ begin perform pg_advisory_lock(4712); end $$", "C[DO] ZI");
    assert_eq!(client.rest(), "FATAL[0A000]");
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4712";
    eventually("the lock is gone", LIMIT, || {
        shared().sql(APP_DATABASE, held).unwrap().trim() == "0"
    });
}

#[test]
fn what_is_allowed_goes_with_its_transaction() {
    // Only a superuser may load what is not known as harmless.
    for (key, sql, answer) in KINDS.into_iter().filter(|(key, ..)| *key != "pin_library") {
        let pooler = pooler(&format!("default_pool_size = 1; {key} = \"allow\""));
        let mut client = Client::login(pooler.port());
        client.talk(&format!("Q {sql}"), answer);
        // With one server the other client gets it, and finds nothing.
        let mut other = Client::login(pooler.port());
        other.talk(&format!("Q {sql}"), answer);
        let objects = "select count(*) from pg_class where relnamespace = pg_my_temp_schema() \
                       union all select count(*) from pg_cursors where is_holdable \
                       union all select count(*) from pg_locks where pid = pg_backend_pid() \
                       and locktype = 'advisory' \
                       union all select count(*) from pg_prepared_statements";
        client.talk(&format!("Q {objects}"), "T D[0] D[0] D[0] D[0] C[SELECT 4] ZI");
    }
}

#[test]
fn as_many_clients_keep_servers_as_may() {
    let pooler = pooler(&pools("max_pinned_clients = 1"));
    let mut first = Client::login(pooler.port());
    first.talk("Q create temp table mine (n int)", "C[CREATE TABLE] ZI");
    // Behind the question what it has left.
    first.talk("Q table mine", "T C[SELECT 0] ZI");
    let mut second = Client::login(pooler.port());
    second.talk("Q create temp table mine (n int)", "C[CREATE TABLE] ZI");
    assert_eq!(second.rest(), "FATAL[53400]");
    // More of the same is no more of a server.
    first.talk("Q select pg_advisory_lock(4713)", "T D[] C[SELECT 1] ZI");
    first.talk("Q select pg_advisory_unlock(4713)", "T D[t] C[SELECT 1] ZI");
    first.talk("Q drop table mine", "C[DROP TABLE] ZI");
    first.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    let mut third = Client::login(pooler.port());
    third.talk("Q create temp table mine (n int)", "C[CREATE TABLE] ZI");
    third.talk("Q table mine", "T C[SELECT 0] ZI");
    // Who leaves gives its place back.
    drop(third);
    eventually("the place is free", LIMIT, || {
        let mut next = Client::login(pooler.port());
        next.talk("Q create temp table mine (n int)", "C[CREATE TABLE] ZI");
        next.say("Q table mine");
        next.hear().tag == b'T'
    });
}

#[test]
fn nobody_keeps_a_server_for_longer_than_allowed() {
    let pooler = pooler(&pools("pin_timeout = \"300ms\""));
    let mut client = Client::login(pooler.port());
    client.talk("Q create temp table mine (n int)", "C[CREATE TABLE] ZI");
    client.talk("Q begin", "C[BEGIN] ZT");
    // Not in the midst of a transaction.
    client.talk("Q select pg_sleep(0.5)", "T D[] C[SELECT 1] ZT");
    client.talk("Q select count(*) from mine", "T D[0] C[SELECT 1] ZT");
    client.talk("Q commit", "C[COMMIT] ZI");
    assert_eq!(client.rest(), "FATAL[57P05]");
    // Who keeps nothing stays.
    let mut other = Client::login(pooler.port());
    other.talk("Q select pg_sleep(0.5)", "T D[] C[SELECT 1] ZI");
    other.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
}
