//! What the console and the metrics say of what has passed.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::setup::{file, shared};
use crate::support::{
    APP_DATABASE, LIMIT, PASSWORD, Pooler, SUPERUSER, eventually, psql, psql_rows,
};
use crate::wire::{Client, USER};

pub fn start(settings: &str) -> Pooler {
    let settings = format!("admin_users = \"app\"; {settings}");
    let text = file(shared().port(), &settings, "")
        .replace("http_listen = \"\"", "http_listen = \"127.0.0.1:0\"\nlog_connections = false");
    Pooler::start(&text)
}

/// The rows of a table of the console, by the names of its columns.
#[track_caller]
pub fn table(pooler: &Pooler, command: &str) -> Vec<HashMap<String, String>> {
    let mut console = Client::login_as(pooler.port(), &[USER[0], ("database", "pgweir")]);
    console.say(&format!("Q {command}"));
    let names = console.hear().names();
    let mut rows = Vec::new();
    loop {
        let message = console.hear();
        match message.tag {
            b'D' => {
                let values = message.values();
                assert_eq!(values.len(), names.len(), "{command}");
                rows.push(names.iter().cloned().zip(values).collect());
            }
            b'C' => return rows,
            other => panic!("{command}: {}", char::from(other)),
        }
    }
}

/// The numbers of a database's line.
#[track_caller]
fn numbers(pooler: &Pooler, command: &str, names: &[&str]) -> Vec<u64> {
    let rows = table(pooler, command);
    let row = rows.iter().find(|row| row["database"] == APP_DATABASE).unwrap();
    names.iter().map(|name| row[*name].parse().unwrap()).collect()
}

#[test]
fn all_that_passes_is_counted() {
    let pooler = start("debug_force_hop = true; default_pool_size = 2");
    let mut client = Client::login(pooler.port());
    let counts = [
        "server_assignment_count",
        "xact_count",
        "query_count",
        "client_parse_count",
        "server_parse_count",
        "bind_count",
        "client_login_count",
    ];
    let now = || numbers(&pooler, "SHOW STATS_TOTALS", &counts);
    // The first server was for the client's settings.
    let [first, ..] = now()[..] else { panic!() };
    assert_eq!(now()[1..], [0, 0, 0, 0, 0, 1]);
    client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    assert_eq!(now(), [first + 1, 1, 1, 0, 0, 0, 1]);
    client.talk("Q begin", "C[BEGIN] ZT");
    assert_eq!(now()[1], 1, "a transaction counts when it is over");
    client.talk("Q select 1", "T D[1] C[SELECT 1] ZT");
    client.talk("Q select nothing", "E[42703] ZE");
    client.talk("Q commit", "C[ROLLBACK] ZI");
    assert_eq!(now(), [first + 2, 2, 5, 0, 0, 0, 1]);
    client.talk("P s select 2 / S", "1 ZI");
    assert_eq!(now(), [first + 3, 3, 6, 1, 1, 0, 1]);
    // The other server has to be told of the statement first.
    client.talk("B s / E / S", "2 D[2] C[SELECT 1] ZI");
    assert_eq!(now(), [first + 4, 4, 7, 1, 2, 1, 1]);
    // And both have it now: the answer is ours.
    client.talk("P t select 2 / B t / E / S", "1 2 D[2] C[SELECT 1] ZI");
    assert_eq!(now(), [first + 5, 5, 8, 2, 2, 2, 1]);
    // Two transactions, in one go.
    client.talk("Q select 3 / Q select 4", "T D[3] C[SELECT 1] ZI T D[4] C[SELECT 1] ZI");
    assert_eq!(now()[1..3], [7, 10]);

    let [before, ..] = numbers(&pooler, "SHOW STATS", &["total_sent"])[..] else { panic!() };
    client.say("Q select repeat('x', 100000)");
    client.hears_up_to("ZI");
    let names = ["total_received", "total_sent", "total_query_time", "total_xact_time"];
    let [received, sent, query, transaction] = numbers(&pooler, "SHOW STATS", &names)[..] else {
        panic!()
    };
    assert!(sent >= before + 100_000 && sent < before + 101_000, "{before}, {sent}");
    assert!(received > 100 && received < 2000, "{received}");
    assert!(query > 0 && query <= transaction, "{query}, {transaction}");
    client.talk("Q select pg_sleep(0.2)", "T D[] C[SELECT 1] ZI");
    let [_, _, longer, _] = numbers(&pooler, "SHOW STATS", &names)[..] else { panic!() };
    assert!(longer >= query + 200_000, "{query}, {longer}");
    // Who leaves in a transaction has used a server all the same.
    let assigned = now()[0];
    client.talk("Q begin", "C[BEGIN] ZT");
    drop(client);
    eventually("it is counted", LIMIT, || now()[0] == assigned + 1);
}

