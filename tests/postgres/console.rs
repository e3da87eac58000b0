//! The console and the metrics of a running pooler.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use pgweir::admin::Role;
use pgweir::admin::commands::COMMANDS;
use tokio_postgres::NoTls;

use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, client, cluster, eventually, psql,
    psql_rows,
};

fn configuration(cluster: &Cluster, more: &str) -> String {
    let port = cluster.primary().port();
    let mut toml = format!(
        "listen_port = 0\nhttp_listen = \"127.0.0.1:0\"\nadmin_users = \"boss\"\n\
         stats_users = \"eve\"\n{more}\n\
         [databases.{APP_DATABASE}]\nhost = \"127.0.0.1\"\nport = {port}\n"
    );
    for user in [APP_USER, "boss", "eve"] {
        toml += &format!("[users.{user}]\npassword = \"{PASSWORD}\"\n");
    }
    toml
}

/// The rows and the messages of a command in the console.
#[track_caller]
fn ask(pooler: &Pooler, user: &str, sql: &str) -> (String, String) {
    let ended = psql(&pooler.url(user, PASSWORD, "pgweir"), sql);
    assert!(ended.status.success(), "{sql:?}: {}", ended.stderr);
    (ended.stdout.trim_end().to_owned(), ended.stderr)
}

/// Where its pages are; it says so after it listens.
#[track_caller]
pub fn pages(pooler: &Pooler) -> String {
    let mut address = None;
    eventually("it says where its pages are", LIMIT, || {
        address = pooler.log().lines().find_map(|line| {
            let rest = line.strip_prefix("  metrics   http://")?;
            rest.strip_suffix("/metrics").map(str::to_owned)
        });
        address.is_some()
    });
    address.unwrap()
}

/// The lines of a table, by column.
#[track_caller]
pub fn table(pooler: &Pooler, sql: &str) -> Vec<HashMap<String, String>> {
    let url = pooler.url("boss", PASSWORD, "pgweir");
    let mut command = client("psql");
    command.args(["-X", "-q", "-A", "-P", "footer=off", "-d", &url, "-c", sql]);
    let ended = pgweir::demo::cluster::run(&mut command, "", LIMIT).unwrap();
    assert!(ended.status.success(), "{}", ended.stderr);
    let mut lines = ended.stdout.lines().map(|line| line.split('|').map(str::to_owned));
    let names: Vec<String> = lines.next().unwrap().collect();
    lines.map(|line| names.iter().cloned().zip(line).collect()).collect()
}

