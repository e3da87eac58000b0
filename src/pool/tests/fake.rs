//! Members without sockets, and a world that can be told how they fare.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::net::loops::{LoopId, Loops};
use crate::pool::{
    Ask, CheckoutError, Condition, Connect, Host, Lease, Member, Pool, PoolName, PoolSettings,
    Quotas, Verdict,
};

/// How long a fake takes to connect, and to be reset or checked.
pub(super) const CONNECT: Duration = Duration::from_millis(10);
pub(super) const TEND: Duration = Duration::from_millis(1);

/// What the servers and the network do.
pub(super) struct World {
    live: AtomicUsize,
    live_max: AtomicUsize,
    logins: AtomicUsize,
    logins_max: AtomicUsize,
    attempts: AtomicUsize,
    killed: AtomicUsize,
    /// How further attempts end; when it is empty, well.
    script: Mutex<VecDeque<Verdict>>,
    /// How every attempt ends.
    always: Mutex<Option<Verdict>>,
    hang: AtomicBool,
    /// Attempts while so many are live end with `Full`.
    room: AtomicUsize,
    pub(super) check_works: AtomicBool,
    pub(super) connect_takes: Mutex<Duration>,
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            live: AtomicUsize::new(0),
            live_max: AtomicUsize::new(0),
            logins: AtomicUsize::new(0),
            logins_max: AtomicUsize::new(0),
            attempts: AtomicUsize::new(0),
            killed: AtomicUsize::new(0),
            script: Mutex::new(VecDeque::new()),
            always: Mutex::new(None),
            hang: AtomicBool::new(false),
            room: AtomicUsize::new(usize::MAX),
            check_works: AtomicBool::new(true),
            connect_takes: Mutex::new(CONNECT),
        })
    }

    pub(super) fn live(&self) -> usize {
        self.live.load(SeqCst)
    }

    pub(super) fn live_max(&self) -> usize {
        self.live_max.load(SeqCst)
    }

    pub(super) fn logins_max(&self) -> usize {
        self.logins_max.load(SeqCst)
    }

    pub(super) fn attempts(&self) -> usize {
        self.attempts.load(SeqCst)
    }

    /// All members that exist now die.
    pub(super) fn kill_all(&self) {
        self.killed.fetch_add(1, SeqCst);
    }

    /// The next attempts end so.
    pub(super) fn next(&self, verdicts: &[Verdict]) {
        self.script.lock().extend(verdicts);
    }

    pub(super) fn always(&self, verdict: Option<Verdict>) {
        *self.always.lock() = verdict;
    }

    pub(super) fn hang(&self) {
        self.hang.store(true, SeqCst);
    }

    pub(super) fn room(&self, members: usize) {
        self.room.store(members, SeqCst);
    }
}

pub(super) struct Fake {
    world: Arc<World>,
    home: LoopId,
    created: Instant,
    born: usize,
    pub(super) tag: usize,
    pub(super) condition: Condition,
    pub(super) reset_works: bool,
    pub(super) moves: bool,
}

impl Fake {
    pub(super) fn alive(&self) -> bool {
        self.born == self.world.killed.load(SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.world.live.fetch_sub(1, SeqCst);
    }
}

impl Member for Box<Fake> {
    fn home(&self) -> LoopId {
        self.home
    }

    fn created(&self) -> Instant {
        self.created
    }

    fn affinity(&self) -> usize {
        self.tag
    }

    fn condition(&self) -> Condition {
        self.condition
    }

    fn is_quiet(&mut self) -> bool {
        self.alive()
    }

    fn rehome(mut self, to: LoopId) -> Option<Self> {
        self.home = to;
        self.moves.then_some(self)
    }

    async fn reset(mut self) -> Option<Self> {
        sleep(TEND).await;
        self.condition = Condition::Clean;
        self.reset_works.then_some(self)
    }

    async fn check(self) -> Option<Self> {
        sleep(TEND).await;
        (self.alive() && self.world.check_works.load(SeqCst)).then_some(self)
    }
}

pub(super) struct Connector(pub(super) Arc<World>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) Verdict);

struct Attempt<'a>(&'a World);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.logins.fetch_sub(1, SeqCst);
    }
}

