//! Everything, built from a [`Config`]: event loops, pools, and the listener whose clients become
//! sessions.
//!
//! Signals live on the thread that calls [`Running::wait`] (the control plane); the listener,
//! clients and servers live on the event loops.

pub mod discover;
mod door;
mod figures;
mod port;
mod tenancy;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use self::door::{Admitted, Door};
use self::tenancy::Tenancies;
use crate::cancel::Cancels;
use crate::config::Config;
use crate::http;
use crate::net::loops::{LoopId, Loops};
use crate::net::socket::{Socket, TcpOptions, tune};
use crate::server::prepared::StatementTable;
use crate::session::House;
use crate::users::{Users, UsersError};

/// Why the pooler did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error("cannot listen on {address} (listen_addr, listen_port): {cause}{}", by(.owner))]
    Listen {
        /// As configured.
        address: String,
        /// The system's word.
        cause: io::Error,
        /// Who listens there, where that is known.
        owner: Option<String>,
    },
    /// The pages can't be served there.
    #[error("http_listen: cannot listen on {address}: {cause}")]
    Http {
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

fn by(owner: &Option<String>) -> String {
    owner.as_ref().map_or_else(String::new, |owner| format!(" by {owner}"))
}

/// A pooler that listens.
#[derive(Debug)]
pub struct Running {
    control: Runtime,
    address: SocketAddr,
    http: Option<SocketAddr>,
    app: Arc<App>,
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
    stop: watch::Sender<bool>,
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
        owner: port::owner(general.listen_port)
            .filter(|_| cause.kind() == io::ErrorKind::AddrInUse),
        cause,
    })?;
    let pages = general.http_listen.as_deref().map(|address| {
        listen_http(address)
            .map_err(|cause| StartError::Http { address: address.to_owned(), cause })
    });
    let pages = pages.transpose()?;
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
        stop: watch::Sender::new(false),
        config: Arc::clone(&config),
        loops,
    });
    let control = Builder::new_current_thread().enable_all().build().map_err(StartError::Loops)?;
    for on in app.loops.ids() {
        let listener = listener.try_clone().map_err(StartError::Loops)?;
        app.loops.spawn(on, accept(Arc::clone(&app), listener, on, app.stop.subscribe()));
    }
    let http = match pages {
        Some((listener, address)) => {
            // Ends with the control plane.
            control.spawn(http::serve(listener, Arc::clone(&app) as Arc<dyn http::Pages>));
            Some(address)
        }
        None => None,
    };
    Ok(Running { control, address, http, app })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves `/metrics`, `/livez` and `/readyz`; `None` when it does not.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Runs the control plane on this thread until `end` is ready, then closes everything.
    pub fn wait(self, end: impl Future<Output = ()>) {
        self.control.block_on(async {
            end.await;
            self.app.stop.send_replace(true);
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
    // What is accepted has the listener's options.
    tune(&socket, &tcp_options(config))?;
    Ok(socket.into())
}

fn listen_http(address: &str) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
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

/// Accepts clients on one loop, which serves them unless another has far fewer.
async fn accept(
    app: Arc<App>,
    listener: std::net::TcpListener,
    on: LoopId,
    mut stopped: watch::Receiver<bool>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a loop cannot accept clients"),
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, peer)) => app.place(stream, peer, on),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept clients");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A loop that has this many clients more than another passes new ones on to it.
const CROWD_SLACK: usize = 8;

impl App {
    /// Starts to serve an accepted stream, on this loop or on one with far fewer clients.
    fn place(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, here: LoopId) {
        let Some(ticket) = self.door.enter() else {
            // Too many who have not logged in: not even an answer.
            return;
        };
        let on = self.loop_for(here);
        let crowd = Crowd::join(self, on);
        let serve = async move |socket: io::Result<Socket>| {
            // The login's future is large, and gone before the session begins.
            let admitted = Box::pin(crowd.app.admit(socket, peer, on, ticket)).await;
            match admitted {
                None => {}
                Some(Admitted::Guest(mut guest)) => {
                    let end = guest.session().run().await;
                    crowd.app.log_end(&guest, &end);
                }
                Some(Admitted::Console(console)) => {
                    let end = Box::pin(console.run()).await;
                    tracing::debug!(%peer, "console closing because: {end}");
                }
            }
        };
        if on == here {
            tokio::spawn(serve(Ok(Socket::Tcp(stream))));
        } else {
            let stream = stream.into_std();
            self.loops.spawn(on, async move {
                serve(stream.and_then(TcpStream::from_std).map(Socket::Tcp)).await;
            });
        }
    }

    fn loop_for(&self, here: LoopId) -> LoopId {
        let count = |on: LoopId| {
            self.crowds.get(on.index()).map_or(usize::MAX, |count| count.load(Ordering::Relaxed))
        };
        let emptiest = self.loops.ids().min_by_key(|on| count(*on)).unwrap_or(here);
        if count(here) > count(emptiest) + CROWD_SLACK { emptiest } else { here }
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
