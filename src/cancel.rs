//! Who is connected, with which cancel key, and the server that each is attached to now.
//!
//! A cancel is a signal to a server process, not to a request: sent a moment too late it hits
//! whoever uses that server next. So a client's key is looked up at the moment of the cancel
//! only, a client leaves its seat before its server moves on, and while a cancel is under way to
//! the server, whoever leaves the seat is told to hold the server back until it has landed.
//!
//! Postgres closes a cancel connection after it has sent the signal, and a signal that reaches
//! an idle server process is ignored before it reads the next message. So once the connection is
//! closed, the server is safe to hand on.

mod secret;
mod summons;
mod under_way;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use subtle::ConstantTimeEq;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

pub use self::secret::Secret;
pub use self::summons::Summons;
pub use self::under_way::{Cancelling, Landing, Stage};
use self::under_way::{Landed, Launch, UnderWay, launch};
use crate::client::card::{ClientCard, Login};
use crate::config::HostPort;
use crate::net::socket::TcpOptions;
use crate::server::{CancelKey, connect};
use crate::traffic::Lately;
use crate::wire::startup::CancelRequest;

/// All clients that are logged in.
#[derive(Debug)]
pub struct Cancels {
    seats: Mutex<Seats>,
    tcp: TcpOptions,
    /// How long a cancel may take to land.
    limit: Duration,
    /// Tells those who wait for it that the last client has left.
    emptied: Notify,
    under_way: UnderWay,
    /// How many have come.
    came: AtomicU64,
}

#[derive(Debug, Default)]
struct Seats {
    by_pid: HashMap<u32, Arc<Seat>>,
    last_pid: u32,
}

/// One client's place: who it is, and whom its cancel hits now.
#[derive(Debug)]
pub struct Seat {
    pid: u32,
    secret: Secret,
    card: ClientCard,
    place: Mutex<Place>,
    pinned: Mutex<Option<Box<Pinned>>>,
    summons: AtomicU8,
    statements: AtomicU32,
    /// When it asked for something.
    asked: Lately,
    /// The task of its session.
    attending: Mutex<Option<Waker>>,
}

/// That a client's request waits for a server.
#[derive(Clone, Debug)]
pub struct Queued {
    /// For how long it has.
    pub waited: Duration,
    /// Whose servers it waits for: its own login's, or the same user's on another shard.
    pub login: Arc<Login>,
    /// The replica that it waits at; `None` = the primary.
    pub replica: Option<HostPort>,
}

/// That a client keeps its server between transactions.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// Why.
    pub reason: String,
    /// The start of the text that led to it.
    pub sql: String,
    /// Since when.
    pub since: Instant,
}

/// How many clients there may be of those that it counts.
pub type SeatLimit<'a> = (Option<usize>, &'a dyn Fn(&ClientCard) -> bool);

#[derive(Debug)]
enum Place {
    /// No request of the client is under way: a cancel hits nothing.
    Away,
    /// Its request waits for a server of this login: of this replica, or of the primary.
    Queued {
        cancelled: bool,
        waker: Option<Waker>,
        login: Arc<Login>,
        replica: Option<Box<HostPort>>,
    },
    /// Its request is on several shards, by a session on each.
    Spread { cancelled: bool, waker: Option<Waker> },
    /// Its request is on a server, behind one of ours which must not be hit: a cancel waits until
    /// this is over, which is when the sender goes.
    Settling { key: Arc<CancelKey>, over: Option<watch::Sender<()>> },
    /// Its request is on a server. While a cancel is under way there, its outcome is awaited.
    Attached { key: Arc<CancelKey>, landing: Option<Landing> },
}

/// A seat for as long as its client is there.
#[derive(Debug)]
pub struct Seated {
    seat: Arc<Seat>,
    cancels: Weak<Cancels>,
}

impl Drop for Seated {
    fn drop(&mut self) {
        if let Some(cancels) = self.cancels.upgrade() {
            let mut seats = cancels.seats.lock();
            seats.by_pid.remove(&self.seat.pid);
            let last = seats.by_pid.is_empty();
            drop(seats);
            if last {
                cancels.emptied.notify_waiters();
            }
        }
    }
}

impl std::ops::Deref for Seated {
    type Target = Seat;

    fn deref(&self) -> &Seat {
        &self.seat
    }
}

