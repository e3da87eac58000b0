//! What Postgres's own functions do, by name.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a built-in function does; the worst of those of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// It reads or computes, wherever it is called.
    Reads,
    /// What it says or does is about the session or the server that runs it.
    Session,
    /// It locks something.
    Locks,
    /// It writes or acts, or runs what it is given as text.
    Writes,
}

/// What the built-in function of this name does; `None` for one that nothing is known of, and
/// for all others.
pub fn builtin(name: &str) -> Option<Builtin> {
    let known = &*KNOWN;
    known.exactly.get(name).copied().or_else(|| {
        let found = known.beginnings.iter().find(|(start, _)| name.starts_with(start));
        found.map(|(_, does)| *does)
    })
}

struct Known {
    exactly: HashMap<&'static str, Builtin>,
    beginnings: Vec<(&'static str, Builtin)>,
}

/// The functions of `pg_catalog` whose name says enough, and of widely used extensions those that
/// act. Not in the list is what nobody calls by name, and what is rather asked of the catalog.
static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let mut known = Known { exactly: HashMap::new(), beginnings: Vec::new() };
    for section in include_str!("builtins.txt").split("= ") {
        let mut words = section.split_ascii_whitespace();
        let does = match words.next() {
            Some("reads") => Builtin::Reads,
            Some("session") => Builtin::Session,
            Some("locks") => Builtin::Locks,
            _ => Builtin::Writes,
        };
        for word in words {
            match word.strip_suffix('*') {
                Some(start) => known.beginnings.push((start, does)),
                None => drop(known.exactly.insert(word, does)),
            }
        }
    }
    known
});
