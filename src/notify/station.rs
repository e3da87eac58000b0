//! The book of a station: who wants to hear what, and how far it has been heard.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ear::{Heard, Inner, Name, Ticket};
use super::{Key, Lead};
use crate::server::connect::Target;
use crate::server::processes::Processes;
use crate::wire::reply;

/// See the module.
#[derive(Debug)]
pub(super) struct Station {
    key: Arc<Key>,
    book: Mutex<Book>,
    /// Wakes the task that has the connection.
    wake: Notify,
}

#[derive(Debug)]
struct Book {
    ears: HashMap<u64, Member>,
    /// Who wants to hear each channel.
    channels: HashMap<Name, BTreeSet<u64>>,
    /// What the server was told to listen to.
    told: HashSet<Name>,
    /// Those of which it may have to be told something else.
    changed: HashSet<Name>,
    /// The last ticket that was asked for, that is under way, and that has come.
    wanted: u64,
    sent: u64,
    done: u64,
    /// Ears, with the tickets that they wait for.
    waiting: HashMap<u64, u64>,
    /// With which ticket ears are told that they hear again, if some have to be.
    back: Option<u64>,
    state: State,
    since: Instant,
    /// The connection is to be replaced.
    renewed: bool,
    closed: bool,
}

#[derive(Debug)]
struct Member {
    lead: Arc<dyn Lead>,
    inner: Arc<Mutex<Inner>>,
    /// What it wants to hear.
    channels: HashSet<Name>,
}

/// Whether a station hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not yet.
    Opening,
    /// By this process of the server.
    Listening(u32),
    /// Not any more, for this reason.
    Lost(Arc<str>),
}

/// What there is to tell of a station.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Server, database and encoding.
    pub key: Arc<Key>,
    /// Whether it hears.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Channels that somebody listens to.
    pub channels: usize,
    /// Clients that listen.
    pub clients: usize,
    /// Bytes that wait for them.
    pub queued: usize,
}

/// What the task of a station does next.
pub(super) enum Step {
    /// Nobody listens any more.
    Close,
    /// The connection is given up, for this reason.
    Leave(&'static str),
    /// This is asked of the server.
    Ask(Vec<u8>),
    /// Nothing.
    Wait,
}

impl Station {
    pub(super) fn new(key: Arc<Key>) -> Arc<Self> {
        let book = Book {
            ears: HashMap::new(),
            channels: HashMap::new(),
            told: HashSet::new(),
            changed: HashSet::new(),
            wanted: 0,
            sent: 0,
            done: 0,
            waiting: HashMap::new(),
            back: None,
            state: State::Opening,
            since: Instant::now(),
            renewed: false,
            closed: false,
        };
        Arc::new(Self { key, book: Mutex::new(book), wake: Notify::new() })
    }

    pub(super) fn key(&self) -> &Arc<Key> {
        &self.key
    }

    // --- for ears ----------------------------------------------------------------------------

    pub(super) fn join(&self, id: u64, lead: Arc<dyn Lead>, inner: Inner) -> Arc<Mutex<Inner>> {
        let inner = Arc::new(Mutex::new(inner));
        let member = Member { lead, inner: Arc::clone(&inner), channels: HashSet::new() };
        self.book.lock().ears.insert(id, member);
        inner
    }

    /// Whether that was the last one: the station ends then.
    pub(super) fn leave(&self, id: u64) -> bool {
        let mut book = self.book.lock();
        let gone = book.ears.remove(&id).map(|member| member.channels);
        gone.iter().flatten().for_each(|name| book.drop_channel(name, id));
        book.waiting.remove(&id);
        book.closed = book.ears.is_empty();
        let closed = book.closed;
        drop(book);
        self.wake.notify_one();
        closed
    }

    pub(super) fn want(&self, id: u64, channels: Vec<Name>) {
        let mut book = self.book.lock();
        let next = book.sent + 1;
        let Book { ears, channels: all, changed, state, back, wanted, .. } = &mut *book;
        if let Some(member) = ears.get_mut(&id) {
            for name in channels {
                if member.channels.insert(name.clone()) {
                    let ears = all.entry(name.clone()).or_default();
                    if ears.is_empty() {
                        changed.insert(name);
                    }
                    ears.insert(id);
                }
            }
            let mut inner = member.inner.lock();
            match state {
                State::Lost(cause) => inner.lost(cause),
                // It comes from a station that it had lost.
                _ if inner.is_told_lost() => (*back, *wanted) = (Some(next), next),
                _ => {}
            }
        }
        drop(book);
        self.wake.notify_one();
    }

    pub(super) fn give_up(&self, id: u64, channels: &[Name]) {
        if channels.is_empty() {
            return;
        }
        let mut book = self.book.lock();
        for name in channels {
            if book.ears.get_mut(&id).is_some_and(|member| member.channels.remove(name)) {
                book.drop_channel(name, id);
            }
        }
        drop(book);
        self.wake.notify_one();
    }

    pub(super) fn catch_up(&self) -> Ticket {
        let mut book = self.book.lock();
        // What is under way was asked before.
        let ticket = book.sent + 1;
        book.wanted = ticket;
        drop(book);
        self.wake.notify_one();
        Ticket(ticket)
    }

    pub(super) fn poll_caught_up(&self, ticket: Ticket, id: u64) -> Poll<()> {
        let mut book = self.book.lock();
        if book.done >= ticket.0 || matches!(book.state, State::Lost(_)) {
            return Poll::Ready(());
        }
        book.waiting.entry(id).or_insert(ticket.0);
        Poll::Pending
    }

