//! Changes of rows, and definitions, over several shards.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::through::{Spread, home, one_each, owned, rows, spread};
use crate::support::{APP_DATABASE, APP_USER, LIMIT, PASSWORD, SUPERUSER, eventually, psql};
use crate::wire;

pub fn login(spread: &Spread) -> wire::Client {
    let parameters = [("user", APP_USER), ("database", APP_DATABASE)];
    wire::Client::login_with(spread.pooler.port(), &parameters, PASSWORD)
}

fn on_all(spread: &Spread, sql: &str) {
    for shard in &spread.shards {
        shard.primary().sql(APP_DATABASE, &owned(sql)).unwrap();
    }
}

/// What a Query gives: rows, and how many were changed.
async fn said(client: &Client, sql: &str) -> (Vec<String>, u64) {
    let found = client.simple_query(sql).await.unwrap();
    let count = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::CommandComplete(count) => Some(*count),
        _ => None,
    };
    let changed = found.iter().filter_map(count).sum();
    (rows(found), changed)
}

async fn refused(client: &Client, sql: &str, why: &str) {
    let error = client.simple_query(sql).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code(), &SqlState::FEATURE_NOT_SUPPORTED, "{sql}: {error}");
    assert!(error.message().contains(why), "{sql}: {error}");
}

/// The rows that are on each shard are those whose key says so.
fn are_at_home(spread: &Spread, sql: &str, all: impl Iterator<Item = i64> + Clone) {
    for (shard, found) in spread.on_each(sql).iter().enumerate() {
        let wanted: Vec<String> =
            all.clone().filter(|id| home(*id) == shard).map(|id| id.to_string()).collect();
        assert_eq!(*found, wanted.join("\n"), "{sql} on {shard}");
    }
}

fn values(ids: impl Iterator<Item = i64>) -> String {
    ids.map(|id| format!("({id}, 'u{id}')")).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn rows_of_an_insert_go_to_their_shards() {
    let spread = spread();
    let client = spread.client().await;
    let insert = format!("INSERT INTO users (id, name) VALUES {}", values(1..=40));
    assert_eq!(said(&client, &insert).await, (vec![], 40));
    // RETURNING gives them in their order.
    let insert =
        format!("INSERT INTO users (id, name) VALUES {} RETURNING id", values((41..=80).rev()));
    let wanted: Vec<String> = (41..=80).rev().map(|id: i64| id.to_string()).collect();
    assert_eq!(said(&client, &insert).await, (wanted, 40));
    // Values, their types and their formats go along; some are used twice, and some in all parts.
    let insert = "INSERT INTO orders (id, user_id, total) VALUES ($1, $2, $7), ($3, $4, $7), \
                  ($5, $6, length($8)) RETURNING user_id, total, $8::text || id";
    let prepared = client.prepare(insert).await.unwrap();
    let [a, b, c, _] = one_each();
    for (first, second, third) in [(c, a, b), (a, a, c), (b, b, b)] {
        let text = "four";
        let found = client
            .query(&prepared, &[&1, &first, &2, &second, &3, &third, &9, &text])
            .await
            .unwrap();
        let found: Vec<(i64, i32, String)> =
            found.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        let row = |user: i64, total: i32, id: &str| (user, total, format!("four{id}"));
        assert_eq!(found, [row(first, 9, "1"), row(second, 9, "2"), row(third, 4, "3")]);
    }
    are_at_home(&spread, "SELECT id FROM users ORDER BY id", 1..=80);
    let orders = spread.on_each("SELECT count(*), count(*) FILTER (WHERE total = 4) FROM orders");
    assert_eq!(orders, ["3|0", "4|2", "2|1", "0|0"]);
    // They are read at once by who has written them.
    assert_eq!(said(&client, "SELECT count(*) FROM users").await.0, ["80"]);
}

#[tokio::test]
async fn insert_that_fails_on_one_shard_stores_nothing() {
    let spread = spread();
    on_all(
        &spread,
        "ALTER TABLE users ADD CONSTRAINT short CHECK (length(name) < 9); \
         ALTER TABLE users ADD pair bigint UNIQUE DEFERRABLE INITIALLY DEFERRED",
    );
    let client = spread.client().await;
    let [a, b, c, d] = one_each();
    for (row, code) in [
        (format!("({d}, 'much too long', 1)"), SqlState::CHECK_VIOLATION),
        (format!("({d}, 'x', 1), ({d}, 'y', 2)"), SqlState::UNIQUE_VIOLATION),
        // Postgres says so at the end of the transaction alone.
        (format!("({d}, 'x', 1), ({}, 'y', 1)", next_at(d)), SqlState::UNIQUE_VIOLATION),
        (format!("({d}, 'x', 1 / 0)"), SqlState::DIVISION_BY_ZERO),
        (format!("({d}, 'x', 'no number')"), SqlState::INVALID_TEXT_REPRESENTATION),
    ] {
        let rows = format!("({a}, 'a', 1), ({b}, 'b', 2), ({c}, 'c', 3), {row}");
        let insert = format!("INSERT INTO users (id, name, pair) VALUES {rows} RETURNING id");
        let error = client.simple_query(&insert).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code(), &code, "{insert}");
        assert_eq!(error.where_().map(|it| it.ends_with("shard d")), Some(true), "{error:?}");
        assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["0", "0", "0", "0"], "{insert}");
    }
    // Nothing is left open there.
    eventually("no transaction is open", LIMIT, || {
        let open = "SELECT count(*) FROM pg_stat_activity \
                    WHERE state LIKE 'idle in%' AND usename = 'app'";
        spread.on_each(open) == ["0", "0", "0", "0"]
    });
    let insert = format!("INSERT INTO users (id, name) VALUES ({a}, 'a'), ({b}, 'b')");
    assert_eq!(said(&client, &insert).await.1, 2);
}

