//! Prepared statements: one identity for a text with its parameter types, one name of ours for
//! it on every server, and what each server has prepared.
//!
//! A statement is known by its full text and types, compared byte for byte: a hash only finds
//! the candidates, so that no collision can run another client's statement.

use std::collections::VecDeque;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use ahash::RandomState;
use parking_lot::Mutex;

use super::held::{Counted, OnServer, Prepared, Totals};
use super::undo::UndoLog;
use super::unseen::MayRun;
use crate::sql::{self, Effects, Prepare};

/// A statement that clients have prepared by name.
#[derive(Debug)]
pub struct Statement {
    /// Unique as long as the process runs; names are made of it, so it is never used again.
    pub id: u64,
    /// How it is prepared.
    pub by: By,
    /// What follows the name in a Parse: text, NUL, parameter types; or the whole SQL command.
    pub identity: Box<[u8]>,
    /// How much of that is its text.
    text_len: usize,
    /// Where the names in it are looked up ([`Params::lookup`]): the same text may be another
    /// statement there.
    ///
    /// [`Params::lookup`]: super::params::Params::lookup
    pub lookup: Box<[u8]>,
    /// The version of its database's schema under which it was prepared ([`super::schema`]): under
    /// another one it may have other columns.
    pub version: u64,
    /// What it may leave in the session that runs it.
    pub effects: Effects,
    /// Whether it may run code that nobody sees.
    pub unseen: MayRun,
    /// Its parameters and columns, once a server has said them.
    pub shape: OnceLock<Box<[u8]>>,
    /// How many servers have it.
    pub(super) servers: AtomicUsize,
    /// How often it was bound.
    pub(super) uses: AtomicU64,
    _counted: Counted,
}

impl Statement {
    /// Its text.
    pub fn text(&self) -> &[u8] {
        self.identity.get(..self.text_len).unwrap_or_default()
    }

    /// It is bound once more.
    #[inline]
    pub fn bound(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
    }
}

/// The text of what follows the name in a Parse.
pub fn text_of(identity: &[u8]) -> &[u8] {
    let end = memchr::memchr(0, identity).unwrap_or(identity.len());
    identity.get(..end).unwrap_or_default()
}

/// How a statement is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// By a Parse.
    Parse,
    /// By the command `PREPARE`, under the name that is in it.
    Sql,
}

/// A name of ours on servers: `pgweir_`, the statement's number, and the server's epoch where it
/// is not the first.
#[derive(Clone, Copy, Debug)]
pub struct StatementName {
    bytes: [u8; NAME_MAX],
    len: usize,
}

/// What our names begin with; a client's own names never reach a server.
pub const NAME_PREFIX: &[u8] = b"pgweir_";
const NAME_MAX: usize = NAME_PREFIX.len() + 20 + 1 + 10;

impl StatementName {
    fn new(id: u64, epoch: u32) -> Self {
        let mut name = Self::nobody();
        name.push_number(id);
        if epoch > 0 {
            name.push(b"_");
            name.push_number(u64::from(epoch));
        }
        name
    }

    /// A name that no statement has.
    pub fn nobody() -> Self {
        let mut name = Self { bytes: [0; NAME_MAX], len: 0 };
        name.push(NAME_PREFIX);
        name
    }

    /// A name that a statement has for no longer than it takes to hear what the server says.
    pub fn to_ask() -> Self {
        let mut name = Self::nobody();
        name.push(b"ask");
        name
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = *byte;
                self.len += 1;
            }
        }
    }

    fn push_number(&mut self, number: u64) {
        let mut divisor = 1;
        while number / divisor >= 10 {
            divisor *= 10;
        }
        while divisor > 0 {
            let digit = u8::try_from(number / divisor % 10).unwrap_or_default();
            self.push(&[b'0' + digit]);
            divisor /= 10;
        }
    }

    /// The name as it goes on the wire, without its NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// All statements that any client or server holds, by identity.
