//! A query in plainer words: the same names in the same places, without what the parser of trees
//! does not know and what has no part in the names.
//!
//! Values become one value, and rare operators a common one.

use crate::sql::scan::{Scanner, Token};

/// A query as it is given to the parser.
#[derive(Debug, Default)]
pub(super) struct Plain<'a> {
    tokens: Vec<Piece<'a>>,
    /// How many tokens are still to be left out.
    skip: usize,
}

#[derive(Clone, Copy, Debug)]
enum Piece<'a> {
    Word(&'a [u8]),
    Quoted(&'a [u8]),
    Symbol(u8),
    Text(&'static str),
}

/// Operators that the parser knows in every place.
const KNOWN: [&str; 13] = ["*", "+", "-", "/", "=", "<", ">", "<=", ">=", "<>", "!=", "||", "=>"];

/// Types whose name may stand before a string, which the parser does not know of all.
const TYPES: [&str; 24] = [
    "inet",
    "cidr",
    "macaddr",
    "box",
    "point",
    "line",
    "lseg",
    "polygon",
    "circle",
    "money",
    "bool",
    "int2",
    "int4",
    "int8",
    "float4",
    "float8",
    "uuid",
    "json",
    "jsonb",
    "tsvector",
    "tsquery",
    "regclass",
    "name",
    "int4range",
];

/// Words that a relation or a function in its place follows.
const RELATION: [&str; 3] = ["from", "join", "lateral"];

/// Words that a query begins with, or what writes in the place of one.
const QUERY: [&str; 8] =
    ["select", "with", "values", "table", "insert", "update", "delete", "merge"];

impl<'a> Plain<'a> {
    /// An operator; `behind` is behind it.
    pub(super) fn operator(&mut self, operator: &str, after_dot: bool, behind: Scanner<'a>) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let is = |word: &str| matches!(behind.peek(), Ok(Some(token)) if token.is(word));
        // f(a := 1)
        if operator == "="
            && let [.., other, Piece::Symbol(b':')] = self.tokens.as_slice()
            && !matches!(other, Piece::Symbol(b':'))
        {
            self.tokens.pop();
            self.tokens.push(Piece::Text("=>"));
            return;
        }
        let [.., ended, Piece::Symbol(b'.')] = self.tokens.as_slice() else {
            let known = KNOWN.into_iter().find(|known| *known == operator);
            let compares = is("any") || is("all") || is("some");
            // What may stand before a value as well as between two.
            let other = if compares { "=" } else { "-" };
            self.tokens.push(Piece::Text(known.unwrap_or(other)));
            return;
        };
        // (row).* is any expression.
        if after_dot && matches!(ended, Piece::Symbol(b')')) && operator == "*" {
            self.tokens.pop();
        } else {
            self.tokens.push(Piece::Text("*"));
        }
    }

    /// Any other token; `behind` is behind it.
    pub(super) fn token(
        &mut self,
        token: Token<'a>,
        before: Option<Token<'a>>,
        behind: Scanner<'a>,
    ) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let next = |word: &str| matches!(behind.peek(), Ok(Some(token)) if token.is(word));
        let was = |word: &str| before.is_some_and(|before| before.is(word));
        match token {
            _ if before == Some(Token::Symbol(b'.')) => self.push(token),
            _ if token.is("variadic") || token.is("symmetric") || token.is("asymmetric") => {}
            _ if token.is("table") => self.tokens.push(Piece::Text("SELECT * FROM")),
            // XMLELEMENT(NAME …
            _ if token.is("name") && self.in_xml() => {}
            _ if token.is("isnull") => self.tokens.push(Piece::Text("IS NULL")),
            _ if token.is("notnull") => self.tokens.push(Piece::Text("IS NOT NULL")),
            _ if token.is("only")
                && (was("from") || was("join") || before == Some(Token::Symbol(b','))) => {}
            _ if token.is("as")
                && before == Some(Token::Symbol(b')'))
                && defines_columns(behind) =>
            {
                self.tokens.push(Piece::Text("AS pgweir"));
            }
            // GROUP BY DISTINCT …
            _ if was("by") && (token.is("distinct") || token.is("all")) => {}
            // trim(LEADING FROM …
            _ if (token.is("leading") || token.is("trailing") || token.is("both"))
                && next("from") =>
            {
                self.skip = 1;
            }
            _ if token.is("rows") && next("from") && RELATION.iter().any(|word| was(word)) => {
                self.skip = 2;
                self.tokens.push(Piece::Text("(SELECT"));
            }
            // RANGE '1 day'::interval PRECEDING: the parser takes the string for an interval.
            Token::Value if is_frame(behind) => {
                self.tokens.push(Piece::Text("1"));
                self.skip = 3;
            }
            _ if before == Some(Token::Symbol(b')')) && token.is("search") => match order(behind) {
                Some(len) => self.skip = len,
                None => self.push(token),
            },
            _ if token.is("cycle") => match cycle(behind) {
                Some(len) => self.skip = len,
                None => self.push(token),
            },
            // Of a window's frame.
            _ if token.is("exclude") && (next("current") || next("no")) => self.skip = 2,
            _ if token.is("exclude") && (next("group") || next("ties")) => self.skip = 1,
            _ => self.push(token),
        }
    }

    /// A number or a parameter.
    pub(super) fn number(&mut self) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.tokens.push(Piece::Text("1"));
    }

    fn in_xml(&self) -> bool {
        let [.., Piece::Word(word), Piece::Symbol(b'(')] = self.tokens.as_slice() else {
            return false;
        };
        word.eq_ignore_ascii_case(b"xmlelement") || word.eq_ignore_ascii_case(b"xmlpi")
    }

    fn push(&mut self, token: Token<'a>) {
        match token {
            Token::Word(word) => self.tokens.push(Piece::Word(word)),
            Token::Quoted(word) => self.tokens.push(Piece::Quoted(word)),
            Token::Symbol(byte) => self.tokens.push(Piece::Symbol(byte)),
            Token::Value => {
                // inet '10.0.0.1'
                if let Some(Piece::Word(word)) = self.tokens.last()
                    && TYPES.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
                {
                    self.tokens.pop();
                }
                self.tokens.push(Piece::Text("'x'"));
            }
        }
    }

    /// As text.
    pub(super) fn text(&self) -> String {
        let mut text = Vec::new();
        for piece in &self.tokens {
            match piece {
                Piece::Word(word) => spaced(&mut text, &[word]),
                Piece::Quoted(word) => spaced(&mut text, &[b"\"", word, b"\""]),
                Piece::Text(known) => spaced(&mut text, &[known.as_bytes()]),
                Piece::Symbol(byte) => text.push(*byte),
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Adds what must not run into what is before it.
fn spaced(text: &mut Vec<u8>, parts: &[&[u8]]) {
    if !matches!(text.last(), None | Some(b'.' | b'(' | b'[')) {
        text.push(b' ');
    }
    parts.iter().for_each(|part| text.extend_from_slice(part));
}

/// `(a int, …)` behind `AS`, and no query.
fn defines_columns(mut scanner: Scanner<'_>) -> bool {
    let opens = matches!(scanner.token(), Ok(Some(Token::Symbol(b'('))));
    let name = match scanner.token() {
        Ok(Some(name @ (Token::Word(_) | Token::Quoted(_)))) => name,
        _ => return false,
    };
    opens && !QUERY.iter().any(|word| name.is(word))
}

/// `::interval PRECEDING`
fn is_frame(mut scanner: Scanner<'_>) -> bool {
    let mut next = || scanner.token().ok().flatten();
    next() == Some(Token::Symbol(b':'))
        && next() == Some(Token::Symbol(b':'))
        && next().is_some_and(|token| token.is("interval"))
        && next().is_some_and(|token| token.is("preceding") || token.is("following"))
}

/// How many tokens `DEPTH FIRST BY a, b SET c` has, behind `SEARCH`; `None` where it is another.
fn order(mut scanner: Scanner<'_>) -> Option<usize> {
    let first = scanner.token().ok()??;
    if !first.is("depth") && !first.is("breadth") {
        return None;
    }
    for word in ["first", "by"] {
        scanner.token().ok()?.filter(|token| token.is(word))?;
    }
    let columns = columns(&mut scanner)?;
    name(&mut scanner)?;
    Some(3 + columns + 1)
}

/// The same of `a, b SET c USING d` or `a, b SET c TO 1 DEFAULT 2 USING d`, behind `CYCLE`.
fn cycle(mut scanner: Scanner<'_>) -> Option<usize> {
    let mut count = columns(&mut scanner)? + 1;
    name(&mut scanner)?;
    let mut next = scanner.token().ok()??;
    for word in ["to", "default"] {
        if next.is(word) {
            count += 2;
            match scanner.token().ok()?? {
                Token::Value => {}
                token if token.is("true") || token.is("false") => {}
                _ => return None,
            }
            next = scanner.token().ok()??;
        }
    }
    name(&mut scanner)?;
    next.is("using").then_some(count + 2)
}

/// The tokens of `a, b SET`.
fn columns(scanner: &mut Scanner<'_>) -> Option<usize> {
    let mut count = 0;
    loop {
        name(scanner)?;
        count += 2;
        match scanner.token().ok()?? {
            Token::Symbol(b',') => {}
            token => return token.is("set").then_some(count),
        }
    }
}

fn name(scanner: &mut Scanner<'_>) -> Option<()> {
    let token = scanner.token().ok()??;
    matches!(token, Token::Word(_) | Token::Quoted(_)).then_some(())
}
