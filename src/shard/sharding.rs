//! What is configured of a database's shards, and where a statement has to run by it.

use std::collections::HashMap;

use thiserror::Error;

use super::draft::DraftGroup;
use super::key::{Key, KeyType, NotAKey, each_key};
use super::placement::{Placement, Unplaced};
use super::schemas::Schemas;
use super::{Format, ShardId, ShardSet};
use crate::sql::facts::{Name, Places};
use crate::sql::keys::{Keyed, Literals, OneOf, Refusal, Root, Slot, Spread, Table, Tables};
use crate::wire::parameters::Parameters;

/// The shards of a database, and which of its tables are on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharding {
    pub(super) shards: Vec<String>,
    pub(super) default_shard: ShardId,
    pub(super) groups: Vec<Group>,
    /// By the name without its schema.
    pub(super) tables: HashMap<Box<str>, Vec<Entry>>,
    /// Schemas that say where their tables are.
    pub(super) schemas: Option<Schemas>,
}

/// Tables that have the rows of equal keys on the same shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) keys: Keys,
}

/// What keys are, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// Of this type.
    Known(KeyType, Placement),
    /// The catalog says of which type they are.
    Open(Box<DraftGroup>),
    /// What the catalog says can't be; it was of that type `earlier`.
    Wrong { why: Box<str>, earlier: Option<KeyType> },
}

impl Group {
    /// The type of its keys, and where they are.
    fn keys(&self) -> Result<(KeyType, &Placement), NoShard> {
        match &self.keys {
            Keys::Known(kind, placement) => Ok((*kind, placement)),
            Keys::Open(_) => Err(NoShard::Untyped(self.name.clone())),
            Keys::Wrong { why, .. } => {
                Err(NoShard::WrongType { group: self.name.clone(), why: why.to_string() })
            }
        }
    }
}

/// A table that is configured, or that a catalog has told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The schema; without one it is in any.
    pub(super) schema: Option<Box<str>>,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sharded { group: u16, key: Box<str>, columns: Option<Box<[Box<str>]>> },
    Reference,
    Unclear,
}

/// Where a statement has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// On any shard: no row can have such a key.
    Any,
    /// On this one.
    One(ShardId),
    /// On these, each for its part of the rows.
    Parts(ShardSet),
    /// On these, each for some rows of the INSERT; [`Sharding::row`] says for which.
    Rows(ShardSet),
}

/// Why there is no shard.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoShard {
    /// A value is no key.
    #[error(transparent)]
    NotAKey(#[from] NotAKey),
    /// A key has no shard.
    #[error(transparent)]
    Unplaced(#[from] Unplaced),
    /// The keys are on several shards, and the statement can't be (0A000).
    #[error("the keys of this statement are on {shards} shards: {refusal}")]
    Several {
        /// How many.
        shards: u32,
        /// Why it can't be.
        refusal: Refusal,
    },
    /// The message has no such parameter, or is cut (08P01).
    #[error("there is no parameter ${0}")]
    NoParameter(u16),
    /// Its characters may be encoded in another way than UTF-8 (0A000).
    #[error("a key with other characters than ASCII's")]
    Encoding,
    /// There are several groups, and the key is of none of them (0A000).
    #[error("which group is the key {0:?} of? It has to be said: group:key")]
    NoGroup(String),
    /// The parameter's type is not known: it has another use in the text as well. Declared, or
    /// described by the server, it would be (0A000).
    #[error("the type of the shard key in ${0} is not known")]
    UnknownType(u16),
    /// The type of the group's keys is left to the catalog, which has not been read yet (57P03).
    #[error("the type of keys of group {0} is not known yet")]
    Untyped(String),
    /// The type of the group's keys is left to the catalog, which has none for it (0A000).
    #[error("the type of keys of group {group} is not known: {why}")]
    WrongType {
        /// The group.
        group: String,
        /// Why.
        why: String,
    },
}

/// The values of one execution of a text.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    literals: Literals<'a>,
    parameters: Option<Parameters<'a>>,
    types: &'a [u32],
    ascii: bool,
    /// What a backslash in a literal stands for is known.
    backslashes: bool,
}

