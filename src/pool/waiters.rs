//! Those who wait: one slot each in a slab, linked into one line per loop.
//!
//! A slot belongs to its [`Waiting`](super::Waiting) and is freed by that alone, so a slot number
//! is never stale and needs no generation. Joining, leaving from anywhere in the line and being
//! served cost the same however long the line is, and allocate only when it was never as long.

use std::task::Waker;

use tokio::time::Instant;

use super::pool::Ask;
use super::state::{Entry, Refusal};

/// No slot.
const NIL: u32 = u32::MAX;

/// The slots, for all loops.
pub(super) struct Waiters<M, E> {
    slots: Vec<Slot<M, E>>,
    free: u32,
    used: usize,
}

enum Slot<M, E> {
    Free { next: u32 },
    Used(Waiter<M, E>),
}

/// One who waits, or who was served and has not noticed yet.
pub(super) struct Waiter<M, E> {
    pub(super) turn: Turn,
    pub(super) waker: Option<Waker>,
    pub(super) outcome: Outcome<M, E>,
    prev: u32,
    next: u32,
}

/// Who asked, and where in line that puts it.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) ask: Ask,
    pub(super) ticket: u64,
    pub(super) since: Instant,
}

/// What became of a wait.
pub(super) enum Outcome<M, E> {
    /// Stands in line.
    Queued,
    /// Has a member, not yet looked at.
    Handed(Entry<M>),
    /// Will get none.
    Refused(Refusal<E>),
}

/// A line: first and last slot.
#[derive(Clone, Copy)]
pub(super) struct Line {
    head: u32,
    tail: u32,
    len: usize,
}

impl Line {
    pub(super) const EMPTY: Self = Self { head: NIL, tail: NIL, len: 0 };

    pub(super) fn len(self) -> usize {
        self.len
    }

    /// The slot in front.
    pub(super) fn first(self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }
}

impl<M, E> Waiters<M, E> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: NIL, used: 0 }
    }

    /// A slot for one who asks; not in any line yet.
    pub(super) fn insert(&mut self, turn: Turn, outcome: Outcome<M, E>) -> u32 {
        let waiter = Waiter { turn, waker: None, outcome, prev: NIL, next: NIL };
        self.used += 1;
        let index = self.free;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            if let Slot::Free { next } = *slot {
                self.free = next;
            }
            *slot = Slot::Used(waiter);
            return index;
        }
        self.slots.push(Slot::Used(waiter));
        // More than four thousand million who wait at a time do not fit into memory.
        u32::try_from(self.slots.len() - 1).unwrap_or(NIL)
    }

    /// Frees a slot that is in no line.
    pub(super) fn remove(&mut self, index: u32) -> Option<Waiter<M, E>> {
        let free = Slot::Free { next: self.free };
        let waiter = match std::mem::replace(self.slots.get_mut(index as usize)?, free) {
            Slot::Used(waiter) => waiter,
            Slot::Free { next } => {
                *self.slots.get_mut(index as usize)? = Slot::Free { next };
                return None;
            }
        };
        self.free = index;
        self.used -= 1;
        if self.used == 0 && self.slots.len() > 64 {
            // A crowd has left: give its memory back.
            self.slots = Vec::new();
            self.free = NIL;
        }
        Some(waiter)
    }

    pub(super) fn get(&self, index: u32) -> Option<&Waiter<M, E>> {
        match self.slots.get(index as usize) {
            Some(Slot::Used(waiter)) => Some(waiter),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Waiter<M, E>> {
        match self.slots.get_mut(index as usize) {
            Some(Slot::Used(waiter)) => Some(waiter),
            _ => None,
        }
    }

    /// Puts a slot into the line where its ticket belongs: at the end for a new one, in front for
    /// one that was served with a member that turned out dead.
    pub(super) fn link(&mut self, line: &mut Line, index: u32) {
        let Some(ticket) = self.get(index).map(|w| w.turn.ticket) else { return };
        let mut before = line.tail;
        while let Some(other) = self.get(before) {
            if other.turn.ticket < ticket {
                break;
            }
            before = other.prev;
        }
        let after = match self.get_mut(before) {
            Some(other) => std::mem::replace(&mut other.next, index),
            None => std::mem::replace(&mut line.head, index),
        };
        match self.get_mut(after) {
            Some(other) => other.prev = index,
            None => line.tail = index,
        }
        if let Some(waiter) = self.get_mut(index) {
            (waiter.prev, waiter.next) = (before, after);
        }
        line.len += 1;
    }

    /// Takes a slot out of the line that it is in.
    pub(super) fn unlink(&mut self, line: &mut Line, index: u32) {
        let Some(waiter) = self.get_mut(index) else { return };
        let (prev, next) = (waiter.prev, waiter.next);
        (waiter.prev, waiter.next) = (NIL, NIL);
        match self.get_mut(prev) {
            Some(other) => other.next = next,
            None => line.head = next,
        }
        match self.get_mut(next) {
            Some(other) => other.prev = prev,
            None => line.tail = prev,
        }
        line.len -= 1;
    }
}
