//! Queries: what their columns hold, and whether what several shards have of their rows can be put
//! together.

use std::rc::Rc;

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LimitClause, OrderBy, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, Values, With,
};

use super::conditions::{Inside, Reach, given};
use super::from::Rows;
use super::walk::{
    Block, Body, Column, Found, Frame, Given, Holds, Nullable, Scope, Walk, fold, name,
};
use super::{Construct, Refusal};
use crate::sql::facts::has_no_foreign_clause;

impl Walk<'_> {
    /// A query at any depth.
    pub(super) fn query(&mut self, query: &Query) -> Found<Block> {
        let Query { with, body, order_by, limit_clause, fetch, locks, for_clause, .. } = query;
        self.count()?;
        if for_clause.is_some() || query.settings.is_some() || query.format_clause.is_some() {
            return Err(Refusal::of(Construct::Grammar));
        }
        if !query.pipe_operators.is_empty() {
            return Err(Refusal::of(Construct::Grammar));
        }
        self.with(with.as_ref())?;
        let mut block = self.body(body, order_by.as_ref())?;
        self.inside(limit_clause)?;
        self.inside(fetch)?;
        self.inside(locks)?;
        self.frames.pop();
        let limited = match limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.is_some() || offset.is_some()
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => true,
            None => fetch.is_some(),
        };
        if limited {
            block.closed.get_or_insert(Refusal::of(Construct::Limit));
        }
        Ok(block)
    }

    /// The common table expressions of a query.
    fn with(&mut self, with: Option<&With>) -> Found<()> {
        let recursive = with.is_some_and(|with| with.recursive);
        self.frames.push(Frame { ctes: Vec::new(), recursive, scopes: self.scopes.len() });
        for cte in with.iter().flat_map(|with| &with.cte_tables) {
            let writes = matches!(
                *cte.query.body,
                SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
            );
            let body = if writes {
                let start = self.mentions.len();
                let mut block = self.query(&cte.query)?;
                self.close(start, &block);
                rename(&mut block, Some(&cte.alias));
                Body::Done(Rc::new(block))
            } else {
                self.work.clone_of(cte)?;
                Body::Query(Rc::new(cte.clone()))
            };
            if let Some(frame) = self.frames.last_mut() {
                frame.ctes.push((fold(&cte.alias.name), body));
            }
        }
        Ok(())
    }

    fn body(&mut self, body: &SetExpr, order_by: Option<&OrderBy>) -> Found<Block> {
        let block = match body {
            SetExpr::Select(select) => return self.select(select, order_by),
            SetExpr::Query(query) => {
                let mut block = self.query(query)?;
                block.bad = block.bad.take().or(block.closed.take());
                block
            }
            SetExpr::SetOperation { left, right, .. } => {
                let (left, right) = (self.body(left, None)?, self.body(right, None)?);
                let of = |column: Column| Column { name: column.name, holds: None };
                Block {
                    columns: left.columns.into_iter().map(of).collect(),
                    certain: left.certain,
                    parted: left.parted || right.parted,
                    bad: Some(Refusal::of(Construct::SetOperation)),
                    closed: None,
                }
            }
            SetExpr::Values(values) => self.values(values)?,
            SetExpr::Insert(write) | SetExpr::Update(write) => self.write(write)?,
            SetExpr::Delete(write) | SetExpr::Merge(write) => self.write(write)?,
            SetExpr::Table(_) => return Err(Refusal::of(Construct::Grammar)),
        };
        order_by.map(|order_by| self.inside(order_by)).transpose()?;
        Ok(block)
    }

    fn values(&mut self, values: &Values) -> Found<Block> {
        self.inside(values)?;
        let rows = || values.rows.iter().map(|row| &row.content);
        self.work.take(rows().map(Vec::len).sum())?;
        let width = rows().map(Vec::len).next().unwrap_or_default();
        let column = |at: usize| {
            let all: Option<Vec<Given>> = rows().map(|row| row.get(at).and_then(given)).collect();
            let name = Some(format!("column{}", at + 1).into());
            Column { name, holds: all.map(|all| Holds::Values(all.into())) }
        };
        Ok(Block { columns: (0..width).map(column).collect(), certain: true, ..Block::default() })
    }

    fn select(&mut self, select: &Select, order_by: Option<&OrderBy>) -> Found<Block> {
        if !is_ours(select) {
            return Err(Refusal::of(Construct::Grammar));
        }
        if select.into.is_some() {
            return Err(Refusal::of(Construct::Into));
        }
        self.scopes.push(Scope::default());
        let rows = self.from(&select.from)?;
        if let Some(condition) = &select.selection {
            self.condition(condition, &Reach::All)?;
        }
        self.inside(&select.group_by)?;
        self.inside(&select.having)?;
        self.inside(&select.named_window)?;
        let distinct = self.inside(&select.distinct)?;
        let ordered = order_by.map(|order_by| self.inside(order_by)).transpose()?;
        let inside = [distinct, self.inside(&select.projection)?, ordered.unwrap_or_default()];
        let mut block = self.columns(&select.projection)?;
        block.closed = self.closes(select, &block, inside);
        self.scopes.pop();
        match rows {
            Rows::Whole => {}
            Rows::Parted => block.parted = true,
            Rows::Bad(refusal) => (block.parted, block.bad) = (true, Some(refusal)),
        }
        Ok(block)
    }

    /// What keeps parts of several shards from being put together, but for what is in FROM.
    fn closes(&self, select: &Select, block: &Block, inside: [Inside; 3]) -> Option<Refusal> {
        // NULL is in the parts of several shards, where an outer join has put it.
        let is_key = |holds: Option<&Holds>| matches!(holds, Some(Holds::Key(_, Nullable::No)));
        let construct = match (&select.group_by, &select.distinct) {
            _ if inside.iter().any(|inside| inside.windows) => Construct::Window,
            (_, Some(Distinct::On(by)))
                if !by.iter().any(|expr| {
                    is_key(self.holds(expr).as_ref()) && is_of_from(expr, select, block)
                }) =>
            {
                Construct::Distinct
            }
            (_, Some(Distinct::Distinct))
                if !block.columns.iter().any(|column| is_key(column.holds.as_ref())) =>
            {
                Construct::Distinct
            }
            (GroupByExpr::Expressions(by, modifiers), _) if !by.is_empty() => {
                let by_key = by.iter().any(|expr| is_key(self.holds(expr).as_ref()));
                if by_key && modifiers.is_empty() {
                    return None;
                }
                Construct::Grouped
            }
            (GroupByExpr::All(_), _) => Construct::Grouped,
            _ if select.having.is_some() => Construct::Grouped,
            // Where a column stands by itself, nothing is an aggregate without GROUP BY.
            _ if inside.iter().any(|inside| inside.calls)
                && !select.projection.iter().any(is_column) =>
            {
                Construct::Grouped
            }
            _ => return None,
        };
        Some(Refusal::of(construct))
    }

    /// The columns that a list of expressions gives.
    pub(super) fn columns(&self, items: &[SelectItem]) -> Found<Block> {
        self.work.take(items.len())?;
        let mut block = Block { certain: true, ..Block::default() };
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let name = match expr {
                        Expr::Identifier(name) => Some(fold(name)),
                        Expr::CompoundIdentifier(names) => names.last().map(fold),
                        _ => None,
                    };
                    block.columns.push(Column { name, holds: self.holds(expr) });
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let name = Some(fold(alias));
                    block.columns.push(Column { name, holds: self.holds(expr) });
                }
                SelectItem::ExprWithAliases { .. } => block.certain = false,
                SelectItem::Wildcard(_) => {
                    block.certain = false;
                    self.all_columns(None, &mut block)?;
                }
                SelectItem::QualifiedWildcard(kind, _) => {
                    block.certain = false;
                    if let SelectItemQualifiedWildcardKind::ObjectName(of) = kind
                        && let Ok(of) = name(of)
                    {
                        self.all_columns(Some(&of.name), &mut block)?;
                    }
                }
            }
        }
        Ok(block)
    }

    fn all_columns(&self, of: Option<&str>, block: &mut Block) -> Found<()> {
        let Some(scope) = self.scopes.last() else { return Ok(()) };
        self.work.take(scope.relations.len())?;
        let merged = |name: &str| scope.merged.iter().any(|(merged, _)| **merged == *name);
        for relation in &scope.relations {
            if of.is_some_and(|of| relation.name.as_deref() != Some(of)) {
                continue;
            }
            for (name, holds) in &relation.columns {
                self.work.copy(Some(name))?;
                self.work.take(scope.merged.len())?;
                if of.is_some() || !merged(name) {
                    let holds = Some(holds.clone());
                    block.columns.push(Column { name: Some(name.clone()), holds });
                }
            }
        }
        if of.is_none() {
            for (name, holds) in &scope.merged {
                self.work.copy(Some(name))?;
                block.columns.push(Column { name: Some(name.clone()), holds: holds.clone() });
            }
        }
        Ok(())
    }

    /// Rows of a query that stands inside of another can't be put together from several shards if
    /// something keeps them from it.
    pub(super) fn close(&mut self, start: usize, block: &Block) {
        if let Some(refusal) = block.bad.as_ref().or(block.closed.as_ref()) {
            self.closed.push((start..self.mentions.len(), refusal.clone()));
        }
    }
}

