//! `pgweir check --connect` against shards that hold what they should, and against those that don't.

use crate::support::{APP_USER, Cluster, PASSWORD, check, cluster};

const ALIKE: &str = "CREATE TABLE users (id bigint PRIMARY KEY, name text); \
     CREATE TABLE orders (id int, user_id bigint NOT NULL, total numeric(10, 2)); \
     CREATE TABLE countries (code text, name text);";

/// Databases of one server that are shards, called like them.
struct Shards {
    cluster: Cluster,
    names: Vec<&'static str>,
}

impl Shards {
    /// With the same tables on all of them.
    fn alike(names: &[&'static str]) -> Self {
        let shards = Self { cluster: cluster(), names: names.to_vec() };
        for name in names {
            shards.make(name, "");
            shards.sql(name, ALIKE);
        }
        shards
    }

    fn make(&self, name: &str, more: &str) {
        let sql = format!("CREATE DATABASE {name} {more}");
        self.cluster.primary().sql("postgres", &sql).unwrap();
    }

    fn sql(&self, name: &str, sql: &str) {
        self.cluster.primary().sql(name, sql).unwrap();
    }

    fn file(&self, groups: &str) -> String {
        let port = self.cluster.primary().port();
        let mut toml = format!(
            "check_user = \"{APP_USER}\"\n[databases.shop]\ndefault_shard = \"a\"\n\
             reference_tables = [\"countries\"]\n{groups}\n\
             [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
        );
        for name in &self.names {
            toml += &format!(
                "[databases.shop.shards.{name}]\nhost = \"127.0.0.1\"\nport = {port}\n\
                 dbname = \"{name}\"\n"
            );
        }
        toml
    }

    /// What is told of them, by the lines about shards, and the exit code.
    fn told(&self, groups: &str) -> (Vec<String>, Option<i32>) {
        let ended = check(&self.file(groups), &["--connect"]);
        let of_shards =
            |line: &&str| line.split(' ').nth(1).is_some_and(|it| it.starts_with("shard"));
        let lines = ended.stdout.lines().filter(of_shards).map(str::to_owned).collect();
        assert_eq!(ended.stderr, "");
        (lines, ended.status.code())
    }

    #[track_caller]
    fn assert_told(&self, groups: &str, wanted: &[&str], code: i32) {
        let (lines, ended) = self.told(groups);
        let are = lines.len() == wanted.len()
            && lines.iter().zip(wanted).all(|(line, wanted)| line.starts_with(wanted));
        assert!(are && ended == Some(code), "{ended:?}\n{lines:#?}\n{wanted:#?}");
    }
}

/// A group with all keyed tables, and these keys besides.
fn users(more: &str) -> String {
    format!(
        "[databases.shop.groups.users]\ntables = {{ users = \"id\", orders = \"user_id\" }}\n{more}"
    )
}

const BY_HASH: &str = "key_type = \"bigint\"\nfunction = \"postgres\"";

const FINE: &str =
    "ok: shard tables databases.shop: 3 tables are as configured, and alike on a, b, c";

#[test]
fn shards_that_hold_the_same_are_fine() {
    let shards = Shards::alike(&["a", "b", "c"]);
    shards.sql("a", "CREATE TABLE notes (n int)");
    shards.assert_told(&users(BY_HASH), &[FINE], 0);
}

#[test]
fn tables_that_are_missing_or_elsewhere_are_told() {
    let shards = Shards::alike(&["a", "b", "c"]);
    shards.sql("b", "DROP TABLE orders; CREATE TABLE only_b (n int)");
    shards.sql("c", "DROP TABLE orders; DROP TABLE countries; CREATE TABLE notes (n int)");
    shards.sql("c", "CREATE VIEW countries AS SELECT 'de' AS code, 'Germany'::text AS name");
    shards.sql("a", "CREATE TABLE notes (n int)");
    let more =
        format!("{BY_HASH}\n[databases.shop.groups.logs]\n{BY_HASH}\ntables = {{ logs = \"id\" }}");
    let shop = "shard tables databases.shop";
    shards.assert_told(
        &users(&more),
        &[
            &format!("error: {shop} public.countries: on c: is a view"),
            &format!("error: {shop} logs: no shard has it"),
            &format!("error: {shop} public.orders: is not on b, c (what is for it fails there"),
            &format!("note: {shop}: shard b alone has tables of no group: public.only_b ("),
            &format!("warning: {shop}: shard c has tables of no group, of which those on a count: public.notes ("),
            &format!("ok: {shop}: 1 table is as configured, and alike on a, b, c"),
        ],
        1,
    );
}

#[test]
fn columns_and_keys_that_differ_are_told() {
    let shards = Shards::alike(&["a", "b", "c"]);
    shards.sql("b", "ALTER TABLE users ALTER name TYPE varchar(20); ALTER TABLE users ADD age int");
    shards.sql("c", "ALTER TABLE users DROP name; ALTER TABLE users ADD name text COLLATE \"C\"");
    shards.sql("c", "ALTER TABLE orders ALTER user_id DROP NOT NULL");
    shards.sql("b", "DROP TABLE countries; CREATE TABLE countries (name text, code text)");
    let shop = "databases.shop public";
    shards.assert_told(
        &users(BY_HASH),
        &[
            &format!(
                "error: shard columns {shop}.countries: on b: columns are in the order name, code, \
                 and code, name on a"
            ),
            &format!(
                "warning: shard columns {shop}.orders: on c: user_id may be NULL, other than on a"
            ),
            &format!(
                "error: shard columns {shop}.users: on b: name is character varying(20), and text \
                 on a; has a column age, and a has not"
            ),
            &format!(
                "error: shard columns {shop}.users: on c: name is text COLLATE pg_catalog.C, and text on a"
            ),
        ],
        1,
    );

    let key = |kind: &str| users(&format!("key_type = \"{kind}\"\nfunction = \"postgres\""));
    let shards = Shards::alike(&["a", "b", "c"]);
    let told = |table: &str, column: &str, kind: &str| {
        format!(
            "error: shard keys {shop}.{table}: on a, b, c: its key {column} is bigint, and key_type is {kind}"
        )
    };
    for kind in ["text", "integer"] {
        shards.assert_told(
            &key(kind),
            &[
                &told("orders", "user_id", kind),
                &told("users", "id", kind),
                "ok: shard tables databases.shop: 1 table is",
            ],
            1,
        );
    }

    // A type below bigint, a domain, and texts that are equal where their bytes are not.
    for name in ["a", "b", "c"] {
        shards.sql(name, "ALTER TABLE orders ALTER user_id TYPE int; ALTER TABLE users DROP id");
        shards.sql(name, "CREATE DOMAIN user_id AS bigint; ALTER TABLE users ADD id user_id");
        shards.sql(
            name,
            "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
             CREATE TABLE people (name text COLLATE ci)",
        );
    }
    let people = "[databases.shop.groups.people]\nkey_type = \"text\"\nfunction = \"postgres\"\n\
                  tables = { people = \"name\" }\n";
    shards.assert_told(
        &(people.to_owned() + &users(BY_HASH)),
        &[
            &format!("error: shard keys {shop}.people: on a, b, c: its key name has a collation"),
            &format!("warning: shard keys {shop}.users: on a, b, c: its key id is of the domain public.user_id"),
            "ok: shard tables databases.shop: 2 tables are",
        ],
        1,
    );
    let wrong = users(BY_HASH).replace("users = \"id\"", "users = \"uid\"");
    let (lines, code) = shards.told(&wrong);
    let missing = "users: on a, b, c: there is no column uid, its key";
    assert!(code == Some(1) && lines.iter().any(|line| line.contains(missing)), "{lines:#?}");
}

#[test]
fn what_databases_are_set_to_is_compared() {
    let shards = Shards::alike(&["a", "b", "c"]);
    let primary = shards.cluster.primary();
    for sql in [
        "ALTER DATABASE b SET TimeZone = 'Asia/Tokyo'",
        "ALTER DATABASE c SET bytea_output = 'escape'",
        "ALTER ROLE app IN DATABASE c SET extra_float_digits = 0",
        "ALTER DATABASE b SET search_path = app, public",
        "ALTER DATABASE b SET lc_time = 'C'",
    ] {
        primary.sql("postgres", sql).unwrap();
    }
    let zone = primary.sql("a", "SHOW TimeZone").unwrap();
    let settings = "shard settings databases.shop:";
    let told = [
        format!(
            "error: {settings} search_path is \"$user\", public on a, c; app, public on b (as app)"
        ),
        format!("error: {settings} TimeZone is {zone} on a, c; Asia/Tokyo on b (as app) (the same"),
        format!("error: {settings} bytea_output is hex on a, b; escape on c (as app)"),
        format!("error: {settings} extra_float_digits is 1 on a, b; 0 on c (as app)"),
        FINE.to_owned(),
    ];
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    shards.assert_told(&users(BY_HASH), &told, 1);

    // A pooler that sets it for all its clients makes it the same.
    let zoned = "timezone = \"UTC\"\n".to_owned() + &users(BY_HASH);
    let (lines, _) = shards.told(&zoned);
    assert!(!lines.iter().any(|line| line.contains("TimeZone")), "{lines:#?}");

    let more = "TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'";
    let shards = Shards { cluster: cluster(), names: vec!["a", "b"] };
    shards.make("a", "");
    shards.make("b", more);
    ["a", "b"].iter().for_each(|name| shards.sql(name, ALIKE));
    let (lines, code) = shards.told(&users(BY_HASH));
    assert_eq!(code, Some(1), "{lines:#?}");
    let encoding = lines.first().map(String::as_str).unwrap_or_default();
    let wanted =
        format!("error: {settings} server_encoding is UTF8 on a; SQL_ASCII on b (it can't");
    assert!(encoding.starts_with(&wanted), "{lines:#?}");
}

#[test]
fn partitions_have_to_take_the_keys_of_their_shard() {
    let shards = Shards::alike(&["a", "b", "c"]);
    // Four buckets: a has 0 and 3, b has 1, c has 2.
    for (name, own) in [("a", &[0, 3][..]), ("b", &[1]), ("c", &[2])] {
        shards.sql(
            name,
            "DROP TABLE users; CREATE TABLE users (id bigint, name text) PARTITION BY HASH (id)",
        );
        for it in own {
            shards.sql(
                name,
                &format!(
                    "CREATE TABLE users_{it} PARTITION OF users \
                     FOR VALUES WITH (MODULUS 4, REMAINDER {it})"
                ),
            );
        }
    }
    let hashed = users(&format!("{BY_HASH}\nbuckets = 4"));
    shards.assert_told(&hashed, &[FINE], 0);

    // Shards and buckets the other way round.
    let map = "\nbucket_map = { \"0\" = \"a\", \"1\" = \"c\", \"2-3\" = \"b\" }";
    let users_are = "databases.shop public.users: on";
    shards.assert_told(
        &(hashed.clone() + map),
        &[
            &format!("warning: shard partitions {users_are} a: is partitioned by HASH (id), and keys of users_3 are"),
            &format!("error: shard partitions {users_are} b: is partitioned by HASH (id), and no partition takes keys of bucket 2 of 4"),
            &format!("warning: shard partitions {users_are} b: is partitioned by HASH (id), and keys of users_1 are"),
            &format!("error: shard partitions {users_are} c: is partitioned by HASH (id), and no partition takes keys of bucket 1 of 4"),
            &format!("warning: shard partitions {users_are} c: is partitioned by HASH (id), and keys of users_2 are"),
            "ok: shard tables databases.shop: 2 tables are",
        ],
        1,
    );

    // By something else: the same everywhere.
    for (name, more) in [("a", "2027"), ("b", "2027"), ("c", "2026")] {
        shards.sql(
            name,
            &format!(
                "DROP TABLE orders; CREATE TABLE orders (user_id bigint, at date) PARTITION BY RANGE (at); \
                 CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM ('2025-01-01') TO ('{more}-01-01')"
            ),
        );
    }
    shards.assert_told(
        &hashed,
        &[
            "error: shard partitions databases.shop public.orders: on c: has no partition FOR VALUES FROM \
             ('2025-01-01') TO ('2027-01-01'); has what a has not: partition FOR VALUES FROM \
             ('2025-01-01') TO ('2026-01-01') (rows that",
            "ok: shard tables databases.shop: 2 tables are",
        ],
        1,
    );
}

#[test]
fn tables_that_are_partitions_themselves_have_to_take_the_keys_of_their_shard() {
    let shards = Shards { cluster: cluster(), names: vec!["a", "b"] };
    for (name, bound) in [("a", "FROM (MINVALUE) TO (100)"), ("b", "FROM (101) TO (MAXVALUE)")] {
        shards.make(name, "");
        shards.sql(
            name,
            &format!(
                "CREATE TABLE everyone (id bigint, name text) PARTITION BY RANGE (id); \
                 CREATE TABLE users PARTITION OF everyone FOR VALUES {bound}; \
                 CREATE TABLE orders (user_id bigint); CREATE TABLE countries (code text)"
            ),
        );
    }
    let ranges = "key_type = \"bigint\"\nfunction = \"range\"\n\
         ranges = [{ to = \"100\", shard = \"a\" }, { from = \"100\", shard = \"b\" }]";
    shards.assert_told(
        &users(ranges),
        &[
            "error: shard partitions databases.shop public.users: on b: is a partition itself, and no \
             partition takes keys from 100 to before 101, which the shard has",
            "warning: shard tables databases.shop: shard b has tables of no group",
            "ok: shard tables databases.shop: 2 tables are",
        ],
        1,
    );
}

#[test]
fn shard_that_nobody_can_ask_is_told() {
    let shards = Shards::alike(&["a", "b"]);
    let toml = shards.file(&users(BY_HASH)).replace("dbname = \"b\"", "dbname = \"gone\"");
    let ended = check(&toml, &["--connect"]);
    let told =
        "warning: shards databases.shop: shard b is not compared: nobody could ask its primary";
    assert!(ended.stdout.contains(told), "{}", ended.stdout);
    assert_eq!(ended.status.code(), Some(1));
}
