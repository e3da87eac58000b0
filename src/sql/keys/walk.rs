//! What is known on the way through the tree of a statement: names and what they stand for, the
//! mentions of sharded tables, and what would have to be refused.

use std::ops::Range;
use std::rc::Rc;

use sqlparser::ast::{Cte, Ident, ObjectName, ObjectNamePart};

use super::links::{Links, Node};
use super::work::{LOOK, Work};
use super::{
    Access, Construct, Everywhere, Keyed, OneOf, Plan, Refusal, Root, Slot, Spread, Table, Tables,
};
use crate::sql::facts::Name;

pub(in crate::sql) type Found<T> = Result<T, Refusal>;

/// The state of a walk.
pub(super) struct Walk<'t> {
    pub(super) tables: &'t dyn Tables,
    pub(super) work: &'t Work,
    pub(super) links: Links,
    /// Each mention of a sharded table.
    pub(super) mentions: Vec<Mention>,
    /// What columns may be, the innermost query last.
    pub(super) scopes: Vec<Scope>,
    /// Common table expressions, those of the innermost query last.
    pub(super) frames: Vec<Frame>,
    /// Mentions whose rows can't be put together from several shards, and why.
    pub(super) closed: Vec<(Range<usize>, Refusal)>,
    /// A table of the default shard.
    pub(super) default: Option<Name>,
    /// A reference table.
    pub(super) reference: Option<Name>,
    /// One that is written.
    pub(super) reference_written: Option<Name>,
    pub(super) access: Access,
    /// The rows of an INSERT are all there is.
    pub(super) rows: bool,
    /// Queries that were looked at.
    pub(super) queries: usize,
    /// How often a common table expression has named itself.
    pub(super) circles: usize,
}

/// The key of the rows of a table that a statement names once.
pub(super) struct Mention {
    pub(super) node: Node,
    pub(super) table: Name,
}

/// What the names of columns may stand for in one query.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) relations: Vec<Relation>,
    /// Relations before this are not seen where a join's condition stands.
    pub(super) visible: usize,
    /// Columns that USING has made one of two, with what is known of the one.
    pub(super) merged: Vec<(Box<str>, Option<Holds>)>,
}

/// An item in FROM.
pub(super) struct Relation {
    /// What its columns are qualified by.
    pub(super) name: Option<Box<str>>,
    /// Those of which something is known.
    pub(super) columns: Vec<(Box<str>, Holds)>,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A key; or NULL, where the rows are those that an outer join may leave out.
    Key(Node, Nullable),
    /// One of these.
    Values(Rc<[Given]>),
}

/// Whether an outer join may have put NULL there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nullable {
    No,
    Yes,
}

/// A place in the text, and the type that it is cast to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) slot: Slot,
    pub(super) cast: Option<String>,
}

/// Common table expressions of one WITH.
pub(super) struct Frame {
    pub(super) ctes: Vec<(Box<str>, Body)>,
    pub(super) recursive: bool,
    /// How many scopes there were where they stand.
    pub(super) scopes: usize,
}

/// What a common table expression is.
#[derive(Clone)]
pub(super) enum Body {
    /// A query, which is looked at wherever it is named.
    Query(Rc<Cte>),
    /// It is being looked at: it names itself.
    Open,
    /// It writes, and was looked at; what its columns hold.
    Done(Rc<Block>),
}

/// What is known of the rows of a query.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Its columns.
    pub(super) columns: Vec<Column>,
    /// There are no other columns than these, in this order.
    pub(super) certain: bool,
    /// Its rows are of sharded tables: what shards have of them are parts of the whole.
    pub(super) parted: bool,
    /// Why parts of several shards can't be put together.
    pub(super) bad: Option<Refusal>,
    /// Why that can't be done as long as it stands inside of another query.
    pub(super) closed: Option<Refusal>,
}

/// A column of a query.
#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    pub(super) name: Option<Box<str>>,
    pub(super) holds: Option<Holds>,
}

/// A column that was looked up: what it holds, and in which relation of the innermost query, if it
/// is there.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) holds: Holds,
    pub(super) relation: Option<usize>,
}

/// More mentions of tables, or queries, are not looked at.
const MENTIONS_MAX: usize = 100;
const QUERIES_MAX: usize = 400;

impl<'t> Walk<'t> {
    pub(super) fn new(tables: &'t dyn Tables, work: &'t Work) -> Self {
        Self {
            tables,
            work,
            links: Links::default(),
            mentions: Vec::new(),
            scopes: Vec::new(),
            frames: Vec::new(),
            closed: Vec::new(),
            default: None,
            reference: None,
            reference_written: None,
            access: Access::Reads,
            rows: false,
            queries: 0,
            circles: 0,
        }
    }

