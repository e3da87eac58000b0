//! The loop that joins a client to leases.
//!
//! A session is *detached* (it has no server, and holds no bytes while it is idle), *queued* (a
//! request waits for a server) or *attached* (bytes are relayed). It gives its server back when
//! the request and the transaction are over and nothing pins it; whatever else ends an
//! attachment ends the server too, but for an open transaction, which is rolled back.

mod across;
mod boundary;
mod budget;
pub mod causal;
mod clock;
mod cost;
mod cut;
mod flow;
mod gate;
mod ignore;
mod incoming;
mod judge;
mod listen;
mod loss;
mod meter;
mod names;
mod outgoing;
mod parting;
pub mod pins;
mod queue;
mod relay;
mod replicas;
pub mod replication;
pub mod report;
mod routing;
mod shards;
mod state;
mod steering;
mod tenancy;
mod tentative;
mod terms;
mod whole;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

pub use self::budget::Budget;
use self::causal::Writes;
use self::clock::{Clock, Slice};
use self::cut::{Need, Standing};
pub use self::flow::ClientFault;
use self::flow::Flow;
pub use self::gate::Gate;
use self::ignore::Ignore;
use self::meter::Meter;
use self::names::{Names, NamesUndo};
use self::parting::{Parting, ask_for_code, at_rest, part};
use self::pins::PinCounts;
pub use self::replicas::Replicas;
use self::routing::{AtReplica, Course};
pub use self::shards::{Layout, ShardRoute, Shards};
use self::shards::{Placing, Sharded};
pub use self::tenancy::Tenancy;
pub use self::terms::Terms;
use crate::cancel::{Cancels, Landing, Seat, Seated};
use crate::catalog::{Catalogs, Readings};
use crate::client::condition::{self, Condition};
use crate::complaints::Complaints;
use crate::events::Events;
use crate::net::loops::LoopId;
use crate::net::scratch;
use crate::net::socket::{Inbox, Outbox, Socket, TcpOptions};
use crate::notify::{Ear, Hub};
use crate::pool::{Ask, Closed, Connector, Lease, Pool, affinity};
use crate::route::decisions::AllDecisions;
use crate::server::connect;
use crate::server::params::{Params, Reset};
use crate::server::prepared::StatementTable;
use crate::server::receive::Fault;
use crate::server::reported::Reported;
use crate::server::schema::Schemas;
use crate::shard::ShardSet;
use crate::sql::Command;
use crate::traffic::{ErrorBook, Figure, Queries, Side, Traffics};
use crate::wire::frame::{self};
use crate::wire::reply::{self, Report};
use crate::wire::view::Target;

/// A pool of servers.
pub type ServerPool = Pool<Connector>;

/// What all sessions share.
#[derive(Debug)]
pub struct House {
    /// Who is connected, and their cancel keys.
    pub cancels: Arc<Cancels>,
    /// All prepared statements.
    pub statements: StatementTable,
    /// The schemas of all databases.
    pub schemas: Arc<Schemas>,
    /// What is known of the names in all databases.
    pub catalogs: Catalogs,
    /// What texts do.
    pub readings: Readings,
    /// Socket options, for the cancels that we send.
    pub tcp: TcpOptions,
    /// How long a cancel may take to reach a server.
    pub cancel_wait: Duration,
    /// Who listens to which channels.
    pub hub: Arc<Hub>,
    /// What goes wrong again and again.
    pub complaints: Arc<Complaints>,
    /// What passes through each database.
    pub traffics: Traffics,
    /// What clients were told of that went wrong.
    pub errors: ErrorBook,
    /// What texts cost.
    pub queries: Queries,
    /// What has happened lately.
    pub events: Arc<Events>,
    /// How often clients began to keep their servers.
    pub pins: PinCounts,
    /// Where requests to each database have run, and why.
    pub decisions: AllDecisions,
    /// What sessions have to see of each other's writes.
    pub writes: Writes,
    /// Held by whatever settles a server for a client that has left.
    pub partings: watch::Sender<()>,
}

