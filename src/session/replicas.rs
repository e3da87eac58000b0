//! The replicas that sessions of a user on a database read from: a pool at each host of the database,
//! whatever that host is at the moment.

use std::sync::Arc;

use tokio::time::Instant;

use super::ServerPool;
use super::budget::Budget;
use crate::topology::choice::{Candidate, Choice, Need, Unfit};
use crate::topology::{Gauge, Topology, Using};

/// See the module.
#[derive(Debug)]
pub struct Replicas {
    topology: Arc<Topology>,
    choice: Arc<Choice>,
    /// In the order of the hosts.
    pools: Box<[Arc<ServerPool>]>,
    /// What of the primary reads may have while no replica is there; `None` = all of it.
    budget: Option<Budget>,
}

/// A replica that was chosen.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// Its number among the hosts.
    pub host: usize,
    /// Its pool.
    pub pool: Arc<ServerPool>,
    gauge: Arc<Gauge>,
}

/// Hosts that have been tried in vain for a request, by their numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried(u32);

/// What a session has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Nothing that was written later.
    pub at: Option<Instant>,
    /// On this of the hosts; `None` = on the primary.
    pub on: Option<usize>,
}

impl Seen {
    /// Whether a replica has all of it that has everything up to `fresh_as_of`.
    fn is_in(self, fresh_as_of: Option<Instant>) -> bool {
        self.at <= fresh_as_of
    }
}

impl Tried {
    pub(super) fn add(&mut self, host: usize) {
        self.0 |= Self::bit(host).unwrap_or(0);
    }

    fn has(self, host: usize) -> bool {
        Self::bit(host).is_none_or(|bit| self.0 & bit != 0)
    }

    fn bit(host: usize) -> Option<u32> {
        1u32.checked_shl(u32::try_from(host).ok()?)
    }
}

impl Replicas {
    /// Pools at the hosts of this topology, in their order.
    pub fn new(
        topology: Arc<Topology>,
        choice: Arc<Choice>,
        pools: impl IntoIterator<Item = Arc<ServerPool>>,
        budget: Option<Budget>,
    ) -> Self {
        Self { topology, choice, pools: pools.into_iter().collect(), budget }
    }

    /// What of the primary reads may have while no replica is there; `None` = all of it.
    pub fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    /// Who looks at the hosts.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// How one is chosen.
    pub fn choice(&self) -> &Arc<Choice> {
        &self.choice
    }

    /// The pools, in the order of the hosts.
    pub fn pools(&self) -> &[Arc<ServerPool>] {
        &self.pools
    }

    /// Chooses one that is as fresh as needed, and not behind what was seen.
    pub(super) fn choose(
        &self,
        need: &Need,
        seen: Seen,
        now: Instant,
        tried: Tried,
    ) -> Result<Chosen, Unfit> {
        let gauges = self.topology.gauges();
        let candidate = |host: usize| {
            let gauge =
                gauges.get(host).filter(|gauge| !tried.has(host) && !gauge.is_left_out(now));
            let fresh_as_of = gauge.and_then(|gauge| gauge.fresh_as_of());
            Candidate {
                fresh_as_of,
                used: gauge.map_or(0, |gauge| gauge.used()),
                unsure: seen.on != Some(host) && !seen.is_in(fresh_as_of),
            }
        };
        let host = self.choice.choose(need, now, candidate)?;
        match (self.pools.get(host), gauges.get(host)) {
            (Some(pool), Some(gauge)) => {
                Ok(Chosen { host, pool: Arc::clone(pool), gauge: Arc::clone(gauge) })
            }
            _ => Err(Unfit::Missing),
        }
    }
}

impl Chosen {
    /// Whether it is as fresh as needed.
    pub(super) fn admits(&self, need: &Need, now: Instant) -> bool {
        let fresh_as_of = self.gauge.fresh_as_of();
        fresh_as_of.is_some_and(|fresh_as_of| need.admits(fresh_as_of, now).is_ok())
    }

    /// Whether it is not behind what was seen, wherever that was.
    pub(super) fn shows(&self, seen: Seen) -> bool {
        seen.is_in(self.gauge.fresh_as_of())
    }

    /// That a session reads there, from now on, by a server that was opened then; `None` when it is
    /// not as fresh as needed any more, or may be behind what was seen.
    pub(super) fn take(
        &self,
        need: &Need,
        seen: Seen,
        opened: Instant,
        now: Instant,
    ) -> Option<Using> {
        let fresh_as_of = self.gauge.fresh_as_of()?;
        need.admits(fresh_as_of, now).ok()?;
        // Of a host that was there all the time nothing is lost that it has shown. That it was, is
        // known by a server that was there before.
        let was_there = seen.on == Some(self.host) && Some(opened) <= seen.at;
        (seen.is_in(Some(fresh_as_of)) || was_there).then(|| self.gauge.take())
    }
}
