//! Where the reading of a client's messages stands while it has a server.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use super::cost::Requests;
use super::outgoing::OfShard;
use super::pins::{Pin, Pins};
use super::tenancy::Kept;
use super::tentative::Tentative;
use crate::catalog::Reading;
use crate::net::socket::Inbox;
use crate::notify::Ticket;
use crate::route::{Reason, Role};
use crate::server::doubt::Question;
use crate::server::ledger::{Ledger, Violation};
use crate::server::prepared::Statement;
use crate::server::schema::Schema;
use crate::sql::Effects;
use crate::wire::frame::FrameError;
use crate::wire::reply::Report;
use crate::wire::view;

/// Where the reading of a client's bytes stands.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Bytes of the message under way that are still to come; they go to the server verbatim.
    pub pass: usize,
    /// The number of the last message that ended a batch (Sync or Query): an error before it
    /// does not undo what comes after. None if there was none on this server.
    pub batch: Option<u64>,
    /// Why no more messages are taken for now.
    pub stop: Option<Stop>,
    /// Why the server can't be given back between transactions.
    pub pins: Pins,
    /// Those that operators can see.
    pub shown: Pins,
    /// The start of the text that may have led to them.
    pub suspect: Box<[u8]>,
    /// Its place among the clients that keep their servers.
    pub kept: Option<Kept>,
    /// Messages that were refused, and why; in their place others were sent, which fail.
    pub refused: Vec<(u64, Refusal)>,
    /// The name that was prepared last in the request under way: nothing is known of it yet.
    pub parsed: Option<Box<[u8]>>,
    /// A name that the client has prepared while it had it already, for the log.
    pub twice: Option<Box<[u8]>>,
    /// Describes of ours, of statements that the server has prepared.
    pub describing: Vec<Describing>,
    /// The number of our message that makes the server's settings the client's.
    pub adopting: Option<u64>,
    /// The number of our message that begins the client's transaction anew.
    pub beginning: Option<u64>,
    /// What the server is asked of its session.
    pub asked: Option<Box<Question>>,
    /// The server may have statements under names that we don't know of.
    pub finds_names: bool,
    /// How often in a row it would not say.
    pub refusals: u8,
    /// What unnamed statements on this server may leave.
    pub unnamed: Option<Box<Effects>>,
    /// What the statement bound last frees when it runs.
    pub frees: Option<Frees>,
    /// What went ahead of the client's last Query for its sake.
    pub ahead: Option<Ahead>,
    /// Queries of ours that prepare what code may name; nothing is lost if they fail.
    pub maybe: Vec<u64>,
    /// SQL that sets again what the client brought, where that has been reset, and when.
    pub restore: Option<(Restore, Vec<u8>)>,
    /// Our queries that reset settings, or set them again, and are not answered yet.
    pub resets: Vec<OwnReset>,
    /// Strings of those that have to be sent once more.
    pub redo: Vec<Vec<u8>>,
    /// What there is to do about channels.
    pub listening: Listening,
    /// A statement was sent that may change what others return, and may not be committed yet.
    pub alters: bool,
    /// The same of one that may change what names stand for.
    pub defines: bool,
    /// The version of the schema under which the statement was prepared that was named last.
    pub version: Option<u64>,
    /// What the requests under way begin with, where somebody wants to know what they cost.
    pub requests: Requests,
    /// The last request, where it can be run once more.
    pub again: Option<Again>,
    /// What was decided of requests to this server.
    pub placed: Placed,
    /// The same, where it is one of a shard.
    pub shard: OfShard,
}

/// What was decided of requests to a server that may be a replica.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// The request under way, where it can be read elsewhere.
    pub tentative: Option<Tentative>,
    /// So many of the client's next bytes belong to a request that may go to this server.
    pub judged: usize,
    /// The database may be another after what went to this server.
    pub wrote: bool,
    /// How many requests have gone there.
    pub requests: u32,
    /// The first and the last of them, and one more, that may have left what is not known.
    unsettled: Range<u32>,
    /// What this one and those before it have left is being asked for.
    pub asked: u32,
    /// Something that went there may have its commit flushed later than it is told.
    pub lazy: bool,
    /// Why the last one ran there, if it was not the first.
    pub last: Option<Reason>,
    /// The client keeps the server, whatever it asks for.
    pub stays: bool,
    /// The transaction under way, as long as it may go on elsewhere.
    pub open: Option<Open>,
    /// The server is left with a transaction open. That goes on on a server of this role, if it was
    /// there before the request at hand.
    pub moves: Option<Move>,
}

