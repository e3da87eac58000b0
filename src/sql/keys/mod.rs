//! Which keys a text is about: where in it stands what says on which shard it has to run.
//!
//! A text becomes a [`Plan`] that holds for all texts which differ from it in plain values alone: it
//! has *slots*, places where a key stands, and no keys. It is found out by taking the text apart and
//! following the key columns of sharded tables through joins, subqueries and common table
//! expressions. A plan that is not a refusal is exact: where all its keys are on one shard, that
//! shard alone gives what one Postgres with all the rows would. What is not understood is refused,
//! with the table, the construct and a way out.
//!
//! What can't be seen from a text: what is behind views and functions ([`Tables`] has to say it of
//! views), and temporary tables, which hide others of their name.

mod conditions;
mod from;
mod links;
mod numbered;
mod refusal;
mod select;
mod statement;
mod walk;
mod whole;
mod work;
mod writes;

use crate::sql::facts::Name;
pub use numbered::Literals;
pub(super) use numbered::Numbered;
pub use refusal::{Construct, Refusal};
pub(super) use statement::DEFINITIONS;
pub(super) use walk::{Found, fold, name};
pub(super) use whole::{Whole, around, one_statement, piece, readable, statements, whole};

/// What is known of tables.
pub trait Tables {
    /// What a name stands for. The name is as it is written: without a schema, it may be in any.
    fn table(&self, name: &Name) -> Table<'_>;

    /// Whether a cast to this type, in lower case, leaves keys of this group what they are: from
    /// `bigint` to `integer`, say, but not to `numeric` or `varchar(3)`.
    fn keeps(&self, group: u16, type_name: &str) -> bool;
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table<'t> {
    /// A table whose rows are spread over the shards.
    Sharded {
        /// Tables of the same group have the rows of equal keys on the same shard.
        group: u16,
        /// The key column.
        key: &'t str,
        /// All columns in their order, where they are known.
        columns: Option<&'t [Box<str>]>,
    },
    /// A table that every shard has a copy of.
    Reference,
    /// What every server has of its own, as its catalog.
    Local,
    /// Whatever is on the default shard alone.
    Default,
    /// It may be one or the other, or can't be placed, as a view on sharded tables.
    Unclear,
}

/// Where a text has to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Wherever the session is: it is about the session or its transaction, or empty.
    Session,
    /// On the default shard. Functions that are called see what is there.
    Default,
    /// It is about reference tables: read anywhere, written everywhere.
    Reference(Access),
    /// On the shard of its keys.
    Keyed(Keyed),
    /// On all shards: it has no key. What each gives of the rows is its part of them; what the
    /// outermost query makes of the rows (order, limit, groups, aggregates, distinct, windows) is
    /// still to be done over all parts.
    AllShards(Everywhere),
    /// Rows come from the client, and each goes to its shard.
    CopyIn(CopyIn),
    /// It defines something, or is about a table as a whole, on all shards.
    Defines,
    /// Nowhere.
    Refused(Refusal),
}

/// Whether rows are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No.
    Reads,
    /// They are.
    Writes,
}

/// A statement with keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Rows that are fixed by keys, each apart from the others. All of them have to be on one
    /// shard, unless [`Keyed::spread`] allows more.
    pub roots: Box<[Root]>,
    /// What can be done if the keys are on several shards.
    pub spread: Spread,
    /// Whether rows are changed.
    pub access: Access,
}

/// Rows whose key is among each of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The group of their tables.
    pub group: u16,
    /// One of their tables.
    pub table: Name,
    /// The key is one of the first, and one of the second, and so on. There is at least one.
    pub among: Box<[OneOf]>,
}

/// Places of which one has the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOf {
    /// The places. A key that is compared with NULL is equal to none.
    pub slots: Box<[Slot]>,
    /// The value is stored, so NULL is one as well.
    pub stored: bool,
}

/// A place where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// NULL, in words.
    Null,
    /// The value of this number in the text (see [`Literals`]), with a minus before it or not.
    Literal {
        /// Its number, from 0.
        at: u32,
        /// A minus stands before it.
        minus: bool,
        /// It is an array of keys.
        array: bool,
    },
    /// A parameter.
    Parameter {
        /// Its number as written, from 1.
        number: u16,
        /// It has no other use in the text, so Postgres takes it to be of the key column's type
        /// where its type is not declared.
        own: bool,
        /// It is an array of keys.
        array: bool,
    },
}

/// What can be done when keys are on several shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each of these shards gives its part, as with [`Plan::AllShards`].
    Parts,
    /// Each row of the INSERT can go to its shard. There is one root, with one slot per row.
    Rows,
    /// Nothing.
    No(Refusal),
}

/// A statement without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Everywhere {
    /// The group of its tables.
    pub group: u16,
    /// One of them.
    pub table: Name,
    /// Whether rows are changed.
    pub access: Access,
}

/// `COPY … FROM STDIN` of a sharded table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyIn {
    /// The group of the table.
    pub group: u16,
    /// The table.
    pub table: Name,
    /// Which field of a row is the key, from 0.
    pub key: usize,
    /// How many fields a row has.
    pub fields: usize,
}

/// Finds the plan of a text, of one or several statements.
pub fn plan(text: &[u8], tables: &dyn Tables) -> Plan {
    match readable(text).and_then(statements) {
        Ok(statements) => all(&statements, tables),
        Err(refusal) => Plan::Refused(refusal),
    }
}

/// The plan of all statements of a text.
fn all(statements: &[Numbered<'_>], tables: &dyn Tables) -> Plan {
    let (work, mut roots) = (work::Work::default(), Vec::new());
    let mut all = Plan::Session;
    for (at, statement) in statements.iter().enumerate() {
        let mut next = statement::plan(statement, tables, &work);
        if let Plan::Keyed(keyed) = &mut next {
            roots.extend(std::mem::take(&mut keyed.roots));
        }
        all = if at == 0 { next } else { together(all, next) };
        if matches!(all, Plan::Refused(_)) {
            return all;
        }
    }
    if let Plan::Keyed(keyed) = &mut all {
        keyed.roots = roots.into();
        if let Err(refusal) = work::in_order(keyed) {
            return Plan::Refused(refusal);
        }
    }
    all
}

/// Two statements of one text are one transaction. Their roots are put together elsewhere.
fn together(first: Plan, second: Plan) -> Plan {
    match (first, second) {
        (refused @ Plan::Refused(_), _) | (_, refused @ Plan::Refused(_)) => refused,
        (Plan::Session, other) | (other, Plan::Session) => other,
        (Plan::Default, Plan::Default) => Plan::Default,
        (Plan::Defines, Plan::Defines) => Plan::Defines,
        (Plan::Reference(Access::Reads), other @ (Plan::Default | Plan::Reference(_)))
        | (other @ (Plan::Default | Plan::Reference(_)), Plan::Reference(Access::Reads)) => other,
        (Plan::Reference(Access::Writes), Plan::Reference(Access::Writes)) => {
            Plan::Reference(Access::Writes)
        }
        (Plan::Reference(Access::Reads), Plan::Keyed(keyed))
        | (Plan::Keyed(keyed), Plan::Reference(Access::Reads)) => {
            Plan::Keyed(Keyed { spread: Spread::No(Refusal::several()), ..keyed })
        }
        (Plan::Keyed(first), Plan::Keyed(second)) => {
            let writes = Access::Writes;
            let access = if first.access == writes { writes } else { second.access };
            Plan::Keyed(Keyed { spread: Spread::No(Refusal::several()), access, ..first })
        }
        _ => Plan::Refused(Refusal::several()),
    }
}

#[cfg(test)]
mod tests;
