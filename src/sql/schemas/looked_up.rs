//! What queries and writes name, and where: relations and functions, from one walk through their tree.
//!
//! What the walk does not know may hide a name, and has it say nothing of the text.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

use sqlparser::ast::{
    Delete, Expr, FromTable, Function, Ident, Insert, Merge, ObjectName, ObjectNamePart, Query,
    Select, SetExpr, Statement, TableFactor, TableObject, TableWithJoins, Update, Visit, Visitor,
};

use super::{cut, name_of};
use crate::sql::ctes::Ctes;
use crate::sql::facts::{Name, has_no_foreign_clause, is_reserved};
use crate::sql::keys::{self, Numbered};
use crate::sql::scan::Token;

/// What a text names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookedUp {
    /// Relations; common table expressions are none.
    pub relations: BTreeSet<Name>,
    /// Functions. Types that are cast to are none, and what has a syntax of its own.
    pub calls: BTreeSet<Name>,
}

/// The names in queries and writes, in cursors over those, and in TRUNCATE and LOCK. `None` where there is
/// anything else in the text, but what is about the session alone, or it can't be taken apart.
pub fn looked_up(text: &[u8]) -> Option<LookedUp> {
    let text = keys::readable(text).ok()?;
    let mut walk = Walk::default();
    // Bounded before they are parsed.
    for statement in keys::statements(text).ok()? {
        let at = statement.behind_explain();
        if OF_SESSION.iter().any(|word| statement.is(at, word)) {
            continue;
        }
        if statement.is(at, "truncate") || statement.is(at, "lock") {
            walk.found.relations.extend(listed(&statement, at + 1)?);
            continue;
        }
        let text = plainer(&statement, body(&statement, at)?);
        let tree = keys::piece(&text, |parser| parser.parse_statement().ok())?;
        if tree.visit(&mut walk).is_break() {
            return None;
        }
    }
    Some(walk.found)
}

/// Statements that begin so name nothing that is looked up.
const OF_SESSION: [&str; 16] = [
    "abort",
    "begin",
    "close",
    "commit",
    "deallocate",
    "discard",
    "end",
    "fetch",
    "move",
    "release",
    "reset",
    "rollback",
    "savepoint",
    "set",
    "show",
    "start",
];

/// The tokens of the query or write in a statement.
fn body(statement: &Numbered<'_>, at: usize) -> Option<Range<usize>> {
    const FIRST: [&str; 8] =
        ["select", "with", "values", "table", "insert", "update", "delete", "merge"];
    let all = at..statement.tokens.len();
    if statement.is(at, "copy") {
        let open = at + 1;
        let end = statement.closing(open).filter(|_| statement.symbol(open) == Some(b'('))?;
        return Some(open + 1..end);
    }
    if statement.is(at, "declare") {
        let query = all.clone().find(|at| statement.is(*at, "for"))? + 1;
        return Some(query..all.end);
    }
    let known = FIRST.iter().any(|word| statement.is(at, word));
    (known || statement.symbol(at) == Some(b'(')).then_some(all)
}

/// Some of a statement, in words that the parser reads: TABLE as the SELECT that it is, which has names with
/// their quotes, and no weaker locks than FOR UPDATE and FOR SHARE.
fn plainer(statement: &Numbered<'_>, range: Range<usize>) -> String {
    let is = |at: usize, word: &str| statement.is(at, word);
    let locks = |at: usize| {
        let behind = |words: &[&str]| {
            let from = at.checked_sub(words.len());
            from.is_some_and(|from| words.iter().zip(from..).all(|(word, at)| is(at, word)))
        };
        behind(&["for"]) && is(at, "no") && is(at + 1, "key")
            || behind(&["for", "no"]) && is(at, "key")
            || behind(&["for"]) && is(at, "key") && is(at + 1, "share")
    };
    let mut text = String::new();
    for at in range {
        let Some((_, start)) = statement.tokens.get(at) else { break };
        let end = statement.tokens.get(at + 1).map_or(statement.text.len(), |(_, end)| *end);
        let behind_dot = at > 0 && statement.symbol(at - 1) == Some(b'.');
        match () {
            () if is(at, "table") && !behind_dot => text.push_str("SELECT * FROM "),
            () if locks(at) => {}
            () => text.push_str(statement.text.get(*start..end).unwrap_or_default()),
        }
    }
    text
}

