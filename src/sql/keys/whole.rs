//! A query with its tree, its tokens and its plan: for what is made of a text beyond its plan.

use sqlparser::ast::Query;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token as Parsed;

use super::numbered::{self, Numbered};
use super::statement::parser;
use super::walk::Walk;
use super::work::Work;
use super::{Construct, Plan, Refusal, Tables};
use crate::sql::facts::TEXT_MAX;

/// A text that is one query.
pub(in crate::sql) struct Whole<'a> {
    /// Its tokens.
    pub(in crate::sql) tokens: Numbered<'a>,
    /// Its tree, with values that are numbers of values.
    pub(in crate::sql) query: Query,
    pub(in crate::sql) plan: Plan,
    /// Whether what the outermost query makes of rows can be done by each shard for itself; LIMIT
    /// and ORDER BY apart.
    pub(in crate::sql) is_open: bool,
}

/// Takes a text apart that begins with SELECT or WITH.
///
/// # Errors
///
/// It is something else, or not understood. That it is refused as a plan is none.
pub(in crate::sql) fn whole<'a>(text: &'a str, tables: &dyn Tables) -> Result<Whole<'a>, Refusal> {
    let refused = Refusal::of;
    let tokens = one_statement(text)?;
    if !tokens.is(0, "select") && !tokens.is(0, "with") {
        return Err(refused(around(&tokens).unwrap_or(Construct::Shape)));
    }
    let mut parser = parser(&tokens.text).ok_or(refused(Construct::Grammar))?;
    let query = parser.parse_query().ok().ok_or(refused(Construct::Grammar))?;
    if !at_end(&parser) {
        return Err(refused(Construct::Grammar));
    }
    let work = Work::default();
    let mut walk = Walk::new(tables, &work);
    let top = walk.query(&query)?;
    walk.rows = false;
    let limited = Some(Construct::Limit);
    let is_open = top.closed.as_ref().is_none_or(|closed| Some(closed.construct) == limited);
    let plan = walk.plan(&top);
    Ok(Whole { tokens, query: *query, plan, is_open })
}

/// What is done with a query, or a change of rows, other than to run it by itself.
pub(in crate::sql) fn around(statement: &Numbered<'_>) -> Option<Construct> {
    let known = [
        ("explain", Construct::Explained),
        ("declare", Construct::Cursor),
        ("copy", Construct::CopyOut),
    ];
    known.into_iter().find_map(|(word, construct)| statement.is(0, word).then_some(construct))
}

/// A text as it can be taken apart.
///
/// # Errors
///
/// It is too long, or no UTF-8.
pub(in crate::sql) fn readable(text: &[u8]) -> Result<&str, Refusal> {
    match std::str::from_utf8(text) {
        Ok(text) if text.len() <= TEXT_MAX => Ok(text),
        Ok(_) => Err(Refusal::of(Construct::Size)),
        Err(_) => Err(Refusal::of(Construct::Text)),
    }
}

/// The statements of a text, as tokens.
pub(in crate::sql) fn statements(text: &str) -> Result<Vec<Numbered<'_>>, Refusal> {
    numbered::statements(text).map_err(Refusal::of)
}

/// The tokens of a text that is one statement.
pub(in crate::sql) fn one_statement(text: &str) -> Result<Numbered<'_>, Refusal> {
    let mut statements = statements(text)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(tokens), true) => Ok(tokens),
        _ => Err(Refusal::of(Construct::Several)),
    }
}

/// A piece of such a text, read by a rule of the grammar.
pub(in crate::sql) fn piece<T>(
    text: &str,
    read: impl FnOnce(&mut Parser<'_>) -> Option<T>,
) -> Option<T> {
    let mut parser = parser(text)?;
    let read = read(&mut parser)?;
    at_end(&parser).then_some(read)
}

fn at_end(parser: &Parser<'_>) -> bool {
    parser.peek_token_ref().token == Parsed::EOF
}
