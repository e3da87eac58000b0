//! The throwaway clusters that all other tests here stand on.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, PostgresServer, SUPERUSER, StopMode, cluster,
    cluster_with_replicas, eventually, is_running, pgbench, psql, psql_rows,
};

fn app_url(server: &PostgresServer) -> String {
    server.url(APP_USER, PASSWORD, APP_DATABASE)
}

#[test]
fn started_cluster_asks_for_the_password_and_the_role_owns_its_database() {
    let cluster = cluster();
    let primary = cluster.primary();
    assert!(primary.is_ready());
    let sql = "CREATE TABLE t (n int); INSERT INTO t VALUES (7); SELECT n, current_user FROM t";
    assert_eq!(psql_rows(&app_url(primary), sql), "7|app");
    assert_eq!(primary.sql("shop", "SELECT n FROM t").unwrap(), "7");
    let superuser = primary.url(SUPERUSER, PASSWORD, "postgres");
    assert_eq!(psql_rows(&superuser, "SHOW is_superuser"), "on");

    let wrong = psql(&primary.url(APP_USER, "wrong", APP_DATABASE), "SELECT 1");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stderr.contains("password authentication failed"), "{}", wrong.stderr);
    let secret = "SELECT left(rolpassword, 14) FROM pg_authid WHERE rolname = 'app'";
    assert_eq!(primary.sql("postgres", secret).unwrap(), "SCRAM-SHA-256$");
}

#[test]
fn rule_and_setting_of_the_test_win_over_the_built_in_ones() {
    let cluster = Cluster::builder()
        .hba(&["host all guest 127.0.0.1/32 trust", "host all old 127.0.0.1/32 md5"])
        .settings(&[("max_connections", "17"), ("cluster_name", "it's ours")])
        .start()
        .unwrap();
    let primary = cluster.primary();
    let roles = "SET password_encryption = 'md5';
                 CREATE ROLE guest LOGIN;
                 CREATE ROLE old LOGIN PASSWORD 'p@ss/w:rd?'";
    primary.sql("postgres", roles).unwrap();
    assert_eq!(psql_rows(&primary.url("guest", "", "shop"), "SHOW max_connections"), "17");
    let old = primary.url("old", "p@ss/w:rd?", "shop");
    assert_eq!(psql_rows(&old, "SELECT 1"), "1");
    assert_eq!(primary.sql("shop", "SHOW cluster_name").unwrap(), "it's ours");

    primary.set_hba(&["host all guest 127.0.0.1/32 reject"]).unwrap();
    let rejected = psql(&primary.url("guest", "", "shop"), "SELECT 1");
    assert!(rejected.stderr.contains("pg_hba.conf rejects"), "{}", rejected.stderr);
}

#[test]
fn replicas_stream_and_their_delay_can_be_set_while_they_run() {
    let cluster = cluster_with_replicas(2);
    let [fast, slow] = cluster.replicas() else { panic!("two replicas") };
    for replica in [fast, slow] {
        assert_eq!(psql_rows(&app_url(replica), "SELECT pg_is_in_recovery()"), "t");
    }
    psql_rows(&app_url(cluster.primary()), "CREATE TABLE t (n int)");
    cluster.wait_replayed().unwrap();

    slow.set_replay_delay(Duration::from_secs(3600)).unwrap();
    psql_rows(&app_url(cluster.primary()), "INSERT INTO t VALUES (1)");
    let count = |replica| psql_rows(&app_url(replica), "SELECT count(*) FROM t");
    eventually("the fast replica has the row", LIMIT, || count(fast) == "1");
    let received = cluster.primary().sql("postgres", "SELECT pg_current_wal_lsn()").unwrap();
    let query = format!("SELECT pg_last_wal_receive_lsn() >= '{received}'");
    eventually("the slow replica received it", LIMIT, || {
        slow.sql("postgres", &query).unwrap() == "t"
    });
    assert_eq!(count(slow), "0");

    slow.set_replay_delay(Duration::ZERO).unwrap();
    eventually("the slow replica has the row", LIMIT, || count(slow) == "1");
}

#[test]
fn replica_of_a_delayed_cluster_starts_delayed() {
    let cluster =
        Cluster::builder().replicas(1).replay_delay(Duration::from_millis(1500)).start().unwrap();
    let replica = &cluster.replicas()[0];
    assert_eq!(replica.sql("postgres", "SHOW recovery_min_apply_delay").unwrap(), "1500ms");
}

#[test]
fn promoted_replica_takes_writes_and_the_other_follows_it() {
    let cluster = cluster_with_replicas(2);
    let [first, second] = cluster.replicas() else { panic!("two replicas") };
    cluster.primary().sql("shop", "CREATE TABLE t (n int)").unwrap();
    cluster.wait_replayed().unwrap();
    cluster.primary().stop(StopMode::Immediate).unwrap();
    assert!(!cluster.primary().is_ready());
    first.promote().unwrap();
    second.follow(first).unwrap();
    first.sql("shop", "INSERT INTO t VALUES (1)").unwrap();
    eventually("the other replica has the row", LIMIT, || {
        second.sql("shop", "SELECT count(*) FROM t").unwrap() == "1"
    });
}

