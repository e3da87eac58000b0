//! The tables of the console: columns as PgBouncer has them, and rows from the registry.
//!
//! What we don't have is 0 or empty. New columns go to the end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::commands::{Column, Row};
use super::registry::{PoolFigures, Registry};
use super::{CONSOLE, PGBOUNCER_VERSION, VERSION as PGWEIR_VERSION};
use crate::cancel::Seat;
use crate::config::{Applies, Database};
use crate::notify::{Figures, State};
use crate::sql::fingerprint;
use crate::wire::reply::ColumnType::{Integer, Text};
use crate::wire::reply::Value;

pub(super) static VERSION: &[Column] = &[("version", Text)];

pub(super) fn version(_: &dyn Registry) -> Vec<Row> {
    vec![vec![text(format!("PgBouncer {PGBOUNCER_VERSION}/pgweir {PGWEIR_VERSION}"))]]
}

pub(super) static STATE: &[Column] = &[("key", Text), ("value", Text)];

pub(super) fn state(registry: &dyn Registry) -> Vec<Row> {
    let (paused, suspended) = (registry.is_paused(None), registry.is_suspended());
    let states = [("active", !paused), ("paused", paused && !suspended), ("suspended", suspended)];
    let word = |is: bool| if is { "yes" } else { "no" };
    states.map(|(state, is)| vec![text(state), text(word(is))]).into()
}

pub(super) static POOLS: &[Column] = &[
    ("database", Text),
    ("user", Text),
    ("cl_active", Integer),
    ("cl_waiting", Integer),
    ("cl_active_cancel_req", Integer),
    ("cl_waiting_cancel_req", Integer),
    ("sv_active", Integer),
    ("sv_active_cancel", Integer),
    ("sv_being_canceled", Integer),
    ("sv_idle", Integer),
    ("sv_used", Integer),
    ("sv_tested", Integer),
    ("sv_login", Integer),
    ("maxwait", Integer),
    ("maxwait_us", Integer),
    ("pool_mode", Text),
    ("load_balance_hosts", Text),
];

pub(super) fn pools(registry: &dyn Registry) -> Vec<Row> {
    let config = registry.config();
    let row = |pool: PoolFigures| {
        let [sv_active, sv_idle] = [pool.servers_active(), pool.servers_idle()];
        let PoolFigures { name, mode, clients_active, cancels, snapshot, .. } = pool;
        let balance = balance(config.database(&name.database).as_deref());
        let waited = snapshot.oldest_wait.unwrap_or_default();
        vec![
            text(name.place()),
            text(name.user),
            number(clients_active),
            number(snapshot.waiting),
            number(cancels.sent),
            number(cancels.waiting),
            number(sv_active),
            number(cancels.sent),
            number(cancels.holding),
            number(sv_idle),
            number(snapshot.stale),
            number(snapshot.tending),
            number(snapshot.opening),
            seconds(waited),
            micros(waited),
            text(mode.name()),
            balance,
        ]
    };
    // The last line is the console's own, for tools that take an empty table for a failure.
    let own = POOLS.iter().map(|(column, kind)| match (*column, kind) {
        ("database" | "user", _) => text(CONSOLE),
        ("cl_active", _) => number(registry.consoles().open()),
        ("pool_mode", _) => text("statement"),
        (_, Integer) => number(0),
        _ => Value::Null,
    });
    registry.pools().into_iter().map(row).chain([own.collect()]).collect()
}

/// How a database's servers are spread over its hosts, where that is configured.
fn balance(database: Option<&Database>) -> Value {
    let spread = database.and_then(|database| database.load_balance_hosts);
    spread.map_or(Value::Null, |spread| text(spread.name()))
}

pub(super) static DATABASES: &[Column] = &[
    ("name", Text),
    ("host", Text),
    ("port", Integer),
    ("database", Text),
    ("force_user", Text),
    ("pool_size", Integer),
    ("min_pool_size", Integer),
    ("reserve_pool_size", Integer),
    ("server_lifetime", Integer),
    ("pool_mode", Text),
    ("load_balance_hosts", Text),
    ("max_connections", Integer),
    ("current_connections", Integer),
    ("max_client_connections", Integer),
    ("current_client_connections", Integer),
    ("paused", Integer),
    ("disabled", Integer),
    // The older name of reserve_pool_size, for exporters that still read it.
    ("reserve_pool", Integer),
];

