//! How long things take: histograms by database, user, and what the server is.
//!
//! As with all that is counted, each loop has a place of its own, found when a client logs in. How
//! many databases and users are told apart is bounded, as each is some dozens of lines for whoever
//! reads them: those beyond the bound are counted together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::micros;

/// What takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Span {
    /// From asking for a server to having one, or to giving up.
    Wait,
    /// A request, while a server was at work for it.
    Query,
    /// From the start of a transaction to its end.
    Transaction,
}

const SPANS: usize = 3;

/// What a server is to those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Role {
    /// One that may be written to.
    Primary,
    /// One that is only read from.
    Replica,
}

impl Role {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Replica];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// The longest time of each bucket, in microseconds; what takes longer than the last is in one more.
pub const BOUNDS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

const BUCKETS: usize = BOUNDS.len() + 1;

/// How often something took how long.
#[derive(Debug, Default)]
struct Histogram {
    counts: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

impl Histogram {
    /// So many took so long together.
    #[inline]
    fn add(&self, count: u64, took: Duration) {
        let together = micros(took);
        let Some(each) = together.checked_div(count) else { return };
        let bucket = BOUNDS.partition_point(|bound| *bound < each);
        if let Some(sum) = self.counts.get(bucket) {
            sum.fetch_add(count, Ordering::Relaxed);
        }
        if together > 0 {
            self.micros.fetch_add(together, Ordering::Relaxed);
        }
    }
}

/// A histogram as it was when it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    counts: [u64; BUCKETS],
    /// All of it together, in microseconds.
    pub micros: u64,
}

impl Distribution {
    fn join(&mut self, histogram: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&histogram.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        self.micros = self.micros.wrapping_add(histogram.micros.load(Ordering::Relaxed));
    }

    /// One that took so long.
    pub fn of(took: Duration) -> Self {
        let mut one = Self { micros: micros(took), ..Self::default() };
        let bucket = BOUNDS.partition_point(|bound| *bound < one.micros);
        one.counts.iter_mut().skip(bucket).take(1).for_each(|count| *count = 1);
        one
    }

    /// Those of another as well.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.micros = self.micros.wrapping_add(other.micros);
    }

    /// The bound of the bucket, in microseconds, below which this share of them lies, from 0 to 1;
    /// `None` where there are none, and above the last bound.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts far below 2^52, and a share of one"
        )]
        let rank = ((self.count() as f64 * share).ceil() as u64).max(1);
        self.cumulative().find(|(_, below)| *below >= rank).map(|(bound, _)| bound)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bound in microseconds, and how many took no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut below = 0;
        BOUNDS.into_iter().zip(self.counts).map(move |(bound, count)| {
            below += count;
            (bound, below)
        })
    }
}

/// How long things take for one user on one database.
#[derive(Debug)]
pub struct Times {
    loops: usize,
    /// By the servers' role, and then by loop; made when there is the first.
    by_role: [OnceLock<Box<[Spans]>>; Role::ALL.len()],
    logins: Box<[Histogram]>,
}

/// Those of one loop, in cache lines that no other loop touches.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Spans([Histogram; SPANS]);

impl Times {
    fn new(loops: usize) -> Self {
        let loops = loops.max(1);
        let logins = (0..loops).map(|_| Histogram::default()).collect();
        Self { loops, by_role: Default::default(), logins }
    }

    /// So many took so long together, on this loop and at a server of this role.
    #[inline]
    pub fn add(&self, on: usize, role: Role, span: Span, count: u64, took: Duration) {
        let Some(role) = self.by_role.get(role as usize) else { return };
        let by_loop = role.get_or_init(|| (0..self.loops).map(|_| Spans::default()).collect());
        let Some(Spans(spans)) = by_loop.get(on).or(by_loop.first()) else { return };
        if let Some(histogram) = spans.get(span as usize) {
            histogram.add(count, took);
        }
    }

    /// A login took so long, from the connection to the first ReadyForQuery.
    pub fn logged_in(&self, on: usize, took: Duration) {
        if let Some(histogram) = self.logins.get(on).or(self.logins.first()) {
            histogram.add(1, took);
        }
    }

    /// All that was added of this; `None` where there was no server of this role.
    pub fn of(&self, role: Role, span: Span) -> Option<Distribution> {
        let by_loop = self.by_role.get(role as usize)?.get()?;
        let mut all = Distribution::default();
        for histogram in by_loop.iter().filter_map(|Spans(spans)| spans.get(span as usize)) {
            all.join(histogram);
        }
        Some(all)
    }

    /// All logins.
    pub fn logins(&self) -> Distribution {
        let mut all = Distribution::default();
        self.logins.iter().for_each(|histogram| all.join(histogram));
        all
    }
}

