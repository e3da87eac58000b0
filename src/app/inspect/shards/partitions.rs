//! Partitions that shards have of a table: those by its key have to take the keys that are placed on their
//! shard, all others have to be the same everywhere.

use std::collections::{BTreeMap, BTreeSet};

use super::columns::Fault;
use super::{Parted, Table};
use crate::app::inspect::report::Level;
use crate::shard::{Fit, KeyType, Placement, ShardId};

/// What a table is spread by.
#[derive(Clone, Copy, Debug)]
pub(super) struct By<'a> {
    pub(super) column: &'a str,
    pub(super) kind: KeyType,
    pub(super) placement: &'a Placement,
    pub(super) shard: ShardId,
}

/// What has partitions, by where it is below the table: whether that is one itself, and the bounds above.
type Nodes<'a> = BTreeMap<(bool, &'a str), Vec<&'a Parted>>;

fn nodes(table: &Table) -> Nodes<'_> {
    let mut nodes = Nodes::new();
    for part in &table.parts {
        nodes.entry((part.is_part, &part.path)).or_default().push(part);
    }
    nodes
}

fn is_by_key(parts: &[&Parted], column: &str) -> bool {
    parts.first().and_then(|part| part.column.as_deref()) == Some(column)
}

/// What does not fit the keys of the shard.
pub(super) fn fit(table: &Table, by: By<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for ((is_part, path), parts) in nodes(table) {
        if !is_by_key(&parts, by.column) {
            continue;
        }
        let by_bytes = parts.iter().all(|part| part.by_bytes);
        let bounds: Vec<&str> = parts.iter().filter_map(|part| part.bound.as_deref()).collect();
        let method = parts.first().map(|part| part.by.as_str()).unwrap_or_default();
        let what = match (is_part, path.trim_end()) {
            (true, _) => "is a partition itself".to_owned(),
            (false, "") => format!("is partitioned by {method}"),
            (false, path) => format!("its partition {path} is partitioned by {method}"),
        };
        let (lacks, surplus) = match by.placement.fit(by.shard, by.kind, by_bytes, &bounds) {
            Fit::Fits => continue,
            Fit::Unclear => {
                let text =
                    format!("{what}, which can't be compared with the function of its group");
                let hint = "see that its partitions take all keys of the shard, and no others";
                faults.push((text, Level::Warning, hint));
                continue;
            }
            Fit::Not { lacks, surplus } => (lacks, surplus),
        };
        if let Some(keys) = lacks {
            let text = format!("{what}, and no partition takes {keys}, which the shard has");
            let hint = "rows there are refused: attach the partition, or correct the group";
            faults.push((text, Level::Error, hint));
        }
        let named = parts.iter().filter(|part| part.bound.is_some());
        let named: Vec<&str> = named.map(|part| part.name.as_str()).collect();
        let surplus: Vec<&str> = surplus.iter().filter_map(|at| named.get(*at)).copied().collect();
        if !surplus.is_empty() {
            let names = surplus.join(", ");
            let text = format!("{what}, and keys of {names} are placed on other shards");
            let hint = "rows in it are not found: move them, or correct the group; nothing is \
                        wrong where it is empty";
            faults.push((text, Level::Warning, hint));
        }
    }
    faults
}

/// What a table has other partitions for than on the shard `there`; those by its key apart.
pub(super) fn compare(
    here: &Table,
    there: &str,
    model: &Table,
    key: Option<&str>,
) -> Option<Fault> {
    let (own, others) = (nodes(here), nodes(model));
    for (place, parts) in &own {
        let Some(model) = others.get(place) else { continue };
        let of_key = key.is_some_and(|key| is_by_key(parts, key) || is_by_key(model, key));
        if of_key {
            continue;
        }
        let method = |parts: &[&Parted]| parts.first().map(|part| part.by.clone());
        let (by, by_model) = (method(parts).unwrap_or_default(), method(model).unwrap_or_default());
        if by != by_model {
            let text = format!("is partitioned by {by}, and by {by_model} on {there}");
            return Some((
                text,
                Level::Note,
                "all rows have a place in either where both have all",
            ));
        }
        let bounds = |parts: &[&Parted]| {
            let bounds = parts.iter().filter_map(|part| part.bound.clone());
            bounds.collect::<BTreeSet<String>>()
        };
        let (own, others) = (bounds(parts), bounds(model));
        let lacks: Vec<&str> = others.difference(&own).map(String::as_str).collect();
        let more: Vec<&str> = own.difference(&others).map(String::as_str).collect();
        let said = |bounds: &[&str], side: &str| match bounds {
            [] => None,
            [first] => Some(format!("{side} partition {first}")),
            [first, rest @ ..] => {
                Some(format!("{side} partition {first}, nor {} more", rest.len()))
            }
        };
        let missing = said(&lacks, "has no");
        let surplus = said(&more, &format!("has what {there} has not:"));
        let surplus = surplus.map(|text| text.replace(", nor", ", and"));
        let told: Vec<String> = missing.into_iter().chain(surplus).collect();
        if !told.is_empty() {
            let hint = "rows that one shard takes another refuses: make the same partitions on all";
            return Some((told.join("; "), Level::Error, hint));
        }
    }
    None
}
