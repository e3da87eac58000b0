//! One look at a host: a question of one round trip on a connection that is kept.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::Role;
use super::health::Sign;
use super::lsn::Lsn;
use super::snapshot::Snapshot;
use crate::config::read_duration;
use crate::server::ask::{AskError, Asker, Row};
use crate::server::connect::{ConnectError, Target};

/// What a host says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What it is.
    pub role: Role,
    /// Whose copy it is: `system_identifier`.
    pub system: u64,
    /// The timeline that a primary writes, and that a replica is known to follow.
    pub timeline: u32,
    /// What a primary has flushed, and a replica replayed; `None` when it has replayed nothing.
    pub lsn: Option<Lsn>,
    /// Which transactions were over before that was read.
    pub snapshot: Option<Snapshot>,
    /// When commits are flushed.
    pub flushing: Flushing,
}

/// When a server flushes what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushing {
    /// Commits are told before they are flushed (`synchronous_commit = off`), unless a session says
    /// otherwise.
    pub lazy: bool,
    /// Those that are, are flushed within this time: three times `wal_writer_delay`.
    pub within: Duration,
}

impl Default for Flushing {
    /// As Postgres comes.
    fn default() -> Self {
        Self { lazy: false, within: Duration::from_millis(600) }
    }
}

/// What came of a look that showed nothing.
#[derive(Clone, Debug)]
pub struct Miss {
    /// What it says about the host.
    pub sign: Sign,
    /// Why.
    pub cause: String,
}

/// The role is asked once: a server that is promoted meanwhile refuses one of the other functions,
/// and is asked again. A replica's control file may be some minutes behind as to the timeline; what
/// it receives is told to members of pg_monitor. The snapshot is the statement's own, and older than the
/// position.
const QUESTION: &str = "SELECT r, \
     CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END, \
     CASE WHEN r THEN greatest(c.timeline_id, m.min_recovery_end_timeline, \
     (SELECT received_tli FROM pg_stat_wal_receiver)) \
     ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int END, \
     s.system_identifier, \
     current_setting('synchronous_commit'), current_setting('wal_writer_delay'), \
     txid_current_snapshot()::text \
     FROM pg_is_in_recovery() r, pg_control_checkpoint() c, pg_control_recovery() m, \
     pg_control_system() s";

/// What a connection starts with: names mean what they say, whatever a role has been set to.
const SETTINGS: [(&[u8], &[u8]); 3] =
    [(b"search_path", b""), (b"client_encoding", b"UTF8"), (b"application_name", b"pgweir check")];

/// The connection to a host, where there is one.
#[derive(Debug)]
pub(super) struct Probe {
    target: Target,
    limit: Duration,
    asker: Option<Asker>,
}

impl Probe {
    pub(super) fn new(target: Target, limit: Duration) -> Self {
        Self { target, limit, asker: None }
    }

    /// Looks once.
    pub(super) async fn look(&mut self) -> Result<Sample, Miss> {
        // Taken out: an answer that comes too late must not be taken for another's.
        let asker = self.asker.take();
        match timeout(self.limit, look(&self.target, asker)).await {
            Ok(Ok((sample, asker))) => {
                self.asker = Some(asker);
                Ok(sample)
            }
            Ok(Err(error)) => Err(Miss { sign: sign(&error), cause: error.to_string() }),
            Err(_elapsed) => {
                let cause = format!("no answer within {:?}", self.limit);
                Err(Miss { sign: Sign::Silence, cause })
            }
        }
    }

    /// Waits until the connection shows a sign that it may be at its end.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn disturbed(&mut self) {
        match &mut self.asker {
            Some(asker) => asker.disturbed().await,
            None => std::future::pending().await,
        }
    }
}

async fn look(target: &Target, asker: Option<Asker>) -> Result<(Sample, Asker), AskError> {
    if let Some(mut asker) = asker
        && let Ok(rows) = asker.ask(QUESTION, &[]).await
    {
        return Ok((read(rows)?, asker));
    }
    // Whatever was wrong with the old connection: a new one shows what there is.
    let mut asker = Asker::connect(target, &SETTINGS).await?;
    let rows = asker.ask(QUESTION, &[]).await?;
    Ok((read(rows)?, asker))
}

fn read(rows: Vec<Row>) -> Result<Sample, AskError> {
    let row = rows.into_iter().next().unwrap_or_default();
    let value = |index: usize| row.get(index).and_then(Option::as_deref);
    let sample = || {
        Some(Sample {
            role: if value(0)? == "t" { Role::Replica } else { Role::Primary },
            lsn: value(1).and_then(Lsn::parse),
            snapshot: value(6).and_then(Snapshot::parse),
            timeline: value(2)?.parse().ok()?,
            system: value(3)?.parse().ok()?,
            flushing: Flushing {
                lazy: value(4).and_then(|text| std::str::from_utf8(text.as_ref()).ok())
                    == Some("off"),
                within: value(5)
                    .and_then(read_duration)
                    .map_or(Flushing::default().within, |d| d * 3),
            },
        })
    };
    sample().ok_or_else(|| AskError::Refused("it does not say what it is".to_owned()))
}

fn sign(error: &AskError) -> Sign {
    let AskError::Connect(error) = error else {
        return match error {
            AskError::Io(_) | AskError::TimedOut => Sign::Silence,
            _ => Sign::Refusal,
        };
    };
    match error {
        ConnectError::Unreachable { kind, .. } => match kind {
            // Of a unix socket: there is none.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Sign::Gone,
            _ => Sign::Silence,
        },
        ConnectError::TimedOut { .. } | ConnectError::Closed { .. } => Sign::Silence,
        // Ending, crashed, starting.
        ConnectError::Refused { .. } => match error.server_sqlstate() {
            Some(b"57P01" | b"57P02" | b"57P03") => Sign::Gone,
            _ => Sign::Refusal,
        },
        ConnectError::Auth { .. } | ConnectError::Tls { .. } | ConnectError::Lied { .. } => {
            Sign::Refusal
        }
    }
}
