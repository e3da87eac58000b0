//! Which names a text has, whatever they stand for.

use super::scan::{Scanner, Token, Unclear};

/// Whether a word of the text is one of these, folded as Postgres does; or may be, where the text
/// can't be taken apart.
pub fn names_any(text: &[u8], is_one: impl Fn(&[u8]) -> bool) -> bool {
    let mut scanner = Scanner::new(text);
    let mut folded = Vec::new();
    loop {
        match scanner.token() {
            Ok(None) => return false,
            Ok(Some(Token::Word(word))) => {
                folded.clear();
                folded.extend(word.iter().map(u8::to_ascii_lowercase));
                if is_one(&folded) {
                    return true;
                }
            }
            // A doubled quote stands for one.
            Ok(Some(Token::Quoted(word))) if word.contains(&b'"') => return true,
            Ok(Some(Token::Quoted(word))) if is_one(word) => return true,
            Ok(Some(Token::Quoted(_) | Token::Value | Token::Symbol(_))) => {}
            Err(Unclear) => return true,
        }
    }
}

/// Statements that define nothing, by their first word.
const PLAIN: [&str; 33] = [
    "select",
    "with",
    "insert",
    "update",
    "delete",
    "merge",
    "values",
    "table",
    "copy",
    "explain",
    "begin",
    "start",
    "commit",
    "end",
    "rollback",
    "abort",
    "savepoint",
    "release",
    "fetch",
    "move",
    "show",
    "set",
    "declare",
    "close",
    "prepare",
    "execute",
    "deallocate",
    "listen",
    "notify",
    "unlisten",
    "lock",
    "discard",
    "truncate",
];

/// Whether a statement of the text may define something.
pub fn defines(text: &[u8]) -> bool {
    let mut scanner = Scanner::new(text);
    let mut begins = true;
    loop {
        match scanner.token() {
            Ok(None) => return false,
            Ok(Some(Token::Symbol(b';'))) => begins = true,
            Ok(Some(Token::Symbol(b'('))) if begins => {}
            Ok(Some(token)) if begins => {
                if !PLAIN.iter().any(|word| token.is(word)) {
                    return true;
                }
                begins = false;
            }
            Ok(Some(_)) => {}
            Err(Unclear) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_they_are_folded() {
        let is_one = |word: &[u8]| word == b"orders" || word == b"Mixed";
        for (text, found) in [
            ("insert into Orders values (1)", true),
            ("select * from public.\"orders\"", true),
            ("select * from \"Mixed\"", true),
            ("select * from Mixed", false),
            ("select 'orders' -- orders", false),
            ("select * from \"a\"\"b\"", true),
            ("select 'unclosed", true),
        ] {
            assert_eq!(names_any(text.as_bytes(), is_one), found, "{text}");
        }
    }

    #[test]
    fn definitions_are_known_by_their_first_word() {
        for (text, found) in [
            ("select 1; (select 2); insert into t values (1)", false),
            ("begin; drop table t", true),
            ("grant select on t to x", true),
            ("", false),
        ] {
            assert_eq!(defines(text.as_bytes()), found, "{text}");
        }
    }
}
