//! What every condition shows now, from the figures that the console has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::admin::{
    CONSOLE, Hold, InTheWay, PoolFigures, Reach, Registry, longest_holds, memory_limit,
};
use crate::alerts::{
    CANCELS, CERTIFICATE, CLIENT_LIMIT, CLIENTS_WAITING, Condition, ERROR_RATE, Flapping, HOLDER,
    HOST_DOWN, LONGEST_WAIT, MEMORY, Moment, NO_PRIMARY, OPEN_FILES, PAUSED, POOL_SATURATED,
    QUERY_P99, RELOAD_FAILED, REPLICA_LAG, REPLICA_LAG_BYTES, REPLICA_LAG_UNKNOWN, REPLICAS_OUT,
    REQUESTS_MIN, ROLE_FLAPPING, Reading, TRANSACTION_P99, TWO_PRIMARIES, WAIT_P95, Window,
    quantile,
};
use crate::cancel::Seat;
use crate::config::Alerts;
use crate::net::host::{open_files, resident};
use crate::pool::PoolName;
use crate::topology::{HostFigures, Standing, State};
use crate::traffic::{Figure, Pair, Role, Span, Times, is_failure};

/// What was before, where that is needed.
#[derive(Debug, Default)]
pub(super) struct Past {
    flapping: Flapping,
    spans: Window<BTreeMap<Pair, [Lengths; 3]>>,
    /// Errors, cancels and requests.
    failures: Window<[u64; 3]>,
}

/// How long things have taken: bounds in seconds with how many took no longer, and all.
type Lengths = (Vec<(f64, u64)>, u64);

/// What takes its time, the share that is looked at, and of what it is.
static SPANS: [(Span, &Condition, f64, &str); 3] = [
    (Span::Wait, &WAIT_P95, 0.95, "requests"),
    (Span::Query, &QUERY_P99, 0.99, "requests"),
    (Span::Transaction, &TRANSACTION_P99, 0.99, "transactions"),
];

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
    let clients = if pools.iter().any(|pool| pool.hindrance.is_some()) {
        registry.clients()
    } else {
        Vec::new()
    };
    pools.iter().for_each(|pool| of_pool(pool, &clients, &mut readings));
    of_spans(registry, &mut past.spans, now, &mut readings);
    for (pool, hold) in longest_holds(registry, &pools) {
        readings.push(of_holder(&pool, hold));
    }
    let max = registry.config().general.max_client_conn.max(1);
    let clients = registry.client_count();
    let share = share(clients, max);
    readings.push(reading(&CLIENT_LIMIT, "", share, format!("{clients} of {max} clients")));
    of_pauses(registry, &mut readings);
    readings.extend(of_failures(registry, &mut past.failures, now));
    of_process(settings, &mut readings);
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

/// What those who wait in a pool wait for, and because of whom.
fn because(pool: &PoolFigures, clients: &[Arc<Seat>]) -> String {
    let Some(InTheWay { limit, holder, .. }) = pool.hindrance else { return String::new() };
    let seat = holder.and_then(|holder| {
        let seat = clients.iter().find(|seat| u64::from(seat.pid()) == holder.id)?;
        Some((holder.held.as_secs(), seat))
    });
    let longest = seat.map(|(held, seat)| {
        format!(", held longest, for {held} s, by client {}, {}", seat.pid(), seat.card())
    });
    format!("; what they wait for: {}{}", limit.as_str(), longest.unwrap_or_default())
}

fn of_pool(pool: &PoolFigures, clients: &[Arc<Seat>], readings: &mut Vec<Reading>) {
    let about = about(&pool.name);
    let snapshot = &pool.snapshot;
    let (active, most, waiting) = (snapshot.active, pool.most, snapshot.waiting);
    let servers = format!("{active} of {most} servers in use{}", because(pool, clients));
    readings.push(reading(&CLIENTS_WAITING, &about, count(waiting), servers.as_str()));
    let waited = snapshot.oldest_wait.unwrap_or_default().as_secs_f64();
    readings.push(reading(&LONGEST_WAIT, &about, waited, servers));
    let used = if waiting > 0 { share(active, most) } else { 0.0 };
    readings.push(reading(&POOL_SATURATED, about, used, format!("{waiting} clients wait")));
}