/// The next user on the same shard.
fn next_at(id: i64) -> i64 {
    (id + 1..).find(|other| home(*other) == home(id)).unwrap()
}

#[tokio::test]
async fn insert_is_as_in_one_postgres_but_for_what_is_refused() {
    let spread = spread();
    let client = spread.client().await;
    let [a, b, ..] = one_each();
    // Several rows may not have what one alone may.
    let error = client
        .simple_query(&format!(
            "INSERT INTO users (id, name) VALUES ({a}, 'a'), ({b}, generate_series(1, 3)::text)"
        ))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    refused(&client, &format!("INSERT INTO users (id, name) VALUES ({a}, 'a'), ({b})"), "grammar")
        .await;
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["0", "0", "0", "0"]);
    let upsert = format!(
        "INSERT INTO users (id, name) VALUES ({a}, 'a'), ({b}, 'b') \
         ON CONFLICT (id) DO UPDATE SET name = users.name || '+' RETURNING name"
    );
    assert_eq!(said(&client, &upsert).await, (vec!["a".into(), "b".into()], 2));
    assert_eq!(said(&client, &upsert).await, (vec!["a+".into(), "b+".into()], 2));
    let skip = format!(
        "INSERT INTO users (id, name) VALUES ({a}, 'a'), ({}, 'c'), ({b}, 'b') \
         ON CONFLICT DO NOTHING RETURNING name",
        next_at(b)
    );
    assert_eq!(said(&client, &skip).await, (vec!["c".into()], 1));
    // Not within a transaction.
    let begun = format!("BEGIN; INSERT INTO users (id) VALUES ({a}), ({b}); COMMIT");
    refused(&client, &begun, "different shards").await;
    client.batch_execute("BEGIN").await.unwrap();
    let insert = format!("INSERT INTO users (id) VALUES ({}), ({})", next_at(a), next_at(b));
    refused(&client, &insert, "is for several").await;
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn change_without_a_key_needs_a_word() {
    let spread = spread();
    let client = spread.client().await;
    let insert = format!("INSERT INTO users (id, name) VALUES {}", values(1..=40));
    client.batch_execute(&insert).await.unwrap();
    for change in [
        "UPDATE users SET name = 'x'",
        "DELETE FROM users",
        "DELETE FROM users u USING countries c WHERE c.code = u.name",
    ] {
        refused(&client, change, "without a value of the key").await;
    }
    let update = "/* pgweir: all_shards */ UPDATE users SET name = upper(name) WHERE id % 2 = 0";
    assert_eq!(said(&client, update).await, (vec![], 20));
    let found = said(&client, "SELECT count(*) FROM users WHERE name LIKE 'U%'").await;
    assert_eq!(found.0, ["20"]);
    // Keys that are named need none.
    let update = "UPDATE users SET name = 'few' WHERE id IN (1, 2, 3, 4, 5, 6) RETURNING id";
    let (mut ids, count) = said(&client, update).await;
    ids.sort();
    assert_eq!((ids.join(" "), count), ("1 2 3 4 5 6".into(), 6));
    let delete = client.prepare("DELETE FROM users WHERE id = ANY($1)").await.unwrap();
    assert_eq!(client.execute(&delete, &[&vec![7_i64, 8, 9, 10, 11, 12, 999]]).await.unwrap(), 6);
    // What would be another thing on each shard is refused.
    for change in [
        "UPDATE users SET id = id + 1",
        "UPDATE users SET name = (SELECT name FROM countries ORDER BY random() LIMIT 1)",
        "UPDATE users SET name = pg_backend_pid()::text",
        "DELETE FROM users WHERE ctid = '(0,1)'",
        "DELETE FROM users WHERE id IN (SELECT max(user_id) FROM orders)",
        "UPDATE users SET name = 'x' WHERE id < (SELECT count(*) FROM orders)",
        "WITH gone AS (DELETE FROM users RETURNING id) SELECT count(*) FROM gone",
    ] {
        refused(&client, &format!("/* pgweir: all_shards */ {change}"), "can't be run").await;
    }
    let row = "/* pgweir: all_shards */ UPDATE users SET name = left(gen_random_uuid()::text, 8) \
               || now() || random()";
    assert_eq!(said(&client, row).await.1, 34);
    let copy = "/* pgweir: all_shards */ INSERT INTO orders (id, user_id, total) \
                SELECT 1, id, 2 FROM users WHERE id > 20";
    assert_eq!(said(&client, copy).await.1, 20);
    are_at_home(&spread, "SELECT user_id FROM orders ORDER BY user_id", 21..=40);
}

