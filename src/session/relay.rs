//! The attached session: one poll over both sockets.
//!
//! Neither side is read while the other has not taken what was read before, so what is held per
//! direction is bounded by one read; and neither side is waited for without being ready for the
//! other.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::clock::{Clock, Slice};
use super::cut::{self, Need};
use super::flow::{ClientFault, Flow, Stop};
use super::incoming::{self, Incoming, Numbers};
use super::judge::Judge;
use super::meter::{Meter, Whose};
use super::names::NamesUndo;
use super::outgoing::{AtShard, Outgoing};
use super::report::{count, prepared_twice};
use super::routing::{AtReplica, Last, Moving, Place, Told};
use super::shards::{Sharded, sharded};
use super::state::{Known, Reply};
use super::steering::{flushed, judge, lazy};
use super::{Attached, End, Session, client_gone};
use crate::client::condition;
use crate::config::PoolMode;
use crate::net::scratch::{self, INPUT_LEN, Scratch};
use crate::net::socket::Outbox;
use crate::pool::{Connector, Lease};
use crate::server::Server;
use crate::server::doubt::Question;
use crate::server::ledger::{Audience, Awaited};
use crate::server::receive::Fault;
use crate::traffic::{Role, Side};
use crate::wire::request;
use crate::wire::splice::Splice;

/// What came of the bytes that a server has sent, beside what its client got.
struct Heard {
    /// A request of ours is over.
    settled: bool,
    /// It refused the client's settings, with this error.
    refused: Option<Vec<u8>>,
    /// How the question about its session ended.
    learnt: Option<(Box<Question>, Reply)>,
    /// How our message that ended its listening did.
    ceased: Option<Reply>,
}

impl Session {
    /// Relays until request and transaction are over and the server may go back.
    ///
    /// # Cancel safety
    /// Safe: all state is in the session.
    pub(super) fn poll_relay(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut slice = Slice::default();
        let relayed = scratch::with(|scratch| {
            loop {
                self.tell_at_rest(cx)?;
                let received = self.pull_server(cx, scratch)?;
                if self.is_over()? {
                    if self.is_moving() {
                        return Ok(ControlFlow::Break(()));
                    }
                    let known = self.find_out(cx);
                    self.tell_kept_end(cx)?;
                    match known? {
                        Known::All => return Ok(ControlFlow::Break(())),
                        Known::Asked => {}
                        Known::Pinned => self.stays(),
                    }
                }
                self.find_out_where(cx)?;
                let sent = self.pull_client(cx, scratch)?;
                if !sent && !received || slice.is_over(cx) {
                    return Ok(ControlFlow::Continue(()));
                }
            }
        });
        match relayed {
            Err(end) => Poll::Ready(Err(end)),
            Ok(ControlFlow::Break(())) => Poll::Ready(Ok(())),
            Ok(ControlFlow::Continue(())) => match self.may_go_on() {
                Ok(()) => self.poll_clock(cx).map(Err),
                Err(end) => Poll::Ready(Err(end)),
            },
        }
    }

    /// Makes a server the one that the client's requests go to. It is owed nothing.
    pub(super) fn attach(
        &mut self,
        mut lease: Lease<Connector>,
        replica: Option<AtReplica>,
    ) -> Result<(), End> {
        self.last_member = u32::try_from(lease.member_id()).unwrap_or_default();
        let (mut out, mut flow) = (Vec::new(), Flow::default());
        flow.adopting = lease.adopt(&self.params, &mut out).map_err(Fault::from)?;
        let moved = self.course.as_deref_mut().and_then(|course| course.moving.take());
        flow.shard.ahead = self.sharded_mut().and_then(Sharded::ahead);
        let held = self.sharded_mut().is_some_and(Sharded::begins);
        if let Some(Moving { begin, .. }) = &moved {
            flow.shard.begun = held.then(|| begin.clone());
            let sent = lease.ledger.sent(Awaited::Query, Audience::Pooler);
            flow.beginning = sent.map_err(Fault::from)?;
            request::query(&mut out, begin);
            // Nothing runs outside of it.
            flow.stop = Some(Stop::Replies);
        }
        if !out.is_empty() {
            // Were it cancelled, the request behind it would run with another's settings.
            self.seat.settle(lease.key());
            lease.outbox.push(&out);
        } else {
            self.seat.attach(lease.key());
            incoming::tell(&mut out, &mut self.known, lease.receiver.reported());
            self.client.outbox.push(&out);
        }
        let timed = self.tenancy.terms.times_requests();
        let clock = moved.and_then(|moved| moved.clock);
        self.attached = Some(Box::new(Attached {
            flow,
            undo: NamesUndo::default(),
            clock: clock.or_else(|| timed.then(|| Box::new(Clock::start()))),
            meter: Meter::start(
                if replica.is_none() { Role::Primary } else { Role::Replica },
                if self.seat.card().is_leg { Whose::Parts } else { Whose::Clients },
                self.seat.pid(),
            ),
            replica,
            lease,
        }));
        if self.share_unjudged()
            && let Some(attached) = &mut self.attached
        {
            attached.flow.placed.wrote = true;
        }
        self.begin_to_hear();
        Ok(())
    }

