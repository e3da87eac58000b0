//! How a connection to a server gets its TLS: which of libpq's modes asks for it when, and the
//! packets that do.

use std::fmt;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::connect::ConnectError;
use crate::config::{SslMode, SslNegotiation};
use crate::net::socket::{Address, Socket};
use crate::net::tls::{Connected, ServerTls, TlsError};
use crate::wire::request;

/// What one connection demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// No TLS.
    Clear,
    /// TLS, if the server says that it has it.
    IfOffered,
    /// TLS.
    Demanded,
}

/// Why there is no TLS with a server.
#[derive(Clone, Debug, Error)]
pub enum EncryptError {
    /// It has none.
    #[error("server does not support TLS, which server_tls_sslmode demands")]
    NotOffered,
    /// It sent more than its answer, in clear: that came from somebody else.
    #[error("received unencrypted data after SSL response")]
    Stuffed,
    /// It answered neither yes nor no.
    #[error("received invalid response to SSL negotiation: {0:#04x}")]
    Answer(u8),
    /// The connection was lost.
    #[error("{0}")]
    Lost(Arc<str>),
    /// TLS came to nothing.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl EncryptError {
    /// What clients are told, who have no business with where servers are.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Tls(cause) => cause.told(),
            Self::NotOffered | Self::Stuffed | Self::Answer(_) | Self::Lost(_) => self.to_string(),
        }
    }
}

impl From<io::Error> for EncryptError {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string().into())
    }
}

impl Security {
    /// What to try, and what to try then.
    pub(super) fn in_turn(tls: Option<&ServerTls>) -> (Self, Option<Self>) {
        match tls.map(ServerTls::mode) {
            None | Some(SslMode::Disable) => (Self::Clear, None),
            Some(SslMode::Allow) => (Self::Clear, Some(Self::Demanded)),
            Some(SslMode::Prefer) => (Self::IfOffered, Some(Self::Clear)),
            Some(SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => {
                (Self::Demanded, None)
            }
        }
    }

    /// Whether it may go better this way after the other has failed; `was` says whether TLS was
    /// spoken then. A server that has rules for one of the two alone refuses the other with this
    /// SQLSTATE.
    pub(super) fn may_go_better(self, failed: &ConnectError, was: Spoken) -> bool {
        let not_like_this = failed.server_sqlstate() == Some(b"28000");
        match self {
            Self::Clear => {
                matches!(failed, ConnectError::Tls { .. }) || (not_like_this && was == Spoken::Yes)
            }
            Self::IfOffered | Self::Demanded => not_like_this,
        }
    }
}

/// Whether TLS was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Yes,
    No,
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear => "in clear",
            Self::IfOffered | Self::Demanded => "with TLS",
        })
    }
}

/// Gives a stream that has just been opened its TLS; without it only where the server has none and
/// that is good enough. Sockets of the same machine need none.
pub(super) async fn encrypt(
    mut socket: Socket,
    address: &Address,
    tls: &ServerTls,
    security: Security,
) -> Result<Connected, EncryptError> {
    let Address::Tcp(host, _) = address else {
        return Ok(Connected { socket, end_point: None });
    };
    if tls.negotiation() == SslNegotiation::Postgres {
        let mut ask = Vec::new();
        request::ssl(&mut ask);
        socket.write_all(&ask).await?;
        // One byte is due, and nothing may come behind it before we speak.
        let mut answer = [0; 2];
        match (socket.read(&mut answer).await?, answer[0]) {
            (1, b'S') => {}
            (1, b'N') if security == Security::Demanded => return Err(EncryptError::NotOffered),
            (1, b'N') => return Ok(Connected { socket, end_point: None }),
            (0, _) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            (1, other) => return Err(EncryptError::Answer(other)),
            _ => return Err(EncryptError::Stuffed),
        }
    }
    Ok(tls.connect(socket, host).await?)
}
