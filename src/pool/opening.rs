//! Opening members: one task each, on the loop where it is wanted, and what a failure means.
//!
//! Races, and why they are benign:
//! - Those it was opened for are gone when it succeeds: the member idles, as any other.
//! - The task is dropped in the midst (pool closed, loop ended, a panic in the connector): the
//!   [`Opening`] gives back its place and counts as a failure.
//! - The pool is closed while it connects: the member is closed when it arrives.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::member::{Connect, Member, Verdict};
use super::place::{Login, Place};
use super::pool::Pool;
use super::state::{After, Generation};
use crate::net::loops::LoopId;

/// The pause after the first failure; each further one doubles it.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The next attempt is waited for if it is no further away: what the last one was told may be over by now.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often a server that is starting up is tried.
const PAUSE_STARTING: Duration = Duration::from_millis(100);

/// When to try again, and what to tell meanwhile.
pub(super) struct Retry<E> {
    failures: u32,
    /// No attempt before.
    pub(super) at: Option<Instant>,
    /// No attempt without a new ask.
    pub(super) halted: bool,
    /// What those are told who ask while nothing is open and no attempt is due.
    pub(super) refuses: Option<Arc<E>>,
    /// The last error of all.
    pub(super) last: Option<Arc<E>>,
}

impl<E> Default for Retry<E> {
    fn default() -> Self {
        Self { failures: 0, at: None, halted: false, refuses: None, last: None }
    }
}

impl<E> Retry<E> {
    pub(super) fn is_pausing(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| now < at)
    }

    /// Whether the next attempt is too far away to be waited for by who asks now.
    pub(super) fn is_far(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| now + PATIENCE < at)
    }

    /// An attempt failed. `luck` in 0..1 spreads attempts over the second half of the pause.
    ///
    /// The first failure that nobody has waited for refuses nobody: it may be long over for who asks next (the
    /// server was restarted), and the next attempt is not far.
    fn failed(
        &mut self,
        error: Option<(Arc<E>, Meaning)>,
        awaited: bool,
        ceiling: Duration,
        luck: f64,
        now: Instant,
    ) {
        let doubled = PAUSE_FIRST.saturating_mul(1 << self.failures.min(16)).min(ceiling);
        let mut pause = doubled.mul_f64(0.5 + luck / 2.0);
        let is_news = awaited || self.failures > 0;
        self.failures = self.failures.saturating_add(1);
        if let Some((error, meaning)) = error {
            self.refuses = match meaning {
                Meaning::Starting => {
                    pause = PAUSE_STARTING.min(ceiling);
                    None
                }
                Meaning::WaitForOthers => None,
                Meaning::Down if !is_news => None,
                Meaning::Rejected | Meaning::Down => Some(error.clone()),
            };
            self.halted = meaning == Meaning::Rejected;
            self.last = Some(error);
        }
        self.at = Some(now + pause);
    }
}

/// What a failed attempt means for this pool.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Starting,
    /// The server is full, and some of what fills it is ours.
    WaitForOthers,
    Rejected,
    Down,
}

/// A member in the making; begun in the books, and ended there by being dropped.
struct Opening<C: Connect> {
    pool: Arc<Pool<C>>,
    on: LoopId,
    generation: Generation,
    place: Option<Place>,
    /// Dropped last of all: the next attempt begins when this one is settled.
    _login: Login,
}

/// Opens a member on loop `on`. The caller has entered the opening into the books.
pub(super) fn open<C: Connect>(
    pool: &Arc<Pool<C>>,
    on: LoopId,
    generation: Generation,
    (place, login): (Place, Login),
) -> impl Future<Output = ()> + Send + use<C> {
    let mut opening =
        Opening { pool: pool.clone(), on, generation, place: Some(place), _login: login };
    async move {
        let pool = opening.pool.clone();
        match pool.connector.connect(on).await {
            Ok(member) => opening.succeeded(member),
            Err(error) => opening.failed(error),
        }
    }
}

impl<C: Connect> Opening<C> {
    fn succeeded(&mut self, member: C::Member) {
        let Some(mut place) = self.place.take() else { return };
        let pool = &self.pool;
        place.opened();
        let now = Instant::now();
        let luck: f64 = rand::random();
        let mut state = pool.state.lock();
        let lifetime = state.settings.lifetime;
        let expires = lifetime.map(|life| member.created() + life.mul_f64(1.0 - luck / 10.0));
        state.opened_on(self.on, self.generation);
        state.retry = Retry::default();
        let entry = state.enter(member, place, expires, self.generation);
        let mut after = state.give(entry, self.on, now, pool.who());
        drop(state);
        // There is a new lifetime to watch over, and perhaps more to open.
        after.upkeep = true;
        pool.settle(after);
    }

    fn failed(&mut self, error: C::Error) {
        let verdict = self.pool.connector.verdict(&error);
        // Given back first: a full server holds what is open without this one.
        let quotas = self.place.take().map(|place| place.quotas());
        let now = Instant::now();
        let waits = || quotas.is_some_and(|quotas| quotas.host.connections.full(now));
        let meaning = match verdict {
            Verdict::StartingUp | Verdict::Moving => Meaning::Starting,
            Verdict::Rejected => Meaning::Rejected,
            Verdict::Unreachable => Meaning::Down,
            Verdict::Full if waits() => Meaning::WaitForOthers,
            Verdict::Full => Meaning::Down,
        };
        self.settle_failure(Some((Arc::new(error), meaning)), now);
    }

    fn settle_failure(&self, error: Option<(Arc<C::Error>, Meaning)>, now: Instant) {
        let luck = rand::random();
        let mut state = self.pool.state.lock();
        state.opened_on(self.on, self.generation);
        state.totals.open_failed += 1;
        let ceiling = state.settings.login_retry;
        if self.generation == state.generation {
            let awaited = state.waiting > 0;
            state.retry.failed(error, awaited, ceiling, luck, now);
        }
        let mut after = After::nothing();
        (after.crowd, after.fewer) = (state.refuse_if_hopeless(now), true);
        after.upkeep = true;
        drop(state);
        self.pool.settle(after);
    }
}

impl<C: Connect> Drop for Opening<C> {
    fn drop(&mut self) {
        // Still there only if the attempt was neither a success nor a failure.
        if let Some(place) = self.place.take() {
            drop(place);
            self.settle_failure(None, Instant::now());
        }
    }
}
