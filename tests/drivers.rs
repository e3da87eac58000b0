//! Real drivers, and Postgres's own tools, through pgweir: two servers, and another one at every
//! transaction. The drivers are installed from their registries, so this runs on demand:
//! `cargo test --test drivers -- --ignored --nocapture`, which `.ci/test` does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test fails by panicking and is read by nobody else"
)]

mod support;

use std::process::{Command, Stdio};

use support::{APP_DATABASE, APP_USER, Cluster, PASSWORD, Pooler, cluster};

/// The role, which owns what it makes, and may copy the server as a whole.
const PREPARE: &str = "GRANT CREATE ON DATABASE shop TO app; ALTER ROLE app CREATEDB REPLICATION";

fn pooler(cluster: &Cluster) -> Pooler {
    let primary = cluster.primary();
    primary.sql(APP_DATABASE, PREPARE).unwrap();
    let port = primary.port();
    Pooler::start(&format!(
        "listen_addr = \"127.0.0.1\"\n\
         listen_port = 0\n\
         http_listen = \"\"\n\
         pool_mode = \"transaction\"\n\
         default_pool_size = 2\n\
         debug_force_hop = true\n\
         [databases.{APP_DATABASE}]\n\
         host = \"127.0.0.1\"\n\
         port = {port}\n\
         [databases.{APP_DATABASE}_restored]\n\
         host = \"127.0.0.1\"\n\
         port = {port}\n\
         [users.{APP_USER}]\n\
         password = \"{PASSWORD}\"\n"
    ))
}

/// Runs one of the scripts in `tests/drivers` through a pooler of its own.
fn run(script: &str) {
    let cluster = cluster();
    let pooler = pooler(&cluster);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers/");
    let ended = Command::new(format!("{path}{script}"))
        .args(["--url", &pooler.url(APP_USER, PASSWORD, APP_DATABASE)])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(ended.success(), "tests/drivers/{script}: {ended}");
    assert!(pooler.stop().success());
}

#[test]
#[ignore = "installs drivers"]
fn drivers_work_at_their_default_settings() {
    run("run");
}

#[test]
#[ignore = "runs with the drivers"]
fn postgres_tools_work() {
    run("tools");
}
