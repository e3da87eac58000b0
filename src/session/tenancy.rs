//! What all sessions of a user on a database share, and how they come to share something else: a
//! session looks for the successor of its tenancy at each transaction boundary, by a comparison
//! of numbers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{House, Replicas, ServerPool, Shards, Terms};
use crate::catalog::Current;
use crate::client::card::Login;
use crate::route::decisions::Decisions;
use crate::server::schema::Schema;
use crate::server::unseen::Asking;
use crate::traffic::{Times, Traffic};

/// What all sessions of a user on a database share.
#[derive(Debug)]
pub struct Tenancy {
    /// Who they are.
    pub login: Arc<Login>,
    /// Their servers, at the primary where it has to be found.
    pub pool: Arc<ServerPool>,
    /// What they may read from instead, where there is such.
    pub replicas: Option<Arc<Replicas>>,
    /// What they go by.
    pub terms: Terms,
    /// What all share.
    pub house: Arc<House>,
    /// What is known of the schema of their database.
    pub schema: Arc<Schema>,
    /// What has passed through their database.
    pub traffic: Arc<Traffic>,
    /// How long things take for them.
    pub times: Arc<Times>,
    /// Where requests to their database have run, and why.
    pub decisions: Arc<Decisions>,
    /// What names stand for in their database.
    pub catalog: Arc<Current>,
    /// Where it is the default shard of a database: all shards.
    pub shards: Option<Arc<Shards>>,
    revision: u64,
    line: Arc<Line>,
}

/// The tenancies of one user on one database, the latest of which counts.
#[derive(Debug)]
struct Line {
    /// Of the latest; written under the lock.
    revision: AtomicU64,
    latest: Mutex<Weak<Tenancy>>,
    /// How many of their clients keep a server between transactions.
    pinned: AtomicUsize,
}

/// That a client keeps its server between transactions, for as long as it does.
#[derive(Debug)]
pub(super) struct Kept {
    line: Arc<Line>,
    /// Since when.
    pub(super) since: Instant,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.line.pinned.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tenancy {
    /// The first one.
    pub fn new(
        login: Arc<Login>,
        pool: Arc<ServerPool>,
        replicas: Option<Arc<Replicas>>,
        terms: Terms,
        house: Arc<House>,
        shards: Option<Arc<Shards>>,
    ) -> Arc<Self> {
        let line = Arc::new(Line {
            revision: AtomicU64::new(0),
            latest: Mutex::default(),
            pinned: AtomicUsize::new(0),
        });
        let schema = house.schemas.of(&login.database);
        let traffic = house.traffics.of(&login.database);
        let times = house.traffics.times_of(&login.database, &login.user);
        let decisions = house.decisions.of(&login.database);
        let catalog = house.catalogs.of(&login.database);
        let first = Arc::new(Self {
            login,
            pool,
            replicas,
            terms,
            house,
            schema,
            traffic,
            times,
            decisions,
            catalog,
            shards,
            revision: 0,
            line,
        });
        *first.line.latest.lock() = Arc::downgrade(&first);
        first
    }

    /// All pools: that at the primary, and those of replicas.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<ServerPool>> {
        let replicas = self.replicas.iter().flat_map(|replicas| replicas.pools());
        std::iter::once(&self.pool).chain(replicas)
    }

    /// The same with other terms and replicas, which sessions find from now on. The caller keeps it.
    #[must_use]
    pub fn succeed(&self, terms: Terms, replicas: Option<Arc<Replicas>>) -> Arc<Self> {
        let mut latest = self.line.latest.lock();
        let revision = self.line.revision.load(Ordering::Relaxed) + 1;
        let next = Arc::new(Self {
            login: Arc::clone(&self.login),
            pool: Arc::clone(&self.pool),
            replicas,
            terms,
            house: Arc::clone(&self.house),
            schema: Arc::clone(&self.schema),
            traffic: Arc::clone(&self.traffic),
            times: Arc::clone(&self.times),
            decisions: Arc::clone(&self.decisions),
            catalog: Arc::clone(&self.catalog),
            shards: self.shards.clone(),
            revision,
            line: Arc::clone(&self.line),
        });
        *latest = Arc::downgrade(&next);
        self.line.revision.store(revision, Ordering::Release);
        next
    }

    /// Whether the database has to be asked of its code before a request follows.
    #[inline]
    pub(super) fn must_ask(&self) -> bool {
        self.terms.knows_code() && self.schema.unseen.is_unknown()
    }

    /// What the database is to be asked of its code, if that is due.
    #[inline]
    pub(super) fn question(&self) -> Option<Asking> {
        if self.terms.knows_code() { Asking::take(&self.schema) } else { None }
    }

    /// One of the places for clients that keep their servers, if one is left.
    pub(super) fn keep(&self) -> Option<Kept> {
        let max = self.terms.pins.max.unwrap_or(usize::MAX);
        let one_more = |count: usize| (count < max).then_some(count + 1);
        let pinned = &self.line.pinned;
        pinned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Kept { line: Arc::clone(&self.line), since: Instant::now() })
    }

    /// The latest, where that is another one; `None` also when the login is no more.
    #[inline]
    pub fn successor(&self) -> Option<Arc<Self>> {
        if self.line.revision.load(Ordering::Acquire) == self.revision {
            return None;
        }
        self.line.latest.lock().upgrade()
    }
}
