//! What becomes of the server when a session ends.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::{Attached, End, House, Session, Tenancy, Terms};
use crate::config::PoolMode;
use crate::net::loops::LoopId;
use crate::net::scratch;
use crate::pool::{Closed, Connector, Lease};
use crate::server::unseen::Asking;
use crate::server::{Server, ServerError, connect};

/// What becomes of a server whose session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// It goes back.
    Back,
    /// A transaction is open: it goes back after a rollback.
    RollBack,
    /// Requests are under way: they are cancelled, and the server closed.
    Cancel(LastMessage),
    /// It is closed.
    Close,
}

/// How much of the last message of a client its server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastMessage {
    Whole,
    Half,
}

impl Attached {
    /// The client has the start of a message and not its end: our words would be read as that.
    fn is_in_client_message(&self) -> bool {
        // Of what is kept back it has nothing.
        self.lease.receiver.owed_of_message() > 0 && self.flow.placed.tentative.is_none()
    }
}

impl Session {
    /// Passes on what is missing of a message that the client has the start of, where this end
    /// leaves both sides there, and for a moment; whether nothing is missing then. A client whose
    /// reply breaks off inside of a message can't take it for a complete one, but it learns nothing
    /// else either.
    pub(super) async fn complete_message(&mut self, end: &End) -> bool {
        if !self.attached.as_deref().is_some_and(Attached::is_in_client_message) {
            return true;
        }
        match end {
            End::ShuttingDown
            | End::Killed
            | End::Reconfigured
            | End::TimedOut(_)
            | End::Forsaken
            | End::Client(_) => {}
            // One of the sides is gone, or can't be understood any more.
            _ => return false,
        }
        let completed = timeout(COMPLETION, poll_fn(|cx| self.poll_complete(cx))).await;
        matches!(completed, Ok(Ok(())))
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { client, attached, .. } = self;
        let Some(attached) = attached else { return Poll::Ready(Ok(())) };
        let Server { socket, receiver, .. } = &mut **attached.lease;
        scratch::with(|scratch| {
            loop {
                client.outbox.flush(&mut client.socket, cx)?;
                if !client.outbox.is_empty() {
                    return Poll::Pending;
                }
                let owed = receiver.owed_of_message();
                if owed == 0 {
                    return Poll::Ready(Ok(()));
                }
                // No byte behind its end.
                let room = scratch.input.len().min(owed);
                let room = scratch.input.get_mut(..room).unwrap_or_default();
                let count = ready!(socket.poll_read(cx, room))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                receiver.passed_on(count);
                let bytes = room.get(..count).unwrap_or_default();
                client.outbox.send(&mut client.socket, cx, bytes)?;
            }
        })
    }
}

/// How long the rest of a message may take when its session ends.
const COMPLETION: Duration = Duration::from_millis(500);

impl Parting {
    pub(super) fn of(attached: &Attached, end: &End) -> Self {
        let lease = &attached.lease;
        match end {
            End::ServerGone => Self::Close,
            _ if !lease.is_at_rest() => Self::Cancel(if attached.flow.is_between_messages() {
                LastMessage::Whole
            } else {
                LastMessage::Half
            }),
            End::Server(_) | End::Refused(_) => Self::Close,
            _ if !lease.outbox.is_empty() || !attached.flow.is_between_messages() => Self::Close,
            _ if lease.receiver.status() == b'I' => Self::Back,
            _ => Self::RollBack,
        }
    }

    /// Has the log say why the server is closed, if it is, where it is not only that its client or
    /// its connection was lost.
    pub(super) fn say_why(self, server: &mut Server, end: &End) {
        let why = match end {
            _ if matches!(self, Self::Back | Self::RollBack) => return,
            End::TimedOut(limit) => limit.message,
            End::Server(_) => "server protocol violation",
            End::Refused(_) => "server refused the client's settings",
            End::Forsaken => "server is not the primary any more",
            End::ShuttingDown => "server shutting down",
            End::Killed => "admin forced disconnect",
            _ => return,
        };
        server.closes_because(why);
    }
}

/// Carries it out.
pub(super) async fn part(
    mut lease: Lease<Connector>,
    parting: Parting,
    tenancy: &Tenancy,
    on: LoopId,
) {
    let Tenancy { terms, house, .. } = tenancy;
    match parting {
        Parting::Close => return lease.discard(Closed::ServerGone),
        Parting::Cancel(last) => {
            if let Err(error) = wind_down(&mut lease, last, house).await {
                tracing::warn!(%error, "server was lost while it was cancelled");
            }
            return lease.discard(Closed::Dropped);
        }
        Parting::RollBack => {
            if let Err(error) = lease.run("ROLLBACK", terms.rollback_timeout).await {
                tracing::debug!(%error, "rollback for a client that left failed");
                return lease.discard(Closed::Dropped);
            }
        }
        Parting::Back => {}
    }
    at_rest(lease, terms).check_in(on);
}

/// Cancels what a server runs until it owes nothing that it can answer, or for as long as a cancel
/// may take. One cancel is not enough: it hits what runs at that moment, and what was sent behind
/// that runs on, with its locks, whether its connection is closed or not.
async fn wind_down(
    lease: &mut Lease<Connector>,
    last: LastMessage,
    house: &House,
) -> Result<(), ServerError> {
    let unanswerable = match last {
        LastMessage::Whole => 0,
        // It can't be asked for what it keeps back.
        LastMessage::Half if lease.ledger.is_open() || lease.ledger.is_copying_in() => usize::MAX,
        LastMessage::Half => 1,
    };
    let key = Arc::clone(lease.key());
    let deadline = Instant::now() + house.cancel_wait;
    let mut patience = FIRST_PATIENCE;
    while Instant::now() < deadline {
        if last == LastMessage::Whole {
            lease.hasten()?;
        }
        connect::cancel(&key, &house.tcp, house.cancel_wait).await?;
        let until = deadline.min(Instant::now() + patience);
        match timeout_at(until, lease.drain(unanswerable)).await {
            Ok(drained) => return drained,
            Err(_elapsed) => patience *= 2,
        }
    }
    Err(ServerError::TimedOut)
}

/// How long a server is waited for before it is cancelled again.
const FIRST_PATIENCE: Duration = Duration::from_millis(20);

/// Settles a server whose requests have all been answered.
pub(super) fn at_rest(mut lease: Lease<Connector>, terms: &Terms) -> Lease<Connector> {
    lease.settle();
    if terms.reset_always || terms.mode == PoolMode::Session {
        lease.taint();
    }
    lease
}

/// Asks a server what code its database has; `None` when it was lost with that.
pub(super) async fn ask_for_code(
    mut lease: Lease<Connector>,
    asking: Asking,
) -> Option<Lease<Connector>> {
    match lease.ask_for_code(asking).await {
        Ok(()) | Err(ServerError::Refused(_)) => Some(lease),
        Err(error) => {
            tracing::debug!(%error, "database does not say what code it has");
            lease.discard(Closed::ServerGone);
            None
        }
    }
}
