//! Every condition, as data: what is read, when it is raised, and how Prometheus would say it.
//!
//! `docs/alerts.md` has a row for each, and `docker/prometheus/rules.yml` a rule; both are made
//! from here, and tests compare them.

use std::time::Duration;

use super::Severity;
use super::resources::{CANCELS, MEMORY, OPEN_FILES, PAUSED, QUERY_P99, TRANSACTION_P99};
use crate::config::{Alerts, ByteSize};
use crate::traffic::FAILURES;

/// Something that may be worth an alert.
#[derive(Debug)]
pub struct Condition {
    /// Its name, everywhere.
    pub name: &'static str,
    /// What is read of each of what, in a sentence.
    pub help: &'static str,
    /// What its readings are about.
    pub of: &'static str,
    /// Of readings and thresholds.
    pub unit: Unit,
    /// Which side of a threshold is the wrong one.
    pub sense: Sense,
    /// At which values it is raised.
    pub thresholds: fn(&Alerts) -> Thresholds,
    /// For how long it has to be so.
    pub lasts: fn(&Alerts) -> Duration,
    /// The keys of its thresholds and its duration.
    pub keys: &'static [&'static str],
    /// The same for Prometheus; `{}` stands for the threshold.
    pub expression: fn(&Alerts) -> String,
}

/// The thresholds of a warning and of a critical alert; `None` is off.
pub type Thresholds = [Option<f64>; 2];

/// What a value is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// In a hundred.
    Percent,
    /// Pieces.
    Count,
    /// 1 where it is so, 0 where it is not.
    Flag,
}

/// Which side of a threshold is the wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// The threshold and above.
    AtLeast,
    /// The threshold and below.
    AtMost,
}

impl Unit {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Percent => "percent",
            Self::Count => "count",
            Self::Flag => "flag",
        }
    }

    /// A value, for people.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value.abs() >= 120.0 => {
                let whole = Duration::try_from_secs_f64(value.abs().round()).unwrap_or_default();
                let sign = if value < 0.0 { "-" } else { "" };
                format!("{sign}{}", rough(whole))
            }
            Self::Seconds => format!("{} s", (value * 10.0).round() / 10.0),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "bytes, which are whole and not negative"
            )]
            Self::Bytes => size(value.max(0.0) as u64),
            Self::Percent => format!("{} %", (value * 10.0).round() / 10.0),
            Self::Count | Self::Flag => format!("{value}"),
        }
    }
}

/// A long time in its largest units.
fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let pair = match (days, hours, minutes) {
        (0, 0, _) => [(minutes, "min"), (seconds % 60, "s")],
        (0, ..) => [(hours, "h"), (minutes, "min")],
        _ => [(days, "d"), (hours, "h")],
    };
    let parts = pair.iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

/// Bytes, in the largest unit that there are ten of.
fn size(bytes: u64) -> String {
    for (name, unit) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= 10 * unit || (bytes >= unit && bytes.is_multiple_of(unit)) {
            return format!("{} {name}", bytes / unit);
        }
    }
    format!("{bytes} bytes")
}

impl Condition {
    /// The threshold of a severity, where it has one.
    pub fn threshold(&self, settings: &Alerts, severity: Severity) -> Option<f64> {
        let [warning, critical] = (self.thresholds)(settings);
        match severity {
            Severity::Warning => warning,
            Severity::Critical => critical,
        }
    }
}

