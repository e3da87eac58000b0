//! The catalogs of all databases as they are known now.
//!
//! What is known is in force as long as nothing has been seen to be defined since it was read
//! ([`Schema::definitions`]); from then on nothing is known until it has been read again. Who reads is
//! somebody else: here is what they have to be told, and what they have found.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::{Catalog, Manners, Orders};
use crate::route::Judgement;
use crate::server::schema::{Schema, Schemas};
use crate::shard::KeyColumn;
use crate::sql::facts::{Facts, Name};

/// Those of all databases.
#[derive(Debug)]
pub struct Catalogs {
    schemas: Arc<Schemas>,
    by_database: Mutex<HashMap<Box<str>, Weak<Current>>>,
    /// The number that the last catalog has got.
    numbers: Arc<AtomicU64>,
    /// Those that nobody reads yet.
    newcomers: Mutex<Vec<Weak<Current>>>,
    bell: Notify,
}

/// The catalog of one database.
#[derive(Debug)]
pub struct Current {
    /// The name that clients ask for.
    database: Box<str>,
    schema: Arc<Schema>,
    numbers: Arc<AtomicU64>,
    known: watch::Sender<Option<Arc<Known>>>,
    /// The number of what is known, never of what is not yet; 0 = nothing is.
    number: AtomicU64,
    /// It has not been seen for too long that it is still so.
    is_old: AtomicBool,
    record: Mutex<Record>,
}

/// A catalog that has been read.
#[derive(Debug)]
pub struct Known {
    catalog: Arc<Catalog>,
    /// No other catalog of this process has it.
    number: u64,
    /// What had been seen to be defined before it was read.
    definitions: u64,
    /// When that was.
    as_of: Instant,
    /// Where it was read.
    at: String,
}

/// What has become of reading it.
#[derive(Debug, Default)]
struct Record {
    loads: u64,
    checks: u64,
    failures: u64,
    error: Option<String>,
}

/// What there is to tell of the catalog of a database.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The name that clients ask for.
    pub database: String,
    /// Whether it is known now.
    pub in_force: bool,
    /// The moment that it tells of, and where it was read; of one that is not in force, too.
    pub read: Option<(Instant, String)>,
    /// Its number: another one for each that is loaded.
    pub number: Option<u64>,
    /// How many functions and relations it has.
    pub size: Option<(usize, usize)>,
    /// How often it was loaded.
    pub loads: u64,
    /// How often it was looked at and found to be as before.
    pub checks: u64,
    /// How often it could not be looked at.
    pub failures: u64,
    /// Why, where that was so the last time.
    pub error: Option<String>,
}

impl Catalogs {
    /// None yet; changes are seen in `schemas`.
    pub fn new(schemas: Arc<Schemas>) -> Self {
        Self {
            schemas,
            by_database: Mutex::default(),
            numbers: Arc::default(),
            newcomers: Mutex::default(),
            bell: Notify::new(),
        }
    }

    /// The one of this database; somebody is asked to read it if it is the first time.
    pub fn of(&self, database: &str) -> Arc<Current> {
        let mut known = self.by_database.lock();
        if let Some(current) = known.get(database).and_then(Weak::upgrade) {
            return current;
        }
        known.retain(|_, current| current.strong_count() > 0);
        let current = Arc::new(Current {
            database: database.into(),
            schema: self.schemas.of(database),
            numbers: Arc::clone(&self.numbers),
            known: watch::Sender::new(None),
            number: AtomicU64::new(0),
            is_old: AtomicBool::new(false),
            record: Mutex::default(),
        });
        known.insert(database.into(), Arc::downgrade(&current));
        let mut newcomers = self.newcomers.lock();
        newcomers.retain(|newcomer| newcomer.strong_count() > 0);
        newcomers.push(Arc::downgrade(&current));
        self.bell.notify_one();
        current
    }

    /// One that nobody reads yet.
    ///
    /// # Cancel safety
    /// Safe: none is lost.
    pub async fn newcomer(&self) -> Weak<Current> {
        loop {
            let next = self.newcomers.lock().pop();
            if let Some(newcomer) = next {
                return newcomer;
            }
            self.bell.notified().await;
        }
    }

    /// Has whoever reads look at once what has changed.
    pub fn look(&self) {
        self.list().iter().for_each(|current| current.schema.bell().notify_one());
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<Arc<Current>> {
        let known = self.by_database.lock();
        let mut list: Vec<_> = known.values().filter_map(Weak::upgrade).collect();
        drop(known);
        list.sort_by(|a, b| a.database.cmp(&b.database));
        list
    }
}

impl Current {
    /// The name that clients ask for.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// What there is to say of the names in a text, as far as it is known now.
    pub fn judge(&self, facts: &Facts) -> Judgement {
        self.in_force().map_or(Judgement::NotLoaded, |known| known.judge(facts))
    }

