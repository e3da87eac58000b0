//! Everything, built from a [`Config`]: event loops, pools, and the listener whose clients become
//! sessions.
//!
//! Signals live on the thread that calls [`Running::wait`] (the control plane); the listener,
//! clients and servers live on the event loops.

mod accept;
mod alerts;
mod balances;
mod capacity;
mod catalogs;
mod control;
mod crowd;
mod design;
pub mod discover;
mod door;
pub mod explain;
mod figures;
mod identify;
pub mod inspect;
mod journal;
mod json;
mod listening;
mod owner;
mod places;
mod reload;
mod setup;
pub mod shards;
mod steer;
mod strangers;
mod tenancy;
mod tls;
mod topologies;
mod walsender;
mod wishes;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use self::accept::Doorway;
use self::alerts::Alerts;
use self::capacity::Capacities;
use self::door::Door;
use self::listening::{listeners, tcp_options};
use self::setup::{Setup, SetupError};
use self::tenancy::Tenancies;
use self::tls::LOOK_EVERY;
use self::topologies::Topologies;
use crate::admin::{CONSOLE, Consoles, Haste, Override, VERSION};
use crate::cancel::Cancels;
use crate::catalog::{Catalogs, Current, Readings};
use crate::complaints::Complaints;
use crate::config::ini::Loaded;
use crate::config::{Config, General, Problems};
use crate::events::{Events, Kind};
use crate::http;
use crate::net::host::raise_open_files;
use crate::net::listen::Endpoint;
use crate::net::loops::Loops;
use crate::net::notify::Manager;
use crate::notify::Hub;
use crate::route::decisions::AllDecisions;
use crate::server::prepared::StatementTable;
use crate::server::schema::Schemas;
use crate::session::House;
use crate::session::causal::Writes;
use crate::session::pins::PinCounts;
use crate::traffic::{ErrorBook, Queries, Traffics};

/// Why the pooler did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error("cannot listen on {address} ({keys}): {cause}{}", by(.owner))]
    Listen {
        /// As configured.
        address: String,
        /// The keys that say so.
        keys: &'static str,
        /// The system's word.
        cause: io::Error,
        /// Who listens there, where that is known.
        owner: Option<String>,
    },
    /// What the service manager has opened is no socket for clients.
    #[error("cannot use the sockets of the service manager (LISTEN_FDS): {0}")]
    Inherited(io::Error),
    /// The pages can't be served there.
    #[error("http_listen: cannot listen on {address}: {cause}")]
    Http {
        /// As configured.
        address: String,
        /// The system's word.
        cause: io::Error,
    },
    /// A secret or a file of TLS can't be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The system gives no thread or no reactor.
    #[error("cannot start event loops: {0}")]
    Loops(io::Error),
}

fn by(owner: &Option<String>) -> String {
    owner.as_ref().map_or_else(String::new, |owner| format!(" by {owner}"))
}

/// How long repeats of what goes wrong are gathered before their number is logged.
const GATHERED: Duration = Duration::from_secs(10);

/// How long averages are taken over, as PgBouncer's `stats_period`.
const STATS_PERIOD: Duration = Duration::from_secs(60);

/// Reads the configuration again, for a reload, with general keys that an operator has set.
pub type Source = Box<dyn Fn(&[Override]) -> Result<Loaded, Problems> + Send + Sync>;

/// A pooler that listens.
#[derive(Debug)]
pub struct Running {
    control: Runtime,
    /// Unix sockets' files go with them.
    doorways: Vec<Doorway>,
    http: Option<SocketAddr>,
    app: Arc<App>,
    stops: mpsc::Receiver<Haste>,
}

/// What every connection needs.
pub(crate) struct App {
    loops: Arc<Loops>,
    /// The control plane's own loop.
    control: Handle,
    /// Clients per loop.
    crowds: Vec<AtomicUsize>,
    tenancies: Tenancies,
    topologies: Topologies,
    /// Of databases that are listed and have several hosts.
    catalogs: Mutex<Vec<Arc<Current>>>,
    alerts: Alerts,
    capacities: Capacities,
    house: Arc<House>,
    door: Arc<Door>,
    consoles: Arc<Consoles>,
    /// The lowest number of an open file that a newcomer may not have.
    open_files_max: usize,
    /// Who has started us and wants to know how we are, if anybody does.
    manager: Option<Manager>,
    stage: watch::Sender<Stage>,
    /// An operator has load balancers look elsewhere.
    drained: AtomicBool,
    /// An end has been asked for that may take its time.
    stopping: AtomicBool,
    /// An operator wants the process to end.
    stops: mpsc::Sender<Haste>,
    source: Source,
    /// What operators have set, in their order. One reload at a time.
    overrides: tokio::sync::Mutex<Vec<Override>>,
}