/// The relations of a list such as TRUNCATE has it, up to its options.
fn listed(statement: &Numbered<'_>, mut at: usize) -> Option<BTreeSet<Name>> {
    const OPTIONS: [&str; 6] = ["restart", "continue", "cascade", "restrict", "in", "nowait"];
    let token = |at: usize| statement.tokens.get(at).map(|(token, _)| *token);
    let mut found = BTreeSet::new();
    at += usize::from(statement.is(at, "table"));
    loop {
        let mut parts = vec![name_of(token(at)?)??];
        at += 1;
        while statement.symbol(at) == Some(b'.') {
            parts.push(name_of(token(at + 1)?)??);
            at += 2;
        }
        at += usize::from(statement.symbol(at) == Some(b'*'));
        let name = parts.pop()?;
        found.insert(Name { schema: parts.pop(), name });
        match token(at) {
            None => return Some(found),
            Some(Token::Symbol(b',')) => at += 1,
            Some(word) if OPTIONS.iter().any(|option| word.is(option)) => return Some(found),
            Some(_) => return None,
        }
    }
}

#[derive(Default)]
struct Walk {
    found: LookedUp,
    ctes: Ctes,
}

struct NotOurs;

/// Goes on where something is known.
fn known(is_known: bool) -> ControlFlow<NotOurs> {
    if is_known { ControlFlow::Continue(()) } else { ControlFlow::Break(NotOurs) }
}

