//! Errors of servers that lack what every error has, wherever we read one: at login, in answers,
//! in answers to ourselves, and where secrets are looked up.

use std::fmt::Write;
use std::time::Duration;

use crate::bystander::Bystander;
use crate::fake::{Conversation, Fake, answer, error};
use crate::setup::file;
use crate::support::{LIMIT, Pooler, check, eventually};
use crate::wire::{Client, message, startup};

/// What is not noticed is not told in this time.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

const FIELDS: [&str; 10] =
    ["SFATAL", "VFATAL", "C42501", "Mno", "Dbecause", "Hask", "P1", "Fserver.c", "L7", "RCheck"];

/// Bodies that lack each field, all of them, or all from some byte on.
fn bodies() -> Vec<Vec<u8>> {
    let body = |fields: &[&str]| {
        let fields: String = fields.iter().map(|field| format!("{field}\0")).collect();
        format!("{fields}\0").into_bytes()
    };
    let mut bodies: Vec<_> = (0..FIELDS.len())
        .map(|missing| {
            let mut fields = FIELDS.to_vec();
            fields.remove(missing);
            body(&fields)
        })
        .collect();
    let whole = body(&FIELDS);
    bodies.extend((0..=whole.len()).map(|end| whole[..end].to_vec()));
    bodies
}

/// The value of a field that is there as a whole.
fn field(body: &[u8], code: u8) -> Option<String> {
    let end = body.iter().rposition(|byte| *byte == 0)?;
    let mut fields = body[..end].split(|byte| *byte == 0);
    let found = fields.find(|field| field.first() == Some(&code))?;
    Some(String::from_utf8(found[1..].to_vec()).unwrap())
}

/// A name for each, and databases of these names.
fn databases(port: u16, names: &[String]) -> String {
    let mut tables = String::new();
    for name in names {
        write!(tables, "[databases.{name}]\nhost = \"127.0.0.1\"\nport = {port}\n").unwrap();
    }
    tables
}

#[test]
fn error_at_login_may_lack_any_field() {
    let bodies = bodies();
    let names: Vec<_> = (0..bodies.len()).map(|number| format!("e{number}")).collect();
    let fake = Fake::start({
        let (bodies, names) = (bodies.clone(), names.clone());
        move |database, before, server| match names
            .iter()
            .position(|name| name == database)
            .filter(|_| before == 0)
        {
            Some(number) => {
                server.send(&message(b'E', &bodies[number]));
                server.wait_for_end();
            }
            None => {
                server.let_in();
                server.behave();
            }
        }
    });
    let settings = "server_login_retry = 0.05; server_connect_timeout = 20";
    let mut pooler = Pooler::start(&file(fake.port(), settings, &databases(fake.port(), &names)));
    let bystander = Bystander::start(pooler.port(), &[("user", "app"), ("database", "shop")]);
    for (name, body) in names.iter().zip(&bodies) {
        let mut client = Client::connect(pooler.port());
        client.send(&startup(196_608, &[("user", "app"), ("database", name)]));
        let told = loop {
            let message = client.next_within(TOLD_WITHIN).expect("an error");
            if message.tag != b'R' {
                break message;
            }
        };
        let code = field(body, b'C').unwrap_or("XX000".to_owned());
        let text = field(body, b'M').unwrap_or("server sent an error without a message".to_owned());
        assert_eq!(told.text(), format!("FATAL[{code}]"), "{body:?}");
        assert_eq!(told.field(b'M'), Some(text), "{body:?}");
    }
    let last = names.last().unwrap();
    eventually("the pause after the failure is over", LIMIT, || {
        Client::try_login(pooler.port(), &[("user", "app"), ("database", last)]).is_ok()
    });
    assert!(pooler.is_running());
    bystander.finish();
}

#[test]
fn error_in_an_answer_may_lack_any_field_and_is_passed_on() {
    let bodies = bodies();
    let fake = Fake::start({
        let bodies = bodies.clone();
        move |_, _, server| {
            server.let_in();
            let mut left = bodies.iter();
            while let Some((tag, text)) = server.hear() {
                if tag == b'Q' && text == b"select 1\0" {
                    let ready = message(b'Z', b"I");
                    server.send(&[message(b'E', left.next().unwrap()), ready].concat());
                } else if tag == b'Q' {
                    server.send(&answer());
                }
            }
        }
    });
    let pooler = Pooler::start(&file(fake.port(), "default_pool_size = 1", ""));
    let mut client = Client::login(pooler.port());
    for body in &bodies {
        client.say("Q select 1");
        let told = client.next_within(TOLD_WITHIN).unwrap();
        assert_eq!((told.tag, &told.body), (b'E', body));
        client.hears("ZI");
    }
    assert_eq!(fake.connections("shop"), 1);
}

