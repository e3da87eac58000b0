//! Statements over several shards, seen through the pooler.

use std::error::Error;

use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, NoTls, Row};

use super::through::{Spread, one_each, owned, rows, spread, spread_by};
use crate::support::{APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, cluster, eventually, psql};
use crate::wire;

const USERS: i64 = 40;

async fn filled() -> (Spread, Client) {
    let spread = spread();
    let client = spread.client().await;
    for id in 1..=USERS {
        let insert = format!("INSERT INTO users (id, name) VALUES ({id}, 'u{id}')");
        client.batch_execute(&insert).await.unwrap();
    }
    (spread, client)
}

fn all() -> Vec<String> {
    (1..=USERS).map(|id| id.to_string()).collect()
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort_by_key(|id| id.parse::<i64>().unwrap());
    rows
}

#[tokio::test]
async fn rows_of_all_shards_are_one_answer_in_every_protocol() {
    let (_spread, client) = filled().await;
    let found = client.simple_query("SELECT id FROM users").await.unwrap();
    assert_eq!(sorted(rows(found)), all());
    let text = "SELECT id, name FROM users WHERE id >= $1";
    let prepared = client.prepare(text).await.unwrap();
    for from in [1_i64, 20, USERS + 1] {
        let (by_name, at_once) = (
            client.query(&prepared, &[&from]).await.unwrap(),
            client.query(text, &[&from]).await.unwrap(),
        );
        for found in [by_name, at_once] {
            let ids = found.iter().map(|row| {
                assert_eq!(row.get::<_, &str>(1), format!("u{}", row.get::<_, i64>(0)));
                row.get::<_, i64>(0).to_string()
            });
            let wanted: Vec<String> = (from..=USERS).map(|id| id.to_string()).collect();
            assert_eq!(sorted(ids.collect()), wanted);
        }
    }
    // What comes behind runs where it belongs.
    for id in one_each() {
        let row = client.query_one("SELECT name FROM users WHERE id = $1", &[&id]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), format!("u{id}"));
    }
}

#[tokio::test]
async fn what_fails_on_one_shard_fails_once_and_leaves_nothing_behind() {
    let (spread, client) = filled().await;
    // There is one user for whom it fails.
    let text = "SELECT 1 / (id - 7) FROM users";
    let (found, other) = tokio::join!(
        client.simple_query(text),
        client.query("SELECT 1 / (id - $1) FROM users", &[&9_i64])
    );
    for error in [found.unwrap_err(), other.unwrap_err()] {
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code(), &SqlState::DIVISION_BY_ZERO);
        assert_eq!(error.severity(), "ERROR");
    }
    let found = client.simple_query("SELECT id FROM users").await.unwrap();
    assert_eq!(sorted(rows(found)), all());
    let error = client.simple_query("SELECT nothing FROM users").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code(), &SqlState::UNDEFINED_COLUMN);
    assert_eq!(error.where_(), Some("shard a"));
    drop(spread);
}

async fn crowd(spread: &Spread) {
    let mut all = JoinSet::new();
    for _ in 0..12 {
        let client = spread.client().await;
        all.spawn(async move {
            for _ in 0..10 {
                let found = client.simple_query("SELECT id FROM users").await.unwrap();
                assert!(rows(found).is_empty());
            }
        });
    }
    all.join_all().await;
}

