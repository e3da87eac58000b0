//! What users, settings and hosts are like counts for where reads run, and is told to who asks.

use std::time::{Duration, Instant};

use super::hosts::configuration;
use super::reads::{Scene, connect, here, value};
use crate::support::{
    APP_DATABASE, APP_USER, LIMIT, PASSWORD, Pooler, PostgresServer, eventually, psql_rows,
};

/// A commit that is flushed much later than it is told is seen all the same.
#[test]
fn own_writes_are_seen_though_they_are_flushed_later_than_told() {
    let cluster = Scene::cluster(1);
    cluster.primary().set("wal_writer_delay", "1500ms").unwrap();
    let scene = Scene::of(cluster, "");
    let [replica] = scene.cluster.replicas() else { panic!("a replica") };
    let on_replica = |id: i32| {
        let count = format!("SELECT count(*) FROM t WHERE id = {id}");
        replica.sql(APP_DATABASE, &count).unwrap()
    };
    let mut late = 0;
    for (id, (options, before, after)) in [
        ("-c synchronous_commit=off", "", ""),
        ("", "SET synchronous_commit = off", "RESET synchronous_commit"),
        ("", "BEGIN; SET LOCAL synchronous_commit TO 'off'", "COMMIT"),
    ]
    .into_iter()
    .cycle()
    .take(6)
    .enumerate()
    {
        let id = i32::try_from(id).unwrap();
        scene.runtime.block_on(async {
            let client = connect(&scene.pooler, options).await;
            client.batch_execute(before).await.unwrap();
            let insert = format!("INSERT INTO t VALUES ({id}, 1)");
            client.batch_execute(&insert).await.unwrap();
            client.batch_execute(after).await.unwrap();
            let told = Instant::now();
            late += usize::from(on_replica(id) == "0");
            while told.elapsed() < Duration::from_millis(400) {
                let count = format!("SELECT count(*) FROM t WHERE id = {id}");
                assert_eq!(value(&client, &count).await, "1", "{options} {before}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    assert!(late > 0, "none of them was flushed late: it shows nothing");
}

#[test]
fn user_who_may_only_read_begins_on_a_replica() {
    let cluster = Scene::cluster(1);
    let hosts = [&cluster.replicas()[0], cluster.primary()];
    let toml = configuration(&hosts, "");
    let pooler = Pooler::start(&toml.replacen(
        &format!("[users.{APP_USER}]\n"),
        &format!("[users.{APP_USER}]\nread_only = true\n"),
        1,
    ));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let reader = runtime.block_on(connect(&pooler, ""));
    eventually("its transactions run on the replica", LIMIT, || {
        runtime.block_on(async {
            reader.batch_execute("BEGIN").await.unwrap();
            let place = value(&reader, "SELECT inet_server_port()").await;
            reader.batch_execute("COMMIT").await.unwrap();
            place == hosts[0].port().to_string()
        })
    });
    assert_eq!(runtime.block_on(here(&reader)), hosts[0].port());
}

/// What the console says of a text: its lines of these names.
fn explained(pooler: &Pooler, names: [&str; 2], text: &str) -> Vec<String> {
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let rows = psql_rows(&console, &format!("EXPLAIN ROUTE {APP_DATABASE} {text}"));
    let is_named = |row: &&str| names.iter().any(|name| row.starts_with(&format!("{name}|")));
    rows.lines().filter(is_named).map(str::to_owned).collect()
}

#[test]
fn explanation_tells_of_each_host_and_of_what_keeps_reads_from_all() {
    let scene = Scene::new(1, "max_lag = 1");
    let (primary, replica) = (scene.cluster.primary(), &scene.cluster.replicas()[0]);
    let line = |server: &PostgresServer, told: &[String]| {
        let start = format!("host|127.0.0.1:{}: ", server.port());
        told.iter().find_map(|line| line.strip_prefix(&start).map(str::to_owned)).unwrap()
    };
    let all = || explained(&scene.pooler, ["now", "host"], "SELECT count(*) FROM t");
    let told = all();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(line(primary, &told), "primary, up, eligible: no: primary");
    let of_replica = line(replica, &told);
    assert!(
        of_replica.starts_with("replica, up, lag ") && of_replica.ends_with("s, eligible: yes")
    );
    replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
    primary.sql(APP_DATABASE, "INSERT INTO t VALUES (1, 1)").unwrap();
    eventually("it lags too much", LIMIT, || {
        let told = all();
        line(replica, &told).ends_with("s, eligible: no: lag")
            && told.contains(&"now|primary: lagging".to_owned())
    });
    replica.sql("postgres", "SELECT pg_wal_replay_resume()").unwrap();
    eventually("it may be read from", LIMIT, || all().len() == 2);
    let write = explained(&scene.pooler, ["now", "target"], "DELETE FROM t");
    assert_eq!(write, ["target|primary"]);
    let hosts = [primary, replica];
    let off = Pooler::start(&configuration(&hosts, "read_routing = \"off\""));
    eventually("nothing is read from replicas", LIMIT, || {
        explained(&off, ["now", "target"], "SELECT 1")
            == ["target|replica", "now|primary: not_asked"].map(str::to_owned)
    });
}
