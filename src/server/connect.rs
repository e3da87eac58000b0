//! From an address to a server that is logged in.
//!
//! Servers are not trusted: what they send before ReadyForQuery is bounded and checked.

mod complaint;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::connection::CancelKey;
use super::encrypt::{EncryptError, Security, Spoken, encrypt};
use super::hosts::Hosts;
use super::reported::Reported;
use crate::auth::{Binding, Progress, ServerAuth, ServerAuthError, ServerSecret};
use crate::net::socket::{Address, Socket, TcpOptions};
use crate::net::tls::{Connected, ServerTls};
use crate::wire::frame::{self, FrameError};
use crate::wire::{request, view};

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the server listens.
    pub address: Address,
    /// Where it may listen as well, in its place.
    pub hosts: Option<Arc<dyn Hosts>>,
    /// The role to log in as.
    pub user: String,
    /// What proves that we may.
    pub secret: Option<Arc<ServerSecret>>,
    /// The database's name on the server.
    pub database: String,
    /// From the first packet to ReadyForQuery.
    pub connect_timeout: Duration,
    /// TCP options.
    pub tcp: TcpOptions,
    /// TLS; `None` for never.
    pub tls: Option<Arc<ServerTls>>,
    /// Transactions are read-only unless they say otherwise.
    pub read_only: bool,
}

/// A server that has just said ReadyForQuery.
#[derive(Debug)]
pub struct LoggedIn {
    /// The stream, at a message boundary.
    pub socket: Socket,
    /// What the server reported of its session.
    pub reported: Reported,
    /// How to cancel what runs there.
    pub key: CancelKey,
    /// How the server let us in: `trust` where it asked for nothing.
    pub method: &'static str,
}

/// Why there is no server. Cheap to clone: everybody who waits for it is told.
#[derive(Clone, Debug, Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("cannot connect to server at {address}: {cause}")]
    Unreachable {
        /// Where.
        address: Arc<str>,
        /// What kind of failure it was.
        kind: io::ErrorKind,
        /// The system's word.
        cause: Arc<str>,
    },
    /// It took longer than `server_connect_timeout`.
    #[error("cannot connect to server at {address}: timed out after {after:?}")]
    TimedOut {
        /// Where.
        address: Arc<str>,
        /// The limit.
        after: Duration,
    },
    /// The server closed the connection before the login was done.
    #[error("server at {address} closed the connection during login")]
    Closed {
        /// Where.
        address: Arc<str>,
        /// How it wanted us to prove who we are, if it came to that.
        method: Option<&'static str>,
    },
    /// The server said no: the body of its ErrorResponse.
    #[error("server at {address} refused the login: {}", text(.error))]
    Refused {
        /// Where.
        address: Arc<str>,
        /// How it wanted us to prove who we are, if it came to that.
        method: Option<&'static str>,
        /// Fields as the server wrote them.
        error: Arc<[u8]>,
    },
    /// We can't prove who we are, or the server could not.
    #[error("login to server at {address} as \"{user}\" failed: {cause}")]
    Auth {
        /// Where.
        address: Arc<str>,
        /// As whom.
        user: Arc<str>,
        /// How it wanted us to prove who we are.
        method: Option<&'static str>,
        /// Why.
        cause: ServerAuthError,
    },
    /// There was no TLS with it, where there must be, or none that can be trusted.
    #[error("TLS with server at {address} failed: {cause}")]
    Tls {
        /// Where.
        address: Arc<str>,
        /// Why.
        cause: EncryptError,
    },
    /// What it sent is not the protocol.
    #[error("server at {address} does not speak the Postgres protocol: {what}")]
    Lied {
        /// Where.
        address: Arc<str>,
        /// How it wanted us to prove who we are, if it came to that.
        method: Option<&'static str>,
        /// What was wrong.
        what: Arc<str>,
    },
}

fn text(error: &[u8]) -> String {
    let field = |code| {
        String::from_utf8_lossy(view::error_field(error, code).unwrap_or(b"(no message)"))
            .into_owned()
    };
    format!("{} ({})", field(b'M'), field(b'C'))
}

