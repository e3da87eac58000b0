//! One client that listens: what it listens to, and what waits for it.
//!
//! A channel is *tuned* from before its LISTEN is sent to a server: what comes is kept apart until
//! it is known whether that took effect. If so the channel is *active*, and what was kept comes
//! first; if not it is forgotten.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::station::Station;
use super::{Hub, Key, Lead};
use crate::wire::frame::HEADER_LEN;
use crate::wire::view;

/// The name of a channel, in the client's encoding.
pub(super) type Name = Box<[u8]>;

/// A moment at which a station will have caught up with its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// A client's place at a station; it leaves it when it is dropped.
#[derive(Debug)]
pub struct Ear {
    hub: Arc<Hub>,
    station: Arc<Station>,
    id: u64,
    lead: Arc<dyn Lead>,
    inner: Arc<Mutex<Inner>>,
}

/// Something that a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A notification.
    Notification(Arc<Heard>),
    /// Nothing is heard from here on, for this reason.
    Lost(Arc<str>),
    /// It is again.
    Back,
}

/// A notification.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    /// The whole message.
    pub message: Box<[u8]>,
    /// It is from nobody who is connected to us.
    pub foreign: bool,
}

impl Heard {
    fn channel(&self) -> &[u8] {
        let body = self.message.get(HEADER_LEN..).unwrap_or_default();
        view::notification(body).map(|(_, channel, _)| channel).unwrap_or_default()
    }
}

/// What a server that was asked has said of a client's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The ear listens to nothing any more.
    pub silent: bool,
    /// There are channels that it was not told of.
    pub unknown: bool,
}

/// What client and station share.
#[derive(Debug)]
pub(super) struct Inner {
    channels: BTreeMap<Name, Known>,
    /// How many of them are tuned.
    tuned: usize,
    /// In the order in which it came; what is on a tuned channel keeps back what is behind it.
    queue: VecDeque<Said>,
    bytes: usize,
    limit: usize,
    overflowed: bool,
    told_lost: bool,
    moved: bool,
    waker: Option<Waker>,
}

/// What is known of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Tuned,
    Active,
}

/// What a notification takes beside its bytes.
const OVERHEAD: usize = 64;

impl Inner {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            channels: BTreeMap::new(),
            tuned: 0,
            queue: VecDeque::new(),
            bytes: 0,
            limit,
            overflowed: false,
            told_lost: false,
            moved: false,
            waker: None,
        }
    }

    pub(super) fn channels(&self) -> impl Iterator<Item = &Name> {
        self.channels.keys()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// A notification on a channel that it has.
    pub(super) fn hear(&mut self, heard: &Arc<Heard>) {
        self.bytes += heard.message.len() + OVERHEAD;
        if self.overflowed || self.bytes > self.limit {
            self.overflowed = true;
        } else {
            self.queue.push_back(Said::Notification(Arc::clone(heard)));
        }
        self.wake();
    }

    /// Nothing is heard any more; told once.
    pub(super) fn lost(&mut self, cause: &Arc<str>) {
        if std::mem::replace(&mut self.told_lost, true) {
            return;
        }
        // What has not even been told to be over need not be told to begin.
        if self.queue.back() == Some(&Said::Back) {
            self.queue.pop_back();
        } else {
            self.queue.push_back(Said::Lost(Arc::clone(cause)));
        }
        self.wake();
    }

    pub(super) fn is_told_lost(&self) -> bool {
        self.told_lost
    }

    pub(super) fn back(&mut self) {
        if std::mem::replace(&mut self.told_lost, false) {
            self.queue.push_back(Said::Back);
            self.wake();
        }
    }

    /// Its server is another one by now.
    pub(super) fn move_on(&mut self) {
        self.moved = true;
        self.wake();
    }

    fn forget(&mut self, unwanted: impl Fn(&[u8]) -> bool) {
        let bytes = &mut self.bytes;
        self.queue.retain(|said| {
            let Said::Notification(heard) = said else {
                return true;
            };
            let forgotten = unwanted(heard.channel());
            if forgotten {
                *bytes = bytes.saturating_sub(heard.message.len() + OVERHEAD);
            }
            !forgotten
        });
    }

    fn is_tuned(&self, channel: &[u8]) -> bool {
        self.channels.get(channel) == Some(&Known::Tuned)
    }

    /// Gives those that it has not had.
    fn tune(&mut self, channels: Vec<Name>) -> Vec<Name> {
        let mut new = Vec::new();
        for name in channels {
            if !self.channels.contains_key(&name) {
                self.channels.insert(name.clone(), Known::Tuned);
                new.push(name);
            }
        }
        self.tuned += new.len();
        new
    }

    fn next(&mut self) -> Option<Said> {
        if let Some(Said::Notification(heard)) = self.queue.front() {
            if self.is_tuned(heard.channel()) {
                return None;
            }
            self.bytes = self.bytes.saturating_sub(heard.message.len() + OVERHEAD);
        }
        self.queue.pop_front()
    }

    /// Goes by what a server has said; gives the channels that are given up.
    fn settle(&mut self, found: &[Name], keep: bool) -> (Settled, Vec<Name>) {
        let found: HashSet<&[u8]> = found.iter().map(|name| &**name).collect();
        let unknown = found.iter().any(|name| !self.channels.contains_key(*name));
        let mut gone = Vec::new();
        self.channels.retain(|name, known| {
            *known = Known::Active;
            let stays = keep || found.contains(&**name);
            if !stays {
                gone.push(name.clone());
            }
            stays
        });
        self.tuned = 0;
        let channels = std::mem::take(&mut self.channels);
        self.forget(|name| !channels.contains_key(name));
        self.channels = channels;
        self.wake();
        (Settled { silent: self.channels.is_empty(), unknown }, gone)
    }
}

