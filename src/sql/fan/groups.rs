//! GROUP BY and aggregates: what shards have of a group becomes one row.

use std::collections::{BTreeMap, BTreeSet};

use sqlparser::ast::{
    DataType, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Value,
};

use super::clauses::{Item, Piece, Uniqueness, plain};
use super::making::{Making, Pushed, index};
use super::order::By;
use super::source::Span;
use super::strays::names;
use super::varying::{columns, inside};
use super::{Column, Combine, Fan, Groups, Order};
use crate::sql::keys::{Construct, Found, Refusal, fold, name};

/// What groups are told apart by.
struct GroupKey {
    span: Span,
    /// The item that it is, if it is one.
    item: Option<usize>,
}

/// What columns GROUP BY is about.
#[derive(Default)]
struct About {
    /// How many of its keys are, or may be, about just these.
    keys: BTreeMap<BTreeSet<Box<str>>, usize>,
    /// There are several, and one is about a whole row, of which no column shows.
    rows: bool,
}

impl About {
    /// Whether this expression is certainly that of one key alone.
    fn is_of_one(&self, expr: &Expr) -> bool {
        !self.rows && self.keys.get(&columns(expr)) == Some(&1)
    }
}

fn group_key() -> Refusal {
    Refusal::of(Construct::GroupKey)
}

impl<'q> Making<'q> {
    pub(super) fn groups(mut self) -> Found<Fan> {
        if self.clauses.has_wildcard() || self.clauses.distinct != Uniqueness::All {
            return Err(group_key());
        }
        let keys = self.group_keys()?;
        let mut items = Vec::new();
        for at in 0..self.clauses.items.len() {
            let piece = self.clauses.items.get(at).and_then(|item| item.piece.clone());
            items.push(self.combine(&piece.ok_or(group_key())?)?);
        }
        let having = self.having()?;
        if keys.is_empty() {
            self.counts(Pushed::No)?;
            let columns = self.columns(items.into_iter());
            return self
                .fan(Box::default(), Some(Groups { columns, having, sorted: Box::default() }));
        }
        let (by, of_aggregates) = self.order_of_groups(&items)?;
        let in_order = |key: &GroupKey| key.item.is_some_and(|at| by.iter().any(|by| by.tells(at)));
        // Of keys that are equal without being the same, what else there is of them may not be equal.
        let is_key =
            |by: &By| by.item.is_some_and(|at| keys.iter().any(|key| key.item == Some(at)));
        let to_the_byte = of_aggregates || !by.iter().all(is_key);
        let mut told = Vec::new();
        for key in &keys {
            if to_the_byte || !in_order(key) {
                told.push(self.told_apart(&key.span, key.item)?);
            }
        }
        let by: Vec<Order> = by.into_iter().map(|by| by.order).collect();
        let (first, sorted) = if of_aggregates { (Vec::new(), by) } else { (by, Vec::new()) };
        if let (true, Some(clause)) = (of_aggregates, &self.clauses.order_clause)
            && self.source.parameters(clause).next().is_some()
        {
            return Err(Refusal::of(Construct::OrderKey));
        }
        let order = self.append_order(first, told)?;
        let pushed = if of_aggregates || having.is_some() { Pushed::No } else { Pushed::Yes };
        self.counts(pushed)?;
        let columns = self.columns(items.into_iter());
        self.fan(order, Some(Groups { columns, having, sorted: sorted.into() }))
    }

    /// What rows are ordered by, and whether an aggregate is among it.
    fn order_of_groups(&mut self, items: &[Combine]) -> Found<(Vec<By>, bool)> {
        let mut found = Vec::new();
        let mut of_aggregates = false;
        for at in 0..self.clauses.order_by.len() {
            let Some(key) = self.clauses.order_by.get(at) else { break };
            let (piece, descending, nulls_first) =
                (key.piece.clone(), key.descending, key.nulls_first);
            let of_key = inside(piece.expr);
            if of_key.rows {
                return Err(Refusal::of(Construct::OrderKey));
            }
            let by = if of_key.aggregates {
                of_aggregates = true;
                let column = Column::At(self.aggregate(&piece)?);
                let values = super::Ordered::ByType;
                By { order: Order { column, descending, nulls_first, values }, item: None }
            } else {
                self.key(at)?
            };
            let plain = |at: usize| items.get(at) == Some(&Combine::First);
            of_aggregates |= by.item.is_some_and(|at| !plain(at));
            if matches!(by.order.column, Column::Named(_)) {
                return Err(Refusal::of(Construct::OrderKey));
            }
            found.push(by);
        }
        Ok((found, of_aggregates))
    }

