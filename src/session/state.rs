//! What is known of the client's session when a transaction is over.
//!
//! A server goes back only when it is known what its session has: its settings become the
//! client's, which travel on with it, and what can't travel pins the session to the server.

use std::task::Context;
use std::time::SystemTime;

use super::flow::Stop;
use super::listen::settle;
use super::names::Unnamed;
use super::outgoing::OF_SETTINGS;
use super::pins::Pin;
use super::{Attached, End, Session, Tenancy};
use crate::cancel::Pinned;
use crate::client::condition;
use crate::config::PoolMode;
use crate::events::Kind;
use crate::server::doubt::Question;
use crate::server::receive::Fault;
use crate::sql::Leaves;

/// Whether a server that is at rest may go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It may.
    All,
    /// It has been asked for what is not known.
    Asked,
    /// It has what only it can have.
    Pinned,
}

/// How a question of ours ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Answered,
    Refused,
    /// It was answered at greater length than is taken.
    TooLong,
}

/// How often a question is asked that is refused, as by a late cancel.
const TRIES: u8 = 4;

impl Session {
    /// Request and transaction are over: asks the server for what is not known of its session.
    pub(super) fn find_out(&mut self, cx: &mut Context<'_>) -> Result<Known, End> {
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref_mut() else {
            return Ok(Known::All);
        };
        if std::mem::take(&mut flow.finds_names) {
            lease.doubt(Leaves::PREPARED, &[]);
        }
        let doubted = lease.doubted();
        let ask = match flow.pins.is_empty() {
            true => !doubted.is_empty(),
            // What comes on top of a pin can wait for its end.
            false => {
                doubted.has_any(Leaves::ENDS | Leaves::LISTENER) && !flow.pins.has(Pin::Unknown)
            }
        };
        // The question would cost the client a statement that is nowhere else.
        let ask = ask && *self.names.unnamed() != Unnamed::OnlyHere;
        if ask {
            if self.ask_server(cx, !Leaves::NOTHING)? {
                return Ok(Known::Asked);
            }
            self.attached.iter_mut().for_each(|attached| attached.lease.taint());
        }
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref_mut() else {
            return Ok(Known::All);
        };
        if flow.pins.remove(self.tenancy.terms.pins.allowed) {
            lease.taint();
        }
        if flow.pins != flow.shown {
            self.may_keep()?;
            self.show_pins();
        }
        if self.is_pinned() {
            return Ok(Known::Pinned);
        }
        self.limit_lent();
        Ok(if self.cease(cx)? { Known::Asked } else { Known::All })
    }

    /// A server that is kept in any case is asked for the client's settings where the next request waits for
    /// what they say of its shard.
    pub(super) fn find_out_where(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref() else { return Ok(()) };
        if flow.stop != Some(Stop::Settling) || !flow.shard.waits_for_settings() {
            return Ok(());
        }
        let mode = self.tenancy.terms.mode;
        let keeps = mode == PoolMode::Session || !flow.pins.is_empty();
        let may_ask = flow.asked.is_none()
            && lease.is_at_rest()
            && lease.outbox.is_empty()
            && lease.receiver.status() == b'I'
            && lease.doubted().has_any(OF_SETTINGS)
            && ![Pin::Unknown, Pin::Settings].into_iter().any(|pin| flow.pins.has(pin));
        if keeps && may_ask && *self.names.unnamed() != Unnamed::OnlyHere {
            // What else it leaves does not matter where the server is its client's to the end.
            let kinds = if mode == PoolMode::Session { OF_SETTINGS } else { !Leaves::NOTHING };
            self.ask_server(cx, kinds)?;
        }
        Ok(())
    }

    /// Asks the server what of these kinds has been left in its session; whether anything can be asked.
    fn ask_server(&mut self, cx: &mut Context<'_>, kinds: Leaves) -> Result<bool, End> {
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref_mut() else {
            return Ok(false);
        };
        let mut out = Vec::new();
        let table = self.tenancy.pool.connector().params();
        let asked = lease.ask(kinds, table, &mut out).map_err(Fault::from)?;
        let Some(question) = asked else { return Ok(false) };
        flow.asked = Some(Box::new(question));
        flow.placed.asked = flow.placed.requests;
        self.names.leave_server();
        // A cancel is for what the client runs.
        self.seat.spare();
        let server = &mut ***lease;
        let sent = server.outbox.send(&mut server.socket, cx, &out);
        sent.map_err(|_lost| End::ServerGone)?;
        Ok(true)
    }

