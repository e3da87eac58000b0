//! What the console and the metrics look at: plain figures, which the application gathers when
//! they are asked for. And what the console has done.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::consoles::Consoles;
use super::order::{Operator, Order, Steered};
use crate::alerts::Shown;
use crate::cancel::Seat;
use crate::catalog;
use crate::config::{Config, HostPort, PoolMode};
use crate::events::Event;
use crate::net::socket::Address;
use crate::notify;
use crate::pool::{Holder, Limit, PoolName, QuotaId, Snapshot};
use crate::route::decisions::Decisions;
use crate::server::card::ServerCard;
use crate::server::held::Prepared;
use crate::shard::Sharding;
use crate::topology::HostFigures;
use crate::traffic::{Cost, ErrorLine, Pair, Times, Traffic};

/// Where figures come from.
pub trait Registry: Send + Sync + 'static {
    /// What is configured.
    fn config(&self) -> Arc<Config>;
    /// The consoles that are open.
    fn consoles(&self) -> &Arc<Consoles>;
    /// Every pool, in the order of their names.
    fn pools(&self) -> Vec<PoolFigures>;
    /// Every client that has a server, with its pool, in no order.
    fn holders(&self) -> Vec<(PoolName, Holder)>;
    /// Every client that is logged in, consoles apart, in no order; with them the sessions that run
    /// parts of their requests on several shards.
    fn clients(&self) -> Vec<Arc<Seat>>;
    /// Those of them that are clients.
    fn own_clients(&self) -> Vec<Arc<Seat>> {
        let mut seats = self.clients();
        seats.retain(|seat| !seat.card().is_leg);
        seats
    }
    /// How many clients are logged in.
    fn client_count(&self) -> usize {
        self.clients().iter().filter(|seat| !seat.card().is_leg).count()
    }
    /// Every server that we are connected to for clients, in no order.
    fn servers(&self) -> Vec<Arc<ServerCard>>;
    /// What has passed through each database, by name.
    fn traffic(&self) -> Vec<(String, Arc<Traffic>)>;
    /// How long things take for each user on each database.
    fn times(&self) -> Vec<(Pair, Arc<Times>)>;
    /// How often a user came to a database whose times are not told apart.
    fn folded(&self) -> u64;
    /// What clients were told of that went wrong, by side and SQLSTATE.
    fn errors(&self) -> Vec<ErrorLine>;
    /// What texts cost, the dearest first: database, text without values, cost.
    fn queries(&self) -> Vec<(String, String, Cost)>;
    /// What has happened lately, in the order in which it began.
    fn events(&self) -> Vec<Event>;
    /// Every prepared statement that somebody has, in the order of their numbers.
    fn statements(&self) -> Vec<Prepared>;
    /// How many there are, and how many bytes their texts take.
    fn statement_totals(&self) -> (usize, usize);
    /// How often clients began to keep their servers, by reason.
    fn pins(&self) -> Vec<(&'static str, u64)>;
    /// What is told of servers beside what they know themselves.
    fn marks(&self) -> Marks;
    /// Every connection that listens for clients, in no order.
    fn listeners(&self) -> Vec<notify::Figures>;
    /// Every host of every database that has several, in their order.
    fn hosts(&self) -> Vec<(String, HostFigures)>;
    /// Whether there is anybody at the hosts of the other databases, as far as that is known.
    fn outages(&self) -> Vec<Reach>;
    /// What is known of the names in each database with several hosts.
    fn catalogs(&self) -> Vec<catalog::Figures>;
    /// What is kept of texts.
    fn readings(&self) -> catalog::Kept;
    /// Where requests have run and why, of each database where that differs.
    fn decisions(&self) -> Vec<(String, Arc<Decisions>)>;
    /// How many cancels clients have sent.
    fn cancel_count(&self) -> u64;
    /// How many are connected that have not logged in yet.
    fn strangers(&self) -> usize;
    /// Certificates of TLS and when each expires: ours, and the first of clients' authorities.
    fn certificates(&self) -> Vec<(String, SystemTime)>;
    /// Why the last reload has failed, if it has.
    fn reload_failed(&self) -> Option<String>;
    /// Alerts that are raised, may be soon, or were lately.
    fn alerts(&self) -> Vec<Shown>;
    /// Whether a database is paused, or all of them are.
    fn is_paused(&self, database: Option<&str>) -> bool;
    /// Whether all of them are, by SUSPEND.
    fn is_suspended(&self) -> bool;
    /// Databases that are paused or disabled by their own names.
    fn marked(&self) -> Vec<String>;
    /// Whether a database is closed to newcomers.
    fn is_disabled(&self, database: &str) -> bool;
    /// How databases are spread that have shards, by name.
    fn shardings(&self) -> Vec<(String, Arc<Sharding>)>;
    /// What pools may open on each host, and what it takes: asks the hosts.
    fn capacity(self: Arc<Self>) -> Measuring;
    /// Finds out where a text would run in a database; `None` when there is no such database.
    fn explain(self: Arc<Self>, database: String, text: Vec<u8>) -> Explaining;
    /// Carries an order out.
    fn steer(self: Arc<Self>, order: Order, by: &Operator) -> Steered;
}

