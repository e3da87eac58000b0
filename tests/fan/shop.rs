//! Databases with the rows of each shard, and one with all of them.

use pgweir::shard::{Draft, DraftGroup, ShardId, Sharding};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::support::{Cluster, SUPERUSER};
use crate::wire::Client;

pub const SHARDS: u8 = 4;
const TABLES: [(&str, &str); 3] = [("users", "id"), ("orders", "user_id"), ("items", "user_id")];

const SCHEMA: &str = "
    CREATE TABLE users (id bigint, name text, country text, age int, balance numeric(12,2),
        score float8, active bool, joined date, seen timestamptz, ref uuid, flags smallint);
    CREATE TABLE orders (id bigint, user_id bigint, amount numeric(10,2), price numeric,
        status text, placed timestamp, qty int, big bigint, code char(5), data bytea);
    CREATE TABLE items (id bigint, user_id bigint, order_id bigint, qty int, weight real,
        label varchar(20), at time);
    CREATE TABLE countries (code text, title text, zone int);
    INSERT INTO countries VALUES ('de', 'Germany', 0), ('fr', 'France', 1), ('us', 'États', 2),
        ('jp', NULL, 3), ('Br', 'Brazil', NULL);
";

/// A session with each shard, and one with the database that has all rows.
pub struct Shop {
    pub shards: Vec<Client>,
    pub whole: Client,
    pub sharding: Sharding,
}

impl Shop {
    /// Fills databases whose names begin so, which are made `with` something.
    pub fn fill(cluster: &Cluster, name: &str, with: &str) -> Self {
        let sharding = sharding();
        let server = cluster.primary();
        let names: Vec<String> = (0..SHARDS).map(|shard| format!("{name}{shard}")).collect();
        let whole = format!("{name}_whole");
        for database in names.iter().chain([&whole]) {
            let create = format!("CREATE DATABASE {database} TEMPLATE template0 {with}");
            server.sql("postgres", &create).unwrap();
        }
        let rows = rows(&sharding);
        for (database, shard) in
            names.iter().zip((0..SHARDS).map(|shard| Some(ShardId(shard)))).chain([(&whole, None)])
        {
            let here = rows.iter().filter(|(home, _)| shard.is_none_or(|shard| shard == *home));
            let sql: String = here.map(|(_, insert)| insert.as_str()).collect();
            server.sql(database, &format!("BEGIN;{SCHEMA}{sql}COMMIT;")).unwrap();
        }
        let login = |database: &str| {
            let settings =
                [("user", SUPERUSER), ("database", database), ("client_encoding", "UTF8")];
            Client::login(server.port(), &settings)
        };
        Self {
            shards: names.iter().map(|name| login(name)).collect(),
            whole: login(&whole),
            sharding,
        }
    }
}

fn sharding() -> Sharding {
    let tables = TABLES.map(|(table, key)| (table.to_owned(), key.to_owned()));
    let users = DraftGroup {
        name: "users".to_owned(),
        key_type: "bigint".to_owned(),
        tables: tables.into(),
        function: "postgres".to_owned(),
        ..DraftGroup::default()
    };
    let draft = Draft {
        shards: (0..SHARDS).map(|shard| format!("s{shard}")).collect(),
        default_shard: "s0".to_owned(),
        reference_tables: vec!["countries".to_owned()],
        schemas: None,
        groups: vec![users],
    };
    draft.check().unwrap()
}

struct Values {
    random: StdRng,
}

impl Values {
    fn maybe(&mut self, text: String) -> String {
        if self.random.random_ratio(1, 8) { "NULL".to_owned() } else { text }
    }

    fn of(&mut self, all: &[&str]) -> String {
        let text = (*all.choose(&mut self.random).unwrap()).to_owned();
        self.maybe(text)
    }

    fn number(&mut self, of: std::ops::Range<i64>) -> String {
        let number = self.random.random_range(of).to_string();
        self.maybe(number)
    }

