//! What Postgres's own functions give, as far as that is the same on every server.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlparser::ast::Function;

use crate::sql::keys::name;

/// What a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// A value that depends on nothing but its arguments, and settings of the session.
    Plain,
    /// Several rows of such values.
    Rows,
    /// Something that depends on the time.
    Time,
    /// A value for all rows of a group.
    Aggregate,
    /// A value that depends on other rows with OVER, and one for all rows of a group without
    /// (`rank(5) WITHIN GROUP (ORDER BY n)`).
    Window,
}

/// What the function of this name gives; of others, one knows not whether it is the same everywhere.
pub(super) fn gives(name: &str) -> Option<Gives> {
    KNOWN.get(name).copied()
}

/// The same of a call.
pub(super) fn known(function: &Function) -> Option<Gives> {
    gives(&name(&function.name).ok()?.name)
}

/// Whether a call gives a value for all rows of a group.
pub(super) fn is_aggregate(function: &Function) -> bool {
    let by_form = function.filter.is_some() || !function.within_group.is_empty();
    function.over.is_none() && (by_form || known(function).is_some_and(may_aggregate))
}

/// Whether functions that give this may be aggregates.
pub(super) fn may_aggregate(gives: Gives) -> bool {
    matches!(gives, Gives::Aggregate | Gives::Window)
}

static KNOWN: LazyLock<HashMap<&'static str, Gives>> = LazyLock::new(|| {
    let mut known = HashMap::new();
    for section in include_str!("functions.txt").split("= ") {
        let mut words = section.split_ascii_whitespace();
        let gives = match words.next() {
            Some("plain") => Gives::Plain,
            Some("rows") => Gives::Rows,
            Some("time") => Gives::Time,
            Some("aggregate") => Gives::Aggregate,
            _ => Gives::Window,
        };
        known.extend(words.map(|word| (word, gives)));
    }
    known
});
