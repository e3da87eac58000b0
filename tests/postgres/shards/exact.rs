//! Whether plans are exact: generated queries over a schema with all rows, and over the same tables
//! spread over others, where and as their plan says. `SHARDED_QUERIES` says how many.

use std::collections::BTreeMap;
use std::env;

use pgweir::shard::{Draft, DraftGroup, ShardId, ShardSet, Sharding, Target, Values};
use pgweir::sql::keys::{Access, Plan, plan};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::connected;
use crate::support::cluster;

pub const SHARDS: u8 = 3;
/// Tables with their key columns.
pub const TABLES: [(&str, &str); 3] =
    [("users", "id"), ("orders", "user_id"), ("items", "user_id")];

pub fn sharding() -> Sharding {
    let shards: Vec<String> = (0..SHARDS).map(|shard| format!("s{shard}")).collect();
    sharding_of(&shards.iter().map(String::as_str).collect::<Vec<_>>(), &TABLES)
}

/// A sharding with these shards, the first of which is the default one, and one group of these tables.
pub fn sharding_of(shards: &[&str], tables: &[(&str, &str)]) -> Sharding {
    let tables: Vec<_> =
        tables.iter().map(|(table, key)| ((*table).to_owned(), (*key).to_owned())).collect();
    let users = DraftGroup {
        name: "users".to_owned(),
        key_type: "bigint".to_owned(),
        tables,
        function: "postgres".to_owned(),
        ..DraftGroup::default()
    };
    let draft = Draft {
        shards: shards.iter().map(|shard| (*shard).to_owned()).collect(),
        default_shard: shards[0].to_owned(),
        reference_tables: vec!["countries".to_owned()],
        schemas: None,
        groups: vec![users],
    };
    draft.check().unwrap()
}

/// The tables and rows of each shard, and of one server that has all of them.
pub fn scripts(sharding: &Sharding) -> Vec<(String, String)> {
    const COLUMNS: &str = "no int, {key} bigint, x int, c text";
    let mut random = StdRng::seed_from_u64(11);
    let shards = (0..SHARDS).map(|shard| (format!("s{shard}"), Some(ShardId(shard))));
    let mut scripts: Vec<_> = shards
        .chain([("whole".to_owned(), None)])
        .map(|(name, shard)| {
            let mut sql = "CREATE TABLE countries (c text, x int); \
                           INSERT INTO countries VALUES ('a', 1), ('b', 2), ('z', 3);"
                .to_owned();
            for (table, key) in TABLES {
                sql += &format!("CREATE TABLE {table} ({});", COLUMNS.replace("{key}", key));
            }
            (name, shard, sql)
        })
        .collect();
    for (table, _) in TABLES {
        for no in 0..30 {
            let key = match random.random_range(0..12) {
                0 if table != "users" => None,
                _ if table == "users" => (no < 9).then_some(no),
                key => Some(key),
            };
            if table == "users" && key.is_none() {
                break;
            }
            let text = key.map(|key| key.to_string());
            let home = sharding.of_text(0, text.as_deref().map(str::as_bytes)).unwrap();
            let key = text.unwrap_or("NULL".to_owned());
            let (x, c) = (random.random_range(0..5), ["a", "b", "c"][random.random_range(0..3)]);
            for (_, shard, sql) in &mut scripts {
                if shard.is_none_or(|shard| shard == home) {
                    *sql += &format!("INSERT INTO {table} VALUES ({no}, {key}, {x}, '{c}');");
                }
            }
        }
    }
    scripts.into_iter().map(|(name, _, sql)| (name, sql)).collect()
}

/// A schema `s` with the rows of each shard, and one with all of them.
async fn fill(client: &Client, sharding: &Sharding) {
    for (schema, sql) in scripts(sharding) {
        let sql = format!("CREATE SCHEMA {schema}; SET search_path = {schema}; {sql}");
        client.batch_execute(&sql).await.unwrap();
    }
}

/// A query over all of it, made up.
pub fn query(random: &mut StdRng) -> String {
    Maker { random, names: 0 }.query(2, Inner::Top)
}

/// Makes up queries. Relations have the columns `k` (a key, or called so), `x` and `c` by then.
struct Maker<'r> {
    random: &'r mut StdRng,
    names: usize,
}

