//! What strangers send: none of it harms the process, grows it, or is noticed by others.

use std::time::{Duration, Instant};

use crate::bystander::Bystander;
use crate::setup::{memory_kib, pooler};
use crate::support::{LIMIT, PASSWORD, Pooler, eventually};
use crate::wire::{Client, USER, message, startup, untagged};

const V3: u32 = 196_608;

/// Sends these bytes and nothing more, and hears to the end.
#[track_caller]
fn answer_to(pooler: &Pooler, bytes: &[u8]) -> String {
    let mut client = Client::connect(pooler.port());
    client.send(bytes);
    client.shut();
    client.rest()
}

fn startup_body(body: &[u8]) -> Vec<u8> {
    untagged(&[&V3.to_be_bytes(), body].concat())
}

#[test]
fn first_packets_that_are_none_are_refused() {
    let pooler = pooler("");
    let bystander = Bystander::start(pooler.port(), &USER);
    let long = |count: usize| "n".repeat(count);
    let named = |user: &str, database: &str| startup(V3, &[("user", user), ("database", database)]);
    let malformed = "FATAL[08P01]";
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), ""),
        ("no length", vec![0, 0], ""),
        ("length 0", vec![0; 4], malformed),
        ("length 3", vec![0, 0, 0, 3], malformed),
        ("length 4", vec![0, 0, 0, 4], malformed),
        ("length 7", vec![0, 0, 0, 7, 0, 3, 0], malformed),
        ("length 10001", [&10_001_u32.to_be_bytes()[..], &[0; 9_997]].concat(), malformed),
        ("length 2^31", vec![0x80, 0, 0, 0, 0, 3, 0, 0], malformed),
        ("length -1", vec![0xff; 8], malformed),
        ("a browser", b"GET / HTTP/1.1\r\n\r\n".to_vec(), malformed),
        ("TLS at once", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), malformed),
        ("an end missing", startup_body(b"user\0app"), malformed),
        ("a value missing", startup_body(b"user\0"), malformed),
        ("nothing inside", startup_body(b""), malformed),
        ("more behind the end", startup_body(b"user\0app\0\0x"), malformed),
        ("no user", startup(V3, &[("database", "shop")]), "FATAL[28000]"),
        ("no name at all", startup(V3, &[]), "FATAL[28000]"),
        ("an empty user", startup(V3, &[("user", ""), ("database", "shop")]), "FATAL[28000]"),
        ("63 bytes of user", named(&long(63), "shop"), "FATAL[28P01]"),
        ("64 bytes of user", named(&long(64), "shop"), "FATAL[28P01]"),
        ("65 bytes of user", named(&long(65), "shop"), "FATAL[28P01]"),
        ("9960 bytes of user", named(&long(9_960), "shop"), "FATAL[28P01]"),
        ("63 bytes of database", named("app", &long(63)), "FATAL[3D000]"),
        ("65 bytes of database", named("app", &long(65)), "FATAL[3D000]"),
        ("9960 bytes of database", named("app", &long(9_960)), "FATAL[3D000]"),
        ("a password first", message(b'p', b"s3cret\0"), malformed),
        ("a query first", message(b'Q', b"select 1\0"), malformed),
        ("a goodbye first", message(b'X', b""), ""),
        ("a cancel without a key", untagged(&80_877_102_u32.to_be_bytes()), malformed),
        (
            "bytes in an SSLRequest",
            untagged(&[&80_877_103_u32.to_be_bytes()[..], b"x"].concat()),
            malformed,
        ),
    ];
    for (what, bytes, expected) in &cases {
        let heard = answer_to(&pooler, bytes);
        assert!(
            heard == *expected || (expected.is_empty() && heard == malformed),
            "{what}: {heard:?} instead of {expected:?}"
        );
    }
    for (what, bytes, _) in &cases {
        for cut in 0..bytes.len().min(64) {
            let heard = answer_to(&pooler, &bytes[..cut]);
            assert!(heard.is_empty() || heard == malformed, "{what} cut at {cut}: {heard}");
        }
    }
    bystander.finish();
}

#[test]
fn bytes_behind_a_request_for_encryption_end_the_connection() {
    let pooler = pooler("");
    for code in [80_877_103_u32, 80_877_104] {
        let request = untagged(&code.to_be_bytes());
        for stuffed in [startup(V3, &USER), vec![0], message(b'Q', b"select 1\0"), request.clone()]
        {
            let mut client = Client::connect(pooler.port());
            client.send(&[&request[..], &stuffed].concat());
            assert_eq!(client.hear_byte(), None, "{stuffed:?}");
        }
    }
}