impl<'a> Values<'a> {
    /// Those of a text that is sent as a Query.
    pub fn of_query(text: &'a [u8]) -> Self {
        Self::of_query_at(text, Places::default())
    }

    /// The same, with the places of the first ones, as far as they are known.
    pub fn of_query_at(text: &'a [u8], places: Places) -> Self {
        let literals = Literals::with(text, places);
        Self { literals, parameters: None, types: &[], ascii: false, backslashes: true }
    }

    /// Those of a statement with this text that is bound. `types` are what the server has described
    /// of its parameters or the client has declared, as far as they are known: none, or 0 for each
    /// that is not.
    pub fn of_bind(text: &'a [u8], parameters: Parameters<'a>, types: &'a [u32]) -> Self {
        let literals = Literals::new(text);
        Self { literals, parameters: Some(parameters), types, ascii: false, backslashes: true }
    }

    /// The same where it is not known how other characters than ASCII's are encoded: a key with such
    /// is an error.
    #[must_use]
    pub fn in_ascii(self) -> Self {
        Self { ascii: true, ..self }
    }

    /// It is not known what a backslash in a literal stands for: a key with one is an error.
    pub fn doubt_backslashes(&mut self) {
        self.backslashes = false;
    }
}

impl Sharding {
    /// Where a statement has to run by its keys.
    ///
    /// # Errors
    ///
    /// A value is none for a key, or the keys are on several shards and must not be.
    pub fn target(&self, keyed: &Keyed, values: &mut Values<'_>) -> Result<Target, NoShard> {
        let mut all = ShardSet::default();
        for root in &keyed.roots {
            all = all.union(self.root(root, values)?);
        }
        if let Some(shard) = all.only() {
            return Ok(Target::One(shard));
        }
        match &keyed.spread {
            _ if all.is_empty() => Ok(Target::Any),
            Spread::Parts => Ok(Target::Parts(all)),
            Spread::Rows => Ok(Target::Rows(all)),
            Spread::No(refusal) => {
                Err(NoShard::Several { shards: all.len(), refusal: refusal.clone() })
            }
        }
    }

    /// The shard of one row of an INSERT, by its number, from 0; `None` where there is none.
    ///
    /// # Errors
    ///
    /// As [`Sharding::target`].
    pub fn row(
        &self,
        keyed: &Keyed,
        row: usize,
        values: &mut Values<'_>,
    ) -> Result<Option<ShardId>, NoShard> {
        let found = keyed.roots.first().and_then(|root| {
            let slot = root.among.first()?.slots.get(row)?;
            Some((root, slot))
        });
        let Some((root, slot)) = found else { return Ok(None) };
        let mut set = ShardSet::default();
        self.slot(self.group(root.group)?, *slot, true, values, &mut set)?;
        Ok(set.only())
    }

    /// The shard of a key of a group, as a field of COPY or a person has written it; `None` is NULL.
    ///
    /// # Errors
    ///
    /// It is no key, or has no shard.
    pub fn of_text(&self, group: u16, key: Option<&[u8]>) -> Result<ShardId, NoShard> {
        let (kind, placement) = self.group(group)?.keys()?;
        let key = key.map_or(Ok(Key::Null), |key| Key::of_text(kind, key))?;
        Ok(placement.shard(&key)?)
    }

    /// The shard of a key of a group, in this format, as a field of COPY has it; `None` is NULL.
    ///
    /// # Errors
    ///
    /// As [`Sharding::of_text`].
    pub fn of_field(
        &self,
        group: u16,
        format: Format,
        key: Option<&[u8]>,
    ) -> Result<ShardId, NoShard> {
        let (kind, placement) = self.group(group)?.keys()?;
        Ok(placement.shard(&Key::of_parameter(kind, 0, format, key)?)?)
    }

