//! A client that listens, in transaction mode: its [`Ear`] hears for it whatever server it has.
//!
//! While it has a server, that listens to its channels as well, so that LISTEN, UNLISTEN and
//! `pg_listening_channels()` are what they are there; what it hears itself is left out. Nothing
//! is told in a transaction, and all that was notified before its end is told before the
//! ReadyForQuery of that, the client's own notifications above all.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::flow::{Early, Stop};
use super::state::Reply;
use super::{Attached, End, ServerPool, Session};
use crate::client::condition;
use crate::net::scratch::INPUT_LEN;
use crate::notify::{Ear, Lead, Said};
use crate::pool::Prospect;
use crate::server::connect::Target;
use crate::server::ledger::{Audience, Awaited};
use crate::server::receive::Fault;
use crate::sql::Leaves;
use crate::wire::{frame, reply, request};

impl Lead for ServerPool {
    fn target(&self) -> Target {
        self.connector().target()
    }

    fn is_paused(&self) -> bool {
        ServerPool::is_paused(self) || self.prospect() != Prospect::Open
    }
}

impl Session {
    /// Tells what was heard to a client that has no server.
    pub(super) fn tell_idle(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let encoding = self.known.get("client_encoding").unwrap_or_default();
        if let Some(ear) = self.ear.take_if(|ear| ear.is_elsewhere(encoding)) {
            self.ear = Some(Box::new(ear.moved(encoding)));
        }
        self.tell(cx)?;
        match &self.ear {
            Some(ear) if ear.has_overflowed() => Err(End::TooMuchHeard),
            _ => Ok(()),
        }
    }

    /// The same between the transactions of a client that keeps its server.
    pub(super) fn tell_at_rest(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if self.ear.is_none() {
            return Ok(());
        }
        let rests = self.attached.as_deref().is_some_and(|Attached { lease, flow, .. }| {
            lease.is_at_rest()
                && lease.receiver.status() == b'I'
                && flow.is_between_messages()
                && flow.stop.is_none()
                && !flow.pins.is_empty()
        });
        if rests { self.tell_idle(cx) } else { Ok(()) }
    }

    /// Tells what was heard, as much as the client takes.
    fn tell(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let Some(ear) = &self.ear else {
            return Ok(());
        };
        // Also for one that does not read: it may be too much by and by.
        ear.attend(cx);
        let own = self.seat.pid().to_be_bytes();
        let mut out = Vec::new();
        while self.client.outbox.len() + out.len() < INPUT_LEN {
            let Poll::Ready(said) = ear.poll_next(cx) else {
                break;
            };
            match said {
                Said::Notification(heard) => {
                    let at = out.len() + frame::HEADER_LEN;
                    out.extend_from_slice(&heard.message);
                    // One who is not connected to us has this client's number by chance.
                    if heard.foreign
                        && let Some(pid) = out.get_mut(at..at + own.len())
                        && *pid == own
                    {
                        pid.fill(0);
                    }
                }
                Said::Lost(cause) => condition::LISTENER_LOST.about(cause).write(&mut out),
                Said::Back => condition::LISTENER_BACK.report().write(&mut out),
            }
        }
        if out.is_empty() { Ok(()) } else { self.client.send(cx, &out) }
    }

    /// A server is attached. What its process has notified for others has to be heard before it
    /// counts as this client's.
    pub(super) fn begin_to_hear(&mut self) {
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref_mut() else {
            return;
        };
        match &self.ear {
            None => lease.serve(self.seat.pid()),
            Some(ear) => {
                flow.listening.catching_up = Some((ear.catch_up(), Early::Nothing));
                flow.stop = Some(Stop::Hearing);
            }
        }
    }

    /// Tunes to the channels that the next message listens to.
    pub(super) fn tune(&mut self) {
        let Some(Attached { flow, .. }) = self.attached.as_deref_mut() else {
            return;
        };
        let wanted = std::mem::take(&mut flow.listening.wanted);
        if wanted.is_empty() {
            return;
        }
        let ear = self.ear.get_or_insert_with(|| {
            let lead = Arc::clone(&self.tenancy.pool) as Arc<dyn Lead>;
            let encoding = self.known.get("client_encoding").unwrap_or_default();
            let limit = self.tenancy.terms.listen_queue;
            Box::new(self.tenancy.house.hub.join(encoding, lead, limit))
        });
        let ticket = ear.tune(wanted.clone());
        flow.listening.catching_up = Some((ticket, Early::On(wanted)));
    }

