//! What clients that are logged in send and should not: the process lives, does not grow, and
//! others notice nothing.

use crate::bystander::Bystander;
use crate::setup::{memory_kib, pooler, shared};
use crate::support::{APP_DATABASE, LIMIT, eventually};
use crate::wire::{Client, USER, message, messages};

/// One well-formed message of every type that clients send.
fn every_type() -> Vec<Vec<u8>> {
    let scripts = [
        "Q select 1",
        "P a select $1::text",
        "B a x",
        "D a",
        "p",
        "E",
        "C a",
        "S",
        "H",
        "X",
        "c",
        "d 1",
        "f no",
    ];
    let mut all: Vec<_> = scripts.iter().map(|script| messages(script)).collect();
    // FunctionCall of int4pl.
    all.push(message(b'F', b"\0\0\0\xb1\0\0\0\x02\0\0\0\x011\0\0\0\x012\0\0"));
    all.push(message(b'p', b"s3cret\0"));
    all
}

#[test]
fn messages_cut_anywhere_are_dropped_with_their_client() {
    let mut pooler = pooler("default_pool_size = 3");
    let bystander = Bystander::start(pooler.port(), &USER);
    for bytes in every_type() {
        for cut in 0..bytes.len() {
            let mut client = Client::login(pooler.port());
            client.send(&bytes[..cut]);
            client.shut();
            assert_eq!(client.rest(), "", "type {} cut at {cut}", char::from(bytes[0]));
        }
        assert!(pooler.is_running());
    }
    bystander.finish();
}

#[test]
fn bodies_cut_anywhere_are_errors_at_most() {
    let mut pooler = pooler("default_pool_size = 3");
    let bystander = Bystander::start(pooler.port(), &USER);
    let mut next = Client::login(pooler.port());
    for bytes in every_type() {
        for cut in 5..bytes.len() {
            let mut client = Client::login(pooler.port());
            client.send(&message(bytes[0], &bytes[5..cut]));
            client.say("S / Q select 7");
            let heard = client.hears_up_to("D[7]");
            let what = format!("type {} cut at {cut}: {heard}", char::from(bytes[0]));
            assert!(heard.contains("FATAL[") || heard.ends_with("D[7]"), "{what}");
            next.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
        }
        assert!(pooler.is_running());
    }
    bystander.finish();
}

#[test]
fn unknown_types_and_impossible_lengths_end_the_session() {
    let mut pooler = pooler("max_packet_size = 65536");
    let bystander = Bystander::start(pooler.port(), &USER);
    let known: Vec<u8> =
        every_type().iter().map(|bytes| bytes[0]).filter(|tag| *tag != b'p').collect();
    for tag in (0..=255_u8).filter(|tag| !known.contains(tag)) {
        let mut client = Client::login(pooler.port());
        client.send(&message(tag, b"\0"));
        client.say("Q select 1");
        assert_eq!(client.rest(), "FATAL[08P01]", "type {tag}");
    }
    for tag in known {
        for length in [0_u32, 1, 2, 3, 65_537, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
            let mut client = Client::login(pooler.port());
            client.send(&[&[tag][..], &length.to_be_bytes()].concat());
            assert_eq!(client.rest(), "FATAL[08P01]", "type {}, length {length}", char::from(tag));
        }
        // The same while a server is attached.
        let mut client = Client::login(pooler.port());
        client.talk("Q begin", "C[BEGIN] ZT");
        client.send(&[&[tag][..], &[0, 0, 0, 3]].concat());
        assert_eq!(client.rest(), "FATAL[08P01]", "type {}", char::from(tag));
    }
    assert!(pooler.is_running());
    bystander.finish();
}

