//! What the servers of shards are like, and what they have set for those who log in.

use std::collections::{BTreeMap, BTreeSet};

use super::{Held, Settings};
use crate::app::inspect::report::{Check, Level};
use crate::config::Database;
use crate::server::ask::Row;

/// What is no setting has a name that none has.
pub(super) const QUESTION: &str = "SELECT name, setting FROM pg_settings WHERE name IN \
     ('server_encoding', 'TimeZone', 'DateStyle', 'IntervalStyle', 'standard_conforming_strings', \
     'bytea_output', 'extra_float_digits', 'search_path', 'lc_monetary', 'lc_numeric', 'lc_time', \
     'xmlbinary', 'timezone_abbreviations', 'default_text_search_config', 'integer_datetimes') \
     UNION ALL SELECT 'is replica', pg_is_in_recovery()::text \
     UNION ALL SELECT 'version', current_setting('server_version_num') \
     UNION ALL SELECT 'collation', concat_ws(' ', 'lc_collate=' || d.datcollate, \
     'lc_ctype=' || d.datctype, 'provider=' || coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'), \
     'locale=' || coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')) \
     FROM pg_database d WHERE d.datname = current_database() \
     UNION ALL SELECT 'collation version', to_jsonb(d) ->> 'datcollversion' \
     FROM pg_database d WHERE d.datname = current_database()";

/// Names, what they are called, how bad it is that they differ, and what to do.
const COMPARED: &[(&str, &str, Level, &str)] = &[
    ("version", "server_version", Level::Warning, SAME_VERSION),
    ("server_encoding", "server_encoding", Level::Error, SAME_DATABASE),
    ("collation", "the database's collation", Level::Error, SAME_DATABASE),
    ("collation version", "the version of the database's collation", Level::Warning, SAME_SYSTEM),
    ("integer_datetimes", "integer_datetimes", Level::Error, SAME_VERSION),
    ("search_path", "search_path", Level::Error, SET),
    ("TimeZone", "TimeZone", Level::Error, SET),
    ("DateStyle", "DateStyle", Level::Error, SET),
    ("IntervalStyle", "IntervalStyle", Level::Error, SET),
    ("standard_conforming_strings", "standard_conforming_strings", Level::Error, SET),
    ("bytea_output", "bytea_output", Level::Error, SET),
    ("extra_float_digits", "extra_float_digits", Level::Error, SET),
    ("lc_monetary", "lc_monetary", Level::Error, SET),
    ("xmlbinary", "xmlbinary", Level::Error, SET),
    ("lc_numeric", "lc_numeric", Level::Warning, SET),
    ("lc_time", "lc_time", Level::Warning, SET),
    ("timezone_abbreviations", "timezone_abbreviations", Level::Warning, SET),
    ("default_text_search_config", "default_text_search_config", Level::Warning, SET),
];

const SET: &str = "the same statement gives other values there: ALTER DATABASE … SET it alike on \
     all, or ALTER ROLE";
const SAME_DATABASE: &str = "it can't be changed: make the database anew there, and move its rows";
const SAME_SYSTEM: &str = "texts may be ordered in another way there: the same operating system \
     on all, or COLLATE \"C\"";
const SAME_VERSION: &str = "functions, and what is refused, may differ: the same major version \
     on all";

/// The rows of the question.
pub(super) fn read(rows: &[Row]) -> Settings {
    let value = |row: &Row| {
        let value = row.get(1).cloned().flatten()?;
        Some((row.first().cloned().flatten()?, value))
    };
    rows.iter().filter_map(value).collect()
}

pub(super) fn is_replica(settings: &Settings) -> bool {
    settings.get("is replica").is_some_and(|is| is == "true")
}

/// The major version.
pub(super) fn version(settings: &Settings) -> u32 {
    let number = settings.get("version").and_then(|number| number.parse::<u32>().ok());
    number.unwrap_or_default() / 10_000
}

/// What is set in other ways on some of these shards than on others.
pub(super) fn compare(home: &Database, held: &[(&str, &Held)]) -> Vec<Check> {
    // A user's session gets what is configured, whatever the server has set.
    let configured = |name: &str| match name {
        "TimeZone" => home.timezone.is_some(),
        "DateStyle" => home.datestyle.is_some(),
        _ => false,
    };
    let mut found = Vec::new();
    for (name, called, level, hint) in COMPARED {
        if configured(name) {
            continue;
        }
        // The same difference for several users is told once.
        let mut told: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for user in users(held) {
            let of_user = |held: &Held| {
                let own = held.settings.iter().find(|(own, _)| own == user);
                own.map(|(_, settings)| value(name, settings))
            };
            let mut by_value: BTreeMap<String, Vec<&str>> = BTreeMap::new();
            for (shard, held) in held {
                if let Some(value) = of_user(held) {
                    by_value.entry(value).or_default().push(shard);
                }
            }
            if by_value.len() > 1 {
                // The first shard's comes first.
                let mut values: Vec<_> = by_value.into_iter().collect();
                let place = |shards: &[&str]| {
                    held.iter().position(|(shard, _)| shards.first() == Some(shard))
                };
                values.sort_by_key(|(_, shards)| place(shards));
                let part = |(value, shards): &(String, Vec<&str>)| {
                    format!("{value} on {}", shards.join(", "))
                };
                let parts = values.iter().map(part).collect::<Vec<_>>().join("; ");
                told.entry(parts).or_default().push(user);
            }
        }
        for (parts, users) in told {
            let by_user =
                if *hint == SET { format!(" (as {})", users.join(", ")) } else { String::new() };
            let check = Check::ok(
                "shard settings",
                format!("databases.{}", home.name),
                format!("{called} is {parts}{by_user}"),
            );
            found.push(check.but(*level, *hint));
        }
    }
    found
}

fn users<'a>(held: &[(&str, &'a Held)]) -> BTreeSet<&'a str> {
    let all = held.iter().flat_map(|(_, held)| &held.settings);
    all.map(|(user, _)| user.as_str()).collect()
}

fn value(name: &str, settings: &Settings) -> String {
    match name {
        "version" => version(settings).to_string(),
        name => match settings.get(name) {
            Some(value) if !value.is_empty() => value.clone(),
            _ => "\"\"".to_owned(),
        },
    }
}