impl Maker<'_> {
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        *all.choose(self.random).unwrap()
    }

    fn chance(&mut self, of: u32) -> bool {
        self.random.random_ratio(1, of)
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("r{}", self.names)
    }

    /// An item of FROM, its name, and its key column.
    fn relation(&mut self, depth: usize) -> (String, String, &'static str) {
        let name = self.name();
        let (table, key) = self.one_of(&TABLES);
        match self.random.random_range(0..10) {
            0..=5 => (format!("{table} {name}"), name, key),
            6 => (format!("countries {name}"), name, "x"),
            7 => {
                let value = self.random.random_range(0..9);
                (
                    format!("(VALUES ({value}::bigint, 1, 'a'), (3, 2, 'b')) {name} (k, x, c)"),
                    name,
                    "k",
                )
            }
            _ if depth == 0 => (format!("{table} {name}"), name, key),
            _ => {
                let query = self.query(depth - 1, Inner::Relation);
                (format!("({query}) {name}"), name, "k")
            }
        }
    }

    fn equality(&mut self, one: &(String, &str), other: &(String, &str)) -> String {
        match self.random.random_range(0..6) {
            0 => format!("{}.x = {}.x", one.0, other.0),
            1 => format!("{}.{} = {}.{} AND {}.x = 1", one.0, one.1, other.0, other.1, one.0),
            _ => format!("{}.{} = {}.{}", one.0, one.1, other.0, other.1),
        }
    }

    fn condition(&mut self, known: &[(String, &'static str)], depth: usize) -> String {
        let (name, key) = known.choose(self.random).cloned().unwrap();
        let other = known.choose(self.random).cloned().unwrap();
        let (value, more) = (self.random.random_range(0..9), self.random.random_range(0..9));
        let choice = self.random.random_range(0..if depth > 0 { 17 } else { 11 });
        match choice {
            0..=4 => format!("{name}.{key} = {value}"),
            5 => format!("{name}.{key} IN ({value}, {more})"),
            6 => format!("({name}.{key} = {value} OR {name}.{key} = {more} AND {name}.x < 3)"),
            7 => format!("({name}.{key} = {value} OR {name}.x = 3)"),
            8 => self.equality(&(name, key), &other),
            9 => format!("{name}.{key} = ANY('{{{value},{more}}}')"),
            10 => {
                self.one_of(&["true", "NOT false"]).to_owned() + &format!(" AND {name}.x < {value}")
            }
            11 | 12 => {
                let not = self.one_of(&["", "", "NOT "]);
                format!("{not}EXISTS ({})", self.query_about(&(name, key), depth - 1))
            }
            13 | 14 => {
                let not = self.one_of(&["", "", "", "NOT "]);
                format!("{name}.{key} {not}IN ({})", self.query(depth - 1, Inner::Column))
            }
            15 => format!("{name}.x <= ({})", self.query(depth - 1, Inner::Number)),
            _ => format!("{name}.{key} = ({})", self.query(depth - 1, Inner::Column)),
        }
    }

    /// A query that looks at a row outside of it.
    fn query_about(&mut self, outer: &(String, &str), depth: usize) -> String {
        let (item, name, key) = self.relation(0);
        let about = self.equality(&(name.clone(), key), outer);
        let mut text = format!("SELECT {name}.x FROM {item} WHERE {about}");
        if self.chance(2) {
            text += &format!(" AND {}", self.condition(&[(name, key)], depth));
        }
        text
    }

    fn query(&mut self, depth: usize, inner: Inner) -> String {
        let (mut from, name, key) = self.relation(depth);
        let mut known = vec![(name, key)];
        for _ in 0..self.one_of(&[0, 0, 1, 1, 2]) {
            let (item, name, key) = self.relation(depth);
            let to = known.choose(self.random).cloned().unwrap();
            let on = self.equality(&(name.clone(), key), &to);
            let and = match self.random.random_range(0..4) {
                0 => format!(" AND {}", self.condition(&[(name.clone(), key), to], 0)),
                _ => String::new(),
            };
            let by =
                self.one_of(&["JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
            from += &format!(" {by} {item} ON {on}{and}");
            known.push((name, key));
        }
        let conditions: Vec<String> =
            (0..self.one_of(&[0, 1, 1, 2, 3])).map(|_| self.condition(&known, depth)).collect();
        let filter = if conditions.is_empty() { String::new() } else { " WHERE ".to_owned() };
        let filter = filter + &conditions.join(" AND ");
        let (name, key) = known.choose(self.random).cloned().unwrap();
        let columns = format!("{name}.{key} AS k, {name}.x, {name}.c");
        let rest = format!("FROM {from}{filter}");
        match inner {
            Inner::Number => format!("SELECT {} {rest}", self.one_of(&["count(*)", "max(1)"])),
            Inner::Column if self.chance(4) => {
                format!("SELECT {name}.{key} {rest} ORDER BY 1 LIMIT 2")
            }
            Inner::Column => format!("SELECT {name}.{key} {rest}"),
            Inner::Relation => match self.random.random_range(0..8) {
                0 => format!("SELECT {columns} {rest} ORDER BY 1, 2, 3 LIMIT 3"),
                1 => format!("SELECT DISTINCT {columns} {rest}"),
                2 => format!(
                    "SELECT {name}.{key} AS k, max({name}.x) AS x, min({name}.c) AS c {rest} GROUP BY {name}.{key}"
                ),
                3 => format!(
                    "SELECT max({name}.{key}) AS k, max({name}.x) AS x, {name}.c {rest} GROUP BY {name}.c"
                ),
                4 => format!(
                    "SELECT {name}.{key} AS k, count(*) OVER (PARTITION BY {name}.{key})::int AS x, {name}.c {rest}"
                ),
                5 => format!(
                    "SELECT {name}.{key} AS k, rank() OVER (ORDER BY {name}.x)::int AS x, {name}.c {rest}"
                ),
                _ => format!("SELECT {columns} {rest}"),
            },
            Inner::Top => match self.random.random_range(0..6) {
                0 => {
                    let (cte, about) = (self.query(0, Inner::Relation), self.name());
                    let cte_key = self.one_of(&["k", "x"]);
                    let (name, key) = known.choose(self.random).cloned().unwrap();
                    format!(
                        "WITH {about} AS ({cte}) SELECT {columns}, w.* FROM {from} \
                         JOIN {about} w ON w.{cte_key} = {name}.{key}{filter}"
                    )
                }
                1 => format!("SELECT {columns}, ({}) AS n {rest}", self.query_count(&(name, key))),
                _ => format!("SELECT {columns} {rest}"),
            },
        }
    }

    fn query_count(&mut self, outer: &(String, &str)) -> String {
        let about = self.query_about(outer, 0);
        format!("SELECT count(*) FROM {}", about.split_once(" FROM ").unwrap().1)
    }
}

/// Where a query stands.
#[derive(Clone, Copy)]
enum Inner {
    Top,
    Relation,
    Column,
    Number,
}

/// The rows of a query in a schema, in no order, as text.
async fn rows(client: &Client, schema: &str, text: &str) -> Result<Vec<String>, String> {
    let set = format!("SET search_path = {schema}");
    client.batch_execute(&set).await.unwrap();
    let found = client.simple_query(text).await.map_err(|error| format!("{error:?}"))?;
    let mut rows: Vec<String> = Vec::new();
    for message in found {
        if let SimpleQueryMessage::Row(row) = message {
            let cells = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned());
            rows.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    Ok(rows)
}

#[test]
fn generated_queries_give_on_their_shards_what_one_server_gives() {
    let count = env::var("SHARDED_QUERIES").map_or(4_000, |count| count.parse().unwrap());
    let cluster = cluster();
    let (runtime, client) = connected(&cluster);
    runtime.block_on(async {
        let sharding = sharding();
        fill(&client, &sharding).await;
        let mut random = StdRng::seed_from_u64(23);
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for _ in 0..count {
            let text = query(&mut random);
            let what = compare(&client, &sharding, &text).await;
            *seen.entry(what).or_default() += 1;
        }
        println!("{seen:?}");
        for what in ["one shard", "parts", "all shards", "refused"] {
            assert!(seen.get(what).is_some_and(|seen| *seen > count / 100), "{what}: {seen:?}");
        }
    });
}

async fn compare(client: &Client, sharding: &Sharding, text: &str) -> &'static str {
    let (what, shards) = match plan(text.as_bytes(), sharding) {
        Plan::Refused(_) => return "refused",
        Plan::Keyed(keyed) => match sharding.target(&keyed, &mut Values::of_query(text.as_bytes()))
        {
            Ok(Target::One(shard)) => ("one shard", ShardSet::from_iter([shard])),
            Ok(Target::Any) => ("any shard", ShardSet::from_iter([ShardId(SHARDS - 1)])),
            Ok(Target::Parts(set)) => ("parts", set),
            Ok(Target::Rows(_)) => panic!("{text}: rows"),
            Err(_) => return "refused by its keys",
        },
        Plan::AllShards(_) => ("all shards", sharding.all()),
        Plan::Reference(Access::Reads) | Plan::Default => {
            ("reference", ShardSet::from_iter([sharding.default_shard()]))
        }
        other => panic!("{text}: {other:?}"),
    };
    // What one server refuses, as a subquery with two rows, has no rows to compare.
    let Ok(whole) = rows(client, "whole", text).await else { return "error" };
    let mut parts = Vec::new();
    for shard in shards.iter() {
        parts.extend(
            rows(client, &format!("s{shard}"), text)
                .await
                .unwrap_or_else(|e| panic!("{text}: {e}")),
        );
    }
    parts.sort();
    assert_eq!(parts, whole, "{what} {shards:?}: {text}");
    what
}
