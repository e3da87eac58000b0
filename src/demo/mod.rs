//! Throwaway Postgres servers from the installed binaries, and the demonstration that runs on them.
//!
//! The demonstration starts a primary and two replicas, and the two servers of a database over
//! shards, lets the caller start the pooler in front of them, and either prints lines to paste
//! until it is interrupted or runs these lines itself. It does not know how a pooler is started or
//! stopped.

pub mod cluster;
mod error;
mod folder;
mod install;
mod port;
mod procfs;
mod program;
mod script;
mod server;
mod spread;
mod template;

use std::env;
use std::fmt;
use std::io::{self, Write};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use cluster::{
    APP_DATABASE, APP_USER, Cluster, ClusterError, PASSWORD, SUPERUSER, run as run_program,
};
use script::{LINES, Line, POOL_SIZE};
use spread::Shards;

/// What the demonstration does with its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Prints them and waits for Ctrl-C, SIGTERM or SIGHUP.
    Show,
    /// Runs them and compares what they print with what they should.
    Check,
}

/// Whether the demonstration showed what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Interrupted while showing, or every line printed what it should: exit status 0.
    Well,
    /// A checked line printed something else: exit status 1.
    Failed,
}

/// A pooler that the demonstration's caller has started.
pub struct RunningPooler {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// Ends it; called before the servers behind it end.
    pub stop: Box<dyn FnOnce()>,
}

impl fmt::Debug for RunningPooler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningPooler").field("port", &self.port).finish_non_exhaustive()
    }
}

/// Why the demonstration could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The servers did not start or failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The pooler did not start.
    #[error("the pooler did not start: {0}")]
    Pooler(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The output can't be written, or signals can't be waited for.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the demonstration, printing to `out`.
///
/// `start_pooler` gets a configuration as the text of a `pooler.toml`, with `port` (0 for any free
/// one) as its `listen_port`, and returns once the pooler listens. It is called on the calling
/// thread, outside any tokio runtime.
///
/// # Errors
/// When the servers or the pooler don't start, or `out` can't be written. Whatever the end, the
/// servers are stopped and their folder is removed.
pub fn run<S>(
    mode: Mode,
    port: u16,
    out: &mut impl Write,
    start_pooler: S,
) -> Result<Outcome, DemoError>
where
    S: FnOnce(&str) -> Result<RunningPooler, Box<dyn std::error::Error + Send + Sync>>,
{
    // Before anything is started, so that an early Ctrl-C is not missed. A check that is
    // interrupted dies, and the cluster's watchdog removes what it leaves.
    let interrupts = match mode {
        Mode::Show => Some(Interrupts::new()?),
        Mode::Check => None,
    };
    let (cluster, shards) = start_servers()?;
    let config = config(&cluster, port) + &shards.config();
    let pooler = start_pooler(&config).map_err(DemoError::Pooler)?;
    let demo = Demo { cluster, shards, pooler_port: pooler.port };
    let outcome = match interrupts {
        Some(interrupts) => demo.show(out).map(|()| {
            interrupts.wait();
            Outcome::Well
        }),
        None => demo.check(out),
    };
    (pooler.stop)();
    outcome
}

/// The running parts.
struct Demo {
    cluster: Cluster,
    shards: Shards,
    pooler_port: u16,
}

impl Demo {
    fn show(&self, out: &mut impl Write) -> Result<(), DemoError> {
        writeln!(out, "Postgres {} runs here:", self.cluster.install().version())?;
        writeln!(out, "  primary on port {}", self.cluster.primary().port())?;
        for replica in self.cluster.replicas() {
            writeln!(out, "  {} on port {}", replica.name(), replica.port())?;
        }
        writeln!(out, "  all in {}", self.cluster.folder().display())?;
        for (name, server) in self.shards.servers() {
            let folder = server.socket_dir().display();
            writeln!(out, "  shard {name} on port {}, in {folder}", server.port())?;
        }
        writeln!(out, "pgweir listens on 127.0.0.1:{}", self.pooler_port)?;
        writeln!(out, "\nPaste this into another terminal first:\n\n{}", self.setup())?;
        writeln!(out, "Then these, best in this order:")?;
        for Line { title, command, expect } in lines() {
            writeln!(out, "\n# {title}\n# prints: {expect}\n{command}")?;
        }
        let servers = 1 + self.cluster.replicas().len() + self.shards.servers().count();
        writeln!(out, "\nCtrl-C ends pgweir and these {servers} servers and removes them.")?;
        out.flush()?;
        Ok(())
    }

    fn check(&self, out: &mut impl Write) -> Result<Outcome, DemoError> {
        let mut outcome = Outcome::Well;
        let setup = self.setup();
        for Line { title, command, expect } in lines() {
            let mut shell = Command::new("sh");
            for (name, _) in env::vars_os() {
                if name.as_encoded_bytes().starts_with(b"PG") {
                    shell.env_remove(name);
                }
            }
            shell.env("PSQLRC", "/dev/null").env("LC_ALL", "C");
            let text = format!("{setup}{command}\n");
            let ended = run_program(shell.args(["-c", &text]), "", LINE_LIMIT);
            match ended {
                Ok(ended) if expect.holds(&ended.stdout) => writeln!(out, "ok      {title}")?,
                Ok(ended) => {
                    outcome = Outcome::Failed;
                    writeln!(out, "FAILED  {title}\n  {command}\n  should print: {expect}")?;
                    writeln!(out, "  printed: {}\n  {}", ended.stdout.trim(), ended.stderr.trim())?;
                }
                Err(error) => {
                    outcome = Outcome::Failed;
                    writeln!(out, "FAILED  {title}\n  {command}\n  {error}")?;
                }
            }
            out.flush()?;
        }
        Ok(outcome)
    }

    /// What the lines need to know, as shell text.
    fn setup(&self) -> String {
        let app = |port: u16| format!("postgres://{APP_USER}:{PASSWORD}@127.0.0.1:{port}");
        let mut text = String::new();
        let mut set = |name: &str, value: &str| {
            text.push_str(&format!("export {name}='{value}'\n"));
        };
        set("SHOP", &format!("{}/{APP_DATABASE}", app(self.pooler_port)));
        set("CONSOLE", &format!("{}/pgweir", app(self.pooler_port)));
        set("PRIMARY", &self.cluster.primary().url(APP_USER, PASSWORD, APP_DATABASE));
        for (number, replica) in (1..).zip(self.cluster.replicas()) {
            set(&format!("REPLICA{number}"), &replica.url(APP_USER, PASSWORD, APP_DATABASE));
            let admin = replica.url(SUPERUSER, PASSWORD, "postgres");
            set(&format!("REPLICA{number}_ADMIN"), &admin);
        }
        if let [first, second, ..] = self.cluster.replicas() {
            set("FOLLOW_REPLICA1", &first.conninfo(second.name()));
        }
        set("MALL", &format!("{}/{}", app(self.pooler_port), spread::DATABASE));
        for (name, value) in self.shards.variables() {
            set(&name, &value);
        }
        // A pager would take the lines that were pasted after its own for its keys.
        set("PSQL_PAGER", "");
        set("DATA", &self.cluster.folder().display().to_string());
        set("PG_CTL", &self.cluster.install().pg_ctl());
        text.push_str(&format!("PATH='{}':$PATH\n", self.cluster.install().bin_dir().display()));
        text
    }
}

/// All lines, in their order.
fn lines() -> impl Iterator<Item = &'static Line> {
    LINES.iter().chain(spread::LINES)
}