#[derive(Debug, Default)]
pub struct StatementTable {
    hasher: RandomState,
    inner: Mutex<TableInner>,
    totals: Arc<Totals>,
}

#[derive(Debug, Default)]
struct TableInner {
    /// Hashes are keyed per process and only choose a bucket.
    buckets: hashbrown::HashTable<(u64, Weak<Statement>)>,
    last_id: u64,
}

impl TableInner {
    fn get(&self, hash: u64, is_one: impl Fn(&Statement) -> bool) -> Option<Arc<Statement>> {
        let mut found = None;
        self.buckets.find(hash, |(_, weak)| {
            found = weak.upgrade().filter(|statement| is_one(statement));
            found.is_some()
        });
        found
    }
}

impl StatementTable {
    /// The statement with this identity, lookup and version; what it may leave is asked only for
    /// a new one.
    pub fn share(
        &self,
        identity: &[u8],
        lookup: &[u8],
        version: u64,
        effects: impl FnOnce() -> Effects,
    ) -> Arc<Statement> {
        self.find(By::Parse, identity, lookup, version, effects)
    }

    /// The statement that this SQL command prepares, under this lookup and version.
    pub fn share_sql(&self, prepare: &Prepare<'_>, lookup: &[u8], version: u64) -> Arc<Statement> {
        let effects = || sql::effects(prepare.statement);
        self.find(By::Sql, prepare.command, lookup, version, effects)
    }

    fn find(
        &self,
        by: By,
        identity: &[u8],
        lookup: &[u8],
        version: u64,
        effects: impl FnOnce() -> Effects,
    ) -> Arc<Statement> {
        let hash = self.hasher.hash_one((by, identity, lookup, version));
        let is_one = |statement: &Statement| {
            statement.by == by
                && *statement.identity == *identity
                && *statement.lookup == *lookup
                && statement.version == version
        };
        if let Some(statement) = self.inner.lock().get(hash, is_one) {
            return statement;
        }
        // All event loops come by here, and a text may be long.
        let effects = effects();
        let (own_identity, own_lookup) = (identity.into(), lookup.into());
        let mut inner = self.inner.lock();
        if let Some(statement) = inner.get(hash, is_one) {
            return statement;
        }
        if inner.buckets.len() == inner.buckets.capacity() {
            inner.buckets.retain(|(_, weak)| weak.strong_count() > 0);
        }
        inner.last_id += 1;
        let statement = Arc::new(Statement {
            id: inner.last_id,
            by,
            identity: own_identity,
            text_len: text_of(identity).len(),
            lookup: own_lookup,
            version,
            effects,
            unseen: MayRun::default(),
            shape: OnceLock::new(),
            servers: AtomicUsize::new(0),
            uses: AtomicU64::new(0),
            _counted: Counted::new(&self.totals, identity.len() + lookup.len()),
        });
        let entry = (hash, Arc::downgrade(&statement));
        inner.buckets.insert_unique(hash, entry, |(hash, _)| *hash);
        statement
    }

    /// What there is to tell of each that somebody has, in the order of their numbers.
    pub fn list(&self) -> Vec<Prepared> {
        let inner = self.inner.lock();
        let known: Vec<_> = inner.buckets.iter().filter_map(|(_, weak)| weak.upgrade()).collect();
        drop(inner);
        let mut list: Vec<_> = known.iter().map(Prepared::of).collect();
        list.sort_by_key(|statement| statement.id);
        list
    }

    /// How many somebody has, and how many bytes their texts take.
    pub fn totals(&self) -> (usize, usize) {
        self.totals.now()
    }

    /// How many identities are held, those that nobody has any more but which were not swept
    /// yet included.
    pub fn len(&self) -> usize {
        self.inner.lock().buckets.len()
    }