impl Visitor for Walk {
    type Break = NotOurs;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<NotOurs> {
        let target = match statement {
            Statement::Query(_) => return ControlFlow::Continue(()),
            Statement::Insert(Insert { table: TableObject::TableName(name), .. }) => Some(name),
            Statement::Update(Update { table, .. }) => only(std::slice::from_ref(table)),
            Statement::Merge(Merge { table: TableFactor::Table { name, .. }, .. }) => Some(name),
            Statement::Delete(Delete {
                tables,
                from: FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from),
                ..
            }) if tables.is_empty() => only(from),
            _ => None,
        };
        // What is written to is a table, whatever else has its name.
        match target.and_then(relation) {
            Some(name) => drop(self.found.relations.insert(name)),
            None => return ControlFlow::Break(NotOurs),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<NotOurs> {
        let Query {
            with: _,
            body,
            order_by: _,
            limit_clause: _,
            fetch: _,
            // Tables there are named by what they are called in the query.
            locks: _,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        let relations = self.ctes.enter(query);
        let plain = |name: Box<str>| Name { schema: None, name: cut(name) };
        self.found.relations.extend(relations.into_iter().map(plain));
        let is_ours = for_clause.is_none() && settings.is_none() && format_clause.is_none();
        known(is_ours && pipe_operators.is_empty() && is_known(body))
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<NotOurs> {
        self.ctes.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<NotOurs> {
        known(select.into.is_none() && has_no_foreign_clause(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<NotOurs> {
        match factor {
            TableFactor::Table { name, args: None, version: None, with_hints, .. } => {
                let Some(name) = relation(name) else { return ControlFlow::Break(NotOurs) };
                if name.schema.is_some() || !self.ctes.has(&name.name) {
                    self.found.relations.insert(name);
                }
                known(with_hints.is_empty())
            }
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                self.call(name)
            }
            TableFactor::Derived { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::XmlTable { .. }
            | TableFactor::JsonTable { .. } => ControlFlow::Continue(()),
            _ => ControlFlow::Break(NotOurs),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<NotOurs> {
        match expr {
            Expr::Function(Function { name, .. }) => self.call(name),
            // It has no brackets.
            Expr::Identifier(Ident { value, quote_style: None, .. })
                if value.eq_ignore_ascii_case("current_schema") =>
            {
                self.found.calls.insert(Name::plain("current_schema"));
                ControlFlow::Continue(())
            }
            expr => known(is_plain(expr)),
        }
    }
}

impl Walk {
    fn call(&mut self, written: &ObjectName) -> ControlFlow<NotOurs> {
        let Some(name) = relation(written) else { return ControlFlow::Break(NotOurs) };
        let is_quoted = matches!(
            written.0.last(),
            Some(ObjectNamePart::Identifier(Ident { quote_style: Some(_), .. }))
        );
        if is_quoted || name.schema.is_some() || !is_reserved(&name.name) {
            self.found.calls.insert(name);
        }
        ControlFlow::Continue(())
    }
}

/// Whether all names of a query's body come by in the walk.
fn is_known(body: &SetExpr) -> bool {
    match body {
        SetExpr::SetOperation { left, right, .. } => is_known(left) && is_known(right),
        // Its name is no name to the visitor.
        SetExpr::Table(_) => false,
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => true,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => true,
    }
}

/// Whether all names in an expression come by in the walk, and it calls nothing by a name.
fn is_plain(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::CompoundFieldAccess { .. }
            | Expr::JsonAccess { .. }
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::IsJson { .. }
            | Expr::IsNormalized { .. }
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::BinaryOp { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. }
            | Expr::UnaryOp { .. }
            | Expr::Cast { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::Collate { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::TypedString(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..)
    )
}

/// The one table that is written to.
fn only(tables: &[TableWithJoins]) -> Option<&ObjectName> {
    match tables {
        [TableWithJoins { relation: TableFactor::Table { name, .. }, .. }] => Some(name),
        _ => None,
    }
}

/// A name, as long as Postgres keeps it.
fn relation(written: &ObjectName) -> Option<Name> {
    let Name { schema, name } = keys::name(written).ok()?;
    Some(Name { schema: schema.map(cut), name: cut(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[(&str, Option<(&str, &str)>)]) {
        for (text, wanted) in rows {
            let found = looked_up(text.as_bytes());
            let all = |names: &BTreeSet<Name>| {
                names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            };
            let found = found.map(|found| (all(&found.relations), all(&found.calls)));
            let wanted = wanted.map(|(relations, calls)| (relations.to_owned(), calls.to_owned()));
            assert_eq!(found, wanted, "{text}");
        }
    }

    #[test]
    fn relations_are_those_of_queries_and_writes() {
        let only = |relations| Some((relations, ""));
        check(&[
            ("SELECT * FROM a.b JOIN c ON true WHERE x IN (SELECT 1 FROM d)", only("c d a.b")),
            ("INSERT INTO a.b SELECT * FROM c", only("c a.b")),
            ("UPDATE a SET x = 1 FROM b.c", only("a b.c")),
            ("DELETE FROM a USING b", only("a b")),
            ("MERGE INTO a USING b.c ON true WHEN MATCHED THEN DELETE", only("a b.c")),
            ("WITH x AS (SELECT 1 FROM a) SELECT * FROM x", only("a")),
            ("WITH x AS (SELECT 1 FROM x) SELECT * FROM x", only("x")),
            ("WITH RECURSIVE x AS (SELECT 1 FROM x) SELECT * FROM x", only("")),
            ("SELECT (WITH x AS (SELECT 1) SELECT 2 FROM x) FROM x", only("x")),
            ("WITH x AS (DELETE FROM a RETURNING 1) INSERT INTO b SELECT * FROM x", only("a b")),
            ("SELECT 1; DELETE FROM a", only("a")),
            ("WITH a AS (SELECT 1 FROM b) INSERT INTO a SELECT * FROM a", only("a b")),
            ("WITH a AS (SELECT 1) UPDATE a SET x = 1", only("a")),
            ("WITH a AS (SELECT 1) DELETE FROM a", only("a")),
            ("SELECT * FROM ONLY a, b", only("a b")),
            ("SELECT 1 FROM a.b FOR NO KEY UPDATE OF b", only("a.b")),
            ("SELECT 1 FROM a FOR KEY SHARE SKIP LOCKED", only("a")),
            ("SELECT 1 FROM a x FOR UPDATE OF x", only("a")),
            ("CREATE TABLE a (b int)", None),
            ("SELECT 1 INTO a", None),
            ("SELECT 1 INTO a UNION SELECT 2", None),
            ("COPY (SELECT * FROM a JOIN b.c ON true) TO STDOUT (DELIMITER ';')", only("a b.c")),
            ("COPY (INSERT INTO a SELECT 1 FROM b RETURNING 1) TO STDOUT", only("a b")),
            ("COPY a FROM STDIN", None),
            ("EXPLAIN (ANALYZE) SELECT 1 FROM a", only("a")),
            ("EXPLAIN CREATE TABLE a AS SELECT 1", None),
            ("DECLARE c NO SCROLL CURSOR FOR SELECT 1 FROM a", only("a")),
            ("TRUNCATE TABLE a, ONLY b.\"C\" RESTART IDENTITY", only("a b.C")),
            ("LOCK a.b IN SHARE MODE", only("a.b")),
            ("TRUNCATE a b", None),
            ("BEGIN; SELECT 1 FROM a; FETCH b; COMMIT", only("a")),
            ("SELECT * FROM (", None),
            ("SELECT 1 FROM a, xmltable('x' PASSING y COLUMNS z int)", only("a")),
            ("DO 'x'", None),
        ]);
    }

    #[test]
    fn tables_in_every_arm_of_a_set_operation_are_seen() {
        let only = |relations| Some((relations, ""));
        check(&[
            ("TABLE a", only("a")),
            ("SELECT 0 UNION ALL TABLE \"A\".b", only("A.b")),
            ("SELECT 1 FROM a.b UNION (TABLE c)", only("c a.b")),
            ("SELECT 1 EXCEPT SELECT 1 FROM a INTERSECT TABLE b", only("a b")),
            ("INSERT INTO a.b SELECT 5 UNION ALL TABLE c", only("c a.b")),
            ("WITH x AS (TABLE a) TABLE x", only("a")),
            ("SELECT x.table FROM x", only("x")),
            ("SELECT 1 AS table FROM a", None),
            ("SELECT 1 INTO TABLE a", None),
        ]);
        // However it is written, a name does not go unseen.
        let tree = |text| keys::piece(text, |parser| parser.parse_statement().ok()).unwrap();
        let walk = |text| tree(text).visit(&mut Walk::default()).is_break();
        assert!(walk("SELECT 1 UNION TABLE a"));
        assert!(walk("SELECT 1 INTO a UNION SELECT 2"));
    }

    #[test]
    fn functions_are_seen_wherever_they_are_called() {
        let array = "'a'::text, ".repeat(250);
        check(&[
            ("SELECT f(1), a.g(h.x) FROM h", Some(("h", "f a.g"))),
            ("SELECT f(delete => true)", Some(("", "f"))),
            ("SELECT f() FROM a.b FOR UPDATE", Some(("a.b", "f"))),
            ("SELECT f() FOR UPDATE", None),
            ("INSERT INTO a.b SELECT f()", Some(("a.b", "f"))),
            ("INSERT INTO a.b (c) VALUES (f(1)) RETURNING g(c)", Some(("a.b", "f g"))),
            ("WITH x AS (DELETE FROM a.b RETURNING c) SELECT f(c) FROM x", Some(("a.b", "f"))),
            ("UPDATE a.b SET c = f(c) WHERE g(c)", Some(("a.b", "f g"))),
            ("SELECT * FROM f(1), a.b, LATERAL a.g(2) AS r", Some(("a.b", "f a.g"))),
            ("SELECT coalesce(x, \"left\"(y, 1)) FROM a.b", Some(("a.b", "left"))),
            ("SELECT x::geometry(point, 4326), cube(1, 2) FROM a.b", Some(("a.b", "cube"))),
            ("SELECT current_schema, current_user", Some(("", "current_schema"))),
            ("SELECT \"current_schema\" FROM a", Some(("a", ""))),
            ("SELECT (SELECT f(x) ORDER BY g(x) LIMIT h()) FROM a.b", Some(("a.b", "f g h"))),
            ("SELECT sum(f(x)) OVER (PARTITION BY g(x)) FROM a.b", Some(("a.b", "f g sum"))),
            (&format!("SELECT f(ARRAY[{array} 'b'])"), Some(("", "f"))),
        ]);
    }
}