#[test]
fn messages_out_of_order_are_errors_at_most() {
    let mut pooler = pooler("default_pool_size = 2");
    let bystander = Bystander::start(pooler.port(), &USER);
    let mut next = Client::login(pooler.port());
    for (script, expected) in [
        ("E / S", "E[34000] ZI"),
        ("B - / E / S", "E[26000] ZI"),
        ("p / S", "E[34000] ZI"),
        ("c / c / S", "ZI"),
        ("f x / d y / S", "ZI"),
        ("S / S / H / S", "ZI ZI ZI"),
        ("P a select 1 / Q select 2", "1 T D[2] C[SELECT 1] ZI"),
        ("B nope / Q select 2 / S", "E[26000] ZI"),
        ("P - select 1 / B - / c / E / S", "1 2 D[1] C[SELECT 1] ZI"),
    ] {
        let mut client = Client::login(pooler.port());
        client.talk(script, expected);
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    }
    // What is no part of a COPY inside of one: the server ends it.
    for script in ["Q select 1", "P a select 1", "B a", "E", "D a", "C a"] {
        let mut client = Client::login(pooler.port());
        client.talk("Q create temp table rows (n int); copy rows from stdin", "C[CREATE TABLE] G");
        client.say(script);
        client.shut();
        let heard = client.rest();
        assert!(heard.contains("[08P01]"), "{script} in COPY: {heard}");
        next.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    }
    assert!(pooler.is_running());
    bystander.finish();
}

#[test]
fn memory_does_not_grow_with_bad_clients() {
    let pooler = pooler("default_pool_size = 3; max_packet_size = 1048576");
    let bystander = Bystander::start(pooler.port(), &USER);
    let requests: Vec<Vec<u8>> = vec![
        message(b'~', b""),
        b"Q\0\0\0\x03".to_vec(),
        [&b"Q\0\x0f\0\0"[..], &[b' '; 100_000]].concat(),
        messages(&format!("P big select '{}' / S", "x".repeat(50_000))),
        messages("P a selct / S / B nope / S / E / S / D nope / S"),
        messages("Q begin / Q select 1/0"),
        messages("P - select 1 / B - / E / H"),
        messages("Q select repeat('x', 300000)"),
    ];
    let round = || {
        for request in &requests {
            let mut client = Client::login(pooler.port());
            client.send(request);
            client.reset();
        }
    };
    (0..60).for_each(|_| round());
    let before = memory_kib(pooler.pid());
    (0..250).for_each(|_| round());
    let after = memory_kib(pooler.pid());
    assert!(after < before + 8192, "{before} KiB, then {after} KiB");
    bystander.finish();
}

#[test]
fn client_gone_in_the_midst_of_many_requests_leaves_none_running() {
    let pooler = pooler("default_pool_size = 2");
    let running = "select count(*) from pg_stat_activity
                   where usename = 'app' and query like '%gone for long%' and state = 'active'";
    let half = &messages("Q select 'cut'")[..9];
    for rest in [&b""[..], half, &messages("P - select 1 / B - / E")] {
        let mut client = Client::login(pooler.port());
        client.send(&messages("Q select pg_sleep(300) /* gone for long */").repeat(3));
        client.send(rest);
        eventually("it runs", LIMIT, || shared().sql(APP_DATABASE, running).unwrap() == "1");
        client.reset();
        // A cancel hits one of them.
        eventually("none runs", LIMIT, || shared().sql(APP_DATABASE, running).unwrap() == "0");
    }
}

#[test]
fn goodbye_without_a_sync_holds_up_nobody() {
    let pooler = pooler("default_pool_size = 1");
    for script in ["P - select 1 / B - / E / X", "P - select 1 / X", "Q select 1 / B nope / X"] {
        let mut client = Client::login(pooler.port());
        client.talk("Q begin", "C[BEGIN] ZT");
        client.say(script);
        Client::login(pooler.port()).talk("Q select 2", "T D[2] C[SELECT 1] ZI");
    }
}

#[test]
fn half_a_long_statement_holds_up_nobody() {
    // Longer than what is collected without a server, and short enough to be kept.
    for pooling in ["transaction", "statement"] {
        let pooler =
            pooler(&format!("workers = 1; pool_mode = \"{pooling}\"; default_pool_size = 1"));
        let mut client = Client::login(pooler.port());
        let statement = messages(&format!("Q select 1 /* {} */", "x".repeat(500_000)));
        client.send(&statement[..100_000]);
        let mut other = Client::login(pooler.port());
        for _ in 0..10 {
            other.talk("Q select 2", "T D[2] C[SELECT 1] ZI");
        }
        client.send(&statement[100_000..300_000]);
        other.talk("Q select 2", "T D[2] C[SELECT 1] ZI");
        client.send(&statement[300_000..]);
        client.hears("T D[1] C[SELECT 1] ZI");
        client.talk("Q select 3", "T D[3] C[SELECT 1] ZI");
    }
}
