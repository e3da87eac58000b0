//! A server that is logged in: its socket, its ledger, and what we know of its session.
//!
//! Whoever holds a server owns it alone. It says itself whether the next one may have it as it
//! is ([`Server::cleanliness`]): only between messages, with nothing owed and nothing unread,
//! outside a transaction. On any doubt it is broken, and the end of a broken server is "closed".

mod knowledge;
mod own;
mod unasked;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout};

use self::own::Own;
use super::card::ServerCard;
use super::connect::LoggedIn;
use super::doubt::Doubt;
use super::ledger::{Audience, Awaited, Ledger, Violation};
use super::lent::Lent;
use super::params::Params;
use super::prepared::PreparedSet;
use super::processes::Process;
use super::receive::{Fault, Receiver, Sink};
use super::site::Site;
use crate::net::loops::LoopId;
use crate::net::scratch;
use crate::net::socket::{Address, Inbox, Outbox, Socket};
use crate::net::tls::ServerTls;
use crate::sql::Leaves;
use crate::wire::request;

/// How to cancel what runs on a server.
#[derive(Clone, Debug)]
pub struct CancelKey {
    /// Where the server listens.
    pub address: Address,
    /// TLS as the connection has it; `None` for one in clear.
    pub tls: Option<Arc<ServerTls>>,
    /// The server process.
    pub pid: u32,
    /// 4 to 256 bytes; none if the server gave no key.
    pub secret: Box<[u8]>,
}

/// Whether the next one may have a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanliness {
    /// As it is.
    Clean,
    /// After a reset: somebody may have left something in its session.
    Used,
    /// Not at all.
    Broken,
}

/// What a server does between clients, from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// The SQL that makes a session as new.
    pub reset_query: String,
    /// The SQL that asks for a sign of life; an empty query by default.
    pub check_query: String,
    /// The limit for each of them.
    pub deadline: Duration,
}

/// Why a request of our own came to nothing.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The connection failed.
    #[error("connection to server lost: {0}")]
    Io(#[from] io::Error),
    /// The server closed it.
    #[error("server closed the connection unexpectedly")]
    Closed,
    /// The server can't be understood any more.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The server said no: the body of its ErrorResponse. Its session goes on.
    #[error("server refused a setting")]
    Refused(Vec<u8>),
    /// It took too long.
    #[error("server did not answer in time")]
    TimedOut,
}

/// See the module.
#[derive(Debug)]
pub struct Server {
    /// The stream.
    pub socket: Socket,
    /// What the server owes.
    pub ledger: Ledger,
    /// What it has prepared.
    pub prepared: PreparedSet,
    /// What it has prepared under names of clients' own.
    pub lent: Lent,
    /// Judges what it sends.
    pub receiver: Receiver,
    /// A message of it that is not complete yet.
    pub inbox: Inbox,
    /// What it has not taken yet.
    pub outbox: Outbox,
    /// How to cancel what runs there.
    pub key: Arc<CancelKey>,
    /// The host that it is on.
    pub site: Arc<Site>,
    /// The client's settings that are in force.
    applied: Arc<Params>,
    /// No settings: what is in force after login and reset.
    unset: Arc<Params>,
    /// What may have been left in its session beside that.
    doubt: Doubt,
    /// Objects that its session was found to have, which would be in another client's way.
    objects: Leaves,
    /// It may listen to channels.
    listens: bool,
    /// It has been told where a client's last request ran.
    knows_route: bool,
    state: State,
    home: LoopId,
    created: Instant,
    process: Process,
    upkeep: Arc<Upkeep>,
}

/// What is known of the session beside transaction and settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As after login.
    Fresh,
    /// Something may have been left in it.
    Tainted,
    /// It can't be understood or trusted any more.
    Lost,
}

/// Its connection was closed or failed, in PgBouncer's words.
pub const CRASHED: &str = "server conn crashed?";

impl Server {
    /// Takes over a server that has just logged in on loop `home`.
    pub fn new(
        login: LoggedIn,
        home: LoopId,
        unset: Arc<Params>,
        upkeep: Arc<Upkeep>,
        process: Process,
    ) -> Box<Self> {
        let reported = Arc::new(login.reported);
        unset.prove(Arc::clone(&reported));
        let mut receiver = Receiver::new(reported);
        if let Some(shared) = unset.proven() {
            receiver.share_reported(shared);
        }
        Box::new(Self {
            socket: login.socket,
            ledger: Ledger::default(),
            prepared: PreparedSet::default(),
            lent: Lent::default(),
            receiver,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            applied: Arc::clone(&unset),
            unset,
            doubt: Doubt::default(),
            objects: Leaves::NOTHING,
            listens: false,
            knows_route: false,
            process,
            state: State::Fresh,
            home,
            created: Instant::now(),
            key: Arc::new(login.key),
            upkeep,
            site: Arc::default(),
        })
    }

