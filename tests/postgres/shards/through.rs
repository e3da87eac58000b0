//! An application's database over four shards, seen through the pooler.

use std::sync::LazyLock;

use pgweir::shard::{ShardId, Sharding};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::changes::reload;
use super::exact;
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, SUPERUSER, cluster, eventually, psql,
    psql_rows,
};

const SHARDS: usize = 4;

/// What is on every shard.
const EVERYWHERE: &str = "CREATE TABLE users (id bigint PRIMARY KEY, name text); \
     CREATE TABLE orders (id int, user_id bigint, total int); \
     CREATE TABLE countries (code text, name text); \
     INSERT INTO countries VALUES ('de', 'Germany'), ('fr', 'France');";
/// What is on the default one besides.
const AT_HOME: &str = "CREATE TABLE notes (n int, text text); INSERT INTO notes VALUES (1, 'one'); \
     CREATE VIEW all_orders AS SELECT * FROM orders; \
     CREATE VIEW all_notes AS SELECT * FROM notes;";

/// Shards, and a pooler in front of them.
pub struct Spread {
    pub shards: Vec<Cluster>,
    pub pooler: Pooler,
}

/// The configuration of a pooler with a database over these clusters.
pub fn configuration(shards: &[Cluster], general: &str) -> String {
    let mut toml = format!(
        "listen_port = 0\nadmin_users = \"boss\"\ncheck_user = \"{APP_USER}\"\n\
         catalog_interval = 0.1\n{general}\n\
         [databases.{APP_DATABASE}]\ndefault_shard = \"a\"\nreference_tables = [\"countries\"]\n\
         [databases.{APP_DATABASE}.groups.users]\nkey_type = \"bigint\"\nfunction = \"postgres\"\n\
         tables = {{ users = \"id\", orders = \"user_id\" }}\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n\
         [users.boss]\npassword = \"{PASSWORD}\"\n"
    );
    for (shard, name) in shards.iter().zip(["a", "b", "c", "d"]) {
        let port = shard.primary().port();
        toml += &format!(
            "[databases.{APP_DATABASE}.shards.{name}]\nhost = \"127.0.0.1\"\nport = {port}\n"
        );
    }
    toml
}

pub fn spread() -> Spread {
    spread_by("bigint", "")
}

/// The same by keys of another type, and with these general keys.
pub fn spread_by(key: &str, general: &str) -> Spread {
    let shards: Vec<Cluster> = (0..SHARDS).map(|_| cluster()).collect();
    for shard in &shards {
        let tables = EVERYWHERE.replace("bigint", key);
        shard.primary().sql(APP_DATABASE, &owned(&tables)).unwrap();
    }
    shards[0].primary().sql(APP_DATABASE, &owned(AT_HOME)).unwrap();
    let toml = configuration(&shards, general).replace("\"bigint\"", &format!("\"{key}\""));
    let pooler = Pooler::start(&toml);
    let spread = Spread { shards, pooler };
    eventually("its tables are known", LIMIT, || {
        psql(&spread.url(), "SELECT n FROM notes").stdout == "1\n"
    });
    knows_catalogs(&spread.pooler);
    spread
}

/// Waits until it knows the catalogs of all shards.
pub fn knows_catalogs(pooler: &Pooler) {
    let console = pooler.url("boss", PASSWORD, "pgweir");
    eventually("all catalogs are read", LIMIT, || {
        let rows = psql_rows(&console, "SHOW CATALOGS");
        let known = |row: &&str| row.starts_with(APP_DATABASE) && row.contains("|known|");
        rows.lines().filter(known).count() == SHARDS
    });
}

pub fn owned(sql: &str) -> String {
    format!("SET ROLE {APP_USER}; {sql}")
}

/// The same as is configured.
static SHARDING: LazyLock<Sharding> = LazyLock::new(|| {
    exact::sharding_of(&["a", "b", "c", "d"], &[("users", "id"), ("orders", "user_id")])
});

/// The shard of a user, by its number.
pub fn home(id: i64) -> usize {
    let ShardId(shard) = SHARDING.of_text(0, Some(id.to_string().as_bytes())).unwrap();
    shard.into()
}

/// Users of which one is on each shard.
pub fn one_each() -> [i64; SHARDS] {
    std::array::from_fn(|shard| (1..).find(|id| home(*id) == shard).unwrap())
}

