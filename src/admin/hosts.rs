//! The hosts of databases that have several, as the console and the metrics tell of them.

use std::time::SystemTime;

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
];

pub(super) fn replicas(registry: &dyn Registry) -> Vec<Row> {
    let (now, time) = (Instant::now(), SystemTime::now());
    let row = |(database, host): (String, HostFigures)| {
        let lag = host.lag(now);
        let fresh = lag.and_then(|lag| time.checked_sub(lag));
        vec![
            text(database),
            text(host.at.host.as_str()),
            number(host.at.port.into()),
            text(host.standing.name()),
            text(state(host.state)),
            host.timeline.map_or(Value::Null, |timeline| number(timeline as usize)),
            host.lsn.map_or(Value::Null, |lsn| text(lsn.to_string())),
            lag.map_or(Value::Null, |lag| text(format!("{:.3}", lag.as_secs_f64()))),
            host.lag_bytes.map_or(Value::Null, |bytes| text(bytes.to_string())),
            fresh.map_or(Value::Null, |fresh| text(utc(fresh))),
            seconds(now.saturating_duration_since(host.since)),
            text(host.error.unwrap_or_default()),
            host.circuit.map_or(Value::Null, |circuit| text(circuit.name())),
        ]
    };
    registry.hosts().into_iter().map(row).collect()
}

fn state(state: State) -> &'static str {
    match state {
        State::Unknown => "unknown",
        State::Up => "up",
        State::Down => "down",
    }
}

/// One sample per host, where it has the figure.
type HostGauge = (&'static str, &'static str, fn(&HostFigures, Instant) -> Option<f64>);

#[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
static GAUGES: &[HostGauge] = &[
    ("pgweir_host_up", "Whether the host answers.", |host, _| {
        Some(f64::from(u8::from(host.state == State::Up)))
    }),
    ("pgweir_host_left_out", "Whether the host is left out for its errors.", |host, _| {
        Some(f64::from(u8::from(host.circuit? != Circuit::Closed)))
    }),
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
    for (name, help, value) in GAUGES {
        page.head(name, help);
        for (database, host) in &hosts {
            if let Some(value) = value(host, now) {
                let at = host.at.to_string();
                page.sample(name, &[("database", &**database), ("host", &*at)], value);
            }
        }
    }
}
