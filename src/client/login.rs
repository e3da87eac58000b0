//! From an accepted socket to a client that has proven who it is.
//!
//! Nothing that happens here reaches a server, and nothing that a client says here may make us
//! reserve more than a small, fixed amount of memory.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::condition;
use super::lobby::Share;
use crate::auth::{Account, Binding, ClientAuth, Method, Mock, Outcome, Proof, Rejection};
use crate::net::socket::Socket;
use crate::net::tls::{Accepted, ClientCertificate, ClientTls, Start, TlsError};
use crate::wire::frame::{self, FrameError, HEADER_LEN};
use crate::wire::reply::{self, Report};
use crate::wire::startup::{self, CancelRequest, NEWEST_MINOR, Packet, Startup, StartupError};

/// What a connection turned out to be for.
#[derive(Debug)]
pub enum Opening {
    /// A session.
    Startup(Startup),
    /// The cancelling of somebody's request.
    Cancel(CancelRequest),
}

/// Why a connection did not become a client.
#[derive(Debug, Error)]
pub enum LoginError {
    /// It was closed or failed.
    #[error("client unexpected eof")]
    Gone(#[from] io::Error),
    /// Its first packet was not understood.
    #[error(transparent)]
    Startup(#[from] StartupError),
    /// It sent something behind a request for encryption, before our answer.
    #[error("received unencrypted data after SSL or GSSENC request")]
    Stuffed,
    /// It asked for encryption again and again.
    #[error("too many requests for encryption")]
    Repeated,
    /// It came in clear, and must not.
    #[error("SSL required")]
    Clear,
    /// TLS with it came to nothing.
    #[error("TLS handshake failed: {0}")]
    Tls(#[from] TlsError),
    /// It sent what is no message of a login.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It sent another message than was due.
    #[error("expected a password message, got message type {0:#04x}")]
    NotPassword(u8),
    /// All strangers together have sent too much.
    #[error("no more connections allowed (unauthenticated_memory)")]
    Crowded,
    /// A proof could not be computed.
    #[error("the proof could not be checked")]
    Unchecked,
    /// It did not prove who it is.
    #[error(transparent)]
    Rejected(Rejection),
}

impl LoginError {
    /// What the client is told; nothing where nobody would understand it.
    pub fn report(&self, user: &str) -> Option<Report> {
        Some(match self {
            Self::Gone(_) | Self::Stuffed | Self::Repeated | Self::Tls(_) | Self::Unchecked => {
                return None;
            }
            Self::Clear => condition::TLS_REQUIRED.report(),
            Self::Crowded => condition::TOO_MANY_CLIENTS.about("unauthenticated_memory"),
            Self::Startup(StartupError::Version { .. }) => condition::PROTOCOL_VERSION.about(self),
            Self::Startup(_) | Self::Frame(_) | Self::NotPassword(_) => {
                condition::LOGIN_PROTOCOL.about(self)
            }
            // Why it was not proven is for the log alone.
            Self::Rejected(Rejection::NotProven(_)) => condition::NOT_PROVEN.about(user),
            Self::Rejected(rejection @ (Rejection::Mechanism | Rejection::Malformed(_))) => {
                condition::LOGIN_PROTOCOL.about(rejection)
            }
        })
    }
}

/// Requests for encryption that a client may make: one of each kind.
const NEGOTIATIONS_MAX: usize = 2;
/// The longest message of a login, its length word included.
const LOGIN_MESSAGE_MAX: u32 = 64 * 1024;

/// What a client that speaks TLS costs, before it has said anything: its state and buffers.
const TLS_LEN: usize = 40 * 1024;

/// Bytes read at once during a login. What a client sends before it may is seen with it.
const CHUNK: usize = 1024;

/// A connection that logs in: its socket, and what it has sent and we have not looked at.
#[derive(Debug)]
pub struct Stranger {
    socket: Socket,
    sent: Vec<u8>,
    looked_at: usize,
    /// TLS, if clients may speak it.
    tls: Option<Arc<ClientTls>>,
    /// The certificate that it has shown.
    certificate: Option<Box<ClientCertificate>>,
    /// What binds its channel.
    binding: Option<Binding>,
    /// How it proves who it is, once it has been asked.
    method: Option<&'static str>,
    /// What it has sent, among all strangers.
    share: Share,
}

impl Stranger {
    /// Somebody who has just connected, and may speak TLS if there is any.
    pub fn new(socket: Socket, tls: Option<Arc<ClientTls>>, share: Share) -> Self {
        // A unix socket has none, and needs none.
        let tls = tls.filter(|_| !matches!(socket, Socket::Unix(_)));
        let (certificate, binding, method) = (None, None, None);
        Self { socket, sent: Vec::new(), looked_at: 0, tls, certificate, binding, method, share }
    }

    /// The certificate that it has shown and that an authority of ours has signed.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_deref()
    }

    /// How it proves who it is; `None` before it has been asked.
    pub fn method(&self) -> Option<&'static str> {
        self.method
    }

    /// Its socket.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Its socket, and what it has sent behind its login.
    pub fn into_parts(mut self) -> (Socket, Vec<u8>) {
        self.sent.drain(..self.looked_at);
        (self.socket, self.sent)
    }

    /// Reads up to the packet that says what the connection is for, and speaks TLS if the client
    /// wants to and may.
    ///
    /// # Errors
    /// As [`LoginError`] says; the client has been told.
    pub async fn opening(mut self) -> Result<(Self, Opening), LoginError> {
        if self.tls.is_some() && self.starts_tls().await? {
            self = self.encrypt(Start::Direct).await?;
        }
        for _ in 0..=NEGOTIATIONS_MAX {
            let packet = match self.first_packet().await {
                Ok(packet) => packet,
                Err(error) => return Err(self.told(error)),
            };
            match packet {
                Packet::Startup(_) if self.must_encrypt() => {
                    return Err(self.told(LoginError::Clear));
                }
                Packet::Startup(startup) => return Ok((self, Opening::Startup(startup))),
                // libpq cancelled in clear up to version 16, whatever the connection had.
                Packet::Cancel(cancel) => return Ok((self, Opening::Cancel(cancel))),
                Packet::Ssl | Packet::Gss if self.socket.cipher().is_some() => break,
                // Whoever waits for our answer has nothing to say before it.
                Packet::Ssl | Packet::Gss if self.looked_at < self.sent.len() => {
                    return Err(LoginError::Stuffed);
                }
                Packet::Ssl if self.tls.is_some() => {
                    self.socket.write_all(b"S").await?;
                    self.sent.clear();
                    self.looked_at = 0;
                    self = self.encrypt(Start::Asked).await?;
                }
                Packet::Ssl | Packet::Gss => self.socket.write_all(b"N").await?,
            }
        }
        Err(LoginError::Repeated)
    }

    /// Whether the client starts with the first byte of TLS.
    async fn starts_tls(&mut self) -> Result<bool, LoginError> {
        const HANDSHAKE: u8 = 0x16;
        self.fill(1).await?;
        Ok(self.sent.first() == Some(&HANDSHAKE))
    }

    fn must_encrypt(&self) -> bool {
        self.socket.cipher().is_none() && self.tls.as_ref().is_some_and(|tls| tls.is_required())
    }

    async fn encrypt(self, start: Start) -> Result<Self, LoginError> {
        let Self { socket, sent, tls, mut share, .. } = self;
        let Some(tls) = tls else {
            return Err(LoginError::Repeated);
        };
        if !share.grow(TLS_LEN) {
            return Err(LoginError::Crowded);
        }
        let Accepted { socket, certificate, end_point } = tls.accept(socket, sent, start).await?;
        let mut stranger = Self::new(socket, Some(tls), share);
        stranger.certificate = certificate.map(Box::new);
        stranger.binding = end_point.map(Binding);
        Ok(stranger)
    }

    /// Tells the client of an error, where it would understand it.
    fn told(&mut self, error: LoginError) -> LoginError {
        if let Some(report) = error.report("") {
            refuse(&mut self.socket, &[], &report);
        }
        error
    }

    async fn first_packet(&mut self) -> Result<Packet, LoginError> {
        let word = self.take(4).await?;
        let word = word.first_chunk().copied().unwrap_or_default();
        let len = startup::packet_len(word)? - word.len();
        Ok(startup::read(self.take(len).await?)?)
    }

    /// Has the client prove who it is. What is given beside the proof ends with
    /// AuthenticationOk, and is not sent yet. What proves nothing is held against the account that
    /// `renewed` gives, if there is another by now and the exchange allows it.
    ///
    /// # Errors
    /// As [`LoginError`] says.
    pub async fn authenticate(
        &mut self,
        method: Method,
        user: &str,
        account: Account,
        mock: &Mock,
        renewed: impl AsyncFnOnce() -> Option<Account>,
    ) -> Result<(Proof, Vec<u8>), LoginError> {
        let mut renewed = Some(renewed);
        let (mut auth, mut outcome) =
            ClientAuth::start(method, user, account, mock, self.binding.clone());
        loop {
            self.method = Some(auth.method());
            match outcome {
                Outcome::Rejected(rejection) => return Err(LoginError::Rejected(rejection)),
                Outcome::Accepted { send, proof } => return Ok((proof, send)),
                Outcome::Send(message) => {
                    self.socket.write_all(&message).await?;
                    let body = self.password_message().await?.to_vec();
                    let again = auth.again();
                    (auth, outcome) = self.check(auth, &body).await?;
                    if let Outcome::Rejected(Rejection::NotProven(_)) = outcome
                        && let Some((again, renewed)) = again.zip(renewed.take())
                        && let Some(account) = Box::pin(renewed()).await
                    {
                        (auth, outcome) = self.check(again.against(account), &body).await?;
                    }
                }
            }
        }
    }

    /// Takes a message of the client; beside the event loop where that takes long.
    async fn check(
        &self,
        mut auth: ClientAuth,
        body: &[u8],
    ) -> Result<(ClientAuth, Outcome), LoginError> {
        if !auth.is_costly() {
            let outcome = auth.received(body);
            return Ok((auth, outcome));
        }
        let body = body.to_vec();
        let received = move || {
            let outcome = auth.received(&body);
            (auth, outcome)
        };
        self.share.lobby().compute(received).await.ok_or(LoginError::Unchecked)
    }

    async fn password_message(&mut self) -> Result<&[u8], LoginError> {
        let start = self.take(HEADER_LEN).await?;
        let header = match frame::header(start, LOGIN_MESSAGE_MAX)? {
            Some(header) if header.tag == b'p' => header,
            _ => return Err(LoginError::NotPassword(start.first().copied().unwrap_or_default())),
        };
        self.take(header.body_len).await
    }

    /// The next `count` bytes; `count` is bounded by the caller.
    async fn take(&mut self, count: usize) -> Result<&[u8], LoginError> {
        self.fill(count).await?;
        self.looked_at = count;
        Ok(self.sent.get(..count).unwrap_or_default())
    }

    /// Has at least `count` bytes that were not looked at.
    async fn fill(&mut self, count: usize) -> Result<(), LoginError> {
        self.sent.drain(..self.looked_at);
        self.looked_at = 0;
        while self.sent.len() < count {
            let mut chunk = [0; CHUNK];
            let read = self.socket.read(&mut chunk).await?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if !self.share.grow(read) {
                return Err(LoginError::Crowded);
            }
            self.sent.extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
        Ok(())
    }
}

/// What tells a client which protocol it gets where that is not what it asked for.
pub fn negotiation(startup: &Startup) -> Vec<u8> {
    let mut out = Vec::new();
    if startup.minor > NEWEST_MINOR || !startup.protocol_options.is_empty() {
        let minor = startup.minor.min(NEWEST_MINOR);
        reply::negotiate(&mut out, minor, &startup.protocol_options);
    }
    out
}

/// Says why there is no session, behind what was not sent yet, as far as the client takes it
/// without waiting.
pub fn refuse(socket: &mut Socket, greeting: &[u8], report: &Report) {
    let mut out = greeting.to_vec();
    report.write(&mut out);
    match socket.try_write(&out) {
        Ok(_) => socket.farewell(),
        Err(error) => tracing::debug!(%error, "client did not take its refusal"),
    }
}

/// A name out of a startup packet. Names are compared as text; one that is no text is nobody's.
pub fn name(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}
