//! What pools may open on each host beside what it takes, as the console tells of it.

use std::sync::Arc;

use super::commands::{Column, Row, Rows};
use super::registry::{HostCapacity, Registry};
use super::tables::{number, seconds, text};
use crate::wire::reply::ColumnType::{Integer, Text};
use crate::wire::reply::Value;

pub(super) static CAPACITY: &[Column] = &[
    ("host", Text),
    ("port", Integer),
    ("state", Text),
    ("pools_max", Integer),
    ("pools", Text),
    ("max_server_connections", Integer),
    ("max_connections", Integer),
    ("reserved", Integer),
    ("pools_open", Integer),
    ("others", Integer),
    ("free", Integer),
    ("age", Integer),
    ("advice", Text),
    ("error", Text),
];

pub(super) fn capacity(registry: Arc<dyn Registry>) -> Rows {
    Box::pin(async { registry.capacity().await.into_iter().map(row).collect() })
}

fn row(of: HostCapacity) -> Row {
    let known = |count: Option<usize>| count.map_or(Value::Null, number);
    vec![
        text(of.host.host),
        number(of.host.port.into()),
        text(of.state),
        known(of.wanted),
        text(of.shares),
        number(of.cap.unwrap_or(0)),
        known(of.max_connections),
        known(of.reserved),
        number(of.open),
        known(of.others),
        known(of.free),
        of.age.map_or(Value::Null, seconds),
        text(of.advice),
        text(of.error.unwrap_or_default()),
    ]
}
