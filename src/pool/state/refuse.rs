//! Who is told that no member can be had, and why.

use std::task::Waker;

use tokio::time::Instant;

use super::{Outcome, Refusal, State};
use crate::pool::member::Member;
use crate::pool::settings::Prospect;

impl<M: Member, E> State<M, E> {
    /// Why a new ask is refused at once, if it is.
    pub(in crate::pool) fn refusal(&self, now: Instant) -> Option<Refusal<E>> {
        self.refusal_while(self.retry.is_far(now))
    }

    /// The same, `pausing` or not between attempts.
    fn refusal_while(&self, pausing: bool) -> Option<Refusal<E>> {
        if self.closed {
            return Some(Refusal::Closed);
        }
        match self.prospect {
            _ if self.paused => None,
            Prospect::Awaited => None,
            Prospect::Hopeless => Some(Refusal::Nowhere),
            Prospect::Open if pausing => self.refusal_without_attempt(),
            Prospect::Open => None,
        }
    }

    /// The same, if no attempt will be made.
    fn refusal_without_attempt(&self) -> Option<Refusal<E>> {
        if self.open + self.opening > 0 {
            return None;
        }
        self.retry.refuses.clone().map(Refusal::Connect)
    }

    /// Refuses everybody who waits when nobody can be served for now.
    pub(in crate::pool) fn refuse_if_hopeless(&mut self, now: Instant) -> Vec<Waker> {
        let mut crowd = Vec::new();
        if self.waiting == 0 {
            return crowd;
        }
        // Those who wait are no new ask: when the last member is gone they would wait in vain.
        let in_vain = self.retry.halted && !self.paused;
        let halted = || self.refusal_without_attempt().filter(|_| in_vain);
        // They have waited for the last attempt.
        let refusal = self.refusal_while(self.retry.is_pausing(now)).or_else(halted);
        let Some(refusal) = refusal else { return crowd };
        for lane in 0..self.lanes.len() {
            while let Some(slot) = self.lanes.get(lane).and_then(|lane| lane.line.first()) {
                self.leave_line(lane, slot);
                if let Some(waiter) = self.waiters.get_mut(slot) {
                    waiter.outcome = Outcome::Refused(refusal.clone());
                    crowd.extend(waiter.waker.take());
                }
            }
        }
        crowd
    }
}