    /// What is told of it.
    #[inline]
    pub fn card(&self) -> &Arc<ServerCard> {
        self.process.card()
    }

    /// It is about to be closed for this; what was said first counts.
    pub fn closes_because(&mut self, why: &'static str) {
        self.process.leave_because(why);
    }

    /// The loop that its socket is registered with.
    pub fn home(&self) -> LoopId {
        self.home
    }

    /// When it logged in.
    pub fn created(&self) -> Instant {
        self.created
    }

    /// How to cancel what runs there.
    pub fn key(&self) -> &Arc<CancelKey> {
        &self.key
    }

    /// What its process does is this client's from now on.
    pub fn serve(&self, client: u32) {
        self.card().serve(client);
    }

    /// The client's settings that are in force.
    pub fn applied(&self) -> &Arc<Params> {
        &self.applied
    }

    /// Whether the next one may have it.
    pub fn cleanliness(&self) -> Cleanliness {
        let at_rest = self.is_at_rest()
            && self.outbox.is_empty()
            && self.socket.is_drained()
            && self.receiver.status() == b'I';
        match self.state {
            _ if !at_rest => Cleanliness::Broken,
            State::Fresh if self.listens => Cleanliness::Used,
            State::Fresh if (self.doubt.leaves() | self.objects).is_empty() => Cleanliness::Clean,
            State::Fresh => Cleanliness::Used,
            State::Tainted => Cleanliness::Used,
            State::Lost => Cleanliness::Broken,
        }
    }

    /// Whether a request is over: nothing owed, nothing half read.
    #[inline]
    pub fn is_at_rest(&self) -> bool {
        self.ledger.is_quiet() && self.receiver.is_between_messages() && self.inbox.is_empty()
    }

    /// Something that runs may outlive its transaction, and only a reset ends it.
    pub fn taint(&mut self) {
        if self.state == State::Fresh {
            self.state = State::Tainted;
        }
    }

    /// It can't be understood or trusted any more.
    pub fn give_up(&mut self) {
        self.state = State::Lost;
    }

    /// What has been answered stands.
    pub fn settle(&mut self) {
        let settled = self.ledger.settled_to();
        self.prepared.settle(settled);
        self.lent.settle(settled);
    }

    /// Appends what makes its settings those of `wanted`, and gives the number of that message
    /// in the ledger if there was anything to be done. The client's request may follow in the
    /// same write only when the settings are proven.
    ///
    /// # Errors
    /// Not for a server at rest.
    pub fn adopt(
        &mut self,
        wanted: &Arc<Params>,
        out: &mut Vec<u8>,
    ) -> Result<Option<u64>, Violation> {
        if Arc::ptr_eq(&self.applied, wanted) && !self.knows_route {
            return Ok(None);
        }
        let mut sql = Vec::new();
        if std::mem::take(&mut self.knows_route) {
            sql.extend_from_slice(b"RESET pgweir.last_route;");
        }
        sql.extend(self.applied.difference(wanted));
        self.applied = Arc::clone(wanted);
        if sql.is_empty() {
            return Ok(None);
        }
        let sent = self.ledger.sent(Awaited::Query, Audience::Pooler)?;
        request::query(out, &sql);
        Ok(sent)
    }

    /// Makes its settings those of `wanted` and waits until they are. What it reports then is
    /// what these settings are known by.
    ///
    /// # Errors
    /// [`ServerError::Refused`] leaves a server whose settings have to be reset.
    pub async fn apply(&mut self, wanted: &Arc<Params>) -> Result<(), ServerError> {
        let mut out = Vec::new();
        if self.adopt(wanted, &mut out).map_err(Fault::from)?.is_some() {
            let done =
                timeout(self.upkeep.deadline, self.exchange(&out, &mut Own::default())).await;
            let done = done.unwrap_or(Err(ServerError::TimedOut));
            if done.is_err() {
                self.taint();
            }
            done?;
        }
        wanted.prove(Arc::clone(self.receiver.reported()));
        self.know_reported();
        Ok(())
    }

    /// Makes the session as new; `None` when that could not be done in time.
    pub async fn reset(mut self: Box<Self>) -> Option<Box<Self>> {
        let upkeep = Arc::clone(&self.upkeep);
        // Whatever the query is: nobody may be notified for another.
        if self.listens && self.run("UNLISTEN *", upkeep.deadline).await.is_err()
            || self.run(&upkeep.reset_query, upkeep.deadline).await.is_err()
        {
            self.process.leave_because("reset query failed");
            return None;
        }
        self.applied = Arc::clone(&self.unset);
        self.doubt = Doubt::default();
        self.objects = Leaves::NOTHING;
        self.listens = false;
        self.knows_route = false;
        self.prepared.clear();
        self.lent.clear();
        self.know_reported();
        if self.state == State::Tainted {
            self.state = State::Fresh;
        }
        Some(self)
    }