/// A transaction is to go on elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// On a server of this role.
    pub to: Role,
    /// For what writes or locks.
    pub acts: bool,
}

/// A transaction that has done nothing yet that would be lost if it were begun anew elsewhere.
#[derive(Debug)]
pub(super) struct Open {
    /// What its server is.
    pub on: Role,
    /// The text that begins it.
    pub begin: Box<[u8]>,
    /// The number of the request that does, of those that went to this server.
    pub by: u32,
    /// What it reads first.
    pub reads: Option<Arc<Reading>>,
}

impl Placed {
    /// Whether nothing is lost with a server that owes nothing, and that says this of its transaction:
    /// that goes on elsewhere.
    pub(super) fn loses_nothing(&self, status: u8) -> bool {
        let of_replica = |open: &Open| open.on == Role::Replica;
        status == b'T' && self.open.as_ref().is_some_and(of_replica)
    }

    /// The last request may leave something in the session that only the server knows.
    pub(super) fn may_leave(&mut self) {
        if self.unsettled.is_empty() {
            self.unsettled.start = self.requests;
        }
        self.unsettled.end = self.requests.saturating_add(1);
    }

    /// Whether that may be so of one before the one of this number.
    pub(super) fn has_left(&self, before: u32) -> bool {
        !self.unsettled.is_empty() && self.unsettled.start < before
    }

    /// What was asked for is known.
    pub(super) fn learnt(&mut self) {
        self.unsettled.start = self.unsettled.start.max(self.asked.saturating_add(1));
    }

    /// What was kept back of the replies to what only prepares, when it has all been answered.
    pub(super) fn prepared(&mut self, ledger: &Ledger) -> Vec<u8> {
        let is_done = |tentative: &mut Tentative| {
            tentative.prepares && !tentative.failed && ledger.is_empty()
        };
        self.tentative.take_if(is_done).map(Tentative::show).unwrap_or_default()
    }

    /// The transaction that the request under way, which has failed or is lost, is in, if it was there
    /// before that.
    pub(super) fn take_open_before(&mut self) -> Option<Open> {
        let requests = self.requests;
        self.open.take().filter(|open| open.by < requests)
    }
}

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It would leave what the client may not keep its server for.
    Pin(Pin),
    /// It can't be had on a replica.
    OnReplica(&'static str),
    /// The statement has other columns on this server than its client was told.
    OtherColumns,
    /// What the client has prepared takes as much as it may.
    StatementsFull,
    /// It is not for this shard alone; what the client is told.
    OnShards(Arc<Report>),
}

/// A Describe of ours.
#[derive(Debug)]
pub(super) struct Describing {
    /// Its number.
    pub sequence: u64,
    /// What is described.
    pub statement: Arc<Statement>,
    /// The name under which the client is told of it, whatever it is.
    pub name: Option<Box<[u8]>>,
    /// What the server has said so far.
    pub shape: Vec<u8>,
}

/// Names that a statement frees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frees {
    /// All of them.
    All,
    /// This one.
    One(Box<[u8]>),
}

/// Messages of ours that prepare the statements that a Query names.
#[derive(Debug)]
pub(super) struct Ahead {
    /// The number of the first of them.
    pub first: u64,
    /// The name of each statement, and the number of the message behind it. Behind the last one
    /// comes the Query.
    pub lent: Vec<(u64, Box<[u8]>)>,
    /// The first that could not be prepared, and what the server said: that is why the Query does
    /// not find it.
    pub failed: Option<(Box<[u8]>, Vec<u8>)>,
}

impl Ahead {
    /// The message of this number has failed with this error; `false` where it is none of these.
    pub(super) fn fails(&mut self, sequence: u64, error: &[u8]) -> bool {
        let found = self.lent.iter().find(|(behind, _)| sequence < *behind);
        let Some((_, name)) = found.filter(|_| sequence >= self.first) else {
            return false;
        };
        self.failed.get_or_insert_with(|| (name.clone(), error.to_vec()));
        true
    }

    /// What is to be told instead of this error of the message of this number.
    pub(super) fn instead_of(&mut self, sequence: u64, error: &[u8]) -> Option<Vec<u8>> {
        let field = |field| view::error_field(error, field).unwrap_or_default();
        let (name, _) = self
            .failed
            .as_ref()
            .filter(|_| self.lent.last().is_some_and(|(behind, _)| *behind == sequence))?;
        let quoted = [b"\"", &**name, b"\""].concat();
        let is_why = match field(b'C') {
            b"25P02" => true,
            b"26000" => memchr::memmem::find(field(b'M'), &quoted).is_some(),
            _ => false,
        };
        self.failed.take_if(|_| is_why).map(|(_, error)| error)
    }
}

