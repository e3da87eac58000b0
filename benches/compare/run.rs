//! One run: its folder, the null server, how long things are measured, and what is to be told
//! besides the figures.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::client::Target;
use crate::keeper::{INTERRUPTED, Kept};
use crate::peers::{Peer, Peers, Pooler, Setup};
use crate::process::Tracer;
use crate::tls;

/// Descriptors that a process needs besides those of its clients.
const SPARE_DESCRIPTORS: usize = 500;

/// How long and how often everything is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// A run over the null server or a real Postgres.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) rounds: usize,
    /// Work that is not counted, at the start of each turn.
    pub(crate) warm_up: Duration,
    /// What is counted of each turn.
    pub(crate) window: Duration,
    pub(crate) tracer: Option<Tracer>,
    peers: Peers,
    notes: Vec<String>,
    left_out: Vec<LeftOut>,
    clients_max: usize,
    upstream: SocketAddr,
    _null_server: Kept,
    /// Last, so that it goes when the processes in it have ended.
    folder: tempfile::TempDir,
}

impl Run {
    /// Starts the null server and looks for the poolers.
    pub(crate) fn begin(pace: Pace) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pgweir-compare").tempdir()?;
        // PgBouncer gives up root and must still reach its files.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        tls::make(folder.path())?;
        let log = folder.path().join("null-server.log");
        let (null_server, upstream) = Kept::start_own(&["null-server"], log)?;
        let Pace { rounds, warm_up, window } = pace;
        let mut run = Self {
            rounds,
            warm_up,
            window,
            tracer: Tracer::find(),
            peers: Peers::find(folder.path()),
            notes: Vec::new(),
            left_out: Vec::new(),
            // The relay has two connections for each client.
            clients_max: descriptors()?.saturating_sub(SPARE_DESCRIPTORS) / 2,
            upstream,
            _null_server: null_server,
            folder,
        };
        if !run.pgbouncer_prepares() {
            run.note(format!(
                "{} keeps no named statements in transaction mode: it is in session mode where \
                 clients prepare, and rewrites nothing (benches/pgbouncer fetches a newer one)",
                run.title(Peer::PgBouncer),
            ));
        }
        match run.tracer {
            None => {
                run.note("System calls: not counted, neither perf nor strace works here".into())
            }
            Some(Tracer::Strace) => run
                .note("System calls are counted with strace, which slows the poolers down".into()),
            Some(Tracer::Perf) => {}
        }
        Ok(run)
    }

    /// Starts a pooler before the null server; `None`, with a note, if it can't be.
    pub(crate) fn start(
        &mut self,
        peer: Peer,
        setup: &Setup,
        case: &str,
    ) -> anyhow::Result<Option<Pooler>> {
        let upstream = self.upstream;
        self.start_before(upstream, peer, setup, case)
    }

    /// Starts a pooler before some server.
    pub(crate) fn start_before(
        &mut self,
        upstream: SocketAddr,
        peer: Peer,
        setup: &Setup,
        case: &str,
    ) -> anyhow::Result<Option<Pooler>> {
        match self.peers.start(peer, setup, upstream) {
            Ok(pooler) => Ok(Some(pooler)),
            Err(error) => {
                check_interrupted()?;
                self.leave_out(peer, case, &format!("{error:#}"));
                Ok(None)
            }
        }
    }

    /// Notes that a pooler takes no part in a case.
    pub(crate) fn leave_out(&mut self, peer: Peer, case: &str, reason: &str) {
        let known = self.left_out.iter_mut().find(|it| it.peer == peer && it.reason == reason);
        if let Some(known) = known {
            known.cases.push(case.to_owned());
            return;
        }
        eprintln!("note: {} is left out of {case}: {reason}", self.title(peer));
        let (reason, cases) = (reason.to_owned(), vec![case.to_owned()]);
        self.left_out.push(LeftOut { peer, reason, cases });
    }

    /// Notes that a pooler could not finish a case.
    pub(crate) fn failed(
        &mut self,
        peer: Peer,
        case: &str,
        error: &anyhow::Error,
        pooler: &Pooler,
    ) -> anyhow::Result<()> {
        check_interrupted()?;
        let title = self.title(peer);
        self.note(format!("{title} FAILED in {case}: {error:#} (its log: {})", pooler.log_tail()));
        Ok(())
    }

    /// The null server itself.
    pub(crate) fn direct(&self) -> Target {
        Target { address: self.upstream, names: vec!["bench".to_owned()].into() }
    }

    /// As many idle clients as wanted, if there are descriptors for them.
    pub(crate) fn idle_clients(&self, wanted: usize) -> usize {
        wanted.min(self.clients_max)
    }

    /// A column's heading.
    pub(crate) fn title(&self, peer: Peer) -> String {
        self.peers.title(peer)
    }

    /// Whether PgBouncer keeps named statements of clients apart in transaction mode.
    pub(crate) fn pgbouncer_prepares(&self) -> bool {
        self.peers.pgbouncer_prepares()
    }

    /// Where files may be put.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Says something now, and again under the tables.
    pub(crate) fn note(&mut self, note: String) {
        eprintln!("note: {note}");
        self.notes.push(note);
    }

    /// All that was noted.
    pub(crate) fn notes(&self) -> Vec<String> {
        let left_out = self.left_out.iter().map(|LeftOut { peer, reason, cases }| {
            format!("{} is left out of {}: {reason}", self.title(*peer), cases.join(", "))
        });
        self.notes.iter().cloned().chain(left_out).collect()
    }
}

/// A pooler that took no part in some cases, for one reason.
#[derive(Debug)]
struct LeftOut {
    peer: Peer,
    reason: String,
    cases: Vec<String>,
}

/// The number of files that this process and its children may have open.
pub(crate) fn descriptors() -> anyhow::Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).context("limits")?;
    Ok(soft.parse().unwrap_or(usize::MAX))
}

fn check_interrupted() -> anyhow::Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}
