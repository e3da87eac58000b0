//! The process ends while replies are under way: what their clients have then.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::fake::Fake;
use crate::setup::{file, pooler};
use crate::support::{LIMIT, Pooler, eventually};
use crate::wire::{Client, message};

/// The value of a row that comes in two halves.
const VALUE: usize = 200_000;
/// How much of its message comes in the first.
const HALF: usize = 150_000;

/// What ends the process at once.
const SIGNALS: [&[&str]; 2] = [&["QUIT"], &["TERM", "TERM"]];

fn row() -> Vec<u8> {
    let length = u32::try_from(VALUE).unwrap().to_be_bytes();
    message(b'D', &[&[0, 1], &length[..], &vec![b'x'; VALUE]].concat())
}

/// A server that answers by one and a half rows, and goes on when it is told to.
fn halting_server() -> (Fake, mpsc::Sender<()>) {
    let (go_on, halt) = mpsc::channel();
    let halt = Arc::new(Mutex::new(halt));
    let fake = Fake::start(move |_, before, server| {
        server.let_in();
        if before > 0 {
            return server.behave();
        }
        while let Some((tag, _)) = server.hear() {
            if tag == b'Q' {
                let description = b"\0\x01x\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
                server.send(&message(b'T', description));
                server.send(&row()[..HALF]);
                // Nobody tells it to where it is to stay as it is.
                halt.lock().unwrap().recv().ok();
                server.send(&row()[HALF..]);
                server.send(&[message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat());
            }
        }
    });
    (fake, go_on)
}

/// A client that has the start of a row, when all clients of the process have been asked to go.
fn caught(pooler: &Pooler, signals: &[&str]) -> Client {
    let mut bystander = Client::login(pooler.port());
    let mut client = Client::login(pooler.port());
    client.say("Q select 42");
    client.hears("T");
    client.has_begun(HALF);
    for signal in signals {
        pooler.signal(signal);
        eventually("the signal is seen", LIMIT, || pooler.log().contains("stopping: "));
    }
    bystander.hears("FATAL[57P01]");
    client
}

#[test]
fn half_a_row_is_whole_before_the_last_words() {
    for signals in SIGNALS {
        let (fake, go_on) = halting_server();
        let pooler = Pooler::start(&file(fake.port(), "", ""));
        let mut client = caught(&pooler, signals);
        go_on.send(()).unwrap();
        let row = client.hear();
        assert_eq!((row.tag, row.body.len()), (b'D', 2 + 4 + VALUE));
        // What the server has sent behind it may have come before the summons.
        let rest = client.rest();
        assert!(["FATAL[57P01]", "C[SELECT 1] ZI FATAL[57P01]"].contains(&rest.as_str()), "{rest}");
        assert_eq!(client.broken_off(), 0);
        assert!(pooler.ended().success());
    }
}

#[test]
fn half_a_row_without_an_end_is_nothing_else() {
    for signals in SIGNALS {
        let (fake, _go_on) = halting_server();
        let pooler = Pooler::start(&file(fake.port(), "", ""));
        let mut client = caught(&pooler, signals);
        assert_eq!(client.rest(), "");
        assert_eq!(client.broken_off(), HALF);
        assert!(pooler.ended().success());
    }
}

#[test]
fn reply_that_streams_ends_behind_a_whole_row() {
    let pooler = pooler("");
    let mut client = Client::login(pooler.port());
    client.say("Q select repeat('x', 3000) from generate_series(1, 1000000)");
    client.hears("T");
    client.hear();
    pooler.signal("QUIT");
    let last = std::iter::from_fn(|| client.next_within(LIMIT)).last();
    assert_eq!(last.map(|message| message.text()).as_deref(), Some("FATAL[57P01]"));
    assert_eq!(client.broken_off(), 0);
    assert!(pooler.ended().success());
}

#[test]
fn nobody_is_asked_to_go_before_every_loop_has_closed_the_port() {
    for _ in 0..5 {
        let pooler = pooler("workers = 8; max_client_conn = 100");
        let port = pooler.port();
        let clients: Vec<_> = (0..48)
            .map(|_| {
                let mut client = Client::login(port);
                thread::spawn(move || {
                    assert_eq!(client.hear().text(), "FATAL[57P01]");
                    // At once: the connection is open still.
                    TcpStream::connect(("127.0.0.1", port)).map(|_| client)
                })
            })
            .collect();
        pooler.signal("TERM");
        for client in clients {
            let came_back = client.join().unwrap();
            assert_eq!(came_back.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        assert!(pooler.ended().success());
    }
}
