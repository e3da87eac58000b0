//! Who is at the other end of a client's connection, as far as the system can tell.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use nix::unistd::{Uid, User, geteuid};

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// By TCP, from this address.
    Tcp(SocketAddr),
    /// By a unix socket, from a process of this machine.
    Unix(Process),
}

/// A process of this machine, by the kernel's word (`SO_PEERCRED`): as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its id; `None` when it lives in another namespace.
    pub pid: Option<u32>,
}

impl Peer {
    /// Its IP address; `None` for a process of this machine.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }

    /// Its IP address in words, for those who come from one place to be one kind.
    pub fn origin(&self) -> String {
        self.ip().map_or_else(|| "the unix socket".to_owned(), |ip| ip.to_string())
    }

    /// The process that has connected by a unix socket.
    pub fn process(&self) -> Option<&Process> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(process) => Some(process),
        }
    }
}

impl Process {
    /// Whether it runs as the user that we run as.
    pub fn is_our_user(&self) -> bool {
        self.uid == geteuid().as_raw()
    }

    /// Its user's name; `None` when the system knows no such user. The system may have to ask
    /// somebody else, so this runs beside the event loop.
    pub async fn user_name(&self) -> Option<String> {
        let uid = Uid::from_raw(self.uid);
        let found = tokio::task::spawn_blocking(move || User::from_uid(uid)).await;
        match found {
            Ok(Ok(user)) => user.map(|user| user.name),
            Ok(Err(error)) => {
                tracing::warn!(%uid, %error, "cannot look up a user of this machine");
                None
            }
            Err(_) => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Process { pid: Some(pid), .. }) => write!(f, "unix({pid})"),
            Self::Unix(Process { pid: None, .. }) => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn own_user_has_its_name() {
        let us = Process { uid: geteuid().as_raw(), gid: 0, pid: None };
        assert!(us.is_our_user());
        let said = std::process::Command::new("id").arg("-un").output().unwrap();
        let name = String::from_utf8(said.stdout).unwrap();
        assert_eq!(us.user_name().await.as_deref(), Some(name.trim()));
        let nobody = Process { uid: 0x7fff_fff0, ..us };
        assert!(!nobody.is_our_user());
        assert_eq!(nobody.user_name().await, None);
    }

    #[test]
    fn shown_as_where_it_is() {
        let process = Process { uid: 1, gid: 1, pid: Some(7) };
        assert_eq!(Peer::Unix(process).to_string(), "unix(7)");
        assert_eq!(Peer::Unix(Process { pid: None, ..process }).to_string(), "unix");
        let tcp = Peer::Tcp("[::1]:6432".parse().unwrap());
        assert_eq!(tcp.to_string(), "[::1]:6432");
        assert_eq!((tcp.ip(), tcp.process()), (Some("::1".parse().unwrap()), None));
    }
}
