//! Schemas that say where their tables are, and where they really are.

use std::collections::{BTreeMap, BTreeSet};

use super::Tables;
use super::columns::Fault;
use super::compare::listed;
use crate::app::inspect::report::Level;
use crate::shard::{Schemas, ShardId};

/// What is elsewhere than the configuration says.
pub(super) fn compare(
    schemas: &Schemas,
    shards: &[String],
    held: &[(ShardId, &str, &Tables)],
) -> Vec<Fault> {
    let name = |at: ShardId| shards.get(usize::from(at.0)).map_or("", String::as_str);
    let has = |at: ShardId, schema: &str| {
        let tables = held.iter().find(|(own, ..)| *own == at).map(|(_, _, tables)| tables);
        tables.is_some_and(|tables| tables.schemas.contains(schema))
    };
    let mut found: BTreeSet<&str> = BTreeSet::new();
    let mut copies: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut elsewhere: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let mut homeless: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (at, shard, tables) in held {
        for schema in &tables.schemas {
            match schemas.shard(schema) {
                None => continue,
                Some(Ok(home)) if home == *at => {}
                Some(Ok(home)) if has(home, schema) => {
                    copies.entry(shard).or_default().push(schema);
                }
                Some(Ok(home)) => {
                    elsewhere.entry((shard, name(home))).or_default().push(schema);
                }
                Some(Err(_unplaced)) => homeless.entry(shard).or_default().push(schema),
            }
            found.insert(schema);
        }
    }
    let mut faults = Vec::new();
    for ((shard, home), names) in elsewhere {
        let text = format!("{} on shard {shard}, and looked for on {home}", are(&names));
        let hint = "statements find nothing there: move them, or say so in the configuration";
        faults.push((text, Level::Error, hint));
    }
    for (shard, names) in homeless {
        let text = format!("{} on shard {shard}, and on none by the configuration", are(&names));
        let hint = "statements that name it are refused: list it, or set otherwise";
        faults.push((text, Level::Error, hint));
    }
    for (shard, names) in copies {
        let names = listed(&names).unwrap_or_default();
        let text = format!("shard {shard} has schemas of other shards as well: {names}");
        let hint = "what is in them is not found: drop them, when they have been moved";
        faults.push((text, Level::Warning, hint));
    }
    let missing = schemas.listed().filter(|(schema, _)| !found.contains(schema.as_str()));
    for (schema, home) in missing.filter(|_| held.len() == shards.len()) {
        let text = format!("schema {schema} is on no shard, and looked for on {}", name(home));
        let hint = "make it there, or take it out of the configuration";
        faults.push((text, Level::Warning, hint));
    }
    faults
}

fn are(names: &[&str]) -> String {
    let (word, are) = if names.len() == 1 { ("schema", "is") } else { ("schemas", "are") };
    format!("{word} {} {are}", listed(names).unwrap_or_default())
}
