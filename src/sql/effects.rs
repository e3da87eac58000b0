//! What a text may leave behind in the session that runs it.
//!
//! A statement is *clean* only when its kind, its words and every function that it calls are
//! known to leave nothing. Of all else it is said what it may leave; a text that can't be seen
//! through may leave anything. More may be said than happens, never less: whoever needs to know
//! what did happen asks the server. What no text shows (triggers, functions behind views,
//! operators and defaults that set session state) is out of reach here, and known to
//! `server::unseen`.

mod functions;
mod leaves;
mod mentions;
pub(super) mod settings;

use super::scan::{Scanner, Token, Unclear};
use functions::{Name, Walked};
pub use leaves::Leaves;
pub use mentions::{Mentions, Prepare, prepare, prepares};
pub use settings::Resets;

/// Facts about a text of one or several statements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What of it may outlive the transaction.
    pub leaves: Leaves,
    /// The settings that it may change by name, in lower case, where that is among what it may
    /// leave; some may be there twice.
    pub settings: Vec<Box<[u8]>>,
    /// Those that it resets, where that is among what it may leave.
    pub resets: Resets,
    /// The channels that it may listen to, where they are known by name: at most one more than
    /// [`CHANNELS_MAX`].
    pub channels: Vec<Box<[u8]>>,
    /// It may change what other statements return, as the columns of a table that they name.
    pub alters: bool,
    /// What names stand for may be something else behind it: it defines, or runs code that may.
    pub defines: bool,
    /// It asks for `pgweir.last_route`.
    pub asks_route: bool,
    /// The prepared statements that it names.
    pub mentions: Option<Box<Mentions>>,
}

impl Effects {
    /// What has to be assumed of a text that was not looked at.
    pub const WORST: Effects = Effects {
        leaves: Leaves::ANYTHING,
        settings: Vec::new(),
        resets: Resets::NONE,
        channels: Vec::new(),
        alters: true,
        defines: true,
        asks_route: false,
        mentions: None,
    };

    fn mentions(&mut self) -> &mut Mentions {
        self.mentions.get_or_insert_default()
    }
}

/// Looks at a text.
pub fn effects(text: &[u8]) -> Effects {
    let mut scanner = Scanner::new(text);
    let mut effects = Effects::default();
    loop {
        match statement(&mut scanner, &mut effects) {
            Ok(true) => {}
            Ok(false) => return effects,
            Err(Unclear) => return Effects::WORST,
        }
    }
}

/// Whether a text of these effects leaves nothing, and asks for nothing of ours, and so does every other that
/// differs from it in plain literals alone.
pub fn leaves_nothing(text: &[u8], effects: &Effects) -> bool {
    *effects == Effects::default() && !names_a_setting(text)
}

/// Whether it may call a function that is known by its arguments.
fn names_a_setting(text: &[u8]) -> bool {
    let mut scanner = Scanner::new(text);
    loop {
        match scanner.token() {
            Ok(Some(Token::Word(word) | Token::Quoted(word)))
                if word.eq_ignore_ascii_case(b"current_setting")
                    || word.eq_ignore_ascii_case(b"set_config") =>
            {
                return true;
            }
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(Unclear) => return true,
        }
    }
}

/// Which words and calls in a statement of this kind matter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Reads and writes of rows: clean if all that it calls is known.
    Rows,
    /// Definitions: names before parentheses are columns, not calls, until `AS`, `USING` or a
    /// default brings expressions.
    Definition,
    /// Transaction control and the like: clean whatever the words.
    Plain,
    /// `SET`.
    Set,
    /// `RESET`.
    Reset,
    /// `DECLARE`: clean unless the cursor is held.
    Cursor,
    /// `PREPARE`, of a statement or of a transaction.
    Prepare,
    /// `EXECUTE`, of a prepared statement.
    Execute,
    /// `DEALLOCATE`.
    Deallocate,
    /// `DISCARD`.
    Discard,
    /// `LISTEN`.
    Listen,
    /// It leaves this, whatever the words.
    Leaves(Leaves),
}

/// `ON` is reserved, so these words stand together nowhere else.
const ON_COMMIT_DROP: [&str; 3] = ["on", "commit", "drop"];

