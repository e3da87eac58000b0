//! How long clients wait for a server, however many they try.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::fake::{Fake, error};
use crate::figures::{metric, page, table};
use crate::setup::file;
use crate::support::{LIMIT, Pooler, eventually};
use crate::wire::{Client, USER, startup};

fn start(fake: &Fake) -> Pooler {
    let settings = "admin_users = \"app\"; default_pool_size = 1";
    let text = file(fake.port(), settings, "");
    Pooler::start(&text.replace("http_listen = \"\"", "http_listen = \"127.0.0.1:0\""))
}

fn of_wait(pooler: &Pooler, what: &str) -> String {
    let labels = "database=\"shop\",user=\"app\",role=\"primary\"";
    metric(&page(pooler), &format!("pgweir_wait_seconds_{what}{{{labels}}}"))
}

#[test]
fn one_who_tries_several_servers_waits_once_and_from_the_first_on() {
    let lost = Arc::new(Mutex::new(None));
    let first = Arc::clone(&lost);
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    // Two servers are lost when they are given the client's settings, the third is slow, and then there
    // is none.
    let fake = Fake::start(move |_, before, server| match before {
        0 | 1 => {
            server.let_in();
            server.hear();
            first.lock().unwrap().get_or_insert_with(Instant::now);
        }
        2 => {
            released.lock().unwrap().recv().unwrap();
            server.let_in();
            server.hear();
        }
        _ => server.send(&error("SFATAL|VFATAL|C3D000|Mno such database|")),
    });
    let pooler = start(&fake);
    let port = pooler.port();
    let login = thread::spawn(move || {
        let parameters = [USER[0], USER[1], ("search_path", "settings")];
        Client::try_login(port, &parameters).err().map(|error| error.text())
    });
    eventually("the third is asked", LIMIT, || {
        fake.connections("shop") == 3 || login.is_finished()
    });
    assert!(!login.is_finished(), "{:?}\n{}", login.join(), pooler.log());
    let mut waits = Vec::new();
    let mut since = Duration::ZERO;
    eventually("it waits", LIMIT, || {
        since = lost.lock().unwrap().unwrap().elapsed();
        waits = table(&pooler, "SHOW WAITING");
        !waits.is_empty()
    });
    let waited = Duration::from_micros(waits[0]["wait_us"].parse().unwrap());
    assert!(waited >= since, "{waited:?} of {since:?}");
    release.send(()).unwrap();
    assert_eq!(login.join().unwrap().as_deref(), Some("FATAL[3D000]"));
    assert_eq!(fake.connections("shop"), 4);
    assert_eq!(of_wait(&pooler, "count"), "1");
    assert!(of_wait(&pooler, "sum").parse::<f64>().unwrap() >= waited.as_secs_f64());
}

#[test]
fn login_waits_from_when_a_server_is_asked_for() {
    let fake = Fake::start(|_, _, server| {
        server.let_in();
        server.behave();
    });
    let pooler = start(&fake);
    let mut client = Client::connect(pooler.port());
    client.send(&[8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].concat());
    assert_eq!(client.hear_byte(), Some(b'N'));
    // It has come, and takes its time: that is no wait for a server.
    let slow = Duration::from_millis(400);
    thread::sleep(slow);
    client.send(&startup(196_608, &USER));
    client.finish_login().unwrap();
    let whole = metric(&page(&pooler), "pgweir_login_seconds_sum{database=\"shop\",user=\"app\"}");
    let whole: f64 = whole.parse().unwrap();
    let waited: f64 = of_wait(&pooler, "sum").parse().unwrap();
    assert_eq!(of_wait(&pooler, "count"), "1");
    assert!(waited + slow.as_secs_f64() <= whole, "{waited} s of {whole} s");
}
