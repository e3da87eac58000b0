//! The host that a server is on, as far as its users have to do with that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Shared by all servers that were opened for the same purpose on the same host.
#[derive(Debug, Default)]
pub struct Site {
    /// Wakes who watches the host, if somebody does.
    alarm: Option<Arc<Notify>>,
    forsaken: AtomicBool,
    /// It is used as a replica, and this is who looks at it.
    looks: Option<Looks>,
}

/// Who looks at a host, to those who open servers there.
#[derive(Clone, Debug)]
pub struct Looks {
    /// Has it looked at now.
    pub hurry: Arc<Notify>,
    /// When the last look began that it has answered.
    pub last: watch::Receiver<Instant>,
}

impl Site {
    /// A host that somebody watches who can be alarmed.
    pub fn watched(alarm: Arc<Notify>) -> Self {
        Self { alarm: Some(alarm), ..Self::default() }
    }

    /// The same, for servers that are used as those of a replica.
    pub fn of_replica(alarm: Option<Arc<Notify>>, looks: Looks) -> Self {
        Self { alarm, looks: Some(looks), ..Self::default() }
    }

    /// Whether servers of another are used as those of this one.
    pub fn is_like(&self, other: &Self) -> bool {
        self.alarm.is_some() == other.alarm.is_some()
            && match (&self.looks, &other.looks) {
                (None, None) => true,
                (Some(own), Some(others)) => Arc::ptr_eq(&own.hurry, &others.hurry),
                _ => false,
            }
    }

    /// Whether servers of it go where the primary goes.
    pub fn follows_primary(&self) -> bool {
        self.alarm.is_some() && self.looks.is_none()
    }

    /// Whether it is used as a replica.
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.looks.is_some()
    }

    /// Something makes it doubtful that the host is there, or still is what it was.
    pub fn doubt(&self) {
        if let Some(alarm) = &self.alarm {
            alarm.notify_one();
        }
    }

    /// Waits until the host has answered a look that began after this moment. What is known of it
    /// from looks before need not hold for a server that was opened then: it may have been started
    /// again in between, and be further behind than it was.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn looked_at_since(&self, moment: Instant) {
        let Some(Looks { hurry, last }) = &self.looks else { return };
        hurry.notify_one();
        let mut last = last.clone();
        if last.wait_for(|last| *last >= moment).await.is_err() {
            // Nobody looks any more, as after a reload: nobody goes by what was seen, either.
            std::future::pending::<()>().await;
        }
    }

    /// Nothing may be done there any more.
    pub fn forsake(&self) {
        self.forsaken.store(true, Ordering::Release);
    }

    /// Whether that has been said.
    #[inline]
    pub fn is_forsaken(&self) -> bool {
        self.forsaken.load(Ordering::Acquire)
    }
}