pub(super) fn databases(registry: &dyn Registry) -> Vec<Row> {
    let config = registry.config();
    let mut servers: HashMap<String, usize> = HashMap::new();
    for pool in registry.pools() {
        *servers.entry(pool.name.database).or_default() += pool.snapshot.open();
    }
    let mut clients: HashMap<String, usize> = HashMap::new();
    for seat in registry.own_clients() {
        *clients.entry(seat.card().login.database.clone()).or_default() += 1;
    }
    let count = |counts: &HashMap<String, usize>, database: &Database| {
        number(counts.get(&database.name).copied().unwrap_or(0))
    };
    let row = |database: &Database| {
        let reserve = number(config.reserve_pool_size(database, None));
        vec![
            text(database.name.as_str()),
            text(database.hosts_text()),
            number(database.port.into()),
            text(database.dbname.as_str()),
            database.user.as_deref().map_or(Value::Null, text),
            number(config.pool_size(database, None)),
            number(config.min_pool_size(database, None)),
            reserve.clone(),
            seconds(database.server_lifetime.unwrap_or_default()),
            text(config.pool_mode(database, None).name()),
            balance(Some(database)),
            number(database.max_db_connections.unwrap_or(0)),
            count(&servers, database),
            number(database.max_db_client_connections.unwrap_or(0)),
            count(&clients, database),
            number(registry.is_paused(Some(&database.name)).into()),
            number(registry.is_disabled(&database.name).into()),
            reserve,
        ]
    };
    // What others are made of is none itself.
    let listed = config.databases.values().filter(|database| database.name != "*").cloned();
    let known: BTreeSet<String> = servers.keys().cloned().chain(registry.marked()).collect();
    let autos = known.iter().filter(|name| config.is_auto(name));
    let autos = autos.filter_map(|name| config.database(name));
    let mut databases: Vec<_> = listed.chain(autos).collect();
    databases.sort_by(|a, b| a.name.cmp(&b.name));
    databases.iter().map(|database| row(database)).collect()
}

/// The same, and the console's own database, as PgBouncer has it.
pub(super) fn databases_and_console(registry: &dyn Registry) -> Vec<Row> {
    let general = &registry.config().general;
    let own = DATABASES.iter().map(|(column, kind)| match (*column, kind) {
        ("name" | "database" | "force_user", _) => text(CONSOLE),
        ("port", _) => number(general.listen_port.into()),
        ("pool_size", _) => number(2),
        ("server_lifetime", _) => seconds(general.server_lifetime.unwrap_or_default()),
        ("pool_mode", _) => text("statement"),
        ("current_client_connections", _) => number(registry.consoles().open()),
        (_, Integer) => number(0),
        _ => Value::Null,
    });
    databases(registry).into_iter().chain([own.collect()]).collect()
}

pub(super) static USERS: &[Column] = &[
    ("name", Text),
    // As PgBouncer writes them: padded, and empty where the database's counts.
    ("pool_size", Text),
    ("reserve_pool_size", Text),
    ("pool_mode", Text),
    ("max_user_connections", Integer),
    ("current_connections", Integer),
    ("max_user_client_connections", Integer),
    ("current_client_connections", Integer),
];

pub(super) fn users(registry: &dyn Registry) -> Vec<Row> {
    let config = registry.config();
    let (mut servers, mut clients): (HashMap<String, usize>, HashMap<String, usize>) =
        Default::default();
    for pool in registry.pools() {
        *servers.entry(pool.name.user).or_default() += pool.snapshot.open();
    }
    for seat in registry.own_clients() {
        *clients.entry(seat.card().login.user.clone()).or_default() += 1;
    }
    // Those who are not listed are known by their servers and clients.
    let mut names: Vec<&String> = config.users.keys().collect();
    names.extend(servers.keys().chain(clients.keys()));
    names.sort();
    names.dedup();
    let general = &config.general;
    let row = |name: &String| {
        let user = config.users.get(name);
        let size = |size: Option<usize>| text(size.map_or(String::new(), |n| format!("{n:>9}")));
        let max = user.map_or(general.max_user_connections, |user| user.max_user_connections);
        let max_clients = user
            .map_or(general.max_user_client_connections, |user| user.max_user_client_connections);
        let mode = user.and_then(|user| user.pool_mode);
        vec![
            text(name.as_str()),
            size(user.and_then(|user| user.pool_size)),
            size(user.and_then(|user| user.reserve_pool_size)),
            mode.map_or(Value::Null, |mode| text(mode.name())),
            number(max.unwrap_or(0)),
            number(servers.get(name).copied().unwrap_or(0)),
            number(max_clients.unwrap_or(0)),
            number(clients.get(name).copied().unwrap_or(0)),
        ]
    };
    names.into_iter().map(row).collect()
}