    // --- for operators -----------------------------------------------------------------------

    /// Where servers are may have changed, or whether anybody may connect there.
    pub(super) fn look(&self) {
        for member in self.book.lock().ears.values() {
            let target = member.lead.target();
            if target.address != self.key.address || target.database != self.key.database {
                member.inner.lock().move_on();
            }
        }
        self.wake.notify_one();
    }

    pub(super) fn renew(&self) {
        self.book.lock().renewed = true;
        self.wake.notify_one();
    }

    pub(super) fn figures(&self) -> Figures {
        let book = self.book.lock();
        Figures {
            key: Arc::clone(&self.key),
            state: book.state.clone(),
            since: book.since,
            channels: book.channels.len(),
            clients: book.ears.len(),
            queued: book.ears.values().map(|member| member.inner.lock().bytes()).sum(),
        }
    }

    // --- for the task that has the connection ------------------------------------------------

    /// Ready when there may be something to do.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.book.lock().closed
    }

    /// Where to connect; `None` while nobody may.
    pub(super) fn target(&self) -> Option<Target> {
        let mut book = self.book.lock();
        book.renewed = false;
        let here = |target: &Target| {
            target.address == self.key.address && target.database == self.key.database
        };
        let open = book.ears.values().filter(|member| !member.lead.is_paused());
        open.map(|member| member.lead.target()).find(here)
    }

    /// What to do; whether the server has been asked nothing that it has not answered.
    pub(super) fn step(&self, idle: bool) -> Step {
        let mut book = self.book.lock();
        if book.closed {
            return Step::Close;
        }
        if book.renewed {
            return Step::Leave("connecting anew");
        }
        if book.ears.values().all(|member| member.lead.is_paused()) {
            return Step::Leave("the database is paused");
        }
        if !idle || book.wanted <= book.sent && book.changed.is_empty() {
            return Step::Wait;
        }
        let mut sql = Vec::new();
        let Book { channels, told, changed, .. } = &mut *book;
        for name in std::mem::take(changed) {
            match (channels.contains_key(&name), told.contains(&name)) {
                (true, false) => {
                    command(&mut sql, b"LISTEN ", &name);
                    told.insert(name);
                }
                (false, true) => {
                    command(&mut sql, b"UNLISTEN ", &name);
                    told.remove(&name);
                }
                (true, true) | (false, false) => {}
            }
        }
        book.sent += 1;
        Step::Ask(sql)
    }

    /// What was asked has been answered, by this process.
    pub(super) fn answered(&self, pid: u32) {
        let mut book = self.book.lock();
        book.done = book.sent;
        if !matches!(book.state, State::Listening(_)) {
            book.enter(State::Listening(pid));
        }
        let done = book.done;
        if book.back.take_if(|ticket| *ticket <= done).is_some() {
            book.ears.values().for_each(|member| member.inner.lock().back());
        }
        book.wake_waiting();
    }

    /// The connection is lost, or there was none to be had.
    pub(super) fn lost(&self, cause: &str) {
        let cause: Arc<str> = cause.into();
        let mut book = self.book.lock();
        book.enter(State::Lost(Arc::clone(&cause)));
        // All channels, once there is another one.
        book.told = HashSet::new();
        book.changed = book.channels.keys().cloned().collect();
        book.back = Some(book.sent + 1);
        book.ears.values().for_each(|member| member.inner.lock().lost(&cause));
        book.wake_waiting();
    }

    /// A notification for all who want it; gives how many these are.
    pub(super) fn heard(
        &self,
        (pid, channel, payload): (u32, &[u8], &[u8]),
        processes: &Processes,
    ) -> usize {
        let client = processes.client_of(&self.key.address, pid);
        let mut message = Vec::new();
        reply::notification(&mut message, client.unwrap_or(pid), channel, payload);
        let heard = Arc::new(Heard { message: message.into(), foreign: client.is_none() });
        let book = self.book.lock();
        let Some(ears) = book.channels.get(channel) else { return 0 };
        for member in ears.iter().filter_map(|id| book.ears.get(id)) {
            member.inner.lock().hear(&heard);
        }
        ears.len()
    }
}

impl Book {
    /// An ear wants this channel no more.
    fn drop_channel(&mut self, name: &Name, id: u64) {
        let Some(ears) = self.channels.get_mut(name) else { return };
        ears.remove(&id);
        if ears.is_empty() {
            self.channels.remove(name);
            self.changed.insert(name.clone());
        }
    }

    fn enter(&mut self, state: State) {
        (self.state, self.since) = (state, Instant::now());
    }

    fn wake_waiting(&mut self) {
        let (done, lost) = (self.done, matches!(self.state, State::Lost(_)));
        let ears = &self.ears;
        self.waiting.retain(|id, ticket| {
            let over = lost || *ticket <= done;
            if over && let Some(member) = ears.get(id) {
                member.inner.lock().wake();
            }
            !over
        });
    }
}

/// `LISTEN "name";`
pub(super) fn command(sql: &mut Vec<u8>, verb: &[u8], name: &[u8]) {
    sql.extend_from_slice(verb);
    sql.push(b'"');
    for &byte in name {
        sql.push(byte);
        if byte == b'"' {
            sql.push(byte);
        }
    }
    sql.extend_from_slice(b"\";");
}
