//! Where statements would run, by the catalog of a real database, and whether what is said to be a
//! read is one.
//!
//! The statements are data: `tests/corpus/*.tsv`, one line each, with target and reason.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgweir::app::explain::Explainer;
use pgweir::config::{Config, Environment};
use pgweir::route::{Reason, Session};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::support::{
    APP_DATABASE, Cluster, LIMIT, PASSWORD, Pooler, PostgresServer, SUPERUSER,
    cluster_with_replicas, psql, psql_rows,
};

struct Line {
    at: String,
    target: String,
    reason: String,
    text: String,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    let files = fs::read_dir(corpus()).unwrap().map(|file| file.unwrap().path());
    for file in files.filter(|file| file.extension().is_some_and(|end| end == "tsv")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let at = format!("{name}:{}", number + 1);
            let cells: Vec<&str> = line.splitn(3, '\t').collect();
            let [target, reason, text] = cells.as_slice() else { panic!("{at}: {line}") };
            let [target, reason, text] = [target, reason, text].map(|cell| (*cell).to_owned());
            lines.push(Line { at, target, reason, text });
        }
    }
    lines
}

/// A primary with the schema of the corpus, and a replica that has it.
fn shop() -> Cluster {
    let cluster = cluster_with_replicas(1);
    let schema = fs::read_to_string(corpus().join("schema.sql")).unwrap();
    cluster.primary().sql(APP_DATABASE, &schema).unwrap();
    cluster.wait_replayed().unwrap();
    cluster
}

fn file(server: &PostgresServer) -> String {
    format!(
        "read_only_functions = [\"f_trusted\"]\nprimary_functions = [\"public.f_special\"]\n\
         primary_tables = [\"app.ledger\"]\n\
         check_user = \"{SUPERUSER}\"\n\
         [databases.{APP_DATABASE}]\nhost = \"127.0.0.1\"\nport = {}\n\
         [users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n",
        server.port()
    )
}

