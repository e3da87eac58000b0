//! Every counter beside what was done, by many at once and while the configuration changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::figures::{line, metric, page, table};
use crate::setup::{file, shared};
use crate::support::{APP_DATABASE, PASSWORD, Pooler, SUPERUSER, psql_rows};
use crate::wire::Client;

const SECOND: &str = "second";
const ROUNDS: u64 = 25;
/// How long one request of each round keeps its server, in microseconds.
const SLEEPS: u64 = 2000;

/// In the order of the console's columns: what a client has done, and how long it took by its
/// own clock.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    assignments: u64,
    transactions: u64,
    queries: u64,
    received: u64,
    sent: u64,
    transaction_micros: u64,
    query_micros: u64,
    client_parses: u64,
    unnamed_parses: u64,
    binds: u64,
    slept: u64,
}

impl Done {
    fn add(&mut self, other: Self) {
        let sums = [
            (&mut self.assignments, other.assignments),
            (&mut self.transactions, other.transactions),
            (&mut self.queries, other.queries),
            (&mut self.received, other.received),
            (&mut self.sent, other.sent),
            (&mut self.transaction_micros, other.transaction_micros),
            (&mut self.query_micros, other.query_micros),
            (&mut self.client_parses, other.client_parses),
            (&mut self.unnamed_parses, other.unnamed_parses),
            (&mut self.binds, other.binds),
            (&mut self.slept, other.slept),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum += more);
    }
}

/// Says and hears, and returns how long that took.
#[track_caller]
fn timed(client: &mut Client, script: &str, expected: &str) -> u64 {
    let began = Instant::now();
    client.talk(script, expected);
    u64::try_from(began.elapsed().as_micros()).unwrap() + 1
}

/// Simple queries, a block, an error in and out of one.
fn simple(client: &mut Client) -> Done {
    let (mut done, sent, heard) = (Done::default(), client.sent, client.heard);
    for _ in 0..ROUNDS {
        let mut alone = 0;
        for (script, heard) in [
            ("Q select 1", "T D[1] C[SELECT 1] ZI"),
            ("Q select pg_sleep(0.002)", "T D[] C[SELECT 1] ZI"),
            ("Q select nothing", "E[42703] ZI"),
        ] {
            alone += timed(client, script, heard);
        }
        let began = Instant::now();
        let mut within = 0;
        for (script, heard) in [
            ("Q begin", "C[BEGIN] ZT"),
            ("Q select 2", "T D[2] C[SELECT 1] ZT"),
            ("Q select nothing / Q select 3", "E[42703] ZE E[25P02] ZE"),
            ("Q rollback", "C[ROLLBACK] ZI"),
        ] {
            within += timed(client, script, heard);
        }
        let block = u64::try_from(began.elapsed().as_micros()).unwrap() + 1;
        done.add(Done {
            assignments: 4,
            transactions: 4,
            queries: 8,
            transaction_micros: alone + block,
            query_micros: alone + within,
            slept: 1,
            ..Done::default()
        });
    }
    Done { received: client.sent - sent, sent: client.heard - heard, ..done }
}

/// The same and statements, with names that all have and without.
fn statements(client: &mut Client) -> Done {
    let mut done = simple(client);
    let asks = [
        ("P - select 4 / B - / E / S", "1 2 D[4] C[SELECT 1] ZI", 1, 1),
        ("P s select 5 / S", "1 ZI", 1, 0),
        ("B s / E / B s / E / S", "2 D[5] C[SELECT 1] 2 D[5] C[SELECT 1] ZI", 0, 2),
        ("C s / S", "3 ZI", 0, 0),
    ];
    for _ in 0..ROUNDS {
        for (script, heard, parses, binds) in asks {
            let took = timed(client, script, heard);
            // Who closes a statement asks no server.
            let asked = u64::from(!script.starts_with('C'));
            done.add(Done {
                assignments: asked,
                transactions: asked,
                queries: asked,
                transaction_micros: took * asked,
                query_micros: took * asked,
                client_parses: parses,
                unnamed_parses: u64::from(script.starts_with("P -")),
                binds,
                ..Done::default()
            });
        }
    }
    done
}

/// The counters' columns; in `SHOW STATS` with a prefix, and two under other names.
const COLUMNS: [&str; 12] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "bytes_received",
    "bytes_sent",
    "xact_time",
    "query_time",
    "wait_time",
    "client_parse_count",
    "server_parse_count",
    "bind_count",
    "client_login_count",
];

fn stats(pooler: &Pooler, database: &str) -> BTreeMap<&'static str, u64> {
    let row = line(&table(pooler, "SHOW STATS_TOTALS"), "database", database);
    COLUMNS.iter().map(|column| (*column, row[*column].parse().unwrap())).collect()
}