#[track_caller]
pub fn fetch(pooler: &Pooler, path: &str) -> String {
    let mut stream = TcpStream::connect(pages(pooler)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: pgweir\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_command_answers_and_the_metrics_agree() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    psql_rows(&pooler.url(APP_USER, PASSWORD, APP_DATABASE), "SELECT 1");

    let (version, _) = ask(&pooler, "eve", "SHOW VERSION;");
    assert_eq!(version, format!("PgBouncer 1.25.0/pgweir {}", env!("CARGO_PKG_VERSION")));
    let (pools, _) = ask(&pooler, "eve", "SHOW POOLS");
    let own = "pgbouncer|pgbouncer|1|0|0|0|0|0|0|0|0|0|0|0|0|statement|";
    assert_eq!(pools, format!("shop|app|0|0|0|0|0|0|0|1|0|0|0|0|0|transaction|\n{own}"));
    let (databases, _) = ask(&pooler, "eve", "show databases -- all of them");
    let port = cluster.primary().port();
    assert_eq!(
        databases,
        format!(
            "shop|127.0.0.1|{port}|shop||20|0|0|3600|transaction||0|1|0|0|0|0|0\n\
             pgbouncer||0|pgbouncer|pgbouncer|2|0|0|3600|statement||0|0|0|1|0|0|0"
        )
    );
    let (lists, _) = ask(&pooler, "boss", "SHOW LISTS");
    assert!(lists.starts_with("databases|2\nusers|3\npeers|0\npools|2\n"), "{lists}");
    let (config, _) = ask(&pooler, "boss", "SHOW CONFIG");
    assert!(config.lines().any(|line| line == "max_client_conn|1000|1000|yes"), "{config}");
    assert_eq!(ask(&pooler, "boss", "SELECT state").0, "active|yes\npaused|no\nsuspended|no");
    assert!(ask(&pooler, "boss", "SHOW HELP").1.contains("SHOW POOLS"));

    let metrics = fetch(&pooler, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    let database = format!(
        "pgbouncer_databases_current_connections{{name=\"shop\",host=\"127.0.0.1\",port=\"{port}\",\
         database=\"shop\",force_user=\"\",pool_mode=\"transaction\"}} 1"
    );
    for line in [
        database.as_str(),
        "pgbouncer_databases 2",
        "pgbouncer_free_servers 1",
        "pgbouncer_config_max_client_connections 1000",
        "pgbouncer_up 1",
        "pgweir_clients 0",
        "pgbouncer_pools_server_idle_connections{database=\"shop\",user=\"app\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    assert!(fetch(&pooler, "/livez").starts_with("HTTP/1.1 200 "));
    assert!(fetch(&pooler, "/readyz").starts_with("HTTP/1.1 200 "));
    assert!(fetch(&pooler, "/other").starts_with("HTTP/1.1 404 "));
}

/// As psql does for `\\dt` and to complete a word.
#[test]
fn psql_finds_nothing_in_the_catalogues_of_the_console() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    let (rows, said) = ask(&pooler, "eve", "\\dt\n");
    assert_eq!(rows, "");
    assert!(!said.contains("ERROR"), "{said}");
    let complete = "SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_class c \
                    WHERE c.relkind IN ('r', 'p') AND substring(c.relname, 1, 1) = 'x' \
                    UNION SELECT n.nspname FROM pg_catalog.pg_namespace n LIMIT 1000";
    assert_eq!(ask(&pooler, "eve", complete).0, "");
}

/// What an operator looks at again and again, in psql itself.
#[test]
fn psql_watches_a_table_until_it_is_left() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    let mut command = client("psql");
    command.args(["-X", "-A", "-t", "-d", &pooler.url("eve", PASSWORD, "pgbouncer"), "-f", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut psql = command.spawn().unwrap();
    psql.stdin.take().unwrap().write_all(b"SHOW STATE\n\\watch 0.05\n").unwrap();
    let (line, lines) = mpsc::channel();
    let stdout = BufReader::new(psql.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        stdout.lines().map_while(Result::ok).for_each(|said| drop(line.send(said)));
    });
    let sees = |wanted: &str, times: usize| {
        for _ in 0..times {
            while lines.recv_timeout(LIMIT).expect(wanted) != wanted {}
        }
    };
    sees("paused|no", 3);
    ask(&pooler, "boss", "PAUSE");
    sees("paused|yes", 3);
    ask(&pooler, "boss", "RESUME");
    sees("active|yes", 1);
    psql.kill().unwrap();
    psql.wait().unwrap();
    reader.join().unwrap();
    eventually("its console is gone", LIMIT, || {
        let (pools, _) = ask(&pooler, "boss", "SHOW POOLS");
        pools.starts_with("pgbouncer|pgbouncer|1|")
    });
}

/// In one message, with comments, and as psql's own commands ask.
#[test]
fn psql_sends_several_statements_at_once() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    let url = pooler.url("boss", PASSWORD, "pgweir");
    let at_once = |text: &str| {
        let mut command = client("psql");
        command.args(["-X", "-A", "-t", "-d", &url, "-c", text]);
        pgweir::demo::cluster::run(&mut command, "", LIMIT).unwrap()
    };
    let text = "BEGIN; SET extra_float_digits = 3; -- ;\n SHOW STATE /* ; /* ; */ */;\
                SET query_wait_timeout = 71; COMMIT;";
    let ended = at_once(text);
    let said = "BEGIN\nSET\nactive|yes\npaused|no\nsuspended|no\nSET\nCOMMIT\n";
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), (said, ""));
    // Nothing is done of a text that is wrong, and no more of one that fails.
    for (fails, stays) in [("SHOW NOTHING", "71"), ("RESUME", "72")] {
        let text = format!("SET query_wait_timeout = 72; {fails}; SET query_wait_timeout = 73");
        let ended = at_once(&text);
        assert!(ended.stderr.contains("ERROR:  "), "{}", ended.stderr);
        let (config, _) = ask(&pooler, "boss", "SHOW CONFIG");
        let line = format!("\nquery_wait_timeout|{stays}|");
        assert!(config.contains(&line), "{fails}: {config}");
    }
    let text = "SHOW VERSION \\gset\n\\echo :version\nSHOW STATE\\; SHOW STATE;\n\\l\n\\du\n\\dx\n";
    let (said, errors) = ask(&pooler, "boss", text);
    assert!(said.starts_with("PgBouncer 1.25.0/") && errors.is_empty(), "{said}{errors}");
    assert_eq!(said.matches("active|yes").count(), 2, "{said}");
}

