//! PgBouncer's exporter for Prometheus, replayed: its startup packet, its queries in its order, and
//! what it demands of the answers. What it makes of them has to be what `/metrics` says.
//! <https://github.com/prometheus-community/pgbouncer_exporter>

use std::collections::BTreeMap;

use crate::figures::{page, start};
use crate::support::{LIMIT, eventually};
use crate::wire::{Client, Message, messages};

const TEXT: u32 = 25;
const INTEGER: u32 = 23;
const NUMERIC: u32 = 1700;

/// What lib/pq says of itself when it connects.
const STARTUP: [(&str, &str); 5] = [
    ("user", "app"),
    ("database", "pgbouncer"),
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, MDY"),
    ("extra_float_digits", "2"),
];

/// Its queries, the first of which is for finding out whether anybody is there.
const QUERIES: [&str; 7] = [
    "SHOW STATS",
    "SHOW VERSION;",
    "SHOW LISTS;",
    "SHOW CONFIG;",
    "SHOW databases;",
    "SHOW stats_totals;",
    "SHOW pools;",
];

/// Columns that become metrics, and the metrics' names; times become seconds.
type Metrics = &'static [(&'static str, &'static str)];

/// For each table: the metrics' prefix, the columns that become labels, and the metrics.
const TABLES: [(&str, &str, &[&str], Metrics); 3] = [
    (
        "SHOW databases;",
        "databases",
        &["name", "host", "port", "database", "force_user", "pool_mode"],
        &[
            ("pool_size", "pool_size"),
            ("reserve_pool", "reserve_pool"),
            ("max_connections", "max_connections"),
            ("current_connections", "current_connections"),
            ("paused", "paused"),
            ("disabled", "disabled"),
        ],
    ),
    (
        "SHOW stats_totals;",
        "stats_totals",
        &["database"],
        &[
            ("query_count", "queries_pooled_total"),
            ("query_time", "queries_duration_seconds_total"),
            ("bytes_received", "received_bytes_total"),
            ("bytes_sent", "sent_bytes_total"),
            ("wait_time", "client_wait_seconds_total"),
            ("xact_count", "sql_transactions_pooled_total"),
            ("xact_time", "server_in_transaction_seconds_total"),
            ("client_parse_count", "client_parses_total"),
            ("server_parse_count", "server_parses_total"),
            ("bind_count", "binds_total"),
        ],
    ),
    (
        "SHOW pools;",
        "pools",
        &["database", "user"],
        &[
            ("cl_active", "client_active_connections"),
            ("cl_active_cancel_req", "client_active_cancel_connections"),
            ("cl_waiting", "client_waiting_connections"),
            ("cl_waiting_cancel_req", "client_waiting_cancel_connections"),
            ("sv_active", "server_active_connections"),
            ("sv_active_cancel", "server_active_cancel_connections"),
            ("sv_being_canceled", "server_being_canceled_connections"),
            ("sv_idle", "server_idle_connections"),
            ("sv_used", "server_used_connections"),
            ("sv_tested", "server_testing_connections"),
            ("sv_login", "server_login_connections"),
            ("maxwait", "client_maxwait_seconds"),
        ],
    ),
];

/// Lines of SHOW LISTS and of SHOW CONFIG that become metrics.
const LISTS: Metrics = &[
    ("databases", "databases"),
    ("users", "users"),
    ("pools", "pools"),
    ("free_clients", "free_clients"),
    ("used_clients", "used_clients"),
    ("login_clients", "login_clients"),
    ("free_servers", "free_servers"),
    ("used_servers", "used_servers"),
    ("dns_names", "cached_dns_names"),
    ("dns_zones", "cached_dns_zones"),
    ("dns_queries", "in_flight_dns_queries"),
];
const LIMITS: Metrics = &[
    ("max_client_conn", "config_max_client_connections"),
    ("max_user_connections", "config_max_user_connections"),
];

/// An answer: columns with their types, and rows; NULL is `None`.
#[derive(Debug, PartialEq)]
struct Table {
    columns: Vec<(String, u32)>,
    rows: Vec<Vec<Option<String>>>,
}

impl Table {
    fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[track_caller]
    fn at(&self, column: &str) -> (usize, u32) {
        let at = self.columns.iter().position(|(name, _)| name == column);
        let at = at.unwrap_or_else(|| panic!("no {column} in {:?}", self.columns));
        (at, self.columns[at].1)
    }

    /// As lib/pq gives it to the exporter, which has no other labels than texts, whole numbers and
    /// NULL.
    #[track_caller]
    fn label(&self, row: usize, column: &str) -> String {
        let (at, kind) = self.at(column);
        assert!([TEXT, INTEGER].contains(&kind), "{column} is of type {kind}");
        self.rows[row][at].clone().unwrap_or_default()
    }

