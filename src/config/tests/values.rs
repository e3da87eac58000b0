//! Durations, sizes, modes and lists, and which value holds where several are given.

use std::time::Duration;

use super::super::{AuthType, ByteSize, PoolMode};
use super::{load, problems, with_database};

#[test]
fn durations_are_read_as_pgbouncer_and_people_write_them() {
    let cases = [
        ("120", 120_000_000),
        ("0.05", 50_000),
        ("2.5", 2_500_000),
        ("0.001", 1000),
        ("1_000", 1_000_000_000),
        ("\"120\"", 120_000_000),
        ("\"1.5\"", 1_500_000),
        ("\"5s\"", 5_000_000),
        ("\"5 s\"", 5_000_000),
        ("\"200ms\"", 200_000),
        ("\"250us\"", 250),
        ("\"2 min\"", 120_000_000),
        ("\"2m\"", 120_000_000),
        ("\"1h\"", 3_600_000_000),
        ("\"1.5h\"", 5_400_000_000),
        ("\"1d\"", 86_400_000_000),
    ];
    for (text, micros) in cases {
        let config = load(&with_database(&format!("query_timeout = {text}")));
        assert_eq!(config.general.query_timeout, Some(Duration::from_micros(micros)), "{text}");
    }
}

#[test]
fn zero_turns_a_timeout_off() {
    for text in ["0", "0.0", "\"0\"", "\"0s\"", "\"0 min\""] {
        let config = load(&with_database(&format!("query_wait_timeout = {text}")));
        assert_eq!(config.general.query_wait_timeout, None, "{text}");
    }
}

#[test]
fn texts_that_are_no_durations_are_refused() {
    let cases = [
        "-1",
        "-0.5",
        "nan",
        "inf",
        "1e300",
        "\"\"",
        "\"s\"",
        "\"5 parsecs\"",
        "\"1e3\"",
        "\"1.2.3s\"",
    ];
    for text in cases.into_iter().chain(["\"-5s\"", "\"5s s\"", "true", "[5]", "1979-05-27"]) {
        let problems = problems(&with_database(&format!("query_timeout = {text}")));
        let all: Vec<_> = problems.iter().collect();
        assert_eq!((all.len(), all[0].line), (1, Some(1)), "{text}: {problems}");
        assert!(all[0].what.contains("must be"), "{text}: {problems}");
    }
}

#[test]
fn plain_tcp_user_timeout_is_milliseconds() {
    let timeout = |text: &str| {
        load(&with_database(&format!("tcp_user_timeout = {text}"))).general.tcp_user_timeout
    };
    assert_eq!(timeout("1500"), Some(Duration::from_millis(1500)));
    assert_eq!(timeout("\"1500\""), Some(Duration::from_millis(1500)));
    assert_eq!(timeout("\"2s\""), Some(Duration::from_secs(2)));
    assert_eq!(timeout("0"), None);
}

#[test]
fn sizes_are_read_with_and_without_units() {
    let cases = [
        ("65536", 65_536),
        ("\"65536\"", 65_536),
        ("\"64 KiB\"", 65_536),
        ("\"64kB\"", 65_536),
        ("\"64 k\"", 65_536),
        ("\"1MB\"", 1_048_576),
        ("\"1.5 MiB\"", 1_572_864),
        ("\"1 GB\"", 1_073_741_824),
        ("0x10000", 65_536),
    ];
    for (text, bytes) in cases {
        let config = load(&with_database(&format!("request_buffer_size = {text}")));
        assert_eq!(config.general.request_buffer_size, ByteSize::from_bytes(bytes), "{text}");
    }
    for text in ["-1", "1", "\"2 GB\"", "\"1.00001 KiB\"", "\"64 KB/s\"", "1.5", "true", "\"\""] {
        let problems = problems(&with_database(&format!("request_buffer_size = {text}")));
        assert_eq!(problems.count(), 1, "{text}: {problems}");
    }
}

#[test]
fn sizes_print_in_their_largest_whole_unit() {
    let text = |bytes| ByteSize::from_bytes(bytes).to_string();
    assert_eq!(
        [text(0), text(1000), text(2048), text(1 << 20), text(3 << 30)],
        ["0 bytes", "1000 bytes", "2 KiB", "1 MiB", "3 GiB"]
    );
}

#[test]
fn words_switches_and_lists_are_read() {
    let text = "pool_mode = \"statement\"\nauth_type = \"md5\"\nlog_connections = 1\n\
                tcp_keepalive = false\nadmin_users = \"root, boss\"\nstats_users = [\"eve\"]\n\
                http_listen = \"\"\n";
    let general = load(&with_database(text)).general;
    assert_eq!(general.pool_mode, PoolMode::Statement);
    assert_eq!(general.auth_type, AuthType::Md5);
    assert!(general.log_connections && !general.tcp_keepalive);
    assert_eq!(general.admin_users, ["root", "boss"]);
    assert_eq!(general.stats_users, ["eve"]);
    assert_eq!(general.http_listen, None);
}

#[test]
fn star_listens_everywhere() {
    let text = "listen_addr = \"*\"\nhttp_listen = \"*:9127\"";
    let general = load(&with_database(text)).general;
    assert_eq!(general.listen_addr, ["*"]);
    assert_eq!(general.http_listen.as_deref(), Some("0.0.0.0:9127"));
}

