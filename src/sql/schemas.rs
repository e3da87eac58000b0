//! Which schemas a text names, and which relations: for databases whose schemas say where tables are.
//!
//! Names before a dot are taken for schemas, whatever they are: aliases among them are for the caller to
//! tell apart, who knows what schemas there are.

mod looked_up;

use std::collections::BTreeSet;

use super::facts::Name;
use super::scan::{Scanner, Token, Unclear};
pub use looked_up::{LookedUp, looked_up};

/// Postgres cuts longer names off.
const NAME_MAX: usize = 63;

/// What a text names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Qualifiers {
    /// What stands before a dot; and every name, where the text is about schemas.
    pub before_dots: BTreeSet<Box<str>>,
    /// What stands on both sides of a dot, as a name with its schema.
    pub pairs: BTreeSet<Name>,
}

/// The names of schemas in a text, among others; `None` where it can't be taken apart.
pub fn qualifiers(text: &[u8]) -> Option<Qualifiers> {
    let tokens = tokens(text).ok()?;
    let of_schemas = tokens.iter().any(|token| token.is("schema"));
    let mut found = Qualifiers::default();
    for (at, token) in tokens.iter().enumerate() {
        let is_before_dot = tokens.get(at + 1) == Some(&Token::Symbol(b'.'));
        if !of_schemas && !is_before_dot {
            continue;
        }
        let Some(name) = name_of(*token)? else { continue };
        if let Some(behind) = tokens.get(at + 2).filter(|_| is_before_dot)
            && let Some(behind) = name_of(*behind)?
        {
            found.pairs.insert(Name { schema: Some(name.clone()), name: behind });
        }
        found.before_dots.insert(name);
    }
    Some(found)
}

/// Whether all statements of a text begin with one of these words, or are COPY of a table.
pub fn defines_alone(text: &[u8], words: &[&str]) -> bool {
    let Ok(tokens) = tokens(text) else { return false };
    let statements = tokens.split(|token| *token == Token::Symbol(b';'));
    statements.filter(|statement| !statement.is_empty()).all(|statement| match statement {
        [first, second, ..] if first.is("copy") => *second != Token::Symbol(b'('),
        [first, ..] => words.iter().any(|word| first.is(word)),
        [] => true,
    })
}

fn tokens(text: &[u8]) -> Result<Vec<Token<'_>>, Unclear> {
    let (mut scanner, mut tokens) = (Scanner::new(text), Vec::new());
    while let Some(token) = scanner.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

/// The name that a token is, as Postgres keeps it: the inner `None` where it is none. What is no text
/// is nothing that we know.
#[expect(clippy::option_option, reason = "no name is not the same as one that can't be read")]
fn name_of(token: Token<'_>) -> Option<Option<Box<str>>> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    Some(match token {
        Token::Word(word) => Some(cut(text(word)?.to_ascii_lowercase())),
        Token::Quoted(name) => Some(cut(text(name)?.replace("\"\"", "\""))),
        Token::Value | Token::Symbol(_) => None,
    })
}

/// A name as long as Postgres keeps it.
fn cut(name: impl Into<Box<str>>) -> Box<str> {
    let name = name.into();
    match name.len() {
        0..=NAME_MAX => name,
        _ => {
            let end = (0..=NAME_MAX).rev().find(|at| name.is_char_boundary(*at));
            name.get(..end.unwrap_or_default()).unwrap_or_default().into()
        }
    }
}

/// The schemas of a list as `search_path` has it: `tenant_42, "$user", public`. `None` where that can't
/// be read.
pub fn search_path(value: &[u8]) -> Option<Vec<Box<str>>> {
    let tokens = tokens(value).ok()?;
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match (at % 2, token) {
            (0, token) => names.push(name_of(*token)??),
            (_, Token::Symbol(b',')) if at + 1 < tokens.len() => {}
            _ => return None,
        }
    }
    Some(names)
}

/// A text that is `SET [SESSION | LOCAL] search_path …` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSetting {
    /// The schemas that it names, in their order.
    pub schemas: Vec<Box<str>>,
    /// It counts until the end of the transaction.
    pub local: bool,
}

