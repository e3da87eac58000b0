//! Who waits for a server, and who has them.

use std::cell::LazyCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::commands::{Column, Row};
use super::metrics::Page;
use super::registry::{PoolFigures, Registry};
use super::tables::{micros, number, seconds, text};
use crate::cancel::{Queued, Seat};
use crate::client::card::Login;
use crate::config::PoolMode;
use crate::pool::{Holder, Limit, PoolName, QuotaId};
use crate::server::card::ServerCard;
use crate::sql::fingerprint;
use crate::wire::reply::ColumnType::{Integer, Text};
use crate::wire::reply::Value;

pub(super) static WAITING: &[Column] = &[
    ("id", Integer),
    ("user", Text),
    ("database", Text),
    ("application_name", Text),
    ("addr", Text),
    ("wait", Integer),
    ("wait_us", Integer),
    // The pool that it waits for: servers in use, being opened, and as many as there may be.
    ("sv_active", Integer),
    ("sv_login", Integer),
    ("pool_size", Integer),
    // Who has had one of those that it waits for for longest.
    ("holder_id", Integer),
    ("holder_application_name", Text),
    ("held", Integer),
    ("holder_reason", Text),
    ("holder_state", Text),
    ("holder_statement", Text),
    // Where the pool is: a replica, or a shard, if it is not the database's own.
    ("pool", Text),
    // The limit that binds, or what else there is none for.
    ("waits_for", Text),
];

/// Those who have waited for longest come first.
pub(super) fn waiting(registry: &dyn Registry) -> Vec<Row> {
    let (seats, servers) = (by_number(registry), by_process(registry));
    let pools: HashMap<PoolName, _> =
        registry.pools().into_iter().map(|pool| (pool.name.clone(), pool)).collect();
    let waits = seats.values().filter_map(|seat| Some((seat.queued()?, seat)));
    let mut waits: Vec<_> = waits.collect();
    waits.sort_by_key(|(queued, seat)| (Reverse(queued.waited), seat.pid()));
    let row = |(Queued { waited, login, replica }, seat): (Queued, &Arc<Seat>)| {
        let mut row = client(seat);
        row.extend([seconds(waited), micros(waited)]);
        let Login { database, user } = &*login;
        let name = PoolName { database: database.clone(), user: user.clone(), replica };
        let pool = pools.get(&name);
        let count = |count: Option<usize>| count.map_or(Value::Null, number);
        let snapshot = pool.map(|pool| &pool.snapshot);
        row.push(count(snapshot.map(|snapshot| snapshot.active)));
        row.push(count(snapshot.map(|snapshot| snapshot.opening)));
        row.push(count(pool.map(|pool| pool.size)));
        let hindrance = pool.and_then(|pool| pool.hindrance);
        let longest = hindrance.and_then(|hindrance| hindrance.holder);
        let holder = longest.and_then(|holder| seat_of(&seats, holder));
        row.push(holder.map_or(Value::Null, |seat| number(seat.pid() as usize)));
        row.push(holder.map_or(Value::Null, |seat| text(application_name(seat))));
        row.push(longest.map_or(Value::Null, |holder| seconds(holder.held)));
        row.push(holder.map_or(Value::Null, |seat| reason(seat)));
        row.extend(activity(holder.and_then(|seat| server_of(seat, &servers))));
        row.push(text(name.place()));
        row.push(hindrance.map_or(Value::Null, |hindrance| text(hindrance.limit.as_str())));
        row
    };
    waits.into_iter().map(row).collect()
}

pub(super) static HOLDERS: &[Column] = &[
    ("id", Integer),
    ("user", Text),
    ("database", Text),
    ("application_name", Text),
    ("addr", Text),
    ("held", Integer),
    ("held_us", Integer),
    // Since its last request.
    ("asked", Integer),
    ("remote_pid", Integer),
    ("reason", Text),
    // How many wait for a server of the same pool, or for a place that this one takes.
    ("cl_waiting", Integer),
    // In the words of pg_stat_activity.
    ("state", Text),
    ("statement", Text),
];

/// Those who have held a server for longest come first.
pub(super) fn holders(registry: &dyn Registry) -> Vec<Row> {
    let (seats, servers) = (by_number(registry), by_process(registry));
    let waiting = held_up(&registry.pools());
    let mut holders = registry.holders();
    holders.sort_by_key(|(_, holder)| (Reverse(holder.held), holder.id));
    let row = |(pool, holder): (PoolName, Holder)| {
        // One that has left meanwhile holds nothing any more.
        let seat = seat_of(&seats, holder)?;
        let waiting = waiting.get(&pool).copied().unwrap_or(0);
        let pid = seat.server().map_or(0, |key| key.pid);
        let mut row = client(seat);
        row.extend([seconds(holder.held), micros(holder.held), seconds(seat.asked_ago())]);
        row.extend([number(pid as usize), reason(seat), number(waiting)]);
        row.extend(activity(server_of(seat, &servers)));
        Some(row)
    };
    holders.into_iter().filter_map(row).collect()
}

