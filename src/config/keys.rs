//! Every key of `pooler.toml`, as data.
//!
//! The reader, the near-miss hints, `docs/config.md`, the check of `pooler.toml` and the console's
//! `SHOW CONFIG` all come from these lists. A general key's default is the one in
//! [`General::default`]. Keys that PgBouncer has keep PgBouncer's names and meanings.

mod access;
mod alerts;
mod figures;
mod general;
mod hosts;
mod pins;
mod tables;
mod times;

use std::time::Duration;

pub(super) use access::AUTH_QUERY;
pub(crate) use alerts::ALERTS;
pub(crate) use general::GENERAL;
pub(crate) use tables::{DATABASE, HBA, USER};

use super::model::General;
use super::setting::{Key, Kind};
use super::units::TimeUnit;

/// General keys that belong together.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) keys: &'static [Key<General>],
}

/// One general setting as the console shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// Its value, in PgBouncer's form: 1 and 0, plain numbers, lists with commas.
    pub value: String,
    /// Its default, in the same form.
    pub default: String,
    /// When a change takes effect.
    pub applies: Applies,
}

/// When a change of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// At the next start.
    Restart,
    /// When the file is read again.
    Reload,
}

impl General {
    /// Every key with its value and default, in the order of the reference file.
    pub fn settings(&self) -> impl Iterator<Item = Setting> {
        let default = Self::default();
        GENERAL.iter().flat_map(|group| group.keys).map(move |key| Setting {
            key: key.name,
            value: (key.get)(self).plain(),
            default: (key.get)(&default).plain(),
            applies: key.applies(),
        })
    }

    /// Whether there is such a key.
    pub fn has(name: &str) -> bool {
        GENERAL.iter().flat_map(|group| group.keys).any(|key| key.name == name)
    }

    /// Whether a change of this key takes effect at the next start.
    pub fn needs_restart(name: &str) -> bool {
        RESTART.contains(&name)
    }

    /// Takes over from `running` what can't be changed without a restart; the names of those keys
    /// whose values differ.
    pub fn keep_until_restart(&mut self, running: &Self) -> Vec<&'static str> {
        let mut differ = Vec::new();
        for key in GENERAL.iter().flat_map(|group| group.keys) {
            let (wanted, now) = ((key.get)(self), (key.get)(running));
            if key.applies() == Applies::Restart && wanted != now {
                (key.set)(self, now);
                differ.push(key.name);
            }
        }
        differ
    }
}

/// Keys whose changes take effect at the next start: sockets and threads that are made then, and
/// what every client is held to from its first to its last moment.
const RESTART: &[&str] = &[
    "listen_addr",
    "listen_port",
    "listen_backlog",
    "unix_socket_dir",
    "unix_socket_mode",
    "unix_socket_group",
    "so_reuseport",
    "http_listen",
    "workers",
    "max_unauthenticated_clients",
    "unauthenticated_memory",
    "reserved_open_files",
    "login_rate_per_address",
    "login_rate_per_user",
    "query_rate_per_user",
    "query_rate_per_database",
    "query_rate_per_application_name",
    "cancel_wait_timeout",
    "tcp_keepalive",
    "tcp_keepidle",
    "tcp_keepintvl",
    "tcp_keepcnt",
    "tcp_user_timeout",
    "verbose",
    "log_format",
    "pidfile",
    "user",
];

impl<T> Key<T> {
    /// When a change of it takes effect.
    pub(crate) fn applies(&self) -> Applies {
        if RESTART.contains(&self.name) { Applies::Restart } else { Applies::Reload }
    }
}

impl Applies {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }
}

/// A key that is stored in the field of its name.
macro_rules! key {
    ($field:ident, $kind:expr, $doc:expr) => {
        key!($field, $kind, $doc, "", "")
    };
    ($field:ident, $kind:expr, $doc:expr, $otherwise:expr, $example:expr) => {
        Key {
            name: stringify!($field),
            kind: $kind,
            set: |table, value| Field::store(&mut table.$field, value),
            get: |table| Field::load(&table.$field, $kind),
            doc: $doc,
            otherwise: $otherwise,
            example: $example,
        }
    };
}
pub(super) use key;

/// No limit on connections can be larger; what the kernel allows is far below.
pub(super) const CONNECTIONS: u64 = 1_000_000;
pub(super) const KIB: u64 = 1 << 10;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const HOUR: u64 = 3600;
pub(super) const DAY: u64 = 24 * HOUR;
pub(super) const YEAR: u64 = 365 * DAY;

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A duration from so many milliseconds to so many seconds.
pub(super) const fn time(min_millis: u64, max: u64) -> Kind {
    Kind::Time(TimeUnit::Seconds, Duration::from_millis(min_millis), seconds(max))
}

/// A duration that 0 turns off.
pub(super) const fn off(max: u64) -> Kind {
    Kind::TimeLimit(TimeUnit::Seconds, "off", seconds(max))
}

/// A duration that 0 leaves without limit.
pub(super) const fn limit_of(zero: &'static str, max: u64) -> Kind {
    Kind::TimeLimit(TimeUnit::Seconds, zero, seconds(max))
}

/// A number of connections that 0 leaves without limit.
pub(super) const fn limit() -> Kind {
    Kind::Limit("no limit", CONNECTIONS)
}