#[test]
fn only_those_who_are_listed_open_the_console() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    for console in ["pgweir", "pgbouncer"] {
        assert_eq!(psql_rows(&pooler.url("eve", PASSWORD, console), "SHOW TimeZone"), "Etc/UTC");
        let refused = psql(&pooler.url(APP_USER, PASSWORD, console), "SHOW POOLS");
        assert!(refused.stderr.contains("FATAL:  not allowed"), "{}", refused.stderr);
        let wrong = psql(&pooler.url("boss", "wrong", console), "SHOW POOLS");
        assert!(wrong.stderr.contains("password authentication failed"), "{}", wrong.stderr);
    }
    let unknown = psql(&pooler.url("boss", PASSWORD, "pgweir"), "DROP TABLE t");
    let message = "ERROR:  invalid command 'DROP TABLE t', use SHOW HELP;";
    assert!(unknown.stderr.contains(message), "{}", unknown.stderr);
}

/// Each command that there is, in both protocols, and what PgBouncer lets only admins do.
#[test]
fn users_of_the_figures_can_only_look() {
    let cluster = cluster();
    let mut pooler = Pooler::start(&configuration(&cluster, ""));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let (inside, connection) = runtime.block_on(tokio_postgres::connect(&url, NoTls)).unwrap();
    runtime.spawn(async move { drop(connection.await) });
    let backend = || runtime.block_on(inside.simple_query("SELECT pg_backend_pid()")).unwrap();
    let text = |messages: Vec<tokio_postgres::SimpleQueryMessage>| format!("{messages:?}");
    let before = text(backend());

    let url = pooler.url("eve", PASSWORD, "pgweir");
    let (eve, connection) = runtime.block_on(tokio_postgres::connect(&url, NoTls)).unwrap();
    runtime.spawn(async move { drop(connection.await) });
    let ask = |sql: &str| {
        let simple = runtime.block_on(eve.simple_query(sql)).map(drop);
        let extended = runtime.block_on(eve.prepare(sql)).map(drop);
        [simple, extended]
            .map(|result| result.map_err(|error| error.code().map(|code| code.code().to_owned())))
    };
    let refused = |code: &str| [(); 2].map(|()| Err(Some(code.to_owned())));
    let mut orders = 0;
    for command in COMMANDS {
        let name = command.name;
        if name.starts_with("SHOW ") {
            let allowed = [Ok(()), Ok(())];
            let wanted = if command.role == Role::Stats { allowed } else { refused("42501") };
            let key = if name == "SHOW SHARD FOR" { " '42'" } else { "" };
            assert_eq!(ask(&format!("{name}{key}")), wanted, "{name}");
            continue;
        }
        orders += 1;
        let texts =
            [name.to_owned(), format!("{name} {APP_DATABASE}"), format!("SET a = 1; {name}")];
        // What is no key may be a setting of a driver's, and nothing is done.
        let texts = texts.iter().filter(|_| name != "SET");
        for text in texts {
            for result in ask(text) {
                let code = result.expect_err(text).expect(text);
                // For some, the database is missing or too much.
                assert!(["42501", "08P01", "42601"].contains(&code.as_str()), "{text}: {code}");
            }
        }
        let right = match name {
            "SET" => "SET max_client_conn = 1".to_owned(),
            "DISABLE" | "ENABLE" | "KILL_CLIENT" | "SILENCE" | "UNSILENCE" | "BAN" | "UNBAN" => {
                format!("{name} a")
            }
            "EXPLAIN ROUTE" => format!("{name} {APP_DATABASE} SELECT 1"),
            _ => name.to_owned(),
        };
        assert_eq!(ask(&right), refused("42501"), "{right}");
    }
    assert!(orders >= 10, "{orders}");
    for name in [
        "SHOW FDS",
        "KILL_CLIENT 1",
        "KILL_CLIENT 0x1",
        "SUSPEND",
        "SET max_client_conn = 1; KILL_CLIENT 1",
        "select pg_terminate_backend(1)",
    ] {
        for result in ask(name) {
            assert!(result.is_err(), "{name}");
        }
    }
    assert_eq!(text(backend()), before, "whoever is inside has not noticed");
    assert!(pooler.is_running());
}

#[test]
fn console_opens_when_no_more_clients_do() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, "max_client_conn = 1"));
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        assert!(psql(&url, "SELECT 1").stderr.contains("max_client_conn"));
        let (clients, _) = ask(&pooler, "boss", "SHOW CLIENTS");
        assert!(clients.starts_with("C|app|shop|none|active|127.0.0.1|"), "{clients}");
        assert_eq!(clients.lines().count(), 1, "{clients}");
        drop(client);
        connection.await.unwrap().unwrap();
    });
}

