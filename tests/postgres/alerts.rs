//! Alerts of a running pooler, about real replicas.

use std::time::Duration;

use crate::hosts::configuration;
use crate::support::receiver::{Received, Receiver};
use crate::support::{
    APP_DATABASE, Cluster, LIMIT, PASSWORD, Pooler, PostgresServer, StopMode,
    cluster_with_replicas, eventually, psql, psql_rows,
};

/// Some columns of the lines of SHOW ALERTS that are about this alert.
#[track_caller]
pub fn shown(pooler: &Pooler, alert: &str) -> Vec<String> {
    let table = psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW ALERTS");
    let lines = table.lines().filter(|line| line.starts_with(&format!("{alert}|")));
    lines.map(|line| line.split('|').take(4).collect::<Vec<_>>().join("|")).collect()
}

/// Waits until the lag of this replica is known: it is looked at.
#[track_caller]
fn looked_at(pooler: &Pooler, replica: &PostgresServer) {
    eventually("its lag is known", LIMIT, || crate::hosts::shown(pooler, replica, [7]) != [""]);
}

fn count(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

/// A primary and a replica that is behind by this much whenever something is written.
fn delayed(delay: Duration) -> Cluster {
    let cluster = cluster_with_replicas(1);
    cluster.primary().sql(APP_DATABASE, "CREATE TABLE t (n int)").unwrap();
    cluster.wait_replayed().unwrap();
    cluster.replicas()[0].set_replay_delay(delay).unwrap();
    cluster
}

const SHORT: &str = "[alerts]\nreplica_lag_warning = 2\nreplica_lag_critical = 0\n\
                     replica_lag_for = 1\nresolve_after = 1\nreplica_lag_bytes_warning = 0\n\
                     replica_lag_bytes_critical = 0\n";

#[test]
fn lag_of_a_delayed_replica_is_raised_once_and_resolved_once() {
    let cluster = delayed(Duration::from_secs(60));
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    let http = "http_listen = \"127.0.0.1:0\"";
    let toml = configuration(&[primary, replica], http);
    let pooler = Pooler::start(&format!("{toml}{SHORT}"));
    let about = format!("{APP_DATABASE}/127.0.0.1:{}", replica.port());
    let metric =
        format!("pgweir_alert{{alert=\"replica_lag\",about=\"{about}\",severity=\"warning\"}}");
    looked_at(&pooler, replica);
    assert_eq!(shown(&pooler, "replica_lag"), [""; 0]);

    let began = std::time::Instant::now();
    primary.sql(APP_DATABASE, "INSERT INTO t VALUES (1)").unwrap();
    let line = |state: &str| format!("replica_lag|{about}|warning|{state}");
    eventually("the alert is raised", LIMIT, || shown(&pooler, "replica_lag") == [line("raised")]);
    // 2 s of lag for 1 s, and not before; it counts from the last look at the primary before that.
    assert!(began.elapsed() >= Duration::from_millis(2500), "{:?}", began.elapsed());
    let raised = format!("alert raised, warning: replica_lag of {about}: ");
    assert_eq!(count(&pooler.log(), &raised), 1);
    let metrics = crate::console::fetch(&pooler, "/metrics");
    assert!(metrics.lines().any(|found| found == format!("{metric} 1")), "{metrics}");

    replica.set_replay_delay(Duration::ZERO).unwrap();
    eventually("the alert is resolved", LIMIT, || {
        shown(&pooler, "replica_lag") == [line("resolved")]
    });
    let metrics = crate::console::fetch(&pooler, "/metrics");
    assert!(metrics.lines().any(|found| found == format!("{metric} 0")), "{metrics}");
    let log = pooler.log();
    assert_eq!(count(&log, &raised), 1, "{log}");
    assert_eq!(count(&log, "alert resolved, warning: replica_lag of "), 1, "{log}");
    let events = psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW EVENTS");
    let events: Vec<_> = events.lines().filter(|line| line.contains("|alert|")).collect();
    // The newest first.
    let [resolved, raised] = events.as_slice() else { panic!("{events:#?}") };
    let about = format!("|alert|replica_lag of {about}|");
    for (event, became) in [(resolved, "resolved"), (raised, "raised")] {
        let text = format!("{about}alert {became}, warning: replica_lag of ");
        assert!(event.contains(&text) && event.contains("(threshold 2 s)|1|"), "{event}");
    }
}

#[test]
fn lost_primary_and_replica_raise_their_alerts() {
    let cluster = cluster_with_replicas(1);
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    let general = "http_listen = \"127.0.0.1:0\"\nfailover_timeout = 1";
    let toml = configuration(&[primary, replica], general);
    let alerts = "[alerts]\nno_primary_for = 1\nreplicas_out_for = 1\nhost_down_for = 1\n\
                  resolve_after = 0\n";
    let pooler = Pooler::start(&format!("{toml}{alerts}"));
    let states = |alert: &str| -> Vec<String> {
        let found = shown(&pooler, alert).into_iter();
        found.filter_map(|line| line.rsplit('|').next().map(str::to_owned)).collect()
    };
    let becomes = |alert: &str, wanted: &[&str]| {
        eventually(&format!("{alert} is {wanted:?}"), LIMIT, || states(alert) == wanted);
    };
    replica.kill().unwrap();
    becomes("replicas_out", &["raised"]);
    becomes("host_down", &["raised"]);
    assert_eq!(states("no_primary"), [""; 0]);
    primary.kill().unwrap();
    becomes("no_primary", &["raised"]);
    becomes("host_down", &["raised"; 2]);
    let readyz = || crate::console::fetch(&pooler, "/readyz");
    eventually("load balancers look elsewhere", LIMIT, || {
        readyz().starts_with("HTTP/1.1 503 ") && readyz().ends_with("no primary\n")
    });
    primary.start().unwrap();
    replica.start().unwrap();
    becomes("no_primary", &["resolved"]);
    becomes("replicas_out", &["resolved"]);
    becomes("host_down", &["resolved"; 2]);
    assert!(readyz().starts_with("HTTP/1.1 200 "), "{}", readyz());
    assert!(count(&pooler.log(), "alert raised, critical: no_primary of ") == 1);
}

#[test]
fn failed_reload_is_an_alert_until_one_succeeds() {
    let cluster = cluster_with_replicas(0);
    let toml = configuration(&[cluster.primary()], "");
    let pooler = Pooler::start(&format!("{toml}[alerts]\nresolve_after = 0\n"));
    let console = pooler.url("boss", PASSWORD, "pgweir");
    // A value that an operator tries is none.
    assert!(!psql(&console, "SET auth_type = 'none'").status.success());
    pooler.rewrite("no such key");
    assert!(!psql(&console, "RELOAD").status.success());
    eventually("the alert is raised", LIMIT, || {
        shown(&pooler, "reload_failed") == ["reload_failed||warning|raised"]
    });
    pooler.rewrite(&format!("{toml}[alerts]\nresolve_after = 0\n"));
    assert!(psql(&console, "RELOAD").status.success());
    eventually("the alert is resolved", LIMIT, || {
        shown(&pooler, "reload_failed") == ["reload_failed||warning|resolved"]
    });
}

#[test]
fn pile_up_names_who_waits_and_who_holds_and_silence_is_shown() {
    let cluster = cluster_with_replicas(0);
    let general = "default_pool_size = 1\nhttp_listen = \"127.0.0.1:0\"";
    let toml = configuration(&[cluster.primary()], general);
    let alerts = "[alerts]\nclients_waiting_for = 1\nlongest_wait_for = 1\npool_saturated_for = 1\n\
                  holder_warning = 1\nresolve_after = 0\n";
    let pooler = Pooler::start(&format!("{toml}{alerts}"));
    let console = pooler.url("boss", PASSWORD, "pgweir");
    psql_rows(&console, "SILENCE longest_wait '1 h'");
    let quiet = psql_rows(&console, "SHOW ALERTS");
    assert!(quiet.starts_with("longest_wait|||quiet|"), "{quiet}");
    let url = format!(
        "{}?application_name=<b>guilty</b>",
        pooler.url(crate::support::APP_USER, PASSWORD, APP_DATABASE)
    );
    let about = format!("{APP_DATABASE}/{}", crate::support::APP_USER);
    let raised = ["clients_waiting", "longest_wait", "pool_saturated", "holder"];
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| psql(&url, "BEGIN; SELECT pg_sleep(60)"));
        let waiter = scope.spawn(|| psql(&url, "SELECT pg_sleep(60)"));
        for alert in raised {
            let line = format!("{alert}|{about}|warning|raised");
            eventually(&line, LIMIT, || shown(&pooler, alert) == [line.clone()]);
        }
        let page = crate::console::fetch(&pooler, "/");
        for words in [
            "content-type: text/html; charset=utf-8",
            "content-security-policy: default-src &#39;none&#39;;",
            "One client waits for a server, for ",
            "<li class=\"poor\">holder of ",
            // Both of them call themselves so.
            "<td>&lt;b&gt;guilty&lt;/b&gt;</td>",
        ] {
            assert!(page.contains(&words.replace("&#39;", "'")), "{words}\n{page}");
        }
        assert!(!page.contains("<b>guilty") && !page.contains("pg_sleep"), "{page}");
        let table = psql_rows(&console, "SHOW ALERTS");
        assert!(table.lines().any(|line| line.contains("\"<b>guilty</b>\"")), "{table}");
        assert!(pooler.log().contains("alert raised, warning (silenced): longest_wait of "));
        let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                      WHERE query LIKE '%pg_sleep(60)'";
        for client in [holder, waiter] {
            eventually("its query is cancelled", LIMIT, || {
                cluster.primary().sql("postgres", cancel).unwrap();
                client.is_finished()
            });
        }
    });
    for alert in raised {
        let line = format!("{alert}|{about}|warning|resolved");
        eventually(&line, LIMIT, || shown(&pooler, alert) == [line.clone()]);
    }
    psql_rows(&console, "UNSILENCE longest_wait");
    for (sql, told) in [
        ("UNSILENCE longest_wait", "alert is not silenced: longest_wait"),
        ("SILENCE lag", "no such alert: lag"),
        ("SILENCE longest_wait soon", "invalid command"),
    ] {
        let refused = psql(&console, sql);
        assert!(refused.stderr.contains(told), "{sql}: {}", refused.stderr);
    }
}

