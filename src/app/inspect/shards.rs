//! What the shards of a database really hold: asked of each by the connections of an inspection, and
//! compared when all have been asked. Definitions alone: rows are not looked at.

mod columns;
mod compare;
mod partitions;
mod schemas;
mod settings;

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::timeout;

pub(super) use self::compare::compare;
use super::LIMIT;
use crate::app::shards::open_columns;
use crate::catalog::key_columns;
use crate::config::{Database, HostPort, Shards};
use crate::server::ask::{AskError, Asker, Row, array};
use crate::shard::KeyColumn;

/// Columns, partitions and other tables that a shard may have; what has more is not compared.
const ROWS_MAX: usize = 200_000;

/// Settings of a session, by their names.
pub(super) type Settings = BTreeMap<String, String>;

/// What a shard has, as its primary says.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Where it was asked.
    host: Option<HostPort>,
    /// What those who log in find set.
    settings: Vec<(String, Settings)>,
    /// Its tables; `None` = they could not be read.
    tables: Option<Result<Tables, AskError>>,
}

/// The tables of a shard.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Those of names that are configured.
    named: BTreeMap<TableName, Table>,
    /// All others, but for partitions.
    others: Vec<TableName>,
    /// Its schemas.
    schemas: BTreeSet<String>,
    /// The columns whose types the configuration leaves to the catalog.
    open: Vec<KeyColumn>,
}

/// A schema, and a name in it.
type TableName = (String, String);

/// A relation.
#[derive(Debug, Default)]
struct Table {
    /// As in `pg_class.relkind`.
    kind: String,
    columns: Vec<Column>,
    parts: Vec<Parted>,
}

/// A column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Column {
    name: String,
    /// With its length and so on, as Postgres writes it.
    kind: String,
    /// The type without them, and below a domain.
    base: String,
    is_domain: bool,
    /// A collation that is not the database's.
    collation: Option<String>,
    /// Texts of different bytes may be equal.
    merges: bool,
    not_null: bool,
}

/// A partition, or a table for partitions that has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parted {
    /// The table is the partition, not what has it.
    is_part: bool,
    /// The bounds above this one, from the table down.
    path: String,
    /// As in `HASH (id)`.
    by: String,
    /// The column, where it is by one alone and as its type is ordered and hashed.
    column: Option<String>,
    /// Its texts are ordered by their bytes.
    by_bytes: bool,
    name: String,
    bound: Option<String>,
}

const TABLES: &str = "SELECT n.nspname, c.relname, c.relkind, a.attname, \
     format_type(a.atttypid, a.atttypmod), \
     format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, NULL), \
     t.typtype = 'd', CASE WHEN a.attcollation <> t.typcollation OR l.collname <> 'default' \
     THEN concat(s.nspname, '.', l.collname) END, \
     to_jsonb(l) ->> 'collisdeterministic' = 'false', a.attnotnull \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN (pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
     LEFT JOIN pg_collation l ON l.oid = a.attcollation \
     LEFT JOIN pg_namespace s ON s.oid = l.collnamespace) \
     ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
     WHERE c.relname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
     AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
     AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)' ORDER BY 1, 2, a.attnum";

const OTHERS: &str = "SELECT n.nspname, c.relname FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relname <> ALL ($1::text[]) AND c.relkind IN ('r', 'p') \
     AND coalesce(to_jsonb(c) ->> 'relispartition', 'false') = 'false' \
     AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
     AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)' \
     AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
     AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2";

const SCHEMAS: &str = "SELECT nspname FROM pg_namespace \
     WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'";

/// There are none before Postgres 10.
const PARTITIONS: &str = "WITH RECURSIVE named AS (SELECT c.* FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = ANY ($1::text[]) \
     AND n.nspname NOT IN ('pg_catalog', 'information_schema')), \
     tree AS (SELECT oid AS root, oid AS rel, '' AS path FROM named WHERE relkind = 'p' \
     UNION ALL SELECT t.root, c.oid, concat(t.path, pg_get_expr(c.relpartbound, c.oid), ' ') COLLATE \"default\" \
     FROM tree t JOIN pg_inherits i ON i.inhparent = t.rel JOIN pg_class c ON c.oid = i.inhrelid \
     WHERE c.relispartition AND c.relkind = 'p'), \
     node AS (SELECT root, rel, path, false AS is_part FROM tree UNION ALL \
     SELECT r.oid, i.inhparent, '', true FROM named r JOIN pg_inherits i ON i.inhrelid = r.oid \
     WHERE r.relispartition) \
     SELECT n.nspname, r.relname, x.is_part, x.path, pg_get_partkeydef(x.rel), \
     (SELECT a.attname FROM pg_attribute a JOIN pg_opclass o ON o.oid = p.partclass[0] \
     WHERE o.opcdefault AND p.partnatts = 1 AND a.attrelid = x.rel AND a.attnum = p.partattrs[0]), \
     (SELECT l.collname IN ('C', 'POSIX', 'ucs_basic') OR l.collname = 'default' AND EXISTS \
     (SELECT FROM pg_database d WHERE d.datname = current_database() \
     AND d.datcollate IN ('C', 'POSIX') \
     AND coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c') \
     FROM pg_collation l WHERE l.oid = p.partcollation[0]), k.relname, \
     pg_get_expr(k.relpartbound, k.oid) \
     FROM node x JOIN pg_class r ON r.oid = x.root JOIN pg_namespace n ON n.oid = r.relnamespace \
     JOIN pg_partitioned_table p ON p.partrelid = x.rel \
     LEFT JOIN (pg_inherits i JOIN pg_class k ON k.oid = i.inhrelid AND k.relispartition) \
     ON i.inhparent = x.rel AND (NOT x.is_part OR k.oid = x.root) ORDER BY 1, 2, 3, 4, 8";

