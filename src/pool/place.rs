//! What a pool must hold before it may open a member: a place under each of its quotas, and one
//! of the few logins that its server may see at a time. Both are given back by being dropped.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::quota::{Quota, Quotas, Tenant};

/// How often a pool that found no place looks again at who has demand and who is idle.
const SURVEY_AGAIN: Duration = Duration::from_millis(100);
/// How often a pool that has no waiters looks for a place to fill itself up.
const REFILL_AGAIN: Duration = Duration::from_secs(1);

/// A member's place under the quotas of its pool.
pub(super) struct Place {
    quotas: Arc<Quotas>,
    held: [bool; 3],
    /// Whether the member is there, or on its way.
    open: bool,
    /// The quota for whose queue the member is being closed.
    promised: Option<usize>,
}

impl Place {
    fn none(quotas: &Arc<Quotas>) -> Self {
        Self { quotas: quotas.clone(), held: [false; 3], open: false, promised: None }
    }

    /// Notes that the member is there.
    pub(super) fn opened(&mut self) {
        self.open = true;
        self.quotas.steps().into_iter().flatten().for_each(Quota::opened);
    }

    /// The quotas that it counts under.
    pub(super) fn quotas(&self) -> Arc<Quotas> {
        self.quotas.clone()
    }

    /// Notes that the member is closed for those who queue for that quota.
    pub(super) fn promise(&mut self, quota: usize) {
        self.promised = Some(quota);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for (index, (quota, held)) in self.quotas.steps().into_iter().zip(self.held).enumerate() {
            if let (Some(quota), true) = (quota, held) {
                quota.release(self.open, self.promised == Some(index));
            }
        }
    }
}

/// The right to be connecting to a server.
pub(super) struct Login(Arc<Quotas>);

impl Drop for Login {
    fn drop(&mut self) {
        self.0.host.logins.release(false, false);
    }
}

/// What a new member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody waits.
    Waiter,
    /// There are fewer than `min`.
    Refill,
    /// A loop is served from another one all the time.
    Spread,
}

/// What a pool has gathered of the places that the next opening needs. There is one per pool, in
/// the hands of its maintainer; dropping it gives everything back and leaves the queues.
pub(super) struct Hand {
    who: usize,
    tenant: Weak<dyn Tenant>,
    quotas: Arc<Quotas>,
    place: Place,
    queued: bool,
}

/// What came of an attempt to gather places.
pub(super) enum Gathered {
    /// All of them.
    All(Place, Login),
    /// One is missing. The tenant is woken when it can be had; look again at that moment at the
    /// latest.
    Short(Instant),
}

impl Hand {
    pub(super) fn new(who: usize, tenant: Weak<dyn Tenant>, quotas: Arc<Quotas>) -> Self {
        let place = Place::none(&quotas);
        Self { who, tenant, quotas, place, queued: false }
    }

    /// What it gathers is under these quotas from now on.
    pub(super) fn go_under(&mut self, quotas: &Arc<Quotas>) {
        if !Arc::ptr_eq(&self.quotas, quotas) {
            self.let_go();
            self.quotas = quotas.clone();
            self.place = Place::none(quotas);
        }
    }

    /// Gathers what is missing, for a pool with `open` members.
    pub(super) fn gather(&mut self, purpose: Purpose, open: usize, now: Instant) -> Gathered {
        let quotas = self.quotas.clone();
        for (quota, held) in quotas.steps().into_iter().zip(self.place.held.iter_mut()) {
            let Some(quota) = quota.filter(|_| !*held) else { continue };
            let taken = match purpose {
                Purpose::Waiter => quota.take_or_queue(self.who, &self.tenant, open, now),
                Purpose::Refill | Purpose::Spread => quota.take(self.who, now),
            };
            if taken {
                *held = true;
                continue;
            }
            if purpose != Purpose::Waiter {
                self.let_go();
                return Gathered::Short(now + REFILL_AGAIN);
            }
            self.queued = true;
            quota.survey(self.who, now);
            let again = now + SURVEY_AGAIN;
            let raised = quota.raised_at().filter(|at| *at > now);
            return Gathered::Short(raised.map_or(again, |at| at.min(again)));
        }
        // Logins are short and end by themselves: the queue for them is in order of asking.
        if !quotas.host.logins.take_or_queue(self.who, &self.tenant, 0, now) {
            self.queued = true;
            return Gathered::Short(now + REFILL_AGAIN);
        }
        let place = std::mem::replace(&mut self.place, Place::none(&quotas));
        Gathered::All(place, Login(quotas))
    }

    /// Nothing is to be opened now: gives everything back and leaves the queues.
    pub(super) fn let_go(&mut self) {
        if self.place.held.contains(&true) {
            self.place = Place::none(&self.quotas);
        }
        if std::mem::take(&mut self.queued) {
            let quotas = self.quotas.clone();
            let steps = quotas.steps().into_iter().flatten();
            steps.chain([&quotas.host.logins]).for_each(|quota: &Quota| quota.leave(self.who));
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.let_go();
    }
}
