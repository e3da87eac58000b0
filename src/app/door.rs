//! Who may come in: from an accepted stream to a session, within the limits on clients.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::identify::{Attempt, Identified, side_of};
use super::journal::console_end;
use super::places::{Places, Ticket};
use super::setup::Setup;
use super::strangers::{Strangers, Visit};
use super::walsender::Walsender;
use super::wishes::{asks_for_replication, settings};
use super::{App, Stage, cores};
use crate::admin::{self, Console, Role};
use crate::auth::ServerSecret;
use crate::cancel::{Seat, SeatLimit, Seated, Secret};
use crate::client::card::{ClientCard, Login, Replication};
use crate::client::condition;
use crate::client::lobby::Lobby;
use crate::client::login::{self, LoginError, Opening, Stranger};
use crate::client::pace::{Paces, neighbourhood};
use crate::config::{Config, Database, General};
use crate::net::loops::LoopId;
use crate::net::peer::Peer;
use crate::net::socket::Socket;
use crate::session::{Entry, Gate, Session, Tenancy};
use crate::users::rules::{Caller, Way};
use crate::wire::reply::Report;
use crate::wire::startup::{Setting, Startup};

/// How long a newcomer waits for the catalog of a database with shards that has never been read.
const CATALOG_WAIT: Duration = Duration::from_secs(5);

/// Counts of those inside, and of those who have not logged in.
#[derive(Debug)]
pub(crate) struct Door {
    clients: Arc<Places>,
    strangers: Arc<Strangers>,
    lobby: Arc<Lobby>,
    /// Logins, by address and by user.
    address_pace: Paces<IpAddr>,
    user_pace: Paces<String>,
    /// Requests for servers.
    user_queries: Paces<String>,
    database_queries: Paces<String>,
    application_queries: Paces<String>,
    replications: Arc<Places>,
}

impl Door {
    pub(crate) fn new(general: &General) -> Self {
        Self {
            clients: Arc::default(),
            strangers: Strangers::new(general.max_unauthenticated_clients),
            lobby: Lobby::new(general.unauthenticated_memory.len(), cores().unwrap_or(1)),
            address_pace: Paces::new(general.login_rate_per_address),
            user_pace: Paces::new(general.login_rate_per_user),
            user_queries: Paces::new(general.query_rate_per_user),
            database_queries: Paces::new(general.query_rate_per_database),
            application_queries: Paces::new(general.query_rate_per_application_name),
            replications: Arc::default(),
        }
    }

    /// One more that has not logged in.
    pub(super) fn enter(&self) -> Visit {
        self.strangers.enter()
    }

    /// How many have not logged in.
    pub(crate) fn strangers(&self) -> usize {
        self.strangers.count()
    }

    /// What the requests of a client have to pass.
    fn gate(&self, card: &ClientCard) -> Option<Box<Gate>> {
        let Login { database, user } = &*card.login;
        let name = card.application_name.as_deref().unwrap_or_default();
        let paces = [
            ("query_rate_per_user", self.user_queries.of(user.clone())),
            ("query_rate_per_database", self.database_queries.of(database.clone())),
            ("query_rate_per_application_name", self.application_queries.of(name.to_owned())),
        ];
        let paces = paces.into_iter().filter_map(|(key, pace)| Some((key, pace?)));
        let paces: Vec<_> = paces.collect();
        (!paces.is_empty()).then(|| Box::new(Gate { paces }))
    }
}

/// Why a connection came to nothing.
pub(super) enum Refused {
    Login(LoginError),
    /// With this answer.
    Told(Report),
    /// For a reason that is for the log alone, with this answer.
    Quietly(String, Report),
    /// It has been told, and the log, by the session.
    Ended,
}

impl From<LoginError> for Refused {
    fn from(error: LoginError) -> Self {
        Self::Login(error)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Login(error.into())
    }
}

