//! A client that speaks bytes, so that it can misbehave.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

/// One message of a server.
#[derive(Clone, Debug)]
pub struct Reply {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl Reply {
    /// A field of an error or notice.
    pub fn field(&self, code: u8) -> &str {
        let fields = self.body.split(|&byte| byte == 0);
        let field = fields.into_iter().find(|field| field.first() == Some(&code));
        field.map_or("", |field| std::str::from_utf8(&field[1..]).unwrap())
    }

    /// The columns of a DataRow.
    pub fn columns(&self) -> Vec<Option<&[u8]>> {
        let count = u16::from_be_bytes([self.body[0], self.body[1]]);
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        for _ in 0..count {
            let (len, after) = rest.split_first_chunk::<4>().unwrap();
            let len = i32::from_be_bytes(*len);
            let (value, after) = after.split_at(usize::try_from(len).unwrap_or(0));
            columns.push((len >= 0).then_some(value));
            rest = after;
        }
        assert!(rest.is_empty());
        columns
    }

    /// NUL-terminated texts.
    pub fn texts(&self) -> Vec<&str> {
        let body = self.body.strip_suffix(b"\0").unwrap_or(&self.body);
        body.split(|&byte| byte == 0).map(|text| std::str::from_utf8(text).unwrap()).collect()
    }

    pub fn shown(&self) -> String {
        let text: String =
            self.body.iter().take(200).map(|&b| b.escape_ascii().to_string()).collect();
        format!("{} {text}", char::from(self.tag))
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// A FIN behind what was sent.
    Close,
    /// A RST.
    Reset,
    /// What is read is ended first, and then the rest.
    HalfClose,
}

pub struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    port: u16,
    cancel: Vec<u8>,
    writer: Option<JoinHandle<()>>,
    /// What the server reported at login, by name.
    pub reported: Vec<(String, String)>,
}

impl Connection {
    /// Logs in where no secret is asked for.
    pub fn open(port: u16, minor: u16, settings: &[(&str, &str)]) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let mut packet = (196_608 + u32::from(minor)).to_be_bytes().to_vec();
        for text in settings.iter().flat_map(|(name, value)| [name, value]) {
            packet.extend_from_slice(text.as_bytes());
            packet.push(0);
        }
        packet.push(0);
        let reader = BufReader::with_capacity(32 * 1024, stream.try_clone().unwrap());
        let mut this =
            Self { stream, reader, port, cancel: Vec::new(), writer: None, reported: Vec::new() };
        this.send(&untagged(&packet))?;
        loop {
            let reply = this.receive()?;
            match reply.tag {
                b'R' if reply.body == [0; 4] => {}
                b'K' => this.cancel = reply.body,
                b'S' => {
                    let texts = reply.texts();
                    this.reported.push((texts[0].to_owned(), texts[1].to_owned()));
                }
                b'N' => {}
                b'Z' if reply.body == b"I" => return Ok(this),
                _ => return Err(format!("at login: {}", reply.shown())),
            }
        }
    }

    /// Writes all; long messages by a thread of their own, as the other side may want to be read
    /// first.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
        if bytes.len() <= 16 * 1024 {
            return self.stream.write_all(bytes).map_err(|error| format!("sending: {error}"));
        }
        let (mut stream, bytes) = (self.stream.try_clone().unwrap(), bytes.to_vec());
        self.writer = Some(thread::spawn(move || drop(stream.write_all(&bytes))));
        Ok(())
    }

    /// Whether no more is taken before this many bytes were written.
    pub fn is_blocked_by(&mut self, bytes: &[u8], max: usize) -> bool {
        self.stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut written = 0;
        while written < max {
            if self.stream.write_all(bytes).is_err() {
                return true;
            }
            written += bytes.len();
        }
        false
    }

    /// The next message; an end of the stream is an error.
    pub fn receive(&mut self) -> Result<Reply, String> {
        let mut header = [0; 5];
        self.fill(&mut header)?;
        let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        if !(4..1 << 24).contains(&len) {
            return Err(format!("no message: {}", header.escape_ascii()));
        }
        let mut body = vec![0; len as usize - 4];
        self.fill(&mut body)?;
        Ok(Reply { tag: header[0], body })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), String> {
        self.reader.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => "no reply: it hangs".to_owned(),
            _ => format!("receiving: {error}"),
        })
    }

    /// Reads about this many bytes and forgets them.
    pub fn swallow(&mut self, count: usize) {
        self.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut buffer = vec![0; count];
        self.reader.read_exact(&mut buffer).ok();
    }

    /// Whether nothing more has come.
    pub fn is_silent(&mut self) -> bool {
        if !self.reader.buffer().is_empty() {
            return false;
        }
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// What cancels this connection's request.
    pub fn canceller(&self) -> Canceller {
        Canceller { port: self.port, key: self.cancel.clone() }
    }

    pub fn cut(self, how: Cut) {
        match how {
            Cut::Close => {}
            Cut::Reset => SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap(),
            Cut::HalfClose => {
                self.stream.shutdown(Shutdown::Write).ok();
                self.stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
                (&self.stream).read_exact(&mut [0; 1000]).ok();
            }
        }
    }
}

/// Cancels the request of one connection.
pub struct Canceller {
    port: u16,
    key: Vec<u8>,
}

impl Canceller {
    /// Returns when the pooler has closed the connection: then the cancel has landed.
    pub fn cancel(&self) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return;
        };
        let mut packet = 80_877_102_u32.to_be_bytes().to_vec();
        packet.extend_from_slice(&self.key);
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        stream.write_all(&untagged(&packet)).ok();
        stream.read_to_end(&mut Vec::new()).ok();
    }
}

/// A message without a tag.
fn untagged(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).unwrap();
    [&len.to_be_bytes(), body].concat()
}

/// A message.
pub fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[tag][..], &untagged(&parts.concat())].concat()
}

/// How long no reply means that there will be none.
const SILENCE: Duration = Duration::from_secs(20);
