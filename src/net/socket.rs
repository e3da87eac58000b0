//! A stream to a peer: TCP, a unix socket or TLS, polled without a buffer of its own.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tls::{Cipher, TlsStream, Validity};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Host name or IP address, and port.
    Tcp(String, u16),
    /// Path of the socket itself.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// TCP options of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpOptions {
    /// Ask an idle peer for a sign of life.
    pub keepalive: bool,
    /// Idle time before the first ask; the system's where unset.
    pub keepalive_idle: Option<Duration>,
    /// Time between asks; the system's where unset.
    pub keepalive_interval: Option<Duration>,
    /// Asks without an answer before the connection is given up; the system's where unset.
    pub keepalive_count: Option<u32>,
    /// How long sent data may stay unacknowledged; the system's where unset.
    pub user_timeout: Option<Duration>,
}

/// A connected stream.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(TlsSocket),
}

/// A socket that speaks TLS. Boxed: it is large, and most sockets are none.
#[derive(Debug)]
pub struct TlsSocket(pub(super) Box<TlsStream>);

impl Socket {
    /// Connects. TCP tries every address of the name in turn.
    ///
    /// # Errors
    /// The system's, of the last address tried.
    pub async fn connect(address: &Address, options: &TcpOptions) -> io::Result<Self> {
        match address {
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                tune(&stream, options)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
        }
    }

    /// Registers the stream with the loop of the calling thread instead of the one it was on.
    ///
    /// # Errors
    /// The system's; the stream is closed then.
    pub fn rehome(self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream.into_std()?).map(Self::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream.into_std()?).map(Self::Unix),
            Self::Tls(TlsSocket(stream)) => stream.rehome().map(TlsSocket).map(Self::Tls),
        }
    }

    /// What it is encrypted with; `None` for a stream in clear.
    pub fn cipher(&self) -> Option<Cipher> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(TlsSocket(stream)) => Some(stream.cipher()),
        }
    }

    /// How long the certificate that the peer has shown is good for; `None` where it has shown none.
    pub fn peer_validity(&self) -> Option<Validity> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(TlsSocket(stream)) => stream.peer_validity(),
        }
    }

    /// Whether it holds nothing that has come and was not read, as a part of an encrypted record
    /// is.
    #[inline]
    pub fn is_drained(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => true,
            Self::Tls(TlsSocket(stream)) => stream.is_drained(),
        }
    }

    /// Both ends of it, ours first; `None` for a unix socket, and for one that is closed.
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.0.tcp(),
            Self::Unix(_) => return None,
        };
        Some((stream.local_addr().ok()?, stream.peer_addr().ok()?))
    }

    /// The number by which the process knows it. The lowest free one is given to a new socket.
    pub fn number(&self) -> usize {
        let number = match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tls(stream) => stream.0.tcp().as_raw_fd(),
        };
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    /// Reads what is there into `buffer`; 0 means that the peer has closed.
    #[inline]
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let polled = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Self::Tls(TlsSocket(stream)) => {
                return stream.poll_read(cx, buffer.initialize_unfilled());
            }
        };
        polled.map_ok(|()| buffer.filled().len())
    }

    /// Writes some of `bytes`. They have gone out only when [`poll_flush`](Self::poll_flush) is
    /// ready as well.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(TlsSocket(stream)) => stream.poll_write(cx, bytes),
        }
    }

    /// Ready when what was written has gone out: what is encrypted may wait for the socket.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(TlsSocket(stream)) => stream.poll_flush(cx),
        }
    }

    /// Tells the peer that nothing more comes, where that takes more than closing, as far as it
    /// takes it without waiting. Nothing may be written after this.
    pub fn farewell(&mut self) {
        if let Self::Tls(TlsSocket(stream)) = self {
            stream.close_notify();
        }
    }

    /// Reads what the loop already knows to be there: `WouldBlock`, mostly without a system
    /// call, when nothing has come since the last read.
    ///
    /// # Errors
    /// The system's.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tls(TlsSocket(stream)) => stream.try_read(buffer),
        }
    }

    /// Reads what is there by a system call, whatever the loop knows: for a socket that it has
    /// only just got.
    ///
    /// # Errors
    /// The system's; `WouldBlock` when nothing has come.
    pub fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let socket = match self {
            Self::Tcp(stream) => SockRef::from(&*stream),
            Self::Unix(stream) => SockRef::from(&*stream),
            Self::Tls(TlsSocket(stream)) => return stream.read_now(buffer),
        };
        io::Read::read(&mut &*socket, buffer)
    }

    /// Writes what the socket takes without waiting.
    ///
    /// # Errors
    /// The system's.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tls(TlsSocket(stream)) => stream.try_write(bytes),
        }
    }

    /// Reads some bytes.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Cancel safety
    /// Safe: nothing is read unless it returns.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// Reads until `buffer` is full.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer closes before; otherwise the system's.
    ///
    /// # Cancel safety
    /// Not safe: bytes read are lost. For logins, which a cancelled read ends.
    pub async fn read_exact(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let count = self.read(buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = buffer.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Cancel safety
    /// Not safe: some may have been written. For what a cancelled write ends.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(count..).unwrap_or_default();
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(TlsSocket(stream)) => {
                let count = ready!(stream.poll_read(cx, buffer.initialize_unfilled()))?;
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Socket::poll_write(self.get_mut(), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Socket::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(TlsSocket(stream)) => stream.poll_shutdown(cx),
        }
    }
}

/// Sets the options of a TCP socket. Those of a listener are those of what it accepts.
///
/// # Errors
/// The system's.
pub fn tune<'s>(socket: impl Into<SockRef<'s>>, options: &TcpOptions) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(true)?;
    if options.keepalive {
        let mut keepalive = TcpKeepalive::new();
        if let Some(idle) = options.keepalive_idle {
            keepalive = keepalive.with_time(idle);
        }
        if let Some(interval) = options.keepalive_interval {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(count) = options.keepalive_count {
            keepalive = keepalive.with_retries(count);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    Ok(())
}

/// Bytes that wait until their peer takes them. A pointer, and nothing behind it while none do.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Empty while only what the socket itself holds waits.
    pending: Option<Box<Pending>>,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    /// Nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pending.is_none()
    }

    /// How many bytes wait, those written of them included.
    pub fn len(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.bytes.len())
    }

    /// Appends bytes without trying to write them.
    pub fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.pending.get_or_insert_default().bytes.extend_from_slice(bytes);
        }
    }

    /// Writes `bytes` after what waits, as much as `socket` takes, and keeps the rest.
    ///
    /// # Errors
    /// The system's.
    #[inline]
    pub fn send(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        if !self.is_empty() {
            self.push(bytes);
            return self.flush(socket, cx);
        }
        while !bytes.is_empty() {
            match socket.poll_write(cx, bytes)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Poll::Pending => {
                    self.push(bytes);
                    return Ok(());
                }
            }
        }
        if socket.poll_flush(cx)?.is_pending() {
            self.pending = Some(Box::default());
        }
        Ok(())
    }

    /// Writes what waits, as much as `socket` takes. The buffer goes when it is empty.
    ///
    /// # Errors
    /// The system's.
    pub fn flush(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        loop {
            let rest = pending.bytes.get(pending.written..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match socket.poll_write(cx, rest)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => pending.written += count,
                Poll::Pending => return Ok(()),
            }
        }
        if socket.poll_flush(cx)?.is_ready() {
            self.pending = None;
        } else {
            **pending = Pending::default();
        }
        Ok(())
    }
}

