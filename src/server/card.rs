//! What can be told of a server from outside, by whoever does not have it.
//!
//! The figures that change are single numbers, each right by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::connect::LoggedIn;
use crate::complaints::plain;
use crate::net::socket::Address;
use crate::net::tls::Cipher;
use crate::traffic::Lately;

/// Whose clients a server works for, as they know their database and user.
#[derive(Debug, PartialEq, Eq)]
pub struct Owner {
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
}

/// One server, for as long as we are connected to it.
#[derive(Debug)]
pub struct ServerCard {
    /// Unique as long as the process runs.
    pub id: u64,
    /// Whose it is.
    pub owner: Arc<Owner>,
    /// Where it is, as configured.
    pub address: Address,
    /// Its process.
    pub pid: u32,
    /// Both ends of the connection, ours first; `None` for a unix socket.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    /// What it is encrypted with.
    pub cipher: Option<Cipher>,
    /// When it logged in.
    pub since: Instant,
    /// The client that it worked for last; 0 for none.
    client: AtomicU32,
    statements: AtomicU32,
    /// When the last request was sent.
    asked: Lately,
    /// When the first one was since it last was outside of a transaction.
    began: Lately,
    tended: AtomicBool,
    /// The status of its last ReadyForQuery; 0 while it is at work for its client.
    rests: AtomicU8,
    /// The start of the last text that it was given for a client.
    text: Mutex<Vec<u8>>,
}

/// How much of a text is kept.
const TEXT_KEPT: usize = 500;

impl ServerCard {
    /// A server that has just logged in.
    pub fn new(id: u64, owner: Arc<Owner>, login: &LoggedIn) -> Self {
        let LoggedIn { socket, key, .. } = login;
        let (ends, cipher) = (socket.ends(), socket.cipher());
        Self { ends, cipher, ..Self::at(id, owner, key.address.clone(), key.pid) }
    }

    /// A process of which nothing else is known.
    pub(super) fn at(id: u64, owner: Arc<Owner>, address: Address, pid: u32) -> Self {
        Self {
            id,
            owner,
            address,
            pid,
            ends: None,
            cipher: None,
            since: Instant::now(),
            client: AtomicU32::new(0),
            statements: AtomicU32::new(0),
            asked: Lately::default(),
            began: Lately::default(),
            tended: AtomicBool::new(false),
            rests: AtomicU8::new(b'I'),
            text: Mutex::default(),
        }
    }

    /// That we are connected to it, in PgBouncer's words: whose it is, where, and from where.
    pub(super) fn announcement(&self) -> String {
        let Self { owner, address, ends, .. } = self;
        let (database, user) = (plain(&owner.database), plain(&owner.user));
        let from = ends.map_or_else(|| "unix".to_owned(), |(ours, _)| ours.to_string());
        format!("{database}/{user}@{address} new connection to server (from {from})")
    }

    /// That we leave it, and why, in PgBouncer's words.
    pub(super) fn farewell(&self, why: &str) -> String {
        let Self { owner, address, since, .. } = self;
        let (database, user) = (plain(&owner.database), plain(&owner.user));
        let age = since.elapsed().as_secs();
        format!("{database}/{user}@{address} closing because: {why} (age={age}s)")
    }

    /// It works for this client from now on.
    #[inline]
    pub fn serve(&self, client: u32) {
        self.client.store(client, Ordering::Release);
    }

    /// The client that it works for, or did last.
    pub fn client(&self) -> Option<u32> {
        Some(self.client.load(Ordering::Acquire)).filter(|client| *client > 0)
    }

    /// A request was sent to it.
    #[inline]
    pub fn asked(&self, at: Instant) {
        self.asked.set(at - self.since);
        if self.rests.swap(0, Ordering::Relaxed) == b'I' {
            self.began.set(at - self.since);
        }
    }

    /// All that its client has asked is answered, and it said this status.
    #[inline]
    pub fn rests(&self, status: u8) {
        self.rests.store(status, Ordering::Relaxed);
    }

    /// For how long a transaction or statement of its client has been under way; `None` where there is none.
    pub fn under_way(&self) -> Option<Duration> {
        let is_idle = self.rests.load(Ordering::Relaxed) == b'I';
        (!is_idle).then(|| self.began.ago(self.since.elapsed()))
    }

    /// What it does for its client, in the words of `pg_stat_activity`.
    pub fn activity(&self) -> &'static str {
        match self.rests.load(Ordering::Relaxed) {
            b'I' => "idle",
            b'T' => "idle in transaction",
            b'E' => "idle in transaction (aborted)",
            _ => "active",
        }
    }

    /// It was given this text for its client, or a statement that has it.
    pub fn given(&self, text: &[u8]) {
        let mut kept = self.text.lock();
        kept.clear();
        kept.extend_from_slice(text.get(..text.len().min(TEXT_KEPT)).unwrap_or_default());
    }

    /// The start of the last one, with the values that are in it.
    pub fn text(&self) -> Vec<u8> {
        self.text.lock().clone()
    }

    /// How long ago that was; its login counts, too.
    pub fn asked_ago(&self) -> Duration {
        self.asked.ago(self.since.elapsed())
    }

    /// It has so many prepared statements.
    pub fn has_prepared(&self, count: usize) {
        self.statements.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// How many prepared statements it has.
    pub fn prepared(&self) -> usize {
        self.statements.load(Ordering::Relaxed) as usize
    }

    /// It is being reset or checked, or is not any more.
    pub fn tend(&self, tended: bool) {
        self.tended.store(tended, Ordering::Relaxed);
    }

    /// Whether it is being reset or checked.
    pub fn is_tended(&self) -> bool {
        self.tended.load(Ordering::Relaxed)
    }
}