#[test]
fn waits_are_counted_and_every_table_says_the_same() {
    let pooler = start("default_pool_size = 1");
    let mut holder = Client::login(pooler.port());
    holder.talk("Q begin", "C[BEGIN] ZT");
    let mut waiter = Client::login(pooler.port());
    let waits = thread::spawn(move || {
        waiter.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
        waiter
    });
    let url = pooler.url("app", "x", "pgweir");
    eventually("it waits", LIMIT, || psql_rows(&url, "SHOW POOLS").split('|').nth(3) == Some("1"));
    holder.talk("Q select pg_sleep(0.1)", "T D[] C[SELECT 1] ZT");
    holder.talk("Q commit", "C[COMMIT] ZI");
    let _waiter = waits.join().unwrap();
    let wait = numbers(&pooler, "SHOW STATS", &["total_wait_time"])[0];
    assert!(wait > 100_000, "{wait}");
    let sums = line(&table(&pooler, "SHOW STATS_TOTALS"), "database", APP_DATABASE);
    let totals = table(&pooler, "SHOW TOTALS");
    assert_eq!(totals.len(), 24);
    for (name, column) in [
        ("total_wait_time", "wait_time"),
        ("total_client_bytes", "bytes_received"),
        ("total_ps_bind_count", "bind_count"),
    ] {
        let total = totals.iter().find(|row| row["name"] == name).unwrap();
        assert_eq!(total["value"], sums[column], "{name}");
    }
    let averages = line(&table(&pooler, "SHOW STATS_AVERAGES"), "database", APP_DATABASE);
    assert_eq!(averages["avg_bind_count"], "0");

    let page = page(&pooler);
    for prefix in ["pgbouncer_stats", "pgbouncer_stats_totals"] {
        let name = format!("{prefix}_queries_pooled_total");
        assert!(page.contains(&format!("# TYPE {name} counter\n")), "{page}");
        let line = format!("{name}{{database=\"{APP_DATABASE}\"}} {}\n", sums["query_count"]);
        assert!(page.contains(&line), "{line}{page}");
    }
    let seconds = page.lines().find_map(|line| {
        line.strip_prefix("pgbouncer_stats_client_wait_seconds_total{database=\"shop\"} ")
    });
    assert!(seconds.unwrap().parse::<f64>().unwrap() > 0.1);
}

/// What `/metrics` answers.
#[track_caller]
pub fn page(pooler: &Pooler) -> String {
    fetch(pooler, "/metrics")
}

/// What this path answers.
#[track_caller]
pub fn fetch(pooler: &Pooler, path: &str) -> String {
    let address = || {
        let log = pooler.log();
        let line = log.lines().find_map(|line| line.strip_prefix("  metrics   http://"))?;
        line.strip_suffix("/metrics").map(str::to_owned)
    };
    eventually("the address is told", LIMIT, || address().is_some());
    let mut stream = TcpStream::connect(address().unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: pgweir\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

/// The value of a metric, which is given with its labels.
#[track_caller]
pub fn metric(page: &str, name: &str) -> String {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {page}")).to_owned()
}

/// So many microseconds as the metrics tell them.
fn seconds(micros: u64) -> String {
    let whole = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    whole.trim_end_matches('0').trim_end_matches('.').to_owned()
}

const OF_APP: &str = "database=\"shop\",user=\"app\"";

#[test]
fn histograms_count_what_the_tables_count() {
    let pooler = start("default_pool_size = 2");
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = Client::login(pooler.port());
                for _ in 0..40 {
                    client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
                    client.talk("Q begin", "C[BEGIN] ZT");
                    client.talk("P - select 2 / B - / E / S", "1 2 D[2] C[SELECT 1] ZT");
                    client.talk("Q select nothing / Q select 3", "E[42703] ZE E[25P02] ZE");
                    client.talk("Q rollback", "C[ROLLBACK] ZI");
                }
            });
        }
    });
    let columns = [
        "server_assignment_count",
        "xact_count",
        "query_count",
        "client_login_count",
        "query_time",
        "xact_time",
        "wait_time",
    ];
    let numbers = numbers(&pooler, "SHOW STATS_TOTALS", &columns);
    let [assignments, transactions, queries, logins, query_time, transaction_time, wait_time] =
        numbers[..]
    else {
        panic!("{numbers:?}")
    };
    assert_eq!((transactions, queries, logins), (6 * 40 * 2, 6 * 40 * 6, 6));
    let told = page(&pooler);
    let value = |name: &str| metric(&told, &format!("pgweir_{name}"));
    for (name, count, time) in [
        ("query_seconds", queries, query_time),
        ("transaction_seconds", transactions, transaction_time),
    ] {
        let labels = format!("{OF_APP},role=\"primary\"");
        assert_eq!(value(&format!("{name}_count{{{labels}}}")), count.to_string());
        let all = format!("{name}_bucket{{{labels},le=\"+Inf\"}}");
        assert_eq!(value(&all), count.to_string());
        assert_eq!(value(&format!("{name}_sum{{{labels}}}")), seconds(time), "{name}");
    }
    // Beside those of requests there are those of logins, of which some need a server.
    let waits = format!("wait_seconds_count{{{OF_APP},role=\"primary\"}}");
    let waits: u64 = value(&waits).parse().unwrap();
    assert!((assignments + 1..=assignments + logins).contains(&waits), "{waits}, {assignments}");
    let sum = format!("wait_seconds_sum{{{OF_APP},role=\"primary\"}}");
    assert_eq!(value(&sum), seconds(wait_time));
    assert_eq!(value(&format!("login_seconds_count{{{OF_APP}}}")), logins.to_string());
    assert!(!told.contains("role=\"replica\""), "there is none");

    let mut client = Client::login(pooler.port());
    client.talk("Q select pg_sleep(0.3)", "T D[] C[SELECT 1] ZI");
    let after = page(&pooler);
    let within = |page: &str, bound: &str| -> u64 {
        let name =
            format!("pgweir_query_seconds_bucket{{{OF_APP},role=\"primary\",le=\"{bound}\"}}");
        metric(page, &name).parse().unwrap()
    };
    assert_eq!(within(&after, "0.25"), within(&told, "0.25"), "it took longer");
    assert_eq!(within(&after, "60"), within(&told, "60") + 1);
}

