//! Transactions that begin in one place and go on in another, as far as nobody can tell.

use tokio_postgres::Client;

use super::reads::{Scene, connect, value};
use crate::support::{APP_DATABASE, APP_USER, LIMIT, PASSWORD, eventually, psql_rows};
use crate::wire;

const OPTIMISTIC: &str = "transaction_routing = \"optimistic\"\nread_your_writes = \"off\"\n\
    read_only_functions = [\"wrongly\"]";

/// What says where it runs, and is declared to be the same everywhere; and what writes, and is listed as
/// what does not.
const PLACES: &str = "CREATE FUNCTION place() RETURNS int IMMUTABLE LANGUAGE sql AS \
    'SELECT inet_server_port()'; \
    CREATE FUNCTION wrongly() RETURNS int LANGUAGE sql AS \
    'INSERT INTO t VALUES (100, 1); SELECT 1'; \
    CREATE FUNCTION moment() RETURNS text STABLE LANGUAGE sql AS 'SELECT now()::text'; \
    CREATE VIEW moments AS SELECT now()::text AS now";

fn scene(replicas: usize, general: &str) -> Scene {
    let scene = Scene::new(replicas, general);
    let client = scene.client("");
    scene.runtime.block_on(client.simple_query(PLACES)).unwrap();
    scene.cluster.wait_replayed().unwrap();
    let reader = scene.client("");
    eventually("functions are known", LIMIT, || {
        scene.runtime.block_on(place(&reader)) != scene.primary()
    });
    scene
}

async fn place(client: &Client) -> u16 {
    value(client, "SELECT place()").await.parse().unwrap()
}

