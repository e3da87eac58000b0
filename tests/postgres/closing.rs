//! The log has a line when a server is closed, and why, in PgBouncer's words.

use std::process::Stdio;

use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, client, cluster, eventually, psql,
    psql_rows,
};

fn start(cluster: &Cluster, general: &str) -> Pooler {
    let port = cluster.primary().port();
    Pooler::start(&format!(
        "listen_port = 0\nadmin_users = \"boss\"\nlog_connections = true\n\
         log_disconnections = true\nserver_check_delay = 0\n{general}\n[databases.{APP_DATABASE}]\n\
         host = \"127.0.0.1\"\nport = {port}\n[users.{APP_USER}]\npassword = \"{PASSWORD}\"\n\
         [users.boss]\npassword = \"{PASSWORD}\"\n"
    ))
}

/// What the log says of servers at this end of their connection, oldest first: `opened`, or why
/// they were closed.
fn told(pooler: &Pooler, cluster: &Cluster) -> Vec<String> {
    let whose = format!("{APP_DATABASE}/{APP_USER}@127.0.0.1:{} ", cluster.primary().port());
    let log = pooler.log();
    let lines = log.lines().filter_map(|line| line.split_once(&whose));
    let what = |(_, line): (&str, &str)| match line.strip_prefix("closing because: ") {
        Some(why) => why.rsplit_once(" (age=").unwrap().0.to_owned(),
        None => {
            line.split_once("new connection to server (from ").map(|_| "opened".into()).unwrap()
        }
    };
    lines.map(what).collect()
}

#[track_caller]
fn tells(pooler: &Pooler, cluster: &Cluster, wanted: &[&str]) {
    let what = format!("{wanted:?}");
    eventually(&what, LIMIT, || told(pooler, cluster).len() >= wanted.len());
    assert_eq!(told(pooler, cluster), wanted);
}

#[test]
fn each_server_that_is_closed_has_one_line_with_the_reason() {
    let cluster = cluster();
    let pooler = start(&cluster, "default_pool_size = 1\nquery_timeout = 0.2");
    let (url, console) =
        (pooler.url(APP_USER, PASSWORD, APP_DATABASE), pooler.url("boss", PASSWORD, "pgweir"));
    let mut wanted = Vec::new();
    let mut becomes = |more: &[&'static str]| {
        wanted.extend_from_slice(more);
        tells(&pooler, &cluster, &wanted);
    };
    psql_rows(&url, "SELECT 1");
    becomes(&["opened"]);
    psql_rows(&console, "RECONNECT");
    becomes(&["obsolete connection"]);

    let slow = psql(&url, "SELECT pg_sleep(30)");
    assert!(slow.stderr.contains("query timeout"), "{}", slow.stderr);
    becomes(&["opened", "query timeout"]);

    psql_rows(&url, "SELECT 1");
    becomes(&["opened"]);
    let others =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'";
    assert_eq!(cluster.primary().sql("postgres", others).unwrap(), "1");
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
    eventually("the server is gone", LIMIT, || {
        cluster.primary().sql("postgres", gone).unwrap() == "0"
    });
    psql_rows(&url, "SELECT 1");
    becomes(&["server conn crashed?", "opened"]);

    psql_rows(&console, "PAUSE");
    becomes(&["pause mode"]);
    psql_rows(&console, "RESUME");
    psql_rows(&url, "SELECT 1");
    becomes(&["opened"]);
    pooler.signal("TERM");
    becomes(&["pool closed"]);
}

#[test]
fn times_of_servers_and_clients_who_vanish_are_told() {
    let cluster = cluster();
    let pooler = start(&cluster, "default_pool_size = 1\nserver_idle_timeout = 0.2");
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let mut asleep = client("psql")
        .args(["-X", "-d", &url, "-c", "SELECT pg_sleep(60)"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(60)%' AND \
                   state = 'active' AND pid <> pg_backend_pid()";
    eventually("it sleeps", LIMIT, || cluster.primary().sql("postgres", running).unwrap() == "1");
    asleep.kill().unwrap();
    asleep.wait().unwrap();
    let vanished = "client disconnect while server was not ready";
    tells(&pooler, &cluster, &["opened", vanished]);

    psql_rows(&url, "SELECT 1");
    tells(&pooler, &cluster, &["opened", vanished, "opened", "server idle timeout"]);
    let console = pooler.url("boss", PASSWORD, "pgweir");
    psql_rows(&console, "SET server_idle_timeout = 0; SET server_lifetime = 1");
    psql_rows(&url, "SELECT 1");
    let all =
        ["opened", vanished, "opened", "server idle timeout", "opened", "server lifetime over"];
    tells(&pooler, &cluster, &all);

    // Whoever does not want to know is told nothing.
    psql_rows(&console, "SET log_disconnections = 0");
    psql_rows(&url, "SELECT 1");
    psql_rows(&console, "RECONNECT");
    psql_rows(&console, "WAIT_CLOSE");
    assert_eq!(told(&pooler, &cluster), [&all[..], &["opened"]].concat());
}