/// Settings with which failed reloads are told to this receiver, and to a file in this folder by a
/// command.
fn told(receiver: &Receiver, path: &str, more: &str) -> String {
    let url = receiver.url(path);
    format!("[alerts]\nresolve_after = 0\ninstance = \"here\"\nwebhook_url = \"{url}\"\n{more}")
}

fn reload(pooler: &Pooler, toml: &str) {
    pooler.rewrite(toml);
    psql(&pooler.url("boss", PASSWORD, "pgweir"), "RELOAD");
}

fn becomes(pooler: &Pooler, state: &str) {
    let wanted = format!("reload_failed||warning|{state}");
    eventually(&wanted, LIMIT, || shown(pooler, "reload_failed") == [wanted.clone()]);
}

#[test]
fn receiver_that_refuses_at_first_is_told_everything_once() {
    let cluster = delayed(Duration::from_secs(60));
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    let receiver = Receiver::refusing();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("told");
    let command = format!(
        "command = [\"/bin/sh\", \"-c\", \"cat >> $0; echo >> $0\", \"{}\"]\n\
         webhook_authorization = \"Bearer s3cret\"\n",
        file.display()
    );
    let toml = configuration(&[primary, replica], "");
    let more = SHORT.replace("[alerts]\n", "").replace("resolve_after = 1\n", "");
    let pooler =
        Pooler::start(&format!("{toml}{}", told(&receiver, "/hook?k=v", &(command + &more))));
    looked_at(&pooler, replica);
    primary.sql(APP_DATABASE, "INSERT INTO t VALUES (1)").unwrap();
    eventually("the receiver is missed", LIMIT, || {
        pooler
            .log()
            .contains("alerts cannot be delivered by webhook_url, still trying: cannot connect")
    });
    // It listens now, and is not well at first.
    receiver.listen(&["503 Service Unavailable"]);
    eventually("it is told", LIMIT, || receiver.received().len() == 1);
    let Received { head, body } = receiver.received().remove(0);
    assert!(head.starts_with("POST /hook?k=v HTTP/1.1\r\n"), "{head}");
    let header = |line: &str| head.lines().any(|found| found.eq_ignore_ascii_case(line));
    assert!(header("authorization: Bearer s3cret"), "{head}");
    assert!(header("content-type: application/json"), "{head}");
    let about = format!("{APP_DATABASE}/127.0.0.1:{}", replica.port());
    let start = format!(
        "{{\"alerts\":[{{\"alert\":\"replica_lag\",\"about\":\"{about}\",\"severity\":\"warning\",\
         \"state\":\"raised\",\"since\":\"20"
    );
    assert!(body.starts_with(&start), "{body}");
    assert!(body.contains("\"resolved\":null") && body.contains("\"instance\":\"here\""), "{body}");

    replica.set_replay_delay(Duration::ZERO).unwrap();
    eventually("it is told of the end", LIMIT, || receiver.received().len() == 2);
    let end = receiver.received().remove(1).body;
    assert!(end.contains("\"state\":\"resolved\"") && !end.contains("\"resolved\":null"), "{end}");
    // The command was told the same.
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("the command is told both", LIMIT, || lines().lines().count() == 2);
    let states = ["raised", "resolved"].map(|state| format!("\"state\":\"{state}\""));
    for (line, state) in lines().lines().zip(&states) {
        assert!(line.starts_with("{\"alert\":\"replica_lag\"") && line.contains(state), "{line}");
    }
    let log = pooler.log();
    assert!(log.contains("alerts are delivered again by webhook_url"), "{log}");
    assert!(!log.contains("s3cret") && !log.contains("/hook"), "{log}");
}

