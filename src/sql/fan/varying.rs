//! Whether a statement means the same on every shard: what may say different things on each is refused.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, DataType, Distinct, Expr, Ident, JoinConstraint, JoinOperator, ObjectName,
    Query, Select, SetExpr, TableFactor, Value, Visit, Visitor, visit_relations,
};

use super::functions::{Gives, gives, is_aggregate, known};
use super::source::Source;
use crate::sql::facts::Name;
use crate::sql::keys::{Construct, Found, Refusal, Table, Tables, fold, name};

/// What shards may say different things of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freedom {
    /// Which rows they find at their own times.
    Reads,
    /// What is in rows that each has for itself: the time, and what is new for each row anyway.
    Rows,
    /// Nothing: all have the same rows.
    Copies,
}

/// That it means the same on each shard.
///
/// # Errors
///
/// Something may be different there.
pub(super) fn is_alike(
    source: Source<'_>,
    of: &impl Visit,
    tables: &dyn Tables,
    freedom: Freedom,
) -> Found<()> {
    let mut look = Look {
        source,
        tables,
        freedom,
        conditions: Vec::new(),
        inside: 0,
        queries: 0,
        exists: Vec::new(),
    };
    match of.visit(&mut look) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Look<'a> {
    source: Source<'a>,
    tables: &'a dyn Tables,
    freedom: Freedom,
    /// Expressions that only leave rows out, by where they are.
    conditions: Vec<usize>,
    /// How many of them it is in.
    inside: usize,
    /// How many queries it is in.
    queries: usize,
    /// Queries of which it is asked whether they have rows, by where they are.
    exists: Vec<usize>,
}

type Flow = ControlFlow<Refusal>;

fn varying() -> Flow {
    ControlFlow::Break(Refusal::of(Construct::Varying))
}

const OK: Flow = ControlFlow::Continue(());

/// Columns that say where a row is stored.
const OF_STORAGE: [&str; 6] = ["ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"];
/// Functions that give another value for each row.
const NEW_FOR_EACH_ROW: [&str; 5] =
    ["clock_timestamp", "gen_random_uuid", "random", "uuidv4", "uuidv7"];
/// Names that are functions without brackets.
const OF_SESSION: [&str; 7] = [
    "current_catalog",
    "current_role",
    "current_schema",
    "current_user",
    "session_user",
    "system_user",
    "user",
];
/// Strings that begin so may be moments.
const MOMENTS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

