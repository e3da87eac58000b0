//! Functions that a text calls: which of them leave nothing in the session.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::{Effects, Leaves, settings};
use crate::sql::scan::{Scanner, Token, Unclear};

/// A name that may turn out to be that of a function: the part before an opening parenthesis.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    last: &'a [u8],
    qualifier: Qualifier,
    introduced_by: Introduced,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Qualifier {
    None,
    Catalog,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Introduced {
    /// By `INTO`, `COPY` or the like: a table with its columns.
    Table,
    Otherwise,
}

/// How far the arguments of a statement's calls have been walked through: what is behind the last of
/// them. A call among the arguments of another is not, or each byte would be as often as calls nest.
#[derive(Clone, Copy)]
pub(super) struct Walked(usize);

impl Walked {
    pub(super) fn up_to(rest: Scanner<'_>) -> Self {
        Self(rest.rest().len())
    }

    fn is_within(self, arguments: Scanner<'_>) -> bool {
        arguments.rest().len() > self.0
    }
}

impl<'a> Name<'a> {
    pub(super) fn after(before: Token<'_>, previous: Option<Name<'_>>, last: &'a [u8]) -> Self {
        match (before, previous) {
            (Token::Symbol(b'.'), Some(previous)) => Self {
                last,
                qualifier: if previous.qualifier == Qualifier::None
                    && previous.last.eq_ignore_ascii_case(b"pg_catalog")
                {
                    Qualifier::Catalog
                } else {
                    Qualifier::Other
                },
                introduced_by: previous.introduced_by,
            },
            _ => Self {
                last,
                qualifier: Qualifier::None,
                introduced_by: if ["into", "copy", "references", "conflict"]
                    .iter()
                    .any(|keyword| before.is(keyword))
                {
                    Introduced::Table
                } else {
                    Introduced::Otherwise
                },
            },
        }
    }

    /// It is called, with the arguments that come next.
    pub(super) fn call(
        self,
        arguments: Scanner<'_>,
        walked: &mut Walked,
        effects: &mut Effects,
    ) -> Result<(), Unclear> {
        if self.introduced_by == Introduced::Table {
            return Ok(());
        }
        let mut lower = [0; 64];
        let Some(lower) = lower.get_mut(..self.last.len()) else {
            effects.leaves |= Leaves::UNSEEN;
            return Ok(());
        };
        lower.copy_from_slice(self.last);
        lower.make_ascii_lowercase();
        let harmless = match self.qualifier {
            Qualifier::None => is_syntax(lower) || HARMLESS.contains(&*lower),
            Qualifier::Catalog => HARMLESS.contains(&*lower),
            Qualifier::Other => false,
        };
        if harmless {
            return match &*lower {
                b"current_setting" => settings::current(arguments, effects),
                _ => Ok(()),
            };
        }
        let leaves = match (self.qualifier, &*lower) {
            (Qualifier::Other, _) => Leaves::UNSEEN,
            (_, b"set_config") if walked.is_within(arguments) => settings::ANY,
            (_, b"set_config") => {
                *walked = Walked::up_to(settings::set_config(arguments, effects)?);
                Leaves::NOTHING
            }
            (_, b"setseed") => Leaves::SEED,
            (_, name) if name.starts_with(b"pg_advisory_unlock") => Leaves::ENDS,
            (_, b"pg_advisory_lock" | b"pg_advisory_lock_shared") => Leaves::LOCK,
            (_, b"pg_try_advisory_lock" | b"pg_try_advisory_lock_shared") => Leaves::LOCK,
            _ => Leaves::UNSEEN,
        };
        effects.leaves |= leaves;
        Ok(())
    }
}

/// Words that stand before a parenthesis without being called, and constructs and types that
/// look like calls.
fn is_syntax(word: &[u8]) -> bool {
    matches!(
        word,
        b"in"
            | b"and"
            | b"or"
            | b"not"
            | b"values"
            | b"from"
            | b"join"
            | b"on"
            | b"where"
            | b"select"
            | b"exists"
            | b"any"
            | b"all"
            | b"some"
            | b"as"
            | b"over"
            | b"filter"
            | b"group"
            | b"by"
            | b"having"
            | b"union"
            | b"except"
            | b"intersect"
            | b"when"
            | b"then"
            | b"else"
            | b"case"
            | b"using"
            | b"set"
            | b"distinct"
            | b"limit"
            | b"offset"
            | b"returning"
            | b"lateral"
            | b"materialized"
            | b"between"
            | b"like"
            | b"ilike"
            | b"is"
            | b"array"
            | b"row"
            | b"rows"
            | b"cube"
            | b"rollup"
            | b"sets"
            | b"cast"
            | b"coalesce"
            | b"nullif"
            | b"greatest"
            | b"least"
            | b"grouping"
            | b"window"
            | b"within"
            | b"only"
            | b"tablesample"
            | b"with"
            | b"explain"
            | b"key"
            | b"conflict"
            | b"collate"
            | b"table"
            | b"char"
            | b"character"
            | b"varchar"
            | b"varying"
            | b"numeric"
            | b"decimal"
            | b"dec"
            | b"bit"
            | b"time"
            | b"timestamp"
            | b"timestamptz"
            | b"timetz"
            | b"interval"
            | b"float"
            | b"bpchar"
            | b"copy"
            | b"do"
            | b"update"
            | b"default"
            | b"check"
            | b"to"
            | b"xmlelement"
            | b"xmlforest"
            | b"treat"
            | b"recursive"
    )
}

/// Built-in functions that leave nothing behind in a session: those of `pg_catalog` without the
/// ones that set, lock, prepare, or run SQL that they are given as text.
///
/// `nextval` is among them: the value that `currval` and `lastval` remember stays behind, as it
/// does after any insert into a table with a serial column.
static HARMLESS: LazyLock<HashSet<&'static [u8]>> = LazyLock::new(|| {
    include_str!("../builtins.txt").split_ascii_whitespace().map(str::as_bytes).collect()
});
