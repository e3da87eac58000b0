//! From an accepted socket to a client that has proven who it is.
//!
//! Nothing that happens here reaches a server, and nothing that a client says here may make us
//! reserve more than a small, fixed amount of memory.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::auth::{Account, ClientAuth, Method, Mock, Outcome, Proof, Rejection};
use crate::net::socket::Socket;
use crate::wire::frame::{self, FrameError, HEADER_LEN};
use crate::wire::reply::{self, Report, Severity};
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
    /// It sent what is no message of a login.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It sent another message than was due.
    #[error("expected a password message, got message type {0:#04x}")]
    NotPassword(u8),
    /// It did not prove who it is.
    #[error("authentication failed: {0}")]
    Rejected(Rejection),
}

impl LoginError {
    /// What the client is told; nothing where nobody would understand it.
    pub fn report(&self, user: &str) -> Option<Report> {
        let (sqlstate, message) = match self {
            Self::Gone(_) | Self::Stuffed | Self::Repeated => return None,
            Self::Startup(StartupError::Version { .. }) => ("0A000", self.to_string()),
            Self::Startup(_) | Self::Frame(_) | Self::NotPassword(_) => ("08P01", self.to_string()),
            // Why it was not proven is for the log alone.
            Self::Rejected(Rejection::NotProven(_)) => {
                ("28P01", format!("password authentication failed for user \"{user}\""))
            }
            Self::Rejected(rejection @ (Rejection::Mechanism | Rejection::Malformed(_))) => {
                ("08P01", rejection.to_string())
            }
        };
        Some(refusal(sqlstate, message))
    }
}

/// An end before the first ReadyForQuery.
pub fn refusal(sqlstate: &'static str, message: impl Into<String>) -> Report {
    Report {
        severity: Severity::Fatal,
        sqlstate: sqlstate.into(),
        message: message.into(),
        detail: None,
        hint: None,
    }
}

/// Requests for encryption that a client may make: one of each kind.
const NEGOTIATIONS_MAX: usize = 2;
/// The longest message of a login, its length word included.
const LOGIN_MESSAGE_MAX: u32 = 64 * 1024;

/// Reads up to the packet that says what the connection is for. Encryption is declined.
///
/// # Errors
/// As [`LoginError`] says.
pub async fn opening(socket: &mut Socket) -> Result<Opening, LoginError> {
    for _ in 0..=NEGOTIATIONS_MAX {
        match first_packet(socket).await? {
            Packet::Startup(startup) => return Ok(Opening::Startup(startup)),
            Packet::Cancel(cancel) => return Ok(Opening::Cancel(cancel)),
            Packet::Ssl | Packet::Gss => {
                // Whoever waits for our answer has nothing to say before it.
                match socket.try_read(&mut [0]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                    Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                    Ok(_) => return Err(LoginError::Stuffed),
                }
                socket.write_all(b"N").await?;
            }
        }
    }
    Err(LoginError::Repeated)
}

async fn first_packet(socket: &mut Socket) -> Result<Packet, LoginError> {
    let mut word = [0; 4];
    socket.read_exact(&mut word).await?;
    let mut packet = vec![0; startup::packet_len(word)? - word.len()];
    socket.read_exact(&mut packet).await?;
    Ok(startup::read(&packet)?)
}

/// Tells the client which protocol it gets where that is not what it asked for.
///
/// # Errors
/// The socket's.
pub async fn negotiate(socket: &mut Socket, startup: &Startup) -> io::Result<()> {
    if startup.minor <= NEWEST_MINOR && startup.protocol_options.is_empty() {
        return Ok(());
    }
    let mut out = Vec::new();
    reply::negotiate(&mut out, startup.minor.min(NEWEST_MINOR), &startup.protocol_options);
    socket.write_all(&out).await
}

/// Has the client prove who it is. AuthenticationOk is part of what this sends.
///
/// # Errors
/// As [`LoginError`] says.
pub async fn authenticate(
    socket: &mut Socket,
    method: Method,
    user: &str,
    account: Account,
    mock: &Mock,
) -> Result<Proof, LoginError> {
    let (mut auth, mut outcome) = ClientAuth::start(method, user, account, mock);
    loop {
        match outcome {
            Outcome::Rejected(rejection) => return Err(LoginError::Rejected(rejection)),
            Outcome::Accepted { send, proof } => {
                socket.write_all(&send).await?;
                return Ok(proof);
            }
            Outcome::Send(message) => {
                socket.write_all(&message).await?;
                let body = password_message(socket).await?;
                outcome = auth.received(&body);
            }
        }
    }
}

async fn password_message(socket: &mut Socket) -> Result<Vec<u8>, LoginError> {
    let mut start = [0; HEADER_LEN];
    socket.read_exact(&mut start).await?;
    let header = match frame::header(&start, LOGIN_MESSAGE_MAX)? {
        Some(header) if header.tag == b'p' => header,
        _ => return Err(LoginError::NotPassword(start[0])),
    };
    let mut body = vec![0; header.body_len];
    socket.read_exact(&mut body).await?;
    Ok(body)
}

/// Says why there is no session, as far as the client takes it without waiting.
pub fn refuse(socket: &Socket, report: &Report) {
    let mut out = Vec::new();
    report.write(&mut out);
    if let Err(error) = socket.try_write(&out) {
        tracing::debug!(%error, "client did not take its refusal");
    }
}

/// A name out of a startup packet. Names are compared as text; one that is no text is nobody's.
pub fn name(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}
