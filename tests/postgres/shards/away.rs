//! A shard whose servers are away, seen by transactions that begin with it.

use super::messages::login;
use super::through::{Spread, home, one_each, spread_by};
use crate::support::{LIMIT, StopMode, eventually, psql};

/// Shards of which this one is stopped, as everybody knows.
fn spread_without(shard: usize) -> Spread {
    let spread = spread_by("bigint", "query_wait_timeout = 20");
    spread.shards[shard].primary().stop(StopMode::Immediate).unwrap();
    let of_it = select(one_each()[shard]);
    eventually("it is away", LIMIT, || psql(&spread.url(), &of_it).stderr.contains("ERROR"));
    spread
}

fn select(id: i64) -> String {
    format!("SELECT name FROM users WHERE id = {id}")
}

#[test]
fn transaction_whose_shard_is_away_fails_and_its_session_goes_on() {
    let spread = spread_without(2);
    let ids = one_each();
    assert_eq!(home(ids[2]), 2);
    let (here, away) = (select(ids[1]), select(ids[2]));
    let mut client = login(&spread);
    client.talk("Q BEGIN", "C[BEGIN] ZT");
    client.talk(&format!("Q {away}"), "E[08006] ZE");
    // As Postgres says it of all that comes, until the client ends it.
    client.talk(&format!("Q {here}"), "E[25P02] ZE");
    client.talk(&format!("P - {here} / B - / E / S"), "E[25P02] ZE");
    client.talk("Q COMMIT", "C[ROLLBACK] ZI");
    client.talk(&format!("Q {here}"), "T C[SELECT 0] ZI");
    // By the extended protocol, and all at once.
    client.talk(&format!("Q BEGIN / P - {away} / B - / E / S"), "C[BEGIN] ZT E[08006] ZE");
    client.talk("Q ROLLBACK", "C[ROLLBACK] ZI");
    client.talk(
        &format!("Q BEGIN / Q {away} / Q {here} / Q COMMIT / Q {here}"),
        "C[BEGIN] ZT E[08006] ZE E[25P02] ZE C[ROLLBACK] ZI T C[SELECT 0] ZI",
    );
    client.talk(&format!("Q BEGIN / P - {away} / B - / E / H"), "C[BEGIN] ZT E[08006]");
    client.talk("P - SELECT 1 / B - / E / S / Q ROLLBACK", "ZE C[ROLLBACK] ZI");
    client.talk("Q BEGIN / P c COMMIT / B c / E / S", "C[BEGIN] ZT 1 2 C[COMMIT] ZI");
    client.talk(
        &format!("Q BEGIN / Q {away} / B c / E / S"),
        "C[BEGIN] ZT E[08006] ZE 2 C[ROLLBACK] ZI",
    );
    // What it has said of itself is undone with it.
    client.talk(
        "Q BEGIN / Q SET LOCAL application_name = 'x'",
        "C[BEGIN] ZT C[SET] S[application_name=x] ZT",
    );
    client.talk(&format!("Q {away}"), "E[08006] ZE");
    client.talk(
        "P - COMMIT / D - / B - / p / E / S",
        "1 t n 2 n C[ROLLBACK] S[application_name=] ZI",
    );
    client.talk(&format!("Q {here}"), "T C[SELECT 0] ZI");
    client.talk(
        "Q BEGIN / Q INSERT INTO notes VALUES (2) / Q COMMIT",
        "C[BEGIN] ZT C[INSERT 0 1] ZT C[COMMIT] ZI",
    );
}

#[test]
fn transaction_is_ended_though_the_default_shard_is_away() {
    let spread = spread_without(0);
    let mut client = login(&spread);
    client.talk("Q BEGIN / Q SELECT n FROM notes", "C[BEGIN] ZT E[08006] ZE");
    client.talk("Q COMMIT", "C[ROLLBACK] ZI");
}
