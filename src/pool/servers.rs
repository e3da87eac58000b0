//! Servers as members of a pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{Closed, Condition, Connect, Member, Verdict};
use crate::auth::ServerSecret;
use crate::complaints::{Complaints, plain};
use crate::net::loops::LoopId;
use crate::server::card::{Owner, ServerCard};
use crate::server::connect::{ConnectError, Target, connect};
use crate::server::params::{Params, ParamsTable};
use crate::server::processes::Processes;
use crate::server::site::Site;
use crate::server::{CRASHED, Cleanliness, Server, ServerError, Upkeep};

impl Member for Box<Server> {
    fn home(&self) -> LoopId {
        Server::home(self)
    }

    fn created(&self) -> Instant {
        Server::created(self)
    }

    fn number(&self) -> u64 {
        self.card().id
    }

    fn affinity(&self) -> usize {
        affinity(self.applied())
    }

    fn condition(&self) -> Condition {
        match self.cleanliness() {
            Cleanliness::Clean => Condition::Clean,
            Cleanliness::Used => Condition::NeedsReset,
            Cleanliness::Broken => Condition::Broken,
        }
    }

    fn is_quiet(&mut self) -> bool {
        Server::is_quiet(self)
    }

    fn closes(&mut self, why: Closed) {
        self.closes_because(told(why));
    }

    fn rehome(self, to: LoopId) -> Option<Self> {
        Server::rehome(self, to)
    }

    async fn reset(self) -> Option<Self> {
        tended(self, Server::reset).await
    }

    async fn check(self) -> Option<Self> {
        tended(self, Server::check).await
    }
}

/// Why a server is closed, in PgBouncer's words where it has some.
fn told(why: Closed) -> &'static str {
    match why {
        Closed::Dropped => "client disconnect while server was not ready",
        Closed::Broken => "unclean server",
        Closed::ServerGone | Closed::NotQuiet | Closed::MoveFailed => CRASHED,
        Closed::ResetFailed => "reset query failed",
        Closed::CheckFailed => "test query failed",
        Closed::Lifetime => "server lifetime over",
        Closed::IdleTimeout => "server idle timeout",
        Closed::Surplus => "too many servers in the pool",
        Closed::Evicted => "evicted",
        Closed::PoolClosed => "pool closed",
        // A cancel of its last client may still come.
        Closed::Requested => "cancel_wait_timeout",
        Closed::Obsolete => "obsolete connection",
        Closed::Paused => "pause mode",
    }
}

/// Has something done to a server that is not lent meanwhile.
async fn tended<F>(server: Box<Server>, tend: impl FnOnce(Box<Server>) -> F) -> Option<Box<Server>>
where
    F: Future<Output = Option<Box<Server>>>,
{
    server.card().tend(true);
    let server = tend(server).await?;
    server.card().tend(false);
    Some(server)
}

/// The tag of a client's settings: servers with an equal one need no change.
pub fn affinity(params: &Arc<Params>) -> usize {
    Arc::as_ptr(params).addr()
}

/// What a pool's servers are opened as.
#[derive(Clone, Debug)]
pub struct Goal {
    /// Where, and as whom.
    pub target: Target,
    /// How they are kept.
    pub upkeep: Arc<Upkeep>,
    /// SQL that every new server runs first.
    pub connect_query: Option<String>,
    /// The host.
    pub site: Arc<Site>,
}

/// Opens the servers of one pool.
#[derive(Debug)]
pub struct Connector {
    goal: Mutex<Arc<Goal>>,
    /// The distinct settings of the pool's clients, and of those of pools beside it.
    params: Arc<ParamsTable>,
    /// No settings.
    unset: Arc<Params>,
    owner: Arc<Owner>,
    last_id: Arc<AtomicU64>,
    complaints: Arc<Complaints>,
    processes: Arc<Processes>,
}

impl Connector {
    /// Opens servers as `goal` says for the clients of `owner`, and complains of those that could
    /// not be; `last_id` and `processes` are shared by all connectors.
    pub fn new(
        goal: Goal,
        owner: Owner,
        last_id: Arc<AtomicU64>,
        complaints: Arc<Complaints>,
        processes: Arc<Processes>,
    ) -> Self {
        let params = Arc::new(ParamsTable::default());
        let unset = params.share([]);
        let (goal, owner) = (Mutex::new(Arc::new(goal)), Arc::new(owner));
        Self { goal, params, unset, owner, last_id, complaints, processes }
    }

    /// Opens servers elsewhere, for the same clients.
    #[must_use]
    pub fn beside(&self, goal: Goal) -> Self {
        Self {
            goal: Mutex::new(Arc::new(goal)),
            params: Arc::clone(&self.params),
            unset: Arc::clone(&self.unset),
            owner: Arc::clone(&self.owner),
            last_id: Arc::clone(&self.last_id),
            complaints: Arc::clone(&self.complaints),
            processes: Arc::clone(&self.processes),
        }
    }

