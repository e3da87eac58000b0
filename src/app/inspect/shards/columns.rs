//! The columns of a table on two shards, and its key.

use super::{Column, Table};
use crate::app::inspect::report::Level;
use crate::shard::KeyType;

/// What is wrong, how bad that is, and what to do.
pub(super) type Fault = (String, Level, &'static str);

/// So many differences are told of a table.
const TOLD_MAX: usize = 5;

const ALTER: &str = "statements give or take other columns there: alter the table until they agree";
const ORDER: &str = "SELECT * is refused over several shards, and rows without names of columns go \
     wrong: make the table anew there";

/// What a table has other than on the shard `there`.
pub(super) fn compare(here: &Table, there: &str, model: &Table) -> Option<Fault> {
    let find = |columns: &'_ [Column], name: &str| columns.iter().position(|it| it.name == name);
    let mut told = Vec::new();
    for column in &model.columns {
        let own = find(&here.columns, &column.name).and_then(|at| here.columns.get(at));
        let name = &column.name;
        match own {
            None => told.push(format!("has no column {name}")),
            Some(own) if (&own.kind, &own.collation) != (&column.kind, &column.collation) => {
                told.push(format!("{name} is {}, and {} on {there}", shown(own), shown(column)));
            }
            Some(_) => {}
        }
    }
    for column in &here.columns {
        if find(&model.columns, &column.name).is_none() {
            told.push(format!("has a column {}, and {there} has not", column.name));
        }
    }
    if !told.is_empty() {
        return Some((short(told), Level::Error, ALTER));
    }
    let names = |table: &Table| {
        let names: Vec<&str> = table.columns.iter().map(|it| it.name.as_str()).collect();
        names.join(", ")
    };
    if names(here) != names(model) {
        let text =
            format!("columns are in the order {}, and {} on {there}", names(here), names(model));
        return Some((text, Level::Error, ORDER));
    }
    let both = here.columns.iter().zip(&model.columns);
    let nulls = both.filter(|(own, other)| own.not_null != other.not_null).map(|(own, _)| {
        let may = if own.not_null { "may not" } else { "may" };
        format!("{} {may} be NULL, other than on {there}", own.name)
    });
    let nulls: Vec<String> = nulls.collect();
    let hint = "what one shard takes another refuses: alter the table until they agree";
    (!nulls.is_empty()).then(|| (short(nulls), Level::Warning, hint))
}

fn shown(column: &Column) -> String {
    match &column.collation {
        Some(collation) => format!("{} COLLATE {collation}", column.kind),
        None => column.kind.clone(),
    }
}

/// The first of many.
fn short(mut told: Vec<String>) -> String {
    let more = told.len().saturating_sub(TOLD_MAX);
    told.truncate(TOLD_MAX);
    let text = told.join("; ");
    if more == 0 { text } else { format!("{text}; and {more} more") }
}

/// What is wrong with the key of a table.
pub(super) fn key(table: &Table, column: &str, kind: KeyType) -> Option<Fault> {
    let Some(found) = table.columns.iter().find(|it| it.name == column) else {
        let hint = "name the table's key under tables, as the catalog has it";
        return Some((format!("there is no column {column}, its key"), Level::Error, hint));
    };
    let is = &found.kind;
    let Some(own) = KeyType::of(&found.base) else {
        let text = format!("its key {column} is {is}, and key_type is {kind}");
        let hint = "that is no type of keys: its values are not placed as they are compared";
        return Some((text, Level::Error, hint));
    };
    if found.merges {
        let text = format!("its key {column} has a collation for which different texts are equal");
        let hint = "equal keys may be on different shards: give the column another COLLATE";
        return Some((text, Level::Error, hint));
    }
    let both = kind.is_integer() && own.is_integer();
    if own != kind && !both {
        let text = format!("its key {column} is {is}, and key_type is {kind}");
        let hint = "keys are looked for on the wrong shards: correct key_type, or the column";
        return Some((text, Level::Error, hint));
    }
    if both && own.width() > kind.width() {
        let text = format!("its key {column} is {is}, and key_type is {kind}");
        let hint = "keys that are too large for key_type are refused: correct it";
        return Some((text, Level::Error, hint));
    }
    if found.is_domain {
        let text = format!("its key {column} is of the domain {is}");
        let hint = "parameters that are declared to be of it are refused as keys";
        return Some((text, Level::Warning, hint));
    }
    let is_cut = own == KeyType::Text && is.contains('(');
    let text = || format!("its key {column} is {is}");
    let hint = "blanks that Postgres cuts off at its end count here: send keys without";
    is_cut.then(|| (text(), Level::Note, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, &str)]) -> Table {
        let column = |(name, kind): &(&str, &str)| Column {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            base: kind.split('(').next().unwrap_or_default().to_owned(),
            ..Column::default()
        };
        Table { columns: columns.iter().map(column).collect(), ..Table::default() }
    }

    #[test]
    fn columns_differ_by_name_type_and_place() {
        let model = table(&[("id", "bigint"), ("name", "text"), ("at", "date")]);
        let told = |columns: &[(&str, &str)]| {
            compare(&table(columns), "a", &model).map(|(text, level, _)| (text, level))
        };
        assert_eq!(told(&[("id", "bigint"), ("name", "text"), ("at", "date")]), None);
        let wrong = |text: &str| Some((text.to_owned(), Level::Error));
        assert_eq!(
            told(&[("id", "integer"), ("at", "date"), ("more", "text")]),
            wrong(
                "id is integer, and bigint on a; has no column name; has a column more, and a has \
                 not"
            )
        );
        assert_eq!(
            told(&[("id", "bigint"), ("at", "date"), ("name", "text")]),
            wrong("columns are in the order id, at, name, and id, name, at on a")
        );
        let (text, ..) = compare(&table(&[]), "a", &table(&[("x", "text"); 7])).unwrap();
        assert!(text.ends_with("; and 2 more"), "{text}");

        let mut strict = table(&[("id", "bigint"), ("name", "text"), ("at", "date")]);
        strict.columns[1].not_null = true;
        let (text, level, _) = compare(&strict, "a", &model).unwrap();
        assert_eq!(text, "name may not be NULL, other than on a");
        assert_eq!(level, Level::Warning);
    }

    #[test]
    fn keys_are_of_their_type_or_it_is_told_what_that_does() {
        let level = |kind: &str, wanted| {
            key(&table(&[("id", kind)]), "id", wanted).map(|(_, level, _)| level)
        };
        for (kind, wanted, found) in [
            ("bigint", KeyType::Int8, None),
            ("integer", KeyType::Int8, None),
            ("bigint", KeyType::Int4, Some(Level::Error)),
            ("text", KeyType::Int8, Some(Level::Error)),
            ("numeric", KeyType::Int8, Some(Level::Error)),
            ("character(4)", KeyType::Text, Some(Level::Error)),
            ("character varying", KeyType::Text, None),
            ("character varying(9)", KeyType::Text, Some(Level::Note)),
            ("uuid", KeyType::Uuid, None),
        ] {
            assert_eq!(level(kind, wanted), found, "{kind} {wanted}");
        }
        let found = key(&table(&[("id", "bigint")]), "user_id", KeyType::Int8);
        assert_eq!(found.map(|(_, level, _)| level), Some(Level::Error));
        let mut merging = table(&[("id", "text")]);
        merging.columns[0].merges = true;
        assert_eq!(
            key(&merging, "id", KeyType::Text).map(|(_, level, _)| level),
            Some(Level::Error)
        );
    }
}
