//! What conditions say of keys: those that all have to hold, in WHERE and behind ON.

use std::ops::{ControlFlow, Range};

use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Query, UnaryOperator, Value, ValueWithSpan, Visit,
    Visitor, WindowType,
};

use super::walk::{Block, Found, Given, Holds, Nullable, Place, Walk};
use super::work::LOOK;
use super::{Construct, Refusal, Slot};

/// Which rows a condition leaves out.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    /// Those of every relation of the query.
    All,
    /// Those of these relations of the query alone, the far side of an outer join.
    Only(Range<usize>),
    /// None.
    None,
}

/// What stands on one side of a comparison.
enum Side<'e> {
    Place(Place),
    Given(Vec<Given>),
    Row(&'e [Expr]),
    Query(&'e Query),
    Other,
}

/// What is inside of expressions besides columns and values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inside {
    /// Functions are called, of which one may be an aggregate.
    pub(super) calls: bool,
    /// Windows are used that are not partitioned by the key.
    pub(super) windows: bool,
}

impl Walk<'_> {
    /// A condition, of which each part that AND joins has to hold.
    pub(super) fn condition(&mut self, condition: &Expr, reach: &Reach) -> Found<()> {
        let mut done = Vec::new();
        for part in parts(condition, &BinaryOperator::And) {
            self.part(part, reach, &mut done)?;
        }
        self.inside_but(condition, &done)?;
        Ok(())
    }

    /// Queries that were looked at are added to `done`.
    fn part(&mut self, part: &Expr, reach: &Reach, done: &mut Vec<usize>) -> Found<()> {
        match part {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                self.equal(left, right, reach, done)?;
            }
            Expr::InList { expr, list, negated: false } => self.one_of(expr, list, reach),
            Expr::InSubquery { expr, subquery, negated: false } => {
                self.one_of_query(expr, subquery, reach, done)?;
            }
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => match plain(right) {
                Expr::Subquery(query) => self.one_of_query(left, query, reach, done)?,
                Expr::Array(array) => self.one_of(left, &array.elem, reach),
                right => {
                    if let (Some(place), Some(given)) = (self.place(left), array(right)) {
                        self.fixed(&place, &[given], reach);
                    }
                }
            },
            Expr::BinaryOp { op: BinaryOperator::Or, .. } => self.either(part, reach),
            _ => {}
        }
        Ok(())
    }

    fn equal(
        &mut self,
        left: &Expr,
        right: &Expr,
        reach: &Reach,
        done: &mut Vec<usize>,
    ) -> Found<()> {
        match (self.side(left), self.side(right)) {
            (Side::Place(one), Side::Place(other)) => self.linked(&one, &other, reach),
            (Side::Place(place), Side::Given(given)) | (Side::Given(given), Side::Place(place)) => {
                self.fixed(&place, &given, reach);
            }
            (Side::Row(left), Side::Row(right)) if left.len() == right.len() => {
                for (left, right) in left.iter().zip(right) {
                    self.equal(left, right, reach, done)?;
                }
            }
            (Side::Place(place), Side::Query(query)) | (Side::Query(query), Side::Place(place)) => {
                self.one_row(&place, query, reach, done)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A column is equal to the one that a query gives, which has one row at most. That there are no
    /// more is found out where all its rows are.
    fn one_row(
        &mut self,
        place: &Place,
        query: &Query,
        reach: &Reach,
        done: &mut Vec<usize>,
    ) -> Found<()> {
        let start = self.mentions.len();
        let block = self.subquery(query, done)?;
        self.closed.push((start..self.mentions.len(), Refusal::of(Construct::Scalar)));
        let first = block.columns.first().filter(|_| block.certain);
        if let (Some(Holds::Key(node, _)), Holds::Key(key, _)) =
            (first.and_then(|column| column.holds.as_ref()), &place.holds)
            && reach.has(place)
        {
            self.links.follow(*key, *node);
        }
        Ok(())
    }

    /// `key IN (…)`, `(key, other) IN ((…), …)`.
    fn one_of(&mut self, expr: &Expr, list: &[Expr], reach: &Reach) {
        if let Side::Row(row) = self.side(expr) {
            for (at, expr) in row.iter().enumerate() {
                let column = list.iter().map(|item| match plain(item) {
                    Expr::Tuple(values) if values.len() == row.len() => values.get(at),
                    _ => None,
                });
                if let (Some(place), Some(column)) = (self.place(expr), column.collect()) {
                    let column: Vec<&Expr> = column;
                    let given: Option<Vec<Given>> = column.into_iter().map(given).collect();
                    self.fixed(&place, &given.unwrap_or_default(), reach);
                }
            }
        } else if let Some(place) = self.place(expr) {
            let given: Option<Vec<Given>> = list.iter().map(given).collect();
            self.fixed(&place, &given.unwrap_or_default(), reach);
        }
    }

    fn one_of_query(
        &mut self,
        expr: &Expr,
        query: &Query,
        reach: &Reach,
        done: &mut Vec<usize>,
    ) -> Found<()> {
        if let Some(place) = self.place(expr) {
            let block = self.subquery(query, done)?;
            self.among_rows(&place, &block, reach);
        }
        Ok(())
    }

    /// A column is equal to the first one of some row of a query.
    fn among_rows(&mut self, place: &Place, block: &Block, reach: &Reach) {
        let Some(holds) = block.columns.first().and_then(|column| column.holds.clone()) else {
            return;
        };
        match holds {
            Holds::Values(given) if block.certain => self.fixed(place, &given, reach),
            Holds::Key(node, _) if block.certain && reach.has(place) => {
                let Holds::Key(key, _) = place.holds else { return };
                if block.is_open() {
                    self.links.equal(key, node);
                } else {
                    self.links.follow(key, node);
                }
            }
            Holds::Key(..) | Holds::Values(_) => {}
        }
    }

    /// One of the parts that OR joins holds: a column that each of them gives values has one of these.
    fn either(&mut self, condition: &Expr, reach: &Reach) {
        let branches = parts(condition, &BinaryOperator::Or);
        let Some((first, others)) = branches.split_first() else { return };
        for (place, mut given) in self.values_in(first) {
            let Holds::Key(key, _) = place.holds else { continue };
            let all = others.iter().all(|branch| {
                let same = |(other, _): &(Place, Vec<Given>)| {
                    matches!(other.holds, Holds::Key(other, _) if other == key)
                };
                let found = self.values_in(branch).into_iter().find(same);
                found.map(|(_, more)| given.extend(more)).is_some()
            });
            if all {
                self.fixed(&place, &given, reach);
            }
        }
    }

    /// The columns that a condition gives values, with these.
    fn values_in(&self, condition: &Expr) -> Vec<(Place, Vec<Given>)> {
        let value = |part: &&Expr| match part {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                let one = self.place(left).zip(given(right));
                let (place, given) = one.or_else(|| self.place(right).zip(given(left)))?;
                Some((place, vec![given]))
            }
            Expr::InList { expr, list, negated: false } => {
                self.place(expr).zip(list.iter().map(given).collect())
            }
            _ => None,
        };
        let parts = parts(condition, &BinaryOperator::And);
        let values = parts.iter().map(|part| match part {
            Expr::InList { list, .. } => list.len(),
            _ => 1,
        });
        match self.work.take(values.sum()) {
            Ok(()) => parts.iter().filter_map(value).collect(),
            Err(_) => Vec::new(),
        }
    }

    /// Two columns are equal.
    pub(super) fn linked(&mut self, one: &Place, other: &Place, reach: &Reach) {
        match (&one.holds, &other.holds) {
            (Holds::Key(key, _), Holds::Key(other_key, _)) => {
                match (reach.has(one), reach.has(other)) {
                    (true, true) => self.links.equal(*key, *other_key),
                    (true, false) => self.links.follow(*key, *other_key),
                    (false, true) => self.links.follow(*other_key, *key),
                    (false, false) => {}
                }
            }
            (Holds::Key(..), Holds::Values(given)) => self.fixed(one, given, reach),
            (Holds::Values(given), Holds::Key(..)) => self.fixed(other, given, reach),
            (Holds::Values(_), Holds::Values(_)) => {}
        }
    }

    fn fixed(&mut self, place: &Place, given: &[Given], reach: &Reach) {
        if let Holds::Key(key, _) = place.holds
            && reach.has(place)
            && !given.is_empty()
        {
            self.fix(key, given);
        }
    }

    /// What a column holds, if it is one and something is known of it.
    pub(super) fn place(&self, expr: &Expr) -> Option<Place> {
        match plain(expr) {
            Expr::Identifier(name) => self.column(std::slice::from_ref(name)),
            Expr::CompoundIdentifier(names) => self.column(names),
            _ => None,
        }
    }

    fn side<'e>(&self, expr: &'e Expr) -> Side<'e> {
        let expr = plain(expr);
        if let Some(place) = self.place(expr) {
            return Side::Place(place);
        }
        if let Some(given) = given(expr) {
            return Side::Given(vec![given]);
        }
        match expr {
            Expr::Tuple(row) => Side::Row(row),
            Expr::Subquery(query) => Side::Query(query),
            _ => Side::Other,
        }
    }

    /// What a column of a query holds by its expression.
    pub(super) fn holds(&self, expr: &Expr) -> Option<Holds> {
        let place = self.place(expr).map(|place| place.holds);
        place.or_else(|| given(expr).map(|given| Holds::Values([given].into())))
    }

    /// A query inside of an expression; it is not to be looked at again.
    fn subquery(&mut self, query: &Query, done: &mut Vec<usize>) -> Found<Block> {
        done.push(std::ptr::from_ref(query).addr());
        let start = self.mentions.len();
        let block = self.query(query)?;
        self.close(start, &block);
        Ok(block)
    }

    /// Looks at the queries inside of whatever this is.
    pub(super) fn inside(&mut self, of: &impl Visit) -> Found<Inside> {
        self.inside_but(of, &[])
    }

    fn inside_but(&mut self, of: &impl Visit, done: &[usize]) -> Found<Inside> {
        let mut look = Look { walk: self, done, depth: 0, inside: Inside::default() };
        match of.visit(&mut look) {
            ControlFlow::Continue(()) => Ok(look.inside),
            ControlFlow::Break(refusal) => Err(refusal),
        }
    }
}

