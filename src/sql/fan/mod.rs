//! What a SELECT over several shards becomes: the text that each of them is asked, and how their rows
//! are put together; and what is asked of them to change rows on several ([`Rows`], [`changes`]), or to
//! define something ([`defining`]).
//!
//! Whether what shards have of the rows are parts of the whole is [`super::keys`]'s to say; here it is
//! about what the outermost query makes of them. A [`Fan`] is exact: rows that are put together by it
//! are those that one Postgres with all rows would give, in its order where one is asked for. What
//! can't be said with certainty is refused. The text stays the client's own, with insertions and
//! replacements between its tokens.
//!
//! What does not show in a text, as the types of columns and the collation that they are ordered
//! by, is for those to judge that put rows together.

mod changes;
mod clauses;
mod functions;
mod groups;
mod having;
mod insert;
mod limit;
mod making;
mod order;
mod source;
mod strays;
mod varying;

use super::facts::Name;
use super::keys::{Access, Everywhere, Keyed, Plan, Spread, readable, whole};
use super::keys::{Construct, Found, Refusal, Tables};
pub use changes::{Defining, changes, defining};
pub use insert::{Part, Rows};
use making::Making;
use source::Source;
use varying::{Freedom, is_alike};

/// A query over several shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fan {
    /// What each shard is asked. Parameters are the client's, with their numbers.
    pub text: String,
    /// A table that it is about.
    pub table: Name,
    /// How many columns shards give behind the client's, which it does not see.
    pub extras: u16,
    /// How the rows of each shard are ordered, so that they can be merged. Without any of it, in any
    /// order.
    pub order: Box<[Order]>,
    /// Rows that are equal in all of `order` are one row.
    pub groups: Option<Groups>,
    /// How many rows there are at most.
    pub limit: Count,
    /// How many rows are left out at the start; shards have not done so.
    pub offset: Count,
}

/// Rows of shards that become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// How each column, of the client's and behind them, comes of those of the rows.
    pub columns: Box<[Combine]>,
    /// Which of the rows there are then.
    pub having: Option<Condition>,
    /// How these rows are ordered, if by something else than they come in.
    pub sorted: Box<[Order]>,
}

/// How a column comes of the same column of several rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// It is the first row's: all are alike.
    First,
    /// The first that is not NULL.
    Any,
    /// Their sum, which is what counts have, too.
    Sum,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// A sum divided by a count, which are these columns.
    Avg {
        /// The sum.
        sum: u16,
        /// The count.
        count: u16,
    },
    /// Whether all are true.
    And,
    /// Whether one is true.
    Or,
    /// Bits that all have.
    BitAnd,
    /// Bits that one has.
    BitOr,
    /// Bits that an odd number of them has.
    BitXor,
}

/// A column that rows are ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which.
    pub column: Column,
    /// From the greatest to the least.
    pub descending: bool,
    /// NULL comes before all values.
    pub nulls_first: bool,
    /// What the values are.
    pub values: Ordered,
}

/// Values of a column that rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// Of any type, ordered as that is.
    ByType,
    /// Text by its bytes, by a collation that the query names.
    ByBytes,
    /// The text of this column, by its bytes: it only tells values apart.
    TextOf(u16),
}

/// A column of a shard's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// By its place.
    At(u16),
    /// By its place among those behind the client's.
    Extra(u16),
    /// By the client's name for it. Several of the name are alike. If there is none, it can't be
    /// done.
    Named(Box<str>),
}

/// A number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// It is not given.
    None,
    /// This many.
    Number(u64),
    /// What the parameter of this number says; NULL is none.
    Parameter(u16),
}

/// What a row of groups has to fulfil; columns are those of [`Groups::columns`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All of them.
    And(Box<[Condition]>),
    /// One of them.
    Or(Box<[Condition]>),
    /// It is false.
    Not(Box<Condition>),
    /// A column is NULL.
    IsNull(u16),
    /// Both compare so.
    Compare(Operand, Comparison, Operand),
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A column.
    Column(u16),
    /// Digits, with a minus and a point or without.
    Number(Box<str>),
    /// The parameter of this number.
    Parameter(u16),
}

/// How it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

/// Finds out what becomes of a text whose plan is [`Plan::AllShards`], or [`Plan::Keyed`] with keys on
/// several shards and [`Spread::Parts`].
///
/// # Errors
///
/// It can't be done exactly, or the plan is another.
pub fn fan(text: &[u8], tables: &dyn Tables) -> Result<Fan, Refusal> {
    let text = readable(text)?;
    let whole = whole(text, tables)?;
    let table = table(&whole.plan)?;
    let about = |refusal: Refusal| Refusal { table: Some(table.clone()), ..refusal };
    let source = Source { text, tokens: &whole.tokens };
    is_alike(source, &whole.query, tables, Freedom::Reads).map_err(about)?;
    if strays::has_stray_aggregates(&whole.query) {
        return Err(about(Refusal::of(Construct::Outside)));
    }
    let made = Making::new(text, &whole).and_then(Making::made).map_err(about)?;
    Ok(Fan { table: table.clone(), ..made })
}

/// The table that a plan is about which can be spread.
fn table(plan: &Plan) -> Found<&Name> {
    match plan {
        Plan::AllShards(Everywhere { table, access: Access::Reads, .. }) => Ok(table),
        Plan::Keyed(Keyed { roots, spread: Spread::Parts, access: Access::Reads }) => {
            let root = roots.first().ok_or(Refusal::of(Construct::Grammar))?;
            Ok(&root.table)
        }
        Plan::Keyed(Keyed { spread: Spread::No(refusal), .. }) | Plan::Refused(refusal) => {
            Err(refusal.clone())
        }
        _ => Err(Refusal::of(Construct::Shape)),
    }
}

#[cfg(test)]
mod tests;
