//! Who may come in: from an accepted stream to a session, within the limits on clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{Instant, timeout};

use super::App;
use super::tenancy::Tenancy;
use crate::auth::Proof;
use crate::client::login::{self, LoginError, Opening, refusal};
use crate::client::registry::ClientCard;
use crate::config::{Database, General};
use crate::net::loops::LoopId;
use crate::net::socket::Socket;
use crate::session::replication::replicate;
use crate::session::report;
use crate::session::{End, Entry, Session};
use crate::wire::reply::{Report, Severity};
use crate::wire::startup::{Startup, read_options};

/// Counts of those inside, and of those who have not logged in.
#[derive(Debug)]
pub(crate) struct Door {
    clients: AtomicUsize,
    clients_max: usize,
    strangers: AtomicUsize,
    strangers_max: usize,
    replications: AtomicUsize,
    replications_max: usize,
}

/// The right to be counted; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    door: Arc<Door>,
    counts: fn(&Door) -> &AtomicUsize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        (self.counts)(&self.door).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Door {
    pub(crate) fn new(general: &General) -> Self {
        Self {
            clients: AtomicUsize::new(0),
            clients_max: general.max_client_conn,
            strangers: AtomicUsize::new(0),
            strangers_max: general.max_unauthenticated_clients,
            replications: AtomicUsize::new(0),
            replications_max: general.max_replication_connections,
        }
    }

    /// One more that has not logged in, if there is room.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Ticket> {
        self.ticket(|door| &door.strangers, self.strangers_max)
    }

    fn client(self: &Arc<Self>) -> Option<Ticket> {
        self.ticket(|door| &door.clients, self.clients_max)
    }

    fn replication(self: &Arc<Self>) -> Option<Ticket> {
        self.ticket(|door| &door.replications, self.replications_max)
    }

    fn ticket(
        self: &Arc<Self>,
        counts: fn(&Door) -> &AtomicUsize,
        max: usize,
    ) -> Option<Ticket> {
        let count = counts(self);
        let ticket = Ticket { door: Arc::clone(self), counts };
        // Counted before it is compared: dropping the ticket takes it back.
        (count.fetch_add(1, Ordering::Relaxed) < max).then_some(ticket)
    }
}

/// What came of a connection's opening.
enum Admitted {
    /// A session, and the right to have it.
    Session(Box<Session>, Ticket),
    /// Nothing more is to be done.
    Done,
}

/// Why a connection came to nothing.
enum Refused {
    Login(LoginError),
    /// With this answer.
    Told(Report),
    /// It has been told by the session.
    Ended(End),
}

impl From<LoginError> for Refused {
    fn from(error: LoginError) -> Self {
        Self::Login(error)
    }
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self::Login(error.into())
    }
}

