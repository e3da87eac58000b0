//! Which shard a row lives on: a decision about values, without a look at any server.
//!
//! [`Key`] is a value that tables are spread by, [`Placement`] says on which shard its rows are.
//! What can't be said with certainty is an error, never a guess.

mod hash;
mod key;
mod placement;

use std::fmt;

pub use key::{Format, Key, KeyType, NotAKey};
pub use placement::{Given, Hash, List, Misfit, Placement, Ranges, Rule, Unplaced};

/// A shard, by its place among those of its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

impl ShardId {
    /// As many shards a database may have.
    pub const COUNT_MAX: usize = 256;
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