#[test]
fn right_password_in_another_message_is_none() {
    let pooler = pooler("auth_type = \"plain\"");
    let password = [PASSWORD.as_bytes(), b"\0"].concat();
    for tag in 0..=255_u8 {
        let mut client = Client::connect(pooler.port());
        client.send(&[startup(V3, &USER), message(tag, &password)].concat());
        client.hears("R3");
        let heard = client.hear().text();
        assert_eq!(heard, if tag == b'p' { "R0" } else { "FATAL[08P01]" }, "type {tag}");
    }
}

#[test]
fn other_messages_than_the_password_are_refused_at_login() {
    let pooler = pooler("auth_type = \"scram-sha-256\"");
    for tag in 0..=255_u8 {
        let mut client = Client::connect(pooler.port());
        client.send(&startup(V3, &USER));
        client.hears("R10");
        client.send(&message(tag, b"\0\0\0\0\0"));
        client.shut();
        assert_eq!(client.rest(), "FATAL[08P01]", "type {tag}");
    }
    for length in [0_u32, 1, 2, 3, 65_537, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        let mut client = Client::connect(pooler.port());
        client.send(&startup(V3, &USER));
        client.hears("R10");
        client.send(&[&b"p"[..], &length.to_be_bytes()].concat());
        client.shut();
        assert_eq!(client.rest(), "FATAL[08P01]", "length {length}");
    }
}

/// The first message of a SASL exchange, with the length that it claims for what is inside.
fn initial(mechanism: &[u8], length: u32, inside: &[u8]) -> Vec<u8> {
    message(b'p', &[mechanism, b"\0", &length.to_be_bytes(), inside].concat())
}

fn honest(inside: &[u8]) -> Vec<u8> {
    initial(b"SCRAM-SHA-256", u32::try_from(inside.len()).unwrap(), inside)
}

