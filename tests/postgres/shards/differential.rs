//! Generated statements over shards, through the pooler, and on one server that has all rows: what is
//! answered is the same, what is not is refused. `DIFFERENTIAL_STATEMENTS` says how many.

use std::collections::BTreeMap;
use std::env;
use std::error::Error as AnyError;

use bytes::BytesMut;
use pgweir::shard::Sharding;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error, NoTls, Row, SimpleQueryMessage};

use super::exact::{self, TABLES, query, scripts};
use super::through::owned;
use crate::support::{APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, cluster};
use crate::support::{SUPERUSER, eventually, psql, psql_rows};

const WHOLE: &str = "whole";

struct Sides {
    shards: Vec<Cluster>,
    pooler: Pooler,
    sharding: Sharding,
}

impl Sides {
    fn new() -> Self {
        let sharding = exact::sharding();
        let shards: Vec<Cluster> = (0..exact::SHARDS).map(|_| cluster()).collect();
        let home = shards[0].primary();
        home.sql(APP_DATABASE, &format!("CREATE DATABASE {WHOLE} OWNER {APP_USER}")).unwrap();
        let databases = shards.iter().map(|shard| (shard.primary(), APP_DATABASE));
        for ((server, database), (_, sql)) in
            databases.chain([(home, WHOLE)]).zip(scripts(&sharding))
        {
            server.sql(database, &owned(&sql)).unwrap();
        }
        let mut toml = format!(
            "listen_port = 0\ncheck_user = \"{APP_USER}\"\ncatalog_interval = 0.1\n\
             [databases.{APP_DATABASE}]\ndefault_shard = \"s0\"\n\
             reference_tables = [\"countries\"]\n\
             [databases.{APP_DATABASE}.groups.users]\nkey_type = \"bigint\"\n\
             function = \"postgres\"\n\
             tables = {{ users = \"id\", orders = \"user_id\", items = \"user_id\" }}\n\
             [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
        );
        for (shard, number) in shards.iter().zip(0..) {
            let port = shard.primary().port();
            toml += &format!(
                "[databases.{APP_DATABASE}.shards.s{number}]\nhost = \"127.0.0.1\"\nport = {port}\n"
            );
        }
        let pooler = Pooler::start(&toml);
        let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
        eventually("its tables are known", LIMIT, || {
            psql(&url, "SELECT c FROM countries WHERE x = 1").stdout == "a\n"
        });
        Self { shards, pooler, sharding }
    }

    async fn clients(&self) -> (Client, Client) {
        let url = self.pooler.url(APP_USER, PASSWORD, APP_DATABASE);
        let whole = self.shards[0].primary().url(APP_USER, PASSWORD, WHOLE);
        (connect(&url).await, connect(&whole).await)
    }

