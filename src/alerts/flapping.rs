//! How often another host has become the primary lately.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// Changes that are remembered of each database: no threshold is higher.
const CHANGES_MAX: usize = 100;

/// The primaries of databases, and when they became it.
#[derive(Debug, Default)]
pub struct Flapping(BTreeMap<String, Changes>);

#[derive(Debug)]
struct Changes {
    primary: String,
    at: VecDeque<Instant>,
}

impl Flapping {
    /// Takes in which host is the primary of each of these databases now, where one is, and gives how
    /// often that has changed within the window. Others are forgotten.
    pub fn look(
        &mut self,
        primaries: &BTreeMap<String, Option<String>>,
        window: Duration,
        now: Instant,
    ) -> Vec<(String, usize)> {
        self.0.retain(|database, _| primaries.contains_key(database));
        for (database, primary) in primaries {
            let Some(primary) = primary else { continue };
            let changes = self
                .0
                .entry(database.clone())
                .or_insert_with(|| Changes { primary: primary.clone(), at: VecDeque::new() });
            if changes.primary != *primary {
                changes.primary.clone_from(primary);
                changes.at.push_back(now);
            }
            let recent = |at: &Instant| now.saturating_duration_since(*at) <= window;
            while changes.at.len() > CHANGES_MAX || changes.at.front().is_some_and(|at| !recent(at))
            {
                changes.at.pop_front();
            }
        }
        self.0.iter().map(|(database, changes)| (database.clone(), changes.at.len())).collect()
    }
}
