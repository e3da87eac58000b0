//! Servers that can't be had: each with what a waiting client is told, and how soon.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bystander::Bystander;
use crate::fake::{Fake, error};
use crate::setup::{file, pooler_for, shared};
use crate::support::{Cluster, LIMIT, Pooler, eventually};
use crate::wire::{Client, USER};

/// What a busy machine may add to any time.
const SLACK: Duration = Duration::from_secs(2);

/// The SQLSTATE that a login ends with, its text, and when.
#[track_caller]
fn refused_login(pooler: &Pooler) -> (String, String, Duration) {
    let started = Instant::now();
    let told = Client::try_login(pooler.port(), &USER).expect_err("no login");
    assert_eq!(told.field(b'S').as_deref(), Some("FATAL"));
    (told.field(b'C').unwrap(), told.field(b'M').unwrap(), started.elapsed())
}

/// The log, when it has this line: it is read beside the test.
fn log_with(pooler: &Pooler, line: &str) -> String {
    eventually("the log has the line", LIMIT, || pooler.log().contains(line));
    pooler.log()
}

fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn refused_connection_is_told_at_once() {
    let port = closed_port();
    let pooler = Pooler::start(&file(port, "", ""));
    for _ in 0..3 {
        let (sqlstate, text, took) = refused_login(&pooler);
        assert_eq!(sqlstate, "08006");
        assert!(text.starts_with("cannot connect to server: Connection refused"), "{text}");
        assert!(took < SLACK, "{took:?}");
    }
    // Where the server is, is for the log alone.
    let log = log_with(&pooler, "server login failed: ");
    let line = format!("(pgweir to server: user \"app\", database \"shop\", at 127.0.0.1:{port})");
    let failed = "server login failed: connect failed: Connection ref";
    let mut lines = log.lines().filter(|line| line.contains(failed));
    assert!(lines.next().is_some_and(|first| first.ends_with(&line)), "{log}");
    assert_eq!(lines.next(), None, "{log}");
}

#[test]
fn failed_server_logins_are_logged_once_with_side_method_user_and_address() {
    let port = shared().port();
    let toml = file(port, "", "").replace("s3cret", "wrong");
    let pooler = Pooler::start(&toml);
    for _ in 0..3 {
        assert_eq!(refused_login(&pooler).0, "28P01");
    }
    let log = log_with(&pooler, "pooler error: ");
    let failed = format!(
        "server login failed: FATAL password authentication failed for user \"app\" (28P01) (pgweir \
         to server: user \"app\", database \"shop\", method scram-sha-256, at 127.0.0.1:{port})"
    );
    assert_eq!(log.matches(&failed).count(), 1, "{log}");
    assert!(!log.contains("client to pgweir"), "{log}");
}

#[test]
fn errors_of_ours_are_logged_once_unless_log_pooler_errors_is_off() {
    let port = closed_port();
    for (setting, count) in [("", 1), ("log_pooler_errors = false", 0)] {
        let pooler = Pooler::start(&file(port, setting, ""));
        for _ in 0..3 {
            refused_login(&pooler);
        }
        let told = "pooler error: cannot connect to server: Connection refused (os error 111) \
                    (user \"app\", database \"shop\", from 127.0.0.1)";
        // What is logged by the loop that served the first comes after the client was told.
        if count > 0 {
            log_with(&pooler, told);
        }
        pooler.signal("USR1");
        let log = log_with(&pooler, "got a signal");
        assert_eq!(log.matches(told).count(), count, "{log}");
    }
}

#[test]
fn server_that_never_answers_is_given_up_after_server_connect_timeout() {
    // The kernel accepts; nobody reads.
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = hole.local_addr().unwrap().port();
    let pooler = Pooler::start(&file(port, "server_connect_timeout = 0.5", ""));
    let (sqlstate, text, took) = refused_login(&pooler);
    assert_eq!(sqlstate, "08006");
    assert!(text.contains("timed out"), "{text}");
    assert!(took >= Duration::from_millis(500) && took < Duration::from_millis(500) + SLACK);
    // Those who come in the pause after it do not wait as long.
    let (_, _, took) = refused_login(&pooler);
    assert!(took < Duration::from_millis(500) + SLACK, "{took:?}");
    drop(hole);
}

