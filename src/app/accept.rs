//! Accepting: every loop accepts from every listener, and serves what it accepts.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::door::Guest;
use super::{App, Stage};
use crate::client::{condition, login};
use crate::net::listen::{Acceptor, Listener, Listening};
use crate::net::loops::LoopId;
use crate::net::peer::Peer;
use crate::net::socket::Socket;
use crate::session::report::count;
use crate::traffic::Side;

/// How long nobody is accepted after the system refused to (as when it has no more descriptors):
/// it would refuse again at once, and a busy loop helps nobody.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A loop that has this many clients more than another passes new ones on to it.
const CROWD_SLACK: usize = 8;

/// How many of those who have connected already a loop hears out when a port is closed: more than
/// are waiting there, unless somebody keeps coming.
const LAST_MAX: usize = 4096;

/// A listener, and the loops that accept from it.
#[derive(Debug)]
pub(super) struct Doorway {
    listener: Listener,
    accepting: Vec<JoinHandle<()>>,
}

impl Doorway {
    /// Has every loop accept from a listener.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(app: &Arc<App>, listener: Listener) -> io::Result<Self> {
        let mut accepting = Vec::new();
        for on in app.loops.ids() {
            let task = accept(Arc::clone(app), listener.share()?, on);
            accepting.extend(app.loops.spawn(on, task));
        }
        Ok(Self { listener, accepting })
    }

    /// Where it leads in from.
    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Closes it. The loops do their part by themselves when the stage has come, and are
    /// returned: there is nobody left who accepts when all are done.
    pub(super) fn close(self) -> Vec<JoinHandle<()>> {
        self.accepting
    }
}

/// Accepts clients on one loop, which serves them unless another has far fewer.
async fn accept(app: Arc<App>, listener: Listening, on: LoopId) {
    let mut stage = app.stage.subscribe();
    let acceptor = match listener.acceptor() {
        Ok(acceptor) => acceptor,
        Err(error) => return tracing::error!(%error, "a loop cannot accept clients"),
    };
    // Operators come in by the unix socket up to the end.
    let closes = matches!(acceptor, Acceptor::Tcp(_));
    loop {
        let accepted = tokio::select! {
            accepted = acceptor.accept() => Some(accepted),
            // The guard of the value goes before the next await.
            () = async { drop(stage.wait_for(|stage| closes && *stage >= Stage::Closing).await) } => {
                None
            }
        };
        let Some(accepted) = accepted else {
            // Those who have connected already are told: closed now, they would be reset.
            for _ in 0..LAST_MAX {
                let Some(Ok((socket, peer))) = acceptor.accept_waiting().await else { break };
                app.place(socket, peer, on);
            }
            return;
        };
        match accepted {
            Ok((socket, peer)) => app.place(socket, peer, on),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept clients");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl App {
    /// Starts to serve an accepted socket, on this loop or on one with far fewer clients.
    fn place(self: &Arc<Self>, mut socket: Socket, peer: Peer, here: LoopId) {
        if socket.number() >= self.open_files_max {
            let report = condition::OPEN_FILES.report();
            count(&self.house.errors, Side::Pooler, &report);
            return login::refuse(&mut socket, &[], &report);
        }
        let visit = self.door.enter();
        let on = self.loop_for(here);
        let crowd = Crowd::join(self, on);
        let app = Arc::clone(self);
        let admission = Box::pin(async move {
            let socket = if on == here { Ok(socket) } else { socket.rehome() };
            app.admit(socket, peer, on, visit).await
        });
        self.loops.spawn(on, serve(crowd, admission));
    }

    fn loop_for(&self, here: LoopId) -> LoopId {
        let count = |on: LoopId| {
            self.crowds.get(on.index()).map_or(usize::MAX, |count| count.load(Ordering::Relaxed))
        };
        let emptiest = self.loops.ids().min_by_key(|on| count(*on)).unwrap_or(here);
        if count(here) > count(emptiest) + CROWD_SLACK { emptiest } else { here }
    }
}

/// The task of one client. Idle ones are many: the login's future is large, and gone before the
/// session begins, and nothing lives beside the session: a guest taken out of its `Option` would
/// be kept twice.
#[expect(clippy::manual_async_fn, reason = "an async fn keeps its parameters twice")]
fn serve<A>(crowd: Crowd, admission: Pin<Box<A>>) -> impl Future<Output = ()>
where
    A: Future<Output = Option<Guest>>,
{
    async move {
        let mut admitted = admission.await;
        if let Some(guest) = &mut admitted {
            let end = guest.session().run().await;
            crowd.app.log_end(guest, &end);
        }
    }
}

/// A client's share in the count of its loop.
struct Crowd {
    app: Arc<App>,
    on: LoopId,
}

impl Crowd {
    fn join(app: &Arc<App>, on: LoopId) -> Self {
        if let Some(count) = app.crowds.get(on.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Self { app: Arc::clone(app), on }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(count) = self.app.crowds.get(self.on.index()) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_client_is_small() {
        fn size<A, B, F>(_: fn(A, B) -> F) -> usize {
            size_of::<F>()
        }
        // With what tokio adds, this is a block of 384 bytes.
        let task = size(serve::<std::future::Ready<Option<Guest>>>);
        assert!(task <= 280, "{task} bytes");
    }
}