/// Of databases that there are or were asked for.
fn of_pauses(registry: &dyn Registry, readings: &mut Vec<Reading>) {
    let config = registry.config();
    for database in config.databases.keys() {
        let is_paused = registry.is_paused(Some(database));
        readings.push(reading(&PAUSED, database, flag(is_paused), ""));
    }
}

/// What the process uses up.
fn of_process(settings: &Alerts, readings: &mut Vec<Reading>) {
    if let Some((open, most)) = open_files() {
        let detail = format!("{open} of {most}");
        readings.push(reading(&OPEN_FILES, "", part(open, most), detail));
    }
    if let (Some(resident), Some(limit)) = (resident(), memory_limit(settings)) {
        let detail = format!("{} of {} MiB", resident >> 20, limit >> 20);
        readings.push(reading(&MEMORY, "", part(resident, limit), detail));
    }
}

/// In a hundred.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52, or it does not matter")]
fn part(of: u64, whole: u64) -> f64 {
    100.0 * of as f64 / whole.max(1) as f64
}

/// Of all databases but the console: errors, and cancels.
fn of_failures(registry: &dyn Registry, past: &mut Window<[u64; 3]>, now: Moment) -> [Reading; 2] {
    let errors = registry.errors().into_iter();
    let errors = errors.filter(|(side, state, _)| is_failure(*side, state));
    let errors = errors.map(|(.., errors)| errors.count).sum();
    let databases = registry.traffic().into_iter().filter(|(database, _)| database != CONSOLE);
    let requests = databases.map(|(_, traffic)| traffic.totals().get(Figure::Queries)).sum();
    let all = [errors, registry.cancel_count(), requests];
    let before = past.look(now.at, all).copied().unwrap_or_default();
    let mut grown = all.into_iter().zip(before).map(|(all, before)| all.saturating_sub(before));
    let [errors, cancels, requests] = std::array::from_fn(|_| grown.next().unwrap_or_default());
    let rate = rate_of(errors, requests);
    let detail = format!("{errors} errors, {requests} requests; SHOW ERRORS has them");
    let error_rate = reading(&ERROR_RATE, "", rate, detail);
    let rate = if requests >= REQUESTS_MIN { part(cancels, requests) } else { 0.0 };
    [error_rate, reading(&CANCELS, "", rate, format!("{cancels} cancels, {requests} requests"))]
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
fn of_spans(
    registry: &dyn Registry,
    past: &mut Window<BTreeMap<Pair, [Lengths; 3]>>,
    now: Moment,
    readings: &mut Vec<Reading>,
) {
    let times = registry.times().into_iter();
    let spans: BTreeMap<Pair, _> = times
        .map(|(pair, times)| (pair, SPANS.map(|(span, ..)| lengths_of(&times, span))))
        .collect();
    let before = past.look(now.at, spans.clone());
    for (pair, spans) in spans {
        let before = before.and_then(|before| before.get(&pair));
        let about = format!("{}/{}", pair.database, pair.user);
        for (place, ((bounds, all), (_, condition, share, what))) in
            spans.iter().zip(&SPANS).enumerate()
        {
            let before = before.and_then(|before| before.get(place));
            let since = |place: usize| before.and_then(|(bounds, _)| Some(bounds.get(place)?.1));
            let grown = bounds.iter().enumerate().map(|(place, (bound, count))| {
                (*bound, count.saturating_sub(since(place).unwrap_or(0)))
            });
            let grown: Vec<_> = grown.collect();
            let all = all.saturating_sub(before.map_or(0, |(_, all)| *all));
            let took = quantile(*share, &grown, all).unwrap_or(0.0);
            readings.push(reading(condition, &about, took, format!("of {all} {what}")));
        }
    }
}

fn lengths_of(times: &Times, span: Span) -> Lengths {
    let mut bounds: Vec<(f64, u64)> = Vec::new();
    let mut all = 0;
    for lengths in Role::ALL.iter().filter_map(|role| times.of(*role, span)) {
        all += lengths.count();
        for (place, (bound, count)) in lengths.cumulative().enumerate() {
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
