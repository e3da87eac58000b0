//! A replica that falls behind and catches up: who is told, and who reads from it.

use std::time::{Duration, Instant};

use crate::alerts::shown;
use crate::console::fetch;
use crate::reads::{Scene, here, value};
use crate::support::receiver::Receiver;
use crate::support::{APP_DATABASE, LIMIT, PASSWORD, PostgresServer, eventually, psql_rows};

/// A replica that may be read from when it is a second behind at most, and whose lag is told to
/// this receiver when it has been two seconds for so long.
fn scene(receiver: &Receiver, lasts: u32) -> Scene {
    let alerts = format!(
        "[alerts]\nreplica_lag_warning = 2\nreplica_lag_critical = 0\nreplica_lag_for = {lasts}\n\
         resolve_after = 1\nwebhook_url = \"{}\"\n",
        receiver.url("/told")
    );
    let general = "max_lag = 1\nhttp_listen = \"127.0.0.1:0\"";
    Scene::configured(Scene::cluster(1), general, &alerts)
}

/// The seconds that it is behind, as the console has them.
fn lag(scene: &Scene, replica: &PostgresServer) -> Option<f64> {
    let [lag] = crate::hosts::shown(&scene.pooler, replica, [7]);
    lag.parse().ok()
}

/// Nothing is replayed any more, and there is something to replay.
fn falls_behind(scene: &Scene, replica: &PostgresServer, n: usize) {
    replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
    let insert = format!("INSERT INTO t VALUES ({n}, 1)");
    scene.cluster.primary().sql(APP_DATABASE, &insert).unwrap();
}

fn catches_up(replica: &PostgresServer) {
    replica.sql("postgres", "SELECT pg_wal_replay_resume()").unwrap();
}

#[test]
fn replica_that_falls_behind_is_left_and_told_of_everywhere_until_it_has_caught_up() {
    let receiver = Receiver::refusing();
    receiver.listen(&[]);
    let scene = scene(&receiver, 1);
    let replica = &scene.cluster.replicas()[0];
    let about = format!("{APP_DATABASE}/127.0.0.1:{}", replica.port());
    let told = || {
        let metrics = fetch(&scene.pooler, "/metrics");
        let metric = format!(
            "pgweir_alert{{alert=\"replica_lag\",about=\"{about}\",severity=\"warning\"}} "
        );
        let log = scene.pooler.log();
        let count = |what: &str| {
            log.matches(&format!("alert {what}, warning: replica_lag of {about}")).count()
        };
        let states = receiver.received().into_iter().map(|told| {
            let states = ["raised", "resolved"].into_iter();
            let mut held =
                states.filter(|state| told.body.contains(&format!("\"state\":\"{state}\"")));
            assert!(told.body.contains("\"alert\":\"replica_lag\""), "{}", told.body);
            held.next().unwrap()
        });
        (
            shown(&scene.pooler, "replica_lag"),
            metrics.lines().find_map(|line| line.strip_prefix(&metric)).map(str::to_owned),
            [count("raised"), count("resolved")],
            states.collect::<Vec<_>>(),
        )
    };
    let line = |state: &str| vec![format!("replica_lag|{about}|warning|{state}")];
    assert_eq!(told(), (vec![], None, [0, 0], vec![]));
    assert_eq!(scene.runtime.block_on(here(&scene.client(""))), replica.port());

    falls_behind(&scene, replica, 1);
    eventually("it is behind", LIMIT, || lag(&scene, replica).is_some_and(|lag| lag > 1.0));
    // By the look that has shown that, nobody reads there any more.
    for _ in 0..20 {
        assert_eq!(scene.runtime.block_on(here(&scene.client(""))), scene.primary());
    }
    let raised = (line("raised"), Some("1".to_owned()), [1, 0], vec!["raised"]);
    eventually("it is told everywhere", LIMIT, || told() == raised);

    catches_up(replica);
    let resolved = (line("resolved"), Some("0".to_owned()), [1, 1], vec!["raised", "resolved"]);
    eventually("its end is told everywhere", LIMIT, || told() == resolved);
    eventually("it is read from", LIMIT, || {
        scene.runtime.block_on(here(&scene.client(""))) == replica.port()
    });
    assert_eq!(told(), resolved, "once each");
}