impl ConnectError {
    /// What clients are told, who have no business with where servers are.
    pub fn told(&self) -> String {
        match self {
            Self::Unreachable { cause, .. } => format!("cannot connect to server: {cause}"),
            Self::TimedOut { after, .. } => {
                format!("cannot connect to server: timed out after {after:?}")
            }
            Self::Closed { .. } => "server closed the connection during login".to_owned(),
            Self::Refused { error, .. } => format!("server refused the login: {}", text(error)),
            Self::Auth { user, cause, .. } => {
                format!("login to server as \"{user}\" failed: {cause}")
            }
            Self::Tls { cause, .. } => format!("TLS with server failed: {}", cause.told()),
            Self::Lied { what, .. } => {
                format!("server does not speak the Postgres protocol: {what}")
            }
        }
    }

    /// How the server wanted us to prove who we are, as far as it came to that.
    fn method(&self) -> Option<&'static str> {
        match self {
            Self::Refused { method, .. }
            | Self::Auth { method, .. }
            | Self::Closed { method, .. }
            | Self::Lied { method, .. } => *method,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Tls { .. } => None,
        }
    }

    /// Whether it is the host that is not there, or not for now.
    pub fn is_of_the_host(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Closed { .. } => true,
            Self::Refused { .. } => {
                matches!(self.server_sqlstate(), Some(b"57P01" | b"57P02" | b"57P03"))
            }
            Self::Auth { .. } | Self::Tls { .. } | Self::Lied { .. } => false,
        }
    }

    /// Where it came to nothing.
    fn address(&self) -> &str {
        match self {
            Self::Unreachable { address, .. }
            | Self::TimedOut { address, .. }
            | Self::Closed { address, .. }
            | Self::Refused { address, .. }
            | Self::Auth { address, .. }
            | Self::Tls { address, .. }
            | Self::Lied { address, .. } => address,
        }
    }

    /// The SQLSTATE that the server gave.
    pub fn server_sqlstate(&self) -> Option<&[u8]> {
        match self {
            Self::Refused { error, .. } => view::error_field(error, b'C'),
            _ => None,
        }
    }
}

/// The longest message that a server may send before it is ready.
const LOGIN_MESSAGE_MAX: u32 = 64 * 1024;
/// How many messages it may send before it is ready.
const LOGIN_MESSAGES_MAX: usize = 1000;

/// Connects and logs in. `extra` are startup parameters beside user and database.
///
/// # Errors
/// [`ConnectError`], after at most `connect_timeout`; of the last host that was tried, where there are
/// several.
pub async fn connect(target: &Target, extra: &[(&[u8], &[u8])]) -> Result<LoggedIn, ConnectError> {
    let Some(hosts) = &target.hosts else { return connect_there(target, extra).await };
    let mut order = hosts.order().into_iter().peekable();
    loop {
        let address = order.next().unwrap_or_else(|| target.address.clone());
        let mut there = Target { address, hosts: None, ..target.clone() };
        if order.peek().is_some() {
            there.connect_timeout = there.connect_timeout.min(hosts.patience());
        }
        let tried = connect_there(&there, extra).await;
        match tried {
            Err(error) if error.is_of_the_host() => {
                hosts.tried(&there.address, Some(error.to_string()));
                if order.peek().is_none() {
                    return Err(error);
                }
            }
            // One that is full is there, and another one may not be full.
            Err(error) if error.server_sqlstate() == Some(b"53300") && order.peek().is_some() => {
                hosts.tried(&there.address, None);
            }
            tried => {
                hosts.tried(&there.address, None);
                return tried;
            }
        }
    }
}

async fn connect_there(
    target: &Target,
    extra: &[(&[u8], &[u8])],
) -> Result<LoggedIn, ConnectError> {
    let address: Arc<str> = target.address.to_string().into();
    match timeout(target.connect_timeout, try_in_turn(target, &address, extra)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(ConnectError::TimedOut { address, after: target.connect_timeout }),
    }
}

