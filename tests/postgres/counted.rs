//! What is counted of routes, texts and catalogs beside what was done, by many at once and while the
//! configuration changes; and what is shown of hosts beside what they say themselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use pgweir::calendar::utc;

use crate::console::{fetch, table};
use crate::reads::{Scene, connect, here};
use crate::support::{APP_DATABASE, APP_USER, LIMIT, PASSWORD, eventually, psql_rows};

fn number(row: &HashMap<String, String>, column: &str) -> u64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} in {row:?}"))
}

/// The sum of the samples of a metric that have these labels among theirs.
fn metric(page: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = page.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let values: Vec<f64> =
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
    assert!(!values.is_empty(), "no {name} with {labels:?} in {page}");
    values.iter().sum()
}

/// Has the other thread end, whatever the end of this one.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const CLIENTS: usize = 4;
const ROUNDS: usize = 50;

/// Freshness does not count, so nothing but a host that is lost keeps a read from the replica.
const GENERAL: &str = "max_lag = 0\nread_your_writes = \"off\"\ncatalog_interval = 3600\n\
                       query_stats_size = \"1MB\"\nhttp_listen = \"127.0.0.1:0\"";

/// Reads and writes by several clients at once, while the configuration is read again and again; how
/// many reads a replica has answered, by what each of them says itself.
fn load(scene: &Scene, insert: &(impl Fn(usize) -> String + Sync)) -> u64 {
    let (pooler, replica) = (&scene.pooler, scene.cluster.replicas()[0].port());
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Ends(&over);
        scope.spawn(|| {
            let mut times = 0;
            while !over.load(Ordering::Relaxed) {
                psql_rows(&console, &format!("SET query_wait_timeout = {}; RELOAD", 60 + times));
                times += 1;
            }
        });
        let load = |client: usize| async move {
            let session = connect(pooler, "").await;
            let mut on_replica = 0;
            for round in 0..ROUNDS {
                on_replica += u64::from(here(&session).await == replica);
                let row = insert(1 + client * ROUNDS + round);
                session.simple_query(&row).await.unwrap();
            }
            on_replica
        };
        let on_replica = scene.runtime.block_on(async {
            let [a, b, c, d] = std::array::from_fn(load);
            let (a, b, c, d) = tokio::join!(a, b, c, d);
            a + b + c + d
        });
        drop(ends);
        on_replica
    })
}

/// The counters of routes and texts, beside what the console has of them.
fn metrics_say_the_same(
    page: &str,
    routes: &[HashMap<String, String>],
    facts: &HashMap<String, String>,
) {
    for row in routes {
        let [database, target, reason] =
            ["database", "target", "reason"].map(|label| format!("{label}=\"{}\"", row[label]));
        let labels = [&*database, &*target, &*reason];
        let count = metric(page, "pgweir_routes_total", &labels);
        assert_eq!(count, number(row, "requests") as f64, "{row:?}");
        let plain = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(plain(&row["reason"]) && !row["meaning"].is_empty(), "{row:?}");
    }
    for (name, column) in [
        ("pgweir_facts_texts", "texts"),
        ("pgweir_facts_bytes", "bytes"),
        ("pgweir_facts_hits_total", "hits"),
        ("pgweir_facts_misses_total", "misses"),
        ("pgweir_facts_evictions_total", "evictions"),
    ] {
        assert_eq!(metric(page, name, &[]), number(facts, column) as f64, "{name}");
    }
}