#[test]
fn users_whose_times_are_not_told_apart_are_counted_together() {
    let superuser = format!("[users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n");
    let text = file(shared().port(), "max_metrics_users = 1", &superuser)
        .replace("http_listen = \"\"", "http_listen = \"127.0.0.1:0\"");
    let pooler = Pooler::start(&text);
    Client::login(pooler.port()).talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    assert_eq!(metric(&page(&pooler), "pgweir_metrics_folded_total"), "0");
    let as_superuser = [("user", SUPERUSER), ("database", APP_DATABASE)];
    let mut client = Client::login_as(pooler.port(), &as_superuser);
    client.talk("Q select 1 / Q select 2", "T D[1] C[SELECT 1] ZI T D[2] C[SELECT 1] ZI");
    let told = page(&pooler);
    assert_eq!(metric(&told, "pgweir_metrics_folded_total"), "1");
    for (labels, count) in [(OF_APP, "1"), ("database=\"other\",user=\"other\"", "2")] {
        let name = format!("pgweir_query_seconds_count{{{labels},role=\"primary\"}}");
        assert_eq!(metric(&told, &name), count, "{labels}");
    }
    assert!(!told.contains(&format!("user=\"{SUPERUSER}\",role")), "{told}");
    assert!(pooler.log().contains("max_metrics_users"), "it is said once");
}

#[test]
fn errors_are_counted_by_state_and_side_without_values() {
    let pooler = start("default_pool_size = 2; query_wait_timeout = 0.2");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::login(pooler.port());
                for _ in 0..25 {
                    client.talk("Q select 1/0", "E[22012] ZI");
                    client.talk("P - select 1 / B x / E / S", "1 E[26000] ZI");
                }
            });
        }
    });
    let mut client = Client::login(pooler.port());
    client.talk("Q select 'a secret'::int", "E[22P02] ZI");
    client.talk("Q begin", "C[BEGIN] ZT");
    client.talk("Q select nothing / Q select 1", "E[42703] ZE E[25P02] ZE");
    let mut second = Client::login(pooler.port());
    second.talk("Q begin", "C[BEGIN] ZT");
    let mut third = Client::login(pooler.port());
    // Each request of those that are refused in one go.
    third.talk(
        "Q select 1 / Q select 2 / P - select 3 / B - / E / S",
        "E[53300] ZI E[53300] ZI E[53300] ZI",
    );
    client.talk("Q rollback", "C[ROLLBACK] ZI");
    let refused = psql(&pooler.url("app", PASSWORD, "nowhere"), "select 1");
    assert!(refused.stderr.contains("no such database"), "{}", refused.stderr);
    third.send(b"!\0\0\0\x04S\0\0\0\x04");
    third.hears("FATAL[08P01] end");

    let rows = table(&pooler, "SHOW ERRORS");
    let mut shown: Vec<_> = rows
        .iter()
        .map(|row| ["side", "sqlstate", "count", "text"].map(|name| row[name].as_str()))
        .collect();
    shown.sort_unstable();
    let expected = [
        ["client", "08P01", "1", "invalid frontend message type 33"],
        ["client", "3D000", "1", "no such database: nowhere"],
        ["pooler", "53300", "3", "query_wait_timeout: no server became free within 0.2 s"],
        ["server", "22012", "100", "reported by int4div"],
        ["server", "22P02", "1", "reported by pg_strtoint32_safe"],
        ["server", "25P02", "1", "reported by exec_simple_query"],
        ["server", "26000", "100", "reported by exec_bind_message"],
        ["server", "42703", "1", "reported by errorMissingColumn"],
    ];
    // What places are called differs between versions of Postgres.
    let counts = |rows: &[[&str; 4]]| rows.iter().map(|row| row[..3].join(" ")).collect::<Vec<_>>();
    assert_eq!(counts(&shown), counts(&expected));
    for ([side, .., text], [.., wanted]) in shown.iter().zip(expected) {
        assert!(*text == wanted || *side == "server" && text.starts_with("reported by "), "{text}");
    }
    let told = page(&pooler);
    for [side, state, count, _] in expected {
        let name = format!("pgweir_errors_total{{sqlstate=\"{state}\",side=\"{side}\"}}");
        assert_eq!(metric(&told, &name), count, "{name}");
    }
    assert!(!told.contains("secret"), "{told}");
    assert!(rows[0]["last_seen"] >= rows[7]["last_seen"], "{rows:?}");
}

