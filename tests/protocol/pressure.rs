//! Crowds, floods and rates: who is inside does not notice, and who is refused is told why.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bystander::Bystander;
use crate::setup::{file, memory_kib, memory_most_kib, pooler, shared};
use crate::support::{LIMIT, PASSWORD, Pooler, eventually};
use crate::wire::{Client, Message, USER, message, startup};

const V3: u32 = 196_608;

/// The median time of some queries.
fn latency(client: &mut Client) -> Duration {
    let mut times: Vec<Duration> = (0..41)
        .map(|_| {
            let started = Instant::now();
            client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
            started.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn ten_thousand_half_open_logins_leave_memory_and_latency_flat() {
    let pooler = pooler("auth_type = \"scram-sha-256\"");
    let mut inside = Client::login_with(pooler.port(), &USER, PASSWORD);
    let calm = latency(&mut inside);
    let mut crowd = Vec::new();
    let mut round = |crowd: &mut Vec<Client>, count: usize, slowest: &mut Duration| {
        for number in 0..count {
            let mut stranger = Client::connect(pooler.port());
            match number % 3 {
                0 => {}
                1 => stranger.send(&startup(V3, &USER)[..20]),
                _ => stranger.send(&startup(V3, &USER)),
            }
            crowd.push(stranger);
            if number % 500 == 0 {
                *slowest = latency(&mut inside).max(*slowest);
            }
        }
    };
    // All but a thousand are sent away. Those that are have cost their memory until their loop got
    // to them, which on a busy machine may be late.
    let send_away = |crowd: &mut Vec<Client>, count: usize| {
        eventually("the others are sent away", LIMIT, || {
            crowd.iter_mut().filter_map(|stranger| stranger.is_gone().then_some(())).count()
                == count
        });
    };
    let mut slowest = Duration::ZERO;
    round(&mut crowd, 2000, &mut slowest);
    send_away(&mut crowd, 1000);
    let before = memory_kib(pooler.pid());
    round(&mut crowd, 8000, &mut slowest);
    send_away(&mut crowd, 9000);
    // What they had goes back to the system, though not at once.
    let pid = pooler.pid();
    eventually("memory is as before", LIMIT, || memory_kib(pid) < before + 8192);
    let most = memory_most_kib(pid);
    // Of 8,000 more each would have cost some 12 KiB.
    assert!(most < before + 32_768, "{before} KiB, and {most} KiB at the most");
    assert!(slowest < calm * 20 + Duration::from_millis(20), "{calm:?}, then {slowest:?}");
    // The crowd is still there, and somebody who means it gets in.
    Client::login_with(pooler.port(), &USER, PASSWORD).talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    drop(crowd);
}

#[test]
fn announced_gibibytes_cost_nothing() {
    let pooler = pooler("auth_type = \"plain\"; client_login_timeout = 20");
    let mut inside = Client::login_with(pooler.port(), &USER, PASSWORD);
    let calm = latency(&mut inside);
    let before = memory_kib(pooler.pid());
    let announced = [&b"p"[..], &(1_u32 << 30).to_be_bytes(), &[b'x'; 1000]].concat();
    let longest = [&b"p"[..], &65_536_u32.to_be_bytes(), &[b'x'; 60_000]].concat();
    let mut crowd = Vec::new();
    for number in 0..400 {
        let mut stranger = Client::connect(pooler.port());
        stranger.send(&startup(V3, &USER));
        stranger.hears("R3");
        if number % 2 == 0 {
            stranger.send(&announced);
            assert_eq!(stranger.rest(), "FATAL[08P01]");
        } else {
            // As long as it may be, and never complete: together more than strangers may hold.
            stranger.send(&longest);
            crowd.push(stranger);
        }
    }
    let slowest = latency(&mut inside);
    let after = memory_kib(pooler.pid());
    assert!(after < before + 64 * 1024, "{before} KiB, then {after} KiB");
    assert!(slowest < calm * 20 + Duration::from_millis(20), "{calm:?}, then {slowest:?}");
}

#[test]
fn memory_of_strangers_is_bounded_together() {
    let settings = "auth_type = \"plain\"; unauthenticated_memory = \"128 KiB\"";
    let pooler = pooler(&format!("{settings}; client_login_timeout = 3"));
    let bystander = Bystander::start_with(pooler.port(), &USER, PASSWORD);
    let long = [&b"p"[..], &60_004_u32.to_be_bytes(), &[b'x'; 59_000]].concat();
    let crowd = (0..6).map(|_| {
        let mut stranger = Client::connect(pooler.port());
        stranger.send(&startup(V3, &USER));
        let first = stranger.hear();
        stranger.send(&long);
        std::thread::spawn(move || match first.tag {
            b'E' => first.text(),
            _ => stranger.rest(),
        })
    });
    let crowd: Vec<_> = crowd.collect();
    let heard: Vec<_> = crowd.into_iter().map(|stranger| stranger.join().unwrap()).collect();
    // Two have room; their time runs out.
    let refused = heard.iter().filter(|heard| *heard == "FATAL[53300]").count();
    assert!(refused >= 4 && heard.iter().all(|h| h == "FATAL[53300]" || h.is_empty()), "{heard:?}");
    eventually("there is room again", LIMIT, || {
        let mut client = Client::connect(pooler.port());
        client.send(&[startup(V3, &USER), message(b'p', b"s3cret\0")].concat());
        client.finish_login().is_ok()
    });
    bystander.finish();
}

#[test]
fn clients_of_an_address_are_limited() {
    let pooler = pooler("max_address_client_connections = 2");
    let _inside = [Client::login(pooler.port()), Client::login(pooler.port())];
    let error = Client::try_login(pooler.port(), &USER).unwrap_err();
    assert_eq!(error.text(), "FATAL[53300]");
    assert!(error.field(b'M').unwrap().contains("(max_address_client_connections)"));
    let mut other = Client::connect_from("127.0.0.9", pooler.port());
    other.send(&startup(V3, &USER));
    assert_eq!(other.finish_login(), Ok(()));
}

/// That this was refused because a rate is used up, and when to try again.
#[track_caller]
fn check_rate(error: &Message, key: &str) -> Duration {
    assert_eq!(error.field(b'C').as_deref(), Some("53400"));
    assert!(error.field(b'M').unwrap().contains(&format!("({key})")), "{error:?}");
    let hint = error.field(b'H').unwrap();
    let millis = hint.strip_prefix("Try again in ").and_then(|hint| hint.strip_suffix(" ms."));
    Duration::from_millis(millis.unwrap().parse().unwrap())
}

#[test]
fn logins_of_an_address_have_a_rate() {
    let pooler = pooler("login_rate_per_address = \"3/2min\"");
    let mut inside = Client::login(pooler.port());
    // Good or bad: each attempt counts.
    let wrong = [("user", "nobody"), ("database", "shop")];
    assert_eq!(Client::try_login(pooler.port(), &wrong).unwrap_err().text(), "FATAL[28P01]");
    Client::login(pooler.port());
    let error = Client::try_login(pooler.port(), &USER).unwrap_err();
    let wait = check_rate(&error, "login_rate_per_address");
    assert!(wait > Duration::from_secs(5) && wait <= Duration::from_secs(41), "{wait:?}");
    let mut other = Client::connect_from("127.0.0.9", pooler.port());
    other.send(&startup(V3, &USER));
    assert_eq!(other.finish_login(), Ok(()));
    inside.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
}

#[test]
fn logins_of_a_user_have_a_rate_that_others_cannot_use_up() {
    let pooler = pooler("auth_type = \"plain\"; login_rate_per_user = \"2/1h\"");
    let port = pooler.port();
    for _ in 0..5 {
        assert_eq!(
            Client::try_login_with(port, &USER, "wrong").unwrap_err().text(),
            "FATAL[28P01]"
        );
    }
    assert!(Client::try_login_with(port, &USER, PASSWORD).is_ok());
    assert!(Client::try_login_with(port, &USER, PASSWORD).is_ok());
    check_rate(&Client::try_login_with(port, &USER, PASSWORD).unwrap_err(), "login_rate_per_user");
    assert_eq!(Client::try_login_with(port, &USER, "wrong").unwrap_err().text(), "FATAL[28P01]");
}

#[test]
fn requests_have_rates() {
    for key in ["query_rate_per_user", "query_rate_per_database", "query_rate_per_application_name"]
    {
        let named = [USER[0], USER[1], ("application_name", "fast")];
        let slow = pooler(&format!("{key} = \"3/1h\""));
        let mut client = Client::login_as(slow.port(), &named);
        // A transaction is one request.
        client.talk("Q begin", "C[BEGIN] ZT");
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZT");
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZT");
        client.talk("Q commit", "C[COMMIT] ZI");
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
        client.talk("P - select 2 / B - / E / S", "1 2 D[2] C[SELECT 1] ZI");
        client.say("Q select 3");
        let wait = check_rate(&client.hear(), key);
        assert!(wait > Duration::from_secs(600) && wait <= Duration::from_secs(1201), "{wait:?}");
        client.hears("ZI");
        // Whatever the machine does meanwhile, the next token comes.
        let quick = pooler(&format!("{key} = \"1/100ms\""));
        let mut client = Client::login_as(quick.port(), &named);
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
        eventually("a token comes back", LIMIT, || {
            client.say("P - select 4 / B - / E / S");
            let heard = client.hear().text();
            if heard == "1" {
                client.hears("2 D[4] C[SELECT 1] ZI");
                return true;
            }
            assert_eq!(heard, "E[53400]");
            client.hears("ZI");
            false
        });
    }
}

#[test]
fn without_open_files_newcomers_are_refused_and_those_inside_get_servers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pooler.toml");
    let settings = "reserved_open_files = 20; default_pool_size = 5";
    std::fs::write(&path, file(shared().port(), settings, "")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 80 && exec \"$0\" run \"$1\"", env!("CARGO_BIN_EXE_pgweir")]);
    let pooler = Pooler::spawn(command.arg(&path).stdin(Stdio::null()));
    let mut inside = Vec::new();
    let error = loop {
        match Client::try_login(pooler.port(), &USER) {
            Ok(client) => inside.push(client),
            Err(error) => break error,
        }
        assert!(inside.len() < 80, "nobody was refused");
    };
    assert_eq!(error.text(), "FATAL[53300]");
    assert!(error.field(b'M').unwrap().contains("(open files)"), "{error:?}");
    assert!(inside.len() > 20, "{}", inside.len());
    // Five of them take a server each, all at the same time.
    for client in inside.iter_mut().take(5) {
        client.talk("Q begin", "C[BEGIN] ZT");
    }
    for _ in 0..50 {
        assert!(Client::try_login(pooler.port(), &USER).is_err());
    }
    for client in inside.iter_mut().take(5) {
        client.talk("Q commit", "C[COMMIT] ZI");
    }
    inside.truncate(10);
    eventually("there is room again", LIMIT, || Client::try_login(pooler.port(), &USER).is_ok());
}
