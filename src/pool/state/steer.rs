//! What an operator or a new configuration brings about: pausing, new settings, new members.

use tokio::time::Instant;

use super::{Entry, Generation, State};
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

    /// Why a member that is free is not to be used any more, whatever its own condition.
    pub(in crate::pool) fn unwanted(&self, entry: &Entry<M>) -> Option<Closed> {
        if self.closed {
            Some(Closed::PoolClosed)
        } else if entry.generation != self.generation {
            Some(Closed::Obsolete)
        } else {
            self.paused.then_some(Closed::Paused)
        }
    }

    /// All that were opened or begun up to now are closed when they are free. What was idle is
    /// struck off already, for the caller to close.
    pub(in crate::pool) fn replace(&mut self, now: Instant) -> Vec<Entry<M>> {
        self.generation += 1;
        self.obsolete_openings = self.opening;
        self.obsolete_tending = self.tending;
        // What failed was somewhere else, or as somebody else.
        self.retry = Retry::default();
        self.strike_idle(Closed::Obsolete, now)
    }

    /// Members that are on their way to those who wait.
    pub(in crate::pool) fn coming(&self) -> usize {
        self.opening - self.obsolete_openings + self.tending - self.obsolete_tending
    }

    /// A member of this generation is being reset or checked no more.
    pub(in crate::pool) fn tended(&mut self, generation: Generation) {
        self.tending -= 1;
        self.obsolete_tending -= usize::from(generation != self.generation);
    }

    /// Members that exist, or will soon, though they have been replaced.
    pub(in crate::pool) fn obsolete(&self) -> usize {
        let seats = self.seats.iter().flatten();
        seats.filter(|seat| seat.generation != self.generation).count() + self.obsolete_openings
    }

    /// The numbers of members that are closed as soon as they are free.
    pub(in crate::pool) fn closing(&self) -> Vec<u64> {
        let seats = self.seats.iter().flatten();
        let old = seats.filter(|seat| self.closed || seat.generation != self.generation);
        old.map(|seat| seat.number).collect()
    }

    /// Strikes everything off that is idle; the caller wakes the maintainer.
    pub(in crate::pool) fn strike_idle(&mut self, why: Closed, now: Instant) -> Vec<Entry<M>> {
        let mut idle = self.take_all_idle();
        for entry in &mut idle {
            // Nobody waits for lack of what was idle.
            self.strike(entry.seat, why, now);
            entry.member.closes(why);
        }
        idle
    }
}
