//! INSERT, UPDATE, DELETE and MERGE: which rows they touch, and that none changes its key.

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, Expr, FromTable, Insert, Merge,
    MergeAction, MergeClauseKind, MergeInsertExpr, MergeInsertKind, MergeUpdateKind, ObjectName,
    OnConflictAction, OnInsert, OutputClause, Query, SelectItem, SetExpr, Statement, TableFactor,
    TableObject, Update, UpdateTableFromKind,
};

use super::conditions::{Reach, given};
use super::from::Rows;
use super::links::Node;
use super::walk::{
    Block, Found, Given, Holds, Mention, Nullable, Relation, Scope, Walk, fold, name,
};
use super::{Access, Construct, OneOf, Refusal, Table};
use crate::sql::facts::Name;

/// A table that is written to.
struct Target {
    table: Name,
    /// The key column and the node, if it is sharded.
    key: Option<(Box<str>, Node)>,
}

impl Target {
    fn refused(&self, construct: Construct) -> Refusal {
        Refusal::about(&self.table, construct)
    }
}

impl Walk<'_> {
    pub(super) fn write(&mut self, statement: &Statement) -> Found<Block> {
        self.access = Access::Writes;
        self.scopes.push(Scope::default());
        let block = match statement {
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            _ => Err(Refusal::of(Construct::Grammar)),
        }?;
        self.scopes.pop();
        Ok(block)
    }

    /// The table that is written to, as an item of the innermost scope.
    fn target(&mut self, table: Name, alias: Option<Box<str>>) -> Found<Target> {
        let key = self.mention(&table)?;
        if self.tables.table(&table) == Table::Reference {
            self.reference_written = Some(table.clone());
        }
        let mut relation = Relation::named(alias.or_else(|| Some(table.name.clone())));
        if let Some((column, node)) = &key {
            relation.columns.push((column.clone(), Holds::Key(*node, Nullable::No)));
        }
        self.add(relation);
        Ok(Target { table, key })
    }

    /// The same, where the tree has it as an item of FROM.
    fn target_of(&mut self, factor: &TableFactor) -> Found<Target> {
        match factor {
            TableFactor::Table { name: table, alias, args: None, .. } => {
                self.target(name(table)?, alias.as_ref().map(|alias| fold(&alias.name)))
            }
            _ => Err(Refusal::of(Construct::Grammar)),
        }
    }

    /// What RETURNING gives.
    fn returning(&mut self, items: Option<&[SelectItem]>, rows: Rows) -> Found<Block> {
        let items = items.unwrap_or_default();
        for item in items {
            self.inside(item)?;
        }
        let mut block = self.columns(items)?;
        match rows {
            Rows::Whole => {}
            Rows::Parted => block.parted = true,
            Rows::Bad(refusal) => (block.parted, block.bad) = (true, Some(refusal)),
        }
        Ok(block)
    }

    fn insert(&mut self, insert: &Insert) -> Found<Block> {
        let TableObject::TableName(table) = &insert.table else {
            return Err(Refusal::of(Construct::Grammar));
        };
        if !is_ours(insert) {
            return Err(Refusal::of(Construct::Grammar));
        }
        let alias = insert.table_alias.as_ref().map(|alias| fold(&alias.alias));
        // What it selects from does not see the table that it goes into.
        let scope = self.scopes.pop();
        let start = self.mentions.len();
        let source = match &insert.source {
            Some(query) => Some((self.query(query)?, &**query)),
            None => None,
        };
        if let Some((block, _)) = &source {
            self.close(start, block);
        }
        self.scopes.extend(scope);
        let target = self.target(name(table)?, alias)?;
        let mut rows = Rows::Whole;
        if let Some((column, node)) = &target.key {
            let Some((block, query)) = &source else {
                return Err(target.refused(Construct::InsertWithoutKey));
            };
            let at = self.key_at(&target, column, &insert.columns)?;
            rows = self.stored(&target, *node, at, block, query)?;
        }
        self.on_conflict(&target, insert.on.as_ref())?;
        self.returning(insert.returning.as_deref(), rows)
    }

    /// Which of the values is the key.
    fn key_at(&self, target: &Target, key: &str, columns: &[ObjectName]) -> Found<usize> {
        if columns.is_empty() {
            let Table::Sharded { columns: Some(known), .. } = self.tables.table(&target.table)
            else {
                return Err(target.refused(Construct::InsertWithoutColumns));
            };
            let at = known.iter().position(|column| **column == *key);
            return at.ok_or(target.refused(Construct::InsertWithoutKey));
        }
        self.work.take(columns.len())?;
        for (at, column) in columns.iter().enumerate() {
            if *name(column)?.name == *key {
                return Ok(at);
            }
        }
        Err(target.refused(Construct::InsertWithoutKey))
    }

    /// The keys of the rows that an INSERT stores.
    fn stored(
        &mut self,
        target: &Target,
        node: Node,
        at: usize,
        block: &Block,
        query: &Query,
    ) -> Found<Rows> {
        let not_plain = || target.refused(Construct::KeyNotPlain);
        if let SetExpr::Values(values) = &*query.body {
            let is_plain = query.order_by.is_none() && block.closed.is_none();
            let mut rows = Vec::with_capacity(values.rows.len());
            for row in &values.rows {
                match row.content.get(at) {
                    Some(expr) if is_default(expr) => {
                        return Err(target.refused(Construct::InsertWithoutKey));
                    }
                    Some(expr) => rows.push(given(expr).ok_or_else(not_plain)?),
                    None => return Err(target.refused(Construct::InsertWithoutKey)),
                }
            }
            self.store(target, node, &rows)?;
            self.rows = is_plain;
            return Ok(Rows::Parted);
        }
        let column = block.columns.get(at).filter(|_| block.certain);
        match column.and_then(|column| column.holds.clone()) {
            Some(Holds::Values(given)) => self.store(target, node, &given)?,
            // NULL is another key than the one that it stands for.
            Some(Holds::Key(source, Nullable::No)) => self.links.follow(node, source),
            Some(Holds::Key(_, Nullable::Yes)) | None => return Err(not_plain()),
        }
        Ok(match (&block.bad, block.parted) {
            (Some(refusal), _) => Rows::Bad(refusal.clone()),
            (None, true) => Rows::Parted,
            (None, false) => Rows::Whole,
        })
    }

    /// A row that is stored is stored once: on several shards it would be there several times.
    fn store(&mut self, target: &Target, node: Node, values: &[Given]) -> Found<()> {
        let of_target = |mention: &Mention| mention.node == node;
        if let Some(at) = self.mentions.iter().position(of_target) {
            self.closed.push((at..at + 1, target.refused(Construct::RowsApart)));
        }
        self.work.keep(values)?;
        let slots = self.slots(node, values);
        let slots = slots.ok_or_else(|| target.refused(Construct::KeyNotPlain))?;
        self.links.fix(node, OneOf { slots, stored: true });
        Ok(())
    }

    fn on_conflict(&mut self, target: &Target, on: Option<&OnInsert>) -> Found<()> {
        let conflict = match on {
            None => return Ok(()),
            Some(OnInsert::OnConflict(conflict)) => conflict,
            Some(_) => return Err(Refusal::of(Construct::Grammar)),
        };
        if let Some(ConflictTarget::Columns(columns)) = &conflict.conflict_target
            && let Some((key, _)) = &target.key
            && !columns.iter().any(|column| fold(column) == *key)
        {
            return Err(target.refused(Construct::ConflictApart));
        }
        if let Some(ConflictTarget::OnConstraint(_) | ConflictTarget::Columns(_)) | None =
            &conflict.conflict_target
            && let OnConflictAction::DoUpdate(update) = &conflict.action
        {
            self.assigned(target, &update.assignments)?;
            let of = target
                .key
                .iter()
                .map(|(column, node)| (column.clone(), Holds::Key(*node, Nullable::No)));
            let excluded = Relation { name: Some("excluded".into()), columns: of.collect() };
            self.add(excluded);
            self.inside(&update.assignments)?;
            self.inside(&update.selection)?;
            self.scopes.last_mut().and_then(|scope| scope.relations.pop());
        }
        Ok(())
    }

    /// None of the columns that get a value is the key.
    fn assigned(&self, target: &Target, assignments: &[Assignment]) -> Found<()> {
        let Some((key, _)) = &target.key else { return Ok(()) };
        for assignment in assignments {
            let columns = match &assignment.target {
                AssignmentTarget::ColumnName(column) => std::slice::from_ref(column),
                AssignmentTarget::Tuple(columns) => columns,
            };
            self.work.take(columns.len())?;
            for column in columns {
                // With a field of a composite type behind it, it is the first part.
                let name = name(column)?;
                if name.name == *key || name.schema.as_ref() == Some(key) {
                    return Err(target.refused(Construct::KeyChanged));
                }
            }
        }
        Ok(())
    }

    fn update(&mut self, update: &Update) -> Found<Block> {
        let Update { table, assignments, from, selection, returning, .. } = update;
        let ours = update.output.is_none()
            && update.or.is_none()
            && update.order_by.is_empty()
            && update.limit.is_none()
            && table.joins.is_empty();
        let from = match from {
            None => &[][..],
            Some(UpdateTableFromKind::AfterSet(from)) => from,
            Some(UpdateTableFromKind::BeforeSet(_)) => return Err(Refusal::of(Construct::Grammar)),
        };
        if !ours {
            return Err(Refusal::of(Construct::Grammar));
        }
        let target = self.target_of(&table.relation)?;
        self.assigned(&target, assignments)?;
        let rows = target.rows().beside(self.from(from)?);
        if let Some(condition) = selection {
            self.condition(condition, &Reach::All)?;
        }
        self.inside(assignments)?;
        self.returning(returning.as_deref(), rows)
    }

    fn delete(&mut self, delete: &Delete) -> Found<Block> {
        let Delete { tables, from, using, selection, returning, output, order_by, limit, .. } =
            delete;
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
        let ours = tables.is_empty() && output.is_none() && order_by.is_empty() && limit.is_none();
        let [from] = from.as_slice() else { return Err(Refusal::of(Construct::Grammar)) };
        if !ours || !from.joins.is_empty() {
            return Err(Refusal::of(Construct::Grammar));
        }
        let target = self.target_of(&from.relation)?;
        let rows = target.rows().beside(self.from(using.as_deref().unwrap_or_default())?);
        if let Some(condition) = selection {
            self.condition(condition, &Reach::All)?;
        }
        self.returning(returning.as_deref(), rows)
    }

    fn merge(&mut self, merge: &Merge) -> Found<Block> {
        let Merge { table, source, on, clauses, output, .. } = merge;
        let target = self.target_of(table)?;
        let middle = self.relations();
        let source = self.factor(source)?;
        // Rows of the source stay, whether or not there are some to go with them.
        self.condition(on, &Reach::Only(0..middle))?;
        let rows = source.keeping(target.rows());
        for clause in clauses {
            self.inside(clause)?;
            if clause.clause_kind == MergeClauseKind::NotMatchedBySource {
                return Err(target.refused(Construct::NotMatchedBySource));
            }
            match &clause.action {
                MergeAction::Insert(insert) => self.merge_insert(&target, insert)?,
                MergeAction::Update(update) => match &update.kind {
                    MergeUpdateKind::Set(assignments) => self.assigned(&target, assignments)?,
                    _ => return Err(Refusal::of(Construct::Grammar)),
                },
                MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => {}
            }
        }
        match output {
            None => self.returning(None, rows),
            Some(OutputClause::Returning { select_items, .. }) => {
                self.returning(Some(select_items), rows)
            }
            Some(OutputClause::Output { .. }) => Err(Refusal::of(Construct::Grammar)),
        }
    }

    /// The row that WHEN NOT MATCHED stores is one more of the target's.
    fn merge_insert(&mut self, target: &Target, insert: &MergeInsertExpr) -> Found<()> {
        let Some((column, known)) = &target.key else { return Ok(()) };
        let MergeInsertKind::Values(values) = &insert.kind else {
            return Err(target.refused(Construct::InsertWithoutKey));
        };
        let at = self.key_at(target, column, &insert.columns)?;
        self.count()?;
        let node = self.links.node(self.links.group(*known));
        self.mentions.push(Mention { node, table: target.table.clone() });
        for row in &values.rows {
            let holds = row.content.get(at).and_then(|expr| self.holds(expr));
            match holds {
                Some(Holds::Values(given)) => self.store(target, node, &given)?,
                Some(Holds::Key(source, Nullable::No)) => self.links.follow(node, source),
                Some(Holds::Key(_, Nullable::Yes)) | None => {
                    return Err(target.refused(Construct::KeyNotPlain));
                }
            }
        }
        Ok(())
    }
}

impl Target {
    fn rows(&self) -> Rows {
        if self.key.is_some() { Rows::Parted } else { Rows::Whole }
    }
}

/// `DEFAULT` in the place of a value.
fn is_default(expr: &Expr) -> bool {
    let Expr::Identifier(name) = expr else { return false };
    name.quote_style.is_none() && name.value.eq_ignore_ascii_case("default")
}

/// Whether it has nothing that Postgres does not.
fn is_ours(insert: &Insert) -> bool {
    insert.or.is_none()
        && !insert.ignore
        && !insert.overwrite
        && insert.assignments.is_empty()
        && insert.partitioned.is_none()
        && insert.after_columns.is_empty()
        && !insert.has_table_keyword
        && insert.output.is_none()
        && !insert.replace_into
        && insert.priority.is_none()
        && insert.insert_alias.is_none()
        && insert.settings.is_none()
        && insert.format_clause.is_none()
        && insert.multi_table_insert_type.is_none()
        && insert.multi_table_into_clauses.is_empty()
        && insert.multi_table_when_clauses.is_empty()
        && insert.multi_table_else_clause.is_none()
}
