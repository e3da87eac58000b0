//! The pool itself: the books under a lock, and what is done about them outside of it.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::lease::Lease;
use super::maintain;
use super::member::{Condition, Connect, Member};
use super::quota::{Quotas, Standing, Tenant};
use super::settings::{Order, PoolSettings};
use super::snapshot::{Closed, Holder, Snapshot};
use super::state::{After, Collected, Entry, Found, Refusal, State};
use super::waiters::{Outcome, Turn};
use super::waiting::{Abandoned, Waiting};
use crate::config::HostPort;
use crate::net::loops::{LoopId, Loops};

/// Whose pool it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolName {
    /// The database, as clients call it.
    pub database: String,
    /// The user, as clients log in.
    pub user: String,
    /// The host, where it is read from as from a replica; `None` = wherever the primary is.
    pub replica: Option<HostPort>,
}

impl PoolName {
    /// The database as tables for people show it: with the host of a replica.
    pub fn place(&self) -> String {
        match &self.replica {
            None => self.database.clone(),
            Some(host) => format!("{}@{host}", self.database),
        }
    }
}

/// Who asks for a member, and which would suit.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The loop that the asking task runs on.
    pub on: LoopId,
    /// The tag that the member should have; any other will do.
    pub affinity: usize,
    /// Who asks, for [`Holder`].
    pub holder: u64,
    /// The [`Lease::member_id`] of the last lease ([`Order::ForceHop`]).
    pub last_member: Option<u64>,
}

/// Why there is no lease, and will be none for this ask.
#[derive(Clone, Debug, Error)]
pub enum CheckoutError<E> {
    /// No member is open and none can be opened now: the error of the last attempt.
    #[error("no server can be opened: {0:?}")]
    Connect(E),
    /// There is nowhere to open one, and nobody waits for that to change.
    #[error("no server is known")]
    Nowhere,
    /// The pool was closed.
    #[error("the pool is closed")]
    Closed,
}

/// The members for one database and user on one server.
pub struct Pool<C: Connect> {
    name: PoolName,
    pub(super) connector: C,
    pub(super) state: Mutex<State<C::Member, C::Error>>,
    /// Wakes the maintainer.
    pub(super) wake: Arc<Notify>,
    /// Tells those who wait for it that there is a member less.
    pub(super) fewer: Notify,
    loops: Arc<Loops>,
    /// Tells every task of the pool to end, and knows when the last one has.
    closing: watch::Sender<bool>,
}

impl<C: Connect> Pool<C> {
    /// A pool that opens members through `connector` as they are wanted. Its tasks end when it is
    /// closed or dropped.
    pub fn new(
        name: PoolName,
        settings: PoolSettings,
        quotas: Quotas,
        connector: C,
        loops: Arc<Loops>,
    ) -> Arc<Self> {
        let pool = Arc::new(Self {
            name,
            connector,
            state: Mutex::new(State::new(settings, Arc::new(quotas), loops.len())),
            wake: Arc::new(Notify::new()),
            fewer: Notify::new(),
            loops,
            closing: watch::Sender::new(false),
        });
        let tenant: Weak<dyn Tenant> = Arc::downgrade(&(pool.clone() as Arc<dyn Tenant>));
        pool.join(&pool.state.lock().quotas, &tenant);
        // Any loop will do, as long as it is not the same for all pools.
        let loops = pool.loops.ids().collect::<Vec<_>>();
        let any = loops.get((pool.who() >> 8) % pool.loops.len()).copied();
        pool.background(any.unwrap_or(LoopId::new(0)), maintain::maintain(&pool, tenant));
        pool
    }

    /// Whose pool it is.
    pub fn name(&self) -> &PoolName {
        &self.name
    }

    /// What opens its members.
    pub fn connector(&self) -> &C {
        &self.connector
    }

    /// The settings that it has now.
    pub fn settings(&self) -> PoolSettings {
        self.state.lock().settings.clone()
    }

    /// How many members it may have now, the reserve apart: its size, or fewer where limits over several pools,
    /// or the server, leave no more.
    pub fn most(&self) -> usize {
        let (members, size, quotas) = {
            let state = self.state.lock();
            (state.open + state.opening, state.settings.size, Arc::clone(&state.quotas))
        };
        size.min(members.saturating_add(quotas.left()))
    }

    /// Takes a member if one is to be had at once and nobody waits for one. `None`: call
    /// [`wait`](Self::wait).
    ///
    /// # Errors
    /// When the pool is closed, or no member is open and the last attempt failed a moment ago.
    pub fn try_checkout(
        self: &Arc<Self>,
        ask: &Ask,
    ) -> Result<Option<Lease<C>>, CheckoutError<C::Error>> {
        loop {
            let mut state = self.state.lock();
            if state.waiting > 0 && !state.closed {
                return Ok(None);
            }
            // Under the lock, because under load the way above is the usual one.
            let now = Instant::now();
            match state.find(ask, now) {
                Found::Fresh(entry) => {
                    state.hold(entry.seat, ask.holder, now);
                    let strained = self.strain(&mut state, &entry, ask.on);
                    drop(state);
                    if strained {
                        self.wake.notify_one();
                    }
                    if let Some(lease) = self.admit(entry, ask.on) {
                        return Ok(Some(lease));
                    }
                }
                Found::Stale(entry) => {
                    // The check begins now, and its outcome goes to whoever is in front by then:
                    // the caller, who is about to wait, as a rule.
                    state.tending += 1;
                    drop(state);
                    self.check(entry);
                    return Ok(None);
                }
                Found::Nothing => {
                    let refusal = state.refusal(now);
                    drop(state);
                    return refusal.map_or(Ok(None), |refusal| Err(refusal.into()));
                }
            }
        }
    }