impl Ear {
    pub(super) fn new(
        hub: Arc<Hub>,
        station: Arc<Station>,
        id: u64,
        lead: Arc<dyn Lead>,
        inner: Arc<Mutex<Inner>>,
    ) -> Self {
        Self { hub, station, id, lead, inner }
    }

    /// What it is an ear of.
    pub fn key(&self) -> &Key {
        self.station.key()
    }

    /// Whether it has this channel, tuned or active.
    pub fn has(&self, channel: &[u8]) -> bool {
        self.inner.lock().channels.contains_key(channel)
    }

    /// How many channels it has, and how many of these it has not.
    pub fn count(&self, channels: &[Name]) -> (usize, usize) {
        let inner = self.inner.lock();
        let lacks: HashSet<_> =
            channels.iter().filter(|name| !inner.channels.contains_key(*name)).collect();
        (inner.channels.len(), lacks.len())
    }

    /// The active channels.
    pub fn channels(&self) -> Vec<Name> {
        let inner = self.inner.lock();
        let active = inner.channels.iter().filter(|(_, known)| **known == Known::Active);
        active.map(|(name, _)| name.clone()).collect()
    }

    /// Whether there are channels that may become active.
    pub fn is_tuned(&self) -> bool {
        self.inner.lock().tuned > 0
    }

    /// Tunes to these channels. At the moment that it gives they are heard, if anything is.
    pub fn tune(&self, channels: Vec<Name>) -> Ticket {
        let new = self.inner.lock().tune(channels);
        self.station.want(self.id, new);
        self.catch_up()
    }

    /// The moment by which all has been heard that was committed until now.
    pub fn catch_up(&self) -> Ticket {
        self.station.catch_up()
    }

    /// Ready when that moment has come, or nothing is heard.
    pub fn poll_caught_up(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.lock().waker = Some(cx.waker().clone());
        self.station.poll_caught_up(ticket, self.id)
    }

    /// Forgets what came on these channels before they were active, or on all of them.
    pub fn forget(&self, channels: Option<&[Name]>) {
        let mut inner = self.inner.lock();
        let these: HashSet<Name> = match channels {
            Some(channels) => channels.iter().cloned().collect(),
            None => inner.channels().filter(|name| inner.is_tuned(name)).cloned().collect(),
        };
        inner.forget(|name| these.contains(name));
    }

    /// Goes by the channels that a server was found to listen to. With `keep` the others may have
    /// been missed there.
    pub fn settle(&self, found: &[Name], keep: bool) -> Settled {
        let (settled, gone) = self.inner.lock().settle(found, keep);
        self.station.give_up(self.id, &gone);
        settled
    }

    /// Wakes this task when something is heard.
    pub fn attend(&self, cx: &Context<'_>) {
        self.inner.lock().waker = Some(cx.waker().clone());
    }

