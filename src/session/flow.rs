//! Where the reading of a client's messages stands while it has a server.

use thiserror::Error;

use crate::server::ledger::Violation;
use crate::wire::frame::FrameError;

/// Where the reading of a client's bytes stands.
#[derive(Debug)]
pub(super) struct Flow {
    /// Bytes of the message under way that are still to come; they go to the server verbatim.
    pub pass: usize,
    /// The number of the last message that ended a batch (Sync or Query): an error before it
    /// does not undo what comes after. None if there was none on this server.
    pub batch: Option<u64>,
    /// Why no more messages are taken for now.
    pub stop: Option<Stop>,
    /// The server can't be given back, and why.
    pub pin: Option<Pin>,
}

/// Why no more of a client's messages are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The next one depends on replies that are still owed, or too many are.
    Replies,
    /// The client has said goodbye.
    Goodbye,
}

/// Why a session keeps its server between transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// A prepared statement that was too long to be kept, and so to be prepared elsewhere.
    LargeStatement,
}

/// Why a client's bytes can't be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientFault {
    /// It sent what is no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It sent a message type that clients do not send.
    #[error("invalid frontend message type {0}")]
    Unknown(u8),
    /// Replies could not be told apart from here on.
    #[error("unexpected message in the midst of a COPY")]
    InCopy,
}

impl From<Violation> for ClientFault {
    fn from(_: Violation) -> Self {
        Self::InCopy
    }
}

impl Flow {
    /// No message is under way.
    #[inline]
    pub(super) fn is_between_messages(&self) -> bool {
        self.pass == 0
    }

    /// The start, on this server.
    pub(super) fn new() -> Self {
        Self { pass: 0, batch: None, stop: None, pin: None }
    }
}
