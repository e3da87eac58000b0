//! What is configured of the databases' shards, checked and ready to be asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::timeout;

use super::explain::PATIENCE;
use crate::catalog::Current;
use crate::config::{Config, Database, Problems, ShardGroup, ShardRange, Shards};
use crate::session::{Layout, ShardRoute};
use crate::shard::{Draft, DraftGroup, DraftRange, DraftSchemas, Sharding};

/// How all databases are spread that have shards, by their names.
pub(super) type Shardings = BTreeMap<String, Arc<Layout>>;

/// What is made of what is configured; what is the same as `before` is taken over.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn shardings(
    config: &Config,
    before: Option<&Shardings>,
) -> Result<Shardings, Problems> {
    let bytes_max = config.general.facts_cache_size.len();
    let (mut found, mut problems) = (Shardings::new(), Vec::new());
    for (name, database) in &config.databases {
        let Some(shards) = &database.shards else { continue };
        match draft(database, shards).check() {
            Ok(sharding) => {
                let known = before.and_then(|before| before.get(name));
                let layout = match known.filter(|known| *known.sharding == sharding) {
                    Some(known) => Arc::clone(known),
                    None => Arc::new(Layout::new(sharding, bytes_max)),
                };
                layout.resize(bytes_max);
                found.insert(name.clone(), layout);
            }
            Err(faults) => problems.extend(faults.iter().map(|fault| {
                let (key, what) = fault.told();
                shards.problem(name, &key, what)
            })),
        }
    }
    match Problems::of(problems) {
        None => Ok(found),
        Some(problems) => Err(problems),
    }
}

/// The columns whose types the catalog has to say: tables without their schemas, with their keys.
pub(super) fn open_columns(shards: &Shards) -> Vec<(String, String)> {
    let open = shards.groups.iter().filter(|group| group.key_type.is_empty());
    let tables = open.flat_map(|group| &group.tables);
    let bare = |table: &String| match table.split_once('.') {
        Some((_, name)) => name.to_owned(),
        None => table.clone(),
    };
    tables.map(|(table, key)| (bare(table), key.clone())).collect()
}

/// Which shard a text would run on, and why, by what is known now of the default shard.
pub(super) async fn explain(
    layout: &Layout,
    current: &Current,
    text: &[u8],
    fan_out_writes: bool,
) -> ShardRoute {
    // If nobody reads it, it goes by what was read last.
    let _in_time = timeout(PATIENCE, current.read()).await;
    layout.explain(text, current, fan_out_writes)
}

/// Checks the shards of a configuration that is right in itself.
///
/// # Errors
/// All that is wrong with them.
pub fn check(config: &Config) -> Result<(), Problems> {
    shardings(config, None).map(drop)
}

/// What is made of what is configured of a database, where that is right.
pub(super) fn sharding(database: &Database) -> Option<Sharding> {
    draft(database, database.shards.as_ref()?).check().ok()
}

fn draft(database: &Database, shards: &Shards) -> Draft {
    Draft {
        shards: shards.names.clone(),
        default_shard: database.default_shard.clone().unwrap_or_default(),
        reference_tables: database.reference_tables.clone().unwrap_or_default(),
        groups: shards.groups.iter().map(group).collect(),
        schemas: shards.schemas.as_ref().map(schemas),
    }
}

fn schemas(schemas: &ShardGroup) -> DraftSchemas {
    DraftSchemas { prefix: schemas.prefix.clone(), by: group(schemas) }
}

fn group(group: &ShardGroup) -> DraftGroup {
    let ShardGroup {
        name,
        key_type,
        function,
        buckets,
        otherwise,
        tables,
        bucket_map,
        overrides,
        values,
        ranges,
        prefix: _,
    } = group.clone();
    let range = |ShardRange { from, to, shard }| DraftRange { from, to, shard };
    let ranges = ranges.into_iter().map(range).collect();
    DraftGroup {
        name,
        key_type,
        tables,
        function,
        buckets,
        bucket_map,
        overrides,
        ranges,
        values,
        otherwise,
    }
}

#[cfg(test)]
mod tests;
