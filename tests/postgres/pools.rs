//! Columns of SHOW POOLS, SERVERS and CLIENTS that are seldom other than 0.

use std::collections::HashMap;
use std::process::Command;

use tokio_postgres::NoTls;

use crate::console;
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, cluster, eventually, psql_rows,
};

fn configuration(cluster: &Cluster, general: &str, users: &[&str]) -> String {
    let port = cluster.primary().port();
    let mut toml = format!(
        "listen_port = 0\nadmin_users = \"boss\"\ndefault_pool_size = 1\n{general}\n\
         [databases.{APP_DATABASE}]\nhost = \"127.0.0.1\"\nport = {port}\n"
    );
    for user in users {
        toml += &format!("[users.{user}]\npassword = \"{PASSWORD}\"\n");
    }
    toml
}

/// The lines of a table that are the application's, by column.
#[track_caller]
fn table(pooler: &Pooler, sql: &str) -> Vec<HashMap<String, String>> {
    let rows = console::table(pooler, sql).into_iter();
    rows.filter(|row| row["database"] == APP_DATABASE).collect()
}

/// Some columns of the only pool.
#[track_caller]
fn pool<const N: usize>(pooler: &Pooler, columns: [&str; N]) -> [usize; N] {
    let rows = table(pooler, "SHOW POOLS");
    let [row] = rows.as_slice() else { panic!("{rows:#?}") };
    columns.map(|column| row[column].parse().unwrap())
}

const CANCELS: [&str; 6] = [
    "cl_active_cancel_req",
    "cl_waiting_cancel_req",
    "sv_active",
    "sv_active_cancel",
    "sv_being_canceled",
    "sv_idle",
];

/// A postmaster that stands still takes no cancel; its servers go on.
#[tokio::test(flavor = "multi_thread")]
async fn cancel_that_does_not_land_is_shown_and_so_is_the_server_that_waits_for_it() {
    let cluster = cluster();
    let general = "http_listen = \"127.0.0.1:0\"\ncancel_wait_timeout = 30";
    let pooler = Pooler::start(&configuration(&cluster, general, &[APP_USER, "boss"]));
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let (asker, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let cancel = asker.cancel_token();
    let turn = "SELECT pg_advisory_lock(7), pg_advisory_unlock(7)";
    let gate = cluster.primary().url(APP_USER, PASSWORD, APP_DATABASE);
    let (gate, connection) = tokio_postgres::connect(&gate, NoTls).await.unwrap();
    tokio::spawn(connection);
    gate.simple_query("SELECT pg_advisory_lock(7)").await.unwrap();
    let query = tokio::spawn(async move { asker.simple_query(turn).await.map(drop) });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    eventually("the query waits", LIMIT, || {
        cluster.primary().sql("postgres", waits).unwrap() == "1"
    });
    assert_eq!(pool(&pooler, CANCELS), [0, 0, 1, 0, 0, 0]);

    let postmaster = cluster.primary().pid().unwrap().to_string();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &postmaster]).status().unwrap().success());
    };
    signal("-STOP");
    let cancelling = tokio::spawn(async move { cancel.cancel_query(NoTls).await });
    eventually("the cancel is under way", LIMIT, || pool(&pooler, CANCELS) == [1, 0, 1, 1, 0, 0]);
    // It comes to its end by itself: its server is kept from others.
    gate.simple_query("SELECT pg_advisory_unlock(7)").await.unwrap();
    query.await.unwrap().unwrap();
    eventually("its server is held", LIMIT, || pool(&pooler, CANCELS) == [1, 0, 0, 1, 1, 0]);
    let metrics = crate::console::fetch(&pooler, "/metrics");
    for name in ["client_active_cancel", "server_active_cancel", "server_being_canceled"] {
        let line =
            format!("pgbouncer_pools_{name}_connections{{database=\"shop\",user=\"app\"}} 1");
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    signal("-CONT");
    cancelling.await.unwrap().unwrap();
    eventually("it has landed", LIMIT, || pool(&pooler, CANCELS) == [0, 0, 0, 0, 0, 1]);
}

#[test]
fn servers_that_have_idled_for_long_are_used_ones() {
    let cluster = cluster();
    let toml = configuration(&cluster, "server_check_delay = 0.5", &[APP_USER, "boss"]);
    let pooler = Pooler::start(&toml);
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let columns = ["sv_active", "sv_idle", "sv_used", "sv_tested"];
    psql_rows(&url, "SELECT 1");
    eventually("it has to be checked", LIMIT, || pool(&pooler, columns) == [0, 0, 1, 0]);
    psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SET server_check_delay = 1000");
    assert_eq!(pool(&pooler, columns), [0, 1, 0, 0]);
}

#[test]
fn server_that_has_died_while_idle_is_not_shown_for_long() {
    let cluster = cluster();
    let pooler =
        Pooler::start(&configuration(&cluster, "log_disconnections = true", &[APP_USER, "boss"]));
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let idle = || pool(&pooler, ["sv_idle", "sv_used"]).iter().sum::<usize>();
    psql_rows(&url, "SELECT 1");
    eventually("it is given back", LIMIT, || idle() == 1);
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{APP_USER}'"
    );
    assert_eq!(cluster.primary().sql("postgres", &end).unwrap(), "t");
    eventually("it is missed", LIMIT, || idle() == 0);
    assert!(pooler.log().contains("closing because: server conn crashed?"), "{}", pooler.log());
    psql_rows(&url, "SELECT 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_go_as_soon_as_they_can_need_a_close() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, "", &[APP_USER, "boss"]));
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.simple_query("BEGIN; SELECT 1").await.unwrap();
    let needed = |sql: &str| {
        let rows = table(&pooler, sql);
        rows.iter().map(|row| row["close_needed"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (needed("SHOW SERVERS"), needed("SHOW CLIENTS")),
        (vec!["0".into()], vec!["0".into()])
    );
    psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "RECONNECT");
    assert_eq!(
        (needed("SHOW SERVERS"), needed("SHOW CLIENTS")),
        (vec!["1".into()], vec!["0".into()])
    );
    client.simple_query("COMMIT").await.unwrap();
    client.simple_query("BEGIN; SELECT 1").await.unwrap();
    assert_eq!(needed("SHOW SERVERS"), ["0"]);

    pooler.rewrite(&configuration(&cluster, "", &["boss"]));
    psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "RELOAD");
    assert_eq!(needed("SHOW CLIENTS"), ["1"], "its user is gone");
    client.simple_query("COMMIT").await.unwrap();
    eventually("it has gone", LIMIT, || needed("SHOW CLIENTS").is_empty());
}
