//! Hints in comments: `/* pgweir: primary */`, `/* pgweir: replica */`.

use crate::sql::scan::{Scanner, Unclear};

/// Where somebody who has written a text wants it to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// On the primary.
    Primary,
    /// On a replica.
    Replica,
}

const WORD: &str = "pgweir:";

/// Whether a comment may be one.
pub(super) fn may_be_in(comment: &[u8]) -> bool {
    memchr::memmem::find(comment, WORD.as_bytes()).is_some()
}

/// The hint of a text. Of several that differ, the primary counts.
pub(super) fn hint(text: &[u8]) -> Option<Hint> {
    // Most texts have none, and need not be walked through for it.
    memchr::memmem::find(text, WORD.as_bytes())?;
    let mut hints = Vec::new();
    if walk(text, &mut hints).is_err() {
        // What can't be taken apart is opaque anyway.
        return None;
    }
    if hints.contains(&Hint::Primary) { Some(Hint::Primary) } else { hints.first().copied() }
}

fn walk(text: &[u8], hints: &mut Vec<Hint>) -> Result<(), Unclear> {
    let mut scanner = Scanner::new(text);
    loop {
        while let Some(comment) = scanner.next_comment()? {
            hints.extend(read(comment));
        }
        if scanner.token()?.is_none() {
            return Ok(());
        }
    }
}

fn read(comment: &[u8]) -> Option<Hint> {
    let comment = std::str::from_utf8(comment).ok()?;
    let inner = comment.strip_prefix("/*")?.strip_suffix("*/")?.trim();
    match inner.strip_prefix(WORD)?.trim() {
        "primary" => Some(Hint::Primary),
        "replica" => Some(Hint::Replica),
        _ => None,
    }
}
