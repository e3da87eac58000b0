//! What a text may leave behind in the session that runs it.
//!
//! A statement is *clean* only when its kind, its words and every function that it calls are
//! known to leave nothing. All else is taken to change the session. What no text shows
//! (triggers, functions behind views, operators and defaults that set session state) is out of
//! reach here; `docs/transactions.md` says so.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::scan::{Scanner, Token, Unclear};

/// Facts about a text of one or several statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects<'a> {
    /// Something of it may outlive the transaction: settings, prepared statements, temporary
    /// tables, locks, listeners.
    pub changes_session: bool,
    /// It may drop prepared statements, ours among them.
    pub drops_statements: bool,
    /// The command, where the text is one single statement of a kind that we act on.
    pub command: Command<'a>,
}

/// Commands that we act on ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// All that is for the server alone.
    Other,
    /// `DEALLOCATE name`: the name, unquoted and folded as Postgres does.
    Deallocate(std::borrow::Cow<'a, [u8]>),
    /// `DEALLOCATE ALL`.
    DeallocateAll,
    /// `DISCARD ALL`.
    DiscardAll,
}

impl Effects<'_> {
    /// What has to be assumed of a text that was not looked at.
    pub const WORST: Effects<'static> =
        Effects { changes_session: true, drops_statements: true, command: Command::Other };
}

/// Looks at a text.
pub fn effects(text: &[u8]) -> Effects<'_> {
    let mut scanner = Scanner::new(text);
    let mut change = Change::Nothing;
    loop {
        match statement(&mut scanner) {
            Ok(Some(next)) => change = change.max(next),
            Ok(None) => break,
            Err(Unclear) => return Effects::WORST,
        }
    }
    let changes_session = change > Change::Nothing;
    let command = if changes_session { command(text) } else { Command::Other };
    Effects { changes_session, drops_statements: change == Change::Statements, command }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Nothing,
    Session,
    /// Of the session, its prepared statements among it.
    Statements,
}

/// Which words and calls in a statement of this kind matter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Reads and writes of rows: clean if all that it calls is known.
    Rows,
    /// Definitions: names before parentheses are columns, not calls, until `AS`, `USING` or a
    /// default brings expressions.
    Definition,
    /// Transaction control and the like: clean whatever the words.
    Plain,
    /// `SET`: clean if it ends with the transaction.
    Set,
    /// `DECLARE`: clean unless the cursor is held.
    Cursor,
    /// All that changes the session, and all that we don't know.
    Session,
}

/// Judges the next statement; `None` at the end of the text.
fn statement(scanner: &mut Scanner<'_>) -> Result<Option<Change>, Unclear> {
    let first = loop {
        match scanner.token()? {
            None => return Ok(None),
            Some(Token::Symbol(b';' | b'(')) => {}
            Some(token) => break token,
        }
    };
    let kind = kind(first);
    let mut changes = kind == Kind::Session;
    let mut calls_count = kind != Kind::Definition;
    let mut position = 0_usize;
    let mut before = first;
    let mut name: Option<Name<'_>> = None;
    while let Some(token) = scanner.token()? {
        position += 1;
        match token {
            Token::Symbol(b';') => break,
            Token::Symbol(b'(') => {
                if let Some(name) = name.take() {
                    changes |= calls_count && name.may_change_session();
                }
            }
            Token::Word(word) => {
                changes |= changed_by_word(kind, word, before, position);
                calls_count |= token.is("as") || token.is("using") || token.is("default");
                name = Some(Name::after(before, name, word));
            }
            // Might be any function; case is kept, so it is none of the built-in ones unless
            // written in lower case.
            Token::Quoted(word) => {
                changes |= word.starts_with(b"pg_temp");
                name = Some(Name::after(before, name, word));
            }
            Token::Symbol(b'.') => {}
            Token::Symbol(_) | Token::Value => name = None,
        }
        before = token;
    }
    Ok(Some(match changes {
        true if first.is("deallocate") || first.is("discard") => Change::Statements,
        true => Change::Session,
        false => Change::Nothing,
    }))
}

