//! The right to use one member.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::member::Connect;
use super::pool::Pool;
use super::snapshot::Closed;
use super::state::Entry;
use crate::net::loops::LoopId;

/// One member, lent. Dropping the lease closes the member: whoever does not come to the end of
/// its use can't say in what state it left it.
#[must_use = "a dropped lease closes its member"]
pub struct Lease<C: Connect> {
    pool: Arc<Pool<C>>,
    /// There until the lease is consumed.
    entry: Option<Entry<C::Member>>,
}

impl<C: Connect> Lease<C> {
    pub(super) fn new(pool: Arc<Pool<C>>, entry: Entry<C::Member>) -> Self {
        Self { pool, entry: Some(entry) }
    }

    /// Which member of its pool it is; never used for another one.
    pub fn member_id(&self) -> u64 {
        self.entry.as_ref().map_or(0, |entry| entry.id)
    }

    /// The pool that it comes from.
    pub fn pool(&self) -> &Arc<Pool<C>> {
        &self.pool
    }

    /// Gives the member back, on the thread of loop `on`. A clean one goes to who waits or idles;
    /// one to be reset is reset by a task on this loop first; a broken one is closed.
    pub fn check_in(mut self, on: LoopId) {
        if let Some(entry) = self.entry.take() {
            self.pool.check_in(entry, on);
        }
    }

    /// Closes the member.
    pub fn discard(mut self, why: Closed) {
        if let Some(entry) = self.entry.take() {
            self.pool.close_active(entry, why);
        }
    }
}

impl<C: Connect> Drop for Lease<C> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.pool.close_active(entry, Closed::Dropped);
        }
    }
}

impl<C: Connect> Deref for Lease<C> {
    type Target = C::Member;

    #[expect(clippy::expect_used, reason = "only methods that consume the lease take it out")]
    fn deref(&self) -> &Self::Target {
        &self.entry.as_ref().expect("a lease has its member").member
    }
}

impl<C: Connect> DerefMut for Lease<C> {
    #[expect(clippy::expect_used, reason = "only methods that consume the lease take it out")]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.entry.as_mut().expect("a lease has its member").member
    }
}

impl<C: Connect> fmt::Debug for Lease<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let member = self.entry.as_ref().map(|entry| entry.id);
        f.debug_struct("Lease").field("pool", self.pool.name()).field("member", &member).finish()
    }
}
