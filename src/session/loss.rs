//! A server that is lost: what of its session goes on elsewhere.
//!
//! That is as much as nothing is lost with: a request of which nothing has been shown, a transaction
//! that can be begun anew, and a session that has left nothing on the server but what is known.

use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::clock::Phase;
use super::flow::Stop;
use super::routing::Moving;
use super::{Attached, End, Next, Session};
use crate::client::condition::Condition;
use crate::net::socket::Inbox;
use crate::pool::Closed;
use crate::route::Role;

impl Attached {
    /// Whether nothing is lost with the server. A request that was lost before is not tried again: it
    /// may be what has brought the server down.
    fn may_lose_server(&self, was_lost: bool) -> bool {
        let Self { lease, flow, replica, .. } = self;
        let placed = &flow.placed;
        if placed.tentative.is_some() {
            return !was_lost && !self.is_alone_to_know(placed.requests);
        }
        if !flow.is_between_messages() || flow.stop == Some(Stop::Goodbye) {
            return false;
        }
        match lease.receiver.status() {
            b'I' => {
                let is_told = lease.ledger.owes_only_ours() && lease.receiver.is_between_messages();
                replica.is_some() && is_told && !self.is_alone_to_know(u32::MAX)
            }
            status => lease.is_at_rest() && placed.loses_nothing(status),
        }
    }

    /// Whether nobody but the server knows what requests before the one of this number have left in
    /// the session.
    fn is_alone_to_know(&self, before: u32) -> bool {
        let asks = self.flow.asked.is_some() || !self.lease.doubted().is_empty();
        asks && self.flow.placed.has_left(before)
    }
}

impl Session {
    /// What the client has sent behind a request that may be read elsewhere.
    pub(super) fn kept_from_loss(&self, inbox: &Inbox, fresh: &[u8]) -> Option<Vec<u8>> {
        let placed = &self.attached.as_deref()?.flow.placed;
        placed.tentative.as_ref()?;
        let all = [inbox.held(), fresh].concat();
        Some(all.get(placed.judged..).unwrap_or_default().to_vec())
    }

    /// The server that the client reads from is lost, or was: whether the request is read elsewhere,
    /// as nothing of it has been shown. A transaction that can go on elsewhere does, also where nothing
    /// is asked; and a session without one that has been answered goes on.
    pub(super) fn reads_elsewhere(&mut self, end: &End) -> bool {
        let (End::ServerGone | End::Forsaken, Some(course)) = (end, &mut self.course) else {
            return false;
        };
        let was_lost = course.lost;
        let may = |attached: &Attached| attached.may_lose_server(was_lost);
        let Some(mut attached) = self.attached.take_if(|attached| may(attached)) else {
            return false;
        };
        course.spent = None;
        attached.stop_counting(&self.tenancy, self.on);
        let Attached { lease, mut flow, mut undo, replica, clock, .. } = *attached;
        let open = match &flow.placed.tentative {
            Some(_) => flow.placed.take_open_before(),
            None => flow.placed.open.take(),
        };
        course.moving = open.map(|open| Moving { begin: open.begin, to: Role::Primary, clock });
        let shown = flow.placed.requests > 1 || flow.placed.tentative.is_none();
        if let Some(tentative) = flow.placed.tentative {
            course.lost = true;
            self.names.undo(&mut undo, tentative.first..u64::MAX);
            // What of it has not been sent yet is there still.
            self.client.inbox.put_in_place(flow.placed.judged, &tentative.request);
            if let Some(at) = &replica {
                course.tried(at.host);
            }
        }
        if let Some(at) = replica.filter(|_| shown) {
            course.was_on_replica(at.host, Instant::now());
        }
        self.names.leave_server();
        drop(self.seat.leave());
        lease.site.doubt();
        lease.discard(Closed::ServerGone);
        true
    }

    /// A transaction that goes on elsewhere waits for its client, as long as it may.
    pub(super) async fn idle_in_transaction(&mut self) -> Result<Next, End> {
        poll_fn(|cx| match self.poll_idle(cx) {
            Poll::Ready(next) => Poll::Ready(next),
            Poll::Pending => self.poll_moving_clock(cx).map(|limit| Err(End::TimedOut(limit))),
        })
        .await
    }

    fn poll_moving_clock(&mut self, cx: &mut Context<'_>) -> Poll<Condition> {
        let moving = self.course.as_deref_mut().and_then(|course| course.moving.as_mut());
        match moving.and_then(|moving| moving.clock.as_mut()) {
            Some(clock) => clock.poll(cx, &self.tenancy.terms, Phase::IdleInTransaction, None),
            None => Poll::Pending,
        }
    }
}
