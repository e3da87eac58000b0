//! Real drivers and Postgres's own tools through the pooler, with another server at every
//! checkout and two servers per pool. The scripts are beside this file; see README.md there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking and is read by nobody else"
)]

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use support::{APP_DATABASE, APP_USER, Cluster, PASSWORD, Pooler, SUPERUSER, cluster};

#[test]
fn drivers_pass_under_forced_hops() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, &[APP_DATABASE]));
    check("run", &["--url", &pooler.url(APP_USER, PASSWORD, APP_DATABASE)]);
}

#[test]
fn postgres_tools_pass_under_forced_hops() {
    let cluster = cluster();
    // pg_basebackup names the database "replication".
    let databases = [APP_DATABASE, "restored", "replication"];
    let pooler = Pooler::start(&configuration(&cluster, &databases));
    let url = pooler.url(SUPERUSER, PASSWORD, APP_DATABASE);
    check("tools", &["--url", &url, "--second", "restored"]);
}

fn configuration(cluster: &Cluster, databases: &[&str]) -> String {
    let mut toml =
        "listen_port = 0\nhttp_listen = \"\"\ndefault_pool_size = 2\ndebug_force_hop = true\n"
            .to_owned();
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(script);
    let status = Command::new(path).args(arguments).status().unwrap();
    assert!(status.success(), "tests/drivers/{script}: {status}");
}
