//! `[databases.NAME.shards.SHARD]` and `[databases.NAME.groups.GROUP]`.
//!
//! The default shard is the database itself, with its hosts; each of the others is a database called
//! `NAME/SHARD`, which no client can ask for.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Reader, Seen, joined};
use crate::config::auto::ANY;
use crate::config::choice::PoolMode;
use crate::config::database::Database;
use crate::config::keys::DATABASE;
use crate::config::model::General;
use crate::config::setting::Key;
use crate::config::shards::{
    GROUP, GROUP_TABLES, OF_SHARD, Place, SCHEMAS, ShardGroup, ShardRange, Shards,
};

/// Keys that say nothing without shards.
const OF_SHARDS: [&str; 6] = [
    "default_shard",
    "reference_tables",
    "groups",
    "schemas",
    "allow_fan_out_writes",
    "allow_fan_out_in_transactions",
];

/// Tables below the one of a database.
pub(super) const BELOW: [&str; 3] = ["shards", "groups", "schemas"];

impl Reader<'_> {
    /// Reads the shards of a database, if it has some: the databases that they are besides itself,
    /// which gets the hosts of its default shard.
    pub(super) fn read_shards(
        &mut self,
        (path, header): (&str, usize),
        (table, seen): (&DeTable<'_>, &Seen),
        database: &mut Database,
        general: &General,
    ) -> Vec<Database> {
        let Some((key, _)) = table.get_key_value("shards") else {
            for key in OF_SHARDS {
                if let Some((spanned, _)) = table.get_key_value(key) {
                    let line = Some(self.line(&spanned.span()));
                    let hint = "add [databases.NAME.shards.SHARD]".to_owned();
                    self.report_at(line, &joined(path, key), "there are no shards", Some(hint));
                }
            }
            return Vec::new();
        };
        let line = self.line(&key.span());
        if database.name == ANY {
            let what = "a table that stands for all other names can't have shards";
            self.report_at(Some(line), path, what, None);
        }
        for (name, _) in OF_SHARD.iter().filter(|(_, may)| !may) {
            if let Some(at) = seen.get(name).copied() {
                let hint = "say it of each shard".to_owned();
                let what = "a database with shards is where they are";
                self.report_at(Some(at), &joined(path, name), what, Some(hint));
            }
        }
        let mode = database.pool_mode.unwrap_or(general.pool_mode);
        if mode == PoolMode::Session {
            let hint = "set pool_mode = \"transaction\" there".to_owned();
            let what = "a database with shards can't be used in session mode";
            let (line, key) = (seen.get("pool_mode").copied(), joined(path, "pool_mode"));
            self.report_at(line.or(Some(header)), &key, what, Some(hint));
        }
        let nobody = |database: &Database| {
            let configured = database.check_user.as_ref().or(general.check_user.as_ref());
            let looks_up = database.auth_user.as_ref().or(general.auth_user.as_ref());
            configured.or(database.user.as_ref()).or(looks_up).is_none()
        };
        let mut places = vec![self.place(line, "shards")];
        let mut found = Vec::new();
        for (key, name, table) in self.tables_under_at(table, path, "shards") {
            places.push(self.place(self.line(&key.span()), &format!("shards.{name}")));
            found.push((name.to_owned(), self.read_shard(&key, (name, table), database, general)));
        }
        if let Some(line) = seen.get("default_shard") {
            places.push(self.place(*line, "default_shard"));
        }
        if let Some(line) = seen.get("reference_tables") {
            places.push(self.place(*line, "reference_tables"));
        }
        let mut groups = Vec::new();
        for (key, name, table) in self.tables_under_at(table, path, "groups") {
            let line = self.line(&key.span());
            places.push(self.place(line, &format!("groups.{name}")));
            let group = ShardGroup { name: name.to_owned(), ..ShardGroup::default() };
            let at = format!("groups.{name}");
            let of = (GROUP, at.as_str());
            groups.push(self.read_group(key.get_ref(), table, of, group, &mut places));
        }
        let schemas = self.read_schemas(table, path, &mut places);
        let default = database.default_shard.clone();
        let at =
            default.as_ref().and_then(|default| found.iter().position(|(it, _)| it == default));
        let Some(at) = at else {
            let (what, hint) = match &default {
                None => ("missing: where are the tables that no group has?".to_owned(), None),
                Some(name) => {
                    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
                    (format!("there is no shard {name}"), Some(names.join(", ")))
                }
            };
            let hint = hint.or(Some("name one of the shards".to_owned()));
            let line = seen.get("default_shard").copied().or(Some(header));
            if self.broken.is_empty() {
                self.report_at(line, &joined(path, "default_shard"), what, hint);
            }
            return Vec::new();
        };
        let (first, home) = found.remove(at);
        if nobody(&home) && self.broken.is_empty() {
            let what = "missing: nobody can ask the default shard which tables there are";
            let hint = "name a user who may log in to it".to_owned();
            self.report_at(Some(header), &joined(path, "check_user"), what, Some(hint));
        }
        let names = std::iter::once(&first).chain(found.iter().map(|(name, _)| name)).cloned();
        let shards = Shards { names: names.collect(), groups, schemas, places };
        let name = std::mem::take(&mut database.name);
        *database = Database { name, shards: Some(Arc::new(shards)), shard_of: None, ..home };
        found.into_iter().map(|(_, shard)| shard).collect()
    }

    fn place(&self, line: usize, key: &str) -> Place {
        Place { file: self.file.to_owned(), line, key: key.to_owned() }
    }

    fn tables_under_at<'t>(
        &mut self,
        table: &'t DeTable<'_>,
        path: &str,
        name: &str,
    ) -> Vec<(Spanned<String>, &'t str, &'t DeTable<'t>)> {
        let found = self.tables_under(table, name);
        let below = |(key, name, table): (Spanned<String>, _, _)| {
            let span = key.span();
            (Spanned::new(span, format!("{path}.{}", key.into_inner())), name, table)
        };
        found.into_iter().map(below).collect()
    }

    /// A shard is like its database, but for where it is.
    fn read_shard(
        &mut self,
        key: &Spanned<String>,
        (name, table): (&str, &DeTable<'_>),
        database: &Database,
        general: &General,
    ) -> Database {
        let (path, header) = (key.get_ref(), self.line(&key.span()));
        let mut shard = database.clone();
        shard.name = format!("{}/{name}", database.name);
        shard.shard_of = Some(database.name.clone());
        let of_shard = |key: &&crate::config::setting::Key<Database>| {
            OF_SHARD.iter().any(|(name, _)| *name == key.name)
        };
        let keys: Vec<_> = DATABASE.iter().filter(of_shard).collect();
        let seen = self.read_table(path, table, &keys, &[], &mut shard);
        if shard.pool_size == Some(0) {
            shard.pool_size = Some(general.max_client_conn);
        }
        self.check_hosts(path, header, (table, &seen), (&shard, general));
        shard
    }

    fn read_schemas(
        &mut self,
        table: &DeTable<'_>,
        path: &str,
        places: &mut Vec<Place>,
    ) -> Option<ShardGroup> {
        let (key, value) = table.get_key_value("schemas")?;
        let line = self.line(&key.span());
        places.push(self.place(line, "schemas"));
        let Some(table) = value.get_ref().as_table() else {
            self.report_at(Some(line), &joined(path, "schemas"), "must be a table", None);
            return None;
        };
        let (path, of) = (joined(path, "schemas"), (SCHEMAS, "schemas"));
        Some(self.read_group(&path, table, of, ShardGroup::default(), places))
    }

    fn read_group(
        &mut self,
        path: &str,
        table: &DeTable<'_>,
        (keys, at): (&'static [Key<ShardGroup>], &str),
        mut group: ShardGroup,
        places: &mut Vec<Place>,
    ) -> ShardGroup {
        let keys: Vec<_> = keys.iter().collect();
        let tables = GROUP_TABLES.map(|(name, ..)| name);
        // The first is of tables.
        let tables = if at == "schemas" { tables.get(1..) } else { tables.get(..) };
        let tables = tables.unwrap_or_default();
        let seen = self.read_table(path, table, &keys, tables, &mut group);
        for (key, line) in seen {
            places.push(self.place(line, &format!("{at}.{key}")));
        }
        for key in tables.iter().copied() {
            let Some((spanned, value)) = table.get_key_value(key) else { continue };
            let line = self.line(&spanned.span());
            places.push(self.place(line, &format!("{at}.{key}")));
            let read = match key {
                "ranges" => ranges(value.get_ref()).map(|ranges| group.ranges = ranges),
                _ => pairs(value.get_ref()).map(|pairs| match key {
                    "tables" => group.tables = pairs,
                    "bucket_map" => group.bucket_map = pairs,
                    "overrides" => group.overrides = pairs,
                    _ => group.values = pairs,
                }),
            };
            if let Err(what) = read {
                self.report_at(Some(line), &joined(path, key), what, None);
            }
        }
        group
    }
}

/// A key, as text.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.as_ref().to_owned()),
        DeValue::Integer(number) => {
            Some(number.as_str().to_owned()).filter(|_| number.radix() == 10)
        }
        _ => None,
    }
}

fn pairs(value: &DeValue<'_>) -> Result<Vec<(String, String)>, &'static str> {
    let what = "must be a table of texts, as in { \"42\" = \"a\" }";
    let pair = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        Some((key.as_ref().to_owned(), value.get_ref().as_str()?.to_owned()))
    };
    let all = value.as_table().map(|table| table.iter().map(pair).collect());
    all.flatten().ok_or(what)
}

fn ranges(value: &DeValue<'_>) -> Result<Vec<ShardRange>, &'static str> {
    let what = "must be a list of ranges, as in [{ to = \"100\", shard = \"a\" }]";
    let range = |value: &Spanned<DeValue<'_>>| {
        let table = value.get_ref().as_table()?;
        if table.iter().any(|(key, _)| !["from", "to", "shard"].contains(&key.get_ref().as_ref())) {
            return None;
        }
        let end = |name: &str| match table.get(name) {
            None => Some(None),
            Some(value) => scalar(value.get_ref()).map(Some),
        };
        let shard = table.get("shard")?.get_ref().as_str()?.to_owned();
        Some(ShardRange { from: end("from")?, to: end("to")?, shard })
    };
    let all = value.as_array().map(|all| all.iter().map(range).collect());
    all.flatten().ok_or(what)
}
