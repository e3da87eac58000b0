//! Conditions of what is forgotten, of what is slow, and of what the process itself uses up.

use super::condition::{Condition, REQUESTS_MIN, Sense, Unit, counts, times, warning_if};

/// Of a database.
pub static PAUSED: Condition = Condition {
    name: "paused",
    help: "it is paused (PAUSE, SUSPEND, KILL): its clients wait",
    of: "database",
    unit: Unit::Flag,
    sense: Sense::AtLeast,
    thresholds: |alerts| warning_if(alerts.paused_for.is_some()),
    lasts: |alerts| alerts.paused_for.unwrap_or_default(),
    keys: &["paused_for"],
    expression: |_| "pgbouncer_databases_paused == 1".to_owned(),
};

/// Of a user on a database.
pub static QUERY_P99: Condition = Condition {
    name: "query_p99",
    help: "how long 99 of 100 requests have kept a server at work at most, in the last minute",
    of: "user on a database",
    unit: Unit::Seconds,
    sense: Sense::AtLeast,
    thresholds: |alerts| times(alerts.query_p99_warning, alerts.query_p99_critical),
    lasts: |alerts| alerts.query_p99_for,
    keys: &["query_p99_warning", "query_p99_critical", "query_p99_for"],
    expression: |_| slowest("pgweir_query_seconds"),
};

/// Of a user on a database.
pub static TRANSACTION_P99: Condition = Condition {
    name: "transaction_p99",
    help: "how long 99 of 100 transactions have taken at most, in the last minute",
    of: "user on a database",
    unit: Unit::Seconds,
    sense: Sense::AtLeast,
    thresholds: |alerts| times(alerts.transaction_p99_warning, alerts.transaction_p99_critical),
    lasts: |alerts| alerts.transaction_p99_for,
    keys: &["transaction_p99_warning", "transaction_p99_critical", "transaction_p99_for"],
    expression: |_| slowest("pgweir_transaction_seconds"),
};

/// Of the process.
pub static CANCELS: Condition = Condition {
    name: "cancels",
    help: "cancels of the last minute, in a hundred requests; 0 with fewer than 100 requests",
    of: "process",
    unit: Unit::Percent,
    sense: Sense::AtLeast,
    thresholds: |alerts| counts(alerts.cancels_warning, alerts.cancels_critical),
    lasts: |alerts| alerts.cancels_for,
    keys: &["cancels_warning", "cancels_critical", "cancels_for"],
    expression: |_| {
        let cancels = "sum by (instance) (increase(pgweir_cancels_total[1m]))";
        let requests =
            "sum by (instance) (increase(pgbouncer_stats_totals_queries_pooled_total[1m]))";
        format!("100 * {cancels} / ({requests} >= {REQUESTS_MIN}) >= {{}}")
    },
};

/// Of the process.
pub static OPEN_FILES: Condition = Condition {
    name: "open_files",
    help: "files and connections that it has open, in a hundred of those that the system lets it have",
    of: "process",
    unit: Unit::Percent,
    sense: Sense::AtLeast,
    thresholds: |alerts| counts(alerts.open_files_warning, alerts.open_files_critical),
    lasts: |alerts| alerts.open_files_for,
    keys: &["open_files_warning", "open_files_critical", "open_files_for"],
    expression: |_| "100 * process_open_fds / process_max_fds >= {}".to_owned(),
};

/// Of the process.
pub static MEMORY: Condition = Condition {
    name: "memory",
    help: "what it has in memory, in a hundred of memory_limit: of what its cgroup or the machine has, \
           where that is 0",
    of: "process",
    unit: Unit::Percent,
    sense: Sense::AtLeast,
    thresholds: |alerts| counts(alerts.memory_warning, alerts.memory_critical),
    lasts: |alerts| alerts.memory_for,
    keys: &["memory_warning", "memory_critical", "memory_for", "memory_limit"],
    expression: |_| {
        "100 * pgweir_memory_bytes{for=\"resident\"} / ignoring(for) pgweir_memory_limit_bytes >= {}"
            .to_owned()
    },
};

/// What 99 of 100 do not exceed, of a histogram of users on databases.
fn slowest(histogram: &str) -> String {
    format!(
        "histogram_quantile(0.99, sum by (database, user, le) (rate({histogram}_bucket[1m]))) >= {{}}"
    )
}
