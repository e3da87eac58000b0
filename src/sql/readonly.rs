//! What a user who may only read can be seen to try.
//!
//! Postgres itself refuses writes in a read-only transaction; what is decided here is what must not
//! get there: whatever might make a transaction one that writes. A text that can't be taken apart
//! counts as such.
//! <https://www.postgresql.org/docs/current/sql-set-transaction.html>

use super::scan::{Scanner, Token, Unclear};

/// What a text tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Nothing that could be seen.
    Reading,
    /// To write, by this command.
    Writing(&'static str),
    /// To be allowed to write, or what might be that.
    Escaping(&'static str),
}

/// Looks at every statement of a text.
pub fn attempt(text: &[u8]) -> Attempt {
    look(text).unwrap_or(Attempt::Escaping("text that can't be understood with certainty"))
}

fn look(text: &[u8]) -> Result<Attempt, Unclear> {
    let mut scanner = Scanner::new(text);
    let mut writing = None;
    let (mut first, mut copy, mut depth) = (true, false, 0_usize);
    let mut before = [Token::Symbol(b';'); 2];
    while let Some(token) = scanner.token()? {
        if let Some(what) = escape(before, token, first) {
            return Ok(Attempt::Escaping(what));
        }
        let after_open = before[1] == Token::Symbol(b'(');
        if first || after_open {
            writing = writing.or_else(|| command(token, if first { WRITES } else { CHANGES }));
            copy |= first && token.is("copy");
        } else if copy && depth == 0 && token.is("from") {
            writing = writing.or(Some("COPY FROM"));
        }
        match token {
            Token::Symbol(b'(') => depth += 1,
            Token::Symbol(b')') => depth = depth.saturating_sub(1),
            Token::Symbol(b';') => (copy, depth) = (false, 0),
            _ => {}
        }
        first = token == Token::Symbol(b';') || (first && after_bracket(token));
        before = [before[1], token];
    }
    Ok(writing.map_or(Attempt::Reading, Attempt::Writing))
}

/// `(select …)` is a statement as well.
fn after_bracket(token: Token<'_>) -> bool {
    token == Token::Symbol(b'(')
}

fn command(token: Token<'_>, commands: &[&'static str]) -> Option<&'static str> {
    commands.iter().find(|command| token.is(&command.to_ascii_lowercase())).copied()
}

/// Why a token, behind two others, must not get to the server.
fn escape(before: [Token<'_>; 2], token: Token<'_>, first: bool) -> Option<&'static str> {
    if first && (token.is("do") || token.is("call")) {
        return Some("DO and CALL, which may begin transactions of their own");
    }
    if before[1].is("read") && token.is("write") {
        return Some("READ WRITE");
    }
    let (Token::Word(name) | Token::Quoted(name)) = token else {
        return None;
    };
    // Drivers look what a server is by `SHOW transaction_read_only`.
    if before == [Token::Symbol(b';'), before[1]] && before[1].is("show") {
        return None;
    }
    let named = |known: &&&'static str| name.eq_ignore_ascii_case(known.as_bytes());
    NAMES.iter().find(named).copied()
}

/// Commands that write, as Postgres calls them in its refusal.
const WRITES: &[&str] = &[
    "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CREATE", "ALTER", "DROP", "GRANT",
    "REVOKE", "COMMENT", "IMPORT", "REASSIGN", "REFRESH", "SECURITY",
];
/// Those that may stand in `WITH x AS (…)`.
const CHANGES: &[&str] = &["INSERT", "UPDATE", "DELETE", "MERGE"];
/// Settings that decide it, and functions of Postgres and its modules that set them or run text.
const NAMES: &[&str] = &[
    "default_transaction_read_only",
    "transaction_read_only",
    "set_config",
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "ts_stat",
    "ts_rewrite",
    "crosstab",
    "crosstab2",
    "crosstab3",
    "crosstab4",
    "connectby",
    "xpath_table",
    "dblink",
    "dblink_exec",
    "dblink_open",
    "dblink_send_query",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_let_through() {
        for text in [
            "",
            "select 1",
            "begin; select 1; commit",
            "begin read only",
            "with x as (select 1) select * from x",
            "copy t to stdout",
            "copy (select a from t) to stdout; select 1 from t",
            "show transaction_read_only; SHOW \"transaction_read_only\"",
            "select 'insert into t; set transaction read write; do'",
            "select deleted, \"update\", do_it(x), write from t where read",
            "explain select 1 -- read write\n",
            "set search_path = x; discard all; reset all",
            "select a from t for update",
            "(select 1) union (select 2)",
            "select extract(year from d) from copy",
        ] {
            assert_eq!(attempt(text.as_bytes()), Attempt::Reading, "{text}");
        }
    }

    #[test]
    fn writing_is_seen() {
        for (text, command) in [
            ("insert into t values (1)", "INSERT"),
            ("select 1; /* x */ Update t set a = 1", "UPDATE"),
            ("with x as (delete from t returning *) select * from x", "DELETE"),
            ("create temp table t ()", "CREATE"),
            ("copy t from stdin", "COPY FROM"),
            ("COPY t (a, b) FROM stdin", "COPY FROM"),
            ("truncate t", "TRUNCATE"),
        ] {
            assert_eq!(attempt(text.as_bytes()), Attempt::Writing(command), "{text}");
        }
    }

    #[test]
    fn ways_out_are_closed() {
        for text in [
            "begin read write",
            "start transaction isolation level serializable, READ\n/* x */ WRITE",
            "set transaction read write",
            "set session characteristics as transaction read write",
            "set default_transaction_read_only = off",
            "set \"transaction_read_only\" to off",
            "select set_config('x', 'y', false)",
            "select pg_catalog.\"set_config\"('x', 'y', false)",
            "select u&\"set\\005fconfig\"('x', 'y', false)",
            "do $$ begin end $$",
            "call p()",
            "select 1; call p()",
            "select query_to_xml('select 1', true, true, '')",
            "select 'not closed",
            "select '\\'; set transaction read write; --'",
            "reset default_transaction_read_only",
            "set show transaction_read_only",
        ] {
            assert!(matches!(attempt(text.as_bytes()), Attempt::Escaping(_)), "{text}");
        }
    }
}
