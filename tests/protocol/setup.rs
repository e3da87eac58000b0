//! The cluster that the tests of this crate share, and poolers in front of it.
//!
//! A test that stops or fills its server starts one of its own.

use std::fs;
use std::sync::LazyLock;

use crate::support::{APP_DATABASE, APP_USER, Cluster, PASSWORD, Pooler, PostgresServer, cluster};

/// Lives until the process ends; what watches over clusters removes it then.
static SHARED: LazyLock<Cluster> = LazyLock::new(cluster);

pub fn shared() -> &'static PostgresServer {
    SHARED.primary()
}

/// A pooler in front of the shared cluster. Clients are trusted. `settings` are general keys.
#[track_caller]
pub fn pooler(settings: &str) -> Pooler {
    pooler_for(shared(), settings)
}

/// The same in front of another server.
#[track_caller]
pub fn pooler_for(server: &PostgresServer, settings: &str) -> Pooler {
    Pooler::start(&file(server.port(), settings, ""))
}

/// A file for servers on that port. `tables` may add keys to the user's table, and tables.
pub fn file(port: u16, settings: &str, tables: &str) -> String {
    let settings: String = settings.split("; ").map(|line| format!("{line}\n")).collect();
    let auth = if settings.contains("auth_type") { "" } else { "auth_type = \"trust\"\n" };
    // Who waits long on a busy machine is not told so, unless that is what is tested.
    let notify =
        if settings.contains("query_wait_notify") { "" } else { "query_wait_notify = 0\n" };
    // Scripted servers don't expect to be asked for code.
    format!(
        "listen_port = 0\nhttp_listen = \"\"\nunseen_code_interval = 0\n{auth}{notify}{settings}\n\
         [databases.{APP_DATABASE}]\nhost = \"127.0.0.1\"\nport = {port}\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n{tables}"
    )
}

/// Memory that the process has in use, in KiB.
pub fn memory_kib(pid: u32) -> u64 {
    kib(pid, "VmRSS:")
}

/// The most that it has ever been.
pub fn memory_most_kib(pid: u32) -> u64 {
    kib(pid, "VmHWM:")
}

fn kib(pid: u32, figure: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
