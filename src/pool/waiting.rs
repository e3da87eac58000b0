//! A wait for a member, as a future.
//!
//! Races, and why they are benign:
//! - Dropped while a member is handed to it: both happen under the pool's lock. Either the slot is
//!   out of line before and the member goes to the next, or the drop finds the member in the slot
//!   and gives it on.
//! - Handed a member that has died meanwhile: it is closed, and the wait goes back to where it
//!   stood in line.
//! - Refused and handed at once: a slot is out of line once it has its answer; there is one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::lease::Lease;
use super::member::Connect;
use super::pool::{CheckoutError, Pool};

/// Stands in line from its making until it is ready or dropped. Poll it on the thread of the loop
/// that the ask named.
///
/// # Cancel safety
/// Dropping it leaves the line at once; a member that it was just handed goes to the next.
#[must_use = "a dropped wait is given up"]
pub struct Waiting<C: Connect> {
    pool: Arc<Pool<C>>,
    /// `None` once it was ready.
    slot: Option<u32>,
}

// Nothing in it is pinned: the member is in the pool's slot until it is ready.
impl<C: Connect> Unpin for Waiting<C> {}

impl<C: Connect> Waiting<C> {
    pub(super) fn new(pool: Arc<Pool<C>>, slot: u32) -> Self {
        Self { pool, slot: Some(slot) }
    }

    /// Gives up because it took too long; counted as such.
    pub fn time_out(mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.abandon(slot, Abandoned::TimedOut);
        }
    }
}

/// Why somebody waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abandoned {
    /// It took too long.
    TimedOut,
    /// Any other reason: gone, or canceled.
    Left,
}

impl<C: Connect> Future for Waiting<C> {
    type Output = Result<Lease<C>, CheckoutError<C::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(slot) = &mut this.slot else { return Poll::Pending };
        match this.pool.collect(slot, cx.waker()) {
            Some(outcome) => {
                this.slot = None;
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    }
}

impl<C: Connect> Drop for Waiting<C> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.abandon(slot, Abandoned::Left);
        }
    }
}

impl<C: Connect> fmt::Debug for Waiting<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("pool", self.pool.name()).finish_non_exhaustive()
    }
}
