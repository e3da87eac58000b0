//! Where a server listens.

use std::fmt;
use std::path::PathBuf;

/// A server's address: host name, IP address or unix socket directory, and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Host name, IP address (no brackets) or the directory of a unix socket (starts with `/`).
    pub host: String,
    /// Port; of a unix socket too.
    pub port: u16,
}

impl HostPort {
    /// The path of the unix socket, when this is one.
    #[must_use]
    pub fn unix_socket(&self) -> Option<PathBuf> {
        let socket = || PathBuf::from(&self.host).join(format!(".s.PGSQL.{}", self.port));
        self.host.starts_with('/').then(socket)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
