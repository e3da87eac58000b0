//! The hosts of databases that have several, as the console and the metrics tell of them.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::commands::{Column, Row};
use super::metrics::Page;
use super::registry::Registry;
use super::tables::{number, seconds, text};
use crate::calendar::utc;
use crate::topology::{Circuit, HostFigures, Standing, State};
use crate::wire::reply::ColumnType::{Integer, Text};
use crate::wire::reply::Value;

pub(super) static REPLICAS: &[Column] = &[
    ("database", Text),
    ("host", Text),
    ("port", Integer),
    ("role", Text),
    ("state", Text),
    ("timeline", Integer),
    ("lsn", Text),
    ("lag_seconds", Text),
    ("lag_bytes", Text),
    ("fresh_as_of", Text),
    ("since", Integer),
    ("error", Text),
    ("breaker", Text),
    ("readers", Integer),
    ("weight", Integer),
    ("eligible", Text),
    ("banned_until", Text),
];

pub(super) fn replicas(registry: &dyn Registry) -> Vec<Row> {
    let (now, time) = (Instant::now(), SystemTime::now());
    let config = registry.config();
    let row = |(database, host): (String, HostFigures)| {
        let listed = config.databases.get(&database);
        let share = listed.map(|database| database.share_of(&host.at));
        let eligible = listed.map_or(Eligible::No("not configured"), |database| {
            eligible(&host, config.max_lag(database, None), now)
        });
        let lag = host.lag(now);
        let banned = host.banned_until.map(|until| time + until.saturating_duration_since(now));
        let fresh = lag.and_then(|lag| time.checked_sub(lag));
        vec![
            text(database),
            text(host.at.host.as_str()),
            number(host.at.port.into()),
            text(host.standing.name()),
            text(host.state.name()),
            host.timeline.map_or(Value::Null, |timeline| number(timeline as usize)),
            host.lsn.map_or(Value::Null, |lsn| text(lsn.to_string())),
            lag.map_or(Value::Null, |lag| text(format!("{:.3}", lag.as_secs_f64()))),
            host.lag_bytes.map_or(Value::Null, |bytes| text(bytes.to_string())),
            fresh.map_or(Value::Null, |fresh| text(utc(fresh))),
            seconds(now.saturating_duration_since(host.since)),
            text(host.error.unwrap_or_default()),
            host.circuit.map_or(Value::Null, |circuit| text(circuit.name())),
            number(host.used),
            share.map_or(Value::Null, |share| number(share.weight)),
            text(match (eligible, share) {
                (Eligible::Yes, Some(share)) if share.backup => "as backup",
                (Eligible::Yes, _) => "yes",
                (Eligible::No(why), _) => why,
            }),
            banned.map_or(Value::Null, |until| text(utc(until))),
        ]
    };
    registry.hosts().into_iter().map(row).collect()
}

/// Whether a session may read from a host that has neither written nor read anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligible {
    /// It may.
    Yes,
    /// For this reason.
    No(&'static str),
}

/// It lacks more than is allowed.
pub const LAGS: &str = "no: lag";

/// Whether that is so, where replicas may lack this much.
pub fn eligible(host: &HostFigures, max_lag: Option<Duration>, now: Instant) -> Eligible {
    let lag = host.lag(now);
    match (host.standing, host.state) {
        (Standing::Primary, _) => Eligible::No("no: primary"),
        (Standing::Slighted, _) => Eligible::No("no: second primary"),
        (_, State::Down) => Eligible::No("no: down"),
        _ if host.banned_until.is_some() => Eligible::No("no: banned"),
        _ if host.circuit == Some(Circuit::Open) => Eligible::No("no: breaker"),
        (Standing::Equal, _) => Eligible::Yes,
        (Standing::Unknown, _) | (_, State::Unknown) => Eligible::No("no: unknown"),
        _ => match (lag, max_lag) {
            (None, _) => Eligible::No("no: lag unknown"),
            (Some(lag), Some(max)) if lag > max => Eligible::No(LAGS),
            _ => Eligible::Yes,
        },
    }
}

/// The gauge that hosts of databases with a single one have, too.
const UP: &str = "pgweir_host_up";

/// One sample per host, where it has the figure.
type HostGauge = (&'static str, &'static str, fn(&HostFigures, Instant) -> Option<f64>);

#[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
static GAUGES: &[HostGauge] = &[
    (UP, "Whether the host answers.", |host, _| Some(f64::from(u8::from(host.state == State::Up)))),
    (
        "pgweir_host_left_out",
        "Whether the host is left out for its errors, or by BAN.",
        |host, _| {
            let is_open = host.circuit? != Circuit::Closed;
            Some(f64::from(u8::from(is_open || host.banned_until.is_some())))
        },
    ),
    (
        "pgweir_replica_lag_seconds",
        "How long ago the replica had everything; missing where that is not known.",
        |host, now| Some(host.lag(now)?.as_secs_f64()),
    ),
    ("pgweir_replica_lag_bytes", "What the replica has not replayed yet.", |host, _| {
        Some(host.lag_bytes? as f64)
    }),
];

/// Adds what there is to tell of hosts.
pub(super) fn metrics(page: &mut Page, registry: &dyn Registry) {
    let (hosts, now) = (registry.hosts(), Instant::now());
    page.head("pgweir_host_role", "1 for what the host is.");
    for (database, host) in &hosts {
        let at = host.at.to_string();
        for standing in Standing::ALL {
            let role = standing.name().replace(' ', "_");
            let labels = [("database", &**database), ("host", &*at), ("role", &*role)];
            page.sample("pgweir_host_role", &labels, u8::from(standing == host.standing));
        }
    }
    let outages = registry.outages();
    for (name, help, value) in GAUGES {
        page.head(name, help);
        for (database, host) in &hosts {
            if let Some(value) = value(host, now) {
                let at = host.at.to_string();
                page.sample(name, &[("database", &**database), ("host", &*at)], value);
            }
        }
        if *name == UP {
            for seen in &outages {
                let Some(at) = seen.at.as_ref().map(ToString::to_string) else { continue };
                let labels = [("database", &*seen.database), ("host", &*at)];
                page.sample(name, &labels, u8::from(seen.is_up));
            }
        }
    }
    let name = "pgweir_database_up";
    page.head(name, "Where no primary is sought: whether anybody is there; missing if not known.");
    for seen in &outages {
        page.sample(name, &[("database", &*seen.database)], u8::from(seen.is_up));
    }
}
