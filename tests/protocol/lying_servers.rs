//! Servers that break the protocol: their client gets a clear error, the next one a healthy
//! server, and nobody else notices.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::bystander::Bystander;
use crate::fake::{Conversation, Fake, answer, error, greeting};
use crate::setup::{file, memory_kib};
use crate::support::{LIMIT, Pooler, eventually};
use crate::wire::{Client, message};

/// From the lie to the client's knowing of it.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// A lie in the place of the first answer, and what the client hears of it.
type Lie = (&'static str, fn() -> Vec<u8>, &'static str);

const LIES: &[Lie] = &[
    ("unknown_type", || message(b'~', b"x"), "FATAL[08006] end"),
    ("frontend_type", || message(b'Q', b"select 1\0"), "FATAL[08006] end"),
    ("parse_complete", || message(b'1', b""), "FATAL[08006] end"),
    ("authentication", || message(b'R', &[0, 0, 0, 3]), "FATAL[08006] end"),
    ("length_0", || b"T\0\0\0\0".to_vec(), "FATAL[08006] end"),
    ("length_3", || b"T\0\0\0\x03".to_vec(), "FATAL[08006] end"),
    ("length_negative", || b"D\xff\xff\xff\xff".to_vec(), "FATAL[08006] end"),
    ("length_2_31", || b"D\x80\0\0\0".to_vec(), "FATAL[08006] end"),
    ("status_unknown", || message(b'Z', b"X"), "FATAL[08006] end"),
    ("status_missing", || message(b'Z', b""), "FATAL[08006] end"),
    ("status_long", || message(b'Z', b"II"), "FATAL[08006] end"),
    ("parameter_garbage", || message(b'S', b"x"), "FATAL[08006] end"),
    ("parameter_unterminated", || message(b'S', b"x\0y"), "FATAL[08006] end"),
    ("parameter_huge", || message(b'S', &[b'x'; 100_000]), "FATAL[08006] end"),
    (
        "twice_ready",
        || [answer(), message(b'Z', b"I")].concat(),
        "T D[42] C[SELECT 1] ZI FATAL[08006] end",
    ),
    (
        "row_after_ready",
        || [answer(), message(b'D', b"\0\0")].concat(),
        "T D[42] C[SELECT 1] ZI FATAL[08006] end",
    ),
    // What is no lie to the pooler is passed on as it is.
    ("error_without_sqlstate", || [error("VERROR|Mwhat|"), message(b'Z', b"I")].concat(), "E[] ZI"),
    (
        "error_truncated",
        || [message(b'E', b"VERROR\0C22"), message(b'Z', b"I")].concat(),
        "E[22] ZI",
    ),
    ("error_empty", || [message(b'E', b""), message(b'Z', b"I")].concat(), "?[] ZI"),
];

fn tables(port: u16, names: impl Iterator<Item = &'static str>) -> String {
    let mut tables = String::new();
    for name in names {
        write!(tables, "[databases.{name}]\nhost = \"127.0.0.1\"\nport = {port}\n").unwrap();
    }
    tables
}

/// A pooler that has a database of each name on that server, and one that is well.
fn pooler(fake: &Fake, names: impl Iterator<Item = &'static str>) -> Pooler {
    // Longer than a client waits below: what is not noticed is not told in time.
    let settings = "server_login_retry = 0.05; server_connect_timeout = 20";
    Pooler::start(&file(fake.port(), settings, &tables(fake.port(), names)))
}

#[test]
fn server_that_lies_in_an_answer_is_dropped_and_its_client_told() {
    let fake = Fake::start(|database, before, server| {
        let lie = LIES.iter().find(|(name, ..)| *name == database);
        server.let_in();
        match lie {
            Some((_, lie, _)) if before == 0 => {
                if server.hear().is_some() {
                    server.send(&lie());
                }
                server.behave();
            }
            _ => server.behave(),
        }
    });
    let mut pooler = pooler(&fake, LIES.iter().map(|(name, ..)| *name));
    let bystander = Bystander::start(pooler.port(), &[("user", "app"), ("database", "shop")]);
    for (name, _, expected) in LIES {
        let as_user = [("user", "app"), ("database", *name)];
        let mut client = Client::login_as(pooler.port(), &as_user);
        client.say("Q select 42");
        client.hears_within(expected, TOLD_WITHIN, name);
        if !expected.ends_with("end") {
            client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
            continue;
        }
        let mut next = Client::login_as(pooler.port(), &as_user);
        next.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
        assert_eq!(fake.connections(name), 2, "{name}");
        assert!(pooler.is_running(), "{name}");
    }
    bystander.finish();
}

