//! An encrypted stream: TLS records over TCP, polled like a plain one.
//!
//! Invariants: what is decrypted is read before the socket is waited for; a record that has come
//! whole is decrypted at once; what is encrypted goes out in order, and at most one write of it
//! waits for the socket. At rest it holds no buffer: bytes are encrypted and decrypted in the
//! thread's scratch buffers, by the half of rustls that has none of its own.

use std::future::poll_fn;
use std::io;
use std::mem::take;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::Error;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Cipher;
use super::certificate::{Certificate, Validity};
use super::session::{Seal, Session, Step, Work, is_of_record};
use super::turn::in_turn;
use crate::net::scratch::{self, INPUT_LEN};

/// See the module.
#[derive(Debug)]
pub(in crate::net) struct TlsStream {
    tcp: TcpStream,
    session: Session,
    stage: Stage,
    /// The start of a record that has not come whole.
    incoming: Vec<u8>,
    /// What is decrypted and was not read, because the reader had no more room.
    plain: Vec<u8>,
    /// How much of `plain` has been read.
    plain_read: usize,
    /// What is encrypted and the socket has not taken.
    outgoing: Vec<u8>,
    /// How much of `outgoing` it has taken.
    written: usize,
}

/// How far the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Open,
    /// The peer has said that nothing more comes.
    Ended,
    /// What came was no TLS.
    Failed,
}

/// Encrypted bytes that may wait for the end of a record: the longest one is shorter.
const HELD_MAX: usize = 32 * 1024;
/// At least so many bytes are read at once, however little room the reader has.
const READ_MIN: usize = 4096;
/// Bytes that are encrypted by one write.
const WRITE_MAX: usize = INPUT_LEN;

impl TlsStream {
    /// Answers a client that starts TLS. `ahead` is what it has sent already.
    pub(super) async fn accept(
        tcp: TcpStream,
        session: UnbufferedServerConnection,
        ahead: Vec<u8>,
    ) -> Result<Box<Self>, Failed> {
        Self::open(tcp, Session::Accepted(session), ahead).await
    }

    /// Starts TLS with a server.
    pub(super) async fn connect(
        tcp: TcpStream,
        session: UnbufferedClientConnection,
    ) -> Result<Box<Self>, Failed> {
        Self::open(tcp, Session::Connected(session), Vec::new()).await
    }