/// Whether there is anybody at the hosts of a database where no primary is sought.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The database.
    pub database: String,
    /// Its host, where it has a single one.
    pub at: Option<HostPort>,
    /// A server of it is there; else the last attempt to connect found nobody, and none is left.
    pub is_up: bool,
    /// Since when.
    pub since: Instant,
    /// Why it is not up.
    pub error: Option<String>,
}

/// Hosts that are being asked.
pub type Measuring = Pin<Box<dyn Future<Output = Vec<HostCapacity>> + Send>>;

/// What pools may open on a host, and what it takes; `None` is not known.
#[derive(Clone, Debug)]
pub struct HostCapacity {
    /// The host.
    pub host: HostPort,
    /// How the two stand to each other, in a word.
    pub state: &'static str,
    /// What pools may open there at most; `None` where nothing bounds them.
    pub wanted: Option<usize>,
    /// The part of each database in that, before limits that hold over several.
    pub shares: String,
    /// `max_server_connections`.
    pub cap: Option<usize>,
    /// What the server takes.
    pub max_connections: Option<usize>,
    /// Of these, what it keeps for superusers and others.
    pub reserved: Option<usize>,
    /// Connections there that are not those of pools.
    pub others: Option<usize>,
    /// Servers of pools that are open there.
    pub open: usize,
    /// Connections that pools could still open.
    pub free: Option<usize>,
    /// How long ago the server said so.
    pub age: Option<Duration>,
    /// What to do about it.
    pub advice: String,
    /// Why it could not be asked now.
    pub error: Option<String>,
}

/// What there is to tell of a text, in its order: what it is, and its value.
pub type Explanation = Vec<(&'static str, String)>;
/// An explanation that is being made.
pub type Explaining = Pin<Box<dyn Future<Output = Option<Explanation>> + Send>>;

/// Cancels that are under way, of clients of one pool or to its servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelFigures {
    /// They wait until they may be sent.
    pub waiting: usize,
    /// They are being sent, each on a connection of its own.
    pub sent: usize,
    /// Of these, how many have a server held back that its client has left.
    pub holding: usize,
}

/// Servers that are apart from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Numbers of those that are closed as soon as they are free, as they were replaced.
    pub closing: HashSet<u64>,
    /// Numbers of those that are free, and are checked before somebody gets them.
    pub stale: HashSet<u64>,
    /// Where those are, and their processes, that are held back until a cancel has landed.
    pub held: HashSet<(Address, u32)>,
}

/// One pool.
#[derive(Clone, Debug)]
pub struct PoolFigures {
    /// Whose it is.
    pub name: PoolName,
    /// When its servers go back.
    pub mode: PoolMode,
    /// How many servers it may have, the reserve apart.
    pub size: usize,
    /// How many it may have now: fewer where limits over several pools leave no more.
    pub most: usize,
    /// Clients that have the use of a server or ask for none.
    pub clients_active: usize,
    /// Clients that keep a server between transactions.
    pub clients_pinned: usize,
    /// Cancels of its clients that are under way.
    pub cancels: CancelFigures,
    /// Its servers, and those who wait for one.
    pub snapshot: Snapshot,
    /// What those wait for.
    pub hindrance: Option<InTheWay>,
    /// The limits over several pools that it is under.
    pub quotas: [Option<QuotaId>; 3],
}

/// What those who wait in a pool wait for, and because of whom.
#[derive(Clone, Copy, Debug)]
pub struct InTheWay {
    /// What there would have to be more of.
    pub limit: Limit,
    /// Where that is a limit over several pools, which.
    pub shared: Option<QuotaId>,
    /// Who has held a server that it bounds for longest.
    pub holder: Option<Holder>,
}

impl PoolFigures {
    /// Servers that a client uses; those that are held back for a cancel are not among them.
    pub fn servers_active(&self) -> usize {
        self.snapshot.active.saturating_sub(self.cancels.holding)
    }

    /// Servers that are free and can be used as they are.
    pub fn servers_idle(&self) -> usize {
        self.snapshot.idle.saturating_sub(self.snapshot.stale)
    }
}
