//! A fan in the making: the columns that shards are asked for beyond the client's, and the changes to
//! the text.

use std::collections::{BTreeMap, BTreeSet};

use super::clauses::{COLUMNS_MAX, Clauses, Item, Uniqueness};
use super::order::By;
use super::source::{Source, Span};
use super::varying::inside;
use super::{Column, Combine, Count, Fan, Groups, Order, Ordered};
use crate::sql::facts::Name;
use crate::sql::keys::{Construct, Found, Refusal, Whole};

/// What is known so far.
pub(super) struct Making<'q> {
    pub(super) source: Source<'q>,
    pub(super) clauses: Clauses<'q>,
    /// How often each parameter is there.
    pub(super) uses: BTreeMap<u16, usize>,
    /// Parameters among the columns.
    selected: BTreeSet<u16>,
    is_open: bool,
    extras: Vec<Extra>,
    edits: Vec<Edit>,
}

/// A column behind the client's.
struct Extra {
    text: String,
    combine: Combine,
}

/// A change of the text: what stands between two places becomes something else.
struct Edit {
    from: usize,
    to: usize,
    with: String,
}

/// How rows of several shards become those of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// They are.
    Parts,
    /// Those that are equal are one.
    Distinct,
    /// Those of the same group are one.
    Groups,
}

impl<'q> Making<'q> {
    pub(super) fn new(text: &'q str, whole: &'q Whole<'q>) -> Found<Self> {
        let source = Source { text, tokens: &whole.tokens };
        let is_ours = |at: usize| super::clauses::begins(source.token(at), ALIAS.as_bytes());
        if (0..source.len()).any(is_ours) {
            return Err(Refusal::of(Construct::Shape));
        }
        let clauses = Clauses::find(source, &whole.query)?;
        let mut uses = BTreeMap::new();
        for number in source.parameters(&(0..source.len())) {
            *uses.entry(number).or_default() += 1;
        }
        let of_item = |item: &Item<'_>| source.parameters(&item.span);
        Ok(Self {
            source,
            uses,
            selected: clauses.items.iter().flat_map(of_item).collect(),
            clauses,
            is_open: whole.is_open,
            extras: Vec::new(),
            edits: Vec::new(),
        })
    }

    pub(super) fn made(mut self) -> Found<Fan> {
        match self.way()? {
            Way::Parts => {
                let order = self.order()?;
                let order = order.into_iter().map(|by| by.order).collect();
                self.counts(Pushed::Yes)?;
                self.fan(order, None)
            }
            Way::Distinct => {
                let order = self.distinct()?;
                self.counts(Pushed::Yes)?;
                let columns = self.columns(self.clauses.items.iter().map(|_| Combine::First));
                self.fan(order, Some(Groups { columns, having: None, sorted: Box::default() }))
            }
            Way::Groups => self.groups(),
        }
    }

    fn way(&self) -> Found<Way> {
        let Clauses { distinct, group_by, having, .. } = &self.clauses;
        let mut all = inside(&self.clauses.select.projection);
        for key in &self.clauses.order_by {
            let of_key = inside(key.piece.expr);
            all.aggregates |= of_key.aggregates;
            all.windows |= of_key.windows;
        }
        let grouped = !group_by.is_empty() || having.is_some() || all.aggregates;
        match distinct {
            _ if self.is_open => Ok(Way::Parts),
            Uniqueness::On => Err(Refusal::of(Construct::OverGroups)),
            _ if all.windows && grouped => Err(Refusal::of(Construct::OverGroups)),
            _ if all.windows => Err(Refusal::of(Construct::WindowOver)),
            Uniqueness::Distinct if grouped => Err(Refusal::of(Construct::OverGroups)),
            Uniqueness::Distinct => Ok(Way::Distinct),
            Uniqueness::All if grouped => Ok(Way::Groups),
            Uniqueness::All => Ok(Way::Parts),
        }
    }

    /// `SELECT DISTINCT`: rows are ordered by all that there is in them.
    fn distinct(&mut self) -> Found<Box<[Order]>> {
        if self.clauses.has_wildcard() {
            return Err(Refusal::of(Construct::GroupKey));
        }
        let by = self.order()?;
        let mut told = Vec::new();
        for at in 0..self.clauses.items.len() {
            if !by.iter().any(|by| by.tells(at)) {
                let Some(piece) = self.clauses.items.get(at).and_then(|item| item.piece.clone())
                else {
                    return Err(Refusal::of(Construct::GroupKey));
                };
                told.push(self.told_apart(&piece.span, Some(at))?);
            }
        }
        self.append_order(by.into_iter().map(|by| by.order).collect(), told)
    }

