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

/// See the module. Small when empty: most clients are idle, and many prepare nothing.
#[derive(Debug, Default)]
pub(super) struct Names {
    named: Option<Box<Named>>,
    unnamed: Unnamed,
}

type Named = HashMap<Box<[u8]>, Arc<Statement>, RandomState>;

/// How to undo what messages did that are not answered yet. Belongs to one attachment.
pub(super) type NamesUndo = UndoLog<Undo>;

/// The unnamed statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Unnamed {
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

/// See [`NamesUndo`].
#[derive(Debug)]
pub(super) enum Undo {
    /// A name stood for this, or for nothing.
    Name {
        /// The client's name.
        name: Box<[u8]>,
        /// What it stood for.
        before: Option<Arc<Statement>>,
    },
    /// The unnamed statement was this.
    Unnamed(Unnamed),
}

impl Names {
    /// The statement that the client prepared under this name.
    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.named.as_ref()?.get(name)
    }

    /// The unnamed statement.
    pub(super) fn unnamed(&self) -> &Unnamed {
        &self.unnamed
    }

    /// The message with this number gives a name to a statement.
    pub(super) fn prepare(
        &mut self,
        undo: &mut NamesUndo,
        sequence: u64,
        name: &[u8],
        statement: Arc<Statement>,
    ) {
        let before = self.named.get_or_insert_default().insert(name.into(), statement);
        undo.record(sequence, Undo::Name { name: name.into(), before });
    }

    /// The message with this number frees a name.
    pub(super) fn close(&mut self, undo: &mut NamesUndo, sequence: u64, name: &[u8]) {
        let named = self.named.as_mut();
        if let Some((name, statement)) = named.and_then(|named| named.remove_entry(name)) {
            undo.record(sequence, Undo::Name { name, before: Some(statement) });
        }
    }

    /// Frees a name for good, or all of them.
    pub(super) fn deallocate(&mut self, name: Option<&[u8]>) {
        match (name, &mut self.named) {
            (Some(name), Some(named)) => drop(named.remove(name)),
            (Some(_), None) => {}
            (None, named) => *named = None,
        }
    }

    /// The message with this number changes the unnamed statement.
    pub(super) fn set_unnamed(&mut self, undo: &mut NamesUndo, sequence: u64, unnamed: Unnamed) {
        let before = std::mem::replace(&mut self.unnamed, unnamed);
        undo.record(sequence, Undo::Unnamed(before));
    }

    /// A simple query has dropped the unnamed statement, whether it fails or not.
    #[inline]
    pub(super) fn drop_unnamed(&mut self) {
        self.unnamed = Unnamed::None;
    }

    /// These messages have had no effect.
    pub(super) fn undo(&mut self, undo: &mut NamesUndo, messages: Range<u64>) {
        for undo in undo.undo(messages) {
            match undo {
                Undo::Name { name, before: Some(statement) } => {
                    self.named.get_or_insert_default().insert(name, statement);
                }
                Undo::Name { name, before: None } => self.deallocate(Some(&name)),
                Undo::Unnamed(before) => self.unnamed = before,
            }
        }
    }

    /// The server goes; all its messages have been answered.
    pub(super) fn leave_server(&mut self) {
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
        let (mut names, mut undo) = (Names::default(), NamesUndo::default());
        names.prepare(&mut undo, 0, b"x", Arc::clone(&a));
        undo.settle(1);
        // Close x, Parse x, Parse y, Parse "": the first of them fails.
        names.close(&mut undo, 1, b"x");
        names.prepare(&mut undo, 2, b"x", Arc::clone(&b));
        names.prepare(&mut undo, 3, b"y", Arc::clone(&b));
        names.set_unnamed(&mut undo, 4, Unnamed::OnlyHere);
        assert_eq!(names.get(b"x").map(|s| s.id), Some(b.id));
        names.undo(&mut undo, 1..5);
        assert_eq!(names.get(b"x").map(|s| s.id), Some(a.id));
        assert!(names.get(b"y").is_none());
        assert_eq!(names.unnamed(), &Unnamed::None);
    }

    #[test]
    fn unnamed_statement_outlives_its_server() {
        let mut names = Names::default();
        let identity: Arc<[u8]> = b"select 1\0\0\0".as_slice().into();
        names.set_unnamed(&mut NamesUndo::default(), 0, Unnamed::Here(Arc::clone(&identity)));
        names.leave_server();
        assert_eq!(names.unnamed(), &Unnamed::Elsewhere(identity));
        names.drop_unnamed();
        assert_eq!(names.unnamed(), &Unnamed::None);
    }
}
