//! Up to which moment a replica is known to be caught up.
//!
//! Moments are those of our own clock at which the primary's position was *asked for*: whatever was
//! committed before lies before the position that it answered. So a replica that has replayed that
//! position has it, whenever the replica was asked. Clocks of servers don't come into it, and a
//! primary that writes nothing keeps its replicas fresh.
//!
//! A primary that is asked may have written a part of what nobody has committed yet, up to the midst of
//! a record, which nobody can replay: nothing may be written behind that for long. So a replica that has
//! not replayed its position is caught up all the same
//! - when all transactions are over there that may be over for who looks at the primary, or
//! - when nothing has ended at the primary since a moment up to which the replica has everything.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::lsn::Lsn;
use super::snapshot::Snapshot;

/// How many moments are kept. Older ones are thinned out first.
const KEPT_MAX: usize = 1024;

/// What the primary of one timeline has shown, in the order of asking.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    samples: VecDeque<Moment>,
    /// Where it was last, and when it was asked that.
    latest: Option<(Instant, Lsn)>,
    /// Which transactions were over then, and since when that is known to be so.
    state: Option<(Snapshot, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    /// Whoever has replayed this has what was committed before.
    lsn: Lsn,
    /// So has whoever has seen the end of all transactions before this one.
    xmax: Option<u64>,
}

/// An answer of the primary.
#[derive(Clone, Debug)]
pub struct Position {
    /// When it was asked.
    pub requested: Instant,
    /// When it had answered.
    pub answered: Instant,
    /// What it had flushed.
    pub lsn: Lsn,
    /// Which transactions were over, before that was asked.
    pub snapshot: Option<Snapshot>,
    /// What is committed is flushed within this time at the latest.
    pub flushed_within: Duration,
}

impl Moments {
    /// The primary has given this answer; the last one may be told again.
    pub fn sampled(&mut self, position: Position) {
        let Position { requested, answered, lsn, snapshot, flushed_within } = position;
        if self.latest == Some((requested, lsn)) {
            return;
        }
        let is_back = self.latest.is_some_and(|(_, latest)| lsn < latest);
        self.latest = Some((requested, lsn));
        let xmax = snapshot.as_ref().map(|snapshot| snapshot.xmax);
        let known =
            self.state.take().filter(|(known, _)| !is_back && snapshot.as_ref() == Some(known));
        let since = known.map_or(answered, |(_, since)| since);
        self.state = snapshot.map(|snapshot| (snapshot, since));
        if since < answered
            && let Some(last) = self.samples.back_mut()
            // All that had been committed was flushed when that position was asked for.
            && last.at >= since + flushed_within
        {
            last.at = requested;
            return;
        }
        // One that has lost what it had written says no more about those who have it.
        while self.samples.back().is_some_and(|last| last.lsn >= lsn) {
            self.samples.pop_back();
        }
        self.samples.push_back(Moment { at: requested, lsn, xmax });
        if self.samples.len() > KEPT_MAX {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index > KEPT_MAX / 2 || index % 2 == 1
            });
        }
    }

    /// The last moment of which a replica has everything that has replayed as far as this, and for which all
    /// transactions before `xmin` are over; `None` when there is no such moment.
    pub fn fresh_as_of(&self, replayed: Lsn, xmin: Option<u64>) -> Option<Instant> {
        let is_over = |xmax: Option<u64>| xmax.zip(xmin).is_some_and(|(xmax, xmin)| xmax <= xmin);
        let has = |moment: &&Moment| moment.lsn <= replayed || is_over(moment.xmax);
        Some(self.samples.iter().rev().find(has)?.at)
    }

    /// Where the primary was last.
    pub fn latest(&self) -> Option<Lsn> {
        self.latest.map(|(_, lsn)| lsn)
    }
}