#[test]
fn what_came_and_went_while_the_receiver_was_away_is_told_as_resolved() {
    let cluster = cluster_with_replicas(0);
    let receiver = Receiver::refusing();
    let toml = configuration(&[cluster.primary()], "");
    let alerts = told(&receiver, "/api/v2/alerts", "webhook_repeat = 1\n");
    let toml = format!("{toml}{alerts}");
    let pooler = Pooler::start(&toml);
    reload(&pooler, "no such key");
    becomes(&pooler, "raised");
    reload(&pooler, &toml);
    becomes(&pooler, "resolved");
    receiver.listen(&[]);
    eventually("it is told", LIMIT, || receiver.received().len() == 1);
    let first = receiver.received().remove(0);
    assert!(first.head.starts_with("POST /api/v2/alerts HTTP/1.1\r\n"), "{}", first.head);
    let labels = "[{\"labels\":{\"alertname\":\"pgweir_reload_failed\",\"about\":\"\",\
                  \"severity\":\"warning\",\"service\":\"pgweir\",\"instance\":\"here\"}";
    assert!(first.body.starts_with(labels), "{}", first.body);
    assert!(first.body.contains("\"endsAt\":\"20"), "{}", first.body);
    // What is raised, Alertmanager hears again and again.
    reload(&pooler, "no such key");
    eventually("it is told again", LIMIT, || receiver.received().len() >= 4);
    let again = receiver.received();
    assert!(!again[1].body.contains("endsAt"), "{}", again[1].body);
    assert_eq!(again[1].body, again[3].body);
    reload(&pooler, &toml);
    let ends = |received: &[Received]| {
        received.iter().filter(|request| request.body.contains("endsAt")).count()
    };
    eventually("it is told of the end", LIMIT, || ends(&receiver.received()) == 2);
}

