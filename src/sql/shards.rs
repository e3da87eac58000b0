//! What a text says by hand of the shard that it is for, and texts that do nothing but begin or end a
//! transaction.

mod changes;
mod prelude;

pub use self::changes::{Changes, changes, names_path, names_shards};
pub use self::prelude::is_prelude;
use super::scan::{Scanner, Token, Unclear};

/// Where somebody who has written a text, or a setting, wants it to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardHint {
    /// On the shard of this name.
    Shard(Box<[u8]>),
    /// On the shard of this key.
    Key(Box<[u8]>),
    /// On all of them, even if that changes rows.
    All,
}

impl ShardHint {
    /// How many bytes it says.
    pub fn len(&self) -> usize {
        match self {
            Self::Shard(said) | Self::Key(said) => said.len(),
            Self::All => 0,
        }
    }

    /// Whether there is no name or key in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

const WORD: &[u8] = b"pgweir:";

/// Why it can't be said what comments of a text say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongHint {
    /// One speaks of a shard in other words than there are.
    #[error("a comment that speaks of a shard in other words than /* pgweir: shard=… */")]
    Unknown,
    /// Two say different things.
    #[error("two comments that name different shards")]
    Several,
}

/// What comments of a text say: `/* pgweir: shard=a */`, `/* pgweir: shard_key=42 */`,
/// `/* pgweir: all_shards */`.
///
/// # Errors
///
/// They say it in other words, or say different things.
pub fn shard_hint(text: &[u8]) -> Result<Option<ShardHint>, WrongHint> {
    // Most texts have none, and need not be walked through for it.
    if memchr::memmem::find(text, WORD).is_none() {
        return Ok(None);
    }
    let mut scanner = Scanner::new(text);
    let mut found = None;
    loop {
        let before = scanner.rest();
        let step = next_hint(&mut scanner, &mut found)?;
        match step {
            Ok(true) => {}
            Ok(false) => return Ok(found),
            // What is behind can't be told from what is in a string.
            Err(Unclear) if memchr::memmem::find(before, WORD).is_some() => {
                return Err(WrongHint::Unknown);
            }
            Err(Unclear) => return Ok(found),
        }
    }
}

/// Reads the comments before the next token, and that; whether there was one.
fn next_hint(
    scanner: &mut Scanner<'_>,
    found: &mut Option<ShardHint>,
) -> Result<Result<bool, Unclear>, WrongHint> {
    loop {
        let comment = match scanner.next_remark() {
            Ok(Some(comment)) => comment,
            Ok(None) => return Ok(scanner.token().map(|token| token.is_some())),
            Err(unclear) => return Ok(Err(unclear)),
        };
        let Some(hint) = of_comment(comment)? else { continue };
        match found {
            Some(before) if *before != hint => return Err(WrongHint::Several),
            _ => *found = Some(hint),
        }
    }
}

fn of_comment(comment: &[u8]) -> Result<Option<ShardHint>, WrongHint> {
    if memchr::memmem::find(comment, WORD).is_none() {
        return Ok(None);
    }
    if let Some(hint) = well_formed(comment) {
        return Ok(Some(hint));
    }
    // However it is spelled.
    match memchr::memmem::find(&comment.to_ascii_lowercase(), b"shar") {
        Some(_) => Err(WrongHint::Unknown),
        None => Ok(None),
    }
}

fn well_formed(comment: &[u8]) -> Option<ShardHint> {
    let inner = comment.strip_prefix(b"/*")?.strip_suffix(b"*/")?.trim_ascii();
    let said = inner.strip_prefix(WORD)?.trim_ascii();
    if said == b"all_shards" {
        return Some(ShardHint::All);
    }
    let at = memchr::memchr(b'=', said)?;
    let (name, value) = (said.get(..at)?.trim_ascii(), said.get(at + 1..)?.trim_ascii());
    if value.is_empty() {
        return None;
    }
    let value = value.strip_prefix(b"'").and_then(|it| it.strip_suffix(b"'")).unwrap_or(value);
    match name {
        b"shard" => Some(ShardHint::Shard(value.into())),
        b"shard_key" => Some(ShardHint::Key(value.into())),
        _ => None,
    }
}

/// A text that is `SET [SESSION | LOCAL] pgweir.shard…` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSetting {
    /// What it sets.
    pub hint: ShardHint,
    /// It counts until the end of the transaction.
    pub local: bool,
}

