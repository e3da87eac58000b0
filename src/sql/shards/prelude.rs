//! Texts with which a transaction may begin that do nothing but to itself.

use crate::sql::effects::settings::is_behind_name;
use crate::sql::scan::{Scanner, Token};

/// Whether a text is one statement that does something to its transaction alone, and does the same on any
/// server: a savepoint, `SET LOCAL`, `SET TRANSACTION`. `ROLLBACK TO` is none: what it takes back may
/// have failed.
pub fn is_prelude(text: &[u8]) -> bool {
    let mut scanner = Scanner::new(text);
    let may_be = |first: Token<'_>| ["savepoint", "release", "set"].iter().any(|it| first.is(it));
    if !matches!(scanner.peek(), Ok(Some(first)) if may_be(first)) {
        return false;
    }
    let mut words = Vec::new();
    loop {
        match scanner.token() {
            Ok(None) => break,
            Ok(Some(Token::Symbol(b';'))) if matches!(scanner.token(), Ok(None)) => break,
            Ok(Some(Token::Symbol(b';'))) | Err(_) => return false,
            Ok(Some(token)) if words.len() < 4 => words.push(token),
            Ok(Some(_)) => {}
        }
    }
    let is = |at: usize, word: &str| words.get(at).is_some_and(|token| token.is(word));
    // Else it is about a setting whose name begins with that word.
    let is_whole = !words.get(2).copied().is_some_and(is_behind_name);
    match () {
        () if is(0, "savepoint") || is(0, "release") => true,
        () if is(0, "set") && is(1, "local") => is_whole && !is_of_strings(&words),
        () if is(0, "set") && is(1, "transaction") => is_whole && !is(2, "snapshot"),
        () => false,
    }
}

/// Whether `SET LOCAL name …` may be about how strings are read that come behind it: what goes elsewhere
/// goes as one text, all of which is read before any of it runs.
fn is_of_strings(words: &[Token<'_>]) -> bool {
    let settings = ["standard_conforming_strings", "backslash_quote"];
    let is_named = match words.get(2) {
        Some(Token::Word(name) | Token::Quoted(name)) => {
            settings.iter().any(|setting| name.eq_ignore_ascii_case(setting.as_bytes()))
        }
        Some(Token::Value | Token::Symbol(_)) | None => false,
    };
    // U&"…" may be any name.
    is_named || matches!(words.get(3), Some(Token::Symbol(b'&')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_begin_with_what_is_about_themselves() {
        for text in [
            "SAVEPOINT a",
            "savepoint \"a b\";",
            "RELEASE SAVEPOINT a",
            "SET LOCAL statement_timeout = '5s' -- so",
            "SET LOCAL local.tenant = '42'",
            "SET LOCAL TIME ZONE 'UTC'",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
        ] {
            assert!(is_prelude(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "SELECT 1",
            "SET statement_timeout = 1",
            "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
            "SET CONSTRAINTS ALL DEFERRED",
            "SET local.tenant = '42'",
            "SET transaction.tenant TO '42'",
            "SET LOCAL = 1",
            "SET LOCAL standard_conforming_strings = off",
            "SET LOCAL \"Standard_Conforming_Strings\" = off",
            "SET LOCAL backslash_quote TO on",
            "SET LOCAL U&\"standard\\005fconforming_strings\" = off",
            "ROLLBACK TO a",
            "SAVEPOINT a; SELECT 1",
            "SAVEPOINT a;;",
            "SET LOCAL x = 'a",
            "\"savepoint\" a",
        ] {
            assert!(!is_prelude(text.as_bytes()), "{text}");
        }
    }
}
