//! One client's connection: login, then scripted exchanges, with as little work as can be.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::scram::{Salted, client_first};
use crate::script::{Step, Until};
use crate::wire::{self, Scan, body_len};

const SCRATCH: usize = 128 * 1024;

/// No login message of a server is longer than this.
const LOGIN_MESSAGE_BYTES_MAX: usize = 10_000;

thread_local! {
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
    static SALTED: RefCell<Salted> = RefCell::default();
}

/// Where clients connect to and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) names: Arc<[String]>,
}

/// The password of every user.
pub(crate) const PASSWORD: &str = "bench";

/// A logged-in connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    scan: Scan,
}

impl Client {
    /// Connects and logs in as the `number`th client; user and database have the same name.
    pub(crate) async fn connect(target: &Target, number: usize) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(target.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let name = target.names.iter().cycle().nth(number % target.names.len().max(1));
        let name = name.context("a name to log in with")?;
        let mut out = Vec::new();
        wire::startup(
            &mut out,
            &[
                ("user", name),
                ("database", name),
                ("client_encoding", "UTF8"),
                ("application_name", "compare"),
            ],
        );
        stream.write_all(&out).await.context("startup")?;
        let nonce = format!("{:?}", stream.local_addr()?).replace(',', "-");
        let mut body = Vec::new();
        loop {
            let kind = read_message(&mut stream, &mut body).await.context("login")?;
            match kind {
                b'R' => {
                    let reply = authenticate(&body, &nonce)?;
                    stream.write_all(&reply).await?;
                }
                b'Z' => break,
                b'E' => bail!("login: {}", wire::error_text(&body)),
                _ => {}
            }
        }
        Ok(Self { stream, scan: Scan::default() })
    }

    /// Performs one step.
    pub(crate) async fn perform(&mut self, step: &Step) -> anyhow::Result<()> {
        let mut sent = 0;
        poll_fn(|cx| self.poll_send(cx, &step.bytes, &mut sent)).await?;
        match step.until {
            Until::Sent => Ok(()),
            Until::Ready => self.wait_for(b'Z').await,
            Until::CopyIn => self.wait_for(b'G').await,
        }
    }

    /// Writes without waiting what is small enough for a socket's buffer.
    pub(crate) fn send_now(&self, bytes: &[u8]) -> anyhow::Result<()> {
        if self.stream.try_write(bytes).context("send")? < bytes.len() {
            bail!("the socket's buffer is full");
        }
        Ok(())
    }

    /// Reads until a message of this type has ended.
    pub(crate) async fn wait_for(&mut self, awaited: u8) -> anyhow::Result<()> {
        poll_fn(|cx| self.poll_wait_for(cx, awaited)).await
    }

    /// Says goodbye.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        let mut out = Vec::new();
        wire::terminate(&mut out);
        self.stream.write_all(&out).await.context("goodbye")
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        sent: &mut usize,
    ) -> Poll<anyhow::Result<()>> {
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            *sent += ready!(Pin::new(&mut self.stream).poll_write(cx, rest)).context("send")?;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads until a message of this type has ended.
    pub(crate) fn poll_wait_for(
        &mut self,
        cx: &mut Context<'_>,
        awaited: u8,
    ) -> Poll<anyhow::Result<()>> {
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            loop {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).context("receive")?;
                if buffer.filled().is_empty() {
                    bail_ready("the connection was closed")?;
                }
                let (mut arrived, mut failed) = (false, false);
                self.scan.feed(buffer.filled(), |kind| {
                    arrived |= kind == awaited;
                    failed |= kind == b'E';
                });
                if failed {
                    bail_ready(&self.scan.error())?;
                }
                if arrived {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }
}

fn bail_ready(text: &str) -> anyhow::Result<()> {
    bail!("{text}")
}

/// Reads one message into `body` and returns its type.
async fn read_message(stream: &mut TcpStream, body: &mut Vec<u8>) -> anyhow::Result<u8> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let [kind, length @ ..] = head;
    let len = body_len(length);
    if len > LOGIN_MESSAGE_BYTES_MAX {
        bail!("a message of {len} bytes");
    }
    body.resize(len, 0);
    stream.read_exact(body).await?;
    Ok(kind)
}

/// The answer to an authentication request; empty where none is due.
fn authenticate(body: &[u8], nonce: &str) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let Some((code, rest)) = body.split_first_chunk::<4>() else {
        bail!("an authentication request without a code");
    };
    match u32::from_be_bytes(*code) {
        0 | 12 => {}
        10 => {
            let first = client_first(nonce);
            let len = u32::try_from(first.len())?.to_be_bytes();
            wire::message(&mut out, b'p', &[b"SCRAM-SHA-256\0", &len, first.as_bytes()]);
        }
        11 => {
            let server_first = std::str::from_utf8(rest)?;
            let last = SALTED
                .with_borrow_mut(|salted| salted.client_final(PASSWORD, nonce, server_first))?;
            wire::message(&mut out, b'p', &[last.as_bytes()]);
        }
        other => bail!("authentication request {other} is not known here"),
    }
    Ok(out)
}