async fn run(client: &Client, sql: &str) {
    client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// What `SHOW ROUTES` has counted for this reason.
fn counted(scene: &Scene, reason: &str) -> u64 {
    let routes = psql_rows(&scene.pooler.url("boss", PASSWORD, "pgweir"), "SHOW ROUTES");
    let of = |line: &str| {
        let columns: Vec<&str> = line.split('|').collect();
        let is_it = columns.get(2) == Some(&reason);
        is_it.then(|| columns.get(3)?.parse().ok()).flatten()
    };
    routes.lines().find_map(of).unwrap_or(0)
}

#[test]
fn transaction_that_only_reads_stays_on_a_replica() {
    let scene = scene(1, OPTIMISTIC);
    scene.runtime.block_on(async {
        let client = connect(&scene.pooler, "").await;
        let statement = client.prepare("SELECT place() + $1::int").await.unwrap();
        for begin in ["BEGIN", "START TRANSACTION", "BEGIN ISOLATION LEVEL READ COMMITTED"] {
            run(&client, begin).await;
            assert_ne!(place(&client).await, scene.primary(), "{begin}");
            let row = client.query_one("SELECT place()", &[]).await.unwrap();
            assert_ne!(row.get::<_, i32>(0), i32::from(scene.primary()));
            let row = client.query_one(&statement, &[&1]).await.unwrap();
            assert_ne!(row.get::<_, i32>(0), i32::from(scene.primary()) + 1);
            run(&client, "COMMIT").await;
        }
        for begin in ["BEGIN READ WRITE", "BEGIN ISOLATION LEVEL REPEATABLE READ"] {
            run(&client, begin).await;
            assert_eq!(place(&client).await, scene.primary(), "{begin}");
            run(&client, "ROLLBACK").await;
        }
    });
    assert!(counted(&scene, "optimistic") >= 3);
    assert_eq!(counted(&scene, "goes_on"), 0);
}

/// Each of these needs the primary, in a transaction that has read on a replica, or done nothing.
#[test]
fn transaction_goes_on_on_the_primary_when_it_does_more_than_to_read() {
    let scene = scene(1, OPTIMISTIC);
    let primary = scene.primary();
    scene.cluster.primary().sql(APP_DATABASE, "INSERT INTO t VALUES (1, 1)").unwrap();
    scene.cluster.wait_replayed().unwrap();
    let cases = [
        ("UPDATE t SET n = 2", "SELECT n FROM t", "2"),
        ("SELECT n FROM t FOR UPDATE", "SELECT count(*) FROM t", "1"),
        ("SAVEPOINT a", "ROLLBACK TO a; SELECT 7", "7"),
        ("SET LOCAL work_mem = '5MB'", "SHOW work_mem", "5MB"),
        ("DECLARE c CURSOR FOR SELECT 5", "FETCH c", "5"),
        ("CREATE TEMP TABLE mine AS SELECT 8 AS a", "TABLE mine", "8"),
        ("SELECT pg_advisory_xact_lock(1)", "SELECT 1", "1"),
        ("SELECT wrongly()", "SELECT count(*) FROM t WHERE id = 100", "1"),
        ("SELECT now()", "SELECT count(*) FROM moments", "1"),
        ("SELECT moment()", "SELECT 'now'::text", "now"),
    ];
    scene.runtime.block_on(async {
        let client = connect(&scene.pooler, "").await;
        for (turn, (sql, then, wanted)) in cases.into_iter().enumerate() {
            for first in [None, Some(format!("SELECT place() AS a{turn}"))] {
                run(&client, "BEGIN").await;
                if let Some(first) = &first {
                    assert_ne!(value(&client, first).await, primary.to_string(), "{sql}");
                }
                run(&client, sql).await;
                assert_eq!(place(&client).await, primary, "{sql}");
                assert_eq!(value(&client, then).await, wanted, "{sql}");
                run(&client, "ROLLBACK").await;
            }
        }
        assert_eq!(value(&client, "SELECT n FROM t").await, "1");
    });
    assert_eq!(counted(&scene, "goes_on"), 2 * cases.len() as u64);
}

#[test]
fn error_in_a_transaction_that_reads_is_that_of_the_primary() {
    let scene = scene(1, OPTIMISTIC);
    scene.runtime.block_on(async {
        let client = connect(&scene.pooler, "").await;
        for (text, code) in [("SELECT 1 / 0", "22012"), ("SELECT wibble FROM t", "42703")] {
            run(&client, "BEGIN").await;
            assert_ne!(place(&client).await, scene.primary());
            for (text, code) in [(text, code), ("SELECT place()", "25P02")] {
                let error = client.simple_query(text).await.unwrap_err();
                assert_eq!(error.code().unwrap().code(), code, "{text}");
            }
            run(&client, "ROLLBACK").await;
        }
    });
    assert_eq!(counted(&scene, "replica_failed"), 2);
}

#[test]
fn extended_requests_move_as_simple_ones_do() {
    let scene = scene(1, OPTIMISTIC);
    let port = i32::from(scene.primary());
    scene.runtime.block_on(async {
        let mut client = connect(&scene.pooler, "").await;
        let insert = client.prepare("INSERT INTO t VALUES ($1, $2)").await.unwrap();
        let count = client.prepare("SELECT count(*) FROM t WHERE id <= $1").await.unwrap();
        for turn in 1..=10 {
            let transaction = client.transaction().await.unwrap();
            let found = transaction.query_one(&count, &[&turn]).await.unwrap().get::<_, i64>(0);
            assert_eq!(found, i64::from(turn) - 1);
            transaction.execute(&insert, &[&turn, &1]).await.unwrap();
            let row = transaction.query_one("SELECT place()", &[]).await.unwrap();
            assert_eq!(row.get::<_, i32>(0), port);
            let found = transaction.query_one(&count, &[&turn]).await.unwrap().get::<_, i64>(0);
            assert_eq!(found, i64::from(turn));
            transaction.commit().await.unwrap();
            scene.cluster.wait_replayed().unwrap();
        }
        // Portals keep their server.
        let transaction = client.transaction().await.unwrap();
        let portal = transaction.bind("SELECT id, place() FROM t ORDER BY id", &[]).await.unwrap();
        let mut seen = Vec::new();
        loop {
            let rows = transaction.query_portal(&portal, 3).await.unwrap();
            if rows.is_empty() {
                break;
            }
            seen.extend(rows.iter().map(|row| (row.get::<_, i32>(0), row.get::<_, i32>(1))));
            let id = 100 + i32::try_from(seen.len()).unwrap();
            transaction.execute(&insert, &[&id, &1]).await.unwrap();
        }
        assert_eq!(seen, (1..=10).map(|id| (id, port)).collect::<Vec<_>>());
    });
    // What it reads first has led to writes: from then on it moves at once.
    assert!(counted(&scene, "goes_on") >= 10);
}

#[test]
fn statement_that_a_replica_has_refused_goes_there_no_more() {
    let scene = scene(1, OPTIMISTIC);
    scene.runtime.block_on(async {
        let client = connect(&scene.pooler, "").await;
        for turn in 0..5 {
            assert_eq!(value(&client, "SELECT wrongly()").await, "1");
            run(&client, "DELETE FROM t").await;
            assert_eq!(counted(&scene, "refused_before"), turn);
        }
        assert_eq!(counted(&scene, "replica_failed"), 1);
    });
}

#[test]
fn transaction_that_says_later_that_it_reads_goes_to_a_replica() {
    says_later("");
}

#[test]
fn optimistic_one_that_says_later_that_it_reads_stays_on_its_replica() {
    says_later("transaction_routing = \"optimistic\"");
}

fn says_later(general: &str) {
    let scene = scene(1, general);
    let primary = scene.primary();
    scene.runtime.block_on(async {
        for (begin, then, moves) in [
            ("BEGIN", "SET TRANSACTION READ ONLY", true),
            ("BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", true),
            ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SET TRANSACTION READ ONLY", true),
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", "SET TRANSACTION READ ONLY", false),
            ("BEGIN; SELECT 1", "SET TRANSACTION READ ONLY", false),
            ("BEGIN", "SELECT 1; SET TRANSACTION READ ONLY", false),
        ] {
            // Nothing has been read yet that a replica might lack.
            let client = connect(&scene.pooler, "").await;
            run(&client, begin).await;
            run(&client, then).await;
            assert_eq!(place(&client).await != primary, moves, "{begin}; {then}");
            let level = value(&client, "SHOW transaction_isolation").await;
            let repeatable = begin.contains("REPEATABLE") || then.contains("REPEATABLE");
            assert_eq!(level == "repeatable read", repeatable, "{begin}; {then}: {level}");
            let error = client.simple_query("INSERT INTO t VALUES (1, 1)").await.unwrap_err();
            assert_eq!(error.code().unwrap().code(), "25006", "{begin}; {then}");
            run(&client, "ROLLBACK").await;
        }
    });
}

/// The question what a request has left is under way when the next one comes.
#[test]
fn read_behind_what_keeps_its_server_is_answered_there() {
    let scene = scene(1, OPTIMISTIC);
    scene.runtime.block_on(async {
        for turn in 0..30 {
            let client = connect(&scene.pooler, "").await;
            run(&client, "CREATE TEMP TABLE mine (a int)").await;
            let next = ["SELECT 1", "BEGIN READ ONLY", "BEGIN"][turn % 3];
            let ran = tokio::time::timeout(LIMIT, client.simple_query(next));
            ran.await.expect("it is answered").unwrap();
            run(&client, "COMMIT").await;
            assert_eq!(value(&client, "SELECT count(*) FROM mine").await, "0");
        }
    });
}

#[test]
fn what_roles_and_databases_are_set_to_counts() {
    let scene = scene(1, &format!("{OPTIMISTIC}\ncatalog_interval = 0.3"));
    let primary = scene.primary();
    let client = scene.client("");
    let on_replica = |begin: &str| {
        scene.runtime.block_on(async {
            run(&client, begin).await;
            let place = place(&client).await;
            run(&client, "COMMIT").await;
            place != primary
        })
    };
    for (sql, read_only, plain) in [
        (
            format!("ALTER ROLE {APP_USER} SET default_transaction_isolation = 'repeatable read'"),
            true,
            false,
        ),
        (
            format!(
                "ALTER DATABASE {APP_DATABASE} SET default_transaction_isolation = serializable"
            ),
            true,
            false,
        ),
        (format!("ALTER ROLE {APP_USER} RESET default_transaction_isolation"), false, false),
        (format!("ALTER DATABASE {APP_DATABASE} RESET ALL"), true, true),
    ] {
        scene.cluster.primary().sql(APP_DATABASE, &sql).unwrap();
        eventually(&sql, LIMIT, || {
            [on_replica("BEGIN READ ONLY"), on_replica("BEGIN")] == [read_only, plain]
        });
    }
    // What the server's file says.
    scene.cluster.primary().set("default_transaction_isolation", "serializable").unwrap();
    eventually("all are to be serializable", LIMIT, || {
        [on_replica("BEGIN READ ONLY"), on_replica("BEGIN")] == [false, false]
    });
}

#[test]
fn transaction_that_loses_its_replica_goes_on() {
    let scene = scene(2, OPTIMISTIC);
    scene.runtime.block_on(async {
        let client = connect(&scene.pooler, "").await;
        run(&client, "BEGIN").await;
        let at = place(&client).await;
        let there = scene.cluster.replicas().iter().find(|replica| replica.port() == at).unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE state = 'active' AND query LIKE '%slowly%' AND pid <> pg_backend_pid()";
        let read = value(&client, "SELECT count(*) FROM (SELECT pg_sleep(3) /* slowly */) x");
        let ended = tokio::task::block_in_place(|| {
            let handle = tokio::runtime::Handle::current();
            std::thread::scope(|scope| {
                let killer = scope.spawn(|| {
                    eventually("it runs", LIMIT, || there.sql("postgres", end).unwrap() == "t");
                });
                let value = handle.block_on(tokio::time::timeout(LIMIT, read)).unwrap();
                killer.join().unwrap();
                value
            })
        });
        assert_eq!(ended, "1");
        assert_eq!(place(&client).await, scene.primary());
        run(&client, "COMMIT").await;
    });
}

/// As pgjdbc does without autocommit: one batch with both, and a Sync behind the statement.
#[test]
fn transaction_that_begins_in_a_batch_with_its_first_statement_goes_where_that_may() {
    let scene = scene(1, OPTIMISTIC);
    let (primary, replica) = (scene.primary(), scene.cluster.replicas()[0].port());
    let startup = [("user", APP_USER), ("database", APP_DATABASE)];
    let mut client = wire::Client::login_with(scene.pooler.port(), &startup, PASSWORD);
    let batch = |sql: &str| format!("P - BEGIN / B - / E / P - {sql} / B - / p / E / S");
    let next = |sql: &str| format!("P - {sql} / B - / p / E / S");
    let begun = |port: u16| format!("1 2 C[BEGIN] 1 2 T D[{port}] C[SELECT 1] ZT");
    let read = |port: u16| format!("1 2 T D[{port}] C[SELECT 1] ZT");
    // It only reads, also by a name.
    client.talk(&batch("SELECT place()"), &begun(replica));
    client.talk(&next("SELECT place()"), &read(replica));
    client.talk("P - COMMIT / B - / E / S", "1 2 C[COMMIT] ZI");
    client.talk("P begin BEGIN / P place SELECT place() / S", "1 1 ZI");
    let named = format!("2 C[BEGIN] 2 D[{replica}] C[SELECT 1] ZT");
    client.talk("B begin / E / B place / E / S", &named);
    client.talk("P - COMMIT / B - / E / S", "1 2 C[COMMIT] ZI");
    // It reads, and writes then.
    client.talk(&batch("SELECT place() AS other"), &begun(replica));
    client.talk(&next("INSERT INTO t VALUES (1, 1)"), "1 2 n C[INSERT 0 1] ZT");
    client.talk(&next("SELECT place()"), &read(primary));
    client.talk("P - COMMIT / B - / E / S", "1 2 C[COMMIT] ZI");
    // It writes at once.
    client.talk(&batch("INSERT INTO t VALUES (2, 1)"), "1 2 C[BEGIN] 1 2 n C[INSERT 0 1] ZT");
    client.talk(&next("SELECT place()"), &read(primary));
    client.talk("P - COMMIT / B - / E / S", "1 2 C[COMMIT] ZI");
    // All of it is one batch; and it fails in the midst of one.
    let whole =
        format!("{} / P - COMMIT / B - / E / S", batch("SELECT place()").replace(" / S", ""));
    client.say(&whole);
    let heard = client.hears_up_to("ZI");
    assert!(heard.ends_with("C[SELECT 1] 1 2 C[COMMIT] ZI"), "{heard}");
    client.talk(&batch("SELECT 1/0"), "1 2 C[BEGIN] 1 E[22012] ZE");
    client.talk("P - ROLLBACK / B - / E / S", "1 2 C[ROLLBACK] ZI");
    // And it says itself that it reads.
    client.talk(&batch("SELECT place()").replace("BEGIN", "BEGIN READ ONLY"), &begun(replica));
    client.talk(&next("INSERT INTO t VALUES (3, 1)"), "1 2 n E[25006] ZE");
    client.talk("P - ROLLBACK / B - / E / S", "1 2 C[ROLLBACK] ZI");
    let count = "/* pgweir: primary */ SELECT count(*) FROM t";
    assert_eq!(client.value(count), "2");
}

/// A lock of the table that it has read comes to the replica while it is idle; or its server goes.
#[test]
fn idle_transaction_that_its_replica_ends_goes_on_on_the_primary() {
    let scene = scene(1, OPTIMISTIC);
    let (primary, replica) = (scene.primary(), &scene.cluster.replicas()[0]);
    replica.set("max_standby_streaming_delay", "100ms").unwrap();
    let startup = [("user", APP_USER), ("database", APP_DATABASE)];
    let login = || wire::Client::login_with(scene.pooler.port(), &startup, PASSWORD);
    let conflict = || {
        scene.cluster.primary().sql(APP_DATABASE, "TRUNCATE t").unwrap();
        scene.cluster.wait_replayed().unwrap();
    };
    let terminated = || {
        let sql = format!(
            "SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE usename = '{APP_USER}' AND application_name <> 'pgweir check'"
        );
        assert_eq!(replica.sql("postgres", &sql).unwrap(), "t");
        let gone = sql.replace("bool_and(pg_terminate_backend(pid))", "count(*)");
        eventually("they are gone", LIMIT, || replica.sql("postgres", &gone).unwrap() == "0");
    };
    for (name, ends) in [("a conflict", &conflict as &dyn Fn()), ("an operator", &terminated)] {
        let [mut simple, mut extended, mut done, mut reader] = [(); 4].map(|()| login());
        let read = format!("SELECT count(*), place() AS \"{name}\" FROM t");
        let row = |port: u16| format!("D[0|{port}] C[SELECT 1] ZT");
        let on_replica = row(replica.port());
        for client in [&mut simple, &mut done] {
            client.talk("Q BEGIN", "C[BEGIN] ZT");
            client.talk(&format!("Q {read}"), &format!("T {on_replica}"));
        }
        extended.talk("P begin BEGIN / B begin / E / S", "1 2 C[BEGIN] ZT");
        extended.talk(&format!("P read {read} / B read / E / S"), &format!("1 2 {on_replica}"));
        reader.talk("Q BEGIN READ ONLY", "C[BEGIN] ZT");
        reader.talk(&format!("Q {read}"), &format!("T {on_replica}"));
        ends();
        assert!(["FATAL[40001]", "FATAL[57P01]"].contains(&&*reader.rest()), "{name}");
        simple.talk(&format!("Q {read}"), &format!("T {}", row(primary)));
        extended.talk("B read / E / S", &format!("2 {}", row(primary)));
        done.talk("Q COMMIT", "C[COMMIT] ZI");
        for client in [&mut simple, &mut extended] {
            client.talk("Q INSERT INTO t VALUES (1, 1)", "C[INSERT 0 1] ZT");
            client.talk("Q ROLLBACK", "C[ROLLBACK] ZI");
        }
        let again = login().value("SELECT place()");
        assert!([primary, replica.port()].map(|port| port.to_string()).contains(&again), "{name}");
    }
}

/// One that has read on the replica and is idle there, when its replica ends it.
fn spared(scene: &Scene) -> wire::Client {
    let replica = &scene.cluster.replicas()[0];
    let startup = [("user", APP_USER), ("database", APP_DATABASE)];
    let mut client = wire::Client::login_with(scene.pooler.port(), &startup, PASSWORD);
    client.talk("Q BEGIN", "C[BEGIN] ZT");
    let row = format!("T D[0|{}] C[SELECT 1] ZT", replica.port());
    client.talk("Q SELECT count(*), place() FROM t", &row);
    let sql = format!(
        "SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE usename = '{APP_USER}' AND state = 'idle in transaction'"
    );
    assert_eq!(replica.sql("postgres", &sql).unwrap(), "t");
    let console = scene.pooler.url("boss", PASSWORD, "pgweir");
    eventually("it is between its servers", LIMIT, || {
        psql_rows(&console, "SHOW SERVERS").lines().all(|server| !server.contains("|active|"))
    });
    client
}

#[test]
fn limits_of_an_idle_transaction_hold_between_its_servers() {
    for (limit, wanted) in [
        ("idle_transaction_timeout = 5", "FATAL[25P03]"),
        ("transaction_timeout = 5", "FATAL[57014]"),
    ] {
        let scene = scene(1, &format!("{OPTIMISTIC}\n{limit}"));
        let mut client = spared(&scene);
        assert_eq!(client.rest(), wanted, "{limit}");
    }
}

#[test]
fn graceful_stop_waits_for_a_transaction_between_its_servers_as_long_as_it_may() {
    for (limit, ends) in [("drain_timeout = 60", true), ("drain_timeout = \"200ms\"", false)] {
        let scene = scene(1, &format!("{OPTIMISTIC}\n{limit}"));
        let mut client = spared(&scene);
        scene.pooler.signal("TERM");
        if ends {
            eventually("it stops", LIMIT, || scene.pooler.log().contains("stopping: "));
            let row = format!("T D[0|{}] C[SELECT 1] ZT", scene.primary());
            client.talk("Q SELECT count(*), place() FROM t", &row);
            client.talk("Q COMMIT", "C[COMMIT] ZI");
        }
        assert_eq!(client.rest(), "FATAL[57P01]", "{limit}");
        assert!(scene.pooler.ended().success());
    }
}
