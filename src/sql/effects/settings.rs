//! Commands and calls that change settings: which ones, where a text says so.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Effects, Leaves};
use crate::sql::scan::{Scanner, Token, Unclear};

/// Which settings a text resets, and does not set again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resets {
    all: bool,
    /// Where all are reset: but these. Else these.
    names: BTreeSet<Box<[u8]>>,
}

impl Resets {
    pub(super) const NONE: Self = Self { all: false, names: BTreeSet::new() };

    /// Whether the setting of this name is among them.
    pub fn has(&self, name: &[u8]) -> bool {
        self.names.contains(name) != self.all
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        !self.all && self.names.is_empty()
    }

    /// `RESET ALL` does not change who the session is.
    fn all_settings(&mut self) {
        let stays = IDENTITY.into_iter().filter(|name| !self.has(name));
        *self = Self { names: stays.map(Box::from).collect(), all: true };
    }

    pub(super) fn all(&mut self) {
        *self = Self { all: true, names: BTreeSet::new() };
    }

    fn reset(&mut self, name: &[u8]) {
        if !self.has(name) {
            self.turn(name);
        }
    }

    fn set(&mut self, name: &[u8]) {
        if self.has(name) {
            self.turn(name);
        }
    }

    fn turn(&mut self, name: &[u8]) {
        if !self.names.remove(name) {
            self.names.insert(name.into());
        }
    }
}

impl Effects {
    fn sets(&mut self, names: &[&[u8]]) {
        self.leaves |= Leaves::SETTINGS;
        for name in names {
            self.resets.set(name);
            self.settings.push((*name).into());
        }
    }

    fn resets(&mut self, names: &[&[u8]]) {
        self.leaves |= Leaves::RESET | Leaves::ANY_SETTINGS;
        for name in names {
            self.resets.reset(name);
        }
    }
}

/// Whether this goes on, or follows, the name of a setting: `.`, `=`, `TO`.
pub(in crate::sql) fn is_behind_name(token: Token<'_>) -> bool {
    matches!(token, Token::Symbol(b'.' | b'=')) || token.is("to")
}

const IDENTITY: [&[u8]; 2] = [b"role", b"session_authorization"];

const CHARACTERISTICS: [&[u8]; 3] = [
    b"default_transaction_isolation",
    b"default_transaction_read_only",
    b"default_transaction_deferrable",
];

/// `SET`, with what follows the word.
pub(super) fn set(mut scanner: Scanner<'_>, effects: &mut Effects) -> Result<(), Unclear> {
    let Some(mut first) = scanner.token()? else {
        effects.leaves |= Leaves::ANY_SETTINGS | Leaves::CODE;
        return Ok(());
    };
    // These end with the transaction, where they do not begin the name of a setting.
    let ends = ["local", "transaction", "constraints"].iter().any(|word| first.is(word));
    if ends && !scanner.peek()?.is_some_and(is_behind_name) {
        return Ok(());
    }
    if first.is("session") {
        match scanner.peek()? {
            Some(next) if next.is("characteristics") => {
                effects.sets(&CHARACTERISTICS);
                return Ok(());
            }
            Some(next) if next.is("authorization") => {
                scanner.token()?;
                match scanner.token()? {
                    Some(value) if value.is("default") => effects.resets(&IDENTITY),
                    // Whose rights count decides about the role, too.
                    _ => effects.sets(&IDENTITY),
                }
                return Ok(());
            }
            // SET SESSION = … would be a setting of that name.
            Some(next @ (Token::Word(_) | Token::Quoted(_))) => {
                scanner.token()?;
                first = next;
            }
            _ => {}
        }
    }
    let next = scanner.peek()?;
    match next {
        Some(token) if is_behind_name(token) => assignment(first, scanner, effects),
        _ => by_word(first, next, scanner, effects),
    }
}

/// `SET word …`, which is about a setting of another name or has another form.
fn by_word(
    first: Token<'_>,
    next: Option<Token<'_>>,
    mut scanner: Scanner<'_>,
    effects: &mut Effects,
) -> Result<(), Unclear> {
    let is_default = |value: Option<Token<'_>>| {
        value.is_none_or(|value| ["default", "local"].iter().any(|word| value.is(word)))
    };
    match first {
        _ if first.is("role") => effects.sets(&[b"role"]),
        _ if first.is("schema") => effects.sets(&[b"search_path"]),
        _ if first.is("xml") => effects.sets(&[b"xmloption"]),
        _ if first.is("seed") => effects.leaves |= Leaves::SEED,
        _ if first.is("names") && (is_default(next) || next == Some(Token::Symbol(b';'))) => {
            effects.resets(&[b"client_encoding"]);
        }
        _ if first.is("names") => effects.sets(&[b"client_encoding"]),
        _ if first.is("time") => {
            scanner.token()?;
            if is_default(scanner.token()?) {
                effects.resets(&[b"timezone"]);
            } else {
                effects.sets(&[b"timezone"]);
            }
        }
        _ => effects.leaves |= Leaves::CODE | Leaves::ANY_SETTINGS,
    }
    Ok(())
}