fn start_servers() -> Result<(Cluster, Shards), ClusterError> {
    thread::scope(|scope| {
        let shards = scope.spawn(Shards::start);
        let cluster = start_cluster()?;
        let failed = ClusterError::NotRunning("a thread that starts shards".to_owned());
        Ok((cluster, shards.join().unwrap_or(Err(failed))?))
    })
}

fn start_cluster() -> Result<Cluster, ClusterError> {
    // What autovacuum writes would keep replicas that lag from being fresh.
    let cluster = Cluster::builder().replicas(2).settings(&[("autovacuum", "off")]).start()?;
    let sql = format!(
        "{CREATE_CHECK_USER}\n\
         SET ROLE {APP_USER};\n\
         CREATE TABLE notes (\
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL);\n\
         CREATE FUNCTION note_count() RETURNS bigint LANGUAGE sql \
             AS 'SELECT count(*) FROM notes';\n"
    );
    cluster.primary().sql(APP_DATABASE, &sql)?;
    cluster.wait_replayed()?;
    Ok(cluster)
}

/// The configuration of the pooler in front of the cluster.
fn config(cluster: &Cluster, port: u16) -> String {
    let servers = [cluster.primary()].into_iter().chain(cluster.replicas());
    let hosts: Vec<String> =
        servers.map(|server| format!("\"127.0.0.1:{}\"", server.port())).collect();
    format!(
        "listen_addr = \"127.0.0.1\"\n\
         listen_port = {port}\n\
         pool_mode = \"transaction\"\n\
         default_pool_size = {POOL_SIZE}\n\
         http_listen = \"\"\n\
         admin_users = [\"{APP_USER}\"]\n\
         check_user = \"{CHECK_USER}\"\n\
         \n\
         [databases.{APP_DATABASE}]\n\
         hosts = [{}]\n\
         \n\
         [users.{APP_USER}]\n\
         password = \"{PASSWORD}\"\n\
         \n\
         [users.{CHECK_USER}]\n\
         password = \"{PASSWORD}\"\n",
        hosts.join(", ")
    )
}

/// The role by which the pooler asks the servers what they are.
const CHECK_USER: &str = "pgweir_check";
/// It on a server; [`PASSWORD`] is its password as well.
const CREATE_CHECK_USER: &str = "\
CREATE ROLE pgweir_check LOGIN PASSWORD 's3cret';
GRANT pg_monitor TO pgweir_check;";

/// The signals that end the demonstration.
struct Interrupts {
    runtime: tokio::runtime::Runtime,
    signals: [Signal; 3],
}

impl Interrupts {
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        let signals = [interrupt?, terminate?, hangup?];
        drop(guard);
        Ok(Self { runtime, signals })
    }

    fn wait(self) {
        let [mut interrupt, mut terminate, mut hangup] = self.signals;
        self.runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
                _ = hangup.recv() => (),
            }
        });
    }
}

/// A line takes at most this long, a lagging replica's wait included.
const LINE_LIMIT: Duration = Duration::from_secs(60);
