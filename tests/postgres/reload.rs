//! RELOAD and SIGHUP: what changes, what does not, and what is told.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, SUPERUSER, cluster, eventually,
    pgbench, psql, psql_rows,
};

/// A pooler with the databases `shop` and `other` (the same on the server) and the users `app`
/// and `boss`.
fn configuration(cluster: &Cluster, general: &str, shop: &str) -> String {
    let server = format!("host = \"127.0.0.1\"\nport = {}", cluster.primary().port());
    format!(
        "listen_port = 0\nadmin_users = \"boss\"\n{general}\n\
         [databases.{APP_DATABASE}]\n{server}\n{shop}\n\
         [databases.other]\n{server}\ndbname = \"{APP_DATABASE}\"\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n\
         [users.boss]\npassword = \"{PASSWORD}\"\n"
    )
}

#[track_caller]
fn reload(pooler: &Pooler) -> String {
    let ended = psql(&pooler.url("boss", PASSWORD, "pgweir"), "RELOAD");
    assert!(ended.status.success(), "{}", ended.stderr);
    ended.stderr
}

fn url(pooler: &Pooler, database: &str) -> String {
    pooler.url(APP_USER, PASSWORD, database)
}

/// A client in a runtime of this thread.
struct Session {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Session {
    fn open(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls)).unwrap();
        runtime.spawn(connection);
        Self { runtime, client }
    }

    fn ask(&self, sql: &str) -> Result<String, tokio_postgres::Error> {
        let messages = self.runtime.block_on(self.client.simple_query(sql))?;
        let rows = messages.into_iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0)?.to_owned()),
            _ => None,
        });
        Ok(rows.unwrap_or_default())
    }
}

#[test]
fn reload_takes_what_it_can_and_names_what_needs_a_restart() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, "", ""));
    let session = Session::open(&url(&pooler, APP_DATABASE));
    let server = session.ask("SELECT pg_backend_pid()").unwrap();
    let text = configuration(
        &cluster,
        "listen_backlog = 7\nworkers = 1\nmax_client_conn = 55\nadmin_users = \"boss\"",
        "pool_size = 3",
    );
    pooler.rewrite(&text.replacen("admin_users = \"boss\"\n", "", 1));
    let notices = reload(&pooler);
    for key in ["listen_backlog", "workers"] {
        assert!(notices.contains(&format!("{key} has changed; this needs a restart")), "{notices}");
    }
    assert!(!notices.contains("max_client_conn"), "{notices}");
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let config = psql_rows(&console, "SHOW CONFIG");
    for line in ["max_client_conn|55|1000|yes", "listen_backlog|1024|1024|no"] {
        assert!(config.lines().any(|found| found == line), "{line}\n{config}");
    }
    let databases = psql_rows(&console, "SHOW DATABASES");
    let sizes: Vec<_> =
        databases.lines().map(|line| line.split('|').nth(5).unwrap().to_owned()).collect();
    assert_eq!(sizes, ["20", "3", "2"], "other, shop, the console");
    assert_eq!(session.ask("SELECT pg_backend_pid()").unwrap(), server, "the server stays");
    assert!(pooler.log().contains("needs a restart: listen_backlog, workers"));
}

#[test]
fn terms_change_at_the_next_transaction() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, "query_timeout = 0", ""));
    let session = Session::open(&url(&pooler, APP_DATABASE));
    session.ask("BEGIN").unwrap();
    pooler.rewrite(&configuration(&cluster, "query_timeout = \"300ms\"", ""));
    reload(&pooler);
    session.ask("SELECT pg_sleep(0.6)").expect("this transaction began before");
    session.ask("COMMIT").unwrap();
    let error = session.ask("SELECT pg_sleep(20)").unwrap_err();
    assert_eq!(error.as_db_error().unwrap().message(), "query timeout");
}

#[test]
fn broken_reload_leaves_everything_as_it_was() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, "", ""));
    let session = Session::open(&url(&pooler, APP_DATABASE));
    let server = session.ask("SELECT pg_backend_pid()").unwrap();
    let console = pooler.url("boss", PASSWORD, "pgweir");
    // The console's own line has those who ask, and who asked last may not have left yet.
    let shown = || {
        let rows = psql_rows(&console, "SHOW CONFIG; SHOW DATABASES");
        let rows = rows.lines().filter(|row| !row.starts_with("pgbouncer|"));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = shown();
    let broken = configuration(&cluster, "max_client_conn = 55\npool_mod = \"session\"", "")
        .replace("[users.boss]\npassword", "[users.boss]\npasword");
    pooler.rewrite(&broken);
    let ended = psql(&console, "\\set VERBOSITY verbose\nRELOAD");
    assert!(!ended.status.success());
    let wanted = "F0000: RELOAD failed, see logs for additional details";
    assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
    for what in [":5: pool_mod: unknown key (did you mean `pool_mode`?)", "users.boss.pasword"] {
        assert!(ended.stderr.contains(what), "{what}\n{}", ended.stderr);
    }
    assert_eq!(shown(), before);
    assert_eq!(session.ask("SELECT pg_backend_pid()").unwrap(), server);
    assert_eq!(psql_rows(&url(&pooler, "other"), "SELECT 1"), "1");
    pooler.signal("HUP");
    eventually("the log says so, too", LIMIT, || {
        pooler.log().matches("nothing has changed").count() == 2
    });
}

