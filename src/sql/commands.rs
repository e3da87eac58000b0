//! Commands that are about the session of the client alone, which we can carry out ourselves.

use std::borrow::Cow;

use super::effects::settings;
use super::scan::{Scanner, Token, Unclear};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `DEALLOCATE name`: the name, unquoted and folded as Postgres does.
    Deallocate(Cow<'a, [u8]>),
    /// `DEALLOCATE ALL`.
    DeallocateAll,
    /// `DISCARD ALL`.
    DiscardAll,
    /// `DISCARD PLANS`, `SEQUENCES` or `TEMP`.
    Discard(Discarded),
    /// `RESET name`.
    Reset(Box<[u8]>),
    /// `SET name TO DEFAULT`.
    SetDefault(Box<[u8]>),
    /// `RESET ALL`.
    ResetAll,
    /// `RESET SESSION AUTHORIZATION`.
    ResetAuthorization,
    /// `SET SESSION AUTHORIZATION DEFAULT`.
    DefaultAuthorization,
    /// `CLOSE ALL`.
    CloseAll,
    /// `UNLISTEN *`.
    UnlistenAll,
    /// `SELECT pg_advisory_unlock_all()`.
    UnlockAll,
    /// `SHOW pgweir.last_route`.
    LastRoute,
}

/// What is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// `PLANS`.
    Plans,
    /// `SEQUENCES`.
    Sequences,
    /// `TEMP`.
    Temp,
}

impl Command<'_> {
    /// What follows it when it has been carried out.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Deallocate(_) => "DEALLOCATE",
            Self::DeallocateAll => "DEALLOCATE ALL",
            Self::DiscardAll => "DISCARD ALL",
            Self::Discard(Discarded::Plans) => "DISCARD PLANS",
            Self::Discard(Discarded::Sequences) => "DISCARD SEQUENCES",
            Self::Discard(Discarded::Temp) => "DISCARD TEMP",
            Self::Reset(_) | Self::ResetAll | Self::ResetAuthorization => "RESET",
            Self::DefaultAuthorization | Self::SetDefault(_) => "SET",
            Self::CloseAll => "CLOSE CURSOR ALL",
            Self::UnlistenAll => "UNLISTEN",
            Self::UnlockAll => "SELECT 1",
            Self::LastRoute => "SHOW",
        }
    }
}

/// The longest text that is looked at: the drivers' batches are shorter.
const TEXT_MAX: usize = 300;

/// The commands of a text that has nothing else; `None` for all other texts.
pub fn commands(text: &[u8]) -> Option<Vec<Command<'_>>> {
    if text.len() > TEXT_MAX || !may_be_command(text) {
        return None;
    }
    let mut scanner = Scanner::new(text);
    let mut commands = Vec::new();
    loop {
        match next(&mut scanner) {
            Ok(Next::Command(command)) => commands.push(command),
            Ok(Next::End) => return (!commands.is_empty()).then_some(commands),
            Ok(Next::Other) | Err(Unclear) => return None,
        }
    }
}

/// The command, if the text is that and nothing else.
pub fn command(text: &[u8]) -> Option<Command<'_>> {
    let mut commands = commands(text)?;
    if commands.len() == 1 { commands.pop() } else { None }
}

/// A look at the first letters spares most texts all the rest.
fn may_be_command(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let starts = |word: &[u8]| text.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word));
    match text.first() {
        Some(b'd' | b'D') => starts(b"deallocate") || starts(b"discard"),
        Some(b's' | b'S') => {
            starts(b"select pg_a")
                || starts(b"select pg_catalog")
                || starts(b"show pgweir.last_route")
                || starts(b"set ")
                    && memchr::memmem::find(&text.to_ascii_lowercase(), b"default").is_some()
        }
        Some(b'c' | b'C') => starts(b"close"),
        Some(b'u' | b'U') => starts(b"unlisten"),
        Some(b'r' | b'R') => starts(b"reset"),
        Some(b'-' | b'/') => true,
        _ => false,
    }
}

enum Next<'a> {
    Command(Command<'a>),
    Other,
    End,
}

/// Reads the next statement up to its semicolon.
fn next<'a>(scanner: &mut Scanner<'a>) -> Result<Next<'a>, Unclear> {
    let (mut tokens, mut start) = (Vec::new(), *scanner);
    loop {
        match scanner.token()? {
            None if tokens.is_empty() => return Ok(Next::End),
            Some(Token::Symbol(b';')) if tokens.is_empty() => start = *scanner,
            None | Some(Token::Symbol(b';')) => break,
            Some(token) => tokens.push(token),
        }
    }
    Ok(recognized(&tokens, start)?.map_or(Next::Other, Next::Command))
}

fn recognized<'a>(
    tokens: &[Token<'a>],
    start: Scanner<'a>,
) -> Result<Option<Command<'a>>, Unclear> {
    let is = |words: &[&str]| {
        tokens.len() == words.len() && tokens.iter().zip(words).all(|(token, word)| token.is(word))
    };
    Ok(Some(match tokens {
        [first, name] if first.is("deallocate") => return Ok(deallocate(*name)),
        [first, second, name] if first.is("deallocate") && second.is("prepare") => {
            return Ok(deallocate(*name));
        }
        _ if is(&["discard", "all"]) => Command::DiscardAll,
        _ if is(&["discard", "plans"]) => Command::Discard(Discarded::Plans),
        _ if is(&["discard", "sequences"]) => Command::Discard(Discarded::Sequences),
        _ if is(&["discard", "temp"]) || is(&["discard", "temporary"]) => {
            Command::Discard(Discarded::Temp)
        }
        _ if is(&["reset", "all"]) => Command::ResetAll,
        _ if is(&["reset", "session", "authorization"]) => Command::ResetAuthorization,
        _ if is(&["set", "session", "authorization", "default"]) => Command::DefaultAuthorization,
        _ if is(&["reset", "time", "zone"]) => Command::Reset((*b"timezone").into()),
        _ if is(&["close", "all"]) => Command::CloseAll,
        [first, Token::Symbol(b'*')] if first.is("unlisten") => Command::UnlistenAll,
        [first, schema, Token::Symbol(b'.'), name]
            if first.is("show") && schema.is("pgweir") && name.is("last_route") =>
        {
            Command::LastRoute
        }
        [first, ..] if first.is("select") => return Ok(unlock_all(tokens)),
        [first, ..] if first.is("reset") => return reset(start, tokens.len()),
        [first, .., to, last] if first.is("set") && last.is("default") => {
            let assigns = *to == Token::Symbol(b'=') || to.is("to");
            let name = named(start, tokens.len() - 2)?.filter(|_| assigns);
            return Ok(name.map(Command::SetDefault));
        }
        _ => return Ok(None),
    }))
}

