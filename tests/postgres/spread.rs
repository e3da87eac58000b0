//! Reads are spread over replicas by their weights, under load, as the servers themselves count them.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;

use super::reads::{Scene, here, value};
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, cluster_with_replicas, eventually,
    pgbench, psql_rows,
};

/// How long each load lasts, in seconds.
const SECONDS: &str = "4";
const READ: &str = "\\set id random(1, 1000)\nSELECT n FROM r WHERE id = :id;\n";
const WRITE: &str = "\\set id random(1, 1000)\nUPDATE w SET n = n + 1 WHERE id = :id;\n";

fn cluster() -> Cluster {
    let cluster = cluster_with_replicas(2);
    let sql = format!(
        "CREATE TABLE r (id int PRIMARY KEY, n int); CREATE TABLE w (id int PRIMARY KEY, n int); \
         INSERT INTO r SELECT i, 1 FROM generate_series(1, 1000) i; INSERT INTO w SELECT * FROM r; \
         VACUUM ANALYZE; ALTER TABLE r OWNER TO {APP_USER}; ALTER TABLE w OWNER TO {APP_USER}; \
         CREATE FUNCTION here() RETURNS int STABLE LANGUAGE sql AS 'SELECT inet_server_port()'"
    );
    cluster.primary().sql(APP_DATABASE, &sql).unwrap();
    cluster.wait_replayed().unwrap();
    cluster
}

/// Runs pgbench with these scripts and returns how many transactions of the first have run.
fn load(pooler: &Pooler, clients: &str, scripts: &[(&str, &str)]) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let files = scripts.iter().enumerate().map(|(number, (script, weight))| {
        let file = folder.path().join(number.to_string());
        fs::write(&file, script).unwrap();
        format!("{}@{weight}", file.display())
    });
    let files: Vec<String> = files.collect();
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let mut arguments = vec!["-n", "-T", SECONDS, "-c", clients];
    files.iter().for_each(|file| arguments.extend(["-f", file]));
    arguments.push(&url);
    let ended = pgbench(&arguments, "", LIMIT);
    assert!(ended.status.success(), "{}", ended.stderr);
    // Of each of several scripts it is told indented, of one at the top.
    let told = ended.stdout.lines().find_map(|line| match line.strip_prefix(" - ") {
        Some(line) => line.split_once(" transactions (")?.0.parse().ok(),
        None if scripts.len() == 1 => {
            line.strip_prefix("number of transactions actually processed: ")?.parse().ok()
        }
        None => None,
    });
    told.unwrap_or_else(|| panic!("{}", ended.stdout))
}

/// How many of so many reads each replica has answered, and the primary, by what they say themselves.
fn counted(scene: Scene, reads: u64) -> [u64; 3] {
    let Scene { cluster, pooler, .. } = scene;
    // Servers tell what they have counted when their sessions end.
    drop(pooler);
    let scans = "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables \
        WHERE relname = 'r'";
    let [first, second] = cluster.replicas() else { panic!("two replicas") };
    let mut counts = [0; 3];
    eventually("all reads are counted", LIMIT, || {
        counts = [first, second, cluster.primary()]
            .map(|server| server.sql(APP_DATABASE, scans).unwrap().parse().unwrap());
        counts.iter().sum::<u64>() >= reads
    });
    println!("{counts:?} of {reads} reads");
    counts
}

/// Each replica has its share of what replicas have read, within a tenth of it, and almost all
/// reads are on replicas.
#[track_caller]
fn spread_by([first, second, primary]: [u64; 3], weights: [u64; 2]) {
    let (all, of) = (first + second, weights[0] + weights[1]);
    for (count, weight) in [(first, weights[0]), (second, weights[1])] {
        // count / all against weight / of.
        let (is, wanted) = (count * of * 10, all * weight * 10);
        assert!(is.abs_diff(wanted) <= all * weight, "{first} and {second} for {weights:?}");
    }
    assert!(primary < all / 20, "{primary} on the primary, {all} on replicas");
}