    /// Counts a query.
    pub(super) fn count(&mut self) -> Found<()> {
        self.queries += 1;
        self.work.take(LOOK)?;
        if self.queries > QUERIES_MAX || self.mentions.len() > MENTIONS_MAX {
            return Err(Refusal::of(Construct::Size));
        }
        Ok(())
    }

    /// A mention of a table; the key column and its node, if it is sharded.
    pub(super) fn mention(&mut self, name: &Name) -> Found<Option<(Box<str>, Node)>> {
        match self.tables.table(name) {
            Table::Sharded { group, key, .. } => {
                let node = self.links.node(group);
                self.mentions.push(Mention { node, table: name.clone() });
                return Ok(Some((key.into(), node)));
            }
            Table::Reference => self.reference = Some(name.clone()),
            Table::Default => self.default = Some(name.clone()),
            Table::Local => {}
            Table::Unclear => return Err(Refusal::about(name, Construct::Unclear)),
        }
        Ok(None)
    }

    /// What a common table expression of this name is, and where it was found.
    pub(super) fn cte(&self, name: &str) -> Option<(usize, usize)> {
        self.frames.iter().enumerate().rev().find_map(|(at, frame)| {
            let found = frame.ctes.iter().rposition(|(known, _)| **known == *name)?;
            Some((at, found))
        })
    }

    /// Looks a column up.
    pub(super) fn column(&self, parts: &[Ident]) -> Option<Place> {
        let (last, qualifiers) = parts.split_last()?;
        let name = fold(last);
        for (depth, scope) in self.scopes.iter().rev().enumerate() {
            self.work.take(LOOK + scope.relations.len() + scope.merged.len()).ok()?;
            let here = |at: usize| (depth == 0).then_some(at);
            let seen = || scope.relations.iter().enumerate().skip(scope.visible);
            if let Some(qualifier) = qualifiers.last() {
                let qualifier = fold(qualifier);
                let mut named = seen().filter(|(_, of)| of.name.as_ref() == Some(&qualifier));
                if let Some((at, relation)) = named.next() {
                    // Of the same name there may be one in another schema.
                    let only = named.next().is_none();
                    let holds = self.known(relation, &name).filter(|_| only)?;
                    return Some(Place { holds, relation: here(at) });
                }
                continue;
            }
            if let Some((_, holds)) = scope.merged.iter().rev().find(|(merged, _)| *merged == name)
            {
                let merged = holds.as_ref()?;
                let of = |relation: &Relation| {
                    self.known(relation, &name).filter(|holds| holds.is_same_as(merged))
                };
                let (at, holds) = seen().find_map(|(at, relation)| Some((at, of(relation)?)))?;
                return Some(Place { holds, relation: here(at) });
            }
            let mut found = seen().filter_map(|(at, of)| Some((at, self.known(of, &name)?)));
            if let Some((at, holds)) = found.next() {
                return found.next().is_none().then_some(Place { holds, relation: here(at) });
            }
            // It may be a column that is not known here.
            if seen().next().is_some() {
                return None;
            }
        }
        None
    }

    /// What a column of a relation holds.
    pub(super) fn known(&self, relation: &Relation, column: &str) -> Option<Holds> {
        self.work.take(relation.columns.len()).ok()?;
        relation.holds(column)
    }

    /// The node's key is one of these values, if casts leave them what they are.
    pub(super) fn fix(&mut self, node: Node, values: &[Given]) {
        if self.work.keep(values).is_ok()
            && let Some(slots) = self.slots(node, values)
        {
            self.links.fix(node, OneOf { slots, stored: false });
        }
    }

    /// The places of values for a node, if casts leave them what they are.
    pub(super) fn slots(&self, node: Node, values: &[Given]) -> Option<Box<[Slot]>> {
        let group = self.links.group(node);
        let keeps =
            |given: &Given| given.cast.as_ref().is_none_or(|to| self.tables.keeps(group, to));
        values.iter().map(|given| keeps(given).then_some(given.slot)).collect()
    }

