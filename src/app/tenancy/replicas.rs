//! Pools at the hosts of a database that has several, for what is read from replicas.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Moved, Tenancies};
use crate::app::design::{Design, address_of};
use crate::app::setup::Setup;
use crate::client::card::Login;
use crate::config::{Database, HostPort, PoolMode, ReadRouting, Share};
use crate::pool::{Goal, PoolName, PoolPlan};
use crate::server::hosts::Hosts;
use crate::server::site::Site;
use crate::session::{Budget, Replicas, ServerPool};
use crate::topology::choice::Choice;
use crate::topology::{Gauge, Topology};

/// Who looks at the hosts of each database that has several, by its name in the configuration.
pub(super) type Watched = HashMap<String, (Arc<Topology>, Arc<Choice>)>;

/// Whose replicas are wanted.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) login: &'a Login,
    pub(super) database: &'a Database,
    /// The pool at the primary.
    pub(super) pool: &'a Arc<ServerPool>,
}

impl Tenancies {
    /// Who looks at the hosts of these databases from now on, for pools that come, and for those that
    /// there are with the next reload.
    pub(in crate::app) fn watched_by(&self, setup: &Setup, names: &[String], by: &Arc<Topology>) {
        let mut book = self.book.lock();
        for name in names {
            let Some(database) = setup.config.databases.get(name) else { continue };
            let hosts = database.all_hosts();
            let shares: Vec<Share> = hosts.iter().map(|host| database.share_of(host)).collect();
            let spread = setup.config.replica_balance(database);
            let before = book.watched.get(name).map(|(_, choice)| choice);
            let choice = match before.filter(|before| before.is(spread, &shares)) {
                Some(same) => Arc::clone(same),
                None => Arc::new(Choice::new(spread, shares)),
            };
            book.watched.insert(name.clone(), (Arc::clone(by), choice));
        }
    }

    /// The replicas of a login; `None` where nothing is read from any. What is there `before` stays
    /// what it is where nothing is different.
    pub(super) fn replicas(
        &self,
        (old, new): (Option<&Setup>, &Setup),
        watched: &Watched,
        whose: Whose<'_>,
        before: Option<&Arc<Replicas>>,
        moved: &mut Moved,
    ) -> Option<Arc<Replicas>> {
        let Whose { login, database, .. } = whose;
        let (config, user) = (&new.config, new.config.users.get(&login.user));
        let listed = super::primaries::listed_as(config, &login.database);
        let routes = config.read_routing(database, user) != ReadRouting::Off
            && config.pool_mode(database, user) != PoolMode::Session
            && database.seeks_primary();
        let (topology, choice) = match watched.get(listed).filter(|_| routes) {
            Some((topology, choice)) => (Arc::clone(topology), Arc::clone(choice)),
            None => {
                self.leave(before, &[], moved);
                return None;
            }
        };
        let hosts = database.all_hosts();
        let same_looks = before.is_some_and(|before| Arc::ptr_eq(before.topology(), &topology));
        let pools: Vec<Arc<ServerPool>> = hosts
            .iter()
            .zip(topology.gauges())
            // Of an earlier reload, it may belong to another host.
            .filter(|(host, gauge)| *gauge.address() == address_of(host))
            .filter_map(|at| self.pool_at(at, (old, new), whose, same_looks))
            .collect();
        if pools.len() != hosts.len() {
            return None;
        }
        let percent = config.general.fallback_percent;
        let budget = match config.pool_size(database, user) {
            // As many as there may be clients.
            0 => None,
            _ if percent == 0 => None,
            size => Some((size * percent).div_ceil(100)),
        };
        let same = before.filter(|before| {
            before.budget().map(Budget::size) == budget
                && Arc::ptr_eq(before.topology(), &topology)
                && Arc::ptr_eq(before.choice(), &choice)
                && before.pools().len() == pools.len()
                && before.pools().iter().zip(&pools).all(|(a, b)| Arc::ptr_eq(a, b))
        });
        if let Some(same) = same {
            return Some(Arc::clone(same));
        }
        self.leave(before, &pools, moved);
        Some(Arc::new(Replicas::new(topology, choice, pools, budget.map(Budget::new))))
    }

    /// The pool of a login at a host; one that there is, is changed only where it is wanted otherwise,
    /// or others look at the host.
    fn pool_at(
        &self,
        (host, gauge): (&HostPort, &Arc<Gauge>),
        (old, new): (Option<&Setup>, &Setup),
        whose: Whose<'_>,
        same_looks: bool,
    ) -> Option<Arc<ServerPool>> {
        let Whose { login, pool, .. } = whose;
        let design = |setup: &Setup| {
            let database = setup.config.database(&login.database)?;
            let mut design = Design::new(&setup.config, &database, &login.user, address_of(host));
            // What nobody reads from has no servers.
            design.settings.min = 0;
            Some(design)
        };
        let (was, wanted) = (old.and_then(design), design(new)?);
        let goal = self.goal_at(new, &wanted, pool, gauge);
        let name = PoolName {
            database: login.database.clone(),
            user: login.user.clone(),
            replica: Some(host.clone()),
        };
        let Design { settings, limits, aim } = wanted;
        let Some(known) = self.pools.find(&name) else {
            let connector = pool.connector().beside(goal);
            return self.pools.find_or_make(&name, || PoolPlan { settings, limits, connector });
        };
        if !same_looks || was.as_ref().is_none_or(|was| was.aim != aim) {
            known.connector().aim(goal);
            known.replace_members();
        }
        let is_so = |was: &Design| was.settings == settings && was.limits == limits;
        if !was.as_ref().is_some_and(is_so) {
            self.pools.reconfigure(&known, settings, limits);
        }
        Some(known)
    }

    /// How servers are opened at a host, to be read from.
    fn goal_at(
        &self,
        setup: &Setup,
        design: &Design,
        pool: &ServerPool,
        gauge: &Arc<Gauge>,
    ) -> Goal {
        let secret = pool.connector().secret();
        let mut goal = design.aim.clone().goal(&setup.tls, self.tcp, secret, None, None);
        goal.site = Arc::new(Site::of_replica(Some(Arc::clone(&self.alarm)), gauge.looks()));
        goal.target.hosts = Some(Arc::clone(gauge) as Arc<dyn Hosts>);
        // There are others to read from.
        let limit = setup.config.general.check_timeout;
        goal.target.connect_timeout = goal.target.connect_timeout.min(limit);
        goal
    }

    /// Pools that are not among those to stay have no more business.
    fn leave(&self, before: Option<&Arc<Replicas>>, stay: &[Arc<ServerPool>], moved: &mut Moved) {
        for pool in before.into_iter().flat_map(|before| before.pools()) {
            if !stay.iter().any(|other| Arc::ptr_eq(other, pool)) {
                moved.left.extend(self.pools.remove(pool.name()));
            }
        }
    }
}