    /// More of the client's has come while it is in a transaction that listens: what is notified
    /// before that can commit is not for this client.
    pub(super) fn hear_before_it_commits(&mut self) {
        let (Some(ear), Some(attached)) = (&self.ear, self.attached.as_deref_mut()) else {
            return;
        };
        let Attached { lease, flow, .. } = attached;
        let in_transaction = lease.is_at_rest() && lease.receiver.status() != b'I';
        if in_transaction && flow.stop.is_none() && ear.is_tuned() {
            flow.listening.catching_up = Some((ear.catch_up(), Early::All));
            flow.stop = Some(Stop::Hearing);
        }
    }

    /// Ready when the next message may be taken.
    pub(super) fn poll_caught_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref_mut() else {
            return Poll::Ready(());
        };
        if let (Some(ear), Some((ticket, _))) = (&self.ear, &flow.listening.catching_up) {
            ready!(ear.poll_caught_up(*ticket, cx));
            match flow.listening.catching_up.take() {
                Some((_, Early::On(channels))) => ear.forget(Some(&channels)),
                Some((_, Early::All)) => ear.forget(None),
                Some((_, Early::Nothing)) | None => {}
            }
        }
        lease.serve(self.seat.pid());
        flow.stop = None;
        Poll::Ready(())
    }

    /// Before the server is read: where the end of a transaction was left unread, what was heard
    /// is told first. `None` while that is waited for; whether there was such an end otherwise.
    pub(super) fn pass_end(&mut self, cx: &mut Context<'_>) -> Result<Option<bool>, End> {
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref_mut() else {
            return Ok(Some(false));
        };
        if !lease.receiver.is_stopped() {
            return Ok(Some(lease.receiver.may_go_on()));
        }
        if let Some(ear) = &self.ear {
            let ticket = *flow.listening.ending.get_or_insert_with(|| ear.catch_up());
            if ear.poll_caught_up(ticket, cx).is_pending() {
                return Ok(None);
            }
        }
        flow.listening.ending = None;
        // Nothing has been sent behind it then, nor has to be before the question.
        let last = lease.ledger.len() == 1
            && matches!(flow.stop, None | Some(Stop::Settling))
            && flow.restore.is_none()
            && flow.redo.is_empty();
        if last && lease.doubted().has(Leaves::LISTENER) {
            lease.receiver.keep_ready();
            flow.listening.kept_end = true;
        } else {
            lease.receiver.pass_ready();
            self.tell(cx)?;
        }
        Ok(Some(true))
    }

    /// The end of a transaction that was kept back for a question is told, unless that is still
    /// under way.
    pub(super) fn tell_kept_end(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let Some(Attached { flow, .. }) = self.attached.as_deref_mut() else {
            return Ok(());
        };
        if flow.asked.is_some() || !std::mem::take(&mut flow.listening.kept_end) {
            return Ok(());
        }
        self.tell(cx)?;
        self.client.send(cx, &reply::ready(b'I'))
    }

    /// Has the server listen to nothing any more, before others get it. `false` where it does not
    /// listen.
    pub(super) fn cease(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref_mut() else {
            return Ok(false);
        };
        if !lease.may_listen() {
            return Ok(false);
        }
        let sent = lease.ledger.sent(Awaited::Query, Audience::Pooler).map_err(Fault::from)?;
        flow.listening.ceasing = sent;
        flow.listening.brought = false;
        flow.listening.in_vain = false;
        self.seat.spare();
        let mut out = Vec::new();
        request::query(&mut out, b"UNLISTEN *");
        let server = &mut ***lease;
        let sent = server.outbox.send(&mut server.socket, cx, &out);
        sent.map_err(|_lost| End::ServerGone)?;
        Ok(true)
    }

    /// That has been done, or refused.
    pub(super) fn ceased(&mut self, reply: Reply) {
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref_mut() else {
            return;
        };
        if reply == Reply::Refused {
            lease.taint();
        }
        // Unless it has been brought to listen again meanwhile.
        if !flow.listening.brought && lease.doubted().is_empty() {
            lease.unlistened();
        }
    }
}

/// Goes by the channels that a server was found to listen to; says whether there are some that
/// only it can hear.
pub(super) fn settle(ear: &mut Option<Box<Ear>>, channels: &[Box<[u8]>], in_vain: bool) -> bool {
    let Some(own) = ear else {
        return !channels.is_empty();
    };
    let settled = own.settle(channels, in_vain);
    if settled.silent {
        *ear = None;
    }
    settled.unknown
}
