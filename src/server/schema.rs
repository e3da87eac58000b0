//! Versions of the databases' schemas, as far as they are seen to change.
//!
//! What was prepared under an earlier version may give other columns now. A server goes on
//! running it as long as they are the same, and refuses to otherwise. What may have been defined by
//! code, which leaves plans alone, is counted apart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::unseen::Unseen;

/// Counts the changes of one database's schema that were seen.
#[derive(Debug, Default)]
pub struct Schema {
    /// Shards of a database share it: what is prepared is prepared on all of them.
    version: Arc<AtomicU64>,
    /// How often names may have come to stand for something else.
    definitions: AtomicU64,
    /// Rung when they just have.
    bell: Arc<Notify>,
    /// What of it changes sessions unseen.
    pub unseen: Unseen,
}

impl Schema {
    /// Which version is in force.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// It may be another one from now on.
    pub fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.unseen.changed();
        self.may_define();
    }

    /// Names may stand for something else from now on.
    pub fn may_define(&self) {
        self.definitions.fetch_add(1, Ordering::AcqRel);
        self.bell.notify_one();
    }

    /// How often they may have come to.
    #[inline]
    pub fn definitions(&self) -> u64 {
        self.definitions.load(Ordering::Acquire)
    }

    /// What is rung whenever they may have. One may listen.
    pub fn bell(&self) -> &Arc<Notify> {
        &self.bell
    }

    /// A statement of this version was found not to be in force any more. Where that is no news,
    /// nothing changes.
    pub fn outlived(&self, version: u64) {
        let next = version.wrapping_add(1);
        let news =
            self.version.compare_exchange(version, next, Ordering::AcqRel, Ordering::Acquire);
        if news.is_ok() {
            self.may_define();
        }
    }
}

/// Those of all databases.
#[derive(Debug, Default)]
pub struct Schemas {
    by_database: Mutex<HashMap<Box<str>, Weak<Schema>>>,
}

impl Schemas {
    /// What was known of their code is old.
    pub fn are_old(&self) {
        for schema in self.by_database.lock().values().filter_map(Weak::upgrade) {
            schema.unseen.is_old();
        }
    }

    /// The one of this database.
    pub fn of(&self, database: &str) -> Arc<Schema> {
        self.find_or_make(database, Schema::default)
    }

    /// The one of a shard, whose versions are those of its database.
    pub fn of_shard(&self, shard: &str, database: &str) -> Arc<Schema> {
        let home = self.of(database);
        self.find_or_make(shard, || Schema {
            version: Arc::clone(&home.version),
            ..Schema::default()
        })
    }

    fn find_or_make(&self, database: &str, make: impl FnOnce() -> Schema) -> Arc<Schema> {
        let mut known = self.by_database.lock();
        if let Some(schema) = known.get(database).and_then(Weak::upgrade) {
            return schema;
        }
        known.retain(|_, schema| schema.strong_count() > 0);
        let schema = Arc::new(make());
        known.insert(database.into(), Arc::downgrade(&schema));
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_to_have_changed_does_not_change_again() {
        let schemas = Schemas::default();
        let (shop, same, other) = (schemas.of("shop"), schemas.of("shop"), schemas.of("other"));
        shop.outlived(0);
        shop.outlived(0);
        same.changed();
        assert_eq!((shop.version(), other.version()), (2, 0));
        same.may_define();
        assert_eq!((shop.version(), shop.definitions()), (2, 3));
    }
}