#[test]
fn queries_and_slow_statements_are_told_without_values() {
    let pooler = start("default_pool_size = 1; query_stats_size = \"1MB\"; log_min_duration = 0.2");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = Client::login(pooler.port());
                for number in 0..20 {
                    client.talk(
                        &format!("Q select {number} as secret"),
                        &format!("T D[{number}] C[SELECT 1] ZI"),
                    );
                    client.talk("Q select 'secret'::int", "E[22P02] ZI");
                    client.talk("P - select 7 / B - / E / S", "1 2 D[7] C[SELECT 1] ZI");
                }
                client.talk("P s select 8 where 1 = 1 / S", "1 ZI");
                client.talk("B s / E / S", "2 D[8] C[SELECT 1] ZI");
            });
        }
    });
    let mut client = Client::login(pooler.port());
    client.talk("Q begin", "C[BEGIN] ZT");
    let mut waiter = Client::login(pooler.port());
    let waits = thread::spawn(move || waiter.talk("Q select 'waits'", "T D[waits] C[SELECT 1] ZI"));
    eventually("it waits", LIMIT, || !table(&pooler, "SHOW WAITING").is_empty());
    client.talk("Q select pg_sleep(0.3)", "T D[] C[SELECT 1] ZT");
    client.talk("Q commit", "C[COMMIT] ZI");
    waits.join().unwrap();

    let rows = table(&pooler, "SHOW QUERIES");
    let number =
        |query: &str, column: &str| -> u64 { line(&rows, "query", query)[column].parse().unwrap() };
    for (query, calls, errors) in [
        ("select ? as secret", 60, 0),
        ("select ?::int", 60, 60),
        // Those of all clients, of the unnamed statement and one that waited.
        ("select ?", 61, 0),
        ("select ? where ? = ?", 6, 0),
        ("select pg_sleep(?)", 1, 0),
        ("begin", 1, 0),
        ("commit", 1, 0),
    ] {
        assert_eq!((number(query, "calls"), number(query, "errors")), (calls, errors), "{query}");
    }
    assert_eq!(rows[0]["query"], "select pg_sleep(?)", "the dearest comes first");
    assert!(number("select pg_sleep(?)", "run_us") >= 300_000);
    for quantile in ["p50_us", "p95_us", "p99_us"] {
        assert!(number("select pg_sleep(?)", quantile) >= 500_000, "the bound above it");
    }
    assert!(number("select ?", "wait_us") >= 200_000, "the last one has waited");
    let all: u64 = rows.iter().map(|row| row["calls"].parse::<u64>().unwrap()).sum();
    assert_eq!(all, numbers(&pooler, "SHOW STATS_TOTALS", &["query_count"])[0]);
    let run: u64 = rows.iter().map(|row| row["run_us"].parse::<u64>().unwrap()).sum();
    assert_eq!(run, numbers(&pooler, "SHOW STATS_TOTALS", &["query_time"])[0]);

    let log = pooler.log();
    let slow: Vec<_> = log.lines().filter(|line| line.contains("slow statement")).collect();
    let of = |text: &str| slow.iter().any(|line| line.contains(text) && line.contains("(waited "));
    assert!(
        of("): select pg_sleep(?) (waited 0.0 ms, ran 3") && of("): select ? (waited "),
        "{log}"
    );
    assert!(!slow.iter().any(|line| line.contains("waits")), "{log}");
    psql_rows(&pooler.url("app", "x", "pgweir"), "SET query_stats_size = 0");
    assert!(table(&pooler, "SHOW QUERIES").is_empty());
}