impl App {
    /// Serves one connection from its first byte to its last.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: std::net::TcpStream,
        on: LoopId,
        stranger: Ticket,
    ) {
        let general = &self.config.general;
        let socket = match Socket::accepted(stream, &self.tcp) {
            Ok(socket) => socket,
            Err(error) => return tracing::debug!(%error, "client gone before it was served"),
        };
        let peer = socket.peer();
        let started = Instant::now();
        // The login's future is large, and gone before the session begins.
        let login = Box::pin(self.admit(socket, on));
        let admitted = match timeout(general.client_login_timeout, login).await {
            Ok(admitted) => admitted,
            Err(_elapsed) => {
                return tracing::info!(?peer, "closing because: client_login_timeout");
            }
        };
        drop(stranger);
        let (session, client) = match admitted {
            Ok(Admitted::Session(session, client)) => (session, client),
            Ok(Admitted::Done) => return,
            Err(why) => {
                let reason = match why {
                    Refused::Login(LoginError::Gone(_)) => return,
                    Refused::Login(error) => error.to_string(),
                    Refused::Told(report) => report.message,
                    Refused::Ended(end) => end.to_string(),
                };
                return tracing::warn!(?peer, "login failed: {reason}");
            }
        };
        let end = session.run().await;
        drop(client);
        if general.log_disconnections {
            let age = started.elapsed().as_secs();
            tracing::info!(?peer, "closing because: {end} (age={age}s)");
        }
    }

    async fn admit(self: &Arc<Self>, mut socket: Socket, on: LoopId) -> Result<Admitted, Refused> {
        let opening = login::opening(&mut socket).await;
        let startup = match opening {
            Ok(Opening::Startup(startup)) => startup,
            Ok(Opening::Cancel(request)) => {
                self.house.cancels.cancel(&request).await;
                return Ok(Admitted::Done);
            }
            Err(error) => {
                if let Some(report) = error.report("") {
                    login::refuse(&socket, &report);
                }
                return Err(error.into());
            }
        };
        let user = login::name(startup.parameter("user").unwrap_or_default());
        match self.enter(&mut socket, &startup, &user).await {
            Ok(Entrance::Session(ticket, database, proof)) => {
                let session = self.open(socket, &startup, &user, database, proof, on).await?;
                Ok(Admitted::Session(Box::new(session), ticket))
            }
            Ok(Entrance::Replication(ticket, database, proof)) => {
                let done = self.replicate(&mut socket, &startup, &user, &database, proof).await;
                drop(ticket);
                done.map(|()| Admitted::Done)
            }
            Err(refused) => {
                let report = match &refused {
                    Refused::Login(error) => error.report(&user),
                    Refused::Told(report) => Some(report.clone()),
                    Refused::Ended(_) => None,
                };
                if let Some(report) = report {
                    login::refuse(&socket, &report);
                }
                Err(refused)
            }
        }
    }

    /// Checks limits, secret and database, in this order: nothing is said of databases to those
    /// who have not proven who they are.
    async fn enter(
        &self,
        socket: &mut Socket,
        startup: &Startup,
        user: &str,
    ) -> Result<Entrance, Refused> {
        if user.is_empty() {
            let text = "no PostgreSQL user name specified in startup packet";
            return Err(Refused::Told(refusal("28000", text)));
        }
        let replication = asks_for_replication(startup);
        let ticket = if replication {
            self.door.replication().ok_or("max_replication_connections")
        } else {
            self.door.client().ok_or("max_client_conn")
        };
        let ticket = ticket.map_err(|limit| Refused::Told(full(limit)))?;
        login::negotiate(socket, startup).await?;
        let users = &self.users;
        let account = users.account(user);
        let proof =
            login::authenticate(socket, users.method(), user, account, users.mock()).await?;
        let name = login::name(startup.parameter("database").unwrap_or(user.as_bytes()));
        let database = self.config.databases.get(&*name).or_else(|| {
            // Physical replication is of a whole server: any name stands for the only one.
            let mut all = self.config.databases.values();
            all.next().filter(|_| replication && all.next().is_none())
        });
        let Some(database) = database else {
            return Err(Refused::Told(refusal("3D000", format!("no such database: {name}"))));
        };
        let database = Arc::clone(database);
        Ok(if replication {
            Entrance::Replication(ticket, database, proof)
        } else {
            Entrance::Session(ticket, database, proof)
        })
    }

    async fn open(
        &self,
        socket: Socket,
        startup: &Startup,
        user: &str,
        database: Arc<Database>,
        proof: Proof,
        on: LoopId,
    ) -> Result<Session, Refused> {
        let prepared = self.prepare(startup, user, &database, proof);
        let (tenancy, settings) = match prepared {
            Ok(prepared) => prepared,
            Err(report) => {
                login::refuse(&socket, &report);
                return Err(Refused::Told(report));
            }
        };
        let seat = self.house.cancels.seat(if startup.minor < 2 { 4 } else { 32 });
        let label = startup.parameter("application_name").unwrap_or_default();
        let card = self.house.registry.enter(ClientCard {
            id: seat.pid(),
            user: Arc::clone(&tenancy.user),
            database: Arc::clone(&tenancy.database),
            application_name: login::name(label),
            peer: socket.peer(),
            since: Instant::now(),
        });
        if self.config.general.log_connections {
            tracing::info!(client = %*card, "login attempt: ok");
        }
        let params = tenancy.pool.connector().params().share(settings);
        let session = Session::open(Entry {
            socket,
            seat,
            card,
            pool: tenancy.pool,
            terms: tenancy.terms,
            house: Arc::clone(&self.house),
            on,
            params,
        });
        session.await.map_err(Refused::Ended)
    }

    /// The pool and the settings of a client that has logged in.
    fn prepare(
        &self,
        startup: &Startup,
        user: &str,
        database: &Database,
        proof: Proof,
    ) -> Result<(Tenancy, Vec<(Vec<u8>, Vec<u8>)>), Report> {
        self.check_client_caps(database, user)?;
        let settings = settings(startup, &self.config.general)?;
        let secret = || self.users.server_secret(database, user, Some(proof));
        let tenancy = self.tenancies.find_or_make(database, user, secret);
        Ok((tenancy.ok_or_else(report::shutting_down)?, settings))
    }

    fn check_client_caps(&self, database: &Database, user: &str) -> Result<(), Report> {
        let registry = &self.house.registry;
        let over = |max: Option<usize>, counts: &dyn Fn(&ClientCard) -> bool| {
            max.is_some_and(|max| registry.count(counts) >= max)
        };
        let user_max = self.config.users.get(user);
        let user_max = user_max.map_or(self.config.general.max_user_client_connections, |user| {
            user.max_user_client_connections
        });
        if over(database.max_db_client_connections, &|card| *card.database == *database.name) {
            return Err(full("max_db_client_connections"));
        }
        if over(user_max, &|card| *card.user == *user) {
            return Err(full("max_user_client_connections"));
        }
        Ok(())
    }

    async fn replicate(
        &self,
        socket: &mut Socket,
        startup: &Startup,
        user: &str,
        database: &Database,
        proof: Proof,
    ) -> Result<(), Refused> {
        let secret = self.users.server_secret(database, user, Some(proof));
        let target = self.tenancies.target(database, user, secret);
        let parameters: Vec<_> = startup
            .parameters
            .iter()
            .filter(|(name, _)| name != b"user" && name != b"database")
            .cloned()
            .collect();
        let seat = self.house.cancels.seat(4);
        let done = replicate(socket, &target, &parameters, &seat).await;
        done.map_err(|error| {
            let report = report::connect_failed(Severity::Fatal, &error);
            login::refuse(socket, &report);
            Refused::Told(report)
        })
    }
}

