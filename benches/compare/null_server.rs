//! A Postgres server that does nothing: it answers at once, so that the pooler is what costs.
//!
//! It trusts everybody, keeps no data and looks at a query only as far as it must to answer with
//! the right messages and the right transaction status. It must not know who is being measured.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::wire::{body_len, message};

/// Bytes of one value in the rows of a large result.
const ROW_BYTES: usize = 100;

/// A query that starts with this is answered with that many MB of rows.
pub(crate) const LARGE: &str = "SELECT large ";

const SCRATCH: usize = 128 * 1024;

thread_local! {
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
    static ROWS: &'static [u8] = rows().leak();
}

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut connection = Connection::new(stream);
            // A connection that ends in an error is a pooler that closed it: nothing to tell.
            poll_fn(|cx| connection.poll(cx)).await.ok();
        });
    }
}

/// Where a connection is in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Messages without a type byte.
    Startup,
    /// Anything that a client may send.
    Ready,
    /// The client said goodbye.
    Over,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    phase: Phase,
    /// Transaction status as ReadyForQuery shows it.
    status: u8,
    /// An incomplete message.
    pending: Vec<u8>,
    /// Bytes of COPY data still to pass over.
    skip: usize,
    out: Out,
}

/// What is to be written: `head`, then the rows `rows_left` times, then `tail`.
#[derive(Debug, Default)]
struct Out {
    head: Vec<u8>,
    head_sent: usize,
    rows_left: usize,
    rows_sent: usize,
    tail: Vec<u8>,
}

impl Out {
    /// Where the next answer goes.
    fn end(&mut self) -> &mut Vec<u8> {
        if self.rows_left > 0 { &mut self.tail } else { &mut self.head }
    }

