//! Tables of what has passed through the databases.

use std::sync::Arc;
use std::time::Duration;

use super::commands::{Column, Row};
use super::metrics::Page;
use super::registry::Registry;
use super::tables::text;
use crate::traffic::{Figure, Tally, Traffic};
use crate::wire::reply::ColumnType::{Numeric, Text};
use crate::wire::reply::Value;

pub(super) static STATS: &[Column] = &[
    ("database", Text),
    ("total_server_assignment_count", Numeric),
    ("total_xact_count", Numeric),
    ("total_query_count", Numeric),
    ("total_received", Numeric),
    ("total_sent", Numeric),
    ("total_xact_time", Numeric),
    ("total_query_time", Numeric),
    ("total_wait_time", Numeric),
    ("total_client_parse_count", Numeric),
    ("total_server_parse_count", Numeric),
    ("total_bind_count", Numeric),
    ("total_client_login_count", Numeric),
    ("avg_server_assignment_count", Numeric),
    ("avg_xact_count", Numeric),
    ("avg_query_count", Numeric),
    ("avg_recv", Numeric),
    ("avg_sent", Numeric),
    ("avg_xact_time", Numeric),
    ("avg_query_time", Numeric),
    ("avg_wait_time", Numeric),
    ("avg_client_parse_count", Numeric),
    ("avg_server_parse_count", Numeric),
    ("avg_bind_count", Numeric),
    ("avg_client_login_count", Numeric),
];

pub(super) fn stats(registry: &dyn Registry) -> Vec<Row> {
    rows(registry, |totals, averages| [values(totals), values(averages)].concat())
}

pub(super) static STATS_TOTALS: &[Column] = &[
    ("database", Text),
    ("server_assignment_count", Numeric),
    ("xact_count", Numeric),
    ("query_count", Numeric),
    ("bytes_received", Numeric),
    ("bytes_sent", Numeric),
    ("xact_time", Numeric),
    ("query_time", Numeric),
    ("wait_time", Numeric),
    ("client_parse_count", Numeric),
    ("server_parse_count", Numeric),
    ("bind_count", Numeric),
    ("client_login_count", Numeric),
];

pub(super) fn totals(registry: &dyn Registry) -> Vec<Row> {
    rows(registry, |totals, _| values(totals))
}

pub(super) static STATS_AVERAGES: &[Column] = &[
    ("database", Text),
    ("server_assignment_count", Numeric),
    ("xact_count", Numeric),
    ("query_count", Numeric),
    ("bytes_received", Numeric),
    ("bytes_sent", Numeric),
    ("xact_time", Numeric),
    ("query_time", Numeric),
    ("wait_time", Numeric),
    ("avg_client_parse_count", Numeric),
    ("avg_server_parse_count", Numeric),
    ("avg_bind_count", Numeric),
    ("avg_client_login_count", Numeric),
];

pub(super) fn averages(registry: &dyn Registry) -> Vec<Row> {
    rows(registry, |_, averages| values(averages))
}

pub(super) static TOTALS: &[Column] = &[("name", Text), ("value", Numeric)];

/// What each figure is called in `SHOW TOTALS`.
const NAMES: [&str; Figure::ALL.len()] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_login_count",
];

pub(super) fn all_together(registry: &dyn Registry) -> Vec<Row> {
    let (mut totals, mut grown, mut within) = (Tally::default(), Tally::default(), Duration::ZERO);
    for (_, traffic) in registry.traffic() {
        totals.join(&traffic.totals());
        let (more, length) = traffic.last_period();
        grown.join(&more);
        // It is the same for all, but for those that are new.
        within = within.max(length);
    }
    let named = |prefix: &'static str, tally: Tally| {
        let lines = NAMES.into_iter().zip(values(&tally));
        lines.map(move |(name, value)| vec![text(format!("{prefix}_{name}")), value])
    };
    named("total", totals).chain(named("avg", grown.averages(within))).collect()
}

/// What a counter of Prometheus is called, what it is, and how much one of it is: times are seconds.
type Counter = (&'static str, &'static str, Figure, f64);

const MICROSECOND: f64 = 1e-6;

static COUNTERS: &[Counter] = &[
    ("server_assignments_total", "Servers given to clients.", Figure::Assignments, 1.0),
    ("sql_transactions_pooled_total", "Transactions that have ended.", Figure::Transactions, 1.0),
    ("queries_pooled_total", "Requests that servers have answered.", Figure::Queries, 1.0),
    ("received_bytes_total", "Bytes from clients to servers.", Figure::Received, 1.0),
    ("sent_bytes_total", "Bytes from servers to clients.", Figure::Sent, 1.0),
    (
        "server_in_transaction_seconds_total",
        "From the start of a transaction to its end.",
        Figure::TransactionTime,
        MICROSECOND,
    ),
    (
        "queries_duration_seconds_total",
        "While a server was at work for a client.",
        Figure::QueryTime,
        MICROSECOND,
    ),
    (
        "client_wait_seconds_total",
        "While clients waited for a server.",
        Figure::WaitTime,
        MICROSECOND,
    ),
    ("client_parses_total", "Statements that clients have prepared.", Figure::ClientParses, 1.0),
    ("server_parses_total", "Statements prepared on servers.", Figure::ServerParses, 1.0),
    ("binds_total", "Statements that were bound.", Figure::Binds, 1.0),
    ("client_logins_total", "Clients that have logged in.", Figure::Logins, 1.0),
];

/// The names of today's exporter of PgBouncer, and those of older ones and most dashboards.
const PREFIXES: [&str; 2] = ["pgbouncer_stats_totals", "pgbouncer_stats"];

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
pub(super) fn metrics(page: &mut Page, registry: &dyn Registry) {
    let totals: Vec<_> = registry.traffic().into_iter().map(|(n, t)| (n, t.totals())).collect();
    for (prefix, (name, help, figure, one)) in
        PREFIXES.into_iter().flat_map(|prefix| COUNTERS.iter().map(move |it| (prefix, it)))
    {
        let name = format!("{prefix}_{name}");
        page.head_of("counter", &name, help);
        for (database, totals) in &totals {
            page.sample(&name, &[("database", database)], totals.get(*figure) as f64 * one);
        }
    }
}

fn rows(registry: &dyn Registry, values: impl Fn(&Tally, &Tally) -> Vec<Value>) -> Vec<Row> {
    let row = |(name, traffic): (String, Arc<Traffic>)| {
        let (grown, length) = traffic.last_period();
        let mut row = vec![text(name)];
        row.extend(values(&traffic.totals(), &grown.averages(length)));
        row
    };
    registry.traffic().into_iter().map(row).collect()
}

fn values(tally: &Tally) -> Vec<Value> {
    Figure::ALL.into_iter().map(|figure| Value::Numeric(tally.get(figure))).collect()
}
