//! How databases are spread over shards, as the console tells of it.

use super::commands::{Column, Row};
use super::registry::Registry;
use super::tables::{number, text};
use crate::shard::{Key, KeyType, ShardId};
use crate::wire::reply::ColumnType::{Integer, Text};
use crate::wire::reply::Value;

pub(super) static SHARDS: &[Column] = &[
    ("database", Text),
    ("shard", Text),
    ("pools", Text),
    ("hosts", Text),
    ("default", Text),
    ("paused", Integer),
    ("keys", Text),
];

pub(super) fn shards(registry: &dyn Registry) -> Vec<Row> {
    let config = registry.config();
    let mut rows = Vec::new();
    for (database, sharding) in registry.shardings() {
        for (shard, at) in sharding.shards().iter().zip(0..) {
            let is_default = ShardId(at) == sharding.default_shard();
            let name = sharding.database(&database, ShardId(at)).unwrap_or_default();
            let hosts = config.databases.get(&name).map(|database| database.all_hosts());
            let hosts =
                hosts.unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>();
            let parts = sharding.groups().map(|(group, keys)| match keys {
                Ok((_, placement)) => format!("{group}: {}", placement.part(ShardId(at))),
                Err(_) => format!("{group}: unknown"),
            });
            let schemas = sharding.schemas().map(|schemas| schemas.placement().part(ShardId(at)));
            let parts = parts.chain(schemas.map(|part| format!("schemas: {part}")));
            let paused = registry.is_paused(Some(&database)) || registry.is_paused(Some(&name));
            rows.push(vec![
                text(database.as_str()),
                text(shard.as_str()),
                text(name),
                text(hosts.join(", ")),
                text(if is_default { "yes" } else { "no" }),
                number(usize::from(paused)),
                text(parts.collect::<Vec<_>>().join("; ")),
            ]);
        }
    }
    rows
}

pub(super) static OF_KEY: &[Column] = &[
    ("database", Text),
    ("group", Text),
    ("key_type", Text),
    ("bucket", Integer),
    ("shard", Text),
    ("error", Text),
];

pub(super) fn of_key(registry: &dyn Registry, written: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (database, sharding) in registry.shardings() {
        // Of schemas, only what may be one.
        let schemas = sharding.schemas().filter(|schemas| schemas.has(written));
        let schemas = schemas.map(|schemas| ("schemas", Ok((KeyType::Text, schemas.placement()))));
        for (group, keys) in sharding.groups().chain(schemas) {
            let (mut bucket, mut shard, mut error) = (Value::Null, Value::Null, Value::Null);
            let mut kind = Value::Null;
            match keys.map_err(|why| why.to_string()).and_then(|(known, placement)| {
                kind = text(known.to_string());
                let key = Key::of_text(known, written.as_bytes());
                Ok((key.map_err(|why| why.to_string())?, placement))
            }) {
                Err(why) => error = text(why),
                Ok((key, placement)) => {
                    let found = placement.bucket(&key).and_then(|it| usize::try_from(it).ok());
                    bucket = found.map_or(Value::Null, number);
                    match placement.shard(&key) {
                        Ok(ShardId(at)) => {
                            let name = sharding.shards().get(usize::from(at));
                            shard = text(name.map_or("", String::as_str));
                        }
                        Err(why) => error = text(why.to_string()),
                    }
                }
            }
            let start = [text(database.as_str()), text(group), kind];
            rows.push(start.into_iter().chain([bucket, shard, error]).collect());
        }
    }
    rows
}
