//! Columns of the console beside what is true of connections, and that there is no column which no
//! test compares with what it is to tell of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

use pgweir::admin::commands::{Answer, COMMANDS};
use pgweir::calendar::utc;

use crate::figures::{line, start, table};
use crate::setup::{file, shared};
use crate::support::{APP_DATABASE, LIMIT, PASSWORD, Pooler, eventually, psql_rows};
use crate::wire::{Client, USER};

fn named(pooler: &Pooler, name: &str) -> Client {
    Client::login_as(pooler.port(), &[USER[0], USER[1], ("application_name", name)])
}

fn number(row: &HashMap<String, String>, column: &str) -> u64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} in {row:?}"))
}

/// What the server says of one of its processes.
fn activity(pid: &str, value: &str) -> String {
    let sql = format!("SELECT {value} FROM pg_stat_activity WHERE pid = {pid}");
    shared().sql("postgres", &sql).unwrap()
}

/// The times that have been since then, as tables tell them.
fn within(began: SystemTime) -> impl Fn(&str) -> bool {
    move |shown: &str| {
        let (first, last) = (utc(began), utc(SystemTime::now()));
        (first.as_str()..=last.as_str()).contains(&shown)
    }
}

fn pid(client: &Client) -> String {
    i32::from_be_bytes(client.key[..4].try_into().unwrap()).to_string()
}

#[test]
fn connections_show_both_their_ends_and_their_times() {
    let began = SystemTime::now();
    let pooler = start("default_pool_size = 2");
    let mut client = named(&pooler, "holder");
    client.talk("Q begin", "C[BEGIN] ZT");
    let backend = client.value("select pg_backend_pid()");
    let is_now = within(began);
    let (ours, theirs) = client.ends();
    let of = |command, kind| {
        let mut rows = table(&pooler, command).into_iter();
        rows.rfind(|row| row["type"] == kind).unwrap()
    };
    let alone = of("SHOW CLIENTS", "C");
    for row in [&alone, &of("SHOW SOCKETS", "C"), &of("SHOW ACTIVE_SOCKETS", "C")] {
        assert_eq!((&*row["addr"], number(row, "port")), ("127.0.0.1", ours.port().into()));
        let local = (&*row["local_addr"], number(row, "local_port"));
        assert_eq!(local, ("127.0.0.1", theirs.port().into()));
        assert!(is_now(&row["connect_time"]) && is_now(&row["request_time"]), "{row:?}");
        assert_eq!((&row["id"], &*row["remote_pid"], &*row["tls"]), (&pid(&client), "0", ""));
        assert_eq!((&*row["wait"], &*row["wait_us"], &*row["close_needed"]), ("0", "0", "0"));
    }
    let server = line(&table(&pooler, "SHOW SERVERS"), "remote_pid", &backend);
    let ptr = format!("0x{:012x}", number(&server, "id") + (1 << 40));
    assert_eq!((&server["ptr"], &*server["addr"], &*server["tls"]), (&ptr, "127.0.0.1", ""));
    assert_eq!((&*server["wait"], &*server["wait_us"]), ("0", "0"));
    // The tables of both have the same, but for the word for the state.
    for (own, kind, state) in [(&alone, "C", "cl_active"), (&server, "S", "sv_active")] {
        for command in ["SHOW SOCKETS", "SHOW ACTIVE_SOCKETS"] {
            let mut row = of(command, kind);
            assert_eq!(row.remove("state").as_deref(), Some(state));
            let differs =
                own.iter().find(|(name, value)| *name != "state" && row[*name] != **value);
            assert_eq!(differs, None, "{command}: {row:?}");
        }
    }
    assert_eq!(number(&server, "port"), u64::from(shared().port()));
    assert_eq!(server["local_addr"], "127.0.0.1");
    assert_eq!(server["local_port"], activity(&backend, "client_port"));
    assert!(is_now(&server["connect_time"]) && is_now(&server["request_time"]), "{server:?}");
    for row in table(&pooler, "SHOW SOCKETS") {
        let buffers = ["recv_pos", "pkt_pos", "pkt_remain", "send_pos", "send_remain", "pkt_avail"];
        assert!(buffers.iter().all(|column| row[*column] == "0") && row["send_avail"] == "0");
    }
}