    /// The plan of the whole, when all of it was looked at.
    pub(super) fn plan(self, top: &Block) -> Plan {
        if let Err(refusal) = self.work.take(0) {
            return Plan::Refused(refusal);
        }
        let Some(first) = self.mentions.first() else {
            return match (&self.default, &self.reference_written, &self.reference) {
                (Some(_), Some(table), _) => refused(table, Construct::ReferenceWritten),
                (Some(_), None, _) | (None, None, None) => Plan::Default,
                (None, Some(_), _) => Plan::Reference(Access::Writes),
                (None, None, Some(_)) => Plan::Reference(Access::Reads),
            };
        };
        if let Some(table) = &self.default {
            return refused(table, Construct::WithDefault);
        }
        if let Some(table) = &self.reference_written {
            return refused(table, Construct::ReferenceWritten);
        }
        let mut roots: Vec<(Node, &Mention)> = Vec::new();
        for mention in &self.mentions {
            let root = self.links.root(mention.node);
            if roots.iter().all(|(known, _)| *known != root) {
                roots.push((root, mention));
            }
        }
        let across = self.across(top, &roots);
        let fixed = |(root, _): &(Node, _)| !self.links.among(*root).is_empty();
        let access = self.access;
        if roots.iter().all(fixed) {
            let root = |(root, mention): &(Node, &Mention)| Root {
                group: self.links.group(*root),
                table: mention.table.clone(),
                among: self.links.among(*root).into(),
            };
            let spread = match across {
                _ if self.rows && self.mentions.len() == 1 => Spread::Rows,
                Ok(()) => Spread::Parts,
                Err(refusal) => Spread::No(refusal),
            };
            return Plan::Keyed(Keyed { roots: roots.iter().map(root).collect(), spread, access });
        }
        match across {
            Ok(()) => {
                let group = self.links.group(first.node);
                Plan::AllShards(Everywhere { group, table: first.table.clone(), access })
            }
            Err(refusal) => Plan::Refused(refusal),
        }
    }

    /// Whether what several shards give are parts of the whole.
    fn across(&self, top: &Block, roots: &[(Node, &Mention)]) -> Found<()> {
        // Rows that belong to those of a row outside are all on its shard.
        let by_itself =
            |mention: &Mention| self.links.root(mention.node) == self.links.class(mention.node);
        let mentions: Vec<_> = self.mentions.iter().map(|it| (it, by_itself(it))).collect();
        for (range, refusal) in &self.closed {
            for (mention, by_itself) in mentions.get(range.clone()).unwrap_or_default() {
                if *by_itself {
                    return Err(Refusal { table: Some(mention.table.clone()), ..refusal.clone() });
                }
            }
        }
        let free = roots.iter().find(|(root, _)| self.links.among(*root).is_empty());
        let Some((_, mention)) = free.or(roots.first()) else { return Ok(()) };
        if let Some(refusal) = &top.bad {
            return Err(Refusal { table: Some(mention.table.clone()), ..refusal.clone() });
        }
        if let [_, (_, other), ..] = roots {
            return Err(Refusal::about(&other.table, Construct::AcrossKeys));
        }
        if !top.parted {
            return Err(Refusal::about(&mention.table, Construct::OnlyInSubquery));
        }
        Ok(())
    }
}

fn refused(table: &Name, construct: Construct) -> Plan {
    Plan::Refused(Refusal::about(table, construct))
}

impl Holds {
    /// Whether both are the same column's, with NULLs or without.
    fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(one, _), Self::Key(other, _)) => one == other,
            (one, other) => one == other,
        }
    }
}

impl Relation {
    /// One of whose columns nothing is known.
    pub(super) fn named(name: Option<Box<str>>) -> Self {
        Self { name, columns: Vec::new() }
    }

    /// What a column holds. Two of the same name are none.
    fn holds(&self, name: &str) -> Option<Holds> {
        let mut found = self.columns.iter().filter(|(known, _)| **known == *name);
        let (_, holds) = found.next()?;
        found.next().is_none().then(|| holds.clone())
    }

    /// An outer join may leave its rows out.
    pub(super) fn may_be_null(&mut self) {
        self.columns.retain(|(_, holds)| matches!(holds, Holds::Key(..)));
        for (_, holds) in &mut self.columns {
            if let Holds::Key(_, nullable) = holds {
                *nullable = Nullable::Yes;
            }
        }
    }
}

/// A name as Postgres folds it.
pub(in crate::sql) fn fold(name: &Ident) -> Box<str> {
    match name.quote_style {
        None => name.value.to_ascii_lowercase().into(),
        Some(_) => name.value.as_str().into(),
    }
}

/// A name of one, two or three parts.
pub(in crate::sql) fn name(name: &ObjectName) -> Found<Name> {
    let mut parts = Vec::new();
    for part in &name.0 {
        let ObjectNamePart::Identifier(part) = part else {
            return Err(Refusal::of(Construct::Grammar));
        };
        parts.push(fold(part));
    }
    let name = parts.pop().ok_or(Refusal::of(Construct::Grammar))?;
    Ok(Name { schema: parts.pop(), name })
}
