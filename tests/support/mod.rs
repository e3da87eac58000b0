//! What every test against real servers uses: throwaway clusters, the built pooler, and the
//! Postgres clients, each under a deadline.

#![allow(dead_code, unused_imports, reason = "each test crate uses its part of this module")]

mod pooler;
pub mod receiver;

use std::collections::HashMap;
use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub use pgweir::demo::cluster::{
    APP_DATABASE, APP_USER, Cluster, Ended, Install, PASSWORD, PostgresServer, SUPERUSER, StopMode,
};
pub use pooler::Pooler;

/// What a test waits for at most, unless it is about time: long, because machines are busy.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A primary without replicas.
pub fn cluster() -> Cluster {
    cluster_with_replicas(0)
}

/// A primary with streaming replicas.
pub fn cluster_with_replicas(count: usize) -> Cluster {
    Cluster::builder().replicas(count).start().unwrap()
}

/// Waits until `condition` holds; `what` says in the failure what did not come.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let waited = pgweir::demo::cluster::wait_for(what, limit, || Ok(condition().then_some(())));
    if let Err(error) = waited {
        panic!("{error}");
    }
}

/// Runs psql with the SQL on its standard input, each statement by itself, and returns how that
/// ended. Rows come one per line, fields separated by `|`; the first error ends it with status 3.
pub fn psql(url: &str, sql: &str) -> Ended {
    psql_with(url, sql, &[])
}

/// [`psql`] with environment variables, such as `PGOPTIONS`.
pub fn psql_with(url: &str, sql: &str, environment: &[(&str, &str)]) -> Ended {
    let mut command = client("psql");
    command.envs(environment.iter().copied());
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", "-"]);
    pgweir::demo::cluster::run(&mut command, sql, LIMIT).unwrap()
}

/// Runs SQL by [`psql`], which must succeed, and returns its rows without the last line break.
#[track_caller]
pub fn psql_rows(url: &str, sql: &str) -> String {
    let ended = psql(url, sql);
    assert!(ended.status.success(), "psql {sql:?}: {}", ended.stderr);
    ended.stdout.trim_end_matches('\n').to_owned()
}

/// Runs pgbench with these arguments (a connection string is one of them, as the last) and, where
/// one of them is `-f -`, with `script` as its script.
pub fn pgbench(arguments: &[&str], script: &str, limit: Duration) -> Ended {
    pgweir::demo::cluster::run(client("pgbench").args(arguments), script, limit).unwrap()
}

/// Runs `pgweir check FILE` with `toml` in the file and these arguments.
pub fn check(toml: &str, arguments: &[&str]) -> Ended {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
    command.arg("check").arg(file.path()).args(arguments);
    let mut ended = pgweir::demo::cluster::run(&mut command, "", LIMIT).unwrap();
    for text in [&mut ended.stdout, &mut ended.stderr] {
        *text = text.replace(&file.path().display().to_string(), "pooler.toml");
    }
    ended
}

/// One of Postgres's client programs, such as `pg_dump`, free of this process's PG* variables.
pub fn client(program: &str) -> Command {
    let install = Install::find().unwrap();
    let mut command = Command::new(install.program(program));
    let kept: HashMap<_, _> =
        env::vars_os().filter(|(name, _)| !name.as_encoded_bytes().starts_with(b"PG")).collect();
    command.env_clear().envs(kept).env("LC_ALL", "C");
    command
}

/// Whether a process of this number runs (a zombie does not).
pub fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}