    /// The shard of a key that a person has written: `42`, or `group:42`, which has to be where there are
    /// several groups.
    ///
    /// # Errors
    ///
    /// As [`Sharding::of_text`]; or it is not said of which group it is.
    pub fn of_written(&self, key: &[u8]) -> Result<ShardId, NoShard> {
        let named = memchr::memchr(b':', key).and_then(|at| {
            let (group, key) = (key.get(..at)?, key.get(at + 1..)?);
            let found = self.groups.iter().position(|it| it.name.as_bytes() == group)?;
            Some((u16::try_from(found).ok()?, key))
        });
        match named {
            Some((group, key)) => self.of_text(group, Some(key)),
            None if self.groups.len() == 1 => self.of_text(0, Some(key)),
            None => Err(NoShard::NoGroup(String::from_utf8_lossy(key).into_owned())),
        }
    }

    /// The names of the shards, by their numbers.
    pub fn shards(&self) -> &[String] {
        &self.shards
    }

    /// The name that a shard of the database of this name has as a database of its own.
    pub fn database(&self, of: &str, shard: ShardId) -> Option<String> {
        let own = self.shards.get(usize::from(shard.0))?;
        Some(match shard == self.default_shard {
            true => of.to_owned(),
            false => format!("{of}/{own}"),
        })
    }

    /// The schemas that say where their tables are.
    pub fn schemas(&self) -> Option<&Schemas> {
        self.schemas.as_ref()
    }

    /// The shard of all tables that are not spread.
    pub fn default_shard(&self) -> ShardId {
        self.default_shard
    }

    /// All shards.
    pub fn all(&self) -> ShardSet {
        (0..=u8::MAX).take(self.shards.len()).map(ShardId).collect()
    }

    /// The groups: their names, the type of their keys, and where these are.
    pub fn groups(&self) -> impl Iterator<Item = (&str, Result<(KeyType, &Placement), NoShard>)> {
        self.groups.iter().map(|group| (group.name.as_str(), group.keys()))
    }

    /// The columns of a sharded table in their order, as a catalog has them, for what names none.
    pub fn set_columns(&mut self, table: &Name, names: Vec<Box<str>>) {
        for entry in self.tables.get_mut(&table.name).into_iter().flatten() {
            if let Kind::Sharded { columns, .. } = &mut entry.kind
                && (entry.schema.is_none() || entry.schema == table.schema)
            {
                *columns = Some(names.clone().into());
            }
        }
    }

    /// A name that must not be placed, as that of a view with sharded tables behind it. What is
    /// configured stays what it is.
    pub fn set_unclear(&mut self, name: &Name) {
        let entries = self.tables.entry(name.name.clone()).or_default();
        if entries.iter().all(|entry| entry.schema.is_some() && entry.schema != name.schema) {
            entries.push(Entry { schema: name.schema.clone(), kind: Kind::Unclear });
        }
    }

    fn group(&self, group: u16) -> Result<&Group, NoShard> {
        // Plans have no other groups than those that are there.
        self.groups.get(usize::from(group)).ok_or(NoShard::Unplaced(Unplaced::NotListed))
    }

    fn root(&self, root: &Root, values: &mut Values<'_>) -> Result<ShardSet, NoShard> {
        let group = self.group(root.group)?;
        let mut shards: Option<ShardSet> = None;
        for OneOf { slots, stored } in &root.among {
            let mut set = ShardSet::default();
            for slot in slots {
                self.slot(group, *slot, *stored, values, &mut set)?;
            }
            shards = Some(shards.map_or(set, |shards| shards.intersection(set)));
        }
        Ok(shards.unwrap_or_else(|| self.all()))
    }

