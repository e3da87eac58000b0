//! Limits of time: never early, and not much late. The machine may be busy, so what is exact is
//! the lower bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::fake::{Fake, answer};
use crate::setup::{file, pooler, shared};
use crate::support::{APP_DATABASE, LIMIT, PASSWORD, Pooler, SUPERUSER, eventually};
use crate::wire::{Client, Message, USER, message, startup};

/// What a busy machine may add to any time.
const SLACK: Duration = Duration::from_secs(2);

#[track_caller]
fn check_took(started: Instant, seconds: f64) {
    let (took, limit) = (started.elapsed(), Duration::from_secs_f64(seconds));
    assert!(took >= limit && took < limit + SLACK, "{took:?} instead of {limit:?}");
}

#[track_caller]
fn check_text(error: &Message, parts: &[&str]) {
    let text = [b'M', b'D', b'H'].map(|code| error.field(code).unwrap_or_default()).join("\n");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn query_timeout() {
    let pooler = pooler("query_timeout = 0.5; default_pool_size = 1");
    let mut client = Client::login(pooler.port());
    client.talk("Q select 1 from pg_sleep(0.2)", "T D[1] C[SELECT 1] ZI");
    client.talk("Q select 1 from pg_sleep(0.2)", "T D[1] C[SELECT 1] ZI");
    client.talk("Q begin", "C[BEGIN] ZT");
    // A pause in a transaction is no query.
    thread::sleep(Duration::from_millis(600));
    let started = Instant::now();
    client.talk("Q select pg_sleep(60)", "FATAL[57014] end");
    check_took(started, 0.5);
    // The only server is to be had again at once: what ran there was cancelled.
    let mut next = Client::login(pooler.port());
    let started = Instant::now();
    next.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
}

#[test]
fn query_timeout_of_a_user_goes_before_the_general_one() {
    let settings = "query_timeout = 60";
    let pooler = Pooler::start(&file(shared().port(), settings, "query_timeout = 0.4\n"));
    let mut client = Client::login(pooler.port());
    let started = Instant::now();
    client.talk("Q select pg_sleep(60)", "FATAL[57014] end");
    check_took(started, 0.4);
}

#[test]
fn query_wait_timeout_says_who_holds_what() {
    let pooler = pooler("query_wait_timeout = 0.5; default_pool_size = 1");
    let name = [&USER[..], &[("application_name", "the holder")]].concat();
    let mut holder = Client::login_as(pooler.port(), &name);
    let mut waiter = Client::login(pooler.port());
    holder.talk("Q begin", "C[BEGIN] ZT");
    for script in ["Q select 1", "P a select 1 / B a / E / S"] {
        let started = Instant::now();
        waiter.say(script);
        let error = waiter.hear();
        check_took(started, 0.5);
        assert_eq!(error.text(), "E[53300]");
        let pid = u32::from_be_bytes(holder.key[..4].try_into().unwrap());
        let held_by = format!("client {pid} ");
        check_text(
            &error,
            &[
                "query_wait_timeout",
                "\"shop\"/\"app\"",
                "size 1",
                "1 in use",
                &held_by,
                "the holder",
            ],
        );
        waiter.hears("ZI");
    }
    holder.talk("Q commit", "C[COMMIT] ZI");
    waiter.talk("B a / E / S", "E[26000] ZI");
    waiter.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
}

#[test]
fn query_wait_timeout_at_login_is_fatal() {
    let pooler = pooler("query_wait_timeout = 0.5; default_pool_size = 1");
    let mut holder = Client::login(pooler.port());
    holder.talk("Q begin", "C[BEGIN] ZT");
    let started = Instant::now();
    let new = [&USER[..], &[("work_mem", "1MB")]].concat();
    let error = Client::try_login(pooler.port(), &new).expect_err("no server to ask");
    check_took(started, 0.5);
    assert_eq!(error.text(), "FATAL[53300]");
}

#[test]
fn query_wait_notify() {
    let pooler = pooler("query_wait_notify = 0.4; default_pool_size = 1");
    let mut holder = Client::login(pooler.port());
    let mut waiter = Client::login(pooler.port());
    holder.talk("Q begin", "C[BEGIN] ZT");
    let started = Instant::now();
    waiter.say("Q select 1");
    let notice = waiter.hear();
    check_took(started, 0.4);
    assert_eq!(notice.text(), "N[00000]");
    check_text(
        &notice,
        &["No server connection available in postgres backend, client being queued", "size 1"],
    );
    holder.talk("Q commit", "C[COMMIT] ZI");
    waiter.hears("T D[1] C[SELECT 1] ZI");
}

#[test]
fn idle_transaction_timeout() {
    let pooler = pooler("idle_transaction_timeout = 0.5; default_pool_size = 1");
    let mut client = Client::login(pooler.port());
    client.talk("Q begin", "C[BEGIN] ZT");
    // A query that takes longer is no idleness, and the time begins anew behind it.
    client.talk("Q select 1 from pg_sleep(0.7)", "T D[1] C[SELECT 1] ZT");
    let started = Instant::now();
    client.hears("FATAL[25P03] end");
    // It began a little before the answer was heard.
    check_took(started, 0.5 - 0.05);
    let mut idle = Client::login(pooler.port());
    idle.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    thread::sleep(Duration::from_millis(700));
    idle.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
}

#[test]
fn half_a_message_that_holds_a_server_is_idleness() {
    let pooler = pooler("idle_transaction_timeout = 0.5; default_pool_size = 1");
    let mut client = Client::login(pooler.port());
    // Too long to be collected first, and its names are not complete.
    let bind = message(b'B', &[b'x'; 300_000]);
    let started = Instant::now();
    client.send(&bind[..1000]);
    client.hears("FATAL[25P03] end");
    check_took(started, 0.5 - 0.05);
    Client::login(pooler.port()).talk("Q select 1", "T D[1] C[SELECT 1] ZI");
}

#[test]
fn transaction_timeout() {
    let pooler = pooler("transaction_timeout = 0.8; default_pool_size = 1");
    let mut client = Client::login(pooler.port());
    let started = Instant::now();
    client.talk("Q begin", "C[BEGIN] ZT");
    client.talk("Q select 1 from pg_sleep(0.2)", "T D[1] C[SELECT 1] ZT");
    client.hears("FATAL[57014] end");
    check_took(started, 0.8);
    let mut client = Client::login(pooler.port());
    let started = Instant::now();
    client.talk("Q begin", "C[BEGIN] ZT");
    client.say("Q select pg_sleep(60)");
    let heard = client.rest();
    assert_eq!(heard, "FATAL[57014]");
    check_took(started, 0.8);
    Client::login(pooler.port()).talk("Q select 1", "T D[1] C[SELECT 1] ZI");
}

#[test]
fn client_idle_timeout() {
    let pooler = pooler("client_idle_timeout = 0.6; default_pool_size = 1");
    let mut busy = Client::login(pooler.port());
    for _ in 0..4 {
        busy.talk("Q select 1 from pg_sleep(0.25)", "T D[1] C[SELECT 1] ZI");
    }
    busy.talk("Q begin", "C[BEGIN] ZT");
    // A transaction is not what it is about.
    thread::sleep(Duration::from_millis(900));
    busy.talk("Q commit", "C[COMMIT] ZI");
    let started = Instant::now();
    busy.hears("FATAL[57P05] end");
    // As above.
    check_took(started, 0.6 - 0.05);
}

#[test]
fn client_login_timeout() {
    let pooler = pooler("client_login_timeout = 0.5; auth_type = \"scram-sha-256\"");
    for said in [Vec::new(), vec![0, 0], startup(196_608, &USER)] {
        let started = Instant::now();
        let mut client = Client::connect(pooler.port());
        client.send(&said);
        let heard = client.rest();
        check_took(started, 0.5);
        assert!(heard.is_empty() || heard == "R10", "{heard}");
    }
}

#[test]
fn client_login_timeout_is_over_with_the_login() {
    let superuser = format!("[users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n");
    let pooler = Pooler::start(&file(shared().port(), "client_login_timeout = 2", &superuser));
    let parameters = [("user", SUPERUSER), ("database", APP_DATABASE), ("replication", "database")];
    let mut walsender = Client::login_as(pooler.port(), &parameters);
    thread::sleep(Duration::from_millis(2300));
    walsender.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
}

#[test]
fn server_idle_timeout() {
    let pooler = pooler("server_idle_timeout = 0.7; default_pool_size = 2");
    let mut client = Client::login(pooler.port());
    let pid = client.value("select pg_backend_pid()");
    let started = Instant::now();
    let sql = format!("select count(*) from pg_stat_activity where pid = {pid}");
    eventually("the server is closed", LIMIT, || shared().sql("postgres", &sql).unwrap() == "0");
    check_took(started, 0.7 - 0.05);
    assert_ne!(client.value("select pg_backend_pid()"), pid);
}

#[test]
fn min_pool_size_is_kept_whatever_idles() {
    let fake = Fake::start(|_, _, server| {
        server.let_in();
        server.behave();
    });
    let settings = "server_idle_timeout = 0.3; min_pool_size = 3; default_pool_size = 5";
    let pooler = Pooler::start(&file(fake.port(), settings, ""));
    let mut client = Client::login(pooler.port());
    client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
    eventually("there are three", LIMIT, || fake.connections("shop") == 3);
    thread::sleep(Duration::from_millis(700));
    assert_eq!(fake.connections("shop"), 3);
}

#[test]
fn server_lifetime() {
    let pooler = pooler("server_lifetime = 1; default_pool_size = 1");
    let mut client = Client::login(pooler.port());
    let pid = client.value("select pg_backend_pid()");
    let started = Instant::now();
    eventually("another server is used", LIMIT, || client.value("select pg_backend_pid()") != pid);
    // Up to a tenth less, by lot.
    check_took(started, 0.9 - 0.2);
    // Not in the midst of a transaction.
    client.talk("Q begin", "C[BEGIN] ZT");
    let pid = client.value("select pg_backend_pid()");
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(client.value("select pg_backend_pid()"), pid);
    client.talk("Q commit", "C[COMMIT] ZI");
    assert_ne!(client.value("select pg_backend_pid()"), pid);
}

#[test]
fn server_check_delay() {
    let checks = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&checks);
    let fake = Fake::start(move |_, before, server| {
        server.let_in();
        while let Some((tag, body)) = server.hear() {
            if body.starts_with(b"select 'check'") {
                seen.fetch_add(1, Ordering::Relaxed);
                if before == 0 && seen.load(Ordering::Relaxed) > 1 {
                    // Half dead: it takes what it is sent, and never answers.
                    return server.wait_for_end();
                }
            }
            if tag == b'Q' {
                server.send(&answer());
            }
        }
    });
    let settings = "server_check_delay = 0.4; server_check_query = \"select 'check'\"; \
                    default_pool_size = 1; server_connect_timeout = 1";
    let pooler = Pooler::start(&file(fake.port(), settings, ""));
    let mut client = Client::login(pooler.port());
    for _ in 0..3 {
        client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
    }
    assert_eq!(checks.load(Ordering::Relaxed), 0);
    thread::sleep(Duration::from_millis(500));
    client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
    client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
    assert_eq!(checks.load(Ordering::Relaxed), 1);
    // One that does not answer is replaced.
    thread::sleep(Duration::from_millis(500));
    let started = Instant::now();
    client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
    check_took(started, 1.0);
    assert_eq!(fake.connections("shop"), 2);
}
