//! Where requests to each database have run and why, counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Reason;

/// Those of one database.
#[derive(Debug)]
pub struct Decisions {
    by_reason: [AtomicU64; Reason::ALL.len()],
}

/// Those of all databases.
#[derive(Debug, Default)]
pub struct AllDecisions {
    by_database: Mutex<BTreeMap<Box<str>, Arc<Decisions>>>,
}

/// As many databases are remembered that nobody uses.
const DATABASES_MAX: usize = 2000;

impl Decisions {
    fn new() -> Arc<Self> {
        Arc::new(Self { by_reason: std::array::from_fn(|_| AtomicU64::new(0)) })
    }

    /// One more.
    #[inline]
    pub fn count(&self, reason: Reason) {
        if let Some(count) = self.by_reason.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nothing has been decided yet.
    pub fn is_empty(&self) -> bool {
        self.by_reason.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    /// How often each reason decided that has.
    pub fn counts(&self) -> Vec<(Reason, u64)> {
        let counts = Reason::ALL.iter().zip(&self.by_reason);
        let counts = counts.map(|(reason, count)| (*reason, count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl AllDecisions {
    /// Those of this database.
    pub fn of(&self, database: &str) -> Arc<Decisions> {
        let mut known = self.by_database.lock();
        if let Some(decisions) = known.get(database) {
            return Arc::clone(decisions);
        }
        if known.len() >= DATABASES_MAX {
            known.retain(|_, decisions| Arc::strong_count(decisions) > 1);
        }
        let decisions = Decisions::new();
        known.insert(database.into(), Arc::clone(&decisions));
        decisions
    }

    /// All of them, by the names of their databases.
    pub fn list(&self) -> Vec<(String, Arc<Decisions>)> {
        let known = self.by_database.lock();
        known.iter().map(|(name, decisions)| (name.to_string(), Arc::clone(decisions))).collect()
    }
}