/// Whether what DISTINCT ON names is what FROM has under that name, and holds a key: a name by itself is first
/// that of a column of the result.
fn is_of_from(mut by: &Expr, select: &Select, block: &Block) -> bool {
    while let Expr::Nested(inside) = by {
        by = inside;
    }
    let Expr::Identifier(by) = by else { return true };
    let by = fold(by);
    let is_key = |column: &Column| matches!(column.holds, Some(Holds::Key(_, Nullable::No)));
    let (mut found, mut others) = (false, false);
    for column in &block.columns {
        match &column.name {
            Some(name) if *name == by => {
                found |= is_key(column);
                others |= !is_key(column);
            }
            _ => {}
        }
    }
    // What else may bear the name, as the columns of a table that are not known.
    let unnamed = || {
        select.projection.iter().any(|item| match item {
            SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => false,
            SelectItem::UnnamedExpr(Expr::Function(function)) => function
                .name
                .0
                .last()
                .and_then(|part| part.as_ident())
                .is_none_or(|it| fold(it) == by),
            SelectItem::ExprWithAlias { .. } => false,
            _ => true,
        })
    };
    // Of two with one name Postgres says that it can't tell which.
    !others && (found || !unnamed())
}

/// The names that an alias gives to the columns of a query.
pub(super) fn rename(block: &mut Block, alias: Option<&TableAlias>) {
    let renamed: Vec<_> = alias.iter().flat_map(|alias| &alias.columns).collect();
    if renamed.is_empty() {
        return;
    }
    for (at, column) in block.columns.iter_mut().enumerate() {
        match renamed.get(at) {
            _ if !block.certain => column.name = None,
            Some(renamed) => column.name = Some(fold(&renamed.name)),
            None => {}
        }
    }
}

fn is_column(item: &SelectItem) -> bool {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        }
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => true,
        SelectItem::ExprWithAliases { .. } => false,
    }
}

/// Whether it has nothing that Postgres does not.
fn is_ours(select: &Select) -> bool {
    has_no_foreign_clause(select)
        && select.select_modifiers.is_none()
        && select.exclude.is_none()
        && select.value_table_mode.is_none()
        && select.flavor == SelectFlavor::Standard
}

impl Block {
    /// Whether its rows are the parts that several shards have of them.
    pub(super) fn is_open(&self) -> bool {
        self.bad.is_none() && self.closed.is_none()
    }
}