#[test]
fn holds_waits_and_pins_show_for_how_long() {
    let pooler = start("default_pool_size = 1");
    let mut holder = named(&pooler, "holder");
    let before = Instant::now();
    holder.talk("Q select 1 from pg_advisory_lock(1)", "T D[1] C[SELECT 1] ZI");
    let pinned = || !table(&pooler, "SHOW PINS").is_empty();
    eventually("it is pinned", LIMIT, pinned);
    let held = Instant::now();
    let mut waiter = named(&pooler, "waiter");
    let asked = Instant::now();
    waiter.say("Q select 1");
    eventually("it waits", LIMIT, || !table(&pooler, "SHOW WAITING").is_empty());
    let waits = Instant::now();
    // So that there are whole seconds in it.
    eventually("a second is over", LIMIT, || waits.elapsed() > Duration::from_millis(1100));

    let least = [held.elapsed(), waits.elapsed()];
    let ask = |command| table(&pooler, command).remove(0);
    let (holding, waiting, pin) = (ask("SHOW HOLDERS"), ask("SHOW WAITING"), ask("SHOW PINS"));
    let pool = line(&table(&pooler, "SHOW POOLS"), "database", APP_DATABASE);
    let most = [before.elapsed(), asked.elapsed()];
    let time = |row: &HashMap<String, String>, whole: &str, micros: &str| {
        Duration::from_secs(number(row, whole)) + Duration::from_micros(number(row, micros))
    };
    for (shown, of) in [
        (time(&holding, "held", "held_us"), 0),
        (time(&waiting, "wait", "wait_us"), 1),
        (time(&pool, "maxwait", "maxwait_us"), 1),
    ] {
        assert!(shown >= least[of] && shown <= most[of], "{shown:?}: {least:?}, {most:?}");
    }
    for (shown, of) in
        [(number(&holding, "asked"), 0), (number(&waiting, "held"), 0), (number(&pin, "age"), 0)]
    {
        let shown = Duration::from_secs(shown);
        let second = Duration::from_secs(1);
        assert!(shown + second >= least[of] && shown <= most[of], "{shown:?}: {least:?}, {most:?}");
    }
    let reason = "session advisory lock";
    assert_eq!(
        (&*holding["reason"], &*waiting["holder_reason"], &*pin["reason"]),
        (reason, reason, reason)
    );
    assert_eq!((&holding["id"], &pin["id"]), (&pid(&holder), &pid(&holder)));
    assert_eq!((&waiting["id"], &waiting["holder_id"]), (&pid(&waiter), &pid(&holder)));
    for (row, client) in [(&holding, &holder), (&waiting, &waiter)] {
        assert_eq!(row["addr"], client.ends().0.to_string());
        assert_eq!((&*row["user"], &*row["database"]), ("app", APP_DATABASE));
    }
    assert_eq!(
        (&*pin["user"], &*pin["database"], &*pin["application_name"]),
        ("app", APP_DATABASE, "holder")
    );
    assert_eq!((&*waiting["sv_login"], &*waiting["sv_active"]), ("0", "1"));
    holder.talk("Q select pg_advisory_unlock(1)", "T D[t] C[SELECT 1] ZI");
    waiter.hears("T D[1] C[SELECT 1] ZI");
}