    /// A column that has the text of another, for telling its values apart.
    pub(super) fn told_apart(&mut self, span: &Span, item: Option<usize>) -> Found<Order> {
        let text = format!("CAST({} AS text) COLLATE \"C\"", self.source.raw(span));
        let extra = self.extra(span, text, Combine::First)?;
        let of = match item {
            Some(at) => index(at)?,
            // Of its type a column of its own tells.
            None => {
                let text = format!("({})", self.source.raw(span));
                let own = self.extra(span, text, Combine::First)?;
                self.at_extra(usize::from(own))?
            }
        };
        let values = Ordered::TextOf(of);
        Ok(Order { column: Column::Extra(extra), descending: false, nulls_first: false, values })
    }

    /// Has shards order by these columns behind what the client orders by.
    pub(super) fn append_order(&mut self, by: Vec<Order>, told: Vec<Order>) -> Found<Box<[Order]>> {
        let mut numbers = Vec::new();
        for order in &told {
            if let Column::Extra(extra) = order.column {
                numbers.push((self.at_extra(usize::from(extra))? + 1).to_string());
            }
        }
        if !numbers.is_empty() {
            let numbers = numbers.join(", ");
            let at = self.source.end(self.clauses.end);
            match &self.clauses.order_clause {
                Some(_) if !by.is_empty() => self.edit(at, at, format!(", {numbers}")),
                Some(clause) => {
                    let (from, to) = (self.source.start(clause.start), self.source.end(clause.end));
                    self.edit(from, to, format!("ORDER BY {numbers}"));
                }
                None => self.edit(at, at, format!(" ORDER BY {numbers}")),
            }
        }
        Ok(by.into_iter().chain(told).collect())
    }

    /// A column more, made of these tokens; its place among those behind the client's.
    ///
    /// A parameter has the type that it needs where Postgres first meets it: had it not been among
    /// the columns before, it might be another now. By itself it is text there, or the statement an error.
    pub(super) fn extra(&mut self, of: &Span, text: String, combine: Combine) -> Found<u16> {
        if !self.source.parameters(of).all(|number| self.selected.contains(&number)) {
            return Err(Refusal::of(Construct::Parameter));
        }
        if let Some(at) = self.extras.iter().position(|known| known.text == text) {
            return index(at);
        }
        self.extras.push(Extra { text, combine });
        index(self.extras.len() - 1)
    }

    /// The place of a column behind the client's among all, where all show in the text.
    pub(super) fn at_extra(&self, extra: usize) -> Found<u16> {
        index(self.clauses.items.len() + extra)
    }

    pub(super) fn edit(&mut self, from: usize, to: usize, with: String) {
        self.edits.push(Edit { from, to, with });
    }

    /// How all columns come of several, those of the client as given.
    pub(super) fn columns(&self, items: impl Iterator<Item = Combine>) -> Box<[Combine]> {
        items.chain(self.extras.iter().map(|extra| extra.combine)).collect()
    }

    pub(super) fn fan(mut self, order: Box<[Order]>, groups: Option<Groups>) -> Found<Fan> {
        let extras = index(self.extras.len())?;
        if let Some(last) = self.clauses.items.last().filter(|_| extras > 0) {
            let at = self.source.end(last.span.end);
            let mut with = String::new();
            for (number, extra) in self.extras.iter().enumerate() {
                with += &format!(", {} AS {ALIAS}{number}", extra.text);
            }
            self.edit(at, at, with);
        }
        let (limit, offset) = (self.count(&self.clauses.limit)?, self.count(&self.clauses.offset)?);
        let text = self.text();
        Ok(Fan {
            text,
            table: Name::plain(""),
            extras,
            order,
            groups,
            limit,
            offset: if offset == Count::Number(0) { Count::None } else { offset },
        })
    }

    /// The text with all changes.
    fn text(&mut self) -> String {
        self.edits.sort_by_key(|edit| edit.from);
        let mut text = String::new();
        let mut at = 0;
        for Edit { from, to, with } in &self.edits {
            text += self.source.text.get(at..*from).unwrap_or_default();
            text += with;
            at = *to;
        }
        text + self.source.text.get(at..).unwrap_or_default()
    }

    /// What rows are ordered by.
    fn order(&mut self) -> Found<Vec<By>> {
        (0..self.clauses.order_by.len()).map(|at| self.key(at)).collect()
    }
}

/// Whether shards are asked for no more rows than are wanted of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Yes,
    No,
}

/// What the names of our columns begin with.
const ALIAS: &str = "_pgweir_";

/// A number of a column.
pub(super) fn index(at: usize) -> Found<u16> {
    u16::try_from(at).ok().filter(|_| at < COLUMNS_MAX).ok_or(Refusal::of(Construct::Size))
}