    /// All rows of all tables are where their keys say, and there are no others.
    fn compare_tables(&self) {
        for (table, key) in TABLES {
            let sql = format!("SELECT {key}, * FROM {table}");
            let of = |server: &Cluster, database: &str| -> Vec<String> {
                let url = server.primary().url(SUPERUSER, PASSWORD, database);
                psql_rows(&url, &sql).lines().map(str::to_owned).collect()
            };
            let mut found = Vec::new();
            for (shard, number) in self.shards.iter().zip(0_u8..) {
                for row in of(shard, APP_DATABASE) {
                    let key = row.split('|').next().filter(|key| !key.is_empty());
                    let home = self.sharding.of_text(0, key.map(str::as_bytes)).unwrap();
                    assert_eq!(home.0, number, "{table}: {row}");
                    found.push(row);
                }
            }
            let mut wanted = of(&self.shards[0], WHOLE);
            found.sort();
            wanted.sort();
            assert_eq!(found, wanted, "{table}");
        }
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A key that is sent as text.
#[derive(Debug)]
struct InText(i64);

impl ToSql for InText {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn AnyError + Sync + Send>> {
        out.extend_from_slice(self.0.to_string().as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A value as it has come.
struct Raw(Option<Vec<u8>>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn AnyError + Sync + Send>> {
        Ok(Self(Some(raw.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn AnyError + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// What a client was answered, in no order but that of ORDER BY.
type Answer = Result<Vec<Vec<Option<Vec<u8>>>>, Error>;

fn plain(found: Result<Vec<SimpleQueryMessage>, Error>) -> Answer {
    let cells = |message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).map(|cell| cell.into())).collect())
        }
        SimpleQueryMessage::CommandComplete(count) => {
            Some(vec![Some(count.to_string().into_bytes())])
        }
        _ => None,
    };
    Ok(found?.into_iter().filter_map(cells).collect())
}

fn binary(found: Result<Vec<Row>, Error>) -> Answer {
    let cells = |row: &Row| (0..row.len()).map(|at| row.get::<_, Raw>(at).0).collect();
    Ok(found?.iter().map(cells).collect())
}

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Simple,
    /// In one request, with types that are declared.
    Extended,
    Prepared,
    /// The same with parameters in text.
    InText,
}

const WAYS: [Way; 4] = [Way::Simple, Way::Extended, Way::Prepared, Way::InText];

/// What stands before a key that is inserted.
const KEY: &str = "key:";

/// A statement with keys in the places of its parameters.
struct Statement {
    text: String,
    keys: Vec<i64>,
}

impl Statement {
    /// Takes keys out of a text.
    fn of(text: &str, random: &mut StdRng) -> Self {
        let (mut rest, mut out, mut keys) = (text, String::new(), Vec::new());
        while let Some(at) = [rest.find("id = "), rest.find(KEY)].into_iter().flatten().min() {
            let is_marked = rest[at..].starts_with(KEY);
            let marker = if is_marked { KEY.len() } else { "id = ".len() };
            let (before, behind) = rest.split_at(at + marker);
            let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
            out += if is_marked { &before[..at] } else { before };
            rest = match behind[..end].parse() {
                Ok(key) if random.random_ratio(3, 4) => {
                    keys.push(key);
                    out += &format!("${}", keys.len());
                    &behind[end..]
                }
                _ => behind,
            };
        }
        Self { text: out + rest, keys }
    }

    async fn run(&self, client: &Client, way: Way, again: Option<i64>) -> Answer {
        let keys: Vec<i64> = match again {
            Some(more) => self.keys.iter().map(|key| (key + more) % 9).collect(),
            None => self.keys.clone(),
        };
        let in_text: Vec<InText> = keys.iter().map(|key| InText(*key)).collect();
        let binary_keys: Vec<&(dyn ToSql + Sync)> = keys.iter().map(|key| key as _).collect();
        let text_keys: Vec<&(dyn ToSql + Sync)> = in_text.iter().map(|key| key as _).collect();
        match way {
            Way::Simple => {
                let mut text = self.text.clone();
                for (number, key) in keys.iter().enumerate().rev() {
                    let number = number + 1;
                    text = text.replacen(&format!("${number}"), &key.to_string(), 1);
                }
                plain(client.simple_query(&text).await)
            }
            Way::Extended => {
                let typed: Vec<_> = binary_keys.iter().map(|key| (*key, Type::INT8)).collect();
                binary(client.query_typed(&self.text, &typed).await)
            }
            Way::Prepared | Way::InText => {
                let statement = client.prepare(&self.text).await?;
                let keys = if way == Way::Prepared { &binary_keys } else { &text_keys };
                binary(client.query(&statement, keys).await)
            }
        }
    }
}

/// Behind a query with three columns.
const IN_ORDER: &str = "ORDER BY 1, 2, 3 LIMIT 5";

/// What came of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Same,
    Refused,
    /// One server refuses it as well.
    Wrong,
}

fn compare(what: &str, found: Answer, wanted: Answer) -> Outcome {
    let code = |error: &Error| error.as_db_error().map(|error| error.code().clone());
    match (found, wanted) {
        (Ok(mut found), Ok(mut wanted)) => {
            if !what.ends_with(IN_ORDER) {
                found.sort();
                wanted.sort();
            }
            assert_eq!(found, wanted, "{what}");
            Outcome::Same
        }
        (Err(error), _) if code(&error) == Some(SqlState::FEATURE_NOT_SUPPORTED) => {
            let message = error.as_db_error().unwrap().message();
            assert!(message.starts_with("can't be run on shards: "), "{what}: {message}");
            Outcome::Refused
        }
        // There it may have been looked at rows that no key leads to.
        (_, Err(_)) => Outcome::Wrong,
        (Err(error), Ok(_)) => panic!("{what}: {error:?}"),
    }
}

/// A statement that writes, with its key.
fn write(random: &mut StdRng) -> String {
    let (table, key) = TABLES[random.random_range(0..3)];
    let (value, other) = (random.random_range(0..9), random.random_range(0..9));
    let (no, x) = (random.random_range(30..60), random.random_range(0..5));
    match random.random_range(0..8) {
        0 => format!("INSERT INTO {table} (no, {key}, x) VALUES ({no}, {KEY}{value}, {x})"),
        1 => format!(
            "INSERT INTO {table} (x, {key}, no) VALUES ({x}, {KEY}{value}, {no}), ({x}, {KEY}{other}, {no}) \
             RETURNING *"
        ),
        2 => format!("UPDATE {table} SET x = {x}, c = 'w' WHERE {key} = {value} AND no > 10"),
        3 => format!("UPDATE {table} SET x = x + 1 WHERE {key} = {value} RETURNING no, x"),
        4 => format!("DELETE FROM {table} WHERE {key} = {value} AND no >= 30"),
        5 => format!(
            "UPDATE orders SET x = users.x FROM users WHERE users.id = orders.user_id \
             AND users.id = {value} AND orders.no < 30"
        ),
        6 => format!(
            "WITH gone AS (DELETE FROM items WHERE user_id = {value} AND no > 50 RETURNING no) \
             SELECT count(*) FROM gone"
        ),
        _ => format!(
            "INSERT INTO orders (no, user_id, x) SELECT 70, id, x FROM users WHERE id = {value}"
        ),
    }
}

#[tokio::test]
async fn generated_statements_give_over_shards_what_one_server_gives() {
    let count = env::var("DIFFERENTIAL_STATEMENTS").map_or(600, |count| count.parse().unwrap());
    let sides = Sides::new();
    let (over, whole) = sides.clients().await;
    let mut random = StdRng::seed_from_u64(29);
    let mut seen: BTreeMap<(Way, Outcome), usize> = BTreeMap::new();
    for round in 0..count {
        let writes = round % 4 == 3;
        let text = match writes {
            true => write(&mut random),
            // Most have to be about few keys to be about one shard.
            false => {
                let mut text = query(&mut random);
                let has_three = !text.starts_with("WITH") && !text.contains(" AS n FROM");
                if has_three && random.random_ratio(1, 3) {
                    text = format!("SELECT * FROM ({text}) q {IN_ORDER}");
                }
                text
            }
        };
        let statement = Statement::of(&text, &mut random);
        for way in WAYS {
            if writes && way != WAYS[round / 4 % 4] {
                continue;
            }
            let what = format!("{way:?} {}", statement.text);
            let in_transaction = random.random_ratio(1, 4);
            for again in [None, Some(1), Some(3)] {
                if again.is_some() && (way != Way::Prepared || statement.keys.is_empty()) {
                    break;
                }
                if in_transaction {
                    over.batch_execute("BEGIN").await.unwrap();
                }
                let found = statement.run(&over, way, again).await;
                let refused = found.is_err();
                if in_transaction {
                    over.batch_execute("COMMIT").await.unwrap();
                }
                // What was refused has done nothing, and shall not here.
                let outcome = match refused && writes {
                    true => compare(&what, found, Ok(Vec::new())),
                    false => compare(&what, found, statement.run(&whole, way, again).await),
                };
                *seen.entry((way, outcome)).or_default() += 1;
            }
        }
    }
    sides.compare_tables();
    println!("{seen:?}");
    for way in WAYS {
        let of = |outcome| seen.get(&(way, outcome)).copied().unwrap_or_default();
        assert!(of(Outcome::Same) > count / 10, "{seen:?}");
        assert!(of(Outcome::Refused) > count / 10, "{seen:?}");
    }
}
