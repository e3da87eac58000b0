//! What kind of statement it is, by its first words, and from there its plan.

use std::collections::{HashMap, HashSet};

use sqlparser::ast::Statement;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token as Parsed;

use super::numbered::Numbered;
use super::walk::{Block, Found, Walk};
use super::work::Work;
use super::{Access, Construct, CopyIn, Everywhere, Plan, Refusal, Slot, Table, Tables};
use crate::sql::facts::Name;
use crate::sql::scan::Token;

/// Statements that begin so define something, or are about tables as a whole.
pub(in crate::sql) const DEFINITIONS: [&str; 17] = [
    "alter", "analyse", "analyze", "cluster", "comment", "create", "drop", "grant", "import",
    "reassign", "refresh", "reindex", "repack", "revoke", "security", "truncate", "vacuum",
];

/// How deep the parser may go; what its stack takes then is bounded.
const RECURSION: usize = 60;

/// The plan of one statement.
pub(super) fn plan(statement: &Numbered<'_>, tables: &dyn Tables, work: &Work) -> Plan {
    let found = Command { statement, tables, work, at: 0 }.plan();
    match found.unwrap_or_else(Plan::Refused) {
        Plan::Keyed(mut keyed) => {
            own(statement, &mut keyed);
            Plan::Keyed(keyed)
        }
        plan => plan,
    }
}

/// Tells parameters from literals, and which of them stand nowhere else.
fn own(statement: &Numbered<'_>, keyed: &mut super::Keyed) {
    let slots = keyed.roots.iter().flat_map(|root| &root.among).flat_map(|one| &one.slots);
    let places: HashSet<u32> = slots
        .filter_map(|slot| match slot {
            Slot::Literal { at, .. } => Some(*at),
            Slot::Null | Slot::Parameter { .. } => None,
        })
        .collect();
    let numbers: HashMap<u32, u16> = statement.parameters.iter().copied().collect();
    let elsewhere = statement.parameters.iter().filter(|(place, _)| !places.contains(place));
    let elsewhere: HashSet<u16> = elsewhere.map(|(_, number)| *number).collect();
    for root in &mut keyed.roots {
        for slot in root.among.iter_mut().flat_map(|one| &mut one.slots) {
            if let Slot::Literal { at, array, .. } = *slot
                && let Some(number) = numbers.get(&at).copied()
            {
                let own = !elsewhere.contains(&number);
                *slot = Slot::Parameter { number, own, array };
            }
        }
    }
}

/// A statement that is read from its first word on.
struct Command<'s> {
    statement: &'s Numbered<'s>,
    tables: &'s dyn Tables,
    work: &'s Work,
    at: usize,
}

