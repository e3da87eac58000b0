//! A scanner for Postgres's lexical rules: where words, quoted things and comments begin and
//! end, in one pass and without a copy.
//! <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>

use super::bytes::{Class, class, is_word};

/// A piece of SQL text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An unquoted identifier or keyword, as written.
    Word(&'a [u8]),
    /// A quoted identifier without its quotes, doubled quotes inside still doubled.
    Quoted(&'a [u8]),
    /// A string, number or parameter.
    Value,
    /// Any other byte that is not white space.
    Symbol(u8),
}

impl Token<'_> {
    /// Whether it is this keyword, given in lower case.
    pub(super) fn is(self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }
}

/// The text can't be taken apart with certainty: something is not closed, or its end depends on
/// a setting that we don't know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclear;

/// Walks through SQL text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next token of a copy: it is not taken.
    pub(super) fn peek(&self) -> Result<Option<Token<'a>>, Unclear> {
        let mut copy = *self;
        copy.token()
    }

    /// The comment between slashes and stars that comes before the next token, if there is one.
    pub(super) fn next_comment(&mut self) -> Result<Option<&'a [u8]>, Unclear> {
        loop {
            match self.next_remark()? {
                Some([b'-', ..]) => {}
                found => return Ok(found),
            }
        }
    }

    /// The same of comments of both kinds.
    #[inline]
    pub(super) fn next_remark(&mut self) -> Result<Option<&'a [u8]>, Unclear> {
        match self.skip_blank() {
            Some((_, Class::Remark)) => self.remark(),
            _ => Ok(None),
        }
    }

    /// The next token, or `None` at the end.
    #[inline]
    pub(super) fn token(&mut self) -> Result<Option<Token<'a>>, Unclear> {
        let (first, class) = loop {
            match self.skip_blank() {
                None => return Ok(None),
                Some((_, Class::Remark)) if self.remark()?.is_some() => {}
                Some(found) => break found,
            }
        };
        let token = match class {
            Class::Word => self.word()?,
            Class::Digit => {
                self.take_while(|byte| is_word(byte) || byte == b'.');
                Token::Value
            }
            Class::Quote => self.string(Backslash::Doubtful)?,
            Class::DoubleQuote => self.quoted_identifier()?,
            Class::Dollar => self.dollar()?,
            Class::Blank | Class::Remark | Class::Before | Class::Other => {
                self.advance(1);
                Token::Symbol(first)
            }
        };
        Ok(Some(token))
    }

    /// The next byte that is not blank, which is not taken.
    #[inline]
    fn skip_blank(&mut self) -> Option<(u8, Class)> {
        loop {
            let &first = self.rest.first()?;
            match class(first) {
                Class::Blank => self.advance(1),
                class => return Some((first, class)),
            }
        }
    }

    /// The comment that begins here, if one does.
    fn remark(&mut self) -> Result<Option<&'a [u8]>, Unclear> {
        let start = self.rest;
        match start {
            [b'-', b'-', ..] => self.line_comment(),
            [b'/', b'*', ..] => self.comment()?,
            _ => return Ok(None),
        }
        Ok(start.get(..start.len() - self.rest.len()))
    }

    fn advance(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    fn take_while(&mut self, mut wanted: impl FnMut(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|&byte| !wanted(byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn line_comment(&mut self) {
        self.take_while(|byte| byte != b'\n' && byte != b'\r');
    }

    /// Comments nest.
    fn comment(&mut self) -> Result<(), Unclear> {
        let mut depth = 0_usize;
        loop {
            match self.rest {
                [b'/', b'*', ..] => {
                    depth += 1;
                    self.advance(2);
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.advance(2);
                    if depth == 0 {
                        return Ok(());
                    }
                }
                [_, ..] => self.advance(1),
                [] => return Err(Unclear),
            }
        }
    }

    fn string(&mut self, backslash: Backslash) -> Result<Token<'a>, Unclear> {
        self.advance(1);
        loop {
            self.take_while(|byte| byte != b'\'' && byte != b'\\');
            match (self.rest, backslash) {
                ([b'\'', b'\'', ..], _) => self.advance(2),
                ([b'\'', ..], _) => {
                    self.advance(1);
                    return Ok(Token::Value);
                }
                ([b'\\', _, ..], Backslash::Escapes) => self.advance(2),
                // With standard_conforming_strings off the string would go on after it.
                ([b'\\', b'\'' | b'\\', ..], Backslash::Doubtful) => return Err(Unclear),
                ([b'\\', ..], Backslash::Doubtful) => self.advance(1),
                _ => return Err(Unclear),
            }
        }
    }

    fn quoted_identifier(&mut self) -> Result<Token<'a>, Unclear> {
        self.advance(1);
        let start = self.rest;
        loop {
            self.take_while(|byte| byte != b'"');
            match self.rest {
                [b'"', b'"', ..] => self.advance(2),
                [b'"', ..] => {
                    let len = start.len() - self.rest.len();
                    self.advance(1);
                    return Ok(Token::Quoted(start.get(..len).unwrap_or_default()));
                }
                _ => return Err(Unclear),
            }
        }
    }

    /// `$1`, or `$tag$ … $tag$`.
    fn dollar(&mut self) -> Result<Token<'a>, Unclear> {
        let start = self.rest;
        self.advance(1);
        if self.rest.first().is_some_and(u8::is_ascii_digit) {
            self.take_while(is_word);
            return Ok(Token::Value);
        }
        self.take_while(|byte| is_word(byte) && byte != b'$');
        if self.rest.first() != Some(&b'$') {
            self.rest = start.get(1..).unwrap_or_default();
            return Ok(Token::Symbol(b'$'));
        }
        self.advance(1);
        let delimiter = start.get(..start.len() - self.rest.len()).unwrap_or_default();
        let end = memchr::memmem::find(self.rest, delimiter).ok_or(Unclear)?;
        self.advance(end + delimiter.len());
        Ok(Token::Value)
    }

    /// A word, or a string or identifier with a prefix: `E'…'`, `B'…'`, `U&'…'`, `U&"…"`.
    fn word(&mut self) -> Result<Token<'a>, Unclear> {
        let word = self.take_while(is_word);
        match (word, self.rest) {
            (b"e" | b"E", [b'\'', ..]) => self.string(Backslash::Escapes),
            (b"b" | b"B" | b"x" | b"X" | b"n" | b"N", [b'\'', ..]) => {
                self.string(Backslash::Doubtful)
            }
            // Escapes in them may spell any name.
            (b"u" | b"U", [b'&', b'\'' | b'"', ..]) => Err(Unclear),
            _ => Ok(Token::Word(word)),
        }
    }
}