#[tokio::test]
async fn crowd_that_needs_all_the_same_servers_is_served() {
    crowd(&spread_by("bigint", "default_pool_size = 1\nquery_wait_timeout = 30")).await;
    // There are too few for two of them.
    crowd(&spread_by("bigint", "max_user_connections = 7\nquery_wait_timeout = 60")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shard_that_is_waited_for_holds_up_no_other() {
    let spread = spread_by("bigint", "default_pool_size = 1");
    let [a, ..] = one_each();
    spread.console("PAUSE \"shop/b\"");
    let mut all = JoinSet::new();
    for _ in 0..4 {
        let client = spread.client().await;
        all.spawn(async move { client.simple_query("SELECT id FROM users").await.map(rows) });
    }
    // One of them is there, and the others before it.
    let waits = || {
        let pools = spread.console("SHOW POOLS");
        let line = pools.lines().find(|line| line.starts_with("shop/b|app|")).unwrap_or_default();
        line.split('|').nth(3) == Some("1")
    };
    eventually("they wait for it", LIMIT, waits);
    let client = spread.client().await;
    for _ in 0..20 {
        let text = format!("SELECT count(*) FROM users WHERE id = {a}");
        assert_eq!(rows(client.simple_query(&text).await.unwrap()), ["0"]);
    }
    assert_eq!(all.len(), 4);
    spread.console("RESUME \"shop/b\"");
    while let Some(found) = all.join_next().await {
        assert!(found.unwrap().unwrap().is_empty());
    }
}

/// The backend that a user's shard gives.
async fn backend(client: &Client, id: i64) -> Vec<String> {
    let text = format!("SELECT pg_backend_pid(), count(*) FROM users WHERE id = {id}");
    rows(client.simple_query(&text).await.unwrap())
}

#[tokio::test]
async fn refusals_and_errors_cost_no_servers() {
    let spread = spread_by("bigint", "default_pool_size = 1");
    let client = spread.client().await;
    let mut before = Vec::new();
    for id in one_each() {
        before.push(backend(&client, id).await);
    }
    for text in [
        "SELECT nothing FROM users",
        "SELECT id FROM users LIMIT -1",
        "SELECT avg(id::float8) FROM users",
        "SELECT sum(id) FROM users WHERE id < 10 LIMIT 0",
        "SELECT id FROM users LIMIT 1",
    ] {
        for _ in 0..3 {
            drop(client.simple_query(text).await);
        }
    }
    for (id, before) in one_each().into_iter().zip(before) {
        assert_eq!(backend(&client, id).await, before);
    }
}

#[tokio::test]
async fn shard_that_writes_otherwise_is_told_of() {
    let spread = spread();
    let alter = format!("ALTER DATABASE {APP_DATABASE} SET timezone = 'Asia/Tokyo'");
    spread.shards[1].primary().sql(APP_DATABASE, &alter).unwrap();
    spread.console("RECONNECT");
    let client = spread.client().await;
    let found = async || client.simple_query("SELECT id FROM users").await;
    let error = found().await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code(), &SqlState::FEATURE_NOT_SUPPORTED);
    assert!(error.message().contains("shard b has another TimeZone"), "{}", error.message());
    client.batch_execute("SET timezone = 'UTC'").await.unwrap();
    assert!(rows(found().await.unwrap()).is_empty());
}

/// Shards with more rows than fit into what lies between them and a client.
fn long() -> (Spread, wire::Client) {
    let spread = spread();
    for shard in &spread.shards {
        let many = "INSERT INTO users SELECT n, repeat('x', 1000) FROM generate_series(1, 40000) n";
        shard.primary().sql(APP_DATABASE, many).unwrap();
    }
    let startup = [("user", APP_USER), ("database", APP_DATABASE)];
    let mut client = wire::Client::login_with(spread.pooler.port(), &startup, PASSWORD);
    client.say("Q select name from users");
    assert_eq!(client.hear().tag, b'T');
    assert_eq!(client.hear().tag, b'D');
    eventually("all of them run it", LIMIT, || running(&spread) == ["1"; 4]);
    (spread, client)
}

/// How many run it on each shard.
fn running(spread: &Spread) -> Vec<String> {
    spread.on_each(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%name from users%' \
         AND state <> 'idle' AND pid <> pg_backend_pid()",
    )
}

#[test]
fn cancel_ends_it_on_all_shards() {
    let (spread, mut client) = long();
    wire::cancel(spread.pooler.port(), &client.cancel_packet());
    let (mut rows, mut last) = (1, client.hear());
    while last.tag == b'D' {
        (rows, last) = (rows + 1, client.hear());
    }
    assert_eq!((last.tag, last.field(b'C').as_deref()), (b'E', Some("57014")));
    assert!(rows < 160_000, "{rows}");
    client.hears("ZI");
    eventually("nothing runs on", LIMIT, || running(&spread) == ["0"; 4]);
    client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
}

#[test]
fn client_that_leaves_has_nothing_run_on() {
    let (spread, client) = long();
    client.reset();
    eventually("nothing runs on", LIMIT, || running(&spread) == ["0"; 4]);
}

/// Rows of shards, and the same on one server.
async fn twice() -> (Spread, Cluster, [Client; 2]) {
    let (spread, one) = (spread(), cluster());
    let tables = "CREATE TABLE users (id bigint PRIMARY KEY, name text); \
         CREATE TABLE orders (id int, user_id bigint, total int); \
         CREATE TABLE countries (code text, name text); \
         INSERT INTO countries VALUES ('de', 'Germany'), ('fr', 'France');";
    one.primary().sql(APP_DATABASE, &format!("SET ROLE {APP_USER}; {tables}")).unwrap();
    let url = one.primary().url(APP_USER, PASSWORD, APP_DATABASE);
    let (other, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let clients = [spread.client().await, other];
    for client in &clients {
        for id in 1..=USERS {
            let name = if id % 7 == 0 { "NULL".to_owned() } else { format!("'u{}'", id % 5) };
            let mut text = format!("INSERT INTO users (id, name) VALUES ({id}, {name});");
            for order in 0..id % 4 {
                let total = if order == 2 { "NULL".to_owned() } else { (id * 7 % 11).to_string() };
                text += &format!(
                    "INSERT INTO orders (id, user_id, total) VALUES ({order}, {id}, {total});"
                );
            }
            client.batch_execute(&text).await.unwrap();
        }
    }
    (spread, one, clients)
}

/// A value as it comes.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Raw(Option<Vec<u8>>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn raw(rows: &[Row]) -> Vec<Vec<Raw>> {
    rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
}

#[tokio::test]
async fn rows_are_those_of_one_server() {
    let (_spread, _one, [client, other]) = twice().await;
    for text in [
        "SELECT id FROM users ORDER BY id",
        "SELECT id, name FROM users ORDER BY id DESC LIMIT 7",
        "SELECT id FROM users ORDER BY id LIMIT 5 OFFSET 3",
        "SELECT name FROM users ORDER BY id",
        "SELECT name COLLATE \"C\" FROM users ORDER BY 1 NULLS FIRST, id DESC",
        "SELECT count(*) FROM users",
        "SELECT count(*), sum(total), min(total), max(total), avg(total) FROM orders",
        "SELECT count(name) FROM users WHERE id > 1000",
        "SELECT sum(total), avg(total) FROM orders WHERE id > 1000",
        "SELECT user_id, count(*), sum(total) FROM orders GROUP BY user_id ORDER BY user_id",
        "SELECT id, count(*), avg(total) FROM orders GROUP BY id ORDER BY id",
        "SELECT id, count(*) FROM orders GROUP BY id HAVING count(*) > 10 ORDER BY count(*) DESC",
        "SELECT total, count(*) FROM orders GROUP BY total ORDER BY 2 DESC, 1 LIMIT 3",
        "SELECT DISTINCT total FROM orders ORDER BY total DESC",
        "SELECT DISTINCT id FROM orders ORDER BY 1",
        "SELECT u.id, o.total FROM users u JOIN orders o ON o.user_id = u.id ORDER BY u.id, o.id",
        "SELECT u.id, c.name FROM users u CROSS JOIN countries c ORDER BY u.id, c.code COLLATE \"C\"",
        "SELECT bool_and(total > 3), bool_or(total > 9), bit_or(total) FROM orders",
        "WITH big AS (SELECT * FROM orders WHERE total > 5) SELECT user_id, total FROM big ORDER BY 1, id",
        "SELECT id FROM users WHERE id IN (1, 2, 3, 4, 5, 6) ORDER BY id DESC",
        "SELECT u.id, (SELECT max(u.id + c.n) FROM (SELECT 1 AS n) c) FROM users u ORDER BY 1",
    ] {
        let found =
            client.simple_query(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(rows(found), rows(other.simple_query(text).await.unwrap()), "{text}");
        let found = client.query(text, &[]).await.unwrap();
        assert_eq!(raw(&found), raw(&other.query(text, &[]).await.unwrap()), "{text}");
    }
    let page = "SELECT id, name FROM users WHERE id > $1 ORDER BY id LIMIT $2 OFFSET $3";
    let [paged, wanted] = [client.prepare(page).await.unwrap(), other.prepare(page).await.unwrap()];
    for (from, limit, offset) in
        [(0_i64, Some(10_i64), 0_i64), (7, Some(0), 0), (20, None, 5), (3, Some(9), 100)]
    {
        let found = client.query(&paged, &[&from, &limit, &offset]).await.unwrap();
        let other = other.query(&wanted, &[&from, &limit, &offset]).await.unwrap();
        assert_eq!(raw(&found), raw(&other), "{from} {limit:?} {offset}");
    }
    let error = client.query(&paged, &[&1_i64, &Some(-1_i64), &0_i64]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE));
    for (text, why) in [
        ("SELECT row_number() OVER (ORDER BY id) FROM users", "window"),
        ("SELECT string_agg(name, ',') FROM users", ""),
        ("SELECT id, random() FROM users", ""),
        ("SELECT u.id FROM users u JOIN orders o ON o.id = u.id", "keys"),
        ("SELECT (SELECT count(u.id)) FROM users u", ""),
        ("SELECT (SELECT count(u.*)) FROM users u", ""),
        ("SELECT (SELECT count((u.*)::text)) FROM users u", "subquery"),
        ("SELECT rank(5) WITHIN GROUP (ORDER BY id) FROM users", "aggregate"),
        ("SELECT (SELECT count(*) FILTER (WHERE u.id > 3)) FROM users u", ""),
        ("SELECT upper(name) AS name, count(*) FROM users GROUP BY upper(name), name", ""),
        ("SELECT id FROM users FOR UPDATE", ""),
        ("SELECT id FROM users; SELECT id FROM users", ""),
        ("EXPLAIN SELECT id FROM users", ""),
        ("COPY users TO STDOUT", ""),
    ] {
        let error = client.simple_query(text).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code(), &SqlState::FEATURE_NOT_SUPPORTED, "{text}");
        assert!(error.message().contains(why), "{text}: {}", error.message());
        println!("{text}: {} {:?}", error.message(), error.hint());
    }
    // Bytes of another encoding are not in the shards' order.
    client.batch_execute("SET client_encoding = 'WIN1252'").await.unwrap();
    for text in
        ["SELECT DISTINCT name FROM users", "SELECT name COLLATE \"C\" FROM users ORDER BY 1"]
    {
        let error = client.simple_query(text).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED), "{text}");
    }
    assert_eq!(rows(client.simple_query("SELECT count(*) FROM users").await.unwrap()), ["40"]);
}

