//! Which names of a query are relations: what its tree shows.
//!
//! The only user of `sqlparser`. Its grammar is wider than Postgres's in places; what is not known to
//! mean the same there is not understood.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    ObjectName, ObjectNamePart, Query, Select, SetExpr, Statement, TableAlias, TableFactor,
    TableFunctionArgs, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::Name;
use crate::sql::ctes::Ctes;
use crate::sql::keys::fold;

/// What a query names.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) relations: BTreeSet<Name>,
    /// Names that are followed by columns in brackets, which is no call.
    pub(super) aliases: BTreeSet<Box<str>>,
}

/// How deep the parser may go; what its stack takes then is bounded.
const RECURSION: usize = 60;

/// Takes a query apart; `None` when that can't be done, or something other than a query was found.
pub(super) fn read(query: &str) -> Option<Tree> {
    let parser = Parser::new(&PostgreSqlDialect {}).with_recursion_limit(RECURSION);
    let mut parser = parser.try_with_sql(query).ok()?;
    let query = parser.parse_query().ok()?;
    if parser.peek_token_ref().token != Token::EOF {
        return None;
    }
    let mut walk = Walk::default();
    match query.visit(&mut walk) {
        ControlFlow::Continue(()) => Some(walk.tree),
        ControlFlow::Break(NotOurs) => None,
    }
}

/// Something that Postgres does not have, or that we don't know.
struct NotOurs;

#[derive(Default)]
struct Walk {
    tree: Tree,
    ctes: Ctes,
}

/// Whether it has no clause that Postgres does not have.
pub(in crate::sql) fn has_no_foreign_clause(select: &Select) -> bool {
    select.top.is_none()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
        && select.connect_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.qualify.is_none()
}

impl Visitor for Walk {
    type Break = NotOurs;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<NotOurs> {
        let Query { with, body, for_clause, settings, format_clause, pipe_operators, .. } = query;
        if for_clause.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || !pipe_operators.is_empty()
        {
            return ControlFlow::Break(NotOurs);
        }
        let relations = self.ctes.enter(query);
        self.tree.relations.extend(relations.iter().map(|name| Name::plain(name)));
        for cte in with.iter().flat_map(|with| &with.cte_tables) {
            self.alias(Some(&cte.alias));
        }
        match **body {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                ControlFlow::Break(NotOurs)
            }
            // In plain words it is a SELECT.
            SetExpr::Table(_) => ControlFlow::Break(NotOurs),
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => {
                ControlFlow::Continue(())
            }
            SetExpr::SetOperation { .. } => ControlFlow::Continue(()),
        }
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<NotOurs> {
        self.ctes.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<NotOurs> {
        if select.into.is_none() && has_no_foreign_clause(select) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(NotOurs)
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<NotOurs> {
        match factor {
            TableFactor::Table { name, alias, args, with_hints, version, .. } => {
                if !with_hints.is_empty() || version.is_some() {
                    return ControlFlow::Break(NotOurs);
                }
                self.alias(alias.as_ref());
                match args {
                    // A function, which the tokens show.
                    Some(TableFunctionArgs { settings: None, .. }) => {}
                    Some(_) => return ControlFlow::Break(NotOurs),
                    None => return self.relation(name),
                }
            }
            TableFactor::Derived { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::NestedJoin { alias, .. }
            | TableFactor::XmlTable { alias, .. }
            | TableFactor::JsonTable { alias, .. } => self.alias(alias.as_ref()),
            _ => return ControlFlow::Break(NotOurs),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<NotOurs> {
        ControlFlow::Break(NotOurs)
    }
}

impl Walk {
    fn alias(&mut self, alias: Option<&TableAlias>) {
        if let Some(alias) = alias.filter(|alias| !alias.columns.is_empty()) {
            self.tree.aliases.insert(fold(&alias.name));
        }
    }

    fn relation(&mut self, name: &ObjectName) -> ControlFlow<NotOurs> {
        let mut parts = Vec::new();
        for part in &name.0 {
            let ObjectNamePart::Identifier(part) = part else {
                return ControlFlow::Break(NotOurs);
            };
            parts.push(fold(part));
        }
        let Some(name) = parts.pop() else {
            return ControlFlow::Break(NotOurs);
        };
        self.named(Name { schema: parts.pop(), name });
        ControlFlow::Continue(())
    }

    fn named(&mut self, name: Name) {
        if name.schema.is_some() || !self.ctes.has(&name.name) {
            self.tree.relations.insert(name);
        }
    }
}
