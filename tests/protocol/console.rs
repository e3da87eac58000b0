//! The console at the wire: what drivers send besides commands.

use crate::setup::pooler;
use crate::support::Pooler;
use crate::wire::{Client, USER};

fn console(pooler: &Pooler) -> Client {
    Client::login_as(pooler.port(), &[USER[0], ("database", "pgbouncer")])
}

#[test]
fn transactions_are_open_from_their_begin_to_their_end() {
    let pooler = pooler("stats_users = \"app\"");
    let mut client = console(&pooler);
    let state = "T D[active|yes] D[paused|no] D[suspended|no] C[SHOW]";
    client.talk("Q show state", &format!("{state} ZI"));
    for (begin, tag) in [("begin", "BEGIN"), ("start transaction read only", "BEGIN")] {
        client.talk(&format!("Q {begin}"), &format!("C[{tag}] ZT"));
        client.talk("Q show state", &format!("{state} ZT"));
        client.talk("Q savepoint a", "C[SAVEPOINT] ZT");
        client.talk("Q show nothing", "E[08P01] ZT");
        client.talk("Q rollback to savepoint a", "C[ROLLBACK] ZT");
        client.talk("P - show state / B - / E / S", &format!("1 2 {} ZT", &state[2..]));
        client.talk("P - commit / B - / E / S", "1 2 C[COMMIT] ZI");
    }
    client.talk("Q begin; show state; rollback", &format!("C[BEGIN] {state} C[ROLLBACK] ZI"));
}

#[test]
fn drivers_give_their_sessions_back() {
    let pooler = pooler("stats_users = \"app\"");
    let mut client = console(&pooler);
    client.talk("P a show version / P b show version / S", "1 1 ZI");
    client.talk("P a show version / S", "E[42P05] ZI");
    client.talk("Q deallocate a", "C[DEALLOCATE] ZI");
    client.talk("P a show version / S", "1 ZI");
    for (reset, heard) in [
        ("discard all", "C[DISCARD ALL] ZI"),
        (
            "select pg_advisory_unlock_all();\nclose all;\nunlisten *;\nreset all;",
            "T C[SELECT 0] C[CLOSE CURSOR ALL] C[UNLISTEN] C[RESET] ZI",
        ),
        ("deallocate all", "C[DEALLOCATE ALL] ZI"),
        ("reset extra_float_digits", "C[RESET] ZI"),
        ("set session characteristics as transaction read only", "C[SET] ZI"),
    ] {
        client.talk(&format!("Q {reset}"), heard);
    }
    client.talk("B b / E / S", "E[26000] ZI");
    assert_eq!(client.value("show transaction isolation level"), "read committed");
    assert_eq!(client.value("SHOW transaction_isolation"), "read committed");
}

#[test]
fn catalogues_are_empty_and_functions_are_unknown() {
    let pooler = pooler("stats_users = \"app\"");
    let mut client = console(&pooler);
    for text in [
        "select t.oid, null from pg_type t join pg_namespace ns on typnamespace = ns.oid",
        "with x as (select 1) select * from information_schema.tables",
        "select pg_catalog.quote_ident(c.relname) from pg_catalog.pg_class c limit 10",
    ] {
        client.talk(&format!("Q {text}"), "T C[SELECT 0] ZI");
    }
    for text in ["select pg_terminate_backend(1)", "select pg_catalog.version()", "select 1"] {
        client.talk(&format!("Q {text}"), "E[08P01] ZI");
    }
}