#[tokio::test]
async fn configuration_may_allow_changes_without_a_key() {
    let spread = spread();
    spread.reload_with("allow_fan_out_writes = true");
    let client = spread.client().await;
    client
        .batch_execute(&format!("INSERT INTO users (id, name) VALUES {}", values(1..=40)))
        .await
        .unwrap();
    assert_eq!(said(&client, "DELETE FROM users WHERE id > 30 RETURNING 1").await.1, 10);
    assert_eq!(said(&client, "UPDATE users SET name = 'x'").await.1, 30);
}

#[tokio::test]
async fn reference_tables_are_written_on_all_shards_alike() {
    let spread = spread();
    let client = spread.client().await;
    let insert = "INSERT INTO countries VALUES ('es', 'Spain'), ('pt', 'Portugal') RETURNING name";
    assert_eq!(said(&client, insert).await, (vec!["Spain".into(), "Portugal".into()], 2));
    let update = client.prepare("UPDATE countries SET name = $1 WHERE code = $2").await.unwrap();
    assert_eq!(client.execute(&update, &[&"Deutschland", &"de"]).await.unwrap(), 1);
    let all = "SELECT string_agg(name, ' ' ORDER BY code) FROM countries";
    let wanted = "Deutschland Spain France Portugal";
    assert_eq!(spread.on_each(all), [wanted; 4]);
    for change in
        ["UPDATE countries SET name = now()::text", "DELETE FROM countries WHERE random() < 2"]
    {
        refused(&client, change, "different things on each").await;
    }
    // One copy is another already.
    spread.shards[2]
        .primary()
        .sql(APP_DATABASE, "DELETE FROM countries WHERE code = 'fr'")
        .unwrap();
    for change in
        ["DELETE FROM countries WHERE code = 'fr'", "DELETE FROM countries RETURNING code"]
    {
        let error = client.simple_query(change).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE), "{change}");
    }
    assert_eq!(spread.on_each("SELECT count(*) FROM countries"), ["4", "4", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_the_same_rows_never_wait_in_a_circle() {
    let spread = spread();
    let client = spread.client().await;
    client
        .batch_execute(&format!("INSERT INTO users (id, name) VALUES {}", values(1..=40)))
        .await
        .unwrap();
    let mut all = tokio::task::JoinSet::new();
    for each in 0..6 {
        let client = spread.client().await;
        all.spawn(async move {
            for _ in 0..10 {
                let change = match each % 3 {
                    0 => "/* pgweir: all_shards */ UPDATE users SET name = name || 'x'",
                    1 => {
                        "UPDATE users SET name = name || 'x' WHERE id IN \
                          (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12) RETURNING id"
                    }
                    _ => "UPDATE countries SET name = name || 'x'",
                };
                // One server alone may see rows waited for in a circle, and say so.
                while let Err(error) = client.simple_query(change).await {
                    assert_eq!(error.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED), "{error:?}");
                }
            }
        });
    }
    all.join_all().await;
    let found = said(&client, "SELECT id, length(name) FROM users ORDER BY id").await.0;
    let wanted = |id: i64| {
        let own = format!("u{id}").len() + 20 + if id <= 12 { 20 } else { 0 };
        format!("{id}|{own}")
    };
    assert_eq!(found, (1..=40).map(wanted).collect::<Vec<_>>());
    let lengths = spread.on_each("SELECT DISTINCT length(name) FROM countries WHERE code = 'fr'");
    assert_eq!(lengths, ["26"; 4]);
}

#[test]
fn change_is_answered_as_by_one_server() {
    let spread = spread();
    let [a, b, ..] = one_each();
    let mut client = login(&spread);
    let insert = format!("INSERT INTO users (id, name) VALUES ({a}, $1), ({b}, $2)");
    client.talk(&format!("P - {insert} / D - / B - x,y / p / E / S"), "1 t n 2 n C[INSERT 0 2] ZI");
    client.talk(&format!("Q DELETE FROM users WHERE id IN ({a}, {b})"), "C[DELETE 2] ZI");
    // A parameter is of one type in all rows.
    client.talk(
        &format!(
            "P - INSERT INTO orders (user_id, total) VALUES ({a}, $1), ({b}, length($1)) / B - 7 / E / S"
        ),
        "E[42883] ZI",
    );
    // A limit is of rows alone; nothing runs behind what has failed.
    client.talk(&format!("P - {insert} / B - x,y / E 1 / S"), "1 2 C[INSERT 0 2] ZI");
    client.talk(&format!("P - {insert} RETURNING id / B - x,y / E 1 / S"), "E[0A000] ZI");
    client.talk(
        &format!("P s {insert} / B s x,y / E / S / Q SELECT 1"),
        "1 2 E[23505] ZI T D[1] C[SELECT 1] ZI",
    );
}

#[test]
fn who_leaves_has_changed_nothing() {
    let spread = spread();
    let [.., c, d] = one_each();
    let insert = format!("INSERT INTO users (id, name) VALUES ({c}, 'c'), ({d}, 'd')");
    // Somebody holds what the second one needs.
    let parameters = [("user", APP_USER), ("database", APP_DATABASE)];
    let port = spread.shards[3].primary().port();
    let mut holder = wire::Client::login_with(port, &parameters, PASSWORD);
    holder.talk(
        &format!("Q BEGIN / Q INSERT INTO users (id) VALUES ({d})"),
        "C[BEGIN] ZT C[INSERT 0 1] ZT",
    );
    let waits = || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        spread.on_each(sql) == ["0", "0", "0", "1"]
    };
    let nobody = || {
        let sql = "SELECT count(*) FROM pg_stat_activity \
                   WHERE usename = 'app' AND xact_start IS NOT NULL";
        spread.on_each(sql) == ["0", "0", "0", "1"]
    };
    let mut client = login(&spread);
    client.say(&format!("Q {insert}"));
    eventually("it waits for a row", LIMIT, waits);
    drop(client);
    eventually("nothing of it is left", LIMIT, nobody);
    holder.talk("Q ROLLBACK", "C[ROLLBACK] ZI");
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["0", "0", "0", "0"]);
    assert_eq!(psql(&spread.url(), &insert).stderr, "");
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["0", "0", "1", "1"]);
}