pub(super) fn times(warning: Option<Duration>, critical: Option<Duration>) -> Thresholds {
    [warning, critical].map(|time| time.map(|time| time.as_secs_f64()))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn counts(warning: Option<usize>, critical: Option<usize>) -> Thresholds {
    [warning, critical].map(|count| count.map(|count| count as f64))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn sizes(warning: ByteSize, critical: ByteSize) -> Thresholds {
    [warning, critical].map(|size| (!size.is_empty()).then_some(size.bytes() as f64))
}

/// Those of what is so or is not, where it is looked at.
pub(super) fn warning_if(looked_at: bool) -> Thresholds {
    [looked_at.then_some(1.0), None]
}

fn critical_if(looked_at: bool) -> Thresholds {
    [None, looked_at.then_some(1.0)]
}

/// Where hosts are as good as one another, nobody asks for a primary.
const UNLESS_EQUAL: &str =
    "unless on (database) (sum by (database) (pgweir_host_role{role=\"equal\"}) > 0)";

/// Of a replica.
pub static REPLICA_LAG: Condition = Condition {
    name: "replica_lag",
    help: "how long ago it had everything that the primary has",
    of: "replica",
    unit: Unit::Seconds,
    sense: Sense::AtLeast,
    thresholds: |alerts| times(alerts.replica_lag_warning, alerts.replica_lag_critical),
    lasts: |alerts| alerts.replica_lag_for,
    keys: &["replica_lag_warning", "replica_lag_critical", "replica_lag_for"],
    expression: |_| "pgweir_replica_lag_seconds >= {}".to_owned(),
};

/// Of a replica.
pub static REPLICA_LAG_BYTES: Condition = Condition {
    name: "replica_lag_bytes",
    help: "what it has not replayed of what the primary has written",
    of: "replica",
    unit: Unit::Bytes,
    sense: Sense::AtLeast,
    thresholds: |alerts| sizes(alerts.replica_lag_bytes_warning, alerts.replica_lag_bytes_critical),
    lasts: |alerts| alerts.replica_lag_bytes_for,
    keys: &["replica_lag_bytes_warning", "replica_lag_bytes_critical", "replica_lag_bytes_for"],
    expression: |_| "pgweir_replica_lag_bytes >= {}".to_owned(),
};

/// Of a replica.
pub static REPLICA_LAG_UNKNOWN: Condition = Condition {
    name: "replica_lag_unknown",
    help: "it answers, and its lag is not known: it follows another history, or there is no primary",
    of: "replica",
    unit: Unit::Flag,
    sense: Sense::AtLeast,
    thresholds: |alerts| warning_if(alerts.replica_lag_unknown_for.is_some()),
    lasts: |alerts| alerts.replica_lag_unknown_for.unwrap_or_default(),
    keys: &["replica_lag_unknown_for"],
    expression: |_| {
        "(pgweir_host_role{role=\"replica\"} == 1 and on (database, host) pgweir_host_up == 1) \
         unless on (database, host) pgweir_replica_lag_seconds"
            .to_owned()
    },
};

/// Of a host.
pub static HOST_DOWN: Condition = Condition {
    name: "host_down",
    help: "it does not answer",
    of: "host",
    unit: Unit::Flag,
    sense: Sense::AtLeast,
    thresholds: |alerts| warning_if(alerts.host_down_for.is_some()),
    lasts: |alerts| alerts.host_down_for.unwrap_or_default(),
    keys: &["host_down_for"],
    expression: |_| "pgweir_host_up == 0".to_owned(),
};

/// Of a database with several hosts.
pub static REPLICAS_OUT: Condition = Condition {
    name: "replicas_out",
    help: "none of its several hosts is a replica that answers",
    of: "database",
    unit: Unit::Flag,
    sense: Sense::AtLeast,
    thresholds: |alerts| critical_if(alerts.replicas_out_for.is_some()),
    lasts: |alerts| alerts.replicas_out_for.unwrap_or_default(),
    keys: &["replicas_out_for"],
    expression: |_| {
        format!(
            "(sum by (database) (pgweir_host_role{{role=\"replica\"}} * on (database, host) \
             pgweir_host_up) == 0) {UNLESS_EQUAL}"
        )
    },
};

/// Of a database.
pub static NO_PRIMARY: Condition = Condition {
    name: "no_primary",
    help: "none of its several hosts is the primary; or, where no primary is sought, the last attempt to \
           connect found nobody and no server is left",
    of: "database",
    unit: Unit::Flag,
    sense: Sense::AtLeast,
    thresholds: |alerts| critical_if(alerts.no_primary_for.is_some()),
    lasts: |alerts| alerts.no_primary_for.unwrap_or_default(),
    keys: &["no_primary_for"],
    expression: |_| {
        format!(
            "(sum by (database) (pgweir_host_role{{role=\"primary\"}}) == 0) {UNLESS_EQUAL} or \
             pgweir_database_up == 0"
        )
    },
};

/// Of a host.
pub static TWO_PRIMARIES: Condition = Condition {
    name: "two_primaries",
    help: "it takes itself for the primary, and is not the one with the latest history",
    of: "host",
    unit: Unit::Flag,
    sense: Sense::AtLeast,
    thresholds: |alerts| critical_if(alerts.two_primaries_for.is_some()),
    lasts: |alerts| alerts.two_primaries_for.unwrap_or_default(),
    keys: &["two_primaries_for"],
    expression: |_| "pgweir_host_role{role=\"second_primary\"} == 1".to_owned(),
};

/// Of a database with several hosts.
pub static ROLE_FLAPPING: Condition = Condition {
    name: "role_flapping",
    help: "how often another host has become its primary within role_flapping_window",
    of: "database",
    unit: Unit::Count,
    sense: Sense::AtLeast,
    thresholds: |alerts| counts(alerts.role_flapping_warning, None),
    lasts: |_| Duration::ZERO,
    keys: &["role_flapping_warning", "role_flapping_window"],
    expression: |alerts| {
        let window = alerts.role_flapping_window.as_secs();
        format!(
            "sum by (database) (changes(pgweir_host_role{{role=\"primary\"}}[{window}s])) / 2 >= {{}}"
        )
    },
};

/// Of a pool.
pub static CLIENTS_WAITING: Condition = Condition {
    name: "clients_waiting",
    help: "clients that wait for a server",
    of: "pool",
    unit: Unit::Count,
    sense: Sense::AtLeast,
    thresholds: |alerts| counts(alerts.clients_waiting_warning, alerts.clients_waiting_critical),
    lasts: |alerts| alerts.clients_waiting_for,
    keys: &["clients_waiting_warning", "clients_waiting_critical", "clients_waiting_for"],
    expression: |_| "pgbouncer_pools_client_waiting_connections >= {}".to_owned(),
};

/// Of a pool.
pub static LONGEST_WAIT: Condition = Condition {
    name: "longest_wait",
    help: "how long the client in front of its line has waited",
    of: "pool",
    unit: Unit::Seconds,
    sense: Sense::AtLeast,
    thresholds: |alerts| times(alerts.longest_wait_warning, alerts.longest_wait_critical),
    lasts: |alerts| alerts.longest_wait_for,
    keys: &["longest_wait_warning", "longest_wait_critical", "longest_wait_for"],
    expression: |_| "pgbouncer_pools_client_maxwait_seconds >= {}".to_owned(),
};

/// Of a user on a database.
pub static WAIT_P95: Condition = Condition {
    name: "wait_p95",
    help: "how long 95 of 100 requests have waited for a server at most, in the last minute",
    of: "user on a database",
    unit: Unit::Seconds,
    sense: Sense::AtLeast,
    thresholds: |alerts| times(alerts.wait_p95_warning, alerts.wait_p95_critical),
    lasts: |alerts| alerts.wait_p95_for,
    keys: &["wait_p95_warning", "wait_p95_critical", "wait_p95_for"],
    expression: |_| {
        "histogram_quantile(0.95, sum by (database, user, le) \
         (rate(pgweir_wait_seconds_bucket[1m]))) >= {}"
            .to_owned()
    },
};

/// Of a pool.
pub static POOL_SATURATED: Condition = Condition {
    name: "pool_saturated",
    help: "its servers in use, in a hundred of those that it may have now (its size, or fewer where limits over \
           several pools leave no more), while clients wait; 0 while none do",
    of: "pool",
    unit: Unit::Percent,
    sense: Sense::AtLeast,
    thresholds: |alerts| counts(alerts.pool_saturated_warning, alerts.pool_saturated_critical),
    lasts: |alerts| alerts.pool_saturated_for,
    keys: &["pool_saturated_warning", "pool_saturated_critical", "pool_saturated_for"],
    expression: |_| {
        "(100 * pgbouncer_pools_server_active_connections / pgweir_pool_servers_max >= {}) \
         and pgbouncer_pools_client_waiting_connections > 0"
            .to_owned()
    },
};

/// Of the process.
pub static CLIENT_LIMIT: Condition = Condition {
    name: "client_limit",
    help: "clients that are logged in, in a hundred of max_client_conn",
    of: "process",
    unit: Unit::Percent,
    sense: Sense::AtLeast,
    thresholds: |alerts| counts(alerts.client_limit_warning, alerts.client_limit_critical),
    lasts: |alerts| alerts.client_limit_for,
    keys: &["client_limit_warning", "client_limit_critical", "client_limit_for"],
    expression: |_| {
        "100 * pgweir_clients / pgbouncer_config_max_client_connections >= {}".to_owned()
    },
};

/// Of a pool.
pub static HOLDER: Condition = Condition {
    name: "holder",
    help: "how long a client has had one of its servers for one transaction or statement, idle in it \
           or not",
    of: "pool",
    unit: Unit::Seconds,
    sense: Sense::AtLeast,
    thresholds: |alerts| times(alerts.holder_warning, alerts.holder_critical),
    lasts: |_| Duration::ZERO,
    keys: &["holder_warning", "holder_critical"],
    expression: |_| "pgweir_longest_hold_seconds >= {}".to_owned(),
};

/// Requests below which no share of errors says anything.
pub const REQUESTS_MIN: u64 = 100;

/// Of the process.
pub static ERROR_RATE: Condition = Condition {
    name: "error_rate",
    help: "requests of the last minute, in a hundred, whose clients were told that they could not be \
           served (SQLSTATE 08, 28, 53, 57P, 58, XX; errors of the request itself do not count); 0 with \
           fewer than 100 requests and such errors",
    of: "process",
    unit: Unit::Percent,
    sense: Sense::AtLeast,
    thresholds: |alerts| counts(alerts.error_rate_warning, alerts.error_rate_critical),
    lasts: |alerts| alerts.error_rate_for,
    keys: &["error_rate_warning", "error_rate_critical", "error_rate_for"],
    expression: |_| {
        // What is refused is not answered: in an outage there are errors and no requests.
        let states = FAILURES.join("|");
        let errors = format!(
            "sum by (instance) (increase(pgweir_errors_total{{side!=\"client\",sqlstate=~\"({states}).*\"}}[1m]))"
        );
        let requests =
            "sum by (instance) (increase(pgbouncer_stats_totals_queries_pooled_total[1m]))";
        format!("100 * {errors} / (({requests} > {errors} or {errors}) >= {REQUESTS_MIN}) >= {{}}")
    },
};

/// Of a certificate.
pub static CERTIFICATE: Condition = Condition {
    name: "certificate",
    help: "how soon it expires",
    of: "certificate (ours for clients, ours for servers, the first of clients' authorities)",
    unit: Unit::Seconds,
    sense: Sense::AtMost,
    thresholds: |alerts| times(alerts.certificate_warning, alerts.certificate_critical),
    lasts: |_| Duration::ZERO,
    keys: &["certificate_warning", "certificate_critical"],
    expression: |_| "pgweir_certificate_expires_seconds - time() <= {}".to_owned(),
};

/// Of the process.
pub static RELOAD_FAILED: Condition = Condition {
    name: "reload_failed",
    help: "the last RELOAD has failed",
    of: "process",
    unit: Unit::Flag,
    sense: Sense::AtLeast,
    thresholds: |alerts| warning_if(alerts.reload_failed),
    lasts: |_| Duration::ZERO,
    keys: &["reload_failed"],
    expression: |_| "pgweir_last_reload_failed == 1".to_owned(),
};

/// All of them, in the order in which they are shown.
pub static CONDITIONS: &[&Condition] = &[
    &REPLICA_LAG,
    &REPLICA_LAG_BYTES,
    &REPLICA_LAG_UNKNOWN,
    &HOST_DOWN,
    &REPLICAS_OUT,
    &NO_PRIMARY,
    &TWO_PRIMARIES,
    &ROLE_FLAPPING,
    &CLIENTS_WAITING,
    &LONGEST_WAIT,
    &WAIT_P95,
    &QUERY_P99,
    &TRANSACTION_P99,
    &POOL_SATURATED,
    &CLIENT_LIMIT,
    &HOLDER,
    &PAUSED,
    &ERROR_RATE,
    &CANCELS,
    &OPEN_FILES,
    &MEMORY,
    &CERTIFICATE,
    &RELOAD_FAILED,
];
