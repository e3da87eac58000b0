//! Members that nobody holds but that are not idle: being reset after use, or checked before it.
//!
//! The task may be dropped in the midst: then the member is closed and struck off.

use std::sync::Arc;

use tokio::time::Instant;

use super::member::{Connect, Member};
use super::pool::Pool;
use super::snapshot::Closed;
use super::state::{Entry, Generation};
use crate::net::loops::LoopId;

/// What is done to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tending {
    Reset,
    Check,
}

impl Tending {
    fn failure(self) -> Closed {
        match self {
            Self::Reset => Closed::ResetFailed,
            Self::Check => Closed::CheckFailed,
        }
    }
}

/// Strikes the member off the books unless it comes back.
struct Tended<C: Connect> {
    pool: Arc<Pool<C>>,
    seat: Option<usize>,
    generation: Generation,
    kind: Tending,
}

impl<C: Connect> Pool<C> {
    /// Resets a member on loop `on`; counted as tending by the caller.
    pub(super) fn reset(self: &Arc<Self>, entry: Entry<C::Member>, on: LoopId) {
        self.tend(entry, on, Tending::Reset);
    }

    /// Checks a member on its own loop; counted as tending by the caller.
    pub(super) fn check(self: &Arc<Self>, entry: Entry<C::Member>) {
        let home = entry.member.home();
        self.tend(entry, home, Tending::Check);
    }

    fn tend(self: &Arc<Self>, entry: Entry<C::Member>, on: LoopId, kind: Tending) {
        let Entry { mut member, id, seat, expires, generation, place } = entry;
        let mut tended = Tended { pool: self.clone(), seat: Some(seat), generation, kind };
        self.background(on, async move {
            let member = match kind {
                Tending::Reset => member.reset().await,
                Tending::Check if member.is_quiet() => member.check().await,
                Tending::Check => {
                    member.closes(Closed::NotQuiet);
                    None
                }
            };
            if let Some(member) = member {
                tended.back(Entry { member, id, seat, expires, generation, place }, on);
            }
        });
    }
}

impl<C: Connect> Tended<C> {
    fn back(&mut self, entry: Entry<C::Member>, on: LoopId) {
        self.seat = None;
        let pool = &self.pool;
        let now = Instant::now();
        let mut state = pool.state.lock();
        state.tended(self.generation);
        let after = state.give(entry, on, now, pool.who());
        drop(state);
        pool.settle(after);
    }
}

impl<C: Connect> Drop for Tended<C> {
    fn drop(&mut self) {
        let Some(seat) = self.seat else { return };
        let now = Instant::now();
        let mut state = self.pool.state.lock();
        state.tended(self.generation);
        let why = if state.closed { Closed::PoolClosed } else { self.kind.failure() };
        let after = state.strike(seat, why, now);
        drop(state);
        self.pool.settle(after);
    }
}