impl Command<'_> {
    fn plan(mut self) -> Found<Plan> {
        self.at = self.statement.behind_explain();
        let Some(word) = self.word() else {
            return Ok(Plan::Default);
        };
        match word.as_str() {
            "begin" | "start" | "end" | "abort" | "savepoint" | "release" | "set" | "reset"
            | "show" | "discard" | "listen" | "unlisten" | "fetch" | "move" | "close"
            | "deallocate" | "load" => return Ok(Plan::Session),
            "commit" | "rollback" | "prepare"
                if self.is(1, "prepared") || self.is(1, "transaction") =>
            {
                // COMMIT TRANSACTION is COMMIT.
                let plain = word != "prepare" && !self.is(1, "prepared");
                let two_phase = Plan::Refused(Refusal::of(Construct::TwoPhase));
                return Ok(if plain { Plan::Session } else { two_phase });
            }
            "commit" | "rollback" => return Ok(Plan::Session),
            "do" | "call" => return Err(Refusal::of(Construct::Code)),
            "execute" => return Err(Refusal::of(Construct::Execute)),
            "create" if self.runs_prepared() => return Err(Refusal::of(Construct::Execute)),
            // Whatever table it is of: where it is not on all shards, one of them says so.
            "drop" | "alter" | "reindex" if self.is(1, "index") => return Ok(Plan::Defines),
            // They are of a server, and have names of their own.
            "create" | "drop" | "alter" if self.defines_for_server() => return Ok(Plan::Default),
            _ if !self.names_any() => return Ok(Plan::Default),
            _ => {}
        }
        match word.as_str() {
            "select" | "with" | "values" | "table" | "(" => self.query(self.at),
            "insert" | "update" | "delete" | "merge" => self.write(),
            "copy" => self.copy(),
            "declare" => match self.find("for") {
                Some(at) => self.query(at + 1),
                None => Err(Refusal::of(Construct::Grammar)),
            },
            "prepare" => Err(Refusal::of(Construct::Prepare)),
            "create" if self.fills() => Err(Refusal::of(Construct::Into)),
            "notify" | "checkpoint" => Ok(Plan::Default),
            "lock" => Ok(Plan::Defines),
            word if DEFINITIONS.contains(&word) => Ok(Plan::Defines),
            _ => Err(Refusal::of(Construct::Grammar)),
        }
    }

    /// The word at which it is, in lower case; a bracket counts as one.
    fn word(&self) -> Option<String> {
        match self.statement.tokens.get(self.at)?.0 {
            Token::Word(word) => Some(String::from_utf8_lossy(word).to_ascii_lowercase()),
            Token::Symbol(b'(') => Some("(".to_owned()),
            Token::Symbol(_) | Token::Quoted(_) | Token::Value => None,
        }
    }

    /// Whether the word so many tokens on is this.
    fn is(&self, ahead: usize, word: &str) -> bool {
        self.statement.is(self.at + ahead, word)
    }

    fn defines_for_server(&self) -> bool {
        const OF_SERVER: [&str; 6] = ["database", "group", "role", "system", "tablespace", "user"];
        OF_SERVER.iter().any(|word| self.is(1, word)) && !self.is(2, "mapping")
    }

    fn find(&self, word: &str) -> Option<usize> {
        (self.at..self.statement.tokens.len()).find(|at| self.statement.is(*at, word))
    }

    /// CREATE TABLE … AS EXECUTE. It may be the name of something before that, too.
    fn runs_prepared(&self) -> bool {
        let is_as = |at: usize| self.statement.is(at, "as") && self.statement.is(at + 1, "execute");
        (self.at..self.statement.tokens.len()).any(is_as)
    }

    /// CREATE TABLE … AS, CREATE MATERIALIZED VIEW.
    fn fills(&self) -> bool {
        let plain_view = |at: usize| !self.statement.is(at.saturating_sub(1), "materialized");
        self.find("as").is_some() && !self.find("view").is_some_and(plain_view)
    }

    /// Whether a name in it may stand for something that is not on the default shard alone.
    fn names_any(&self) -> bool {
        self.statement.tokens.iter().any(|(token, _)| {
            name_of(*token).is_some_and(|name| {
                let table = self.tables.table(&Name::plain(&name));
                matches!(table, Table::Sharded { .. } | Table::Reference | Table::Unclear)
            })
        })
    }

    fn query(&self, from: usize) -> Found<Plan> {
        self.query_in(self.statement.text_from(from))
    }

    fn query_in(&self, text: &str) -> Found<Plan> {
        let grammar = || Refusal::of(Construct::Grammar);
        let mut parser = parser(text).ok_or_else(grammar)?;
        let query = parser.parse_query().ok().ok_or_else(grammar)?;
        if parser.peek_token_ref().token != Parsed::EOF {
            return Err(grammar());
        }
        let mut walk = Walk::new(self.tables, self.work);
        let top = walk.query(&query)?;
        // Rows that are stored by the way are not all there is.
        walk.rows = false;
        Ok(walk.plan(&top))
    }

    fn write(&self) -> Found<Plan> {
        let grammar = || Refusal::of(Construct::Grammar);
        let mut parser = parser(self.statement.text_from(self.at)).ok_or_else(grammar)?;
        let statement: Statement = parser.parse_statement().ok().ok_or_else(grammar)?;
        if parser.peek_token_ref().token != Parsed::EOF {
            return Err(grammar());
        }
        let mut walk = Walk::new(self.tables, self.work);
        let top: Block = walk.write(&statement)?;
        Ok(walk.plan(&top))
    }

    /// `COPY table (columns) FROM STDIN`, `COPY … TO STDOUT`.
    fn copy(&self) -> Found<Plan> {
        let mut at = self.at + 1;
        // COPY BINARY t, as it once was written; no table has this name without quotes.
        at += usize::from(self.statement.is(at, "binary"));
        if self.statement.symbol(at) == Some(b'(') {
            let end = self.statement.closing(at).ok_or(Refusal::of(Construct::Grammar))?;
            if !self.statement.is(end + 1, "to") || !self.statement.is(end + 2, "stdout") {
                return Err(Refusal::of(Construct::ServerFile));
            }
            return self.query_in(self.statement.text_between(at, end));
        }
        let mut parts = Vec::new();
        while let Some(name) = self.statement.tokens.get(at).and_then(|(token, _)| name_of(*token))
        {
            parts.push(name);
            at += 1;
            if self.statement.symbol(at) != Some(b'.') {
                break;
            }
            at += 1;
        }
        let name = parts.pop().ok_or(Refusal::of(Construct::Grammar))?;
        let table = Name { schema: parts.pop().map(Into::into), name: name.into() };
        let mut columns = Vec::new();
        if self.statement.symbol(at) == Some(b'(') {
            let end = self.statement.closing(at).ok_or(Refusal::of(Construct::Grammar))?;
            let inside = self.statement.tokens.get(at..end).unwrap_or_default();
            columns = inside.iter().filter_map(|(token, _)| name_of(*token)).collect();
            at = end + 1;
        }
        let reads = self.statement.is(at, "to");
        let stream = if reads { "stdout" } else { "stdin" };
        let is_stream = self.statement.is(at + 1, stream);
        match self.tables.table(&table) {
            Table::Default | Table::Local => Ok(Plan::Default),
            Table::Unclear => Err(Refusal::about(&table, Construct::Unclear)),
            _ if !is_stream => Err(Refusal::about(&table, Construct::ServerFile)),
            Table::Reference if reads => Ok(Plan::Reference(Access::Reads)),
            Table::Reference => Ok(Plan::Reference(Access::Writes)),
            Table::Sharded { group, .. } if reads => {
                Ok(Plan::AllShards(Everywhere { group, table, access: Access::Reads }))
            }
            Table::Sharded { group, key, columns: known } => {
                let fields: Vec<&str> = match (columns.as_slice(), known) {
                    ([], None) => {
                        return Err(Refusal::about(&table, Construct::InsertWithoutColumns));
                    }
                    ([], Some(known)) => known.iter().map(|column| &**column).collect(),
                    (columns, _) => columns.iter().map(String::as_str).collect(),
                };
                let Some(place) = fields.iter().position(|column| *column == key) else {
                    return Err(Refusal::about(&table, Construct::InsertWithoutKey));
                };
                let fields = fields.len();
                Ok(Plan::CopyIn(CopyIn { group, table, key: place, fields }))
            }
        }
    }
}

pub(super) fn parser(text: &str) -> Option<Parser<'static>> {
    let parser = Parser::new(&PostgreSqlDialect {}).with_recursion_limit(RECURSION);
    parser.try_with_sql(text).ok()
}

/// A name as Postgres folds it.
fn name_of(token: Token<'_>) -> Option<String> {
    match token {
        Token::Word(word) => Some(String::from_utf8_lossy(word).to_ascii_lowercase()),
        Token::Quoted(word) => Some(String::from_utf8_lossy(word).replace("\"\"", "\"")),
        Token::Value | Token::Symbol(_) => None,
    }
}
