//! Alerts about what is forgotten, slow, or used up; and about who holds a server that it keeps anyway.

use std::process::Command;

use tokio_postgres::{Client, NoTls};

use crate::alerts::shown;
use crate::console::fetch;
use crate::hosts::configuration;
use crate::reads::connect;
use crate::support::{
    APP_DATABASE, APP_USER, LIMIT, PASSWORD, Pooler, cluster_with_replicas, eventually, psql_rows,
};

/// Waits until the alert stands so, and is about this alone.
#[track_caller]
fn becomes(pooler: &Pooler, alert: &str, about: &str, wanted: &str) {
    let line = format!("{alert}|{about}|warning|{wanted}");
    eventually(&line, LIMIT, || shown(pooler, alert) == [line.clone()]);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Runs it so many times, whatever comes of it.
async fn ask(client: &Client, sql: &str, times: usize) {
    for _ in 0..times {
        drop(client.simple_query(sql).await);
    }
}

#[test]
fn pause_that_lasts_is_told_of_until_it_ends() {
    let cluster = cluster_with_replicas(0);
    let toml = configuration(&[cluster.primary()], "http_listen = \"127.0.0.1:0\"");
    let pooler = Pooler::start(&format!("{toml}[alerts]\nresolve_after = 0\npaused_for = 1\n"));
    let console = pooler.url("boss", PASSWORD, "pgweir");
    psql_rows(&console, &format!("PAUSE {APP_DATABASE}"));
    becomes(&pooler, "paused", APP_DATABASE, "raised");
    let line = fetch(&pooler, "/metrics");
    let paused =
        |line: &str| line.starts_with("pgbouncer_databases_paused{") && line.ends_with(" 1");
    assert_eq!(line.lines().filter(|line| paused(line)).count(), 1, "{line}");
    psql_rows(&console, &format!("RESUME {APP_DATABASE}"));
    becomes(&pooler, "paused", APP_DATABASE, "resolved");
}

#[test]
fn slow_requests_and_transactions_of_the_last_minute_are_told_of() {
    let cluster = cluster_with_replicas(0);
    let toml = configuration(&[cluster.primary()], "");
    let alerts = "[alerts]\nresolve_after = 0\nquery_p99_warning = 0.1\nquery_p99_for = 0\n\
                  transaction_p99_warning = 0.4\ntransaction_p99_for = 0\n";
    let pooler = Pooler::start(&format!("{toml}{alerts}"));
    let (runtime, about) = (runtime(), format!("{APP_DATABASE}/{APP_USER}"));
    let client = runtime.block_on(connect(&pooler, ""));
    // Requests that take 0.2 s, and a transaction of three of them.
    runtime.block_on(ask(&client, "SELECT pg_sleep(0.2)", 1));
    becomes(&pooler, "query_p99", &about, "raised");
    let slow =
        "BEGIN / SELECT pg_sleep(0.2) / SELECT pg_sleep(0.2) / SELECT pg_sleep(0.2) / COMMIT";
    for sql in slow.split(" / ") {
        runtime.block_on(ask(&client, sql, 1));
    }
    becomes(&pooler, "transaction_p99", &about, "raised");
    // They are few among many.
    runtime.block_on(ask(&client, "SELECT 1", 2000));
    becomes(&pooler, "query_p99", &about, "resolved");
    becomes(&pooler, "transaction_p99", &about, "resolved");
}

#[test]
fn cancels_that_are_many_for_so_few_requests_are_told_of() {
    let cluster = cluster_with_replicas(0);
    let toml = configuration(&[cluster.primary()], "http_listen = \"127.0.0.1:0\"");
    let pooler = Pooler::start(&format!("{toml}[alerts]\nresolve_after = 0\ncancels_for = 0\n"));
    let runtime = runtime();
    let client = runtime.block_on(connect(&pooler, ""));
    runtime.block_on(ask(&client, "SELECT 1", 100));
    for _ in 0..20 {
        runtime.block_on(client.cancel_token().cancel_query(NoTls)).unwrap();
    }
    becomes(&pooler, "cancels", "", "raised");
    let page = fetch(&pooler, "/metrics");
    assert!(page.contains("\npgweir_cancels_total 20\n"), "{page}");
    runtime.block_on(ask(&client, "SELECT 1", 1000));
    becomes(&pooler, "cancels", "", "resolved");
}

#[test]
fn open_files_and_memory_near_their_limits_are_told_of() {
    let cluster = cluster_with_replicas(0);
    let general = "http_listen = \"127.0.0.1:0\"";
    let toml = configuration(&[cluster.primary()], general);
    let alerts = "[alerts]\nresolve_after = 0\nopen_files_warning = 50\nopen_files_critical = 0\n\
                  open_files_for = 0\nmemory_critical = 0\nmemory_for = 0\n";
    let pooler = Pooler::start(&format!("{toml}{alerts}"));
    let gauge = |name: &str| -> u64 {
        let page = fetch(&pooler, "/metrics");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    };
    // It may have a few more than it has.
    let (open, most) = (gauge("process_open_fds"), gauge("process_max_fds"));
    let let_have = |files: u64| {
        let limit = format!("--nofile={files}:");
        let pid = pooler.pid().to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
        assert!(done.success());
    };
    assert!(open >= 12 && open * 4 < most, "{open} of {most}");
    let_have(open + 10);
    becomes(&pooler, "open_files", "", "raised");
    assert_eq!(gauge("process_max_fds"), open + 10);
    let_have(most);
    becomes(&pooler, "open_files", "", "resolved");

    // What the machine has is far away; what it may have is not.
    let resident = gauge("pgweir_memory_bytes{for=\"resident\"}");
    assert!(gauge("pgweir_memory_limit_bytes") > resident);
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let limit = |bytes: u64| {
        pooler.rewrite(&format!("{toml}{alerts}memory_limit = \"{}kB\"\n", bytes >> 10));
        psql_rows(&console, "RELOAD");
    };
    limit(resident);
    becomes(&pooler, "memory", "", "raised");
    limit(resident * 4);
    becomes(&pooler, "memory", "", "resolved");
}

/// Those who keep a server anyway hold it for nobody while they are in no transaction.
#[test]
fn who_keeps_a_server_is_told_of_while_in_a_transaction() {
    let cluster = cluster_with_replicas(0);
    let alerts = "[alerts]\nresolve_after = 0\nholder_warning = 2\nholder_critical = 0\n";
    for (mode, keeps) in [("session", "SELECT 1"), ("transaction", "SELECT pg_advisory_lock(1)")] {
        let toml = configuration(&[cluster.primary()], &format!("pool_mode = \"{mode}\""));
        let pooler = Pooler::start(&format!("{toml}{alerts}"));
        let (runtime, about) = (runtime(), format!("{APP_DATABASE}/{APP_USER}"));
        let console = pooler.url("boss", PASSWORD, "pgweir");
        let client = runtime.block_on(connect(&pooler, ""));
        let run = |sql: &str| runtime.block_on(client.batch_execute(sql)).unwrap();
        run(keeps);
        eventually("it has had its server for long", LIMIT, || {
            let row = psql_rows(&console, "SHOW HOLDERS");
            row.split('|').nth(5).is_some_and(|held| held.parse::<u64>().unwrap() >= 4)
        });
        assert_eq!(shown(&pooler, "holder"), [""; 0], "{mode}");
        run("BEGIN");
        run("SELECT 1");
        becomes(&pooler, "holder", &about, "raised");
        run("COMMIT");
        becomes(&pooler, "holder", &about, "resolved");
        run("SELECT pg_advisory_unlock_all()");
    }
}
