//! The gauges that PgBouncer's exporter makes of the console's tables, made of the same tables.
//! <https://github.com/prometheus-community/pgbouncer_exporter>

use super::commands::{Column, Row};
use super::metrics::Page;
use super::registry::Registry;
use super::tables::{self, DATABASES, VERSION, counts, databases_and_console};
use crate::wire::reply::Value;

/// The metric, its column in `SHOW DATABASES`, and what it is.
const OF_DATABASES: [(&str, &str, &str); 6] = [
    ("pool_size", "pool_size", "Servers per pool."),
    ("reserve_pool", "reserve_pool", "Extra servers per pool."),
    ("max_connections", "max_connections", "Servers over all users; 0 is no limit."),
    ("current_connections", "current_connections", "Servers that there are."),
    ("paused", "paused", "Whether the database is paused."),
    ("disabled", "disabled", "Whether newcomers are turned away."),
];

/// Columns that are labels.
const LABELS: [&str; 6] = ["name", "host", "port", "database", "force_user", "pool_mode"];

/// The metric, its line in `SHOW LISTS`, and what it is.
const OF_LISTS: [(&str, &str, &str); 11] = [
    ("databases", "databases", "Databases that there are, the console's own among them."),
    ("users", "users", "Users that are listed."),
    ("pools", "pools", "Pools that there are, the console's own among them."),
    ("free_clients", "free_clients", "Kept for clients to come: none."),
    ("used_clients", "used_clients", "Clients that are logged in."),
    ("login_clients", "login_clients", "Clients that have not logged in yet."),
    ("free_servers", "free_servers", "Servers that are free."),
    ("used_servers", "used_servers", "Servers that are not."),
    ("cached_dns_names", "dns_names", "Names that are kept: none."),
    ("cached_dns_zones", "dns_zones", "Zones that are kept: none."),
    ("in_flight_dns_queries", "dns_queries", "Names that are looked up: by the system."),
];

pub(super) fn version(page: &mut Page, registry: &dyn Registry) {
    let name = "pgbouncer_version_info";
    page.head(name, "The version, as SHOW VERSION has it.");
    for row in tables::version(registry) {
        page.sample(name, &[("version", &shown(VERSION, &row, "version"))], 1);
    }
}

pub(super) fn metrics(page: &mut Page, registry: &dyn Registry) {
    let counts = counts(registry);
    for (name, list, help) in OF_LISTS {
        let count = counts.iter().find(|(known, _)| *known == list).map_or(0, |(_, count)| *count);
        page.gauge(&format!("pgbouncer_{name}"), help, count);
    }
    let general = &registry.config().general;
    let help = "Clients that there may be.";
    page.gauge("pgbouncer_config_max_client_connections", help, general.max_client_conn);
    let help = "Servers of a user over all databases; 0 is no limit.";
    let max = general.max_user_connections.unwrap_or(0);
    page.gauge("pgbouncer_config_max_user_connections", help, max);
    let rows = databases_and_console(registry);
    for (name, column, help) in OF_DATABASES {
        let name = format!("pgbouncer_databases_{name}");
        page.head(&name, help);
        for row in &rows {
            let labels = LABELS.map(|label| (label, shown(DATABASES, row, label)));
            let labels = labels.each_ref().map(|(label, value)| (*label, value.as_str()));
            page.sample(&name, &labels, shown(DATABASES, row, column));
        }
    }
}

/// The value of a column, as text; empty for NULL.
fn shown(columns: &[Column], row: &Row, column: &str) -> String {
    let index = columns.iter().position(|(name, _)| *name == column);
    match index.and_then(|index| row.get(index)) {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Integer(number)) => number.to_string(),
        Some(Value::Numeric(number)) => number.to_string(),
        Some(Value::Null) | None => String::new(),
    }
}