pub(super) static LISTS: &[Column] = &[("list", Text), ("items", Integer)];

pub(super) fn lists(registry: &dyn Registry) -> Vec<Row> {
    let lists = counts(registry);
    lists.into_iter().map(|(list, items)| vec![text(list), number(items)]).collect()
}

/// How many there are of everything, under PgBouncer's names.
pub(super) fn counts(registry: &dyn Registry) -> [(&'static str, usize); 14] {
    let config = registry.config();
    let pools = registry.pools();
    let free = pools.iter().map(|pool| pool.snapshot.idle).sum();
    let open: usize = pools.iter().map(|pool| pool.snapshot.open() + pool.snapshot.opening).sum();
    [
        // With the console's own, as in their tables.
        ("databases", databases(registry).len() + 1),
        ("users", config.users.len()),
        ("peers", 0),
        ("pools", pools.len() + 1),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", registry.client_count()),
        ("login_clients", registry.strangers()),
        ("free_servers", free),
        ("used_servers", open.saturating_sub(free)),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ]
}

pub(super) static CONFIG: &[Column] =
    &[("key", Text), ("value", Text), ("default", Text), ("changeable", Text)];

pub(super) fn config(registry: &dyn Registry) -> Vec<Row> {
    let config = registry.config();
    let settings = config.general.settings();
    let row = |setting: crate::config::Setting| {
        let changeable = match setting.applies {
            Applies::Restart => "no",
            Applies::Reload => "yes",
        };
        vec![text(setting.key), text(setting.value), text(setting.default), text(changeable)]
    };
    settings.map(row).collect()
}

pub(super) static PINS: &[Column] = &[
    ("id", Integer),
    ("user", Text),
    ("database", Text),
    ("application_name", Text),
    ("reason", Text),
    ("sql", Text),
    ("age", Integer),
];

pub(super) fn pins(registry: &dyn Registry) -> Vec<Row> {
    let mut seats = registry.clients();
    seats.sort_by_key(|seat| seat.pid());
    let row = |seat: Arc<Seat>| {
        let pinned = seat.pinned()?;
        let card = seat.card();
        Some(vec![
            number(seat.pid() as usize),
            text(card.login.user.as_str()),
            text(card.login.database.as_str()),
            text(card.application_name.as_deref().unwrap_or_default()),
            text(pinned.reason),
            text(fingerprint(pinned.sql.as_bytes())),
            seconds(pinned.since.elapsed()),
        ])
    };
    seats.into_iter().filter_map(row).collect()
}

pub(super) static LISTENERS: &[Column] = &[
    ("server", Text),
    ("database", Text),
    ("client_encoding", Text),
    ("state", Text),
    ("channels", Integer),
    ("clients", Integer),
    ("queued_bytes", Integer),
    ("pid", Integer),
    ("age", Integer),
    ("cause", Text),
];

pub(super) fn listeners(registry: &dyn Registry) -> Vec<Row> {
    let mut listeners = registry.listeners();
    listeners.sort_by_key(|listener| listener.key.to_string());
    let row = |Figures { key, state, since, channels, clients, queued }: Figures| {
        let (word, pid, cause) = match &state {
            State::Opening => ("opening", 0, ""),
            State::Listening(pid) => ("listening", *pid, ""),
            State::Lost(cause) => ("lost", 0, &**cause),
        };
        vec![
            text(key.address.to_string()),
            text(key.database.as_str()),
            text(String::from_utf8_lossy(&key.encoding)),
            text(word),
            number(channels),
            number(clients),
            number(queued),
            number(pid as usize),
            seconds(since.elapsed()),
            text(cause),
        ]
    };
    listeners.into_iter().map(row).collect()
}

pub(super) fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

pub(super) fn number(count: usize) -> Value {
    Value::Integer(i32::try_from(count).unwrap_or(i32::MAX))
}

/// The whole seconds.
pub(super) fn seconds(time: Duration) -> Value {
    Value::Integer(i32::try_from(time.as_secs()).unwrap_or(i32::MAX))
}

/// What is left beside the whole seconds.
pub(super) fn micros(time: Duration) -> Value {
    Value::Integer(i32::try_from(time.subsec_micros()).unwrap_or(i32::MAX))
}
