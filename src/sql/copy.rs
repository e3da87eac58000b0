//! How the rows of a `COPY … FROM STDIN` are written: its options, in either of their two syntaxes.
//! <https://www.postgresql.org/docs/current/sql-copy.html>
//!
//! What Postgres itself refuses need not be refused here: rows come only after it has agreed to take
//! them. What may be read in two ways is refused, and so is what changes which rows are stored.

use super::keys::{Construct, one_statement};
use super::scan::{Scanner, Token};

/// How rows are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// In which way.
    pub form: Form,
    /// The first line has names.
    pub header: bool,
    /// The rows are said to be in UTF-8, whatever the client's encoding is.
    pub utf8: bool,
}

/// The three ways of writing rows. Delimiters, quotes and nulls are ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines, with backslashes before what would be taken for something else.
    Text {
        /// Between fields.
        delimiter: u8,
        /// A field that is written so is NULL.
        null: Box<[u8]>,
    },
    /// Lines, with quotes around what would be taken for something else.
    Csv(Csv),
    /// Counts and lengths.
    Binary,
}

/// `FORMAT csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csv {
    /// Between fields.
    pub delimiter: u8,
    /// Around a field, or a part of it.
    pub quote: u8,
    /// Before a quote in quotes; may be the quote.
    pub escape: u8,
    /// A field that is written so, without quotes, is NULL.
    pub null: Box<[u8]>,
    /// What the key column is forced to.
    pub forced: Forced,
}

/// What a column is forced to, where it is written as NULL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forced {
    /// `FORCE_NULL`: it is NULL in quotes as well.
    pub null: bool,
    /// `FORCE_NOT_NULL`: it is not NULL without quotes either.
    pub not_null: bool,
}

/// What a backslash in `'…'` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strings {
    /// `standard_conforming_strings` is on: it stands for itself.
    Conforming,
    /// Nobody knows.
    #[default]
    Unknown,
}

impl Format {
    /// Of a text that is one `COPY … FROM STDIN`, whose table has this key column.
    ///
    /// # Errors
    ///
    /// It has an option that is not known here, or that can't be followed.
    pub fn read(text: &str, key: &str, strings: Strings) -> Result<Self, Construct> {
        one_statement(text).map_err(|refusal| refusal.construct)?;
        let mut pieces = pieces(text)?;
        let last = pieces.len().saturating_sub(1);
        if pieces.last().is_some_and(|piece| piece.token == Token::Symbol(b';')) {
            pieces.truncate(last);
        }
        let mut options = Options { key, strings, ..Options::default() };
        let mut reader = Reader { pieces: &pieces, at: 0 };
        reader.head(&mut options).ok_or(Construct::CopyOption)?;
        let listed = reader.symbol(b'(');
        let read = if listed { reader.listed(&mut options) } else { reader.unlisted(&mut options) };
        read.and_then(|()| options.format()).ok_or(Construct::CopyOption)
    }
}

/// A piece of the text, and how it is written.
#[derive(Clone, Copy)]
struct Piece<'t> {
    token: Token<'t>,
    raw: &'t [u8],
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Construct> {
    let mut scanner = Scanner::new(text.as_bytes());
    let mut pieces = Vec::new();
    loop {
        while scanner.next_comment()?.is_some() {}
        let start = scanner.rest();
        let Some(token) = scanner.token()? else { return Ok(pieces) };
        let raw = start.get(..start.len() - scanner.rest().len()).unwrap_or_default();
        pieces.push(Piece { token, raw });
    }
}

/// What the options say, where they say something.
#[derive(Default)]
struct Options<'t> {
    key: &'t str,
    strings: Strings,
    form: Option<Name>,
    delimiter: Option<Vec<u8>>,
    null: Option<Vec<u8>>,
    quote: Option<Vec<u8>>,
    escape: Option<Vec<u8>>,
    header: bool,
    utf8: bool,
    forced: Forced,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Name {
    #[default]
    Text,
    Csv,
    Binary,
}