/// Judges the next statement; `false` at the end of the text.
fn statement(scanner: &mut Scanner<'_>, effects: &mut Effects) -> Result<bool, Unclear> {
    let first = loop {
        match scanner.token()? {
            None => return Ok(false),
            Some(Token::Symbol(b';' | b'(')) => {}
            Some(token) => break token,
        }
    };
    let kind = kind(first);
    effects.alters |= kind == Kind::Definition && !creates_temporary(first, *scanner)?;
    effects.defines |= effects.alters || may_define(kind);
    match kind {
        Kind::Set => settings::set(*scanner, effects)?,
        Kind::Reset => settings::reset(*scanner, effects)?,
        Kind::Leaves(leaves) => effects.leaves |= leaves,
        Kind::Listen => listens(scanner.peek()?, effects),
        Kind::Deallocate => mentions::deallocate(*scanner, effects)?,
        Kind::Execute => mentions::executed(scanner, effects)?,
        Kind::Plain if first.is("show") => settings::show(*scanner, effects)?,
        Kind::Rows | Kind::Definition | Kind::Plain => {}
        Kind::Prepare | Kind::Cursor | Kind::Discard => {}
    }
    let behind_first = scanner.rest();
    let mut walked = Walked::up_to(*scanner);
    // What is prepared does not run yet.
    let mut calls_count =
        !matches!(kind, Kind::Definition | Kind::Set | Kind::Reset | Kind::Prepare);
    let mut position = 0_usize;
    let mut before = first;
    // How much of ON COMMIT DROP has just been read: a table that goes with its transaction.
    let mut on_commit_drop = 0;
    let mut temporary = Leaves::NOTHING;
    let mut name: Option<Name<'_>> = None;
    while let Some(token) = scanner.token()?.filter(|token| *token != Token::Symbol(b';')) {
        position += 1;
        match token {
            Token::Symbol(b'(') => {
                if let Some(name) = name.take().filter(|_| calls_count) {
                    name.call(*scanner, &mut walked, effects)?;
                }
            }
            Token::Word(word) => {
                let leaves = left_by_word(kind, word, before, position);
                if leaves == Leaves::NEW_SESSION {
                    effects.resets.all();
                    effects.mentions().frees_all = true;
                }
                match kind {
                    Kind::Definition if leaves == Leaves::TEMPORARY => temporary |= leaves,
                    _ => effects.leaves |= leaves,
                }
                calls_count |= kind == Kind::Definition
                    && (token.is("as") || token.is("using") || token.is("default"));
                name = Some(Name::after(before, name, word));
                // SELECT INTO UNLOGGED, COMMIT PREPARED.
                effects.defines |= match kind {
                    Kind::Rows => token.is("unlogged"),
                    Kind::Plain => before.is("commit") && token.is("prepared"),
                    _ => false,
                };
                if matches!(kind, Kind::Rows | Kind::Definition) && token.is("execute") {
                    mentions::executed(scanner, effects)?;
                    name = None;
                } else if mentions::is_list(word) {
                    mentions::all(effects);
                }
            }
            // Might be any function; case is kept, so it is none of the built-in ones unless
            // written in lower case.
            Token::Quoted(word) => {
                quoted(word, effects);
                name = Some(Name::after(before, name, word));
            }
            Token::Symbol(b'.') => {}
            Token::Symbol(_) | Token::Value => name = None,
        }
        if let Some(next) = ON_COMMIT_DROP.get(on_commit_drop) {
            on_commit_drop = if token.is(next) { on_commit_drop + 1 } else { 0 };
        }
        before = token;
    }
    if on_commit_drop < ON_COMMIT_DROP.len() {
        effects.leaves |= temporary;
    }
    if kind == Kind::Prepare {
        let len = behind_first.len() - scanner.rest().len();
        mentions::prepared(behind_first.get(..len).unwrap_or_default(), effects)?;
    }
    if matches!(kind, Kind::Prepare | Kind::Discard) && position == 0 {
        effects.leaves |= Leaves::ANYTHING;
    }
    Ok(true)
}

/// What a quoted name means wherever it is.
fn quoted(word: &[u8], effects: &mut Effects) {
    if word.starts_with(b"pg_temp") {
        effects.leaves |= Leaves::TEMPORARY;
    } else if mentions::is_list(word) {
        mentions::all(effects);
    }
}

fn kind(first: Token<'_>) -> Kind {
    let Token::Word(word) = first else {
        return Kind::Leaves(Leaves::ANYTHING);
    };
    let mut lower = [0; 12];
    let Some(lower) = lower.get_mut(..word.len()) else {
        return Kind::Leaves(Leaves::ANYTHING);
    };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    match &*lower {
        b"select" | b"with" | b"insert" | b"update" | b"delete" | b"merge" | b"values"
        | b"table" | b"copy" | b"explain" => Kind::Rows,
        b"create" | b"alter" => Kind::Definition,
        b"begin" | b"start" | b"commit" | b"end" | b"rollback" | b"abort" | b"savepoint"
        | b"release" | b"fetch" | b"move" | b"show" | b"lock" | b"truncate" | b"refresh"
        | b"grant" | b"revoke" | b"comment" | b"reindex" | b"vacuum" | b"analyze" | b"analyse"
        | b"cluster" | b"checkpoint" | b"notify" => Kind::Plain,
        b"set" => Kind::Set,
        b"declare" => Kind::Cursor,
        b"prepare" => Kind::Prepare,
        b"discard" => Kind::Discard,
        b"close" | b"drop" => Kind::Leaves(Leaves::ENDS),
        b"listen" => Kind::Listen,
        b"unlisten" => Kind::Leaves(Leaves::LISTENER),
        b"reset" => Kind::Reset,
        b"load" => Kind::Leaves(Leaves::LIBRARY),
        b"deallocate" => Kind::Deallocate,
        b"execute" => Kind::Execute,
        b"do" | b"call" => Kind::Leaves(Leaves::UNSEEN),
        _ => Kind::Leaves(Leaves::ANYTHING),
    }
}