/// Several requests are under way at once: sent in one go, and answered in several.
#[test]
fn each_request_of_a_pipeline_has_its_own_text_time_and_error() {
    const LAST: &str = "select pg_sleep(?), ? from pg_advisory_xact_lock(?)";
    let pooler = start("default_pool_size = 1; query_stats_size = \"1MB\"");
    let mut client = Client::login(pooler.port());
    client.talk("P s select 8 where 1 = 1 / S", "1 ZI");
    // What is answered in one go shares its time: so answers stop twice, until they have been heard.
    let mut locks = Client::login_with(shared().port(), &USER, PASSWORD);
    locks.talk(
        "Q select 1 from pg_advisory_lock(1), pg_advisory_lock(2) b",
        "T D[1] C[SELECT 1] ZI",
    );
    let script = [
        "Q select pg_sleep(0.4)",
        "Q select 1 from pg_advisory_xact_lock(1)",
        "B s / E / S",
        "Q select 'secret'::int",
        "P - select 7 / B - / E / S",
        "Q copy (select 1) to stdout",
        "S",
        "Q select 9",
        "Q select pg_sleep(0.2), 1 from pg_advisory_xact_lock(2)",
    ];
    client.talk(&script.join(" / "), "T D[] C[SELECT 1] ZI");
    locks.talk("Q select pg_advisory_unlock(1)", "T D[t] C[SELECT 1] ZI");
    client.hears(
        "T D[1] C[SELECT 1] ZI 2 D[8] C[SELECT 1] ZI E[22P02] ZI 1 2 D[7] C[SELECT 1] ZI H d[1] c \
         C[COPY 1] ZI ZI T D[9] C[SELECT 1] ZI",
    );
    locks.talk("Q select pg_advisory_unlock(2)", "T D[t] C[SELECT 1] ZI");
    client.hears("T D[|1] C[SELECT 1] ZI");

    let rows = table(&pooler, "SHOW QUERIES");
    let number =
        |query: &str, column: &str| -> u64 { line(&rows, "query", query)[column].parse().unwrap() };
    for (query, calls, errors) in [
        ("select pg_sleep(?)", 1, 0),
        ("select ? where ? = ?", 2, 0),
        ("select ?::int", 1, 1),
        ("select ?", 2, 0),
        ("copy(select ?) to stdout", 1, 0),
        ("(no text)", 1, 0),
        ("select ? from pg_advisory_xact_lock(?)", 1, 0),
        (LAST, 1, 0),
    ] {
        assert_eq!((number(query, "calls"), number(query, "errors")), (calls, errors), "{query}");
        assert_eq!(number(query, "primary_calls"), calls, "{query}");
    }
    let (first, last) = (number("select pg_sleep(?)", "run_us"), number(LAST, "run_us"));
    assert!(first >= 400_000 && last >= 200_000, "{rows:?}");
    assert!(
        rows.is_sorted_by_key(|row| Reverse(row["run_us"].parse::<u64>().unwrap())),
        "{rows:?}"
    );
    let [count, time] = numbers(&pooler, "SHOW STATS_TOTALS", &["query_count", "query_time"])[..]
    else {
        panic!("two columns")
    };
    let sum =
        |column: &str| rows.iter().map(|row| row[column].parse::<u64>().unwrap()).sum::<u64>();
    assert_eq!((sum("calls"), sum("run_us")), (count, time));
}

#[test]
fn prepared_statements_show_who_has_them() {
    let pooler = start("debug_force_hop = true; default_pool_size = 2");
    let mut one = Client::login(pooler.port());
    let mut two = Client::login(pooler.port());
    one.talk("P s select 7 / S", "1 ZI");
    two.talk("P s select 7 / P t select 7 / S", "1 1 ZI");
    two.talk("P other select 8 / S", "1 ZI");
    for _ in 0..5 {
        one.talk("B s / E / S", "2 D[7] C[SELECT 1] ZI");
    }
    let shown = || {
        let rows = table(&pooler, "SHOW PREPARED").into_iter();
        let columns = ["statement", "names", "servers", "uses", "bytes"];
        rows.map(|row| columns.map(|name| row[name].clone()).join(" ")).collect::<Vec<_>>()
    };
    let name = format!("pgweir_{}", table(&pooler, "SHOW PREPARED")[0]["id"]);
    let named = "select name from pg_prepared_statements where statement = 'select 7'";
    assert_eq!(one.value(named), name);
    // Two more bytes for the number of types, and one behind the text.
    eventually("one server has the other", LIMIT, || {
        shown() == ["select ? 3 2 5 11", "select ? 1 1 0 11"]
    });
    two.talk("C t / S", "3 ZI");
    drop(one);
    eventually("names go with their client", LIMIT, || shown()[0] == "select ? 1 2 5 11");
    let told = page(&pooler);
    assert_eq!(metric(&told, "pgweir_prepared_statements"), "2");
    assert_eq!(metric(&told, "pgweir_memory_bytes{for=\"statements\"}"), "22");
    let resident = metric(&told, "pgweir_memory_bytes{for=\"resident\"}");
    assert!(resident.parse::<u64>().unwrap() > 1 << 20, "{resident}");
}