impl Cancels {
    /// None yet. `limit` bounds each cancel.
    pub fn new(tcp: TcpOptions, limit: Duration) -> Arc<Self> {
        let (seats, under_way) = (Mutex::default(), UnderWay::default());
        let (emptied, came) = (Notify::new(), AtomicU64::new(0));
        Arc::new(Self { seats, tcp, limit, emptied, under_way, came })
    }

    /// How many cancels have come, with the right key.
    pub fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }

    /// A seat for a client, with a process id that no other client has.
    pub fn seat(self: &Arc<Self>, secret: Secret, card: ClientCard) -> Seated {
        self.seat_among(self.seats.lock(), secret, card)
    }

    /// The same within limits: for each, how many there may be of the clients that it counts.
    ///
    /// # Errors
    /// The position of the first limit that has been reached.
    pub fn seat_within(
        self: &Arc<Self>,
        secret: Secret,
        card: ClientCard,
        limits: &[SeatLimit<'_>],
    ) -> Result<Seated, usize> {
        // Counted and seated under one lock, or two who come at once would pass together.
        let seats = self.seats.lock();
        let reached = limits.iter().position(|(max, counts)| {
            let own = || seats.by_pid.values().filter(|seat| !seat.card.is_leg);
            let now = || own().filter(|seat| counts(&seat.card)).count();
            max.is_some_and(|max| now() >= max)
        });
        match reached {
            Some(limit) => Err(limit),
            None => Ok(self.seat_among(seats, secret, card)),
        }
    }

    fn seat_among(
        self: &Arc<Self>,
        mut seats: MutexGuard<'_, Seats>,
        secret: Secret,
        card: ClientCard,
    ) -> Seated {
        let pid = loop {
            // Positive as a signed number, as process ids are.
            seats.last_pid = (seats.last_pid % 0x7fff_fffe) + 1;
            if !seats.by_pid.contains_key(&seats.last_pid) {
                break seats.last_pid;
            }
        };
        let place = Mutex::new(Place::Away);
        let (summons, attending) = (AtomicU8::new(0), Mutex::default());
        let pinned = Mutex::default();
        let (statements, asked) = (AtomicU32::new(0), Lately::default());
        let seat = Seat { pid, secret, card, place, pinned, summons, statements, asked, attending };
        let seat = Arc::new(seat);
        seats.by_pid.insert(pid, Arc::clone(&seat));
        Seated { seat, cancels: Arc::downgrade(self) }
    }

    /// The client of this process id.
    pub fn find(&self, pid: u32) -> Option<Arc<Seat>> {
        self.seats.lock().by_pid.get(&pid).cloned()
    }

    /// Waits until nobody is there.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn emptied(&self) {
        loop {
            // Listened to before the look: the last one's leaving is not missed.
            let emptied = self.emptied.notified();
            if self.seats.lock().by_pid.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// All clients, in no order.
    pub fn list(&self) -> Vec<Arc<Seat>> {
        self.seats.lock().by_pid.values().cloned().collect()
    }

    /// Every cancel that is under way, in no order.
    pub fn under_way(&self) -> Vec<Cancelling> {
        self.under_way.list()
    }

    /// Carries out a cancel request, and returns when it has landed. A wrong key does nothing,
    /// and says nothing.
    pub async fn cancel(&self, request: &CancelRequest) {
        let Some(seat) = self.find(request.pid) else {
            return;
        };
        if !bool::from(seat.secret.as_bytes().ct_eq(&request.secret)) {
            return;
        }
        self.came.fetch_add(1, Ordering::Relaxed);
        let under_way = self.under_way.enter(&seat.card.login);
        if let Some(mut over) = seat.settling()
            && timeout(self.limit, over.changed()).await.is_err()
        {
            return;
        }
        let Some((key, launch)) = seat.cancelled() else {
            return;
        };
        under_way.sent(&key, &launch);
        let end = match connect::cancel(&key, &self.tcp, self.limit).await {
            Ok(()) => Landed::Yes,
            Err(error) => {
                tracing::warn!(server = %key.address, %error, "cancel did not reach the server");
                Landed::Unknown
            }
        };
        seat.landed(&launch, end);
        launch.ends(end);
    }
}

impl std::fmt::Display for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "client {} ({})", self.pid, self.card)
    }
}

