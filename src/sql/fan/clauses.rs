//! Where the clauses of the outermost SELECT stand, and that they are those of its tree.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LimitClause, OrderByExpr, OrderByKind, OrderBySort, Query, Select,
    SelectItem, SetExpr, Value,
};

use super::source::{Source, Span};
use crate::sql::keys::{Construct, Found, Refusal, fold};
use crate::sql::scan::Token;

/// The clauses of a SELECT.
pub(super) struct Clauses<'q> {
    pub(super) select: &'q Select,
    pub(super) distinct: Uniqueness,
    pub(super) items: Vec<Item<'q>>,
    pub(super) group_by: Vec<Piece<'q>>,
    pub(super) having: Option<Piece<'q>>,
    pub(super) order_by: Vec<Key<'q>>,
    /// From ORDER on, if there is one.
    pub(super) order_clause: Option<Span>,
    pub(super) limit: Option<Amount<'q>>,
    pub(super) offset: Option<Amount<'q>>,
    /// The token before which all but LIMIT, OFFSET and FETCH ends.
    pub(super) end: usize,
}

/// Whether rows are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uniqueness {
    /// All of them are wanted.
    All,
    /// One of those that are equal.
    Distinct,
    /// One of those that are equal in some expressions.
    On,
}

/// A piece of the text and of the tree.
#[derive(Clone)]
pub(super) struct Piece<'q> {
    pub(super) span: Span,
    pub(super) expr: &'q Expr,
}

/// A column of the result, or several.
pub(super) struct Item<'q> {
    /// All of it, its alias as well.
    pub(super) span: Span,
    /// What it is, if it is no `*`.
    pub(super) piece: Option<Piece<'q>>,
    /// The name of its column.
    pub(super) name: Named,
}

/// What rows are ordered by.
pub(super) struct Key<'q> {
    pub(super) piece: Piece<'q>,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

/// LIMIT, OFFSET or FETCH.
pub(super) struct Amount<'q> {
    pub(super) clause: Span,
    /// Of FETCH FIRST ROW there is none.
    pub(super) piece: Option<Piece<'q>>,
}

const BEGINNINGS: [&str; 13] = [
    "from",
    "where",
    "group",
    "having",
    "window",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
    "union",
    "intersect",
    "except",
];

/// As many columns as Postgres has, but for some of ours.
pub(super) const COLUMNS_MAX: usize = 1600;
/// So many keys ORDER BY and GROUP BY may have each: every key is compared with every column.
const KEYS_MAX: usize = 200;

/// That there are not too many.
fn bounded<T>(all: Vec<T>, max: usize) -> Found<Vec<T>> {
    if all.len() > max { Err(Refusal::of(Construct::Size)) } else { Ok(all) }
}

fn shape() -> Refusal {
    Refusal::of(Construct::Shape)
}

impl<'q> Clauses<'q> {
    pub(super) fn find(source: Source<'_>, query: &'q Query) -> Found<Self> {
        let SetExpr::Select(select) = &*query.body else { return Err(shape()) };
        if !query.locks.is_empty() {
            return Err(Refusal::of(Construct::Locks));
        }
        let all = 0..source.len();
        let start = source.outside(&all).find(|at| source.is(*at, "select")).ok_or(shape())?;
        let mut parts = parts(source, start)?;
        let mut take = |word: &str| {
            let at = parts.iter().position(|(known, _)| *known == word)?;
            Some(parts.remove(at).1)
        };
        let mut items = take("select").ok_or(shape())?;
        let (from, filter) = (take("from"), take("where"));
        if from.is_none() || filter.is_some() != select.selection.is_some() {
            return Err(shape());
        }
        let distinct = match &select.distinct {
            None => Uniqueness::All,
            Some(Distinct::All) => Uniqueness::All,
            Some(Distinct::Distinct) => Uniqueness::Distinct,
            Some(Distinct::On(_)) => Uniqueness::On,
        };
        items.start += 1;
        if source.is(items.start, "distinct") || source.is(items.start, "all") {
            items.start += 1;
        }
        if distinct == Uniqueness::On {
            items.start = source.closing(items.start + 1).ok_or(shape())? + 1;
        }
        let (by, groups) = match &select.group_by {
            GroupByExpr::Expressions(by, modifiers) if modifiers.is_empty() => (by, take("group")),
            _ => return Err(Refusal::of(Construct::GroupKey)),
        };
        let (order_clause, limit) = (take("order"), take("limit"));
        let (having, offset, fetch) = (take("having"), take("offset"), take("fetch"));
        let after: Vec<usize> =
            [&limit, &offset, &fetch].into_iter().flatten().map(|span| span.start).collect();
        let end = after.iter().min().map_or(source.len(), |at| *at);
        let before = [&order_clause, &having, &groups, &from].into_iter().flatten();
        // Whatever else there is, a WINDOW, is looked at by nobody here.
        let is_last = before.map(|span| span.start).all(|at| at < end);
        if !is_last || parts.iter().any(|(word, _)| *word != "window") {
            return Err(shape());
        }
        let having = match (having, &select.having) {
            (Some(span), Some(expr)) => Some(piece(source, span.start + 1..span.end, expr)?),
            (None, None) => None,
            _ => return Err(shape()),
        };
        let (limit, offset) = amounts(source, query, limit, offset, fetch)?;
        Ok(Self {
            select,
            distinct,
            items: self::items(source, &items, &select.projection)?,
            group_by: group_by(source, groups, by)?,
            having,
            order_by: keys(source, order_clause.clone(), query)?,
            order_clause,
            limit,
            offset,
            end,
        })
    }

