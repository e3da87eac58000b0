//! Statements as servers have them, counted for people.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::prepared::Statement;

/// A statement that one server has, for as long as it does.
#[derive(Debug)]
pub struct OnServer(Arc<Statement>);

impl OnServer {
    /// One more server has it.
    pub fn new(statement: Arc<Statement>) -> Self {
        statement.servers.fetch_add(1, Ordering::Relaxed);
        Self(statement)
    }
}

impl Deref for OnServer {
    type Target = Arc<Statement>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for OnServer {
    fn drop(&mut self) {
        self.servers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many statements somebody has, and how many bytes of text.
#[derive(Debug, Default)]
pub(super) struct Totals {
    statements: AtomicUsize,
    bytes: AtomicUsize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Counted {
    totals: Arc<Totals>,
    bytes: usize,
}

impl Totals {
    /// How many there are now, and their bytes.
    pub(super) fn now(&self) -> (usize, usize) {
        (self.statements.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Counted {
    pub(super) fn new(totals: &Arc<Totals>, bytes: usize) -> Self {
        totals.statements.fetch_add(1, Ordering::Relaxed);
        totals.bytes.fetch_add(bytes, Ordering::Relaxed);
        Self { totals: Arc::clone(totals), bytes }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.totals.statements.fetch_sub(1, Ordering::Relaxed);
        self.totals.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What there is to tell of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its number, which is part of its name on servers.
    pub id: u64,
    /// The start of its text.
    pub text: String,
    /// How many names of clients stand for it.
    pub names: usize,
    /// How many servers have it.
    pub servers: usize,
    /// How often it was bound.
    pub uses: u64,
    /// What its text takes, in bytes.
    pub bytes: usize,
}

/// How much of a text is shown.
const TEXT_SHOWN: usize = 200;

impl Prepared {
    /// Of this one.
    pub fn of(statement: &Arc<Statement>) -> Self {
        let servers = statement.servers.load(Ordering::Relaxed);
        let text = statement.text();
        let start = text.get(..text.len().min(TEXT_SHOWN)).unwrap_or_default();
        Self {
            id: statement.id,
            text: String::from_utf8_lossy(start).into_owned(),
            // What is asked of is ours.
            names: Arc::strong_count(statement).saturating_sub(servers + 1),
            servers,
            uses: statement.uses.load(Ordering::Relaxed),
            bytes: statement.identity.len() + statement.lookup.len(),
        }
    }
}
