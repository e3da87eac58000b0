//! The keys of `[alerts]`.

use super::{DAY, GIB, HOUR, YEAR, key, off, time};
use crate::config::alerts::Alerts;
use crate::config::field::Field;
use crate::config::setting::{Key, Kind};

/// No more are kept, whatever is configured.
const ALERTS_MAX: u64 = 100_000;

const fn count() -> Kind {
    Kind::Limit("off", super::CONNECTIONS)
}

const fn share() -> Kind {
    Kind::Limit("off", 100)
}

const fn lasts() -> Kind {
    time(0, DAY)
}

/// 0 is off.
const fn size() -> Kind {
    Kind::Size(0, 1024 * GIB)
}

/// The keys of `[alerts]`.
pub(crate) static ALERTS: &[Key<Alerts>] = &[
    key!(
        hysteresis,
        Kind::Count(0, 90),
        "How many per cent a value has to come back from its threshold before its alert is \
         resolved. In between, nothing is raised and nothing is resolved."
    ),
    key!(
        resolve_after,
        time(0, DAY),
        "For how long it has to have been back. What is not there any more is resolved at once."
    ),
    key!(
        max_alerts,
        Kind::Count(1, ALERTS_MAX),
        "Alerts that are kept, whether they are raised, may be soon, or were in the last hour. \
         Beyond that, new ones are not seen; the log says so."
    ),
    key!(
        replica_lag_warning,
        off(YEAR),
        "How long ago a replica had all that the primary has: a warning."
    ),
    key!(replica_lag_critical, off(YEAR), "The same: critical."),
    key!(replica_lag_for, lasts(), "For how long, before the alert is raised."),
    key!(
        replica_lag_bytes_warning,
        size(),
        "What a replica has not replayed of what the primary has written: a warning. 0 is off."
    ),
    key!(replica_lag_bytes_critical, size(), "The same: critical. 0 is off."),
    key!(replica_lag_bytes_for, lasts(), "For how long, before the alert is raised."),
    key!(
        replica_lag_unknown_for,
        off(DAY),
        "For how long a replica answers and its lag is not known: a warning."
    ),
    key!(host_down_for, off(DAY), "For how long one of several hosts does not answer: a warning."),
    key!(
        replicas_out_for,
        off(DAY),
        "For how long no host of a database with several is a replica that answers: critical."
    ),
    key!(
        no_primary_for,
        off(DAY),
        "For how long no host of a database with several is the primary: critical."
    ),
    key!(
        two_primaries_for,
        off(DAY),
        "For how long a second host takes itself for the primary: critical."
    ),
    key!(
        role_flapping_warning,
        Kind::Limit("off", 100),
        "How many times another host has become a database's primary: a warning."
    ),
    key!(role_flapping_window, time(1000, DAY), "Within this time."),
    key!(clients_waiting_warning, count(), "Clients of a pool that wait for a server: a warning."),
    key!(clients_waiting_critical, count(), "The same: critical."),
    key!(clients_waiting_for, lasts(), "For how long, before the alert is raised."),
    key!(
        longest_wait_warning,
        off(DAY),
        "How long the client in front of a pool's line has waited: a warning."
    ),
    key!(longest_wait_critical, off(DAY), "The same: critical."),
    key!(longest_wait_for, lasts(), "For how long that is so, before the alert is raised."),
    key!(
        wait_p95_warning,
        off(DAY),
        "How long 95 of 100 requests of a user on a database have waited for a server at most, in \
         the last minute: a warning. max_metrics_users bounds how many users are told apart."
    ),
    key!(wait_p95_critical, off(DAY), "The same: critical."),
    key!(wait_p95_for, lasts(), "For how long that is so, before the alert is raised."),
    key!(
        query_p99_warning,
        off(DAY),
        "How long 99 of 100 requests of a user on a database have kept a server at work at most, in the \
         last minute: a warning."
    ),
    key!(query_p99_critical, off(DAY), "The same: critical."),
    key!(query_p99_for, lasts(), "For how long that is so, before the alert is raised."),
    key!(
        transaction_p99_warning,
        off(DAY),
        "How long 99 of 100 transactions of a user on a database have taken at most, in the last minute: \
         a warning."
    ),
    key!(transaction_p99_critical, off(DAY), "The same: critical."),
    key!(transaction_p99_for, lasts(), "For how long that is so, before the alert is raised."),
    key!(
        pool_saturated_warning,
        share(),
        "Servers of a pool that are in use, in a hundred of those that there may be, while clients \
         wait: a warning."
    ),
    key!(pool_saturated_critical, share(), "The same: critical."),
    key!(pool_saturated_for, lasts(), "For how long, before the alert is raised."),
    key!(
        client_limit_warning,
        share(),
        "Clients that are logged in, in a hundred of max_client_conn: a warning."
    ),
    key!(client_limit_critical, share(), "The same: critical."),
    key!(client_limit_for, lasts(), "For how long, before the alert is raised."),
    key!(
        holder_warning,
        off(YEAR),
        "How long a client has had a server for one transaction or statement, idle in it or not: a \
         warning. Of those who keep theirs between transactions, the one under way counts."
    ),
    key!(holder_critical, off(YEAR), "The same: critical."),
    key!(paused_for, off(DAY), "For how long a database is paused: a warning."),
    key!(
        error_rate_warning,
        share(),
        "Requests of the last minute, in a hundred, whose clients were told that they could not be \
         served (SQLSTATE 08, 28, 53, 57P, 58, XX): a warning. Errors of the request itself do not count; \
         below 100 requests and such errors nothing does."
    ),
    key!(error_rate_critical, share(), "The same: critical."),
    key!(error_rate_for, lasts(), "For how long, before the alert is raised."),
    key!(
        cancels_warning,
        share(),
        "Cancels of the last minute, in a hundred requests: a warning. Below 100 requests nothing counts."
    ),
    key!(cancels_critical, share(), "The same: critical."),
    key!(cancels_for, lasts(), "For how long, before the alert is raised."),
    key!(
        open_files_warning,
        share(),
        "Files and connections that the process has open, in a hundred of those that the system lets it \
         have: a warning."
    ),
    key!(open_files_critical, share(), "The same: critical."),
    key!(open_files_for, lasts(), "For how long, before the alert is raised."),
    key!(
        memory_warning,
        share(),
        "What the process has in memory, in a hundred of memory_limit: a warning."
    ),
    key!(memory_critical, share(), "The same: critical."),
    key!(memory_for, lasts(), "For how long, before the alert is raised."),
    key!(
        memory_limit,
        size(),
        "What the process may have in memory, for the alert alone. 0 is what its cgroup lets it have, or what \
         the machine has."
    ),
    key!(
        certificate_warning,
        off(10 * YEAR),
        "How soon a certificate of ours expires, or one of the authorities of clients: a warning."
    ),
    key!(certificate_critical, off(10 * YEAR), "The same: critical."),
    key!(
        reload_failed,
        Kind::Flag,
        "Whether a RELOAD that has failed raises an alert (a warning), until one succeeds."
    ),
    key!(
        webhook_url,
        Kind::Secret,
        "Where alerts are posted to, as http://host:port/path or https://… . A path that ends in \
         /api/v2/alerts is Alertmanager's, and gets its form; all others get ours \
         (docs/alerts.md)."
    ),
    key!(
        webhook_authorization,
        Kind::Secret,
        "The header Authorization of these requests, as \"Bearer …\"."
    ),
    key!(
        webhook_ca_file,
        Kind::Path,
        "File with the authorities of the receiver's certificate. \"\" is those of the system."
    ),
    key!(
        webhook_timeout,
        time(1, 300),
        "The longest attempt. After one that has failed there is another, later and later, up to a \
         minute."
    ),
    key!(
        webhook_repeat,
        off(DAY),
        "How often Alertmanager is told of what is still raised; it takes what it has not heard of \
         for its resolve_timeout for resolved."
    ),
    key!(
        command,
        Kind::Names,
        "A program and its arguments, as [\"/usr/local/bin/page\", \"--team\", \"db\"], which is run \
         for each alert that is raised or resolved, one after the other, with the alert as JSON on \
         its standard input. There is no shell."
    ),
    key!(command_timeout, time(1, HOUR), "The longest run; then it is killed, and run again."),
    key!(
        instance,
        Kind::Text,
        "What this process calls itself to them. \"\" is the machine's name."
    ),
];