/// 80 % of what each session does reads.
fn mixed(scene: &Scene) -> u64 {
    load(&scene.pooler, "10", &[(READ, "8"), (WRITE, "2")])
}

const MIXED: &str = "read_your_writes = \"off\"";

#[test]
fn reads_are_spread_evenly_over_equal_replicas() {
    let scene = Scene::of(cluster(), MIXED);
    let reads = mixed(&scene);
    spread_by(counted(scene, reads), [1, 1]);
}

#[test]
fn reads_are_spread_by_weight() {
    let cluster = cluster();
    let weights = format!("weights = [\"127.0.0.1:{}=3\"]", cluster.replicas()[0].port());
    let scene = Scene::configured(cluster, MIXED, &weights);
    let reads = mixed(&scene);
    spread_by(counted(scene, reads), [3, 1]);
}

#[test]
fn slow_replica_gets_the_least() {
    let scene = Scene::of(cluster(), MIXED);
    let (replica, over) = (&scene.cluster.replicas()[0], AtomicBool::new(false));
    let reads = thread::scope(|scope| {
        scope.spawn(|| {
            // It stands still most of the time.
            while !over.load(Ordering::Relaxed) {
                replica.pause().unwrap();
                thread::sleep(Duration::from_millis(100));
                replica.resume().unwrap();
                thread::sleep(Duration::from_millis(10));
            }
        });
        let reads = mixed(&scene);
        over.store(true, Ordering::Relaxed);
        reads
    });
    let [slow, fast, _] = counted(scene, reads);
    assert!(slow * 4 < fast * 3, "{slow} of the slow one, {fast} of the other");
}

#[test]
fn sessions_that_never_pause_come_to_a_replica_that_is_there_again() {
    const READERS: usize = 8;
    let scene = Scene::of(cluster(), "");
    let console = scene.pooler.url("boss", PASSWORD, "pgweir");
    let [one, other] = [0, 1].map(|index| scene.cluster.replicas()[index].port());
    let banned = format!("127.0.0.1:{other}");
    psql_rows(&console, &format!("BAN {banned}"));
    // Where each of them has read last.
    let at: [AtomicU16; READERS] = Default::default();
    let at = Arc::new(at);
    let on = |port: u16| at.iter().filter(|at| at.load(Ordering::Relaxed) == port).count();
    let mut tasks = JoinSet::new();
    for reader in 0..READERS {
        let (client, at) = (scene.client(""), Arc::clone(&at));
        let reads = async move {
            loop {
                at[reader].store(here(&client).await, Ordering::Relaxed);
            }
        };
        tasks.spawn_on(reads, scene.runtime.handle());
    }
    // A writer beside them, in a session of its own.
    let writer = scene.client("");
    let writes = async move {
        loop {
            value(&writer, "UPDATE w SET n = n + 1 WHERE id = 1 RETURNING n").await;
        }
    };
    tasks.spawn_on(writes, scene.runtime.handle());
    eventually("they read from the one", LIMIT, || on(one) == READERS);
    let until = || {
        let mut rows = crate::console::table(&scene.pooler, "SHOW REPLICAS");
        rows.retain(|row| row["port"] == other.to_string());
        rows.pop().unwrap()["banned_until"].clone()
    };
    // For an hour; a reload that changes how hosts are looked at is none of its business.
    let said = until();
    let [low, high] = [3000, 3601].map(|seconds| {
        pgweir::calendar::utc(std::time::SystemTime::now() + Duration::from_secs(seconds))
    });
    assert!(low < said && said <= high, "{low} {said} {high}");
    psql_rows(&console, "SET check_interval = 0.3");
    assert_ne!(until(), "");
    psql_rows(&console, &format!("UNBAN {banned}"));
    assert_eq!(until(), "");
    eventually("half of them read from the other", LIMIT, || on(other) == READERS / 2);
    scene.runtime.block_on(tasks.shutdown());
}