#[test]
fn listeners_alerts_and_databases_show_what_they_are() {
    let began = SystemTime::now();
    let alerts = "pool_size = 3\nmin_pool_size = 2\nreserve_pool_size = 4\nserver_lifetime = 77\n\
                  max_db_connections = 8\n[alerts]\nclient_limit_warning = 1\nclient_limit_for = 0\n";
    let text = file(shared().port(), "admin_users = \"app\"; max_client_conn = 50", "");
    let text = text.replacen("\n[users.", &format!("\n{alerts}[users."), 1);
    let pooler = Pooler::start(&text);
    let mut client = Client::login(pooler.port());
    client.talk("Q listen a", "C[LISTEN] ZI");
    let listener = table(&pooler, "SHOW LISTENERS").remove(0);
    assert_eq!(listener["server"], format!("127.0.0.1:{}", shared().port()));
    assert_eq!(
        (&*listener["state"], &*listener["queued_bytes"], &*listener["cause"]),
        ("listening", "0", "")
    );
    assert_eq!(activity(&listener["pid"], "datname || ' ' || usename"), "shop app");
    assert!(number(&listener, "age") <= began.elapsed().unwrap().as_secs() + 1);

    let wanted = [
        ("database", APP_DATABASE),
        ("force_user", "NULL"),
        ("pool_size", "3"),
        ("min_pool_size", "2"),
        ("reserve_pool_size", "4"),
        ("reserve_pool", "4"),
        ("server_lifetime", "77"),
        ("pool_mode", "transaction"),
        ("load_balance_hosts", "NULL"),
        ("max_connections", "8"),
    ];
    let database = line(&table(&pooler, "SHOW DATABASES"), "name", APP_DATABASE);
    for (column, value) in wanted {
        assert_eq!(database[column], value, "{column}");
    }
    let alert =
        || table(&pooler, "SHOW ALERTS").into_iter().find(|row| row["alert"] == "client_limit");
    eventually("it is raised", LIMIT, || alert().is_some_and(|row| row["state"] == "raised"));
    let console = pooler.url("app", PASSWORD, "pgweir");
    psql_rows(&console, "SILENCE client_limit '1 h'");
    let alert = alert().unwrap();
    assert_eq!((&*alert["value"], &*alert["threshold"]), ("2 %", "1 %"));
    assert_eq!((&*alert["severity"], &*alert["detail"]), ("warning", "1 of 50 clients"));
    assert!(within(began)(&alert["since"]), "{alert:?}");
    assert!(alert["silenced"].starts_with("for "), "{alert:?}");
    let event =
        table(&pooler, "SHOW EVENTS").into_iter().find(|row| row["kind"] == "alert").unwrap();
    assert!(within(began)(&event["time"]) && within(began)(&event["last_time"]), "{event:?}");
}

const CONSOLE: &str = "tests/postgres/console::every_command_answers_and_the_metrics_agree";
const GAUGES: &str = "tests/protocol/gauges::every_gauge_is_what_there_is";
const TIMES: &str = "tests/protocol/columns::holds_waits_and_pins_show_for_how_long";
const ENDS: &str = "tests/protocol/columns::connections_show_both_their_ends_and_their_times";
const MORE: &str = "tests/protocol/columns::listeners_alerts_and_databases_show_what_they_are";
const LINKS: &str = "tests/protocol/figures::clients_and_servers_show_with_their_links";
const PILE: &str =
    "tests/protocol/figures::pile_up_is_told_with_the_application_and_the_statement_that_do_it";
const CLOSES: &str = "tests/postgres/pools::connections_that_go_as_soon_as_they_can_need_a_close";
const NUMBERS: &str =
    "tests/protocol/numbers::counters_are_what_was_done_while_the_configuration_changes";
const AVERAGES: &str = "src/traffic/mod::all_loops_count_and_averages_are_of_the_last_period";
const COUNTED: &str = "tests/postgres/counted::requests_and_texts_are_counted_as_they_were";
const SHARDS: &str = "tests/postgres/shards/changes::console_says_where_keys_and_statements_are";
const NOTHING: &str =
    "tests/protocol/figures::users_show_with_their_limits_and_what_is_not_there_shows_nothing";

/// In `SHOW SOCKETS` as in the tables of clients and servers.
const CONNECTION: &str = "type user database replication state addr port local_addr local_port \
    connect_time request_time wait wait_us close_needed ptr link remote_pid tls application_name \
    prepared_statements id";