    /// Whether the columns that there are don't all show in the text.
    pub(super) fn has_wildcard(&self) -> bool {
        self.items.iter().any(|item| item.piece.is_none())
    }
}

/// The clauses, each by its first word, with it.
fn parts(source: Source<'_>, start: usize) -> Found<Vec<(&'static str, Span)>> {
    let mut parts: Vec<(&'static str, Span)> = vec![("select", start..source.len())];
    for at in source.outside(&(start..source.len())).skip(1) {
        let Some(word) = BEGINNINGS.iter().find(|word| source.is(at, word)) else { continue };
        // t.order, x AS limit
        if source.is_symbol(at - 1, b'.') || source.is(at - 1, "as") {
            continue;
        }
        let by = source.is(at + 1, "by");
        let is_distinct = *word == "from"
            && source.is(at - 1, "distinct")
            && (source.is(at - 2, "is") || source.is(at - 2, "not"));
        if is_distinct || (["group", "order"].contains(word) && !by) {
            continue;
        }
        if let Some((_, last)) = parts.last_mut() {
            last.end = at;
        }
        if parts.iter().any(|(known, _)| known == word) {
            return Err(shape());
        }
        parts.push((word, at..source.len()));
    }
    Ok(parts)
}

/// That these tokens are this expression.
fn piece<'q>(source: Source<'_>, span: Span, expr: &'q Expr) -> Found<Piece<'q>> {
    match source.expr(&span) {
        Some(found) if found == *expr => Ok(Piece { span, expr }),
        _ => Err(shape()),
    }
}

fn is_comma(source: Source<'_>) -> impl Fn(usize) -> bool {
    move |at| source.is_symbol(at, b',')
}

fn items<'q>(source: Source<'_>, span: &Span, items: &'q [SelectItem]) -> Found<Vec<Item<'q>>> {
    let spans = bounded(source.split(span, is_comma(source)), COLUMNS_MAX)?;
    if spans.len() != items.len() {
        return Err(shape());
    }
    let item = |(span, item): (Span, &'q SelectItem)| {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(fold(alias))),
            // Whatever else Postgres does not have there is in other dialects.
            SelectItem::Wildcard(_) if span.len() == 1 => {
                return Ok(Item { span, piece: None, name: Named::Unclear });
            }
            SelectItem::QualifiedWildcard(..)
                if source.is_symbol(span.end - 1, b'*')
                    && span
                        .clone()
                        .rev()
                        .skip(1)
                        .step_by(2)
                        .all(|at| source.is_symbol(at, b'.')) =>
            {
                return Ok(Item { span, piece: None, name: Named::Unclear });
            }
            _ => return Err(shape()),
        };
        let mut end = span.end;
        if alias.is_some() {
            end = end.saturating_sub(1);
            end -= usize::from(end > span.start && source.is(end - 1, "as"));
        }
        let piece = piece(source, span.start..end, expr)?;
        let name = alias.map_or_else(|| named(expr), Named::Certain);
        Ok(Item { span, piece: Some(piece), name })
    };
    spans.into_iter().zip(items).map(item).collect()
}

fn group_by<'q>(source: Source<'_>, span: Option<Span>, by: &'q [Expr]) -> Found<Vec<Piece<'q>>> {
    let Some(span) = span else {
        return if by.is_empty() { Ok(Vec::new()) } else { Err(shape()) };
    };
    let spans = source.split(&(span.start + 2..span.end), is_comma(source));
    let spans = bounded(spans, KEYS_MAX)?;
    if spans.len() != by.len() {
        return Err(Refusal::of(Construct::GroupKey));
    }
    // GROUPING SETS, ROLLUP and CUBE are no expressions.
    let of = |(span, expr)| piece(source, span, expr).ok().ok_or(Refusal::of(Construct::GroupKey));
    spans.into_iter().zip(by).map(of).collect()
}

