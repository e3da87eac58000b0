//! Histograms of how long things take, for Prometheus.

use super::metrics::Page;
use super::registry::Registry;
use crate::traffic::{Pair, Role, Span};

static SPANS: &[(&str, &str, Span)] = &[
    (
        "pgweir_wait_seconds",
        "How long clients waited for a server: not at all where one was free, and in vain where they \
         gave up.",
        Span::Wait,
    ),
    ("pgweir_query_seconds", "How long a server was at work for a request.", Span::Query),
    (
        "pgweir_transaction_seconds",
        "From the start of a transaction to its end.",
        Span::Transaction,
    ),
];

pub(super) fn metrics(page: &mut Page, registry: &dyn Registry) {
    let times = registry.times();
    for (name, help, span) in SPANS {
        page.head_of("histogram", name, help);
        for (pair, times) in &times {
            for role in Role::ALL {
                if let Some(distribution) = times.of(role, *span) {
                    let labels = [label(pair).as_slice(), &[("role", role.name())]].concat();
                    page.histogram(name, &labels, &distribution);
                }
            }
        }
    }
    let name = "pgweir_login_seconds";
    let help = "From a client's connection to its first ReadyForQuery, of logins that succeeded.";
    page.head_of("histogram", name, help);
    for (pair, times) in &times {
        page.histogram(name, &label(pair), &times.logins());
    }
    let name = "pgweir_metrics_folded_total";
    let help = "How often a user came to a database that is counted as other (max_metrics_users).";
    page.head_of("counter", name, help);
    page.sample(name, &[], registry.folded());
}

fn label(pair: &Pair) -> [(&str, &str); 2] {
    [("database", &*pair.database), ("user", &*pair.user)]
}
