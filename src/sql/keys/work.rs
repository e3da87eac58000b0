//! How much work the statements of a text may make.
//!
//! Columns can be copied from each query to the one around it, and looked up among all that are
//! there: a short text may stand for more of them than a memory holds, or a day has time for.

use std::cell::Cell;

use sqlparser::ast::Cte;

use super::walk::{Found, Given};
use super::{Construct, Keyed, Refusal, Slot};
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

/// How often a text may be walked through again for keys that are not asked for in their order, each
/// time that it is run. It is once for each of the conditions in whose order something is wrong.
const AGAIN_MAX: usize = 64;

/// Has keys asked for in the order in which they stand in their text, as far as that is needed.
///
/// # Errors
///
/// It would be walked through too often.
pub(super) fn in_order(keyed: &mut Keyed) -> Found<()> {
    if again(keyed) <= AGAIN_MAX {
        return Ok(());
    }
    for one in keyed.roots.iter_mut().flat_map(|root| &mut root.among) {
        // Of a row that is stored the place tells which it is.
        if !one.stored {
            one.slots.sort_unstable_by_key(|slot| place(*slot));
        }
    }
    match again(keyed) <= AGAIN_MAX {
        true => Ok(()),
        false => Err(Refusal::of(Construct::Size)),
    }
}

/// How often what is asked for stands before what was asked for last.
fn again(keyed: &Keyed) -> usize {
    let slots = keyed.roots.iter().flat_map(|root| &root.among).flat_map(|one| &one.slots);
    let (mut literal, mut parameter, mut again) = (0, 0, 0);
    for slot in slots {
        let (last, next) = match place(*slot) {
            (_, 0) => continue,
            (Kind::Literal, next) => (&mut literal, next),
            (Kind::Parameter, next) => (&mut parameter, next),
        };
        again += usize::from(next < *last);
        *last = next;
    }
    again
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Literal,
    Parameter,
}

/// Which literal it is, or which parameter, from 1; 0 for none.
fn place(slot: Slot) -> (Kind, u32) {
    match slot {
        Slot::Null => (Kind::Literal, 0),
        Slot::Literal { at, .. } => (Kind::Literal, at.saturating_add(1)),
        Slot::Parameter { number, .. } => (Kind::Parameter, number.into()),
    }
}
