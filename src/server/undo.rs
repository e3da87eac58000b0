//! What to take back when a message turns out to have had no effect.
//!
//! Effects of messages are assumed when they are sent (a later message of the same pipeline
//! builds on them) and recorded here under the message's sequence number in the
//! [ledger](super::ledger). When the ledger reports messages as undone, their records come
//! back, newest first.

use std::collections::VecDeque;
use std::ops::Range;

/// Records by sequence number, ascending.
#[derive(Debug)]
pub struct UndoLog<T> {
    records: VecDeque<(u64, T)>,
}

impl<T> Default for UndoLog<T> {
    fn default() -> Self {
        Self { records: VecDeque::new() }
    }
}

impl<T> UndoLog<T> {
    /// Records how to undo the effect of the message with this sequence number, which must not
    /// be below one that was recorded before.
    pub fn record(&mut self, sequence: u64, undo: T) {
        self.records.push_back((sequence, undo));
    }

    /// Forgets what can't be undone any more: all below `sequence` has been answered.
    #[inline]
    pub fn settle(&mut self, sequence: u64) {
        while self.records.front().is_some_and(|(recorded, _)| *recorded < sequence) {
            self.records.pop_front();
        }
    }

    /// Takes out the records of these messages with their numbers, newest first, and forgets those
    /// before them.
    pub fn undo(&mut self, messages: Range<u64>) -> impl Iterator<Item = (u64, T)> + use<T> {
        self.settle(messages.start);
        let count = self.records.partition_point(|(recorded, _)| *recorded < messages.end);
        let undone: Vec<_> = self.records.drain(..count).collect();
        undone.into_iter().rev()
    }

    /// What is recorded, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &T)> {
        self.records.iter().map(|(sequence, undo)| (*sequence, undo))
    }

    /// Has this taken back last with the oldest record of this kind; `false` where there is none.
    pub fn precede(&mut self, is_one: impl Fn(&T) -> bool, undo: T) -> bool {
        let Some(index) = self.records.iter().position(|(_, record)| is_one(record)) else {
            return false;
        };
        let sequence = self.records.get(index).map_or(0, |(sequence, _)| *sequence);
        self.records.insert(index, (sequence, undo));
        true
    }

    /// What is recorded, oldest first, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.records.iter_mut().map(|(_, undo)| undo)
    }

    /// Keeps these, asked for from the oldest on.
    pub fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        self.records.retain(|(_, undo)| stays(undo));
    }

    /// How many records are held.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// No record is held.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_precedes_a_record_is_taken_back_behind_it() {
        let mut log = UndoLog::default();
        log.record(1, 'a');
        log.record(2, 'b');
        assert!(log.precede(|record| *record == 'b', 'c'));
        assert!(!log.precede(|record| *record == 'd', 'e'));
        assert_eq!(log.undo(2..3).collect::<Vec<_>>(), [(2, 'b'), (2, 'c')]);
    }

    #[test]
    fn undone_records_come_newest_first_and_the_rest_stays() {
        let mut log = UndoLog::default();
        for sequence in [1, 3, 4, 7] {
            log.record(sequence, sequence * 10);
        }
        assert_eq!(log.undo(2..5).collect::<Vec<_>>(), [(4, 40), (3, 30)]);
        assert_eq!(log.undo(5..5).count(), 0);
        assert!(!log.is_empty());
        log.settle(8);
        assert!(log.is_empty());
    }
}