    /// What transactions of this role are like where nobody says anything, as far as it is known now.
    pub fn manners(&self, role: &str) -> Manners {
        self.with(|known| known.map(|known| known.manners(role)).unwrap_or_default())
    }

    /// Looks at what is known, if anything is.
    pub(super) fn with<T>(&self, look: impl FnOnce(Option<&Known>) -> T) -> T {
        let known = self.known.borrow();
        look(known.as_deref().filter(|known| self.is_in_force(known)))
    }

    /// What is known, if anything is.
    pub fn in_force(&self) -> Option<Arc<Known>> {
        let known = self.known.borrow();
        known.as_ref().filter(|known| self.is_in_force(known)).cloned()
    }

    /// The number of what is remembered, or was just now.
    pub fn number(&self) -> Option<u64> {
        Some(self.number.load(Ordering::Acquire)).filter(|number| *number > 0)
    }

    /// What was read last, in force or not, unless it is too old.
    pub fn latest(&self) -> Option<Arc<Known>> {
        self.known.borrow().as_ref().filter(|_| !self.is_old()).cloned()
    }

    /// What was read last, however old it is.
    pub fn remembered(&self) -> Option<Arc<Known>> {
        self.known.borrow().clone()
    }

    fn is_old(&self) -> bool {
        self.is_old.load(Ordering::Acquire)
    }

    /// Waits until something is known.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn read(&self) -> Arc<Known> {
        let mut changes = self.known.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(known) = self.in_force() {
                return known;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn is_in_force(&self, known: &Known) -> bool {
        !self.is_old() && known.definitions == self.schema.definitions()
    }

    /// What there is to tell of it.
    pub fn figures(&self) -> Figures {
        let known = self.known.borrow().clone();
        let Record { loads, checks, failures, ref error } = *self.record.lock();
        Figures {
            database: self.database.to_string(),
            in_force: known.as_ref().is_some_and(|known| self.is_in_force(known)),
            read: known.as_ref().map(|known| (known.as_of, known.at.clone())),
            number: known.as_ref().map(|known| known.number),
            size: known.as_ref().map(|known| known.catalog.size()),
            loads,
            checks,
            failures,
            error: error.clone(),
        }
    }

    // --- for whoever reads -----------------------------------------------------------------

    /// Rung when it should be looked at.
    pub fn bell(&self) -> Arc<Notify> {
        Arc::clone(self.schema.bell())
    }

    /// It is about to be read.
    pub fn attempt(&self) -> Attempt<'_> {
        let definitions = self.schema.definitions();
        Attempt { current: self, definitions, as_of: Instant::now() }
    }

    /// Nothing is known from now on.
    pub fn forget(&self) {
        self.number.store(0, Ordering::Release);
        self.known.send_replace(None);
    }

    /// What is known is only remembered from now on, until it has been read again.
    pub fn grow_old(&self) {
        self.is_old.store(true, Ordering::Release);
    }
}

impl Drop for Current {
    /// Whoever reads need not go on.
    fn drop(&mut self) {
        self.schema.bell().notify_one();
    }
}

impl Known {
    /// What there is to say of the names in a text.
    pub fn judge(&self, facts: &Facts) -> Judgement {
        self.catalog.judge(facts)
    }

    /// What transactions of this role are like where nobody says anything.
    pub fn manners(&self, role: &str) -> Manners {
        self.catalog.manners(role)
    }

    /// The columns whose types somebody wants to know.
    pub fn columns(&self) -> &[KeyColumn] {
        &self.catalog.columns
    }

    /// How values are ordered.
    pub fn orders(&self) -> Orders {
        self.catalog.orders
    }

    /// Whether every relation that a name may stand for, and all that have rows in common with it, pass.
    pub fn all_kin(&self, name: &Name, passes: impl Fn(&Name) -> bool) -> bool {
        self.catalog.all_kin(name, passes)
    }

    /// Whether every relation that a name may stand for passes.
    pub fn all_of_name(&self, name: &Name, passes: impl Fn(&Name) -> bool) -> bool {
        self.catalog.all_of_name(name, passes)
    }

    /// Whether what a text reads does not depend on the transaction that it is in.
    pub(super) fn is_steady(&self, facts: &Facts) -> bool {
        self.catalog.is_steady(facts)
    }

    /// The same number is the same catalog, of all that the process has.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The moment that it tells of.
    pub fn as_of(&self) -> Instant {
        self.as_of
    }

    /// Where it was read.
    pub fn at(&self) -> &str {
        &self.at
    }
}

/// A catalog is being read. What is seen to be defined from its beginning on may not be in it.
#[derive(Debug)]
pub struct Attempt<'c> {
    current: &'c Current,
    definitions: u64,
    as_of: Instant,
}