fn kind(first: Token<'_>) -> Kind {
    let Token::Word(word) = first else {
        return Kind::Session;
    };
    let mut lower = [0; 12];
    let Some(lower) = lower.get_mut(..word.len()) else {
        return Kind::Session;
    };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    match &*lower {
        b"select" | b"with" | b"insert" | b"update" | b"delete" | b"merge" | b"values"
        | b"table" | b"copy" | b"explain" => Kind::Rows,
        b"create" | b"alter" => Kind::Definition,
        b"begin" | b"start" | b"commit" | b"end" | b"rollback" | b"abort" | b"savepoint"
        | b"release" | b"fetch" | b"move" | b"close" | b"show" | b"lock" | b"truncate"
        | b"refresh" | b"drop" | b"grant" | b"revoke" | b"comment" | b"reindex" | b"vacuum"
        | b"analyze" | b"analyse" | b"cluster" | b"checkpoint" | b"notify" => Kind::Plain,
        b"set" => Kind::Set,
        b"declare" => Kind::Cursor,
        _ => Kind::Session,
    }
}

/// Whether a word in this place means that something outlives the transaction.
fn changed_by_word(kind: Kind, word: &[u8], before: Token<'_>, position: usize) -> bool {
    let token = Token::Word(word);
    let temporary = || token.is("temp") || token.is("temporary");
    if word.len() >= 7 && word.get(..7).is_some_and(|w| w.eq_ignore_ascii_case(b"pg_temp")) {
        return true;
    }
    match kind {
        Kind::Rows => {
            (before.is("into") || before.is("local") || before.is("global")) && temporary()
                || token.is("execute")
        }
        // CREATE [OR REPLACE] [GLOBAL|LOCAL] TEMP …
        Kind::Definition => {
            (position <= 4 && temporary())
                || token.is("execute")
                || (before.is("into") && temporary())
        }
        Kind::Set => {
            position == 1
                && !(token.is("local") || token.is("transaction") || token.is("constraints"))
        }
        Kind::Cursor => token.is("hold"),
        Kind::Plain | Kind::Session => false,
    }
}

/// A name that may turn out to be that of a function: the part before an opening parenthesis.
#[derive(Clone, Copy)]
struct Name<'a> {
    last: &'a [u8],
    qualifier: Qualifier,
    introduced_by: Introduced,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Qualifier {
    None,
    Catalog,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Introduced {
    /// By `INTO`, `COPY` or the like: a table with its columns.
    Table,
    Otherwise,
}

impl<'a> Name<'a> {
    fn after(before: Token<'_>, previous: Option<Name<'_>>, last: &'a [u8]) -> Self {
        match (before, previous) {
            (Token::Symbol(b'.'), Some(previous)) => Self {
                last,
                qualifier: if previous.qualifier == Qualifier::None
                    && previous.last.eq_ignore_ascii_case(b"pg_catalog")
                {
                    Qualifier::Catalog
                } else {
                    Qualifier::Other
                },
                introduced_by: previous.introduced_by,
            },
            _ => Self {
                last,
                qualifier: Qualifier::None,
                introduced_by: if ["into", "copy", "references", "conflict"]
                    .iter()
                    .any(|keyword| before.is(keyword))
                {
                    Introduced::Table
                } else {
                    Introduced::Otherwise
                },
            },
        }
    }

    fn may_change_session(self) -> bool {
        if self.introduced_by == Introduced::Table {
            return false;
        }
        let mut lower = [0; 64];
        let Some(lower) = lower.get_mut(..self.last.len()) else {
            return true;
        };
        lower.copy_from_slice(self.last);
        lower.make_ascii_lowercase();
        match self.qualifier {
            Qualifier::None => !(is_syntax(lower) || HARMLESS.contains(&*lower)),
            Qualifier::Catalog => !HARMLESS.contains(&*lower),
            Qualifier::Other => true,
        }
    }
}

/// Words that stand before a parenthesis without being called, and constructs and types that
/// look like calls.
fn is_syntax(word: &[u8]) -> bool {
    matches!(
        word,
        b"in"
            | b"and"
            | b"or"
            | b"not"
            | b"values"
            | b"from"
            | b"join"
            | b"on"
            | b"where"
            | b"select"
            | b"exists"
            | b"any"
            | b"all"
            | b"some"
            | b"as"
            | b"over"
            | b"filter"
            | b"group"
            | b"by"
            | b"having"
            | b"union"
            | b"except"
            | b"intersect"
            | b"when"
            | b"then"
            | b"else"
            | b"case"
            | b"using"
            | b"set"
            | b"distinct"
            | b"limit"
            | b"offset"
            | b"returning"
            | b"lateral"
            | b"materialized"
            | b"between"
            | b"like"
            | b"ilike"
            | b"is"
            | b"array"
            | b"row"
            | b"rows"
            | b"cube"
            | b"rollup"
            | b"sets"
            | b"cast"
            | b"coalesce"
            | b"nullif"
            | b"greatest"
            | b"least"
            | b"grouping"
            | b"window"
            | b"within"
            | b"only"
            | b"tablesample"
            | b"with"
            | b"explain"
            | b"key"
            | b"conflict"
            | b"collate"
            | b"table"
            | b"char"
            | b"character"
            | b"varchar"
            | b"varying"
            | b"numeric"
            | b"decimal"
            | b"dec"
            | b"bit"
            | b"time"
            | b"timestamp"
            | b"timestamptz"
            | b"timetz"
            | b"interval"
            | b"float"
            | b"bpchar"
            | b"copy"
            | b"do"
            | b"update"
            | b"default"
            | b"check"
            | b"to"
            | b"xmlelement"
            | b"xmlforest"
            | b"treat"
            | b"recursive"
    )
}

/// Built-in functions that leave nothing behind in a session: those of `pg_catalog` without the
/// ones that set, lock, prepare, or run SQL that they are given as text.
///
/// `nextval` is among them: the value that `currval` and `lastval` remember stays behind, as it
/// does after any insert into a table with a serial column.
static HARMLESS: LazyLock<HashSet<&'static [u8]>> = LazyLock::new(|| {
    include_str!("builtins.txt").split_ascii_whitespace().map(str::as_bytes).collect()
});

