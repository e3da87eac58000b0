//! Which shard a row lives on, and so where a statement has to run: a decision about values, without
//! a look at any server.
//!
//! [`Sharding`] is what is configured of a database. A session asks it in two steps: once for a text,
//! [`crate::sql::keys::plan`] with it gives a plan, which is kept; then for every execution,
//! [`Sharding::target`] gives the shard by the values of the plan's slots. What can't be said with
//! certainty is an error, never a guess.
//!
//! The second step allocates nothing, but for strings that have to be unescaped, and costs a
//! hash for each key.

pub mod copy;
mod draft;
mod hash;
mod key;
pub mod merge;
mod placement;
mod schemas;
mod sharding;
mod types;

use std::fmt;

pub use draft::{Draft, DraftGroup, DraftRange, DraftSchemas, Fault};
pub use key::{Format, Key, KeyType, NotAKey, each_key};
pub use placement::{Fit, Given, Hash, List, Misfit, Placement, Ranges, Rule, Unplaced};
pub use schemas::Schemas;
pub use sharding::{NoShard, Sharding, Target, Values};
pub use types::KeyColumn;

/// A shard, by its place among those of its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// A set of shards.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardSet([u64; 4]);

impl ShardSet {
    /// Adds a shard.
    pub fn insert(&mut self, shard: ShardId) {
        if let Some(part) = self.0.get_mut(usize::from(shard.0 / 64)) {
            *part |= 1 << (shard.0 % 64);
        }
    }

    /// Whether the shard is one of them.
    pub fn contains(&self, shard: ShardId) -> bool {
        let part = self.0.get(usize::from(shard.0 / 64));
        part.is_some_and(|part| part >> (shard.0 % 64) & 1 == 1)
    }

    /// Those of either.
    pub fn union(self, other: Self) -> Self {
        let ([a, b, c, d], Self([e, f, g, h])) = (self.0, other);
        Self([a | e, b | f, c | g, d | h])
    }

    /// Those of both.
    pub fn intersection(self, other: Self) -> Self {
        let ([a, b, c, d], Self([e, f, g, h])) = (self.0, other);
        Self([a & e, b & f, c & g, d & h])
    }

    /// How many they are.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|part| part.count_ones()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = ShardId> + '_ {
        (0..=u8::MAX).map(ShardId).filter(|shard| self.contains(*shard))
    }

    /// The one, if it is one alone.
    pub fn only(&self) -> Option<ShardId> {
        let (part, before) = match self.0 {
            [part, 0, 0, 0] => (part, 0),
            [0, part, 0, 0] => (part, 64),
            [0, 0, part, 0] => (part, 128),
            [0, 0, 0, part] => (part, 192),
            _ => return None,
        };
        let is_one = part != 0 && part & (part - 1) == 0;
        is_one.then(|| u8::try_from(before + part.trailing_zeros()).ok().map(ShardId)).flatten()
    }
}

impl FromIterator<ShardId> for ShardSet {
    fn from_iter<T: IntoIterator<Item = ShardId>>(shards: T) -> Self {
        let mut set = Self::default();
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }
}

impl fmt::Debug for ShardSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|shard| shard.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_what_was_put_in() {
        let of = |shards: &[u8]| shards.iter().copied().map(ShardId).collect::<ShardSet>();
        let all = of(&[0, 127, 128, 255]);
        assert_eq!((all.len(), all.only(), all.is_empty()), (4, None, false));
        assert_eq!(all.iter().map(|shard| shard.0).collect::<Vec<_>>(), [0, 127, 128, 255]);
        for one in [0, 5, 127, 128, 255] {
            assert_eq!(of(&[one]).only(), Some(ShardId(one)));
        }
        assert_eq!(all.intersection(of(&[1, 127, 200, 255])), of(&[127, 255]));
        assert_eq!(of(&[1]).union(of(&[200])), of(&[1, 200]));
        assert_eq!((of(&[]).only(), of(&[]).is_empty()), (None, true));
    }
}