#[test]
fn sockets_to_listen_on_are_read() {
    let text = "listen_addr = \"127.0.0.1, ::1\"\nunix_socket_dir = \"@pgweir\"\n\
                unix_socket_mode = 0o660\nunix_socket_group = \"web\"\nso_reuseport = 1\n";
    let general = load(&with_database(text)).general;
    assert_eq!(general.listen_addr, ["127.0.0.1", "::1"]);
    assert_eq!(general.unix_socket_dir.as_deref(), Some("@pgweir"));
    assert_eq!(general.unix_socket_mode.bits(), 0o660);
    assert_eq!(general.unix_socket_group.as_deref(), Some("web"));
    assert!(general.so_reuseport);
    let text = "listen_addr = \"\"\nunix_socket_dir = \"/run\"\nunix_socket_mode = \"0700\"";
    let general = load(&with_database(text)).general;
    assert_eq!(general.listen_addr, [""; 0]);
    assert_eq!(general.unix_socket_mode.to_string(), "0700");
}

#[test]
fn bounds_are_inclusive_and_named() {
    let cases = [
        ("listen_port", "65535", "65536", "must be from 0 to 65535, not 65536"),
        ("max_client_conn", "1", "0", "must be from 1 to 1000000, not 0"),
        ("verbose", "3", "-1", "must be from 0 to 3, not -1"),
        ("rollback_timeout", "60", "60.5", "must be from 0 s to 1 min, not 60500 ms"),
        ("client_login_timeout", "\"1ms\"", "0", "must be from 1 ms to 1 h, not 0 s"),
        (
            "max_db_connections",
            "0",
            "99999999999999999999",
            "must be from 0 to 1000000, not 99999999999999999999",
        ),
    ];
    for (key, good, bad, what) in cases {
        load(&with_database(&format!("{key} = {good}")));
        let problems = problems(&with_database(&format!("{key} = {bad}")));
        assert_eq!(problems.to_string(), format!("pooler.toml:1: {key}: {what}"));
    }
}

#[test]
fn what_most_people_start_from_runs_as_it_is() {
    let general = load(&with_database(
        "listen_port = 6432\nmax_client_conn = 1000\ndefault_pool_size = 25\nmin_pool_size = 10\n\
         pool_mode = \"transaction\"\nserver_lifetime = 3600\nserver_idle_timeout = 600\n",
    ))
    .general;
    assert_eq!(general.listen_port, 6432);
    assert_eq!(general.max_client_conn, 1000);
    assert_eq!((general.default_pool_size, general.min_pool_size), (25, 10));
    assert_eq!(general.pool_mode, PoolMode::Transaction);
    assert_eq!(general.server_lifetime, Some(Duration::from_secs(3600)));
    assert_eq!(general.server_idle_timeout, Some(Duration::from_secs(600)));
}

const LAYERS: &str = r#"
default_pool_size = 20
min_pool_size = 8
reserve_pool_size = 3
max_db_connections = 50
max_user_connections = 60
query_wait_timeout = 100
query_timeout = 30
server_lifetime = 10

[databases.plain]
host = "db"

[databases.own]
host = "db"
pool_size = 5
reserve_pool_size = 0
pool_mode = "session"
max_db_connections = 0
query_wait_timeout = 7
server_lifetime = 0

[users.plain]

[users.own]
pool_size = 2
pool_mode = "statement"
max_user_connections = 0
query_wait_timeout = 0
query_timeout = 0
"#;

#[test]
fn user_goes_before_database_goes_before_general() {
    let config = load(LAYERS);
    let (plain, own) = (&config.databases["plain"], &config.databases["own"]);
    let [user_plain, user_own] = ["plain", "own"].map(|name| config.users.get(name));
    let table = [
        (plain, None, (20, 8, 3), PoolMode::Transaction, Some(100)),
        (plain, user_plain, (20, 8, 3), PoolMode::Transaction, Some(100)),
        (plain, user_own, (2, 2, 3), PoolMode::Statement, None),
        (own, user_plain, (5, 5, 0), PoolMode::Session, Some(7)),
        (own, user_own, (2, 2, 0), PoolMode::Statement, None),
    ];
    for (database, user, sizes, mode, wait) in table {
        let found = (
            config.pool_size(database, user),
            config.min_pool_size(database, user),
            config.reserve_pool_size(database, user),
        );
        assert_eq!(found, sizes, "{} {user:?}", database.name);
        assert_eq!(config.pool_mode(database, user), mode);
        assert_eq!(config.query_wait_timeout(database, user), wait.map(Duration::from_secs));
    }
}

#[test]
fn limits_of_tables_have_the_general_value_unless_lifted() {
    let config = load(LAYERS);
    assert_eq!(config.databases["plain"].max_db_connections, Some(50));
    assert_eq!(config.databases["own"].max_db_connections, None);
    assert_eq!(config.databases["plain"].server_lifetime, Some(Duration::from_secs(10)));
    assert_eq!(config.databases["own"].server_lifetime, None);
    assert_eq!(config.users["plain"].max_user_connections, Some(60));
    assert_eq!(config.users["own"].max_user_connections, None);
    assert_eq!(config.users["plain"].query_timeout, Some(Duration::from_secs(30)));
    assert_eq!(config.users["own"].query_timeout, None);
}

#[test]
fn pool_size_without_limit_is_the_number_of_clients() {
    let text = "max_client_conn = 77\ndefault_pool_size = 0\nmin_pool_size = 9\n\
                [databases.shop]\nhost = \"db\"\npool_size = 0\n[users.app]\npool_size = 0\n";
    let config = load(text);
    assert_eq!(config.general.default_pool_size, 77);
    assert_eq!(config.databases["shop"].pool_size, Some(77));
    assert_eq!(config.users["app"].pool_size, Some(77));
}

#[test]
fn reserve_without_timeout_is_none() {
    let text = with_database("reserve_pool_size = 5\nreserve_pool_timeout = 0");
    let config = load(&text);
    assert_eq!(config.reserve_pool_size(&config.databases["shop"], None), 0);
}