    /// Whether this server has to be asked about the client's settings before a request follows.
    pub(super) fn must_ask(&self, lease: &Lease<Connector>) -> bool {
        !Arc::ptr_eq(lease.applied(), &self.params) && self.params.must_ask()
    }

    /// Passes a client's bytes on to its server; gives the number of bytes that this took.
    pub(super) fn pass(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<usize, End> {
        self.settle();
        let judge = judge(&self.tenancy, &self.params, &self.known);
        let (need, part) = (self.need(), self.is_part());
        let Some(attached) = self.attached.as_deref_mut() else {
            return Ok(0);
        };
        let Attached { lease, flow, undo, meter, replica, .. } = attached;
        let server: &mut Server = lease;
        let mut out = Splice::new(bytes, output);
        let used = Outgoing {
            server,
            names: &mut self.names,
            undo,
            flow,
            startup: &self.startup,
            ear: self.ear.as_deref(),
            terms: &self.tenancy.terms,
            statements: &self.tenancy.house.statements,
            schema: &self.tenancy.schema,
            place: judge.zip(need).map(|(judge, need)| Place {
                judge: Judge { part, ..judge },
                need,
                lazy: lazy(&self.tenancy, &self.params),
                replica: replica.as_ref(),
                decisions: &self.tenancy.decisions,
            }),
            route: Told::of(self.tenancy.replicas.as_deref(), self.course.as_deref()),
            shard: sharded(&self.course).map(|sharded| AtShard {
                sharded,
                tenancy: &self.tenancy,
                params: &self.params,
                known: &self.known,
            }),
            out: &mut out,
        }
        .run(bytes)?;
        if let Some(name) = flow.twice.take() {
            prepared_twice(&self.tenancy, self.seat.card(), &name);
        }
        if let (Some(reason), Some(course)) = (flow.placed.last.take(), &mut self.course) {
            course.followed(Last { reason, host: replica.as_ref().map(|at| at.host) });
        }
        if let Some(now) = meter.sent(used) {
            server.card().asked(now);
            self.seat.asked(now);
        }
        if flow.listening.bringing.is_some() {
            // A cancel is for what the client runs.
            self.seat.spare();
        }
        let sent = server.outbox.send(&mut server.socket, cx, out.finish());
        sent.map_err(|_lost| End::ServerGone)?;
        output.clear();
        let kept_back = flow.stop == Some(Stop::Goodbye) && server.ledger.is_open();
        if flow.stop == Some(Stop::Replies) || kept_back {
            // Without a Sync behind them it would keep them in its output buffer.
            request::flush(output);
            server.outbox.push(output);
            output.clear();
        }
        if server.receiver.is_between_messages() {
            while let Some((sequence, local)) = server.ledger.next_local() {
                // What a replica may fail at is answered as a whole by who does it.
                let out = match &mut flow.placed.tentative {
                    None => &mut *output,
                    Some(tentative) => tentative.held(),
                };
                let went = incoming::local_reply(out, local, server.receiver.status());
                if went == incoming::Went::Refused {
                    self.names.undo(undo, sequence..sequence + 1);
                    let report = condition::FAILED_TRANSACTION.report();
                    count(&self.tenancy.house.errors, Side::Client, &report);
                }
            }
            output.extend(flow.placed.prepared(&server.ledger));
            match self.client.send(cx, output) {
                Err(_gone) if flow.stop == Some(Stop::Goodbye) => {}
                sent => sent?,
            }
            output.clear();
        }
        self.tune();
        Ok(used)
    }

    /// Reads from the server once and passes it on; says whether there was anything.
    fn pull_server(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, End> {
        let Some(stopped) = self.pass_end(cx)? else {
            return Ok(false);
        };
        let Some(attached) = self.attached.as_deref_mut() else {
            return Ok(false);
        };
        let Attached { lease, flow, undo, meter, .. } = attached;
        let leaving = flow.stop == Some(Stop::Goodbye);
        let client = &mut self.client;
        if !client.outbox.is_empty() {
            match client.outbox.flush(&mut client.socket, cx) {
                Ok(()) if !client.outbox.is_empty() => return Ok(false),
                Ok(()) => {}
                // Whoever has said goodbye need not wait for what it asked for before.
                Err(_gone) if leaving => client.outbox = Outbox::default(),
                Err(gone) => return Err(client_gone(gone)),
            }
        }
        let Server { socket, inbox, receiver, ledger, prepared, lent, key, site, .. } =
            &mut ***lease;
        let count = match stopped {
            // It is there already.
            true => 0,
            false => match socket.poll_read(cx, &mut scratch.input) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(count)) if count > 0 => count,
                Poll::Ready(_) => return Err(End::ServerGone),
            },
        };
        receiver.stop_at_ready(self.ear.is_some());
        let (wrote, lazily) = (flow.placed.wrote, flow.placed.lazy);
        let fresh = scratch.input.get(..count).unwrap_or_default();
        let (mut settled, mut refused, mut learnt, mut ceased) = (false, None, None, None);
        let numbers = Numbers {
            server: key,
            client: self.seat.pid(),
            processes: self.tenancy.house.hub.processes(),
        };
        inbox.join(fresh, |bytes| -> Result<usize, End> {
            scratch.output.clear();
            let mut out = Splice::new(bytes, &mut scratch.output);
            let mut sink = Incoming {
                out: &mut out,
                names: &mut self.names,
                undo,
                prepared,
                lent,
                known: &mut self.known,
                params: &self.params,
                statements: &self.tenancy.house.statements,
                schema: &self.tenancy.schema,
                flow,
                ear: self.ear.as_deref(),
                numbers,
                learnt: None,
                ceased: None,
                settled: false,
                refused: None,
                told_fatal: &mut self.told_fatal,
                site,
                errors: self.seat.card().tells_errors().then_some(&self.tenancy.house.errors),
            };
            let judged = receiver.receive(bytes, ledger, &mut sink);
            (refused, settled) = (sink.refused.take(), sink.settled);
            (learnt, ceased) = (sink.learnt.take(), sink.ceased.take());
            // Before the client has it: what it may know is known, who is answered has been counted.
            flow.settle_schema(&self.tenancy.schema, ledger, receiver.status());
            meter.received(count, ledger, flow, &self.tenancy, self.on);
            if wrote && let Some(course) = &self.course {
                course.told(flushed(&self.tenancy, lazily, Instant::now()));
            }
            // What came before a fault is the client's all the same.
            match client.outbox.send(&mut client.socket, cx, out.finish()) {
                Ok(()) => {}
                Err(_gone) if leaving => client.outbox = Outbox::default(),
                Err(gone) => return Err(client_gone(gone)),
            }
            Ok(judged?)
        })?;
        scratch.output.clear();
        self.attached.iter().for_each(|attached| attached.note_rest());
        self.heard(Heard { settled, refused, learnt, ceased })?;
        Ok(true)
    }