/// A client that is logged in, and its way to servers. Idle ones are many: keep it small.
#[derive(Debug)]
pub struct Session {
    client: Client,
    seat: Seated,
    tenancy: Arc<Tenancy>,
    /// The client's settings.
    params: Arc<Params>,
    /// Those that it brought.
    startup: Arc<Params>,
    /// What the client has been told of its session.
    known: Arc<Reported>,
    names: Names,
    attached: Option<Box<Attached>>,
    /// The server of the last attachment, as far as it has a small number; 0 for none.
    last_member: u32,
    /// The loop that runs it.
    on: LoopId,
    /// What its requests have to pass.
    gate: Option<Box<Gate>>,
    /// Who hears the channels that it listens to.
    ear: Option<Box<Ear>>,
    /// How it goes between the primary and replicas, and among shards.
    course: Option<Box<Course>>,
    /// The server told the client that this is the end.
    told_fatal: bool,
}

/// The client's side.
#[derive(Debug)]
struct Client {
    socket: Socket,
    /// A request that is not complete yet, or waits.
    inbox: Inbox,
    /// What the client has not taken yet.
    outbox: Outbox,
    /// What is dropped of what the client sends.
    ignore: Ignore,
}

/// The server's side, from checkout to check-in.
#[derive(Debug)]
struct Attached {
    lease: Lease<Connector>,
    /// Where the reading of the client's messages stands.
    flow: Flow,
    /// How to undo what messages did to the client's names.
    undo: NamesUndo,
    clock: Option<Box<Clock>>,
    meter: Meter,
    /// The replica that it is, if it is one.
    replica: Option<AtReplica>,
}

impl Attached {
    fn stop_counting(&mut self, tenancy: &Tenancy, on: LoopId) {
        self.lease.card().has_prepared(self.lease.prepared.len());
        self.meter.stop(&mut self.lease.ledger, tenancy, on);
    }
}

/// What a session is made of.
#[derive(Debug)]
pub struct Entry {
    /// The client's socket, after its login and before its first ReadyForQuery.
    pub socket: Socket,
    /// What the client has sent behind its login.
    pub ahead: Vec<u8>,
    /// What the client has not been sent yet of its login.
    pub greeting: Vec<u8>,
    /// Its seat.
    pub seat: Seated,
    /// What it shares with others.
    pub tenancy: Arc<Tenancy>,
    /// The loop that runs it.
    pub on: LoopId,
    /// The settings that it brought.
    pub params: Arc<Params>,
    /// Limits on its requests.
    pub gate: Option<Box<Gate>>,
    /// When it connected.
    pub came: Instant,
}