/// How far the process is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Not at all.
    Serving,
    /// Load balancers are told to look elsewhere; who comes is served.
    Leaving,
    /// Nobody comes in but operators by the unix socket.
    Closing,
}

/// Listens as `config` says. Clients are served from then on. `source` gives the configuration
/// anew when it is to be reloaded.
///
/// # Errors
/// As [`StartError`] says.
pub fn start(config: Config, source: Source) -> Result<Running, StartError> {
    let config = Arc::new(config);
    let general = &config.general;
    let tcp = tcp_options(general);
    let listeners = listeners(&config, tcp)?;
    let pages = general.http_listen.as_deref().map(|address| {
        listen_http(address)
            .map_err(|cause| StartError::Http { address: address.to_owned(), cause })
    });
    let pages = pages.transpose()?;
    let workers = general.workers.or_else(cores).unwrap_or(1);
    let loops = Loops::start(u16::try_from(workers).unwrap_or(u16::MAX));
    let loops = Arc::new(loops.map_err(StartError::Loops)?);
    let schemas = Arc::new(Schemas::default());
    let house = Arc::new(House {
        cancels: Cancels::new(tcp, general.cancel_wait_timeout),
        statements: StatementTable::default(),
        catalogs: Catalogs::new(Arc::clone(&schemas)),
        readings: Readings::new(general.facts_cache_size.len()),
        schemas,
        tcp,
        cancel_wait: general.cancel_wait_timeout,
        complaints: Arc::new(Complaints::default()),
        hub: Hub::new(Arc::default()),
        traffics: Traffics::new(loops.len(), general.max_metrics_users),
        errors: ErrorBook::default(),
        queries: Queries::new(loops.len(), general.query_stats_size.len()),
        events: Arc::new(Events::new(general.max_events)),
        pins: PinCounts::default(),
        decisions: AllDecisions::default(),
        writes: Writes::new(Instant::now()),
        partings: watch::Sender::new(()),
    });
    house.hub.processes().log(general.log_connections, general.log_disconnections);
    let setup = Setup::new(Arc::clone(&config), &house, None)?;
    let control = Builder::new_current_thread().enable_all().build().map_err(StartError::Loops)?;
    let topologies = Topologies::new(control.handle().clone(), tcp, Arc::clone(&house.events));
    let alarm = Arc::new(Notify::new());
    let (stop, stops) = mpsc::channel(1);
    let app = Arc::new(App {
        crowds: loops.ids().map(|_| AtomicUsize::new(0)).collect(),
        tenancies: Tenancies::new(setup, Arc::clone(&loops), tcp, Arc::clone(&alarm)),
        topologies,
        catalogs: Mutex::default(),
        alerts: Alerts::default(),
        capacities: Capacities::default(),
        consoles: Arc::new(Consoles::new(house.traffics.of(CONSOLE))),
        house,
        door: Arc::new(Door::new(general)),
        open_files_max: open_files_max(general),
        manager: manager(),
        stage: watch::Sender::new(Stage::Serving),
        drained: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        stops: stop,
        source,
        overrides: tokio::sync::Mutex::default(),
        control: control.handle().clone(),
        loops,
    });
    app.note_process(&format!("pgweir {VERSION} has started"));
    app.topologies.adopt(&app.setup(), &Arc::downgrade(&app));
    app.adopt_catalogs(&config);
    control.spawn(Arc::clone(&app).keep_catalogs());
    control.spawn(Arc::clone(&app).watch_files());
    control.spawn(Arc::clone(&app).heed(alarm));
    let doorways = listeners.into_iter().map(|listener| Doorway::open(&app, listener));
    let doorways = doorways.collect::<io::Result<_>>().map_err(StartError::Loops)?;
    control.spawn(Arc::clone(&app).sum_up_complaints());
    control.spawn(Arc::clone(&app).end_periods());
    control.spawn(Arc::clone(&app).watch_alerts());
    control.spawn(Arc::clone(&app).post_alerts());
    control.spawn(Arc::clone(&app).run_alert_commands());
    control.spawn(Arc::clone(&app).forget_code());
    control.spawn(Arc::clone(&app).forget_idle_databases());
    let http = match pages {
        Some((listener, address)) => {
            // Ends with the control plane.
            control.spawn(http::serve(listener, Arc::clone(&app) as Arc<dyn http::Pages>));
            Some(address)
        }
        None => None,
    };
    Ok(Running { control, doorways, http, app, stops })
}