    /// Does what follows from what the server has said.
    fn heard(&mut self, heard: Heard) -> Result<(), End> {
        let Heard { settled, refused, learnt, ceased } = heard;
        self.settle_prepared()?;
        if let Some(attached) = &self.attached
            && let Some(tentative) = &attached.flow.placed.tentative
            && tentative.on_replica
            && (refused.is_some() || tentative.failed && attached.lease.ledger.is_skipping())
        {
            // The replica won't have the client's settings, or has failed at what we sent ahead: its
            // reply would be in the way.
            self.course.get_or_insert_default().give_up();
            return Err(End::ServerGone);
        }
        if let Some(error) = refused {
            return Err(End::Refused(error));
        }
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref_mut() else {
            return Ok(());
        };
        let client = &mut self.client;
        flow.do_again(&mut client.inbox);
        if lease.ledger.is_quiet()
            && let Some(tentative) = flow.does_elsewhere(&mut client.inbox)
        {
            // What a replica refuses is for the primary to say.
            self.course.get_or_insert_default().give_up();
            if tentative.writes
                && let Some(judge) = judge(&self.tenancy, &self.params, &self.known)
            {
                judge.was_refused(&tentative.request, &self.names);
            }
        }
        if settled && flow.listening.bringing.is_none() {
            self.seat.settled(lease.key());
        }
        if lease.ledger.is_quiet() {
            lease.know_reported();
        }
        self.settle();
        if let Some((question, reply)) = learnt {
            self.learn(*question, reply);
        }
        if let Some(reply) = ceased {
            self.ceased(reply);
        }
        Ok(())
    }

