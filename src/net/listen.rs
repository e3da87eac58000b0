//! Where clients come in: TCP and unix sockets, our own or handed over by the service manager.
//!
//! A unix socket's file is removed with its [`Listener`], and one that a dead process has left
//! behind gives way; one that somebody listens on does not.

use std::fmt;
use std::fs::{self, Permissions};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use nix::unistd::Group;
use socket2::{Domain, SockAddr, Type};
use tokio::net::{TcpListener, UnixListener};

use super::peer::{Peer, Process};
use super::socket::{Socket, TcpOptions, tune};

/// What is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket's path; in the abstract namespace where it begins with a zero byte.
    Unix(PathBuf),
}

impl Endpoint {
    /// The unix socket of this directory and port; `@name` is in the abstract namespace.
    pub fn unix(directory: &str, port: u16) -> Self {
        let path = match directory.strip_prefix('@') {
            Some(name) => format!("\0{name}/.s.PGSQL.{port}"),
            None => format!("{}/.s.PGSQL.{port}", directory.trim_end_matches('/')),
        };
        Self::Unix(path.into())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => match path.as_os_str().as_bytes().split_first() {
                Some((0, name)) => write!(f, "@{}", String::from_utf8_lossy(name)),
                _ => path.display().fmt(f),
            },
        }
    }
}

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// Whether other processes may listen on the same port.
    pub reuse_port: bool,
    /// The options of what is accepted.
    pub tcp: TcpOptions,
    /// The permissions of a unix socket's file.
    pub unix_mode: u32,
    /// The group of a unix socket's file, by name or number.
    pub unix_group: Option<&'a str>,
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: Listening,
    at: Endpoint,
    _file: Option<SocketFile>,
}

/// The socket itself, on no loop yet.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    Unix(StdUnixListener),
}

impl Listener {
    /// Listens there.
    ///
    /// # Errors
    /// The system's; `AddrInUse` where somebody else listens.
    pub fn open(at: &Endpoint, manner: &Manner<'_>) -> io::Result<Self> {
        match at {
            Endpoint::Tcp(address) => Self::open_tcp(*address, manner),
            Endpoint::Unix(path) => Self::open_unix(path, manner),
        }
    }

    fn open_tcp(address: SocketAddr, manner: &Manner<'_>) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(manner.reuse_port)?;
        if address.is_ipv6() {
            // IPv4 has a socket of its own.
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(backlog(manner))?;
        socket.set_nonblocking(true)?;
        // What is accepted has the listener's options.
        tune(&socket, &manner.tcp)?;
        let socket = std::net::TcpListener::from(socket);
        let at = Endpoint::Tcp(socket.local_addr()?);
        Ok(Self { socket: Listening::Tcp(socket), at, _file: None })
    }

    fn open_unix(path: &Path, manner: &Manner<'_>) -> io::Result<Self> {
        let is_abstract = path.as_os_str().as_bytes().first() == Some(&0);
        if !is_abstract {
            clear_away(path)?;
        }
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = if is_abstract { None } else { Some(SocketFile::new(path)?) };
        if file.is_some() {
            // Before it listens: nobody gets in who must not.
            if let Some(group) = manner.unix_group {
                chown(path, None, Some(group_id(group)?))?;
            }
            fs::set_permissions(path, Permissions::from_mode(manner.unix_mode))?;
        }
        socket.listen(backlog(manner))?;
        socket.set_nonblocking(true)?;
        let at = Endpoint::Unix(path.to_owned());
        Ok(Self { socket: Listening::Unix(socket.into()), at, _file: file })
    }

    /// The sockets that the service manager has opened for us (`LISTEN_FDS`); none where it has
    /// not. To be asked once, before there are threads.
    ///
    /// # Errors
    /// When one of them is not a stream socket.
    pub fn inherited(tcp: &TcpOptions) -> io::Result<Vec<Self>> {
        let mut given = listenfd::ListenFd::from_env();
        let mut listeners = Vec::new();
        for index in 0..given.len() {
            if let Ok(Some(socket)) = given.take_unix_listener(index) {
                socket.set_nonblocking(true)?;
                let at = socket.local_addr()?;
                let path = at.as_pathname().map(Path::to_owned).unwrap_or_default();
                let at = Endpoint::Unix(path);
                listeners.push(Self { socket: Listening::Unix(socket), at, _file: None });
            } else if let Some(socket) = given.take_tcp_listener(index)? {
                socket.set_nonblocking(true)?;
                tune(&socket, tcp)?;
                let at = Endpoint::Tcp(socket.local_addr()?);
                listeners.push(Self { socket: Listening::Tcp(socket), at, _file: None });
            }
        }
        Ok(listeners)
    }

    /// Whether other machines may reach it.
    pub fn is_tcp(&self) -> bool {
        matches!(self.at, Endpoint::Tcp(_))
    }

    /// What it listens on.
    pub fn at(&self) -> &Endpoint {
        &self.at
    }

    /// The same socket for one more loop.
    ///
    /// # Errors
    /// The system's.
    pub fn share(&self) -> io::Result<Listening> {
        Ok(match &self.socket {
            Listening::Tcp(socket) => Listening::Tcp(socket.try_clone()?),
            Listening::Unix(socket) => Listening::Unix(socket.try_clone()?),
        })
    }
}

impl Listening {
    /// Registers it with the loop of the calling thread.
    ///
    /// # Errors
    /// The system's.
    pub fn acceptor(self) -> io::Result<Acceptor> {
        Ok(match self {
            Self::Tcp(socket) => Acceptor::Tcp(TcpListener::from_std(socket)?),
            Self::Unix(socket) => Acceptor::Unix(UnixListener::from_std(socket)?),
        })
    }
}

/// Accepts from a listener on one loop.
#[derive(Debug)]
pub enum Acceptor {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl Acceptor {
    /// The next connection, and who is at its other end.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Cancel safety
    /// Safe: nothing is accepted unless it returns.
    pub async fn accept(&self) -> io::Result<(Socket, Peer)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// The same, where one has connected already.
    pub async fn accept_waiting(&self) -> Option<io::Result<(Socket, Peer)>> {
        poll_fn(|cx| match self.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                let (stream, address) = ready!(listener.poll_accept(cx))?;
                Ok((Socket::Tcp(stream), Peer::Tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                let who = stream.peer_cred()?;
                let pid = who.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
                let process = Process { uid: who.uid(), gid: who.gid(), pid };
                Ok((Socket::Unix(stream), Peer::Unix(process)))
            }
        })
    }
}

/// The file of a unix socket; removed when this is dropped, if it still is the same.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket's file");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Removes the socket that a process which is no more has left there. Two that start in the same
/// moment may both find it: the slower one's `bind` fails, or it replaces the faster one's, whose
/// clients are served all the same until that ends.
fn clear_away(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket"));
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Its queue is full, or it is not ours to connect to: somebody listens.
        Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let found = Group::from_name(group)?;
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("there is no group {group}"));
    found.map(|group| group.gid.as_raw()).ok_or_else(unknown)
}

fn backlog(manner: &Manner<'_>) -> i32 {
    i32::try_from(manner.backlog).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use super::*;

    const MANNER: Manner<'static> = Manner {
        backlog: 8,
        reuse_port: false,
        tcp: TcpOptions {
            keepalive: false,
            keepalive_idle: None,
            keepalive_interval: None,
            keepalive_count: None,
            user_timeout: None,
        },
        unix_mode: 0o700,
        unix_group: None,
    };