#[test]
fn lag_that_comes_and_goes_is_not_told() {
    let receiver = Receiver::refusing();
    receiver.listen(&[]);
    let scene = scene(&receiver, 25);
    let replica = &scene.cluster.replicas()[0];
    let states = || -> Vec<String> {
        let lines = shown(&scene.pooler, "replica_lag").into_iter();
        lines.filter_map(|line| line.rsplit('|').next().map(str::to_owned)).collect()
    };
    for n in 0..3 {
        falls_behind(&scene, replica, n);
        eventually("it may be told soon", LIMIT, || states() == ["pending"]);
        catches_up(replica);
        eventually("it will not", LIMIT, || states().is_empty());
    }
    assert!(!scene.pooler.log().contains("alert raised"), "{}", scene.pooler.log());
    assert!(receiver.received().is_empty());
    let raised = "pgweir_alerts_raised{severity=\"warning\"} 0";
    assert!(fetch(&scene.pooler, "/metrics").lines().any(|line| line == raised));
}

/// What the console has of hosts and of what was routed, the metrics have as well.
#[test]
fn figures_of_hosts_and_routes_are_the_same_in_the_metrics() {
    let receiver = Receiver::refusing();
    let scene = scene(&receiver, 25);
    let replica = &scene.cluster.replicas()[0];
    for _ in 0..10 {
        assert_eq!(scene.runtime.block_on(here(&scene.client(""))), replica.port());
    }
    let console = scene.pooler.url("boss", PASSWORD, "pgweir");
    let metrics = fetch(&scene.pooler, "/metrics");
    let routes = psql_rows(&console, "SHOW ROUTES");
    assert!(!routes.is_empty());
    for row in routes.lines() {
        let columns: Vec<_> = row.split('|').collect();
        let [database, target, reason, count] = columns[..4] else { panic!("{row}") };
        let line = format!(
            "pgweir_routes_total{{database=\"{database}\",target=\"{target}\",reason=\"{reason}\"}} {count}"
        );
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    for (server, role) in [(replica, "replica"), (scene.cluster.primary(), "primary")] {
        let host = format!("database=\"{APP_DATABASE}\",host=\"127.0.0.1:{}\"", server.port());
        for (line, value) in [
            (format!("pgweir_host_up{{{host}}}"), "1"),
            (format!("pgweir_host_left_out{{{host}}}"), "0"),
            (format!("pgweir_host_role{{{host},role=\"{role}\"}}"), "1"),
            (format!("pgweir_host_role{{{host},role=\"unknown\"}}"), "0"),
        ] {
            let line = format!("{line} {value}");
            assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
        }
    }
    // It lags by what is written now.
    falls_behind(&scene, replica, 1);
    let of = |name: &str| {
        let host = format!("database=\"{APP_DATABASE}\",host=\"127.0.0.1:{}\"", replica.port());
        let start = format!("{name}{{{host}}} ");
        let metrics = fetch(&scene.pooler, "/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
        value.and_then(|value| value.parse::<f64>().ok())
    };
    let bytes = || -> Option<f64> {
        let [bytes] = crate::hosts::shown(&scene.pooler, replica, [8]);
        bytes.parse().ok()
    };
    eventually("both tell the bytes", LIMIT, || {
        bytes().is_some_and(|bytes| bytes > 0.0 && of("pgweir_replica_lag_bytes") == Some(bytes))
    });
    eventually("it is behind", LIMIT, || lag(&scene, replica).is_some_and(|lag| lag > 1.0));
    let (before, metric) = (lag(&scene, replica).unwrap(), of("pgweir_replica_lag_seconds"));
    // It grows while one is asked after the other, and the console has thousandths.
    let after = lag(&scene, replica).unwrap();
    assert!(metric.is_some_and(|metric| before <= metric + 0.001 && metric <= after + 0.001));
    catches_up(replica);
}

#[test]
fn read_behind_a_write_waits_for_a_replica_where_that_is_wanted() {
    const SESSIONS: usize = 20;
    let scene = Scene::new(1, "replica_wait = 1");
    let replica = &scene.cluster.replicas()[0];
    let write = |client: &tokio_postgres::Client, n: usize| {
        let insert = format!("INSERT INTO t VALUES ({n}, 1)");
        scene.runtime.block_on(client.simple_query(&insert)).unwrap();
    };
    let reads = |client: &tokio_postgres::Client, n: usize| {
        let found = format!("SELECT count(*) FROM t WHERE id = {n}");
        assert_eq!(scene.runtime.block_on(value(client, &found)), "1");
        scene.runtime.block_on(value(client, "SHOW pgweir.last_route"))
    };
    let on_replica = (0..SESSIONS).filter(|n| {
        let client = scene.client("");
        write(&client, *n);
        reads(&client, *n).starts_with("replica ")
    });
    // What is waited for may take longer where there is much else to do.
    let on_replica = on_replica.count();
    assert!(on_replica > SESSIONS / 2, "{on_replica} of {SESSIONS}");
    // Who has waited in vain does not do so each time.
    replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
    let client = scene.client("");
    let began = Instant::now();
    for n in SESSIONS..2 * SESSIONS {
        write(&client, n);
        assert_eq!(reads(&client, n), "primary: not_fresh");
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    replica.sql("postgres", "SELECT pg_wal_replay_resume()").unwrap();
}

/// Whether the replica has got all that the primary has flushed, and can't replay it: it ends in the midst
/// of a record.
fn is_cut(scene: &Scene, replica: &PostgresServer) -> bool {
    let primary = scene.cluster.primary();
    let flushed = || primary.sql("postgres", "SELECT pg_current_wal_flush_lsn()").unwrap();
    let before = flushed();
    let standing = "SELECT pg_last_wal_receive_lsn() || ' ' || pg_last_wal_replay_lsn()";
    let standing = replica.sql("postgres", standing).unwrap();
    let (received, replayed) = standing.split_once(' ').unwrap();
    received == before && replayed != before && flushed() == before
}

/// The moment up to which the replica is said to have everything.
fn fresh_as_of(scene: &Scene, replica: &PostgresServer) -> Option<Instant> {
    let before = Instant::now();
    before.checked_sub(Duration::from_secs_f64(lag(scene, replica)?))
}

#[test]
fn transaction_that_is_open_makes_nobody_lag() {
    let receiver = Receiver::refusing();
    let scene = scene(&receiver, 25);
    let replica = &scene.cluster.replicas()[0];
    let primary = scene.cluster.primary();
    let writer = scene.runtime.block_on(async {
        let url = primary.url(crate::support::APP_USER, PASSWORD, APP_DATABASE);
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    });
    let writes = "SELECT pg_logical_emit_message(true, 'test', repeat('x', 20000))";
    let run = |sql: &str| scene.runtime.block_on(writer.batch_execute(sql)).unwrap();
    for beside in [false, true] {
        run("BEGIN");
        run(writes);
        if beside {
            // One that has come later is over before it.
            primary.sql(APP_DATABASE, "INSERT INTO t VALUES (1, 1)").unwrap();
            let over = Instant::now() + Duration::from_secs(2);
            let is_known = || fresh_as_of(&scene, replica).is_some_and(|moment| moment > over);
            eventually("it has been so for a while", LIMIT, is_known);
            run(writes);
        }
        let mut since = None;
        eventually("it is fresh while it can't replay all that it has", LIMIT * 3, || {
            if !is_cut(&scene, replica) {
                if since.take().is_some() {
                    // Somebody has flushed the rest.
                    run(writes);
                }
                return false;
            }
            let since = *since.get_or_insert_with(Instant::now);
            fresh_as_of(&scene, replica).is_some_and(|moment| moment > since)
                && is_cut(&scene, replica)
        });
        // What is committed then is lacking while it is not replayed.
        replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
        run("COMMIT");
        let after = Instant::now();
        let looked = || lag(&scene, replica).is_some_and(|lag| lag > 3.0);
        eventually("it lags", LIMIT, looked);
        catches_up(replica);
        let has_it = || fresh_as_of(&scene, replica).is_some_and(|moment| moment > after);
        eventually("it has caught up", LIMIT, has_it);
    }
}
