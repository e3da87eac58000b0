//! What reads may have of the primary while no replica is there to answer them.
//!
//! When replicas fail, all that they have read comes to the primary at once. So that writes don't stand
//! in line behind that, such reads have only so many of the pool's servers at a time; others wait for
//! their turn before they stand in the pool's line.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::ServerPool;
use crate::pool::{Ask, CheckoutError, Connector, Lease, Waiting};
use crate::server::connect::ConnectError;

/// See the module.
#[derive(Clone, Debug)]
pub struct Budget {
    size: usize,
    free: Arc<Semaphore>,
}

/// One of its places.
pub(super) type Spent = OwnedSemaphorePermit;

impl Budget {
    /// So many servers at a time.
    pub fn new(size: usize) -> Self {
        Self { size, free: Arc::new(Semaphore::new(size)) }
    }

    /// How many servers at a time.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many are used now.
    pub fn used(&self) -> usize {
        self.size.saturating_sub(self.free.available_permits())
    }

    /// A place, if one is free and nobody waits for it.
    pub(super) fn try_spend(&self) -> Option<Spent> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }
}

type Acquiring = Pin<Box<dyn Future<Output = Result<Spent, AcquireError>> + Send>>;

/// A wait for a server of a pool, which begins when there is a place in the budget.
pub(super) enum Turn {
    /// For a place.
    Budget(Acquiring, Arc<ServerPool>, Ask),
    /// For a server.
    Server(Waiting<Connector>, Option<Spent>),
}

/// A server, and the place in the budget that it takes.
pub(super) type Granted = (Lease<Connector>, Option<Spent>);

impl Turn {
    /// Begins to wait; a place in this budget is needed first.
    pub(super) fn new(pool: &Arc<ServerPool>, ask: Ask, budget: Option<&Budget>) -> Self {
        match budget {
            None => Self::Server(pool.wait(ask), None),
            Some(budget) => {
                let acquiring = Box::pin(Arc::clone(&budget.free).acquire_owned());
                Self::Budget(acquiring, Arc::clone(pool), ask)
            }
        }
    }

    /// # Cancel safety
    /// Safe: it keeps its turn.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Granted, CheckoutError<ConnectError>>> {
        if let Self::Budget(acquiring, pool, ask) = self {
            // It is never closed.
            let spent = ready!(acquiring.as_mut().poll(cx)).ok();
            *self = Self::Server(pool.wait(*ask), spent);
        }
        match self {
            Self::Server(waiting, spent) => {
                let lease = ready!(Pin::new(waiting).poll(cx));
                Poll::Ready(lease.map(|lease| (lease, spent.take())))
            }
            Self::Budget(..) => Poll::Pending,
        }
    }

    /// Whether it waits for a place in the budget.
    pub(super) fn is_for_budget(&self) -> bool {
        matches!(self, Self::Budget(..))
    }

    /// Gives up because it took too long.
    pub(super) fn time_out(self) {
        match self {
            Self::Server(waiting, _) => waiting.time_out(),
            Self::Budget(..) => {}
        }
    }
}
