//! Prepared statements that a text names: those that it prepares, executes and deallocates.

use std::collections::BTreeSet;

use super::{Effects, Leaves, identifier};
use crate::sql::scan::{Scanner, Token, Unclear};

/// Prepared statements that a text names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Those that it executes: what they leave, it leaves.
    pub executed: BTreeSet<Box<[u8]>>,
    /// Those that it prepares or deallocates.
    pub defined: BTreeSet<Box<[u8]>>,
    /// It may name any, or look at the list of them.
    pub any: bool,
    /// It deallocates all of them.
    pub frees_all: bool,
}

impl Mentions {
    /// All that are known by name, each once.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.executed.union(&self.defined).map(|name| &**name)
    }

    /// Whether this name is among them.
    pub fn has(&self, name: &[u8]) -> bool {
        self.executed.contains(name) || self.defined.contains(name)
    }

    /// And what another text names.
    pub fn extend(&mut self, other: Self) {
        let Self { executed, defined, any, frees_all } = other;
        self.executed.extend(executed);
        self.defined.extend(defined);
        self.any |= any;
        self.frees_all |= frees_all;
    }
}

/// `PREPARE`, with what follows the word in its command.
pub(super) fn prepared(text: &[u8], effects: &mut Effects) -> Result<(), Unclear> {
    let Some(name) = Scanner::new(text).token()? else {
        return Ok(());
    };
    if name.is("transaction") {
        return Ok(());
    }
    effects.leaves |= Leaves::PREPARED;
    if !is_plain(text) {
        effects.leaves |= Leaves::FIXED;
    }
    define(name, effects);
    Ok(())
}

/// `DEALLOCATE`, with what follows the word.
pub(super) fn deallocate(mut scanner: Scanner<'_>, effects: &mut Effects) -> Result<(), Unclear> {
    effects.leaves |= Leaves::ENDS;
    let first = scanner.token()?;
    let next = scanner.peek()?;
    let name = match (first, next) {
        (Some(word), Some(name @ (Token::Word(_) | Token::Quoted(_)))) if word.is("prepare") => {
            Some(name)
        }
        (name, _) => name,
    };
    match name {
        Some(name) if name.is("all") => {
            effects.leaves |= Leaves::NO_STATEMENTS;
            effects.mentions().frees_all = true;
        }
        Some(name) => {
            effects.leaves |= Leaves::PREPARED;
            // It may be one of ours.
            if identifier(name).is_none_or(|name| name.starts_with(b"pgweir_")) {
                effects.leaves |= Leaves::NO_STATEMENTS;
            }
            define(name, effects);
        }
        None => effects.leaves |= Leaves::NO_STATEMENTS,
    }
    Ok(())
}

fn define(name: Token<'_>, effects: &mut Effects) {
    match identifier(name) {
        Some(name) => drop(effects.mentions().defined.insert(name)),
        None => effects.mentions().any = true,
    }
}

/// `EXECUTE` of a prepared statement; its name is taken, so that no list of parameters makes it
/// a call. A word that is something else is a statement that nobody has prepared.
pub(super) fn executed(scanner: &mut Scanner<'_>, effects: &mut Effects) -> Result<(), Unclear> {
    let name = match scanner.peek()? {
        Some(name @ (Token::Word(_) | Token::Quoted(_))) => {
            scanner.token()?;
            identifier(name)
        }
        _ => None,
    };
    match name {
        Some(name) => {
            effects.leaves |= Leaves::EXECUTED;
            effects.mentions().executed.insert(name);
        }
        None => {
            effects.leaves |= Leaves::UNSEEN;
            effects.mentions().any = true;
        }
    }
    Ok(())
}

/// Whether the word is the name of the list of prepared statements, or of the function behind it.
pub(super) fn is_list(word: &[u8]) -> bool {
    const LIST: &[u8] = b"pg_prepared_statement";
    word.get(..LIST.len()).is_some_and(|start| start.eq_ignore_ascii_case(LIST))
}

/// It looks at the list.
pub(super) fn all(effects: &mut Effects) {
    effects.leaves |= Leaves::PREPARED;
    effects.mentions().any = true;
}

/// What it means does not depend on settings: on the client's encoding, or on what a backslash is.
fn is_plain(text: &[u8]) -> bool {
    text.is_ascii() && !text.contains(&b'\\')
}

/// A command that prepares a statement, and can do so anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare<'a> {
    /// The name that it gives.
    pub name: Box<[u8]>,
    /// The whole command.
    pub command: &'a [u8],
    /// The statement that it prepares.
    pub statement: &'a [u8],
}

/// The command of a text that prepares the statement of this name; `None` where it can't be told
/// from others in the text, or means something else elsewhere.
pub fn prepares<'a>(text: &'a [u8], name: &[u8]) -> Option<Prepare<'a>> {
    let mut found = commands(text).ok()?.into_iter().filter(|command| *command.name == *name);
    match (found.next(), found.next()) {
        (Some(prepare), None) => Some(prepare),
        _ => None,
    }
}

/// The command that prepares a statement, of a text that does nothing else.
pub fn prepare(text: &[u8]) -> Option<Prepare<'_>> {
    let mut scanner = Scanner::new(text);
    let (mut count, mut inside) = (0, false);
    while let Some(token) = scanner.token().ok()? {
        let ends = token == Token::Symbol(b';');
        count += usize::from(!ends && !inside);
        inside = !ends;
    }
    let mut commands = commands(text).ok()?;
    if count == 1 { commands.pop() } else { None }
}

/// All commands of a text that prepare plain statements.
fn commands(text: &[u8]) -> Result<Vec<Prepare<'_>>, Unclear> {
    let mut scanner = Scanner::new(text);
    let mut commands = Vec::new();
    loop {
        let start = scanner.rest();
        let Some(first) = scanner.token()? else {
            return Ok(commands);
        };
        let mut name = None;
        if first.is("prepare") {
            name = scanner.peek()?.filter(|name| !name.is("transaction")).and_then(identifier);
        }
        let (mut statement, mut token, mut end) = (None, Some(first), start);
        while let Some(taken) = token.filter(|token| *token != Token::Symbol(b';')) {
            end = scanner.rest();
            if statement.is_none() && taken.is("as") {
                statement = Some(end);
            }
            token = scanner.token()?;
        }
        let up_to_end = |from: &'_ [u8]| from.len() - end.len();
        if let (Some(name), Some(statement)) = (name, statement) {
            let command = start.get(..up_to_end(start)).unwrap_or_default().trim_ascii();
            let statement = statement.get(..up_to_end(statement)).unwrap_or_default().trim_ascii();
            if is_plain(command) {
                commands.push(Prepare { name, command, statement });
            }
        }
    }
}
