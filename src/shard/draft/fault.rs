//! What may be wrong with a sharding as it is written down, and where that stands.

use thiserror::Error;

use super::{BUCKETS_MAX, GROUPS_MAX};
use crate::shard::ShardId;
use crate::shard::key::{KeyType, NotAKey};
use crate::sql::facts::Name;

/// What is wrong with a draft.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum Fault {
    #[error("there are no shards")]
    NoShards,
    #[error("there are {0} shards, and {max} at most are possible", max = ShardId::COUNT_MAX)]
    TooManyShards(usize),
    #[error("two shards are called {0}")]
    ShardTwice(String),
    #[error("{at}: there is no shard {name}")]
    NoShard { at: String, name: String },
    #[error("two groups are called {0}")]
    GroupTwice(String),
    #[error("there are more than {max} groups", max = GROUPS_MAX)]
    TooManyGroups,
    #[error(
        "{at}: {name} is no type of keys; types are smallint, integer, bigint, text, uuid, bytea, date"
    )]
    KeyType { at: String, name: String },
    #[error(
        "{at}: {name} is no function; functions are postgres, md5_hex8_mod, modulo, range, list"
    )]
    Function { at: String, name: String },
    #[error("{at}: {function} does not go with keys of type {key_type}")]
    FunctionOfType { at: String, function: String, key_type: KeyType },
    #[error("{at}: {key} does not go with {function}")]
    Unused { at: String, key: &'static str, function: String },
    #[error("{at}: {key} is missing")]
    Absent { at: String, key: &'static str },
    #[error("{at}: there are no {key}")]
    Missing { at: String, key: &'static str },
    #[error("{at}: there may be 1 to {max} buckets", max = BUCKETS_MAX)]
    BucketCount { at: String },
    #[error("{at}: {span} is no bucket, nor are they several, of those from 0 to {last}")]
    BucketSpan { at: String, span: String, last: usize },
    #[error("{at}: bucket {bucket} is on two shards")]
    BucketTwice { at: String, bucket: usize },
    #[error("{at}: bucket {bucket} is on no shard")]
    BucketNowhere { at: String, bucket: usize },
    #[error("{at}: {text:?}: {why}")]
    Key { at: String, text: String, why: NotAKey },
    #[error("{at}: the key {text} is there twice")]
    KeyTwice { at: String, text: String },
    #[error("{at}: range {range} is empty")]
    RangeEmpty { at: String, range: String },
    #[error("{at}: ranges {first} and {second} overlap")]
    RangesOverlap { at: String, first: String, second: String },
    #[error("{at}: between ranges {first} and {second} there is a gap")]
    RangesGap { at: String, first: String, second: String },
    #[error("{at}: table {table} is there twice")]
    TableTwice { at: String, table: Name },
    #[error("{at}: {table:?} is no name of a table with its key column")]
    Table { at: String, table: String },
}

impl Fault {
    /// The key that it is about, as it is written below the database's table, and what is wrong.
    pub fn told(&self) -> (String, String) {
        let at = match self {
            Self::NoShards | Self::TooManyShards(_) | Self::ShardTwice(_) => "shards",
            Self::GroupTwice(_) | Self::TooManyGroups => "groups",
            Self::NoShard { at, .. }
            | Self::KeyType { at, .. }
            | Self::Function { at, .. }
            | Self::FunctionOfType { at, .. }
            | Self::Unused { at, .. }
            | Self::Absent { at, .. }
            | Self::Missing { at, .. }
            | Self::TableTwice { at, .. }
            | Self::BucketCount { at }
            | Self::BucketSpan { at, .. }
            | Self::BucketTwice { at, .. }
            | Self::BucketNowhere { at, .. }
            | Self::Key { at, .. }
            | Self::KeyTwice { at, .. }
            | Self::RangeEmpty { at, .. }
            | Self::RangesOverlap { at, .. }
            | Self::RangesGap { at, .. }
            | Self::Table { at, .. } => at,
        };
        let text = self.to_string();
        let what = text.strip_prefix(&format!("{at}: ")).unwrap_or(&text);
        (at.to_owned(), what.to_owned())
    }
}
