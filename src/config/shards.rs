//! How a database is spread over shards, as it is written. What the words mean is checked by
//! [`crate::config`]'s users, who know keys and functions; here is where each was written.

use super::field::Field;
use super::keys::key;
use super::problem::Problem;
use super::setting::{Key, Kind};

/// `[databases.NAME.shards]` and `[databases.NAME.groups]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shards {
    /// The names of the shards, the default shard's first, the others in alphabetical order.
    pub names: Vec<String>,
    /// Tables that go together.
    pub groups: Vec<ShardGroup>,
    /// Schemas that say where their tables are, spread by their names: `[databases.NAME.schemas]`.
    pub schemas: Option<ShardGroup>,
    /// Where each key was written, in the order of the file.
    pub(super) places: Vec<Place>,
}

/// `[databases.NAME.groups.GROUP]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardGroup {
    /// What it is called.
    pub name: String,
    /// The type of its keys.
    pub key_type: String,
    /// How keys are spread.
    pub function: String,
    /// How many buckets there are.
    pub buckets: Option<u32>,
    /// The shard of all other keys.
    pub otherwise: Option<String>,
    /// Tables with their key columns.
    pub tables: Vec<(String, String)>,
    /// Buckets, or the first and the last of several, with their shard.
    pub bucket_map: Vec<(String, String)>,
    /// Single keys with their shard.
    pub overrides: Vec<(String, String)>,
    /// Keys with their shard.
    pub values: Vec<(String, String)>,
    /// Ranges with their shard.
    pub ranges: Vec<ShardRange>,
    /// Of schemas: what the names of all of them begin with.
    pub prefix: Option<String>,
}

/// A range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardRange {
    /// The first key of it.
    pub from: Option<String>,
    /// The first key behind it.
    pub to: Option<String>,
    /// Where its rows are.
    pub shard: String,
}

/// Where a key was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: usize,
    /// As in `groups.users.buckets`.
    pub(super) key: String,
}

impl Shards {
    /// A problem with the key of this name below the database's table (`groups.users.buckets`), or with
    /// what is above it, if there is none of that name.
    #[must_use]
    pub fn problem(&self, database: &str, key: &str, what: String) -> Problem {
        let above = |place: &&Place| {
            let rest = key.strip_prefix(place.key.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let place = self.places.iter().filter(above).max_by_key(|place| place.key.len());
        let place = place.or(self.places.first());
        Problem {
            file: place.map(|place| place.file.clone()).unwrap_or_default(),
            line: place.map(|place| place.line),
            key: format!("databases.{database}.{key}"),
            what,
            hint: None,
        }
    }
}

/// The keys of `[databases.NAME.groups.GROUP]` that are no tables.
pub(crate) static GROUP: &[Key<ShardGroup>] = &[
    key!(
        key_type,
        Kind::Name,
        "The type of the key columns: smallint, integer, bigint, text, uuid, bytea or date.",
        "that of the columns on the default shard",
        "\"bigint\""
    ),
    key!(
        function,
        Kind::Name,
        "How keys are spread. postgres (the hash of PARTITION BY HASH), md5_hex8_mod and modulo give a \
         bucket; range and list name the shard of a key.",
        "it is needed",
        "\"postgres\""
    ),
    key!(
        buckets,
        Kind::Count(1, 65_536),
        "How many buckets there are; bucket i is on shard i, i + n, … of n, in the order of their names, \
         unless bucket_map says otherwise.",
        "the number of shards",
        "1024"
    ),
    key!(
        otherwise,
        Kind::Name,
        "With list: the shard of all keys that are not among values.",
        "such a key is an error",
        "\"a\""
    ),
];

/// The keys of `[databases.NAME.schemas]` that are no tables.
pub(crate) static SCHEMAS: &[Key<ShardGroup>] = &[
    key!(
        prefix,
        Kind::Name,
        "What the names of such schemas begin with; those that are listed are such schemas as well.",
        "with list and no otherwise: only those that are listed",
        "\"tenant_\""
    ),
    key!(
        function,
        Kind::Name,
        "How they are spread, by their whole names as keys of type text: as in a group. modulo does not \
         go with text.",
        "it is needed",
        "\"list\""
    ),
    key!(
        buckets,
        Kind::Count(1, 65_536),
        "How many buckets there are, as in a group.",
        "the number of shards",
        "1024"
    ),
    key!(
        otherwise,
        Kind::Name,
        "With list: the shard of all schemas with the prefix that are not among values.",
        "such a schema is an error",
        "\"a\""
    ),
];

/// The keys of a group that are tables or lists of them: name, default, what it takes, what it is.
pub(super) const GROUP_TABLES: [(&str, &str, &str, &str); 5] = [
    (
        "tables",
        "it is needed",
        "`{ table = \"key column\" }`",
        "The tables that go together: rows of equal keys are on the same shard. A name is as the catalog \
         has it, with its schema before a dot or without.",
    ),
    (
        "bucket_map",
        "in turn",
        "`{ \"0-511\" = \"shard\" }`",
        "Buckets with their shard; all of them, if any is there.",
    ),
    ("overrides", "none", "`{ \"key\" = \"shard\" }`", "Single keys that are elsewhere."),
    (
        "values",
        "with list it is needed",
        "`{ \"key\" = \"shard\" }`",
        "With list: keys with their shard.",
    ),
    (
        "ranges",
        "with range it is needed",
        "`[{ from = \"key\", to = \"key\", shard = \"shard\" }]`",
        "With range: `from` is in it, `to` is not, and without one it has no end there. Gaps and overlaps \
         are errors.",
    ),
];

/// Keys of a database that say where it is: those that a shard may have, and a database with shards may
/// not, but for the ones that a shard takes from it.
pub(super) const OF_SHARD: [(&str, bool); 19] = [
    ("url", false),
    ("host", false),
    ("port", false),
    ("hosts", false),
    ("replicas", false),
    ("load_balance_hosts", false),
    ("weights", false),
    ("backup", false),
    ("dbname", true),
    ("user", true),
    ("password", true),
    ("pool_size", true),
    ("min_pool_size", true),
    ("reserve_pool_size", true),
    ("max_db_connections", true),
    ("server_tls_sslmode", true),
    ("server_tls_ca_file", true),
    ("server_tls_cert_file", true),
    ("server_tls_key_file", true),
];