impl Connect for Connector {
    type Member = Box<Fake>;
    type Error = Refused;

    async fn connect(&self, on: LoopId) -> Result<Box<Fake>, Refused> {
        let world = &self.0;
        world.attempts.fetch_add(1, SeqCst);
        world.logins_max.fetch_max(world.logins.fetch_add(1, SeqCst) + 1, SeqCst);
        let _attempt = Attempt(world);
        let takes = *world.connect_takes.lock();
        sleep(takes).await;
        if world.hang.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let scripted = world.script.lock().pop_front();
        if let Some(verdict) = scripted.or(*world.always.lock()) {
            return Err(Refused(verdict));
        }
        if world.live() >= world.room.load(SeqCst) {
            return Err(Refused(Verdict::Full));
        }
        world.live_max.fetch_max(world.live.fetch_add(1, SeqCst) + 1, SeqCst);
        Ok(Box::new(Fake {
            world: world.clone(),
            home: on,
            created: Instant::now(),
            born: world.killed.load(SeqCst),
            tag: 0,
            condition: Condition::Clean,
            reset_works: true,
            moves: true,
        }))
    }

    fn verdict(&self, error: &Refused) -> Verdict {
        error.0
    }
}

/// A pool in a world of its own.
pub(super) struct Bench {
    pub(super) pool: Arc<Pool<Connector>>,
    pub(super) world: Arc<World>,
    pub(super) host: Arc<Host>,
}

impl Bench {
    pub(super) fn new(loops: u16, change: impl FnOnce(&mut PoolSettings)) -> Self {
        Self::with_host(loops, host(None, 4), change)
    }

    pub(super) fn with_host(
        loops: u16,
        host: Arc<Host>,
        change: impl FnOnce(&mut PoolSettings),
    ) -> Self {
        let world = World::new();
        let loops = Arc::new(Loops::within(&Handle::current(), loops));
        let quotas = Quotas::of_host(host.clone());
        let pool = pool("u", &world, quotas, loops, change);
        Self { pool, world, host }
    }

    /// What is counted is what there is.
    pub(super) fn check_books(&self) {
        check_books(&self.pool);
        assert_eq!(self.pool.snapshot().open(), self.world.live());
        assert_eq!(self.pool.snapshot().open() + self.pool.snapshot().opening, self.host.open());
    }
}

pub(super) fn check_books(pool: &Pool<Connector>) {
    let snapshot = pool.snapshot();
    let gone = snapshot.totals.opened - snapshot.totals.closed_all();
    assert_eq!(u64::try_from(snapshot.open()).unwrap(), gone, "{snapshot:?}");
    assert_eq!(pool.state.lock().open, snapshot.open(), "{snapshot:?}");
}

pub(super) fn pool(
    user: &str,
    world: &Arc<World>,
    quotas: Quotas,
    loops: Arc<Loops>,
    change: impl FnOnce(&mut PoolSettings),
) -> Arc<Pool<Connector>> {
    let name = PoolName { database: "d".to_owned(), user: user.to_owned(), replica: None };
    let mut settings = PoolSettings::default();
    change(&mut settings);
    Pool::new(name, settings, quotas, Connector(world.clone()), loops)
}

pub(super) fn host(cap: Option<usize>, logins: usize) -> Arc<Host> {
    Arc::new(Host::new(cap, logins))
}

pub(super) fn on(index: u16) -> LoopId {
    LoopId::new(index)
}

pub(super) fn ask(index: u16, holder: u64) -> Ask {
    Ask { on: on(index), affinity: 0, holder, last_member: None }
}

pub(super) async fn checkout(
    pool: &Arc<Pool<Connector>>,
    ask: Ask,
) -> Result<Lease<Connector>, CheckoutError<Refused>> {
    match pool.try_checkout(&ask)? {
        Some(lease) => Ok(lease),
        None => pool.wait(ask).await,
    }
}

pub(super) async fn lease(
    pool: &Arc<Pool<Connector>>,
    index: u16,
    holder: u64,
) -> Lease<Connector> {
    checkout(pool, ask(index, holder)).await.unwrap()
}

/// Lets every task go as far as it can at this moment of the paused clock.
pub(super) async fn quiesce() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