    /// The same for the clients of another owner, who are the same people.
    #[must_use]
    pub fn of(self, owner: Owner) -> Self {
        Self { owner: Arc::new(owner), ..self }
    }

    /// Opens servers as this says from now on.
    pub fn aim(&self, mut goal: Goal) {
        let mut current = self.goal.lock();
        if current.target.address == goal.target.address && current.site.is_like(&goal.site) {
            goal.site = Arc::clone(&current.site);
        }
        *current = Arc::new(goal);
    }

    /// Nothing may be done any more on the host where servers have been opened.
    pub fn forsake(&self) {
        self.goal.lock().site.forsake();
    }

    /// Where servers are opened, and as whom.
    pub fn target(&self) -> Target {
        self.goal.lock().target.clone()
    }

    /// What servers are logged in to with.
    pub fn secret(&self) -> Option<Arc<ServerSecret>> {
        self.goal.lock().target.secret.clone()
    }

    /// The distinct settings of the pool's clients.
    pub fn params(&self) -> &ParamsTable {
        &self.params
    }

    /// Takes what a client has shown at its login: its secret may have been changed on the server
    /// since the first client came.
    pub fn renew(&self, secret: Arc<ServerSecret>) {
        let mut goal = self.goal.lock();
        // An equal one has keys made already.
        if !goal.target.secret.as_ref().is_some_and(|current| current.is_same(&secret)) {
            Arc::make_mut(&mut goal).target.secret = Some(secret);
        }
    }

    async fn open(&self, goal: &Goal, on: LoopId) -> Result<Box<Server>, ConnectError> {
        let Goal { target, upkeep, connect_query, site } = goal;
        let mut login = connect(target, &[]).await?;
        let opened = Instant::now();
        if site.is_replica() {
            // To its clients it is all the same server.
            login.reported.set(b"in_hot_standby", b"off");
        }
        let method = login.method;
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let unset = Arc::clone(&self.unset);
        let card = ServerCard::new(id, Arc::clone(&self.owner), &login);
        let process = self.processes.enrol(card);
        let mut server = Server::new(login, on, unset, Arc::clone(upkeep), process);
        server.site = Arc::clone(site);
        if let Some(sql) = connect_query {
            let address = Arc::from(target.address.to_string());
            let ran = server.run(sql, target.connect_timeout).await;
            if ran.is_err() {
                server.closes_because("connect_query failed");
            }
            ran.map_err(|error| match error {
                ServerError::Refused(error) => {
                    ConnectError::Refused { address, method: None, error: error.into() }
                }
                other => {
                    ConnectError::Lied { address, method: None, what: other.to_string().into() }
                }
            })?;
        }
        if timeout(target.connect_timeout, site.looked_at_since(opened)).await.is_err() {
            server.closes_because("connect timeout");
            let (address, after) = (target.address.to_string().into(), target.connect_timeout);
            return Err(ConnectError::TimedOut { address, after });
        }
        let Target { address, user, .. } = target;
        let tls = server.socket.cipher().map_or_else(|| "no".to_owned(), |tls| tls.to_string());
        tracing::debug!(server = %address, %method, %tls, %user, "new connection to server");
        Ok(server)
    }
}

impl Connect for Connector {
    type Member = Box<Server>;
    type Error = ConnectError;

    async fn connect(&self, on: LoopId) -> Result<Self::Member, Self::Error> {
        let goal = Arc::clone(&self.goal.lock());
        let opened = self.open(&goal, on).await;
        opened.inspect_err(|error| {
            self.complaints.complain(&goal.target.complaint(error));
            goal.site.doubt();
        })
    }

    fn draws_on_reserve(&self) {
        let Owner { database, user } = &*self.owner;
        let (database, user, address) = (plain(database), plain(user), self.target().address);
        tracing::warn!("{database}/{user}@{address} taking connection from reserve_pool");
    }

    fn verdict(&self, error: &Self::Error) -> Verdict {
        match (error, error.server_sqlstate()) {
            (_, Some(b"57P03")) => Verdict::StartingUp,
            (_, Some(b"53300")) => Verdict::Full,
            // Wrong password, no such role or database, no entry in pg_hba.conf.
            (_, Some(b"28P01" | b"28000" | b"3D000" | b"42501")) => Verdict::Rejected,
            (ConnectError::Auth { .. }, _) => Verdict::Rejected,
            (ConnectError::Tls { .. } | ConnectError::Lied { .. }, _) => Verdict::Unreachable,
            _ if self.goal.lock().site.follows_primary() => Verdict::Moving,
            _ => Verdict::Unreachable,
        }
    }
}
