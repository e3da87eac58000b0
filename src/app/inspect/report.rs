//! What an inspection says: checks, as lines for people and as one JSON document for machines.

use std::fmt;

use crate::app::json::string;
use crate::config::Problem;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at: `login`, `role`, `clock` and so on.
    pub what: &'static str,
    /// Where: a host, a database, a file with its line and key.
    pub place: String,
    /// How it stands.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and does no harm.
    Note,
    /// It works, and is worth a look.
    Warning,
    /// It does not work.
    Error,
}

impl Check {
    /// Something that is as it should be.
    pub fn ok(what: &'static str, place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { what, place: place.into(), level: Level::Ok, text: text.into(), hint: None }
    }

    /// A line that a file amounts to.
    pub fn of_report(file: &str, line: &str) -> Self {
        let warning = line.strip_prefix("warning: ");
        let level = if warning.is_some() { Level::Warning } else { Level::Ok };
        Self { level, ..Self::ok("file", file, warning.unwrap_or(line)) }
    }

    /// The same, but not as it should be, and what to do about that.
    #[must_use]
    pub fn but(self, level: Level, hint: impl Into<String>) -> Self {
        Self { level, hint: Some(hint.into()), ..self }
    }
}

impl Level {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl From<&Problem> for Check {
    fn from(problem: &Problem) -> Self {
        let Problem { file, line, key, what, hint } = problem;
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        let key = if key.is_empty() { String::new() } else { format!(":{key}") };
        let place = format!("{file}{line}{key}");
        Self { level: Level::Error, hint: hint.clone(), ..Self::ok("file", place, what) }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, place, level, text, hint } = self;
        write!(f, "{}: {what} {place}: {text}", level.name())?;
        hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// The document: `{"checks": [{"what", "where", "level", "text", "hint"}, …]}`, a check per line.
#[must_use]
pub fn json(checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        let Check { what, place, level, text, hint } = check;
        format!(
            "{{\"what\":{},\"where\":{},\"level\":{},\"text\":{},\"hint\":{}}}",
            string(what),
            string(place),
            string(level.name()),
            string(text),
            hint.as_deref().map_or_else(|| "null".to_owned(), string),
        )
    });
    format!("{{\"checks\":[\n{}\n]}}", rows.collect::<Vec<_>>().join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_and_a_missing_hint_is_null() {
        let fine = Check::ok("role", "db:5432", "primary");
        let odd = Check::ok("login", "a\"b\\c", "line\nnext\u{1}é").but(Level::Error, "do");
        assert_eq!(
            json(&[fine, odd]),
            "{\"checks\":[\n\
             {\"what\":\"role\",\"where\":\"db:5432\",\"level\":\"ok\",\"text\":\"primary\",\"hint\":null},\n\
             {\"what\":\"login\",\"where\":\"a\\\"b\\\\c\",\"level\":\"error\",\"text\":\"line\\u000anext\\u0001é\",\"hint\":\"do\"}\n\
             ]}"
        );
        assert_eq!(json(&[]), "{\"checks\":[\n\n]}");
    }
}