/// Names mean what they say, and dates are written in one way.
const PLAIN: &str = "SELECT set_config('search_path', '', false), \
     set_config('DateStyle', 'ISO', false), set_config('standard_conforming_strings', 'on', false)";

impl Held {
    /// Asks a server of the shard, as this user: what is set for him, and what there is, if that is
    /// not known. Of replicas nothing is asked.
    pub(super) async fn ask(
        &mut self,
        shards: &Shards,
        home: &Database,
        (host, user): (&HostPort, &str),
        asker: &mut Asker,
    ) {
        if self.host.as_ref().is_some_and(|known| known != host) {
            return;
        }
        let settings = match rows(asker, settings::QUESTION, &[]).await {
            Ok(rows) => settings::read(&rows),
            Err(error) => {
                self.tables.get_or_insert(Err(error));
                return;
            }
        };
        if settings::is_replica(&settings) {
            return;
        }
        self.host = Some(host.clone());
        let has_partitions = settings::version(&settings) >= 10;
        self.settings.push((user.to_owned(), settings));
        if !matches!(self.tables, Some(Ok(_))) {
            let names = names(shards, home);
            self.tables = Some(tables(asker, &names, &open_columns(shards), has_partitions).await);
        }
    }
}

impl Held {
    /// The columns that give keys their types, as the catalog of a default shard has them.
    fn open_columns(&self) -> &[KeyColumn] {
        match &self.tables {
            Some(Ok(tables)) => &tables.open,
            Some(Err(_)) | None => &[],
        }
    }
}

/// The names of the tables that are configured, without their schemas, as an array.
fn names(shards: &Shards, home: &Database) -> String {
    let keyed = shards.groups.iter().flat_map(|group| group.tables.iter().map(|(name, _)| name));
    let names = keyed.chain(home.reference_tables.iter().flatten());
    let names: Vec<String> = names.map(|name| split(name).1.to_owned()).collect();
    array(names.iter())
}

/// A table as it is configured: its schema, if it has one there, and its name.
fn split(configured: &str) -> (Option<&str>, &str) {
    match configured.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, configured),
    }
}

async fn tables(
    asker: &mut Asker,
    names: &str,
    open: &[(String, String)],
    has_partitions: bool,
) -> Result<Tables, AskError> {
    rows(asker, PLAIN, &[]).await?;
    let mut tables = Tables::default();
    for row in rows(asker, TABLES, &[names]).await? {
        let table = tables.named.entry((text(&row, 0), text(&row, 1))).or_default();
        table.kind = text(&row, 2);
        if row.get(3).is_some_and(Option::is_some) {
            table.columns.push(Column {
                name: text(&row, 3),
                kind: text(&row, 4),
                base: text(&row, 5),
                is_domain: is(&row, 6),
                collation: row.get(7).cloned().flatten(),
                merges: is(&row, 8),
                not_null: is(&row, 9),
            });
        }
    }
    if has_partitions {
        for row in rows(asker, PARTITIONS, &[names]).await? {
            let table = tables.named.entry((text(&row, 0), text(&row, 1))).or_default();
            table.parts.push(Parted {
                is_part: is(&row, 2),
                path: text(&row, 3),
                by: text(&row, 4),
                column: row.get(5).cloned().flatten(),
                by_bytes: is(&row, 6),
                name: text(&row, 7),
                bound: row.get(8).cloned().flatten(),
            });
        }
    }
    let open = timeout(LIMIT, key_columns(asker, open)).await;
    tables.open = open.map_err(|_elapsed| AskError::TimedOut)??;
    let others = rows(asker, OTHERS, &[names]).await?;
    tables.others = others.iter().map(|row| (text(row, 0), text(row, 1))).collect();
    let schemas = rows(asker, SCHEMAS, &[]).await?;
    tables.schemas = schemas.iter().map(|row| text(row, 0)).collect();
    Ok(tables)
}

async fn rows(asker: &mut Asker, sql: &str, given: &[&str]) -> Result<Vec<Row>, AskError> {
    let asked = timeout(LIMIT, asker.ask_for(sql, given, ROWS_MAX)).await;
    asked.map_err(|_elapsed| AskError::TimedOut)?
}

fn text(row: &Row, column: usize) -> String {
    row.get(column).cloned().flatten().unwrap_or_default()
}

fn is(row: &Row, column: usize) -> bool {
    row.get(column).is_some_and(|value| value.as_deref() == Some("t"))
}