    /// None is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What one server has prepared, least recently used first.
#[derive(Debug, Default)]
pub struct PreparedSet {
    used: VecDeque<OnServer>,
    /// Those of which it is not known yet whether they have the shape of their statement here, and
    /// those that have not.
    doubted: Vec<(u64, Shape)>,
    undo: UndoLog<Change>,
    /// Part of the names: a new one makes all names new.
    epoch: u32,
}

/// Whether a statement has its parameters and columns on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It has.
    Known,
    /// The server has not said yet.
    Unknown,
    /// It has others there.
    Other,
}

#[derive(Debug)]
enum Change {
    Prepared(u64),
    Closed(OnServer),
}

impl Change {
    fn id(&self) -> u64 {
        match self {
            Self::Prepared(id) => *id,
            Self::Closed(statement) => statement.id,
        }
    }
}

impl PreparedSet {
    /// Whether the server has the statement; if so, it is now the one most recently used.
    pub fn touch(&mut self, id: u64) -> bool {
        if self.used.back().is_some_and(|newest| newest.id == id) {
            return true;
        }
        let Some(index) = self.used.iter().rposition(|statement| statement.id == id) else {
            return false;
        };
        if let Some(statement) = self.used.remove(index) {
            self.used.push_back(statement);
        }
        true
    }

    /// The name under which this server knows the statement, or will.
    pub fn name(&self, id: u64) -> StatementName {
        StatementName::new(id, self.epoch)
    }

    /// Whether what the server has prepared has the shape of the statement.
    #[inline]
    pub fn shape(&self, id: u64) -> Shape {
        let doubted = self.doubted.iter().find(|(doubted, _)| *doubted == id);
        doubted.map_or(Shape::Known, |(_, shape)| *shape)
    }

    /// The server has said what the shape is.
    pub fn found(&mut self, id: u64, shape: Shape) {
        let has = self.used.iter().any(|statement| statement.id == id);
        self.doubted.retain(|(doubted, _)| *doubted != id);
        if has && shape != Shape::Known {
            self.doubted.push((id, shape));
        }
    }

    /// Whether the statement was prepared or closed by a message that is not answered yet and
    /// comes before this one: it may fail or be skipped, and what is sent now would not be.
    pub fn is_doubtful(&self, id: u64, before: u64) -> bool {
        self.undo.iter().any(|(sequence, change)| change.id() == id && sequence < before)
    }

    /// How many statements the server has.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// It has none.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// The one to close when another is prepared and `max` must not be exceeded.
    pub fn surplus(&self, max: usize) -> Option<Arc<Statement>> {
        let first = self.used.front().filter(|_| self.used.len() >= max.max(1));
        first.map(|statement| Arc::clone(statement))
    }

    /// A Parse for it was sent, under this sequence number of the ledger.
    pub fn prepared(&mut self, sequence: u64, statement: Arc<Statement>) {
        self.undo.record(sequence, Change::Prepared(statement.id));
        self.doubted.push((statement.id, Shape::Unknown));
        self.used.push_back(OnServer::new(statement));
    }

    /// A Close for it was sent, under this sequence number of the ledger.
    pub fn closed(&mut self, sequence: u64, id: u64) {
        if let Some(statement) = self.take(id) {
            self.undo.record(sequence, Change::Closed(statement));
        }
    }

    /// These messages had no effect.
    pub fn undo(&mut self, messages: std::ops::Range<u64>) {
        for (_, change) in self.undo.undo(messages) {
            match change {
                Change::Prepared(id) => drop(self.take(id)),
                Change::Closed(statement) => {
                    self.doubted.push((statement.id, Shape::Unknown));
                    self.used.push_front(statement);
                }
            }
        }
    }

    /// All messages below this sequence number have been answered.
    pub fn settle(&mut self, sequence: u64) {
        self.undo.settle(sequence);
    }

    /// The server has forgotten them all, or some of them: what is prepared from here on gets
    /// names that it can't know.
    pub fn forget(&mut self) {
        *self = Self { epoch: self.epoch.wrapping_add(1), ..Self::default() };
    }

