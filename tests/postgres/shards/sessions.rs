//! What sessions of a database over shards may do: transactions, hints, and what is refused.

use std::sync::Arc;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use super::through::{Spread, home, one_each, rows, spread};
use crate::support::{APP_DATABASE, APP_USER, PASSWORD, StopMode, psql};

/// SQLSTATE and message.
pub fn told(error: &Error) -> (SqlState, String) {
    let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    (error.code().clone(), error.message().to_owned())
}

#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(found: Result<T, Error>, what: &str) {
    let (code, message) = told(&found.expect_err(what));
    assert_eq!(code, SqlState::FEATURE_NOT_SUPPORTED, "{what}: {message}");
    assert!(message.starts_with("can't be run on shards"), "{what}: {message}");
}

pub async fn add_users(client: &Client, ids: &[i64]) {
    for id in ids {
        let text = format!("INSERT INTO users (id, name) VALUES ({id}, 'u{id}')");
        client.batch_execute(&text).await.unwrap();
    }
}

pub async fn simple(client: &Client, text: &str) -> Vec<String> {
    rows(client.simple_query(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}")))
}

#[tokio::test]
async fn transaction_is_on_the_shard_of_what_comes_first_in_it() {
    let spread = spread();
    let mut client = spread.client().await;
    let ids = one_each();
    for id in ids {
        // BEGIN comes alone.
        let transaction = client.transaction().await.unwrap();
        transaction.execute("INSERT INTO users (id, name) VALUES ($1, 'x')", &[&id]).await.unwrap();
        transaction
            .execute("INSERT INTO orders (user_id, total) VALUES ($1, 1)", &[&id])
            .await
            .unwrap();
        // What is the same everywhere, or there as well.
        assert_eq!(transaction.query("SELECT 1", &[]).await.unwrap().len(), 1);
        assert_eq!(transaction.query("SELECT * FROM countries", &[]).await.unwrap().len(), 2);
        transaction.commit().await.unwrap();
        let transaction = client.transaction().await.unwrap();
        transaction.execute("DELETE FROM users WHERE id = $1", &[&id]).await.unwrap();
        transaction.rollback().await.unwrap();
    }
    assert_eq!(spread.on_each("SELECT count(*) FROM users, orders"), ["1", "1", "1", "1"]);
    // Nothing in between: nobody is asked.
    let totals = || {
        let all = spread.console("SHOW STATS_TOTALS");
        all.lines().filter(|line| line.starts_with("shop")).collect::<Vec<_>>().join("\n")
    };
    let before = totals();
    for text in ["BEGIN", "COMMIT", "START TRANSACTION READ ONLY", "ROLLBACK", "begin;", "end;"] {
        client.batch_execute(text).await.unwrap();
    }
    assert_eq!(totals(), before);
    // As it was begun.
    client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY").await.unwrap();
    let text =
        format!("SELECT current_setting('transaction_isolation') FROM users WHERE id = {}", ids[2]);
    assert_eq!(simple(&client, &text).await, ["serializable"]);
    let text = format!("DELETE FROM users WHERE id = {}", ids[2]);
    let (code, _) = told(&client.batch_execute(&text).await.unwrap_err());
    assert_eq!(code, SqlState::READ_ONLY_SQL_TRANSACTION);
    client.batch_execute("ROLLBACK").await.unwrap();
    // One that has failed stays so until its end.
    client.batch_execute("BEGIN").await.unwrap();
    assert_refused(client.batch_execute("DELETE FROM users").await, "the first");
    let text = format!("SELECT 1 FROM users WHERE id = {}", ids[1]);
    let (code, _) = told(&client.batch_execute(&text).await.unwrap_err());
    assert_eq!(code, SqlState::IN_FAILED_SQL_TRANSACTION);
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(simple(&client, &text).await, ["1"]);
}

#[tokio::test]
async fn transaction_over_two_shards_is_refused_before_anything_is_half_done() {
    let spread = spread();
    let mut client = spread.client().await;
    let ids = one_each();
    add_users(&client, &ids).await;
    for other in [1, 2, 3] {
        let transaction = client.transaction().await.unwrap();
        let update = "UPDATE users SET name = 'changed' WHERE id = $1";
        let update = transaction.prepare(update).await.unwrap();
        assert_eq!(transaction.execute(&update, &[&ids[0]]).await.unwrap(), 1);
        assert_refused(transaction.execute(&update, &[&ids[other]]).await, "prepared");
        let (code, _) = told(&transaction.execute(&update, &[&ids[0]]).await.unwrap_err());
        assert_eq!(code, SqlState::IN_FAILED_SQL_TRANSACTION);
        // It can't be committed.
        transaction.commit().await.unwrap();
        client.batch_execute("BEGIN").await.unwrap();
        let update = |id: i64| format!("UPDATE users SET name = 'changed' WHERE id = {id}");
        client.batch_execute(&update(ids[other])).await.unwrap();
        assert_refused(client.batch_execute(&update(ids[0])).await, "simple");
        client.batch_execute("COMMIT").await.unwrap();
        assert_refused(client.batch_execute("SELECT * FROM users; SELECT 1").await, "all");
        let both = format!("{}; {}", update(ids[0]), update(ids[other]));
        assert_refused(client.batch_execute(&both).await, "both");
    }
    for found in spread.on_each("SELECT count(*) FROM users WHERE name = 'changed'") {
        assert_eq!(found, "0");
    }
    // Tables of the default shard are one shard's, too.
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute(&format!("SELECT 1 FROM users WHERE id = {}", ids[1])).await.unwrap();
    assert_refused(client.batch_execute("INSERT INTO notes VALUES (2)").await, "notes");
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute("INSERT INTO notes VALUES (2)").await.unwrap();
    client.batch_execute(&format!("SELECT 1 FROM users WHERE id = {}", ids[0])).await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(simple(&client, "SELECT count(*) FROM notes").await, ["2"]);
}

#[tokio::test]
async fn what_is_not_for_one_shard_is_refused_and_the_session_goes_on() {
    let spread = spread();
    let client = spread.client().await;
    let ids = one_each();
    add_users(&client, &ids).await;
    let (a, b) = (ids[0], ids[1]);
    for text in [
        "UPDATE users SET name = 'x'",
        "DELETE FROM orders",
        "CREATE TABLE fresh AS SELECT * FROM users WHERE id = 1",
        "INSERT INTO users VALUES (1, 'without columns')",
        "INSERT INTO users (name) VALUES ('without a key')",
        "INSERT INTO users (id) SELECT n FROM notes",
        "UPDATE users SET id = 9 WHERE id = 1",
        "SELECT * FROM users JOIN notes ON notes.n = users.id WHERE users.id = 1",
        "SELECT * FROM all_orders",
        "SELECT * FROM all_orders WHERE user_id = 1",
        "COPY users TO STDOUT",
        "DO 'BEGIN DELETE FROM users; END'",
        "PREPARE p AS SELECT * FROM users WHERE id = 1",
        "LISTEN channel",
    ] {
        assert_refused(client.simple_query(text).await, text);
        assert_eq!(simple(&client, "SELECT 1").await, ["1"]);
        if text.contains("SELECT") {
            assert_refused(client.prepare(text).await, text);
        }
    }
    for text in [
        format!("SELECT * FROM users WHERE id = {a} UNION ALL SELECT * FROM users WHERE id = {b}"),
        format!(
            "WITH gone AS (DELETE FROM users WHERE id = {a} RETURNING *) SELECT * FROM users WHERE id = {b}"
        ),
    ] {
        assert_refused(client.simple_query(&text).await, &text);
    }
    let several = client.prepare("SELECT * FROM users WHERE id = ANY($1)").await.unwrap();
    assert_eq!(client.query(&several, &[&vec![a, b]]).await.unwrap().len(), 2);
    assert_eq!(client.query(&several, &[&vec![b]]).await.unwrap().len(), 1);
    for found in spread.on_each("SELECT count(*) FROM users") {
        assert_eq!(found, "1");
    }
    // A shard is nobody's database.
    let ended =
        psql(&spread.pooler.url(APP_USER, PASSWORD, &format!("{APP_DATABASE}%2Fb")), "SELECT 1");
    assert!(ended.stderr.contains("no such database"), "{}", ended.stderr);
}

#[tokio::test]
async fn transaction_goes_to_its_shard_with_what_is_about_itself() {
    let spread = spread();
    let client = spread.client().await;
    let ids = one_each();
    for id in ids {
        client.batch_execute("BEGIN").await.unwrap();
        client.batch_execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await.unwrap();
        client.batch_execute("SET LOCAL application_name = 'it''s -- so' -- and").await.unwrap();
        client.batch_execute("SAVEPOINT one").await.unwrap();
        client.batch_execute(&format!("INSERT INTO users (id) VALUES ({id})")).await.unwrap();
        let said = "SELECT current_setting('application_name'), \
                    current_setting('transaction_isolation')";
        assert_eq!(simple(&client, said).await, ["it's -- so|serializable"]);
        client.batch_execute("ROLLBACK TO one").await.unwrap();
        client.batch_execute(&format!("INSERT INTO orders (user_id) VALUES ({id})")).await.unwrap();
        client.batch_execute("COMMIT").await.unwrap();
        assert_eq!(simple(&client, "SHOW application_name").await, [""]);
    }
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["0", "0", "0", "0"]);
    assert_eq!(spread.on_each("SELECT count(*) FROM orders"), ["1", "1", "1", "1"]);
    // A BEGIN that comes before the reply to what goes before it.
    for id in ids {
        let text = format!("INSERT INTO orders (user_id) VALUES ({})", ids[0]);
        let (first, begun) =
            tokio::join!(client.batch_execute(&text), client.batch_execute("BEGIN"));
        first.and(begun).unwrap();
        client.batch_execute(&format!("INSERT INTO users (id) VALUES ({id})")).await.unwrap();
        client.batch_execute("COMMIT").await.unwrap();
    }
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["1", "1", "1", "1"]);
    // What may have been taken back, or is more than that, stays where it is.
    for first in [
        "SAVEPOINT a; SELECT 1",
        "SELECT set_config('a.b', 'c', true)",
        "SET local.tenant = '42'",
        "SET transaction.tenant TO '42'",
        "SET LOCAL standard_conforming_strings = off",
        "SET LOCAL \"Backslash_Quote\" TO on",
    ] {
        client.batch_execute("BEGIN").await.unwrap();
        client.batch_execute(first).await.unwrap();
        let text = format!("INSERT INTO orders (user_id) VALUES ({})", ids[1]);
        assert_refused(client.batch_execute(&text).await, first);
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    client.batch_execute("BEGIN; SAVEPOINT a").await.unwrap();
    let text = format!("INSERT INTO orders (user_id) VALUES ({})", ids[1]);
    assert_refused(client.batch_execute(&text).await, "begun otherwise");
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn keys_in_other_encodings_are_refused_unless_they_are_plain() {
    let spread = super::through::spread_by("text", "");
    let client = spread.client().await;
    client.batch_execute("INSERT INTO users (id, name) VALUES ('é', 'x')").await.unwrap();
    let by_key = client.prepare("SELECT name FROM users WHERE id = $1").await.unwrap();
    assert_eq!(client.query(&by_key, &[&"é"]).await.unwrap().len(), 1);
    client.batch_execute("SET client_encoding = 'LATIN1'").await.unwrap();
    assert_refused(client.query(&by_key, &[&"é"]).await, "é");
    assert_eq!(client.query(&by_key, &[&"plain"]).await.unwrap().len(), 0);
    assert_refused(client.simple_query("SELECT name FROM users WHERE id = 'é'").await, "é");
    client.batch_execute("SET client_encoding = 'UTF8'").await.unwrap();
    assert_eq!(client.query(&by_key, &[&"é"]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn shard_is_named_by_hand() {
    let spread = spread();
    let client = spread.client().await;
    let ids = one_each();
    add_users(&client, &ids).await;
    let names = "SELECT name FROM users";
    for (name, id) in ["a", "b", "c", "d"].iter().zip(ids) {
        let wanted = [format!("u{id}")];
        assert_eq!(simple(&client, &format!("/* pgweir: shard={name} */ {names}")).await, wanted);
        assert_eq!(simple(&client, &format!("/* pgweir: shard_key={id} */ {names}")).await, wanted);
        client.batch_execute(&format!("SET pgweir.shard_key = '{id}'")).await.unwrap();
        assert_eq!(simple(&client, names).await, wanted);
        assert_eq!(client.query(names, &[]).await.unwrap().len(), 1);
        let other = ids.iter().find(|other| **other != id).unwrap();
        let text = format!("SELECT 1 FROM users WHERE id = {other}");
        assert_refused(client.simple_query(&text).await, &text);
        client.batch_execute("RESET pgweir.shard_key").await.unwrap();
        client.batch_execute(&format!("SET pgweir.shard = {name}")).await.unwrap();
        assert_eq!(simple(&client, names).await, wanted);
        client.batch_execute("RESET ALL").await.unwrap();
        let mut found = simple(&client, names).await;
        found.sort();
        let mut wanted = ids.map(|id| format!("u{id}"));
        wanted.sort();
        assert_eq!(found, wanted);
        client.batch_execute("BEGIN").await.unwrap();
        client.batch_execute(&format!("SET LOCAL pgweir.shard_key = {id}")).await.unwrap();
        let text = format!("INSERT INTO orders (user_id) VALUES ({id})");
        client.batch_execute(&text).await.unwrap();
        client.batch_execute("COMMIT").await.unwrap();
        client
            .batch_execute(&format!(
                "/* pgweir: shard={name} */ ALTER TABLE users ADD COLUMN more int"
            ))
            .await
            .unwrap();
    }
    assert_eq!(spread.on_each("SELECT count(*) FROM orders"), ["1", "1", "1", "1"]);
    for id in ids {
        assert_eq!(
            simple(&client, &format!("SELECT more FROM users WHERE id = {id}")).await,
            ["NULL"]
        );
    }
    assert_refused(client.simple_query("/* pgweir: shard=e */ SELECT 1").await, "no such shard");
    let url = format!("{}?options=-c%20pgweir.shard%3Dc", spread.url());
    let ended = psql(&url, names);
    assert_eq!(ended.stdout, format!("u{}\n", ids[2]), "{}", ended.stderr);
}

#[tokio::test]
async fn shard_that_is_down_fails_its_own_keys_alone() {
    let spread = super::through::spread_by("bigint", "query_wait_timeout = 1");
    let client = spread.client().await;
    let ids = one_each();
    add_users(&client, &ids).await;
    let by_key = client.prepare("SELECT name FROM users WHERE id = $1").await.unwrap();
    spread.shards[2].primary().stop(StopMode::Immediate).unwrap();
    for _ in 0..2 {
        for (shard, id) in ids.iter().enumerate() {
            let (found, plain) = (
                client.query(&by_key, &[id]).await,
                client.simple_query(&format!("SELECT name FROM users WHERE id = {id}")).await,
            );
            if shard == 2 {
                for error in [found.unwrap_err(), plain.unwrap_err()] {
                    let (code, message) = told(&error);
                    assert!(code.code().starts_with("08") || code.code() == "57P03", "{message}");
                }
            } else {
                assert_eq!(found.unwrap()[0].get::<_, &str>(0), format!("u{id}"));
                assert_eq!(rows(plain.unwrap()), [format!("u{id}")]);
            }
        }
    }
    spread.shards[2].primary().start().unwrap();
    crate::support::eventually("it is back", crate::support::LIMIT, || {
        let text = format!("SELECT name FROM users WHERE id = {}", ids[2]);
        psql(&spread.url(), &text).stdout == format!("u{}\n", ids[2])
    });
}

/// Clients that hop between shards at random, each with rows of its own keys alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_hop_between_shards_get_rows_of_their_keys() {
    const CLIENTS: i64 = 12;
    const ROUNDS: usize = 150;
    let spread: Arc<Spread> =
        Arc::new(super::through::spread_by("bigint", "default_pool_size = 2"));
    let client = spread.client().await;
    let all: Vec<i64> = (1..=60).collect();
    add_users(&client, &all).await;
    let mut tasks = Vec::new();
    for number in 0..CLIENTS {
        let spread = Arc::clone(&spread);
        tasks.push(tokio::spawn(async move {
            let mut client = spread.client().await;
            let by_key = client.prepare("SELECT id, name FROM users WHERE id = $1").await.unwrap();
            let mut id = number + 1;
            for round in 0..ROUNDS {
                id = (id * 31 + number + i64::try_from(round).unwrap()) % 60 + 1;
                let (next, wanted) = (id % 60 + 1, format!("{id}|u{id}"));
                match round % 5 {
                    0 => {
                        let text = format!("SELECT id, name FROM users WHERE id = {id}");
                        assert_eq!(simple(&client, &text).await, [wanted]);
                    }
                    1 => {
                        let transaction = client.transaction().await.unwrap();
                        let rows = transaction.query(&by_key, &[&id]).await.unwrap();
                        assert_eq!(rows[0].get::<_, i64>(0), id);
                        let other = transaction.query(&by_key, &[&next]).await;
                        match home(id) == home(next) {
                            true => assert_eq!(other.unwrap()[0].get::<_, i64>(0), next),
                            false => assert_refused(other, "the next"),
                        }
                        transaction.rollback().await.unwrap();
                    }
                    // Both under way at once.
                    2 => {
                        let keys: [[&(dyn ToSql + Sync); 1]; 2] = [[&id], [&next]];
                        let query = |at: usize| client.query(&by_key, &keys[at]);
                        let (one, other) = tokio::join!(query(0), query(1));
                        assert_eq!(one.unwrap()[0].get::<_, i64>(0), id);
                        assert_eq!(other.unwrap()[0].get::<_, i64>(0), next);
                    }
                    3 => {
                        let text = format!("SELECT count(*) FROM users WHERE id = {id}; COMMIT");
                        assert_eq!(simple(&client, &text).await, ["1"]);
                        let ids = simple(&client, "SELECT id FROM users ORDER BY id").await;
                        assert!(
                            ids.iter().map(|id| id.parse::<i64>().unwrap()).eq(1..=60),
                            "{ids:?}"
                        );
                    }
                    _ => {
                        let key: [&(dyn ToSql + Sync); 1] = [&id];
                        let on_all = client.simple_query("SELECT * FROM users WHERE name = 'x'");
                        let (one, other) = tokio::join!(client.query(&by_key, &key), on_all);
                        assert_eq!(one.unwrap()[0].get::<_, i64>(0), id);
                        assert!(rows(other.unwrap()).is_empty());
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for (shard, ids) in spread.on_each("SELECT id FROM users ORDER BY id").iter().enumerate() {
        let wanted: Vec<_> =
            all.iter().filter(|id| home(**id) == shard).map(i64::to_string).collect();
        assert_eq!(*ids, wanted.join("\n"));
    }
}
