//! What the words of a statement show, by Postgres's own rules of lexing: no write and no lock
//! goes without its keyword, and no call without a name before a bracket.
//! <https://www.postgresql.org/docs/current/sql-keywords-appendix.html>

use std::collections::{BTreeMap, BTreeSet};

use super::chains::by_word;
use super::keywords;
use super::plain::Plain;
use super::{Access, Certainty, Isolation, Modes, Name, OF_A_TRANSACTION, Opaque};
use crate::sql::scan::{Scanner, Token, Unclear};

/// One statement.
#[derive(Debug, Default)]
pub(super) struct Look<'a> {
    pub(super) kind: Kind,
    /// What begins a transaction says of it.
    pub(super) modes: Modes,
    /// It says or does something that is about the transaction that it is in.
    pub(super) unsteady: bool,
    /// The word by which a query writes.
    pub(super) writes: Option<&'static str>,
    /// The words by which it locks.
    pub(super) locks: Option<&'static str>,
    /// It is deeper, or has longer chains of operators, than the tree may have.
    pub(super) deep: bool,
    /// The query itself, without what has it explained or copied; none where a relation is copied.
    pub(super) query: Option<Plain<'a>>,
    /// The relation that is copied.
    pub(super) copied: Option<Name>,
    pub(super) calls: BTreeMap<Name, Certainty>,
    pub(super) operators: BTreeSet<Box<str>>,
    pub(super) attributes: BTreeSet<Box<str>>,
    pub(super) mentions: BTreeSet<Box<str>>,
}

/// What kind of statement it is, by its first words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// It gives rows, or is the explanation or the copy of what does.
    Query,
    /// It ends a transaction, or sets a mark in it.
    Ends,
    /// It begins one.
    Begins,
    /// It is about the session, by this command.
    Session(String),
    /// It locks, by this command.
    Locks(String),
    /// It writes, by this command.
    Writes(String),
    /// It is no command that we know.
    #[default]
    Unknown,
}

impl From<Unclear> for Opaque {
    fn from(Unclear: Unclear) -> Self {
        Self::Text
    }
}

/// The next statement and what is behind it; `None` at the end.
pub(super) fn statement(text: &str) -> Result<Option<(Look<'_>, &str)>, Opaque> {
    let mut walk = Walk { scanner: Scanner::new(text.as_bytes()), text, number: false };
    let mut look = Look::default();
    let mut start = walk;
    while walk.token()? == Some(Token::Symbol(b';')) {
        start = walk;
    }
    walk = start;
    if !walk.command(&mut look)? {
        return Ok(None);
    }
    while !matches!(walk.token()?, None | Some(Token::Symbol(b';'))) {}
    Ok(Some((look, walk.rest())))
}

/// A scanner over text, and the text that it reads.
#[derive(Clone, Copy)]
struct Walk<'a> {
    scanner: Scanner<'a>,
    text: &'a str,
    /// The value that was read last is a number or a parameter.
    number: bool,
}

