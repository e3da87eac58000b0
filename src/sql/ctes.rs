//! Common table expressions: which names stand for them at a place in a tree.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use sqlparser::ast::{ObjectNamePart, Query, TableFactor, Visit, Visitor};

use super::keys::fold;

/// Those that are seen where a walk through a tree is.
#[derive(Debug, Default)]
pub(super) struct Ctes {
    /// By query, the innermost last.
    scopes: Vec<Vec<Box<str>>>,
    /// How many of a name are seen.
    seen: HashMap<Box<str>, usize>,
}

impl Ctes {
    /// A query is begun. What is named in its expressions as if it were one of them, and is a relation: without
    /// RECURSIVE, one sees neither itself nor those behind it.
    pub(super) fn enter(&mut self, query: &Query) -> BTreeSet<Box<str>> {
        let mut relations = BTreeSet::new();
        let mut scope = Vec::new();
        if let Some(with) = &query.with {
            let mut behind = BTreeSet::new();
            for cte in with.cte_tables.iter().rev().filter(|_| !with.recursive) {
                behind.insert(fold(&cte.alias.name));
                let mut names = Names::default();
                let ControlFlow::Continue(()) = cte.query.visit(&mut names);
                relations.extend(names.0.into_iter().filter(|name| behind.contains(name)));
            }
            scope = with.cte_tables.iter().map(|cte| fold(&cte.alias.name)).collect();
        }
        for name in &scope {
            *self.seen.entry(name.clone()).or_default() += 1;
        }
        self.scopes.push(scope);
        relations
    }

    /// The query has ended.
    pub(super) fn leave(&mut self) {
        for name in self.scopes.pop().unwrap_or_default() {
            if let Some(count) = self.seen.get_mut(&name) {
                *count -= 1;
            }
        }
    }

    /// Whether a name without a schema stands for one.
    pub(super) fn has(&self, name: &str) -> bool {
        self.seen.get(name).is_some_and(|count| *count > 0)
    }
}

/// Every relation that is named without a schema.
#[derive(Default)]
struct Names(BTreeSet<Box<str>>);

impl Visitor for Names {
    type Break = std::convert::Infallible;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::Table { name, args: None, .. } = factor
            && let [ObjectNamePart::Identifier(name)] = name.0.as_slice()
        {
            self.0.insert(fold(name));
        }
        ControlFlow::Continue(())
    }
}
