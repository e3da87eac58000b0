//! Databases with several hosts: whose hosts are watched, as whom, and together with whose.
//!
//! Databases that name the same hosts share one [`Topology`]. One with a single host has none.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::App;
use super::design::{Aim, Design, address, address_of};
use super::setup::Setup;
use super::tenancy::Whereabouts;
use crate::config::{Config, Database, HostPort};
use crate::events::Events;
use crate::net::socket::{Address, TcpOptions};
use crate::server::connect::Target;
use crate::topology::{HostFigures, Limits, Pace, Primary, Topology};

/// Alarms within this time are one.
const HEEDED: Duration = Duration::from_millis(100);

/// All of them.
#[derive(Debug)]
pub(super) struct Topologies {
    /// Where their tasks run.
    on: Handle,
    tcp: TcpOptions,
    events: Arc<Events>,
    all: Mutex<Vec<Watched>>,
}

#[derive(Debug)]
struct Watched {
    plan: Plan,
    /// Whose hosts they are.
    databases: Vec<String>,
    topology: Arc<Topology>,
    /// Has pools follow the primary.
    _follower: JoinSet<()>,
}

/// What a configuration wants of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    hosts: Vec<HostPort>,
    /// How the hosts are asked, in the first of the databases.
    aim: Aim,
    pace: Pace,
}

impl Topologies {
    /// None yet; their tasks will run in the runtime of `on`.
    pub(super) fn new(on: Handle, tcp: TcpOptions, events: Arc<Events>) -> Self {
        Self { on, tcp, events, all: Mutex::default() }
    }

    /// Watches the hosts that this setup names from now on, and has the pools of `app` follow the
    /// primary. What is known of those that were watched before, still is.
    pub(super) fn adopt(&self, setup: &Setup, app: &Weak<App>) {
        let mut wanted: Vec<(Plan, Vec<String>, Arc<Database>)> = Vec::new();
        for (name, database) in &setup.config.databases {
            let Some(plan) = Plan::of(&setup.config, database) else { continue };
            match wanted.iter_mut().find(|(other, ..)| other.is_like(&plan)) {
                Some((_, databases, _)) => databases.push(name.clone()),
                None => wanted.push((plan, vec![name.clone()], Arc::clone(database))),
            }
        }
        let mut all = self.all.lock();
        let before = std::mem::take(&mut *all);
        for (plan, databases, database) in wanted {
            let same = before.iter().find(|before| before.plan == plan);
            let topology = match same {
                Some(same) => Arc::clone(&same.topology),
                None => {
                    let shares = |before: &&Watched| {
                        before.plan.hosts.iter().any(|host| plan.hosts.contains(host))
                    };
                    let before = before.iter().find(shares).map(|before| &*before.topology);
                    let targets = plan.targets(setup, &database, self.tcp);
                    let events = Arc::clone(&self.events);
                    Arc::new(Topology::watch(targets, plan.pace, before, events, &self.on))
                }
            };
            if let Some(running) = app.upgrade() {
                running.tenancies.watched_by(setup, &databases, &topology);
            }
            let (app, hosts) = (Weak::clone(app), Arc::downgrade(&topology));
            let patience = setup.config.general.failover_timeout;
            let mut follower = JoinSet::new();
            follower.spawn_on(follow(app, databases.clone(), hosts, patience), &self.on);
            all.push(Watched { plan, databases, topology, _follower: follower });
        }
    }

    /// Looks at all hosts at once whenever somebody has reason to think that something is amiss, as
    /// long as the process runs.
    pub(super) async fn heed(&self, alarm: &Notify) {
        loop {
            alarm.notified().await;
            self.all.lock().iter().for_each(|watched| watched.topology.look());
            sleep(HEEDED).await;
        }
    }

    /// How many databases have had no primary for longer than `patience`.
    pub(super) fn given_up(&self, patience: Duration) -> usize {
        let all = self.all.lock();
        let lost = all.iter().filter(|watched| match *watched.topology.primary().borrow() {
            Primary::Known(_) => false,
            Primary::Missing(since) => since.elapsed() >= patience,
        });
        lost.map(|watched| watched.databases.len()).sum()
    }

    /// Has nothing be read from a host until then, or ends that; in how many topologies there is such.
    pub(super) fn ban(&self, host: &str, until: Option<Instant>) -> usize {
        let all = self.all.lock();
        let gauges = all.iter().flat_map(|watched| {
            let hosts = watched.plan.hosts.iter().zip(watched.topology.gauges());
            hosts.filter(|(at, _)| at.host == host || at.to_string() == host)
        });
        gauges.map(|(_, gauge)| gauge.ban(until)).count()
    }

    /// What there is to tell of the hosts of each database that has several.
    pub(super) fn figures(&self) -> Vec<(String, HostFigures)> {
        let all = self.all.lock();
        let figures = all.iter().flat_map(|Watched { databases, topology, .. }| {
            let hosts = topology.figures();
            let of = move |name: &String| {
                let name = name.clone();
                hosts.clone().into_iter().map(move |host| (name.clone(), host))
            };
            databases.iter().flat_map(of)
        });
        figures.collect()
    }
}