    /// What has been answered stands: also what was answered without the server.
    fn settle(&mut self) {
        let Some(Attached { lease, undo, flow, .. }) = self.attached.as_deref_mut() else {
            return;
        };
        lease.settle();
        let kept_from =
            flow.placed.tentative.as_ref().map_or(u64::MAX, |tentative| tentative.first);
        undo.settle(lease.ledger.settled_to().min(kept_from));
    }

    /// Reads from the client once and passes it on; says whether there was anything.
    fn pull_client(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, End> {
        let Some(attached) = self.attached.as_deref_mut() else {
            return Ok(false);
        };
        let Attached { lease, flow, .. } = attached;
        if !lease.outbox.is_empty() {
            let Server { outbox, socket, .. } = &mut ***lease;
            outbox.flush(socket, cx).map_err(|_lost| End::ServerGone)?;
            if !outbox.is_empty() {
                return Ok(false);
            }
        }
        if flow.listening.kept_end {
            return Ok(false);
        }
        let count = match flow.stop {
            Some(Stop::Goodbye | Stop::Elsewhere) => return Ok(false),
            Some(Stop::Hearing) => match self.poll_caught_up(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(()) => 0,
            },
            Some(Stop::Replies | Stop::Settling)
                if !lease.has_answered() && !lease.ledger.is_copying_in() =>
            {
                return Ok(false);
            }
            Some(Stop::Replies | Stop::Settling) => {
                flow.stop = None;
                0
            }
            // Replies of our own are held for a client that does not read: no more of them.
            None if self.client.outbox.len() > INPUT_LEN => return Ok(false),
            None => match self.client.socket.poll_read(cx, &mut scratch.input) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(count)) if count > 0 => count,
                Poll::Ready(_) => return Err(End::ClientGone),
            },
        };
        if count > 0 {
            self.hear_before_it_commits();
        }
        let fresh = scratch.input.get(..count).unwrap_or_default();
        self.take_in(cx, fresh, &mut scratch.output)?;
        Ok(true)
    }

    /// Passes on what was held of the client's bytes, and these behind it.
    pub(super) fn take_in(
        &mut self,
        cx: &mut Context<'_>,
        fresh: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), End> {
        let mut inbox = std::mem::take(&mut self.client.inbox);
        let kept = self.kept_from_loss(&inbox, fresh);
        let joined = inbox.join(fresh, |bytes| self.pass(cx, bytes, output));
        match (joined, kept) {
            (Ok(()), _) => self.client.inbox = inbox,
            (Err(end), None) => return Err(end),
            (Err(end), Some(kept)) => {
                self.client.inbox.hold(&kept);
                if let Some(attached) = &mut self.attached {
                    attached.flow.placed.judged = 0;
                }
                return Err(end);
            }
        }
        Ok(())
    }

    /// Whether the server may go back; an error when the session has to end here.
    fn is_over(&self) -> Result<bool, End> {
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref() else {
            return Ok(true);
        };
        let at_rest = lease.is_at_rest() && lease.outbox.is_empty();
        if flow.stop == Some(Stop::Goodbye)
            && (at_rest || lease.ledger.is_empty() || lease.ledger.is_copying_in())
        {
            return Err(End::Goodbye);
        }
        let stopped =
            flow.stop.is_some_and(|stop| !matches!(stop, Stop::Settling | Stop::Elsewhere));
        if !at_rest || !flow.is_between_messages() || stopped {
            return Ok(false);
        }
        match (self.tenancy.terms.mode, lease.receiver.status()) {
            (PoolMode::Session, _) => Ok(false),
            (PoolMode::Transaction | PoolMode::Statement, b'I') => Ok(!self.asks_again()?),
            (PoolMode::Statement, _) => Err(End::StatementMode),
            (PoolMode::Transaction, _) if flow.placed.moves.is_some() => Ok(true),
            // It could neither go on nor leave.
            (PoolMode::Transaction, _) if flow.stop == Some(Stop::Elsewhere) => {
                Err(End::ServerGone)
            }
            (PoolMode::Transaction, _) => Ok(false),
        }
    }

    /// Whether what is held of the client's bytes would ask for a server at once, as the start of
    /// a message does that has to be seen whole and is longer than is collected without one.
    fn asks_again(&self) -> Result<bool, ClientFault> {
        let held = self.client.inbox.held();
        let stop = self.attached.as_deref().and_then(|attached| attached.flow.stop);
        // What waits for a question to be asked must not keep it from being asked; and what is for
        // another server does not keep this one.
        if held.is_empty() || matches!(stop, Some(Stop::Settling | Stop::Elsewhere)) {
            return Ok(false);
        }
        Ok(cut::need(held, self.standing(), self.tenancy.terms.limits())? == Need::Server)
    }
}
