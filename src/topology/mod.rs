//! The hosts of a database that has several: who is there, which one is the primary, and how far
//! each replica is.
//!
//! [`Cluster`] decides, as a value: it is told what each look at a host has shown, and when; it has
//! neither clock nor sockets. A [`Topology`] owns one and looks: one connection of its own per host.
//! Nothing here knows of pools, sessions or what clients ask for.

pub mod balance;
mod breaker;
pub mod choice;
mod cluster;
mod freshness;
mod gauge;
mod health;
mod lsn;
mod probe;
mod snapshot;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;

pub use breaker::{Breaker, Circuit, Limits};
pub use cluster::{Cluster, Event, HostFigures, Standing};
pub use freshness::{Moments, Position};
pub use gauge::{Gauge, Using};
pub use health::{Health, Sign, State};
pub use lsn::Lsn;
pub use probe::{Flushing, Miss, Sample};
pub use snapshot::Snapshot;
pub use watch::{Pace, Primary, Topology};

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows another.
    Replica,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        })
    }
}