#[test]
fn requests_and_texts_are_counted_as_they_were() {
    let scene = Scene::new(1, GENERAL);
    let pooler = &scene.pooler;
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let routes = || table(pooler, "SHOW ROUTES");
    let ran = |target: &str| -> u64 {
        let rows = routes().into_iter().filter(|row| row["target"] == target);
        rows.map(|row| number(&row, "requests")).sum()
    };
    let facts = || table(pooler, "SHOW FACTS").remove(0);
    let queries = || -> u64 {
        let rows = table(pooler, "SHOW STATS_TOTALS").into_iter();
        let own = rows.filter(|row| row["database"] == APP_DATABASE);
        own.map(|row| number(&row, "query_count")).sum()
    };
    // All texts are known before it begins.
    let insert =
        |number: usize| format!("INSERT INTO t VALUES ({number}, 1) RETURNING inet_server_port()");
    scene.runtime.block_on(async {
        let first = connect(pooler, "").await;
        here(&first).await;
        first.simple_query(&insert(0)).await.unwrap();
    });
    let read = |column: &str| -> u64 {
        let rows = table(pooler, "SHOW QUERIES").into_iter();
        let own = rows.filter(|row| row["query"] == "SELECT here()");
        own.map(|row| number(&row, column)).sum()
    };
    let told = |page: &str| {
        ["query", "transaction"].map(|name| {
            metric(page, &format!("pgweir_{name}_seconds_count"), &["role=\"replica\""])
        })
    };
    let before_told = told(&fetch(pooler, "/metrics"));
    let reads = [read("replica_calls"), read("calls")];
    let before = ([ran("replica"), ran("primary")], facts(), queries());
    let on_replica = load(&scene, &insert);
    let all = (CLIENTS * ROUNDS) as u64;
    assert!(on_replica > 0, "{on_replica} of {all}");
    let ([replicas, primaries], texts, requests) = before;
    assert_eq!(queries() - requests, 2 * all);
    assert_eq!(ran("replica") - replicas, on_replica);
    assert_eq!(ran("primary") - primaries, 2 * all - on_replica);
    let after = facts();
    assert_eq!(after["texts"], texts["texts"], "none of them is new");
    assert_eq!(after["misses"], texts["misses"]);
    // A request may be looked at more than once.
    assert!(number(&after, "hits") - number(&texts, "hits") >= 2 * all, "{after:?}");
    assert_eq!((&*after["evictions"], &*after["bytes_max"]), ("0", "8388608"));

    let page = fetch(pooler, "/metrics");
    metrics_say_the_same(&page, &routes(), &after);
    let grown = told(&page).into_iter().zip(before_told).map(|(now, then)| now - then);
    assert_eq!(grown.collect::<Vec<_>>(), [on_replica as f64; 2]);
    assert_eq!(read("replica_calls") - reads[0], on_replica);
    assert_eq!(read("calls") - reads[1], all);
    // Each that is new is missed once, in whatever form its values come.
    scene.runtime.block_on(async {
        let session = connect(pooler, "").await;
        for turn in 0..2 {
            for new in ["one", "two", "three"] {
                let text = format!("SELECT {turn} AS {new}");
                session.simple_query(&text).await.unwrap();
            }
        }
    });
    let more = facts();
    for column in ["texts", "misses"] {
        assert_eq!(number(&more, column), number(&after, column) + 3, "{column}");
    }
    assert!(number(&more, "bytes") > number(&after, "bytes"));
    // What does not fit is forgotten, and said to be.
    psql_rows(&console, "SET facts_cache_size = 0");
    scene.runtime.block_on(async { here(&connect(pooler, "").await).await });
    let none = facts();
    assert_eq!((&*none["texts"], &*none["bytes"], &*none["bytes_max"]), ("0", "0", "0"));
}

#[test]
fn looks_at_the_catalog_are_counted_and_so_is_what_they_find() {
    let scene = Scene::new(1, GENERAL);
    let pooler = &scene.pooler;
    let shown = || table(pooler, "SHOW CATALOGS").remove(0);
    let is_known = || shown()["state"] == "known";
    eventually("it is known", LIMIT, is_known);
    let began = SystemTime::now();
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let counts = |row: &HashMap<String, String>| {
        ["loads", "checks", "failures", "functions", "relations"].map(|column| number(row, column))
    };
    let (first, told) = (shown(), fetch(pooler, "/metrics"));
    let [loads, checks, failures, functions, relations] = counts(&first);
    assert_eq!((loads, failures), (1, 0));
    for (name, value) in [
        ("pgweir_catalog_known", 1),
        ("pgweir_catalog_loads_total", loads),
        ("pgweir_catalog_checks_total", checks),
        ("pgweir_catalog_failures_total", failures),
    ] {
        assert_eq!(metric(&told, name, &["database=\"shop\""]), value as f64, "{name}");
    }
    let age = metric(&told, "pgweir_catalog_age_seconds", &[]);
    let shown_age: f64 = first["age_seconds"].parse().unwrap();
    assert!(age >= shown_age && age < LIMIT.as_secs_f64(), "{age}, {shown_age}");
    // What may have changed something has it looked at: once at least, and loaded where it has.
    let mut known = [functions, relations];
    for (text, more) in [
        ("CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", [1, 0]),
        ("CREATE TABLE plain (a int)", [0, 1]),
        ("DO $$ BEGIN END $$", [0, 0]),
        // What is dropped is called by nobody: that alone is no cause to look.
        ("DROP FUNCTION mine()\\; DO $$ BEGIN END $$", [u64::MAX, 0]),
    ] {
        let [loads, checks, ..] = counts(&shown());
        psql_rows(&url, text);
        let changes = more != [0, 0];
        for (value, more) in known.iter_mut().zip(more) {
            *value = value.wrapping_add(more);
        }
        eventually(&format!("{known:?} after {text}"), LIMIT, || {
            let row = shown();
            let [now, looked, failed, functions, relations] = counts(&row);
            assert!(changes || now == loads, "{row:?}");
            let done = if changes { now > loads } else { looked > checks };
            row["state"] == "known" && done && failed == 0 && [functions, relations] == known
        });
    }
    let last = shown();
    // Each that was loaded has a number of its own.
    assert!(number(&last, "number") >= number(&first, "number") + 3, "{last:?}");
    let age: f64 = last["age_seconds"].parse().unwrap();
    assert!(age <= began.elapsed().unwrap().as_secs_f64(), "{age}");
    assert_eq!(last["host"], format!("127.0.0.1:{}", scene.primary()));

    let may = |word: &str| {
        let sql = format!("{word} PUBLIC");
        scene.cluster.primary().sql(APP_DATABASE, &sql).unwrap();
    };
    may("REVOKE SELECT ON pg_catalog.pg_proc FROM");
    psql_rows(&url, "CREATE TABLE more (a int)");
    eventually("it fails", LIMIT, || number(&shown(), "failures") > 0);
    let (row, told) = (shown(), fetch(pooler, "/metrics"));
    let failed = metric(&told, "pgweir_catalog_failures_total", &[]);
    assert!(failed >= number(&row, "failures") as f64, "{failed}, {row:?}");
    assert_eq!(metric(&told, "pgweir_catalog_known", &[]), 0.0);
    assert!(row["error"].contains("permission denied"), "{row:?}");
    may("GRANT SELECT ON pg_catalog.pg_proc TO");
    eventually("it is known again", LIMIT, is_known);
}