#[test]
fn shard_with_another_collation_has_no_order_by_text() {
    let spread = spread();
    let insert = |id| format!("INSERT INTO users (id, name) VALUES ({id}, 'u{id}');\n");
    assert_eq!(psql(&spread.url(), &(1..=USERS).map(insert).collect::<String>()).stderr, "");
    let [first, second, ..] = one_each();
    let elsewhere = format!("SELECT max(name) FROM users WHERE id IN ({first}, {second})");
    let by_text = [
        ("SELECT name FROM users ORDER BY name LIMIT 1", "u1\n"),
        ("SELECT max(name) FROM users", "u9\n"),
        ("SELECT name, count(*) FROM users GROUP BY name ORDER BY name LIMIT 1", "u1|1\n"),
    ];
    let others = [
        ("SELECT name FROM users ORDER BY name COLLATE \"C\" LIMIT 1", "u1\n".to_owned()),
        (elsewhere.as_str(), format!("u{}\n", first.max(second))),
    ];
    let answer = |text: &str| psql(&spread.url(), text);
    let is_refused = || answer(by_text[0].0).stderr.contains("text is not ordered by its bytes");
    for (create, drop) in [
        ("CREATE TABLE named (name text COLLATE \"en-x-icu\")", "DROP TABLE named"),
        ("CREATE DOMAIN named AS text COLLATE \"en-x-icu\"", "DROP DOMAIN named"),
    ] {
        for (text, wanted) in by_text {
            assert_eq!(answer(text).stdout, wanted, "{text}");
        }
        let there = |sql: &str| spread.shards[3].primary().sql(APP_DATABASE, &owned(sql)).unwrap();
        there(create);
        eventually("it is seen", LIMIT, is_refused);
        for (text, _) in by_text {
            let said = answer(text).stderr;
            assert!(said.contains("text is not ordered by its bytes"), "{text}: {said}");
        }
        for (text, wanted) in &others {
            assert_eq!(answer(text).stdout, *wanted, "{text}");
        }
        there(drop);
        eventually("it is seen to be gone", LIMIT, || !is_refused());
    }
}