#[test]
fn what_has_happened_and_pins_and_limits_show() {
    let pooler = start("default_pool_size = 2; max_pinned_clients = 1");
    let pins =
        |reason: &str| metric(&page(&pooler), &format!("pgweir_pins_total{{reason=\"{reason}\"}}"));
    let mut holder = Client::login(pooler.port());
    holder.talk("Q select 1 from pg_advisory_lock(1)", "T D[1] C[SELECT 1] ZI");
    holder.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    // It is found out behind the answer.
    eventually("the pin is counted", LIMIT, || pins("session advisory lock") == "1");
    assert_eq!(pins("temporary object"), "0");
    for _ in 0..2 {
        let mut other = Client::login(pooler.port());
        other.say("Q select 1 from pg_advisory_lock(2)");
        let heard = other.hears_up_to("end");
        assert!(heard.contains("FATAL[53400]"), "{heard}");
    }
    table(&pooler, "SHOW STATE");
    let console = pooler.url("app", "x", "pgweir");
    psql_rows(&console, "SET max_events = 50; DISABLE shop; ENABLE shop; RELOAD");
    assert!(!psql(&console, "RESUME").status.success());
    let rows = table(&pooler, "SHOW EVENTS");
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            let event = row["event"].as_str();
            let event = event.split_once(", by app@127.0.0.1:").map_or(event, |(event, port)| {
                assert!(port.parse::<u16>().is_ok(), "{port}");
                event
            });
            assert!(row["kind"] != "order" || event != row["event"], "by whom: {row:?}");
            format!("{}|{}|{event}|{}", row["kind"], row["about"], row["times"])
        })
        .collect();
    let started = format!("process||pgweir {} has started|1", env!("CARGO_PKG_VERSION"));
    let expected = [
        "order||RESUME failed: pooler is not paused/suspended|1",
        "order||RESUME|1",
        "order||RELOAD|1",
        "order|shop|ENABLE|1",
        "order|shop|DISABLE|1",
        "reload||configuration reloaded|2",
        "order|max_events|SET to \"50\"|1",
        "pins|shop/app|a client is closed: max_pinned_clients keep their servers|2",
        &started,
    ];
    assert_eq!(shown, expected);
    assert!(rows.iter().all(|row| row["time"] <= row["last_time"]), "{rows:?}");
    let told = page(&pooler);
    for (key, value) in
        [("max_events", "50"), ("max_pinned_clients", "1"), ("max_db_connections", "0")]
    {
        assert_eq!(metric(&told, &format!("pgweir_limit{{key=\"{key}\"}}")), value, "{key}");
    }
}

/// What each metric is, from its own words. With `UPDATE_REFERENCE` set, writes the table instead.
#[test]
fn every_metric_has_its_row_in_the_documents() {
    let told = page(&start(""));
    let mut table = String::from("| metric | type | what it is |\n|---|---|---|\n");
    let mut lines = told.lines();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|it| it.split_once(' '))
        else {
            continue;
        };
        let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
        assert!(!table.contains(&format!("`{name}`")), "{name} is there twice");
        table += &format!("| `{name}` | {kind} | {help} |\n");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let found = std::fs::read_to_string(path).unwrap();
    let start = found.find("| metric |").unwrap();
    let text = format!("{}{table}", &found[..start]);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        return std::fs::write(path, text).unwrap();
    }
    assert!(found == text, "docs/metrics.md is behind: UPDATE_REFERENCE=1 cargo test");
}

/// The only line that has this in this column.
#[track_caller]
pub fn line(
    rows: &[HashMap<String, String>],
    column: &str,
    value: &str,
) -> HashMap<String, String> {
    let found: Vec<_> = rows.iter().filter(|row| row[column] == value).collect();
    assert_eq!(found.len(), 1, "{column} = {value}: {rows:#?}");
    found[0].clone()
}

