//! What passes through each database, counted, how long that takes, and what goes wrong.
//!
//! Who counts has a [`Tally`] of its own and adds it to the database's [`Traffic`] from time to
//! time, where each loop has a place of its own: nobody waits for anybody, and nothing is shared
//! on the way of a request. Reading adds all of it up, and is for people and their tools.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

mod errors;
mod queries;
mod times;

pub use self::errors::{ErrorBook, Errors, FAILURES, Line as ErrorLine, Side, is_failure};
pub use self::queries::{Cost, OTHERS, Queries};
use self::times::Pairs;
pub use self::times::{BOUNDS, Distribution, Pair, Role, Span, Times};

/// What is counted. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Figure {
    /// Servers given to clients.
    Assignments,
    /// Transactions that have ended.
    Transactions,
    /// Requests that have been answered.
    Queries,
    /// Bytes from clients to servers.
    Received,
    /// Bytes from servers to clients.
    Sent,
    /// From the start of a transaction to its end.
    TransactionTime,
    /// While a server was at work for a client.
    QueryTime,
    /// While clients waited for a server.
    WaitTime,
    /// Statements that clients have prepared.
    ClientParses,
    /// Statements that were prepared on servers.
    ServerParses,
    /// Statements that were bound.
    Binds,
    /// Clients that have logged in.
    Logins,
}

impl Figure {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 12] = [
        Self::Assignments,
        Self::Transactions,
        Self::Queries,
        Self::Received,
        Self::Sent,
        Self::TransactionTime,
        Self::QueryTime,
        Self::WaitTime,
        Self::ClientParses,
        Self::ServerParses,
        Self::Binds,
        Self::Logins,
    ];

    /// What a time is the average of; `None` for what is counted per second.
    fn of_each(self) -> Option<Self> {
        match self {
            Self::TransactionTime => Some(Self::Transactions),
            Self::QueryTime => Some(Self::Queries),
            Self::WaitTime => Some(Self::Assignments),
            _ => None,
        }
    }
}

/// Some of each figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; Figure::ALL.len()]);

impl Tally {
    /// So much more.
    #[inline]
    pub fn add(&mut self, figure: Figure, count: u64) {
        if let Some(sum) = self.0.get_mut(figure as usize) {
            *sum = sum.wrapping_add(count);
        }
    }

    /// So much more of a time.
    #[inline]
    pub fn add_time(&mut self, figure: Figure, time: Duration) {
        self.add(figure, micros(time));
    }

    /// How much there is.
    pub fn get(&self, figure: Figure) -> u64 {
        self.0.get(figure as usize).copied().unwrap_or(0)
    }

    /// All of it together with all of another.
    pub fn join(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.wrapping_add(more);
        }
    }

    /// What this is on average, if it came within so much time: times per what they are of, all
    /// else per second.
    #[must_use]
    pub fn averages(&self, within: Duration) -> Self {
        let mut averages = Self::default();
        for figure in Figure::ALL {
            let average = match figure.of_each() {
                Some(of) => self.get(figure).checked_div(self.get(of)),
                None => self.get(figure).saturating_mul(1_000_000).checked_div(micros(within)),
            };
            averages.add(figure, average.unwrap_or(0));
        }
        averages
    }

    /// What has come since it was `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        let mut grown = Self::default();
        for figure in Figure::ALL {
            grown.add(figure, self.get(figure).wrapping_sub(earlier.get(figure)));
        }
        grown
    }
}

/// The whole microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A moment that is small: milliseconds since some other, which wrap after seven weeks. What is
/// longer ago than that is told as less.
#[derive(Debug, Default)]
pub struct Lately(AtomicU32);

impl Lately {
    /// It is so long after that other moment now.
    #[inline]
    pub fn set(&self, after: Duration) {
        self.0.store(millis(after), Ordering::Relaxed);
    }

    /// How long ago that was, now that it is so long after the other moment.
    pub fn ago(&self, after: Duration) -> Duration {
        let ago = millis(after).wrapping_sub(self.0.load(Ordering::Relaxed));
        Duration::from_millis(ago.into())
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis() & u128::from(u32::MAX)).unwrap_or_default()
}

/// What has passed through one database.
#[derive(Debug)]
pub struct Traffic {
    by_loop: Box<[Sums]>,
    period: Mutex<Period>,
}

/// Those of one loop, in a cache line or two that no other loop touches.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Sums([AtomicU64; Figure::ALL.len()]);

/// The last period that is over.
#[derive(Clone, Copy, Debug, Default)]
struct Period {
    /// The totals at its end.
    totals: Tally,
    /// What has come in it.
    grown: Tally,
    length: Duration,
}

impl Traffic {
    fn new(loops: usize) -> Self {
        let by_loop = (0..loops.max(1)).map(|_| Sums::default()).collect();
        Self { by_loop, period: Mutex::default() }
    }

