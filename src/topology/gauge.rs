//! What those who choose a host read of it without a lock, and what they leave there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::breaker::{self, Breaker, Circuit, Limits};
use crate::events::Events;
use crate::net::socket::Address;
use crate::server::hosts::Hosts;
use crate::server::site::Looks;

/// One host's.
#[derive(Debug)]
pub struct Gauge {
    /// Moments are counted from it.
    epoch: Instant,
    /// What becomes of its breaker is told there.
    log: Arc<Events>,
    address: Address,
    /// The moment up to which it has everything, where it is a replica that answers; 0 = it is none.
    fresh: AtomicU64,
    /// How many sessions read there now.
    used: AtomicUsize,
    breaker: Mutex<Breaker>,
    /// Until when the breaker leaves it out; 0 = it does not.
    left_out: AtomicU64,
    /// An operator leaves it out until then; 0 = nobody does.
    banned: AtomicU64,
    /// Has it looked at now.
    hurry: Arc<Notify>,
    /// When the last look began that it has answered.
    looked_at: watch::Sender<Instant>,
}

/// That a session reads from a host, for as long as it does.
#[derive(Debug)]
pub struct Using(Arc<Gauge>);

impl Drop for Using {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gauge {
    pub(super) fn new(
        address: Address,
        limits: Limits,
        epoch: Instant,
        log: Arc<Events>,
    ) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            log,
            address,
            fresh: AtomicU64::new(0),
            used: AtomicUsize::new(0),
            breaker: Mutex::new(Breaker::new(limits)),
            left_out: AtomicU64::new(0),
            banned: AtomicU64::new(0),
            hurry: Arc::new(Notify::new()),
            looked_at: watch::Sender::new(epoch),
        })
    }

    /// It takes the place of that one, which is of the same host: what an operator wants, and what has become
    /// of attempts, outlives what is configured besides.
    pub(super) fn succeed(&self, before: &Self, limits: Limits, now: Instant) {
        self.ban(before.banned_until(now));
        let breaker = before.breaker.lock().under(limits);
        self.leave_out(&breaker);
        *self.breaker.lock() = breaker;
    }

    /// Nobody goes there while its breaker is open.
    fn leave_out(&self, breaker: &Breaker) {
        let until = breaker.opens_again();
        self.left_out.store(until.map_or(0, |until| self.mark(until)), Ordering::Relaxed);
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The moment up to which it has everything; `None` where it is no replica that answers.
    #[inline]
    pub fn fresh_as_of(&self) -> Option<Instant> {
        self.moment(self.fresh.load(Ordering::Acquire))
    }

    /// Whether sessions may go there at all, however fresh it is.
    #[inline]
    pub fn is_left_out(&self, now: Instant) -> bool {
        let until = |mark: &AtomicU64| self.moment(mark.load(Ordering::Relaxed));
        until(&self.left_out).is_some_and(|until| now < until)
            || until(&self.banned).is_some_and(|until| now < until)
    }

    /// Until when an operator leaves it out.
    pub fn banned_until(&self, now: Instant) -> Option<Instant> {
        self.moment(self.banned.load(Ordering::Relaxed)).filter(|until| now < *until)
    }

    /// Leaves it out until then, or takes it in again.
    pub fn ban(&self, until: Option<Instant>) {
        self.banned.store(until.map_or(0, |until| self.mark(until)), Ordering::Relaxed);
    }

    /// How many sessions read there now.
    #[inline]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// One more does.
    pub fn take(self: &Arc<Self>) -> Using {
        self.used.fetch_add(1, Ordering::Relaxed);
        Using(Arc::clone(self))
    }

    /// What its breaker says.
    pub fn circuit(&self, now: Instant) -> Circuit {
        self.breaker.lock().circuit(now)
    }

    /// Who looks at it.
    pub fn looks(&self) -> Looks {
        Looks { hurry: Arc::clone(&self.hurry), last: self.looked_at.subscribe() }
    }

    /// Has it looked at now.
    pub(super) fn look(&self) {
        self.hurry.notify_one();
    }

    pub(super) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// What a look has shown.
    pub(super) fn show(&self, fresh_as_of: Option<Instant>) {
        self.fresh.store(fresh_as_of.map_or(0, |moment| self.mark(moment)), Ordering::Release);
    }

    /// It has answered a look that began then. After what that has shown.
    pub(super) fn answered(&self, requested: Instant) {
        self.looked_at.send_replace(requested);
    }

    /// 0 for what lies before the epoch.
    fn mark(&self, moment: Instant) -> u64 {
        let since = moment.checked_duration_since(self.epoch);
        since.map_or(0, |since| {
            u64::try_from(since.as_nanos()).map_or(u64::MAX, |nanos| nanos.saturating_add(1))
        })
    }

    #[inline]
    fn moment(&self, mark: u64) -> Option<Instant> {
        Some(self.epoch + Duration::from_nanos(mark.checked_sub(1)?))
    }
}

impl Hosts for Gauge {
    fn order(&self) -> Vec<Address> {
        vec![self.address.clone()]
    }

    fn patience(&self) -> Duration {
        Duration::MAX
    }

    fn tried(&self, _: &Address, failure: Option<String>) {
        let now = Instant::now();
        let changed = {
            let mut breaker = self.breaker.lock();
            let before = breaker.circuit(now);
            breaker.tried(failure.is_some(), now);
            self.leave_out(&breaker);
            (before, breaker.circuit(now))
        };
        breaker::tell(&self.log, &self.address, changed, &failure.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaker_and_ban_outlive_other_settings() {
        let limits = |errors, reset| Limits { errors, reset: Duration::from_secs(reset) };
        let address = Address::Unix("/run/db".into());
        let (log, epoch) = (Arc::new(Events::new(10)), Instant::now());
        let gauge = |limits, epoch| Gauge::new(address.clone(), limits, epoch, Arc::clone(&log));
        let before = gauge(limits(50, 30), epoch);
        (0..3).for_each(|_| before.tried(&address, Some("gone".to_owned())));
        before.ban(Some(epoch + Duration::from_secs(3600)));
        let now = Instant::now();
        assert_eq!((before.circuit(now), before.is_left_out(now)), (Circuit::Open, true));

        let after = gauge(limits(60, 20), now);
        after.succeed(&before, limits(60, 20), now);
        assert_eq!((after.circuit(now), after.is_left_out(now)), (Circuit::Open, true));
        let banned = after.banned_until(now).unwrap();
        assert!(banned > epoch + Duration::from_secs(3599));
        after.ban(None);
        let later = Instant::now() + Duration::from_secs(20);
        assert_eq!((after.circuit(later), after.is_left_out(later)), (Circuit::HalfOpen, false));
        after.tried(&address, None);
        assert_eq!(after.circuit(Instant::now()), Circuit::Closed);
    }
}