impl Seat {
    /// The process id that the client was told; unique among the clients.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The secret that the client was told.
    pub fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// Who it is.
    pub fn card(&self) -> &ClientCard {
        &self.card
    }

    /// The client keeps its server for this reason, or for none any more.
    pub fn pin(&self, pinned: Option<Pinned>) {
        *self.pinned.lock() = pinned.map(Box::new);
    }

    /// Why the client keeps its server between transactions, if it does.
    pub fn pinned(&self) -> Option<Pinned> {
        self.pinned.lock().as_deref().cloned()
    }

    /// Where and for how long the client's request waits for a server, if it does.
    pub fn queued(&self) -> Option<Queued> {
        let place = self.place.lock();
        let Place::Queued { login, replica, .. } = &*place else { return None };
        let (login, replica) = (Arc::clone(login), replica.as_deref().cloned());
        Some(Queued { waited: self.asked_ago(), login, replica })
    }

    /// The server that the client has, by its key.
    pub fn server(&self) -> Option<Arc<CancelKey>> {
        match &*self.place.lock() {
            Place::Settling { key, .. } | Place::Attached { key, .. } => Some(Arc::clone(key)),
            Place::Away | Place::Queued { .. } | Place::Spread { .. } => None,
        }
    }

    /// The client has asked for something: it goes to a server, or waits for one.
    #[inline]
    pub fn asked(&self, at: Instant) {
        self.asked.set(at - self.card.since);
    }

    /// How long ago that was; its login counts, too.
    pub fn asked_ago(&self) -> Duration {
        self.asked.ago(self.card.since.elapsed())
    }

