//! The maintainer: one task per pool that decides what is opened, and closes what has idled or
//! lived for long enough. Sleeps until something is due or somebody wakes it.
//!
//! It alone begins openings, so that two threads never open for the same waiter. A wake-up that
//! comes while it is at work is kept by the `Notify` and makes it look once more: none is lost.

use std::future::Future;
use std::sync::{Arc, Weak};

use tokio::time::{Instant, sleep_until};

use super::member::Connect;
use super::opening;
use super::place::{Gathered, Hand, Purpose};
use super::pool::Pool;
use super::quota::Tenant;
use super::settings::Order;
use super::state::After;

/// Runs until the pool is dropped; holds no pool while it sleeps.
pub(super) fn maintain<C: Connect>(
    pool: &Arc<Pool<C>>,
    tenant: Weak<dyn Tenant>,
) -> impl Future<Output = ()> + Send + use<C> {
    let quotas = pool.state.lock().quotas.clone();
    let mut hand = Hand::new(pool.who(), tenant, quotas);
    let wake = pool.wake.clone();
    let pool = Arc::downgrade(pool);
    async move {
        loop {
            let Some(due) = pool.upgrade().map(|pool| pool.upkeep(&mut hand)) else { return };
            match due {
                Some(due) => tokio::select! {
                    () = wake.notified() => {}
                    () = sleep_until(due) => {}
                },
                None => wake.notified().await,
            }
        }
    }
}

impl<C: Connect> Pool<C> {
    /// Does what is due; when to look again.
    fn upkeep(self: &Arc<Self>, hand: &mut Hand) -> Option<Instant> {
        let now = Instant::now();
        {
            let mut state = self.state.lock();
            state.upkeep_at = None;
            state.parked = false;
            let quotas = state.quotas.clone();
            drop(state);
            hand.go_under(&quotas);
        }
        self.close_overdue(now);
        let short = self.open_wanted(hand, now);
        self.check_left_over();

        let mut state = self.state.lock();
        let due = state.due(now);
        let due = [due, short].into_iter().flatten().min();
        // With nothing due, any time is before the next look.
        state.upkeep_at = due;
        due
    }

    /// Sockets are closed without the lock.
    fn close_overdue(&self, now: Instant) {
        let (gone, after) = self.state.lock().take_gone(now);
        drop(gone);
        self.settle(after);
        loop {
            let overdue = self.state.lock().take_overdue(now);
            let Some((entry, after)) = overdue else { return };
            drop(entry);
            // This is the maintainer itself.
            self.settle(After { upkeep: false, ..after });
        }
    }

    /// Opens what is wanted and may be; when to try again for a place that was missing.
    fn open_wanted(self: &Arc<Self>, hand: &mut Hand, now: Instant) -> Option<Instant> {
        loop {
            let (wish, open, size) = {
                let mut state = self.state.lock();
                let wish = state.wish(now);
                if wish.is_none() && state.retry.is_pausing(now) {
                    // Those who come now need not wake anybody: the hour is known.
                    state.parked = state.waiting > 0;
                    state.forget_strain();
                }
                (wish, state.open + state.opening, state.settings.size)
            };
            let Some((on, purpose)) = wish else {
                hand.let_go();
                return None;
            };
            match hand.gather(purpose, open, now) {
                Gathered::All(place, login) => {
                    if purpose == Purpose::Waiter && open >= size {
                        self.connector.draws_on_reserve();
                    }
                    let generation = self.state.lock().open_on(on);
                    self.background(on, opening::open(self, on, generation, (place, login)));
                }
                Gathered::Short(again) => {
                    let mut state = self.state.lock();
                    if purpose == Purpose::Spread {
                        state.forget_strain();
                    }
                    // Those who come for a member now change nothing: the pool queues already.
                    state.parked = purpose == Purpose::Waiter;
                    return Some(again);
                }
            }
        }
    }

    /// Idle members beside people who wait: stale ones to be checked, and with forced hops those
    /// that were left for want of another, when there will be none.
    fn check_left_over(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            if state.settings.order == Order::ForceHop && state.opening > 0 {
                return;
            }
            let Some(entry) = state.stale_for_waiters() else { return };
            drop(state);
            self.check(entry);
        }
    }
}
