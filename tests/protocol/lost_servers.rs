//! Servers that go while they are used or idle, and clients that go and leave theirs behind.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::bystander::Bystander;
use crate::setup::{pooler, pooler_for, shared};
use crate::support::{Cluster, LIMIT, eventually};
use crate::wire::{Client, USER, messages};

/// What a busy machine may add to any time.
const SLACK: Duration = Duration::from_secs(2);

const PID: &str = "select pg_backend_pid()";

fn terminate(pid: &str) {
    let done = shared().sql("postgres", &format!("select pg_terminate_backend({pid}, 10000)"));
    assert_eq!(done.unwrap(), "t");
}

/// Waits until that server process runs something.
fn wait_until_active(pid: &str) {
    let sql =
        format!("select count(*) from pg_stat_activity where pid = {pid} and state = 'active'");
    eventually("the query runs", LIMIT, || shared().sql("postgres", &sql).unwrap() == "1");
}

#[test]
fn server_killed_in_the_midst_of_a_query_is_told_in_its_own_words() {
    let pooler = pooler("default_pool_size = 2");
    let bystander = Bystander::start(pooler.port(), &USER);
    for (query, expected) in [
        ("Q select pg_sleep(60)", "T FATAL[57P01] end"),
        ("P - select pg_sleep(60) / B - / E / S", "1 2 FATAL[57P01] end"),
    ] {
        let mut client = Client::login(pooler.port());
        client.talk("Q begin", "C[BEGIN] ZT");
        let pid = client.value(PID);
        client.say(query);
        wait_until_active(&pid);
        let started = Instant::now();
        terminate(&pid);
        client.hears(expected);
        assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    }
    bystander.finish();
}

#[test]
fn server_killed_in_an_open_transaction_is_told_in_its_own_words() {
    let pooler = pooler("default_pool_size = 2");
    let mut client = Client::login(pooler.port());
    client.talk("Q begin", "C[BEGIN] ZT");
    let pid = client.value(PID);
    let started = Instant::now();
    terminate(&pid);
    client.hears("FATAL[57P01] end");
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
}

#[test]
fn server_process_that_is_shot_closes_its_client_with_08006() {
    let cluster = Cluster::builder().start().unwrap();
    let server = cluster.primary();
    let pooler = pooler_for(server, "server_login_retry = 0.1");
    let mut client = Client::login(pooler.port());
    client.talk("Q begin", "C[BEGIN] ZT");
    let pid = client.value(PID);
    let started = Instant::now();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    client.hears("FATAL[08006] end");
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    // The whole server recovers from that: it is used as soon as it lets anybody in.
    eventually("the server is used again", LIMIT, || {
        let Ok(mut next) = Client::try_login(pooler.port(), &USER) else { return false };
        next.say("Q select 1");
        next.hears_up_to("ZI") == "T D[1] C[SELECT 1] ZI"
    });
}

#[test]
fn server_killed_while_idle_is_not_noticed() {
    for workers in [1, 2] {
        let pooler = pooler(&format!("workers = {workers}; default_pool_size = 1"));
        // On as many loops as there are, so that the server comes to some of them from another.
        let mut clients: Vec<_> = (0..4).map(|_| Client::login(pooler.port())).collect();
        for round in 0..4 {
            for index in 0..clients.len() {
                let pid = clients[(index + round) % 4].value(PID);
                terminate(&pid);
                let after = clients[index].value(PID);
                assert_ne!(pid, after, "{workers} workers, round {round}, client {index}");
            }
        }
    }
}

#[test]
fn restart_is_not_noticed_by_idle_clients() {
    let cluster = Cluster::builder().start().unwrap();
    let server = cluster.primary();
    let pooler = pooler_for(server, "server_login_retry = 0.1");
    let mut clients: Vec<_> = (0..4).map(|_| Client::login(pooler.port())).collect();
    for client in &mut clients {
        client.talk("P a select $1::text / S", "1 ZI");
        client.talk("B a x / E / S", "2 D[x] C[SELECT 1] ZI");
    }
    server.restart().unwrap();
    for client in &mut clients {
        client.talk("B a x / E / S", "2 D[x] C[SELECT 1] ZI");
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    }
}

#[test]
fn client_gone_in_a_transaction_is_rolled_back_and_its_server_kept() {
    let pooler = pooler("default_pool_size = 1");
    shared().sql("shop", "create table gone (n int); grant all on gone to app").unwrap();
    let mut next = Client::login(pooler.port());
    let pid = next.value(PID);
    for (how, statement) in [
        ("reset", "Q insert into gone values (1)"),
        ("closed", "Q insert into gone values (2)"),
        ("failed", "Q select 1/0"),
        ("goodbye", "Q insert into gone values (3)"),
    ] {
        let mut client = Client::login(pooler.port());
        client.talk("Q begin", "C[BEGIN] ZT");
        client.say(statement);
        while client.hear().tag != b'Z' {}
        match how {
            "reset" => client.reset(),
            "goodbye" => client.say("X"),
            _ => drop(client),
        }
        let started = Instant::now();
        assert_eq!(next.value(PID), pid, "{how}");
        assert!(started.elapsed() < Duration::from_secs(1), "{how}: {:?}", started.elapsed());
        assert_eq!(next.value("select count(*) from gone"), "0", "{how}");
    }
}

#[test]
fn client_gone_in_the_midst_of_a_request_frees_its_server() {
    let pooler = pooler("default_pool_size = 1");
    shared().sql("shop", "create table halves (n int); grant all on halves to app").unwrap();
    let mut next = Client::login(pooler.port());
    let insert = messages("Q insert into halves values (1)");
    let requests: [(&str, Vec<u8>); 6] = [
        ("running", messages("Q select pg_sleep(60)")),
        ("in a row of requests", messages("Q begin / Q select pg_sleep(60) / Q select 1")),
        ("without Sync", messages("P - insert into halves values (1) / B - / E / H")),
        ("in COPY", messages("Q copy halves from stdin / d 1")),
        ("in a message", insert[..20].to_vec()),
        ("in a long message", [&b"Q\0\x10\0\0"[..], &[b' '; 400_000]].concat()),
    ];
    for (what, bytes) in requests {
        let mut client = Client::login(pooler.port());
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
        client.send(&bytes);
        if what != "in a message" && what != "in a long message" {
            // Attached, and the server has it.
            if what != "running" {
                client.hear();
            }
        }
        client.reset();
        let started = Instant::now();
        assert_eq!(next.value("select count(*) from halves"), "0", "{what}");
        assert!(started.elapsed() < SLACK, "{what}: {:?}", started.elapsed());
    }
}

#[test]
fn query_that_a_gone_client_left_is_cancelled() {
    let pooler = pooler("default_pool_size = 1");
    let mut client = Client::login(pooler.port());
    let pid = client.value(PID);
    client.say("Q select pg_sleep(60)");
    wait_until_active(&pid);
    client.reset();
    let sql =
        format!("select count(*) from pg_stat_activity where pid = {pid} and state = 'active'");
    eventually("it is cancelled", Duration::from_secs(5), || {
        shared().sql("postgres", &sql).unwrap() == "0"
    });
}