/// Finds queries inside of expressions, the outermost ones.
struct Look<'w, 't> {
    walk: &'w mut Walk<'t>,
    done: &'w [usize],
    depth: usize,
    inside: Inside,
}

impl Visitor for Look<'_, '_> {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        self.depth += 1;
        self.walk.work.take(LOOK).map_or_else(ControlFlow::Break, ControlFlow::Continue)?;
        if self.depth > 1 || self.done.contains(&std::ptr::from_ref(query).addr()) {
            return ControlFlow::Continue(());
        }
        match self.walk.subquery(query, &mut Vec::new()) {
            Ok(_) => ControlFlow::Continue(()),
            Err(refusal) => ControlFlow::Break(refusal),
        }
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Refusal> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        self.walk.work.take(1).map_or_else(ControlFlow::Break, ControlFlow::Continue)?;
        if let (0, Expr::Function(function)) = (self.depth, expr) {
            self.inside.calls = true;
            let is_key = |expr| matches!(self.walk.holds(expr), Some(Holds::Key(_, Nullable::No)));
            self.inside.windows |= match &function.over {
                None => false,
                Some(WindowType::WindowSpec(window)) => !window.partition_by.iter().any(is_key),
                Some(WindowType::NamedWindow(_)) => true,
            };
        }
        ControlFlow::Continue(())
    }
}