    #[test]
    fn endpoints_are_named_as_libpq_names_them() {
        for (directory, shown) in [
            ("/run/pgweir", "/run/pgweir/.s.PGSQL.6432"),
            ("/tmp/", "/tmp/.s.PGSQL.6432"),
            ("@pgweir", "@pgweir/.s.PGSQL.6432"),
        ] {
            assert_eq!(Endpoint::unix(directory, 6432).to_string(), shown);
        }
    }

    #[test]
    fn socket_of_a_dead_process_gives_way_and_of_a_living_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = Endpoint::unix(folder.path().to_str().unwrap(), 1);
        let Endpoint::Unix(path) = &at else { unreachable!() };
        // Left behind: bound, and nobody listens.
        drop(StdUnixListener::bind(path).unwrap());
        let listener = Listener::open(&at, &MANNER).unwrap();
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700);
        let error = Listener::open(&at, &MANNER).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists(), "the living one keeps its file");
        drop(listener);
        assert!(!path.exists(), "it goes with its listener");
        fs::write(path, "notes").unwrap();
        let error = Listener::open(&at, &MANNER).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(path).unwrap(), b"notes");
    }

    #[test]
    fn file_of_a_successor_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = Endpoint::unix(folder.path().to_str().unwrap(), 1);
        let Endpoint::Unix(path) = &at else { unreachable!() };
        let listener = Listener::open(&at, &MANNER).unwrap();
        fs::remove_file(path).unwrap();
        let successor = Listener::open(&at, &MANNER).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(successor);
    }

    #[test]
    fn unknown_group_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = Endpoint::unix(folder.path().to_str().unwrap(), 1);
        let manner = Manner { unix_group: Some("no such group"), ..MANNER };
        let error = Listener::open(&at, &manner).unwrap_err();
        assert!(error.to_string().contains("no such group"), "{error}");
    }

    #[tokio::test]
    async fn clients_of_a_unix_socket_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let abstract_name = format!("@pgweir-test-{}", std::process::id());
        for directory in [folder.path().to_str().unwrap(), &abstract_name] {
            let at = Endpoint::unix(directory, 1);
            let Endpoint::Unix(path) = &at else { unreachable!() };
            let listener = Listener::open(&at, &MANNER).unwrap();
            let acceptor = listener.share().unwrap().acceptor().unwrap();
            let client = tokio::net::UnixStream::connect(path).await.unwrap();
            let (_socket, peer) = acceptor.accept().await.unwrap();
            let process = peer.process().unwrap();
            assert_eq!(process.pid, Some(std::process::id()));
            assert!(process.is_our_user());
            drop(client);
        }
    }

    #[test]
    fn a_port_is_shared_only_where_both_agree() {
        let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
        for (reuse_port, shared) in [(false, false), (true, true)] {
            let manner = Manner { reuse_port, ..MANNER };
            let first = Listener::open(&any, &manner).unwrap();
            assert_eq!(Listener::open(first.at(), &manner).is_ok(), shared);
        }
    }

    #[test]
    fn families_have_sockets_of_their_own() {
        let four = Listener::open(&Endpoint::Tcp("0.0.0.0:0".parse().unwrap()), &MANNER).unwrap();
        let Endpoint::Tcp(address) = four.at() else { unreachable!() };
        let six = SocketAddr::new("::".parse().unwrap(), address.port());
        let Ok(_six) = Listener::open(&Endpoint::Tcp(six), &MANNER) else {
            // A machine without IPv6 has nothing to show here.
            return assert!(!Path::new("/proc/net/if_inet6").exists());
        };
        let mut client = TcpStream::connect(("::1", address.port())).unwrap();
        client.set_nonblocking(true).unwrap();
        let nothing_yet = client.read(&mut [0]).unwrap_err();
        assert_eq!(nothing_yet.kind(), io::ErrorKind::WouldBlock);
    }
}
