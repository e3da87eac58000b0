//! Databases whose hosts are as good as one another (`load_balance_hosts`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::design::address_of;
use crate::config::{Config, Database};
use crate::events::Events;
use crate::topology::balance::{Balance, Plan};
use crate::topology::{HostFigures, Limits};

/// Their balances, by their names in the configuration.
#[derive(Debug, Default)]
pub(super) struct Balances(BTreeMap<String, Arc<Balance>>);

impl Balances {
    /// Those of a configuration. What was planned the same `before`, goes on.
    pub(super) fn new(config: &Config, log: &Arc<Events>, before: Option<&Self>) -> Self {
        let mut all: BTreeMap<String, Arc<Balance>> = BTreeMap::new();
        for (name, database) in &config.databases {
            let Some(plan) = plan(config, database) else { continue };
            let known = before.into_iter().flat_map(|before| before.0.values());
            let same = all.values().chain(known).find(|known| *known.plan() == plan).cloned();
            let new = || Balance::new(plan, Arc::clone(log), address_of);
            let balance = same.unwrap_or_else(new);
            all.insert(name.clone(), balance);
        }
        Self(all)
    }

    /// That of a database, where it has one.
    pub(super) fn of(&self, config: &Config, database: &Database) -> Option<Arc<Balance>> {
        let listed = if config.is_auto(&database.name) { "*" } else { &database.name };
        self.0.get(listed).cloned()
    }

    /// What there is to tell of the hosts of each database.
    pub(super) fn figures(&self) -> Vec<(String, HostFigures)> {
        let of = |(name, balance): (&String, &Arc<Balance>)| {
            let name = name.clone();
            balance.figures().into_iter().map(move |host| (name.clone(), host))
        };
        self.0.iter().flat_map(of).collect()
    }
}

/// What a database's balance is made of; `None` for one host, and for a primary and its replicas.
pub(super) fn plan(config: &Config, database: &Database) -> Option<Plan> {
    let (spread, hosts) = (database.load_balance_hosts?, database.all_hosts());
    let general = &config.general;
    let limits = Limits { errors: general.breaker_errors, reset: general.breaker_reset };
    (hosts.len() > 1).then_some(Plan { hosts, spread, limits, patience: general.check_timeout })
}