    #[track_caller]
    fn number(&self, row: usize, column: &str) -> f64 {
        let (at, kind) = self.at(column);
        assert!([INTEGER, NUMERIC, TEXT].contains(&kind), "{column} is of type {kind}");
        let value = self.rows[row][at].as_deref();
        let value = value.unwrap_or_else(|| panic!("{column} is NULL"));
        value.parse().unwrap_or_else(|_| panic!("{column} is no number: {value}"))
    }
}

fn row(message: &Message) -> Vec<Option<String>> {
    let known = |value: String| (value != "NULL").then_some(value);
    message.values().into_iter().map(known).collect()
}

/// Reads what comes up to ReadyForQuery: what is told of columns, and the rows.
#[track_caller]
fn answer(client: &mut Client, query: &str) -> (Option<Vec<(String, u32)>>, Table) {
    let (mut described, mut rows) = (None, Vec::new());
    loop {
        let message = client.hear();
        match message.tag {
            b'T' => described = Some(message.types()),
            b'D' => rows.push(row(&message)),
            b'C' => assert_eq!(message.text(), "C[SHOW]", "{query}"),
            b'1' | b'2' | b't' => {}
            b'Z' => {
                assert_eq!(message.text(), "ZI", "{query}");
                let columns = described.clone().unwrap_or_default();
                return (described, Table { columns, rows });
            }
            _ => panic!("{query}: {} {:?}", message.text(), message.field(b'M')),
        }
    }
}

/// By a simple query, which is how the exporter asks.
#[track_caller]
fn simply(client: &mut Client, query: &str) -> Table {
    client.say(&format!("Q {query}"));
    answer(client, query).1
}

/// By a prepared statement, in lib/pq's two steps.
#[track_caller]
fn prepared(client: &mut Client, query: &str) -> Table {
    client.say(&format!("P 1 {query} / D 1 / S"));
    let (columns, Table { rows, .. }) = answer(client, query);
    assert!(rows.is_empty(), "{query}: {rows:?}");
    client.say("B 1 / E / S");
    let (again, Table { rows, .. }) = answer(client, query);
    assert_eq!(again, None, "{query}: nobody has asked for columns");
    client.talk("C 1 / S", "3 ZI");
    Table { columns: columns.unwrap_or_else(|| panic!("{query} is not described")), rows }
}

/// A sample: its name with its labels in order, and its value.
type Samples = BTreeMap<String, f64>;

fn sample(name: &str, labels: &[(&str, String)]) -> String {
    let sorted: BTreeMap<_, _> = labels.iter().map(|(label, value)| (*label, value)).collect();
    format!("pgbouncer_{name}{sorted:?}")
}

/// What the exporter makes of one round of answers; it panics where the exporter says
/// `pgbouncer_up 0`.
#[track_caller]
fn scrape(mut ask: impl FnMut(&str) -> Table) -> Samples {
    let mut answers: BTreeMap<&str, Table> = BTreeMap::new();
    for query in QUERIES {
        answers.insert(query, ask(query));
    }
    let mut samples = Samples::from([(sample("up", &[]), 1.0)]);
    let version = &answers["SHOW VERSION;"];
    assert_eq!((version.names(), version.rows.len()), (vec!["version"], 1));
    let label = [("version", version.label(0, "version"))];
    samples.insert(sample("version_info", &label), 1.0);

    let lists = &answers["SHOW LISTS;"];
    assert_eq!(lists.names(), ["list", "items"]);
    let config = &answers["SHOW CONFIG;"];
    assert_eq!(config.names(), ["key", "value", "default", "changeable"]);
    for row in 0..config.rows.len() {
        // Those may not be NULL.
        assert_ne!(config.label(row, "key"), "");
        assert!(["yes", "no"].contains(&config.label(row, "changeable").as_str()));
    }
    for (table, key, value, wanted) in
        [(lists, "list", "items", LISTS), (config, "key", "value", LIMITS)]
    {
        for (line, metric) in wanted {
            let row = (0..table.rows.len()).find(|row| table.label(*row, key) == *line);
            let row = row.unwrap_or_else(|| panic!("no {line}"));
            samples.insert(sample(metric, &[]), table.number(row, value));
        }
    }
    for (query, prefix, labels, metrics) in TABLES {
        let table = &answers[query];
        assert!(!table.rows.is_empty(), "{query}");
        for row in 0..table.rows.len() {
            let labels: Vec<_> =
                labels.iter().map(|label| (*label, table.label(row, label))).collect();
            for (column, metric) in metrics {
                let one = if metric.ends_with("seconds_total") { 1e-6 } else { 1.0 };
                let name = sample(&format!("{prefix}_{metric}"), &labels);
                samples.insert(name, table.number(row, column) * one);
            }
        }
    }
    samples
}