#[test]
fn commit_whose_outcome_is_not_known_is_told_as_such() {
    let spread = spread();
    let [a, b, ..] = one_each();
    let server = spread.shards[1].primary();
    // Its COMMITs wait for a standby that is not there.
    server.sql(APP_DATABASE, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'").unwrap();
    server.sql(APP_DATABASE, "SELECT pg_reload_conf()").unwrap();
    let mut client = login(&spread);
    eventually("COMMITs wait there", LIMIT, || {
        psql(&server.url(SUPERUSER, PASSWORD, APP_DATABASE), "SHOW synchronous_standby_names")
            .stdout
            == "nobody\n"
    });
    client.say(&format!("Q INSERT INTO users (id, name) VALUES ({a}, 'a'), ({b}, 'b')"));
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE wait_event = 'SyncRep' AND usename = 'app'";
    eventually("it waits there", LIMIT, || {
        psql(&server.url(SUPERUSER, PASSWORD, APP_DATABASE), end).stdout == "1\n"
    });
    let message = loop {
        let message = client.hear();
        match message.tag {
            b'E' => break message,
            tag => assert_eq!(tag, b'N'),
        }
    };
    assert_eq!(message.field(b'C').as_deref(), Some("40003"));
    let said = message.field(b'M').unwrap();
    assert!(said.contains("committed on a; unknown on b"), "{said}");
    client.hears("ZI");
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["1", "1", "0", "0"]);
}

#[test]
fn shards_that_wait_for_their_turn_are_not_ended_for_being_idle() {
    let spread = spread();
    for shard in &spread.shards {
        let limit = format!("ALTER ROLE {APP_USER} SET idle_in_transaction_session_timeout = 200");
        shard.primary().sql(APP_DATABASE, &limit).unwrap();
    }
    let slow = "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS \
                'BEGIN PERFORM pg_sleep(0.8); RETURN NEW; END'; \
                CREATE TRIGGER slow BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION slowly()";
    spread.shards[1].primary().sql(APP_DATABASE, &owned(slow)).unwrap();
    let ids = one_each().map(|id| format!("({id}, 'x')")).join(", ");
    // Servers from before have the old limit.
    spread.console(&format!("RECONNECT {APP_DATABASE}"));
    let mut client = login(&spread);
    client.talk(&format!("Q INSERT INTO users (id, name) VALUES {ids}"), "C[INSERT 0 4] ZI");
}