fn deallocate(name: Token<'_>) -> Option<Command<'_>> {
    match name {
        Token::Word(_) if name.is("all") => Some(Command::DeallocateAll),
        Token::Word(_) if name.is("prepare") => None,
        Token::Word(word) if word.iter().any(u8::is_ascii_uppercase) => {
            Some(Command::Deallocate(word.to_ascii_lowercase().into()))
        }
        Token::Word(word) => Some(Command::Deallocate(word.into())),
        Token::Quoted(word) if word.contains(&b'"') => None,
        Token::Quoted(word) => Some(Command::Deallocate(word.into())),
        Token::Value | Token::Symbol(_) => None,
    }
}

/// `SELECT [pg_catalog.]pg_advisory_unlock_all()`.
fn unlock_all<'a>(tokens: &[Token<'_>]) -> Option<Command<'a>> {
    let call = match tokens {
        [_, schema, Token::Symbol(b'.'), call @ ..] if schema.is("pg_catalog") => call,
        [_, call @ ..] => call,
        [] => return None,
    };
    match call {
        [name, Token::Symbol(b'('), Token::Symbol(b')')] if name.is("pg_advisory_unlock_all") => {
            Some(Command::UnlockAll)
        }
        _ => None,
    }
}

fn reset<'a>(scanner: Scanner<'_>, tokens: usize) -> Result<Option<Command<'a>>, Unclear> {
    Ok(named(scanner, tokens)?.map(Command::Reset))
}

/// The name of a setting that comes behind the first of so many tokens.
fn named(mut scanner: Scanner<'_>, tokens: usize) -> Result<Option<Box<[u8]>>, Unclear> {
    scanner.token()?;
    let Some(first) = scanner.token()? else {
        return Ok(None);
    };
    let name = settings::setting_name(first, &mut scanner)?;
    // Each dot makes two tokens more.
    let len = |name: &[u8]| 2 + 2 * name.iter().filter(|&&byte| byte == b'.').count();
    Ok(name.filter(|name| tokens == len(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_we_act_on_are_the_whole_text() {
        let named = |name: &'static [u8]| Some(Command::Deallocate(name.into()));
        let reset = |name: &'static [u8]| Some(Command::Reset(name.into()));
        for (text, expected) in [
            ("DEALLOCATE s1", named(b"s1")),
            ("deallocate prepare S1;", named(b"s1")),
            ("DEALLOCATE \"S1\" ; ", named(b"S1")),
            ("deallocate all", Some(Command::DeallocateAll)),
            ("DEALLOCATE PREPARE ALL", Some(Command::DeallocateAll)),
            ("/* x */ discard all -- y", Some(Command::DiscardAll)),
            ("deallocate \"a\"\"b\"", None),
            ("deallocate s1; select 1", None),
            ("discard all; select 1", None),
            ("deallocate 'x'", None),
            ("discard plans", Some(Command::Discard(Discarded::Plans))),
            ("select 1", None),
            ("reset all", Some(Command::ResetAll)),
            ("RESET App.Tenant", reset(b"app.tenant")),
            ("reset \"Search_Path\"", reset(b"search_path")),
            ("reset time zone", reset(b"timezone")),
            ("reset a b", None),
            ("set a.b to default", Some(Command::SetDefault((*b"a.b").into()))),
            ("SET a = DEFAULT;", Some(Command::SetDefault((*b"a").into()))),
            ("set local a = default", None),
            ("set a = default, b", None),
            ("reset session authorization", Some(Command::ResetAuthorization)),
            ("set session authorization default", Some(Command::DefaultAuthorization)),
            ("set session authorization bob", None),
            ("close all", Some(Command::CloseAll)),
            ("close c", None),
            ("unlisten *", Some(Command::UnlistenAll)),
            ("unlisten c", None),
            ("select pg_advisory_unlock_all()", Some(Command::UnlockAll)),
            ("select pg_catalog.pg_advisory_unlock_all()", Some(Command::UnlockAll)),
            ("select pg_advisory_unlock_all() from t", None),
            ("select pg_advisory_unlock(1)", None),
            ("SHOW pgweir.last_route;", Some(Command::LastRoute)),
            ("show pgweir.last_route, x", None),
            ("show pgweir.role", None),
        ] {
            assert_eq!(command(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn batches_are_commands_throughout() {
        let batch = b"SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;";
        let expected =
            [Command::UnlockAll, Command::CloseAll, Command::UnlistenAll, Command::ResetAll];
        assert_eq!(commands(batch).as_deref(), Some(&expected[..]));
        assert_eq!(commands(b"close all; select 1"), None);
        assert_eq!(commands(b"close all; select 'x"), None);
        assert_eq!(commands(b" ; "), None);
    }
}
