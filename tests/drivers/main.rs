//! Real drivers, migration tools and Postgres's own tools through the pooler, with another server
//! at every checkout and few servers per pool. The scripts are beside this file; see README.md there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    unreachable_pub,
    reason = "a test fails by panicking and is read by nobody else"
)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../tls/certificates.rs"]
mod certificates;
mod direct;
mod sharded;

use std::path::Path;
use std::process::Command;

use support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, SUPERUSER, cluster, eventually,
    psql_rows,
};

#[test]
fn drivers_pass_under_forced_hops() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, &[APP_DATABASE], 2));
    check("run", &["--url", &pooler.url(APP_USER, PASSWORD, APP_DATABASE)]);
}

#[test]
fn postgres_tools_pass_under_forced_hops() {
    let cluster = cluster();
    // pg_basebackup names the database "replication".
    let databases = [APP_DATABASE, "restored", "replication"];
    let pooler = Pooler::start(&configuration(&cluster, &databases, 2));
    let url = pooler.url(SUPERUSER, PASSWORD, APP_DATABASE);
    check("tools", &["--url", &url, "--second", "restored"]);
}

#[test]
fn migrations_run_twice_at_once_under_forced_hops() {
    let cluster = cluster();
    // One has a server for its lock and one for its work, the other waits at a third, the script
    // holds a fourth and asks on a fifth.
    let pooler = Pooler::start(&configuration(&cluster, &[APP_DATABASE], 5));
    check("run", &["--migrations", "--url", &pooler.url(APP_USER, PASSWORD, APP_DATABASE)]);
    let console = pooler.url(SUPERUSER, PASSWORD, "pgweir");
    eventually("no client is pinned", LIMIT, || psql_rows(&console, "SHOW PINS").is_empty());
}

#[test]
fn console_answers_the_drivers_of_tools() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, &[APP_DATABASE], 2));
    // There is something to tell of.
    psql_rows(&pooler.url(APP_USER, PASSWORD, APP_DATABASE), "SELECT 1");
    check("run", &["--console", "--url", &pooler.url(SUPERUSER, PASSWORD, "pgbouncer")]);
}

fn configuration(cluster: &Cluster, databases: &[&str], pool_size: usize) -> String {
    let mut toml = format!(
        "listen_port = 0\nhttp_listen = \"\"\nadmin_users = \"{SUPERUSER}\"\n\
         default_pool_size = {pool_size}\ndebug_force_hop = true\n"
    );
    let port = cluster.primary().port();
    for name in databases {
        toml += &format!("[databases.{name}]\nhost = \"127.0.0.1\"\nport = {port}\n");
    }
    for user in [APP_USER, SUPERUSER] {
        toml += &format!("[users.{user}]\npassword = \"{PASSWORD}\"\n");
    }
    toml
}

/// Runs a script, whose output is the test's; it has deadlines of its own.
fn check(script: &str, arguments: &[&str]) {
    check_with(script, arguments, &[]);
}

/// The same with environment variables.
fn check_with(script: &str, arguments: &[&str], environment: &[(&str, &str)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(script);
    let environment = environment.iter().copied();
    let status = Command::new(path).args(arguments).envs(environment).status().unwrap();
    assert!(status.success(), "tests/drivers/{script}: {status}");
}
