//! What does not agree between the shards of a database. Decides only: asks nobody.

use std::collections::{BTreeMap, BTreeSet};

use super::columns::{self, Fault};
use super::partitions::{self, By};
use super::schemas;
use super::settings;
use super::{Held, Table, TableName, Tables, split};
use crate::app::inspect::report::{Check, Level};
use crate::config::{Database, Shards};
use crate::shard::{ShardId, Sharding};

/// So many tables are named.
const NAMED_MAX: usize = 5;

/// The shards of a database that could be asked.
struct Compared<'a> {
    home: &'a Database,
    sharding: &'a Sharding,
    /// Their names, in their order.
    tables: Vec<(ShardId, &'a str, &'a Tables)>,
    checks: Vec<Check>,
}

/// A table that is configured.
#[derive(Clone, Copy)]
struct Configured<'a> {
    name: &'a str,
    /// The group, by its number, and the key; without them it is on every shard.
    keyed: Option<(usize, &'a str)>,
}

/// What does not agree, and what does.
pub(in crate::app::inspect) fn compare(
    home: &Database,
    shards: &Shards,
    sharding: &Sharding,
    held: &BTreeMap<String, Held>,
) -> Vec<Check> {
    let place = format!("databases.{}", home.name);
    let columns = held.get(&home.name).map(Held::open_columns).unwrap_or_default();
    let sharding = &sharding.typed(columns, None);
    let mut compared = Compared { home, sharding, tables: Vec::new(), checks: Vec::new() };
    let mut asked: Vec<(&str, &Held)> = Vec::new();
    for (name, at) in shards.names.iter().zip((0..=u8::MAX).map(ShardId)) {
        let database = sharding.database(&home.name, at);
        let found = database.and_then(|database| held.get(&database));
        match found.map(|held| (held, &held.tables)) {
            Some((held, Some(Ok(tables)))) => {
                asked.push((name, held));
                compared.tables.push((at, name, tables));
            }
            Some((_, Some(Err(error)))) => {
                let check = Check::ok("shards", &place, format!("shard {name}: {error}"));
                let hint = "so its tables are not compared";
                compared.checks.push(check.but(Level::Error, hint));
            }
            Some((_, None)) | None => {
                let text = format!("shard {name} is not compared: nobody could ask its primary");
                let hint = "see the logins there; check_user is tried as well";
                compared.checks.push(Check::ok("shards", &place, text).but(Level::Warning, hint));
            }
        }
    }
    compared.checks.extend(settings::compare(home, &asked));
    compared.schemas(shards);
    compared.types();
    compared.tables(shards);
    compared.checks
}

