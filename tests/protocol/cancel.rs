//! Cancel requests: they hit the request that they are meant for, at once, and nothing else.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::fake::{Fake, answer, error};
use crate::setup::{file, pooler, shared};
use crate::support::{LIMIT, Pooler, eventually};
use crate::wire::{Client, USER, cancel, cancel_packet, message, untagged};

const SLACK: Duration = Duration::from_secs(2);

/// Waits until the only server of a pool runs something with this mark in it.
fn wait_until_runs(mark: &str) {
    let sql = format!(
        "select count(*) from pg_stat_activity \
         where state = 'active' and query like '%{mark}%' and query not like '%pg_stat%'"
    );
    eventually(mark, LIMIT, || shared().sql("postgres", &sql).unwrap() == "1");
}

#[test]
fn running_query_is_cancelled_and_its_connection_goes_on() {
    let pooler = pooler("default_pool_size = 1");
    let mut client = Client::login(pooler.port());
    for round in 0..5 {
        client.say(&format!("Q select pg_sleep(60) /* running {round} */"));
        wait_until_runs(&format!("running {round}"));
        let started = Instant::now();
        cancel(pooler.port(), &client.cancel_packet());
        client.hears("T E[57014] ZI");
        assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    }
}

#[test]
fn cancel_of_an_idle_client_hits_nobody() {
    let pooler = pooler("default_pool_size = 1");
    let mut busy = Client::login(pooler.port());
    let idle = Client::login(pooler.port());
    for _ in 0..20 {
        busy.say("Q select 42 from pg_sleep(0.02)");
        cancel(pooler.port(), &idle.cancel_packet());
        busy.hears("T D[42] C[SELECT 1] ZI");
    }
}

#[test]
fn cancels_just_behind_the_end_of_a_request_hit_nobody_else() {
    let pooler = pooler("default_pool_size = 1");
    let port = pooler.port();
    let mut hasty = Client::login(port);
    let packet = hasty.cancel_packet();
    let mut other = Client::login(port);
    let work = thread::spawn(move || {
        for _ in 0..200 {
            other.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
        }
    });
    for _ in 0..100 {
        hasty.say("Q select 1");
        cancel(port, &packet);
        while hasty.hear().tag != b'Z' {}
    }
    work.join().unwrap();
}

#[test]
fn queued_request_is_cancelled_at_once_and_its_connection_goes_on() {
    let pooler = pooler("default_pool_size = 1");
    let mut holder = Client::login(pooler.port());
    let mut waiter = Client::login(pooler.port());
    let mut second = Client::login(pooler.port());
    holder.talk("Q begin", "C[BEGIN] ZT");
    for script in ["Q select 1", "P - select 1 / B - / E / S"] {
        waiter.say(script);
        second.say("Q select 2");
        let started = Instant::now();
        cancel_until_heard(&pooler, &mut waiter, "E[57014] ZI");
        assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
        holder.talk("Q commit", "C[COMMIT] ZI");
        second.hears("T D[2] C[SELECT 1] ZI");
        waiter.talk("Q select 3", "T D[3] C[SELECT 1] ZI");
        holder.talk("Q begin", "C[BEGIN] ZT");
    }
}

/// A cancel that comes before the request is no cancel of it: sent again until it is heard.
fn cancel_until_heard(pooler: &Pooler, client: &mut Client, expected: &str) {
    eventually("the cancel is heard", LIMIT, || {
        cancel(pooler.port(), &client.cancel_packet());
        client.has_something(Duration::from_millis(50))
    });
    client.hears(expected);
}

#[test]
fn wrong_keys_do_nothing() {
    let pooler = pooler("default_pool_size = 1");
    let mut client = Client::login(pooler.port());
    let key = client.key.clone();
    client.say("Q select 42 from pg_sleep(1) /* wrong keys */");
    wait_until_runs("wrong keys");
    let changed = |index: usize| {
        let mut key = key.clone();
        key[index] ^= 1;
        key
    };
    let longer = |count: usize| [&key[..], &vec![0; count]].concat();
    for wrong in [
        changed(0),
        changed(3),
        changed(4),
        changed(7),
        key[..7].to_vec(),
        key[..4].to_vec(),
        key[..1].to_vec(),
        Vec::new(),
        longer(1),
        longer(28),
        longer(252),
        longer(253),
        longer(9_000),
    ] {
        let mut connection = Client::connect(pooler.port());
        connection.send(&cancel_packet(&wrong));
        let heard = connection.rest();
        assert!(heard.is_empty() || heard == "FATAL[08P01]", "{heard}");
    }
    client.hears("T D[42] C[SELECT 1] ZI");
    let again = untagged(&[&80_877_102_u32.to_be_bytes()[..], &key].concat());
    assert_eq!(again, client.cancel_packet());
}

#[test]
fn settings_that_a_late_cancel_kept_from_being_set_again_are_set_before_the_next_query() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let fake = Fake::start(move |_, _, server| {
        server.let_in();
        let mut refused = false;
        while let Some((tag, body)) = server.hear() {
            if tag != b'Q' {
                continue;
            }
            let text = String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned();
            let discarded = log.lock().unwrap().iter().any(|text| text == "discard all");
            let restores = discarded && text.contains("search_path");
            log.lock().unwrap().push(text.clone());
            if text == "discard all" {
                server.send(&[message(b'C', b"DISCARD ALL\0"), message(b'Z', b"I")].concat());
            } else if restores && !refused {
                refused = true;
                let cancelled = error("SERROR|VERROR|C57014|Mcanceling statement|");
                server.send(&[cancelled, message(b'Z', b"I")].concat());
            } else {
                server.send(&answer());
            }
        }
    });
    let pooler = Pooler::start(&file(fake.port(), "default_pool_size = 1", ""));
    let own = [USER[0], USER[1], ("search_path", "mine")];
    let mut client = Client::login_as(pooler.port(), &own);
    client.say("Q select 5 / Q discard all / Q select 1");
    let row = "T D[42] C[SELECT 1] ZI";
    client.hears(&format!("{row} C[DISCARD ALL] ZI {row}"));
    let heard = heard.lock().unwrap();
    let at = |what: &str| heard.iter().position(|text| text == what).unwrap();
    let between = &heard[at("discard all") + 1..at("select 1")];
    let restored = between.iter().filter(|text| text.contains("search_path")).count();
    assert_eq!(restored, 2, "{heard:?}");
}