impl<'a> Walk<'a> {
    /// The next token; what Postgres's versions take apart in different ways is an error.
    fn token(&mut self) -> Result<Option<Token<'a>>, Opaque> {
        while self.scanner.next_comment()?.is_some() {}
        let before = self.scanner.rest();
        let token = self.scanner.token()?;
        if token == Some(Token::Value) {
            let taken = before.len() - self.scanner.rest().len();
            let raw = before.get(..taken).unwrap_or_default();
            if !is_plain_value(raw) {
                return Err(Opaque::Text);
            }
            self.number = matches!(raw, [b'0'..=b'9', ..] | [b'$', b'0'..=b'9', ..]);
        }
        Ok(token)
    }

    fn rest(&self) -> &'a str {
        let at = self.text.len() - self.scanner.rest().len();
        self.text.get(at..).unwrap_or_default()
    }

    fn peek_is(&self, keyword: &str) -> bool {
        matches!(self.scanner.peek(), Ok(Some(token)) if token.is(keyword))
    }

    fn skip(&mut self, keyword: &str) -> Result<bool, Opaque> {
        let found = self.peek_is(keyword);
        if found {
            self.token()?;
        }
        Ok(found)
    }

    /// Finds out what statement begins here; all of it is read if it is a query. `false` if there is
    /// none.
    fn command(&mut self, look: &mut Look<'a>) -> Result<bool, Opaque> {
        let mut start = *self;
        let Some(mut first) = self.token()? else {
            return Ok(false);
        };
        while first.is("explain") {
            start = self.explained()?;
            *self = start;
            match self.token()? {
                Some(token) => first = token,
                None => return Ok(true),
            }
        }
        let word = match first {
            Token::Symbol(b'(') => "(".to_owned(),
            Token::Word(_) => text_of(first),
            Token::Quoted(_) | Token::Value | Token::Symbol(_) => {
                *self = start;
                return Ok(true);
            }
        };
        if word == "copy" {
            self.copy(look)?;
            return Ok(true);
        }
        look.kind = kind(&word, *self);
        match look.kind {
            Kind::Query => {
                *self = start;
                self.query(look, End::Statement)?;
            }
            Kind::Begins => look.modes = self.modes()?,
            Kind::Session(_) if word == "set" && self.peek_is("transaction") => {
                let modes = self.modes()?;
                if modes.access == Access::ReadOnly {
                    (look.kind, look.modes) = (Kind::Begins, modes);
                }
            }
            Kind::Ends => look.unsteady = word == "savepoint" || word == "release",
            _ => {}
        }
        Ok(true)
    }

    /// Behind EXPLAIN and its options.
    fn explained(&self) -> Result<Self, Opaque> {
        let mut walk = *self;
        let opens = matches!(walk.scanner.peek(), Ok(Some(Token::Symbol(b'('))));
        let mut behind = walk;
        behind.token()?;
        let is_query =
            ["select", "with", "values", "table"].iter().any(|word| behind.peek_is(word))
                || matches!(behind.scanner.peek(), Ok(Some(Token::Symbol(b'('))));
        if opens && !is_query {
            while !matches!(walk.token()?, None | Some(Token::Symbol(b')' | b';'))) {}
            return Ok(walk);
        }
        for option in ["analyze", "analyse", "verbose"] {
            walk.skip(option)?;
        }
        Ok(walk)
    }

    /// `COPY … TO STDOUT` reads.
    fn copy(&mut self, look: &mut Look<'a>) -> Result<(), Opaque> {
        look.kind = Kind::Writes("COPY".to_owned());
        let mut walk = *self;
        if walk.scanner.peek()? == Some(Token::Symbol(b'(')) {
            walk.token()?;
            walk.query(look, End::Bracket)?;
        } else {
            let mut parts = Vec::new();
            while let Some(token) = walk.scanner.peek()? {
                match token {
                    Token::Word(_) | Token::Quoted(_) if token.is("to") || token.is("from") => {
                        break;
                    }
                    Token::Word(_) | Token::Quoted(_) => parts.push(text_of(token)),
                    Token::Symbol(b'.') => {}
                    Token::Symbol(b'(') => break,
                    Token::Value | Token::Symbol(_) => return Ok(()),
                }
                walk.token()?;
            }
            if walk.scanner.peek()? == Some(Token::Symbol(b'(')) {
                while !matches!(walk.token()?, None | Some(Token::Symbol(b')' | b';'))) {}
            }
            look.copied = name_of(&parts);
            if look.copied.is_none() {
                return Ok(());
            }
        }
        if walk.skip("to")? && walk.skip("stdout")? {
            look.kind = Kind::Query;
        }
        Ok(())
    }

    fn modes(&mut self) -> Result<Modes, Opaque> {
        let mut modes = Modes::default();
        let mut walk = *self;
        while let Some(token) = walk.token()?.filter(|token| *token != Token::Symbol(b';')) {
            let isolation = match () {
                () if token.is("serializable") => Isolation::Serializable,
                () if token.is("repeatable") => Isolation::RepeatableRead,
                () if token.is("committed") || token.is("uncommitted") => Isolation::ReadCommitted,
                () => Isolation::Default,
            };
            modes.isolation = modes.isolation.max(isolation);
            if token.is("read") && walk.peek_is("only") && modes.access == Access::Default {
                modes.access = Access::ReadOnly;
            } else if token.is("read") && walk.peek_is("write") {
                modes.access = Access::ReadWrite;
            }
        }
        Ok(modes)
    }

    /// Looks at every token of a query, up to its end. The bracket that ends it is read, what ends a
    /// statement is not.
    fn query(&mut self, look: &mut Look<'a>, end: End) -> Result<(), Opaque> {
        let (mut depth, mut chain) = (0_usize, 0_usize);
        let mut before: Option<Token<'a>> = None;
        let mut parts: Vec<String> = Vec::new();
        let mut attribute: Option<Box<str>> = None;
        let mut plain = Plain::default();
        loop {
            let here = *self;
            let token = self.token()?;
            let after_dot = before == Some(Token::Symbol(b'.'));
            if let Some(name) = attribute.take().filter(|_| token != Some(Token::Symbol(b'('))) {
                look.attributes.insert(name);
            }
            let token = match (token, end) {
                (None | Some(Token::Symbol(b';')), End::Statement) => {
                    *self = here;
                    break;
                }
                (Some(Token::Symbol(b')')), End::Bracket) if depth == 0 => break,
                (None | Some(Token::Symbol(b';')), End::Bracket) => return Err(Opaque::Grammar),
                (Some(Token::Symbol(b')')), End::Statement) if depth == 0 => {
                    return Err(Opaque::Grammar);
                }
                (Some(token), _) => token,
            };
            look.unsteady |= OF_A_TRANSACTION.iter().any(|name| token.is(name));
            match token {
                Token::Symbol(b'(') => {
                    if let Some(name @ (Token::Word(_) | Token::Quoted(_))) = before {
                        look.call(&parts, name);
                    }
                    depth += 1;
                    look.deep |= depth > DEPTH_MAX;
                }
                Token::Symbol(b')') => depth -= 1,
                Token::Symbol(byte) if is_operator(byte) => {
                    chain += 1;
                    let operator = self.operator(byte);
                    plain.operator(&operator, after_dot, self.scanner);
                    look.operators.insert(operator);
                }
                Token::Symbol(b'[' | b':') => chain += 1,
                Token::Word(word) if !after_dot => {
                    look.word(word, self);
                    chain += by_word(token);
                }
                _ => {}
            }
            match token {
                Token::Symbol(byte) if is_operator(byte) => {}
                Token::Value if self.number => plain.number(),
                _ => plain.token(token, before, self.scanner),
            }
            match token {
                Token::Word(_) | Token::Quoted(_) => {
                    if !after_dot {
                        parts.clear();
                    }
                    let quoted = matches!(token, Token::Quoted(_));
                    let name = text_of(token);
                    if quoted || after_dot || !keywords::is_reserved(&name) {
                        look.mentions.insert(name.as_str().into());
                    }
                    attribute = after_dot.then(|| name.as_str().into());
                    parts.push(name);
                }
                Token::Symbol(b'.') => {}
                Token::Value | Token::Symbol(_) => parts.clear(),
            }
            look.deep |= chain > CHAIN_MAX;
            before = Some(token);
        }
        look.query = Some(plain);
        Ok(())
    }

    /// The whole of an operator, whose first byte has just been read.
    fn operator(&mut self, first: u8) -> Box<str> {
        let mut operator = String::from(char::from(first));
        loop {
            match self.scanner.rest() {
                [b'-', b'-', ..] | [b'/', b'*', ..] => break,
                [byte, ..] if is_operator(*byte) => operator.push(char::from(*byte)),
                _ => break,
            }
            // One byte: nothing blank is before it.
            if self.scanner.token().is_err() {
                break;
            }
        }
        operator.into()
    }
}

