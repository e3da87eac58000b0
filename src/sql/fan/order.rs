//! ORDER BY: where in the rows of a shard is what they are ordered by.
//!
//! A name alone stands for a column of the result, if there is one of that name, and only else for
//! one of a table; a number stands for a column of the result; anything else is an expression about
//! columns of tables (`findTargetlistEntrySQL92`).

use sqlparser::ast::{Expr, Ident, UnaryOperator, Value};

use super::clauses::{Named, Piece, Uniqueness, plain};
use super::making::{Making, index};
use super::source::Span;
use super::varying::is_by_bytes;
use super::{Column, Combine, Order, Ordered};
use crate::sql::keys::{Construct, Found, Refusal, fold};

/// What rows are ordered by, and which of the items it is, if it is one.
pub(super) struct By {
    pub(super) order: Order,
    pub(super) item: Option<usize>,
}

impl By {
    /// Whether values of this item are equal where they are in this order.
    pub(super) fn tells(&self, item: usize) -> bool {
        self.item == Some(item) && self.order.values == Ordered::ByType
    }
}

fn refused() -> Refusal {
    Refusal::of(Construct::OrderKey)
}

impl Making<'_> {
    /// What ORDER BY has at this place.
    pub(super) fn key(&mut self, at: usize) -> Found<By> {
        let key = self.clauses.order_by.get(at).ok_or(refused())?;
        let (piece, descending, nulls_first) = (key.piece.clone(), key.descending, key.nulls_first);
        let (column, item, values) = self.key_of(&piece)?;
        Ok(By { order: Order { column, descending, nulls_first, values }, item })
    }

    fn key_of(&mut self, piece: &Piece<'_>) -> Found<(Column, Option<usize>, Ordered)> {
        let by_type = Ordered::ByType;
        match plain(piece.expr) {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => {
                    let raw = self.source.value(number).ok_or(refused())?;
                    let at = self.ordinal(raw).ok_or(refused())?;
                    let item = Some(at).filter(|_| !self.clauses.has_wildcard());
                    Ok((Column::At(index(at)?), item, by_type))
                }
                _ => Err(refused()),
            },
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } if is_value(expr) => Err(refused()),
            Expr::Identifier(name) => {
                let (column, item) = self.key_named(name, &piece.span)?;
                Ok((column, item, by_type))
            }
            Expr::Collate { expr, collation } if is_by_bytes(collation) => {
                // What is compared are the same bytes.
                let inner = self.before_collate(&piece.span);
                let (column, item) = match inner.filter(|_| !is_value(expr)) {
                    Some(inner) => self.expression(&inner)?,
                    None => self.expression(&piece.span)?,
                };
                Ok((column, item, Ordered::ByBytes))
            }
            Expr::Collate { .. } => Err(refused()),
            _ => {
                let (column, item) = self.expression(&piece.span)?;
                Ok((column, item, by_type))
            }
        }
    }

    /// What `COLLATE name` stands behind.
    fn before_collate(&self, span: &Span) -> Option<Span> {
        let span = self.source.bare(span);
        let at = span.clone().rev().find(|at| self.source.is(*at, "collate"))?;
        Some(span.start..at)
    }

    /// A number that stands for a column of the result, from 1.
    pub(super) fn ordinal(&self, raw: &str) -> Option<usize> {
        let at = raw.parse::<usize>().ok()?.checked_sub(1)?;
        (self.clauses.has_wildcard() || at < self.clauses.items.len()).then_some(at)
    }

    fn key_named(&mut self, name: &Ident, span: &Span) -> Found<(Column, Option<usize>)> {
        let folded = fold(name);
        let mut unclear = false;
        for (at, item) in self.clauses.items.iter().enumerate() {
            match &item.name {
                Named::Certain(known) if *known == folded && !self.clauses.has_wildcard() => {
                    return Ok((Column::At(index(at)?), Some(at)));
                }
                Named::Certain(_) => {}
                Named::Unclear => unclear = true,
            }
        }
        if unclear {
            return Ok((Column::Named(folded), None));
        }
        self.expression(span)
    }

    /// The column that has an expression.
    fn expression(&mut self, span: &Span) -> Found<(Column, Option<usize>)> {
        let span = self.source.bare(span);
        if let Some(at) = self.item_of(&span) {
            return Ok((Column::At(index(at)?), Some(at)));
        }
        // Postgres wants them to be in the select list.
        if self.clauses.distinct == Uniqueness::Distinct {
            return Err(refused());
        }
        let text = format!("({})", self.source.raw(&span));
        Ok((Column::Extra(self.extra(&span, text, Combine::First)?), None))
    }

    /// The item that is this expression, among those before what may be any number of columns.
    pub(super) fn item_of(&self, span: &Span) -> Option<usize> {
        let items = self.clauses.items.iter().map_while(|item| item.piece.as_ref());
        let mut same = items.map(|piece| self.source.same(&self.source.bare(&piece.span), span));
        same.position(|same| same)
    }
}

fn is_value(expr: &Expr) -> bool {
    matches!(plain(expr), Expr::Value(_))
}
