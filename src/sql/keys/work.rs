//! How much work the statements of a text may make.
//!
//! Columns can be copied from each query to the one around it, and looked up among all that are
//! there: a short text may stand for more of them than a memory holds, or a day has time for.

use std::cell::Cell;

use sqlparser::ast::Cte;

use super::walk::{Found, Given};
use super::{Construct, Refusal};
use crate::sql::facts::TEXT_MAX;

/// Steps, each some nanoseconds. A text as long as texts may be that names nothing twice takes a third
/// of them; a join of twenty tables under a hundred columns some thousands.
const STEPS_MAX: usize = 2_000_000;
/// A column that is copied, beside its name.
const COLUMN: usize = 16;
/// A place that is kept in a plan.
const SLOT: usize = 4;
/// A byte of a query whose tree is cloned.
const CLONE: usize = 4;
/// Looking a name up, beside what it is compared with.
pub(super) const LOOK: usize = 4;

/// What is left of it, for all statements of a text.
#[derive(Debug)]
pub(super) struct Work {
    left: Cell<Option<usize>>,
}

impl Default for Work {
    fn default() -> Self {
        Self { left: Cell::new(Some(STEPS_MAX)) }
    }
}

impl Work {
    /// So many steps are to be done.
    ///
    /// # Errors
    ///
    /// They are too many; from then on, each is.
    pub(super) fn take(&self, steps: usize) -> Found<()> {
        let left = self.left.get().and_then(|left| left.checked_sub(steps));
        self.left.set(left);
        left.map(|_| ()).ok_or(Refusal::of(Construct::Size))
    }

    /// A query with a name is to be cloned.
    pub(super) fn clone_of(&self, cte: &Cte) -> Found<()> {
        let (start, end) = (cte.alias.name.span.start, cte.closing_paren_token.0.span.end);
        let len = match start.line == end.line {
            true => end.column.saturating_sub(start.column),
            // A quoted name has a line's end in it.
            false => TEXT_MAX as u64,
        };
        self.take(usize::try_from(len).unwrap_or(TEXT_MAX) * CLONE)
    }

    /// A column of this name is to be copied.
    pub(super) fn copy(&self, name: Option<&str>) -> Found<()> {
        self.take(COLUMN + name.map_or(0, str::len))
    }

    /// The places of these are to be kept.
    pub(super) fn keep(&self, values: &[Given]) -> Found<()> {
        self.take(values.len() * SLOT)?;
        let casts = values.iter().filter_map(|given| given.cast.as_ref()).map(String::len);
        self.take(casts.sum())
    }
}