fn start() -> Pooler {
    let port = shared().port();
    let more = format!(
        "[users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n[databases.{SECOND}]\n\
         host = \"127.0.0.1\"\nport = {port}\ndbname = \"{APP_DATABASE}\"\n"
    );
    let text = file(port, "admin_users = \"app\"; default_pool_size = 2", &more);
    Pooler::start(&text.replace("http_listen = \"\"", "http_listen = \"127.0.0.1:0\""))
}

/// Reloads all the time, until the load is over; each time something is another.
fn reload(pooler: &Pooler, over: &AtomicBool, times: &AtomicU64) {
    let console = pooler.url("app", "x", "pgweir");
    // Bigger pools, whose servers stay.
    psql_rows(&console, "SET default_pool_size = 3");
    while !over.load(Ordering::Relaxed) {
        let wait = 60 + times.load(Ordering::Relaxed);
        psql_rows(&console, &format!("SET query_wait_timeout = {wait}; RELOAD"));
        times.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn counters_are_what_was_done_while_the_configuration_changes() {
    let pooler = start();
    // One after the other: the first of each database and user may need a server, to prove its
    // settings there, and the others need none.
    let who = [(APP_DATABASE, "app", 3), (APP_DATABASE, SUPERUSER, 2), (SECOND, "app", 3)];
    let mut clients = Vec::new();
    for (database, user, count) in who {
        for _ in 0..count {
            let client = Client::login_as(pooler.port(), &[("user", user), ("database", database)]);
            clients.push(((database, user), client));
        }
    }
    let before = [APP_DATABASE, SECOND].map(|database| stats(&pooler, database));
    let (over, reloads) = (AtomicBool::new(false), AtomicU64::new(0));
    let done: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| reload(&pooler, &over, &reloads));
        let reloads = &reloads;
        let load = clients.iter_mut().map(|(name, client)| {
            let work = if name.0 == SECOND { simple } else { statements };
            scope.spawn(move || {
                let mut done = work(client);
                while reloads.load(Ordering::Relaxed) < 3 {
                    done.add(work(client));
                }
                (*name, done)
            })
        });
        let load: Vec<_> = load.collect();
        let done = load.into_iter().map(|client| client.join()).collect::<Vec<_>>();
        over.store(true, Ordering::Relaxed);
        done.into_iter().map(|done| done.unwrap()).collect()
    });

    let told = page(&pooler);
    for (database, before) in [APP_DATABASE, SECOND].into_iter().zip(before) {
        let mut sum = Done::default();
        let own = done.iter().filter(|((own, _), _)| *own == database);
        own.for_each(|(_, done)| sum.add(*done));
        let now = stats(&pooler, database);
        let grown = |column: &str| now[column] - before[column];
        for (column, expected) in [
            ("server_assignment_count", sum.assignments),
            ("xact_count", sum.transactions),
            ("query_count", sum.queries),
            ("client_parse_count", sum.client_parses),
            ("bind_count", sum.binds),
            ("client_login_count", 0),
        ] {
            assert_eq!(grown(column), expected, "{database}: {column}");
        }
        let logins: u64 = who.iter().filter(|who| who.0 == database).map(|who| who.2).sum();
        assert_eq!(now["client_login_count"], logins);
        if database == SECOND {
            let bytes = (grown("bytes_received"), grown("bytes_sent"));
            assert_eq!(bytes, (sum.received, sum.sent), "{database}");
        }
        // Each server was told of the named statement once, and of each unnamed one.
        let servers = table(&pooler, "SHOW SERVERS");
        let own = servers.iter().filter(|server| server["database"] == database);
        let named = own.map(|server| server["prepared_statements"].parse::<u64>().unwrap());
        let parses = sum.unnamed_parses + named.sum::<u64>();
        assert_eq!(grown("server_parse_count"), parses, "{database}");
        // Servers have slept for so long, and our clock has seen no more than the clients'.
        let (query, transaction) = (grown("query_time"), grown("xact_time"));
        assert!(query >= sum.slept * SLEEPS, "{query}, {sum:?}");
        assert!(query <= transaction, "{query}, {transaction}");
        assert!(transaction <= sum.transaction_micros, "{transaction}, {sum:?}");
        let wait = grown("wait_time");
        assert!(wait > 0 && query + wait <= sum.query_micros, "{query}, {wait}, {sum:?}");
        assert_eq!(of_database(&told, database), now, "{database}");
        every_table_has_the_same(&pooler, database, &now);
    }
    for (name, count) in times_of(&told, &done) {
        assert_eq!(metric(&told, &name), count.to_string());
    }
    totals_are_the_sums(&pooler);
}