/// PgBouncer's part of `/metrics`.
fn ours(page: &str) -> Samples {
    let mut samples = Samples::new();
    for line in page.lines() {
        let Some(rest) = line.strip_prefix("pgbouncer_") else { continue };
        let (name, value) = rest.rsplit_once(' ').unwrap();
        let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
        let labels = labels.strip_suffix('}').unwrap();
        let labels = labels.split("\",").filter(|label| !label.is_empty()).map(|label| {
            let (label, value) = label.split_once("=\"").unwrap();
            (label, value.trim_end_matches('"').to_owned())
        });
        samples.insert(sample(name, &labels.collect::<Vec<_>>()), value.parse().unwrap());
    }
    samples
}

/// The console counts those who ask it.
fn is_of_the_console(name: &str) -> bool {
    name.contains("\"database\": \"pgbouncer\"")
}

#[test]
fn exporter_is_answered_and_makes_of_it_what_the_metrics_say() {
    let pooler = start("default_pool_size = 2; max_user_connections = 7; min_pool_size = 1");
    let mut client = Client::login(pooler.port());
    for _ in 0..3 {
        client.talk("P s select 1 / B s / E / C s / S", "1 2 D[1] C[SELECT 1] 3 ZI");
        client.talk("Q begin", "C[BEGIN] ZT");
        client.talk("Q select nothing / Q rollback", "E[42703] ZE C[ROLLBACK] ZI");
    }
    // One connection for all of its life, and a look at whether it lives in between.
    let mut console = Client::login_as(pooler.port(), &STARTUP);
    for parameter in ["client_encoding", "DateStyle", "server_version"] {
        assert!(console.parameters.contains_key(parameter), "{:?}", console.parameters);
    }
    let at_rest = |samples: &Samples| {
        let of = |name: &str| samples[&sample(name, &[])];
        [of("used_servers"), of("free_servers"), of("login_clients")] == [0.0, 1.0, 0.0]
    };
    let mut simple = Samples::new();
    eventually("all is at rest", LIMIT, || {
        simple = scrape(|query| simply(&mut console, query));
        at_rest(&simple)
    });
    console.talk("Q ;", "I ZI");
    let extended = scrape(|query| prepared(&mut console, query));
    console.send(&messages("X"));
    assert!(simple.len() > 60, "{simple:#?}");

    let quiet = |samples: &Samples| -> Samples {
        let others = samples.iter().filter(|(name, _)| !is_of_the_console(name));
        others.map(|(name, value)| (name.clone(), *value)).collect()
    };
    assert_eq!(quiet(&simple), quiet(&extended));
    let ours = ours(&page(&pooler));
    let missing: Vec<_> = simple.keys().filter(|name| !ours.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let ours = quiet(&ours);
    for (name, value) in quiet(&simple) {
        let own = ours.get(&name).unwrap_or_else(|| panic!("no {name} in {ours:#?}"));
        assert!((own - value).abs() < 1e-9, "{name}: {own}, and by the exporter {value}");
    }
    // What is more are the names of older exporters, and two figures that it leaves out.
    let more = ours.keys().filter(|name| !simple.contains_key(*name));
    for name in more {
        let old = name.starts_with("pgbouncer_stats_") && !name.contains("_totals_");
        assert!(old || name.contains("_server_assignments_") || name.contains("_client_logins_"));
    }
}

#[test]
fn exporter_goes_on_while_the_configuration_changes() {
    let pooler = start("default_pool_size = 2");
    Client::login(pooler.port()).talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    let mut console = Client::login_as(pooler.port(), &STARTUP);
    let mut operator = Client::login_as(pooler.port(), &STARTUP);
    for (order, name, wanted) in [
        ("SET max_client_conn = 77", "config_max_client_connections", 77.0),
        ("SET max_user_connections = 5", "config_max_user_connections", 5.0),
        ("SET max_user_connections = 0", "config_max_user_connections", 0.0),
        ("RELOAD", "up", 1.0),
    ] {
        operator.say(&format!("Q {order}"));
        assert!(!operator.hears_up_to("ZI").contains("E["), "{order}");
        let samples = scrape(|query| simply(&mut console, query));
        assert_eq!(samples[&sample(name, &[])], wanted, "{order}");
    }
    let paused = |samples: &Samples| {
        let of = |(name, _): &(&String, &f64)| {
            name.starts_with("pgbouncer_databases_paused") && !is_of_the_console(name)
        };
        samples.iter().filter(of).map(|(_, value)| *value).collect::<Vec<_>>()
    };
    for (order, wanted) in [("PAUSE", [1.0]), ("RESUME", [0.0])] {
        operator.say(&format!("Q {order}"));
        assert!(!operator.hears_up_to("ZI").contains("E["), "{order}");
        assert_eq!(paused(&scrape(|query| simply(&mut console, query))), wanted, "{order}");
    }
}
