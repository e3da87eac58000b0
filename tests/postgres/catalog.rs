//! What is known of the names in a database follows what is defined there: at once where that passes
//! through the pooler, within the interval otherwise.

use std::time::Duration;

use crate::hosts::{configuration, stands};
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, PostgresServer,
    cluster_with_replicas, eventually, psql, psql_rows,
};

/// Longer than any test.
const NEVER: &str = "catalog_interval = 3600";

const SCHEMA: &str = "CREATE TABLE log (at timestamptz);\
    CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (now()); SELECT 1';\
    CREATE VIEW inner_view AS SELECT writes() AS x;\
    CREATE VIEW outer_view AS SELECT * FROM inner_view WHERE x > 0;\
    CREATE FUNCTION looks() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM log'";

fn shop() -> Cluster {
    let cluster = cluster_with_replicas(1);
    psql_rows(&cluster.primary().url(APP_USER, PASSWORD, APP_DATABASE), SCHEMA);
    cluster.wait_replayed().unwrap();
    cluster
}

fn both(cluster: &Cluster) -> [&PostgresServer; 2] {
    [cluster.primary(), &cluster.replicas()[0]]
}

fn through(pooler: &Pooler) -> String {
    pooler.url(APP_USER, PASSWORD, APP_DATABASE)
}

/// What the console says of a text: the value of this line.
#[track_caller]
fn explained(pooler: &Pooler, line: &str, text: &str) -> String {
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let rows = psql_rows(&console, &format!("EXPLAIN ROUTE {APP_DATABASE} {text}"));
    let value = rows.lines().find_map(|row| row.strip_prefix(line)?.strip_prefix('|'));
    value.unwrap_or_else(|| panic!("{line} in\n{rows}")).to_owned()
}

#[track_caller]
fn reason(pooler: &Pooler, text: &str) -> String {
    explained(pooler, "reason", text)
}

/// A column of the only row of SHOW CATALOGS.
#[track_caller]
fn shown(pooler: &Pooler, column: usize) -> String {
    let rows = psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW CATALOGS");
    rows.split('|').nth(column).unwrap_or_else(|| panic!("{rows}")).to_owned()
}

const STATE: usize = 1;
const HOST: usize = 4;
const LOADS: usize = 7;
const ERROR: usize = 10;

#[test]
fn function_that_inserts_behind_two_views_is_for_the_primary() {
    let cluster = shop();
    let pooler = Pooler::start(&configuration(&both(&cluster), NEVER));
    assert_eq!(reason(&pooler, "SELECT * FROM outer_view"), "view");
    assert_eq!(explained(&pooler, "about", "TABLE outer_view").matches("writes").count(), 1);
    assert_eq!(reason(&pooler, "SELECT looks()"), "reads");
    let primary = format!("127.0.0.1:{}", cluster.primary().port());
    assert_eq!(
        [shown(&pooler, STATE), shown(&pooler, HOST)],
        ["known".to_owned(), primary.clone()]
    );
    assert!(explained(&pooler, "catalog", "SELECT 1").ends_with(&primary));
    let host = explained(&pooler, "host", "SELECT 1");
    assert!(host.contains(": primary, up, eligible: no: primary"), "{host}");
}

/// Each of these makes a read another one. Nothing is asked between two of them but where the read
/// would go.
#[test]
fn what_is_defined_through_the_pooler_counts_from_its_end_on() {
    let cluster = shop();
    let pooler = Pooler::start(&configuration(&both(&cluster), NEVER));
    let client = through(&pooler);
    let volatile = "CREATE OR REPLACE FUNCTION looks() RETURNS bigint VOLATILE LANGUAGE sql AS \
                    'INSERT INTO log VALUES (now()); SELECT 1::bigint';";
    let stable = "CREATE OR REPLACE FUNCTION looks() RETURNS bigint STABLE LANGUAGE sql AS \
                  'SELECT count(*) FROM log';";
    for (definition, text, expected) in [
        ("SELECT 1", "SELECT looks()", "reads"),
        (volatile, "SELECT looks()", "volatile_function"),
        (stable, "SELECT looks()", "reads"),
        ("BEGIN; ALTER FUNCTION looks() VOLATILE; ROLLBACK;", "SELECT looks()", "reads"),
        ("BEGIN; ALTER FUNCTION looks() VOLATILE; COMMIT;", "SELECT looks()", "volatile_function"),
        ("DO $$ BEGIN EXECUTE 'ALTER FUNCTION looks() STABLE'; END $$", "SELECT looks()", "reads"),
        ("CREATE VIEW seen AS SELECT looks()", "TABLE seen", "reads"),
        ("CREATE OR REPLACE VIEW seen AS SELECT looks() + writes() AS looks", "TABLE seen", "view"),
        ("CREATE TABLE plain (a int)", "TABLE plain", "reads"),
        ("ALTER TABLE plain SET UNLOGGED", "TABLE plain", "unlogged"),
        ("SELECT 1 AS a INTO UNLOGGED other", "TABLE other", "unlogged"),
        (
            "CREATE TABLE parts (a int) PARTITION BY LIST (a);\
             CREATE TABLE logged PARTITION OF parts DEFAULT",
            "TABLE parts",
            "reads",
        ),
        ("ALTER TABLE parts ATTACH PARTITION plain FOR VALUES IN (1)", "TABLE parts", "unlogged"),
        (
            "ALTER TABLE log ENABLE ROW LEVEL SECURITY;\
             CREATE POLICY p ON log USING (writes() > 0)",
            "TABLE log",
            "policy",
        ),
        ("DROP POLICY p ON log; DO $$ BEGIN END $$", "TABLE log", "reads"),
        (
            "CREATE FUNCTION adds(bigint, text) RETURNS int LANGUAGE sql AS \
             'INSERT INTO log VALUES (now()); SELECT 1';\
             CREATE OPERATOR <++> (LEFTARG = bigint, RIGHTARG = text, FUNCTION = adds)",
            "SELECT 1::bigint <++> 'x'",
            "volatile_operator",
        ),
    ] {
        let ended = psql(&client, definition);
        assert!(ended.status.success(), "{definition}: {}", ended.stderr);
        // What was known before counts no more; what is so now may still be on its way.
        let mut now = reason(&pooler, text);
        while now == "not_loaded" {
            now = reason(&pooler, text);
        }
        assert_eq!(now, expected, "{text} after {definition}");
    }
}

