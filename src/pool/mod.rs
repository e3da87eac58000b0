//! Who is idle, who waits, who may open.
//!
//! A [`Pool`] lends members (servers, in the product; anything in tests) to whoever asks, in the
//! order of asking, opens new ones where its limits allow, and closes them when their time is up.
//! It knows its members through [`Member`] and [`Connect`] alone: no sockets, no SQL, no clients.
//!
//! Locks: each pool has one, each [`Quota`] has one. A quota's lock may be taken under a pool's;
//! nothing is taken under a quota's; no thread ever holds the locks of two pools. Nothing is
//! dropped, spawned, woken or awaited under either.

mod hindrance;
mod lease;
mod maintain;
mod member;
mod opening;
mod place;
#[expect(clippy::module_inception, reason = "the type that the module is about")]
mod pool;
mod pools;
mod quota;
mod servers;
mod settings;
mod snapshot;
mod state;
mod steer;
mod tending;
mod waiters;
mod waiting;

#[cfg(test)]
mod tests;

pub use hindrance::{Hindrance, Limit, QuotaId};
pub use lease::Lease;
pub use member::{Condition, Connect, Member, Verdict};
pub use pool::{Ask, CheckoutError, Pool, PoolName};
pub use pools::{PoolPlan, Pools, SharedLimits};
pub use quota::{Host, Quota, Quotas};
pub use servers::{Connector, Goal, affinity};
pub use settings::{Order, PoolSettings, Prospect};
pub use snapshot::{Closed, Holder, Snapshot, Totals};
pub use waiting::Waiting;