impl Spread {
    pub fn url(&self) -> String {
        self.pooler.url(APP_USER, PASSWORD, APP_DATABASE)
    }

    pub async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// What a query gives on each shard.
    pub fn on_each(&self, sql: &str) -> Vec<String> {
        let on = |shard: &Cluster| {
            psql_rows(&shard.primary().url(SUPERUSER, PASSWORD, APP_DATABASE), sql)
        };
        self.shards.iter().map(on).collect()
    }

    /// Has these keys of the database read anew.
    pub fn reload_with(&self, keys: &str) {
        let table = format!("[databases.{APP_DATABASE}]\n");
        let with = configuration(&self.shards, "").replacen(&table, &format!("{table}{keys}\n"), 1);
        reload(self, &with);
    }

    pub fn console(&self, command: &str) -> String {
        psql_rows(&self.pooler.url("boss", PASSWORD, "pgweir"), command)
    }
}

pub fn rows(found: Vec<SimpleQueryMessage>) -> Vec<String> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            let cells = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned());
            Some(cells.collect::<Vec<_>>().join("|"))
        }
        _ => None,
    };
    found.into_iter().filter_map(row).collect()
}

#[tokio::test]
async fn rows_are_where_their_keys_are_in_every_protocol() {
    let spread = spread();
    let client = spread.client().await;
    for id in 1..=40_i64 {
        client
            .batch_execute(&format!("INSERT INTO users (id, name) VALUES ({id}, 'u{id}')"))
            .await
            .unwrap();
    }
    let insert = client
        .prepare("INSERT INTO orders (id, user_id, total) VALUES ($1, $2, $3)")
        .await
        .unwrap();
    let total = client
        .prepare(
            "SELECT u.name, o.total FROM users u JOIN orders o ON o.user_id = u.id WHERE u.id = $1",
        )
        .await
        .unwrap();
    for id in 1..=40_i64 {
        let number = i32::try_from(id).unwrap();
        assert_eq!(client.execute(&insert, &[&number, &id, &(number * 10)]).await.unwrap(), 1);
        let row = client.query_one(&total, &[&id]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), format!("u{id}"));
        assert_eq!(row.get::<_, i32>(1), number * 10);
        let row = client.query_one("SELECT name FROM users WHERE id = $1", &[&id]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), format!("u{id}"));
        let found = client.simple_query(&format!("SELECT name FROM users WHERE id = {id}")).await;
        assert_eq!(rows(found.unwrap()), [format!("u{id}")]);
    }
    for table in ["SELECT id FROM users ORDER BY 1", "SELECT user_id FROM orders ORDER BY 1"] {
        for (shard, found) in spread.on_each(table).iter().enumerate() {
            let wanted: Vec<String> =
                (1..=40).filter(|id| home(*id) == shard).map(|id| id.to_string()).collect();
            assert!(wanted.len() > 3, "{wanted:?}");
            assert_eq!(*found, wanted.join("\n"), "{table} on {shard}");
        }
    }
    // What is on the default shard, or everywhere, or nowhere.
    assert_eq!(rows(client.simple_query("SELECT text FROM notes").await.unwrap()), ["one"]);
    assert_eq!(rows(client.simple_query("SELECT text FROM all_notes").await.unwrap()), ["one"]);
    let found = client.simple_query("SELECT name FROM countries WHERE code = 'fr'").await.unwrap();
    assert_eq!(rows(found), ["France"]);
    assert_eq!(rows(client.simple_query("SELECT 1 + 1").await.unwrap()), ["2"]);
    assert_eq!(
        rows(client.simple_query("SELECT name FROM users WHERE id = NULL").await.unwrap()),
        [""; 0]
    );
}

#[test]
fn long_value_is_no_matter_for_short_ones() {
    let spread = spread();
    let [long, short, ..] = one_each();
    for (id, length) in [(long, 300_000), (short, 5)] {
        let name = "x".repeat(length);
        psql_rows(&spread.url(), &format!("INSERT INTO users (id, name) VALUES ({id}, '{name}')"));
        let there = spread.shards[home(id)].primary();
        let sql = format!("SELECT length(name) FROM users WHERE id = {id}");
        let count = there.sql(APP_DATABASE, &sql).unwrap();
        assert_eq!(count, length.to_string());
    }
}
