//! The columns that keys are in, as a server has them. One question for whoever wants to know, so that what
//! is said of a configuration beforehand is what comes of it.

use super::load::{ROWS_MAX, unreadable, value};
use crate::server::ask::{AskError, Asker, Row, array};
use crate::shard::KeyColumn;

/// A type is as it was declared, with its length; a domain is what is below it.
const QUESTION: &str = "SELECT n.nspname, c.relname, a.attname, \
     format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, \
     CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END), \
     coalesce(to_jsonb(l) ->> 'collisdeterministic', 'true') = 'false' \
     FROM unnest($1::text[], $2::text[]) AS asked (relation, name) \
     JOIN pg_class c ON c.relname = asked.relation AND c.relkind IN ('r', 'p', 'f') \
     AND c.relpersistence <> 't' JOIN pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = asked.name AND a.attnum > 0 \
     AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid \
     LEFT JOIN pg_collation l ON l.oid = a.attcollation \
     WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, 3";

/// The columns of these names, of tables of these names in any schema. For a connection whose `search_path`
/// is empty.
///
/// # Errors
/// As [`AskError`] says. There is no limit on time.
pub async fn key_columns(
    asker: &mut Asker,
    asked: &[(String, String)],
) -> Result<Vec<KeyColumn>, AskError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let relations = array(asked.iter().map(|(relation, _)| relation));
    let names = array(asked.iter().map(|(_, name)| name));
    let rows = asker.ask_for(QUESTION, &[&relations, &names], ROWS_MAX).await?;
    rows.iter().map(|row| column(row).ok_or_else(unreadable)).collect()
}

fn column(row: &Row) -> Option<KeyColumn> {
    Some(KeyColumn {
        schema: value(row, 0)?.into(),
        table: value(row, 1)?.into(),
        column: value(row, 2)?.into(),
        kind: value(row, 3)?.into(),
        merges: value(row, 4)? == "t",
    })
}