#[test]
fn hosts_are_shown_as_they_say_themselves_and_with_who_reads_there() {
    let began = SystemTime::now();
    let cluster = Scene::cluster(1);
    let weights = format!("weights = [\"127.0.0.1:{}=7\"]", cluster.replicas()[0].port());
    let scene = Scene::configured(cluster, "read_your_writes = \"off\"", &weights);
    let (pooler, replica) = (&scene.pooler, &scene.cluster.replicas()[0]);
    let shown = |port: u16| {
        let mut rows = table(pooler, "SHOW REPLICAS").into_iter();
        rows.rfind(|row| row["port"] == port.to_string()).unwrap()
    };
    for (server, role, lsn, eligible, weight) in [
        (scene.cluster.primary(), "primary", "pg_current_wal_flush_lsn()", "no: primary", "1"),
        (replica, "replica", "pg_last_wal_replay_lsn()", "yes", "7"),
    ] {
        eventually(&format!("{role} is where it says"), LIMIT, || {
            let lsn = server.sql("postgres", &format!("SELECT {lsn}")).unwrap();
            shown(server.port())["lsn"] == lsn
        });
        let row = shown(server.port());
        let timeline = "SELECT timeline_id FROM pg_control_checkpoint()";
        assert_eq!(row["timeline"], server.sql("postgres", timeline).unwrap());
        assert_eq!((&*row["database"], &*row["host"]), (APP_DATABASE, "127.0.0.1"));
        assert_eq!((&*row["role"], &*row["state"], &*row["error"]), (role, "up", ""));
        assert_eq!((&*row["eligible"], &*row["weight"]), (eligible, weight));
        assert!(number(&row, "since") <= began.elapsed().unwrap().as_secs(), "{row:?}");
    }
    eventually("it has everything", LIMIT, || shown(replica.port())["lag_bytes"] == "0");
    let row = shown(replica.port());
    assert!(
        row["fresh_as_of"] >= utc(began) && row["fresh_as_of"] <= utc(SystemTime::now()),
        "{row:?}"
    );
    assert_eq!(row["readers"], "0");
    // Two sessions that read there at once.
    let sessions = [scene.client(""), scene.client("")];
    eventually("both read there", LIMIT, || {
        sessions.iter().all(|session| {
            let ask =
                |sql: &'static str| scene.runtime.block_on(session.batch_execute(sql)).unwrap();
            ask("ROLLBACK");
            ask("BEGIN READ ONLY");
            scene.runtime.block_on(here(session)) == replica.port()
        })
    });
    eventually("both are counted", LIMIT, || shown(replica.port())["readers"] == "2");
    assert_eq!(shown(scene.primary())["readers"], "0");
    for session in &sessions {
        scene.runtime.block_on(session.batch_execute("ROLLBACK")).unwrap();
    }
    eventually("nobody reads there", LIMIT, || shown(replica.port())["readers"] == "0");
}