/// A request that fails by its first message if a statement has other columns now, and can be run
/// once more then without anybody noticing.
#[derive(Debug)]
pub(super) struct Again {
    /// The number of its first message.
    pub sequence: u64,
    /// As its client sent it.
    pub request: Box<[u8]>,
    /// It has failed so.
    pub is_due: bool,
}

/// A query of ours that reset settings, or set them again.
#[derive(Debug)]
pub(super) struct OwnReset {
    /// Its number.
    pub sequence: u64,
    /// What has to be sent once more where it was cancelled in the place of the client's own: it
    /// may have come too late for that.
    pub strings: Vec<Vec<u8>>,
}

/// Where a client that listens stands with its server.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// Channels that have to be tuned to before the next message is taken.
    pub wanted: Vec<Box<[u8]>>,
    /// What is waited for before it is, and what is forgotten then.
    pub catching_up: Option<(Ticket, Early)>,
    /// What is waited for before the end of a transaction is passed on.
    pub ending: Option<Ticket>,
    /// That end is not told before it is known what the client listens to.
    pub kept_end: bool,
    /// The server listens to the client's channels.
    pub brought: bool,
    /// The number of our message that has it do so.
    pub bringing: Option<u64>,
    /// It could not be brought to.
    pub in_vain: bool,
    /// The number of our message that ends that.
    pub ceasing: Option<u64>,
}

/// What came too early: before the channel that it came on was listened to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Early {
    /// Nothing did.
    Nothing,
    /// What came on these channels.
    On(Vec<Box<[u8]>>),
    /// All that came on channels that are not active.
    All,
}

/// When settings of the startup packet are set again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restore {
    /// When the message of this number has been answered, unless it fails.
    Behind(u64),
    /// Before the next Sync.
    BeforeSync,
}

/// Why no more of a client's messages are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The next one depends on replies that are still owed, or too many are.
    Replies,
    /// The next request is not for this server.
    Elsewhere,
    /// The client has said goodbye.
    Goodbye,
    /// Those who hear for the client have to catch up.
    Hearing,
    /// It has to be known first what the client listens to.
    Settling,
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
    /// It may only read, and asked for what might be more.
    #[error("a read-only user cannot ask for {0}")]
    ReadOnly(&'static str),
    /// The text can't be seen whole, so it can't be said which shard it is for.
    #[error("a text longer than max_statement_size can't be run on shards")]
    LongText,
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
    /// What has to be sent once more goes before what its client has sent behind it.
    pub(super) fn do_again(&mut self, inbox: &mut Inbox) {
        if !self.redo.is_empty() && self.stop.is_none() {
            self.stop = Some(Stop::Replies);
        }
        if let Some(again) = self.again.take_if(|again| again.is_due) {
            inbox.put_back(&again.request);
        }
    }

    /// What has failed here goes before what its client has sent behind it, to be read elsewhere.
    pub(super) fn does_elsewhere(&mut self, inbox: &mut Inbox) -> Option<Tentative> {
        let tentative = self.placed.tentative.take_if(|tentative| tentative.failed)?;
        inbox.put_in_place(self.placed.judged, &tentative.request);
        self.stop = Some(Stop::Elsewhere);
        self.placed.open = self.placed.take_open_before();
        self.placed.moves = Some(Move { to: Role::Primary, acts: false });
        Some(tentative)
    }

    /// When all has been answered, outside of a transaction, what it did to the schema is done.
    #[inline]
    pub(super) fn settle_schema(&mut self, schema: &Schema, ledger: &Ledger, status: u8) {
        if self.defines && status == b'I' && ledger.is_quiet() {
            self.defined(schema);
        }
    }

    /// What was sent may be done by now, or may still be.
    pub(super) fn defined(&mut self, schema: &Schema) {
        if std::mem::take(&mut self.alters) {
            schema.changed();
        } else if self.defines {
            schema.may_define();
        }
        self.defines = false;
    }

    /// A statement is about to be sent.
    #[inline]
    pub(super) fn may_define(&mut self, effects: &Effects) {
        self.alters |= effects.alters;
        self.defines |= effects.defines;
    }

    /// No message is under way.
    #[inline]
    pub(super) fn is_between_messages(&self) -> bool {
        self.pass == 0
    }
}
