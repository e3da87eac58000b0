//! A commit that a replica shows before the primary does: the one thing that a session may see go back.

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::reads::{Scene, connect, value};
use crate::support::{LIMIT, PostgresServer, eventually};

const COUNT: &str = "SELECT count(*) FROM t";
const ON_PRIMARY: &str = "/* pgweir: primary */ SELECT count(*) FROM t";

/// A write that waits for its standby: it is flushed and streamed, and its transaction not over. With
/// how many rows there are then.
fn waits(scene: &Scene, primary: &PostgresServer) -> (JoinHandle<()>, String) {
    for rows in 1.. {
        let writer = scene.client("");
        let insert = format!("INSERT INTO t VALUES ({rows}, 1)");
        let write = async move { drop(writer.simple_query(&insert).await.unwrap()) };
        let write = scene.runtime.spawn(write);
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        // Before the server has taken the setting to heart, it is over.
        eventually("it waits or is over", LIMIT, || {
            write.is_finished() || primary.sql("postgres", waiting).unwrap() == "1"
        });
        if !write.is_finished() {
            return (write, rows.to_string());
        }
    }
    unreachable!()
}

/// A session that has read all of these rows on a replica.
async fn reads_all(scene: &Scene, rows: &str) -> Client {
    tokio::time::timeout(LIMIT, async {
        loop {
            let reader = connect(&scene.pooler, "").await;
            let found = value(&reader, COUNT).await;
            let route = value(&reader, "SHOW pgweir.last_route").await;
            if found == rows && route.starts_with("replica ") {
                return reader;
            }
        }
    })
    .await
    .expect("a replica shows them")
}

#[test]
fn commit_is_on_the_primary_at_once_when_its_writer_is_told_and_maybe_on_a_replica_before() {
    let scene = Scene::new(1, "");
    let primary = scene.cluster.primary();
    primary.set("synchronous_standby_names", "nobody").unwrap();
    let (write, rows) = waits(&scene, primary);
    let before = (rows.parse::<usize>().unwrap() - 1).to_string();
    let reader = scene.runtime.block_on(async {
        let reader = reads_all(&scene, &rows).await;
        // As Postgres has it: nothing that is asked there would tell of it.
        assert_eq!(value(&reader, ON_PRIMARY).await, before);
        assert!(!write.is_finished());
        reader
    });
    primary.set("synchronous_standby_names", "").unwrap();
    scene.runtime.block_on(async {
        write.await.unwrap();
        for reader in [&reader, &connect(&scene.pooler, "").await] {
            assert_eq!(value(reader, ON_PRIMARY).await, rows);
            assert_eq!(value(reader, COUNT).await, rows);
        }
    });
}
