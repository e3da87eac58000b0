//! Cancels that are on their way to a server: whether each has landed, and what there is to tell.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::client::card::Login;
use crate::net::socket::Address;
use crate::server::CancelKey;

/// How a cancel under way ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landed {
    NotYet,
    /// The server has passed it on: nothing will come any more.
    Yes,
    /// We don't know: it may come at any time.
    Unknown,
}

/// A cancel that is under way to the server that its client has, or has left.
#[derive(Debug)]
pub struct Landing {
    outcome: watch::Receiver<Landed>,
    left: Arc<AtomicBool>,
}

/// Its other end: who sends the cancel.
#[derive(Debug)]
pub(super) struct Launch {
    outcome: watch::Sender<Landed>,
    left: Arc<AtomicBool>,
}

/// A cancel that begins.
pub(super) fn launch() -> (Launch, Landing) {
    let (sender, outcome) = watch::channel(Landed::NotYet);
    let left = Arc::new(AtomicBool::new(false));
    (Launch { outcome: sender, left: Arc::clone(&left) }, Landing { outcome, left })
}

impl Landing {
    /// Waits for its end; `true` when the server can be handed on.
    pub async fn landed(mut self) -> bool {
        let end = self.outcome.wait_for(|landed| *landed != Landed::NotYet).await;
        end.is_ok_and(|landed| *landed == Landed::Yes)
    }

    /// The client has left the server, which is held back.
    pub(super) fn leave(self) -> Self {
        self.left.store(true, Ordering::Relaxed);
        self
    }

    /// Whether it is the end of this cancel that is awaited.
    pub(super) fn is_of(&self, launch: &Launch) -> bool {
        Arc::ptr_eq(&self.left, &launch.left)
    }
}

impl Launch {
    /// It has ended so.
    pub(super) fn ends(&self, end: Landed) {
        self.outcome.send_replace(end);
    }
}

/// How far a cancel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits until it may be sent.
    Waiting,
    /// It is on its way to the server that its client has.
    Sent,
    /// It is on its way to a server that its client has left, and that is held back for it.
    Held,
}

/// What there is to tell of one.
#[derive(Clone, Debug)]
pub struct Cancelling {
    /// Whose it is.
    pub login: Arc<Login>,
    /// How far it is.
    pub stage: Stage,
    /// Where its server is and its process, once it is sent.
    pub server: Option<(Address, u32)>,
}

/// All that are under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<Vec<Arc<Entry>>>);

#[derive(Debug)]
struct Entry {
    login: Arc<Login>,
    /// Where to and to which process, and whether its client has left that.
    sent: OnceLock<((Address, u32), Arc<AtomicBool>)>,
}

/// One among them, as long as this is there.
#[derive(Debug)]
pub(super) struct Present<'a> {
    all: &'a UnderWay,
    entry: Arc<Entry>,
}

impl UnderWay {
    /// A cancel of this client has come.
    pub(super) fn enter(&self, login: &Arc<Login>) -> Present<'_> {
        let entry = Arc::new(Entry { login: Arc::clone(login), sent: OnceLock::new() });
        self.0.lock().push(Arc::clone(&entry));
        Present { all: self, entry }
    }

    /// All of them, in no order.
    pub(super) fn list(&self) -> Vec<Cancelling> {
        let told = |entry: &Arc<Entry>| {
            let sent = entry.sent.get();
            let stage = match sent {
                None => Stage::Waiting,
                Some((_, left)) if left.load(Ordering::Relaxed) => Stage::Held,
                Some(_) => Stage::Sent,
            };
            let server = sent.map(|(server, _)| server.clone());
            Cancelling { login: Arc::clone(&entry.login), stage, server }
        };
        self.0.lock().iter().map(told).collect()
    }
}

impl Present<'_> {
    /// It is sent to this server.
    pub(super) fn sent(&self, to: &CancelKey, launch: &Launch) {
        let server = || (to.address.clone(), to.pid);
        self.entry.sent.get_or_init(|| (server(), Arc::clone(&launch.left)));
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.all.0.lock().retain(|entry| !Arc::ptr_eq(entry, &self.entry));
    }
}
