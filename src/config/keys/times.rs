//! The top-level keys that say how long clients may take, what the process is to the system, and how
//! it takes leave.

use super::{CONNECTIONS, DAY, Group, HOUR, YEAR, key, off, time};
use crate::config::field::Field;
use crate::config::setting::{Key, Kind};

/// How long clients may take.
pub(super) const TIMEOUTS: Group = Group {
    title: "Timeouts of clients",
    keys: &[
        key!(client_login_timeout, time(1, HOUR), "Time for a client to log in."),
        key!(
            client_idle_timeout,
            off(10 * YEAR),
            "Idle time after which a client is closed. Leave it longer than the application's \
             own pool keeps idle connections."
        ),
        key!(
            query_wait_timeout,
            off(10 * YEAR),
            "Longest wait for a server; then the client gets an error that says what it waited \
             for."
        ),
        key!(
            query_wait_notify,
            off(HOUR),
            "Wait after which a client gets a NOTICE that it is queued."
        ),
        key!(query_timeout, off(10 * YEAR), "Longest query; then the client is closed."),
        key!(
            idle_transaction_timeout,
            off(10 * YEAR),
            "Longest idle time inside a transaction, or with half a message sent while a \
             server is held; then the client is closed."
        ),
        key!(transaction_timeout, off(10 * YEAR), "Longest transaction."),
        key!(
            cancel_wait_timeout,
            time(1, HOUR),
            "Longest time for delivering a cancel request to the server."
        ),
        key!(
            rollback_timeout,
            time(0, 60),
            "Time to roll back for a client that vanished inside a transaction. When it does \
             not suffice, the server is closed."
        ),
    ],
};

/// What the process is to the system.
pub(super) const PROCESS: Group = Group {
    title: "Process",
    keys: &[
        key!(
            pidfile,
            Kind::Path,
            "File that the process's number is written to while it runs. A file with the number of \
             a process that runs is a reason not to start."
        ),
        key!(
            user,
            Kind::Text,
            "The user of the system to become before anything is opened, which takes root. \"\" is \
             whoever has started it."
        ),
    ],
};

/// How the process ends.
pub(super) const ENDING: Group = Group {
    title: "Ending",
    keys: &[
        key!(
            drain_delay,
            time(0, HOUR),
            "After SIGTERM, time for which /readyz says 503 and clients still come in, so that \
             a load balancer can look elsewhere first."
        ),
        key!(
            drain_pace,
            Kind::Limit("all at once", CONNECTIONS),
            "Then clients are asked to go, each at the end of its transaction, this many per \
             second, so that they don't all come back elsewhere in the same moment."
        ),
        key!(
            drain_timeout,
            off(DAY),
            "Longest graceful stop, drain_delay included; then what is left is closed. Keep it \
             below the time after which the service manager kills (Kubernetes: 30 s)."
        ),
    ],
};