    fn group_keys(&mut self) -> Found<Vec<GroupKey>> {
        let about = self.about();
        let pieces = self.clauses.group_by.clone();
        pieces.iter().map(|piece| self.group_key(piece, &about)).collect()
    }

    fn about(&self) -> About {
        let mut tables = BTreeSet::new();
        self.clauses.select.from.iter().for_each(|from| names(from, &mut tables));
        let mut about = About::default();
        for key in &self.clauses.group_by {
            let item = self.item_behind(key.expr).and_then(|item| item.piece.as_ref());
            let exprs = std::iter::once(key.expr).chain(item.map(|piece| piece.expr));
            for columns in exprs.map(columns).collect::<BTreeSet<_>>() {
                about.rows |= self.clauses.group_by.len() > 1 && !columns.is_disjoint(&tables);
                *about.keys.entry(columns).or_default() += 1;
            }
        }
        about
    }

    fn group_key(&mut self, piece: &Piece<'_>, about: &About) -> Found<GroupKey> {
        let span = self.source.bare(&piece.span);
        match plain(piece.expr) {
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) | Expr::Tuple(_) => {
                Err(group_key())
            }
            expr if inside(expr).rows => Err(group_key()),
            Expr::Value(value) => {
                let Value::Number(number, _) = &value.value else { return Err(group_key()) };
                let raw = self.source.value(number).ok_or(group_key())?;
                let item = self.ordinal(raw).ok_or(group_key())?;
                self.of_item(item)
            }
            Expr::Identifier(name) => {
                let name = fold(name);
                let is_named = |item: &Item<'_>| item.is_named(&name);
                let Some(item) = self.clauses.items.iter().position(is_named) else {
                    return Ok(GroupKey { item: None, span });
                };
                // A column of a table goes before one of the result.
                let of = self.clauses.items.get(item).and_then(|item| item.piece.as_ref());
                if of.is_some_and(|of| is_column(of.expr, &name)) {
                    return Ok(GroupKey { item: Some(item), span });
                }
                // Whether there is one is not known here; where it is not the item that is grouped
                // by, this is an error, unless the item is grouped by in another place.
                if !of.is_some_and(|of| about.is_of_one(of.expr)) {
                    return Err(group_key());
                }
                let key = self.of_item(item)?;
                let grouping = format!("GROUPING({})", self.source.raw(&key.span));
                self.extra(&key.span, grouping, Combine::First)?;
                Ok(key)
            }
            _ => Ok(GroupKey { item: self.item_of(&span), span }),
        }
    }

    /// The item that a key of GROUP BY is, or may be, by number or by name.
    fn item_behind(&self, key: &Expr) -> Option<&Item<'q>> {
        match plain(key) {
            Expr::Value(value) => {
                let Value::Number(number, _) = &value.value else { return None };
                let at = self.source.value(number).and_then(|raw| self.ordinal(raw))?;
                self.clauses.items.get(at)
            }
            Expr::Identifier(name) => {
                let name = fold(name);
                self.clauses.items.iter().find(|item| item.is_named(&name))
            }
            _ => None,
        }
    }

    fn of_item(&self, item: usize) -> Found<GroupKey> {
        let piece = self.clauses.items.get(item).and_then(|item| item.piece.as_ref());
        let piece = piece.filter(|piece| !inside(piece.expr).rows).ok_or(group_key())?;
        Ok(GroupKey { span: self.source.bare(&piece.span), item: Some(item) })
    }

    /// How an item comes of those of several shards.
    fn combine(&mut self, piece: &Piece<'_>) -> Found<Combine> {
        let found = inside(piece.expr);
        if found.rows {
            return Err(Refusal::of(Construct::Computed));
        }
        if !found.aggregates {
            return Ok(Combine::First);
        }
        match plain(piece.expr) {
            Expr::Function(function) if self.is_sum_or_zero(function) => Ok(Combine::Sum),
            Expr::Function(function) => self.aggregated(function, &piece.span),
            Expr::Cast { expr, data_type, format: None, .. } if is_whole_number(data_type) => {
                match plain(expr) {
                    Expr::Function(function) if counts(function) => Ok(Combine::Sum),
                    _ => Err(Refusal::of(Construct::Computed)),
                }
            }
            _ => Err(Refusal::of(Construct::Computed)),
        }
    }

    /// The column of an aggregate, which may be an item.
    pub(super) fn aggregate(&mut self, piece: &Piece<'_>) -> Found<u16> {
        let span = self.source.bare(&piece.span);
        if let Some(at) = self.item_of(&span) {
            return index(at);
        }
        let combine = self.combine(piece)?;
        let extra = self.extra(&span, self.source.raw(&span).to_owned(), combine)?;
        self.at_extra(usize::from(extra))
    }

    fn aggregated(&mut self, function: &Function, span: &Span) -> Found<Combine> {
        let refused = || Refusal::of(Construct::Aggregate);
        let called = name(&function.name)?;
        let FunctionArguments::List(arguments) = &function.args else { return Err(refused()) };
        let is_distinct = arguments.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let is_plain = function.over.is_none()
            && function.within_group.is_empty()
            && function.null_treatment.is_none()
            && function.parameters == FunctionArguments::None
            && arguments.clauses.is_empty()
            && !function.uses_odbc_syntax
            && called.schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
        if !is_plain {
            return Err(refused());
        }
        let nested = |argument: &FunctionArg| inside(argument).aggregates;
        if arguments.args.iter().any(nested) {
            return Err(Refusal::of(Construct::Computed));
        }
        match &*called.name {
            "min" => Ok(Combine::Min),
            "max" => Ok(Combine::Max),
            "bool_and" | "every" => Ok(Combine::And),
            "bool_or" => Ok(Combine::Or),
            "bit_and" => Ok(Combine::BitAnd),
            "bit_or" => Ok(Combine::BitOr),
            _ if is_distinct => Err(refused()),
            "count" | "sum" => Ok(Combine::Sum),
            "bit_xor" => Ok(Combine::BitXor),
            "any_value" => Ok(Combine::Any),
            "avg" => {
                let span = self.source.bare(span);
                let open = span.clone().find(|at| self.source.is_symbol(*at, b'('));
                let arguments = self.source.raw(&(open.ok_or(refused())?..span.end));
                let sum = self.extra(&span, format!("sum{arguments}"), Combine::Sum)?;
                let count = self.extra(&span, format!("count{arguments}"), Combine::Sum)?;
                let (sum, count) = (self.at_extra(sum.into())?, self.at_extra(count.into())?);
                Ok(Combine::Avg { sum, count })
            }
            _ => Err(refused()),
        }
    }

    /// `coalesce(sum(…), 0)`: where a shard has no sum, it adds nothing.
    fn is_sum_or_zero(&self, function: &Function) -> bool {
        let FunctionArguments::List(arguments) = &function.args else { return false };
        let [first, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] =
            arguments.args.as_slice()
        else {
            return false;
        };
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(sum))) = first else {
            return false;
        };
        let Value::Number(number, _) = &value.value else { return false };
        let is = |function: &Function, wanted: &str| {
            name(&function.name).is_ok_and(|name| name.schema.is_none() && &*name.name == wanted)
        };
        let plain_list = |function: &Function| match &function.args {
            FunctionArguments::List(list) => {
                list.duplicate_treatment.is_none() && list.clauses.is_empty()
            }
            _ => false,
        };
        is(function, "coalesce")
            && is(sum, "sum")
            && plain_list(sum)
            && sum.over.is_none()
            && sum.within_group.is_empty()
            && !inside(&sum.args).aggregates
            && self.source.value(number) == Some("0")
    }
}

/// Whether an item is a column that has this name in its table.
fn is_column(expr: &Expr, name: &str) -> bool {
    match plain(expr) {
        Expr::Identifier(column) => *fold(column) == *name,
        Expr::CompoundIdentifier(names) => names.last().is_some_and(|last| *fold(last) == *name),
        _ => false,
    }
}

pub(super) fn is_whole_number(data_type: &DataType) -> bool {
    let shown = data_type.to_string().to_ascii_lowercase();
    ["int", "integer", "int4", "int8", "bigint"].contains(&shown.as_str())
}

/// Whether it is a plain count.
fn counts(function: &Function) -> bool {
    let called = name(&function.name);
    let list = match &function.args {
        FunctionArguments::List(list) => {
            list.duplicate_treatment.is_none() && list.clauses.is_empty()
        }
        _ => false,
    };
    let is_count = called.is_ok_and(|name| name.schema.is_none() && &*name.name == "count");
    list && is_count && function.over.is_none() && !inside(&function.args).aggregates
}
