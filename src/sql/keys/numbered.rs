//! Texts with numbers in the place of their values: what the parser of trees gets, so that every
//! value in a tree shows where in the text it stands.
//!
//! Values are counted as the scanner finds them, parameters among them, from 0. What is counted in one
//! text is counted alike in every other that differs from it in plain values alone.

use std::ops::Range;

use crate::sql::facts::{Places, by_word, is_operator, is_plain_value};
use crate::sql::scan::{Scanner, Token, Unclear};

use super::Construct;

/// One statement of a text.
#[derive(Debug, Default)]
pub(in crate::sql) struct Numbered<'a> {
    /// Without comments, and with a number for each value: strings have it in quotes, parameters
    /// behind their dollar.
    pub(in crate::sql) text: String,
    /// What it consists of, each with its place in [`Numbered::text`].
    pub(in crate::sql) tokens: Vec<(Token<'a>, usize)>,
    /// Where each of them stands in the text that was taken apart.
    pub(in crate::sql) places: Vec<Range<usize>>,
    /// Which of them are its values, by their numbers in it.
    pub(in crate::sql) values: Vec<usize>,
    /// The parameters among its values, by the value's number, and by the number as written.
    pub(super) parameters: Vec<(u32, u16)>,
}

/// Brackets inside of brackets.
const DEPTH_MAX: usize = 24;
/// What makes a tree deeper without brackets: operators, above all.
const CHAIN_MAX: usize = 300;

/// Takes a text apart; empty statements are left out.
pub(super) fn statements(text: &str) -> Result<Vec<Numbered<'_>>, Construct> {
    let mut scanner = Scanner::new(text.as_bytes());
    let mut statements = Vec::new();
    let mut current = Numbered::default();
    let mut chains = Chains::default();
    let mut next = 0;
    let mut string_before = false;
    loop {
        let before = scanner.rest();
        while scanner.next_comment()?.is_some() {}
        let start = scanner.rest();
        let blank = before.len() != start.len();
        let Some(token) = scanner.token()? else { break };
        if token == Token::Symbol(b';') {
            statements.push(std::mem::take(&mut current));
            (chains, string_before) = (Chains::default(), false);
            continue;
        }
        let raw = start.get(..start.len() - scanner.rest().len()).unwrap_or_default();
        if blank {
            current.text.push(' ');
        }
        // FROM ONLY t: which rows of t there are makes no difference.
        if token.is("only") && !current.ends_with_any(&["row", "rows", "read"]) {
            continue;
        }
        if token == Token::Value {
            current.values.push(current.tokens.len());
        }
        current.tokens.push((token, current.text.len()));
        current.places.push(text.len() - start.len()..text.len() - scanner.rest().len());
        let is_string = token == Token::Value && !matches!(raw, [b'0'..=b'9', ..]);
        match token {
            Token::Value => {
                let parameter = is_parameter(raw);
                // Strings that follow one another may be one.
                if !is_plain_value(raw) || is_string && string_before && parameter.is_none() {
                    return Err(Construct::Text);
                }
                current.value(raw, parameter, next)?;
                next += 1;
            }
            _ => current.text.push_str(&String::from_utf8_lossy(raw)),
        }
        string_before = is_string;
        chains.add(token);
        if !chains.are_short() {
            return Err(Construct::Size);
        }
    }
    statements.push(current);
    statements.retain(|statement| !statement.tokens.is_empty());
    Ok(statements)
}

/// What makes the tree of a statement deeper.
#[derive(Debug, Default)]
struct Chains {
    /// Outside of brackets, from the last comma on.
    outside: usize,
    /// In each of those that are open, from its last comma on.
    inside: Vec<usize>,
    /// All that goes on behind commas of its own.
    sets: usize,
}

/// Words between queries, which have lists.
const SETS: [&str; 4] = ["union", "except", "intersect", "minus"];

