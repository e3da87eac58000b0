//! A client whose every byte is the test's, and transcripts of what it sends and hears.
//!
//! What is sent is written as messages between ` / `, each a letter and its fields:
//!
//! | text | message |
//! |---|---|
//! | `Q select 1` | Query |
//! | `P name select 1` | Parse; `-` is the unnamed statement |
//! | `B name 1,2` | Bind of that statement to the unnamed portal, text parameters |
//! | `D name` | Describe of that statement |
//! | `p` | Describe of the unnamed portal |
//! | `E`, `E 2` | Execute of the unnamed portal, all rows or at most 2 |
//! | `C name` | Close of that statement |
//! | `S`, `H`, `X`, `c` | Sync, Flush, Terminate, CopyDone |
//! | `d text` | CopyData: the text and a line break |
//! | `f text` | CopyFail |
//!
//! What is heard is written as the letters of the messages, with what matters of their bodies in
//! brackets: `1 2 T D[1|x] C[SELECT 1] ZI`, `E[22012]` for an error, `FATAL[57P01]`, `N[01000]`.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgweir::auth::{Progress, ServerAuth, ServerSecret};

use crate::support::LIMIT;

/// A message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an error or a notice.
    pub fn field(&self, code: u8) -> Option<String> {
        let fields = self.body.split(|byte| *byte == 0);
        let mut found = fields.filter(|field| field.first() == Some(&code));
        found.next().map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
    }

    fn strings(&self) -> Vec<String> {
        let strings = self.body.split(|byte| *byte == 0);
        strings.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    fn columns(&self) -> String {
        self.values().join("|")
    }

    /// The values of a DataRow.
    pub fn values(&self) -> Vec<String> {
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length);
            let (column, behind) = behind.split_at(usize::try_from(length).unwrap_or(0));
            columns.push(match length {
                -1 => "NULL".into(),
                _ => String::from_utf8_lossy(column).into_owned(),
            });
            rest = behind;
        }
        columns
    }

    /// The names in a RowDescription.
    #[track_caller]
    pub fn names(&self) -> Vec<String> {
        self.types().into_iter().map(|(name, _)| name).collect()
    }

    /// The names in a RowDescription, each with the number of its type.
    #[track_caller]
    pub fn types(&self) -> Vec<(String, u32)> {
        assert_eq!(self.tag, b'T', "{}", self.text());
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            let kind = u32::from_be_bytes(rest[end + 7..end + 11].try_into().unwrap());
            columns.push((String::from_utf8_lossy(&rest[..end]).into_owned(), kind));
            rest = &rest[end + 19..];
        }
        columns
    }

    /// As in a transcript.
    pub fn text(&self) -> String {
        let letter = char::from(self.tag);
        match self.tag {
            b'Z' => format!("Z{}", char::from(self.body[0])),
            b'R' => format!("R{}", self.body[3]),
            b'C' => format!("C[{}]", self.strings()[0]),
            b'D' => format!("D[{}]", self.columns()),
            b'd' => format!("d[{}]", String::from_utf8_lossy(&self.body).trim_end()),
            b'S' => format!("S[{}={}]", self.strings()[0], self.strings()[1]),
            b'E' => {
                let severity = self.field(b'V').unwrap_or("?".into()).replace("ERROR", "E");
                format!("{severity}[{}]", self.field(b'C').unwrap_or_default())
            }
            b'N' => format!("N[{}]", self.field(b'C').unwrap_or_default()),
            b'A' => format!("A[{}]", String::from_utf8_lossy(&self.body[4..]).replace('\0', " ")),
            b'V' => format!("V[{}]", String::from_utf8_lossy(&self.body[4..])),
            b'v' => format!(
                "v[{}.{}{}]",
                u16::from_be_bytes([self.body[0], self.body[1]]),
                u16::from_be_bytes([self.body[2], self.body[3]]),
                Message { tag: b'v', body: self.body[8..].into() }
                    .strings()
                    .iter()
                    .filter(|name| !name.is_empty())
                    .map(|name| format!(" {name}"))
                    .collect::<String>()
            ),
            _ => letter.to_string(),
        }
    }
}