    /// Adds the shards of the keys in a slot. A key that is compared with NULL is nowhere, nor is one that is
    /// compared with no value of its type: of that its server says what is to be said.
    fn slot(
        &self,
        group: &Group,
        slot: Slot,
        stored: bool,
        values: &mut Values<'_>,
        set: &mut ShardSet,
    ) -> Result<(), NoShard> {
        let (kind, placement) = group.keys()?;
        let mut add = |key: Key<'_>| {
            if stored || key != Key::Null {
                set.insert(placement.shard(&key)?);
            }
            Ok(())
        };
        let read = |key: Result<_, NotAKey>| match key {
            Err(NotAKey::Invalid(_) | NotAKey::OutOfRange(_)) if !stored => Ok(Key::Null),
            key => key,
        };
        match slot {
            Slot::Null => add(Key::Null),
            Slot::Literal { at, minus, array } => {
                let raw = values.literals.get(at).ok_or(NotAKey::Unclear(kind))?;
                if values.ascii && kind == KeyType::Text && !raw.is_ascii() {
                    return Err(NoShard::Encoding);
                }
                if !values.backslashes && memchr::memchr(b'\\', raw).is_some() {
                    return Err(NotAKey::Unclear(kind).into());
                }
                match (array, raw) {
                    (false, raw) => add(read(Key::of_literal(kind, raw, minus))?),
                    (true, [b'\'', inside @ .., b'\''])
                        if memchr::memchr2(b'\'', b'\\', inside).is_none() =>
                    {
                        each_key(kind, 0, Format::Text, inside, add)
                    }
                    (true, _) => Err(NotAKey::Unclear(kind).into()),
                }
            }
            Slot::Parameter { number, own, array } => {
                let missing = || NoShard::NoParameter(number);
                let at = number.checked_sub(1).ok_or_else(missing)?;
                let parameter = values.parameters.as_mut().and_then(|all| all.get(at));
                let parameter = parameter.ok_or_else(missing)?;
                let oid = values.types.get(usize::from(at)).copied().unwrap_or(0);
                let Some(value) = parameter.value else {
                    return if array { Ok(()) } else { add(Key::Null) };
                };
                if values.ascii && kind == KeyType::Text && !value.is_ascii() {
                    return Err(NoShard::Encoding);
                }
                // By its other use it may be of a type that is written, or compared, in another way.
                let doubtful = match parameter.format {
                    Format::Binary => true,
                    Format::Text => kind == KeyType::Text && value.ends_with(b" "),
                };
                if oid == 0 && !own && doubtful {
                    return Err(NoShard::UnknownType(number));
                }
                if array {
                    each_key(kind, oid, parameter.format, value, add)
                } else {
                    add(read(Key::of_parameter(kind, oid, parameter.format, Some(value)))?)
                }
            }
        }
    }
}

impl Tables for Sharding {
    fn table(&self, name: &Name) -> Table<'_> {
        let schema = name.schema.as_deref();
        if matches!(schema, Some("pg_catalog" | "information_schema")) {
            return Table::Local;
        }
        // Whatever the tables of such a schema are called, the schema says where they are.
        let schemas = self.schemas.as_ref().zip(schema);
        if schemas.is_some_and(|(schemas, schema)| schemas.has(schema)) {
            return Table::Default;
        }
        let entries = self.tables.get(&name.name).map_or(&[][..], Vec::as_slice);
        let of_schema =
            entries.iter().find(|entry| schema.is_some() && entry.schema == name.schema);
        let in_any = entries.iter().find(|entry| entry.schema.is_none());
        let entry = match (schema, entries) {
            (Some(_), _) => of_schema.or(in_any),
            (None, []) => None,
            (None, [entry]) => Some(entry),
            (None, _) => return Table::Unclear,
        };
        match entry.map(|entry| &entry.kind) {
            Some(Kind::Sharded { group, key, columns }) => {
                Table::Sharded { group: *group, key, columns: columns.as_deref() }
            }
            Some(Kind::Reference) => Table::Reference,
            Some(Kind::Unclear) => Table::Unclear,
            None if schema.is_none() && name.name.starts_with("pg_") => Table::Local,
            None => Table::Default,
        }
    }

    fn keeps(&self, group: u16, type_name: &str) -> bool {
        let group = self.groups.get(usize::from(group));
        let kind = group.and_then(|group| Some(group.keys().ok()?.0));
        let same = |kind: KeyType, to: KeyType| kind == to || kind.is_integer() && to.is_integer();
        kind.zip(KeyType::of(type_name)).is_some_and(|(kind, to)| same(kind, to))
    }
}

#[cfg(test)]
mod tests;
