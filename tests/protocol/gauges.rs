//! Every gauge, in the tables and in the metrics, beside a scene that is held still; and that there
//! is no metric which no test compares with what it is to tell of.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard};

use crate::fake::{Fake, answer};
use crate::figures::{line, metric, page, table};
use crate::setup::{file, shared};
use crate::support::{APP_DATABASE, LIMIT, PASSWORD, Pooler, SUPERUSER, eventually, psql_rows};
use crate::wire::{Client, cancel_packet, startup};

/// Servers that do one thing and then nothing, by their database.
///
/// - `stuck` does not let anybody in.
/// - `resets` answers one request, and nothing after it.
/// - `cancelled` answers one request when it is told to.
fn servers() -> (Fake, Sender<()>) {
    let (release, released) = channel();
    let released = Mutex::new(released);
    let fake = Fake::start(move |database, _, conversation| {
        if database == "stuck" {
            return conversation.wait_for_end();
        }
        conversation.let_in();
        if conversation.hear().is_some() {
            if database == "cancelled" {
                released.lock().unwrap().recv().ok();
            }
            conversation.send(&answer());
        }
        conversation.wait_for_end();
    });
    (fake, release)
}

fn start(fake: &Fake) -> Pooler {
    let (port, fake) = (shared().port(), fake.port());
    let database = |name: &str, port: u16, more: &str| {
        format!("[databases.{name}]\nhost = \"127.0.0.1\"\nport = {port}\n{more}")
    };
    let more = [
        format!("[users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n"),
        database("stuck", fake, ""),
        database("cancelled", fake, ""),
        database("resets", fake, "pool_mode = \"session\"\n"),
        database(
            "closed",
            port,
            "dbname = \"shop\"\nuser = \"app\"\nmax_db_connections = 8\nreserve_pool_size = 6\n\
             pool_size = 5\nmin_pool_size = 1\nmax_db_client_connections = 9\n",
        ),
        "[alerts]\nclient_limit_warning = 1\nclient_limit_for = 0\n".to_owned(),
    ];
    let settings = "admin_users = \"app\"; default_pool_size = 2; max_client_conn = 40; \
                    max_user_connections = 30";
    let text = file(port, settings, &more.concat());
    Pooler::start(&text.replace("http_listen = \"\"", "http_listen = \"127.0.0.1:0\""))
}

/// Clients and a cancel that stay as they are.
struct Scene<'a> {
    _clients: Vec<Client>,
    /// Whose request has been cancelled.
    cancelled: Client,
    landing: MutexGuard<'a, ()>,
}

fn set<'a>(pooler: &Pooler, fake: &'a Fake) -> Scene<'a> {
    let port = pooler.port();
    let login = |user: &str, database: &str| {
        Client::login_as(port, &[("user", user), ("database", database)])
    };
    let mut holder = login("app", APP_DATABASE);
    holder.talk("Q begin", "C[BEGIN] ZT");
    let mut pinned = login("app", APP_DATABASE);
    pinned.talk("Q select 1 from pg_advisory_lock(1)", "T D[1] C[SELECT 1] ZI");
    pinned.talk("P s select 1 / S", "1 ZI");
    let mut waiter = login("app", APP_DATABASE);
    waiter.say("Q select 1");
    let mut listener = login(SUPERUSER, APP_DATABASE);
    listener.talk("Q listen a", "C[LISTEN] ZI");
    listener.talk("Q listen b", "C[LISTEN] ZI");
    let mut left = login("app", "resets");
    left.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
    drop(left);
    let mut stuck = Client::connect(port);
    stuck.send(&startup(196_608, &[("user", "app"), ("database", "stuck")]));
    let stranger = Client::connect(port);
    let mut cancelled = login("app", "cancelled");
    cancelled.say("Q select 42");
    let at_work =
        || line(&table(pooler, "SHOW POOLS"), "database", "cancelled")["sv_active"] == "1";
    eventually("the request is under way", LIMIT, at_work);
    let landing = fake.hold_cancels();
    let mut cancel = Client::connect(port);
    cancel.send(&cancel_packet(&cancelled.key));
    psql_rows(&pooler.url("app", "x", "pgweir"), "DISABLE closed; PAUSE closed; SILENCE holder");
    let _clients = vec![holder, pinned, waiter, listener, stuck, stranger, cancel];
    Scene { _clients, cancelled, landing }
}

/// A pool's line, but for times: clients active and waiting, cancels active and waiting, servers
/// active, carrying a cancel, held for one, free, to be checked, being reset, being opened.
type Pool = ((&'static str, &'static str), [u32; 11]);