/// What a client that has proven who it is comes in for.
enum Entrance {
    Session(Ticket, Arc<Database>, Proof),
    Replication(Ticket, Arc<Database>, Proof),
}

fn full(limit: &str) -> Report {
    let mut report = refusal("53300", format!("no more connections allowed ({limit})"));
    report.hint = Some(format!("Raise {limit}, or end connections that are not needed."));
    report
}

/// Whether it is a walsender that the client wants, as Postgres reads the parameter.
fn asks_for_replication(startup: &Startup) -> bool {
    let value = startup.parameter("replication").unwrap_or_default().to_ascii_lowercase();
    matches!(value.as_slice(), b"database" | b"true" | b"on" | b"yes" | b"1" | b"t" | b"y")
}

/// The settings in a startup packet, those in `options` first: what is given outright counts.
fn settings(
    startup: &Startup,
    general: &General,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Report> {
    let options = startup.parameter("options").unwrap_or_default();
    let mut settings = read_options(options)
        .map_err(|error| refusal("08P01", error.to_string()))?;
    let special: [&[u8]; 4] = [b"user", b"database", b"options", b"replication"];
    let given = startup.parameters.iter().filter(|(name, _)| !special.contains(&name.as_slice()));
    settings.extend(given.cloned());
    let ignored = |name: &[u8]| {
        let ignored = &general.ignore_startup_parameters;
        ignored.iter().any(|ignored| ignored.as_bytes().eq_ignore_ascii_case(name))
    };
    settings.retain(|(name, _)| !ignored(name));
    Ok(settings)
}
