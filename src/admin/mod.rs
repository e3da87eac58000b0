//! The console: what operators and their tools ask by SQL. Also the figures as metrics.
//!
//! Commands are data ([`commands::COMMANDS`]): name, help, role, columns and where the rows come
//! from or what is done; the console, `SHOW HELP` and `docs/console.md` are made from the list.
//! Everything is read and done through a [`Registry`]; nothing here knows of sessions.

mod absent;
mod act;
mod alerts;
mod capacity;
mod catalogs;
pub mod commands;
pub mod console;
mod consoles;
mod errors;
mod exporter;
mod hosts;
mod inside;
pub mod manual;
pub mod metrics;
mod order;
pub mod page;
mod plan;
mod registry;
mod routes;
mod shards;
mod sockets;
mod stats;
mod tables;
mod times;
mod waiting;

pub use self::console::Console;
pub use self::consoles::Consoles;
pub use self::hosts::{Eligible, LAGS, eligible};
pub use self::inside::memory_limit;
pub use self::order::{Haste, Operator, Order, Outcome, Override, SteerError, Steered};
pub use self::registry::{
    CancelFigures, Explaining, Explanation, HostCapacity, InTheWay, Marks, Measuring, PoolFigures,
    Reach, Registry,
};
pub use self::waiting::{Hold, longest_holds};
use crate::config::General;

/// What we say we are to tools that look for PgBouncer's version.
pub const PGBOUNCER_VERSION: &str = "1.25.0";
/// What we are.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The name under which PgBouncer's tools find the console's own line in tables.
pub const CONSOLE: &str = "pgbouncer";

/// Whether this database is the console.
pub fn is_console(database: &str) -> bool {
    matches!(database, CONSOLE | "pgweir")
}

/// What somebody may do in the console. The later one may do all that the earlier may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Stats,
    /// Everything.
    Admin,
}

impl Role {
    /// The role of a user who has proven who it is; `None` for all who are not listed.
    pub fn of(user: &str, general: &General) -> Option<Self> {
        let listed = |users: &[String]| users.iter().any(|listed| listed == user);
        if listed(&general.admin_users) {
            Some(Self::Admin)
        } else {
            listed(&general.stats_users).then_some(Self::Stats)
        }
    }

    /// The key that lists who has it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Stats => "stats_users",
            Self::Admin => "admin_users",
        }
    }
}