#[test]
fn old_primary_that_goes_on_is_a_second_one() {
    let cluster = cluster_with_replicas(1);
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    let toml = configuration(&[primary, replica], "");
    let alerts = "[alerts]\nresolve_after = 0\ntwo_primaries_for = 1\nrole_flapping_warning = 1\n";
    let pooler = Pooler::start(&format!("{toml}{alerts}"));
    looked_at(&pooler, replica);
    // And seen so by those who look for alerts, once a second.
    let began = std::time::Instant::now();
    eventually("two seconds are over", LIMIT, || began.elapsed() > Duration::from_secs(2));
    replica.promote().unwrap();
    let about = format!("{APP_DATABASE}/127.0.0.1:{}", primary.port());
    let raised = format!("two_primaries|{about}|critical|raised");
    eventually(&raised, LIMIT, || shown(&pooler, "two_primaries") == [raised.clone()]);
    let changed = format!("role_flapping|{APP_DATABASE}|warning|raised");
    eventually(&changed, LIMIT, || shown(&pooler, "role_flapping") == [changed.clone()]);
    // It does not go on, and the change lies further back than the window reaches.
    primary.stop(StopMode::Fast).unwrap();
    let over = format!("two_primaries|{about}|critical|resolved");
    eventually(&over, LIMIT, || shown(&pooler, "two_primaries") == [over.clone()]);
    reload(&pooler, &format!("{toml}{alerts}role_flapping_window = 1\n"));
    let over = format!("role_flapping|{APP_DATABASE}|warning|resolved");
    eventually(&over, LIMIT, || shown(&pooler, "role_flapping") == [over.clone()]);
}

