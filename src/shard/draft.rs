//! A sharding as it is written down, before it has been checked.
//!
//! In a file it is written so. Of a database that has shards, hosts are those of its shards:
//!
//! ```toml
//! [databases.shop]
//! default_shard = "a"                     # where all tables are that are not named below
//! reference_tables = ["countries"]        # on every shard
//!
//! [databases.shop.shards.a]
//! host = "a1.example,a2.example"
//! [databases.shop.shards.b]
//! host = "b1.example,b2.example"
//!
//! [databases.shop.groups.users]           # tables that go together
//! key_type = "bigint"                     # smallint, integer, bigint, text, uuid, bytea, date
//! tables = { users = "id", orders = "user_id", "app.events" = "user_id" }
//! function = "postgres"                   # or md5_hex8_mod, modulo: these have buckets
//! buckets = 1024                          # the number of shards, if it is not given
//! bucket_map = { "0-511" = "a", "512-1023" = "b" }    # bucket i on shard i, i + n, … if it is not
//! overrides = { "42" = "b" }              # single keys that are elsewhere
//!
//! [databases.shop.groups.logs]
//! key_type = "date"
//! tables = { logs = "day" }
//! function = "range"                      # from is in it, to is not; neither has to be given
//! ranges = [{ to = "2026-01-01", shard = "a" }, { from = "2026-01-01", shard = "b" }]
//!
//! [databases.shop.groups.regions]
//! key_type = "text"
//! tables = { offices = "region" }
//! function = "list"
//! values = { eu = "a", us = "b" }
//! otherwise = "a"                         # an error, if it is not given
//!
//! [databases.shop.schemas]                # schemas that say where their tables are
//! prefix = "tenant_"
//! function = "list"                       # of their names, as of any text
//! values = { tenant_1 = "a" }
//! otherwise = "b"
//! ```
//!
//! Names of tables and columns are as the catalog has them: the schema before the first dot.

mod fault;

use std::collections::{BTreeMap, HashMap};

pub use self::fault::Fault;
use super::ShardId;
use super::key::{Key, KeyType};
use super::placement::{Given, Hash, List, Misfit, Placement, Ranges, Rule};
use super::schemas::Schemas;
use super::sharding::{Entry, Group, Keys, Kind, Sharding};
use crate::sql::facts::Name;

/// A sharding that has not been checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The names of the shards.
    pub shards: Vec<String>,
    /// The shard of all tables that are not named.
    pub default_shard: String,
    /// The tables that are on every shard.
    pub reference_tables: Vec<String>,
    /// Tables that go together.
    pub groups: Vec<DraftGroup>,
    /// Schemas that say where their tables are.
    pub schemas: Option<DraftSchemas>,
}

/// Schemas that are spread by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftSchemas {
    /// What the names of all of them begin with.
    pub prefix: Option<String>,
    /// How the names are spread; it has no tables, and keys are text.
    pub by: DraftGroup,
}

/// Tables that go together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftGroup {
    /// What it is called.
    pub name: String,
    /// The type of its keys.
    pub key_type: String,
    /// Tables with their key columns.
    pub tables: Vec<(String, String)>,
    /// How keys are spread.
    pub function: String,
    /// How many buckets there are.
    pub buckets: Option<u32>,
    /// Buckets, or the first and the last of several, with their shard.
    pub bucket_map: Vec<(String, String)>,
    /// Single keys with their shard.
    pub overrides: Vec<(String, String)>,
    /// Ranges with their shard.
    pub ranges: Vec<DraftRange>,
    /// Keys with their shard.
    pub values: Vec<(String, String)>,
    /// The shard of all other keys.
    pub otherwise: Option<String>,
}

/// A range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftRange {
    /// The first key of it.
    pub from: Option<String>,
    /// The first key behind it.
    pub to: Option<String>,
    /// Where its rows are.
    pub shard: String,
}

const GROUPS_MAX: usize = 1000;
const BUCKETS_MAX: u32 = 65_536;

impl Draft {
    /// The sharding that it is.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn check(&self) -> Result<Sharding, Vec<Fault>> {
        let mut check = Check { draft: self, faults: Vec::new() };
        let sharding = check.sharding();
        if check.faults.is_empty() { Ok(sharding) } else { Err(check.faults) }
    }
}

