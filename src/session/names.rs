//! A client's prepared statements: its names, and the unnamed one.
//!
//! Names change when messages are sent, as later messages of the same pipeline build on them,
//! and change back when the ledger reports those messages as undone.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use ahash::RandomState;

use crate::server::prepared::{By, Statement};
use crate::server::undo::UndoLog;

/// See the module. Small when empty: most clients are idle, and many prepare nothing.
#[derive(Debug, Default)]
pub(super) struct Names {
    named: Option<Box<Named>>,
    unnamed: Unnamed,
}

/// Statements by name, and what all of them take.
#[derive(Debug, Default)]
pub(super) struct Named {
    statements: HashMap<Box<[u8]>, Arc<Statement>, RandomState>,
    bytes: usize,
}

/// What a statement takes beside its name and text.
const OVERHEAD: usize = 256;

/// What a statement of this text takes under a name.
pub(super) fn size_of(name: &[u8], identity: &[u8]) -> usize {
    name.len() + identity.len() + OVERHEAD
}

impl Named {
    fn insert(&mut self, name: Box<[u8]>, statement: Arc<Statement>) -> Option<Arc<Statement>> {
        let own = size_of(&name, &[]);
        self.bytes += own + statement.identity.len();
        let before = self.statements.insert(name, statement);
        if let Some(before) = &before {
            self.bytes -= own + before.identity.len();
        }
        before
    }

    fn remove(&mut self, name: &[u8]) -> Option<(Box<[u8]>, Arc<Statement>)> {
        let removed = self.statements.remove_entry(name);
        if let Some((name, statement)) = &removed {
            self.bytes -= size_of(name, &statement.identity);
        }
        removed
    }
}

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
    /// The names stood for these.
    All(Box<Named>),
    /// The unnamed statement was this.
    Unnamed(Unnamed),
    /// It was this before the message dropped it, which it does even if it fails, and does not
    /// only if it is skipped.
    Dropped(Unnamed),
}

impl Undo {
    /// Whether it is about this name; the empty one is the unnamed statement's.
    fn is_of(&self, name: &[u8]) -> bool {
        match self {
            Self::Name { name: own, .. } => **own == *name,
            Self::All(_) => !name.is_empty(),
            Self::Unnamed(_) | Self::Dropped(_) => name.is_empty(),
        }
    }
}

impl Names {
    /// How many statements have names.
    pub(super) fn count(&self) -> usize {
        self.named.as_ref().map_or(0, |named| named.statements.len())
    }