/// What a backslash in a string does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backslash {
    Escapes,
    /// It depends on standard_conforming_strings.
    Doubtful,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<String, Unclear> {
        let mut scanner = Scanner::new(text.as_bytes());
        let mut shown = Vec::new();
        while let Some(token) = scanner.token()? {
            shown.push(match token {
                Token::Word(word) => String::from_utf8_lossy(word).into_owned(),
                Token::Quoted(name) => format!("\"{}\"", String::from_utf8_lossy(name)),
                Token::Value => "?".into(),
                Token::Symbol(byte) => char::from(byte).to_string(),
            });
        }
        Ok(shown.join(" "))
    }

    #[test]
    fn text_is_taken_apart_as_postgres_does() {
        for (text, expected) in [
            ("", ""),
            ("select 1", "select ?"),
            ("select 'it''s', $1, $q$ ; '$q$, $$x$$", "select ? , ? , ? , ?"),
            ("a--b\nc/* d /* e */ ' */f", "a c f"),
            ("select E'\\'' , B'01', x'ff'", "select ? , ? , ?"),
            ("\"a\"\"b\".c(1.5e3)", "\"a\"\"b\" . c ( ? )"),
            ("a$b $c", "a$b $ c"),
            ("select 'a\\b'", "select ?"),
            ("café(1)", "café ( ? )"),
        ] {
            assert_eq!(tokens(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_certain_end_is_unclear() {
        for text in
            ["'a", "\"a", "/* a", "$a$ b", "E'\\", "'a\\' or 1=1 --'", "U&'\\0061'", "U&\"a\""]
        {
            assert_eq!(tokens(text), Err(Unclear), "{text}");
        }
    }
}