/// The driver prepares, and asks for binary results.
#[tokio::test]
async fn extended_protocol_and_no_ops_work_with_a_driver() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    let url = pooler.url("eve", PASSWORD, "pgbouncer");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let rows = client.query("SHOW LISTS", &[]).await.unwrap();
    assert_eq!((rows[0].get("list"), rows[0].get("items")), ("databases", 2_i32));
    let error = client.query("SHOW NOTHING", &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "08P01");
    let text = "BEGIN; SET extra_float_digits = 3; /* ; */ SHOW VERSION; SHOW STATE; COMMIT;";
    let messages = client.simple_query(text).await.unwrap();
    let rows = messages
        .iter()
        .filter(|message| matches!(message, tokio_postgres::SimpleQueryMessage::Row(_)));
    assert_eq!(rows.count(), 4);
    drop(client);
    connection.await.unwrap().unwrap();
}

#[test]
fn port_of_the_pages_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pooler.toml");
    let toml = format!(
        "listen_port = 0\nhttp_listen = \"{address}\"\n[databases.shop]\nhost = \"127.0.0.1\"\n"
    );
    std::fs::write(&file, toml).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pgweir"));
    let ended = pgweir::demo::cluster::run(command.arg("run").arg(file), "", LIMIT).unwrap();
    assert!(!ended.status.success());
    let wanted = format!("http_listen: cannot listen on {address}");
    assert!(ended.stderr.contains(&wanted), "{}", ended.stderr);
}

#[test]
fn pins_are_shown_with_their_reason_until_they_end() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (client, connection) = runtime.block_on(tokio_postgres::connect(&url, NoTls)).unwrap();
    runtime.spawn(async move { drop(connection.await) });
    let run = |sql: &str| runtime.block_on(client.batch_execute(sql)).unwrap();
    let pins = |expected: &str| {
        eventually(expected, LIMIT, || {
            let (shown, _) = ask(&pooler, "eve", "SHOW PINS");
            let mut columns = shown.split('|');
            let shown: Vec<_> = columns.by_ref().skip(1).take(5).collect();
            shown.join("|") == expected
        });
    };
    run("select 1; set timezone = 'Asia/Tokyo'");
    pins("");
    run("create temp table mine as select 'card 4111' as n");
    pins("app|shop||temporary object|create temp table mine as select ? as n");
    let gauge = "pgweir_pinned_clients{database=\"shop\",user=\"app\"} 1";
    assert!(fetch(&pooler, "/metrics").lines().any(|line| line == gauge));
    run("select pg_advisory_lock(1)");
    run("drop table mine");
    pins("app|shop||session advisory lock|create temp table mine as select ? as n");
    run("select pg_advisory_unlock(1)");
    pins("");
    let log = pooler.log();
    assert_eq!(log.matches("client keeps its server").count(), 2, "{log}");
}

#[test]
fn keys_are_set_until_the_restart_or_not_at_all() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, "default_pool_size = 7"));
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let shown = |key: &str| {
        let (config, _) = ask(&pooler, "boss", "SHOW CONFIG");
        let line = config.lines().find_map(|line| line.strip_prefix(&format!("{key}|")));
        line.and_then(|line| line.split('|').next()).unwrap_or_default().to_owned()
    };
    let client = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    assert_eq!(psql_rows(&client, "SELECT 1"), "1");
    psql_rows(&console, "SET default_pool_size = 1; SET query_wait_timeout TO '200ms'");
    assert_eq!(
        (shown("default_pool_size"), shown("query_wait_timeout")),
        ("1".into(), "0.2".into())
    );
    // It is what the pool goes by, too.
    let (holder, waiter) = std::thread::scope(|scope| {
        let holder = scope.spawn(|| psql(&client, "SELECT pg_sleep(60)"));
        eventually("the server is in use", LIMIT, || {
            ask(&pooler, "boss", "SHOW POOLS").0.split('|').nth(6) == Some("1")
        });
        let waiter = psql(&client, "SELECT 1");
        let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                      WHERE query = 'SELECT pg_sleep(60)'";
        cluster.primary().sql("postgres", cancel).unwrap();
        (holder.join().unwrap(), waiter)
    });
    assert!(holder.stderr.contains("canceling statement"), "{}", holder.stderr);
    assert!(waiter.stderr.contains("query_wait_timeout"), "{}", waiter.stderr);

    // A reload keeps it; what is wrong changes nothing, and says why.
    psql_rows(&console, "RELOAD");
    assert_eq!(shown("default_pool_size"), "1");
    for (sql, told) in [
        ("SET default_pool_size = 'many'", "default_pool_size: must be a whole number"),
        ("SET auth_type = any", "nobody has a secret for the server"),
        ("SET listen_port = 1", "listen_port cannot be changed without a restart"),
    ] {
        let refused = psql(&console, sql);
        assert!(refused.stderr.contains(told), "{sql}: {}", refused.stderr);
    }
    let unchanged = ("1".into(), "scram-sha-256".into());
    assert_eq!((shown("default_pool_size"), shown("auth_type")), unchanged);
    let refused = psql(&pooler.url("eve", PASSWORD, "pgweir"), "SET default_pool_size = 9");
    assert!(refused.stderr.contains("SET is for admin_users"), "{}", refused.stderr);
    psql_rows(&pooler.url("eve", PASSWORD, "pgweir"), "SET extra_float_digits = 3");
}