impl Attempt<'_> {
    /// This was read, at this host.
    pub fn loaded(self, catalog: Catalog, at: String) {
        let Self { current, definitions, as_of } = self;
        let number = current.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let known = Known { catalog: Arc::new(catalog), number, definitions, as_of, at };
        {
            let mut record = current.record.lock();
            record.loads += 1;
            record.error = None;
        }
        current.known.send_modify(|place| {
            current.is_old.store(false, Ordering::Release);
            *place = Some(Arc::new(known));
            current.number.store(number, Ordering::Release);
        });
    }

    /// It is as it was when it was read last.
    pub fn unchanged(self) {
        let Self { current, definitions, as_of } = self;
        {
            let mut record = current.record.lock();
            record.checks += 1;
            record.error = None;
        }
        current.known.send_modify(|known| {
            current.is_old.store(false, Ordering::Release);
            if let Some(before) = known {
                *known = Some(Arc::new(Known {
                    catalog: Arc::clone(&before.catalog),
                    number: before.number,
                    definitions,
                    as_of,
                    at: before.at.clone(),
                }));
            }
        });
    }

    /// It could not be read. What was known before is known.
    pub fn failed(self, why: String) {
        let mut record = self.current.record.lock();
        record.failures += 1;
        record.error = Some(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::facts::facts;

    fn judged(current: &Current) -> Judgement {
        current.judge(&facts(b"SELECT 1"))
    }

    fn load(current: &Current) {
        current.attempt().loaded(Catalog::default(), "here".to_owned());
    }

    #[test]
    fn nothing_is_known_until_it_is_read_and_again_once_something_is_defined() {
        let schemas = Arc::new(Schemas::default());
        let catalogs = Catalogs::new(Arc::clone(&schemas));
        let (current, other) = (catalogs.of("shop"), catalogs.of("other"));
        assert_eq!(judged(&current), Judgement::NotLoaded);
        load(&current);
        load(&other);
        assert_eq!(judged(&current), Judgement::Harmless);
        schemas.of("shop").changed();
        assert_eq!(judged(&current), Judgement::NotLoaded);
        assert_eq!(judged(&other), Judgement::Harmless);
        let first = other.in_force().unwrap().number();
        load(&current);
        assert!(current.in_force().unwrap().number() > first);
        current.forget();
        assert_eq!(judged(&current), Judgement::NotLoaded);
    }

    #[test]
    fn what_is_defined_while_it_is_read_is_not_in_it() {
        let schemas = Arc::new(Schemas::default());
        let current = Catalogs::new(Arc::clone(&schemas)).of("shop");
        let attempt = current.attempt();
        schemas.of("shop").may_define();
        attempt.loaded(Catalog::default(), "here".to_owned());
        assert_eq!(judged(&current), Judgement::NotLoaded);
        let number = current.figures().number;
        current.attempt().unchanged();
        assert_eq!(judged(&current), Judgement::Harmless);
        assert_eq!(current.figures().number, number);
    }

    #[test]
    fn failure_leaves_what_is_known_and_is_told() {
        let current = Catalogs::new(Arc::default()).of("shop");
        load(&current);
        current.attempt().failed("no route".to_owned());
        assert_eq!(judged(&current), Judgement::Harmless);
        let figures = current.figures();
        assert_eq!((figures.failures, figures.error.as_deref()), (1, Some("no route")));
        load(&current);
        assert_eq!(current.figures().error, None);
    }

    #[test]
    fn what_is_too_old_is_not_in_force_and_is_remembered() {
        let current = Catalogs::new(Arc::default()).of("shop");
        load(&current);
        let number = current.figures().number;
        for again in [|current: &Current| current.attempt().unchanged(), load] {
            current.grow_old();
            assert_eq!(judged(&current), Judgement::NotLoaded);
            assert!(current.in_force().is_none() && current.latest().is_none());
            assert_eq!(current.remembered().map(|known| known.number()), number);
            assert_eq!((current.figures().in_force, current.figures().number), (false, number));
            again(&current);
            assert_eq!(judged(&current), Judgement::Harmless);
            assert!(current.latest().is_some());
        }
        assert!(current.number().is_some());
        current.forget();
        assert!(current.remembered().is_none() && current.number().is_none());
    }

    #[tokio::test]
    async fn each_is_announced_once_and_forgotten_with_its_last_share() {
        let catalogs = Catalogs::new(Arc::default());
        let (current, same) = (catalogs.of("shop"), catalogs.of("shop"));
        let newcomer = catalogs.newcomer().await;
        assert!(Arc::ptr_eq(&newcomer.upgrade().unwrap(), &same));
        assert!(catalogs.newcomers.lock().is_empty());
        drop((current, same));
        assert!(newcomer.upgrade().is_none() && catalogs.list().is_empty());
    }
}