/// How many wait because of those who hold servers of each pool.
fn held_up(pools: &[PoolFigures]) -> HashMap<PoolName, usize> {
    let mut shared: HashMap<QuotaId, usize> = HashMap::new();
    for pool in pools {
        if let Some(quota) = pool.hindrance.and_then(|hindrance| hindrance.shared) {
            *shared.entry(quota).or_default() += pool.snapshot.waiting;
        }
    }
    let of = |pool: &PoolFigures| {
        let quotas = pool.quotas.iter().flatten();
        let others: usize = quotas.filter_map(|quota| shared.get(quota)).sum();
        let is_own = pool.hindrance.is_some_and(|hindrance| {
            hindrance.shared.is_none() && !matches!(hindrance.limit, Limit::Paused | Limit::Nowhere)
        });
        others + if is_own { pool.snapshot.waiting } else { 0 }
    };
    pools.iter().map(|pool| (pool.name.clone(), of(pool))).collect()
}

/// Who has had a server of a pool for longest, for one transaction or statement.
#[derive(Clone, Debug)]
pub struct Hold {
    /// For how long.
    pub held: Duration,
    /// Who.
    pub seat: Arc<Seat>,
}

/// That of each of these pools, where there is one. Of those who keep theirs between transactions counts the one that
/// is under way.
pub fn longest_holds(
    registry: &dyn Registry,
    pools: &[PoolFigures],
) -> Vec<(PoolName, Option<Hold>)> {
    let pools = pools.iter().map(|pool| (pool.name.clone(), (pool.mode, None)));
    let mut longest: BTreeMap<PoolName, (PoolMode, Option<Hold>)> = pools.collect();
    let (seats, servers) = (by_number(registry), LazyCell::new(|| by_process(registry)));
    for (pool, holder) in registry.holders() {
        let Some(seat) = seat_of(&seats, holder) else { continue };
        let Some((mode, hold)) = longest.get_mut(&pool) else { continue };
        if seat.card().replication.is_some() {
            continue;
        }
        let keeps = *mode == PoolMode::Session || seat.pinned().is_some();
        let held = match keeps {
            true => server_of(seat, &servers).and_then(ServerCard::under_way),
            false => Some(holder.held),
        };
        let held = held.filter(|held| hold.as_ref().is_none_or(|hold| hold.held < *held));
        if let Some(held) = held {
            *hold = Some(Hold { held, seat: Arc::clone(seat) });
        }
    }
    longest.into_iter().map(|(pool, (_, hold))| (pool, hold)).collect()
}

pub(super) fn metrics(page: &mut Page, registry: &dyn Registry, pools: &[PoolFigures]) {
    let name = "pgweir_longest_hold_seconds";
    page.head(name, "How long a client has had a server for one transaction or statement.");
    for (pool, hold) in longest_holds(registry, pools) {
        let labels = [("database", &*pool.place()), ("user", &*pool.user)];
        page.sample(name, &labels, hold.map_or(0.0, |hold| hold.held.as_secs_f64()));
    }
}

fn by_number(registry: &dyn Registry) -> HashMap<u32, Arc<Seat>> {
    registry.clients().into_iter().map(|seat| (seat.pid(), seat)).collect()
}

/// Servers by their processes.
type Servers = HashMap<u32, Vec<Arc<ServerCard>>>;

fn by_process(registry: &dyn Registry) -> Servers {
    let mut servers = Servers::new();
    for card in registry.servers() {
        servers.entry(card.pid).or_default().push(card);
    }
    servers
}

/// The server that a client has now.
fn server_of<'s>(seat: &Seat, servers: &'s Servers) -> Option<&'s ServerCard> {
    let key = seat.server()?;
    let cards = servers.get(&key.pid)?;
    cards.iter().find(|card| card.address == key.address).map(|card| &**card)
}

/// What a server does for its client, and the form of the text that it was given last: values in it
/// are shown to nobody.
fn activity(server: Option<&ServerCard>) -> [Value; 2] {
    let state = server.map_or(Value::Null, |card| text(card.activity()));
    [state, server.map_or(Value::Null, |card| text(fingerprint(&card.text())))]
}

fn seat_of(seats: &HashMap<u32, Arc<Seat>>, holder: Holder) -> Option<&Arc<Seat>> {
    seats.get(&u32::try_from(holder.id).ok()?)
}

fn client(seat: &Seat) -> Row {
    let card = seat.card();
    vec![
        number(seat.pid() as usize),
        text(card.login.user.as_str()),
        text(card.login.database.as_str()),
        text(application_name(seat)),
        text(card.peer.to_string()),
    ]
}

fn application_name(seat: &Seat) -> &str {
    seat.card().application_name.as_deref().unwrap_or_default()
}

/// Why a client keeps its server between transactions; NULL where it does not.
fn reason(seat: &Seat) -> Value {
    seat.pinned().map_or(Value::Null, |pinned| text(pinned.reason))
}
