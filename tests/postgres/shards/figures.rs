//! Figures of a database with shards: each is told where it belongs.

use std::collections::HashMap;

use tokio_postgres::{Client, NoTls};

use super::through::{Spread, one_each, spread_by};
use crate::console;
use crate::support::{LIMIT, eventually};

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
