//! A client's prepared statements: its names, and the unnamed one.
//!
//! Names change when messages are sent, as later messages of the same pipeline build on them,
//! and change back when the ledger reports those messages as undone.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use ahash::RandomState;

use crate::server::prepared::Statement;
use crate::server::undo::UndoLog;

/// See the module.
#[derive(Debug, Default)]
pub struct Names {
    named: HashMap<Box<[u8]>, Arc<Statement>, RandomState>,
    unnamed: Unnamed,
    undo: UndoLog<Undo>,
}

/// The unnamed statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Unnamed {
    /// There is none.
    #[default]
    None,
    /// The server that is attached has it; this is what a Parse for another one needs.
    Here(Arc<[u8]>),
    /// Some other server had it.
    Elsewhere(Arc<[u8]>),
    /// The server that is attached has it, and it was too long to be kept.
    OnlyHere,
}

#[derive(Debug)]
enum Undo {
    Name { name: Box<[u8]>, before: Option<Arc<Statement>> },
    Unnamed(Unnamed),
}

impl Names {
    /// The statement that the client prepared under this name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.named.get(name)
    }

    /// How many names the client has.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// The client has no names.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// The unnamed statement.
    pub fn unnamed(&self) -> &Unnamed {
        &self.unnamed
    }

    /// The message with this number gives a name to a statement.
    pub fn prepare(&mut self, sequence: u64, name: &[u8], statement: Arc<Statement>) {
        let before = self.named.insert(name.into(), statement);
        self.undo.record(sequence, Undo::Name { name: name.into(), before });
    }

    /// The message with this number frees a name.
    pub fn close(&mut self, sequence: u64, name: &[u8]) {
        if let Some((name, statement)) = self.named.remove_entry(name) {
            self.undo.record(sequence, Undo::Name { name, before: Some(statement) });
        }
    }

    /// Frees a name for good, or all of them.
    pub fn deallocate(&mut self, name: Option<&[u8]>) {
        match name {
            Some(name) => drop(self.named.remove(name)),
            None => self.named = HashMap::default(),
        }
    }

    /// The message with this number changes the unnamed statement.
    pub fn set_unnamed(&mut self, sequence: u64, unnamed: Unnamed) {
        let before = std::mem::replace(&mut self.unnamed, unnamed);
        self.undo.record(sequence, Undo::Unnamed(before));
    }

    /// A simple query has dropped the unnamed statement, whether it fails or not.
    #[inline]
    pub fn drop_unnamed(&mut self) {
        self.unnamed = Unnamed::None;
    }

    /// These messages have had no effect.
    pub fn undo(&mut self, messages: Range<u64>) {
        for undo in self.undo.undo(messages) {
            match undo {
                Undo::Name { name, before: Some(statement) } => {
                    self.named.insert(name, statement);
                }
                Undo::Name { name, before: None } => drop(self.named.remove(&name)),
                Undo::Unnamed(before) => self.unnamed = before,
            }
        }
    }

    /// All messages below this number have been answered.
    #[inline]
    pub fn settle(&mut self, sequence: u64) {
        self.undo.settle(sequence);
    }

    /// The server goes; all its messages have been answered. Memory that only a burst needed
    /// goes too.
    pub fn leave_server(&mut self) {
        self.undo = UndoLog::default();
        self.unnamed = match std::mem::take(&mut self.unnamed) {
            Unnamed::Here(identity) => Unnamed::Elsewhere(identity),
            Unnamed::OnlyHere => Unnamed::None,
            kept @ (Unnamed::None | Unnamed::Elsewhere(_)) => kept,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::prepared::StatementTable;

    #[test]
    fn undo_restores_what_was() {
        let table = StatementTable::default();
        let [a, b] = [table.share(b"a", || false), table.share(b"b", || false)];
        let mut names = Names::default();
        names.prepare(0, b"x", Arc::clone(&a));
        names.settle(1);
        // Close x, Parse x, Parse y, Parse "": the first of them fails.
        names.close(1, b"x");
        names.prepare(2, b"x", Arc::clone(&b));
        names.prepare(3, b"y", Arc::clone(&b));
        names.set_unnamed(4, Unnamed::OnlyHere);
        assert_eq!(names.get(b"x").map(|s| s.id), Some(b.id));
        names.undo(1..5);
        assert_eq!(names.get(b"x").map(|s| s.id), Some(a.id));
        assert!(names.get(b"y").is_none());
        assert_eq!(names.unnamed(), &Unnamed::None);
    }

    #[test]
    fn unnamed_statement_outlives_its_server() {
        let mut names = Names::default();
        let identity: Arc<[u8]> = b"select 1\0\0\0".as_slice().into();
        names.set_unnamed(0, Unnamed::Here(Arc::clone(&identity)));
        names.leave_server();
        assert_eq!(names.unnamed(), &Unnamed::Elsewhere(identity));
        names.drop_unnamed();
        assert_eq!(names.unnamed(), &Unnamed::None);
    }
}
