//! One shard's part of a request: a session of its own there, in this process, whose client we are. Whatever
//! a session does (pools, queues, limits, failover, cancels) holds for it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::super::{Client, Names, Replicas, Session, Tenancy};
use crate::cancel::{Cancels, Seat, Secret};
use crate::net::scratch;
use crate::net::socket::{Inbox, Outbox, Socket};
use crate::session::ignore::Ignore;
use crate::session::routing::{Course, Part};
use crate::shard::ShardId;
use crate::wire::frame::{self, HEADER_LEN, Header};
use crate::wire::request;
use crate::wire::startup::CancelRequest;

/// See the module.
#[derive(Debug)]
pub(super) struct Leg {
    /// Where it is.
    pub shard: ShardId,
    socket: Socket,
    outbox: Outbox,
    /// Its seat among the clients, and how to cancel what it runs.
    seat: Arc<Seat>,
    key: CancelRequest,
    /// What has come from it.
    come: Vec<u8>,
    /// So much of that has been used.
    used: usize,
    /// So much of what comes is of a message that nobody wants.
    skips: usize,
    pub state: State,
    /// So many ReadyForQuery are still to come.
    owed: u32,
    /// A transaction is open in it, which has been begun for this request alone.
    pub inside: bool,
    /// Its session's.
    pub tenancy: Arc<Tenancy>,
    /// Where it reads, if it may do so on a replica.
    part: Option<Arc<Part>>,
    /// The tag of what it has run.
    pub tag: Vec<u8>,
    /// The bodies of its ParameterDescription and RowDescription.
    pub parameters: Vec<u8>,
    pub columns: Vec<u8>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has been asked to begin a transaction, and nothing else.
    Begins,
    /// It has been asked to bind its statement.
    Binds,
    /// It has done so.
    Bound,
    /// It takes rows.
    Copies,
    /// It has been asked to execute it.
    Runs,
    /// There are no more rows of it.
    Ended,
    /// All that it was asked has been answered.
    Done,
}

/// Why nothing more is heard of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silent {
    /// Its connection is gone, or has what is no message.
    Lost,
    /// A message is longer than what may be held.
    TooLong,
}

/// How long a leg may take to end what has been cancelled.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one that runs may go on unheard before it is cancelled: most of them have all but ended.
const GRACE: Duration = Duration::from_millis(20);

impl Leg {
    /// Begins a session for a part of the client's request on a shard.
    /// `course` is what its session knows of what the client has written and seen.
    pub(super) fn begin(
        of: &Session,
        shard: ShardId,
        tenancy: Arc<Tenancy>,
        course: Option<Course>,
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let part = course.as_ref().and_then(|course| course.part.clone());
        let own = Arc::clone(&tenancy);
        let card = of.seat.card().leg(Arc::clone(&tenancy.login));
        let seat = tenancy.house.cancels.seat(Secret::random(0), card);
        let known = tenancy.house.cancels.find(seat.pid());
        let known = known.ok_or(io::ErrorKind::NotFound)?;
        let key = CancelRequest { pid: seat.pid(), secret: seat.secret().to_vec() };
        let client = Client {
            socket: Socket::Unix(theirs),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            ignore: Ignore::default(),
        };
        let session = Session {
            client,
            seat,
            course: course.map(Box::new),
            tenancy,
            on: of.on,
            startup: Arc::clone(&of.params),
            params: Arc::clone(&of.params),
            gate: None,
            ear: None,
            known: Arc::clone(&of.known),
            names: Names::default(),
            attached: None,
            last_member: 0,
            told_fatal: false,
        };
        tokio::spawn(run(session));
        let socket = Socket::Unix(ours);
        Ok(Self {
            shard,
            socket,
            outbox: Outbox::default(),
            seat: known,
            key,
            come: Vec::new(),
            used: 0,
            skips: 0,
            state: State::Binds,
            owed: 0,
            inside: false,
            tenancy: own,
            part,
            tag: Vec::new(),
            parameters: Vec::new(),
            columns: Vec::new(),
        })
    }

    /// Whether it has a server: it waits for what that does alone.
    pub(super) fn has_server(&self) -> bool {
        self.seat.server().is_some()
    }

    /// The replica that it has read from, if it was one: the hosts that this is one of, and its number there.
    pub(super) fn read_from(&self) -> Option<(ShardId, &Arc<Replicas>, usize)> {
        let host = self.part.as_ref()?.host()?;
        Some((self.shard, self.tenancy.replicas.as_ref()?, host))
    }

    /// It has said that what it was asked fails.
    pub(super) fn fails(&mut self) {
        self.state = match self.state {
            State::Begins => State::Ended,
            State::Binds => State::Bound,
            State::Copies | State::Runs => State::Ended,
            State::Bound | State::Ended | State::Done => self.state,
        };
    }

    /// Asks something of it, which so many ReadyForQuery will answer.
    pub(super) fn ask(&mut self, bytes: &[u8], owed: u32) {
        self.outbox.push(bytes);
        self.owed += owed;
    }