/// As asyncpg does it, for each shard and for all.
#[test]
fn what_was_prepared_with_a_flush_runs_wherever_it_is_for() {
    let spread = spread();
    let startup = [("user", APP_USER), ("database", APP_DATABASE)];
    let mut client = wire::Client::login_with(spread.pooler.port(), &startup, PASSWORD);
    for (at, id) in one_each().into_iter().enumerate() {
        let insert = format!("insert into users (id, name) values ({id}, $1::text)");
        client.talk(&format!("P i{at} {insert} / H"), "1");
        client.talk(&format!("B i{at} u / E / S"), "2 C[INSERT 0 1] ZI");
    }
    for (at, id) in one_each().into_iter().enumerate() {
        client.talk("Q begin / Q set local work_mem = '5MB'", "C[BEGIN] ZT C[SET] ZT");
        client.talk(
            &format!("P n{at} select name from users where id = {id} / D n{at} / H"),
            "1 t T",
        );
        client.talk(&format!("B n{at} / E / S"), "2 D[u] C[SELECT 1] ZT");
        client.talk("Q commit", "C[COMMIT] ZI");
    }
    client.talk("P all select count(*) from users where name = $1::text / D all / H", "1 t T");
    client.talk("B all u / E / S", "2 D[4] C[SELECT 1] ZI");
    client.talk("P - select count(*) from users where name = $1::text / H", "1");
    client.talk("B - u / p / E / S", "2 T D[4] C[SELECT 1] ZI");
    client.talk(
        "P - select 1 from users where id > $1::bigint limit 1 / B - 0 / p / E / S",
        "1 2 T D[1] C[SELECT 1] ZI",
    );
    // Two statements over several shards are no request.
    client.talk("B all u / E / B all u / E / S", "E[0A000] ZI");
    client.talk("B all u / E 1 / S", "E[0A000] ZI");
    client.talk("B all u / E / C all / S", "2 D[4] C[SELECT 1] 3 ZI");
    client.talk("B all u / E / S", "E[26000] ZI");
    client.talk("Q begin", "C[BEGIN] ZT");
    client.talk("Q select count(*) from users", "E[0A000] ZE");
    client.talk("Q rollback", "C[ROLLBACK] ZI");
    client.talk(
        "Q select count(*) from users / Q select count(*) from users",
        "T D[4] C[SELECT 1] ZI T D[4] C[SELECT 1] ZI",
    );
}