#[test]
fn slow_login_is_waited_for() {
    let fake = Fake::start(|_, _, server| {
        thread::sleep(Duration::from_millis(400));
        server.let_in();
        server.behave();
    });
    let pooler = Pooler::start(&file(fake.port(), "server_connect_timeout = 5", ""));
    let started = Instant::now();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let port = pooler.port();
            thread::spawn(move || {
                Client::login(port).talk("Q select 42", "T D[42] C[SELECT 1] ZI");
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(800) + SLACK);
}

#[test]
fn wrong_password_is_told_in_the_server_s_words_and_not_tried_again() {
    let toml = file(shared().port(), "", "").replace("s3cret", "wrong");
    let pooler = Pooler::start(&toml);
    let (sqlstate, text, took) = refused_login(&pooler);
    assert_eq!(
        (sqlstate.as_str(), text.as_str()),
        ("28P01", "password authentication failed for user \"app\"")
    );
    assert!(took < SLACK, "{took:?}");

    let fake = Fake::start(|_, _, server| {
        server.send(&error("SFATAL|VFATAL|C28P01|Mwrong|"));
        server.wait_for_end();
    });
    let settings = "min_pool_size = 3; server_login_retry = 0.1";
    let pooler = Pooler::start(&file(fake.port(), settings, ""));
    assert_eq!(refused_login(&pooler).0, "28P01");
    // Long enough for many attempts, were there any.
    thread::sleep(Duration::from_millis(700));
    let attempts = fake.connections("shop");
    assert!(attempts <= 3, "{attempts} attempts for one client");
    for _ in 0..5 {
        assert_eq!(refused_login(&pooler).0, "28P01");
    }
    thread::sleep(Duration::from_millis(700));
    let attempts = fake.connections("shop");
    assert!(attempts <= 3 * 6, "{attempts} attempts for six clients");
}

#[test]
fn server_s_own_refusals_keep_their_sqlstate() {
    for sqlstate in ["3D000", "28000", "42501", "53300", "57P01", "XX001"] {
        let text = format!("SFATAL|VFATAL|C{sqlstate}|Mno such luck|Hask|");
        let fake = Fake::start(move |_, _, server| {
            server.send(&error(&text));
            server.wait_for_end();
        });
        let pooler = Pooler::start(&file(fake.port(), "", ""));
        let (told, text, took) = refused_login(&pooler);
        assert_eq!((told.as_str(), text.as_str()), (sqlstate, "no such luck"));
        assert!(took < SLACK, "{took:?}");
    }
}

#[test]
fn what_a_server_refuses_only_once_is_refused_only_once() {
    // As a database that is created between the two: nobody is told what was true before.
    let fake = Fake::start(|_, before, server| {
        if before == 0 {
            server.send(&error("SFATAL|VFATAL|C3D000|Mno such luck|"));
            return server.wait_for_end();
        }
        server.let_in();
        server.behave();
    });
    let pooler = Pooler::start(&file(fake.port(), "", ""));
    assert_eq!(refused_login(&pooler).0, "3D000");
    let mut client = Client::login(pooler.port());
    client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
}

#[test]
fn server_that_starts_up_is_waited_for() {
    let fake = Fake::start(|_, before, server| {
        if before < 5 {
            server.send(&error("SFATAL|VFATAL|C57P03|Mthe database system is starting up|"));
            return server.wait_for_end();
        }
        server.let_in();
        server.behave();
    });
    let pooler = Pooler::start(&file(fake.port(), "", ""));
    let started = Instant::now();
    let mut client = Client::login(pooler.port());
    client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
    assert!(fake.connections("shop") >= 6);
    assert!(started.elapsed() < Duration::from_secs(2) + SLACK, "{:?}", started.elapsed());
}

#[test]
fn server_that_starts_up_for_too_long_is_waited_for_as_long_as_a_query_may_wait() {
    let fake = Fake::start(|_, _, server| {
        server.send(&error("SFATAL|VFATAL|C57P03|Mthe database system is starting up|"));
        server.wait_for_end();
    });
    let pooler = Pooler::start(&file(fake.port(), "query_wait_timeout = 0.6", ""));
    let (sqlstate, _, took) = refused_login(&pooler);
    assert_eq!(sqlstate, "57P03");
    assert!(took >= Duration::from_millis(600) && took < Duration::from_millis(600) + SLACK);
}

#[test]
fn full_server_serves_many_clients_by_the_connections_that_there_are() {
    let settings = [
        ("max_connections", "8"),
        ("superuser_reserved_connections", "3"),
        ("max_wal_senders", "2"),
    ];
    let cluster = Cluster::builder().settings(&settings).start().unwrap();
    let server = cluster.primary();
    let pooler = pooler_for(server, "default_pool_size = 20; server_login_retry = 0.2");
    let port = pooler.port();
    let mut first = Client::login(port);
    let all_used = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let all_used = Arc::clone(&all_used);
            thread::spawn(move || {
                let mut client = Client::login(port);
                let mut turns = 0;
                while turns < 20 || !all_used.load(Ordering::Relaxed) {
                    client.talk("Q select 1 from pg_sleep(0.01)", "T D[1] C[SELECT 1] ZI");
                    turns += 1;
                }
            })
        })
        .collect();
    let used = "select count(*) from pg_stat_activity where usename = 'app'";
    eventually("all connections are used", LIMIT, || first.value(used) == "5");
    all_used.store(true, Ordering::Relaxed);
    let ended: Vec<_> = clients.into_iter().map(|client| client.join().is_ok()).collect();
    assert!(ended.iter().all(|well| *well), "{ended:?}");
}