/// What the metrics have of a database, under both spellings.
fn of_database(page: &str, database: &str) -> BTreeMap<&'static str, u64> {
    let names = [
        ("server_assignments_total", 1.0),
        ("sql_transactions_pooled_total", 1.0),
        ("queries_pooled_total", 1.0),
        ("received_bytes_total", 1.0),
        ("sent_bytes_total", 1.0),
        ("server_in_transaction_seconds_total", 1e6),
        ("queries_duration_seconds_total", 1e6),
        ("client_wait_seconds_total", 1e6),
        ("client_parses_total", 1.0),
        ("server_parses_total", 1.0),
        ("binds_total", 1.0),
        ("client_logins_total", 1.0),
    ];
    let values = COLUMNS.iter().zip(names).map(|(column, (name, one))| {
        let value = |prefix| metric(page, &format!("{prefix}_{name}{{database=\"{database}\"}}"));
        let (new, old) = (value("pgbouncer_stats_totals"), value("pgbouncer_stats"));
        assert_eq!(new, old, "{name}");
        (*column, (new.parse::<f64>().unwrap() * one).round() as u64)
    });
    values.collect()
}

/// `SHOW STATS` has the totals as well, and the averages, which are of a minute that is over.
fn every_table_has_the_same(pooler: &Pooler, database: &str, now: &BTreeMap<&str, u64>) {
    let stats = line(&table(pooler, "SHOW STATS"), "database", database);
    let averages = line(&table(pooler, "SHOW STATS_AVERAGES"), "database", database);
    for column in COLUMNS {
        let bare = column.strip_prefix("bytes_").unwrap_or(column);
        assert_eq!(stats[&format!("total_{bare}")], now[column].to_string(), "{column}");
        let short = if bare == "received" { "recv" } else { bare };
        let own = averages.get(column).or_else(|| averages.get(&format!("avg_{column}")));
        assert_eq!(stats[&format!("avg_{short}")], *own.unwrap(), "{column}");
    }
}

/// Each user on each database has a histogram of its own, with as many observations as it had
/// requests.
fn times_of(told: &str, done: &[((&str, &str), Done)]) -> Vec<(String, u64)> {
    let mut by_pair: BTreeMap<(&str, &str), (Done, u64)> = BTreeMap::new();
    for (pair, done) in done {
        let (sum, clients) = by_pair.entry(*pair).or_default();
        sum.add(*done);
        *clients += 1;
    }
    let mut expected = Vec::new();
    for ((database, user), (sum, logins)) in by_pair {
        let pair = format!("database=\"{database}\",user=\"{user}\"");
        let primary = format!("{pair},role=\"primary\"");
        expected.push((format!("pgweir_query_seconds_count{{{primary}}}"), sum.queries));
        expected.push((format!("pgweir_transaction_seconds_count{{{primary}}}"), sum.transactions));
        expected.push((format!("pgweir_login_seconds_count{{{pair}}}"), logins));
        // Its first login may have needed a server.
        let waits: u64 =
            metric(told, &format!("pgweir_wait_seconds_count{{{primary}}}")).parse().unwrap();
        assert!(
            (sum.assignments..=sum.assignments + 1).contains(&waits),
            "{pair}: {waits}, {sum:?}"
        );
        for name in ["query", "transaction", "wait"] {
            let name = format!("pgweir_{name}_seconds");
            let all = metric(told, &format!("{name}_bucket{{{primary},le=\"+Inf\"}}"));
            assert_eq!(all, metric(told, &format!("{name}_count{{{primary}}}")), "{name}");
        }
    }
    expected
}

/// `SHOW TOTALS` is `SHOW STATS_TOTALS` of all databases, of which one is the console's own.
fn totals_are_the_sums(pooler: &Pooler) {
    let names = [
        "server_assignment_count",
        "xact_count",
        "query_count",
        "client_bytes",
        "server_bytes",
        "xact_time",
        "query_time",
        "wait_time",
        "ps_client_parse_count",
        "ps_server_parse_count",
        "ps_bind_count",
        "client_login_count",
    ];
    let rows = table(pooler, "SHOW STATS_TOTALS");
    let totals = table(pooler, "SHOW TOTALS");
    assert_eq!(totals.len(), 2 * names.len());
    for (name, column) in names.into_iter().zip(COLUMNS) {
        let sum: u64 = rows
            .iter()
            .filter(|row| row["database"] != "pgbouncer")
            .map(|row| row[column].parse::<u64>().unwrap())
            .sum();
        let total: u64 = line(&totals, "name", &format!("total_{name}"))["value"].parse().unwrap();
        // Whoever asks the console counts there.
        let consoles = ["query_count", "client_login_count"].contains(&name);
        assert!(total == sum || consoles && total > sum, "{name}: {total}, {sum}");
        line(&totals, "name", &format!("avg_{name}"));
    }
}
