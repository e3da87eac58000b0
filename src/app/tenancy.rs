//! What belongs to one database and user: the pool, and the terms of its sessions; as the
//! configuration wants it, and as an operator does.

mod auto;
mod primaries;
mod replicas;
mod shards;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::primaries::Primaries;
pub(super) use self::primaries::Whereabouts;
use self::replicas::{Watched, Whose};
use self::shards::{belongs, is_spread_alike};
use super::design::Design;
use super::setup::Setup;
use crate::auth::ServerSecret;
use crate::client::card::Login;
use crate::client::condition;
use crate::complaints::plain;
use crate::config::Database;
use crate::net::loops::Loops;
use crate::net::socket::TcpOptions;
use crate::pool::{Connector, Goal, PoolName, PoolPlan, Pools};
use crate::server::card::Owner;
use crate::session::{House, ServerPool, Shards, Tenancy, Terms};
use crate::wire::reply::Report;

/// All of them.
#[derive(Debug)]
pub(crate) struct Tenancies {
    book: Mutex<Book>,
    pools: Pools<Connector>,
    tcp: TcpOptions,
    last_server: Arc<AtomicU64>,
    /// Wakes who watches hosts.
    alarm: Arc<Notify>,
}

#[derive(Debug)]
struct Book {
    setup: Arc<Setup>,
    known: HashMap<Arc<Login>, Arc<Tenancy>>,
    /// Since when nobody was seen to use an auto-database.
    unused: HashMap<Arc<Login>, Instant>,
    /// Every database is paused.
    all_paused: bool,
    /// That was said by SUSPEND.
    suspended: bool,
    paused: BTreeSet<String>,
    disabled: BTreeSet<String>,
    primaries: Primaries,
    watched: Watched,
}

/// What a reload has moved.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// How many pools have other settings.
    pub(super) changed: usize,
    /// Whose database or user is gone, with their pools, for the caller to close.
    pub(super) gone: Vec<(Arc<Login>, Arc<ServerPool>)>,
    /// Pools of replicas that nobody reads from any more, for the caller to close.
    pub(super) left: Vec<Arc<ServerPool>>,
}

impl Tenancies {
    /// None yet. Servers of databases with several hosts raise the alarm when these may have changed.
    pub(crate) fn new(
        setup: Setup,
        loops: Arc<Loops>,
        tcp: TcpOptions,
        alarm: Arc<Notify>,
    ) -> Self {
        let book = Book {
            setup: Arc::new(setup),
            known: HashMap::new(),
            unused: HashMap::new(),
            all_paused: false,
            suspended: false,
            paused: BTreeSet::new(),
            disabled: BTreeSet::new(),
            primaries: Primaries::default(),
            watched: Watched::default(),
        };
        let (book, last_server) = (Mutex::new(book), Arc::default());
        Self { book, pools: Pools::new(loops), tcp, last_server, alarm }
    }