/// One connection after the other, as the mode has it.
async fn try_in_turn(
    target: &Target,
    address: &Arc<str>,
    extra: &[(&[u8], &[u8])],
) -> Result<LoggedIn, ConnectError> {
    let (first, second) = Security::in_turn(target.tls.as_deref());
    let (failed, spoken) = match Login::reach(target, address, first).await {
        Err(error) => (error, Spoken::No),
        Ok(login) => {
            let spoken = if login.socket.cipher().is_some() { Spoken::Yes } else { Spoken::No };
            match login.start(target, extra).await {
                Ok(logged_in) => return Ok(logged_in),
                Err(error) => (error, spoken),
            }
        }
    };
    match second.filter(|second| second.may_go_better(&failed, spoken)) {
        None => Err(failed),
        Some(second) => {
            tracing::info!("trying again {second}: {failed}");
            Login::reach(target, address, second).await?.start(target, extra).await
        }
    }
}

struct Login<'a> {
    socket: Socket,
    /// What binds the channel, where something does.
    binding: Option<Binding>,
    address: &'a Arc<str>,
    buffer: Vec<u8>,
    /// How the server wants us to prove who we are; `None` as long as it has not asked.
    method: Option<&'static str>,
}

impl<'a> Login<'a> {
    async fn reach(
        target: &Target,
        address: &'a Arc<str>,
        security: Security,
    ) -> Result<Self, ConnectError> {
        let socket = Socket::connect(&target.address, &target.tcp).await;
        let socket = socket.map_err(|error| unreachable(address, &error))?;
        let Connected { socket, end_point } = match &target.tls {
            Some(tls) if security != Security::Clear => {
                let encrypted = encrypt(socket, &target.address, tls, security).await;
                let address = Arc::clone(address);
                encrypted.map_err(|cause| ConnectError::Tls { address, cause })?
            }
            _ => Connected { socket, end_point: None },
        };
        let binding = end_point.map(Binding);
        Ok(Self { socket, binding, address, buffer: Vec::new(), method: None })
    }

    async fn start(
        mut self,
        target: &Target,
        extra: &[(&[u8], &[u8])],
    ) -> Result<LoggedIn, ConnectError> {
        let mut packet = Vec::new();
        let (user, database) = (target.user.as_bytes(), target.database.as_bytes());
        let base = [(&b"user"[..], user), (&b"database"[..], database)];
        // What a RESET goes back to as well.
        let reading = (&b"default_transaction_read_only"[..], &b"on"[..]);
        let reading = target.read_only.then_some(reading);
        let parameters = base.into_iter().chain(reading).chain(extra.iter().copied());
        request::startup(&mut packet, parameters);
        self.send(&packet).await?;
        self.run(target).await
    }

    async fn run(mut self, target: &Target) -> Result<LoggedIn, ConnectError> {
        let auth = ServerAuth::new(&target.user, target.secret.clone());
        let mut auth = Some(auth.over(self.binding.clone()));
        let mut reported = Reported::default();
        let mut key = None;
        for _ in 0..LOGIN_MESSAGES_MAX {
            let (tag, body) = self.message().await?;
            match tag {
                b'R' => self.authenticate(&mut auth, &body, target).await?,
                b'E' => {
                    return Err(ConnectError::Refused {
                        address: Arc::clone(self.address),
                        method: self.method,
                        error: body.into(),
                    });
                }
                b'N' => {}
                _ if auth.is_some() => return Err(self.lied("a message before the login")),
                b'S' => {
                    let (name, value) = view::parameter_status(&body)
                        .ok_or_else(|| self.lied("malformed ParameterStatus"))?;
                    reported.set(name, value);
                }
                b'K' => {
                    let (pid, secret) = view::backend_key(&body)
                        .ok_or_else(|| self.lied("malformed BackendKeyData"))?;
                    key = Some((pid, secret.into()));
                }
                b'Z' if self.is_drained() && body == b"I" => {
                    let (pid, secret) = key.unwrap_or_default();
                    let tls = self.socket.cipher().and_then(|_| target.tls.clone());
                    let key = CancelKey { address: target.address.clone(), tls, pid, secret };
                    let method = self.method.unwrap_or("trust");
                    let socket = self.socket;
                    return Ok(LoggedIn { socket, reported, key, method });
                }
                b'Z' => return Err(self.lied("more after the first ReadyForQuery")),
                _ => return Err(self.lied("an unknown message during login")),
            }
        }
        Err(self.lied("no end of messages during login"))
    }

