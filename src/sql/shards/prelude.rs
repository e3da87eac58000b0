//! Texts with which a transaction may begin that do nothing but to itself.

use crate::sql::scan::{Scanner, Token};

/// Whether a text is one statement that does something to its transaction alone, and does the same on any
/// server: a savepoint, `SET LOCAL`, `SET TRANSACTION`. `ROLLBACK TO` is none: what it takes back may
/// have failed.
pub fn is_prelude(text: &[u8]) -> bool {
    let mut scanner = Scanner::new(text);
    let mut words = Vec::new();
    loop {
        match scanner.token() {
            Ok(None) => break,
            Ok(Some(Token::Symbol(b';'))) if matches!(scanner.token(), Ok(None)) => break,
            Ok(Some(Token::Symbol(b';'))) | Err(_) => return false,
            Ok(Some(token)) if words.len() < 3 => words.push(token),
            Ok(Some(_)) => {}
        }
    }
    let is = |at: usize, word: &str| words.get(at).is_some_and(|token| token.is(word));
    match () {
        () if is(0, "savepoint") || is(0, "release") => true,
        () if is(0, "set") && is(1, "local") => true,
        () if is(0, "set") && is(1, "transaction") => !is(2, "snapshot"),
        () => false,
    }
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