#[test]
fn servers_of_a_changed_database_are_replaced_when_they_are_free_and_no_others() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, "", ""));
    cluster.primary().sql("postgres", "CREATE DATABASE moved").unwrap();
    let (inside, idle) =
        (Session::open(&url(&pooler, APP_DATABASE)), Session::open(&url(&pooler, APP_DATABASE)));
    let untouched = Session::open(&url(&pooler, "other"));
    let place = "SELECT current_database() || ' ' || pg_backend_pid()";
    let elsewhere = untouched.ask(place).unwrap();
    inside.ask("BEGIN").unwrap();
    let before = inside.ask(place).unwrap();
    assert!(idle.ask(place).unwrap().starts_with("shop "));
    pooler.rewrite(&configuration(&cluster, "", "dbname = \"moved\""));
    reload(&pooler);
    assert!(idle.ask(place).unwrap().starts_with("moved "));
    assert_eq!(inside.ask(place).unwrap(), before, "the transaction ends where it began");
    inside.ask("COMMIT").unwrap();
    assert!(inside.ask(place).unwrap().starts_with("moved "));
    assert_eq!(untouched.ask(place).unwrap(), elsewhere);
    psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "WAIT_CLOSE shop");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND usename = 'app'";
    eventually("the old servers are gone", LIMIT, || {
        cluster.primary().sql("postgres", left).unwrap() == "1"
    });
}

#[test]
fn clients_of_what_is_gone_are_told_at_the_end_of_their_transactions() {
    let cluster = cluster();
    let whole = configuration(&cluster, "", "");
    let pooler = Pooler::start(&whole);
    let (inside, idle) =
        (Session::open(&url(&pooler, "other")), Session::open(&url(&pooler, "other")));
    let stays = Session::open(&url(&pooler, APP_DATABASE));
    inside.ask("BEGIN").unwrap();
    let (start, rest) = whole.split_once("[databases.other]").unwrap();
    pooler.rewrite(&format!("{start}{}", &rest[rest.find("[users").unwrap()..]));
    reload(&pooler);
    eventually("who is idle goes at once", LIMIT, || idle.client.is_closed());
    assert_eq!(inside.ask("SELECT 1").unwrap(), "1");
    inside.ask("COMMIT").unwrap();
    eventually("and the other then", LIMIT, || inside.client.is_closed());
    assert_eq!(stays.ask("SELECT 1").unwrap(), "1");
    let said = psql(&url(&pooler, "other"), "SELECT 1").stderr;
    assert!(said.contains("no such database: other"), "{said}");
}

#[test]
fn user_that_is_gone_is_told_and_one_with_another_password_needs_it() {
    let cluster = cluster();
    let whole = configuration(&cluster, "", "");
    let pooler = Pooler::start(&whole);
    cluster.primary().sql("postgres", "ALTER ROLE app PASSWORD 'new one'").unwrap();
    let section = format!("[users.{APP_USER}]\npassword = \"");
    pooler.rewrite(&whole.replace(&format!("{section}{PASSWORD}"), &format!("{section}new one")));
    reload(&pooler);
    assert!(!psql(&url(&pooler, APP_DATABASE), "SELECT 1").status.success());
    let new = pooler.url(APP_USER, "new%20one", APP_DATABASE);
    assert_eq!(psql_rows(&new, "SELECT 1"), "1");

    let session = Session::open(&new);
    let users = whole.find(&format!("[users.{APP_USER}]")).unwrap();
    let boss = whole.find("[users.boss]").unwrap();
    pooler.rewrite(&format!("{}{}", &whole[..users], &whole[boss..]));
    reload(&pooler);
    let mut told = String::new();
    eventually("the client is told", LIMIT, || {
        // The connection may be found closed before the message is.
        told = session.ask("SELECT 1").unwrap_err().to_string();
        session.client.is_closed()
    });
    assert!(psql(&new, "SELECT 1").stderr.contains("password authentication failed"));
}

#[test]
fn reloads_under_load_cost_neither_an_error_nor_a_server() {
    let cluster = cluster();
    let sizes = ["pool_size = 4", "pool_size = 5"];
    let pooler = Pooler::start(&configuration(&cluster, "min_pool_size = 4", sizes[0]));
    let at = url(&pooler, APP_DATABASE);
    let script = "BEGIN;\nSELECT 1;\nSELECT pg_sleep(0.001);\nEND;\n";
    let load =
        |seconds: &str| pgbench(&["-n", "-c", "8", "-T", seconds, "-f", "-", &at], script, LIMIT);
    assert!(load("1").status.success());
    let newest = format!(
        "SELECT max(backend_start) FROM pg_stat_activity \
         WHERE usename = '{APP_USER}' AND datname = '{APP_DATABASE}'"
    );
    let as_superuser = cluster.primary().url(SUPERUSER, PASSWORD, "postgres");
    let before = psql_rows(&as_superuser, &newest);
    let ended = std::thread::scope(|scope| {
        let load = scope.spawn(|| load("4"));
        let began = Instant::now();
        // `other` and its size move; the pool under load has the same settings every time.
        for round in 0.. {
            if load.is_finished() || began.elapsed() > LIMIT {
                break;
            }
            let timeout = if round % 2 == 0 { "query_wait_timeout = 60" } else { "" };
            let text = configuration(&cluster, &format!("min_pool_size = 4\n{timeout}"), sizes[0]);
            pooler.rewrite(&text.replace("dbname", &format!("{}\ndbname", sizes[round % 2])));
            pooler.signal("HUP");
            std::thread::sleep(Duration::from_millis(100));
        }
        load.join().unwrap()
    });
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stdout.contains("number of failed transactions: 0"), "{}", ended.stdout);
    assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
    let reloads = pooler.log().matches("configuration reloaded").count();
    assert!(reloads >= 10, "{reloads} reloads");
    assert_eq!(psql_rows(&as_superuser, &newest), before, "no server was opened anew");
}
