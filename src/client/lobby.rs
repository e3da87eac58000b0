//! What all who have not logged in may have of us together.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// Bounds of strangers, shared by all of them.
pub struct Lobby {
    held: AtomicUsize,
    held_max: usize,
    hashing: Semaphore,
}

/// A stranger's share of the memory; given back when dropped.
#[derive(Debug)]
pub struct Share {
    lobby: Arc<Lobby>,
    held: usize,
}

impl Lobby {
    /// `held_max` bytes that strangers have sent, and `hashing_max` passwords that are hashed at
    /// once.
    pub fn new(held_max: usize, hashing_max: usize) -> Arc<Self> {
        let hashing = Semaphore::new(hashing_max);
        Arc::new(Self { held: AtomicUsize::new(0), held_max, hashing })
    }

    /// The share of one more stranger.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { lobby: Arc::clone(self), held: 0 }
    }

    /// Runs what costs milliseconds of computing beside the event loop, in its turn; `None` when
    /// it has failed.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _turn = self.hashing.acquire().await.ok()?;
        tokio::task::spawn_blocking(work).await.ok()
    }
}

impl Share {
    /// Counts bytes more; `false` when there are too many.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let before = self.lobby.held.fetch_add(bytes, Ordering::Relaxed);
        self.held += bytes;
        before.saturating_add(bytes) <= self.lobby.held_max
    }

    /// Where work is done in turn.
    pub(super) fn lobby(&self) -> Arc<Lobby> {
        Arc::clone(&self.lobby)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.lobby.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

impl fmt::Debug for Lobby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lobby").field("held", &self.held).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_together_and_given_back() {
        let lobby = Lobby::new(100, 1);
        let (mut one, mut two) = (lobby.share(), lobby.share());
        assert!(one.grow(60) && two.grow(40));
        assert!(!two.grow(1));
        drop(one);
        assert!(two.grow(59));
        drop(two);
        assert_eq!(lobby.held.load(Ordering::Relaxed), 0);
    }
}