#[test]
fn errors_and_waits_of_the_last_minute_raise_their_alerts() {
    let cluster = cluster_with_replicas(0);
    let toml = configuration(&[cluster.primary()], "default_pool_size = 1");
    let alerts = "[alerts]\nresolve_after = 0\nerror_rate_for = 0\nwait_p95_for = 0\n\
                  wait_p95_critical = 0\n";
    let pooler = Pooler::start(&format!("{toml}{alerts}"));
    let url = pooler.url(crate::support::APP_USER, PASSWORD, APP_DATABASE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = async |sql: &str, times: usize| {
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..times {
            drop(client.simple_query(sql).await);
        }
    };
    // Requests that are wrong themselves are no sign of anything.
    runtime.block_on(ask("SELECT 1/0", 200));
    let lines = || psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW ERRORS");
    assert!(lines().contains("22012|server|200|"), "{}", lines());
    // 8 of 208 requests could not be served, and nobody waits.
    let full = "DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$";
    runtime.block_on(ask(full, 8));
    let raised = "error_rate||warning|raised".to_owned();
    eventually(&raised, LIMIT, || shown(&pooler, "error_rate") == [raised.clone()]);
    // Some of them have waited: for a server to be opened, and for it to say what code it has.
    runtime.block_on(ask("SELECT 1", 300));
    let waits = || shown(&pooler, "wait_p95").concat().contains("raised");
    eventually("hardly anybody waits", LIMIT, || !waits());
    // Two at once on one server: each waits for the other.
    runtime.block_on(async {
        tokio::join!(ask("SELECT pg_sleep(0.15)", 30), ask("SELECT pg_sleep(0.15)", 30))
    });
    let raised = format!("wait_p95|{APP_DATABASE}/{}|warning|raised", crate::support::APP_USER);
    eventually(&raised, LIMIT, || shown(&pooler, "wait_p95") == [raised.clone()]);
    // And now none of many.
    runtime.block_on(ask("SELECT 1", 2000));
    for raised in ["error_rate||warning|raised", &raised] {
        let (alert, _) = raised.split_once('|').unwrap();
        let over = raised.replace("raised", "resolved");
        eventually(&over, LIMIT, || shown(&pooler, alert) == [over.clone()]);
    }
}

/// Nobody looks at the host of a database that has no other: it is known by those who come.
#[test]
fn only_host_that_is_down_is_told_of_until_it_is_back() {
    let cluster = cluster_with_replicas(0);
    let primary = cluster.primary();
    let general = "http_listen = \"127.0.0.1:0\"\nfailover_timeout = 1\nserver_login_retry = 1";
    let toml = configuration(&[primary], general);
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    // What it refuses keeps it from nothing else.
    let script = "read -r line; case $line in *host_down*) exit 1; esac; echo $line >> $0";
    let alerts = format!(
        "[alerts]\nno_primary_for = 1\nhost_down_for = 0.5\nerror_rate_for = 0\nresolve_after = 0\n\
         command = [\"/bin/sh\", \"-c\", \"{script}\", \"{}\"]\n",
        told.display()
    );
    let pooler = Pooler::start(&format!("{toml}{alerts}"));
    let about = format!("{APP_DATABASE}/127.0.0.1:{}", primary.port());
    let becomes = |alert: &str, about: &str, severity: &str, state: &str| {
        let wanted = [format!("{alert}|{about}|{severity}|{state}")];
        eventually(&format!("{wanted:?}"), LIMIT, || {
            let mut found = shown(&pooler, alert);
            found.retain(|line| line.contains(severity));
            found == wanted
        });
    };
    let metric = |name: &str| {
        let metrics = crate::console::fetch(&pooler, "/metrics");
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    let url = pooler.url(crate::support::APP_USER, PASSWORD, APP_DATABASE);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (client, connection) =
        runtime.block_on(tokio_postgres::connect(&url, tokio_postgres::NoTls)).unwrap();
    runtime.spawn(connection);
    runtime.block_on(client.simple_query("SELECT 1")).unwrap();
    eventually("it is up", LIMIT, || metric("pgweir_database_up{") == "1");
    assert_eq!(metric("pgweir_host_up{"), "1");
    let readyz = || crate::console::fetch(&pooler, "/readyz");
    assert!(readyz().starts_with("HTTP/1.1 200 "), "{}", readyz());

    primary.kill().unwrap();
    // A client that goes on asking is refused each time.
    let asking = runtime.spawn(async move {
        let mut client = client;
        loop {
            // Its first request may have been on the server that is gone.
            if client.is_closed()
                && let Ok((other, connection)) =
                    tokio_postgres::connect(&url, tokio_postgres::NoTls).await
            {
                tokio::spawn(connection);
                client = other;
            }
            drop(client.simple_query("SELECT 1").await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    becomes("no_primary", APP_DATABASE, "critical", "raised");
    becomes("host_down", &about, "warning", "raised");
    becomes("error_rate", "", "critical", "raised");
    eventually("load balancers look elsewhere", LIMIT, || {
        readyz().starts_with("HTTP/1.1 503 ") && readyz().ends_with("no primary\n")
    });
    assert_eq!(
        (metric("pgweir_database_up{"), metric("pgweir_host_up{")),
        ("0".into(), "0".into())
    );
    eventually("the command is told", LIMIT, || {
        std::fs::read_to_string(&told).unwrap_or_default().contains("no_primary")
    });
    assert!(pooler.log().contains("alerts are refused by command, "));
    // Nobody comes any more, and it is found again even so.
    asking.abort();
    primary.start().unwrap();
    becomes("no_primary", APP_DATABASE, "critical", "resolved");
    becomes("host_down", &about, "warning", "resolved");
    eventually("it is ready again", LIMIT, || readyz().starts_with("HTTP/1.1 200 "));
    assert_eq!(metric("pgweir_database_up{"), "1");
}