    /// With digits behind the point of which the last is not zero: numbers that are equal are
    /// written alike.
    fn numeric(&mut self) -> String {
        const SPECIAL: [&str; 4] = ["'NaN'", "'Infinity'", "0", "12345678901234567890123456"];
        if self.random.random_ratio(1, 40) {
            return self.of(&SPECIAL);
        }
        let whole = self.random.random_range(-2000..200_000) / 7;
        let behind = match self.random.random_range(0..5) {
            0 => String::new(),
            digits => {
                let more: String =
                    (1..digits).map(|_| self.random.random_range(0..10).to_string()).collect();
                format!(".{more}{}", self.random.random_range(1..10))
            }
        };
        self.maybe(format!("{whole}{behind}"))
    }

    fn user(&mut self, id: u32) -> String {
        let name =
            self.of(&["'ada'", "'Bob'", "'eve'", "'zoë'", "'Ärger'", "'bob'", "''", "'a b'"]);
        let country = self.of(&["'de'", "'fr'", "'us'", "'jp'", "'Br'", "'xx'"]);
        let (age, balance) = (self.number(18..30), self.numeric());
        let balance =
            if balance.len() > 10 || balance.contains("Inf") { "7".into() } else { balance };
        let score = self.of(&["1.5", "-2", "'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "1e300"]);
        let active = self.of(&["true", "false"]);
        let joined = self.of(&[
            "'2020-02-29'",
            "'infinity'",
            "'0044-03-15 BC'",
            "'1999-12-31'",
            "'12000-01-01'",
        ]);
        let seen = self.of(&[
            "'2021-10-31 00:30:00+00'",
            "'2021-10-31 01:30:00+00'",
            "'-infinity'",
            "'1890-01-01+00'",
            "'2021-10-31 00:30:00.25+00'",
        ]);
        let (hash, flags) = (format!("md5('{}')::uuid", id % 40), self.number(-3..40));
        format!(
            "INSERT INTO users VALUES ({id}, {name}, {country}, {age}, {balance}, {score}, {active}, \
             {joined}, {seen}, {hash}, {flags});"
        )
    }

    fn order(&mut self, id: u32, user: &str) -> String {
        let (amount, price) = (self.number(-50..500), self.numeric());
        let status = self.of(&["'new'", "'paid'", "'Sent'", "'done'"]);
        let placed = self.of(&[
            "'2020-01-01 10:00:00'",
            "'2020-01-01 10:00:00.000001'",
            "'infinity'",
            "'0001-01-01 BC'",
            "'2024-02-29 23:59:59.9'",
        ]);
        let (qty, big) =
            (self.number(0..9), self.of(&["1", "-4000000000", "9007199254740993", "7"]));
        let code = self.of(&["'a'", "'ab'", "'ab c'", "''", "'B'"]);
        let data = self.of(&["'\\x00'", "'\\x0001'", "'\\x'", "'\\xff'", "'\\x61'"]);
        format!(
            "INSERT INTO orders VALUES ({id}, {user}, {amount} / 4.0, {price}, {status}, {placed}, \
             {qty}, {big}, {code}, {data});"
        )
    }

    fn item(&mut self, id: u32, user: &str) -> String {
        let (order, qty) = (self.number(0..200), self.number(0..6));
        let weight = self.of(&["0.1", "2.5", "'NaN'", "-1"]);
        let label = self.of(&["'x'", "'y '", "'Z'", "'x y'"]);
        let at = self.of(&["'10:00'", "'10:00:00.5'", "'24:00'", "'00:00'"]);
        format!("INSERT INTO items VALUES ({id}, {user}, {order}, {qty}, {weight}, {label}, {at});")
    }
}

/// All rows of sharded tables, with where they are.
fn rows(sharding: &Sharding) -> Vec<(ShardId, String)> {
    let mut values = Values { random: StdRng::seed_from_u64(3) };
    let mut rows = Vec::new();
    let home = |key: &str| {
        let key = Some(key.as_bytes()).filter(|key| *key != b"NULL");
        sharding.of_text(0, key).unwrap()
    };
    for id in 0..60 {
        rows.push((home(&id.to_string()), values.user(id)));
    }
    for id in 0..200 {
        let user = values.number(0..70);
        rows.push((home(&user), values.order(id, &user)));
    }
    for id in 0..300 {
        let user = values.number(0..70);
        rows.push((home(&user), values.item(id, &user)));
    }
    rows
}
