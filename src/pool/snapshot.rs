//! What can be told about a pool at a moment.

use std::time::Duration;

/// A pool at one moment; all figures were read together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Members that nobody uses.
    pub idle: usize,
    /// Of these, members that have idled for so long that they are checked before they are lent.
    pub stale: usize,
    /// Members that are lent, or on their way to somebody who waited.
    pub active: usize,
    /// Members that are being reset or checked.
    pub tending: usize,
    /// Members that are being opened.
    pub opening: usize,
    /// How many wait.
    pub waiting: usize,
    /// How long the one in front has waited.
    pub oldest_wait: Option<Duration>,
    /// Sums since the pool was made.
    pub totals: Totals,
}

impl Snapshot {
    /// Members that exist now, whatever they do.
    pub fn open(&self) -> usize {
        self.idle + self.active + self.tending
    }
}

/// Who holds a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The `holder` of its [`Ask`](super::Ask).
    pub id: u64,
    /// For how long.
    pub held: Duration,
}

/// Counts and sums since the pool was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Members lent.
    pub checkouts: u64,
    /// Of these, after having waited.
    pub waited: u64,
    /// The time that these have waited, all together.
    pub wait_time: Duration,
    /// Members opened.
    pub opened: u64,
    /// Attempts to open that failed.
    pub open_failed: u64,
    /// Members that had to change their loop to be lent.
    pub moved: u64,
    /// Members reset after use.
    pub resets: u64,
    /// Waits given up because they took too long.
    pub timeouts: u64,
    /// Waits given up for any other reason.
    pub abandoned: u64,
    closed: [u64; Closed::ALL.len()],
}

impl Totals {
    /// Members closed for this cause.
    pub fn closed(&self, why: Closed) -> u64 {
        self.closed.get(why as usize).copied().unwrap_or(0)
    }

    /// Members closed for any cause.
    pub fn closed_all(&self) -> u64 {
        self.closed.iter().sum()
    }

    pub(super) fn count_closed(&mut self, why: Closed) {
        if let Some(count) = self.closed.get_mut(why as usize) {
            *count += 1;
        }
    }
}

/// Why a member was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The lease was dropped: its user went away in the midst of something.
    Dropped,
    /// It was checked in broken.
    Broken,
    /// Its user saw the server end it or fail.
    ServerGone,
    /// It had something to say, or was closed from the other end, while idle.
    NotQuiet,
    /// It did not survive the move to another loop.
    MoveFailed,
    /// It could not be reset.
    ResetFailed,
    /// It gave no sign of life after long idling.
    CheckFailed,
    /// It reached its lifetime.
    Lifetime,
    /// It idled for too long.
    IdleTimeout,
    /// It belonged to the reserve and was no longer needed.
    Surplus,
    /// Its place was given to another pool under the same limit.
    Evicted,
    /// The pool was closed.
    PoolClosed,
    /// The administrator or its user wanted it so.
    Requested,
    /// It was opened before its pool was told to open others.
    Obsolete,
    /// Its pool is paused.
    Paused,
}

impl Closed {
    /// Every cause, in the order of declaration.
    pub const ALL: [Self; 15] = [
        Self::Dropped,
        Self::Broken,
        Self::ServerGone,
        Self::NotQuiet,
        Self::MoveFailed,
        Self::ResetFailed,
        Self::CheckFailed,
        Self::Lifetime,
        Self::IdleTimeout,
        Self::Surplus,
        Self::Evicted,
        Self::PoolClosed,
        Self::Requested,
        Self::Obsolete,
        Self::Paused,
    ];

    /// The cause as one word, for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Broken => "broken",
            Self::ServerGone => "server_gone",
            Self::NotQuiet => "not_quiet",
            Self::MoveFailed => "move_failed",
            Self::ResetFailed => "reset_failed",
            Self::CheckFailed => "check_failed",
            Self::Lifetime => "lifetime",
            Self::IdleTimeout => "idle_timeout",
            Self::Surplus => "surplus",
            Self::Evicted => "evicted",
            Self::PoolClosed => "pool_closed",
            Self::Requested => "requested",
            Self::Obsolete => "obsolete",
            Self::Paused => "paused",
        }
    }
}
