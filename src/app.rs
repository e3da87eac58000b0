//! Everything, built from a [`Config`]: event loops, pools, and the listener whose clients become
//! sessions.
//!
//! The listener and the signals live on the thread that calls [`Running::wait`] (the control
//! plane); clients and servers live on the event loops.

mod door;
mod tenancy;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use self::door::Door;
use self::tenancy::Tenancies;
use crate::cancel::Cancels;
use crate::client::registry::Registry;
use crate::config::Config;
use crate::net::loops::{LoopId, Loops};
use crate::net::socket::TcpOptions;
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
    stop: watch::Sender<bool>,
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
    tcp: TcpOptions,
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
    let registry = Arc::new(Registry::default());
    let house = Arc::new(House {
        cancels: Cancels::new(tcp, general.cancel_wait_timeout),
        statements: StatementTable::default(),
        registry,
        tcp,
        cancel_wait: general.cancel_wait_timeout,
    });
    let app = Arc::new(App {
        crowds: loops.ids().map(|_| AtomicUsize::new(0)).collect(),
        tenancies: Tenancies::new(Arc::clone(&config), Arc::clone(&loops), tcp),
        users: Users::new(&config)?,
        house,
        door: Arc::new(Door::new(general)),
        tcp,
        config: Arc::clone(&config),
        loops,
    });
    let control = Builder::new_current_thread().enable_all().build().map_err(StartError::Loops)?;
    let (stop, stopped) = watch::channel(false);
    let listener = {
        let _inside = control.enter();
        AsyncFd::new(listener).map_err(StartError::Loops)?
    };
    control.spawn(accept(Arc::clone(&app), listener, stopped));
    Ok(Running { control, address, app, stop })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs the control plane on this thread until `end` is ready, then closes everything.
    pub fn wait(self, end: impl Future<Output = ()>) {
        self.control.block_on(async {
            end.await;
            self.stop.send_replace(true);
            self.app.tenancies.close().await;
        });
    }
}

/// How many cores this process may use.
pub fn cores() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

fn listen(config: &Config) -> io::Result<std::net::TcpListener> {
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
    socket.set_nonblocking(true)?;
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

async fn accept(
    app: Arc<App>,
    listener: AsyncFd<std::net::TcpListener>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let ready = tokio::select! {
            ready = listener.readable() => ready,
            _ = stopped.changed() => return,
        };
        let Ok(mut ready) = ready else { return };
        match ready.try_io(|listener| listener.get_ref().accept()) {
            Err(_would_block) => {}
            Ok(Ok((stream, _))) => app.place(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot accept clients");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl App {
    /// Hands an accepted stream to the loop with the fewest clients.
    fn place(self: &Arc<Self>, stream: std::net::TcpStream) {
        let Some(ticket) = self.door.enter() else {
            // Too many who have not logged in: not even an answer.
            return;
        };
        let counts = self.loops.ids().zip(&self.crowds);
        let Some((on, _)) = counts.min_by_key(|(_, count)| count.load(Ordering::Relaxed)) else {
            return;
        };
        let seat = Crowd::join(self, on);
        let app = Arc::clone(self);
        self.loops.spawn(on, async move {
            let _seat = seat;
            app.serve(stream, on, ticket).await;
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