#[test]
fn malformed_sasl_is_refused() {
    let pooler = pooler("auth_type = \"scram-sha-256\"");
    let fine = b"n,,n=,r=abcdefghijklmnopqrstuvwx";
    let scram = b"SCRAM-SHA-256";
    let firsts: Vec<Vec<u8>> = vec![
        message(b'p', b""),
        message(b'p', b"SCRAM-SHA-256"),
        message(b'p', b"SCRAM-SHA-256\0"),
        message(b'p', b"SCRAM-SHA-256\0\0\0\0"),
        initial(scram, 0, b""),
        initial(scram, 0xffff_ffff, b""),
        initial(scram, 0xffff_ffff, fine),
        initial(scram, 0x8000_0000, fine),
        initial(scram, 0x7fff_ffff, fine),
        initial(scram, 31, fine),
        initial(scram, 33, fine),
        initial(scram, 0, fine),
        initial(b"SCRAM-SHA-256-PLUS", 32, fine),
        initial(b"PLAIN", 32, fine),
        initial(b"", 32, fine),
        honest(b""),
        honest(b","),
        honest(b"n,,"),
        honest(b"x,,n=,r=abc"),
        honest(b"p=tls-server-end-point,,n=,r=abc"),
        honest(b"n,a=other,n=,r=abc"),
        honest(b"n,,m=x,n=,r=abc"),
        honest(b"n,,n=x"),
        honest(b"n,,n=,r="),
        honest(b"n,,n=,r=a\0b"),
        honest(b"n,,n=,r=a\x80b"),
        honest(&[&b"n,,n=,r="[..], &[b'x'; 60_000]].concat()),
        honest(&[b','; 60_000]),
        honest(&[0xff; 1000]),
    ];
    for first in &firsts {
        let mut client = Client::connect(pooler.port());
        client.send(&startup(V3, &USER));
        client.hears("R10");
        client.send(first);
        client.shut();
        assert_eq!(client.rest(), "FATAL[08P01]", "{first:?}");
    }
    let proof = "A".repeat(43) + "=";
    type Answer<'a> = &'a dyn Fn(&str) -> String;
    let seconds: &[(Answer<'_>, &str)] = &[
        (&|_| String::new(), "FATAL[08P01]"),
        (&|_| "c=biws".into(), "FATAL[08P01]"),
        (&|nonce| format!("c=biws,r={nonce}"), "FATAL[08P01]"),
        (&|nonce| format!("c=biws,r={nonce},p="), "FATAL[08P01]"),
        (&|nonce| format!("c=biws,r={nonce},p=!"), "FATAL[08P01]"),
        (&|nonce| format!("c=biws,r={nonce},p=AAAA"), "FATAL[08P01]"),
        (&|_| format!("c=biws,r=other,p={proof}"), "FATAL[08P01]"),
        (&|nonce| format!("c=eSws,r={nonce},p={proof}"), "FATAL[08P01]"),
        (&|nonce| format!("c=biws,r={nonce},p={proof},x=y"), "FATAL[08P01]"),
        (&|nonce| format!("c=biws,r={nonce},p={proof}"), "FATAL[28P01]"),
        (&|nonce| format!("c=biws,r={nonce}{},p={proof}", "x".repeat(50_000)), "FATAL[08P01]"),
    ];
    for (second, expected) in seconds {
        let mut client = Client::connect(pooler.port());
        client.send(&startup(V3, &USER));
        client.hears("R10");
        client.send(&honest(fine));
        let challenge = client.hear();
        assert_eq!(challenge.text(), "R11");
        let text = String::from_utf8(challenge.body[4..].to_vec()).unwrap();
        let nonce = text.split(',').next().unwrap().strip_prefix("r=").unwrap();
        let second = second(nonce);
        client.send(&message(b'p', second.as_bytes()));
        client.shut();
        let shown = &second[..second.len().min(100)];
        assert_eq!(client.rest(), *expected, "{shown}");
    }
}

#[test]
fn strangers_give_way_and_end_in_time_and_others_do_not_notice() {
    let pooler = pooler("max_unauthenticated_clients = 5; client_login_timeout = 0.7");
    let bystander = Bystander::start(pooler.port(), &USER);
    let started = Instant::now();
    let mut strangers: Vec<_> = (0..5).map(|_| Client::connect(pooler.port())).collect();
    // One of them says something, but not enough.
    strangers[0].send(&startup(V3, &USER)[..6]);
    // More come than there is room for; who came first gives way, and who means it gets in.
    strangers.extend((0..3).map(|_| Client::connect(pooler.port())));
    for stranger in &mut strangers[..3] {
        assert_eq!(stranger.hear_byte(), None);
    }
    Client::login(pooler.port()).talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    for stranger in &mut strangers[3..] {
        assert_eq!(stranger.hear_byte(), None);
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(4), "{took:?}");
    eventually("there is room for those who log in", LIMIT, || {
        let mut client = Client::connect(pooler.port());
        client.send(&startup(V3, &USER));
        client.next_within(LIMIT).is_some_and(|message| message.tag == b'R')
    });
    bystander.finish();
}

#[test]
fn oldest_stranger_gives_way_at_once() {
    // Long: nobody here goes because his time is up.
    let pooler = pooler("max_unauthenticated_clients = 5; client_login_timeout = 600");
    let mut strangers: Vec<_> = (0..8)
        .map(|_| {
            let mut stranger = Client::connect(pooler.port());
            // It is known before the next one comes, whichever loop takes that.
            stranger.send(&untagged(&80_877_103_u32.to_be_bytes()));
            assert_eq!(stranger.hear_byte(), Some(b'N'));
            stranger
        })
        .collect();
    for stranger in &mut strangers[..3] {
        assert_eq!(stranger.hear_byte(), None);
    }
    for stranger in &mut strangers[3..] {
        stranger.send(&startup(V3, &[USER[0], ("database", "nowhere")]));
        assert_eq!(stranger.hear().text(), "FATAL[3D000]");
    }
}

#[test]
fn memory_does_not_grow_with_bad_logins() {
    let pooler = pooler("client_login_timeout = 1");
    let bystander = Bystander::start(pooler.port(), &USER);
    let requests: [Vec<u8>; 6] = [
        vec![0xff; 8],
        startup(V3, &[("user", &"x".repeat(9_900))]),
        startup(V3, &[("user", "app"), ("database", &"x".repeat(9_900))]),
        startup(V3, &USER)[..20].to_vec(),
        [untagged(&80_877_103_u32.to_be_bytes()), vec![0; 9_000]].concat(),
        startup(V3, &[USER[0], USER[1], ("statement_timeout", "abc")]),
    ];
    let round = || {
        for request in &requests {
            answer_to(&pooler, request);
        }
    };
    (0..100).for_each(|_| round());
    let before = memory_kib(pooler.pid());
    (0..340).for_each(|_| round());
    let after = memory_kib(pooler.pid());
    assert!(after < before + 4096, "{before} KiB, then {after} KiB");
    bystander.finish();
}
