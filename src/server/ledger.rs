//! The reply ledger: what a server still owes, in order, and who each reply is for.
//!
//! Every message sent to a server that asks for a reply is entered when it is sent; every
//! message received is judged against the oldest entry: the client gets it, or we asked and the
//! client must not see it, or it is a reply that nobody is owed, which ends the server. Replies
//! that we give without the server (a ParseComplete for a statement that the server has
//! already) wait in the same queue, so that order is exact.
//!
//! Errors follow the protocol: after one in an extended request the server skips to the next
//! Sync, so the entries up to it will never be answered. They are reported as *undone* by their
//! sequence numbers, for whoever recorded effects of those messages ([`super::undo`]).
//! <https://www.postgresql.org/docs/current/protocol-flow.html>
//!
//! No I/O, no time: a value that is fed tags.

use std::collections::VecDeque;
use std::ops::Range;

use thiserror::Error;

use crate::traffic::{Figure, Tally};

/// What a message that was sent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A simple Query: all up to ReadyForQuery.
    Query,
    /// A FunctionCall: all up to ReadyForQuery.
    FunctionCall,
    /// ParseComplete.
    Parse,
    /// BindComplete.
    Bind,
    /// RowDescription or NoData, after a ParameterDescription where a statement is described.
    Describe,
    /// CommandComplete, EmptyQueryResponse or PortalSuspended, and rows or COPY before it.
    Execute,
    /// CloseComplete.
    Close,
    /// ReadyForQuery.
    Sync,
    /// Nothing of its own: CopyDone or CopyFail.
    CopyEnd,
    /// Nothing at all: the server reads it as part of a COPY.
    Ignored,
    /// Nothing from the server: it is due when all before it has been answered.
    Local(Local),
}

impl Awaited {
    /// Whether the server is in an implicit transaction after this message.
    fn opens(self, open_before: bool) -> bool {
        match self {
            Self::Query | Self::FunctionCall | Self::Sync => false,
            Self::CopyEnd | Self::Ignored | Self::Local(_) => open_before,
            Self::Parse | Self::Bind | Self::Describe | Self::Execute | Self::Close => true,
        }
    }
}

/// A reply that we owe a client without asking the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// ParseComplete for a statement that the server has already.
    ParseComplete,
    /// CloseComplete for a statement that the server keeps.
    CloseComplete,
    /// CommandComplete and ReadyForQuery for `DEALLOCATE name`.
    Deallocated,
    /// The same for `RESET`.
    Reset,
    /// The same for `SET`.
    Set,
    /// The same for `DISCARD ALL`.
    DiscardedAll,
}

/// Who a reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The client that is attached.
    Client,
    /// Nobody but us.
    Pooler,
}

/// What to do with a message that a server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The client gets it verbatim.
    Forward,
    /// The client doesn't get it.
    Skip,
    /// An ErrorResponse to a client's message: it gets it, and the messages with these
    /// sequence numbers have had no effect.
    Failed(Range<u64>),
    /// An ErrorResponse to something that we asked for ourselves.
    OursFailed,
}

/// A reply that nobody is owed, or a request whose replies can't be told apart. The server's
/// state is unknown from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("server sent message type {tag:#04x} when {awaited:?} was due")]
pub struct Violation {
    /// The type of the message.
    pub tag: u8,
    /// What was due, if anything.
    pub awaited: Option<Awaited>,
}

/// Where a COPY FROM STDIN stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    None,
    /// The server reads rows; Sync and Flush mean nothing to it now.
    Reading,
    /// The client has said CopyDone or CopyFail.
    Ended,
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    entries: VecDeque<(Awaited, Audience)>,
    /// Sequence number of the oldest entry.
    first: u64,
    /// The server ignores everything until a Sync.
    skipping: bool,
    /// Messages of an extended request were sent, and no Sync behind them yet: the server is in
    /// an implicit transaction.
    open: bool,
    copy: Copy,
    /// What was sent and answered for clients, until somebody takes it.
    tally: Tally,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            skipping: false,
            open: false,
            copy: Copy::None,
            tally: Tally::default(),
        }
    }
}

