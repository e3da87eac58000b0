//! What a text may change that the texts behind it are understood by.

use crate::sql::scan::{Scanner, Token, Unclear};

/// What a text may change of how others behind it are understood, by its words: what is in its strings
/// and comments does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are answers to as many questions")]
pub struct Changes {
    /// How strings are encoded.
    pub encoding: bool,
    /// Settings that name a shard.
    pub shard: bool,
    /// The schemas that names are looked up in.
    pub path: bool,
    /// Settings by a function; which, [`names_shards`] and [`names_path`] say.
    pub by_function: bool,
    /// It ends a transaction, or goes back in one.
    pub ends: bool,
    /// It begins to listen.
    pub listens: bool,
}

/// See [`Changes`].
pub fn changes(text: &[u8]) -> Changes {
    let mut changes = Changes::default();
    let mut scanner = Scanner::new(text);
    if read_changes(&mut scanner, &mut changes).is_err() {
        let rest = scanner.rest().to_ascii_lowercase();
        let listens = changes.listens || memchr::memmem::find(&rest, b"listen").is_some();
        let all = Changes { encoding: true, shard: true, path: true, ..changes };
        changes = Changes { by_function: true, ends: true, listens, ..all };
    }
    changes
}

fn read_changes(scanner: &mut Scanner<'_>, changes: &mut Changes) -> Result<(), Unclear> {
    let mut first: Option<Token<'_>> = None;
    while let Some(token) = scanner.token()? {
        let Some(begun) = first else {
            if !matches!(token, Token::Symbol(b';' | b'(')) {
                first = Some(token);
                changes.listens |= token.is("listen");
                let all = token.is("reset") && scanner.peek()?.is_some_and(|next| next.is("all"));
                let all = all || token.is("discard");
                let ends = ["commit", "end", "rollback", "abort"];
                changes.ends |= ends.iter().any(|word| token.is(word));
                let next = scanner.peek()?;
                changes.ends |=
                    token.is("prepare") && next.is_some_and(|next| next.is("transaction"));
                changes.encoding |= all || changes.ends;
                changes.shard |= all;
                changes.path |= all;
            }
            continue;
        };
        match token {
            Token::Symbol(b';') => first = None,
            // A name may be spelled in any way behind it.
            Token::Symbol(b'&') if begun.is("set") || begun.is("reset") => {
                (changes.encoding, changes.shard, changes.path) = (true, true, true);
            }
            Token::Word(word) | Token::Quoted(word) => {
                let word = word.to_ascii_lowercase();
                changes.by_function |= word == b"set_config";
                changes.encoding |= word == b"names"
                    || word == b"set_config"
                    || memchr::memmem::find(&word, b"encoding").is_some();
                let names = match word.strip_prefix(b"pgweir") {
                    Some(b"") => may_be_shard(*scanner)?,
                    // A name may be one word in quotes.
                    Some([b'.', name @ ..]) => !OTHERS.contains(&name),
                    Some(_) | None => false,
                };
                changes.shard |= names && !begun.is("show");
                changes.path |= match word.as_slice() {
                    // Elsewhere it is that of a function or role.
                    b"search_path" => begun.is("set") || begun.is("reset"),
                    b"schema" => begun.is("set"),
                    _ => false,
                };
            }
            Token::Value | Token::Symbol(_) => {}
        }
    }
    Ok(())
}

/// Whether what follows `pgweir` may be a setting that names a shard.
fn may_be_shard(mut scanner: Scanner<'_>) -> Result<bool, Unclear> {
    if scanner.token()? != Some(Token::Symbol(b'.')) {
        return Ok(false);
    }
    Ok(match scanner.token()? {
        Some(Token::Word(name)) => !OTHERS.contains(&&*name.to_ascii_lowercase()),
        _ => true,
    })
}

/// The settings of ours that name no shard.
const OTHERS: [&[u8]; 3] = [b"role", b"max_lag", b"causal_token"];

/// Whether a text that calls `set_config` may set what names a shard: it does not say another name in a
/// plain string.
pub fn names_shards(text: &[u8]) -> bool {
    may_set(text, b"pgweir.shard")
}

/// The same of the schemas that names are looked up in.
pub fn names_path(text: &[u8]) -> bool {
    may_set(text, b"search_path")
}

