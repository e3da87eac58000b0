//! Figures of a database with shards: each is told where it belongs.

use std::collections::HashMap;

use tokio_postgres::{Client, NoTls};

use super::through::{Spread, one_each, spread_by};
use crate::console;
use crate::support::{APP_DATABASE, LIMIT, PASSWORD, SUPERUSER, eventually};

/// A client that calls itself so.
async fn called(spread: &Spread, name: &str) -> Client {
    let url = format!("{}?application_name={name}", spread.url());
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Some columns of a command's only row that has this in a column.
#[track_caller]
fn row<const N: usize>(
    spread: &Spread,
    command: &str,
    (key, value): (&str, &str),
    columns: [&str; N],
) -> [String; N] {
    let mut rows: Vec<HashMap<String, String>> = console::table(&spread.pooler, command);
    rows.retain(|row| row[key] == value);
    let [row] = rows.as_slice() else { panic!("{rows:#?}") };
    columns.map(|column| row[column].clone())
}

const POOL: [&str; 3] = ["cl_active", "cl_waiting", "sv_active"];

/// Clients in the pools of the first two shards.
#[track_caller]
fn in_pools(spread: &Spread) -> [[String; 3]; 2] {
    ["shop", "shop/b"].map(|pool| row(spread, "SHOW POOLS", ("database", pool), POOL))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_at_a_shard_is_told_with_who_holds_its_servers() {
    let spread = spread_by("bigint", "default_pool_size = 1\nquery_wait_timeout = 60");
    let [a, b, ..] = one_each();
    let (other, guilty) = (called(&spread, "other").await, called(&spread, "guilty").await);
    let waiter = called(&spread, "waiter").await;
    for (client, id) in [(&other, a), (&guilty, b)] {
        client.batch_execute("BEGIN").await.unwrap();
        let text = format!("SELECT name FROM users WHERE id = {id}");
        client.batch_execute(&text).await.unwrap();
    }
    let waits = tokio::spawn(async move {
        waiter.simple_query(&format!("SELECT id FROM users WHERE id = {b}")).await.map(drop)
    });
    eventually("it waits", LIMIT, || spread.console("SHOW WAITING").lines().count() == 1);
    let columns = [
        "database",
        "pool",
        "sv_active",
        "pool_size",
        "holder_application_name",
        "holder_statement",
    ];
    let told = row(&spread, "SHOW WAITING", ("application_name", "waiter"), columns);
    let statement = "SELECT name FROM users WHERE id = ?";
    assert_eq!(told, ["shop", "shop/b", "1", "1", "guilty", statement]);
    assert_eq!(in_pools(&spread), [["1", "0", "1"], ["1", "1", "1"]]);
    // Those who have no server are clients of their database.
    guilty.batch_execute("COMMIT").await.unwrap();
    waits.await.unwrap().unwrap();
    other.batch_execute("COMMIT").await.unwrap();
    eventually("nobody has a server", LIMIT, || {
        in_pools(&spread) == [["2", "0", "0"], ["0", "0", "0"]]
    });
}

const TOTALS: [&str; 2] = ["query_count", "xact_count"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_over_several_shards_is_one_of_one_client() {
    let spread = spread_by("bigint", "query_stats_size = \"1 MiB\"");
    let client = called(&spread, "asker").await;
    let ids = one_each();
    // Who asked first in setting up has been counted by now: nothing else asks.
    let totals = || {
        let mut rows = console::table(&spread.pooler, "SHOW STATS_TOTALS");
        rows.retain(|row| row["database"].starts_with("shop"));
        let sum = |column| rows.iter().map(|row| row[column].parse::<u64>().unwrap()).sum::<u64>();
        TOTALS.map(sum)
    };
    let errors = || {
        let rows = console::table(&spread.pooler, "SHOW ERRORS").into_iter();
        rows.map(|row| row["count"].parse::<u64>().unwrap()).sum::<u64>()
    };
    let (mut before, failed) = (totals(), errors());
    let mut grown = |by: u64| {
        let wanted = before.map(|count| count + by);
        eventually("they are counted", LIMIT, || totals() == wanted);
        before = wanted;
    };
    for id in ids {
        let text = format!("INSERT INTO users (id, name) VALUES ({id}, 'one')");
        client.batch_execute(&text).await.unwrap();
    }
    grown(4);
    let read = "SELECT id FROM users ORDER BY id";
    for _ in 0..3 {
        assert_eq!(client.simple_query(read).await.unwrap().len(), 6);
    }
    grown(3);
    let all = "/* pgweir: all_shards */ UPDATE users SET name = 'all'";
    client.batch_execute(all).await.unwrap();
    let prepared = client.prepare("SELECT id FROM users WHERE name = $1").await.unwrap();
    grown(2);
    assert_eq!(client.query(&prepared, &[&"all"]).await.unwrap().len(), 4);
    grown(1);
    // What fails on all shards is one error of one request.
    client.batch_execute("SELECT 1 / (id - id) FROM users").await.unwrap_err();
    grown(1);
    assert_eq!(errors(), failed + 1);
    let queries = console::table(&spread.pooler, "SHOW QUERIES");
    let calls = |text: &str| {
        let own = queries.iter().filter(|row| row["query"] == text);
        own.map(|row| (row["database"].as_str(), row["calls"].as_str())).collect::<Vec<_>>()
    };
    assert_eq!(calls(read), [("shop", "3")], "{queries:#?}");
    assert_eq!(calls("UPDATE users SET name = ?"), [("shop", "1")]);
    assert!(calls("BEGIN").is_empty(), "{queries:#?}");
    // While it runs as well.
    let before = row(&spread, "SHOW DATABASES", ("name", "shop"), ["current_client_connections"]);
    assert_eq!(before, ["1"]);
    // They are asked one after the other: the last one keeps all the others.
    let last = spread.shards.last().unwrap().primary();
    let url = last.url(SUPERUSER, PASSWORD, APP_DATABASE);
    let (lock, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    lock.batch_execute("BEGIN; LOCK TABLE users").await.unwrap();
    let legs = || {
        let rows = console::table(&spread.pooler, "SHOW POOLS");
        let active = rows.iter().filter(|row| row["database"].starts_with("shop"));
        active.filter(|row| row["sv_active"] == "1").count()
    };
    // What has failed on all shards may still be given up on some.
    eventually("nothing runs", LIMIT, || legs() == 0);
    let slow = tokio::spawn(async move { client.simple_query(read).await.map(drop) });
    let everywhere = [["1", "0", "1"], ["0", "0", "1"]];
    eventually("it runs everywhere", LIMIT, || legs() == 4 && in_pools(&spread) == everywhere);
    let now = row(&spread, "SHOW DATABASES", ("name", "shop"), ["current_client_connections"]);
    let user = row(&spread, "SHOW USERS", ("name", "app"), ["current_client_connections"]);
    assert_eq!((now, user), (before.clone(), before));
    drop(lock);
    slow.await.unwrap().unwrap();
}