    /// What everybody goes by who comes in now.
    pub(crate) fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.book.lock().setup)
    }

    /// The tenancy of a login, made when it is the first time. Its servers are logged in to with
    /// `secret` from now on.
    ///
    /// # Errors
    /// What the client is told when there is none: its database is gone by now, or the process is
    /// ending.
    pub(crate) fn find_or_make(
        &self,
        login: &Arc<Login>,
        house: &Arc<House>,
        secret: Option<Arc<ServerSecret>>,
    ) -> Result<Arc<Tenancy>, Report> {
        let mut book = self.book.lock();
        if let Some(tenancy) = book.known.get(login) {
            if let Some(secret) = secret {
                self.renew(&book, login, &secret);
            }
            return Ok(Arc::clone(tenancy));
        }
        self.make_room_for(&mut book, &login.database)?;
        let missing = || condition::NO_DATABASE.about(&login.database);
        let database = book.setup.config.database(&login.database).ok_or_else(missing)?;
        if book.setup.config.is_auto(&login.database)
            && !book.known.keys().any(|known| known.database == login.database)
        {
            let database = plain(&login.database);
            house.complaints.mention(&format!("registered new auto-database: db={database}"));
        }
        let connector = |goal, owner| {
            Connector::new(
                goal,
                owner,
                Arc::clone(&self.last_server),
                Arc::clone(&house.complaints),
                Arc::clone(house.hub.processes()),
            )
        };
        let pool = self.pool(&book, (login, &database), secret.clone(), connector)?;
        let shards = self.shards(&mut book, (login, &database), &pool, house, secret.as_ref())?;
        let tenancy = self.tenancy(&book, (login, &database), pool, house, shards);
        book.known.insert(Arc::clone(login), Arc::clone(&tenancy));
        Ok(tenancy)
    }

    /// The pool of a login at the primary of its database. `connector` makes what opens its servers.
    fn pool(
        &self,
        book: &Book,
        (login, database): (&Login, &Database),
        secret: Option<Arc<ServerSecret>>,
        connector: impl FnOnce(Goal, Owner) -> Connector,
    ) -> Result<Arc<ServerPool>, Report> {
        let (setup, config) = (&book.setup, &book.setup.config);
        let Login { database: name, user } = login;
        let plan = || {
            let at = book.primaries.address(config, database, None);
            let Design { settings, limits, aim } = Design::new(config, database, user, at);
            let balance = setup.balances.of(config, database);
            let goal = aim.goal(&setup.tls, self.tcp, secret, Some(&self.alarm), balance);
            let owner = Owner { database: name.clone(), user: user.clone() };
            PoolPlan { settings, limits, connector: connector(goal, owner) }
        };
        let pool_name = PoolName { database: name.clone(), user: user.clone(), replica: None };
        let pool = self.pools.find_or_make(&pool_name, plan);
        let pool = pool.ok_or_else(|| condition::SHUTTING_DOWN.report())?;
        pool.set_prospect(book.primaries.prospect(config, database));
        Ok(pool)
    }

    /// A tenancy with this pool, and with pools at the replicas of its database.
    fn tenancy(
        &self,
        book: &Book,
        (login, database): (&Arc<Login>, &Database),
        pool: Arc<ServerPool>,
        house: &Arc<House>,
        shards: Option<Arc<Shards>>,
    ) -> Arc<Tenancy> {
        let config = &book.setup.config;
        let terms = Terms::new(config, database, config.users.get(&login.user));
        let whose = Whose { login, database, pool: &pool };
        let moved = &mut Moved::default();
        let replicas = self.replicas((None, &book.setup), &book.watched, whose, None, moved);
        let (own, house) = (Arc::clone(login), Arc::clone(house));
        let tenancy = Tenancy::new(own, pool, replicas, terms, house, shards);
        if book.is_paused(&login.database) {
            tenancy.pools().for_each(|pool| pool.pause());
        }
        tenancy
    }

    /// All of them, in no order.
    pub(crate) fn list(&self) -> Vec<Arc<Tenancy>> {
        self.book.lock().known.values().cloned().collect()
    }

    /// The number of a server that is opened outside of the pools.
    pub(super) fn next_server(&self) -> u64 {
        self.last_server.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Those of one database, or all.
    pub(super) fn list_of(&self, database: Option<&str>) -> Vec<Arc<Tenancy>> {
        let (mut list, config) = (self.list(), Arc::clone(&self.setup().config));
        list.retain(|tenancy| {
            database.is_none_or(|name| belongs(&config, &tenancy.login.database, name))
        });
        list
    }

    pub(crate) async fn close(&self) {
        self.book.lock().known.clear();
        self.pools.close().await;
    }

    // --- what operators want ---------------------------------------------------------------

    /// Pauses or resumes a database, or all of them, for pools that there are and that come. Whether there was
    /// such a pause to end: one of all, or of a database with this one, is another.
    pub(super) fn set_paused(&self, database: Option<&str>, paused: bool) -> bool {
        let mut book = self.book.lock();
        let was = database.map_or(book.all_paused, |name| book.paused.contains(name));
        if !paused && !was {
            return false;
        }
        match (database, paused) {
            (None, _) => {
                (book.all_paused, book.suspended) = (paused, false);
                book.paused.clear();
            }
            (Some(name), true) => drop(book.paused.insert(name.to_owned())),
            (Some(name), false) => {
                let Book { paused, setup, .. } = &mut *book;
                paused.retain(|other| !belongs(&setup.config, other, name));
            }
        }
        // Under the lock: a pool that is being made is seen here, or sees the mark itself.
        let config = &book.setup.config;
        for tenancy in book.known.values() {
            if database.is_none_or(|name| belongs(config, &tenancy.login.database, name)) {
                let paused = book.is_paused(&tenancy.login.database);
                for pool in tenancy.pools() {
                    if paused { pool.pause() } else { pool.resume() }
                }
            }
        }
        true
    }

    /// Whether a database is paused, or all of them are.
    pub(super) fn is_paused(&self, database: Option<&str>) -> bool {
        let book = self.book.lock();
        book.all_paused || database.is_some_and(|name| book.is_paused(name))
    }

    /// All of them are paused, and the word for it is another.
    pub(super) fn note_suspended(&self) {
        let mut book = self.book.lock();
        book.suspended = book.all_paused;
    }

    /// Whether that is so.
    pub(super) fn is_suspended(&self) -> bool {
        self.book.lock().suspended
    }

    /// Opens or closes a database to newcomers.
    pub(super) fn set_disabled(&self, database: &str, disabled: bool) {
        let mut book = self.book.lock();
        if disabled {
            book.disabled.insert(database.to_owned());
        } else {
            book.disabled.remove(database);
        }
    }

    /// Databases that are paused or disabled by their own names, with or without clients.
    pub(super) fn marked(&self) -> Vec<String> {
        let book = self.book.lock();
        book.paused.union(&book.disabled).cloned().collect()
    }

    /// Whether newcomers are turned away from a database.
    pub(super) fn is_disabled(&self, database: &str) -> bool {
        self.book.lock().disabled.contains(database)
    }

    // --- what a new configuration wants ----------------------------------------------------

    /// Goes by another setup from now on. Pools whose part of it is the same are not touched.
    pub(super) fn reload(&self, setup: Setup) -> Moved {
        let new = Arc::new(setup);
        let mut moved = Moved::default();
        let mut book = self.book.lock();
        let old = std::mem::replace(&mut book.setup, Arc::clone(&new));
        let Book { known, paused, disabled, primaries, watched, .. } = &mut *book;
        primaries.go_by(&new.config);
        let seeks = |name: &String| {
            new.config.databases.get(name).is_some_and(|database| database.seeks_primary())
        };
        watched.retain(|name, _| seeks(name));
        paused.retain(|name| new.config.database(name).is_some());
        disabled.retain(|name| new.config.database(name).is_some());
        known.retain(|login, tenancy| {
            if is_gone(&old, &new, login) {
                for pool in tenancy.pools() {
                    let pool = self.pools.remove(pool.name()).unwrap_or_else(|| Arc::clone(pool));
                    moved.gone.push((Arc::clone(login), pool));
                }
                return false;
            }
            if let Some(next) = self.adapt(&old, &new, (primaries, watched), tenancy, &mut moved) {
                *tenancy = next;
            }
            true
        });
        moved
    }

    /// Has a pool and its sessions go by another setup; the tenancy that follows, if the terms
    /// are others.
    fn adapt(
        &self,
        old: &Setup,
        new: &Setup,
        (primaries, watched): (&Primaries, &Watched),
        tenancy: &Tenancy,
        moved: &mut Moved,
    ) -> Option<Arc<Tenancy>> {
        let Login { database, user } = &*tenancy.login;
        let before = old.config.database(database)?;
        let now = new.config.database(database)?;
        let pool = &tenancy.pool;
        let at = pool.connector().target().address;
        let wanted_at = primaries.address(&new.config, &now, Some(at.clone()));
        let before = Design::new(&old.config, &before, user, at);
        let wanted = Design::new(&new.config, &now, user, wanted_at);
        let terms = Terms::new(&new.config, &now, new.config.users.get(user));
        let others = before != wanted;
        if before.aim != wanted.aim {
            // What a client has shown is as good as before, where nothing else is configured.
            let secret = if before.aim.password == wanted.aim.password {
                pool.connector().secret()
            } else {
                let role = now.user.as_deref().unwrap_or(user);
                new.users.role_secret(&now, role).or_else(|| pool.connector().secret())
            };
            pool.connector().aim(wanted.aim.goal(
                &new.tls,
                self.tcp,
                secret,
                Some(&self.alarm),
                new.balances.of(&new.config, &now),
            ));
            pool.replace_members();
        }
        if (&before.settings, &before.limits) != (&wanted.settings, &wanted.limits) {
            self.pools.reconfigure(pool, wanted.settings, wanted.limits);
        }
        pool.set_prospect(primaries.prospect(&new.config, &now));
        // Those of replicas take what the primary's servers are logged in to with.
        let whose = Whose { login: &tenancy.login, database: &now, pool };
        let had = tenancy.replicas.as_ref();
        let replicas = self.replicas((Some(old), new), watched, whose, had, moved);
        let same = match (&replicas, had) {
            (None, None) => true,
            (Some(next), Some(had)) => Arc::ptr_eq(next, had),
            _ => false,
        };
        let next = (terms != tenancy.terms || !same).then(|| tenancy.succeed(terms, replicas));
        moved.changed += usize::from(others || next.is_some());
        next
    }
}

/// Whether a login has lost its database or its user, or the database is spread in another way. Users that
/// never were listed are known in other ways.
fn is_gone(old: &Setup, new: &Setup, login: &Login) -> bool {
    let Login { database, user } = login;
    let (before, now) = (&old.config, &new.config);
    now.database(database).is_none()
        || (before.users.contains_key(user) && !now.users.contains_key(user))
        || !is_spread_alike(old, new, database)
}