    /// Stands in line for a member, from this call on (not from the first poll).
    pub fn wait(self: &Arc<Self>, ask: Ask) -> Waiting<C> {
        let now = Instant::now();
        let (mut upkeep, mut stale) = (false, None);
        let mut state = self.state.lock();
        // Something may have come free since `try_checkout` said no.
        let found = if state.waiting == 0 { state.find(&ask, now) } else { Found::Nothing };
        let slot = match (found, state.refusal(now)) {
            (Found::Fresh(entry), _) => {
                state.hold(entry.seat, ask.holder, now);
                state.answered(ask, now, Outcome::Handed(entry))
            }
            (Found::Nothing, Some(refusal)) => state.answered(ask, now, Outcome::Refused(refusal)),
            (found, _) => {
                if let Found::Stale(entry) = found {
                    state.tending += 1;
                    stale = Some(entry);
                }
                let (slot, wake) = state.queue(ask, now);
                // With forced hops an idle member may be left lying here on purpose; the
                // maintainer takes it if nothing can be opened.
                if stale.is_none() && state.settings.order != Order::ForceHop {
                    stale = state.stale_for_waiters();
                }
                upkeep = wake;
                slot
            }
        };
        drop(state);
        if let Some(entry) = stale {
            self.check(entry);
        }
        if upkeep {
            self.wake.notify_one();
        }
        Waiting::new(self.clone(), slot)
    }