impl Chains {
    fn add(&mut self, token: Token<'_>) {
        let here = self.inside.last_mut().unwrap_or(&mut self.outside);
        match token {
            Token::Symbol(b'(') => self.inside.push(0),
            // An array's type may have any number of them.
            Token::Symbol(b'[') => {
                *here += 1;
                self.inside.push(0);
            }
            Token::Symbol(b')' | b']') => drop(self.inside.pop()),
            Token::Symbol(b',') => *here = 0,
            Token::Word(_) if SETS.iter().any(|word| token.is(word)) => self.sets += 1,
            token => *here += deepens(token),
        }
    }

    fn are_short(&self) -> bool {
        let all = self.outside + self.sets + self.inside.iter().sum::<usize>();
        self.inside.len() < DEPTH_MAX && all <= CHAIN_MAX
    }
}

/// By how much a token may have what is before it, or behind, deeper in a tree.
fn deepens(token: Token<'_>) -> usize {
    match token {
        Token::Symbol(byte) => usize::from(byte == b':' || is_operator(byte)),
        Token::Word(_) => by_word(token),
        Token::Quoted(_) | Token::Value => 0,
    }
}

impl Numbered<'_> {
    fn value(&mut self, raw: &[u8], parameter: Option<&[u8]>, at: u32) -> Result<(), Construct> {
        use std::fmt::Write as _;
        let written = match (parameter, raw) {
            (Some(digits), _) => {
                let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
                self.parameters.push((at, number.ok_or(Construct::Text)?));
                write!(self.text, "${at}")
            }
            (None, [b'0'..=b'9', ..]) => write!(self.text, "{at}"),
            (None, _) => write!(self.text, "'{at}'"),
        };
        written.ok().ok_or(Construct::Text)
    }

    /// The text from a token on.
    pub(in crate::sql) fn text_from(&self, token: usize) -> &str {
        let at = self.tokens.get(token).map_or(self.text.len(), |(_, at)| *at);
        self.text.get(at..).unwrap_or_default()
    }

    /// The text between two tokens.
    pub(in crate::sql) fn text_between(&self, start: usize, end: usize) -> &str {
        let end = self.tokens.get(end).map_or(self.text.len(), |(_, at)| *at);
        let start = self.tokens.get(start + 1).map_or(end, |(_, at)| *at);
        self.text.get(start..end).unwrap_or_default()
    }

    /// The symbol that the token of this place is.
    pub(in crate::sql) fn symbol(&self, at: usize) -> Option<u8> {
        match self.tokens.get(at)?.0 {
            Token::Symbol(byte) => Some(byte),
            Token::Word(_) | Token::Quoted(_) | Token::Value => None,
        }
    }

    /// The bracket that closes the one here.
    pub(in crate::sql) fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        (open..self.tokens.len()).find(|at| {
            match self.symbol(*at) {
                Some(b'(') => depth += 1,
                Some(b')') => depth = depth.saturating_sub(1),
                _ => return false,
            }
            depth == 0
        })
    }

    /// Where what EXPLAIN and its options stand before begins.
    pub(in crate::sql) fn behind_explain(&self) -> usize {
        const QUERIES: [&str; 4] = ["select", "with", "values", "table"];
        let mut at = 0;
        while self.is(at, "explain") {
            at += 1;
            let is_query = QUERIES.iter().any(|word| self.is(at + 1, word));
            let opens = |at| self.symbol(at) == Some(b'(');
            if opens(at) && !is_query && !opens(at + 1) {
                while !matches!(self.symbol(at), Some(b')')) && at < self.tokens.len() {
                    at += 1;
                }
                at += 1;
            }
            while ["analyze", "analyse", "verbose"].iter().any(|word| self.is(at, word)) {
                at += 1;
            }
        }
        at
    }

    fn ends_with_any(&self, words: &[&str]) -> bool {
        self.tokens.last().is_some_and(|(last, _)| words.iter().any(|word| last.is(word)))
    }

    /// Whether the token of this place is this word.
    pub(in crate::sql) fn is(&self, token: usize, word: &str) -> bool {
        self.tokens.get(token).is_some_and(|(token, _)| token.is(word))
    }
}