    /// The client has so many prepared statements.
    pub fn has_prepared(&self, count: usize) {
        self.statements.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// How many prepared statements the client has.
    pub fn prepared(&self) -> usize {
        self.statements.load(Ordering::Relaxed) as usize
    }

    /// The client's request waits for a server of this login, at this replica or the primary, since then.
    pub fn queue(&self, login: &Arc<Login>, replica: Option<&HostPort>, since: Instant) {
        self.asked(since);
        let (login, replica) = (Arc::clone(login), replica.cloned().map(Box::new));
        *self.place.lock() = Place::Queued { cancelled: false, waker: None, login, replica };
    }

    /// The client's request is on several shards from now on, by sessions that have seats of their own.
    pub fn spread(&self) {
        self.asked(Instant::now());
        *self.place.lock() = Place::Spread { cancelled: false, waker: None };
    }

    /// Ready when the client has cancelled its request, which waits or is on several shards.
    pub fn poll_cancelled(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.place.lock() {
            Place::Queued { cancelled: true, .. } | Place::Spread { cancelled: true, .. } => {
                Poll::Ready(())
            }
            Place::Queued { waker, .. } | Place::Spread { waker, .. } => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Place::Away | Place::Settling { .. } | Place::Attached { .. } => Poll::Pending,
        }
    }

    /// The client's cancels wait from now on until [`settled`](Self::settled), or until it leaves.
    pub fn settle(&self, key: &Arc<CancelKey>) {
        *self.place.lock() = Place::Settling { key: Arc::clone(key), over: None };
    }

    /// As [`settle`](Self::settle), while the client's own request is over. A cancel that is under
    /// way already may hit what is sent now.
    pub fn spare(&self) {
        let mut place = self.place.lock();
        if let Place::Attached { key, landing: None } = &*place {
            *place = Place::Settling { key: Arc::clone(key), over: None };
        }
    }

    /// The client's cancels go to this server from now on, if they have waited for that.
    pub fn settled(&self, key: &Arc<CancelKey>) {
        let mut place = self.place.lock();
        if matches!(*place, Place::Settling { .. }) {
            *place = Place::Attached { key: Arc::clone(key), landing: None };
        }
    }

    /// Changes (by the going of its sender) when cancels need not wait any more.
    fn settling(&self) -> Option<watch::Receiver<()>> {
        match &mut *self.place.lock() {
            Place::Settling { over, .. } => {
                Some(over.get_or_insert_with(|| watch::Sender::new(())).subscribe())
            }
            Place::Away | Place::Queued { .. } | Place::Spread { .. } | Place::Attached { .. } => {
                None
            }
        }
    }

    /// The client's cancels go to this server from now on.
    pub fn attach(&self, key: &Arc<CancelKey>) {
        *self.place.lock() = Place::Attached { key: Arc::clone(key), landing: None };
    }

    /// Asks the client to do this, unless it has been asked for more.
    pub fn summon(&self, summons: Summons) {
        self.summons.fetch_max(summons as u8, Ordering::Release);
        // Its session looks after it has said whom to wake: one of us sees the other.
        self.wake();
    }

    /// What the client is asked to do.
    #[inline]
    pub fn summons(&self) -> Summons {
        let summons = usize::from(self.summons.load(Ordering::Acquire));
        Summons::ALL.get(summons).copied().unwrap_or(Summons::Stay)
    }

    /// Has its session look around.
    pub fn wake(&self) {
        if let Some(attending) = &*self.attending.lock() {
            attending.wake_by_ref();
        }
    }

    /// Whom to wake when the client is asked to do something.
    pub fn attend(&self, waker: &Waker) {
        *self.attending.lock() = Some(waker.clone());
    }

    /// Ready when the client is asked to do something.
    pub fn poll_summons(&self, cx: &mut Context<'_>) -> Poll<Summons> {
        self.attend(cx.waker());
        match self.summons() {
            Summons::Stay => Poll::Pending,
            summons => Poll::Ready(summons),
        }
    }

    /// The client's cancels hit nothing from now on. If one is under way to the server that it
    /// leaves, the server must be held back until that has landed.
    #[must_use]
    pub fn leave(&self) -> Option<Landing> {
        match std::mem::replace(&mut *self.place.lock(), Place::Away) {
            Place::Attached { landing: Some(landing), .. } => Some(landing.leave()),
            Place::Attached { landing: None, .. }
            | Place::Away
            | Place::Settling { .. }
            | Place::Queued { .. }
            | Place::Spread { .. } => None,
        }
    }

    /// Marks a cancel; gives the server that it has to be sent to, if there is one. One at a
    /// time: a second cancel of the same request adds nothing.
    fn cancelled(&self) -> Option<(Arc<CancelKey>, Launch)> {
        match &mut *self.place.lock() {
            Place::Away | Place::Settling { .. } => None,
            Place::Queued { cancelled, waker, .. } | Place::Spread { cancelled, waker } => {
                *cancelled = true;
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
                None
            }
            Place::Attached { landing: Some(_), .. } => None,
            Place::Attached { key, landing } => {
                let (launch, under_way) = launch();
                *landing = Some(under_way);
                Some((Arc::clone(key), launch))
            }
        }
    }

    /// This cancel has ended. Where that is certain and the client is still on the server that it
    /// went to, another may be sent. The client may be on another one by now, with another cancel
    /// under way, which must not be forgotten.
    fn landed(&self, cancel: &Launch, end: Landed) {
        if let Place::Attached { landing, .. } = &mut *self.place.lock()
            && landing.as_ref().is_some_and(|own| own.is_of(cancel))
            && end == Landed::Yes
        {
            *landing = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::peer::Peer;
    use crate::net::socket::Address;

    fn key() -> Arc<CancelKey> {
        let address = Address::Tcp("127.0.0.1".into(), 1);
        Arc::new(CancelKey { address, pid: 1, secret: [1, 2, 3, 4].into(), tls: None })
    }

    fn seat(cancels: &Arc<Cancels>, minor: u16) -> Seated {
        let login = Arc::new(Login { database: "shop".into(), user: "app".into() });
        let card = ClientCard::new(login, b"", Peer::Tcp(([127, 0, 0, 1], 1).into()), None);
        cancels.seat(Secret::random(minor), card)
    }

    fn cancels() -> Arc<Cancels> {
        Cancels::new(TcpOptions::default(), Duration::from_secs(1))
    }

    #[test]
    fn seats_have_their_own_keys_and_go_with_their_clients() {
        let cancels = cancels();
        let a = seat(&cancels, 0);
        let b = seat(&cancels, 2);
        assert_ne!(a.pid(), b.pid());
        assert_eq!((a.secret().len(), b.secret().len()), (4, 16));
        drop(a);
        assert_eq!(cancels.seats.lock().by_pid.len(), 1);
    }

    #[test]
    fn cancel_hits_only_what_its_client_is_attached_to() {
        let cancels = cancels();
        let seat = seat(&cancels, 0);
        assert!(seat.cancelled().is_none());
        seat.attach(&key());
        let (hit, _sender) = seat.cancelled().unwrap();
        assert_eq!(hit.pid, 1);
        assert!(seat.cancelled().is_none(), "one at a time");
        assert!(seat.leave().is_some(), "the server has to wait for it");
        assert!(seat.cancelled().is_none());
        assert!(seat.leave().is_none());
    }

    #[test]
    fn late_end_of_a_cancel_does_not_end_that_of_another_server() {
        let cancels = cancels();
        let seat = seat(&cancels, 0);
        seat.attach(&key());
        let (_, first) = seat.cancelled().unwrap();
        drop(seat.leave());
        seat.attach(&key());
        let (_, second) = seat.cancelled().unwrap();
        seat.landed(&first, Landed::Yes);
        assert!(seat.cancelled().is_none(), "the second is still under way");
        seat.landed(&second, Landed::Yes);
        assert!(seat.cancelled().is_some());
    }

    #[tokio::test]
    async fn server_is_held_until_the_cancel_has_landed() {
        let cancels = cancels();
        for (end, safe) in
            [(Some(Landed::Yes), true), (Some(Landed::Unknown), false), (None, false)]
        {
            let seat = seat(&cancels, 0);
            seat.attach(&key());
            let (_, sender) = seat.cancelled().unwrap();
            let landing = seat.leave().unwrap();
            let waiting = tokio::spawn(landing.landed());
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            match end {
                Some(end) => sender.ends(end),
                None => drop(sender),
            }
            assert_eq!(waiting.await.unwrap(), safe, "{end:?}");
        }
    }

    #[tokio::test]
    async fn cancel_waits_until_our_own_request_is_over() {
        let cancels = cancels();
        let seat = Arc::new(seat(&cancels, 0));
        for settles in [true, false] {
            seat.settle(&key());
            assert!(seat.cancelled().is_none());
            let waiting = tokio::spawn({
                let mut over = seat.settling().unwrap();
                async move { over.changed().await }
            });
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            if settles {
                seat.settled(&key());
            } else {
                assert!(seat.leave().is_none());
                seat.settled(&key());
            }
            assert!(waiting.await.unwrap().is_err());
            assert_eq!(seat.cancelled().is_some(), settles);
        }
    }

    #[tokio::test]
    async fn those_under_way_are_told_with_how_far_they_are() {
        let cancels = cancels();
        let seat = Arc::new(seat(&cancels, 0));
        let told = || cancels.under_way().iter().map(|one| one.stage).collect::<Vec<_>>();
        seat.settle(&key());
        let sending = tokio::spawn({
            let (cancels, secret) = (Arc::clone(&cancels), seat.secret().to_vec());
            let request = CancelRequest { pid: seat.pid(), secret };
            async move { cancels.cancel(&request).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(told(), [Stage::Waiting]);
        seat.settled(&key());
        // Nobody listens there.
        sending.await.unwrap();
        assert_eq!(told(), []);

        let under_way = UnderWay::default();
        let present = under_way.enter(&seat.card().login);
        seat.attach(&key());
        let (key, launch) = seat.cancelled().unwrap();
        present.sent(&key, &launch);
        let stage = || under_way.list().first().map(|one| one.stage);
        assert_eq!(stage(), Some(Stage::Sent));
        let _landing = seat.leave().unwrap();
        assert_eq!(stage(), Some(Stage::Held));
        drop(present);
        assert_eq!(stage(), None);
    }

    #[tokio::test]
    async fn wrong_secret_does_nothing() {
        let cancels = cancels();
        let seat = seat(&cancels, 0);
        seat.queue(&seat.card().login, None, Instant::now());
        let polled = |seat: &Seat| seat.poll_cancelled(&mut Context::from_waker(Waker::noop()));
        for secret in [vec![], vec![0; 3], vec![0; 5]] {
            cancels.cancel(&CancelRequest { pid: seat.pid(), secret }).await;
            assert_eq!(polled(&seat), Poll::Pending);
        }
        let secret = seat.secret().to_vec();
        cancels.cancel(&CancelRequest { pid: seat.pid() + 1, secret: secret.clone() }).await;
        assert_eq!(polled(&seat), Poll::Pending);
        cancels.cancel(&CancelRequest { pid: seat.pid(), secret }).await;
        assert_eq!(polled(&seat), Poll::Ready(()));
    }
}
