//! Commands that consist of words, such as the console's: text becomes statements, and each of
//! them its words.

use super::scan::{Scanner, Token, Unclear};

/// The words of one statement. Quoted names are among them, without their quotes, and whole numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// As written, but for bytes that are no text.
    pub words: Vec<String>,
    /// There is more than words in it: values or symbols.
    pub more: bool,
    /// All of it, without what is blank around it.
    pub text: String,
}

/// The statements of a text, empty ones left out. `None` when it can't be taken apart, as when a
/// quote is not closed.
pub fn statements(text: &[u8]) -> Option<Vec<Words>> {
    split(text).ok()
}

/// What stands behind these words and one more, which is a name, in a text: the name, and the rest as
/// it is. `None` when it begins with other words, or nothing is behind them.
pub fn after<'t>(text: &'t [u8], words: &[&str]) -> Option<(String, &'t [u8])> {
    let mut scanner = Scanner::new(behind(text, words)?);
    let (Token::Word(name) | Token::Quoted(name)) = scanner.token().ok()?? else {
        return None;
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let rest = scanner.rest();
    let blank = rest.iter().all(|byte| byte.is_ascii_whitespace() || *byte == b';');
    (!blank).then_some((name, rest))
}

/// What stands behind these words in a text. `None` when it begins with other words.
pub fn behind<'t>(text: &'t [u8], words: &[&str]) -> Option<&'t [u8]> {
    let mut scanner = Scanner::new(text);
    for word in words {
        scanner.token().ok()?.filter(|token| token.is(word))?;
    }
    Some(scanner.rest())
}

fn split(text: &[u8]) -> Result<Vec<Words>, Unclear> {
    let mut scanner = Scanner::new(text);
    let mut statements = vec![];
    let mut current = Words::default();
    loop {
        let before = scanner.rest();
        let Some(token) = scanner.token()? else { break };
        let taken = before.len() - scanner.rest().len();
        let written = String::from_utf8_lossy(before.get(..taken).unwrap_or_default());
        let number = written.trim();
        match token {
            Token::Symbol(b';') => {
                statements.push(std::mem::take(&mut current));
                continue;
            }
            Token::Word(word) | Token::Quoted(word) => {
                current.words.push(String::from_utf8_lossy(word).into_owned());
            }
            Token::Value if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                current.words.push(number.to_owned());
            }
            Token::Value | Token::Symbol(_) => current.more = true,
        }
        current.text.push_str(&written);
    }
    statements.push(current);
    for statement in &mut statements {
        statement.text = statement.text.trim().to_owned();
    }
    statements.retain(|statement| !statement.words.is_empty() || statement.more);
    Ok(statements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_split_outside_of_quotes_and_comments() {
        let text = b"show pools; /* a; b */ ;; SET x = 'a;b'; -- end; of it\nKILL \"a;b\"";
        let found = statements(text).unwrap();
        let words: Vec<_> = found.iter().map(|found| (found.words.join(" "), found.more)).collect();
        let wanted = [("show pools", false), ("SET x", true), ("KILL a;b", false)];
        assert_eq!(words, wanted.map(|(words, more)| (words.to_owned(), more)));
    }

    #[test]
    fn numbers_are_words_and_the_text_is_kept() {
        let found = statements(b" KILL_CLIENT 17; SET x = '1;''2' ; a 1.5").unwrap();
        let [kill, set, fraction] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((kill.words.join(" ").as_str(), kill.more), ("KILL_CLIENT 17", false));
        assert_eq!(set.text, "SET x = '1;''2'");
        assert!(fraction.more);
    }

    #[test]
    fn what_is_behind_a_name_is_left_as_it_is() {
        let after = |text: &'static str| after(text.as_bytes(), &["explain", "route"]);
        let found = |name: &str, rest: &'static str| Some((name.to_owned(), rest.as_bytes()));
        assert_eq!(after("EXPLAIN route shop SELECT 1; x"), found("shop", " SELECT 1; x"));
        assert_eq!(after("explain ROUTE \"My Shop\"/* h */'"), found("My Shop", "/* h */'"));
        for text in
            ["explain route shop", "explain route shop ;", "explain route", "explain select 1"]
        {
            assert_eq!(after(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_closed_is_nothing() {
        for text in ["'", "show \"", "/* /* */"] {
            assert_eq!(statements(text.as_bytes()), None, "{text}");
        }
        assert_eq!(statements(b" ; -- nothing\n"), Some(vec![]));
    }
}