fn may_set(text: &[u8], setting: &[u8]) -> bool {
    let others = |text| -> Result<bool, Unclear> {
        let mut scanner = Scanner::new(text);
        while let Some(token) = scanner.token()? {
            let (Token::Word(word) | Token::Quoted(word)) = token else { continue };
            if !word.eq_ignore_ascii_case(b"set_config") {
                continue;
            }
            if scanner.token()? != Some(Token::Symbol(b'(')) {
                return Ok(false);
            }
            let before = scanner.rest();
            scanner.token()?;
            let name = before.get(..before.len() - scanner.rest().len()).unwrap_or_default();
            let name = name.trim_ascii().to_ascii_lowercase();
            let other = name.starts_with(b"'")
                && !name.contains(&b'\\')
                && memchr::memmem::find(&name, setting).is_none();
            if !other || scanner.token()? != Some(Token::Symbol(b',')) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    !others(text).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_a_text_may_change_and_strings_do_not() {
        let none = Changes::default();
        let encoding = Changes { encoding: true, ..none };
        let shard = Changes { shard: true, ..none };
        let path = Changes { path: true, ..none };
        let all = Changes { encoding: true, shard: true, ..path };
        let ends = Changes { encoding: true, ends: true, ..none };
        let listens = Changes { listens: true, ..none };
        for (text, wanted) in [
            ("INSERT INTO t VALUES ('I listen to names', 'pgweir.shard')", none),
            ("SELECT 1 /* LISTEN a; set_config */ -- commit", none),
            ("SELECT listen, reset FROM commit", none),
            ("LISTEN a", listens),
            ("SELECT 1; listen a", listens),
            ("SET NAMES 'UTF8'", encoding),
            ("SET client_encoding = 'UTF8'", encoding),
            ("SET pgweir.shard = 'a'", shard),
            ("SET \"pgweir\".\"shard_key\" = E'a'", shard),
            ("SET LOCAL \"pgweir.shard\" = 'a'", shard),
            ("RESET \"PgWeir.Shard_Key\"", shard),
            ("SET \"pgweir.role\" = 'primary'", none),
            ("RESET pgweir.shard; SELECT 1", shard),
            ("SHOW pgweir.shard", none),
            ("SET pgweir.role = 'primary'", none),
            ("SET LOCAL statement_timeout = 1", none),
            ("SET search_path = a", path),
            ("SET LOCAL \"Search_Path\" TO a", path),
            ("RESET search_path", path),
            ("SET SESSION SCHEMA 'a'", path),
            ("SHOW search_path", none),
            ("CREATE SCHEMA a", none),
            ("RESET ALL", all),
            ("DISCARD ALL", all),
            ("SELECT set_config('', '', false)", Changes { by_function: true, ..encoding }),
            ("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = a AS 'x'", none),
            ("ALTER ROLE a SET search_path = b", none),
            ("PREPARE a AS SELECT 1", none),
            ("PREPARE TRANSACTION 'a'", ends),
            ("COMMIT", ends),
            ("SELECT 1; ROLLBACK TO a", ends),
        ] {
            assert_eq!(changes(text.as_bytes()), wanted, "{text}");
        }
        // It may be any name.
        let spelled = changes(b"SET U&\"x\" = 1");
        assert!(spelled.encoding && spelled.shard && spelled.path);
        let unclear = changes(b"SELECT 'a\\'");
        assert!(
            unclear.encoding && unclear.shard && unclear.path && unclear.ends && !unclear.listens
        );
        assert!(changes(b"SELECT 'a\\'; LISTEN b").listens);
    }

    #[test]
    fn functions_that_set_another_name_set_no_shard() {
        for (text, wanted) in [
            ("SELECT set_config('app.user', '42', true)", false),
            ("SELECT pg_catalog.set_config ( 'app.user' , $1, true)", false),
            ("SELECT set_config('pgweir.shard', 'a', true)", true),
            ("SELECT set_config('PgWeir.Shard_Key', 'a', true)", true),
            ("SELECT set_config('a', 'b', true), set_config('pgweir.shard', 'a', true)", true),
            ("SELECT set_config($1, 'a', true)", true),
            ("SELECT set_config('pgweir' || '.shard', 'a', true)", true),
            ("SELECT set_config(E'pgweir\\x2eshard', 'a', true)", true),
            ("SELECT set_config(name, 'a', true) FROM t", true),
        ] {
            assert_eq!(names_shards(text.as_bytes()), wanted, "{text}");
        }
        for (text, wanted) in [
            ("SELECT set_config('search_path', 'a', true)", true),
            ("SELECT set_config('pgweir.shard', 'a', true)", false),
            ("SELECT set_config($1, 'a', true)", true),
        ] {
            assert_eq!(names_path(text.as_bytes()), wanted, "{text}");
        }
    }
}
