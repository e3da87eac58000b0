//! What every condition shows now, from the figures that the console has.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::admin::{Hold, PoolFigures, Registry, longest_holds};
use crate::alerts::{
    CERTIFICATE, CLIENT_LIMIT, CLIENTS_WAITING, Condition, Flapping, HOLDER, HOST_DOWN,
    LONGEST_WAIT, Moment, NO_PRIMARY, POOL_SATURATED, RELOAD_FAILED, REPLICA_LAG,
    REPLICA_LAG_BYTES, REPLICA_LAG_UNKNOWN, REPLICAS_OUT, ROLE_FLAPPING, Reading, TWO_PRIMARIES,
};
use crate::config::Alerts;
use crate::pool::PoolName;
use crate::topology::{HostFigures, Standing, State};

/// All of them.
pub(super) fn all(
    registry: &dyn Registry,
    settings: &Alerts,
    flapping: &mut Flapping,
    now: Moment,
) -> Vec<Reading> {
    let (hosts, pools) = (registry.hosts(), registry.pools());
    let mut readings = Vec::new();
    hosts.iter().for_each(|(database, host)| of_host(database, host, now, &mut readings));
    of_databases(&hosts, settings, flapping, now, &mut readings);
    pools.iter().for_each(|pool| of_pool(pool, &mut readings));
    for (pool, hold) in longest_holds(registry) {
        readings.push(of_holder(&pool, hold));
    }
    let max = registry.config().general.max_client_conn.max(1);
    let clients = registry.clients().len();
    let share = share(clients, max);
    readings.push(reading(&CLIENT_LIMIT, "", share, format!("{clients} of {max} clients")));
    for (certificate, expires) in registry.certificates() {
        readings.push(of_certificate(&certificate, expires, now.time));
    }
    let failed = registry.reload_failed();
    let (is, why) = (flag(failed.is_some()), failed.unwrap_or_default());
    readings.push(reading(&RELOAD_FAILED, "", is, why));
    readings
}

/// What is said beside a value: some of it is a peer's.
const DETAIL_MAX: usize = 1000;

fn reading(
    condition: &'static Condition,
    about: impl Into<String>,
    value: impl Into<Option<f64>>,
    detail: impl Into<String>,
) -> Reading {
    let mut detail = detail.into();
    if let Some((end, _)) = detail.char_indices().nth(DETAIL_MAX) {
        detail.truncate(end);
    }
    Reading { condition, about: about.into(), value: value.into(), detail }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(count: usize) -> f64 {
    count as f64
}

/// In a hundred.
fn share(part: usize, whole: usize) -> f64 {
    100.0 * count(part) / count(whole.max(1))
}

fn of_host(database: &str, host: &HostFigures, now: Moment, readings: &mut Vec<Reading>) {
    let about = format!("{database}/{}", host.at);
    let error = host.error.clone().unwrap_or_default();
    let is_down = flag(host.state == State::Down);
    readings.push(reading(&HOST_DOWN, &about, is_down, error.as_str()));
    let is_second = flag(host.standing == Standing::Slighted);
    readings.push(reading(&TWO_PRIMARIES, &about, is_second, ""));
    if host.standing == Standing::Replica {
        let lag = host.lag(now.at).map(|lag| lag.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
        let bytes = host.lag_bytes.map(|bytes| bytes as f64);
        let is_unknown = flag(host.state == State::Up && lag.is_none());
        readings.push(reading(&REPLICA_LAG, &about, lag, ""));
        readings.push(reading(&REPLICA_LAG_BYTES, &about, bytes, ""));
        readings.push(reading(&REPLICA_LAG_UNKNOWN, &about, is_unknown, error));
    }
}

/// Of databases that have a primary to be found.
fn of_databases(
    hosts: &[(String, HostFigures)],
    settings: &Alerts,
    flapping: &mut Flapping,
    now: Moment,
    readings: &mut Vec<Reading>,
) {
    let mut databases: BTreeMap<&str, Vec<&HostFigures>> = BTreeMap::new();
    for (database, host) in hosts.iter().filter(|(_, host)| host.standing != Standing::Equal) {
        databases.entry(database).or_default().push(host);
    }
    let mut primaries = BTreeMap::new();
    for (database, hosts) in databases {
        let primary = hosts.iter().find(|host| host.standing == Standing::Primary);
        let errors = || {
            let errors = hosts
                .iter()
                .filter_map(|host| Some(format!("{}: {}", host.at, host.error.as_ref()?)));
            errors.collect::<Vec<_>>().join("; ")
        };
        let is_missing = primary.is_none();
        let why = if is_missing { errors() } else { String::new() };
        readings.push(reading(&NO_PRIMARY, database, flag(is_missing), why));
        let is_there =
            |host: &&HostFigures| host.standing == Standing::Replica && host.state == State::Up;
        let are_out = !hosts.iter().copied().any(|host| is_there(&host));
        let why = if are_out { errors() } else { String::new() };
        readings.push(reading(&REPLICAS_OUT, database, flag(are_out), why));
        primaries.insert(database.to_owned(), primary.map(|host| host.at.to_string()));
    }
    for (database, changes) in flapping.look(&primaries, settings.role_flapping_window, now.at) {
        let primary = primaries.get(&database).cloned().flatten().unwrap_or_default();
        readings.push(reading(&ROLE_FLAPPING, database, count(changes), primary));
    }
}

fn of_pool(pool: &PoolFigures, readings: &mut Vec<Reading>) {
    let about = about(&pool.name);
    let snapshot = &pool.snapshot;
    let (active, size, waiting) = (snapshot.active, pool.size, snapshot.waiting);
    let servers = format!("{active} of {size} servers in use");
    readings.push(reading(&CLIENTS_WAITING, &about, count(waiting), servers.as_str()));
    let waited = snapshot.oldest_wait.unwrap_or_default().as_secs_f64();
    readings.push(reading(&LONGEST_WAIT, &about, waited, servers));
    let used = if waiting > 0 { share(active, size) } else { 0.0 };
    readings.push(reading(&POOL_SATURATED, about, used, format!("{waiting} clients wait")));
}

fn about(pool: &PoolName) -> String {
    format!("{}/{}", pool.database, pool.user)
}

fn of_holder(pool: &PoolName, hold: Option<Hold>) -> Reading {
    let who = |Hold { seat, .. }: &Hold| {
        let asked = seat.asked_ago().as_secs();
        format!(
            "client {}, {}, which last asked for something {asked} s ago",
            seat.pid(),
            seat.card()
        )
    };
    let detail = hold.as_ref().map(who).unwrap_or_default();
    let held = hold.map_or(0.0, |hold| hold.held.as_secs_f64());
    reading(&HOLDER, about(pool), held, detail)
}

fn of_certificate(certificate: &str, expires: SystemTime, now: SystemTime) -> Reading {
    let left = match expires.duration_since(now) {
        Ok(left) => left.as_secs_f64(),
        Err(past) => -past.duration().as_secs_f64(),
    };
    reading(&CERTIFICATE, certificate, left, "")
}