fn is_parameter(raw: &[u8]) -> Option<&[u8]> {
    match raw {
        [b'$', digits @ ..] if digits.first().is_some_and(u8::is_ascii_digit) => Some(digits),
        _ => None,
    }
}

impl From<Unclear> for Construct {
    fn from(Unclear: Unclear) -> Self {
        Self::Text
    }
}

/// The values of a text by their numbers, as they stand there. Asked for in their order, they take one
/// walk through the text.
#[derive(Clone, Copy, Debug)]
pub struct Literals<'a> {
    text: &'a [u8],
    /// Where the first ones are known to be.
    places: Places,
    scanner: Scanner<'a>,
    next: u32,
}

impl<'a> Literals<'a> {
    /// The values of this text.
    pub fn new(text: &'a [u8]) -> Self {
        Self::with(text, Places::default())
    }

    /// The same, with the places of the first ones, as far as they are known.
    pub fn with(text: &'a [u8], places: Places) -> Self {
        Self { text, places, scanner: Scanner::new(text), next: 0 }
    }

    /// The value of this number; `None` if there are fewer.
    pub fn get(&mut self, at: u32) -> Option<&'a [u8]> {
        if let Some((start, end)) = self.places.get(at) {
            return self.text.get(start..end);
        }
        if at < self.next {
            *self = Self::with(self.text, self.places);
        }
        loop {
            while self.scanner.next_comment().ok()?.is_some() {}
            let start = self.scanner.rest();
            if self.scanner.token().ok()?? == Token::Value {
                self.next += 1;
                if self.next > at {
                    return start.get(..start.len() - self.scanner.rest().len());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Result<Vec<String>, Construct> {
        let statements = statements(text)?;
        Ok(statements.into_iter().map(|statement| statement.text).collect())
    }

    #[test]
    fn values_have_their_numbers_in_the_text() {
        for (text, expected) in [
            ("SELECT 7", &["SELECT 0"][..]),
            ("a = 'it''s' AND b=$12::int -- c\n AND c=E'x'", &["a = '0' AND b=$1::int AND c='2'"]),
            (
                "; SELECT 5;; SELECT $$a;b$$ /* c */ , \"d;\" ;",
                &[" SELECT 0", " SELECT '1' , \"d;\""],
            ),
            ("SELECT 'a' , 'b'", &["SELECT '0' , '1'"]),
            ("", &[]),
        ] {
            assert_eq!(texts(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_not_read() {
        for (text, construct) in [
            ("SELECT 'a' 'b'", Construct::Text),
            ("SELECT 'a'\n'b'", Construct::Text),
            ("SELECT 0x1F", Construct::Text),
            ("SELECT 1_000", Construct::Text),
            ("SELECT 5and", Construct::Text),
            ("SELECT U&'a'", Construct::Text),
            ("SELECT $70000", Construct::Text),
            (&"(".repeat(30), Construct::Size),
            (&format!("SELECT {}", "1 + ".repeat(400)), Construct::Size),
        ] {
            assert_eq!(texts(text), Err(construct), "{text}");
        }
        let rows = "(1, -2, 'a'::text), ".repeat(3000);
        assert!(texts(&format!("INSERT INTO t VALUES {rows} (1)")).is_ok());
    }

    #[test]
    fn values_are_found_by_their_numbers() {
        let mut literals = Literals::new(b"SELECT 'a', $1 /* 5 */, \"7\", 42 FROM t");
        for (at, value) in [(0, &b"'a'"[..]), (2, b"42"), (1, b"$1"), (2, b"42")] {
            assert_eq!(literals.get(at), Some(value), "{at}");
        }
        assert_eq!(literals.get(3), None);
        assert_eq!(literals.get(0), Some(&b"'a'"[..]));
    }
}
