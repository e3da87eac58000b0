//! A read of which nothing has been shown yet: should its server be lost, it is read elsewhere, and
//! nobody notices.
//!
//! An error of a replica is not the last word: writing may be refused there, the replica may cancel
//! what stands in the way of its replay, or lack a table that the primary has. So replies are kept
//! back until there is a row or the end of a statement, and an error that comes before that is
//! answered by the primary instead. A request is kept only if it is there as a whole, with nothing
//! sent before it that is not answered and nothing behind it.

use std::ops::Range;

/// See the module.
#[expect(clippy::struct_excessive_bools, reason = "each of them is a fact of its own")]
#[derive(Debug)]
pub(super) struct Tentative {
    /// The number of its first message.
    pub first: u64,
    /// As its client sent it.
    pub request: Box<[u8]>,
    /// What the replica has said so far, and what we have.
    held: Vec<u8>,
    /// Errors are not the last word.
    pub on_replica: bool,
    /// So many statements end before one whose end shows anything.
    completes: usize,
    /// It has failed: what else is said is not shown.
    pub failed: bool,
    /// Because it writes.
    pub writes: bool,
    /// It only prepares, and no Sync follows: it is decided when all of it has been answered.
    pub prepares: bool,
}

/// Replies up to this many bytes are kept back.
const HELD_MAX: usize = 64 * 1024;
/// The client, or a limit of its own, has cancelled it.
const CANCELLED: &[u8] = b"57014";
/// It writes, in a transaction that may only read.
const READ_ONLY: &[u8] = b"25006";

impl Tentative {
    /// A request that begins with the message of this number.
    pub(super) fn on_primary(first: u64, request: &[u8]) -> Self {
        let (request, held) = (request.into(), Vec::new());
        let (on_replica, failed, writes, prepares) = (false, false, false, false);
        Self { first, request, held, on_replica, completes: 0, failed, writes, prepares }
    }

    /// The same on a replica; the first statements, so many, say nothing by their end.
    pub(super) fn on_replica(first: u64, request: &[u8], completes: usize, prepares: bool) -> Self {
        Self { on_replica: true, completes, prepares, ..Self::on_primary(first, request) }
    }

    /// Whether a message of this type shows that the replica can do it.
    #[inline]
    pub(super) fn is_decided_by(&mut self, tag: u8) -> bool {
        if tag == b'C' && self.completes > 0 {
            self.completes -= 1;
            return false;
        }
        !matches!(tag, b'1' | b'2' | b'3' | b'T' | b't' | b'n' | b'N' | b'S' | b'E')
            || self.held.len() > HELD_MAX
    }

    /// Keeps back.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        if !self.failed {
            self.held.extend_from_slice(bytes);
        }
    }

    /// Where what is written is kept back.
    pub(super) fn held(&mut self) -> &mut Vec<u8> {
        &mut self.held
    }

    /// What was kept back.
    pub(super) fn show(self) -> Vec<u8> {
        self.held
    }

    /// Whether an error of these messages, with this SQLSTATE, is answered elsewhere.
    pub(super) fn fails(&mut self, messages: &Range<u64>, code: &[u8]) -> bool {
        let fails = self.on_replica && messages.start >= self.first && code != CANCELLED;
        self.failed |= fails;
        self.writes |= fails && code == READ_ONLY;
        fails
    }
}
