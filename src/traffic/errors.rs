//! Errors that clients were told of, by SQLSTATE and by whose they are.
//!
//! What servers say may have values of statements in it: of theirs, only the place in their source
//! is kept that has said it. There is no clock here.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

/// Whose an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The client broke the protocol, did not prove who it is, or asked for what it may not have.
    Client,
    /// The server has said so, or it is not there.
    Server,
    /// A limit or an order of ours.
    Pooler,
}

impl Side {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Pooler => "pooler",
        }
    }
}

/// The beginnings of the SQLSTATEs that say that a request could not be served: no connection or login at a
/// server, no place or memory or disk, a server that ends or starts, and what should never be. All others are
/// about the request itself.
pub const FAILURES: &[&str] = &["08", "28", "53", "57P", "58", "XX"];

/// Whether a client that was told this was not served, by no fault of its own.
#[must_use]
pub fn is_failure(side: Side, state: &str) -> bool {
    side != Side::Client && FAILURES.iter().any(|begins| state.starts_with(begins))
}

/// Five letters and digits.
type SqlState = [u8; 5];

/// Stands for what is no SQLSTATE, and for those beyond the limit.
const OTHER: SqlState = *b"other";
/// SQLSTATEs that are told apart, of all sides together: code on a server may make up its own.
const STATES_MAX: usize = 300;
/// What is kept of a text.
const TEXT_MAX: usize = 100;
/// An example is replaced when it is so old.
const TEXT_AGE: Duration = Duration::from_secs(1);

/// All of one SQLSTATE and side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    /// How many there were.
    pub count: u64,
    /// When the last one was told.
    pub last: SystemTime,
    /// One of the last ones, without values of statements.
    pub text: String,
}

/// One line of what was told.
pub type Line = (Side, String, Errors);

/// All that clients were told.
#[derive(Debug, Default)]
pub struct ErrorBook {
    known: Mutex<BTreeMap<(Side, SqlState), Errors>>,
}

impl ErrorBook {
    /// A client is told of one more; `text` makes an example of it.
    pub fn add(&self, side: Side, state: &[u8], at: SystemTime, text: impl FnOnce() -> String) {
        let is_state = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        let state = SqlState::try_from(state).ok().filter(|state| state.iter().all(is_state));
        let mut known = self.known.lock();
        let mut key = (side, state.unwrap_or(OTHER));
        if known.len() >= STATES_MAX && !known.contains_key(&key) {
            key.1 = OTHER;
        }
        let new = || Errors { count: 0, last: SystemTime::UNIX_EPOCH, text: String::new() };
        let errors = known.entry(key).or_insert_with(new);
        errors.count += 1;
        let is_old = at.duration_since(errors.last).is_ok_and(|age| age >= TEXT_AGE);
        if is_old || errors.text.is_empty() {
            let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
            errors.text = text().chars().take(TEXT_MAX).map(printable).collect();
        }
        errors.last = at;
    }

    /// All of them, by side and SQLSTATE.
    pub fn list(&self) -> Vec<Line> {
        let line = |((side, state), errors): (&(Side, SqlState), &Errors)| {
            (*side, String::from_utf8_lossy(state).into_owned(), errors.clone())
        };
        self.known.lock().iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn errors_are_told_apart_by_side_and_state_and_the_example_is_a_late_one() {
        let book = ErrorBook::default();
        book.add(Side::Server, b"42P01", after(10), || "first".into());
        book.add(Side::Server, b"42P01", after(10), || unreachable!("it is too soon"));
        book.add(Side::Server, b"42P01", after(11), || "a\nb".into());
        book.add(Side::Pooler, b"42P01", after(12), || "x".repeat(1000));
        book.add(Side::Client, b"x\0y", after(13), String::new);
        let lines = book.list();
        let shown: Vec<_> = lines
            .iter()
            .map(|(side, state, it)| (side.name(), state.as_str(), it.count, it.text.as_str()))
            .collect();
        let long = "x".repeat(TEXT_MAX);
        let expected = [
            ("client", "other", 1, ""),
            ("server", "42P01", 3, "a b"),
            ("pooler", "42P01", 1, &long),
        ];
        assert_eq!(shown, expected);
        assert_eq!(lines[1].2.last, after(11));
    }

    #[test]
    fn states_that_are_made_up_are_counted_together() {
        let book = ErrorBook::default();
        for number in 0..2 * STATES_MAX {
            book.add(Side::Server, format!("{number:05}").as_bytes(), after(1), || "x".into());
        }
        let lines = book.list();
        let other = lines.iter().find(|(_, state, _)| state == "other").unwrap();
        assert_eq!((lines.len(), other.2.count), (STATES_MAX + 1, STATES_MAX as u64));
    }
}