    /// Adds what was counted on this loop.
    #[inline]
    pub fn add(&self, on: usize, tally: &Tally) {
        let Some(Sums(sums)) = self.by_loop.get(on).or(self.by_loop.first()) else { return };
        for (sum, count) in sums.iter().zip(tally.0) {
            if count > 0 {
                sum.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// So much more of one figure, on this loop.
    pub fn add_one(&self, on: usize, figure: Figure, count: u64) {
        let mut tally = Tally::default();
        tally.add(figure, count);
        self.add(on, &tally);
    }

    /// So much more of a time, on this loop.
    pub fn add_time(&self, on: usize, figure: Figure, time: Duration) {
        self.add_one(on, figure, micros(time));
    }

    /// All that was added.
    pub fn totals(&self) -> Tally {
        let mut totals = Tally::default();
        for Sums(sums) in &self.by_loop {
            for (figure, sum) in Figure::ALL.into_iter().zip(sums) {
                totals.add(figure, sum.load(Ordering::Relaxed));
            }
        }
        totals
    }

    /// What has come in the last period that is over, and how long that was; nothing as long as
    /// none is.
    pub fn last_period(&self) -> (Tally, Duration) {
        let period = self.period.lock();
        (period.grown, period.length)
    }

    fn end_period(&self, length: Duration) {
        let totals = self.totals();
        let mut period = self.period.lock();
        *period = Period { totals, grown: totals.since(&period.totals), length };
    }
}

/// That of all databases, for as long as the process runs.
#[derive(Debug)]
pub struct Traffics {
    by_database: Mutex<BTreeMap<Box<str>, Arc<Traffic>>>,
    pairs: Pairs,
    loops: usize,
}

/// Databases that nobody uses are forgotten when there are more than this.
const DATABASES_MAX: usize = 1000;

impl Traffics {
    /// Nothing has passed yet. There are so many loops, and so many users on databases whose times
    /// are told apart.
    pub fn new(loops: usize, pairs_max: usize) -> Self {
        Self { by_database: Mutex::default(), pairs: Pairs::new(loops, pairs_max), loops }
    }

    /// So many are told apart from now on.
    pub fn limit_pairs(&self, max: usize) {
        self.pairs.limit(max);
    }

    /// How long things take for this user on this database, or for all that are not told apart.
    pub fn times_of(&self, database: &str, user: &str) -> Arc<Times> {
        self.pairs.of(database, user)
    }

    /// The times of all, by whose they are.
    pub fn times(&self) -> Vec<(Pair, Arc<Times>)> {
        self.pairs.list()
    }

    /// How often a user came to a database that is not told apart.
    pub fn folded(&self) -> u64 {
        self.pairs.folded()
    }

    /// The one of this database.
    pub fn of(&self, database: &str) -> Arc<Traffic> {
        let mut known = self.by_database.lock();
        if let Some(traffic) = known.get(database) {
            return Arc::clone(traffic);
        }
        if known.len() >= DATABASES_MAX {
            known.retain(|_, traffic| Arc::strong_count(traffic) > 1);
        }
        let traffic = Arc::new(Traffic::new(self.loops));
        known.insert(database.into(), Arc::clone(&traffic));
        traffic
    }

    /// All of them, by the names of their databases.
    pub fn list(&self) -> Vec<(String, Arc<Traffic>)> {
        let known = self.by_database.lock();
        known.iter().map(|(name, traffic)| (name.to_string(), Arc::clone(traffic))).collect()
    }

    /// A period of this length is over.
    pub fn end_period(&self, length: Duration) {
        for (_, traffic) in self.list() {
            traffic.end_period(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_loops_count_and_averages_are_of_the_last_period() {
        let traffics = Traffics::new(2, 1);
        let traffic = traffics.of("shop");
        let mut tally = Tally::default();
        tally.add(Figure::Queries, 3);
        tally.add_time(Figure::QueryTime, Duration::from_millis(6));
        traffic.add(0, &tally);
        traffic.add(1, &tally);
        traffics.of("shop").add_one(1, Figure::Logins, 30);
        let totals = traffic.totals();
        assert_eq!((totals.get(Figure::Queries), totals.get(Figure::QueryTime)), (6, 12_000));
        let averages = || {
            let (grown, length) = traffic.last_period();
            grown.averages(length)
        };
        assert_eq!(averages(), Tally::default());
        traffics.end_period(Duration::from_secs(3));
        let [queries, time, logins, waits] =
            [Figure::Queries, Figure::QueryTime, Figure::Logins, Figure::WaitTime]
                .map(|figure| averages().get(figure));
        assert_eq!((queries, time, logins, waits), (2, 2000, 10, 0));
        traffics.end_period(Duration::from_secs(3));
        assert_eq!(averages(), Tally::default());
        assert_eq!(traffic.totals(), totals);
    }

    #[test]
    fn databases_that_nobody_uses_are_forgotten_when_there_are_many() {
        let traffics = Traffics::new(1, 1);
        let used = traffics.of("used");
        used.add_one(0, Figure::Queries, 1);
        for number in 0..3 * DATABASES_MAX {
            traffics.of(&number.to_string());
        }
        assert!(traffics.list().len() <= DATABASES_MAX + 1);
        assert_eq!(traffics.of("used").totals().get(Figure::Queries), 1);
    }

    #[test]
    fn lately_is_right_across_its_edge() {
        let lately = Lately::default();
        let week = Duration::from_secs(7 * 24 * 3600);
        assert_eq!(lately.ago(week), week);
        for after in [week, 7 * week, 8 * week, 100 * week] {
            lately.set(after);
            assert_eq!(lately.ago(after + week), week, "{after:?}");
        }
    }
}