    /// What there is to tell.
    pub fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        self.state.lock().snapshot(now)
    }

    /// Who holds a member, in no order.
    pub fn holders(&self) -> Vec<Holder> {
        let now = Instant::now();
        self.state.lock().holders(now).collect()
    }

    /// Why the last attempt to open failed, if no later one succeeded.
    pub fn last_error(&self) -> Option<C::Error> {
        let error = self.state.lock().retry.last.clone();
        error.map(|error| (*error).clone())
    }

    /// Whether it has no server, and the last attempt to open one has failed.
    pub fn is_failing(&self) -> bool {
        let state = self.state.lock();
        state.retry.last.is_some() && state.idle + state.active == 0
    }

    /// Refuses everybody from now on, those who wait included, closes what is idle at once and
    /// what is lent when it is checked in, and returns when the last task of the pool has ended.
    ///
    /// # Cancel safety
    /// Safe: all but the waiting is done at the first poll.
    pub async fn close(&self) {
        let (idle, crowd) = {
            let now = Instant::now();
            let mut state = self.state.lock();
            state.closed = true;
            let idle = state.strike_idle(Closed::PoolClosed, now);
            (idle, state.refuse_if_hopeless(now))
        };
        drop(idle);
        crowd.into_iter().for_each(std::task::Waker::wake);
        self.closing.send_replace(true);
        self.closing.closed().await;
    }

    // --- for the other files of this module -------------------------------------------------

    /// Which tenant of its quotas it is.
    pub(super) fn who(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Runs a task of the pool on that loop until it ends or the pool does.
    pub(super) fn background(&self, on: LoopId, task: impl Future<Output = ()> + Send + 'static) {
        let mut closing = self.closing.subscribe();
        let task = async move {
            tokio::select! {
                biased;
                // An error says that the pool was dropped, which is the same.
                _ = closing.wait_for(|closing| *closing) => {}
                () = task => {}
            }
        };
        // Ends by itself, and `closing` tells when: no need to keep the handle. A loop that has
        // ended drops the task, and with it whatever the task has to give back.
        drop(self.loops.spawn(on, task));
    }

    /// Makes a lease of a member that was found or handed over, on the thread of loop `on`;
    /// `None` when it was dead.
    pub(super) fn admit(self: &Arc<Self>, entry: Entry<C::Member>, on: LoopId) -> Option<Lease<C>> {
        let Entry { member, id, seat, expires, generation, place } = entry;
        let member = if member.home() == on { Some(member) } else { member.rehome(on) };
        let Some(mut member) = member else {
            self.strike_active(seat, Closed::MoveFailed);
            drop(place);
            return None;
        };
        let quiet = member.is_quiet();
        let entry = Entry { member, id, seat, expires, generation, place };
        if quiet {
            return Some(Lease::new(self.clone(), entry));
        }
        self.close_active(entry, Closed::NotQuiet);
        None
    }

    /// Looks into a slot for one who waits. A member that turns out dead is replaced by the place
    /// in line that its waiter had.
    pub(super) fn collect(
        self: &Arc<Self>,
        slot: &mut u32,
        waker: &std::task::Waker,
    ) -> Option<Result<Lease<C>, CheckoutError<C::Error>>> {
        loop {
            let mut state = self.state.lock();
            let (entry, turn) = match state.collect(*slot, waker) {
                Collected::Pending => return None,
                Collected::Refused(refusal) => {
                    drop(state);
                    return Some(Err(refusal.into()));
                }
                Collected::Handed(entry, turn) => (entry, turn),
            };
            let on = turn.ask.on;
            let strained = self.strain(&mut state, &entry, on);
            drop(state);
            if strained {
                self.wake.notify_one();
            }
            if let Some(lease) = self.admit(entry, on) {
                return Some(Ok(lease));
            }
            *slot = self.queue_again(turn);
        }
    }

    fn queue_again(&self, turn: Turn) -> u32 {
        let now = Instant::now();
        let mut state = self.state.lock();
        let slot = state.queue_again(turn);
        // The death may have left nothing to wait for.
        let crowd = state.refuse_if_hopeless(now);
        drop(state);
        crowd.into_iter().for_each(std::task::Waker::wake);
        self.wake.notify_one();
        slot
    }

    fn strain(
        &self,
        state: &mut State<C::Member, C::Error>,
        entry: &Entry<C::Member>,
        on: LoopId,
    ) -> bool {
        let moved = entry.member.home() != on;
        state.strain(on, moved);
        moved && state.is_strained(on)
    }

    /// The slot of one who waits no longer. A member that it was just handed goes to the next.
    pub(super) fn abandon(&self, slot: u32, why: Abandoned) {
        let mut state = self.state.lock();
        let entry = state.abandon(slot);
        match why {
            Abandoned::TimedOut => state.totals.timeouts += 1,
            Abandoned::Left => state.totals.abandoned += 1,
        }
        if let Some(entry) = entry {
            let home = entry.member.home();
            drop(state);
            self.release(entry, home);
        }
    }

    /// A lent member comes back, fit to be lent again.
    pub(super) fn release(&self, entry: Entry<C::Member>, on: LoopId) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.let_go(entry.seat);
        let after = state.give(entry, on, now, self.who());
        drop(state);
        self.settle(after);
    }

    /// Checks a lent member in, as its condition says.
    pub(super) fn check_in(self: &Arc<Self>, entry: Entry<C::Member>, on: LoopId) {
        match entry.member.condition() {
            Condition::Clean => self.release(entry, on),
            Condition::NeedsReset => {
                let mut state = self.state.lock();
                if let Some(why) = state.unwanted(&entry) {
                    drop(state);
                    self.close_active(entry, why);
                    return;
                }
                state.let_go(entry.seat);
                state.tending += 1;
                state.totals.resets += 1;
                drop(state);
                self.reset(entry, on);
            }
            Condition::Broken => self.close_active(entry, Closed::Broken),
        }
    }

    /// Closes a lent member.
    pub(super) fn close_active(&self, mut entry: Entry<C::Member>, why: Closed) {
        let seat = entry.seat;
        entry.member.closes(why);
        // Closed before it is struck off: nobody opens in its place while it is still there.
        drop(entry);
        self.strike_active(seat, why);
    }

    fn strike_active(&self, seat: usize, why: Closed) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.let_go(seat);
        let after = state.strike(seat, why, now);
        drop(state);
        self.settle(after);
    }

    /// What was left to do when the lock was held.
    pub(super) fn settle(&self, after: After<C::Member>) {
        let After { close, waker, crowd, upkeep, fewer } = after;
        drop(close);
        if fewer {
            self.fewer.notify_waiters();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        crowd.into_iter().for_each(std::task::Waker::wake);
        if upkeep {
            self.wake.notify_one();
        }
    }
}

impl<C: Connect> Tenant for Pool<C> {
    fn standing(&self) -> Standing {
        let state = self.state.lock();
        Standing {
            open: state.open + state.opening,
            idle: state.idle,
            wants: state.active + state.waiting > 0,
        }
    }

    fn longest_holder(&self) -> Option<Holder> {
        let now = Instant::now();
        self.state.lock().longest_holder(now)
    }

    fn surrender(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        let Some(mut entry) = state.take_oldest_idle() else { return false };
        entry.member.closes(Closed::Evicted);
        let mut after = state.strike(entry.seat, Closed::Evicted, now);
        after.close = Some(entry);
        drop(state);
        self.settle(after);
        true
    }

    fn wake(&self) {
        self.wake.notify_one();
    }
}

impl<E: Clone> From<Refusal<E>> for CheckoutError<E> {
    fn from(refusal: Refusal<E>) -> Self {
        match refusal {
            Refusal::Connect(error) => Self::Connect((*error).clone()),
            Refusal::Nowhere => Self::Nowhere,
            Refusal::Closed => Self::Closed,
        }
    }
}

impl<C: Connect> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).finish_non_exhaustive()
    }
}