#[test]
fn server_full_of_others_is_told_at_once() {
    let settings = [
        ("max_connections", "6"),
        ("superuser_reserved_connections", "3"),
        ("max_wal_senders", "2"),
    ];
    let cluster = Cluster::builder()
        .settings(&settings)
        .hba(&["host all app 127.0.0.1/32 trust"])
        .start()
        .unwrap();
    let server = cluster.primary();
    let others: Vec<_> = (0..3).map(|_| Client::login(server.port())).collect();
    let pooler = pooler_for(server, "server_login_retry = 0.1");
    let (sqlstate, text, took) = refused_login(&pooler);
    assert_eq!(sqlstate, "53300", "{text}");
    assert!(took < SLACK, "{took:?}");
    drop(others);
    eventually("there is room again", LIMIT, || Client::try_login(pooler.port(), &USER).is_ok());
}

#[test]
fn server_that_stops_and_starts_is_told_of_meanwhile_and_used_again() {
    let cluster = Cluster::builder().start().unwrap();
    let server = cluster.primary();
    let toml = file(
        server.port(),
        "server_login_retry = 0.1",
        &format!(
            "[databases.other]\nhost = \"127.0.0.1\"\nport = {}\ndbname = \"shop\"\n",
            shared().port()
        ),
    );
    let pooler = Pooler::start(&toml);
    let other = Client::login_as(pooler.port(), &[("user", "app"), ("database", "other")]);
    let bystander = Bystander::start(pooler.port(), &[("user", "app"), ("database", "other")]);
    let mut client = Client::login(pooler.port());
    client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    server.stop(crate::support::StopMode::Fast).unwrap();
    for _ in 0..3 {
        let started = Instant::now();
        client.talk("Q select 1", "E[08006] ZI");
        client.talk("P - select 1 / B - / E / S", "E[08006] ZI");
        assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    }
    server.start().unwrap();
    eventually("the server is used again", LIMIT, || {
        client.say("Q select 1");
        let answered = client.hear().tag == b'T';
        while client.hear().tag != b'Z' {}
        answered
    });
    bystander.finish();
    drop(other);
}
