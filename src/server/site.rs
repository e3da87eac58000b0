//! The host that a server is on, as far as its users have to do with that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Shared by all servers that were opened for the same purpose on the same host.
#[derive(Debug, Default)]
pub struct Site {
    /// Wakes who watches the host, if somebody does.
    alarm: Option<Arc<Notify>>,
    forsaken: AtomicBool,
}

impl Site {
    /// A host that somebody watches who can be alarmed.
    pub fn watched(alarm: Arc<Notify>) -> Self {
        Self { alarm: Some(alarm), ..Self::default() }
    }

    /// Whether somebody watches it.
    pub fn is_watched(&self) -> bool {
        self.alarm.is_some()
    }

    /// Something makes it doubtful that the host is there, or still is what it was.
    pub fn doubt(&self) {
        if let Some(alarm) = &self.alarm {
            alarm.notify_one();
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
