//! Statements that a server has under names of clients' own: those that SQL has prepared, and those
//! that SQL names though the protocol has prepared them, which go by our names otherwise.
//!
//! They stay when their client leaves, and are closed before a text of another client may name them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use ahash::RandomState;

use super::held::OnServer;
use super::prepared::{By, Statement};
use super::undo::UndoLog;
use crate::sql::{self, Prepare};

/// A statement under a client's own name.
pub type Named = (Box<[u8]>, Arc<Statement>);

/// See the module.
#[derive(Debug, Default)]
pub struct Lent {
    named: HashMap<Box<[u8]>, OnServer, RandomState>,
    undo: UndoLog<Change>,
}

#[derive(Debug)]
enum Change {
    Given(Box<[u8]>),
    Taken(Box<[u8]>, OnServer),
}

impl Change {
    fn name(&self) -> &[u8] {
        let (Self::Given(name) | Self::Taken(name, _)) = self;
        name
    }
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
        self.named.get(name).map(|statement| &**statement)
    }

    /// The names of all that are not the client's, which this is asked of.
    pub fn foreign(&self, is_own: impl Fn(&[u8], &Arc<Statement>) -> bool) -> Vec<Box<[u8]>> {
        let foreign = self.named.iter().filter(|(name, statement)| !is_own(name, statement));
        foreign.map(|(name, _)| name.clone()).collect()
    }

    /// Whether it depends on messages that are not answered yet, and come before this one, what
    /// goes by this name.
    pub fn is_doubtful(&self, name: &[u8], before: u64) -> bool {
        let mut changes = self.undo.iter();
        changes.any(|(sequence, change)| change.name() == name && sequence < before)
    }

    /// The message with this number prepares it.
    pub fn given(&mut self, sequence: u64, name: &[u8], statement: Arc<Statement>) {
        self.taken(sequence, name);
        self.named.insert(name.into(), OnServer::new(statement));
        self.undo.record(sequence, Change::Given(name.into()));
    }

    /// The message with this number closes what goes by this name.
    pub fn taken(&mut self, sequence: u64, name: &[u8]) {
        if let Some((name, statement)) = self.remove(name) {
            self.undo.record(sequence, Change::Taken(name, statement));
        }
    }

    /// The message with this number closes all of them.
    pub fn all_taken(&mut self, sequence: u64) {
        for (name, statement) in self.named.drain() {
            self.undo.record(sequence, Change::Taken(name, statement));
        }
    }

    /// These messages had no effect.
    pub fn undo(&mut self, messages: Range<u64>) {
        for (_, change) in self.undo.undo(messages) {
            match change {
                Change::Given(name) => drop(self.remove(&name)),
                Change::Taken(name, statement) => drop(self.named.insert(name, statement)),
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
    /// was not known; what was sent behind the question, and may be taken back, comes on top.
    pub fn learn(&mut self, list: Vec<Listed>) -> (Vec<Named>, Vec<Listed>) {
        // The oldest change of a name tells what was there before.
        let mut changed: Vec<Box<[u8]>> = Vec::new();
        let (mut there, mut gone) = (Vec::new(), Vec::new());
        let mut judge = |name: &[u8], statement: &Arc<Statement>| {
            let is_there = list.iter().any(|listed| *listed.name == *name && listed.is(statement));
            match is_there {
                true => there.push(Box::from(name)),
                false => gone.push((Box::from(name), Arc::clone(statement))),
            }
            is_there
        };
        self.undo.retain(|change| {
            if changed.iter().any(|name| **name == *change.name()) {
                return true;
            }
            changed.push(change.name().into());
            match change {
                Change::Taken(name, statement) => judge(name, statement),
                Change::Given(_) => true,
            }
        });
        self.named.retain(|name, statement| changed.contains(name) || judge(name, statement));
        let new = list.into_iter().filter(|listed| !there.contains(&listed.name));
        (gone, new.collect())
    }

    /// It was found under this name, before what is not answered yet.
    pub fn found(&mut self, name: Box<[u8]>, statement: Arc<Statement>) {
        let change = Change::Taken(name.clone(), OnServer::new(Arc::clone(&statement)));
        if !self.undo.precede(|change| change.name() == &*name, change) {
            self.named.insert(name, OnServer::new(statement));
        }
    }

    fn remove(&mut self, name: &[u8]) -> Option<(Box<[u8]>, OnServer)> {
        self.named.remove_entry(name)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::prepared::StatementTable;

    fn statement(table: &StatementTable, text: &str) -> Arc<Statement> {
        let prepare = sql::prepare(text.as_bytes()).unwrap();
        table.share_sql(&prepare, b"", 0)
    }

    fn listed(text: &str) -> Listed {
        let name = sql::prepare(text.as_bytes()).unwrap().name;
        Listed { name, sql: Some(text.as_bytes().into()) }
    }

    const ONE: &str = "prepare p as select 1";
    const TWO: &str = "prepare p as select 2";

    #[test]
    fn what_is_listed_comes_before_what_was_sent_since() {
        let table = StatementTable::default();
        let [one, two] = [ONE, TWO].map(|text| statement(&table, text));
        // It is prepared once more, which fails.
        let mut lent = Lent::default();
        lent.given(5, b"p", Arc::clone(&two));
        let (gone, new) = lent.learn(vec![listed(ONE)]);
        assert_eq!((gone.len(), new.len()), (0, 1));
        lent.found((*b"p").into(), Arc::clone(&one));
        assert_eq!(lent.get(b"p").map(|own| own.id), Some(two.id));
        lent.undo(5..6);
        assert_eq!(lent.get(b"p").map(|own| own.id), Some(one.id));
        // It is closed, which is skipped, and was not there.
        lent.taken(7, b"p");
        let (gone, new) = lent.learn(vec![]);
        assert_eq!((gone.len(), new.len()), (1, 0));
        lent.undo(7..8);
        assert!(lent.is_empty());
    }

    #[test]
    fn what_is_listed_otherwise_is_gone_and_new() {
        let table = StatementTable::default();
        let mut lent = Lent::default();
        lent.found((*b"p").into(), statement(&table, ONE));
        let (gone, new) = lent.learn(vec![listed(ONE)]);
        assert_eq!((gone.len(), new.len(), lent.len()), (0, 0, 1));
        let (gone, new) = lent.learn(vec![listed(TWO)]);
        assert_eq!((gone.len(), new.len(), lent.len()), (1, 1, 0));
    }
}