/// Where a query ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With its statement.
    Statement,
    /// With the bracket that it stands in.
    Bracket,
}

impl<'a> Look<'a> {
    /// A word that is not qualified.
    fn word(&mut self, word: &[u8], behind: &Walk<'a>) {
        let token = Token::Word(word);
        if token.is("for") {
            let locks = [
                ("update", "FOR UPDATE"),
                ("no", "FOR NO KEY UPDATE"),
                ("share", "FOR SHARE"),
                ("key", "FOR KEY SHARE"),
            ];
            let found = locks.into_iter().find(|(word, _)| behind.peek_is(word));
            self.locks = self.locks.or(found.map(|(_, words)| words));
        }
        // FOR UPDATE is a lock, and says so before.
        if token.is("update") && self.locks.is_some() {
            return;
        }
        let writes = [
            ("into", "SELECT INTO"),
            ("insert", "INSERT"),
            ("update", "UPDATE"),
            ("delete", "DELETE"),
            ("merge", "MERGE"),
        ];
        let found = writes.into_iter().find(|(word, _)| token.is(word));
        // INTO belongs to an INSERT or MERGE that was seen before.
        self.writes = self.writes.or(found.map(|(_, words)| words));
    }

    fn call(&mut self, parts: &[String], last: Token<'_>) {
        let quoted = matches!(last, Token::Quoted(_));
        let Some(name) = name_of(parts) else {
            return;
        };
        let mut certainty = Certainty::Called;
        if name.schema.is_none() && !quoted {
            if keywords::is_reserved(&name.name) {
                return;
            }
            if keywords::is_syntax(&name.name) {
                certainty = Certainty::Syntax;
            }
        }
        let known = self.calls.entry(name).or_insert(certainty);
        if certainty == Certainty::Called {
            *known = certainty;
        }
    }
}

