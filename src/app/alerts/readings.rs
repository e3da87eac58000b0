//! What every condition shows now, from the figures that the console has.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::admin::{CONSOLE, Hold, PoolFigures, Reach, Registry, longest_holds};
use crate::alerts::{
    CERTIFICATE, CLIENT_LIMIT, CLIENTS_WAITING, Condition, ERROR_RATE, Flapping, HOLDER, HOST_DOWN,
    LONGEST_WAIT, Moment, NO_PRIMARY, POOL_SATURATED, RELOAD_FAILED, REPLICA_LAG,
    REPLICA_LAG_BYTES, REPLICA_LAG_UNKNOWN, REPLICAS_OUT, REQUESTS_MIN, ROLE_FLAPPING, Reading,
    TWO_PRIMARIES, WAIT_P95, Window, quantile,
};
use crate::config::Alerts;
use crate::pool::PoolName;
use crate::topology::{HostFigures, Standing, State};
use crate::traffic::{Figure, Pair, Role, Span, Times, is_failure};

/// What was before, where that is needed.
#[derive(Debug, Default)]
pub(super) struct Past {
    flapping: Flapping,
    waits: Window<BTreeMap<Pair, Waits>>,
    /// Errors and requests.
    errors: Window<[u64; 2]>,
}

/// How long clients have waited: bounds in seconds with how many waited no longer, and all.
type Waits = (Vec<(f64, u64)>, u64);

/// All of them.
pub(super) fn all(
    registry: &dyn Registry,
    settings: &Alerts,
    past: &mut Past,
    now: Moment,
) -> Vec<Reading> {
    let (hosts, pools) = (registry.hosts(), registry.pools());
    let mut readings = Vec::new();
    hosts.iter().for_each(|(database, host)| of_host(database, host, now, &mut readings));
    of_databases(&hosts, settings, &mut past.flapping, now, &mut readings);
    registry.outages().into_iter().for_each(|seen| of_unwatched(seen, &mut readings));
    pools.iter().for_each(|pool| of_pool(pool, &mut readings));
    of_waits(registry, &mut past.waits, now, &mut readings);
    for (pool, hold) in longest_holds(registry) {
        readings.push(of_holder(&pool, hold));
    }
    let max = registry.config().general.max_client_conn.max(1);
    let clients = registry.client_count();
    let share = share(clients, max);
    readings.push(reading(&CLIENT_LIMIT, "", share, format!("{clients} of {max} clients")));
    readings.push(of_errors(registry, &mut past.errors, now));
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
    if detail.contains(char::is_control) {
        // A line of the log, of a table, of a page.
        detail = detail.replace(char::is_control, " ");
    }
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

/// Of a database whose hosts are known by its servers alone.
fn of_unwatched(seen: Reach, readings: &mut Vec<Reading>) {
    let Reach { database, at, is_up, error, .. } = seen;
    let (is_down, why) = (flag(!is_up), error.unwrap_or_default());
    if let Some(at) = at {
        readings.push(reading(&HOST_DOWN, format!("{database}/{at}"), is_down, why.as_str()));
    }
    readings.push(reading(&NO_PRIMARY, database, is_down, why));
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
    let (active, most, waiting) = (snapshot.active, pool.most, snapshot.waiting);
    let servers = format!("{active} of {most} servers in use");
    readings.push(reading(&CLIENTS_WAITING, &about, count(waiting), servers.as_str()));
    let waited = snapshot.oldest_wait.unwrap_or_default().as_secs_f64();
    readings.push(reading(&LONGEST_WAIT, &about, waited, servers));
    let used = if waiting > 0 { share(active, most) } else { 0.0 };
    readings.push(reading(&POOL_SATURATED, about, used, format!("{waiting} clients wait")));
}

/// Of all databases but the console.
fn of_errors(registry: &dyn Registry, past: &mut Window<[u64; 2]>, now: Moment) -> Reading {
    let errors = registry.errors().into_iter();
    let errors = errors.filter(|(side, state, _)| is_failure(*side, state));
    let errors = errors.map(|(.., errors)| errors.count).sum();
    let databases = registry.traffic().into_iter().filter(|(database, _)| database != CONSOLE);
    let requests = databases.map(|(_, traffic)| traffic.totals().get(Figure::Queries)).sum();
    let before = past.look(now.at, [errors, requests]).copied().unwrap_or_default();
    let [errors, requests] = [errors.saturating_sub(before[0]), requests.saturating_sub(before[1])];
    let rate = rate_of(errors, requests);
    reading(
        &ERROR_RATE,
        "",
        rate,
        format!("{errors} errors, {requests} requests; SHOW ERRORS has them"),
    )
}

/// Errors in a hundred requests. What is refused is not among the requests, which were answered.
fn rate_of(errors: u64, requests: u64) -> f64 {
    let all = requests.max(errors);
    match (u32::try_from(errors), u32::try_from(all)) {
        (Ok(errors), Ok(of)) if all >= REQUESTS_MIN => 100.0 * f64::from(errors) / f64::from(of),
        _ => 0.0,
    }
}

/// Of users on databases, as the histograms tell them apart.
fn of_waits(
    registry: &dyn Registry,
    past: &mut Window<BTreeMap<Pair, Waits>>,
    now: Moment,
    readings: &mut Vec<Reading>,
) {
    let waits: BTreeMap<Pair, Waits> =
        registry.times().into_iter().map(|(pair, times)| (pair, waits_of(&times))).collect();
    let before = past.look(now.at, waits.clone());
    for (pair, (bounds, all)) in waits {
        let before = before.and_then(|before| before.get(&pair));
        let since = |place: usize| before.and_then(|(bounds, _)| Some(bounds.get(place)?.1));
        let grown = bounds.iter().enumerate().map(|(place, (bound, count))| {
            (*bound, count.saturating_sub(since(place).unwrap_or(0)))
        });
        let grown: Vec<_> = grown.collect();
        let all = all.saturating_sub(before.map_or(0, |(_, all)| *all));
        let waited = quantile(0.95, &grown, all).unwrap_or(0.0);
        let about = format!("{}/{}", pair.database, pair.user);
        readings.push(reading(&WAIT_P95, about, waited, format!("of {all} requests")));
    }
}

fn waits_of(times: &Times) -> Waits {
    let mut bounds: Vec<(f64, u64)> = Vec::new();
    let mut all = 0;
    for waits in Role::ALL.iter().filter_map(|role| times.of(*role, Span::Wait)) {
        all += waits.count();
        for (place, (bound, count)) in waits.cumulative().enumerate() {
            match bounds.get_mut(place) {
                Some((_, sum)) => *sum += count,
                None => bounds.push((Duration::from_micros(bound).as_secs_f64(), count)),
            }
        }
    }
    (bounds, all)
}

fn about(pool: &PoolName) -> String {
    format!("{}/{}", pool.place(), pool.user)
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
