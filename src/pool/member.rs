//! What a pool asks of its members and of the one who opens them.

use std::future::Future;

use tokio::time::Instant;

use super::snapshot::Closed;
use crate::net::loops::LoopId;

/// Something a pool lends out. It is moved often: keep it the size of a pointer or two.
pub trait Member: Send + Sized + 'static {
    /// The loop that polls it.
    fn home(&self) -> LoopId;

    /// When it was opened; its lifetime counts from here.
    fn created(&self) -> Instant;

    /// A number that no other member has; 0 for one that nobody has to tell from others.
    fn number(&self) -> u64 {
        0
    }

    /// An opaque tag: a client whose tag is equal finds the state that it wants already set.
    fn affinity(&self) -> usize;

    /// Whether it may be lent to somebody else, asked once when it is checked in.
    fn condition(&self) -> Condition;

    /// Whether there is nothing to read and it is not closed. Asked at every checkout: no system
    /// call where that can be had.
    fn is_quiet(&mut self) -> bool;

    /// It is about to be dropped, for this cause.
    fn closes(&mut self, _why: Closed) {}

    /// Moves it to loop `to`. Called on the thread of `to`; `None` when it did not survive.
    fn rehome(self, to: LoopId) -> Option<Self>;

    /// Makes it clean again; `None` when that failed or took too long (it has its own deadline).
    fn reset(self) -> impl Future<Output = Option<Self>> + Send;

    /// Asks the other end for a sign of life after long idling; `None` when there was none within
    /// its own deadline.
    fn check(self) -> impl Future<Output = Option<Self>> + Send;
}

/// What may be done with a member that was checked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The next one may have it as it is.
    Clean,
    /// The last one may have left something in it: reset first.
    NeedsReset,
    /// Close it.
    Broken,
}

/// Opens members.
pub trait Connect: Send + Sync + 'static {
    /// What it opens.
    type Member: Member;
    /// Why it could not; cloned for everybody who waited, so keep it cheap to clone.
    type Error: Clone + Send + Sync + std::fmt::Debug + 'static;

    /// Opens a member whose home is loop `on`, where this runs. It has its own deadline, and may
    /// be dropped at any await.
    fn connect(&self, on: LoopId)
    -> impl Future<Output = Result<Self::Member, Self::Error>> + Send;

    /// The next one is of the reserve.
    fn draws_on_reserve(&self) {}

    /// What an error means for those who wait and for the next attempt.
    fn verdict(&self, error: &Self::Error) -> Verdict;
}

/// What a failed attempt to open a member says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server says that it is starting (57P03): wait it out, trying every 100 ms.
    StartingUp,
    /// The server has no room for more (53300): live with those that are open, try again later.
    Full,
    /// The server will say the same next time (a wrong password): no attempt without a new ask.
    Rejected,
    /// Nobody there, and it will soon be known whether it is somewhere else: as if it were
    /// starting.
    Moving,
    /// Nobody there, or anything else: back off and try again.
    Unreachable,
}
