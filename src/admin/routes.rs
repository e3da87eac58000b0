//! Where requests have run and why, as the console and the metrics tell of it.

use super::commands::{Column, Row};
use super::metrics::Page;
use super::registry::Registry;
use super::tables::text;
use crate::wire::reply::ColumnType::{Numeric, Text};
use crate::wire::reply::Value;

pub(super) static ROUTES: &[Column] = &[
    ("database", Text),
    ("target", Text),
    ("reason", Text),
    ("requests", Numeric),
    ("meaning", Text),
];

pub(super) fn routes(registry: &dyn Registry) -> Vec<Row> {
    let mut rows = Vec::new();
    for (database, decisions) in registry.decisions() {
        for (reason, count) in decisions.counts() {
            rows.push(vec![
                text(database.as_str()),
                text(reason.role().name()),
                text(reason.name()),
                Value::Numeric(count),
                text(reason.text()),
            ]);
        }
    }
    rows
}

/// Adds the same, as counters.
pub(super) fn metrics(page: &mut Page, registry: &dyn Registry) {
    let name = "pgweir_routes_total";
    page.head_of(
        "counter",
        name,
        "Requests by where they ran and why, in databases with replicas.",
    );
    for (database, decisions) in &registry.decisions() {
        for (reason, count) in decisions.counts() {
            let labels = [
                ("database", &**database),
                ("target", reason.role().name()),
                ("reason", reason.name()),
            ];
            page.sample(name, &labels, count);
        }
    }
}
