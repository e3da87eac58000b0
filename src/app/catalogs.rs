//! Who reads the catalogs of databases with several hosts or shards, and when: at the start, when something
//! has been defined, when another host is the primary, and from time to time for what is defined
//! past the pooler. One task per database, in the control plane.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::App;
use super::shards::open_columns;
use super::topologies::Plan;
use crate::catalog::{Catalog, Current, Imprint, Overrides, Reader};
use crate::config::{Config, Database};
use crate::net::socket::Address;
use crate::server::ask::AskError;
use crate::server::connect::Target;

/// The longest that a catalog may take to be read.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// The least time between two looks at a catalog; it is longer where a look takes long.
const APART: Duration = Duration::from_millis(50);
/// The first pause after a look that has failed.
const RETRY: Duration = Duration::from_millis(250);
/// So many intervals after the last look what is known is too old.
const INTERVALS_MAX: u32 = 3;

/// What the owner of a database knows better than its catalog.
pub(super) fn overrides(config: &Config, database: &Database) -> Overrides {
    let general = &config.general;
    let own = |own: &Option<Vec<String>>, all: &[String]| own.clone().unwrap_or(all.to_vec());
    Overrides {
        read_only: own(&database.read_only_functions, &general.read_only_functions),
        primary: own(&database.primary_functions, &general.primary_functions),
        primary_tables: own(&database.primary_tables, &general.primary_tables),
        columns: database.shards.as_deref().map(open_columns).unwrap_or_default(),
    }
}

impl App {
    /// Has catalogs read, as long as the process runs.
    pub(super) async fn keep_catalogs(self: Arc<Self>) {
        let mut keepers = JoinSet::new();
        loop {
            tokio::select! {
                current = self.house.catalogs.newcomer() => {
                    keepers.spawn(keep(Arc::downgrade(&self), current));
                }
                Some(_ended) = keepers.join_next() => {}
            }
        }
    }

    /// Databases that are listed and have several hosts, and shards, are read whether or not there are clients.
    pub(super) fn adopt_catalogs(&self, config: &Config) {
        let listed = config.databases.iter();
        let read = listed.filter(|(name, database)| *name != "*" && database.has_catalog());
        let of = |(name, database): (&String, &Arc<Database>)| {
            let home = database.shard_of.as_ref();
            let _versions = home.map(|home| self.house.schemas.of_shard(name, home));
            self.house.catalogs.of(name)
        };
        let currents = read.map(of).collect();
        *self.catalogs.lock() = currents;
        self.house.catalogs.look();
    }
}

/// Reads a catalog again and again, as long as somebody wants to know it.
async fn keep(app: Weak<App>, current: Weak<Current>) {
    let Some(bell) = current.upgrade().map(|current| current.bell()) else { return };
    let mut keeper = Keeper::default();
    loop {
        let due = {
            let (Some(app), Some(current)) = (app.upgrade(), current.upgrade()) else { return };
            keeper.turn(&app, &current).await
        };
        match due {
            Some(due) => tokio::select! {
                () = bell.notified() => {}
                () = sleep_until(due) => {}
            },
            None => bell.notified().await,
        }
    }
}

#[derive(Debug, Default)]
struct Keeper {
    /// What was read last, and where.
    read: Option<(Wanted, Imprint)>,
    /// The beginning of the last look that has shown what is known.
    looked: Option<Instant>,
    /// When the next may be; at once if that is not said.
    resume: Option<Instant>,
    failures: u32,
}

/// What is to be read, how, and by which rules.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    at: Address,
    plan: Plan,
    overrides: Overrides,
}

impl Wanted {
    /// Whether it is the same but for the host, of the same hosts.
    fn is_like(&self, other: &Self) -> bool {
        self.plan == other.plan && self.overrides == other.overrides
    }
}

/// What a look at a catalog has shown.
enum Seen {
    Unchanged,
    Changed(Box<Catalog>, Imprint),
}

impl Keeper {
    /// Looks, if it is time; when to look again, unless the bell rings before.
    async fn turn(&mut self, app: &App, current: &Current) -> Option<Instant> {
        let setup = app.setup();
        let database = setup.config.database(current.database());
        let plan = database.as_ref().and_then(|database| Plan::of_catalog(&setup.config, database));
        let (Some(database), Some(plan)) = (database, plan) else {
            self.forget(current);
            return None;
        };
        // Without a primary nobody defines anything, and what is known holds.
        let at = app.tenancies.primary(&database)?;
        let overrides = overrides(&setup.config, &database);
        let wanted = Wanted { at, plan, overrides };
        match &self.read {
            // Another server of the same database: it may lack what this one had.
            Some((read, _)) if read.at != wanted.at && read.is_like(&wanted) => {
                current.grow_old();
                *self = Self::default();
            }
            // A rule may be stricter.
            Some((read, _)) if *read != wanted => self.forget(current),
            _ => {}
        }
        let interval = setup.config.general.catalog_interval;
        let due = self.due(current, interval);
        if due.is_some_and(|due| due > Instant::now()) {
            return due;
        }
        let target = wanted.plan.target_at(&setup, &database, app.house.tcp, &wanted.at);
        self.look(app, current, wanted, &target, interval).await;
        self.due(current, interval).or_else(|| Some(Instant::now()))
    }

    /// When the next look is due; at once if that is not said.
    fn due(&self, current: &Current, interval: Duration) -> Option<Instant> {
        match self.looked {
            Some(looked) if self.failures == 0 && current.in_force().is_some() => {
                Some(looked + interval)
            }
            _ => self.resume,
        }
    }

    async fn look(
        &mut self,
        app: &App,
        current: &Current,
        wanted: Wanted,
        target: &Target,
        interval: Duration,
    ) {
        let began = Instant::now();
        let attempt = current.attempt();
        let before = self.read.as_ref().map(|(_, imprint)| imprint);
        let seen = timeout(LIMIT, see(target, before, &wanted.overrides)).await;
        let over = Instant::now();
        let why = match seen {
            Ok(Ok(seen)) => {
                match seen {
                    Seen::Unchanged => attempt.unchanged(),
                    Seen::Changed(catalog, imprint) => {
                        let (functions, relations) = catalog.size();
                        let database = current.database();
                        tracing::debug!(database, functions, relations, "catalog is loaded");
                        attempt.loaded(*catalog, wanted.at.to_string());
                        self.read = Some((wanted, imprint));
                    }
                }
                self.looked = Some(began);
                self.failures = 0;
                self.resume = Some(over + APART.max(2 * (over - began)));
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("not within {LIMIT:?}"),
        };
        let (database, at) = (current.database(), &wanted.at);
        let complaint = format!("catalog of {database:?} can't be read at {at}: {why}");
        app.house.complaints.complain(&complaint);
        attempt.failed(why);
        let pause = RETRY.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        self.resume = Some(over + pause.min(interval.max(RETRY)));
        if self.looked.is_some_and(|looked| over - looked > interval * INTERVALS_MAX) {
            current.grow_old();
        }
    }

    fn forget(&mut self, current: &Current) {
        current.forget();
        *self = Self::default();
    }
}

/// Looks at a catalog, and reads it if it is another than `before`.
async fn see(
    target: &Target,
    before: Option<&Imprint>,
    overrides: &Overrides,
) -> Result<Seen, AskError> {
    let mut reader = Reader::connect(target).await?;
    let imprint = reader.imprint(overrides).await?;
    if before == Some(&imprint) {
        return Ok(Seen::Unchanged);
    }
    Ok(Seen::Changed(Box::new(reader.catalog(overrides).await?), imprint))
}
