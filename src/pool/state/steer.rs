//! What an operator or a new configuration brings about: pausing, new settings, new members.

use tokio::time::Instant;

use super::{Entry, State};
use crate::pool::member::Member;
use crate::pool::opening::Retry;
use crate::pool::snapshot::Closed;

impl<M: Member, E> State<M, E> {
    /// Lends no member from now on. What was idle is struck off already, for the caller to close.
    pub(in crate::pool) fn pause(&mut self, now: Instant) -> Vec<Entry<M>> {
        self.paused = true;
        self.strike_idle(Closed::Paused, now)
    }

    /// The end of a pause: no attempt waits for an hour that was set before it.
    pub(in crate::pool) fn resume(&mut self) {
        self.paused = false;
        self.retry = Retry::default();
    }

    /// All that were opened or begun up to now are closed when they are free. What was idle is
    /// struck off already, for the caller to close.
    pub(in crate::pool) fn replace(&mut self, now: Instant) -> Vec<Entry<M>> {
        self.generation += 1;
        self.obsolete_openings = self.opening;
        // What failed was somewhere else, or as somebody else.
        self.retry = Retry::default();
        self.strike_idle(Closed::Obsolete, now)
    }

    /// Members that exist, or will soon, though they have been replaced.
    pub(in crate::pool) fn obsolete(&self) -> usize {
        let seats = self.seats.iter().flatten();
        seats.filter(|seat| seat.generation != self.generation).count() + self.obsolete_openings
    }

    /// Strikes everything off that is idle; the caller wakes the maintainer.
    pub(in crate::pool) fn strike_idle(&mut self, why: Closed, now: Instant) -> Vec<Entry<M>> {
        let idle = self.take_all_idle();
        for entry in &idle {
            // Nobody waits for lack of what was idle.
            self.strike(entry.seat, why, now);
        }
        idle
    }
}
