//! Up to which moment a replica is known to be caught up.
//!
//! Moments are those of our own clock at which the primary's position was *asked for*: whatever was
//! committed before lies before the position that it answered. So a replica that has replayed that
//! position has it, whenever the replica was asked. Clocks of servers don't come into it, and a
//! primary that writes nothing keeps its replicas fresh.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::lsn::Lsn;

/// How many moments are kept. Older ones are thinned out first.
const KEPT_MAX: usize = 1024;

/// What the primary of one timeline has shown, in the order of asking.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    samples: VecDeque<(Instant, Lsn)>,
}

impl Moments {
    /// The primary, asked at that moment, was there.
    pub fn sampled(&mut self, requested: Instant, lsn: Lsn) {
        // One that has lost what it had written says no more about those who have it.
        while self.samples.back().is_some_and(|(_, last)| *last >= lsn) {
            self.samples.pop_back();
        }
        self.samples.push_back((requested, lsn));
        if self.samples.len() > KEPT_MAX {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index > KEPT_MAX / 2 || index % 2 == 1
            });
        }
    }

    /// The last moment of which a replica that has replayed as far as this has everything; `None`
    /// when there is no such moment.
    pub fn fresh_as_of(&self, replayed: Lsn) -> Option<Instant> {
        let reached = self.samples.partition_point(|(_, lsn)| *lsn <= replayed);
        Some(self.samples.get(reached.checked_sub(1)?)?.0)
    }

    /// Where the primary was last.
    pub fn latest(&self) -> Option<Lsn> {
        self.samples.back().map(|(_, lsn)| *lsn)
    }
}
