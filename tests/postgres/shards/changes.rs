//! What an operator sees of shards, and changes: the console, RELOAD, PAUSE, replicas of a shard.

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls};

use super::sessions::{add_users, assert_refused, simple, told};
use super::through::{Spread, configuration, home, one_each, owned, spread};
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, StopMode, cluster,
    cluster_with_replicas, eventually, psql, psql_rows,
};

#[test]
fn console_says_where_keys_and_statements_are() {
    let spread = spread();
    let ports: Vec<u16> = spread.shards.iter().map(|shard| shard.primary().port()).collect();
    let wanted: Vec<String> = ["a", "b", "c", "d"]
        .iter()
        .zip(&ports)
        .map(|(name, port)| {
            let (pools, default) = match *name {
                "a" => (APP_DATABASE.to_owned(), "yes"),
                name => (format!("{APP_DATABASE}/{name}"), "no"),
            };
            format!(
                "{APP_DATABASE}|{name}|{pools}|127.0.0.1:{port}|{default}|0|users: 1 of 4 buckets"
            )
        })
        .collect();
    assert_eq!(spread.console("SHOW SHARDS"), wanted.join("\n"));
    for (id, name) in one_each().into_iter().zip(["a", "b", "c", "d"]) {
        let found = spread.console(&format!("SHOW SHARD FOR '{id}'"));
        assert_eq!(found, format!("{APP_DATABASE}|users|bigint|{}|{name}|", home(id)));
    }
    let found = spread.console("SHOW SHARD FOR 'x'");
    assert_eq!(found, format!("{APP_DATABASE}|users|bigint|||the shard key is no bigint"));

    let explained = |text: &str| spread.console(&format!("EXPLAIN ROUTE {APP_DATABASE} {text}"));
    let b = one_each()[1];
    for (text, lines) in [
        (
            format!("SELECT * FROM users WHERE id = {b}"),
            ["shard|b", "shard because|of the key of users"],
        ),
        (
            "SELECT * FROM users u JOIN orders o ON o.user_id = u.id WHERE o.user_id = $1"
                .to_owned(),
            ["shard|that of the key in $1", "shard because|of the key of"],
        ),
        ("SELECT * FROM countries".to_owned(), ["shard|any", "shard because|every shard has"]),
        ("SELECT * FROM notes".to_owned(), ["shard|a", "shard because|it is the default one"]),
        (
            "/* pgweir: shard=c */ SELECT * FROM users".to_owned(),
            ["shard|c", "shard because|a comment names it"],
        ),
        (
            "SELECT * FROM users".to_owned(),
            ["shard|a, b, c, d", "shard because|users has rows on all of them"],
        ),
        (
            "SELECT rank() OVER (ORDER BY id) FROM users".to_owned(),
            ["shard|none", "refused|can't be run on shards: table users: "],
        ),
    ] {
        let found = explained(&text);
        for line in lines {
            assert!(found.lines().any(|found| found.starts_with(line)), "{text}: {found}");
        }
    }
}

pub fn reload(spread: &Spread, toml: &str) {
    spread.pooler.rewrite(toml);
    let ended = psql(&spread.pooler.url("boss", PASSWORD, "pgweir"), "RELOAD");
    assert!(ended.status.success(), "{}", ended.stderr);
}

#[tokio::test]
async fn shard_that_a_reload_moves_is_followed_from_the_next_transaction_on() {
    let mut spread = spread();
    let (ids, elsewhere) = (one_each(), cluster());
    let mut client = spread.client().await;
    add_users(&client, &ids).await;
    let table = "CREATE TABLE users (id bigint PRIMARY KEY, name text)";
    let sql = format!("{table}; INSERT INTO users VALUES ({}, 'moved')", ids[1]);
    elsewhere.primary().sql(APP_DATABASE, &owned(&sql)).unwrap();
    let by_key = client.prepare("SELECT name FROM users WHERE id = $1").await.unwrap();
    let idle = spread.client().await;
    assert_eq!(simple(&idle, "SELECT n FROM notes").await, ["1"]);

    let transaction = client.transaction().await.unwrap();
    let name: String = transaction.query_one(&by_key, &[&ids[1]]).await.unwrap().get(0);
    assert_eq!(name, format!("u{}", ids[1]));
    spread.shards.insert(1, elsewhere);
    let old = spread.shards.remove(2);
    reload(&spread, &configuration(&spread.shards, ""));
    // It goes on where it is.
    let name: String = transaction.query_one(&by_key, &[&ids[1]]).await.unwrap().get(0);
    assert_eq!(name, format!("u{}", ids[1]));
    transaction.commit().await.unwrap();
    for (shard, id) in ids.iter().enumerate() {
        let wanted = if shard == 1 { "moved".to_owned() } else { format!("u{id}") };
        let name: String = client.query_one(&by_key, &[id]).await.unwrap().get(0);
        assert_eq!(name, wanted);
        let text = format!("SELECT name FROM users WHERE id = {id}");
        assert_eq!(simple(&idle, &text).await, [wanted]);
    }
    drop(old);
}

