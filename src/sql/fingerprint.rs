//! A text without the values in it, for people: what of it can be told apart with certainty.

use super::scan::{Scanner, Token};

/// What is told of a text.
const TOLD_MAX: usize = 500;
/// Stands for what is not told.
const MORE: &str = " ...";

/// The text with `?` for each value, lists of values as one, and no comments. It ends where a value
/// can't be told from the rest, and where it becomes long.
pub fn fingerprint(text: &[u8]) -> String {
    let mut told = String::new();
    let mut scanner = Scanner::new(text);
    // What was told before the last comma, if that is one between values.
    let (mut after_value, mut comma) = (false, false);
    loop {
        let token = match scanner.token() {
            Ok(Some(token)) => token,
            Ok(None) => return told,
            Err(_unclear) => return told + MORE,
        };
        if told.len() > TOLD_MAX {
            return told + MORE;
        }
        if token == Token::Value {
            if !comma {
                push(&mut told, "?");
            }
            (after_value, comma) = (true, false);
            continue;
        }
        if std::mem::take(&mut comma) {
            push(&mut told, ",");
        }
        comma = token == Token::Symbol(b',') && after_value;
        after_value = false;
        match token {
            Token::Value => {}
            Token::Symbol(b',') if comma => {}
            Token::Symbol(symbol) => push(&mut told, &char::from(symbol).to_string()),
            Token::Word(word) => push(&mut told, &String::from_utf8_lossy(word)),
            Token::Quoted(word) => {
                push(&mut told, &format!("\"{}\"", String::from_utf8_lossy(word)));
            }
        }
    }
}

/// Appends a token, with one space where two words meet.
fn push(told: &mut String, token: &str) {
    let is_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '"' | '?');
    let opens = |letter: char| matches!(letter, '(' | '.' | '[' | ':');
    let closes = |letter: char| matches!(letter, ')' | '.' | ']' | ',' | ';' | '(' | '[' | ':');
    if let (Some(last), Some(first)) = (told.chars().last(), token.chars().next()) {
        let apart = is_word(last) && is_word(first) || !opens(last) && !closes(first);
        // Operators of several characters stay together.
        let operator = !is_word(last) && !is_word(first) && !matches!(last, ')' | ']' | ',' | ';');
        if apart && !operator {
            told.push(' ');
        }
    }
    let shown = token.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    told.extend(shown);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_told_and_lists_are_one() {
        for (text, told) in [
            ("select  a,b from t -- c\nwhere x = 'secret'", "select a, b from t where x = ?"),
            ("select * from t where id in (1, 2,'x')", "select * from t where id in(?)"),
            ("insert into t values (1, now(), $1)", "insert into t values(?, now(), ?)"),
            ("update s.t set a=a+1 /* k */", "update s.t set a = a + ?"),
            ("select E'a\\'secret', $$secret$$", "select ?"),
            ("select 1.5e3::int", "select ?::int"),
            ("alter user u password 'secret'", "alter user u password ?"),
            ("select \"A b\" >= 1", "select \"A b\" >= ?"),
        ] {
            assert_eq!(fingerprint(text.as_bytes()), told, "{text}");
        }
    }

    #[test]
    fn what_is_unclear_or_long_is_not_told() {
        for text in ["select 'a\\'secret'", "select U&'secret'", "select x, 'secret", "$a$secret"] {
            let told = fingerprint(text.as_bytes());
            assert!(told.ends_with(MORE) && !told.contains("secret"), "{text}: {told}");
        }
        let long = "select x ".repeat(1000);
        assert!(fingerprint(long.as_bytes()).len() < 600);
    }
}