#[test]
fn killed_server_recovers_on_the_same_port() {
    let cluster = cluster();
    let primary = cluster.primary();
    let (port, pid) = (primary.port(), primary.pid().unwrap());
    primary.sql("shop", "CREATE TABLE t AS SELECT 5 AS n").unwrap();
    primary.kill().unwrap();
    assert!(!is_running(pid));
    assert_eq!(primary.pid(), None);
    assert!(!primary.is_ready());
    assert!(primary.sql("shop", "SELECT 1").is_err());
    primary.start().unwrap();
    assert_eq!(primary.port(), port);
    assert_eq!(primary.sql("shop", "SELECT n FROM t").unwrap(), "5");
    assert!(primary.start().is_err());
    primary.restart().unwrap();
    assert_eq!(primary.sql("shop", "SELECT n FROM t").unwrap(), "5");
}

#[test]
fn paused_server_answers_after_it_goes_on() {
    let cluster = cluster();
    let primary = cluster.primary();
    primary.pause().unwrap();
    assert!(!primary.is_ready());
    primary.resume().unwrap();
    assert!(primary.is_ready());
    assert_eq!(primary.sql("shop", "SELECT 1").unwrap(), "1");
    primary.pause().unwrap();
    primary.stop(StopMode::Fast).unwrap();
    assert_eq!(primary.pid(), None);
}

#[test]
fn clusters_of_another_identity_differ_in_their_system_identifier() {
    let of = |identity| {
        let cluster = Cluster::builder().identity(identity).start().unwrap();
        let query = "SELECT system_identifier FROM pg_control_system()";
        cluster.primary().sql("postgres", query).unwrap()
    };
    assert_ne!(of(0), of(1));
    assert_eq!(of(0), of(0));
}

#[test]
fn pgbench_runs_on_a_cluster() {
    let cluster = cluster();
    let url = app_url(cluster.primary());
    let ended = pgbench(&["-n", "-c", "2", "-t", "10", "-f", "-", &url], "SELECT 1;", LIMIT);
    assert!(ended.stdout.contains("actually processed: 20/20"), "{ended:?}");
}

#[test]
fn setting_that_postgres_refuses_fails_the_start_with_its_log() {
    let error = Cluster::builder().settings(&[("work_mem", "lots")]).start().unwrap_err();
    assert!(error.to_string().contains("invalid value for parameter \"work_mem\""), "{error}");
}

#[test]
fn dropped_cluster_leaves_nothing() {
    let cluster = cluster_with_replicas(1);
    let folder = cluster.folder().to_owned();
    let pids = [cluster.primary().pid().unwrap(), cluster.replicas()[0].pid().unwrap()];
    cluster.primary().pause().unwrap();
    drop(cluster);
    assert!(!folder.exists());
    assert!(!pids.into_iter().any(is_running));
}

#[test]
fn killed_owner_leaves_nothing() {
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["--exact", "cluster::owner_that_waits_to_be_killed", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once(OWNS).map(|(_, rest)| rest.to_owned()))
        .expect("the owner's line");
    let mut words = line.split(' ');
    let folder = words.next().unwrap();
    let pids: Vec<u32> = words.map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    assert!(fs::exists(folder).unwrap() && pids.iter().all(|&pid| is_running(pid)));

    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("servers and folder are gone", LIMIT, || {
        !fs::exists(folder).unwrap() && !pids.iter().any(|&pid| is_running(pid))
    });
}

/// The other half of [`killed_owner_leaves_nothing`], in a process of its own. One of the servers
/// is held, which must not keep it from being removed.
#[test]
#[ignore = "run by killed_owner_leaves_nothing"]
fn owner_that_waits_to_be_killed() {
    let cluster = cluster_with_replicas(1);
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    replica.pause().unwrap();
    let (primary, replica) = (primary.pid().unwrap(), replica.pid().unwrap());
    println!("{OWNS}{} {primary} {replica}", cluster.folder().display());
    io::stdout().flush().unwrap();
    // Ends by the kill, or with an error when the parent is gone.
    io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
#[ignore = "a measurement, not a check"]
fn time_to_start() {
    for replicas in [0, 0, 0, 2, 2, 2] {
        let start = Instant::now();
        let cluster = cluster_with_replicas(replicas);
        let started = start.elapsed();
        drop(cluster);
        println!("{replicas} replicas: {started:?}, dropped after {:?}", start.elapsed() - started);
    }
}

const OWNS: &str = "cluster of this process: ";

#[test]
fn program_that_does_not_end_is_ended_with_all_that_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "sleep 1000 & echo $! > \"$0\"; wait"]).arg(&file);
    let ended = pgweir::demo::cluster::run(&mut command, "", Duration::from_secs(2));
    assert!(ended.unwrap_err().to_string().contains("2s"));
    let pid = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    eventually("what it has started is gone", LIMIT, || !is_running(pid));
}