/// A name of one, two or three parts, of which the first is the database then.
fn name_of(parts: &[String]) -> Option<Name> {
    let (name, qualifiers) = parts.split_last()?;
    let schema = qualifiers.last().map(|schema| schema.as_str().into());
    Some(Name { schema, name: name.as_str().into() })
}

/// A name as Postgres folds it.
fn text_of(token: Token<'_>) -> String {
    match token {
        Token::Word(word) => String::from_utf8_lossy(word).to_ascii_lowercase(),
        Token::Quoted(word) => String::from_utf8_lossy(word).replace("\"\"", "\""),
        Token::Value | Token::Symbol(_) => String::new(),
    }
}

/// What kind of statement begins with this word; `behind` is behind it.
fn kind(word: &str, behind: Walk<'_>) -> Kind {
    let command = || word.to_ascii_uppercase();
    match word {
        "select" | "with" | "values" | "table" | "(" => Kind::Query,
        "begin" => Kind::Begins,
        "start" if behind.peek_is("transaction") => Kind::Begins,
        "commit" | "rollback" if behind.peek_is("prepared") => {
            Kind::Writes(format!("{} PREPARED", command()))
        }
        "prepare" if behind.peek_is("transaction") => {
            Kind::Writes("PREPARE TRANSACTION".to_owned())
        }
        "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => Kind::Ends,
        "set" | "reset" | "show" | "discard" | "listen" | "unlisten" | "declare" | "fetch"
        | "move" | "close" | "prepare" | "execute" | "deallocate" | "load" => {
            Kind::Session(command())
        }
        "lock" => Kind::Locks(command()),
        "insert" | "update" | "delete" | "merge" | "truncate" | "create" | "alter" | "drop"
        | "grant" | "revoke" | "comment" | "reindex" | "vacuum" | "analyze" | "analyse"
        | "cluster" | "refresh" | "do" | "call" | "import" | "security" | "reassign" | "notify"
        | "checkpoint" | "repack" => Kind::Writes(command()),
        _ => Kind::Unknown,
    }
}

/// Whether a number or parameter ends where every version of Postgres has it end. Strings do.
pub(in crate::sql) fn is_plain_value(raw: &[u8]) -> bool {
    match raw {
        [b'$', digits @ ..] if digits.first().is_some_and(u8::is_ascii_digit) => {
            digits.iter().all(u8::is_ascii_digit)
        }
        [b'0'..=b'9', ..] => {
            let mut digits = raw.iter().map(u8::to_ascii_lowercase);
            let plain = |byte: u8| byte.is_ascii_digit() || byte == b'.';
            // 1e5; the sign of an exponent is not taken as part of it.
            let exponents = raw.iter().filter(|byte| byte.eq_ignore_ascii_case(&b'e')).count();
            digits.all(|byte| plain(byte) || byte == b'e') && exponents <= 1
        }
        _ => true,
    }
}

pub(in crate::sql) fn is_operator(byte: u8) -> bool {
    b"+-*/<>=~!@#%^&|`?".contains(&byte)
}

/// Brackets inside of brackets.
const DEPTH_MAX: usize = 24;
/// What makes a tree deeper without brackets: operators, above all.
const CHAIN_MAX: usize = 400;
