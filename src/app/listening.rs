//! Where we listen, as configured or as the service manager has it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::StartError;
use super::owner::owner;
use crate::config::{Config, General};
use crate::net::listen::{Endpoint, Listener, Manner};
use crate::net::socket::TcpOptions;

/// Every socket that clients come in by. Those of the service manager replace what is configured.
pub(super) fn listeners(config: &Config, tcp: TcpOptions) -> Result<Vec<Listener>, StartError> {
    let general = &config.general;
    let inherited = Listener::inherited(&tcp).map_err(StartError::Inherited)?;
    if !inherited.is_empty() {
        return Ok(inherited);
    }
    let manner = Manner {
        backlog: general.listen_backlog,
        reuse_port: general.so_reuseport,
        tcp,
        unix_mode: general.unix_socket_mode.bits(),
        unix_group: general.unix_socket_group.as_deref(),
    };
    let mut listeners = Vec::new();
    let mut port = general.listen_port;
    for name in &general.listen_addr {
        for listener in listen_on(name, port, &manner)? {
            if let Endpoint::Tcp(address) = listener.at() {
                // Any free port is the same at every address.
                port = address.port();
            }
            listeners.push(listener);
        }
    }
    if let Some(directory) = &general.unix_socket_dir {
        let at = Endpoint::unix(directory, port);
        listeners.push(Listener::open(&at, &manner).map_err(|cause| refused(&at, cause, UNIX))?);
    }
    Ok(listeners)
}

const TCP: &str = "listen_addr, listen_port";
const UNIX: &str = "unix_socket_dir, listen_port";

/// Listens on all addresses of a name. One that this machine does not have is left out where
/// another is there: `localhost` may mean `::1` on machines without IPv6.
fn listen_on(name: &str, port: u16, manner: &Manner<'_>) -> Result<Vec<Listener>, StartError> {
    let unknown =
        |cause| StartError::Listen { address: name.to_owned(), keys: TCP, cause, owner: None };
    let mut listeners: Vec<Listener> = Vec::new();
    let mut missing = None;
    for mut address in addresses(name, port).map_err(unknown)? {
        if let Some(Endpoint::Tcp(first)) = listeners.first().map(Listener::at) {
            address.set_port(first.port());
        }
        let at = Endpoint::Tcp(address);
        match Listener::open(&at, manner) {
            Ok(listener) => listeners.push(listener),
            Err(cause) if is_missing(&cause) => missing = Some(refused(&at, cause, TCP)),
            Err(cause) => return Err(refused(&at, cause, TCP)),
        }
    }
    match missing {
        Some(error) if listeners.is_empty() => Err(error),
        Some(error) => {
            tracing::info!("{error}");
            Ok(listeners)
        }
        None if listeners.is_empty() => Err(unknown(io::ErrorKind::AddrNotAvailable.into())),
        None => Ok(listeners),
    }
}

fn addresses(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if name == "*" {
        let all = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        return Ok(all.map(|ip| SocketAddr::new(ip, port)).into());
    }
    // As in a URL, too.
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    (name, port).to_socket_addrs().map(Iterator::collect)
}

/// This machine has no such address, or none of this kind.
fn is_missing(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn refused(at: &Endpoint, cause: io::Error, keys: &'static str) -> StartError {
    let in_use = cause.kind() == io::ErrorKind::AddrInUse;
    let owner = in_use.then(|| owner(at)).flatten();
    StartError::Listen { address: at.to_string(), keys, cause, owner }
}

/// The options of every TCP socket.
pub(super) fn tcp_options(general: &General) -> TcpOptions {
    TcpOptions {
        keepalive: general.tcp_keepalive,
        keepalive_idle: general.tcp_keepidle,
        keepalive_interval: general.tcp_keepintvl,
        keepalive_count: general.tcp_keepcnt,
        user_timeout: general.tcp_user_timeout,
    }
}
