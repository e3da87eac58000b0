//! What clients were told of that went wrong.

use std::cmp::Reverse;

use super::commands::{Column, Row};
use super::metrics::Page;
use super::registry::Registry;
use super::tables::text;
use crate::calendar::utc;
use crate::traffic::{ErrorLine, Errors};
use crate::wire::reply::ColumnType::{Numeric, Text};
use crate::wire::reply::Value;

pub(super) static ERRORS: &[Column] =
    &[("sqlstate", Text), ("side", Text), ("count", Numeric), ("last_seen", Text), ("text", Text)];

/// Those that were told last come first.
pub(super) fn errors(registry: &dyn Registry) -> Vec<Row> {
    let mut lines = registry.errors();
    lines.sort_by_key(|(.., errors)| Reverse(errors.last));
    let row = |(side, state, errors): ErrorLine| {
        let Errors { count, last, text: example } = errors;
        vec![text(state), text(side.name()), Value::Numeric(count), text(utc(last)), text(example)]
    };
    lines.into_iter().map(row).collect()
}

pub(super) fn metrics(page: &mut Page, registry: &dyn Registry) {
    let name = "pgweir_errors_total";
    page.head_of("counter", name, "Errors that clients were told of.");
    for (side, state, errors) in registry.errors() {
        page.sample(name, &[("sqlstate", &state), ("side", side.name())], errors.count);
    }
}
