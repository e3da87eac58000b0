//! Who a client is.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::net::peer::Peer;
use crate::net::tls::Cipher;

/// A user on a database; shared by all clients that logged in as this user.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Login {
    /// The database as clients call it.
    pub database: String,
    /// The user as clients log in.
    pub user: String,
}

/// What a client wants a walsender for, instead of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// Of a whole server.
    Physical,
    /// Of a database.
    Logical,
}

/// What is known of a client for as long as it is connected.
#[derive(Debug)]
pub struct ClientCard {
    /// As whom it logged in.
    pub login: Arc<Login>,
    /// What it called itself when it connected; `None` for nothing.
    pub application_name: Option<Box<str>>,
    /// Where it comes from.
    pub peer: Peer,
    /// Our end of its connection; `None` for a unix socket.
    pub local: Option<SocketAddr>,
    /// What its connection is encrypted with; `None` for one in clear.
    pub cipher: Option<Cipher>,
    /// It has a walsender; `None` for all others.
    pub replication: Option<Replication>,
    /// It is one of the sessions, one on each shard, that run a request of a client: no connection of its own.
    pub is_leg: bool,
    /// When it logged in.
    pub since: Instant,
}

impl ClientCard {
    /// A client that logs in now.
    pub fn new(
        login: Arc<Login>,
        application_name: &[u8],
        peer: Peer,
        cipher: Option<Cipher>,
    ) -> Self {
        let name = String::from_utf8_lossy(application_name);
        Self {
            login,
            application_name: (!name.is_empty()).then(|| name.into()),
            peer,
            local: None,
            cipher,
            replication: None,
            is_leg: false,
            since: Instant::now(),
        }
    }

    /// Whether an error that its session tells is one that a client is told.
    pub fn tells_errors(&self) -> bool {
        !self.is_leg
    }

    /// Of a session that runs a part of a request of this client, as this login.
    #[must_use]
    pub fn leg(&self, login: Arc<Login>) -> Self {
        Self {
            login,
            application_name: self.application_name.clone(),
            peer: self.peer,
            local: self.local,
            cipher: None,
            replication: None,
            is_leg: true,
            since: Instant::now(),
        }
    }
}

impl fmt::Display for ClientCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { login, peer, .. } = self;
        write!(f, "{}@{} from {peer}", login.user, login.database)?;
        if let Some(name) = &self.application_name {
            write!(f, ", {name:?}")?;
        }
        Ok(())
    }
}
