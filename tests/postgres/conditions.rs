//! Every condition of alerts by a real cause: raised while it is there, resolved when it has gone.

use pgweir::alerts::CONDITIONS;
use tokio_postgres::{Client, NoTls};

use crate::alerts::shown;
use crate::console::fetch;
use crate::hosts::{configuration, shown as host, stands};
use crate::reads::{Scene, connect, here};
use crate::support::{
    APP_DATABASE, APP_USER, LIMIT, PASSWORD, Pooler, PostgresServer, StopMode,
    cluster_with_replicas, eventually, psql_rows,
};

/// For each condition the tests where it is raised and where it is resolved, by their files.
const TESTS: &[(&str, &str, &str)] = &[
    ("replica_lag", "lagging", "replica_that_falls_behind_is_left_and_told_of_everywhere"),
    ("replica_lag_bytes", "conditions", "what_a_replica_has_not_replayed_is_told_in_bytes"),
    (
        "replica_lag_unknown",
        "conditions",
        "lag_is_unknown_without_a_primary_and_on_another_history",
    ),
    ("host_down", "alerts", "lost_primary_and_replica_raise_their_alerts"),
    ("replicas_out", "alerts", "lost_primary_and_replica_raise_their_alerts"),
    ("no_primary", "alerts", "lost_primary_and_replica_raise_their_alerts"),
    ("two_primaries", "alerts", "old_primary_that_goes_on_is_a_second_one"),
    ("role_flapping", "alerts", "old_primary_that_goes_on_is_a_second_one"),
    ("clients_waiting", "alerts", "pile_up_names_who_waits_and_who_holds"),
    ("longest_wait", "alerts", "pile_up_names_who_waits_and_who_holds"),
    ("wait_p95", "alerts", "errors_and_waits_of_the_last_minute_raise_their_alerts"),
    ("query_p99", "resources", "slow_requests_and_transactions_of_the_last_minute_are_told_of"),
    (
        "transaction_p99",
        "resources",
        "slow_requests_and_transactions_of_the_last_minute_are_told_of",
    ),
    ("pool_saturated", "alerts", "pile_up_names_who_waits_and_who_holds"),
    ("client_limit", "conditions", "clients_near_their_limit_are_told_of_until_enough_have_left"),
    ("holder", "alerts", "pile_up_names_who_waits_and_who_holds"),
    ("paused", "resources", "pause_that_lasts_is_told_of_until_it_ends"),
    ("error_rate", "alerts", "errors_and_waits_of_the_last_minute_raise_their_alerts"),
    ("cancels", "resources", "cancels_that_are_many_for_so_few_requests_are_told_of"),
    ("open_files", "resources", "open_files_and_memory_near_their_limits_are_told_of"),
    ("memory", "resources", "open_files_and_memory_near_their_limits_are_told_of"),
    (
        "certificate",
        "../tls/alerts",
        "certificate_that_expires_soon_is_told_of_until_it_is_renewed",
    ),
    ("reload_failed", "alerts", "failed_reload_is_an_alert_until_one_succeeds"),
];

#[test]
fn every_condition_has_a_test_with_its_cause() {
    let listed: Vec<&str> = TESTS.iter().map(|(name, ..)| *name).collect();
    let all: Vec<&str> = CONDITIONS.iter().map(|condition| condition.name).collect();
    assert_eq!(listed, all);
    for (name, file, test) in TESTS {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres");
        let text = std::fs::read_to_string(format!("{folder}/{file}.rs")).unwrap();
        let (_, test) = text.split_once(&format!("\nfn {test}")).expect(test);
        let (test, _) = test.split_once("\n}\n").unwrap();
        for state in ["raised", "resolved"] {
            assert!(test.contains(name) && test.contains(state), "{name} {state} in\n{test}");
        }
    }
}

/// Waits until the alert stands so, about this alone.
#[track_caller]
fn becomes(pooler: &Pooler, alert: &str, about: &str, wanted: &[&str]) {
    let wanted: Vec<_> = wanted.iter().map(|state| format!("{alert}|{about}|{state}")).collect();
    let what = format!("{wanted:?}");
    eventually(&what, LIMIT, || {
        let mut found = shown(pooler, alert);
        found.retain(|line| line.split('|').nth(1) == Some(about));
        found.sort();
        found == wanted
    });
}

fn about(server: &PostgresServer) -> String {
    format!("{APP_DATABASE}/127.0.0.1:{}", server.port())
}

