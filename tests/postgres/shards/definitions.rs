//! Definitions on all shards.

use super::through::{Spread, spread};
use super::writes::login;
use crate::support::{APP_DATABASE, psql};

/// What psql prints of it: rows and tags, and what it is told besides.
fn told(spread: &Spread, sql: &str) -> (String, String) {
    let told = psql(&spread.url(), sql);
    (told.stdout, told.stderr)
}

fn everywhere(spread: &Spread, sql: &str) -> bool {
    spread.on_each(sql).iter().all(|found| found == "t")
}

#[test]
fn definition_is_made_on_all_shards_with_a_report() {
    let spread = spread();
    let (_, report) = told(&spread, "CREATE INDEX by_name ON users (name)");
    for shard in ["a", "b", "c", "d"] {
        assert!(report.contains(&format!("NOTICE:  shard {shard}: CREATE INDEX")), "{report}");
    }
    assert!(everywhere(&spread, "SELECT to_regclass('by_name') IS NOT NULL"));
    // Several in one text are one transaction on each.
    let mut client = login(&spread);
    let text = "ALTER TABLE users ADD age int; ALTER TABLE orders ADD note text DEFAULT 'none'";
    client.talk(
        &format!("Q {text}"),
        "N[00000] N[00000] N[00000] N[00000] C[ALTER TABLE] C[ALTER TABLE] ZI",
    );
    client
        .talk("Q ALTER TABLE users ADD born date; ALTER TABLE orders ADD note int", "E[42701] ZI");
    client.talk(
        "P - COMMENT ON TABLE users IS 'they' / D - / B - / p / E / S",
        "1 t n 2 n N[00000] N[00000] N[00000] N[00000] C[COMMENT] ZI",
    );
    let columns = "SELECT count(*) = 3 FROM information_schema.columns WHERE table_name = 'users'";
    assert!(everywhere(&spread, columns));
    told(&spread, "DROP INDEX by_name");
    assert!(everywhere(&spread, "SELECT to_regclass('by_name') IS NULL"));
    // What is on the default shard alone is defined there.
    told(&spread, "CREATE TABLE more (n int)");
    let there = "SELECT to_regclass('more') IS NOT NULL";
    assert_eq!(spread.on_each(there), ["t", "f", "f", "f"]);
    // By a word it is everywhere.
    told(&spread, "/* pgweir: all_shards */ CREATE TYPE mood AS ENUM ('good', 'bad')");
    assert!(everywhere(&spread, "SELECT to_regtype('mood') IS NOT NULL"));
    told(&spread, "TRUNCATE countries");
    assert!(everywhere(&spread, "SELECT count(*) = 0 FROM countries"));
}

#[test]
fn definition_that_fails_on_a_shard_is_undone_on_all() {
    let spread = spread();
    spread.shards[2]
        .primary()
        .sql(
            APP_DATABASE,
            "CREATE TABLE in_the_way (n int); ALTER TABLE in_the_way RENAME TO by_name",
        )
        .unwrap();
    let (_, report) = told(&spread, "CREATE INDEX by_name ON users (name)");
    assert!(report.contains("\"by_name\" already exists"), "{report}");
    assert!(!report.contains("NOTICE"), "{report}");
    let indexes = "SELECT count(*) = 1 FROM pg_indexes WHERE tablename = 'users'";
    assert!(everywhere(&spread, indexes));
    // What can't be undone says what is there.
    let (_, report) = told(&spread, "CREATE INDEX CONCURRENTLY by_name ON users (name)");
    assert!(
        report.contains("it was done on a, b, and failed on c: relation \"by_name\" already exists; it was not tried on d"),
        "{report}"
    );
    login(&spread).talk("Q REINDEX TABLE users; REINDEX TABLE orders", "E[0A000] ZI");
    let (_, report) = told(&spread, "VACUUM users");
    assert!(report.contains("NOTICE:  shard d: VACUUM"), "{report}");
    let (_, report) = told(&spread, "LOCK TABLE users");
    assert!(report.contains("a command of this kind on all shards"), "{report}");
}

#[test]
fn what_was_done_is_told_where_a_shard_is_otherwise() {
    let spread = spread();
    let sql = format!("ALTER DATABASE {APP_DATABASE} SET TimeZone = 'Asia/Tokyo'");
    spread.shards[1].primary().sql(APP_DATABASE, &sql).unwrap();
    spread.console("RECONNECT");
    let (_, report) = told(&spread, "REINDEX TABLE users");
    let why = "it was done on a, and failed on b: it has another TimeZone";
    assert!(report.contains(why), "{report}");
    assert!(report.contains("it was not tried on c, d"), "{report}");
}