#[test]
fn message_that_breaks_off_is_not_completed_by_ours() {
    let fake = Fake::start(|_, before, server| {
        server.let_in();
        if before == 0 && server.hear().is_some() {
            // A row of 500 bytes, of which only the first few come.
            server.send(b"D\0\0\x01\xf4\0\x01\0\0\x01\xea");
            return;
        }
        server.behave();
    });
    let pooler = pooler(&fake, std::iter::empty());
    let mut client = Client::login(pooler.port());
    client.say("Q select 42");
    let mut heard = Vec::new();
    while let Some(byte) = client.hear_byte() {
        heard.push(byte);
    }
    assert_eq!(heard, b"D\0\0\x01\xf4\0\x01\0\0\x01\xea");
    Client::login(pooler.port()).talk("Q select 42", "T D[42] C[SELECT 1] ZI");
}

#[test]
fn row_that_nobody_asked_for_between_requests_reaches_nobody() {
    let (go, gone) = mpsc::channel::<()>();
    let (said, heard) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let fake = Fake::start(move |_, before, server| {
        server.let_in();
        if before > 0 {
            return server.behave();
        }
        server.hear();
        server.send(&answer());
        gone.lock().unwrap().recv().unwrap();
        server.send(&message(b'D', b"\0\x01\0\0\0\x03bad"));
        said.send(()).unwrap();
        server.behave();
    });
    let settings = "workers = 1";
    let pooler = Pooler::start(&file(fake.port(), settings, ""));
    let mut client = Client::login(pooler.port());
    client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
    go.send(()).unwrap();
    heard.recv().unwrap();
    client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
    assert_eq!(fake.connections("shop"), 2);
}

#[test]
fn server_that_never_takes_a_client_s_settings_is_given_up() {
    let fake = Fake::start(|_, before, server| {
        server.let_in();
        while let Some((tag, body)) = server.hear() {
            if before == 0 && body.starts_with(b"SELECT pg_catalog.set_config") {
                return server.wait_for_end();
            }
            if tag == b'Q' {
                server.send(&answer());
            }
        }
    });
    let pooler = Pooler::start(&file(fake.port(), "server_connect_timeout = 0.5", ""));
    let as_user = [("user", "app"), ("database", "shop"), ("work_mem", "1MB")];
    let started = Instant::now();
    let error = Client::try_login(pooler.port(), &as_user).expect_err("no settings");
    assert_eq!(error.text(), "FATAL[08006]");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(500) && took < TOLD_WITHIN, "{took:?}");
    let mut next = Client::login_as(pooler.port(), &as_user);
    next.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
}

/// What a server does instead of a login, and the SQLSTATE that its client is told.
type BadLogin = (&'static str, fn(&mut Conversation), &'static str);

