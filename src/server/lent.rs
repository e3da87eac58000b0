//! Statements that a server has under names of clients' own: those that SQL has prepared, and those
//! that SQL names though the protocol has prepared them, which go by our names otherwise.
//!
//! They stay when their client leaves, and are closed before a text of another client may name them.

use std::ops::Range;
use std::sync::Arc;

use super::prepared::{By, Statement};
use super::undo::UndoLog;
use crate::sql::{self, Prepare};

/// A statement under a client's own name.
pub type Named = (Box<[u8]>, Arc<Statement>);

/// See the module.
#[derive(Debug, Default)]
pub struct Lent {
    named: Vec<Named>,
    undo: UndoLog<Change>,
}

#[derive(Debug)]
enum Change {
    Given(Box<[u8]>),
    Taken(Box<[u8]>, Arc<Statement>),
}

/// A statement that a server says it has under a name that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Box<[u8]>,
    /// The text that prepared it, if SQL has; empty where that is too long.
    pub sql: Option<Box<[u8]>>,
}

impl Lent {
    /// There are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// What goes by this name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.named.iter().find(|(own, _)| **own == *name).map(|(_, statement)| statement)
    }

    /// The names of all that are not the client's, which this is asked of.
    pub fn foreign(&self, is_own: impl Fn(&[u8], &Arc<Statement>) -> bool) -> Vec<Box<[u8]>> {
        let foreign = self.named.iter().filter(|(name, statement)| !is_own(name, statement));
        foreign.map(|(name, _)| name.clone()).collect()
    }

    /// Whether it depends on messages that are not answered yet, and come before this one, what
    /// goes by this name.
    pub fn is_doubtful(&self, name: &[u8], before: u64) -> bool {
        self.undo.iter().any(|(sequence, change)| {
            let (Change::Given(own) | Change::Taken(own, _)) = change;
            **own == *name && sequence < before
        })
    }

    /// The message with this number prepares it.
    pub fn given(&mut self, sequence: u64, name: &[u8], statement: Arc<Statement>) {
        self.taken(sequence, name);
        self.named.push((name.into(), statement));
        self.undo.record(sequence, Change::Given(name.into()));
    }

    /// The message with this number closes what goes by this name.
    pub fn taken(&mut self, sequence: u64, name: &[u8]) {
        if let Some((name, statement)) = self.remove(name) {
            self.undo.record(sequence, Change::Taken(name, statement));
        }
    }

    /// These messages had no effect.
    pub fn undo(&mut self, messages: Range<u64>) {
        for (_, change) in self.undo.undo(messages) {
            match change {
                Change::Given(name) => drop(self.remove(&name)),
                Change::Taken(name, statement) => self.named.push((name, statement)),
            }
        }
    }

    /// All messages below this number have been answered.
    #[inline]
    pub fn settle(&mut self, sequence: u64) {
        self.undo.settle(sequence);
    }

    /// The session is as new.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The server says what it had when it was asked. Gives what was not there any more, and what
    /// was not known. What goes by names that are settled by messages sent since then is left out.
    pub fn learn(&mut self, list: Vec<Listed>) -> (Vec<Named>, Vec<Listed>) {
        let named = std::mem::take(&mut self.named);
        let (kept, gone) = named.into_iter().partition(|(name, statement)| {
            let is_there = |listed: &Listed| listed.name == *name && listed.is(statement);
            self.is_unsettled(name) || list.iter().any(is_there)
        });
        self.named = kept;
        let new = list
            .into_iter()
            .filter(|listed| !self.is_unsettled(&listed.name) && self.get(&listed.name).is_none());
        (gone, new.collect())
    }

    fn is_unsettled(&self, name: &[u8]) -> bool {
        self.is_doubtful(name, u64::MAX)
    }

    /// It has been found under this name.
    pub fn found(&mut self, name: Box<[u8]>, statement: Arc<Statement>) {
        self.named.push((name, statement));
    }

    fn remove(&mut self, name: &[u8]) -> Option<Named> {
        let index = self.named.iter().position(|(own, _)| **own == *name)?;
        Some(self.named.swap_remove(index))
    }
}

impl Listed {
    /// How SQL prepares it; `None` where it is not known how it is prepared.
    pub fn prepare(&self) -> Option<Prepare<'_>> {
        sql::prepares(self.sql.as_deref()?, &self.name)
    }

    /// Whether SQL has prepared it and can't elsewhere.
    pub fn is_fixed(&self) -> bool {
        self.sql.is_some() && self.prepare().is_none()
    }

    fn is(&self, statement: &Statement) -> bool {
        match statement.by {
            By::Parse => self.sql.is_none(),
            By::Sql => self.prepare().is_some_and(|own| *own.command == *statement.identity),
        }
    }
}