fn keys<'q>(source: Source<'_>, span: Option<Span>, query: &'q Query) -> Found<Vec<Key<'q>>> {
    let order_key = || Refusal::of(Construct::OrderKey);
    let (span, order) = match (span, &query.order_by) {
        (None, None) => return Ok(Vec::new()),
        (Some(span), Some(order)) => (span, order),
        _ => return Err(shape()),
    };
    let OrderByKind::Expressions(order) = &order.kind else { return Err(order_key()) };
    let spans = source.split(&(span.start + 2..span.end), is_comma(source));
    let spans = bounded(spans, KEYS_MAX)?;
    if spans.len() != order.len() {
        return Err(shape());
    }
    let key = |(mut span, by): (Span, &'q OrderByExpr)| {
        let descending = match by.options.sort {
            None | Some(OrderBySort::Asc) => false,
            Some(OrderBySort::Desc) => true,
            Some(OrderBySort::Using(_)) => return Err(order_key()),
        };
        if by.with_fill.is_some() {
            return Err(order_key());
        }
        span.end -= if by.options.nulls_first.is_some() { 2 } else { 0 };
        span.end -= usize::from(by.options.sort.is_some());
        let nulls_first = by.options.nulls_first.unwrap_or(descending);
        Ok(Key { piece: piece(source, span, &by.expr)?, descending, nulls_first })
    };
    spans.into_iter().zip(order).map(key).collect()
}

type Amounts<'q> = (Option<Amount<'q>>, Option<Amount<'q>>);

fn amounts<'q>(
    source: Source<'_>,
    query: &'q Query,
    limit: Option<Span>,
    offset: Option<Span>,
    fetch: Option<Span>,
) -> Found<Amounts<'q>> {
    let refused = || Refusal::of(Construct::Count);
    let of = |clause: Span, words: usize, end: usize, expr: &'q Expr| {
        let piece = piece(source, clause.start + words..end, expr).ok().ok_or(refused())?;
        Ok(Amount { clause, piece: Some(piece) })
    };
    let (limited, left_out) = match &query.limit_clause {
        Some(LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
            (limit.as_ref(), offset.as_ref())
        }
        None => (None, None),
        Some(_) => return Err(refused()),
    };
    let offset = match (offset, left_out) {
        (Some(clause), Some(left_out)) => {
            let rows = clause.end - 1;
            let word = source.is(rows, "rows") || source.is(rows, "row");
            let end = if word { rows } else { clause.end };
            Some(of(clause, 1, end, &left_out.value)?)
        }
        (None, None) => None,
        _ => return Err(refused()),
    };
    let limit = match (limit, limited, fetch, &query.fetch) {
        (None, None, None, None) => None,
        (Some(clause), Some(expr), None, None) => {
            let end = clause.end;
            Some(of(clause, 1, end, expr)?)
        }
        // LIMIT ALL is no limit in the tree.
        (Some(clause), None, None, None) if source.is(clause.start + 1, "all") => {
            if clause.len() != 2 {
                return Err(refused());
            }
            None
        }
        (None, None, Some(clause), Some(fetch)) => {
            if fetch.with_ties || fetch.percent || !source.is(clause.end - 1, "only") {
                return Err(refused());
            }
            match &fetch.quantity {
                None => Some(Amount { clause, piece: None }),
                Some(expr) => {
                    let end = clause.end - 2;
                    Some(of(clause, 2, end, expr)?)
                }
            }
        }
        _ => return Err(refused()),
    };
    Ok((limit, offset))
}

impl Item<'_> {
    /// Whether its column is certainly called so.
    pub(super) fn is_named(&self, name: &str) -> bool {
        matches!(&self.name, Named::Certain(known) if **known == *name)
    }
}

/// What a column is called.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// This.
    Certain(Box<str>),
    /// It may be anything.
    Unclear,
}

const NAMELESS: &str = "?column?";

/// The name that Postgres gives to a column (`FigureColname`).
fn named(expr: &Expr) -> Named {
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => named(inner),
        // It goes by its type where the inner one has no name.
        Expr::Cast { expr, .. } => match named(expr) {
            Named::Certain(name) if *name != *NAMELESS => Named::Certain(name),
            _ => Named::Unclear,
        },
        Expr::Identifier(name) => Named::Certain(fold(name)),
        Expr::CompoundIdentifier(names) => {
            names.last().map_or(Named::Unclear, |name| Named::Certain(fold(name)))
        }
        Expr::Function(function) => match crate::sql::keys::name(&function.name) {
            Ok(name) => Named::Certain(name.name),
            Err(_) => Named::Unclear,
        },
        Expr::BinaryOp { .. } | Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::UnaryOp { .. } => {
            Named::Certain(NAMELESS.into())
        }
        Expr::Value(value) if !matches!(value.value, Value::Boolean(_)) => {
            Named::Certain(NAMELESS.into())
        }
        _ => Named::Unclear,
    }
}

/// An expression without brackets around it.
pub(super) fn plain(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

/// Whether a token is a word that begins so.
pub(super) fn begins(token: Option<Token<'_>>, start: &[u8]) -> bool {
    matches!(token, Some(Token::Word(word) | Token::Quoted(word))
        if word.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start)))
}