impl Reach {
    fn has(&self, place: &Place) -> bool {
        match self {
            Self::All => place.relation.is_some(),
            Self::Only(relations) => place.relation.is_some_and(|at| relations.contains(&at)),
            Self::None => false,
        }
    }
}

/// An expression without brackets around it.
fn plain(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

/// What AND, or OR, joins.
fn parts<'e>(expr: &'e Expr, by: &BinaryOperator) -> Vec<&'e Expr> {
    let mut parts = Vec::new();
    let mut rest = vec![expr];
    while let Some(expr) = rest.pop() {
        match plain(expr) {
            Expr::BinaryOp { left, op, right } if op == by => rest.extend([&**right, &**left]),
            part => parts.push(part),
        }
    }
    parts
}

/// The place of a literal or a parameter.
pub(super) fn given(expr: &Expr) -> Option<Given> {
    match plain(expr) {
        Expr::Value(value) => slot(value, false).map(|slot| Given { slot, cast: None }),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match plain(expr) {
            Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => {
                let at = number.parse().ok()?;
                Some(Given { slot: Slot::Literal { at, minus: true, array: false }, cast: None })
            }
            _ => None,
        },
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr,
            data_type,
            format: None,
        } => {
            let Given { slot, cast: None } = given(expr)? else { return None };
            Some(Given { slot, cast: Some(type_name(data_type)) })
        }
        Expr::TypedString(typed) => {
            let slot = slot(&typed.value, false)?;
            Some(Given { slot, cast: Some(type_name(&typed.data_type)) })
        }
        _ => None,
    }
}

/// The place of an array of keys.
pub(super) fn array(expr: &Expr) -> Option<Given> {
    match plain(expr) {
        Expr::Value(value) => slot(value, true).map(|slot| Given { slot, cast: None }),
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr,
            data_type,
            format: None,
        } => {
            let Given { slot, cast: None } = array(expr)? else { return None };
            let DataType::Array(_) = data_type else { return None };
            let cast = type_name(data_type).strip_suffix("[]")?.to_owned();
            Some(Given { slot, cast: Some(cast) })
        }
        _ => None,
    }
}

fn type_name(data_type: &DataType) -> String {
    data_type.to_string().to_ascii_lowercase()
}

/// Values have their numbers in the place of what they were.
fn slot(value: &ValueWithSpan, array: bool) -> Option<Slot> {
    match &value.value {
        Value::Number(_, _) if array => None,
        Value::Number(at, _) | Value::SingleQuotedString(at) => at.parse().ok(),
        // That it is a parameter is known by this number.
        Value::Placeholder(name) => name.strip_prefix('$')?.parse().ok(),
        Value::Null => return Some(Slot::Null),
        _ => None,
    }
    .map(|at| Slot::Literal { at, minus: false, array })
}
