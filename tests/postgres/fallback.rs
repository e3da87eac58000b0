//! What happens to the primary when no replica is there to answer reads.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::reads::{Scene, connect, value};
use crate::support::{APP_DATABASE, LIMIT, PASSWORD, eventually, psql_rows};

/// How many reads run on the primary.
const RUNNING: &str = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slowly%' \
    AND pid <> pg_backend_pid() AND state = 'active'";

#[test]
fn reads_leave_half_of_the_primary_to_writes_while_no_replica_is_there() {
    let scene = Arc::new(Scene::new(1, "default_pool_size = 5"));
    let console = scene.pooler.url("boss", PASSWORD, "pgweir");
    let replica = format!("\"127.0.0.1:{}\"", scene.cluster.replicas()[0].port());
    psql_rows(&console, &format!("BAN {replica}"));
    let running =
        || scene.cluster.primary().sql(APP_DATABASE, RUNNING).unwrap().parse::<usize>().unwrap();
    let mut reads = JoinSet::new();
    for _ in 0..8 {
        let client = scene.client("");
        let read = async move { value(&client, "SELECT 1 FROM slowly()").await };
        reads.spawn_on(read, scene.runtime.handle());
    }
    eventually("the budget is spent", LIMIT, || running() == 3);
    scene.runtime.block_on(async {
        let client = connect(&scene.pooler, "").await;
        for turn in 0..20 {
            let insert = format!("INSERT INTO t VALUES ({turn}, 1)");
            client.simple_query(&insert).await.unwrap();
        }
        let update = client.execute("UPDATE t SET n = 2", &[]).await.unwrap();
        assert_eq!(update, 20);
    });
    assert_eq!(running(), 3);
    let waiting = psql_rows(&console, "SHOW WAITING");
    assert_eq!(waiting.lines().count(), 5, "{waiting}");
    // With a replica those who wait are answered in their turn all the same.
    psql_rows(&console, &format!("UNBAN {replica}"));
    let read = scene.runtime.block_on(reads.join_all());
    assert_eq!(read, ["1"; 8]);
}

#[test]
fn read_that_waits_for_its_turn_in_vain_is_told_why() {
    let general = "default_pool_size = 1\nquery_wait_timeout = 0.5";
    let scene = Scene::new(1, general);
    let console = scene.pooler.url("boss", PASSWORD, "pgweir");
    let replica = format!("\"127.0.0.1:{}\"", scene.cluster.replicas()[0].port());
    psql_rows(&console, &format!("BAN {replica}"));
    scene.runtime.block_on(async {
        let [first, second] = [connect(&scene.pooler, "").await, connect(&scene.pooler, "").await];
        let slow = tokio::spawn(async move { value(&first, "SELECT 1 FROM slowly()").await });
        eventually("it runs", LIMIT, || {
            scene.cluster.primary().sql(APP_DATABASE, RUNNING).unwrap() == "1"
        });
        let error = second.simple_query("SELECT 2").await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "53300");
        assert!(error.detail().unwrap().contains("fallback_percent leaves 1 server"), "{error:?}");
        let answer = tokio::time::timeout(Duration::from_secs(30), slow).await.unwrap();
        assert_eq!(answer.unwrap(), "1");
        assert_eq!(value(&second, "SELECT 3").await, "3");
    });
}