/// The most memory that a process has had, in KiB.
pub fn memory_most_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn ordered_rows_are_streamed() {
    let (spread, mut client) = long();
    client.hears_up_to("ZI");
    let before = memory_most_kib(spread.pooler.pid());
    client.say("Q select id, name from users order by id");
    assert_eq!(client.hear().tag, b'T');
    for at in 0..160_000 {
        let row = client.hear();
        assert_eq!((row.tag, row.values()[0].parse().ok()), (b'D', Some(at / 4 + 1)));
    }
    client.hears("C[SELECT 160000] ZI");
    let grown = memory_most_kib(spread.pooler.pid()) - before;
    // Of 160 MB.
    assert!(grown < 16 * 1024, "{grown} KiB");
}

#[test]
fn what_comes_around_a_request_is_answered_as_by_one_server() {
    let spread = spread();
    let mut client = super::writes::login(&spread);
    let (read, id) = ("SELECT count(*) FROM users", one_each()[0]);
    // What is behind a request that has failed is skipped, up to its Sync.
    let insert = format!("P - INSERT INTO users (id) VALUES ({id}) / B - / E / S");
    client.talk(&format!("P - {read} / B - / E / H / {insert}"), "E[0A000] ZI");
    client.talk(&format!("Q {read}"), "T D[0] C[SELECT 1] ZI");
    client.talk("P s SELECT 1 / S", "1 ZI");
    client.talk(&format!("C s / Q {read}"), "3 T D[0] C[SELECT 1] ZI");
    client.talk("P s SELECT 2 / S", "1 ZI");
    client.talk(&format!("C s / P s {read} / B s / E / S"), "3 1 2 D[0] C[SELECT 1] ZI");
    client.talk(&format!("P s {read} / B s / E / S"), "E[42P05] ZI");
    client.talk("B s / E / C s / S", "2 D[0] C[SELECT 1] 3 ZI");
    client.talk("B s / E / S", "E[26000] ZI");
}