#[test]
fn clients_and_servers_show_with_their_links() {
    let pooler = start("default_pool_size = 2");
    let named = [USER[0], USER[1], ("application_name", "holder")];
    let mut holder = Client::login_as(pooler.port(), &named);
    holder.talk("P s select 1 / S", "1 ZI");
    holder.talk("Q begin", "C[BEGIN] ZT");
    let backend = holder.value("select pg_backend_pid()");
    let mut second = Client::login_as(pooler.port(), &USER);
    second.talk("Q begin", "C[BEGIN] ZT");
    let other = second.value("select pg_backend_pid()");
    let mut third = Client::login_as(pooler.port(), &USER);
    third.say("Q select 1");
    let waited = |row: &HashMap<String, String>| {
        let [whole, micros] = ["wait", "wait_us"].map(|name| row[name].parse::<u64>().unwrap());
        whole * 1_000_000 + micros
    };
    // It may not have waited for as much as a microsecond yet.
    let waits = |row: &HashMap<String, String>| row["state"] == "waiting" && waited(row) > 0;
    eventually("the third waits", LIMIT, || table(&pooler, "SHOW CLIENTS").iter().any(waits));

    let clients = table(&pooler, "SHOW CLIENTS");
    let servers = table(&pooler, "SHOW SERVERS");
    assert_eq!((clients.len(), servers.len()), (3, 2));
    let client = line(&clients, "application_name", "holder");
    let server = line(&servers, "remote_pid", &backend);
    for (row, link) in [(&client, &server), (&server, &client)] {
        assert_eq!((&*row["link"], &*row["state"]), (&*link["ptr"], "active"));
        assert_eq!((&*row["user"], &*row["database"]), ("app", APP_DATABASE));
        assert_eq!((&*row["prepared_statements"], &*row["replication"]), ("1", "none"));
        assert!(row["connect_time"] <= row["request_time"], "{row:?}");
        assert_eq!((&*row["application_name"], &*row["addr"]), ("holder", "127.0.0.1"));
    }
    assert_eq!(server["port"], shared().port().to_string());
    assert_ne!(line(&servers, "remote_pid", &other)["link"], server["link"]);
    let waiting = line(&clients, "state", "waiting");
    assert_eq!(waiting["link"], "");
    assert!(waited(&waiting) > 0 && waited(&client) == 0);

    let waits = table(&pooler, "SHOW WAITING");
    let wait = line(&waits, "holder_application_name", "holder");
    assert_eq!((&*wait["id"], &*wait["holder_id"]), (&*waiting["id"], &*client["id"]));
    assert_eq!((&*wait["sv_active"], &*wait["pool_size"]), ("2", "2"));
    assert!(waited(&wait) >= waited(&waiting), "it goes on");
    let holders = table(&pooler, "SHOW HOLDERS");
    let ids: Vec<_> = holders.iter().map(|row| &*row["id"]).collect();
    assert_eq!(ids.first(), Some(&&*client["id"]), "who came first has held for longest");
    let holding = line(&holders, "remote_pid", &backend);
    assert_eq!((&*holding["cl_waiting"], &*holding["application_name"]), ("1", "holder"));

    let sockets = table(&pooler, "SHOW SOCKETS");
    let states = |rows: &[HashMap<String, String>]| {
        let mut states: Vec<_> = rows.iter().map(|row| row["state"].clone()).collect();
        states.sort();
        states
    };
    let busy = ["cl_active", "cl_active", "cl_waiting", "sv_active", "sv_active"];
    assert_eq!(states(&sockets), busy);
    second.talk("Q rollback", "C[ROLLBACK] ZI");
    third.hears("T D[1] C[SELECT 1] ZI");
    let idle = |rows: &[HashMap<String, String>]| states(rows).contains(&"sv_idle".to_owned());
    eventually("a server is free", LIMIT, || idle(&table(&pooler, "SHOW SOCKETS")));
    assert!(!idle(&table(&pooler, "SHOW ACTIVE_SOCKETS")));
    let free = line(&table(&pooler, "SHOW SERVERS"), "remote_pid", &other);
    assert_eq!((&*free["state"], &*free["link"]), ("idle", ""));
    holder.talk("Q rollback", "C[ROLLBACK] ZI");
}

#[test]
fn users_show_with_their_limits_and_what_is_not_there_shows_nothing() {
    let settings = "admin_users = \"app\"; max_user_connections = 7";
    let more = "pool_size = 3\npool_mode = \"session\"\nmax_user_client_connections = 9\n\
                [users.idle]\nmax_user_connections = 5\n";
    let pooler = Pooler::start(&file(shared().port(), settings, more));
    let mut client = Client::login(pooler.port());
    client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    let users = table(&pooler, "SHOW USERS");
    let app = line(&users, "name", "app");
    assert_eq!((&*app["pool_size"], &*app["reserve_pool_size"]), ("        3", ""));
    assert_eq!((&*app["pool_mode"], &*app["max_user_connections"]), ("session", "7"));
    assert_eq!((&*app["current_connections"], &*app["current_client_connections"]), ("1", "1"));
    assert_eq!(app["max_user_client_connections"], "9");
    let idle = line(&users, "name", "idle");
    assert_eq!((&*idle["pool_mode"], &*idle["max_user_connections"]), ("NULL", "5"));
    for name in ["FDS", "MEM", "DNS_HOSTS", "DNS_ZONES", "PEERS", "PEER_POOLS", "WAITING"] {
        assert!(table(&pooler, &format!("SHOW {name}")).is_empty(), "{name}");
    }
}

