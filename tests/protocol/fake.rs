//! Scripted servers, for what a real one will not do.
//!
//! A connection's script is chosen by the database that it asks for and by how many connections
//! asked for that database before it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use crate::wire::message;

/// Plays one connection: the database, how many there were before, and the connection after its
/// startup packet.
pub type Script = dyn Fn(&str, usize, &mut Conversation) + Send + Sync;

pub struct Fake {
    port: u16,
    counts: Arc<Mutex<HashMap<String, usize>>>,
    /// Locked while cancels don't land.
    cancels: Arc<Mutex<()>>,
}

/// A connection as its server sees it. Whatever fails is left alone: the peer may go at any time.
pub struct Conversation {
    stream: TcpStream,
}

impl Fake {
    /// Listens until the process ends. Cancel requests are closed as if carried out.
    pub fn start(script: impl Fn(&str, usize, &mut Conversation) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Mutex::new(HashMap::new()));
        let (script, shared): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&counts));
        let cancels = Arc::new(Mutex::new(()));
        let held = Arc::clone(&cancels);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, counts) = (Arc::clone(&script), Arc::clone(&shared));
                let held = Arc::clone(&held);
                thread::spawn(move || serve(stream.unwrap(), &counts, &held, &*script));
            }
        });
        Self { port, counts, cancels }
    }

    /// Cancels don't land as long as this lives.
    pub fn hold_cancels(&self) -> MutexGuard<'_, ()> {
        self.cancels.lock().unwrap()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections asked for this database.
    pub fn connections(&self, database: &str) -> usize {
        self.counts.lock().unwrap().get(database).copied().unwrap_or(0)
    }
}

fn serve(
    stream: TcpStream,
    counts: &Mutex<HashMap<String, usize>>,
    held: &Mutex<()>,
    script: &Script,
) {
    // Whatever is said is said now, also behind what the pooler has not acknowledged yet.
    stream.set_nodelay(true).unwrap();
    let mut conversation = Conversation { stream };
    let Some(mut packet) = conversation.packet() else { return };
    if packet == 80_877_103_u32.to_be_bytes() {
        conversation.send(b"N");
        let Some(startup) = conversation.packet() else { return };
        packet = startup;
    }
    if packet[..4] == 80_877_102_u32.to_be_bytes() {
        return drop(held.lock().unwrap());
    }
    let words: Vec<_> = packet[4..].split(|byte| *byte == 0).collect();
    let database = words.chunks(2).find(|pair| pair[0] == b"database").unwrap()[1];
    let database = String::from_utf8(database.into()).unwrap();
    let before = {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(database.clone()).or_default();
        *count += 1;
        *count - 1
    };
    script(&database, before, &mut conversation);
}

impl Conversation {
    fn packet(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        self.stream.read_exact(&mut body).ok()?;
        Some(body)
    }

    /// The next message of the pooler; `None` when it has closed.
    pub fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut tag = [0];
        self.stream.read_exact(&mut tag).ok()?;
        self.packet().map(|body| (tag[0], body))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// Lets the pooler in.
    pub fn let_in(&mut self) {
        self.send(&greeting());
    }

    /// Answers every query by one row with `42`, until the pooler closes.
    pub fn behave(&mut self) {
        while let Some((tag, _)) = self.hear() {
            if tag == b'Q' {
                self.send(&answer());
            }
        }
    }

    /// Reads on until the pooler closes.
    pub fn wait_for_end(&mut self) {
        while self.hear().is_some() {}
    }
}

/// What a server says at login, from AuthenticationOk to ReadyForQuery; each is another process.
pub fn greeting() -> Vec<u8> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let process = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    [
        message(b'R', &[0; 4]),
        message(b'S', b"server_version\x0015.0\0"),
        message(b'S', b"client_encoding\0UTF8\0"),
        message(b'K', &[&process.to_be_bytes()[..], &[1, 2, 3, 4]].concat()),
        message(b'Z', b"I"),
    ]
    .concat()
}

/// The answer to `select 42`.
pub fn answer() -> Vec<u8> {
    [
        message(b'T', b"\0\x01x\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"),
        message(b'D', b"\0\x01\0\0\0\x0242"),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

/// An ErrorResponse with these fields.
pub fn error(fields: &str) -> Vec<u8> {
    let fields: String =
        fields.split_inclusive('|').map(|field| field.replace('|', "\0")).collect();
    message(b'E', format!("{fields}\0").as_bytes())
}