/// Why a session ended.
#[derive(Debug, Error)]
pub enum End {
    /// The client said goodbye.
    #[error("client close request")]
    Goodbye,
    /// The client's connection was closed or failed.
    #[error("client unexpected eof")]
    ClientGone,
    /// The client broke the protocol.
    #[error("client protocol violation: {0}")]
    Client(#[from] ClientFault),
    /// The server broke the protocol.
    #[error("server protocol violation: {0}")]
    Server(#[from] Fault),
    /// The server's connection was closed or failed.
    #[error("server conn crashed?")]
    ServerGone,
    /// The server's host is not the primary any more.
    #[error("server is not the primary any more")]
    Forsaken,
    /// There is no server, and none to be had.
    #[error("server login failed: {0}")]
    NoServer(connect::ConnectError),
    /// The server refused the client's settings; its error.
    #[error("server refused the client's settings")]
    Refused(Vec<u8>),
    /// It left what only one server can have, and may not keep that server.
    #[error("{}", .0.message)]
    Unkept(Report),
    /// A limit of time while a server was attached.
    #[error("{}", .0.message)]
    TimedOut(Condition),
    /// The client did nothing for too long.
    #[error("client_idle_timeout")]
    Idle,
    /// No server was to be had in time, before the first ReadyForQuery.
    #[error("{}", .0.message)]
    NeverServed(Report),
    /// A transaction block in statement mode.
    #[error("transaction blocks not allowed in statement pooling mode")]
    StatementMode,
    /// The process or the pool ends.
    #[error("server shutting down")]
    ShuttingDown,
    /// The database or the user is not configured any more.
    #[error("database configuration changed")]
    Reconfigured,
    /// An operator wanted it so.
    #[error("admin forced disconnect")]
    Killed,
    /// It does not take its notifications.
    #[error("listen_queue_size")]
    TooMuchHeard,
}

impl End {
    /// Whose it is.
    fn side(&self) -> Side {
        match self {
            Self::Goodbye | Self::ClientGone | Self::Client(_) => Side::Client,
            Self::Server(_)
            | Self::ServerGone
            | Self::Forsaken
            | Self::NoServer(_)
            | Self::Refused(_) => Side::Server,
            Self::Unkept(_)
            | Self::TimedOut(_)
            | Self::Idle
            | Self::NeverServed(_)
            | Self::StatementMode
            | Self::ShuttingDown
            | Self::Reconfigured
            | Self::Killed
            | Self::TooMuchHeard => Side::Pooler,
        }
    }
}

/// How long a client may take to accept the last words.
const FAREWELL: Duration = Duration::from_secs(1);

impl Session {
    /// Greets a client: its settings are proven on a server where they are new, and it is told
    /// what the server reports of its session. It is then ready for queries.
    ///
    /// # Errors
    /// Why there is no session; the client has been told.
    pub async fn open(entry: Entry) -> Result<Self, End> {
        let Entry { socket, ahead, greeting, seat, tenancy, on, params, gate, came } = entry;
        let client = Client {
            socket,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            ignore: Ignore::default(),
        };
        let mut session = Self {
            client,
            seat,
            course: Sharded::of(&tenancy).map(|sharded| Box::new(Course::among(sharded))),
            tenancy,
            on,
            startup: Arc::clone(&params),
            params,
            gate,
            ear: None,
            known: Arc::default(),
            names: Names::default(),
            attached: None,
            last_member: 0,
            told_fatal: false,
        };
        session.client.inbox.hold(&ahead);
        session.client.outbox.push(&greeting);
        // The same task runs the session to its end.
        poll_fn(|cx| {
            session.seat.attend(cx.waker());
            Poll::Ready(())
        })
        .await;
        match session.greet(came).await {
            Ok(()) => Ok(session),
            Err(end) => {
                session.tell_end(&end).await;
                Err(end)
            }
        }
    }

    async fn greet(&mut self, came: Instant) -> Result<(), End> {
        if self.params.proven().is_none() {
            Box::pin(self.prove()).await?;
        }
        let mut out = Vec::new();
        if let Some(reported) = self.params.proven() {
            for (name, value) in reported.iter() {
                reply::parameter_status(&mut out, name, value);
            }
            self.known = Arc::clone(reported);
        }
        self.tenancy.traffic.add_one(self.on.index(), Figure::Logins, 1);
        self.tenancy.times.logged_in(self.on.index(), came.elapsed());
        reply::backend_key(&mut out, self.seat.pid(), self.seat.secret());
        out.extend_from_slice(&reply::ready(b'I'));
        // What the socket does not take at once goes out while the session is idle.
        poll_fn(|cx| Poll::Ready(self.client.send(cx, &out))).await
    }

    /// Who the client is.
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Serves the client to its end, and gives the reason for that.
    pub async fn run(&mut self) -> End {
        // Idle clients are many: what is rarely awaited is boxed, so that this stays small.
        let end = loop {
            self.renew();
            let next = match self.tenancy.terms.client_idle_timeout {
                _ if self.is_moving() => Box::pin(self.idle_in_transaction()).await,
                None => poll_fn(|cx| self.poll_idle(cx)).await,
                Some(limit) => Box::pin(self.idle_up_to(limit)).await,
            };
            // Nothing large may live across the next await: it would be part of every idle client.
            let next = match next.map_err(Box::new) {
                Ok(next) => next,
                Err(end) if self.reads_elsewhere(&end) => continue,
                Err(end) => break *end,
            };
            match next {
                Next::Attached => {}
                Next::Queue => match Box::pin(self.queue()).await {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(end) if self.reads_elsewhere(&end) => continue,
                    Err(end) => break end,
                },
                Next::Across(len, shards) => match Box::pin(self.across(len, shards)).await {
                    Ok(()) => continue,
                    Err(end) => break end,
                },
            }
            match poll_fn(|cx| self.poll_relay(cx)).await {
                Ok(()) => self.release(),
                Err(end) if self.reads_elsewhere(&end) => {}
                Err(end) => break end,
            }
        };
        Box::pin(self.finish(end)).await
    }

    async fn idle_up_to(&mut self, limit: Duration) -> Result<Next, End> {
        let idle = poll_fn(|cx| self.poll_idle(cx));
        timeout(limit, idle).await.unwrap_or(Err(End::Idle))
    }

    /// Reads until a request needs a server, and takes one if one is to be had at once: then the
    /// request is on its way when this is ready.
    ///
    /// # Cancel safety
    /// Safe: all that was read is in the session.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, End>> {
        // Nothing has been done yet in a transaction without a server that is held here.
        let holds = self.sharded().is_some_and(Sharded::holds);
        match self.is_moving() && !holds {
            false => self.may_begin()?,
            true => self.may_wait()?,
        }
        if !self.client.outbox.is_empty() {
            let Client { outbox, socket, .. } = &mut self.client;
            outbox.flush(socket, cx).map_err(client_gone)?;
        }
        if self.ear.is_some() {
            self.tell_idle(cx)?;
        }
        // A request that came in behind the last one is there already.
        if !self.client.inbox.is_empty()
            && let Some(next) = scratch::with(|scratch| self.ask(cx, &[], &mut scratch.output))?
        {
            return Poll::Ready(Ok(next));
        }
        let mut slice = Slice::default();
        loop {
            // It does not take the replies that it has; sending them wakes us.
            if self.client.outbox.len() > scratch::INPUT_LEN {
                return Poll::Pending;
            }
            let next = scratch::with(|scratch| {
                let read = ready!(self.client.socket.poll_read(cx, &mut scratch.input));
                let count = read.map_err(client_gone)?;
                if count == 0 {
                    return Poll::Ready(Err(End::ClientGone));
                }
                let fresh = scratch.input.get(..count).unwrap_or_default();
                Poll::Ready(self.ask(cx, fresh, &mut scratch.output))
            });
            if let Some(next) = ready!(next)? {
                return Poll::Ready(Ok(next));
            }
            if slice.is_over(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Looks at what the client has sent: answers it where no server is needed, else takes a
    /// server and passes it on. `None` when there is nothing (more) to be done.
    fn ask(
        &mut self,
        cx: &mut Context<'_>,
        fresh: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<Option<Next>, End> {
        let mut inbox = std::mem::take(&mut self.client.inbox);
        let mut next = None;
        inbox.join(fresh, |bytes| -> Result<usize, End> {
            let limits = self.tenancy.terms.limits();
            let mut used = self.client.ignore.skip(bytes, limits.message, output)?;
            loop {
                let rest = bytes.get(used..).unwrap_or_default();
                let need = match self.is_moving() {
                    _ if self.client.ignore.is_on() => Need::More,
                    // What is said in a transaction is for its server.
                    true => Need::Server,
                    false => cut::need(rest, self.standing(), limits)?,
                };
                if let Need::Alone(count) = need {
                    let answered = self.answer(rest.get(..count).unwrap_or_default(), output);
                    answered.inspect_err(|_end| self.client.outbox.push(output))?;
                    used += count;
                    continue;
                }
                // What is answered already goes out before anything that a server says.
                self.client.send(cx, output)?;
                output.clear();
                if need == Need::Server {
                    let refused = match self.is_moving() {
                        false => self.stop_at_gate(rest, output)?,
                        // It has passed.
                        true => 0,
                    };
                    if refused > 0 {
                        used += refused;
                        continue;
                    }
                    match self.place(rest, output)? {
                        Placing::Goes => {}
                        Placing::Waits => return Ok(used),
                        Placing::Across(len, shards) => {
                            next = Some(Next::Across(len, shards));
                            return Ok(used);
                        }
                        Placing::Answered(count) => {
                            used += count;
                            continue;
                        }
                    }
                    let tried = self.try_attach(rest)?;
                    if tried == Next::Attached {
                        used += self.pass(cx, rest, output)?;
                    }
                    next = Some(tried);
                }
                return Ok(used);
            }
        })?;
        self.client.inbox = inbox;
        Ok(next)
    }

    /// Answers messages that need no server.
    fn answer(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), End> {
        while let Some((header, body)) =
            frame::message(bytes, self.tenancy.terms.message_max).map_err(ClientFault::from)?
        {
            match header.tag {
                b'X' => return Err(End::Goodbye),
                b'S' => out.extend_from_slice(&reply::ready(b'I')),
                b'C' => {
                    match Target::read(body) {
                        Some(Target::Statement(b"")) => self.names.drop_unnamed(),
                        Some(Target::Statement(name)) => self.names.deallocate(Some(name)),
                        Some(Target::Portal(_)) | None => {}
                    }
                    out.extend_from_slice(&reply::CLOSE_COMPLETE);
                }
                b'Q' => {
                    self.names.drop_unnamed();
                    self.carry_out(body, out);
                }
                _ => {}
            }
            bytes = bytes.get(header.message_len()..).unwrap_or_default();
        }
        Ok(())
    }

    /// Carries out a Query that is about the client's session alone.
    fn carry_out(&mut self, body: &[u8], out: &mut Vec<u8>) {
        for command in self.standing().commands(body).into_iter().flatten() {
            match &command {
                Command::Deallocate(name) => self.names.deallocate(Some(name)),
                Command::DeallocateAll => self.names.deallocate(None),
                Command::DiscardAll => {
                    self.names.deallocate(None);
                    self.ear = None;
                    self.reset(Reset::Session);
                }
                Command::ResetAll => self.reset(Reset::Settings),
                Command::Reset(name) | Command::SetDefault(name) => self.reset(Reset::One(name)),
                Command::Discard(_)
                | Command::ResetAuthorization
                | Command::DefaultAuthorization
                | Command::CloseAll
                | Command::LastRoute
                | Command::UnlockAll => {}
                Command::UnlistenAll => self.ear = None,
            }
            cut::reply_to(&command, || self.last_route(), out);
        }
        if let Some(reported) = self.params.proven() {
            incoming::tell(out, &mut self.known, reported);
        }
        out.extend_from_slice(&reply::ready(b'I'));
    }

    /// Resets the client's settings.
    fn reset(&mut self, reset: Reset<'_>) {
        if let Some(params) = self.standing().after_reset(reset) {
            self.params = params;
        }
    }

    /// What the client's session is known by.
    fn standing(&self) -> Standing<'_> {
        let table = self.tenancy.pool.connector().params();
        Standing { names: &self.names, params: &self.params, startup: &self.startup, table }
    }

    /// What to ask the pool for.
    fn wish(&self) -> Ask {
        Ask {
            on: self.on,
            affinity: affinity(&self.params),
            holder: u64::from(self.seat.pid()),
            last_member: Some(self.last_member.into()),
        }
    }

    /// Gives the server back: request and transaction are over.
    fn release(&mut self) {
        self.names.leave_server();
        let Some(mut attached) = self.attached.take() else {
            return;
        };
        attached.stop_counting(&self.tenancy, self.on);
        self.left(&attached);
        self.moves_on(&mut attached);
        self.seat.has_prepared(self.names.count());
        // A replica may not have what was defined last.
        let question = match attached.replica {
            None => self.tenancy.question(),
            Some(_) => None,
        };
        let on = self.on;
        let (landing, lease) = (self.seat.leave(), attached.lease);
        if lease.receiver.status() != b'I' {
            return self.part_with(lease, Parting::RollBack, landing);
        }
        // A cancel is under way to this server: nobody else may get it before it has landed.
        if landing.is_some() {
            return self.part_with(lease, Parting::Back, landing);
        }
        let lease = at_rest(lease, &self.tenancy.terms);
        match question {
            None => lease.check_in(on),
            // Its client needs it no more.
            Some(asking) => drop(tokio::spawn(async move {
                if let Some(lease) = ask_for_code(lease, asking).await {
                    lease.check_in(on);
                }
            })),
        }
    }

    /// Leaves a server to be settled; a cancel may be under way to it.
    fn part_with(&self, lease: Lease<Connector>, parting: Parting, landing: Option<Landing>) {
        let (tenancy, on) = (Arc::clone(&self.tenancy), self.on);
        let parted = tenancy.house.partings.subscribe();
        tokio::spawn(async move {
            let _parted = parted;
            if let Some(landing) = landing
                && !landing.landed().await
            {
                return lease.discard(Closed::Requested);
            }
            part(lease, parting, &tenancy, on).await;
        });
    }

    /// Ends the session: last words to the client, and the server back or closed.
    async fn finish(&mut self, end: End) -> End {
        let whole = self.complete_message(&end).await;
        let landing = self.seat.leave();
        if let Some(mut attached) = self.attached.take() {
            let on = self.on;
            attached.stop_counting(&self.tenancy, on);
            attached.flow.defined(&self.tenancy.schema);
            attached.lease.read_on();
            if matches!(end, End::ServerGone) {
                attached.lease.site.doubt();
            }
            let parting = Parting::of(&attached, &end);
            parting.say_why(&mut attached.lease, &end);
            self.part_with(attached.lease, parting, landing);
        }
        if whole {
            self.tell_end(&end).await;
        }
        end
    }

    /// Tells the client why this is the end, if it is still there to be told and has not been.
    async fn tell_end(&mut self, end: &End) {
        let report = match end {
            End::ClientGone => return,
            // It may still read what it asked for before.
            End::Goodbye => None,
            End::ServerGone if self.told_fatal => None,
            End::Client(ClientFault::ReadOnly(what)) => Some(condition::READ_ONLY_USER.about(what)),
            End::Client(fault) => Some(condition::CLIENT_PROTOCOL.about(fault)),
            End::Server(fault) => Some(condition::SERVER_LOST.about(fault)),
            End::ServerGone => {
                Some(condition::SERVER_LOST.about("server closed the connection unexpectedly"))
            }
            End::Forsaken => Some(condition::PRIMARY_CHANGED.report()),
            End::NoServer(error) => Some(report::connect_failed(reply::Severity::Fatal, error)),
            End::Refused(error) => Some(report::from_server(reply::Severity::Fatal, error)),
            End::TimedOut(limit) => Some(limit.report()),
            End::Idle => Some(condition::CLIENT_IDLE.report()),
            End::Unkept(report) | End::NeverServed(report) => Some(report.clone()),
            End::StatementMode => Some(condition::STATEMENT_MODE.report()),
            End::ShuttingDown => Some(condition::SHUTTING_DOWN.report()),
            End::Reconfigured => Some(condition::RECONFIGURED.report()),
            End::Killed => Some(condition::KILLED.report()),
            End::TooMuchHeard => Some(condition::LISTEN_OVERFLOW.report()),
        };
        let is_ours = report.is_some();
        let mut out = Vec::new();
        if let Some(report) = report {
            self.note_error(end.side(), &report);
            report.write(&mut out);
        }
        self.client.outbox.push(&out);
        let Client { outbox, socket, .. } = &mut self.client;
        let flushed = timeout(
            FAREWELL,
            poll_fn(|cx| match outbox.flush(socket, cx) {
                Ok(()) if !outbox.is_empty() => Poll::Pending,
                done => Poll::Ready(done),
            }),
        );
        match flushed.await {
            Ok(Ok(())) if is_ours => self.hear_out().await,
            Ok(Ok(())) => socket.farewell(),
            _ => tracing::debug!(client = %*self.seat, "client did not take its last message"),
        }
    }
}

/// Where a session goes from being idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A server is attached and has the request.
    Attached,
    /// The request waits for a server.
    Queue,
    /// It has so many bytes, and runs on these shards.
    Across(usize, ShardSet),
}

impl Client {
    /// Sends to the client, and keeps what it does not take.
    fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<(), End> {
        self.outbox.send(&mut self.socket, cx, bytes).map_err(client_gone)
    }
}

fn client_gone(_: io::Error) -> End {
    End::ClientGone
}