#[test]
fn what_leaves_everything_as_it_is_has_nothing_loaded_again() {
    let cluster = shop();
    let pooler = Pooler::start(&configuration(&both(&cluster), NEVER));
    assert_eq!(reason(&pooler, "SELECT looks()"), "reads");
    let client = through(&pooler);
    for text in [
        "CREATE TEMP TABLE mine (a int); INSERT INTO mine VALUES (1); TABLE mine",
        "INSERT INTO log VALUES (now())",
        "DO $$ BEGIN PERFORM looks(); END $$",
        "BEGIN; ALTER FUNCTION looks() VOLATILE; ROLLBACK",
        "CREATE TEMP VIEW v AS SELECT looks()",
        "TRUNCATE log",
        "VACUUM log",
    ] {
        psql_rows(&client, text);
        assert_eq!(reason(&pooler, "SELECT looks()"), "reads", "{text}");
    }
    assert_eq!(shown(&pooler, LOADS), "1");
}

#[test]
fn what_is_defined_elsewhere_is_seen_within_the_interval() {
    let cluster = shop();
    let interval = Duration::from_millis(500);
    let pooler = Pooler::start(&configuration(&both(&cluster), "catalog_interval = 0.5"));
    assert_eq!(reason(&pooler, "SELECT looks()"), "reads");
    cluster.primary().sql(APP_DATABASE, "ALTER FUNCTION looks() VOLATILE").unwrap();
    // Machines are busy.
    eventually("the change is seen", interval + Duration::from_secs(5), || {
        reason(&pooler, "SELECT looks()") == "volatile_function"
    });
}

#[test]
fn nothing_is_known_while_it_cannot_be_read_and_why_is_told() {
    let cluster = shop();
    let functions = |may: &str| {
        let text = format!("{may} PUBLIC");
        cluster.primary().sql(APP_DATABASE, &text).unwrap();
    };
    let pooler = Pooler::start(&configuration(&both(&cluster), NEVER));
    assert_eq!(reason(&pooler, "SELECT looks()"), "reads");
    functions("REVOKE SELECT ON pg_catalog.pg_proc FROM");
    psql_rows(&through(&pooler), "ALTER TABLE log ADD b int");
    assert_eq!(reason(&pooler, "SELECT looks()"), "not_loaded");
    eventually("the reason is told", LIMIT, || shown(&pooler, ERROR).contains("permission denied"));
    functions("GRANT SELECT ON pg_catalog.pg_proc TO");
    eventually("it is read again", LIMIT, || reason(&pooler, "SELECT looks()") == "reads");
    assert_eq!(shown(&pooler, ERROR), "");
}

#[test]
fn rules_of_the_owner_count_from_a_reload_on() {
    let cluster = shop();
    let with = |rules: &str| {
        let file = configuration(&both(&cluster), NEVER);
        file.replace("\nhosts = ", &format!("\n{rules}\nhosts = "))
    };
    let pooler = Pooler::start(&with(""));
    assert_eq!(reason(&pooler, "SELECT looks() FROM log"), "reads");
    for (rules, expected) in [
        ("primary_tables = [\"log\"]", "primary_table"),
        ("primary_functions = [\"public.looks\"]", "primary_function"),
        ("read_only_functions = [\"writes\"]", "reads"),
    ] {
        pooler.rewrite(&with(rules));
        psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "RELOAD");
        assert_eq!(reason(&pooler, "SELECT looks() FROM log"), expected, "{rules}");
    }
    assert_eq!(reason(&pooler, "SELECT * FROM outer_view"), "reads");
}

#[test]
fn catalog_of_a_new_primary_is_read_there() {
    let mut cluster = shop();
    let pooler = Pooler::start(&configuration(&both(&cluster), NEVER));
    assert_eq!(reason(&pooler, "SELECT looks()"), "reads");
    let promoted = cluster.replicas()[0].port();
    cluster.replicas()[0].promote().unwrap();
    stands(&pooler, &cluster.replicas()[0], "primary", "up");
    let at = format!("127.0.0.1:{promoted}");
    eventually("it is read there", LIMIT, || shown(&pooler, HOST) == at);
    assert_eq!(reason(&pooler, "SELECT looks()"), "reads");
    let _kept = &mut cluster;
}