impl Visitor for Look<'_> {
    type Break = Refusal;

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        // Rows may come in another order on each, and be others where some are left out.
        if self.freedom == Freedom::Copies {
            return varying();
        }
        let mut add = |expr: &Expr| self.conditions.push(std::ptr::from_ref(expr).addr());
        select.selection.iter().for_each(&mut add);
        for join in select.from.iter().flat_map(|from| &from.joins) {
            use JoinOperator as By;
            if let By::Join(on)
            | By::Inner(on)
            | By::Left(on)
            | By::LeftOuter(on)
            | By::Right(on)
            | By::RightOuter(on)
            | By::FullOuter(on) = &join.join_operator
                && let JoinConstraint::On(on) = on
            {
                add(on);
            }
        }
        OK
    }

    fn post_visit_query(&mut self, _: &Query) -> Flow {
        self.queries -= 1;
        OK
    }

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        // The outermost query of what reads is merged by us.
        let is_inside = self.freedom != Freedom::Reads || self.queries > 0;
        self.queries += 1;
        if is_inside && self.takes_any(query) {
            return varying();
        }
        if query.locks.is_empty() { OK } else { ControlFlow::Break(Refusal::of(Construct::Locks)) }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> Flow {
        // What every server has of its own is another thing on each.
        match name(relation).map(|name| self.tables.table(&name)) {
            Ok(Table::Local) | Err(_) => varying(),
            Ok(_) => OK,
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Flow {
        match factor {
            TableFactor::Table { args: Some(_), name, .. } | TableFactor::Function { name, .. } => {
                self.called(name)
            }
            TableFactor::Table { sample: None, .. }
            | TableFactor::Derived { sample: None, .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::UNNEST { .. } => OK,
            _ => varying(),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Flow {
        if self.conditions.contains(&std::ptr::from_ref(expr).addr()) {
            self.inside += 1;
        }
        if let Expr::Exists { subquery, .. } = expr {
            self.exists.push(std::ptr::from_ref::<Query>(subquery).addr());
        }
        match expr {
            Expr::Function(function) => self.called(&function.name),
            Expr::Identifier(name) => self.named(name, true),
            Expr::CompoundIdentifier(names) => {
                names.last().map_or(OK, |name| self.named(name, false))
            }
            Expr::Cast { data_type, .. } if is_of_catalog(data_type) => varying(),
            Expr::TypedString(typed) if is_of_catalog(&typed.data_type) => varying(),
            Expr::BinaryOp { op, .. } if !is_known(op) => varying(),
            Expr::Collate { collation, .. }
                if self.freedom == Freedom::Reads
                    && self.inside == 0
                    && !is_by_bytes(collation) =>
            {
                ControlFlow::Break(Refusal::of(Construct::OrderKey))
            }
            _ => OK,
        }
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> Flow {
        if self.conditions.contains(&std::ptr::from_ref(expr).addr()) {
            self.inside -= 1;
        }
        OK
    }

    fn pre_visit_value(&mut self, value: &sqlparser::ast::ValueWithSpan) -> Flow {
        let Value::SingleQuotedString(number) = &value.value else { return OK };
        let raw = self.source.value(number).unwrap_or_default();
        let said = raw.trim_start_matches(|byte: char| !byte.is_ascii_alphabetic());
        // E'now' and the like.
        let said = raw.split_once('\'').map_or(said, |(_, said)| said.trim_start());
        let is_moment = |moment: &&str| {
            said.get(..moment.len()).is_some_and(|start| start.eq_ignore_ascii_case(moment))
                && !said[moment.len()..].starts_with(|next: char| next.is_ascii_alphanumeric())
        };
        if MOMENTS.iter().any(is_moment) { self.time() } else { OK }
    }
}

impl Look<'_> {
    fn called(&mut self, function: &ObjectName) -> Flow {
        let Ok(name) = name(function) else { return varying() };
        let known = match name.schema.as_deref() {
            None | Some("pg_catalog") => gives(&name.name),
            Some(_) => None,
        };
        match known {
            Some(Gives::Time) => self.time(),
            Some(_) => OK,
            None if self.freedom == Freedom::Rows
                && self.queries == 0
                && name.schema.is_none()
                && NEW_FOR_EACH_ROW.contains(&&*name.name) =>
            {
                OK
            }
            None => varying(),
        }
    }

    /// Whether a query takes some of the rows that every shard has, whichever come first there.
    fn takes_any(&self, query: &Query) -> bool {
        let takes_first = match &*query.body {
            SetExpr::Select(select) => matches!(select.distinct, Some(Distinct::On(_))),
            _ => false,
        };
        if query.order_by.is_some()
            || !takes_first && query.limit_clause.is_none() && query.fetch.is_none()
            || self.exists.contains(&std::ptr::from_ref(query).addr())
        {
            return false;
        }
        let (mut copies, mut sharded) = (false, false);
        let _all = visit_relations(query, |relation| {
            match name(relation).map(|name| self.tables.table(&name)) {
                Ok(Table::Reference) => copies = true,
                Ok(Table::Sharded { .. }) => sharded = true,
                _ => {}
            }
            ControlFlow::<()>::Continue(())
        });
        copies && !sharded
    }

    fn named(&mut self, name: &Ident, alone: bool) -> Flow {
        let folded = fold(name);
        if OF_STORAGE.contains(&&*folded) {
            return varying();
        }
        if alone && name.quote_style.is_none() {
            if OF_SESSION.contains(&&*folded) {
                return varying();
            }
            if folded.starts_with("current_") || folded.starts_with("localtime") {
                return self.time();
            }
        }
        OK
    }

    /// Each shard takes its own time: it may tell which rows there are, as their own snapshots do,
    /// but not what is in them.
    fn time(&self) -> Flow {
        let may = match self.freedom {
            Freedom::Reads => self.inside > 0,
            Freedom::Rows => true,
            Freedom::Copies => false,
        };
        if may { OK } else { varying() }
    }
}

/// Whether a collation goes by bytes.
pub(super) fn is_by_bytes(collation: &ObjectName) -> bool {
    matches!(name(collation), Ok(Name { schema, name })
        if schema.as_deref().is_none_or(|schema| schema == "pg_catalog")
            && ["C", "POSIX", "ucs_basic"].contains(&&*name))
}

fn is_known(op: &BinaryOperator) -> bool {
    !matches!(op, BinaryOperator::Custom(_) | BinaryOperator::PGCustomBinaryOperator(_))
}

/// Whether values of a type are what is in a catalog, under numbers of its own.
fn is_of_catalog(data_type: &DataType) -> bool {
    const TYPES: [&str; 9] = [
        "regclass",
        "regcollation",
        "regnamespace",
        "regoper",
        "regoperator",
        "regproc",
        "regprocedure",
        "regrole",
        "regtype",
    ];
    let shown = data_type.to_string().to_ascii_lowercase();
    TYPES.iter().any(|name| shown.trim_matches('"').ends_with(name))
}

/// What is in an expression, but not in queries inside of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inside {
    pub(super) aggregates: bool,
    pub(super) windows: bool,
    /// Queries, or functions that give several rows.
    pub(super) rows: bool,
}

/// Looks into an expression.
pub(super) fn inside(of: &impl Visit) -> Inside {
    let mut find = Find::default();
    let ControlFlow::Continue(()) = of.visit(&mut find);
    find.inside
}

/// The names of columns that an expression has.
pub(super) fn columns(of: &Expr) -> BTreeSet<Box<str>> {
    let mut find = Find::default();
    let ControlFlow::Continue(()) = of.visit(&mut find);
    find.columns
}

#[derive(Default)]
struct Find {
    depth: usize,
    inside: Inside,
    columns: BTreeSet<Box<str>>,
}

impl Visitor for Find {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        self.inside.rows = true;
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            _ if self.depth > 0 => {}
            Expr::Function(function) => {
                self.inside.windows |= function.over.is_some();
                self.inside.aggregates |= is_aggregate(function);
                self.inside.rows |= known(function) == Some(Gives::Rows);
            }
            Expr::Identifier(name) => drop(self.columns.insert(fold(name))),
            Expr::CompoundIdentifier(names) => self.columns.extend(names.last().map(fold)),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
