//! What can go wrong with throwaway servers, in words that say what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a throwaway cluster, or a step on one of its servers, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No `postgres` and `initdb` on this machine.
    #[error(
        "no Postgres server binaries found (looked in {looked}); on Debian or Ubuntu install them \
         with: apt-get install -y postgresql; elsewhere set PG_BINDIR to the folder that holds \
         initdb and postgres"
    )]
    NoServerBinaries {
        /// The places that were looked at, for the message.
        looked: String,
    },
    /// Postgres refuses to run as root and there is nobody else to run it as.
    #[error(
        "running as root, and neither a user `postgres` nor `nobody` exists to run Postgres as"
    )]
    NoUnprivilegedUser,
    /// A cache folder of the right name that somebody else made.
    #[error("{} exists but is not a private folder of the user that runs Postgres; remove it", .0.display())]
    ForeignCache(PathBuf),
    /// Unix socket paths are limited to 107 bytes.
    #[error("{} is too long for a unix socket; set TMPDIR to a shorter path", .0.display())]
    PathTooLong(PathBuf),
    /// The port was taken between its choice and its use.
    #[error("port {0} is taken")]
    PortTaken(u16),
    /// No free port after many attempts.
    #[error("found no free port after {0} attempts")]
    NoFreePort(u32),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The refusal.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed ({status}): {stderr}")]
    Program {
        /// The program's name.
        program: String,
        /// Its exit status.
        status: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// A condition did not come true in time.
    #[error("waited {limit:?} in vain: {what}")]
    Deadline {
        /// The condition.
        what: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The server ended while it was expected to start.
    #[error("{server} did not start; the end of its log:\n{log}")]
    DidNotStart {
        /// Which server of the cluster.
        server: String,
        /// The last lines of its log.
        log: String,
    },
    /// A step that needs a running server met a stopped one.
    #[error("{0} is not running")]
    NotRunning(String),
    /// Starting a server that runs already.
    #[error("{0} is running already")]
    Running(String),
}

/// Turns an I/O error into a [`ClusterError`] that says what was attempted.
pub(super) trait Attempt<T> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T, ClusterError>;
}

impl<T> Attempt<T> for io::Result<T> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T, ClusterError> {
        self.map_err(|source| ClusterError::Io { what: what(), source })
    }
}
