//! Pausing, draining and ending, by signals and by the console.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, cluster, eventually, psql, psql_rows,
};

fn configuration(cluster: &Cluster, general: &str) -> String {
    let port = cluster.primary().port();
    let listen = if general.contains("listen_port") { "" } else { "listen_port = 0\n" };
    format!(
        "{listen}admin_users = \"boss\"\n{general}\n\
         [databases.{APP_DATABASE}]\nhost = \"127.0.0.1\"\nport = {port}\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n\
         [users.boss]\npassword = \"{PASSWORD}\"\n"
    )
}

fn url(pooler: &Pooler) -> String {
    pooler.url(APP_USER, PASSWORD, APP_DATABASE)
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn open(pooler: &Pooler) -> Client {
    connect(&url(pooler)).await.unwrap()
}

/// Waits for what the program's other side brings about.
async fn eventually_async(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[track_caller]
fn status(log: &str, path: &str) -> u16 {
    let address = log.lines().find_map(|line| {
        line.strip_prefix("  metrics   http://").and_then(|rest| rest.strip_suffix("/metrics"))
    });
    let mut stream = TcpStream::connect(address.expect(log)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: pgweir\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn is_shutdown(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::ADMIN_SHUTDOWN)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_waits_for_transactions_and_holds_requests_until_resume() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let (inside, other) = (open(&pooler).await, open(&pooler).await);
    inside.batch_execute("BEGIN").await.unwrap();
    let pause = tokio::task::spawn_blocking({
        let console = console.clone();
        move || psql(&console, &format!("PAUSE {APP_DATABASE}"))
    });
    eventually_async("it is paused", || {
        let databases = psql_rows(&console, "SHOW DATABASES");
        databases.split('|').nth(15) == Some("1")
    })
    .await;
    let waiting = tokio::spawn(async move { other.simple_query("SELECT 1").await.map(|_| other) });
    inside.batch_execute("SELECT 1").await.expect("a transaction goes on");
    assert!(!pause.is_finished() && !waiting.is_finished());
    inside.batch_execute("COMMIT").await.unwrap();
    assert!(pause.await.unwrap().status.success());
    let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
    assert_eq!(cluster.primary().sql("postgres", open).unwrap(), "0", "all servers are closed");
    assert!(!waiting.is_finished());

    psql_rows(&console, "RESUME shop");
    let other = waiting.await.unwrap().unwrap();
    let vain = psql(&console, "RESUME").stderr;
    assert!(vain.contains("pooler is not paused/suspended"), "{vain}");
    let vain = psql(&console, "PAUSE nothing").stderr;
    assert!(vain.contains("no such database: nothing"), "{vain}");

    // A pause of all is ended for all, and one of a database for that.
    for (pause, wrong, resume) in
        [("PAUSE", "RESUME shop", "RESUME"), ("PAUSE shop", "RESUME", "RESUME shop")]
    {
        psql_rows(&console, pause);
        let vain = psql(&console, wrong).stderr;
        assert!(vain.contains("not paused"), "{pause}; {wrong}: {vain}");
        assert_eq!(psql_rows(&console, "SHOW DATABASES").split('|').nth(15), Some("1"));
        psql_rows(&console, resume);
        assert_eq!(psql_rows(&console, "SHOW DATABASES").split('|').nth(15), Some("0"));
    }

    // The same by the name that scripts for an update use, for all.
    psql_rows(&console, "SUSPEND");
    let suspended = "active|no\npaused|no\nsuspended|yes";
    assert_eq!(psql_rows(&console, "SHOW STATE"), suspended);
    assert_eq!(cluster.primary().sql("postgres", open).unwrap(), "0", "all servers are closed");
    psql_rows(&console, "RESUME");

    // The same by signals.
    pooler.signal("USR1");
    eventually_async("it is paused", || psql_rows(&console, "SHOW STATE").contains("paused|yes"))
        .await;
    let waiting = tokio::spawn(async move { other.simple_query("SELECT 1").await });
    pooler.signal("USR2");
    waiting.await.unwrap().unwrap();
    assert!(psql_rows(&console, "SHOW STATE").contains("active|yes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnect_kill_and_disable_do_what_they_say() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let backend = async |client: &Client| {
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
        row.get::<_, i32>(0)
    };
    let client = open(&pooler).await;
    let first = backend(&client).await;
    psql_rows(&console, "RECONNECT; WAIT_CLOSE");
    assert_ne!(backend(&client).await, first);

    psql_rows(&console, "DISABLE shop");
    let refused = connect(&url(&pooler)).await.err().unwrap();
    assert_eq!(refused.as_db_error().unwrap().message(), "database \"shop\" is disabled");
    backend(&client).await;
    psql_rows(&console, "ENABLE shop");
    open(&pooler).await;

    let busy = open(&pooler).await;
    let query = tokio::spawn(async move { busy.simple_query("SELECT pg_sleep(60)").await });
    eventually_async("the query runs", || {
        psql_rows(&console, "SHOW POOLS").split('|').nth(6) == Some("1")
    })
    .await;
    psql_rows(&console, "KILL shop");
    let killed = query.await.unwrap().unwrap_err();
    let told = killed.as_db_error().map(|error| error.message().to_owned());
    assert_eq!(told.as_deref(), Some("admin forced disconnect"));
    eventually_async("the other one too", || client.is_closed()).await;
    let at = url(&pooler);
    let next = tokio::spawn(async move { connect(&at).await });
    psql_rows(&console, "RESUME shop");
    backend(&next.await.unwrap().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn term_lets_transactions_end_and_operators_in() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let pooler = Pooler::start(&configuration(
        &cluster,
        &format!(
            "drain_delay = 1\ndrain_timeout = 0\nunix_socket_dir = \"{directory}\"\n\
             http_listen = \"127.0.0.1:0\""
        ),
    ));
    let (inside, idle) = (open(&pooler).await, open(&pooler).await);
    inside.batch_execute("BEGIN").await.unwrap();
    assert_eq!(status(&pooler.log(), "/readyz"), 200);
    pooler.signal("TERM");
    eventually("it is not ready any more", LIMIT, || status(&pooler.log(), "/readyz") == 503);
    assert_eq!(status(&pooler.log(), "/livez"), 200);
    // Nobody is turned away yet.
    let late = open(&pooler).await;
    for client in [&idle, &late] {
        eventually_async("who is idle is asked to go", || client.is_closed()).await;
    }
    let comes_back = TcpStream::connect(("127.0.0.1", pooler.port()));
    assert!(comes_back.is_err(), "the port was closed before anybody was asked to go");
    let by_unix = |user: &str, database: &str| {
        format!(
            "postgres:///{database}?host={directory}&port={}&user={user}&password={PASSWORD}",
            pooler.port()
        )
    };
    let clients = psql_rows(&by_unix("boss", "pgweir"), "SHOW CLIENTS");
    assert_eq!(clients.lines().count(), 1, "{clients}");
    let refused = psql(&by_unix(APP_USER, APP_DATABASE), "SELECT 1").stderr;
    assert!(refused.contains("pooler is shutting down"), "{refused}");
    inside.simple_query("SELECT 1").await.expect("a transaction goes on");
    inside.batch_execute("COMMIT").await.expect("to its end");
    eventually_async("then its client goes", || inside.is_closed()).await;
    assert!(pooler.ended().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn int_waits_for_servers_and_no_request_is_begun() {
    let cluster = cluster();
    let pooler = Pooler::start(&configuration(&cluster, ""));
    let (inside, waiting) = (open(&pooler).await, open(&pooler).await);
    inside.batch_execute("BEGIN").await.unwrap();
    pooler.signal("INT");
    eventually("the port is closed", LIMIT, || {
        TcpStream::connect(("127.0.0.1", pooler.port())).is_err()
    });
    let waiting = tokio::spawn(async move { waiting.simple_query("SELECT 1").await });
    inside.simple_query("SELECT 1").await.expect("a transaction goes on");
    assert!(!waiting.is_finished());
    inside.batch_execute("COMMIT").await.unwrap();
    let told = waiting.await.unwrap().unwrap_err();
    assert!(is_shutdown(&told), "{told:?}");
    assert!(pooler.ended().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_signal_the_deadline_and_quit_end_it_though_somebody_is_busy() {
    let cluster = cluster();
    for (general, signals) in [
        ("", &["TERM", "TERM"][..]),
        ("", &["INT", "USR2", "INT"]),
        ("", &["QUIT"]),
        ("drain_timeout = \"200ms\"", &["TERM"]),
        ("drain_timeout = \"200ms\"", &["INT"]),
    ] {
        let pooler = Pooler::start(&configuration(&cluster, general));
        let busy = open(&pooler).await;
        busy.batch_execute("BEGIN").await.unwrap();
        let query = tokio::spawn(async move { busy.simple_query("SELECT pg_sleep(60)").await });
        let console = pooler.url("boss", PASSWORD, "pgweir");
        eventually_async("the query runs", || {
            psql_rows(&console, "SHOW POOLS").split('|').nth(6) == Some("1")
        })
        .await;
        for (sent, signal) in signals.iter().enumerate() {
            pooler.signal(signal);
            eventually("the signal has come", LIMIT, || {
                let line = match *signal {
                    "USR2" => "got SIGUSR2 while shutting down, ignoring",
                    _ => "stopping: ",
                };
                sent > 0 && *signal != "USR2" || pooler.log().contains(line)
            });
        }
        let told = query.await.unwrap().unwrap_err();
        assert!(is_shutdown(&told), "{signals:?}: {told:?}");
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)'";
        assert!(pooler.ended().success());
        eventually("no query is left behind", LIMIT, || {
            cluster.primary().sql("postgres", sleeping).unwrap() == "0"
        });
    }
}

#[test]
fn service_manager_is_told() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pooler.toml");
    std::fs::write(&file, configuration(&cluster, "http_listen = \"\"")).unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let heard = || {
        let mut state = [0; 200];
        let len = manager.recv(&mut state).unwrap();
        String::from_utf8(state[..len].to_vec()).unwrap()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
    command.arg("run").arg(&file).env("NOTIFY_SOCKET", &path).stdin(Stdio::null());
    let pooler = Pooler::spawn(&mut command);
    assert!(heard().starts_with("READY=1\n"));
    for broken in [false, true] {
        if broken {
            std::fs::write(&file, "nonsense").unwrap();
        }
        pooler.signal("HUP");
        let reloading = heard();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert!(!reloading.contains("MONOTONIC_USEC=0\n"), "{reloading}");
        assert!(heard().starts_with("READY=1\n"));
    }
    pooler.signal("TERM");
    assert!(heard().starts_with("STOPPING=1\n"));
    assert!(pooler.ended().success());
}

#[test]
fn shutdown_commands_end_it() {
    let cluster = cluster();
    for command in ["SHUTDOWN", "SHUTDOWN WAIT_FOR_SERVERS", "SHUTDOWN WAIT_FOR_CLIENTS"] {
        let pooler = Pooler::start(&configuration(&cluster, ""));
        psql(&pooler.url("boss", PASSWORD, "pgweir"), command);
        assert!(pooler.ended().success(), "{command}");
    }
}

/// What writers have done so far, all together.
#[derive(Default)]
struct Progress {
    stop: AtomicBool,
    rows: AtomicUsize,
    moves: AtomicUsize,
}

/// Writes rows, a transaction each, and comes back by another connection when it is told to go.
/// Gives the rows whose transactions were said to be committed.
async fn write_rows(url: String, writer: usize, progress: Arc<Progress>) -> Vec<String> {
    let mut written = Vec::new();
    let mut client = None;
    while !progress.stop.load(Ordering::Relaxed) {
        let here = match client.take() {
            Some(client) => client,
            None => match connect(&url).await {
                Ok(client) => client,
                // It came in the moment in which a port was closed.
                Err(error) => {
                    assert!(error.code().is_none_or(|_| is_shutdown(&error)), "{error:?}");
                    continue;
                }
            },
        };
        if let Err(error) = here.batch_execute("BEGIN").await {
            assert!(is_shutdown(&error) || error.is_closed(), "{error:?}");
            progress.moves.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        // From here on it is a transaction, which is not lost.
        let row = format!("{writer}-{}", written.len());
        here.execute("INSERT INTO written VALUES ($1)", &[&row]).await.unwrap();
        here.batch_execute("COMMIT").await.unwrap();
        progress.rows.fetch_add(1, Ordering::Relaxed);
        written.push(row);
        client = Some(here);
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_move_to_another_instance_lose_no_transaction() {
    const WRITERS: usize = 16;
    let cluster = cluster();
    cluster.primary().sql(APP_DATABASE, "CREATE TABLE written (row text)").unwrap();
    cluster.primary().sql(APP_DATABASE, "GRANT ALL ON written TO app").unwrap();
    // A port that stays ours between the instances.
    let reserved =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    reserved.set_reuse_port(true).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    reserved.bind(&any.into()).unwrap();
    let port = reserved.local_addr().unwrap().as_socket().unwrap().port();
    let text = configuration(
        &cluster,
        &format!("listen_port = {port}\nso_reuseport = true\ndrain_pace = 100"),
    );
    let mut instance = Pooler::start(&text);
    let progress = Arc::new(Progress::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write_rows(url(&instance), writer, Arc::clone(&progress))))
        .collect();
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    for _ in 0..3 {
        let enough = count(&progress.rows) + 20 * WRITERS;
        eventually_async("rows are written", || count(&progress.rows) >= enough).await;
        let moved = count(&progress.moves);
        let next = Pooler::start(&text);
        let old = std::mem::replace(&mut instance, next);
        old.signal("TERM");
        assert!(tokio::task::spawn_blocking(|| old.ended()).await.unwrap().success());
        assert!(count(&progress.moves) > moved, "nobody was there");
    }
    progress.stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    let found = cluster.primary().sql(APP_DATABASE, "SELECT row FROM written").unwrap();
    let found: BTreeSet<_> = found.lines().map(str::to_owned).collect();
    assert_eq!(found, acknowledged);
}