/// What such a text says.
pub fn shard_setting(text: &[u8]) -> Option<ShardSetting> {
    let mut scanner = Scanner::new(text);
    let mut word =
        scanner.token().ok()?.filter(|token| token.is("set")).and(scanner.token().ok()?)?;
    let local = word.is("local");
    if local || word.is("session") {
        word = scanner.token().ok()??;
    }
    let point = scanner.token().ok()??;
    if !word.is("pgweir") || point != Token::Symbol(b'.') {
        return None;
    }
    let name = scanner.token().ok()??;
    let equals = scanner.token().ok()??;
    if equals != Token::Symbol(b'=') && !equals.is("to") {
        return None;
    }
    let value = setting_value(&mut scanner)?;
    match scanner.token().ok()? {
        None => {}
        Some(Token::Symbol(b';')) if scanner.token().ok()?.is_none() => {}
        Some(_) => return None,
    }
    let hint = match () {
        () if name.is("shard") => ShardHint::Shard(value),
        () if name.is("shard_key") => ShardHint::Key(value),
        () => return None,
    };
    Some(ShardSetting { hint, local })
}

/// A value as Postgres keeps it: a word in lower case, a number with its minus, a plain string.
fn setting_value(scanner: &mut Scanner<'_>) -> Option<Box<[u8]>> {
    let is_minus = scanner.peek().ok()?? == Token::Symbol(b'-');
    if is_minus {
        scanner.token().ok()?;
    }
    let before = scanner.rest();
    let value: Box<[u8]> = match scanner.token().ok()?? {
        Token::Word(word) if !is_minus && !word.eq_ignore_ascii_case(b"default") => {
            word.to_ascii_lowercase().into()
        }
        Token::Quoted(word) if !is_minus => word.into(),
        Token::Value => {
            let taken = before.get(..before.len() - scanner.rest().len())?.trim_ascii();
            match taken {
                [b'\'', inside @ .., b'\''] if !is_minus => inside.into(),
                [b'0'..=b'9', ..] if is_minus => [b"-", taken].concat().into(),
                [b'0'..=b'9', ..] => taken.into(),
                _ => return None,
            }
        }
        _ => return None,
    };
    let plain = !value.is_empty() && memchr::memchr3(b'\'', b'"', b'\\', &value).is_none();
    plain.then_some(value)
}

/// A text that does nothing but begin or end a transaction, and is certain to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bracket {
    /// It begins one.
    Begin,
    /// It begins one, in the other words.
    Start,
    /// It commits one.
    Commit,
    /// It rolls one back.
    Rollback,
}

impl Bracket {
    /// What a server says when it has done that.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN",
            Self::Start => "START TRANSACTION",
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
        }
    }
}

