//! What changes between transactions: the terms, and whether the client may stay.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{End, FAREWELL, Session};
use crate::cancel::Summons;

impl Session {
    /// Takes the latest terms, between transactions.
    #[inline]
    pub(super) fn renew(&mut self) {
        if self.is_moving() {
            return;
        }
        if let Some(latest) = self.tenancy.successor() {
            // Names that are followed are other names on servers: who has some keeps to that.
            if latest.terms.follows_names() == self.tenancy.terms.follows_names() {
                if let Some(course) = &mut self.course {
                    course.hosts_changed();
                    if let Some(sharded) = &mut course.sharded {
                        sharded.followed(&latest);
                    }
                }
                self.tenancy = latest;
            }
        }
    }

    /// Whether the client may begin anything.
    #[inline]
    pub(super) fn may_begin(&self) -> Result<(), End> {
        match self.seat.summons() {
            Summons::Stay => Ok(()),
            _ => Err(self.dismissal()),
        }
    }

    /// Whether the client may wait for a server: what it has asked for before it was asked to go
    /// is still done.
    pub(super) fn may_wait(&self) -> Result<(), End> {
        match self.seat.summons() {
            Summons::Stay | Summons::Drain | Summons::Reconfigured => Ok(()),
            Summons::Stop | Summons::Kill => Err(self.dismissal()),
        }
    }

    /// Whether the client may go on while it has a server.
    #[inline]
    pub(super) fn may_go_on(&self) -> Result<(), End> {
        if self.attached.as_deref().is_some_and(|attached| attached.lease.site.is_forsaken()) {
            return Err(End::Forsaken);
        }
        let go = match self.seat.summons() {
            Summons::Stay => return Ok(()),
            Summons::Drain | Summons::Reconfigured => self.is_between_transactions(),
            Summons::Stop | Summons::Kill => true,
        };
        if go { Err(self.dismissal()) } else { Ok(()) }
    }

    /// Nothing is under way, though the server may be kept, as in session mode.
    fn is_between_transactions(&self) -> bool {
        self.attached.as_deref().is_none_or(|attached| {
            attached.lease.is_at_rest()
                && attached.lease.receiver.status() == b'I'
                && attached.flow.is_between_messages()
                && self.client.inbox.is_empty()
                && self.client.outbox.is_empty()
        })
    }

    /// Why the client has to go.
    pub(super) fn dismissal(&self) -> End {
        match self.seat.summons() {
            Summons::Stay | Summons::Drain | Summons::Stop => End::ShuttingDown,
            Summons::Reconfigured => End::Reconfigured,
            Summons::Kill => End::Killed,
        }
    }

    /// Lets the client close the connection, for a moment. Were it closed here with something
    /// unread, the system would tell the other end to forget what it has not read: our last words,
    /// or even the outcome of what came before them.
    pub(super) async fn hear_out(&mut self) {
        let closed = timeout(FAREWELL, async {
            let socket = &mut self.client.socket;
            socket.farewell();
            socket.shutdown().await?;
            let mut unheard = [0; 1024];
            while socket.read(&mut unheard).await? > 0 {}
            io::Result::Ok(())
        });
        if !matches!(closed.await, Ok(Ok(()))) {
            tracing::debug!(client = %*self.seat, "client did not close its connection");
        }
    }
}