impl DraftGroup {
    /// Where its keys are among these shards, if they are of this type.
    ///
    /// # Errors
    ///
    /// All that is wrong with that.
    pub(super) fn placed(&self, shards: &[String], kind: KeyType) -> Result<Placement, Vec<Fault>> {
        let draft = Draft { shards: shards.to_vec(), ..Draft::default() };
        let mut check = Check { draft: &draft, faults: Vec::new() };
        let placement = check.placement(&format!("groups.{}", self.name), self, kind);
        if check.faults.is_empty() { Ok(placement) } else { Err(check.faults) }
    }
}

struct Check<'d> {
    draft: &'d Draft,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn sharding(&mut self) -> Sharding {
        let Draft { shards, default_shard, reference_tables, groups, schemas } = self.draft;
        match shards.len() {
            0 => self.faults.push(Fault::NoShards),
            count if count > ShardId::COUNT_MAX => self.faults.push(Fault::TooManyShards(count)),
            _ => {}
        }
        if groups.len() > GROUPS_MAX {
            self.faults.push(Fault::TooManyGroups);
        }
        for (at, name) in shards.iter().enumerate() {
            if shards.iter().take(at).any(|other| other == name) {
                self.faults.push(Fault::ShardTwice(name.clone()));
            }
        }
        let default_shard = self.shard("default_shard", default_shard);
        let mut tables = HashMap::new();
        for table in reference_tables {
            self.add(&mut tables, "reference_tables", table, Kind::Reference);
        }
        let mut checked = Vec::new();
        for (group, number) in groups.iter().zip(0..) {
            if groups.iter().take(checked.len()).any(|other| other.name == group.name) {
                self.faults.push(Fault::GroupTwice(group.name.clone()));
            }
            let at = format!("groups.{}", group.name);
            if group.tables.is_empty() {
                self.faults.push(Fault::Missing { at: at.clone(), key: "tables" });
            }
            let at_tables = format!("{at}.tables");
            for (table, column) in &group.tables {
                if column.is_empty() {
                    let (at, table) = (at_tables.clone(), table.clone());
                    self.faults.push(Fault::Table { at, table });
                }
                let key = column.as_str().into();
                let kind = Kind::Sharded { group: number, key, columns: None };
                self.add(&mut tables, &at_tables, table, kind);
            }
            let keys = match KeyType::of(&group.key_type) {
                Some(kind) => Keys::Known(kind, self.placement(&at, group, kind)),
                None if group.key_type.is_empty() => {
                    self.of_some_type(&at, group);
                    Keys::Open(Box::new(group.clone()))
                }
                None => {
                    let name = group.key_type.clone();
                    self.faults.push(Fault::KeyType { at: format!("{at}.key_type"), name });
                    Keys::Known(KeyType::Text, self.placement(&at, group, KeyType::Text))
                }
            };
            checked.push(Group { name: group.name.clone(), keys });
        }
        let schemas = schemas.as_ref().map(|schemas| self.schemas(schemas));
        Sharding { shards: shards.clone(), default_shard, groups: checked, tables, schemas }
    }

    /// Whether there is a type for which a group is right: what is wrong with it for the one that goes
    /// best.
    fn of_some_type(&mut self, at: &str, group: &DraftGroup) {
        let faults = KeyType::ALL.map(|kind| {
            let mut check = Check { draft: self.draft, faults: Vec::new() };
            check.placement(at, group, kind);
            check.faults
        });
        let least = faults.into_iter().min_by_key(Vec::len);
        self.faults.extend(least.unwrap_or_default());
    }

    fn schemas(&mut self, schemas: &DraftSchemas) -> Schemas {
        let (at, DraftSchemas { prefix, by }) = ("schemas", schemas);
        let listed = by.function == "list" || by.function.is_empty();
        if !listed && prefix.is_none() || by.otherwise.is_some() && prefix.is_none() {
            self.faults.push(Fault::Absent { at: at.to_owned(), key: "prefix" });
        }
        let placement = self.placement(at, by, KeyType::Text);
        Schemas { prefix: prefix.as_deref().map(Into::into), placement }
    }

    fn shard(&mut self, at: &str, name: &str) -> ShardId {
        let found = self.draft.shards.iter().position(|known| known == name);
        let shard = found.and_then(|at| u8::try_from(at).ok());
        if shard.is_none() {
            self.faults.push(Fault::NoShard { at: at.to_owned(), name: name.to_owned() });
        }
        ShardId(shard.unwrap_or_default())
    }

    fn add(
        &mut self,
        tables: &mut HashMap<Box<str>, Vec<Entry>>,
        at: &str,
        table: &str,
        kind: Kind,
    ) {
        let (schema, name) = match table.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, table),
        };
        if name.is_empty() || schema.is_some_and(str::is_empty) {
            return self.faults.push(Fault::Table { at: at.to_owned(), table: table.to_owned() });
        }
        let schema: Option<Box<str>> = schema.map(Into::into);
        let entries = tables.entry(name.into()).or_default();
        // One without a schema stands for those in every schema.
        let is_it =
            |entry: &Entry| entry.schema.is_none() || schema.is_none() || entry.schema == schema;
        if entries.iter().any(is_it) {
            let table = Name { schema, name: name.into() };
            return self.faults.push(Fault::TableTwice { at: at.to_owned(), table });
        }
        entries.push(Entry { schema, kind });
    }

    fn placement(&mut self, at: &str, group: &DraftGroup, key_type: KeyType) -> Placement {
        let hash = match group.function.as_str() {
            "postgres" => Some(Hash::Postgres),
            "md5_hex8_mod" => Some(Hash::Md5Hex8),
            "modulo" => Some(Hash::Modulo),
            "range" | "list" => None,
            "" => {
                self.faults.push(Fault::Absent { at: at.to_owned(), key: "function" });
                Some(Hash::Postgres)
            }
            name => {
                let at = format!("{at}.function");
                self.faults.push(Fault::Function { at, name: name.to_owned() });
                Some(Hash::Postgres)
            }
        };
        let function = group.function.as_str();
        let in_order = key_type.is_integer() || matches!(key_type, KeyType::Text | KeyType::Date);
        if hash == Some(Hash::Modulo) && !key_type.is_integer() || function == "range" && !in_order
        {
            let (at, function) = (at.to_owned(), function.to_owned());
            self.faults.push(Fault::FunctionOfType { at, function, key_type });
        }
        for (key, given, wanted) in [
            ("buckets", group.buckets.is_some(), hash.is_some()),
            ("bucket_map", !group.bucket_map.is_empty(), hash.is_some()),
            ("overrides", !group.overrides.is_empty(), hash.is_some()),
            ("ranges", !group.ranges.is_empty(), function == "range"),
            ("values", !group.values.is_empty(), function == "list"),
            ("otherwise", group.otherwise.is_some(), function == "list"),
        ] {
            if given && !wanted {
                let (at, function) = (at.to_owned(), function.to_owned());
                self.faults.push(Fault::Unused { at, key, function });
            }
        }
        let overrides = self.keys(&format!("{at}.overrides"), key_type, &group.overrides);
        let rule = match hash {
            Some(hash) => Rule::Buckets(hash, self.buckets(at, group)),
            None if function == "range" => self.ranges(at, group, key_type),
            None => {
                if group.values.is_empty() {
                    self.faults.push(Fault::Missing { at: at.to_owned(), key: "values" });
                }
                let values = self.keys(&format!("{at}.values"), key_type, &group.values);
                let otherwise = group.otherwise.as_ref();
                let otherwise = otherwise.map(|name| self.shard(&format!("{at}.otherwise"), name));
                Rule::List(List::new(values, otherwise))
            }
        };
        Placement::new(rule, overrides)
    }

    fn key(&mut self, at: &str, key_type: KeyType, text: &str) -> Option<Key<'static>> {
        match Key::of_text(key_type, text.as_bytes()) {
            Ok(key) => Some(key.into_owned()),
            Err(why) => {
                let (at, text) = (at.to_owned(), text.to_owned());
                self.faults.push(Fault::Key { at, text, why });
                None
            }
        }
    }

    fn keys(
        &mut self,
        at: &str,
        key_type: KeyType,
        given: &[(String, String)],
    ) -> Vec<(Key<'static>, ShardId)> {
        let mut keys = BTreeMap::new();
        for (text, shard) in given {
            let shard = self.shard(at, shard);
            let Some(key) = self.key(at, key_type, text) else { continue };
            if keys.insert(key, shard).is_some() {
                let (at, text) = (at.to_owned(), text.clone());
                self.faults.push(Fault::KeyTwice { at, text });
            }
        }
        keys.into_iter().collect()
    }

    /// The shard of each bucket.
    fn buckets(&mut self, at: &str, group: &DraftGroup) -> Box<[ShardId]> {
        let shards = self.draft.shards.len().max(1);
        let count = match group.buckets {
            None => shards,
            Some(count @ 1..=BUCKETS_MAX) => usize::try_from(count).unwrap_or(shards),
            Some(_) => {
                self.faults.push(Fault::BucketCount { at: at.to_owned() });
                return Box::default();
            }
        };
        if group.bucket_map.is_empty() {
            let shard = |bucket: usize| u8::try_from(bucket % shards).map_or(ShardId(0), ShardId);
            return (0..count).map(shard).collect();
        }
        let at = format!("{at}.bucket_map");
        let mut map: Vec<Option<ShardId>> = vec![None; count];
        for (span, shard) in &group.bucket_map {
            let shard = self.shard(&at, shard);
            let (first, last) = span.split_once('-').unwrap_or((span, span));
            let numbers = first.trim().parse::<usize>().ok().zip(last.trim().parse::<usize>().ok());
            let spanned = numbers.filter(|(first, last)| first <= last);
            let Some(buckets) = spanned.and_then(|(first, last)| map.get_mut(first..=last)) else {
                let (at, span) = (at.clone(), span.clone());
                self.faults.push(Fault::BucketSpan { at, span, last: count - 1 });
                continue;
            };
            if let Some(taken) = buckets.iter().position(Option::is_some) {
                let bucket = numbers.map_or(0, |(first, _)| first) + taken;
                self.faults.push(Fault::BucketTwice { at: at.clone(), bucket });
            }
            buckets.fill(Some(shard));
        }
        if let Some(bucket) = map.iter().position(Option::is_none) {
            self.faults.push(Fault::BucketNowhere { at, bucket });
        }
        map.into_iter().map(Option::unwrap_or_default).collect()
    }

    fn ranges(&mut self, at: &str, group: &DraftGroup, key_type: KeyType) -> Rule {
        let at = format!("{at}.ranges");
        let mut given: Vec<Given> = Vec::new();
        for DraftRange { from, to, shard } in &group.ranges {
            let shard = self.shard(&at, shard);
            let from = from.as_ref().map(|key| self.key(&at, key_type, key));
            let to = to.as_ref().map(|key| self.key(&at, key_type, key));
            // What is no key has been said; no more can be found out.
            if let (None | Some(Some(_)), None | Some(Some(_))) = (&from, &to) {
                given.push((from.flatten(), to.flatten(), shard));
            } else {
                return Rule::List(List::new(Vec::new(), None));
            }
        }
        let shown = |at: usize| {
            let range = group.ranges.get(at).cloned().unwrap_or_default();
            let (from, to) = (range.from.unwrap_or_default(), range.to.unwrap_or_default());
            format!("[{from}, {to})")
        };
        let fault = match Ranges::new(&given) {
            Ok(ranges) => return Rule::Ranges(ranges),
            Err(Misfit::None) => Fault::Missing { at, key: "ranges" },
            Err(Misfit::Empty(range)) => Fault::RangeEmpty { at, range: shown(range) },
            Err(Misfit::Overlap(first, second)) => {
                Fault::RangesOverlap { at, first: shown(first), second: shown(second) }
            }
            Err(Misfit::Gap(first, second)) => {
                Fault::RangesGap { at, first: shown(first), second: shown(second) }
            }
        };
        self.faults.push(fault);
        Rule::List(List::new(Vec::new(), None))
    }
}

#[cfg(test)]
mod tests;