    /// Asks it to run a text.
    pub(super) fn query(&mut self, text: &[u8]) {
        let mut message = Vec::new();
        request::query(&mut message, text);
        self.ask(&message, 1);
    }

    /// How much it has not taken yet, in bytes.
    pub(super) fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// All that it was asked has been answered, as far as it is known when.
    pub(super) fn is_ready(&self) -> bool {
        self.owed == 0
    }

    /// The type of the message that has come and is the next.
    pub(super) fn there(&self) -> Option<u8> {
        self.come.get(self.used).copied()
    }

    /// The next message that has come, as far as it is there; of at most so many bytes.
    pub(super) fn next(&mut self, max: usize) -> Result<Option<(Header, &[u8])>, Silent> {
        let come = self.come.get(self.used..).unwrap_or_default();
        let Some(header) = frame::header(come, u32::MAX).map_err(|_none| Silent::Lost)? else {
            return Ok(None);
        };
        if header.body_len > max {
            return Err(Silent::TooLong);
        }
        let Some(body) = come.get(HEADER_LEN..header.message_len()) else { return Ok(None) };
        self.used += header.message_len();
        self.owed = self.owed.saturating_sub(u32::from(header.tag == b'Z'));
        Ok(Some((header, body)))
    }

    /// Sends what it is asked, as far as it takes that. Where it is gone, reading will tell why.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if !self.outbox.is_empty()
            && let Err(error) = self.outbox.flush(&mut self.socket, cx)
        {
            tracing::debug!(%error, shard = self.shard.0, "a part of a request does not hear");
            self.outbox = Outbox::default();
        }
    }

    /// Ready when more has come.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Silent>> {
        self.come.drain(..self.used);
        self.used = 0;
        let Self { socket, come, .. } = self;
        scratch::with(|scratch| match ready!(socket.poll_read(cx, &mut scratch.input)) {
            Ok(count) if count > 0 => {
                come.extend_from_slice(scratch.input.get(..count).unwrap_or_default());
                Poll::Ready(Ok(()))
            }
            Ok(_) | Err(_) => Poll::Ready(Err(Silent::Lost)),
        })
    }

    /// Lets its session end. What it runs is cancelled; its server goes back where it has run nothing.
    pub(super) async fn put_away(mut self, cancels: Arc<Cancels>) {
        if matches!(self.state, State::Binds | State::Bound) {
            let mut sync = Vec::new();
            request::sync(&mut sync);
            self.ask(&sync, 1);
        }
        if self.state == State::Copies {
            let mut fail = Vec::new();
            request::copy_fail(&mut fail, b"given up");
            self.ask(&fail, 0);
        }
        let heard_out = match self.state {
            State::Done => true,
            State::Begins | State::Binds => false,
            State::Bound | State::Copies | State::Ended => {
                timeout(PATIENCE, self.drain()).await.is_ok()
            }
            State::Runs => timeout(GRACE, self.drain()).await.is_ok(),
        };
        if !heard_out {
            cancels.cancel(&self.key).await;
            if timeout(PATIENCE, self.drain()).await.is_err() {
                tracing::debug!(shard = self.shard.0, "a part of a request did not end in time");
                return;
            }
        }
        if self.inside {
            self.query(b"ROLLBACK");
            if timeout(PATIENCE, self.drain()).await.is_err() {
                tracing::debug!(shard = self.shard.0, "a part of a request was not undone in time");
                return;
            }
        }
        self.end();
    }

    /// Says goodbye. If that is not heard, its session ends with the connection.
    fn end(mut self) {
        let mut goodbye = Vec::new();
        request::terminate(&mut goodbye);
        drop(self.socket.try_write(&goodbye));
    }

    /// Hears it out to its last ReadyForQuery, or to the end of its connection, and keeps nothing of that.
    async fn drain(&mut self) {
        while self.owed > 0 || self.skips > 0 {
            let there = self.come.get(self.used..).unwrap_or_default();
            if self.skips > 0 && !there.is_empty() {
                let count = there.len().min(self.skips);
                (self.used, self.skips) = (self.used + count, self.skips - count);
                continue;
            }
            match frame::header(there, u32::MAX) {
                Err(_) => return,
                Ok(Some(header)) => {
                    self.skips = header.message_len();
                    // It is but a few bytes, which are there or will be skipped with what comes next.
                    self.owed -= u32::from(header.tag == b'Z');
                    continue;
                }
                Ok(None) => {}
            }
            let more = poll_fn(|cx| {
                self.flush(cx);
                self.poll_more(cx)
            });
            if more.await.is_err() {
                return;
            }
        }
    }
}

/// Runs a session to its end. Its type is left out: a session runs others like it.
fn run(mut session: Session) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        // The same task runs it to its end.
        poll_fn(|cx| {
            session.seat.attend(cx.waker());
            Poll::Ready(())
        })
        .await;
        let end = session.run().await;
        tracing::debug!(%end, client = %*session.seat, "a part of a request ended");
    })
}
