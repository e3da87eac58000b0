//! What is wrong with shards is told with its line, each thing once.

use super::check;
use crate::config::Config;

const RIGHT: &str = r#"[databases.shop]
default_shard = "a"
check_user = "check"
reference_tables = ["countries"]
[databases.shop.groups.users]
key_type = "bigint"
function = "postgres"
tables = { users = "id" }
[databases.shop.groups.logs]
key_type = "date"
function = "range"
tables = { logs = "day" }
ranges = [{ to = "2026-01-01", shard = "a" }, { from = "2026-01-01", shard = "b" }]
[databases.shop.shards.a]
host = "a"
[databases.shop.shards.b]
host = "b"
"#;

fn told(text: &str) -> Vec<String> {
    let checked = Config::from_toml_str("pooler.toml", text).and_then(|config| check(&config));
    let told = checked.map_err(|problems| problems.to_string()).err().unwrap_or_default();
    told.lines().map(str::to_owned).collect()
}

/// What is there in the place of what is right, and what is told of it.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "host = \"b\"\n",
        "",
        "16: shards.b.host: missing (add host = \"…\" or url = \"postgres://…\")",
    ),
    (
        "default_shard = \"a\"",
        "default_shard = \"z\"",
        "2: default_shard: there is no shard z (a, b)",
    ),
    (
        "default_shard = \"a\"\n",
        "",
        "1: default_shard: missing: where are the tables that no group has? (name one of the shards)",
    ),
    (
        "check_user = \"check\"\n",
        "",
        "1: check_user: missing: nobody can ask the default shard which tables there are (name a user \
         who may log in to it)",
    ),
    (
        "check_user = \"check\"",
        "check_user = \"check\"\nhost = \"x\"",
        "4: host: a database with shards is where they are (say it of each shard)",
    ),
    (
        "check_user = \"check\"",
        "check_user = \"check\"\npool_mode = \"session\"",
        "4: pool_mode: a database with shards can't be used in session mode (set pool_mode = \
         \"transaction\" there)",
    ),
    (
        "users = \"id\"",
        "users = \"\"",
        "8: groups.users.tables: \"users\" is no name of a table with its key column",
    ),
    ("tables = { users = \"id\" }", "", "5: groups.users: there are no tables"),
    (
        "tables = { users = \"id\" }",
        "tables = \"users\"",
        "8: groups.users.tables: must be a table of texts, as in { \"42\" = \"a\" }",
    ),
    (
        "key_type = \"bigint\"",
        "key_type = \"money\"",
        "6: groups.users.key_type: money is no type of keys; types are smallint, integer, bigint, \
         text, uuid, bytea, date",
    ),
    (
        "function = \"postgres\"",
        "function = \"crc32\"",
        "7: groups.users.function: crc32 is no function; functions are postgres, md5_hex8_mod, \
         modulo, range, list",
    ),
    ("function = \"postgres\"\n", "", "5: groups.users: function is missing"),
    (
        "from = \"2026-01-01\"",
        "from = \"2025-12-01\"",
        "13: groups.logs.ranges: ranges [, 2026-01-01) and [2025-12-01, ) overlap",
    ),
    (
        "from = \"2026-01-01\"",
        "from = \"2026-02-01\"",
        "13: groups.logs.ranges: between ranges [, 2026-01-01) and [2026-02-01, ) there is a gap",
    ),
    (
        "from = \"2026-01-01\"",
        "from = \"soon\"",
        "13: groups.logs.ranges: \"soon\": the shard key is written in a way that can't be read with \
         certainty as date",
    ),
    (
        "from = \"2026-01-01\", shard = \"b\"",
        "from = \"2026-01-01\", shard = \"c\"",
        "13: groups.logs.ranges: there is no shard c",
    ),
    (
        "\"countries\"",
        "\"countries\", \"users\"",
        "8: groups.users.tables: table users is there twice",
    ),
    (
        "users = \"id\"",
        "users = \"id\", \"public.logs\" = \"x\"",
        "8: groups.users.tables: table public.logs is there twice",
    ),
    (
        "function = \"postgres\"",
        "function = \"postgres\"\nbucket_map = { \"0\" = \"a\" }",
        "8: groups.users.bucket_map: bucket 1 is on no shard",
    ),
];

#[test]
fn each_fault_is_told_once_where_it_is() {
    assert_eq!(told(RIGHT), [""; 0]);
    for (before, after, expected) in FAULTS {
        assert!(RIGHT.contains(before), "{before}");
        let (line, what) = expected.split_once(": ").unwrap_or_default();
        let wanted = format!("pooler.toml:{line}: databases.shop.{what}");
        assert_eq!(told(&RIGHT.replacen(before, after, 1)), [wanted], "{after}");
    }
    // Twice is twice for TOML already.
    for (before, after, line) in [
        ("[databases.shop.shards.b]", "[databases.shop.shards.a]", 16),
        ("[databases.shop.groups.logs]", "[databases.shop.groups.users]", 9),
    ] {
        let wanted = format!("pooler.toml:{line}: duplicate key");
        assert_eq!(told(&RIGHT.replacen(before, after, 1)), [wanted]);
    }
    let without = RIGHT.split("[databases.shop.shards").next().unwrap_or_default();
    let told = told(&without.replace("check_user", "host = \"db\"\ncheck_user"));
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|line| line.contains("there are no shards")), "{told:?}");
}
