//! What is worth an alert, and whether it is raised, as values.
//!
//! A [`Reading`] is what one [`Condition`] has shown of one thing at one look; the [`Book`] knows
//! which alerts are raised, and says what has changed. Who reads and who is told is somebody else's:
//! there is neither a clock nor a socket here. What is known is bounded (`max_alerts`).

mod book;
mod condition;
mod documents;
mod flapping;
mod mailbox;
mod resources;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::time::SystemTime;

use tokio::time::Instant;

pub use self::book::{Book, Shown, State};
pub use self::condition::{
    CERTIFICATE, CLIENT_LIMIT, CLIENTS_WAITING, ERROR_RATE, HOLDER, HOST_DOWN, LONGEST_WAIT,
    NO_PRIMARY, POOL_SATURATED, RELOAD_FAILED, REPLICA_LAG, REPLICA_LAG_BYTES, REPLICA_LAG_UNKNOWN,
    REPLICAS_OUT, REQUESTS_MIN, ROLE_FLAPPING, TWO_PRIMARIES, WAIT_P95,
};
pub use self::condition::{CONDITIONS, Condition, Sense, Thresholds, Unit};
pub use self::documents::{markdown, rules};
pub use self::flapping::Flapping;
pub use self::mailbox::Mailbox;
pub use self::resources::{CANCELS, MEMORY, OPEN_FILES, PAUSED, QUERY_P99, TRANSACTION_P99};
pub use self::window::{Window, quantile};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Somebody should look in working hours.
    Warning,
    /// Somebody should look now.
    Critical,
}

impl Severity {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Warning, Self::Critical];

    /// The word for it, as Prometheus's rules have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A moment, by the clock that never goes back and by the one that people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For differences.
    pub at: Instant,
    /// For people.
    pub time: SystemTime,
}

/// What a condition has shown of one thing.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which.
    pub condition: &'static Condition,
    /// Of what: a host, a pool, a database. Empty for the process.
    pub about: String,
    /// In the condition's unit; `None` while it is not known.
    pub value: Option<f64>,
    /// What else there is to say, for people.
    pub detail: String,
}

/// Which alert: one condition, of one thing, of one severity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The condition's name.
    pub name: &'static str,
    /// Of what.
    pub about: String,
    /// How bad.
    pub severity: Severity,
}

/// What there is to tell of an alert that has been raised.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Which.
    pub key: Key,
    /// When it was raised.
    pub since: SystemTime,
    /// When it was resolved, if it is.
    pub resolved: Option<SystemTime>,
    /// The value when it was last known.
    pub value: f64,
    /// What it has passed.
    pub threshold: f64,
    /// Of both.
    pub unit: Unit,
    /// What else there is to say.
    pub detail: String,
    /// Nobody but the log is told.
    pub silenced: bool,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.about.as_str() {
            "" => f.write_str(self.name),
            about => write!(f, "{} of {about}", self.name),
        }
    }
}

impl Notice {
    /// What it says, in a line.
    pub fn summary(&self) -> String {
        summary(&self.key, self.unit, [self.value, self.threshold], &self.detail)
    }
}

impl Shown {
    /// What it says, in a line.
    pub fn summary(&self) -> String {
        summary(&self.key, self.unit, [self.value, self.threshold], &self.detail)
    }
}

fn summary(key: &Key, unit: Unit, [value, threshold]: [f64; 2], detail: &str) -> String {
    let mut text = key.to_string();
    if unit != Unit::Flag {
        text += &format!(": {} (threshold {})", unit.show(value), unit.show(threshold));
    }
    if !detail.is_empty() {
        text += &format!(": {detail}");
    }
    text
}
