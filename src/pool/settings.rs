//! The settings of one pool, as plain values.

use std::time::Duration;

/// How many members a pool may have, and how long each may live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Most members at a time, the reserve apart. `usize::MAX` for no limit.
    pub size: usize,
    /// Members kept open though nobody asks; at most `size`.
    pub min: usize,
    /// Members on top of `size` once somebody waited for `reserve_timeout`.
    pub reserve: usize,
    /// How long somebody must have waited before the reserve is opened.
    pub reserve_timeout: Duration,
    /// Which idle member is lent next.
    pub order: Order,
    /// A member is closed when it is this old, less up to a tenth drawn by lot for each.
    pub lifetime: Option<Duration>,
    /// A member that idled for this long is closed, as long as more than `min` are open.
    pub idle_timeout: Option<Duration>,
    /// A member that idled for this long is checked before it is lent.
    pub check_delay: Option<Duration>,
    /// The longest pause between failed attempts to open; the first is 50 ms.
    pub login_retry: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            size: 20,
            min: 0,
            reserve: 0,
            reserve_timeout: Duration::from_secs(5),
            order: Order::LastIn,
            lifetime: Some(Duration::from_secs(3600)),
            idle_timeout: Some(Duration::from_secs(600)),
            check_delay: Some(Duration::from_secs(30)),
            login_retry: Duration::from_secs(15),
        }
    }
}

/// Whether there is anywhere to open members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// There is.
    Open,
    /// Not at the moment: who asks waits.
    Awaited,
    /// Not for so long that nobody waits for it.
    Hopeless,
}

/// Which of the idle members is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one used last: few stay warm, the rest may be closed for idling.
    LastIn,
    /// Each in its turn (`server_round_robin`).
    RoundRobin,
    /// Never the one that this client had last if another can be had or opened
    /// (`debug_force_hop`): shows what state leaks between clients.
    ForceHop,
}