#[test]
fn error_in_an_answer_to_ourselves_may_lack_all_fields() {
    let fake = Fake::start(|_, before, server| {
        server.let_in();
        while let Some((tag, text)) = server.hear() {
            let own = text.starts_with(b"SELECT pg_catalog.set_config");
            if tag == b'Q' && own && before == 0 {
                server.send(&[message(b'E', b"\0"), message(b'Z', b"I")].concat());
            } else if tag == b'Q' {
                server.send(&answer());
            }
        }
    });
    let pooler = Pooler::start(&file(fake.port(), "", ""));
    let as_user = [("user", "app"), ("database", "shop"), ("work_mem", "1MB")];
    let told = Client::try_login(pooler.port(), &as_user).unwrap_err();
    assert_eq!(told.text(), "FATAL[XX000]");
    // Whoever asks for nothing that it refuses has the same server.
    Client::login(pooler.port()).talk("Q select 42", "T D[42] C[SELECT 1] ZI");
    assert!(fake.connections("shop") <= 2);
}

/// What a server does instead of answering where a secret is looked up.
type Lie = (&'static str, fn(&mut Conversation));

const LIES: &[Lie] = &[
    ("u_error_bare", |server| server.send(&message(b'E', b"\0"))),
    ("u_error_empty", |server| server.send(&message(b'E', b""))),
    ("u_closes", |_| {}),
    ("u_length_0", |server| server.send(b"D\0\0\0\0")),
    ("u_length_huge", |server| server.send(b"D\x7f\xff\xff\xff")),
    ("u_endless_rows", |server| server.send(&message(b'D', b"\0\0").repeat(10_000))),
    ("u_row_cut", |server| {
        let row = message(b'D', b"\0\x02\0\0\0\x7fx");
        server.send(&[row, message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat());
    }),
];

#[test]
fn server_that_lies_where_secrets_are_looked_up_is_noticed_and_asked_again() {
    let fake = Fake::start(|database, before, server| {
        server.let_in();
        let lie = LIES.iter().find(|(name, _)| *name == database);
        // Everything of one question up to its Sync.
        while let Some((tag, _)) = server.hear() {
            match (tag, lie) {
                (b'S', Some((name, lie))) if before == 0 => {
                    lie(server);
                    if *name == "u_closes" {
                        return;
                    }
                }
                (b'S', _) => {
                    let row = b"\0\x02\0\0\0\x06reader\0\0\0\x06secret";
                    let row = message(b'D', row);
                    server.send(&[row, message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat());
                }
                _ => {}
            }
        }
    });
    let names: Vec<_> = LIES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let settings = "auth_type = \"plain\"; auth_user = \"app\"; auth_query_connections = 1; \
                    auth_query_timeout = 20; server_connect_timeout = 20; auth_cache_time = 0";
    let mut pooler = Pooler::start(&file(fake.port(), settings, &databases(fake.port(), &names)));
    for name in &names {
        let as_user = [("user", "reader"), ("database", name.as_str())];
        let mut client = Client::connect(pooler.port());
        client.send(&[startup(196_608, &as_user), message(b'p', b"secret\0")].concat());
        let told = client.next_within(TOLD_WITHIN).expect(name);
        // A row that can't be read is none: nobody of this name.
        let expected = if name == "u_row_cut" { "R3" } else { "FATAL[57P03]" };
        assert_eq!(told.text(), expected, "{name}: {}", pooler.log());
        if name == "u_row_cut" {
            assert_eq!(client.rest(), "FATAL[28P01]", "{name}");
            continue;
        }
        assert_eq!(client.rest(), "", "{name}");
        // The only place for questions is free again.
        let mut next = Client::try_login_with(pooler.port(), &as_user, "secret").expect(name);
        next.say("X");
        assert!(pooler.is_running(), "{name}");
    }
}

#[test]
fn check_names_a_server_that_refuses_without_a_word() {
    let fake = Fake::start(|_, _, server| server.send(&error("")));
    let toml = file(fake.port(), "server_connect_timeout = 20", "");
    let ended = check(&toml, &["--connect"]);
    assert_eq!(ended.status.code(), Some(1), "{}{}", ended.stdout, ended.stderr);
    let line = ended.stdout.lines().find(|line| line.starts_with("error: login")).unwrap();
    assert!(line.contains("refused the login: (no message) ((no message))"), "{line}");
}
