//! Items of FROM: tables, joins, queries and common table expressions, and how their rows lie on
//! shards.

use std::ops::Range;
use std::rc::Rc;

use sqlparser::ast::{
    Ident, Join, JoinConstraint, JoinOperator, ObjectName, Query, TableAlias, TableFactor,
    TableFunctionArgs, TableWithJoins,
};

use super::conditions::{Reach, array};
use super::select::rename;
use super::walk::{
    Block, Body, Column, Found, Given, Holds, Nullable, Place, Relation, Walk, fold, name,
};
use super::work::LOOK;
use super::{Construct, Refusal, Slot};
use crate::sql::facts::Name;

/// How the rows of relations lie on shards.
pub(super) enum Rows {
    /// Every shard has all of them.
    Whole,
    /// Every shard has a part.
    Parted,
    /// What shards have is neither.
    Bad(Refusal),
}

impl Walk<'_> {
    /// The items of FROM, which are added to the innermost scope.
    pub(super) fn from(&mut self, from: &[TableWithJoins]) -> Found<Rows> {
        let mut rows = Rows::Whole;
        for item in from {
            rows = rows.beside(self.joined(item)?);
        }
        Ok(rows)
    }

    fn joined(&mut self, from: &TableWithJoins) -> Found<Rows> {
        let start = self.relations();
        let mut rows = self.factor(&from.relation)?;
        for join in &from.joins {
            let middle = self.relations();
            let right = self.factor(&join.relation)?;
            rows = self.join(join, rows, right, start..middle)?;
        }
        Ok(rows)
    }

    /// How many relations the innermost scope has.
    pub(super) fn relations(&self) -> usize {
        self.scopes.last().map_or(0, |scope| scope.relations.len())
    }

    fn join(&mut self, join: &Join, left: Rows, right: Rows, first: Range<usize>) -> Found<Rows> {
        use JoinOperator as By;
        let second = first.end..self.relations();
        let constraint = match &join.join_operator {
            By::Join(on) | By::Inner(on) | By::CrossJoin(on) => on,
            By::Left(on) | By::LeftOuter(on) => on,
            By::Right(on) | By::RightOuter(on) | By::FullOuter(on) => on,
            _ => return Err(Refusal::of(Construct::FromItem)),
        };
        let (reach, rows) = match &join.join_operator {
            By::Left(_) | By::LeftOuter(_) => (Reach::Only(second.clone()), left.keeping(right)),
            By::Right(_) | By::RightOuter(_) => (Reach::Only(first.clone()), right.keeping(left)),
            By::FullOuter(_) => (Reach::None, left.beside(right).full()),
            _ => (Reach::All, left.beside(right)),
        };
        match constraint {
            JoinConstraint::On(condition) => {
                let before = self.see_from(first.start);
                self.condition(condition, &reach)?;
                self.see_from(before);
            }
            JoinConstraint::Using(names) => {
                for column in names {
                    self.using(column, &reach, &first, &second)?;
                }
            }
            // Of which columns that tells is not known: of a key, less is said than holds.
            JoinConstraint::Natural | JoinConstraint::None => {}
        }
        let nullable = match (&join.join_operator, &reach) {
            (By::FullOuter(_), _) => first.start..second.end,
            (_, Reach::Only(relations)) => relations.clone(),
            _ => 0..0,
        };
        if let Some(scope) = self.scopes.last_mut() {
            scope.relations.get_mut(nullable).into_iter().flatten().for_each(Relation::may_be_null);
        }
        Ok(rows)
    }

    /// Relations before this are not seen from now on; returns before which they were not.
    fn see_from(&mut self, start: usize) -> usize {
        self.scopes.last_mut().map_or(0, |scope| std::mem::replace(&mut scope.visible, start))
    }

    fn using(
        &mut self,
        column: &ObjectName,
        reach: &Reach,
        first: &Range<usize>,
        second: &Range<usize>,
    ) -> Found<()> {
        let column = name(column)?.name;
        let Some(scope) = self.scopes.last() else { return Ok(()) };
        self.work.take(LOOK + scope.relations.len() + scope.merged.len())?;
        let find = |range: &Range<usize>| {
            let relations = scope.relations.iter().enumerate();
            let inside = relations.filter(|(at, _)| range.contains(at));
            let mut found = inside.filter_map(|(at, relation)| {
                Some(Place { holds: self.known(relation, &column)?, relation: Some(at) })
            });
            found.next().filter(|_| found.next().is_none())
        };
        let merged = scope.merged.iter().any(|(merged, _)| *merged == column);
        let (one, other) = (find(first), find(second));
        // Where it has been merged before, it is the first of those.
        let one = if merged { self.column(&[unquoted(&column)]).or(one) } else { one };
        if let (Some(one), Some(other)) = (&one, &other) {
            self.linked(one, other, reach);
        }
        let kept = match reach {
            Reach::All => one.or(other),
            Reach::Only(range) if range == second => one,
            Reach::Only(_) => other,
            Reach::None => None,
        };
        if let Some(scope) = self.scopes.last_mut() {
            scope.merged.retain(|(merged, _)| *merged != column);
            scope.merged.push((column, kept.map(|place| place.holds)));
        }
        Ok(())
    }

    /// An item of FROM.
    pub(super) fn factor(&mut self, factor: &TableFactor) -> Found<Rows> {
        let refused = Refusal::of(Construct::FromItem);
        match factor {
            TableFactor::Table { name: table, alias, args: None, with_hints, version, .. } => {
                let TableFactor::Table { partitions, json_path, index_hints, sample, .. } = factor
                else {
                    return Err(refused);
                };
                self.inside(sample)?;
                let plain = with_hints.is_empty() && version.is_none() && partitions.is_empty();
                if !plain || json_path.is_some() || !index_hints.is_empty() {
                    return Err(refused);
                }
                self.table(&name(table)?, alias.as_ref())
            }
            TableFactor::Table { args: Some(args), alias, .. } => {
                if args.settings.is_some() {
                    return Err(refused);
                }
                self.function(args, alias.as_ref())
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                self.inside(sample)?;
                let start = self.mentions.len();
                // Only LATERAL sees what is beside it.
                let beside = if *lateral { None } else { self.scopes.pop() };
                let block = self.query(subquery)?;
                self.scopes.extend(beside);
                self.derived(start, &block, alias.as_ref(), None)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let start = self.relations();
                let rows = self.joined(table_with_joins)?;
                if let (Some(alias), Some(scope)) = (alias, self.scopes.last_mut()) {
                    scope.relations.truncate(start);
                    scope.relations.push(Relation::named(Some(fold(&alias.name))));
                }
                Ok(rows)
            }
            TableFactor::UNNEST { alias, array_exprs, .. } => {
                self.count()?;
                self.inside(array_exprs)?;
                // The shorter ones are filled up with NULL.
                let filled = array_exprs.len() > 1;
                let columns = array_exprs.iter().map(|expr| Column {
                    name: None,
                    holds: array(expr).map(|given| {
                        let null = filled.then_some(Given { slot: Slot::Null, cast: None });
                        Holds::Values([given].into_iter().chain(null).collect())
                    }),
                });
                let block = Block { columns: columns.collect(), certain: true, ..Block::default() };
                self.derived(self.mentions.len(), &block, alias.as_ref(), None)
            }
            TableFactor::Function { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::XmlTable { alias, .. }
            | TableFactor::JsonTable { alias, .. } => {
                self.count()?;
                self.inside(factor)?;
                self.add(Relation::named(alias.as_ref().map(|alias| fold(&alias.name))));
                Ok(Rows::Whole)
            }
            _ => Err(refused),
        }
    }

    fn function(&mut self, args: &TableFunctionArgs, alias: Option<&TableAlias>) -> Found<Rows> {
        self.count()?;
        self.inside(args)?;
        self.add(Relation::named(alias.map(|alias| fold(&alias.name))));
        Ok(Rows::Whole)
    }

    pub(super) fn add(&mut self, relation: Relation) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.relations.push(relation);
        }
    }

    fn table(&mut self, table: &Name, alias: Option<&TableAlias>) -> Found<Rows> {
        self.count()?;
        if table.schema.is_none()
            && let Some(cte) = self.cte(&table.name)
        {
            return self.named(cte, table, alias);
        }
        let known = alias.map(|alias| fold(&alias.name)).unwrap_or_else(|| table.name.clone());
        let mut relation = Relation::named(Some(known));
        let key = self.mention(table)?;
        let rows = if key.is_some() { Rows::Parted } else { Rows::Whole };
        // Which column has another name then is not known.
        let renamed = alias.is_some_and(|alias| !alias.columns.is_empty());
        if let Some((column, node)) = key.filter(|_| !renamed) {
            relation.columns.push((column, Holds::Key(node, Nullable::No)));
        }
        self.add(relation);
        Ok(rows)
    }

    /// A common table expression where it is named: its query is looked at anew, for each of them may be
    /// about other keys.
    fn named(&mut self, at: (usize, usize), cte: &Name, alias: Option<&TableAlias>) -> Found<Rows> {
        let start = self.mentions.len();
        let alone =
            Relation::named(alias.map(|alias| fold(&alias.name)).or(Some(cte.name.clone())));
        let entry = self.frames.get_mut(at.0).and_then(|frame| frame.ctes.get_mut(at.1));
        let Some((_, body)) = entry else { return Ok(Rows::Whole) };
        match body.clone() {
            Body::Open => {
                self.circles += 1;
                self.add(alone);
                Ok(Rows::Parted)
            }
            Body::Done(block) => {
                // What it holds does not depend on who asks for it.
                let once = Block {
                    columns: block.columns.clone(),
                    closed: Some(Refusal::of(Construct::AcrossKeys)),
                    certain: block.certain,
                    parted: block.parted,
                    bad: None,
                };
                self.derived(start, &once, alias, Some(&cte.name))
            }
            Body::Query(query) => {
                *body = Body::Open;
                let before = self.circles;
                let mut block = self.apart(at, &query.query)?;
                if let Some((_, body)) =
                    self.frames.get_mut(at.0).and_then(|frame| frame.ctes.get_mut(at.1))
                {
                    *body = Body::Query(Rc::clone(&query));
                }
                if self.circles > before {
                    block.bad = Some(Refusal::of(Construct::Recursive));
                }
                rename(&mut block, Some(&query.alias));
                self.derived(start, &block, alias, Some(&cte.name))
            }
        }
    }

    /// A query, looked at from where it stands and not from where it is named.
    fn apart(&mut self, (frame, cte): (usize, usize), query: &Query) -> Found<Block> {
        let recursive = self.frames.get(frame).is_some_and(|frame| frame.recursive);
        let scopes = self.frames.get(frame).map_or(0, |frame| frame.scopes);
        let scopes = self.scopes.split_off(scopes.min(self.scopes.len()));
        let inner = self.frames.split_off(frame + 1);
        // Without RECURSIVE it sees those before it alone.
        let seen = if recursive { usize::MAX } else { cte };
        let ctes = self.frames.last_mut().map(|frame| {
            let seen = seen.min(frame.ctes.len());
            frame.ctes.split_off(seen)
        });
        let block = self.query(query)?;
        if let Some(frame) = self.frames.last_mut() {
            frame.ctes.extend(ctes.unwrap_or_default());
        }
        self.frames.extend(inner);
        self.scopes.extend(scopes);
        Ok(block)
    }

    /// A query as an item of FROM. Its mentions begin at `start`.
    fn derived(
        &mut self,
        start: usize,
        block: &Block,
        alias: Option<&TableAlias>,
        name: Option<&str>,
    ) -> Found<Rows> {
        self.close(start, block);
        let mut relation =
            Relation::named(alias.map(|alias| fold(&alias.name)).or(name.map(Into::into)));
        let renamed: Vec<_> = alias.iter().flat_map(|alias| &alias.columns).collect();
        self.work.take(renamed.len())?;
        for (at, column) in block.columns.iter().enumerate() {
            self.work.copy(column.name.as_deref())?;
            let name = match renamed.get(at) {
                _ if renamed.is_empty() => column.name.clone(),
                // Where columns are not known, nor are their places.
                Some(renamed) if block.certain => Some(fold(&renamed.name)),
                None if block.certain => column.name.clone(),
                _ => None,
            };
            let holds = match &column.holds {
                // What is asked of it from outside does not hold for the rows inside.
                Some(Holds::Key(node, nullable)) if !block.is_open() => {
                    Some(Holds::Key(self.links.follower(*node), *nullable))
                }
                holds => holds.clone(),
            };
            relation.columns.extend(name.zip(holds));
        }
        self.add(relation);
        Ok(if block.parted { Rows::Parted } else { Rows::Whole })
    }
}

impl Rows {
    /// Each of these with each of those.
    pub(super) fn beside(self, other: Self) -> Self {
        match (self, other) {
            (Self::Bad(refusal), _) | (_, Self::Bad(refusal)) => Self::Bad(refusal),
            (Self::Whole, Self::Whole) => Self::Whole,
            (Self::Whole | Self::Parted, Self::Whole | Self::Parted) => Self::Parted,
        }
    }

    /// All of these, and those of the other that belong to them.
    pub(super) fn keeping(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole, Self::Parted) => Self::Bad(Refusal::of(Construct::OuterReference)),
            (rows, other) => rows.beside(other),
        }
    }

    fn full(self) -> Self {
        match self {
            Self::Parted => Self::Bad(Refusal::of(Construct::FullJoin)),
            rows => rows,
        }
    }
}

fn unquoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}
