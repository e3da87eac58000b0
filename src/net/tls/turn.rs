//! Whose handshake is computed now: one at a time on each thread, and everybody else who is ready
//! on it comes before the next.
//!
//! A signature takes up to some milliseconds. Without turns, those of a whole crowd would be made
//! before the thread looks at its sockets again.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::yield_now;

thread_local! {
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// Does this work in its turn, which comes in the order of the asking.
///
/// # Cancel safety
/// Safe while it waits for the turn. The work may be done and its result lost after that.
pub(super) async fn in_turn<T>(work: impl FnOnce() -> T) -> T {
    let turn = TURN.with(Arc::clone).acquire_owned().await;
    let result = work();
    // Comes back when the thread has looked at its sockets.
    yield_now().await;
    drop(turn);
    result
}