/// Walks through the pieces. `None` is what is not understood.
struct Reader<'t> {
    pieces: &'t [Piece<'t>],
    at: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Option<Piece<'t>> {
        let piece = self.pieces.get(self.at).copied();
        self.at += usize::from(piece.is_some());
        piece
    }

    /// Takes the word, if it is the next.
    fn word(&mut self, word: &str) -> bool {
        let found = self.pieces.get(self.at).is_some_and(|piece| piece.token.is(word));
        self.at += usize::from(found);
        found
    }

    fn symbol(&mut self, symbol: u8) -> bool {
        let token = self.pieces.get(self.at).map(|piece| piece.token);
        let found = token == Some(Token::Symbol(symbol));
        self.at += usize::from(found);
        found
    }

    fn is_over(&self) -> bool {
        self.pieces.get(self.at).is_none_or(|piece| piece.token.is("where"))
    }

    /// The name that is next.
    fn name(&mut self) -> Option<String> {
        self.next().and_then(|piece| piece.name())
    }

    fn string(&mut self, strings: Strings) -> Option<Vec<u8>> {
        self.next().and_then(|piece| piece.string(strings))
    }

    /// `COPY [BINARY] table [(columns)] FROM STDIN [[USING] DELIMITERS '…'] [WITH]`.
    fn head(&mut self, options: &mut Options<'_>) -> Option<()> {
        if !self.word("copy") {
            return None;
        }
        // No table has this name without quotes.
        if self.word("binary") {
            options.form = Some(Name::Binary);
        }
        self.name()?;
        while self.symbol(b'.') {
            self.name()?;
        }
        if self.symbol(b'(') {
            self.names()?;
        }
        if !self.word("from") || !self.word("stdin") {
            return None;
        }
        let using = self.word("using");
        if self.word("delimiters") {
            options.delimiter = Some(self.string(options.strings)?);
        } else if using {
            return None;
        }
        self.word("with");
        Some(())
    }

    /// Names up to the bracket that closes them.
    fn names(&mut self) -> Option<Vec<String>> {
        let names = self.bare_names()?;
        self.symbol(b')').then_some(names)
    }

    /// `FORMAT csv, HEADER)`.
    fn listed(&mut self, options: &mut Options<'_>) -> Option<()> {
        loop {
            let name = self.name()?;
            self.option(&name, options)?;
            if self.symbol(b')') {
                return self.is_over().then_some(());
            }
            if !self.symbol(b',') {
                return None;
            }
        }
    }

    fn option(&mut self, name: &str, options: &mut Options<'_>) -> Option<()> {
        let strings = options.strings;
        match name {
            "format" => options.form = Some(self.next()?.form()?),
            "delimiter" => options.delimiter = Some(self.string(strings)?),
            "null" => options.null = Some(self.string(strings)?),
            "quote" => options.quote = Some(self.string(strings)?),
            "escape" => options.escape = Some(self.string(strings)?),
            "header" => options.header = self.switch(true)?,
            "freeze" => drop(self.switch(false)?),
            "force_null" => options.forced.null = self.among(options.key)?,
            "force_not_null" => options.forced.not_null = self.among(options.key)?,
            "encoding" => options.utf8 = self.next()?.is_utf8(strings)?,
            "on_error" => self.next()?.says("stop", strings)?,
            "log_verbosity" => drop(self.next()?),
            _ => return None,
        }
        Some(())
    }

    /// What a switch is set to; without a value, it is on.
    fn switch(&mut self, matching: bool) -> Option<bool> {
        let next = self.pieces.get(self.at)?;
        if matches!(next.token, Token::Symbol(b',' | b')')) {
            return Some(true);
        }
        let raw = self.next()?.raw.to_ascii_lowercase();
        let bare = raw.strip_prefix(b"'").and_then(|raw| raw.strip_suffix(b"'"));
        match bare.unwrap_or(&raw) {
            b"true" | b"on" => Some(true),
            b"false" | b"off" => Some(false),
            b"match" if matching => Some(true),
            b"1" if bare.is_none() => Some(true),
            b"0" if bare.is_none() => Some(false),
            _ => None,
        }
    }

    /// Whether the key is among columns in brackets, or all are.
    fn among(&mut self, key: &str) -> Option<bool> {
        if self.symbol(b'*') {
            return Some(true);
        }
        let names = self.symbol(b'(').then(|| self.names())??;
        Some(names.iter().any(|name| name == key))
    }

    /// `CSV HEADER QUOTE AS '"'`.
    fn unlisted(&mut self, options: &mut Options<'_>) -> Option<()> {
        let strings = options.strings;
        while !self.is_over() {
            let name = self.next().filter(|piece| matches!(piece.token, Token::Word(_)))?.name()?;
            match name.as_str() {
                "binary" => options.form = Some(Name::Binary),
                "csv" => options.form = Some(Name::Csv),
                "header" => options.header = true,
                "freeze" => {}
                "delimiter" | "null" | "quote" | "escape" => {
                    self.word("as");
                    self.option(&name, options)?;
                }
                "encoding" => options.utf8 = self.next()?.is_utf8(strings)?,
                "force" => {
                    let not = self.word("not");
                    if !self.word("null") {
                        return None;
                    }
                    let has_key = self.bare_names()?.iter().any(|name| name == options.key);
                    if not {
                        options.forced.not_null = has_key;
                    } else {
                        options.forced.null = has_key;
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn bare_names(&mut self) -> Option<Vec<String>> {
        let mut names = vec![self.name()?];
        while self.symbol(b',') {
            names.push(self.name()?);
        }
        Some(names)
    }
}

impl Piece<'_> {
    /// A name as Postgres folds it.
    fn name(self) -> Option<String> {
        match self.token {
            Token::Word(word) => Some(String::from_utf8_lossy(word).to_ascii_lowercase()),
            Token::Quoted(word) => Some(String::from_utf8_lossy(word).replace("\"\"", "\"")),
            Token::Value | Token::Symbol(_) => None,
        }
    }

    /// A word, or a string.
    fn text(self, strings: Strings) -> Option<Vec<u8>> {
        self.name().map(String::into_bytes).or_else(|| self.string(strings))
    }

    fn form(self) -> Option<Name> {
        match self.text(Strings::Unknown)?.as_slice() {
            b"text" => Some(Name::Text),
            b"csv" => Some(Name::Csv),
            b"binary" => Some(Name::Binary),
            _ => None,
        }
    }

    fn is_utf8(self, strings: Strings) -> Option<bool> {
        let mut name = self.text(strings)?;
        name.retain(u8::is_ascii_alphanumeric);
        let is_utf8 = [&b"utf8"[..], b"unicode"].iter().any(|of| name.eq_ignore_ascii_case(of));
        is_utf8.then_some(true)
    }

    fn says(self, word: &str, strings: Strings) -> Option<()> {
        self.text(strings)?.eq_ignore_ascii_case(word.as_bytes()).then_some(())
    }

    /// What a string constant stands for.
    fn string(self, strings: Strings) -> Option<Vec<u8>> {
        if self.token != Token::Value {
            return None;
        }
        match self.raw {
            [b'\'', inside @ .., b'\''] => {
                let plain = strings == Strings::Conforming || !inside.contains(&b'\\');
                plain.then(|| undoubled(inside))
            }
            [b'e' | b'E', b'\'', inside @ .., b'\''] => unescaped(inside),
            [b'$', rest @ ..] => {
                let tag = rest.iter().position(|byte| *byte == b'$')? + 2;
                self.raw.get(tag..self.raw.len().checked_sub(tag)?).map(<[u8]>::to_vec)
            }
            _ => None,
        }
    }
}

/// The inside of a string, where a doubled quote stands for one.
fn undoubled(inside: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        out.push(*byte);
        if *byte == b'\'' {
            bytes.next();
        }
    }
    out
}

/// What a letter behind a backslash stands for, in strings and in rows.
pub fn control(letter: u8) -> Option<u8> {
    Some(match letter {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    })
}

/// The inside of `E'…'`. What only some versions know, or nobody needs, is `None`.
fn unescaped(inside: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = inside;
    while let [first, behind @ ..] = rest {
        rest = behind;
        match (*first, behind) {
            (b'\'', [b'\'', behind @ ..]) => {
                out.push(b'\'');
                rest = behind;
            }
            (b'\\', [escaped, behind @ ..]) => {
                rest = behind;
                out.push(match *escaped {
                    b'x' | b'0'..=b'7' => {
                        let (value, behind) = number(*escaped, behind)?;
                        rest = behind;
                        value
                    }
                    byte if byte.is_ascii_punctuation() => byte,
                    letter => control(letter)?,
                });
            }
            (b'\'' | b'\\', _) => return None,
            (byte, _) => out.push(byte),
        }
    }
    Some(out)
}

/// `\x3B` and `\073`, of whose first character nothing is left, and what follows it.
fn number(first: u8, behind: &[u8]) -> Option<(u8, &[u8])> {
    let (radix, more, start) = match first {
        b'x' => (16, 2, 0),
        digit => (8, 2, u32::from(digit - b'0')),
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(radix);
    let count = behind.iter().take(more).take_while(|byte| digit(byte).is_some()).count();
    let (digits, rest) = behind.split_at_checked(count)?;
    if radix == 16 && digits.is_empty() {
        return None;
    }
    let value = digits.iter().filter_map(digit).fold(start, |value, digit| value * radix + digit);
    Some((u8::try_from(value).ok()?, rest))
}

impl Options<'_> {
    fn format(self) -> Option<Format> {
        let null = |otherwise: &[u8]| self.null.clone().unwrap_or(otherwise.to_vec()).into();
        let one = |given: &Option<Vec<u8>>, otherwise: u8| match given.as_deref() {
            None => Some(otherwise),
            Some(&[byte]) => Some(byte),
            Some(_) => None,
        };
        let form = match self.form.unwrap_or_default() {
            Name::Binary => Form::Binary,
            Name::Text => {
                Form::Text { delimiter: one(&self.delimiter, b'\t')?, null: null(b"\\N") }
            }
            Name::Csv => {
                let quote = one(&self.quote, b'"')?;
                Form::Csv(Csv {
                    delimiter: one(&self.delimiter, b',')?,
                    quote,
                    escape: one(&self.escape, quote)?,
                    null: null(b""),
                    forced: self.forced,
                })
            }
        };
        let format = Format { form, header: self.header, utf8: self.utf8 };
        format.is_certain().then_some(format)
    }
}

impl Format {
    /// Whether characters that mean something differ, as Postgres wants it, and from those that a
    /// `\.` has in CSV, as some versions read it.
    fn is_certain(&self) -> bool {
        let usable = |byte: u8| byte.is_ascii() && !b"\0\r\n".contains(&byte);
        let is_null = |null: &[u8], apart: &[u8]| {
            null.iter().all(|byte| usable(*byte) && !apart.contains(byte))
        };
        match &self.form {
            Form::Binary => !self.header,
            Form::Text { delimiter, null } => {
                let taken = delimiter.is_ascii_lowercase()
                    || delimiter.is_ascii_digit()
                    || b"\\.".contains(delimiter);
                usable(*delimiter) && !taken && is_null(null, &[*delimiter])
            }
            Form::Csv(Csv { delimiter, quote, escape, null, .. }) => {
                let clear = |byte: u8| usable(byte) && !b"\\.".contains(&byte);
                let differ = delimiter != quote && delimiter != escape;
                clear(*delimiter)
                    && clear(*quote)
                    && usable(*escape)
                    && differ
                    && is_null(null, &[*delimiter, *quote])
            }
        }
    }
}

#[cfg(test)]
mod tests;