impl Ledger {
    /// Nothing is owed and nothing is going on: no COPY, no request without its Sync.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.entries.is_empty() && !self.skipping && !self.open && self.copy == Copy::None
    }

    /// How many replies are owed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No reply is owed (though the server may be skipping to a Sync).
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The sequence number of the oldest entry, or of the next one where there is none: all
    /// below it is settled.
    pub fn settled_to(&self) -> u64 {
        self.first
    }

    /// Whether all that is owed is the end of one extended request.
    pub fn owes_one_sync(&self) -> bool {
        self.entries.len() == 1 && self.awaited() == Some(Awaited::Sync)
    }

    /// The client does not get what is owed next.
    pub fn hide_next(&mut self) {
        if let Some((_, audience)) = self.entries.front_mut() {
            *audience = Audience::Pooler;
        }
    }

    /// The number of the message that is sent next.
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Whether an extended request was sent and no Sync behind it: the server is in an implicit
    /// transaction, and keeps its replies back.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether a message of this type is the answer to a Query of ours, or to a Describe.
    #[inline]
    pub fn is_asked_by_us(&self, tag: u8) -> bool {
        match self.entries.front() {
            Some((Awaited::Query, Audience::Pooler)) => tag == b'D',
            Some((Awaited::Describe, Audience::Pooler)) => tag != b'D',
            _ => false,
        }
    }

    /// Whether what is answered next was asked for by the client.
    pub fn is_asked_by_client(&self) -> bool {
        matches!(self.entries.front(), Some((_, Audience::Client)))
    }

    /// Whether nothing is owed but replies to what we asked for ourselves.
    pub fn owes_only_us(&self) -> bool {
        self.owes_only(|_| false)
    }

    /// Whether the server owes nothing but replies to what we asked for ourselves, whatever we owe.
    pub fn owes_only_ours(&self) -> bool {
        self.owes_only(|awaited| matches!(awaited, Awaited::Local(_)))
    }

    /// Whether all that is owed is owed to us, or is such.
    fn owes_only(&self, is_such: impl Fn(Awaited) -> bool) -> bool {
        let entry = |(awaited, audience): &(Awaited, Audience)| {
            *audience == Audience::Pooler || is_such(*awaited)
        };
        !self.open && !self.skipping && self.copy == Copy::None && self.entries.iter().all(entry)
    }

    /// Whether the server reads COPY rows from the client.
    pub fn is_copying_in(&self) -> bool {
        self.copy == Copy::Reading
    }

    /// Whether the server ignores all messages until the next Sync.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Enters a message that is being sent. Gives the entry's sequence number, or `None` where
    /// the server will ignore the message (skipping to a Sync, or reading COPY rows): then it has
    /// no effect and no reply.
    ///
    /// # Errors
    /// When replies could not be told apart from here on.
    pub fn sent(&mut self, awaited: Awaited, audience: Audience) -> Result<Option<u64>, Violation> {
        if self.skipping {
            if awaited != Awaited::Sync {
                return Ok(None);
            }
            self.skipping = false;
        }
        match (self.copy, awaited) {
            (Copy::Reading, Awaited::Sync) => return Ok(None),
            (Copy::Reading, Awaited::CopyEnd) => self.copy = Copy::Ended,
            (Copy::Reading, _) if self.simple_is_first() => {
                // The server would read it as a broken COPY stream, or, if the COPY has just
                // failed, as a new request. We can't know which.
                return Err(Violation { tag: 0, awaited: self.awaited() });
            }
            (_, Awaited::CopyEnd) if self.entries.is_empty() => return Ok(None),
            _ => {}
        }
        self.open = awaited.opens(self.open);
        self.count(awaited, audience);
        self.entries.push_back((awaited, audience));
        Ok(Some(self.first + self.entries.len() as u64 - 1))
    }

    fn count(&mut self, awaited: Awaited, audience: Audience) {
        match (awaited, audience) {
            (Awaited::Parse, Audience::Client) => {
                self.tally.add(Figure::ClientParses, 1);
                self.tally.add(Figure::ServerParses, 1);
            }
            (Awaited::Parse, Audience::Pooler) => self.tally.add(Figure::ServerParses, 1),
            (Awaited::Local(Local::ParseComplete), _) => self.tally.add(Figure::ClientParses, 1),
            (Awaited::Bind, Audience::Client) => self.tally.add(Figure::Binds, 1),
            _ => {}
        }
    }

    /// A request of a client has been answered, and left its session in this state.
    pub(super) fn answered(&mut self, status: u8) {
        self.tally.add(Figure::Queries, 1);
        if status == b'I' {
            self.tally.add(Figure::Transactions, 1);
        }
    }

    /// Whether a request of a client has been answered since the tally was taken.
    #[inline]
    pub fn has_answered(&self) -> bool {
        self.tally.get(Figure::Queries) > 0
    }

    /// What was sent and answered for clients since this was asked last.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Judges a message of this type from the server.
    ///
    /// # Errors
    /// When nobody is owed such a message.
    pub fn received(&mut self, tag: u8) -> Result<Fate, Violation> {
        let Some(&(awaited, audience)) = self.entries.front() else {
            return self.unasked(tag);
        };
        let fate = match audience {
            Audience::Client => Fate::Forward,
            Audience::Pooler => Fate::Skip,
        };
        let answered = match (awaited, tag) {
            // Whatever is being answered: it is for the one who listens.
            (_, b'A') => return Ok(Fate::Forward),
            (_, b'N' | b'S') => return Ok(fate),
            (_, b'E') => return Ok(self.failed(awaited, audience)),
            (Awaited::Query, b'Z')
            | (Awaited::FunctionCall, b'Z')
            | (Awaited::Sync, b'Z')
            | (Awaited::Parse, b'1')
            | (Awaited::Bind, b'2')
            | (Awaited::Close, b'3')
            | (Awaited::Describe, b'T' | b'n')
            | (Awaited::Execute, b'C' | b'I' | b's') => true,
            (Awaited::Query | Awaited::Execute, b'G') => {
                self.copy_begins(awaited, tag)?;
                false
            }
            (Awaited::Query, b'C') => {
                self.copy_completes();
                false
            }
            (Awaited::Query, b'T' | b'D' | b'I' | b'H' | b'd' | b'c')
            | (Awaited::Execute, b'D' | b'H' | b'd' | b'c')
            | (Awaited::Describe, b't')
            | (Awaited::FunctionCall, b'V') => false,
            _ => return Err(Violation { tag, awaited: Some(awaited) }),
        };
        if answered {
            if awaited == Awaited::Execute {
                self.copy_completes();
            }
            self.copy = if tag == b'Z' { Copy::None } else { self.copy };
            self.pop();
            self.pop_unanswered();
        }
        Ok(fate)
    }

    /// The oldest reply that is due from us, if it is the next one that the client awaits, with
    /// its sequence number.
    #[inline]
    pub fn next_local(&mut self) -> Option<(u64, Local)> {
        let &(Awaited::Local(local), _) = self.entries.front()? else {
            return None;
        };
        let sequence = self.first;
        self.pop();
        self.pop_unanswered();
        Some((sequence, local))
    }

    fn awaited(&self) -> Option<Awaited> {
        self.entries.front().map(|(awaited, _)| *awaited)
    }

    fn simple_is_first(&self) -> bool {
        matches!(self.awaited(), Some(Awaited::Query | Awaited::FunctionCall))
    }

    fn pop(&mut self) {
        if self.entries.pop_front().is_some() {
            self.first += 1;
        }
    }

    fn pop_unanswered(&mut self) {
        while matches!(self.awaited(), Some(Awaited::CopyEnd | Awaited::Ignored)) {
            self.pop();
        }
    }

    /// Messages that a server may send when it owes nothing: notices, changed parameters,
    /// notifications, and the error with which it closes (as when it is shut down).
    fn unasked(&self, tag: u8) -> Result<Fate, Violation> {
        match tag {
            b'N' | b'S' | b'A' => Ok(Fate::Forward),
            b'E' => Ok(Fate::Failed(self.first..self.first)),
            _ => Err(Violation { tag, awaited: None }),
        }
    }

    fn failed(&mut self, awaited: Awaited, audience: Audience) -> Fate {
        self.copy = Copy::None;
        let start = self.first;
        let mut end = start;
        match awaited {
            // A ReadyForQuery follows by itself; at a Sync it is the commit that failed.
            Awaited::Query | Awaited::FunctionCall => end += 1,
            Awaited::Sync => {}
            _ => {
                while self.awaited().is_some_and(|awaited| awaited != Awaited::Sync) {
                    self.pop();
                }
                self.skipping = self.entries.is_empty();
                end = self.first;
            }
        }
        match audience {
            Audience::Client => Fate::Failed(start..end),
            // Our own Parse or Close inside a client's request: its failure is the request's.
            Audience::Pooler if awaited != Awaited::Query => Fate::Failed(start..end),
            Audience::Pooler => Fate::OursFailed,
        }
    }

    /// The server begins to read rows: what was sent behind the COPY is read as part of it.
    /// Sync is ignored there; anything else but the rows and their end makes the COPY fail.
    fn copy_begins(&mut self, awaited: Awaited, tag: u8) -> Result<(), Violation> {
        self.copy = Copy::Reading;
        for (behind, _) in self.entries.iter_mut().skip(1) {
            match behind {
                Awaited::Ignored => {}
                Awaited::Sync => *behind = Awaited::Ignored,
                Awaited::CopyEnd => {
                    self.copy = Copy::Ended;
                    break;
                }
                _ if awaited == Awaited::Execute => break,
                _ => return Err(Violation { tag, awaited: Some(awaited) }),
            }
        }
        // A Sync that was lost to the COPY did not close the request; one behind it may have.
        self.open = self.entries.iter().fold(false, |open, (sent, _)| sent.opens(open));
        Ok(())
    }

    /// One COPY of a request is over: its CopyEnd must not count for the request's next COPY.
    fn copy_completes(&mut self) {
        if self.copy == Copy::None {
            return;
        }
        self.copy = Copy::None;
        let behind = self.entries.iter_mut().skip(1);
        if let Some((end, _)) = behind
            .map_while(|entry| match entry.0 {
                Awaited::Ignored | Awaited::CopyEnd => Some(entry),
                _ => None,
            })
            .find(|entry| entry.0 == Awaited::CopyEnd)
        {
            *end = Awaited::Ignored;
        }
    }
}

#[cfg(test)]
mod tests;