impl Running {
    /// Where it listens; at least one.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.doorways.iter().map(|doorway| doorway.listener().at())
    }

    /// Where it serves `/metrics`, `/livez` and `/readyz`; `None` when it does not.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Runs the control plane on this thread until `end` is ready, then closes everything at once.
    pub fn wait(self, end: impl Future<Output = ()>) {
        let Self { control, doorways, app, .. } = self;
        control.block_on(async {
            end.await;
            app.end(doorways).await;
        });
    }

    /// Runs the control plane on this thread until a signal or an operator ends the process:
    /// HUP reloads, USR1 pauses, USR2 resumes, TERM, INT and QUIT end it. `ready` is called when they
    /// are caught: one that comes before that ends the process as the system has it.
    ///
    /// # Errors
    /// When signals can't be caught.
    pub fn run(self, ready: impl FnOnce()) -> io::Result<()> {
        let Self { control, doorways, app, stops, .. } = self;
        control.block_on(app.control(doorways, stops, ready))
    }
}

/// How many cores this process may use.
pub fn cores() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

/// Numbers of open files are given from below: the number of a new one tells how many there are.
fn open_files_max(general: &General) -> usize {
    let limit = raise_open_files();
    let wanted = general.max_client_conn + general.reserved_open_files;
    if limit < wanted {
        tracing::warn!(
            "the limit on open files is {limit} (ulimit -n): too low for max_client_conn and \
             reserved_open_files, {wanted} together"
        );
    }
    // However low it is, somebody may come in.
    limit - general.reserved_open_files.min(limit / 2)
}

/// The service manager, where it wants to be told (`NOTIFY_SOCKET`).
fn manager() -> Option<Manager> {
    let address = std::env::var("NOTIFY_SOCKET").ok()?;
    let manager = Manager::at(&address);
    manager.inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET can't be used")).ok()
}

fn listen_http(address: &str) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl App {
    /// What everybody goes by who comes in now.
    fn setup(&self) -> Arc<Setup> {
        self.tenancies.setup()
    }

    fn note_process(&self, text: &str) {
        self.house.events.add(Kind::Process, "", text, SystemTime::now());
    }

    fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Looks after the files of TLS, as long as the process runs.
    async fn watch_files(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.setup().tls.refresh();
        }
    }

    /// Looks after hosts when somebody raises the alarm.
    async fn heed(self: Arc<Self>, alarm: Arc<Notify>) {
        self.topologies.heed(&alarm).await;
    }

    async fn forget_idle_databases(self: Arc<Self>) {
        self.tenancies.forget_idle(&self.house.cancels).await;
    }

    /// Has databases asked for their code from time to time, as long as the process runs.
    async fn forget_code(self: Arc<Self>) {
        loop {
            let interval = self.setup().config.general.unseen_code_interval;
            tokio::time::sleep(interval.unwrap_or(LOOK_EVERY)).await;
            self.house.schemas.are_old();
        }
    }

    /// Ends one period of averages after the other, as long as the process runs.
    async fn end_periods(self: Arc<Self>) {
        loop {
            let began = Instant::now();
            tokio::time::sleep(STATS_PERIOD).await;
            self.house.traffics.end_period(began.elapsed());
        }
    }

    /// Logs what was repeated from time to time, as long as the process runs.
    async fn sum_up_complaints(self: Arc<Self>) {
        loop {
            tokio::time::sleep(GATHERED).await;
            self.house.complaints.sum_up(GATHERED);
        }
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("stage", &self.stage()).finish_non_exhaustive()
    }
}