#[test]
fn what_a_replica_has_not_replayed_is_told_in_bytes() {
    let cluster = cluster_with_replicas(1);
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    let written = primary.sql("postgres", "SELECT pg_current_wal_flush_lsn()").unwrap();
    let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
    eventually("it has all", LIMIT, || replica.sql("postgres", &replayed).unwrap() == "t");
    let toml = configuration(&[primary, replica], "");
    let alerts = "[alerts]\nresolve_after = 0\nreplica_lag_bytes_warning = \"1MB\"\n\
                  replica_lag_bytes_critical = \"8MB\"\nreplica_lag_bytes_for = 0\n\
                  replica_lag_warning = 0\nreplica_lag_critical = 0\n";
    let pooler = Pooler::start(&format!("{toml}{alerts}"));
    stands(&pooler, replica, "replica", "up");
    // It is there, and a few bytes behind at most.
    eventually("its lag is known", LIMIT, || host(&pooler, replica, [8]) != [""]);
    assert_eq!(shown(&pooler, "replica_lag_bytes"), [""; 0]);
    replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
    let write = |megabytes: usize| {
        let bytes = megabytes << 20;
        let sql = format!("SELECT pg_logical_emit_message(true, 'test', repeat('x', {bytes}))");
        primary.sql(APP_DATABASE, &sql).unwrap();
    };
    let (alert, about) = ("replica_lag_bytes", about(replica));
    write(2);
    becomes(&pooler, alert, &about, &["warning|raised"]);
    write(7);
    becomes(&pooler, alert, &about, &["critical|raised", "warning|raised"]);
    replica.sql("postgres", "SELECT pg_wal_replay_resume()").unwrap();
    becomes(&pooler, alert, &about, &["critical|resolved", "warning|resolved"]);
    let log = pooler.log();
    // Two megabytes and what Postgres writes beside.
    let raised = format!("alert raised, warning: {alert} of {about}: 20");
    let line = log.lines().find(|line| line.contains(&raised));
    assert!(line.is_some_and(|line| line.ends_with(" KiB (threshold 1 MiB)")), "{log}");
    assert_eq!(log.matches(&format!(": {alert} of ")).count(), 4, "each once: {log}");
}

#[test]
fn lag_is_unknown_without_a_primary_and_on_another_history() {
    let cluster = cluster_with_replicas(2);
    let (primary, [first, second]) = (cluster.primary(), cluster.replicas()) else {
        panic!("two replicas")
    };
    // Only they are told at once whom a replica follows.
    primary.sql("postgres", &format!("GRANT pg_monitor TO {APP_USER}")).unwrap();
    cluster.wait_replayed().unwrap();
    let toml = configuration(&[primary, first, second], "");
    let alerts = "[alerts]\nresolve_after = 0\nreplica_lag_unknown_for = 1\n";
    let pooler = Pooler::start(&format!("{toml}{alerts}"));
    for replica in [first, second] {
        stands(&pooler, replica, "replica", "up");
        eventually("its lag is known", LIMIT, || host(&pooler, replica, [7]) != [""]);
    }
    let alert = "replica_lag_unknown";
    primary.kill().unwrap();
    becomes(&pooler, alert, &about(first), &["warning|raised"]);
    becomes(&pooler, alert, &about(second), &["warning|raised"]);
    primary.start().unwrap();
    becomes(&pooler, alert, &about(first), &["warning|resolved"]);
    becomes(&pooler, alert, &about(second), &["warning|resolved"]);
    // One of them goes on, and the other, which has no more than that one, does not follow it.
    cluster.wait_streaming().unwrap();
    primary.stop(StopMode::Fast).unwrap();
    first.promote().unwrap();
    stands(&pooler, first, "primary", "up");
    let events = psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW EVENTS");
    let other =
        format!("|primary|127.0.0.1:{}|host is the primary, on timeline 2|1|", first.port());
    assert!(
        events.contains(&other) && events.contains("|primary||no host is the primary|"),
        "{events}"
    );
    becomes(&pooler, alert, &about(second), &["warning|raised"]);
    assert_eq!(host(&pooler, second, [3, 4, 7]), ["replica", "up", ""]);
    becomes(&pooler, alert, &about(first), &["warning|resolved"]);
    second.follow(first).unwrap();
    becomes(&pooler, alert, &about(second), &["warning|resolved"]);
}