/// Bytes of a message that is not complete yet. A pointer, and nothing behind it between messages.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Never empty.
    #[expect(clippy::box_collection, reason = "mostly there is none, and idle clients are many")]
    held: Option<Box<Vec<u8>>>,
}

impl Inbox {
    /// Holds nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.held.is_none()
    }

    /// How many bytes are held.
    pub fn len(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.len())
    }

    /// What is held.
    pub fn held(&self) -> &[u8] {
        self.held.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Holds these bytes behind what is held.
    pub fn hold(&mut self, fresh: &[u8]) {
        if !fresh.is_empty() {
            self.held.get_or_insert_default().extend_from_slice(fresh);
        }
    }

    /// Holds these bytes before what is held.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.put_in_place(0, bytes);
    }

    /// Holds these bytes in the place of the first of what is held.
    pub fn put_in_place(&mut self, count: usize, bytes: &[u8]) {
        let before = std::mem::take(self);
        self.hold(bytes);
        self.hold(before.held().get(count..).unwrap_or_default());
    }

    /// Shows `judge` what was held with the `fresh` bytes behind it, and keeps what it did not
    /// use: it gives the number of bytes that it did.
    ///
    /// # Errors
    /// Those of `judge`; nothing is held after one.
    #[inline]
    pub fn join<E>(
        &mut self,
        fresh: &[u8],
        judge: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let Some(mut held) = self.held.take() else {
            let used = judge(fresh)?;
            self.hold(fresh.get(used..).unwrap_or_default());
            return Ok(());
        };
        held.extend_from_slice(fresh);
        let used = judge(&held)?;
        if used < held.len() {
            held.drain(..used);
            self.held = Some(held);
        }
        Ok(())
    }
}