    fn poll_flush(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Some(rest) = self.head.get(self.head_sent..).filter(|rest| !rest.is_empty()) {
                self.head_sent += ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            }
            self.head.clear();
            self.head_sent = 0;
            if self.rows_left == 0 && self.tail.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let rows = ROWS.with(|rows| *rows);
            while self.rows_left > 0 {
                let rest = rows.get(self.rows_sent..).unwrap_or_default();
                self.rows_sent += ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
                if self.rows_sent >= rows.len() {
                    self.rows_sent = 0;
                    self.rows_left -= 1;
                }
            }
            std::mem::swap(&mut self.head, &mut self.tail);
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let phase = Phase::Startup;
        Self { stream, phase, status: b'I', pending: Vec::new(), skip: 0, out: Out::default() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            loop {
                ready!(self.out.poll_flush(&mut self.stream, cx))?;
                if self.phase == Phase::Over {
                    return Poll::Ready(Ok(()));
                }
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.received(buffer.filled());
            }
        })
    }

    fn received(&mut self, bytes: &[u8]) {
        if self.pending.is_empty() {
            let used = self.answer(bytes);
            self.pending.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(bytes);
            let used = self.answer(&pending);
            pending.drain(..used);
            self.pending = pending;
        }
    }

    /// Answers every whole message in `bytes` and returns how much of it is done with.
    fn answer(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        loop {
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            rest = rest.get(skipped..).unwrap_or_default();
            let Some(used) = self.answer_one(rest) else { break };
            rest = rest.get(used..).unwrap_or_default();
        }
        bytes.len() - rest.len()
    }

    /// Answers the first message if it is whole, and returns its length.
    fn answer_one(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.phase == Phase::Startup {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let body = rest.get(..body_len(*length))?;
            self.started(body);
            return Some(4 + body.len());
        }
        let (kind, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let len = body_len(*length);
        if *kind == b'd' {
            self.skip = len;
            return Some(5);
        }
        let body = rest.get(..len)?;
        self.asked(*kind, body);
        Some(5 + len)
    }

    fn started(&mut self, body: &[u8]) {
        let (code, params) = body.split_at(4.min(body.len()));
        match code {
            [0, 3, _, _] => {
                let out = self.out.end();
                message(out, b'R', &[&[0, 0, 0, 0]]);
                let given: Vec<&[u8]> = params.split(|byte| *byte == 0).collect();
                for (name, value) in REPORTED {
                    let sent =
                        given.as_chunks::<2>().0.iter().find_map(|[key, value]| {
                            (canonical(key) == Some(name)).then_some(*value)
                        });
                    let value = sent.unwrap_or(value.as_bytes());
                    message(out, b'S', &[name.as_bytes(), b"\0", value, b"\0"]);
                }
                message(out, b'K', &[&[0, 0, 0, 1], &[0, 0, 0, 2]]);
                self.phase = Phase::Ready;
                self.ready();
            }
            // SSLRequest and GSSENCRequest; a CancelRequest ends the connection.
            [4, 210, 22, 47 | 48] => self.out.end().push(b'N'),
            _ => self.phase = Phase::Over,
        }
    }

    fn asked(&mut self, kind: u8, body: &[u8]) {
        let out = self.out.end();
        match kind {
            b'Q' => self.queried(body),
            b'P' => message(out, b'1', &[]),
            b'B' => message(out, b'2', &[]),
            b'C' => message(out, b'3', &[]),
            b'D' => {
                if body.first() == Some(&b'S') {
                    message(out, b't', &[&[0, 1], &[0, 0, 0, 25]]);
                }
                message(out, b'T', &[COLUMN]);
            }
            b'E' => {
                message(out, b'D', &[ROW]);
                message(out, b'C', &[b"SELECT 1\0"]);
            }
            b'S' => self.ready(),
            b'c' => {
                message(out, b'C', &[b"COPY 1\0"]);
                self.ready();
            }
            b'f' => {
                message(out, b'E', &[b"SERROR\0C57014\0MCOPY failed\0\0"]);
                self.ready();
            }
            b'X' => self.phase = Phase::Over,
            _ => {}
        }
    }

    fn queried(&mut self, body: &[u8]) {
        let text = String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap_or(body));
        let mut statements = text.split(';').map(str::trim).filter(|text| !text.is_empty());
        let Some(first) = statements.next() else {
            message(self.out.end(), b'I', &[]);
            return self.ready();
        };
        let mut next = Some(first);
        while let Some(statement) = next {
            if self.statement(statement) == Answered::CopyBegan {
                return;
            }
            next = statements.next();
        }
        self.ready();
    }

    fn statement(&mut self, text: &str) -> Answered {
        let word_end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
        let word = text.get(..word_end).unwrap_or_default().to_ascii_uppercase();
        let out = self.out.end();
        match word.as_str() {
            "BEGIN" | "START" => self.status = b'T',
            "COMMIT" | "ROLLBACK" | "END" | "ABORT" => self.status = b'I',
            "COPY" => {
                message(out, b'G', &[&[0, 0, 1, 0, 0]]);
                return Answered::CopyBegan;
            }
            "SET" => self.set(text),
            "SELECT" | "SHOW" | "VALUES" => {
                self.select(text);
                return Answered::Whole;
            }
            _ => {}
        }
        let tag = if word == "DISCARD" { "DISCARD ALL" } else { &word };
        message(self.out.end(), b'C', &[tag.as_bytes(), b"\0"]);
        Answered::Whole
    }

    fn select(&mut self, text: &str) {
        let out = self.out.end();
        message(out, b'T', &[COLUMN]);
        if let Some(megabytes) = text.strip_prefix(LARGE) {
            let chunks = ROWS.with(|rows| rows.len()).max(1);
            self.out.rows_left = megabytes.trim().parse().unwrap_or(1) * (1 << 20) / chunks;
        } else {
            message(out, b'D', &[ROW]);
        }
        for call in text.split("set_config(").skip(1) {
            let mut arguments = call.split('\'');
            if let (Some(name), Some(value)) = (arguments.nth(1), arguments.nth(1)) {
                self.report(name, value);
            }
        }
        message(self.out.end(), b'C', &[b"SELECT 1\0"]);
    }

    /// `SET [SESSION] name = value` or `SET name TO value`.
    fn set(&mut self, text: &str) {
        let text = text.get(3..).unwrap_or_default().trim_start();
        let text = text.strip_prefix("SESSION ").unwrap_or(text);
        if let Some((name, value)) = text.split_once('=').or_else(|| text.split_once(" TO ")) {
            self.report(name.trim(), value.trim().trim_matches('\''));
        }
    }

    fn report(&mut self, name: &str, value: &str) {
        if let Some(name) = canonical(name.trim_matches('"').as_bytes()) {
            message(self.out.end(), b'S', &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
        }
    }

    fn ready(&mut self) {
        message(self.out.end(), b'Z', &[&[self.status]]);
    }
}

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    Whole,
    /// The rest comes with CopyDone.
    CopyBegan,
}

/// The parameters that Postgres 15 reports, with their values.
const REPORTED: [(&str, &str); 13] = [
    ("application_name", ""),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("default_transaction_read_only", "off"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("IntervalStyle", "postgres"),
    ("is_superuser", "off"),
    ("server_encoding", "UTF8"),
    ("server_version", "15.0"),
    ("session_authorization", "bench"),
    ("standard_conforming_strings", "on"),
    ("TimeZone", "Etc/UTC"),
];

/// The reported parameter of this name in any case.
fn canonical(name: &[u8]) -> Option<&'static str> {
    REPORTED
        .iter()
        .map(|(known, _)| *known)
        .find(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

/// A RowDescription of one text column.
const COLUMN: &[u8] = b"\0\x01?column?\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";

/// A DataRow of one short value.
const ROW: &[u8] = b"\0\x01\0\0\0\x05hello";

/// Rows of [`ROW_BYTES`] each, some 64 KB of them.
fn rows() -> Vec<u8> {
    let mut out = Vec::new();
    let value = [b'x'; ROW_BYTES];
    let len = u32::try_from(ROW_BYTES).unwrap_or(u32::MAX).to_be_bytes();
    while out.len() < 64 * 1024 {
        message(&mut out, b'D', &[&[0, 1], &len, &value]);
    }
    out
}