/// A connection to the pooler.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What it was told of its session at login and since.
    pub parameters: BTreeMap<String, String>,
    /// BackendKeyData as it came: process id and secret.
    pub key: Vec<u8>,
    /// Bytes that were sent and heard since the login.
    pub sent: u64,
    pub heard: u64,
}

pub const USER: [(&str, &str); 2] = [("user", "app"), ("database", "shop")];

impl Client {
    /// Our end of its connection, and the other.
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.stream.local_addr().unwrap(), self.stream.peer_addr().unwrap())
    }

    /// A connection on which nothing has been said.
    #[track_caller]
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(stream)
    }

    fn on(stream: TcpStream) -> Self {
        let (buffer, parameters, key) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { stream, buffer, parameters, key, sent: 0, heard: 0 }
    }

    /// A connection that is ready for queries.
    #[track_caller]
    pub fn login(port: u16) -> Self {
        Self::login_as(port, &USER)
    }

    /// A connection with these startup parameters that is ready for queries.
    #[track_caller]
    pub fn login_as(port: u16, parameters: &[(&str, &str)]) -> Self {
        Self::try_login(port, parameters).unwrap_or_else(|error| panic!("login: {error:?}"))
    }

    /// A connection with these startup parameters; its last message where it was refused.
    #[track_caller]
    pub fn try_login(port: u16, parameters: &[(&str, &str)]) -> Result<Self, Message> {
        let mut client = Self::connect(port);
        client.send(&startup(196_608, parameters));
        client.finish_login()?;
        Ok(client)
    }

    /// A connection from another address of this machine.
    #[track_caller]
    pub fn connect_from(address: &str, port: u16) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let at = |host: &str, port| SocketAddr::new(host.parse().unwrap(), port);
        socket.bind(&at(address, 0).into()).unwrap();
        socket.connect(&at("127.0.0.1", port).into()).unwrap();
        Self::on(TcpStream::from(socket))
    }

    /// A connection that is ready for queries, by a password in clear or by SCRAM.
    #[track_caller]
    pub fn login_with(port: u16, parameters: &[(&str, &str)], password: &str) -> Self {
        Self::try_login_with(port, parameters, password)
            .unwrap_or_else(|error| panic!("login: {error:?}"))
    }

    /// The same; its last message where it was refused.
    #[track_caller]
    pub fn try_login_with(
        port: u16,
        parameters: &[(&str, &str)],
        password: &str,
    ) -> Result<Self, Message> {
        let mut client = Self::connect(port);
        client.send(&startup(196_608, parameters));
        let secret = Arc::new(ServerSecret::parse(password).unwrap());
        let mut auth = ServerAuth::new(parameters[0].1, Some(secret));
        loop {
            let message = client.hear();
            if message.tag != b'R' {
                return Err(message);
            }
            match auth.received(&message.body).unwrap() {
                Progress::Send(bytes) => client.send(&bytes),
                Progress::Wait => {}
                Progress::Done => break,
            }
        }
        client.finish_login()?;
        Ok(client)
    }

    /// Reads up to the first ReadyForQuery, or the error instead of it.
    #[track_caller]
    pub fn finish_login(&mut self) -> Result<(), Message> {
        loop {
            let message = self.hear();
            match message.tag {
                b'E' => return Err(message),
                b'Z' => {
                    (self.sent, self.heard) = (0, 0);
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Sends these bytes. A peer that has closed is no error: it has said why, or will.
    pub fn send(&mut self, bytes: &[u8]) {
        self.sent += bytes.len() as u64;
        match self.stream.write_all(bytes) {
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            other => other.unwrap(),
        }
    }

    /// Sends messages in the notation of this module.
    #[track_caller]
    pub fn say(&mut self, script: &str) {
        let bytes = messages(script);
        self.send(&bytes);
    }

    /// The next message; `None` at the end of the connection.
    #[track_caller]
    pub fn next_within(&mut self, limit: Duration) -> Option<Message> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(message) = self.take() {
                return Some(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing within {limit:?}; held: {:?}", self.buffer);
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn take(&mut self) -> Option<Message> {
        let (header, _) = self.buffer.split_first_chunk::<5>()?;
        let [tag, a, b, c, d] = *header;
        let end = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
        let body = self.buffer.get(5..end)?.to_vec();
        self.buffer.drain(..end);
        self.heard += end as u64;
        let message = Message { tag, body };
        match tag {
            b'S' => {
                let strings = message.strings();
                self.parameters.insert(strings[0].clone(), strings[1].clone());
            }
            b'K' => self.key.clone_from(&message.body),
            _ => {}
        }
        Some(message)
    }

    /// The next message.
    #[track_caller]
    pub fn hear(&mut self) -> Message {
        self.next_within(LIMIT).expect("the connection was closed")
    }

    /// Reads until so many bytes of the next message are there, and not the end of it.
    #[track_caller]
    pub fn has_begun(&mut self, count: usize) {
        self.stream.set_read_timeout(Some(LIMIT)).unwrap();
        while self.buffer.len() < count {
            let mut chunk = [0; 16 * 1024];
            let read = self.stream.read(&mut chunk).unwrap();
            assert!(read > 0, "the connection was closed");
            self.buffer.extend_from_slice(&chunk[..read]);
        }
        assert_eq!(self.take(), None);
    }

    /// How many bytes came that are no whole message.
    pub fn broken_off(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the other side has closed, as far as is known now; what it has sent is not kept.
    pub fn is_gone(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let gone = loop {
            match self.stream.read(&mut [0; 1024]) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() != ErrorKind::WouldBlock,
            }
        };
        self.stream.set_nonblocking(false).unwrap();
        gone
    }

    /// The next message, of whatever type, as bytes before any framing: one byte.
    #[track_caller]
    pub fn hear_byte(&mut self) -> Option<u8> {
        if self.buffer.is_empty() {
            self.stream.set_read_timeout(Some(LIMIT)).unwrap();
            let mut byte = [0];
            return match self.stream.read(&mut byte) {
                Ok(0) => None,
                Ok(_) => Some(byte[0]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
                Err(error) => panic!("{error}"),
            };
        }
        Some(self.buffer.remove(0))
    }

    /// Reads what comes next and compares it with this transcript.
    #[track_caller]
    pub fn hears(&mut self, expected: &str) {
        self.hears_within(expected, LIMIT, "");
    }

    /// Says and hears.
    #[track_caller]
    pub fn talk(&mut self, script: &str, expected: &str) {
        self.say(script);
        self.hears_within(expected, LIMIT, script);
    }

    /// Hears within a limit from now on; `after` says in the failure what came before.
    #[track_caller]
    pub fn hears_within(&mut self, expected: &str, limit: Duration, after: &str) {
        let deadline = Instant::now() + limit;
        let (mut heard, mut why) = (String::new(), String::new());
        while heard.len() < expected.len() && expected.starts_with(&heard) {
            if !heard.is_empty() {
                heard.push(' ');
            }
            match self.next_within(deadline.saturating_duration_since(Instant::now())) {
                Some(message) => {
                    heard.push_str(&message.text());
                    if message.tag == b'E' {
                        why = message.field(b'M').unwrap_or_default();
                    }
                }
                None => heard.push_str("end"),
            }
        }
        assert_eq!(heard, expected, "after {after:?}; last error: {why}");
    }

    /// Reads to the first message that is `last`, or to the end: the transcript.
    #[track_caller]
    pub fn hears_up_to(&mut self, last: &str) -> String {
        let mut heard = Vec::new();
        while let Some(message) = self.next_within(LIMIT) {
            heard.push(message.text());
            if heard.last().is_some_and(|text| text == last) {
                break;
            }
        }
        heard.join(" ")
    }

    /// The only column of the only row of a query that must succeed.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> String {
        self.say(&format!("Q {sql}"));
        let mut value = None;
        loop {
            let message = self.hear();
            match message.tag {
                b'D' => value = Some(message.columns()),
                b'E' => panic!("{sql}: {} {:?}", message.text(), message.field(b'M')),
                b'Z' => return value.unwrap_or_else(|| panic!("{sql}: no row")),
                _ => {}
            }
        }
    }

    /// Reads to the end of the connection: the transcript.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        let mut heard = Vec::new();
        while let Some(message) = self.next_within(LIMIT) {
            heard.push(message.text());
        }
        heard.join(" ")
    }

    /// A cancel request for this client.
    pub fn cancel_packet(&self) -> Vec<u8> {
        cancel_packet(&self.key)
    }

    /// Whether anything comes within a time that is given it.
    pub fn has_something(&mut self, within: Duration) -> bool {
        if !self.buffer.is_empty() {
            return true;
        }
        self.stream.set_read_timeout(Some(within)).unwrap();
        self.stream.peek(&mut [0]).is_ok()
    }

    /// No more is sent, but what comes is read.
    pub fn shut(&mut self) {
        // An error says that the peer has closed.
        drop(self.stream.shutdown(std::net::Shutdown::Write));
    }

    /// Closes so that the peer gets a reset.
    pub fn reset(self) {
        let linger = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        linger.unwrap();
    }
}

/// Sends a cancel request and waits until the pooler closes: the cancel has landed then.
#[track_caller]
pub fn cancel(port: u16, packet: &[u8]) {
    let mut connection = Client::connect(port);
    connection.send(packet);
    assert_eq!(connection.rest(), "");
}

pub fn cancel_packet(key: &[u8]) -> Vec<u8> {
    untagged(&[&80_877_102_u32.to_be_bytes(), key].concat())
}

/// A startup packet.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    untagged(&body)
}

pub fn untagged(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes(), body].concat()
}

/// A message of any type.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &untagged(body)].concat()
}

/// Messages in the notation of this module.
pub fn messages(script: &str) -> Vec<u8> {
    script.split(" / ").flat_map(one).collect()
}

fn one(text: &str) -> Vec<u8> {
    let (letter, fields) = text.split_once(' ').unwrap_or((text, ""));
    let (name, more) = fields.split_once(' ').unwrap_or((fields, ""));
    let name = if name == "-" { "" } else { name };
    let tag = letter.as_bytes()[0];
    match letter {
        "Q" => message(tag, format!("{fields}\0").as_bytes()),
        "P" => message(tag, format!("{name}\0{more}\0\0\0").as_bytes()),
        "B" => {
            let values: Vec<_> = more.split(',').filter(|value| !value.is_empty()).collect();
            let mut body = format!("\0{name}\0\0\0").into_bytes();
            body.extend_from_slice(&(values.len() as u16).to_be_bytes());
            for value in values {
                body.extend_from_slice(&(value.len() as u32).to_be_bytes());
                body.extend_from_slice(value.as_bytes());
            }
            body.extend_from_slice(&[0, 0]);
            message(tag, &body)
        }
        "D" => message(tag, format!("S{name}\0").as_bytes()),
        "p" => message(b'D', b"P\0"),
        "E" => {
            let rows: u32 = fields.parse().unwrap_or(0);
            message(tag, &[&[0][..], &rows.to_be_bytes()].concat())
        }
        "C" => message(tag, format!("S{name}\0").as_bytes()),
        "S" | "H" | "X" | "c" => message(tag, b""),
        "d" => message(tag, format!("{fields}\n").as_bytes()),
        "f" => message(tag, format!("{fields}\0").as_bytes()),
        _ => panic!("no such message: {text}"),
    }
}