/// Has the pools of these databases follow the primary, as long as the application is there. Clients
/// are refused when it has been missing for longer than `patience`.
async fn follow(
    app: Weak<App>,
    databases: Vec<String>,
    topology: Weak<Topology>,
    patience: Duration,
) {
    let Some(mut primary) = topology.upgrade().map(|topology| topology.primary()) else { return };
    loop {
        let (whereabouts, until) = match &*primary.borrow_and_update() {
            Primary::Known(host) => (Whereabouts::At(host.clone()), None),
            Primary::Missing(since) => match *since + patience {
                until if until <= Instant::now() => (Whereabouts::GivenUp, None),
                until => (Whereabouts::Sought, Some(until)),
            },
        };
        let (Some(running), Some(hosts)) = (app.upgrade(), topology.upgrade()) else { return };
        // Secrets can be looked up on a replica as well.
        let secrets = match &whereabouts {
            Whereabouts::At(host) => Some(host.clone()),
            Whereabouts::Sought | Whereabouts::GivenUp => hosts.any_up(),
        };
        running.turn(&databases, &whereabouts, secrets.as_ref());
        drop((running, hosts));
        let changed = match until {
            Some(until) => tokio::select! {
                changed = primary.changed() => changed,
                () = sleep_until(until) => Ok(()),
            },
            None => primary.changed().await,
        };
        if changed.is_err() {
            return;
        }
    }
}

impl App {
    /// Goes by what is known of the primary of these databases, and looks secrets up on this host.
    fn turn(&self, databases: &[String], whereabouts: &Whereabouts, secrets: Option<&HostPort>) {
        if self.tenancies.turn(databases, whereabouts) {
            // Those who have a server at another host find that they have no business there.
            self.house.cancels.list().iter().for_each(|seat| seat.wake());
        }
        if let Some(host) = secrets {
            self.setup().users.turn(databases, &address_of(host));
        }
        self.house.hub.look();
        self.house.catalogs.look();
    }
}

impl Plan {
    /// How the hosts of a database are watched, if it has several.
    pub(super) fn of(config: &Config, database: &Database) -> Option<Self> {
        if !database.seeks_primary() {
            return None;
        }
        Self::of_any(config, database)
    }

    /// How the catalog of a database is read, where somebody wants to know it.
    pub(super) fn of_catalog(config: &Config, database: &Database) -> Option<Self> {
        if database.has_catalog() { Self::of_any(config, database) } else { None }
    }

    fn of_any(config: &Config, database: &Database) -> Option<Self> {
        let hosts = database.all_hosts();
        let asked = asked(config, database)?;
        let user = asked.user.clone().unwrap_or_default();
        let mut aim = Design::new(config, &asked, &user, address(&asked)).aim;
        aim.read_only = false;
        let general = &config.general;
        let pace = Pace {
            every: general.check_interval,
            limit: general.check_timeout,
            breaker: Limits { errors: general.breaker_errors, reset: general.breaker_reset },
        };
        Some(Self { hosts, aim, pace })
    }

    /// Whether another database's hosts would be watched in the same way.
    fn is_like(&self, other: &Self) -> bool {
        let mut like = self.clone();
        like.aim.dbname.clone_from(&other.aim.dbname);
        like == *other
    }

    /// Where and as whom each host is asked.
    fn targets(
        &self,
        setup: &Setup,
        database: &Database,
        tcp: TcpOptions,
    ) -> Vec<(HostPort, Target)> {
        let at = |host: &HostPort| {
            (host.clone(), self.target_at(setup, database, tcp, &address_of(host)))
        };
        self.hosts.iter().map(at).collect()
    }

    /// The same of the one at this address.
    pub(super) fn target_at(
        &self,
        setup: &Setup,
        database: &Database,
        tcp: TcpOptions,
        address: &Address,
    ) -> Target {
        let user = setup.config.check_user(database);
        let secret = user.and_then(|user| setup.users.role_secret(database, user));
        let target = self.aim.clone().goal(&setup.tls, tcp, secret, None, None).target;
        Target { address: address.clone(), ..target }
    }
}

/// A database as the one who asks its hosts sees it.
pub(super) fn asked(config: &Config, database: &Database) -> Option<Database> {
    Some(asked_as(config, database, config.check_user(database)?))
}

/// A database as this user sees it who asks its hosts.
pub(super) fn asked_as(config: &Config, database: &Database, user: &str) -> Database {
    let mut asked = database.clone();
    if asked.user.as_ref().is_some_and(|forced| *forced != user) {
        asked.password = None;
    }
    asked.user = Some(user.to_owned());
    if asked.dbname == "*" {
        // Any will do that every server has.
        let place = database.auth_dbname.as_ref().or(config.general.auth_dbname.as_ref());
        let place = place.and_then(|name| config.databases.get(name));
        asked.dbname = place.map_or_else(|| "postgres".to_owned(), |place| place.dbname.clone());
    }
    asked
}
