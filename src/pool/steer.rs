//! What an operator or a new configuration may have a pool do.

use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::member::{Connect, Member};
use super::opening::Retry;
use super::pool::Pool;
use super::quota::{Quotas, Tenant};
use super::settings::{PoolSettings, Prospect};
use super::state::{Entry, State};

impl<C: Connect> Pool<C> {
    /// Lends no member from now on, and closes them as they become free. Who asks waits.
    pub fn pause(&self) {
        self.steer(State::pause);
    }

    /// Ends the pause.
    pub fn resume(&self) {
        self.steer(|state, _| {
            state.resume();
            Vec::new()
        });
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.state.lock().paused
    }

    /// Whether there is anywhere to open members.
    pub fn prospect(&self) -> Prospect {
        self.state.lock().prospect
    }

    /// Says whether there is anywhere to open members. What is open is closed as it becomes free,
    /// when there is not; who waits then goes on when there is again, or is refused when there is
    /// no hope for that.
    pub fn set_prospect(&self, prospect: Prospect) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let closed = match (std::mem::replace(&mut state.prospect, prospect), prospect) {
            (Prospect::Open, Prospect::Open) => return,
            (Prospect::Open, _) => state.replace(now),
            (_, _) => {
                state.retry = Retry::default();
                Vec::new()
            }
        };
        let crowd = state.refuse_if_hopeless(now);
        drop(state);
        drop(closed);
        crowd.into_iter().for_each(std::task::Waker::wake);
        self.fewer.notify_waiters();
        self.wake.notify_one();
    }

    /// Closes what is open now, each member when it is free, and opens others as they are wanted.
    pub fn replace_members(&self) {
        self.steer(State::replace);
    }

    /// The numbers of members that are closed as soon as they are free, as they were replaced.
    pub fn closing(&self) -> Vec<u64> {
        self.state.lock().closing()
    }

    /// The numbers of members that are idle and have to be checked before they are lent.
    pub fn stale(&self) -> Vec<u64> {
        let now = Instant::now();
        self.state.lock().stale(now).map(|entry| entry.member.number()).collect()
    }

    /// Waits until a pause has left it without any member, or has ended.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn emptied(&self) {
        self.until(|state| state.open + state.opening == 0 || !state.paused).await;
    }

    /// Waits until all members have been closed that were replaced.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn replaced(&self) {
        self.until(|state| state.obsolete() == 0).await;
    }

    /// Takes other settings, for what it does from now on; and other quotas, for the members that
    /// it opens from now on, where those are not the ones it has.
    pub(super) fn reconfigure(self: &Arc<Self>, settings: PoolSettings, quotas: Quotas) {
        let quotas = Arc::new(quotas);
        let before = {
            let mut state = self.state.lock();
            state.settings = settings;
            if state.quotas.is_same(&quotas) {
                None
            } else {
                Some(std::mem::replace(&mut state.quotas, quotas.clone()))
            }
        };
        if let Some(before) = before {
            for quota in before.steps().into_iter().flatten() {
                quota.part(self.who());
            }
            let tenant: Weak<dyn Tenant> = Arc::downgrade(&(self.clone() as Arc<dyn Tenant>));
            self.join(&quotas, &tenant);
        }
        self.wake.notify_one();
    }

    /// Is known to these quotas from now on.
    pub(super) fn join(&self, quotas: &Quotas, tenant: &Weak<dyn Tenant>) {
        for quota in quotas.steps().into_iter().flatten() {
            quota.join(self.who(), tenant.clone());
        }
    }

    fn steer(
        &self,
        change: impl FnOnce(&mut State<C::Member, C::Error>, Instant) -> Vec<Entry<C::Member>>,
    ) {
        let now = Instant::now();
        let closed = change(&mut self.state.lock(), now);
        drop(closed);
        self.fewer.notify_waiters();
        self.wake.notify_one();
    }

    async fn until(&self, holds: impl Fn(&State<C::Member, C::Error>) -> bool) {
        loop {
            // Listened to before the look: nothing that happens between them is missed.
            let fewer = self.fewer.notified();
            if holds(&self.state.lock()) {
                return;
            }
            fewer.await;
        }
    }
}