impl App {
    /// Lets one connection in, or tells it why not; `None` when that was all. Who comes for
    /// something else than a session is served here: such a future may be large.
    pub(super) async fn admit(
        self: &Arc<Self>,
        socket: io::Result<Socket>,
        peer: Peer,
        on: LoopId,
        visit: Visit,
    ) -> Option<Guest> {
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, "cannot register a client's socket");
                return None;
            }
        };
        let setup = self.setup();
        let limit = setup.config.general.client_login_timeout;
        let mut attempt = Attempt::new(peer);
        let tls = setup.tls.with_clients();
        let stranger = Stranger::new(socket, tls, self.door.lobby.share());
        let login = self.log_in(stranger, &setup, &mut attempt, on);
        let admitted = tokio::select! {
            admitted = timeout(limit, login) => Some(admitted),
            () = visit.sent_away() => None,
        };
        drop(visit);
        let Some(admitted) = admitted else {
            self.log_refusal(&attempt, "max_unauthenticated_clients");
            return None;
        };
        let reason = match admitted {
            Ok(Ok(Admitted::Guest(guest))) => return Some(guest),
            Ok(Ok(Admitted::Console(console))) => {
                drop(setup);
                // Loops may be busy with clients when an operator wants to know why.
                let ended = self.control.spawn(console.run()).await;
                let reason = console_end(ended);
                self.log_console_end(&attempt, &reason);
                return None;
            }
            Ok(Ok(Admitted::Walsender(walsender))) => {
                self.replicate(setup, *walsender).await;
                return None;
            }
            Ok(Ok(Admitted::Nobody)) => return None,
            Ok(Err(Refused::Login(LoginError::Gone(_)) | Refused::Ended)) => {
                self.log_stranger(&attempt, "client unexpected eof");
                return None;
            }
            Ok(Err(Refused::Login(error))) => error.to_string(),
            Ok(Err(Refused::Told(report))) => report.message,
            Ok(Err(Refused::Quietly(reason, _))) => reason,
            Err(_elapsed) => "client_login_timeout".into(),
        };
        self.log_refusal(&attempt, &reason);
        None
    }

    async fn log_in(
        self: &Arc<Self>,
        stranger: Stranger,
        setup: &Setup,
        attempt: &mut Attempt,
        on: LoopId,
    ) -> Result<Admitted, Refused> {
        let (mut stranger, startup) = match stranger.opening().await? {
            (stranger, Opening::Startup(startup)) => (stranger, startup),
            (mut stranger, Opening::Cancel(request)) => {
                self.house.cancels.cancel(&request).await;
                stranger.socket().farewell();
                return Ok(Admitted::Nobody);
            }
        };
        let peer = attempt.peer;
        let entered = self.enter(&mut stranger, setup, &startup, attempt).await;
        let user = attempt.names.as_ref().map_or("", |(user, _)| user);
        let entrance = match entered {
            Ok(Entered::Database(entrance)) => *entrance,
            Ok(Entered::Console(role, greeting)) => {
                if setup.config.general.log_connections {
                    attempt.log_console(stranger.socket().cipher());
                }
                let (socket, ahead) = stranger.into_parts();
                let registry = Arc::clone(self) as Arc<dyn admin::Registry>;
                let as_whom = (role, attempt.operator());
                let console = Console::open(socket, ahead, greeting, as_whom, registry).await?;
                return Ok(Admitted::Console(console));
            }
            Err(refused) => {
                let report = match &refused {
                    Refused::Login(error) => error.report(user),
                    Refused::Told(report) | Refused::Quietly(_, report) => Some(report.clone()),
                    Refused::Ended => None,
                };
                if let Some(report) = report {
                    self.turn_away(side_of(&report), &mut stranger, &[], &report);
                }
                return Err(refused);
            }
        };
        let login =
            Arc::new(Login { database: entrance.database.name.clone(), user: user.to_owned() });
        let label = startup.parameter("application_name");
        let own = || entrance.database.application_name.as_deref().unwrap_or_default().as_bytes();
        let label = label.unwrap_or_else(own);
        let card = ClientCard::new(login, label, peer, stranger.socket().cipher());
        let local = stranger.socket().ends().map(|(ours, _)| ours);
        let card = ClientCard { replication: entrance.replication, local, ..card };
        if entrance.replication.is_some() {
            if setup.config.general.log_connections {
                attempt.log_success(None, &card);
            }
            let walsender = Walsender { stranger, startup, card, entrance };
            return Ok(Admitted::Walsender(Box::new(walsender)));
        }
        let guest = self.open(stranger, setup, &startup, card, entrance, on).await?;
        if setup.config.general.log_connections {
            attempt.log_success(Some(guest.seat().pid()), guest.seat().card());
        }
        Ok(Admitted::Guest(guest))
    }

    /// Checks limits, secret and database, in this order: nothing is said of databases to those
    /// who have not proven who they are.
    async fn enter(
        &self,
        stranger: &mut Stranger,
        setup: &Setup,
        startup: &Startup,
        attempt: &mut Attempt,
    ) -> Result<Entered, Refused> {
        let config = &setup.config;
        let user = login::name(startup.parameter("user").unwrap_or_default());
        if user.is_empty() {
            return Err(Refused::Told(condition::NO_USER.report()));
        }
        let name = login::name(startup.parameter("database").unwrap_or(user.as_bytes()));
        attempt.names = Some((Arc::clone(&user), Arc::clone(&name)));
        let console = admin::is_console(&name);
        let replication = if console { None } else { asks_for_replication(startup) };
        let General { max_client_conn, max_replication_connections, .. } = config.general;
        let (places, max, limit) = match replication {
            Some(_) => {
                let max = max_replication_connections;
                (&self.door.replications, max, "max_replication_connections")
            }
            None => (&self.door.clients, max_client_conn, "max_client_conn"),
        };
        let full = || Refused::Told(condition::TOO_MANY_CLIENTS.about(limit));
        // An operator gets in when nobody else does.
        if !console && !places.has_room(max) {
            return Err(full());
        }
        if let Some(address) = attempt.peer.ip().map(neighbourhood) {
            let paces = &self.door.address_pace;
            paces.keep(address, "login_rate_per_address").map_err(Refused::Told)?;
        }
        stranger.socket().write_all(&login::negotiation(startup)).await?;
        let physical = replication == Some(Replication::Physical);
        let way = match attempt.peer.ip() {
            None => Way::Unix,
            Some(from) if stranger.socket().cipher().is_some() => Way::Tls(from),
            Some(from) => Way::Clear(from),
        };
        if let Some(greeting) = attempt.own_operator().filter(|_| console) {
            return Ok(Entered::Console(Role::Admin, greeting));
        }
        let caller = Caller { way, database: &name, user: &user, physical };
        let identified = self.identify(setup, stranger, &caller, attempt).await?;
        let may_write = config.users.get(&*user).is_none_or(|user| !user.read_only);
        if replication.is_some() && !may_write {
            return Err(Refused::Told(condition::READ_ONLY_USER.about("replication")));
        }
        // After the proof: nobody can use up another's logins.
        let paces = &self.door.user_pace;
        paces.keep(user.to_string(), "login_rate_per_user").map_err(Refused::Told)?;
        if console {
            let role = Role::of(&user, &config.general);
            let role = role.ok_or_else(|| Refused::Told(condition::NO_CONSOLE.report()))?;
            return Ok(Entered::Console(role, identified.greeting));
        }
        // Not before: strangers take nobody's place.
        let ticket = places.take(max).ok_or_else(full)?;
        let database = config.database(&name).or_else(|| {
            // Physical replication is of a whole server: any name stands for the only one.
            let mut all = config.databases.values();
            let first = all.next().filter(|_| replication.is_some())?;
            let same = all.all(|other| other.host_port() == first.host_port());
            same.then(|| Arc::clone(first))
        });
        // Shards are nobody's to ask for.
        let Some(database) = database.filter(|database| database.shard_of.is_none()) else {
            return Err(Refused::Told(condition::NO_DATABASE.about(name)));
        };
        if replication.is_some() && database.shards.is_some() {
            return Err(Refused::Told(condition::ON_SHARDS.about("replication")));
        }
        if self.tenancies.is_disabled(&database.name) {
            return Err(Refused::Told(condition::DISABLED.about(&database.name)));
        }
        let came = attempt.came;
        let entrance = Entrance { replication, ticket, database, identified, came };
        Ok(Entered::Database(Box::new(entrance)))
    }

    async fn open(
        &self,
        mut stranger: Stranger,
        setup: &Setup,
        startup: &Startup,
        card: ClientCard,
        entrance: Entrance,
        on: LoopId,
    ) -> Result<Guest, Refused> {
        let Entrance { ticket, database, identified, came, .. } = entrance;
        let Identified { person, proof, greeting } = identified;
        let secret = setup.users.server_secret(&database, &person, Some(proof));
        let (tenancy, settings) = match self.prepare(setup, startup, &card, &database, secret) {
            Ok(prepared) => prepared,
            Err(report) => {
                self.turn_away(side_of(&report), &mut stranger, &greeting, &report);
                return Err(Refused::Told(report));
            }
        };
        // One value for all clients of this user.
        let card = ClientCard { login: Arc::clone(&tenancy.login), ..card };
        let seat = match self.seat(setup, Secret::random(startup.minor), card, &database) {
            Ok(seat) => seat,
            Err(report) => {
                self.turn_away(side_of(&report), &mut stranger, &greeting, &report);
                return Err(Refused::Told(report));
            }
        };
        let params = tenancy.pool.connector().params().share(settings);
        let (socket, ahead) = stranger.into_parts();
        let gate = self.door.gate(seat.card());
        let entry = Entry { socket, ahead, greeting, seat, tenancy, on, params, gate, came };
        if entry.tenancy.shards.is_some() && entry.tenancy.catalog.remembered().is_none() {
            // Little can be said of names before; should it take longer, statements say so.
            drop(timeout(CATALOG_WAIT, entry.tenancy.catalog.read()).await);
        }
        let session = Session::open(entry).await.map_err(|_end| Refused::Ended)?;
        Ok(Guest { session, _ticket: ticket })
    }

    /// The pool and the settings of a client that has logged in.
    fn prepare(
        &self,
        setup: &Setup,
        startup: &Startup,
        card: &ClientCard,
        database: &Database,
        secret: Option<Arc<ServerSecret>>,
    ) -> Result<(Arc<Tenancy>, Vec<Setting>), Report> {
        let user = setup.config.users.get(&card.login.user);
        let settings = settings(startup, &setup.config.general, database, user)?;
        let tenancy = self.tenancies.find_or_make(&card.login, &self.house, secret)?;
        Ok((tenancy, settings))
    }

    /// A seat for a client, if neither its database nor its user has too many.
    fn seat(
        &self,
        setup: &Setup,
        secret: Secret,
        card: ClientCard,
        database: &Database,
    ) -> Result<Seated, Report> {
        let login = Arc::clone(&card.login);
        let Config { general, users, .. } = &*setup.config;
        let user_max = users
            .get(&login.user)
            .map_or(general.max_user_client_connections, |user| user.max_user_client_connections);
        let same_database = |card: &ClientCard| card.login.database == login.database;
        let same_user = |card: &ClientCard| card.login.user == login.user;
        let address = card.peer.ip();
        let same_address = |card: &ClientCard| card.peer.ip() == address;
        let address_max = general.max_address_client_connections;
        let limits: [SeatLimit<'_>; 3] = [
            (database.max_db_client_connections, &same_database),
            (user_max, &same_user),
            (address_max.filter(|_| address.is_some()), &same_address),
        ];
        let seat = self.house.cancels.seat_within(secret, card, &limits).map_err(|reached| {
            let names = [
                "max_db_client_connections",
                "max_user_client_connections",
                "max_address_client_connections",
            ];
            condition::TOO_MANY_CLIENTS.about(names.get(reached).copied().unwrap_or_default())
        })?;
        // Looked at with the seat taken: who ends the process either finds it, or was before.
        if self.stage() >= Stage::Closing {
            return Err(condition::SHUTTING_DOWN.report());
        }
        Ok(seat)
    }
}

/// A client that was let in.
#[derive(Debug)]
pub(super) struct Guest {
    session: Session,
    /// Its place among the clients.
    _ticket: Ticket,
}

impl Guest {
    /// Who it is.
    pub(super) fn seat(&self) -> &Seat {
        self.session.seat()
    }

    /// Its session.
    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.session
    }
}

/// Somebody who was let in.
enum Admitted {
    Guest(Guest),
    Console(Console),
    Walsender(Box<Walsender>),
    /// It came for a cancel.
    Nobody,
}

/// What somebody who has proven who it is came for.
enum Entered {
    Database(Box<Entrance>),
    /// With this role, and what it has not been sent yet of its login.
    Console(Role, Vec<u8>),
}

/// A client that has proven who it is, and what for.
pub(super) struct Entrance {
    replication: Option<Replication>,
    pub(super) ticket: Ticket,
    pub(super) database: Arc<Database>,
    pub(super) identified: Identified,
    /// When it connected.
    came: Instant,
}
