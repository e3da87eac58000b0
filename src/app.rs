//! Everything, built from a [`Config`]: event loops, pools, and the listener whose clients become
//! sessions.
//!
//! Signals live on the thread that calls [`Running::wait`] (the control plane), the listener on
//! one of its own; clients and servers live on the event loops.

mod door;
mod tenancy;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use self::door::{Disconnections, Door};
use self::tenancy::Tenancies;
use crate::cancel::Cancels;
use crate::config::Config;
use crate::net::loops::{LoopId, Loops};
use crate::net::socket::{TcpOptions, tune};
use crate::server::prepared::StatementTable;
use crate::session::House;
use crate::users::{Users, UsersError};

/// Why the pooler did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// As configured.
        address: String,
        /// The system's word.
        cause: io::Error,
    },
    /// A secret can't be used.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The system gives no thread or no reactor.
    #[error("cannot start event loops: {0}")]
    Loops(io::Error),
}

/// A pooler that listens.
#[derive(Debug)]
pub struct Running {
    control: Runtime,
    address: SocketAddr,
    app: Arc<App>,
    listener: Arc<TcpListener>,
    accepting: JoinHandle<()>,
}

/// What every connection needs.
#[derive(Debug)]
pub(crate) struct App {
    config: Arc<Config>,
    loops: Arc<Loops>,
    /// Clients per loop.
    crowds: Vec<AtomicUsize>,
    tenancies: Tenancies,
    users: Users,
    house: Arc<House>,
    door: Arc<Door>,
}

/// Listens as `config` says. Clients are served from then on.
///
/// # Errors
/// As [`StartError`] says.
pub fn start(config: Config) -> Result<Running, StartError> {
    let config = Arc::new(config);
    let general = &config.general;
    let listener = listen(&config).map_err(|cause| StartError::Listen {
        address: format!("{}:{}", general.listen_addr, general.listen_port),
        cause,
    })?;
    let address = listener.local_addr().map_err(StartError::Loops)?;
    let workers = general.workers.or_else(cores).unwrap_or(1);
    let loops = Loops::start(u16::try_from(workers).unwrap_or(u16::MAX));
    let loops = Arc::new(loops.map_err(StartError::Loops)?);
    let tcp = tcp_options(&config);
    let house = Arc::new(House {
        cancels: Cancels::new(tcp, general.cancel_wait_timeout),
        statements: StatementTable::default(),
        tcp,
        cancel_wait: general.cancel_wait_timeout,
    });
    let app = Arc::new(App {
        crowds: loops.ids().map(|_| AtomicUsize::new(0)).collect(),
        tenancies: Tenancies::new(Arc::clone(&config), Arc::clone(&loops), tcp),
        users: Users::new(&config)?,
        house,
        door: Arc::new(Door::new(general)),
        config: Arc::clone(&config),
        loops,
    });
    let control = Builder::new_current_thread().enable_all().build().map_err(StartError::Loops)?;
    let listener = Arc::new(listener);
    let accepting = {
        let (app, listener) = (Arc::clone(&app), Arc::clone(&listener));
        thread::Builder::new().name("accept".into()).spawn(move || accept(&app, &listener))
    };
    let accepting = accepting.map_err(StartError::Loops)?;
    Ok(Running { control, address, app, listener, accepting })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs the control plane on this thread until `end` is ready, then closes everything.
    pub fn wait(self, end: impl Future<Output = ()>) {
        self.control.block_on(end);
        // Whoever accepts is woken by it, and ends.
        let shut = socket2::SockRef::from(&*self.listener).shutdown(std::net::Shutdown::Both);
        let ended = shut.is_ok() && self.accepting.join().is_ok();
        if !ended {
            tracing::error!("the listener did not end as it should");
        }
        self.control.block_on(self.app.tenancies.close());
    }
}

/// How many cores this process may use.
pub fn cores() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

fn listen(config: &Config) -> io::Result<TcpListener> {
    let general = &config.general;
    let address = std::net::ToSocketAddrs::to_socket_addrs(&(
        general.listen_addr.as_str(),
        general.listen_port,
    ))?
    .next()
    .ok_or(io::ErrorKind::AddrNotAvailable)?;
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(general.listen_backlog).unwrap_or(i32::MAX))?;
    // What is accepted has the listener's options.
    tune(&socket, &tcp_options(config))?;
    Ok(socket.into())
}

fn tcp_options(config: &Config) -> TcpOptions {
    let general = &config.general;
    TcpOptions {
        keepalive: general.tcp_keepalive,
        keepalive_idle: general.tcp_keepidle,
        keepalive_interval: general.tcp_keepintvl,
        keepalive_count: general.tcp_keepcnt,
        user_timeout: general.tcp_user_timeout,
    }
}

/// How long nobody is accepted after the system refused to (as when it has no more descriptors):
/// it would refuse again at once, and a busy loop helps nobody.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn accept(app: &Arc<App>, listener: &TcpListener) {
    loop {
        match listener.accept() {
            Ok((stream, peer)) => app.place(stream, peer),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // The listener was shut down: this is the end.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                tracing::error!(%error, "cannot accept clients");
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

impl App {
    fn disconnections(&self) -> Disconnections {
        if self.config.general.log_disconnections {
            Disconnections::Logged
        } else {
            Disconnections::Quiet
        }
    }

    /// Hands an accepted stream to the loop with the fewest clients.
    fn place(self: &Arc<Self>, stream: std::net::TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nonblocking(true) {
            return tracing::error!(%error, "cannot serve a client");
        }
        let Some(ticket) = self.door.enter() else {
            // Too many who have not logged in: not even an answer.
            return;
        };
        let counts = self.loops.ids().zip(&self.crowds);
        let Some((on, _)) = counts.min_by_key(|(_, count)| count.load(Ordering::Relaxed)) else {
            return;
        };
        let crowd = Crowd::join(self, on);
        self.loops.spawn(on, async move {
            // The login's future is large, and gone before the session begins.
            let admitted = Box::pin(crowd.app.admit(stream, peer, on, ticket)).await;
            if let Some(guest) = admitted {
                guest.stay(crowd.app.disconnections()).await;
            }
        });
    }
}

/// A client's share in the count of its loop.
struct Crowd {
    app: Arc<App>,
    on: LoopId,
}

impl Crowd {
    fn join(app: &Arc<App>, on: LoopId) -> Self {
        if let Some(count) = app.crowds.get(on.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Self { app: Arc::clone(app), on }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(count) = self.app.crowds.get(self.on.index()) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
