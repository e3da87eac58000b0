//! Aggregates in a subquery that are of the query around it: by what is between their brackets. Postgres takes
//! an aggregate to be of the innermost query that a column in it is of (`check_agglevels_and_constraints`).

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Query, SetExpr, TableFactor,
    TableWithJoins, Visit, Visitor,
};

use super::functions::is_aggregate;
use crate::sql::keys::fold;

/// Whether there may be one.
pub(super) fn has_stray_aggregates(query: &Query) -> bool {
    let mut look = Look::default();
    query.visit(&mut look).is_break()
}

#[derive(Default)]
struct Look {
    levels: Vec<Level>,
    /// The next query is in the place of a table.
    is_table: bool,
    /// Queries of WITH, by where they are.
    named: Vec<usize>,
}

struct Level {
    /// It, or one around it, is in the place of a value: it may have columns of those around it.
    reaches_out: bool,
    /// What its tables are called.
    tables: BTreeSet<Box<str>>,
}

impl Visitor for Look {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| with.cte_tables.iter());
        self.named.extend(with.map(|named| std::ptr::from_ref(&*named.query).addr()));
        let is_table = std::mem::take(&mut self.is_table)
            || self.named.contains(&std::ptr::from_ref(query).addr());
        let reaches_out = match self.levels.last() {
            None => false,
            Some(around) => around.reaches_out || !is_table,
        };
        let mut tables = BTreeSet::new();
        if let SetExpr::Select(select) = &*query.body {
            select.from.iter().for_each(|from| names(from, &mut tables));
        }
        self.levels.push(Level { reaches_out, tables });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.levels.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.is_table = matches!(factor, TableFactor::Derived { lateral: false, .. });
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) if is_aggregate(function) => {
                let Some(level) = self.levels.last().filter(|level| level.reaches_out) else {
                    return ControlFlow::Continue(());
                };
                let mut columns =
                    Columns { of: level, depth: 0, any: has_rows(function), own: false };
                let ControlFlow::Continue(()) = function.args.visit(&mut columns);
                let ControlFlow::Continue(()) = function.filter.visit(&mut columns);
                let ControlFlow::Continue(()) = function.within_group.visit(&mut columns);
                if columns.any && !columns.own {
                    return ControlFlow::Break(());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The columns between an aggregate's brackets.
struct Columns<'l> {
    of: &'l Level,
    /// How many queries inside of the brackets it is in.
    depth: usize,
    /// There are some, or whole rows, or queries that may have some.
    any: bool,
    /// One of them is certainly of the aggregate's own query.
    own: bool,
}

impl Visitor for Columns<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        self.any = true;
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Identifier(_) | Expr::QualifiedWildcard(..) => self.any = true,
            Expr::Function(function) => self.any |= has_rows(function),
            Expr::CompoundIdentifier(names) => {
                self.any = true;
                // Of a query in between it may be a table of the same name.
                self.own |= self.depth == 0
                    && names.len() == 2
                    && names.first().is_some_and(|name| self.of.tables.contains(&fold(name)));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Whether whole rows are between an aggregate's brackets, as in `count(t.*)`.
fn has_rows(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    list.args.iter().any(|arg| {
        let (FunctionArg::Named { arg, .. }
        | FunctionArg::ExprNamed { arg, .. }
        | FunctionArg::Unnamed(arg)) = arg;
        matches!(arg, FunctionArgExpr::QualifiedWildcard(_))
    })
}

/// What tables in FROM are called.
pub(super) fn names(from: &TableWithJoins, tables: &mut BTreeSet<Box<str>>) {
    let joined = from.joins.iter().map(|join| &join.relation);
    for factor in std::iter::once(&from.relation).chain(joined) {
        match factor {
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. }
            | TableFactor::NestedJoin { alias: Some(alias), .. } => {
                tables.insert(fold(&alias.name));
            }
            TableFactor::Table { name, alias: None, .. } => {
                tables.extend(crate::sql::keys::name(name).ok().map(|name| name.name));
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                names(table_with_joins, tables);
            }
            _ => {}
        }
    }
}