/// Whether a statement of this kind may run code that defines something, or does so by itself. What
/// is dropped has to be created before its name can stand for anything else.
fn may_define(kind: Kind) -> bool {
    matches!(kind, Kind::Leaves(leaves) if leaves.has(Leaves::UNSEEN))
}

/// Whether what is created is of this session alone. `scanner` is behind the first word.
fn creates_temporary(first: Token<'_>, mut scanner: Scanner<'_>) -> Result<bool, Unclear> {
    if !first.is("create") {
        return Ok(false);
    }
    let mut next = scanner.token()?;
    if next.is_some_and(|token| token.is("or")) {
        scanner.token()?;
        next = scanner.token()?;
    }
    if next.is_some_and(|token| token.is("local") || token.is("global")) {
        next = scanner.token()?;
    }
    Ok(next.is_some_and(|token| token.is("temp") || token.is("temporary")))
}

/// LISTEN of this channel.
fn listens(channel: Option<Token<'_>>, effects: &mut Effects) {
    effects.leaves |= Leaves::LISTENER;
    if effects.channels.len() <= CHANNELS_MAX {
        effects.channels.extend(channel.and_then(identifier));
    }
}

/// A name as Postgres has it. One that it may cut off or fold in another way than we do is none:
/// what it stands for is found out by asking.
fn identifier(name: Token<'_>) -> Option<Box<[u8]>> {
    let name = match name {
        Token::Word(word) if word.is_ascii() => word.to_ascii_lowercase(),
        Token::Quoted(word) => {
            let mut name = word.to_vec();
            // Doubled quotes stand for one.
            let mut last = false;
            name.retain(|&byte| {
                last = byte == b'"' && !last;
                byte != b'"' || last
            });
            name
        }
        Token::Word(_) | Token::Value | Token::Symbol(_) => return None,
    };
    (1..NAME_SIZE).contains(&name.len()).then(|| name.into())
}

/// Channels that are heard for one client. Who listens to more than some hundreds has a program that
/// gives each of its own clients a channel, and one connection for all of them.
pub const CHANNELS_MAX: usize = 1_000;

/// What a name takes on the server at most (NAMEDATALEN), its end included.
const NAME_SIZE: usize = 64;

/// What a word in this place means.
fn left_by_word(kind: Kind, word: &[u8], before: Token<'_>, position: usize) -> Leaves {
    let token = Token::Word(word);
    let temporary = || token.is("temp") || token.is("temporary");
    let temporary_if = |condition: bool| match condition {
        true => Leaves::TEMPORARY,
        false => Leaves::NOTHING,
    };
    if word.len() >= 7 && word.get(..7).is_some_and(|w| w.eq_ignore_ascii_case(b"pg_temp")) {
        return Leaves::TEMPORARY;
    }
    match kind {
        Kind::Rows => {
            let placed = before.is("into") || before.is("local") || before.is("global");
            temporary_if(placed && temporary())
        }
        // CREATE [OR REPLACE] [GLOBAL|LOCAL] TEMP …
        Kind::Definition => temporary_if((position <= 4 || before.is("into")) && temporary()),
        Kind::Cursor if token.is("hold") => Leaves::CURSOR,
        Kind::Discard if position == 1 => match () {
            () if token.is("plans") || token.is("sequences") => Leaves::NOTHING,
            () if temporary() => Leaves::ENDS,
            () if token.is("all") => Leaves::NEW_SESSION,
            () => Leaves::ANYTHING,
        },
        Kind::Cursor | Kind::Prepare | Kind::Discard | Kind::Listen => Leaves::NOTHING,
        Kind::Execute | Kind::Deallocate => Leaves::NOTHING,
        Kind::Plain | Kind::Set | Kind::Reset | Kind::Leaves(_) => Leaves::NOTHING,
    }
}

#[cfg(test)]
mod tests;