fn explainer(server: &PostgresServer) -> Explainer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pooler.toml");
    fs::write(&path, file(server)).unwrap();
    let config = Config::from_toml_file_in(&path, &Environment::default()).unwrap();
    let database = config.database(APP_DATABASE).unwrap();
    runtime().block_on(Explainer::new(&config, &database))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn value(explanation: &[(&'static str, String)], what: &str) -> String {
    let found = explanation.iter().find(|(name, _)| *name == what);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

#[test]
fn corpus_goes_where_it_should() {
    let lines = lines();
    assert!(lines.len() >= 1000, "{}", lines.len());
    let cluster = shop();
    let explainer = explainer(cluster.primary());
    let mut wrong = Vec::new();
    for Line { at, target, reason, text } in &lines {
        let explanation = explainer.explain(text.as_bytes(), Session::default());
        let found = [value(&explanation, "target"), value(&explanation, "reason")];
        if found != [target.as_str(), reason] {
            let about = value(&explanation, "about");
            wrong.push(format!("{at}: {} {} ({about}), not {reason}: {text}", found[0], found[1]));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} of {}", wrong.join("\n"), wrong.len(), lines.len());
    let unseen = Reason::ALL.iter().filter(|reason| {
        // Of the session, and of the hosts.
        let of_session = [
            "in_transaction",
            "temporary",
            "encoding",
            "not_loaded",
            "not_asked",
            "listens",
            "not_whole",
            "no_replica",
            "lagging",
            "not_fresh",
            "optimistic",
            "goes_on",
            "refused_before",
            "replica_failed",
        ];
        !of_session.contains(&reason.name()) && !lines.iter().any(|l| l.reason == reason.name())
    });
    let unseen: Vec<_> = unseen.collect();
    assert!(unseen.is_empty(), "the corpus has nothing for {unseen:?}");
}

async fn connect(server: &PostgresServer) -> Client {
    let url = server.url(SUPERUSER, PASSWORD, APP_DATABASE);
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Runs a text as one simple query, COPY included, and leaves no transaction open.
async fn run(client: &Client, text: &str) -> Result<(), tokio_postgres::Error> {
    let ended = match text.contains("COPY") {
        true => match client.copy_out(text).await {
            Ok(stream) => {
                drop(stream);
                Ok(())
            }
            Err(error) => Err(error),
        },
        false => client.simple_query(text).await.map(drop),
    };
    client.batch_execute("ROLLBACK").await.unwrap();
    ended
}

#[test]
fn what_goes_to_a_replica_runs_there_and_changes_nothing() {
    let cluster = shop();
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    runtime().block_on(async {
        let (on_primary, on_replica) = (connect(primary).await, connect(replica).await);
        let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
        let before: String = on_primary.query_one(next, &[]).await.unwrap().get(0);
        let mut wrong = Vec::new();
        for Line { at, text, .. } in lines().iter().filter(|line| line.target == "replica") {
            for (client, place) in [(&on_primary, "primary"), (&on_replica, "replica")] {
                if let Err(error) = run(client, text).await {
                    wrong.push(format!("{at} on the {place}: {error:?}: {text}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // Whatever writes takes a number.
        let after: String = on_primary.query_one(next, &[]).await.unwrap().get(0);
        assert_eq!(before, after);
    });
}

/// What a text may be made of: some read, some write, and some do so where it does not show.
const VALUES: &[&str] = &[
    "1",
    "now()",
    "f_pure(1)",
    "f_look(1)",
    "f_insert()",
    "f_over('x')",
    "nextval('numbers')",
    "pg_notify('c', 'x')",
    "pg_advisory_xact_lock(1)",
    "txid_current()",
    "lo_create(0)",
    "lower('X')",
    "upper('x')",
    "(SELECT count(*) FROM {r})",
    "(SELECT max(id) FROM users FOR UPDATE)",
    "1 <+> 2",
    "2 <*> 3",
    "5::checked",
    "5::positive",
    "bad_sum(1)",
    "good_sum(1)",
    "ARRAY[{v}]",
    "coalesce({v}, {v})",
    "CASE WHEN random() < 2 THEN {v} END",
    "(SELECT {v})",
    "f_trusted(1)",
    "app.f_path(1)",
    "f_path(1)",
    "'insert into audit'",
    "$$ for update $$",
    "pg_current_xact_id()",
    "setval('numbers', 7)",
];
const RELATIONS: &[&str] = &[
    "users",
    "orders",
    "v_plain",
    "v_pure",
    "v_thrice",
    "v_nextval",
    "v_lock",
    "v_behind_lock",
    "v_cache",
    "cache",
    "parted",
    "events",
    "m_totals",
    "(SELECT {v} AS a) s",
    "f_rows() r",
    "app.things",
    "shared",
    "(VALUES ({v})) v",
    "(SELECT * FROM {r}) q",
    "generate_series(1, 2) g",
    "guarded",
    "watched",
    "numbers",
    "v_operator",
    "v_aggregate",
    "v_subquery",
    "\"Quoted Table\"",
];
const TEXTS: &[&str] = &[
    "SELECT {v}",
    "SELECT {v} FROM {r}",
    "SELECT {v} FROM {r} FOR UPDATE",
    "TABLE {r}",
    "WITH a AS (SELECT {v} AS x) SELECT * FROM a",
    "WITH a AS (SELECT * FROM {r}) SELECT {v} FROM a",
    "WITH a AS (INSERT INTO audit VALUES (now(), 'x') RETURNING 1) SELECT {v}",
    "VALUES ({v}), ({v})",
    "WITH a AS (DELETE FROM audit RETURNING 1) SELECT * FROM {r}",
    "SELECT {v} UNION ALL SELECT {v}",
    "EXPLAIN ANALYZE SELECT {v} FROM {r}",
    "SELECT 1 FROM {r} WHERE {v} IS NOT NULL ORDER BY {v}",
    "SELECT 1; SELECT {v}",
    "BEGIN READ ONLY; SELECT {v} FROM {r}; COMMIT",
    "SELECT {v} INTO made",
    "SELECT count(*) FROM {r} HAVING {v} IS NULL",
    "SELECT * FROM users u, LATERAL (SELECT {v}) l",
    "(SELECT {v} LIMIT 1) UNION (SELECT {v})",
    "SELECT {v} FROM {r} GROUP BY 1",
];

/// A text of up to so many parts, which are filled in from the left.
fn generated(random: &mut StdRng, parts: usize) -> String {
    let mut pick = |from: &[&str]| from[random.random_range(0..from.len())].to_owned();
    let mut text = pick(TEXTS);
    for part in 0.. {
        let (value, relation) = match part < parts {
            true => (pick(VALUES), pick(RELATIONS)),
            false => ("1".to_owned(), "users".to_owned()),
        };
        let (at_value, at_relation) = (text.find("{v}"), text.find("{r}"));
        text = match (at_value, at_relation) {
            (None, None) => return text,
            (Some(at), Some(other)) if at < other => text.replacen("{v}", &value, 1),
            (Some(_), None) => text.replacen("{v}", &value, 1),
            _ => text.replacen("{r}", &relation, 1),
        };
    }
    text
}

/// `ROUTED_TEXTS` says how many there are.
#[test]
fn generated_texts_that_go_to_a_replica_change_nothing_there_or_anywhere() {
    let count = env::var("ROUTED_TEXTS").map_or(3000, |count| count.parse().unwrap());
    let cluster = shop();
    let explainer = explainer(cluster.primary());
    let mut random = StdRng::seed_from_u64(7);
    let texts = (0..count).map(|_| generated(&mut random, 6));
    let routed: Vec<String> = texts
        .filter(|text| {
            let explanation = explainer.explain(text.as_bytes(), Session::default());
            value(&explanation, "reason") == "reads"
        })
        .collect();
    // Neither all nor nothing.
    assert!((count / 20..count / 2).contains(&routed.len()), "{} of {count}", routed.len());
    runtime().block_on(async {
        let on_primary = connect(cluster.primary()).await;
        let on_replica = connect(&cluster.replicas()[0]).await;
        let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
        let before: String = on_primary.query_one(next, &[]).await.unwrap().get(0);
        for text in &routed {
            // Some don't fit together, and are errors everywhere.
            let (there, here) = (run(&on_replica, text).await, run(&on_primary, text).await);
            let code = |ended: Result<(), tokio_postgres::Error>| {
                ended.err().and_then(|error| error.code().map(|code| code.code().to_owned()))
            };
            let (there, here) = (code(there), code(here));
            assert_eq!(there, here, "{text}");
            assert_ne!(there.as_deref(), Some("25006"), "{text}");
        }
        let after: String = on_primary.query_one(next, &[]).await.unwrap().get(0);
        assert_eq!(before, after);
    });
}

#[test]
fn what_writes_behind_views_would_fail_on_a_replica() {
    let cluster = shop();
    let read_only = SqlState::from_code("25006");
    runtime().block_on(async {
        let on_replica = connect(&cluster.replicas()[0]).await;
        for text in ["SELECT * FROM v_thrice", "SELECT f_insert()", "SELECT * FROM v_lock"] {
            let error = run(&on_replica, text).await.unwrap_err();
            assert_eq!(error.code(), Some(&read_only), "{text}: {error}");
        }
    });
}

#[test]
fn command_explains_texts_for_the_session_that_is_assumed() {
    let cluster = shop();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pooler.toml");
    fs::write(&path, file(cluster.primary())).unwrap();
    let path = path.to_str().unwrap();
    let url = cluster.primary().url(SUPERUSER, PASSWORD, APP_DATABASE);
    let explain = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
        let ended = pgweir::demo::cluster::run(
            command.arg("explain").args(arguments).env_remove("DATABASE_URL"),
            "",
            LIMIT,
        );
        let ended = ended.unwrap();
        assert!(ended.status.success(), "{}", ended.stderr);
        let reasons = ended.stdout.lines().filter_map(|line| line.strip_prefix("reason "));
        reasons.map(|reason| reason.trim().to_owned()).collect::<Vec<_>>().join(" ")
    };
    // f_trusted is listed in the file, not in the environment.
    let texts = ["SELECT f_trusted(1)", "TABLE users", "DELETE FROM users"];
    let with = |arguments: &[&str]| explain(&[arguments, &texts].concat());
    assert_eq!(with(&["--file", path]), "reads reads writes");
    assert_eq!(with(&["--url", &url]), "volatile_function reads writes");
    let url = ["--url", &*url];
    let session = |flag| with(&[&url, &[flag][..]].concat());
    assert_eq!(session("--read-only"), "read_only read_only writes");
    assert_eq!(session("--temporary"), "volatile_function temporary writes");
    assert_eq!(session("--in-transaction"), "in_transaction in_transaction in_transaction");
    let latin = ["--client-encoding", "LATIN1", "SELECT 'é'"];
    assert_eq!(explain(&[&url, &latin[..]].concat()), "encoding");
    let nowhere = ["--url", "postgres://a:b@127.0.0.1:1/c", "SELECT 1"];
    assert_eq!(explain(&nowhere), "not_loaded");
}

#[test]
fn console_explains_whatever_follows() {
    let cluster = shop();
    let toml = format!(
        "listen_port = 0\nadmin_users = \"eve\"\n{}[users.eve]\npassword = \"{PASSWORD}\"\n",
        file(cluster.primary())
    );
    let pooler = Pooler::start(&toml);
    let console = pooler.url("eve", PASSWORD, "pgweir");
    let explained = |text: &str| {
        let ended = psql(&console, &format!("EXPLAIN ROUTE {text}"));
        assert!(ended.status.success(), "{text}: {}", ended.stderr);
        let value = |item: &str| {
            let mut lines = ended.stdout.lines();
            lines.find_map(|line| line.strip_prefix(item)?.strip_prefix('|')).unwrap().to_owned()
        };
        [value("target"), value("reason"), value("statements")].join(" ")
    };
    assert_eq!(explained("shop SELECT f_trusted(1)"), "replica reads 1");
    assert_eq!(explained("\"shop\" SELECT * FROM v_thrice"), "primary view 1");
    assert_eq!(explained("shop SELECT 1\\; DELETE FROM users"), "primary writes 2");
    let hinted = explained("shop SELECT 1 /* pgweir: primary */ ");
    assert_eq!(hinted, "primary hint_primary 1");
    for (text, expected) in [
        ("nowhere SELECT 1", "no such database: nowhere"),
        ("shop", "invalid command 'EXPLAIN ROUTE shop;', use SHOW HELP;"),
    ] {
        let ended = psql(&console, &format!("EXPLAIN ROUTE {text};"));
        assert!(ended.stderr.contains(expected), "{text}: {}", ended.stderr);
    }
    // It has one host, and a statement is not taken for the name of a database.
    let now = psql(&console, "EXPLAIN ROUTE shop SELECT 1").stdout;
    assert!(now.contains("now|primary: the database has one host"), "{now}");
    let now = psql(&console, "EXPLAIN ROUTE shop DELETE FROM users").stdout;
    assert!(!now.contains("now|"), "{now}");
    pooler.rewrite(&format!("{toml}[databases.\"*\"]\nhost = \"127.0.0.1\"\n"));
    psql_rows(&console, "RELOAD");
    for statement in ["SELECT * FROM users", "delete from users", "VALUES (1)"] {
        let ended = psql(&console, &format!("EXPLAIN ROUTE {statement}"));
        let told = ["a database is required", "HINT:  EXPLAIN ROUTE database statement"];
        for told in told {
            assert!(ended.stderr.contains(told), "{statement}: {}", ended.stderr);
        }
    }
    // By the extended protocol as well, with the columns told before.
    runtime().block_on(async {
        let (client, connection) = tokio_postgres::connect(&console, NoTls).await.unwrap();
        tokio::spawn(connection);
        let row = client.query("EXPLAIN ROUTE shop SELECT 1", &[]).await.unwrap();
        assert_eq!(row[0].get::<_, &str>("value"), "replica");
    });
    assert_eq!(cluster.primary().sql(APP_DATABASE, "SELECT count(*) FROM users").unwrap(), "20");
}