#[test]
fn clients_near_their_limit_are_told_of_until_enough_have_left() {
    let cluster = cluster_with_replicas(0);
    let toml = configuration(&[cluster.primary()], "max_client_conn = 4");
    let alerts = "[alerts]\nresolve_after = 0\nclient_limit_for = 0\n";
    let pooler = Pooler::start(&format!("{toml}{alerts}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut clients: Vec<Client> = (0..4).map(|_| runtime.block_on(connect(&pooler, ""))).collect();
    let becomes = |wanted: &[&str]| becomes(&pooler, "client_limit", "", wanted);
    becomes(&["critical|raised", "warning|raised"]);
    // 75 %: back from 95 by more than a fifth of it, and not from 80.
    clients.pop();
    becomes(&["critical|resolved", "warning|raised"]);
    clients.clear();
    becomes(&["critical|resolved", "warning|resolved"]);
    let log = pooler.log();
    assert!(log.contains("client_limit: 100 % (threshold 95 %): 4 of 4 clients"), "{log}");
}

/// Reads wait at a replica, while the primary's servers are free.
#[test]
fn pile_up_at_a_replica_is_told_as_one_at_its_pool() {
    let alerts = "[alerts]\nresolve_after = 0\nclients_waiting_for = 1\nlongest_wait_for = 1\n\
                  pool_saturated_for = 1\nholder_warning = 1\n";
    let general = "default_pool_size = 1\nhttp_listen = \"127.0.0.1:0\"";
    let scene = Scene::configured(Scene::cluster(1), general, alerts);
    let (pooler, replica) = (&scene.pooler, &scene.cluster.replicas()[0]);
    let at = format!("{APP_DATABASE}@127.0.0.1:{}", replica.port());
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let named = |name: &str| {
        let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
        let url = format!("{url}?application_name={name}");
        scene.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        })
    };
    // A replica's own pool is where it is read from.
    let begins = |client: &Client| {
        eventually("it reads from the replica", LIMIT, || {
            scene.runtime.block_on(client.batch_execute("BEGIN READ ONLY")).unwrap();
            if scene.runtime.block_on(here(client)) == replica.port() {
                return true;
            }
            scene.runtime.block_on(client.batch_execute("ROLLBACK")).unwrap();
            false
        });
    };
    let (guilty, waiter, beside) = (named("guilty"), named("waiter"), named("beside"));
    begins(&guilty);
    // The primary's pool has a holder as well, and nobody waits there.
    scene.runtime.block_on(beside.batch_execute("BEGIN; DELETE FROM t")).unwrap();
    let waits = scene.runtime.spawn(async move { here(&waiter).await });
    let raised = ["clients_waiting", "longest_wait", "pool_saturated", "holder"];
    let whose = format!("{at}/{APP_USER}");
    for alert in raised {
        becomes(pooler, alert, &whose, &["warning|raised"]);
    }
    let own = format!("{APP_DATABASE}/{APP_USER}");
    becomes(pooler, "holder", &own, &["warning|raised"]);
    becomes(pooler, "clients_waiting", &own, &[]);

    let waiting = psql_rows(&console, "SHOW WAITING");
    let columns: Vec<_> = waiting.split('|').collect();
    assert_eq!((columns[3], columns[11], columns[14]), ("waiter", "guilty", "idle in transaction"));
    let holders = psql_rows(&console, "SHOW HOLDERS");
    let holders: Vec<_> = holders.lines().map(|line| line.split('|').collect::<Vec<_>>()).collect();
    let mut holders: Vec<_> = holders.iter().map(|line| (line[3], line[10])).collect();
    holders.sort_unstable();
    assert_eq!(holders, [("beside", "0"), ("guilty", "1")]);

    let metrics = fetch(pooler, "/metrics");
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    let mut names: Vec<_> = samples.filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let of = |name: &str, database: &str| -> f64 {
        let start = format!("{name}{{database=\"{database}\",user=\"{APP_USER}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
        value.unwrap_or_else(|| panic!("no {start} in {metrics}")).parse().unwrap()
    };
    for database in [APP_DATABASE, &at] {
        assert!(of("pgweir_longest_hold_seconds", database) > 1.0, "{database}");
    }
    assert_eq!(of("pgbouncer_pools_client_waiting_connections", &at), 1.0);
    assert_eq!(of("pgbouncer_pools_client_waiting_connections", APP_DATABASE), 0.0);
    // Each client is in one row.
    assert_eq!(of("pgbouncer_pools_client_active_connections", &at), 1.0);
    let clients = psql_rows(&console, "SHOW CLIENTS").lines().count();
    let active = of("pgbouncer_pools_client_active_connections", APP_DATABASE);
    assert_eq!(active, (clients - 2) as f64);

    scene.runtime.block_on(guilty.batch_execute("ROLLBACK")).unwrap();
    scene.runtime.block_on(beside.batch_execute("ROLLBACK")).unwrap();
    assert_eq!(scene.runtime.block_on(waits).unwrap(), replica.port());
    for alert in raised {
        becomes(pooler, alert, &whose, &["warning|resolved"]);
    }
    becomes(pooler, "holder", &own, &["warning|resolved"]);
}