    /// The next thing that the client is told; its task is woken when there is one.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Said> {
        let mut inner = self.inner.lock();
        inner.waker = Some(cx.waker().clone());
        inner.next().map_or(Poll::Pending, Poll::Ready)
    }

    /// Whether more was heard than could be kept.
    pub fn has_overflowed(&self) -> bool {
        self.inner.lock().overflowed
    }

    /// Whether its client belongs to another station by now.
    pub fn is_elsewhere(&self, encoding: &[u8]) -> bool {
        self.inner.lock().moved || *self.key().encoding != *encoding
    }

    /// The same at the station where its client belongs, which is told that it may have missed
    /// something.
    #[must_use]
    pub fn moved(self, encoding: &[u8]) -> Self {
        let mut inner = self.inner.lock();
        let mut next = Inner::new(inner.limit);
        next.channels = std::mem::take(&mut inner.channels);
        next.tuned = inner.tuned;
        next.queue = std::mem::take(&mut inner.queue);
        next.bytes = inner.bytes;
        next.overflowed = inner.overflowed;
        next.told_lost = inner.told_lost;
        next.lost(&"the server or the encoding has changed".into());
        drop(inner);
        let names: Vec<_> = next.channels().cloned().collect();
        let moved = self.hub.seat(encoding, Arc::clone(&self.lead), next);
        moved.station.want(moved.id, names);
        moved
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.hub.leave(&self.station, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reply;

    fn heard(channel: &str, text: &str) -> Arc<Heard> {
        let mut message = Vec::new();
        reply::notification(&mut message, 1, channel.as_bytes(), text.as_bytes());
        Arc::new(Heard { message: message.into(), foreign: false })
    }

    fn names(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    /// What is told now.
    fn told(inner: &mut Inner) -> String {
        let mut told = Vec::new();
        while let Some(said) = inner.next() {
            told.push(match said {
                Said::Notification(heard) => {
                    let (_, channel, text) = view::notification(&heard.message[5..]).unwrap();
                    format!("{}{}", String::from_utf8_lossy(channel), String::from_utf8_lossy(text))
                }
                other => format!("{other:?}"),
            });
        }
        told.join(" ")
    }

    #[test]
    fn what_came_before_it_was_known_comes_in_its_order_or_is_forgotten() {
        let mut inner = Inner::new(1000);
        inner.tune(names(&["d"]));
        inner.settle(&names(&["d"]), false);
        inner.tune(names(&["a", "b"]));
        for (channel, text) in [("d", "0"), ("a", "1"), ("b", "2"), ("d", "3"), ("a", "4")] {
            inner.hear(&heard(channel, text));
        }
        assert_eq!(told(&mut inner), "d0");
        let (settled, gone) = inner.settle(&names(&["a", "c", "d"]), false);
        assert_eq!((settled.silent, settled.unknown), (false, true));
        assert_eq!(gone, names(&["b"]));
        inner.hear(&heard("a", "5"));
        assert_eq!(told(&mut inner), "a1 d3 a4 a5");
        assert_eq!(inner.bytes, 0);
        inner.hear(&heard("a", "6"));
        let (settled, gone) = inner.settle(&[], false);
        assert_eq!((settled.silent, settled.unknown, gone), (true, false, names(&["a", "d"])));
        assert_eq!((told(&mut inner), inner.bytes), (String::new(), 0));
    }

    #[test]
    fn queue_is_bounded_and_loss_is_told_once() {
        let one = heard("a", "1");
        let mut inner = Inner::new(2 * (one.message.len() + OVERHEAD));
        inner.tune(names(&["a"]));
        inner.settle(&names(&["a"]), false);
        for _ in 0..3 {
            inner.hear(&one);
            inner.lost(&"gone".into());
        }
        assert!(inner.overflowed);
        inner.back();
        inner.back();
        inner.lost(&"again".into());
        assert_eq!(told(&mut inner), "a1 Lost(\"gone\") a1");
        inner.back();
        assert_eq!(told(&mut inner), "Back");
    }

    /// What there is to do about channels takes as many steps as there are channels.
    #[test]
    fn channels_by_the_ten_thousand_take_no_time() {
        let begun = std::time::Instant::now();
        let all: Vec<Name> = (0..60_000).map(|at| format!("c{at}").into_bytes().into()).collect();
        let mut inner = Inner::new(1 << 20);
        let tuned = all.get(..45_000).unwrap();
        assert_eq!(inner.tune(tuned.to_vec()), tuned);
        assert_eq!(inner.tune(tuned.to_vec()), names(&[]));
        for name in tuned.iter().take(5_000) {
            inner.hear(&heard(std::str::from_utf8(name).unwrap(), ""));
        }
        let (settled, gone) = inner.settle(all.get(30_000..).unwrap(), false);
        assert_eq!((settled.silent, settled.unknown, gone.len()), (false, true, 30_000));
        assert_eq!((inner.channels.len(), inner.queue.len()), (15_000, 0));
        // Some 10^9 comparisons would take a minute.
        assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    }
}