/// Whose times these are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The database, as clients call it.
    pub database: Box<str>,
    /// The user, as clients log in.
    pub user: Box<str>,
}

/// What those are called that are not told apart.
const OTHER: &str = "other";

/// The times of all users on all databases.
#[derive(Debug)]
pub(super) struct Pairs {
    loops: usize,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    known: BTreeMap<Pair, Arc<Times>>,
    max: usize,
    folded: u64,
}

impl Pairs {
    pub(super) fn new(loops: usize, max: usize) -> Self {
        Self { loops, book: Mutex::new(Book { known: BTreeMap::new(), max, folded: 0 }) }
    }

    /// So many are told apart from now on; those that are already stay so.
    pub(super) fn limit(&self, max: usize) {
        self.book.lock().max = max;
    }

    pub(super) fn of(&self, database: &str, user: &str) -> Arc<Times> {
        let other = || Pair { database: OTHER.into(), user: OTHER.into() };
        let mut pair = Pair { database: database.into(), user: user.into() };
        let mut book = self.book.lock();
        if !book.known.contains_key(&pair) && pair != other() && book.told_apart() >= book.max {
            // Those that nobody uses any more give way.
            book.known.retain(|known, times| Arc::strong_count(times) > 1 || *known == other());
            if book.told_apart() >= book.max {
                book.folded += 1;
                if book.folded == 1 {
                    tracing::warn!(
                        database,
                        user,
                        "max_metrics_users: {user} on {database} is counted as {OTHER}"
                    );
                }
                pair = other();
            }
        }
        let new = || Arc::new(Times::new(self.loops));
        Arc::clone(book.known.entry(pair).or_insert_with(new))
    }

    pub(super) fn list(&self) -> Vec<(Pair, Arc<Times>)> {
        let book = self.book.lock();
        book.known.iter().map(|(pair, times)| (pair.clone(), Arc::clone(times))).collect()
    }

    pub(super) fn folded(&self) -> u64 {
        self.book.lock().folded
    }
}

impl Book {
    /// How many are, those that stand for many apart.
    fn told_apart(&self) -> usize {
        self.known.keys().filter(|pair| (&*pair.database, &*pair.user) != (OTHER, OTHER)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn after(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn each_time_is_in_the_first_bucket_that_it_does_not_exceed() {
        let times = Times::new(2);
        assert_eq!(times.of(Role::Primary, Span::Query), None);
        for (on, took) in [(0, 0), (1, 100), (0, 101), (7, 60_000_000), (1, 60_000_001)] {
            times.add(on, Role::Primary, Span::Query, 1, after(took));
        }
        let all = times.of(Role::Primary, Span::Query).unwrap();
        let within = |bound| all.cumulative().find(|(own, _)| *own == bound).unwrap().1;
        assert_eq!([within(100), within(250), within(60_000_000)], [2, 3, 4]);
        assert_eq!((all.count(), all.micros), (5, 120_000_202));
        assert_eq!(times.of(Role::Replica, Span::Query), None);
        assert_eq!(times.of(Role::Primary, Span::Wait).unwrap().count(), 0);
    }

    #[test]
    fn several_share_their_time() {
        let times = Times::new(1);
        times.add(0, Role::Replica, Span::Query, 3, after(301));
        times.add(0, Role::Replica, Span::Query, 0, after(1));
        let all = times.of(Role::Replica, Span::Query).unwrap();
        assert_eq!(all.cumulative().next(), Some((100, 3)));
        assert_eq!((all.count(), all.micros), (3, 301));
    }

    #[test]
    fn users_beyond_the_bound_are_counted_together() {
        let pairs = Pairs::new(1, 2);
        let kept: Vec<_> = ["a", "b", "c", "d"].map(|user| pairs.of("shop", user)).into();
        for times in &kept {
            times.logged_in(0, after(1));
        }
        let names = |pairs: &Pairs| {
            let list = pairs.list().into_iter();
            let line = |(pair, times): (Pair, Arc<Times>)| (pair.user, times.logins().count());
            list.map(line).collect::<Vec<_>>()
        };
        let expected = [("other".into(), 2), ("a".into(), 1), ("b".into(), 1)];
        assert_eq!((names(&pairs), pairs.folded()), (expected.into(), 2));
        // One that is called so is among them.
        pairs.of("other", "other").logged_in(0, after(1));
        assert_eq!(names(&pairs)[0], ("other".into(), 3));
        // Room is made when somebody has gone for good.
        drop(kept);
        pairs.of("shop", "e");
        let expected = [("other".into(), 3), ("e".into(), 0)];
        assert_eq!((names(&pairs), pairs.folded()), (expected.into(), 2));
        pairs.limit(3);
        pairs.of("shop", "f");
        assert_eq!(pairs.list().len(), 3);
    }
}