    /// What the statements that have names take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.named.as_ref().map_or(0, |named| named.bytes)
    }

    /// The statement that the client prepared under this name.
    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.named.as_ref()?.statements.get(name)
    }

    /// Those that SQL has prepared.
    pub(super) fn sql(&self) -> impl Iterator<Item = (Box<[u8]>, Arc<Statement>)> {
        let all = self.named.iter().flat_map(|named| named.statements.iter());
        let sql = all.filter(|(_, statement)| statement.by == By::Sql);
        sql.map(|(name, statement)| (name.clone(), Arc::clone(statement)))
    }

    /// It has turned out that this name does not stand for that statement any more.
    pub(super) fn unlearn(&mut self, undo: &mut NamesUndo, name: &[u8], gone: u64) {
        let before = undo.iter_mut().find(|later| later.is_of(name));
        match before {
            Some(Undo::Name { before, .. }) => drop(before.take_if(|own| own.id == gone)),
            Some(Undo::All(named))
                if named.statements.get(name).is_some_and(|own| own.id == gone) =>
            {
                named.remove(name);
            }
            None if self.get(name).is_some_and(|own| own.id == gone) => {
                self.deallocate(Some(name));
            }
            _ => {}
        }
    }

    /// What stands for this name is this statement now, where it was that one, also where what
    /// comes later is taken back.
    pub(super) fn replace(
        &mut self,
        undo: &mut NamesUndo,
        name: &[u8],
        before: u64,
        now: &Arc<Statement>,
    ) {
        let named = self.named.as_mut().and_then(|named| named.statements.get_mut(name));
        let undone = undo.iter_mut().filter_map(|undo| match undo {
            Undo::Name { name: own, before } if **own == *name => before.as_mut(),
            Undo::All(named) => named.statements.get_mut(name),
            _ => None,
        });
        for statement in named.into_iter().chain(undone).filter(|own| own.id == before) {
            *statement = Arc::clone(now);
        }
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
        if let Some((name, statement)) = named.and_then(|named| named.remove(name)) {
            undo.record(sequence, Undo::Name { name, before: Some(statement) });
        }
    }

    /// The message with this number frees all names.
    pub(super) fn free_all(&mut self, undo: &mut NamesUndo, sequence: u64) {
        let named = self.named.take();
        // Where there are none, an undo may still bring some back, which this frees.
        if named.is_some() || !undo.is_empty() {
            undo.record(sequence, Undo::All(named.unwrap_or_default()));
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

    /// The message with this number drops the unnamed statement before it does anything else.
    #[inline]
    pub(super) fn drop_unnamed_first(&mut self, undo: &mut NamesUndo, sequence: u64) {
        let before = std::mem::take(&mut self.unnamed);
        // Where there is none, an undo may still bring one back, which this drops.
        if before != Unnamed::None || !undo.is_empty() {
            undo.record(sequence, Undo::Dropped(before));
        }
    }

    /// Drops the unnamed statement for good.
    #[inline]
    pub(super) fn drop_unnamed(&mut self) {
        self.unnamed = Unnamed::None;
    }

    /// These messages have had no effect: the first failed, the others were skipped. What later
    /// ones did stays: to undo it will lead back to what was before these.
    pub(super) fn undo(&mut self, undo: &mut NamesUndo, messages: Range<u64>) {
        for (sequence, undone) in undo.undo(messages.clone()) {
            match undone {
                Undo::Dropped(_) if sequence == messages.start => {}
                Undo::Name { name, before } => self.restore(undo, name, before),
                Undo::All(before) => {
                    for (name, statement) in before.statements {
                        self.restore(undo, name, Some(statement));
                    }
                }
                Undo::Unnamed(before) | Undo::Dropped(before) => {
                    let later = undo.iter_mut().find_map(|later| match later {
                        Undo::Unnamed(unnamed) | Undo::Dropped(unnamed) => Some(unnamed),
                        Undo::Name { .. } | Undo::All(_) => None,
                    });
                    *later.unwrap_or(&mut self.unnamed) = before;
                }
            }
        }
    }

    /// What this name stands for before messages that are not answered yet.
    pub(super) fn restore(
        &mut self,
        undo: &mut NamesUndo,
        name: Box<[u8]>,
        statement: Option<Arc<Statement>>,
    ) {
        let later = undo.iter_mut().find(|later| later.is_of(&name));
        let named = match later {
            Some(Undo::Name { before, .. }) => return *before = statement,
            Some(Undo::All(before)) => before,
            Some(Undo::Unnamed(_) | Undo::Dropped(_)) | None => self.named.get_or_insert_default(),
        };
        match statement {
            Some(statement) => drop(named.insert(name, statement)),
            None => drop(named.remove(&name)),
        }
    }

    /// Whether what this name stands for was settled by a message that is not answered yet and
    /// does not come behind `batch`: it may fail, and what is sent now would not fail with it.
    pub(super) fn is_doubtful(undo: &NamesUndo, name: &[u8], batch: u64) -> bool {
        let of_before = undo.iter().next().is_some_and(|(oldest, _)| oldest <= batch);
        let newest = || undo.iter().rev().find(|(_, undo)| undo.is_of(name));
        of_before && newest().is_some_and(|(sequence, _)| sequence <= batch)
    }

    /// The server goes, or loses the unnamed statement by what is not the client's doing.
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
    use crate::sql::Effects;

    #[test]
    fn undo_restores_what_was() {
        let table = StatementTable::default();
        let [a, b] = [
            table.share(b"a", b"", 0, Effects::default),
            table.share(b"b", b"", 0, Effects::default),
        ];
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
    fn what_statements_take_is_known_whatever_is_undone() {
        let table = StatementTable::default();
        let [a, long] =
            [&b"a"[..], &[b'x'; 1000]].map(|text| table.share(text, b"", 0, Effects::default));
        let (mut names, mut undo) = (Names::default(), NamesUndo::default());
        let of = |text: &[u8]| size_of(b"x", text);
        names.prepare(&mut undo, 0, b"x", Arc::clone(&a));
        names.prepare(&mut undo, 1, b"x", Arc::clone(&long));
        assert_eq!(names.bytes(), of(&long.identity));
        names.prepare(&mut undo, 2, b"y", Arc::clone(&a));
        assert_eq!(names.bytes(), of(&long.identity) + of(b"a"));
        names.free_all(&mut undo, 3);
        assert_eq!(names.bytes(), 0);
        names.undo(&mut undo, 3..4);
        assert_eq!(names.bytes(), of(&long.identity) + of(b"a"));
        names.prepare(&mut undo, 5, b"x", Arc::clone(&long));
        names.close(&mut undo, 6, b"x");
        assert_eq!(names.bytes(), of(b"a"));
        names.undo(&mut undo, 6..7);
        assert_eq!(names.bytes(), of(&long.identity) + of(b"a"));
        names.deallocate(Some(b"x"));
        assert_eq!(names.bytes(), of(b"a"));
        names.deallocate(None);
        assert_eq!(names.bytes(), 0);
    }

    #[test]
    fn undo_leaves_what_later_batches_did() {
        let table = StatementTable::default();
        let [a, b] = [
            table.share(b"a", b"", 0, Effects::default),
            table.share(b"b", b"", 0, Effects::default),
        ];
        let id = |names: &Names, name: &[u8]| names.get(name).map(|statement| statement.id);
        let here = |text: &[u8]| Unnamed::Here(text.into());
        let (mut names, mut undo) = (Names::default(), NamesUndo::default());
        // Parse x, Parse y, Parse "", Sync; Parse x, Parse "", Sync; DEALLOCATE ALL, Parse y.
        names.prepare(&mut undo, 0, b"x", Arc::clone(&a));
        names.prepare(&mut undo, 1, b"y", Arc::clone(&a));
        names.drop_unnamed_first(&mut undo, 2);
        names.set_unnamed(&mut undo, 2, here(b"a"));
        names.prepare(&mut undo, 4, b"x", Arc::clone(&b));
        names.drop_unnamed_first(&mut undo, 5);
        names.set_unnamed(&mut undo, 5, here(b"b"));
        names.free_all(&mut undo, 7);
        names.prepare(&mut undo, 8, b"y", Arc::clone(&b));
        assert!(Names::is_doubtful(&undo, b"x", 7) && !Names::is_doubtful(&undo, b"y", 7));
        names.undo(&mut undo, 0..3);
        assert_eq!((id(&names, b"x"), id(&names, b"y")), (None, Some(b.id)));
        assert_eq!(names.unnamed(), &here(b"b"));
        names.undo(&mut undo, 7..9);
        assert_eq!((id(&names, b"x"), id(&names, b"y")), (Some(b.id), None));
    }

    #[test]
    fn unnamed_statement_is_dropped_by_what_fails_and_not_by_what_is_skipped() {
        let (mut names, mut undo) = (Names::default(), NamesUndo::default());
        names.set_unnamed(&mut undo, 0, Unnamed::OnlyHere);
        undo.settle(1);
        names.drop_unnamed_first(&mut undo, 2);
        assert_eq!(names.unnamed(), &Unnamed::None);
        names.undo(&mut undo, 1..3);
        assert_eq!(names.unnamed(), &Unnamed::OnlyHere);
        names.drop_unnamed_first(&mut undo, 4);
        names.undo(&mut undo, 4..5);
        assert_eq!(names.unnamed(), &Unnamed::None);
        // One that is skipped, and one that is not.
        names.set_unnamed(&mut undo, 5, Unnamed::OnlyHere);
        undo.settle(6);
        names.drop_unnamed_first(&mut undo, 7);
        names.drop_unnamed_first(&mut undo, 9);
        names.undo(&mut undo, 6..8);
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

    #[test]
    fn what_drops_the_unnamed_statement_does_so_even_if_it_fails() {
        let here = |text: &[u8]| Unnamed::Here(text.into());
        let (mut names, mut undo) = (Names::default(), NamesUndo::default());
        // Parse "", Sync, a call (3) that fails, Parse "" (4) that fails.
        names.set_unnamed(&mut undo, 0, here(b"a"));
        undo.settle(3);
        names.drop_unnamed_first(&mut undo, 4);
        names.set_unnamed(&mut undo, 4, here(b"b"));
        names.undo(&mut undo, 3..4);
        assert_eq!(names.unnamed(), &here(b"b"));
        names.undo(&mut undo, 4..5);
        assert_eq!(names.unnamed(), &Unnamed::None);
        // Skipped, it drops nothing.
        names.set_unnamed(&mut undo, 6, here(b"c"));
        undo.settle(7);
        names.drop_unnamed_first(&mut undo, 8);
        names.set_unnamed(&mut undo, 8, here(b"d"));
        names.undo(&mut undo, 7..9);
        assert_eq!(names.unnamed(), &here(b"c"));
    }
}