#[tokio::test]
async fn transaction_that_has_no_server_yet_follows_its_shard_elsewhere() {
    let mut spread = spread();
    let (ids, elsewhere) = (one_each(), cluster());
    let client = spread.client().await;
    let by_key = format!("SELECT name FROM users WHERE id = {}", ids[1]);
    assert_eq!(simple(&client, &by_key).await, [""; 0]);
    client.batch_execute("BEGIN").await.unwrap();
    let table = "CREATE TABLE users (id bigint PRIMARY KEY, name text)";
    elsewhere.primary().sql(APP_DATABASE, &owned(table)).unwrap();
    spread.shards.insert(1, elsewhere);
    let old = spread.shards.remove(2);
    reload(&spread, &configuration(&spread.shards, ""));
    let insert = format!("INSERT INTO users (id, name) VALUES ({}, 'x')", ids[1]);
    client.batch_execute(&insert).await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["0", "1", "0", "0"]);
    drop(old);
}

#[tokio::test]
async fn session_that_knows_other_places_of_keys_ends_with_its_transaction() {
    let spread = spread();
    let ids = one_each();
    let ((idle, idle_end), (begun, begun_end)) = (ending(&spread).await, ending(&spread).await);
    add_users(&idle, &ids).await;
    // It has no server yet.
    begun.batch_execute("BEGIN").await.unwrap();
    let line = "function = \"postgres\"\n";
    let moved = format!("{line}overrides = {{ \"{}\" = \"c\" }}\n", ids[1]);
    let toml = configuration(&spread.shards, "");
    reload(&spread, &toml.replacen(line, &moved, 1));
    // Neither has asked for anything.
    for end in [idle_end, begun_end] {
        let (code, _) = told(&timeout(LIMIT, end).await.unwrap().unwrap().unwrap_err());
        assert_eq!(code, SqlState::ADMIN_SHUTDOWN);
    }
    let client = spread.client().await;
    let text = format!("SELECT name FROM users WHERE id = {}", ids[1]);
    assert_eq!(simple(&client, &text).await, [""; 0]);
    let text = format!("INSERT INTO users VALUES ({}, 'x')", ids[1]);
    assert_refused(client.simple_query(&text).await, "no columns");
    client.batch_execute(&text.replacen("users", "users (id, name)", 1)).await.unwrap();
    assert_eq!(spread.on_each("SELECT count(*) FROM users"), ["1", "1", "2", "1"]);
}