const POOL_COLUMNS: [(&str, &str); 11] = [
    ("cl_active", "client_active"),
    ("cl_waiting", "client_waiting"),
    ("cl_active_cancel_req", "client_active_cancel"),
    ("cl_waiting_cancel_req", "client_waiting_cancel"),
    ("sv_active", "server_active"),
    ("sv_active_cancel", "server_active_cancel"),
    ("sv_being_canceled", "server_being_canceled"),
    ("sv_idle", "server_idle"),
    ("sv_used", "server_used"),
    ("sv_tested", "server_testing"),
    ("sv_login", "server_login"),
];

const POOLS: [Pool; 5] = [
    (("cancelled", "app"), [1, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0]),
    (("resets", "app"), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
    ((APP_DATABASE, "app"), [2, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0]),
    ((APP_DATABASE, SUPERUSER), [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
    (("stuck", "app"), [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
];

fn pools(pooler: &Pooler) -> Vec<(String, String, Vec<u32>)> {
    let rows = table(pooler, "SHOW POOLS").into_iter();
    let rows = rows.filter(|row| row["database"] != "pgbouncer");
    let numbers = |row: &HashMap<String, String>| {
        POOL_COLUMNS.iter().map(|(column, _)| row[*column].parse().unwrap()).collect()
    };
    rows.map(|row| (row["database"].clone(), row["user"].clone(), numbers(&row))).collect()
}

fn expected(pools: &[Pool]) -> Vec<(String, String, Vec<u32>)> {
    let pools = pools.iter();
    pools
        .map(|((database, user), all)| ((*database).into(), (*user).into(), all.to_vec()))
        .collect()
}

/// It comes to this, in all tables.
#[track_caller]
fn is_so(pooler: &Pooler, what: &str, wanted: &[Pool]) {
    eventually(what, LIMIT, || {
        pools(pooler) == expected(wanted) && states(pooler) == states_of(wanted)
    });
}

/// The servers of each pool by their states in `SHOW SERVERS`: in use, held for a cancel, free, to be
/// checked, being reset.
fn states(pooler: &Pooler) -> BTreeMap<(String, String), Vec<u32>> {
    let mut all: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for row in table(pooler, "SHOW SERVERS") {
        let states = ["active", "being_canceled", "idle", "used", "tested"];
        let at = states.iter().position(|state| *state == row["state"]).unwrap();
        let pool = (row["database"].clone(), row["user"].clone());
        all.entry(pool).or_insert_with(|| vec![0; states.len()])[at] += 1;
    }
    all
}

/// The same as `SHOW POOLS` has to have it, of pools with servers.
fn states_of(pools: &[Pool]) -> BTreeMap<(String, String), Vec<u32>> {
    let servers = pools.iter().map(|((database, user), all)| {
        let states: Vec<u32> = [4, 6, 7, 8, 9].map(|at| all[at]).to_vec();
        (((*database).to_owned(), (*user).to_owned()), states)
    });
    servers.filter(|(_, states)| states.iter().any(|count| *count > 0)).collect()
}

/// `SHOW DATABASES`: the pool's size and reserve, limit and number of servers, of clients, whether
/// it is paused and closed.
fn databases() -> Vec<(&'static str, u16, [u32; 8])> {
    let real = shared().port();
    vec![
        ("cancelled", 0, [2, 0, 0, 1, 0, 1, 0, 0]),
        ("closed", real, [5, 6, 8, 0, 9, 0, 1, 1]),
        ("resets", 0, [2, 0, 0, 1, 0, 0, 0, 0]),
        (APP_DATABASE, real, [2, 0, 0, 3, 0, 4, 0, 0]),
        ("stuck", 0, [2, 0, 0, 0, 0, 1, 0, 0]),
    ]
}

const LISTS: [(&str, u32); 14] = [
    // With the console's own.
    ("databases", 6),
    ("users", 2),
    ("peers", 0),
    ("pools", 6),
    ("peer_pools", 0),
    ("free_clients", 0),
    // One of them is let in when its server lets us in.
    ("used_clients", 6),
    ("login_clients", 3),
    ("free_servers", 1),
    ("used_servers", 5),
    ("dns_names", 0),
    ("dns_zones", 0),
    ("dns_queries", 0),
    ("dns_pending", 0),
];

#[test]
fn every_gauge_is_what_there_is() {
    let (fake, release) = servers();
    let pooler = start(&fake);
    let Scene { _clients, mut cancelled, landing } = set(&pooler, &fake);
    is_so(&pooler, "everybody is at its place", &POOLS);
    let fields = |row: &HashMap<String, String>, columns: &[&str]| {
        columns.iter().map(|column| row[*column].clone()).collect::<Vec<_>>().join(" ")
    };
    let shown: Vec<_> =
        table(&pooler, "SHOW LISTS").iter().map(|row| fields(row, &["list", "items"])).collect();
    assert_eq!(shown, LISTS.map(|(list, items)| format!("{list} {items}")));
    let columns = [
        "name",
        "pool_size",
        "reserve_pool_size",
        "max_connections",
        "current_connections",
        "max_client_connections",
        "current_client_connections",
        "paused",
        "disabled",
    ];
    let wanted = databases()
        .into_iter()
        .map(|(name, _, all)| format!("{name} {}", all.map(|number| number.to_string()).join(" ")));
    let console = "pgbouncer 2 0 0 0 0 1 0 0".to_owned();
    let wanted: Vec<_> = wanted.chain([console]).collect();
    // A console that has just been left may still be there.
    eventually(&format!("databases are {wanted:?}"), LIMIT, || {
        let shown = table(&pooler, "SHOW DATABASES");
        shown.iter().map(|row| fields(row, &columns)).collect::<Vec<_>>() == wanted
    });
    let users = table(&pooler, "SHOW USERS");
    let columns =
        ["name", "max_user_connections", "current_connections", "current_client_connections"];
    let shown: Vec<_> = users.iter().map(|row| fields(row, &columns)).collect();
    assert_eq!(shown, ["app 30 4 5".to_owned(), format!("{SUPERUSER} 30 1 1")]);
    eventually("alerts are looked at", LIMIT, || {
        let raised = |row: &HashMap<String, String>| row["alert"] == "client_limit";
        table(&pooler, "SHOW ALERTS").iter().any(raised)
    });
    every_sample_is_accounted_for(&pooler, &fake);

    // The answer is there, and the cancel may still come: nobody else gets the server.
    release.send(()).unwrap();
    cancelled.hears("T D[42] C[SELECT 1] ZI");
    let mut held = POOLS;
    held[0].1 = [1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0];
    is_so(&pooler, "the server is held", &held);
    drop(landing);
    held[0].1 = [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    is_so(&pooler, "the server is free", &held);

    // Those that are free are checked before they are used, once they have been free for so long.
    psql_rows(&pooler.url("app", "x", "pgweir"), "SET server_check_delay = 0.001");
    for (_, all) in &mut held {
        (all[7], all[8]) = (0, all[7]);
    }
    is_so(&pooler, "they are to be checked", &held);
}

/// What is measured and not counted: at least this, and not more than the test has lasted.
const TIMES: [&str; 2] = ["pgbouncer_pools_client_maxwait_seconds", "pgweir_longest_hold_seconds"];

/// Compared with what was done in `numbers`, `figures` and `exporter`.
const COUNTERS: [&str; 10] = [
    "pgbouncer_stats_",
    "pgweir_wait_seconds",
    "pgweir_query_seconds",
    "pgweir_transaction_seconds",
    "pgweir_login_seconds",
    "pgweir_cancels_total",
    "pgweir_errors_total",
    "pgweir_pins_total",
    "pgweir_metrics_folded_total",
    "pgbouncer_version_info",
];

/// Of these there is nothing here: they are compared where there are replicas and certificates, in
/// `tests/postgres/counted` and `lagging`, `tests/tls/clients` and `figures`.
const ELSEWHERE: [&str; 8] = [
    "pgweir_certificate_expires_seconds",
    "pgweir_database_up",
    "pgweir_host_",
    "pgweir_replica_",
    "pgweir_routes_total",
    "pgweir_facts_",
    "pgweir_catalog_",
    "pgweir_prepared_statements",
];

/// Each sample that stands still, and its value.
fn gauges(fake: &Fake) -> BTreeMap<String, String> {
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    let mut want = |name: String, value: String| {
        assert!(wanted.insert(name.clone(), value).is_none(), "{name} twice");
    };
    for ((database, user), all) in POOLS {
        let labels = format!("{{database=\"{database}\",user=\"{user}\"}}");
        for ((_, name), value) in POOL_COLUMNS.iter().zip(all) {
            want(format!("pgbouncer_pools_{name}_connections{labels}"), value.to_string());
        }
        let pinned = u32::from((database, user) == (APP_DATABASE, "app"));
        want(format!("pgweir_pinned_clients{labels}"), pinned.to_string());
        want(format!("pgweir_pool_size{labels}"), "2".into());
        want(format!("pgweir_pool_servers_max{labels}"), "2".into());
    }
    for (name, port, [size, reserve, max, current, _, _, paused, disabled]) in databases() {
        let port = if port == 0 { fake.port() } else { port };
        let (database, user) = if name == "closed" { (APP_DATABASE, "app") } else { (name, "") };
        let mode = if name == "resets" { "session" } else { "transaction" };
        let labels = format!(
            "{{name=\"{name}\",host=\"127.0.0.1\",port=\"{port}\",database=\"{database}\",\
             force_user=\"{user}\",pool_mode=\"{mode}\"}}"
        );
        for (metric, value) in [
            ("pool_size", size),
            ("reserve_pool", reserve),
            ("max_connections", max),
            ("current_connections", current),
            ("paused", paused),
            ("disabled", disabled),
        ] {
            want(format!("pgbouncer_databases_{metric}{labels}"), value.to_string());
        }
    }
    // The console's own.
    for (_, name) in POOL_COLUMNS {
        let labels = "{database=\"pgbouncer\",user=\"pgbouncer\"}";
        want(format!("pgbouncer_pools_{name}_connections{labels}"), "0".into());
    }
    for (metric, value) in [
        ("pool_size", "2"),
        ("reserve_pool", "0"),
        ("max_connections", "0"),
        ("current_connections", "0"),
        ("paused", "0"),
        ("disabled", "0"),
    ] {
        let labels = "{name=\"pgbouncer\",host=\"\",port=\"0\",database=\"pgbouncer\",\
                      force_user=\"pgbouncer\",pool_mode=\"statement\"}";
        want(format!("pgbouncer_databases_{metric}{labels}"), value.into());
    }
    for (list, items) in LISTS {
        let name = match list {
            "peers" | "peer_pools" | "dns_pending" => continue,
            "dns_names" => "cached_dns_names",
            "dns_zones" => "cached_dns_zones",
            "dns_queries" => "in_flight_dns_queries",
            _ => list,
        };
        want(format!("pgbouncer_{name}"), items.to_string());
    }
    want("pgbouncer_config_max_client_connections".into(), "40".into());
    want("pgbouncer_config_max_user_connections".into(), "30".into());
    let listener = format!(
        "{{server=\"127.0.0.1:{}\",database=\"{APP_DATABASE}\",client_encoding=\"UTF8\"}}",
        shared().port()
    );
    for (name, value) in [("up", 1), ("clients", 1), ("channels", 2), ("queue_bytes", 0)] {
        want(format!("pgweir_listener_{name}{listener}"), value.to_string());
    }
    for (name, value) in [
        ("pgbouncer_up", "1"),
        ("pgweir_clients", "6"),
        ("pgweir_last_reload_failed", "0"),
        ("pgweir_alert{alert=\"client_limit\",about=\"\",severity=\"warning\"}", "1"),
        ("pgweir_alerts_raised{severity=\"warning\"}", "1"),
        ("pgweir_alerts_raised{severity=\"critical\"}", "0"),
        ("pgweir_alert_silenced{alert=\"holder\"}", "1"),
        ("pgweir_memory_bytes{for=\"notifications\"}", "0"),
    ] {
        want(name.into(), value.into());
    }
    let build = format!("pgweir_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    want(build, "1".into());
    wanted
}

fn every_sample_is_accounted_for(pooler: &Pooler, fake: &Fake) {
    let mut wanted = gauges(fake);
    let config = table(pooler, "SHOW CONFIG");
    let limit = |key: &str| line(&config, "key", key)["value"].clone();
    let mut told = String::new();
    // Those that have just been left may still be there.
    eventually("no console is open", LIMIT, || {
        told = page(pooler);
        let open = "pgbouncer_pools_client_active_connections\
                    {database=\"pgbouncer\",user=\"pgbouncer\"}";
        metric(&told, open) == "0"
    });
    let (_, samples) = told.split_once("\r\n\r\n").unwrap();
    for sample in samples.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = sample.rsplit_once(' ').unwrap();
        let number: f64 = value.parse().unwrap();
        let of = |names: &[&str]| names.iter().any(|start| name.starts_with(start));
        if let Some(wanted) = wanted.remove(name) {
            assert_eq!(value, wanted, "{name}");
        } else if of(&TIMES) {
            let goes_on = name.contains("\"shop\",user=\"app\"")
                || name.contains("maxwait") && name.contains("\"stuck\"")
                || name.contains("hold") && name.contains("\"cancelled\"");
            assert!((number > 0.0) == goes_on && number < LIMIT.as_secs_f64(), "{sample}");
        } else if let Some(key) = name.strip_prefix("pgweir_limit{key=\"") {
            assert_eq!(value, limit(key.trim_end_matches("\"}")), "{name}");
        } else if name.starts_with("pgweir_alert{") {
            // What waits may be soon.
            assert_eq!(value, "0", "{name}");
        } else if of(&["pgweir_memory_", "process_"]) {
            // The texts of statements, whose number `figures` has, all of the process, its files and limits.
            assert!(number > 0.0, "{sample}");
        } else {
            assert!(of(&COUNTERS) || of(&ELSEWHERE), "nobody compares {name}");
        }
    }
    assert!(wanted.is_empty(), "{wanted:#?}\n{told}");
}