/// Whether a text is one of these.
pub fn bracket(text: &[u8]) -> Option<Bracket> {
    // The longest that there is.
    if text.len() > 200 {
        return None;
    }
    let mut scanner = Scanner::new(text);
    let mut words: Vec<String> = Vec::new();
    loop {
        match scanner.token().ok()? {
            None => break,
            Some(Token::Word(word)) => {
                let is_first = |first: &&[u8]| word.eq_ignore_ascii_case(first);
                if words.is_empty() && !FIRST.iter().any(is_first) {
                    return None;
                }
                words.push(String::from_utf8_lossy(word).to_ascii_lowercase());
            }
            Some(Token::Symbol(b',')) => words.push(",".to_owned()),
            Some(Token::Symbol(b';')) if scanner.token().ok()?.is_none() => break,
            Some(_) => return None,
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["begin", "work" | "transaction", modes @ ..] | ["begin", modes @ ..]
            if are_modes(modes) =>
        {
            Some(Bracket::Begin)
        }
        ["start", "transaction", modes @ ..] if are_modes(modes) => Some(Bracket::Start),
        ["commit" | "end"] | ["commit" | "end", "work" | "transaction"] => Some(Bracket::Commit),
        ["rollback" | "abort"] | ["rollback" | "abort", "work" | "transaction"] => {
            Some(Bracket::Rollback)
        }
        _ => None,
    }
}

/// What such a text begins with.
const FIRST: [&[u8]; 6] = [b"begin", b"start", b"commit", b"end", b"rollback", b"abort"];

/// Modes of a transaction, with commas between them or without.
fn are_modes(mut words: &[&str]) -> bool {
    let mut first = true;
    while !words.is_empty() {
        if let (false, [",", rest @ ..]) = (first, words) {
            words = rest;
        }
        words = match words {
            ["isolation", "level", "serializable", rest @ ..]
            | ["isolation", "level", "repeatable", "read", rest @ ..]
            | ["isolation", "level", "read", "committed" | "uncommitted", rest @ ..]
            | ["read", "only" | "write", rest @ ..]
            | ["not", "deferrable", rest @ ..]
            | ["deferrable", rest @ ..] => rest,
            _ => return false,
        };
        first = false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_say_where_a_text_is_for() {
        let shard = |name: &[u8]| Ok(Some(ShardHint::Shard(name.into())));
        let key = |name: &[u8]| Ok(Some(ShardHint::Key(name.into())));
        for (text, wanted) in [
            ("/* pgweir: shard=a */ SELECT 1", shard(b"a")),
            ("SELECT 1 /*pgweir:shard_key = 42*/", key(b"42")),
            ("SELECT /* pgweir: shard_key='users:x y' */ 1", key(b"users:x y")),
            ("SELECT '/* pgweir: shard=a */'", Ok(None)),
            ("/* pgweir: replica */ SELECT 1", Ok(None)),
            ("/* pgweir: primary */ /* pgweir: shard=b */ SELECT 1", shard(b"b")),
            ("/* pgweir: shard=b */ SELECT 1; /* pgweir: shard=b */ SELECT 2", shard(b"b")),
            (
                "/* pgweir: shard=a */ SELECT 1; /* pgweir: shard=b */ SELECT 2",
                Err(WrongHint::Several),
            ),
            ("/* pgweir: shard_key=1 */ /* pgweir: shard=b */ SELECT 1", Err(WrongHint::Several)),
            ("SELECT 1 -- pgweir: shard=a", Err(WrongHint::Unknown)),
            ("/* pgweir: primary shard=a */ SELECT 1", Err(WrongHint::Unknown)),
            ("/* pgweir: shard a */ SELECT 1", Err(WrongHint::Unknown)),
            ("/* pgweir: shard= */ SELECT 1", Err(WrongHint::Unknown)),
            ("/* pgweir: Shard=a */ SELECT 1", Err(WrongHint::Unknown)),
            ("/* pgweir: sharrd=a */ SELECT 1", Err(WrongHint::Unknown)),
            ("/* pgweir: shard=a SELECT 1", Err(WrongHint::Unknown)),
            ("SELECT 'a\\' /* pgweir: shard=a */", Err(WrongHint::Unknown)),
        ] {
            assert_eq!(shard_hint(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn settings_say_where_what_follows_is_for() {
        let shard =
            |name: &[u8], local| Some(ShardSetting { hint: ShardHint::Shard(name.into()), local });
        let key =
            |name: &[u8], local| Some(ShardSetting { hint: ShardHint::Key(name.into()), local });
        for (text, wanted) in [
            ("SET pgweir.shard = 'a'", shard(b"a", false)),
            ("set local pgweir.shard_key to 42;", key(b"42", true)),
            ("SET pgweir.shard_key = -42", key(b"-42", false)),
            ("SET SESSION pgweir.shard TO B", shard(b"b", false)),
            ("SET pgweir.shard TO \"B\"", shard(b"B", false)),
            ("SET pgweir.shard TO DEFAULT", None),
            ("SET pgweir.shard = ''", None),
            ("SET pgweir.shard = E'a'", None),
            ("SET pgweir.shard = 'a'; SELECT 1", None),
            ("SET pgweir.shard_key = 'it''s'", None),
            ("SET pgweir.shard_key = '1', '2'", None),
            ("SET pgweir.role = 'a'", None),
            ("SELECT 1", None),
        ] {
            assert_eq!(shard_setting(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn transactions_are_begun_and_ended_in_plain_words_alone() {
        for (text, wanted) in [
            ("BEGIN", Some(Bracket::Begin)),
            (" begin work ; ", Some(Bracket::Begin)),
            ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", Some(Bracket::Begin)),
            ("BEGIN READ WRITE NOT DEFERRABLE", Some(Bracket::Begin)),
            ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE", Some(Bracket::Start)),
            ("COMMIT", Some(Bracket::Commit)),
            ("END TRANSACTION;", Some(Bracket::Commit)),
            ("ROLLBACK", Some(Bracket::Rollback)),
            ("/* why */ ABORT -- so", Some(Bracket::Rollback)),
            ("BEGIN READ", None),
            ("BEGIN , READ ONLY", None),
            ("BEGIN READ ONLY,", None),
            ("BEGIN; SELECT 1", None),
            ("BEGIN;;", None),
            ("START", None),
            ("COMMIT AND CHAIN", None),
            ("ROLLBACK TO a", None),
            ("COMMIT PREPARED 'a'", None),
            ("\"begin\"", None),
        ] {
            assert_eq!(bracket(text.as_bytes()), wanted, "{text}");
        }
    }
}
