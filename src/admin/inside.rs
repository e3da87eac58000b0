//! What is inside: events, prepared statements, what keeps clients on their servers, limits, memory.

use super::commands::{Column, Row};
use super::metrics::Page;
use super::registry::Registry;
use super::tables::{number, text};
use crate::calendar::utc;
use crate::config::Alerts;
use crate::events::Event;
use crate::net::host::{self, open_files, resident};
use crate::server::held::Prepared;
use crate::sql::fingerprint;
use crate::traffic::{Cost, Role};
use crate::wire::reply::ColumnType::{Integer, Numeric, Text};
use crate::wire::reply::Value;

pub(super) static EVENTS: &[Column] = &[
    ("time", Text),
    ("kind", Text),
    ("about", Text),
    ("event", Text),
    ("times", Numeric),
    ("last_time", Text),
];

/// The newest first.
pub(super) fn events(registry: &dyn Registry) -> Vec<Row> {
    let row = |event: Event| {
        let Event { at, last, times, kind, about, text: what } = event;
        let times = Value::Numeric(times);
        vec![text(utc(at)), text(kind.name()), text(about), text(what), times, text(utc(last))]
    };
    registry.events().into_iter().rev().map(row).collect()
}

pub(super) static PREPARED: &[Column] = &[
    ("id", Numeric),
    ("statement", Text),
    ("names", Integer),
    ("servers", Integer),
    ("uses", Numeric),
    ("bytes", Integer),
];

pub(super) fn prepared(registry: &dyn Registry) -> Vec<Row> {
    let row = |statement: Prepared| {
        let Prepared { id, text: start, names, servers, uses, bytes } = statement;
        let (id, uses) = (Value::Numeric(id), Value::Numeric(uses));
        vec![
            id,
            text(fingerprint(start.as_bytes())),
            number(names),
            number(servers),
            uses,
            number(bytes),
        ]
    };
    registry.statements().into_iter().map(row).collect()
}

pub(super) static QUERIES: &[Column] = &[
    ("database", Text),
    ("query", Text),
    ("calls", Numeric),
    ("errors", Numeric),
    ("p50_us", Numeric),
    ("p95_us", Numeric),
    ("p99_us", Numeric),
    ("run_us", Numeric),
    ("wait_us", Numeric),
    ("target", Text),
    ("primary_calls", Numeric),
    ("replica_calls", Numeric),
];

pub(super) fn queries(registry: &dyn Registry) -> Vec<Row> {
    let row = |(database, query, cost): (String, String, Cost)| {
        let Cost { calls, errors, on_replicas, ran, waited } = cost;
        let on_primary = calls.saturating_sub(on_replicas);
        let target = match (on_primary, on_replicas) {
            (_, 0) => Role::Primary.name(),
            (0, _) => Role::Replica.name(),
            _ => "both",
        };
        let quantile = |share| ran.quantile(share).map_or(Value::Null, Value::Numeric);
        let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        let mut row = vec![text(database), text(query)];
        row.extend([calls, errors].map(Value::Numeric));
        row.extend([0.5, 0.95, 0.99].map(quantile));
        row.extend([ran.micros, waited].map(Value::Numeric));
        row.push(text(target));
        row.extend([on_primary, on_replicas].map(Value::Numeric));
        row
    };
    registry.queries().into_iter().map(row).collect()
}

/// Limits that are told beside what they bound.
const LIMITS: [&str; 17] = [
    "max_client_conn",
    "default_pool_size",
    "reserve_pool_size",
    "max_server_connections",
    "max_db_connections",
    "max_user_connections",
    "max_db_client_connections",
    "max_user_client_connections",
    "max_address_client_connections",
    "max_unauthenticated_clients",
    "max_replication_connections",
    "max_auto_databases",
    "max_server_logins",
    "max_prepared_statements",
    "max_pinned_clients",
    "max_metrics_users",
    "max_events",
];

pub(super) fn metrics(page: &mut Page, registry: &dyn Registry) {
    let name = "pgweir_pins_total";
    page.head_of("counter", name, "How often clients began to keep their server, by reason.");
    for (reason, count) in registry.pins() {
        page.sample(name, &[("reason", reason)], count);
    }
    let name = "pgweir_limit";
    page.head(name, "Limits as configured; 0 is no limit, or none of what it bounds.");
    for setting in registry.config().general.settings() {
        if LIMITS.contains(&setting.key) {
            page.sample(name, &[("key", setting.key)], setting.value);
        }
    }
    let (statements, texts) = registry.statement_totals();
    let help = "Prepared statements that clients or servers have.";
    page.gauge("pgweir_prepared_statements", help, statements);
    let name = "pgweir_memory_bytes";
    page.head(name, "Memory by what it is for; `resident` is all of the process.");
    let waiting: usize = registry.listeners().iter().map(|listener| listener.queued).sum();
    page.sample(name, &[("for", "statements")], texts);
    page.sample(name, &[("for", "notifications")], waiting);
    if let Some(resident) = resident() {
        page.sample(name, &[("for", "resident")], resident);
    }
    if let Some(limit) = memory_limit(&registry.config().alerts) {
        let help =
            "What the process may have in memory, by its cgroup, the machine, or as configured.";
        page.gauge("pgweir_memory_limit_bytes", help, limit);
    }
    if let Some((open, most)) = open_files() {
        page.gauge("process_open_fds", "Files and sockets that the process has open.", open);
        page.gauge("process_max_fds", "Files and sockets that it may have.", most);
    }
    let name = "pgweir_cancels_total";
    page.head_of("counter", name, "Cancels that clients have sent.");
    page.sample(name, &[], registry.cancel_count());
}

/// What the process may have in memory.
pub fn memory_limit(alerts: &Alerts) -> Option<u64> {
    let own = alerts.memory_limit;
    if own.is_empty() { host::memory_limit() } else { Some(own.bytes()) }
}