#[test]
fn what_drivers_set_is_accepted_in_silence_and_what_looks_like_a_key_is_not() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    let (config, _) = ask(&pooler, "boss", "SHOW CONFIG");
    let keys: Vec<&str> = config.lines().filter_map(|line| line.split('|').next()).collect();
    // Whatever Postgres has, but for names that are keys here, of a database, or in PgBouncer.
    let asked =
        "SELECT lower(name) FROM pg_settings UNION VALUES ('app.pool_mode'), ('role'), ('names')";
    let names = cluster.primary().sql(APP_DATABASE, asked).unwrap();
    let of_others = ["port", "syslog", "syslog_facility", "syslog_ident"];
    let names: Vec<&str> =
        names.lines().filter(|name| !keys.contains(name) && !of_others.contains(name)).collect();
    assert!(names.len() > 250 && names.contains(&"statement_timeout"), "{names:?}");
    for some in names.chunks(16) {
        let sets: String = some.iter().map(|name| format!("SET {name} = 1;")).collect();
        assert_eq!(ask(&pooler, "eve", &sets).1, "", "{some:?}");
    }
    for (sql, told) in [
        (
            "SET defualt_pool_size = 1",
            "defualt_pool_size is no key, and nothing has changed; did you mean default_pool_size?",
        ),
        (
            "SET log_stats = 0",
            "log_stats is a key of PgBouncer; not supported: figures are in SHOW STATS and /metrics, and no lines with \
             them are in the log",
        ),
        (
            "SET pkt_buf TO 8192",
            "pkt_buf is a key of PgBouncer; not needed: buffers are borrowed while bytes flow",
        ),
        ("SET pool_size = 3", "pool_size is a key of a database or a user; nothing has changed"),
    ] {
        let (_, notice) = ask(&pooler, "boss", sql);
        assert!(notice.trim_end().ends_with(&format!("NOTICE:  {told}")), "{sql}: {notice}");
    }
    assert_eq!(ask(&pooler, "boss", "SHOW CONFIG").0, config);
}

#[test]
fn one_client_is_killed_by_its_number() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let open = || async {
            let (client, connection) =
                tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            (client, tokio::spawn(connection))
        };
        let ((first, ended), (other, _runs)) = (open().await, open().await);
        let clients = ask(&pooler, "boss", "SHOW CLIENTS").0;
        let ids: Vec<&str> = clients.lines().filter_map(|line| line.rsplit('|').next()).collect();
        assert_eq!(ids.len(), 2, "{clients}");
        ask(&pooler, "boss", &format!("KILL_CLIENT {}", ids[0]));
        let error = ended.await.unwrap().unwrap_err();
        assert_eq!(error.code().unwrap().code(), "57P01");
        assert!(first.is_closed());
        other.simple_query("SELECT 1").await.unwrap();
    });
    let console = pooler.url("boss", PASSWORD, "pgweir");
    for (sql, told) in [
        ("KILL_CLIENT 4711", "client not found"),
        ("KILL_CLIENT x", "invalid client pointer supplied"),
        ("KILL_CLIENT", "invalid command"),
    ] {
        let refused = psql(&console, sql);
        assert!(refused.stderr.contains(told), "{sql}: {}", refused.stderr);
    }
    let refused = psql(&pooler.url("eve", PASSWORD, "pgweir"), "KILL_CLIENT 1");
    assert!(refused.stderr.contains("KILL_CLIENT is for admin_users"), "{}", refused.stderr);
}