/// The tests that compare columns with what is true, by the file that they are in.
const TESTS: &[(&str, &str, &str)] = &[
    ("SHOW VERSION", "version", CONSOLE),
    (
        "SHOW STATE",
        "key value",
        "tests/postgres/lifecycle::pause_waits_for_transactions_and_holds_requests_until_resume",
    ),
    (
        "SHOW POOLS",
        "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel \
         sv_being_canceled sv_idle sv_used sv_tested sv_login",
        GAUGES,
    ),
    ("SHOW POOLS", "maxwait maxwait_us", TIMES),
    ("SHOW POOLS", "pool_mode load_balance_hosts", CONSOLE),
    (
        "SHOW CLIENTS",
        "type addr port local_addr local_port connect_time request_time wait wait_us remote_pid id",
        ENDS,
    ),
    ("SHOW CLIENTS", "user database state ptr link application_name prepared_statements", LINKS),
    ("SHOW CLIENTS", "replication", "tests/protocol/figures::clients_that_replicate_show_as_such"),
    ("SHOW CLIENTS", "close_needed", CLOSES),
    (
        "SHOW CLIENTS",
        "tls",
        "tests/tls/clients::both_versions_are_spoken_and_the_console_says_which",
    ),
    (
        "SHOW SERVERS",
        "type addr port local_addr local_port connect_time request_time wait wait_us id tls",
        ENDS,
    ),
    (
        "SHOW SERVERS",
        "user database state ptr link remote_pid application_name prepared_statements",
        LINKS,
    ),
    ("SHOW SERVERS", "replication", "tests/protocol/figures::clients_that_replicate_show_as_such"),
    ("SHOW SERVERS", "close_needed", CLOSES),
    ("SHOW SOCKETS", CONNECTION, ENDS),
    ("SHOW SOCKETS", "recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail", ENDS),
    ("SHOW ACTIVE_SOCKETS", CONNECTION, ENDS),
    (
        "SHOW ACTIVE_SOCKETS",
        "recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail",
        ENDS,
    ),
    (
        "SHOW WAITING",
        "id user database addr wait wait_us sv_active sv_login holder_id held holder_reason",
        TIMES,
    ),
    ("SHOW WAITING", "pool_size", LINKS),
    (
        "SHOW WAITING",
        "pool",
        "tests/postgres/shards/figures::who_waits_at_a_shard_is_told_with_who_holds_its_servers",
    ),
    (
        "SHOW WAITING",
        "waits_for",
        "tests/protocol/hindrances::pause_is_named_as_what_clients_wait_for",
    ),
    (
        "SHOW WAITING",
        "application_name holder_application_name holder_state holder_statement",
        PILE,
    ),
    ("SHOW HOLDERS", "id user database addr held held_us asked reason", TIMES),
    ("SHOW HOLDERS", "remote_pid", LINKS),
    ("SHOW HOLDERS", "application_name cl_waiting state statement", PILE),
    ("SHOW PINS", "id user database application_name reason age", TIMES),
    ("SHOW PINS", "sql", "tests/postgres/console::pins_are_shown_with_their_reason_until_they_end"),
    ("SHOW LISTENERS", "server state queued_bytes pid age cause", MORE),
    (
        "SHOW LISTENERS",
        "database client_encoding channels clients",
        "tests/protocol/listen::pauses_and_new_connections_are_told",
    ),
    (
        "SHOW DATABASES",
        "name pool_size reserve_pool_size max_connections current_connections max_client_connections \
         current_client_connections paused disabled",
        GAUGES,
    ),
    ("SHOW DATABASES", "host port database", CONSOLE),
    ("SHOW DATABASES", "force_user min_pool_size reserve_pool server_lifetime pool_mode", MORE),
    (
        "SHOW DATABASES",
        "load_balance_hosts",
        "tests/postgres/hosts::hosts_that_are_as_good_share_the_servers_or_the_first_has_all",
    ),
    (
        "SHOW REPLICAS",
        "database host port role state timeline lsn lag_bytes fresh_as_of since readers weight eligible",
        "tests/postgres/counted::hosts_are_shown_as_they_say_themselves_and_with_who_reads_there",
    ),
    (
        "SHOW REPLICAS",
        "lag_seconds",
        "tests/postgres/hosts::lag_is_right_when_idle_when_replay_pauses_and_when_the_link_is_cut",
    ),
    (
        "SHOW REPLICAS",
        "error",
        "tests/postgres/hosts::host_that_does_not_answer_is_down_and_its_lag_unknown",
    ),
    (
        "SHOW REPLICAS",
        "breaker",
        "tests/postgres/hosts::host_that_is_gone_is_left_out_and_used_again",
    ),
    (
        "SHOW REPLICAS",
        "banned_until",
        "tests/postgres/spread::sessions_that_never_pause_come_to_a_replica_that_is_there_again",
    ),
    (
        "SHOW CAPACITY",
        "host port state pools_max pools max_server_connections max_connections reserved pools_open others free age \
         advice",
        "tests/postgres/capacity::pools_are_shown_beside_what_the_server_takes_with_advice",
    ),
    (
        "SHOW CAPACITY",
        "error",
        "tests/postgres/capacity::host_that_cannot_be_asked_keeps_what_it_has_said_and_says_why",
    ),
    (
        "SHOW CATALOGS",
        "database state number age_seconds host functions relations loads checks failures error",
        "tests/postgres/counted::looks_at_the_catalog_are_counted_and_so_is_what_they_find",
    ),
    ("SHOW SHARDS", "database shard pools hosts default keys", SHARDS),
    (
        "SHOW SHARDS",
        "paused",
        "tests/postgres/shards/changes::pause_of_a_database_is_of_all_its_shards",
    ),
    ("SHOW SHARD FOR", "database group key_type bucket shard error", SHARDS),
    ("SHOW ALERTS", "alert severity state since value threshold silenced detail", MORE),
    (
        "SHOW ALERTS",
        "about",
        "tests/postgres/alerts::lag_of_a_delayed_replica_is_raised_once_and_resolved_once",
    ),
    ("SHOW FACTS", "texts bytes bytes_max hits misses evictions", COUNTED),
    (
        "SHOW STATS",
        "database total_server_assignment_count total_xact_count total_query_count total_received total_sent \
         total_xact_time total_query_time total_wait_time total_client_parse_count total_server_parse_count \
         total_bind_count total_client_login_count",
        NUMBERS,
    ),
    (
        "SHOW STATS",
        "avg_server_assignment_count avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time avg_query_time \
         avg_wait_time avg_client_parse_count avg_server_parse_count avg_bind_count avg_client_login_count",
        AVERAGES,
    ),
    (
        "SHOW STATS_TOTALS",
        "database server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time \
         wait_time client_parse_count server_parse_count bind_count client_login_count",
        NUMBERS,
    ),
    (
        "SHOW STATS_AVERAGES",
        "database server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time \
         wait_time avg_client_parse_count avg_server_parse_count avg_bind_count avg_client_login_count",
        AVERAGES,
    ),
    ("SHOW TOTALS", "name value", NUMBERS),
    (
        "SHOW ERRORS",
        "sqlstate side count last_seen text",
        "tests/protocol/figures::errors_are_counted_by_state_and_side_without_values",
    ),
    (
        "SHOW EVENTS",
        "kind about event times",
        "tests/protocol/figures::what_has_happened_and_pins_and_limits_show",
    ),
    ("SHOW EVENTS", "time last_time", MORE),
    (
        "SHOW QUERIES",
        "query calls errors p50_us p95_us p99_us run_us wait_us",
        "tests/protocol/figures::queries_and_slow_statements_are_told_without_values",
    ),
    (
        "SHOW QUERIES",
        "database target primary_calls replica_calls",
        "tests/postgres/reads::queries_are_shown_with_where_they_ran",
    ),
    (
        "SHOW PREPARED",
        "id statement names servers uses bytes",
        "tests/protocol/figures::prepared_statements_show_who_has_them",
    ),
    (
        "SHOW USERS",
        "name pool_size reserve_pool_size pool_mode max_user_connections current_connections \
         max_user_client_connections current_client_connections",
        "tests/protocol/figures::users_show_with_their_limits_and_what_is_not_there_shows_nothing",
    ),
    ("SHOW LISTS", "list items", GAUGES),
    (
        "SHOW CONFIG",
        "key value default changeable",
        "tests/postgres/console::keys_are_set_until_the_restart_or_not_at_all",
    ),
    (
        "SHOW FDS",
        "fd task user database addr port cancel link client_encoding std_strings datestyle timezone",
        NOTHING,
    ),
    ("SHOW MEM", "name size used free memtotal", NOTHING),
    ("SHOW DNS_HOSTS", "hostname ttl addrs", NOTHING),
    ("SHOW DNS_ZONES", "zonename serial count", NOTHING),
    ("SHOW PEERS", "peer_id host port pool_size", NOTHING),
    (
        "SHOW PEER_POOLS",
        "peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login",
        NOTHING,
    ),
    ("SHOW ROUTES", "database target reason requests meaning", COUNTED),
];

#[test]
fn every_column_is_compared_with_what_is_true() {
    let mut listed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (command, columns, test) in TESTS {
        let (file, test) = test.split_once("::").unwrap();
        let folder = env!("CARGO_MANIFEST_DIR");
        let text = std::fs::read_to_string(format!("{folder}/{file}.rs")).expect(file);
        assert!(text.contains(&format!("fn {test}(")), "no test {test} in {file}");
        listed.entry(command).or_default().extend(columns.split(' '));
    }
    for command in COMMANDS {
        let columns = match command.answer {
            Answer::Table(columns, _) | Answer::Later(columns, _) | Answer::About(columns, ..) => {
                columns
            }
            Answer::Explain(_) | Answer::Notice(_) | Answer::Act(_) => continue,
        };
        let columns: BTreeSet<&str> = columns.iter().map(|(name, _)| *name).collect();
        let found = listed.remove(command.name).unwrap_or_default();
        assert_eq!(found, columns, "{}", command.name);
    }
    assert!(listed.is_empty(), "{listed:?}");
}