/// `name = value` or `name TO value`.
fn assignment(
    first: Token<'_>,
    mut scanner: Scanner<'_>,
    effects: &mut Effects,
) -> Result<(), Unclear> {
    let Some(name) = setting_name(first, &mut scanner)? else {
        effects.leaves |= Leaves::CODE | Leaves::ANY_SETTINGS;
        return Ok(());
    };
    // The word between them.
    scanner.token()?;
    match scanner.token()? {
        Some(value) if value.is("default") => effects.resets(&[&name]),
        _ => assigned(&name, effects),
    }
    Ok(())
}

fn assigned(name: &[u8], effects: &mut Effects) {
    match name {
        b"seed" => effects.leaves |= Leaves::SEED,
        b"session_authorization" => effects.sets(&IDENTITY),
        name => effects.sets(&[name]),
    }
}

/// The setting that tells where a session's last request ran, and why.
const LAST_ROUTE: &[u8] = b"pgweir.last_route";

/// `SHOW`, with what follows the word.
pub(super) fn show(mut scanner: Scanner<'_>, effects: &mut Effects) -> Result<(), Unclear> {
    if let Some(first) = scanner.token()? {
        let name = setting_name(first, &mut scanner)?;
        effects.asks_route |= name.is_some_and(|name| *name == *LAST_ROUTE);
    }
    Ok(())
}

/// `current_setting(`, with what follows.
pub(super) fn current(mut scanner: Scanner<'_>, effects: &mut Effects) -> Result<(), Unclear> {
    effects.asks_route |= literal(&mut scanner)?.is_some_and(|name| *name == *LAST_ROUTE);
    Ok(())
}

/// `RESET`, with what follows the word.
pub(super) fn reset(mut scanner: Scanner<'_>, effects: &mut Effects) -> Result<(), Unclear> {
    effects.leaves |= Leaves::RESET | Leaves::ANY_SETTINGS;
    let Some(first) = scanner.token()? else {
        return Ok(());
    };
    let next = scanner.peek()?;
    let followed_by = |word| next.is_some_and(|next| next.is(word));
    match first {
        _ if first.is("all") => effects.resets.all_settings(),
        _ if first.is("session") && followed_by("authorization") => effects.resets(&IDENTITY),
        _ if first.is("time") && followed_by("zone") => effects.resets(&[b"timezone"]),
        _ => {
            if let Some(name) = setting_name(first, &mut scanner)? {
                effects.resets(&[&name]);
            }
        }
    }
    Ok(())
}

/// A name that may have parts, as far as it is certain how Postgres reads it.
pub(in crate::sql) fn setting_name(
    first: Token<'_>,
    scanner: &mut Scanner<'_>,
) -> Result<Option<Box<[u8]>>, Unclear> {
    let mut name = Vec::new();
    let mut part = first;
    loop {
        match part {
            Token::Word(word) => name.extend(word.iter().map(u8::to_ascii_lowercase)),
            Token::Quoted(word) if !word.contains(&b'"') => {
                name.extend(word.iter().map(u8::to_ascii_lowercase));
            }
            _ => return Ok(None),
        }
        if scanner.peek()? != Some(Token::Symbol(b'.')) {
            return Ok(Some(name.into()));
        }
        name.push(b'.');
        scanner.token()?;
        let Some(next) = scanner.token()? else {
            return Ok(None);
        };
        part = next;
    }
}

/// What a setting leaves whose name is not known.
pub(super) const ANY: Leaves = Leaves::CODE.with(Leaves::ANY_SETTINGS).with(Leaves::SEED);

/// `set_config(`, with what follows; gives what is behind its arguments.
pub(super) fn set_config<'a>(
    mut scanner: Scanner<'a>,
    effects: &mut Effects,
) -> Result<Scanner<'a>, Unclear> {
    let name = literal(&mut scanner)?;
    let named = scanner.token()? == Some(Token::Symbol(b','));
    // The last argument; nothing that is nested is looked into.
    let (mut depth, mut commas) = (0_usize, 0);
    let (mut third, mut third_len) = (None, 0_usize);
    // No argument goes on behind the end of the statement.
    while let Some(token) = scanner.token()?.filter(|token| *token != Token::Symbol(b';')) {
        match token {
            Token::Symbol(b'(' | b'[') => depth += 1,
            Token::Symbol(b')' | b']') if depth > 0 => depth -= 1,
            Token::Symbol(b')' | b']') => break,
            Token::Symbol(b',') if depth == 0 => commas += 1,
            _ if commas == 1 => {
                third.get_or_insert(token);
                third_len += 1;
            }
            _ => {}
        }
    }
    let is_local = third_len == 1 && third.is_some_and(|token| token.is("true"));
    match name.filter(|_| named) {
        _ if named && commas == 1 && is_local => {}
        Some(name) => assigned(&name, effects),
        None => effects.leaves |= ANY,
    }
    Ok(scanner)
}

/// The next token, if it is a string without anything special in it.
fn literal<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Cow<'a, [u8]>>, Unclear> {
    let before = scanner.rest();
    let token = scanner.token()?;
    let len = before.len() - scanner.rest().len();
    let text = before.get(..len).unwrap_or_default().trim_ascii();
    let inner = text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'"));
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    Ok(inner
        .filter(|inner| token == Some(Token::Value) && inner.iter().all(plain))
        .map(|inner| inner.to_ascii_lowercase().into()))
}
