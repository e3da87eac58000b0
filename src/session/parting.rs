//! What becomes of the server when a session ends.

use std::sync::Arc;

use super::{Attached, End, Tenancy, Terms};
use crate::config::PoolMode;
use crate::net::loops::LoopId;
use crate::pool::{Closed, Connector, Lease};
use crate::server::connect;

/// What becomes of a server whose session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// It goes back.
    Back,
    /// A transaction is open: it goes back after a rollback.
    RollBack,
    /// A request is under way: it is cancelled, and the server closed.
    Cancel,
    /// It is closed.
    Close,
}

impl Attached {
    /// The client has the start of a message and not its end: our words would be read as that.
    pub(super) fn is_in_client_message(&self) -> bool {
        self.lease.receiver.is_in_client_message()
    }
}

impl Parting {
    pub(super) fn of(attached: &Attached, end: &End) -> Self {
        let lease = &attached.lease;
        match end {
            End::ServerGone => Self::Close,
            _ if !lease.is_at_rest() => Self::Cancel,
            End::Server(_) | End::Refused(_) => Self::Close,
            _ if !lease.outbox.is_empty() || !attached.flow.is_between_messages() => Self::Close,
            _ if lease.receiver.status() == b'I' => Self::Back,
            _ => Self::RollBack,
        }
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
        Parting::Cancel => {
            let key = Arc::clone(lease.key());
            if let Err(error) = connect::cancel(&key, &house.tcp, house.cancel_wait).await {
                tracing::warn!(server = %key.address, %error, "cancel did not reach the server");
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

/// Settles a server whose requests have all been answered.
pub(super) fn at_rest(mut lease: Lease<Connector>, terms: &Terms) -> Lease<Connector> {
    let settled = lease.ledger.settled_to();
    lease.prepared.settle(settled);
    if terms.reset_always || terms.mode == PoolMode::Session {
        lease.taint();
    }
    lease
}
