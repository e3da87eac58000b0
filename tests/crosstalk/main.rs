//! No reply reaches anybody but the one whom it is for.
//!
//! Many clients that speak bytes share two servers, with another one at every checkout, and do
//! all that clients do: random pipelines, errors in any place, COPY, timeouts, cancels, half-sent
//! messages, killed sockets. Each follows a model of what Postgres answers to it, to the message.
//! A failure names its seed: `CROSSTALK_SEED=n` plays the same batches again, in the order that
//! the threads fall into; `CROSSTALK_QUERIES=n` makes the run longer, and `CROSSTALK_HISTORY=n`
//! shows so many batches before the one that failed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking and is read by nobody else"
)]

#[path = "../support/mod.rs"]
mod support;

mod cases;
mod client;
mod model;
mod plan;
mod statement;
mod wire;

use std::env;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::support::{APP_DATABASE, Cluster, Pooler, SUPERUSER, cluster};

/// How many clients share the servers.
pub(crate) const CLIENTS: usize = 24;
/// How many servers they share.
const SERVERS: usize = 2;

/// What the clients of one run share.
pub(crate) struct Run {
    pub cluster: Arc<Cluster>,
    pub port: u16,
    pub seed: u64,
    /// Batches that a failure shows.
    pub history: usize,
    /// Statements to go.
    pub left: AtomicU64,
    pub failed: AtomicBool,
}

impl Run {
    fn new(cluster: &Arc<Cluster>, port: u16, seed: u64, queries: u64) -> Self {
        let cluster = Arc::clone(cluster);
        let history =
            number("CROSSTALK_HISTORY").map_or(3, |count| usize::try_from(count).unwrap());
        Self {
            cluster,
            port,
            seed,
            history,
            left: AtomicU64::new(queries),
            failed: AtomicBool::new(false),
        }
    }

    /// What the servers do at this moment, for a failure.
    pub fn servers(&self) -> String {
        let sql = format!(
            "select a.pid, state, wait_event, now() - state_change, pg_blocking_pids(a.pid),
                    array(select l.objid from pg_locks l
                          where l.pid = a.pid and locktype = 'advisory' and granted),
                    left(query, 100)
             from pg_stat_activity a where usename <> '{SUPERUSER}'"
        );
        superuser(&self.cluster, &sql)
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn prepare(cluster: &Cluster) {
    let mut sql = String::from(
        "create table uniq (id int primary key);
         insert into uniq values (1);
         create table counter (client int primary key, v bigint);
         create table sink (client int, tag text);
         create table owned (client int, n int, tag text, primary key (client, n));",
    );
    for client in 0..CLIENTS {
        write!(
            sql,
            "insert into counter values ({client}, 0);
             insert into owned select {client}, n, 'owner-{client}'
                from generate_series(1, {}) n;",
            statement::OWNED_ROWS
        )
        .unwrap();
    }
    for schema in client::SCHEMAS {
        write!(
            sql,
            "create schema {schema}; create table {schema}.whoami as select '{schema}' as name;
             grant usage on schema {schema} to app;",
        )
        .unwrap();
    }
    sql += "grant all on all tables in schema public to app;";
    for schema in client::SCHEMAS {
        write!(sql, "grant all on all tables in schema {schema} to app;").unwrap();
    }
    cluster.primary().sql(APP_DATABASE, &sql).unwrap();
}

fn configuration(cluster: &Cluster) -> String {
    format!(
        "listen_port = 0
         http_listen = ''
         auth_type = 'trust'
         pool_mode = 'transaction'
         default_pool_size = {SERVERS}
         debug_force_hop = true
         query_wait_notify = 0
         max_prepared_statements = 6
         request_buffer_size = '16 KiB'
         max_statement_size = '16 KiB'
         workers = 2
         [databases.shop]
         host = '127.0.0.1'
         port = {}
         [users.app]
         password = 's3cret'
        ",
        cluster.primary().port()
    )
}

fn superuser(cluster: &Cluster, sql: &str) -> String {
    cluster.primary().sql(APP_DATABASE, sql).unwrap()
}

/// What has to hold when all clients have gone.
fn check_nothing_leaked(run: &Run, pooler: &Pooler) {
    let cluster = &run.cluster;
    let sessions =
        format!("select count(*) from pg_stat_activity where usename <> '{SUPERUSER}' and (true ");
    let soon = Duration::from_secs(10);
    let end = Instant::now() + soon;
    loop {
        let all = superuser(cluster, &format!("{sessions})"));
        let busy = superuser(cluster, &format!("{sessions} and state <> 'idle')"));
        if all.parse::<usize>().unwrap() <= SERVERS && busy == "0" {
            break;
        }
        assert!(Instant::now() < end, "servers are left, or at work:\n{}", run.servers());
        thread::sleep(Duration::from_millis(20));
    }
    let locks = "select count(*) from pg_locks where locktype = 'advisory'";
    assert_eq!(superuser(cluster, locks), "0", "advisory locks left");
    let status = std::fs::read_to_string(format!("/proc/{}/status", pooler.pid())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    println!("the pooler holds {kilobytes} kB");
    assert!(kilobytes < 100 * 1024, "{kilobytes} kB");
    assert!(!pooler.log().contains("panicked"));
}

#[test]
fn replies_of_many_clients_over_two_servers_never_cross() {
    let queries = number("CROSSTALK_QUERIES").unwrap_or(20_000);
    let seed = number("CROSSTALK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("CROSSTALK_SEED={seed} CROSSTALK_QUERIES={queries}");
    let cluster = Arc::new(cluster());
    prepare(&cluster);
    let pooler = Pooler::start(&configuration(&cluster));
    let started = Instant::now();
    let run = Run::new(&cluster, pooler.port(), seed, queries);
    let ended: Vec<Result<client::Account, String>> = thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> =
            (0..CLIENTS).map(|index| scope.spawn(move || Client::new(run, index).live())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (mut total, mut failures) = (client::Account::default(), Vec::new());
    for (index, end) in ended.into_iter().enumerate() {
        match end {
            Ok(account) => {
                let found = superuser(
                    &cluster,
                    &format!(
                        "select v || ' ' || (select count(*) from sink where client = {index})
                         from counter where client = {index}"
                    ),
                );
                let expected = format!("{} {}", account.counter, account.sunk);
                if found != expected {
                    failures.push(format!("client {index}: {expected} expected, {found} found"));
                }
                total.add(&account);
            }
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "CROSSTALK_SEED={seed}\n{}", failures.join("\n"));
    println!("{total:?} in {:.1?}", started.elapsed());
    check_nothing_leaked(&run, &pooler);
}