impl Compared<'_> {
    fn tables(&mut self, shards: &Shards) {
        let reference = self.home.reference_tables.iter().flatten();
        let configured = reference.map(|name| Configured { name, keyed: None });
        let groups = shards.groups.iter().enumerate();
        let keyed = groups.flat_map(|(group, it)| {
            it.tables.iter().map(move |(name, key)| (name, Some((group, key.as_str()))))
        });
        let keyed = keyed.map(|(name, keyed)| Configured { name, keyed });
        let configured: Vec<Configured<'_>> = configured.chain(keyed).collect();
        let mut alike = 0;
        for table in &configured {
            alike += self.configured(*table, &configured);
        }
        self.others();
        let names: Vec<&str> = self.tables.iter().map(|(_, name, _)| *name).collect();
        if names.len() > 1 && alike > 0 {
            let tables = if alike == 1 { "1 table is" } else { &format!("{alike} tables are") };
            let text = format!("{tables} as configured, and alike on {}", names.join(", "));
            self.push("shard tables", None, text, None);
        }
    }

    /// Compares what is meant by a name; how many of that are as they should be.
    fn configured(&mut self, table: Configured<'_>, all: &[Configured<'_>]) -> usize {
        let (schema, name) = split(table.name);
        // One that is named with its schema goes before the name alone.
        let own = |found: &&TableName| {
            let said = |it: &Configured<'_>| split(it.name) == (Some(&found.0), name);
            found.1 == name
                && (schema.is_some() || !all.iter().any(said))
                && schema.is_none_or(|schema| found.0 == schema)
        };
        let tables = self.tables.iter().flat_map(|(_, _, tables)| tables.named.keys());
        let tables = tables.filter(|(schema, _)| !self.is_tenant(schema));
        let found: BTreeSet<TableName> = tables.filter(own).cloned().collect();
        if found.is_empty() && !self.tables.is_empty() {
            let text = "no shard has it".to_owned();
            let hint = "make it on all of them, or take it out of the configuration";
            self.push("shard tables", Some(table.name), text, Some((Level::Error, hint)));
        }
        found.iter().filter(|found| self.is_alike(table, found)).count()
    }

    /// Compares a table over all shards; whether it is as it should be.
    fn is_alike(&mut self, table: Configured<'_>, found: &TableName) -> bool {
        let (shown, before) = (format!("{}.{}", found.0, found.1), self.checks.len());
        let has = |tables: &Tables| tables.named.contains_key(found);
        let without = self.tables.iter().filter(|(_, _, tables)| !has(tables));
        let without: Vec<&str> = without.map(|(_, name, _)| *name).collect();
        if !without.is_empty() {
            let text = format!("is not on {}", without.join(", "));
            let hint = "what is for it fails there: make it, as on the others";
            self.push("shard tables", Some(&shown), text, Some((Level::Error, hint)));
        }
        let mut faults: Vec<(String, &'static str, Fault)> = Vec::new();
        let mut model: Option<(&str, &Table)> = None;
        for (at, shard, tables) in &self.tables {
            let Some(own) = tables.named.get(found) else { continue };
            let mut add = |what, fault: Option<Fault>| {
                faults.extend(fault.map(|fault| ((*shard).to_owned(), what, fault)));
            };
            add("shard tables", relation(own, table.keyed.is_some()));
            if let Some((group, column)) = table.keyed
                && let Some((_, Ok((kind, placement)))) = self.sharding.groups().nth(group)
            {
                add("shard keys", columns::key(own, column, kind));
                let by = By { column, kind, placement, shard: *at };
                for fault in partitions::fit(own, by) {
                    add("shard partitions", Some(fault));
                }
            }
            match model {
                None => model = Some((shard, own)),
                Some((there, model)) => {
                    add("shard columns", columns::compare(own, there, model));
                    let key = table.keyed.map(|(_, key)| key);
                    add("shard partitions", partitions::compare(own, there, model, key));
                }
            }
        }
        // What is the same on several is told once.
        let mut told: Vec<(Vec<String>, &'static str, Fault)> = Vec::new();
        for (shard, what, fault) in faults {
            match told.iter_mut().find(|it| (it.1, &it.2) == (what, &fault)) {
                Some((shards, ..)) => shards.push(shard),
                None => told.push((vec![shard], what, fault)),
            }
        }
        for (shards, what, (text, level, hint)) in told {
            let text = format!("on {}: {text}", shards.join(", "));
            self.push(what, Some(&shown), text, Some((level, hint)));
        }
        let worst = self.checks.iter().skip(before).map(|check| check.level).max();
        worst.is_none_or(|worst| worst <= Level::Note)
    }

    /// Tables of no group on other shards than the default one.
    fn others(&mut self) {
        let default = self.sharding.default_shard();
        let home = self.tables.iter().find(|(at, ..)| *at == default);
        let Some((_, home, at_home)) = home.copied() else { return };
        let here: BTreeSet<&TableName> = at_home.others.iter().collect();
        let mut told = Vec::new();
        for (at, shard, tables) in &self.tables {
            if *at == default {
                continue;
            }
            let others = tables.others.iter().filter(|(schema, _)| !self.is_tenant(schema));
            let (both, alone): (Vec<_>, Vec<_>) = others.partition(|name| here.contains(name));
            let shown = |names: Vec<&TableName>| {
                let names = names.iter().map(|(schema, name)| format!("{schema}.{name}"));
                names.collect::<Vec<_>>()
            };
            let (both, alone) = (shown(both), shown(alone));
            if let Some(names) = listed(&both) {
                let text = format!(
                    "shard {shard} has tables of no group, of which those on {home} count: {names}"
                );
                let hint = "name them under tables or reference_tables, if rows here are meant";
                told.push((text, Level::Warning, hint));
            }
            if let Some(names) = listed(&alone) {
                let text = format!("shard {shard} alone has tables of no group: {names}");
                let hint = "they are looked for on the default shard: name this one by hand";
                told.push((text, Level::Note, hint));
            }
        }
        for (text, level, hint) in told {
            self.push("shard tables", None, text, Some((level, hint)));
        }
    }

    /// Whether a schema says where its tables are.
    fn is_tenant(&self, schema: &str) -> bool {
        self.sharding.schemas().is_some_and(|schemas| schemas.has(schema))
    }

    /// Groups whose keys are of a type that the catalog does not say.
    fn types(&mut self) {
        let wrong = self.sharding.groups().filter_map(|(_, keys)| keys.err());
        let wrong: Vec<String> = wrong.map(|why| why.to_string()).collect();
        for text in wrong {
            let hint =
                "statements by these keys are refused: make the columns agree, or set key_type";
            self.push("shard keys", None, text, Some((Level::Error, hint)));
        }
    }

    /// Schemas that say where their tables are.
    fn schemas(&mut self, shards: &Shards) {
        let Some(schemas) = self.sharding.schemas() else { return };
        for (text, level, hint) in schemas::compare(schemas, &shards.names, &self.tables) {
            self.push("shard schemas", None, text, Some((level, hint)));
        }
    }

    fn push(
        &mut self,
        what: &'static str,
        table: Option<&str>,
        text: String,
        wrong: Option<(Level, &'static str)>,
    ) {
        let mut place = format!("databases.{}", self.home.name);
        if let Some(table) = table {
            place += &format!(" {table}");
        }
        let check = Check::ok(what, place, text);
        self.checks.push(match wrong {
            None => check,
            Some((level, hint)) => check.but(level, hint),
        });
    }
}

/// What is wrong with what kind of relation it is.
fn relation(table: &Table, is_keyed: bool) -> Option<Fault> {
    let hint = "its rows may be of other shards: name tables";
    match table.kind.as_str() {
        "r" | "p" => None,
        "f" if !is_keyed => {
            let hint = "fine, if the rows behind it are the same on all shards";
            Some(("is a foreign table".to_owned(), Level::Note, hint))
        }
        "f" => Some(("is a foreign table".to_owned(), Level::Error, hint)),
        _ => Some(("is a view".to_owned(), Level::Error, hint)),
    }
}

/// The first of many.
pub(super) fn listed<T: AsRef<str>>(names: &[T]) -> Option<String> {
    let shown: Vec<&str> = names.iter().take(NAMED_MAX).map(AsRef::as_ref).collect();
    let shown = shown.join(", ");
    match names.len().checked_sub(NAMED_MAX) {
        _ if names.is_empty() => None,
        None | Some(0) => Some(shown),
        Some(more) => Some(format!("{shown} and {more} more")),
    }
}
