//! Places for those inside: how many there may be of a kind, and the right to be one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many of a kind are inside.
#[derive(Debug, Default)]
pub(super) struct Places(AtomicUsize);

/// The right to be counted; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Places>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    /// Whether there is room for one more.
    pub(super) fn has_room(&self, max: usize) -> bool {
        self.0.load(Ordering::Relaxed) < max
    }

    /// One more, if there is room.
    pub(super) fn take(self: &Arc<Self>, max: usize) -> Option<Ticket> {
        let ticket = Ticket(Arc::clone(self));
        // Counted before it is compared: dropping the ticket takes it back.
        (self.0.fetch_add(1, Ordering::Relaxed) < max).then_some(ticket)
    }
}