/// The command, if the text is one statement that we act on.
fn command(text: &[u8]) -> Command<'_> {
    let mut scanner = Scanner::new(text);
    let mut tokens = [None; 4];
    let mut count = 0;
    loop {
        match scanner.token() {
            Err(Unclear) => return Command::Other,
            Ok(None) => break,
            Ok(Some(Token::Symbol(b';'))) => {}
            Ok(token) => {
                let Some(slot) = tokens.get_mut(count) else {
                    return Command::Other;
                };
                *slot = token;
                count += 1;
            }
        }
    }
    match tokens {
        [Some(first), Some(name), None, None] if first.is("deallocate") => deallocate(name),
        [Some(first), Some(second), Some(name), None]
            if first.is("deallocate") && second.is("prepare") =>
        {
            deallocate(name)
        }
        [Some(first), Some(second), None, None] if first.is("discard") && second.is("all") => {
            Command::DiscardAll
        }
        _ => Command::Other,
    }
}

fn deallocate(name: Token<'_>) -> Command<'_> {
    match name {
        Token::Word(_) if name.is("all") => Command::DeallocateAll,
        Token::Word(_) if name.is("prepare") => Command::Other,
        Token::Word(word) if word.iter().any(u8::is_ascii_uppercase) => {
            Command::Deallocate(word.to_ascii_lowercase().into())
        }
        Token::Word(word) => Command::Deallocate(word.into()),
        Token::Quoted(word) if word.contains(&b'"') => Command::Other,
        Token::Quoted(word) => Command::Deallocate(word.into()),
        Token::Value | Token::Symbol(_) => Command::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_statements_leave_nothing() {
        for text in [
            "",
            ";",
            "-- nothing",
            "SELECT abalance FROM pgbench_accounts WHERE aid = 42;",
            "select count(*), max(x) from t where lower(y) in ('a', 'b') group by (z)",
            "(select 1) union (select 2)",
            "select pg_catalog.now(), pg_advisory_xact_lock(1)",
            "insert into t (a, b) values (1, 'x'), ($1, $2) on conflict (a) do update set b = 2",
            "insert into s.t (a) select nextval('q') returning id",
            "update t set a = a + 1 where b = any($1)",
            "delete from t using u where t.id = u.id",
            "with x as (select 1) select * from x",
            "BEGIN; UPDATE t SET a = 1; COMMIT",
            "begin isolation level serializable read only",
            "set local search_path = x",
            "SET TRANSACTION READ ONLY",
            "set constraints all deferred",
            "copy t (a, b) from stdin",
            "copy (select 1) to stdout",
            "create table t (id int primary key, v varchar(10) check (v > 'a'))",
            "create index on t (a)",
            "alter table t add column c numeric(10,2)",
            "drop table if exists t",
            "declare c cursor for select 1",
            "fetch 10 from c",
            "explain analyze select 1",
            "select temp from weather",
            "select cast(a as varchar(3)), a::numeric(4,2), interval '1 day' from t",
            "vacuum analyze t",
            "savepoint a; rollback to a; release a",
            "notify x, 'y'",
            "show search_path",
            "select extract(epoch from now()), coalesce(a, 0) from generate_series(1, 3) as a",
        ] {
            assert!(!effects(text.as_bytes()).changes_session, "{text}");
        }
    }

    #[test]
    fn what_may_change_a_session_is_seen() {
        for text in [
            "SET search_path = x",
            "set session authorization bob",
            "SET ROLE bob",
            "reset all",
            "select set_config('a.b', 'c', false)",
            "select pg_catalog.set_config('a.b', 'c', false)",
            "select \"set_config\"('a.b', 'c', false)",
            "select pg_advisory_lock(1)",
            "select my_function(1)",
            "select public.lower('x')",
            "select setseed(0.5)",
            "select query_to_xml('set a.b = c', true, true, '')",
            "begin; set x.y = 1; commit",
            "select 1; listen x",
            "LISTEN x",
            "prepare p as select 1",
            "execute p",
            "explain execute p",
            "create table t as execute p",
            "deallocate p",
            "create temp table t (a int)",
            "create local temporary table t (a int)",
            "create or replace temp view v as select 1",
            "select 1 into temp t",
            "select * from x into temporary table t",
            "create table pg_temp.t (a int)",
            "insert into pg_temp_3.t values (1)",
            "create table t as select my_function()",
            "declare c cursor with hold for select 1",
            "do $$ begin perform set_config('a.b', 'c', false); end $$",
            "call p()",
            "load 'x'",
            "discard temp",
            "/* c */ set x.y = 1",
            "grant_or_something_new",
            "select 'a\\' , set_config('x', 'y', false) --'",
            "select 'unclosed",
            "update t set a = f(b)",
            "with x as (select f()) select 1",
            "values (f(1))",
        ] {
            assert!(effects(text.as_bytes()).changes_session, "{text}");
        }
    }

    #[test]
    fn what_drops_statements_is_seen() {
        for (text, drops) in [
            ("deallocate all", true),
            ("select 1; DISCARD plans", true),
            ("select 'unclosed", true),
            ("set x.y = 1", false),
            ("do $$ $$", false),
        ] {
            assert_eq!(effects(text.as_bytes()).drops_statements, drops, "{text}");
        }
    }

    #[test]
    fn commands_that_we_act_on_are_single_statements() {
        let named = |name: &'static [u8]| Command::Deallocate(name.into());
        for (text, expected) in [
            ("DEALLOCATE s1", named(b"s1")),
            ("deallocate prepare S1;", named(b"s1")),
            ("DEALLOCATE \"S1\" ; ", named(b"S1")),
            ("deallocate all", Command::DeallocateAll),
            ("DEALLOCATE PREPARE ALL", Command::DeallocateAll),
            ("/* x */ discard all -- y", Command::DiscardAll),
            ("deallocate \"a\"\"b\"", Command::Other),
            ("deallocate s1; select 1", Command::Other),
            ("discard all; select 1", Command::Other),
            ("deallocate 'x'", Command::Other),
            ("discard plans", Command::Other),
            ("select 1", Command::Other),
        ] {
            assert_eq!(effects(text.as_bytes()).command, expected, "{text}");
        }
    }
}