/// What such a text says.
pub fn path_setting(text: &[u8]) -> Option<PathSetting> {
    let mut scanner = Scanner::new(text);
    let mut next = || scanner.token().ok()?;
    let mut word = next().filter(|token| token.is("set")).and(next())?;
    let local = word.is("local");
    if local || word.is("session") {
        word = next()?;
    }
    if !word.is("search_path") {
        return None;
    }
    let equals = next()?;
    if equals != Token::Symbol(b'=') && !equals.is("to") {
        return None;
    }
    let said = scanner.rest().trim_ascii();
    let said = said.strip_suffix(b";").unwrap_or(said);
    if said.eq_ignore_ascii_case(b"default") {
        return None;
    }
    // Each may be a plain string, whose inside is a name as it is.
    let mut schemas = Vec::new();
    let mut scanner = Scanner::new(said);
    loop {
        let before = scanner.rest();
        schemas.push(match scanner.token().ok()?? {
            Token::Value => {
                let taken = before.get(..before.len() - scanner.rest().len())?.trim_ascii();
                let inside = taken.strip_prefix(b"'")?.strip_suffix(b"'")?;
                if memchr::memchr2(b'\'', b'\\', inside).is_some() {
                    return None;
                }
                cut(std::str::from_utf8(inside).ok()?.to_owned())
            }
            token => name_of(token)??,
        });
        match scanner.token().ok()? {
            None => return Some(PathSetting { schemas, local }),
            Some(Token::Symbol(b',')) => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<String> {
        let found = qualifiers(text.as_bytes())?;
        Some(found.before_dots.into_iter().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn names_before_dots_are_found_outside_of_strings() {
        let long = format!("SELECT 1 FROM {}.t", "x".repeat(80));
        for (text, wanted) in [
            ("SELECT * FROM tenant_1.orders o WHERE o.id = 1.5", Some("o tenant_1")),
            ("SELECT 'tenant_1.orders', $$a.b$$ -- c.d", Some("")),
            (
                "SELECT Tenant_1 . orders.id FROM \"Tenant_2\".\"a\"\"b\"",
                Some("Tenant_2 orders tenant_1"),
            ),
            ("SELECT shop.tenant_1.orders.id", Some("orders shop tenant_1")),
            ("DROP SCHEMA tenant_1, b", Some("b drop schema tenant_1")),
            ("ALTER TABLE a SET SCHEMA \"T\"", Some("T a alter schema set table")),
            ("SELECT 'a\\'", None),
        ] {
            assert_eq!(named(text).as_deref(), wanted, "{text}");
        }
        assert_eq!(named(&long).unwrap(), "x".repeat(63));
    }

    #[test]
    fn names_on_both_sides_of_a_dot_are_pairs() {
        let found =
            qualifiers(b"CREATE VIEW v AS SELECT o.id, t.* FROM \"T\".orders o, a . b").unwrap();
        let pairs: Vec<String> = found.pairs.iter().map(ToString::to_string).collect();
        assert_eq!(pairs, ["T.orders", "a.b", "o.id"]);
    }

    #[test]
    fn search_paths_are_lists_of_names() {
        let read = |value: &str| search_path(value.as_bytes()).map(|names| names.join("|"));
        for (value, wanted) in [
            ("\"$user\", public", Some("$user|public")),
            ("tenant_42,Public", Some("tenant_42|public")),
            ("\"Tenant 1\"", Some("Tenant 1")),
            ("", Some("")),
            ("\"\"", Some("")),
            ("a b", None),
            ("a,", None),
            ("'a'", None),
        ] {
            assert_eq!(read(value).as_deref(), wanted, "{value}");
        }
        for (text, wanted) in [
            ("SET search_path = tenant_42", Some(("tenant_42", false))),
            (
                "set local Search_Path to 'Tenant 1', \"$user\", PUBLIC ;",
                Some(("Tenant 1|$user|public", true)),
            ),
            ("SET SESSION search_path TO a", Some(("a", false))),
            ("SET search_path TO DEFAULT", None),
            ("SET search_path = E'a'", None),
            ("SET search_path = a; SELECT 1", None),
            ("SET search_path = ", None),
            ("SET search_paths = a", None),
            ("SET SCHEMA 'a'", None),
        ] {
            let found = path_setting(text.as_bytes());
            let found = found.map(|it| (it.schemas.join("|"), it.local));
            assert_eq!(found, wanted.map(|(names, local)| (names.to_owned(), local)), "{text}");
        }
    }
}