    /// Nothing has come that was not looked at.
    fn is_drained(&self) -> bool {
        self.buffer.is_empty() && self.socket.is_drained()
    }

    async fn authenticate(
        &mut self,
        auth: &mut Option<ServerAuth>,
        body: &[u8],
        target: &Target,
    ) -> Result<(), ConnectError> {
        let Some(mut pending) = auth.take() else {
            return Err(self.lied("a second authentication"));
        };
        let progress = if pending.is_costly() {
            // As many at once as `max_server_logins` lets log in.
            let body = body.to_vec();
            let computed = spawn_blocking(move || {
                let progress = pending.received(&body);
                (pending, progress)
            });
            let (back, progress) = computed.await.map_err(|_panicked| {
                let cause = ServerAuthError::NotComputed;
                self.not_proven(target, cause)
            })?;
            pending = back;
            progress
        } else {
            pending.received(body)
        };
        self.method = pending.method();
        match progress.map_err(|cause| self.not_proven(target, cause))? {
            Progress::Send(message) => self.send(&message).await?,
            Progress::Wait => {}
            Progress::Done => return Ok(()),
        }
        *auth = Some(pending);
        Ok(())
    }

    fn not_proven(&self, target: &Target, cause: ServerAuthError) -> ConnectError {
        let (address, user) = (Arc::clone(self.address), target.user.as_str().into());
        ConnectError::Auth { address, user, method: self.method, cause }
    }

    async fn message(&mut self) -> Result<(u8, Vec<u8>), ConnectError> {
        let mut chunk = [0; 4096];
        loop {
            match frame::message(&self.buffer, LOGIN_MESSAGE_MAX) {
                Ok(Some((header, body))) => {
                    let message = (header.tag, body.to_vec());
                    self.buffer.drain(..header.message_len());
                    return Ok(message);
                }
                Ok(None) => {}
                Err(error @ (FrameError::TooLong { .. } | FrameError::TooShort { .. })) => {
                    return Err(self.lied(&error.to_string()));
                }
            }
            let count = self.socket.read(&mut chunk).await.map_err(|error| self.lost(&error))?;
            if count == 0 {
                return Err(self.closed());
            }
            self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        self.socket.write_all(bytes).await.map_err(|error| self.lost(&error))
    }

    fn lost(&self, error: &io::Error) -> ConnectError {
        unreachable(self.address, error)
    }

    fn closed(&self) -> ConnectError {
        ConnectError::Closed { address: Arc::clone(self.address), method: self.method }
    }

    fn lied(&self, what: &str) -> ConnectError {
        let (address, method) = (Arc::clone(self.address), self.method);
        ConnectError::Lied { address, method, what: what.into() }
    }
}

fn unreachable(address: &Arc<str>, error: &io::Error) -> ConnectError {
    let (address, cause) = (Arc::clone(address), error.to_string().into());
    ConnectError::Unreachable { address, kind: error.kind(), cause }
}

/// Asks the server to cancel what the holder of `key` runs, and waits until it has passed the
/// request on: it closes the connection then.
///
/// # Errors
/// When that did not happen within `limit`: the request may still arrive at any time.
pub async fn cancel(key: &CancelKey, tcp: &TcpOptions, limit: Duration) -> io::Result<()> {
    timeout(limit, async {
        let mut socket = Socket::connect(&key.address, tcp).await?;
        if let Some(tls) = &key.tls {
            let encrypted = encrypt(socket, &key.address, tls, Security::Demanded).await;
            socket = encrypted.map_err(io::Error::other)?.socket;
        }
        let mut packet = Vec::new();
        request::cancel(&mut packet, key.pid, &key.secret);
        socket.write_all(&packet).await?;
        let mut rest = [0; 64];
        // Anything but the end of the stream is not expected, and as good.
        while socket.read(&mut rest).await.is_ok_and(|count| count > 0) {}
        Ok(())
    })
    .await?
}