const BAD_LOGINS: &[BadLogin] = &[
    ("l_closes", |_| {}, "08006"),
    ("l_unknown_type", |server| server.send(&message(b'~', b"")), "08006"),
    ("l_length_0", |server| server.send(b"R\0\0\0\0"), "08006"),
    ("l_length_3", |server| server.send(b"R\0\0\0\x03"), "08006"),
    ("l_length_huge", |server| server.send(b"R\x7f\xff\xff\xff"), "08006"),
    ("l_length_negative", |server| server.send(b"E\xff\xff\xff\xff"), "08006"),
    ("l_not_postgres", |server| server.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "08006"),
    ("l_ready_first", |server| server.send(&message(b'Z', b"I")), "08006"),
    ("l_error_bare", |server| server.send(&error("VFATAL|Mno|")), "XX000"),
    ("l_error_null", |server| server.send(&message(b'E', b"\0")), "XX000"),
    ("l_error_empty", |server| server.send(&message(b'E', b"")), "XX000"),
    ("l_error_cut", |server| server.send(&message(b'E', b"SFATAL\0VFATAL\0C28")), "XX000"),
    ("l_error_odd_code", |server| server.send(&error("VFATAL|C28\u{e9}|Mno|")), "XX000"),
    ("l_error_long_code", |server| server.send(&error("VFATAL|C57P011|Mno|")), "XX000"),
    ("l_method_empty", |server| server.send(&message(b'R', b"")), "28000"),
    ("l_method_unknown", |server| server.send(&message(b'R', &[0, 0, 0, 99])), "28000"),
    ("l_method_gss", |server| server.send(&message(b'R', &[0, 0, 0, 7])), "28000"),
    ("l_md5_short", |server| server.send(&message(b'R', &[0, 0, 0, 5, 1])), "28000"),
    ("l_final_first", |server| server.send(&message(b'R', b"\0\0\0\x0cv=AAAA")), "28000"),
    ("l_no_mechanism", |server| server.send(&message(b'R', b"\0\0\0\x0a\0")), "28000"),
    ("l_open_list", |server| server.send(&message(b'R', b"\0\0\0\x0aSCRAM-SHA-256")), "28000"),
    (
        "l_nonce_10_kb",
        |server| scram(server, |nonce| first(nonce, &"x".repeat(10_240), "4096")),
        "28000",
    ),
    (
        "l_salt_10_kb",
        |server| {
            scram(server, |nonce| format!("r={nonce}x,s={},i=4096", "AAAA".repeat(2560)));
        },
        "28000",
    ),
    ("l_nonce_other", |server| scram(server, |_| first("other", "x", "4096")), "28000"),
    ("l_nonce_same", |server| scram(server, |nonce| first(nonce, "", "4096")), "28000"),
    ("l_iterations_0", |server| scram(server, |nonce| first(nonce, "x", "0")), "28000"),
    ("l_iterations_2_31", |server| scram(server, |nonce| first(nonce, "x", "2147483648")), "28000"),
    ("l_iterations_max", |server| scram(server, |nonce| first(nonce, "x", "2147483647")), "28000"),
    ("l_iterations_none", |server| scram(server, |nonce| format!("r={nonce}x,s=AAAA")), "28000"),
    ("l_salt_bad", |server| scram(server, |nonce| format!("r={nonce}x,s=!,i=4096")), "28000"),
    (
        "l_no_proof",
        |server| {
            scram(server, |nonce| first(nonce, "x", "4096"));
            server.hear();
            server.send(&greeting());
        },
        "28000",
    ),
    (
        "l_false_proof",
        |server| {
            scram(server, |nonce| first(nonce, "x", "4096"));
            server.hear();
            server
                .send(&message(b'R', b"\0\0\0\x0cv=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
            server.send(&greeting());
        },
        "28000",
    ),
    // Which the newest protocol has, that we did not ask for.
    ("l_negotiates", |server| server.send(&[negotiation(), greeting()].concat()), "08006"),
    (
        "l_negotiates_twice",
        |server| server.send(&[message(b'R', &[0; 4]), negotiation().repeat(2)].concat()),
        "08006",
    ),
    ("l_twice_in", |server| server.send(&[message(b'R', &[0; 4]), greeting()].concat()), "08006"),
    (
        "l_key_short",
        |server| {
            server.send(
                &[message(b'R', &[0; 4]), message(b'K', &[0; 5]), message(b'Z', b"I")].concat(),
            );
        },
        "08006",
    ),
    (
        "l_parameter_bad",
        |server| {
            server
                .send(&[message(b'R', &[0; 4]), message(b'S', b"x"), message(b'Z', b"I")].concat());
        },
        "08006",
    ),
    (
        "l_in_transaction",
        |server| {
            server.send(&[message(b'R', &[0; 4]), message(b'Z', b"T")].concat());
        },
        "08006",
    ),
    ("l_more_after_ready", |server| server.send(&[greeting(), answer()].concat()), "08006"),
    (
        "l_endless_notices",
        |server| {
            server.send(&message(b'R', &[0; 4]));
            let notices = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhm\0\0").repeat(100);
            for _ in 0..10_000 {
                server.send(&notices);
            }
        },
        "08006",
    ),
];

fn negotiation() -> Vec<u8> {
    message(b'v', &[0, 3, 0, 0, 0, 0, 0, 0])
}

fn first(client_nonce: &str, server_nonce: &str, iterations: &str) -> String {
    format!("r={client_nonce}{server_nonce},s=c2FsdHNhbHRzYWx0,i={iterations}")
}

/// Offers SCRAM and answers the client's first message by what `reply` makes of its nonce.
fn scram(server: &mut Conversation, reply: impl FnOnce(&str) -> String) {
    server.send(&message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"));
    let Some((_, body)) = server.hear() else { return };
    let text = String::from_utf8_lossy(&body).into_owned();
    let nonce = text.rsplit_once("r=").unwrap().1.to_owned();
    server.send(&message(b'R', &[b"\0\0\0\x0b", reply(&nonce).as_bytes()].concat()));
}

#[test]
fn server_that_lies_at_login_is_refused_and_the_next_attempt_succeeds() {
    let fake = Fake::start(|database, before, server| {
        match BAD_LOGINS.iter().find(|(name, ..)| *name == database) {
            Some((name, play, _)) if before == 0 => {
                play(server);
                if *name != "l_closes" {
                    server.wait_for_end();
                }
            }
            _ => {
                server.let_in();
                server.behave();
            }
        }
    });
    let mut pooler = pooler(&fake, BAD_LOGINS.iter().map(|(name, ..)| *name));
    let bystander = Bystander::start(pooler.port(), &[("user", "app"), ("database", "shop")]);
    for (name, _, expected) in BAD_LOGINS {
        let as_user = [("user", "app"), ("database", *name)];
        let mut client = Client::connect(pooler.port());
        client.send(&crate::wire::startup(196_608, &as_user));
        let told = loop {
            let message = client.next_within(TOLD_WITHIN).expect("an error");
            if message.tag != b'R' {
                break message;
            }
        };
        assert_eq!(told.text(), format!("FATAL[{expected}]"), "{name}: {:?}", told.field(b'M'));
        assert_eq!(client.rest(), "", "{name}");
        assert_eq!(fake.connections(name), 1, "{name}");
        eventually("the pause after the failure is over", LIMIT, || {
            Client::try_login(pooler.port(), &as_user).is_ok()
        });
        assert!(pooler.is_running(), "{name}");
    }
    bystander.finish();
}

#[test]
fn server_that_has_us_hash_for_long_holds_nobody_up() {
    let fake = Fake::start(|database, _, server| {
        if database == "slow" {
            // As often as is allowed.
            scram(server, |nonce| first(nonce, "x", "1000000"));
            return drop(server.hear());
        }
        server.let_in();
        server.behave();
    });
    let settings = "workers = 1; server_connect_timeout = 60";
    let tables = tables(fake.port(), ["slow"].into_iter());
    let pooler = Pooler::start(&file(fake.port(), settings, &tables));
    let mut beside = Client::login(pooler.port());
    beside.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
    let mut client = Client::connect(pooler.port());
    client.send(&crate::wire::startup(196_608, &[("user", "app"), ("database", "slow")]));
    client.hears("R0");
    let (started, mut longest) = (Instant::now(), Duration::ZERO);
    while !client.has_something(Duration::from_millis(1)) {
        let asked = Instant::now();
        beside.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
        longest = longest.max(asked.elapsed());
    }
    let took = started.elapsed();
    assert!(took > longest * 3, "it hashed for {took:?}, and a query took {longest:?}");
}

#[test]
fn memory_does_not_grow_with_lies() {
    let fake = Fake::start(|database, before, server| {
        if database == "shop" || before % 2 == 0 {
            server.let_in();
            server.hear();
            server.send(&message(b'S', &[b'x'; 100_000]));
            return server.wait_for_end();
        }
        server.send(&message(b'E', &[b'x'; 60_000]));
        server.wait_for_end();
    });
    let pooler = pooler(&fake, ["mixed"].into_iter());
    let round = || {
        for database in ["shop", "mixed"] {
            let as_user = [("user", "app"), ("database", database)];
            if let Ok(mut client) = Client::try_login(pooler.port(), &as_user) {
                client.say("Q select 42 / X");
                client.rest();
            }
        }
    };
    (0..100).for_each(|_| round());
    let before = memory_kib(pooler.pid());
    (0..500).for_each(|_| round());
    let after = memory_kib(pooler.pid());
    assert!(after < before + 4096, "{before} KiB, then {after} KiB");
}