/// A client, and how it ends.
async fn ending(spread: &Spread) -> (Client, JoinHandle<Result<(), Error>>) {
    let (client, connection) = tokio_postgres::connect(&spread.url(), NoTls).await.unwrap();
    (client, tokio::spawn(connection))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_of_a_database_is_of_all_its_shards() {
    let spread = spread();
    let ids = one_each();
    let client = spread.client().await;
    add_users(&client, &ids).await;
    spread.console(&format!("PAUSE {APP_DATABASE}"));
    let paused = spread.console("SHOW SHARDS");
    assert!(paused.lines().all(|line| line.split('|').nth(5) == Some("1")), "{paused}");
    let text = format!("SELECT name FROM users WHERE id = {}", ids[2]);
    let asked = tokio::spawn(async move { simple(&client, &text).await });
    let waits = |database: &str| {
        let pools = spread.console("SHOW POOLS");
        let of = |line: &&str| line.split('|').next() == Some(database);
        let waiting = |line: &str| line.split('|').nth(3) == Some("1");
        pools.lines().find(of).is_some_and(waiting)
    };
    eventually("it waits for its shard", LIMIT, || waits(&format!("{APP_DATABASE}/c")));
    assert!(!asked.is_finished());
    spread.console(&format!("RESUME {APP_DATABASE}"));
    assert_eq!(asked.await.unwrap(), [format!("u{}", ids[2])]);
}

/// What says on which port's server it runs.
const HERE: &str = "CREATE FUNCTION here() RETURNS int STABLE LANGUAGE sql AS \
    'SELECT inet_server_port()'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_of_a_shard_is_read_from_and_shows_what_its_session_wrote() {
    let shards = [cluster(), cluster_with_replicas(1)];
    for shard in &shards {
        let sql = format!("CREATE TABLE users (id bigint, name text); {HERE}");
        shard.primary().sql(APP_DATABASE, &owned(&sql)).unwrap();
    }
    let replica = shards[1].replicas()[0].port();
    let toml = configuration(&shards, "");
    let primary = shards[1].primary().port();
    let one = format!("host = \"127.0.0.1\"\nport = {primary}\n");
    let hosts = format!("hosts = [\"127.0.0.1:{primary}\", \"127.0.0.1:{replica}\"]\n");
    let toml = toml.replacen(&one, &hosts, 1).replacen(
        "function = \"postgres\"",
        "function = \"modulo\"",
        1,
    );
    let pooler = Pooler::start(&toml);
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let port = |id: i64| {
        let ended = psql(&url, &format!("SELECT here() FROM users WHERE id = {id}"));
        ended.stdout.trim().to_owned()
    };
    eventually("rows can be written", LIMIT, || {
        [0, 1].iter().all(|id| {
            psql(&url, &format!("INSERT INTO users (id, name) VALUES ({id}, 'x')")).status.success()
        })
    });
    eventually("its replica is read from", LIMIT, || port(1).starts_with(&replica.to_string()));
    let home = shards[0].primary().port().to_string();
    assert!(port(0).starts_with(&home));
    let client = connect(&url).await;
    for round in 0..40 {
        client
            .batch_execute(&format!("UPDATE users SET name = 'n{round}' WHERE id = 1"))
            .await
            .unwrap();
        let found = simple(&client, "SELECT DISTINCT name FROM users WHERE id = 1").await;
        assert_eq!(found, [format!("n{round}")]);
        let found = simple(&client, "SELECT count(*) > 0 FROM users WHERE id = 0").await;
        assert_eq!(found, ["t"]);
    }
    let url = pooler.url("boss", PASSWORD, "pgweir");
    let explained =
        psql_rows(&url, &format!("EXPLAIN ROUTE {APP_DATABASE} SELECT * FROM users WHERE id = 1"));
    for line in ["shard|b", "target|replica", &format!("host|127.0.0.1:{replica}: replica, up")] {
        assert!(explained.lines().any(|found| found.starts_with(line)), "{explained}");
    }
}

/// What is written from now on does not come to the replica.
fn stop_replay(cluster: &Cluster) {
    cluster.wait_replayed().unwrap();
    let replica = &cluster.replicas()[0];
    replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
    eventually("it is paused", LIMIT, || {
        replica.sql("postgres", "SELECT pg_get_wal_replay_pause_state()").unwrap() == "paused"
    });
}