#[test]
fn transaction_that_has_no_shard_yet_may_read_over_several() {
    let spread = spread();
    spread.reload_with("allow_fan_out_in_transactions = true");
    let mut client = super::writes::login(&spread);
    let (read, id) = ("SELECT count(*) FROM users", one_each()[1]);
    client.talk(&format!("Q BEGIN / Q {read}"), "C[BEGIN] ZT T D[0] C[SELECT 1] ZT");
    client.talk(&format!("P - {read} / B - / E / S"), "1 2 D[0] C[SELECT 1] ZT");
    client.talk(&format!("Q INSERT INTO users (id) VALUES ({id})"), "C[INSERT 0 1] ZT");
    client.talk(&format!("Q {read} / Q COMMIT"), "E[0A000] ZE C[ROLLBACK] ZI");
    // What fails fails the transaction, which has no server to say so.
    client.talk("Q BEGIN / Q SELECT nothing FROM users", "C[BEGIN] ZT E[42703] ZE");
    client.talk(&format!("Q SELECT 1 / Q {read} / S"), "E[25P02] ZE E[25P02] ZE ZE");
    client.talk("P - SELECT 1 / B - / E / S", "E[25P02] ZE");
    client.talk("Q COMMIT / Q SELECT 1", "C[ROLLBACK] ZI T D[1] C[SELECT 1] ZI");
    client.talk("Q BEGIN / P - SELECT nothing FROM users / B - / E / S", "C[BEGIN] ZT E[42703] ZE");
    client.talk(&format!("Q ROLLBACK / Q {read}"), "C[ROLLBACK] ZI T D[0] C[SELECT 1] ZI");
    client.talk("Q BEGIN / Q SELECT nothing FROM users", "C[BEGIN] ZT E[42703] ZE");
    client.talk("P - ROLLBACK / B - / E / S", "1 2 C[ROLLBACK] ZI");
    // Changes are refused, as ever.
    let all = "/* pgweir: all_shards */ DELETE FROM users";
    client
        .talk(&format!("Q BEGIN / Q {all} / Q ROLLBACK"), "C[BEGIN] ZT E[0A000] ZE C[ROLLBACK] ZI");
}