#[test]
fn clients_that_replicate_show_as_such() {
    let superuser = format!("[users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n");
    let pooler = Pooler::start(&file(shared().port(), "admin_users = \"app\"", &superuser));
    let as_superuser = [("user", SUPERUSER), ("database", APP_DATABASE)];
    let login = |kind| {
        let parameters = [&as_superuser[..], &[("replication", kind)]].concat();
        Client::login_as(pooler.port(), &parameters)
    };
    let inside = [login("database"), login("true"), login("false")];
    let clients = table(&pooler, "SHOW CLIENTS");
    let mut kinds: Vec<_> = clients.iter().map(|row| &*row["replication"]).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["logical", "none", "physical"]);
    // Each has a server of its own, beside those of the pools.
    let servers = table(&pooler, "SHOW SERVERS");
    for client in clients.iter().filter(|row| row["replication"] != "none") {
        let server = line(&servers, "ptr", &client["link"]);
        assert_eq!(server["replication"], client["replication"]);
        assert_eq!((&server["link"], &*server["state"]), (&client["ptr"], "active"));
        assert_eq!((&*server["user"], &*server["database"]), (SUPERUSER, APP_DATABASE));
    }
    let stats = table(&pooler, "SHOW STATS");
    assert_eq!(line(&stats, "database", APP_DATABASE)["total_client_login_count"], "3");
    drop(inside);
    eventually("their servers go with them", LIMIT, || {
        table(&pooler, "SHOW SERVERS").iter().all(|row| row["replication"] == "none")
    });
}

/// The one command that an operator asks first, while a crowd waits: who does it, and with what.
#[test]
fn pile_up_is_told_with_the_application_and_the_statement_that_do_it() {
    let pooler = start("default_pool_size = 2");
    let login = |name: &str| {
        Client::login_as(pooler.port(), &[USER[0], USER[1], ("application_name", name)])
    };
    let mut guilty = login("nightly report");
    guilty.talk("Q begin", "C[BEGIN] ZT");
    guilty.talk("P s select 1 where 'secret' <> 'x' / S", "1 ZT");
    guilty.talk("B s / E / S", "2 D[1] C[SELECT 1] ZT");
    let mut innocent = login("web");
    innocent.say("Q select 'secret', pg_sleep(60)");
    let busy = || line(&table(&pooler, "SHOW POOLS"), "database", APP_DATABASE)["sv_active"] == "2";
    eventually("both are at work", LIMIT, busy);
    let mut crowd: Vec<_> = (0..5).map(|_| login("web")).collect();
    crowd.iter_mut().for_each(|client| client.say("Q select 2"));
    eventually("five wait", LIMIT, || table(&pooler, "SHOW WAITING").len() == 5);

    let rows = table(&pooler, "SHOW WAITING");
    for row in &rows {
        let told = ["holder_application_name", "holder_state", "holder_statement"]
            .map(|column| row[column].as_str());
        let wanted = ["nightly report", "idle in transaction", "select ? where ? <> ?"];
        assert_eq!(told, wanted, "{row:?}");
        assert_eq!(row["application_name"], "web");
    }
    let columns = ["application_name", "cl_waiting", "state", "statement"];
    let holders = || -> Vec<String> {
        let rows = table(&pooler, "SHOW HOLDERS").into_iter();
        rows.map(|row| columns.map(|column| row[column].clone()).join("|")).collect()
    };
    let of_guilty = "nightly report|5|idle in transaction|select ? where ? <> ?";
    assert_eq!(holders(), [of_guilty, "web|5|active|select ?, pg_sleep(?)"]);
    // One command more, and it is over.
    let id = &rows[0]["holder_id"];
    psql_rows(&pooler.url("app", "x", "pgweir"), &format!("KILL_CLIENT {id}"));
    for client in &mut crowd {
        client.hears("T D[2] C[SELECT 1] ZI");
    }
    assert!(guilty.hears_up_to("end").contains("FATAL[57P01]"));
    // A server comes back behind its client's answer.
    let last = || holders() == ["web|0|active|select ?, pg_sleep(?)"];
    eventually("one holds a server", LIMIT, last);
}

#[test]
fn what_a_server_does_for_its_client_is_told() {
    let pooler = start("default_pool_size = 1");
    let mut client = Client::login(pooler.port());
    let shown = |wanted: &str| {
        eventually(wanted, LIMIT, || {
            let rows = table(&pooler, "SHOW HOLDERS").into_iter();
            let rows: Vec<_> =
                rows.map(|row| format!("{}: {}", row["state"], row["statement"])).collect();
            rows == [wanted]
        });
    };
    client.talk("Q begin", "C[BEGIN] ZT");
    shown("idle in transaction: begin");
    client.talk("Q select nothing", "E[42703] ZE");
    shown("idle in transaction (aborted): select nothing");
    client.talk("Q rollback", "C[ROLLBACK] ZI");
    client.talk("Q select 1 from pg_advisory_lock(1)", "T D[1] C[SELECT 1] ZI");
    client.talk("Q select 2", "T D[2] C[SELECT 1] ZI");
    shown("idle: select ?");
    client.talk("P - select 3 / B - / E / S", "1 2 D[3] C[SELECT 1] ZI");
    client.say("Q update t set secret = 'it''s' from pg_sleep(60)");
    client.hears("E[42P01] ZI");
    client.say("P - select 'secret', pg_sleep(60) / B - / E / H");
    shown("active: select ?, pg_sleep(?)");
}