    /// What is left under the client's names goes with a reset where it is too much.
    fn limit_lent(&mut self) {
        let max = self.tenancy.terms.max_prepared_statements;
        if let Some(Attached { lease, .. }) = self.attached.as_deref_mut()
            && lease.lent.len() > max
        {
            lease.taint();
        }
    }

    fn is_pinned(&self) -> bool {
        self.attached.as_deref().is_some_and(|attached| !attached.flow.pins.is_empty())
    }

    /// Whether the client may keep its server for what was found.
    fn may_keep(&mut self) -> Result<(), End> {
        let Some(Attached { flow, replica, .. }) = self.attached.as_deref_mut() else {
            return Ok(());
        };
        // Who kept a replica could not write any more.
        if let Some(pin) = Pin::ALL.into_iter().find(|pin| replica.is_some() && flow.pins.has(*pin))
        {
            return Err(End::Unkept(condition::PIN_REJECTED_LATE.about(pin)));
        }
        if let Some(pin) = self.tenancy.terms.pins.refuses_found(flow.pins) {
            return Err(End::Unkept(condition::PIN_REJECTED_LATE.about(pin)));
        }
        if flow.pins.is_empty() {
            flow.kept = None;
        } else if flow.kept.is_none() {
            let full = || End::Unkept(condition::PINS_FULL.about(flow.pins.reasons()));
            let Tenancy { house, login, .. } = &*self.tenancy;
            let kept = self.tenancy.keep().ok_or_else(full);
            if kept.is_err() {
                let about = format!("{}/{}", login.database, login.user);
                let text = "a client is closed: max_pinned_clients keep their servers";
                house.events.add(Kind::Pins, &about, text, SystemTime::now());
            }
            flow.kept = Some(kept?);
        }
        Ok(())
    }

    /// The reasons have changed: operators see the new ones.
    fn show_pins(&mut self) {
        let Some(Attached { flow, .. }) = self.attached.as_deref_mut() else {
            return;
        };
        for pin in Pin::ALL {
            if flow.pins.has(pin) && !flow.shown.has(pin) {
                let reason = pin.reason();
                tracing::info!(client = %*self.seat, reason, "client keeps its server: {reason}");
                self.tenancy.house.pins.add(pin);
            }
        }
        flow.shown = flow.pins;
        self.seat.pin(flow.kept.as_ref().map(|kept| Pinned {
            reason: flow.pins.reasons(),
            sql: String::from_utf8_lossy(&flow.suspect).into_owned(),
            since: kept.since,
        }));
    }

    /// The question has been answered, or refused.
    pub(super) fn learn(&mut self, question: Question, reply: Reply) {
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref_mut() else {
            return;
        };
        if reply != Reply::Answered {
            lease.unanswered(question);
            flow.refusals += 1;
            if reply == Reply::TooLong {
                tracing::warn!(client = %*self.seat, "session has more than is taken note of");
                flow.pins.add(Pin::Unknown);
            } else if flow.refusals >= TRIES {
                tracing::warn!(client = %*self.seat, "server does not say what its session has");
                flow.pins.add(Pin::Unknown);
            }
            return;
        }
        flow.refusals = 0;
        flow.placed.learnt();
        let table = self.tenancy.pool.connector().params();
        let found = lease.answered(question, &self.startup, table);
        let token_changed = found
            .settings
            .as_ref()
            .is_some_and(|settings| settings.manner().token != self.params.manner().token);
        if let Some(settings) = found.settings {
            self.params = settings;
        }
        if let Some(objects) = found.objects {
            flow.pins.found(objects);
        }
        flow.pins.set(Pin::Settings, found.too_much);
        if let Some(channels) = found.channels {
            let unknown = settle(&mut self.ear, &channels, flow.listening.in_vain);
            flow.pins.set(Pin::Listener, unknown);
        }
        if token_changed {
            self.share_anew();
        }
    }
}
