//! Which reads go to replicas, and to which of them.

use super::choice::{OwnWrites, ReadRouting, Spread, TransactionRouting};
use super::database::Database;
use super::host_port::HostPort;
use super::model::Config;
use super::url::{parse_port, split_port};
use super::user::User;
use std::time::Duration;

/// What a host gets of what goes to replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How much, beside the others.
    pub weight: usize,
    /// Only what no other host can have.
    pub backup: bool,
}

/// The largest weight of a host.
const WEIGHT_MAX: usize = 1000;

impl Config {
    /// Which reads of this user on this database go to replicas.
    #[must_use]
    pub fn read_routing(&self, database: &Database, user: Option<&User>) -> ReadRouting {
        user.and_then(|user| user.read_routing)
            .or(database.read_routing)
            .unwrap_or(self.general.read_routing)
    }

    /// Where transactions of this user on this database begin that don't say what they do.
    #[must_use]
    pub fn transaction_routing(
        &self,
        database: &Database,
        user: Option<&User>,
    ) -> TransactionRouting {
        user.and_then(|user| user.transaction_routing)
            .or(database.transaction_routing)
            .unwrap_or(self.general.transaction_routing)
    }

    /// How much a replica may lack that is read from; `None` = no bound.
    #[must_use]
    pub fn max_lag(&self, database: &Database, user: Option<&User>) -> Option<Duration> {
        user.and_then(|user| user.max_lag).or(database.max_lag).unwrap_or(self.general.max_lag)
    }

    /// Whose writes a read has to see.
    #[must_use]
    pub fn read_your_writes(&self, database: &Database) -> OwnWrites {
        database.read_your_writes.unwrap_or(self.general.read_your_writes)
    }

    /// How reads are spread over the replicas of a database.
    #[must_use]
    pub fn replica_balance(&self, database: &Database) -> Spread {
        database.replica_balance.unwrap_or(self.general.replica_balance)
    }
}

impl Database {
    /// What one of its hosts gets of what goes to replicas.
    #[must_use]
    pub fn share_of(&self, host: &HostPort) -> Share {
        let mut weights = self.weights.iter().filter_map(|text| read_weight(text, self.port).ok());
        let weight = weights.rfind(|(named, _)| named == host).map(|(_, weight)| weight);
        Share { weight: weight.unwrap_or(1), backup: self.backup.contains(host) }
    }
}

/// Reads `host:port=weight`; a host without a port has the database's.
pub(super) fn read_weight(text: &str, port: u16) -> Result<(HostPort, usize), String> {
    let wrong =
        || format!("\"{text}\" is not host:port=weight, with a weight from 1 to {WEIGHT_MAX}");
    let (at, weight) = text.rsplit_once('=').ok_or_else(wrong)?;
    let weight = weight.trim().parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
    let (host, own) = split_port(at.trim()).map_err(|_malformed| wrong())?;
    let port = match own {
        Some(own) => parse_port(own).ok_or_else(wrong)?,
        None => port,
    };
    Ok((HostPort { host: host.to_owned(), port }, weight.ok_or_else(wrong)?))
}
