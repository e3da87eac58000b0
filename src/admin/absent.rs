//! Tables of what PgBouncer has and we don't: the columns, for those who read them, and no rows.

use super::commands::{Column, Row};
use super::registry::Registry;
use crate::wire::reply::ColumnType::{Integer, Long, Text};

/// Nobody takes sockets over from us, and secrets are not shown.
pub(super) static FDS: &[Column] = &[
    ("fd", Integer),
    ("task", Text),
    ("user", Text),
    ("database", Text),
    ("addr", Text),
    ("port", Integer),
    ("cancel", Long),
    ("link", Integer),
    ("client_encoding", Text),
    ("std_strings", Text),
    ("datestyle", Text),
    ("timezone", Text),
];

/// There are no caches of objects.
pub(super) static MEM: &[Column] = &[
    ("name", Text),
    ("size", Integer),
    ("used", Integer),
    ("free", Integer),
    ("memtotal", Integer),
];

/// Names are looked up by the system, each time that a server is opened.
pub(super) static DNS_HOSTS: &[Column] = &[("hostname", Text), ("ttl", Long), ("addrs", Text)];

/// See [`DNS_HOSTS`].
pub(super) static DNS_ZONES: &[Column] =
    &[("zonename", Text), ("serial", Long), ("count", Integer)];

/// One process serves all cores.
pub(super) static PEERS: &[Column] =
    &[("peer_id", Integer), ("host", Text), ("port", Integer), ("pool_size", Integer)];

/// See [`PEERS`].
pub(super) static PEER_POOLS: &[Column] = &[
    ("peer_id", Integer),
    ("cl_active_cancel_req", Integer),
    ("cl_waiting_cancel_req", Integer),
    ("sv_active_cancel", Integer),
    ("sv_login", Integer),
];

pub(super) fn none(_: &dyn Registry) -> Vec<Row> {
    Vec::new()
}