    async fn open(
        tcp: TcpStream,
        session: Session,
        incoming: Vec<u8>,
    ) -> Result<Box<Self>, Failed> {
        let mut heard = !incoming.is_empty();
        let mut stream = Box::new(Self {
            tcp,
            session,
            stage: Stage::Handshake,
            incoming,
            plain: Vec::new(),
            plain_read: 0,
            outgoing: Vec::new(),
            written: 0,
        });
        let mut held = take(&mut stream.incoming);
        let mut judged = in_turn(|| stream.decrypt(&mut held, &mut [])).await.map(|_| ());
        loop {
            // The last word may say why we refuse.
            let sent = poll_fn(|cx| stream.poll_flush(cx)).await;
            judged.map_err(Failed::Tls)?;
            sent.map_err(|error| Failed::Lost { error, heard })?;
            match stream.stage {
                Stage::Handshake => {}
                Stage::Open => return Ok(stream),
                Stage::Ended | Stage::Failed => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Err(Failed::Lost { error, heard });
                }
            }
            // Nobody is waited for while it is our turn.
            stream.tcp.readable().await.map_err(|error| Failed::Lost { error, heard })?;
            let read = in_turn(|| {
                stream.poll_decrypt(&mut [], |tcp, chunk| or_pending(tcp.try_read(chunk)))
            });
            judged = match read.await {
                Poll::Pending => Ok(()),
                Poll::Ready(Ok((0, _))) => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Err(Failed::Lost { error, heard });
                }
                Poll::Ready(Ok(_)) => {
                    heard = true;
                    Ok(())
                }
                Poll::Ready(Err(Broken::Io(error))) => return Err(Failed::Lost { error, heard }),
                Poll::Ready(Err(Broken::Tls(error))) => Err(error),
            };
        }
    }

    /// What the peer has shown of itself, its own certificate first.
    pub(super) fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.session.common().peer_certificates().unwrap_or_default()
    }

    /// How long the peer's own certificate is good for.
    pub(in crate::net) fn peer_validity(&self) -> Option<Validity> {
        let shown = Certificate::parse(self.peer_certificates().first()?)?;
        Some(shown.validity())
    }

    /// The protocol that was agreed on to go on with.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.session.common().alpn_protocol()
    }

    /// The socket below.
    pub(in crate::net) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What it is encrypted with.
    pub(in crate::net) fn cipher(&self) -> Cipher {
        Cipher::of(self.session.common())
    }

    /// Whether nothing has come that was not read.
    pub(in crate::net) fn is_drained(&self) -> bool {
        self.incoming.is_empty() && self.plain.is_empty()
    }

    /// Memory that waits for more to come or to go.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.incoming.capacity() + self.plain.capacity() + self.outgoing.capacity()
    }

    /// See [`Socket::rehome`](crate::net::socket::Socket::rehome).
    pub(in crate::net) fn rehome(self: Box<Self>) -> io::Result<Box<Self>> {
        let Self { tcp, .. } = *self;
        let tcp = TcpStream::from_std(tcp.into_std()?)?;
        Ok(Box::new(Self { tcp, ..*self }))
    }

    /// See [`Socket::poll_read`](crate::net::socket::Socket::poll_read).
    pub(in crate::net) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_plain(buffer, |tcp, chunk| poll_tcp_read(tcp, cx, chunk))
    }

    /// See [`Socket::try_read`](crate::net::socket::Socket::try_read).
    pub(in crate::net) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        at_once(self.poll_plain(buffer, |tcp, chunk| or_pending(tcp.try_read(chunk))))
    }

    /// See [`Socket::read_now`](crate::net::socket::Socket::read_now).
    pub(in crate::net) fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        at_once(self.poll_plain(buffer, |tcp, chunk| {
            or_pending(io::Read::read(&mut &*SockRef::from(&*tcp), chunk))
        }))
    }

    /// See [`Socket::poll_write`](crate::net::socket::Socket::poll_write). Bytes are encrypted
    /// only when the socket has taken all that was encrypted before.
    pub(in crate::net) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        self.write(bytes, |tcp, sealed| Pin::new(tcp).poll_write(cx, sealed))
    }

    /// See [`Socket::try_write`](crate::net::socket::Socket::try_write).
    pub(in crate::net) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush_now()?;
        if !self.outgoing.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        at_once(self.write(bytes, |tcp, sealed| or_pending(tcp.try_write(sealed))))
    }

    /// Ready when the socket has taken all that was encrypted.
    pub(in crate::net) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flush(|tcp, sealed| Pin::new(tcp).poll_write(cx, sealed))
    }

    /// Tells the peer that nothing more comes, and closes our half.
    pub(in crate::net) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        self.close_notify();
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    /// Tells the peer that nothing more comes, if it takes that without waiting.
    pub(in crate::net) fn close_notify(&mut self) {
        if !matches!(self.stage, Stage::Open | Stage::Ended) || !self.outgoing.is_empty() {
            return;
        }
        let mut sealed = Vec::new();
        let work = Work { plain: &mut |_| {}, out: &mut self.outgoing, seal: Seal::Close };
        if self.session.seal(work, &mut sealed).is_ok() {
            self.outgoing.append(&mut sealed);
            // A peer that is gone, or does not read, can do without.
            drop(self.flush_now());
        }
    }

    fn flush_now(&mut self) -> io::Result<()> {
        match self.flush(|tcp, sealed| or_pending(tcp.try_write(sealed))) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    fn flush(
        &mut self,
        mut write: impl FnMut(&mut TcpStream, &[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.outgoing.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(write(&mut self.tcp, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        if !self.outgoing.is_empty() {
            (self.outgoing, self.written) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts bytes; what the socket does not take of them waits. `outgoing` is empty before.
    fn write(
        &mut self,
        bytes: &[u8],
        mut write: impl FnMut(&mut TcpStream, &[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.stage == Stage::Failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let bytes = bytes.get(..bytes.len().min(WRITE_MAX)).unwrap_or_default();
        scratch::with_sealed(|scratch| {
            let sealed = &mut scratch.output;
            let work =
                Work { plain: &mut |_| {}, out: &mut self.outgoing, seal: Seal::Bytes(bytes) };
            let len = self.session.seal(work, sealed).map_err(invalid)?;
            let mut rest = sealed.get(..len).unwrap_or_default();
            // Behind what TLS itself had to say, which is next to never.
            while self.outgoing.is_empty() && !rest.is_empty() {
                match write(&mut self.tcp, rest) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    Poll::Ready(Ok(count)) => rest = rest.get(count..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            self.outgoing.extend_from_slice(rest);
            Poll::Ready(Ok(bytes.len()))
        })
    }

    /// Reads what is decrypted already, else what comes.
    fn poll_plain(
        &mut self,
        buffer: &mut [u8],
        mut read: impl FnMut(&mut TcpStream, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !self.plain.is_empty() {
            return Poll::Ready(Ok(self.take_plain(buffer)));
        }
        loop {
            match self.stage {
                Stage::Handshake | Stage::Open => {}
                Stage::Ended => return Poll::Ready(Ok(0)),
                Stage::Failed => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            match ready!(self.poll_decrypt(buffer, &mut read)) {
                // Without a word of goodbye: messages have their own ends, and show what is missing.
                Ok((0, _)) => return Poll::Ready(Ok(0)),
                Ok((_, 0)) => {}
                Ok((_, decrypted)) => return Poll::Ready(Ok(decrypted)),
                Err(Broken::Io(error)) => return Poll::Ready(Err(error)),
                Err(Broken::Tls(error)) => return Poll::Ready(Err(invalid(error))),
            }
        }
    }

    fn take_plain(&mut self, buffer: &mut [u8]) -> usize {
        let rest = self.plain.get(self.plain_read..).unwrap_or_default();
        let count = copy(rest, buffer);
        self.plain_read += count;
        if self.plain_read >= self.plain.len() {
            (self.plain, self.plain_read) = (Vec::new(), 0);
        }
        count
    }

    /// Reads once and decrypts what has come whole, into `buffer` and what is more into `plain`.
    /// Gives how much was read, and how much of `buffer` was filled.
    fn poll_decrypt(
        &mut self,
        buffer: &mut [u8],
        mut read: impl FnMut(&mut TcpStream, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<Result<(usize, usize), Broken>> {
        let held = self.incoming.len();
        if held > HELD_MAX {
            self.stage = Stage::Failed;
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::InvalidData).into()));
        }
        // What is decrypted is shorter: with a buffer of some size there is room for all of it.
        let end = held + buffer.len().min(INPUT_LEN).saturating_sub(held).max(READ_MIN);
        scratch::with_sealed(|scratch| {
            let input = &mut scratch.input;
            if input.len() < end {
                input.resize(end, 0);
            }
            let count = ready!(read(&mut self.tcp, input.get_mut(held..end).unwrap_or_default()))?;
            if count == 0 {
                return Poll::Ready(Ok((0, 0)));
            }
            copy(&self.incoming, input);
            let sealed = input.get_mut(..held + count).unwrap_or_default();
            let filled = self.decrypt(sealed, buffer)?;
            // Alerts and new keys are rare; what does not go out now goes before the next write.
            self.flush_now()?;
            Poll::Ready(Ok((count, filled)))
        })
    }

    /// Decrypts what has come whole of `sealed`, which begins with what was held, and holds the
    /// rest. Gives how much of `buffer` was filled.
    fn decrypt(&mut self, sealed: &mut [u8], buffer: &mut [u8]) -> Result<usize, Error> {
        let Self { session, plain, outgoing, stage, incoming, .. } = self;
        let (mut filled, mut used) = (0, 0);
        let mut keep = |payload: &[u8]| {
            let taken = copy(payload, buffer.get_mut(filled..).unwrap_or_default());
            filled += taken;
            plain.extend_from_slice(payload.get(taken..).unwrap_or_default());
        };
        let judged = loop {
            let work = Work { plain: &mut keep, out: outgoing, seal: Seal::Nothing };
            let rest = sealed.get_mut(used..).unwrap_or_default();
            let (discard, step) = session.step(rest, work);
            used += discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Blocked) => break Ok(()),
                Ok(Step::Open) => {
                    if *stage == Stage::Handshake {
                        *stage = Stage::Open;
                    }
                    break Ok(());
                }
                Ok(Step::Ended) => {
                    *stage = Stage::Ended;
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = judged {
            *stage = Stage::Failed;
            // It may still have to say why.
            for _ in 0..ALERTS_MAX {
                let work = Work { plain: &mut |_| {}, out: outgoing, seal: Seal::Nothing };
                // rustls has found messages in these bytes, and looks for them there again; what is
                // no record would be an error once more.
                let rest = match is_of_record(&error) {
                    true => &mut [][..],
                    false => sealed.get_mut(used..).unwrap_or_default(),
                };
                let (discard, step) = session.step(rest, work);
                used += discard;
                if step.is_err() {
                    break;
                }
            }
            return Err(error);
        }
        match sealed.get(used..) {
            Some(rest) if !rest.is_empty() => {
                incoming.clear();
                incoming.extend_from_slice(rest);
            }
            _ => *incoming = Vec::new(),
        }
        Ok(filled)
    }
}

/// An error of ours is said in one alert.
const ALERTS_MAX: usize = 4;

/// Why a handshake came to nothing.
#[derive(Debug)]
pub(super) enum Failed {
    Tls(Error),
    /// The connection was lost; whether the peer had said anything before.
    Lost {
        error: io::Error,
        heard: bool,
    },
}

/// Why nothing was read.
enum Broken {
    Io(io::Error),
    Tls(Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Tls(error)
    }
}

/// Copies as much as there is room for.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..count), to.get_mut(..count)) {
        to.copy_from_slice(from);
    }
    count
}

fn poll_tcp_read(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    chunk: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(chunk);
    Pin::new(tcp).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
}

fn or_pending<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

fn at_once<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