/// A database over two shards, of which `b` has a replica that lags for as long as one likes.
fn with_replica(general: &str) -> (Vec<Cluster>, Pooler) {
    let shards = vec![cluster(), cluster_with_replicas(1)];
    for shard in &shards {
        let sql = format!("CREATE TABLE users (id bigint, name text); {HERE}");
        shard.primary().sql(APP_DATABASE, &owned(&sql)).unwrap();
    }
    let [primary, replica] = [shards[1].primary().port(), shards[1].replicas()[0].port()];
    let one = format!("host = \"127.0.0.1\"\nport = {primary}\n");
    let hosts = format!("hosts = [\"127.0.0.1:{primary}\", \"127.0.0.1:{replica}\"]\n");
    let toml = configuration(&shards, general).replacen(&one, &hosts, 1);
    let toml = toml.replacen("function = \"postgres\"", "function = \"modulo\"", 1);
    let pooler = Pooler::start(&toml);
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    eventually("rows can be written", LIMIT, || {
        [0, 1].iter().all(|id| {
            psql(&url, &format!("INSERT INTO users (id, name) VALUES ({id}, 'x')")).status.success()
        })
    });
    let here = "SELECT DISTINCT here() FROM users WHERE id = 1";
    eventually("its replica is read from", LIMIT, || {
        psql(&url, here).stdout == format!("{replica}\n")
    });
    (shards, pooler)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_over_shards_go_to_replicas_and_show_what_their_session_wrote() {
    let (shards, pooler) = with_replica("max_lag = 0");
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let names = "SELECT DISTINCT name FROM users ORDER BY name";
    let read = |text: &str| psql(&url, text).stdout.replace('\n', " ");
    stop_replay(&shards[1]);
    let past = "UPDATE users SET name = 'past the pooler'";
    shards[1].primary().sql(APP_DATABASE, past).unwrap();
    let (old, new) = ("x ", "past the pooler x ");
    for text in [names, "SELECT name FROM users WHERE id IN (0, 1) ORDER BY id DESC LIMIT 1"] {
        eventually("the replica is read from", LIMIT, || read(text) == old);
        let primary = read(&format!("/* pgweir: primary */ {text}"));
        assert_eq!(primary, if text == names { new } else { "past the pooler " });
        // Each may come from another, as often as it is run, by all protocols.
        let client = connect(&url).await;
        let prepared = client.prepare(text).await.unwrap();
        let mut latest = old.to_owned();
        for _ in 0..20 {
            for found in [client.query(&prepared, &[]).await, client.query(text, &[]).await] {
                let found: Vec<String> = found.unwrap().iter().map(|row| row.get(0)).collect();
                let found = found.join(" ") + " ";
                assert!(found == latest || found == primary, "{found} behind {latest}");
                latest = found;
            }
        }
    }
    // Who has written sees that, and who has seen that goes on to.
    let client = connect(&url).await;
    client.batch_execute("UPDATE users SET name = 'own' WHERE id = 1").await.unwrap();
    for _ in 0..3 {
        assert_eq!(simple(&client, names).await, ["own", "x"]);
    }
    let client = connect(&url).await;
    let primary = format!("/* pgweir: primary */ {names}");
    assert_eq!(simple(&client, &primary).await, ["own", "x"]);
    assert_eq!(simple(&client, names).await, ["own", "x"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_over_shards_are_no_writes_of_the_database() {
    let (shards, pooler) = with_replica("max_lag = 0\nread_your_writes = \"database\"");
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let count = "SELECT count(*) FROM users";
    let read = |text: &str| psql(&url, text).stdout.trim().to_owned();
    let by_key = "SELECT name FROM users WHERE id = 1";
    stop_replay(&shards[1]);
    let past = "UPDATE users SET name = 'past the pooler'";
    shards[1].primary().sql(APP_DATABASE, past).unwrap();
    // Had one of them counted as a write, no replica would ever be as fresh again.
    for text in [count, "/* pgweir: primary */ SELECT count(*) FROM users", count] {
        assert_eq!(read(text), "2");
        eventually("the replica is read from", LIMIT, || read(by_key) == "x");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_can_not_do_of_a_read_over_shards_the_primaries_do() {
    let (shards, pooler) = with_replica("max_lag = 0");
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    stop_replay(&shards[1]);
    for shard in &shards {
        let sql =
            "CREATE TABLE orders (user_id bigint, total int); INSERT INTO orders VALUES (1, 7)";
        shard.primary().sql(APP_DATABASE, &owned(sql)).unwrap();
    }
    let read = |text: &str| psql(&url, text).stdout;
    // The replica lacks the table.
    eventually("the table is known", LIMIT, || {
        read("SELECT total FROM orders WHERE user_id = 1") == "7\n"
    });
    for _ in 0..20 {
        assert_eq!(read("SELECT sum(total) FROM orders"), "14\n");
        let client = connect(&url).await;
        let prepared =
            client.prepare("SELECT count(*) FROM orders WHERE total > $1").await.unwrap();
        for _ in 0..3 {
            let found: i64 = client.query_one(&prepared, &[&1_i32]).await.unwrap().get(0);
            assert_eq!(found, 2);
        }
        // What fails anywhere fails once.
        let client = connect(&url).await;
        let error = client.simple_query("SELECT 1 / (total - 7) FROM orders").await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
    }
    // Nor is it noticed that it goes away.
    let client = connect(&url).await;
    assert_eq!(simple(&client, "SELECT count(*) FROM users").await, ["2"]);
    shards[1].replicas()[0].stop(StopMode::Immediate).unwrap();
    for _ in 0..20 {
        assert_eq!(simple(&client, "SELECT count(*) FROM users").await, ["2"]);
        assert_eq!(read("SELECT count(*) FROM users"), "2\n");
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