    /// Asks for a sign of life; `None` when there was none in time.
    pub async fn check(mut self: Box<Self>) -> Option<Box<Self>> {
        let upkeep = Arc::clone(&self.upkeep);
        if self.run(&upkeep.check_query, upkeep.deadline).await.is_err() {
            self.process.leave_because("test query failed");
            return None;
        }
        Some(self)
    }

    /// Rolls back what a client left open; `None` when that could not be done within `limit`.
    pub async fn roll_back(mut self: Box<Self>, limit: Duration) -> Option<Box<Self>> {
        self.run("ROLLBACK", limit).await.ok()?;
        Some(self)
    }

    /// Runs SQL of our own and waits for its end.
    ///
    /// # Errors
    /// As [`ServerError`] says.
    pub async fn run(&mut self, sql: &str, limit: Duration) -> Result<(), ServerError> {
        self.ledger.sent(Awaited::Query, Audience::Pooler).map_err(Fault::from)?;
        let mut out = Vec::new();
        request::query(&mut out, sql.as_bytes());
        match timeout(limit, self.exchange(&out, &mut Own::default())).await {
            Ok(done) => done,
            Err(_elapsed) => Err(ServerError::TimedOut),
        }
    }

    /// Asks for the replies that it keeps back: to a request without its Sync, or to a COPY whose
    /// rows do not come. Nothing is committed by that.
    ///
    /// # Errors
    /// When replies could not be told apart from here on.
    pub fn hasten(&mut self) -> Result<(), ServerError> {
        let mut out = Vec::new();
        if self.ledger.is_copying_in() {
            self.ledger.sent(Awaited::CopyEnd, Audience::Pooler).map_err(Fault::from)?;
            request::copy_fail(&mut out, b"client is gone");
        } else if self.ledger.is_open() {
            request::flush(&mut out);
        }
        self.outbox.push(&out);
        Ok(())
    }

    /// Reads the end of a transaction, where that was left unread: its client is gone.
    pub fn read_on(&mut self) {
        let Self { inbox, receiver, ledger, .. } = self;
        if !receiver.is_stopped() && !receiver.may_go_on() {
            return;
        }
        receiver.stop_at_ready(false);
        let read = inbox.join(&[], |held| receiver.receive(held, ledger, &mut Own::default()));
        if read.is_err() {
            self.give_up();
        }
    }

    /// Reads replies that nobody wants any more, until no more than this many are owed.
    ///
    /// # Errors
    /// As [`ServerError`] says, but for what the server refuses.
    ///
    /// # Cancel safety
    /// Safe: what was read is judged.
    pub async fn drain(&mut self, unanswerable: usize) -> Result<(), ServerError> {
        let mut own = Own::default();
        while self.ledger.len() > unanswerable {
            self.receive(&mut own).await?;
        }
        Ok(())
    }

    /// Sends `out` and reads until nothing is owed.
    async fn exchange(&mut self, out: &[u8], own: &mut Own) -> Result<(), ServerError> {
        self.socket.write_all(out).await?;
        while !self.is_at_rest() {
            self.receive(own).await?;
        }
        match own.refused.take() {
            Some(error) => Err(ServerError::Refused(error)),
            None => Ok(()),
        }
    }

    /// Reads once, and writes meanwhile what has not been taken yet.
    async fn receive(&mut self, sink: &mut impl Sink) -> Result<(), ServerError> {
        poll_fn(|cx| {
            self.outbox.flush(&mut self.socket, cx)?;
            scratch::with(|scratch| {
                let count = match self.socket.poll_read(cx, &mut scratch.input) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(count) => count?,
                };
                let fresh = scratch.input.get(..count).unwrap_or_default();
                Poll::Ready(self.take(fresh, sink))
            })
        })
        .await
    }

    fn take(&mut self, fresh: &[u8], sink: &mut impl Sink) -> Result<(), ServerError> {
        if fresh.is_empty() {
            return Err(ServerError::Closed);
        }
        let Self { inbox, receiver, ledger, .. } = self;
        Ok(inbox.join(fresh, |bytes| receiver.receive(bytes, ledger, sink))?)
    }

    /// Moves it to the loop of the calling thread; `None` when the system refused, or when the
    /// server turns out to be none any more.
    pub fn rehome(mut self: Box<Self>, to: LoopId) -> Option<Box<Self>> {
        self.socket = match self.socket.rehome() {
            Ok(socket) => socket,
            Err(_refused) => {
                self.process.leave_because(CRASHED);
                return None;
            }
        };
        self.home = to;
        // The new loop has not heard of what came before the move.
        if !self.take_unasked(Socket::read_now) {
            self.process.leave_because(CRASHED);
            return None;
        }
        Some(self)
    }

    /// Says goodbye and closes.
    pub fn close(mut self: Box<Self>) {
        let mut out = Vec::new();
        request::terminate(&mut out);
        // The server notices the closing itself; the word only spares it a line in its log.
        if self.socket.try_write(&out).is_ok() {
            self.socket.farewell();
        }
    }
}
