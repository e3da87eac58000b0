//! A shard whose servers are away, seen by transactions that begin with it.

use super::messages::login;
use super::through::{Spread, home, one_each, spread_by};
use crate::support::{APP_DATABASE, APP_USER, LIMIT, PASSWORD, StopMode, eventually, psql};
use crate::wire::Client;

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

/// Shards of which the default one has been away for longer than its catalog is in force.
fn spread_long_without_the_default_one() -> Spread {
    let spread = spread_without(0);
    let of_it = format!("{APP_DATABASE}|unknown|");
    eventually("its catalog is too old", LIMIT, || {
        spread.console("SHOW CATALOGS").lines().any(|row| row.starts_with(&of_it))
    });
    spread
}

#[test]
fn other_shards_go_on_however_long_the_default_one_is_away() {
    let spread = spread_long_without_the_default_one();
    let [a, b, c, d] = one_each();
    let (here, there) = (select(b), select(c));
    let found = "T C[SELECT 0] ZI";
    let mut client = login(&spread);
    client.talk(&format!("Q {here} / Q {there}"), &format!("{found} {found}"));
    client.talk(&format!("Q INSERT INTO users (id, name) VALUES ({d}, 'd')"), "C[INSERT 0 1] ZI");
    client.talk(
        &format!("Q SELECT id FROM users WHERE id IN ({b}, {c}, {d})"),
        &format!("T D[{d}] C[SELECT 1] ZI"),
    );
    client.talk(&format!("P - {here} / B - / E / S"), "1 2 C[SELECT 0] ZI");
    client.talk(&format!("P p {there} / D p / S / B p / E / S"), "1 t T ZI 2 C[SELECT 0] ZI");
    client.talk("B p / E / S", "2 C[SELECT 0] ZI");
    // What is the same on all.
    client.talk("Q SELECT 1", "T D[1] C[SELECT 1] ZI");
    client.talk("Q SELECT name FROM countries WHERE code = 'fr'", "T D[France] C[SELECT 1] ZI");
    client.talk("Q SET work_mem = '5MB' / Q SHOW work_mem", "C[SET] ZI T D[5MB] C[SHOW] ZI");
    client.talk("P - BEGIN / B - / E / S", "1 2 C[BEGIN] ZT");
    client.talk("Q SELECT 1 / Q COMMIT", "T D[1] C[SELECT 1] ZT C[COMMIT] ZI");
    // Transactions.
    let held = "C[BEGIN] ZT T C[SELECT 0] ZT C[COMMIT] ZI";
    client.talk(&format!("Q BEGIN / Q {here} / Q COMMIT"), held);
    client.talk("Q BEGIN", "C[BEGIN] ZT");
    client.talk(&format!("P - {there} / B - / E / S"), "1 2 C[SELECT 0] ZT");
    client.talk("Q COMMIT", "C[COMMIT] ZI");
    client
        .talk("Q BEGIN / B p / E / S / Q ROLLBACK", "C[BEGIN] ZT 2 C[SELECT 0] ZT C[ROLLBACK] ZI");
    // What is for the shard itself, and for all of them.
    for away in [&*select(a), "SELECT n FROM notes", "SELECT count(*) FROM users"] {
        client.talk(&format!("Q {away}"), "E[08006] ZI");
        client.talk(&format!("P - {away} / B - / E / S"), "E[08006] ZI");
    }
    for away in [&*select(a), "SELECT n FROM notes"] {
        client.talk(
            &format!("Q BEGIN / Q {away} / Q ROLLBACK"),
            "C[BEGIN] ZT E[08006] ZE C[ROLLBACK] ZI",
        );
    }
    // What is refused anywhere is refused here.
    for refused in ["SELECT count(*) FROM users", "SELECT random() FROM users", "DELETE FROM users"]
    {
        client.talk("Q BEGIN", "C[BEGIN] ZT");
        client.talk(&format!("Q {refused} / Q {here}"), "E[0A000] ZE E[25P02] ZE");
        client.talk("Q ROLLBACK", "C[ROLLBACK] ZI");
        client.talk("Q BEGIN", "C[BEGIN] ZT");
        client.talk(&format!("P - {refused} / B - / E / S"), "E[0A000] ZE");
        client.talk("Q COMMIT", "C[ROLLBACK] ZI");
    }
    client.talk(&format!("Q {here}"), found);
    // Who comes now, with settings that nobody has had before.
    let parameters =
        [("user", APP_USER), ("database", APP_DATABASE), ("options", "-c work_mem=12345kB")];
    let mut client = Client::login_with(spread.pooler.port(), &parameters, PASSWORD);
    client.talk(&format!("Q {here}"), found);
    client.talk(&format!("Q BEGIN / Q {there} / Q COMMIT"), held);
}