    /// The session is as new: no name is taken.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn take(&mut self, id: u64) -> Option<OnServer> {
        self.doubted.retain(|(doubted, _)| *doubted != id);
        let index = self.used.iter().position(|statement| statement.id == id)?;
        self.used.remove(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decimal_and_bounded() {
        for (id, epoch, name) in [
            (0, 0, "pgweir_0".to_owned()),
            (1230, 0, "pgweir_1230".to_owned()),
            (7, 2, "pgweir_7_2".to_owned()),
            (u64::MAX, u32::MAX, format!("pgweir_{}_{}", u64::MAX, u32::MAX)),
        ] {
            assert_eq!(StatementName::new(id, epoch).as_bytes(), name.as_bytes());
        }
    }

    #[test]
    fn identity_is_text_and_types() {
        let table = StatementTable::default();
        let a = table.share(b"select $1\0\0\0", b"", 0, Effects::default);
        let b = table.share(b"select $1\0\0\0", b"", 0, || panic!("known already"));
        let c = table.share(b"select $1\0\0\x01\0\0\0\x17", b"", 0, Effects::default);
        let d = table.share(b"select $1\0\0\0", b"elsewhere", 0, Effects::default);
        assert!(Arc::ptr_eq(&a, &b));
        assert!(a.id != c.id && a.id != d.id);
    }

    #[test]
    fn what_a_text_leaves_is_found_out_while_others_prepare() {
        let table = Arc::new(StatementTable::default());
        let (done, finished) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let effects = || {
                table.share(b"other\0\0\0", b"", 0, Effects::default);
                Effects::default()
            };
            done.send(table.share(b"select 1\0\0\0", b"", 0, effects).id)
        });
        assert_eq!(finished.recv_timeout(std::time::Duration::from_secs(10)), Ok(2));
    }

    #[test]
    fn what_nobody_holds_is_forgotten_and_its_name_never_used_again() {
        let table = StatementTable::default();
        let mut last = 0;
        for index in 0..10_000 {
            let statement =
                table.share(format!("select {index}\0\0\0").as_bytes(), b"", 0, Effects::default);
            assert!(statement.id > last);
            last = statement.id;
        }
        assert!(table.len() < 100, "{}", table.len());
    }

    #[test]
    fn what_an_unanswered_batch_did_is_doubtful_behind_it() {
        let table = StatementTable::default();
        let statement = |n: u8| table.share(&[n], b"", 0, Effects::default);
        let [a, b, c] = [statement(1), statement(2), statement(3)];
        let mut set = PreparedSet::default();
        set.prepared(0, a.clone());
        set.settle(1);
        // Close a, Parse b, Sync.
        set.closed(1, a.id);
        set.prepared(2, b.clone());
        let doubtful = |before| [&a, &b, &c].map(|s| set.is_doubtful(s.id, before));
        assert_eq!(doubtful(0), [false, false, false]);
        assert_eq!(doubtful(3), [true, true, false]);
    }

    #[test]
    fn least_recently_used_goes_first_and_undo_restores() {
        let table = StatementTable::default();
        let statement = |n: u8| table.share(&[n], b"", 0, Effects::default);
        let [a, b, c] = [statement(1), statement(2), statement(3)];
        let mut set = PreparedSet::default();
        set.prepared(0, a.clone());
        set.prepared(1, b.clone());
        set.settle(2);
        assert!(set.touch(a.id));
        assert_eq!(set.surplus(2).map(|s| s.id), Some(b.id));
        assert!(set.surplus(3).is_none());
        set.closed(2, b.id);
        set.prepared(3, c.clone());
        assert!(!set.touch(b.id) && set.touch(c.id));
        set.undo(2..5);
        assert!(set.touch(b.id) && !set.touch(c.id) && set.touch(a.id));
    }
}
