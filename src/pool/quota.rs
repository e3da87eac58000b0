//! How many members may be open over several pools: per server, per database, per user.
//!
//! A pool takes a place before it opens and gives it back after it has closed. When there is none,
//! a pool with waiters stands in the quota's queue, and places come free for it in three ways:
//! - an idle member of another pool is closed (of the pool most above its fair share first);
//! - a member that its pool has no waiter for is closed when it is checked in;
//! - a member of a pool above its fair share is closed when it is checked in though that pool has
//!   waiters, as long as the pool in front of the queue is below its own.
//!
//! The fair share is the cap divided by the pools with demand (lent members or waiters), at least
//! one. Closing for somebody above-to-below only is what keeps two pools from taking the same
//! place from each other for ever. An idle member gives way even below its pool's share and
//! `min`: one who waits comes before one who might.
//!
//! A freed place belongs to the pool in front (fewest members, then longest in the queue) from
//! that moment: it can't be overtaken. The lock here is a leaf: nothing is locked under it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::hindrance::QuotaId;
use super::snapshot::Holder;

/// A first try over a cap that the server itself has set (53300) is made after this.
const FULL_RETRY: Duration = Duration::from_secs(1);
/// The longest pause between such tries.
const FULL_RETRY_MAX: Duration = Duration::from_secs(15);
/// A survey that found nothing idle stays good for this long: what becomes idle since then meets
/// the queue when it is checked in.
const SURVEY_VALID: Duration = Duration::from_millis(10);

/// Every quota that a pool is under.
#[derive(Debug)]
pub struct Quotas {
    /// `max_user_connections`.
    pub user: Option<Arc<Quota>>,
    /// `max_db_connections`.
    pub database: Option<Arc<Quota>>,
    /// The server that the pool's members are connected to.
    pub host: Arc<Host>,
}

impl Quotas {
    /// Only the server's limits.
    pub fn of_host(host: Arc<Host>) -> Self {
        Self { user: None, database: None, host }
    }

    /// Whether they are the very same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Quota>>, b: &Option<Arc<Quota>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        let Self { user, database, host } = self;
        same(user, &other.user) && same(database, &other.database) && Arc::ptr_eq(host, &other.host)
    }

    /// How many more members they leave room for now.
    pub(super) fn left(&self) -> usize {
        let left = |quota: &Quota| {
            let (used, of) = quota.taken();
            of.saturating_sub(used)
        };
        self.steps().into_iter().flatten().map(left).min().unwrap_or(usize::MAX)
    }

    /// From narrow to broad. Places are taken in this order, and one who waits for a place keeps
    /// the narrower ones: because the order is the same for all, nobody waits in a circle.
    pub(super) fn steps(&self) -> [Option<&Quota>; 3] {
        [self.user.as_deref(), self.database.as_deref(), Some(&self.host.connections)]
    }

    /// Whether a member that is free now must be closed for a pool that is starved, and under
    /// which quota: called with the lock of its pool held.
    pub(super) fn claim(&self, who: usize, open: usize, waiting: usize) -> Option<usize> {
        let asks = |quota: &Quota| quota.is_starved() && quota.claim(who, open, waiting);
        self.steps().iter().position(|quota| quota.is_some_and(asks))
    }
}

/// One Postgres server, as far as pools share it.
#[derive(Debug)]
pub struct Host {
    pub(super) connections: Quota,
    pub(super) logins: Quota,
}

impl Host {
    /// A server with `max_server_connections` (`None`: as many as it gives) of which at most
    /// `max_server_logins` may be in the making at a time.
    pub fn new(max_server_connections: Option<usize>, max_server_logins: usize) -> Self {
        Self {
            connections: Quota::new(max_server_connections),
            logins: Quota::new(Some(max_server_logins.max(1))),
        }
    }

    /// Changes both limits. What is above a lower one stays until it is closed.
    pub fn set_limits(&self, max_server_connections: Option<usize>, max_server_logins: usize) {
        self.connections.set_cap(max_server_connections);
        self.logins.set_cap(Some(max_server_logins));
    }

    /// Places in use: members that are open or being opened.
    pub fn open(&self) -> usize {
        self.connections.used()
    }

    /// Attempts to connect that are under way.
    pub fn logins(&self) -> usize {
        self.logins.used()
    }

    /// The cap that counts now: the configured one, or less while the server says it is full.
    pub fn live_cap(&self) -> Option<usize> {
        Some(self.connections.ledger.lock().live_cap()).filter(|cap| *cap != usize::MAX)
    }
}

/// What a quota must know of a pool under it. Called without any lock held.
pub(super) trait Tenant: Send + Sync {
    fn standing(&self) -> Standing;
    /// Who has held a member for longest.
    fn longest_holder(&self) -> Option<Holder>;
    /// Closes the idle member used least recently; whether there was one.
    fn surrender(&self) -> bool;
    /// A place may be had now.
    fn wake(&self);
}

/// Where a pool stands.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    pub(super) open: usize,
    pub(super) idle: usize,
    pub(super) wants: bool,
}

/// A cap on members over several pools.
pub struct Quota {
    /// Whether the queue has anybody without a place. Written under the lock; read without it,
    /// because it is read at every check-in.
    starved: AtomicBool,
    ledger: Mutex<Ledger>,
}

struct Ledger {
    cap: usize,
    used: usize,
    /// Of these, members that were opened; the others are on their way.
    open: usize,
    ceiling: Option<Ceiling>,
    /// The fair share, as last surveyed.
    share: usize,
    surveyed: Option<Instant>,
    /// Members that are being closed for the queue.
    promised: usize,
    queue: Vec<Starved>,
    tenants: Vec<(usize, Weak<dyn Tenant>)>,
}

/// A pool in the queue.
struct Starved {
    who: usize,
    tenant: Weak<dyn Tenant>,
    open: usize,
    granted: bool,
}

/// The cap that the server itself has shown.
struct Ceiling {
    cap: usize,
    raise_at: Instant,
    pause: Duration,
}

impl Quota {
    /// At most `cap` members at a time; `None` for no limit.
    pub fn new(cap: Option<usize>) -> Self {
        let cap = cap.unwrap_or(usize::MAX).max(1);
        let ledger = Ledger {
            cap,
            used: 0,
            open: 0,
            ceiling: None,
            share: cap,
            surveyed: None,
            promised: 0,
            queue: Vec::new(),
            tenants: Vec::new(),
        };
        Self { starved: AtomicBool::new(false), ledger: Mutex::new(ledger) }
    }

    /// Changes the cap. Members above a lower one stay until they are closed.
    pub fn set_cap(&self, cap: Option<usize>) {
        let cap = cap.unwrap_or(usize::MAX).max(1);
        let mut ledger = self.ledger.lock();
        if ledger.cap != cap {
            // Fair shares follow at the next survey.
            (ledger.cap, ledger.surveyed) = (cap, None);
            self.grant(ledger);
        }
    }

    /// Places in use.
    pub fn used(&self) -> usize {
        self.ledger.lock().used
    }

    pub(super) fn join(&self, who: usize, tenant: Weak<dyn Tenant>) {
        self.ledger.lock().tenants.push((who, tenant));
    }

    /// Forgets a pool that has gone under another quota.
    pub(super) fn part(&self, who: usize) {
        self.leave(who);
        self.ledger.lock().tenants.retain(|(tenant, _)| *tenant != who);
    }

    /// Takes a place if there is one that nobody in the queue is owed.
    pub(super) fn take(&self, who: usize, now: Instant) -> bool {
        let mut ledger = self.ledger.lock();
        let taken = ledger.take(who, now);
        self.note(&mut ledger);
        taken
    }

    /// Takes a place or stands in the queue for one; then `tenant` is woken when it has come.
    pub(super) fn take_or_queue(
        &self,
        who: usize,
        tenant: &Weak<dyn Tenant>,
        open: usize,
        now: Instant,
    ) -> bool {
        let mut ledger = self.ledger.lock();
        let taken = ledger.take(who, now);
        if !taken {
            match ledger.queue.iter_mut().find(|s| s.who == who) {
                Some(starved) => starved.open = open,
                None => {
                    let starved = Starved { who, tenant: tenant.clone(), open, granted: false };
                    ledger.queue.push(starved);
                }
            }
        }
        self.note(&mut ledger);
        taken
    }

    /// Leaves the queue; a place that was kept for `who` goes to the next.
    pub(super) fn leave(&self, who: usize) {
        let mut ledger = self.ledger.lock();
        ledger.queue.retain(|s| s.who != who);
        self.grant(ledger);
    }

    /// Gives a place back, and to whom it is owed.
    pub(super) fn release(&self, was_open: bool, promised: bool) {
        let mut ledger = self.ledger.lock();
        ledger.used = ledger.used.saturating_sub(1);
        if was_open {
            ledger.open = ledger.open.saturating_sub(1);
        }
        if promised {
            ledger.promised = ledger.promised.saturating_sub(1);
        }
        self.grant(ledger);
    }

    /// The server says it is full: what is open now is all there is for a while. `false` when
    /// nothing is open at all, so that there is nothing to wait for.
    pub(super) fn full(&self, now: Instant) -> bool {
        let mut ledger = self.ledger.lock();
        if ledger.open == 0 {
            ledger.ceiling = None;
            return false;
        }
        let pause = ledger.ceiling.as_ref().map_or(FULL_RETRY, |c| c.pause);
        // Others on their way that do get in raise it again.
        let cap = ledger.open;
        ledger.ceiling =
            Some(Ceiling { cap, raise_at: now + pause, pause: (pause * 2).min(FULL_RETRY_MAX) });
        true
    }

    /// A member was opened in a place taken before: a ceiling that the server has shown may be
    /// too low by now.
    pub(super) fn opened(&self) {
        let mut ledger = self.ledger.lock();
        ledger.open += 1;
        let (used, cap) = (ledger.used, ledger.cap);
        if let Some(ceiling) = &mut ledger.ceiling
            && used >= ceiling.cap
        {
            ceiling.cap = used + 1;
            ceiling.pause = FULL_RETRY;
            if ceiling.cap >= cap {
                ledger.ceiling = None;
            }
            self.grant(ledger);
        }
    }

    /// When a ceiling that the server has shown is tried again.
    pub(super) fn raised_at(&self) -> Option<Instant> {
        self.ledger.lock().ceiling.as_ref().map(|c| c.raise_at)
    }

    /// Whether any pool stands in the queue without a place. A stale answer is harmless: `false`
    /// can only be read by a check-in that came before the survey of the pool that queued, and
    /// then the survey finds the member idle; `true` leads to a look under the lock.
    fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }

    fn claim(&self, who: usize, open: usize, waiting: usize) -> bool {
        let mut ledger = self.ledger.lock();
        let share = ledger.share;
        let others = ledger.queue.iter().filter(|s| !s.granted && s.who != who);
        let (owed, least) =
            others.fold((0, usize::MAX), |(owed, least), s| (owed + 1, least.min(s.open)));
        let claimed = owed > ledger.promised && (waiting == 0 || (open > share && least < share));
        if claimed {
            ledger.promised += 1;
        } else if waiting == 0 {
            // It goes idle, for the next survey to find.
            ledger.surveyed = None;
        }
        claimed
    }

    /// Which it is.
    pub(super) fn id(&self) -> QuotaId {
        QuotaId(std::ptr::from_ref(self).addr())
    }

    /// Whether that pool stands in the queue without a place.
    pub(super) fn keeps_waiting(&self, who: usize) -> bool {
        self.ledger.lock().queue.iter().any(|starved| starved.who == who && !starved.granted)
    }

    /// Whether the cap that counts is one that the server has shown.
    pub(super) fn is_full_itself(&self) -> bool {
        let ledger = self.ledger.lock();
        ledger.live_cap() < ledger.cap
    }

    /// Places that are taken, and how many there are now.
    pub(super) fn taken(&self) -> (usize, usize) {
        let ledger = self.ledger.lock();
        (ledger.used, ledger.live_cap())
    }

    /// Who has held a member for longest, in any pool under it: called without any lock held.
    pub(super) fn longest_holder(&self) -> Option<Holder> {
        let tenants: Vec<_> = {
            let ledger = self.ledger.lock();
            ledger.tenants.iter().filter_map(|(_, tenant)| tenant.upgrade()).collect()
        };
        let holders = tenants.iter().filter_map(|tenant| tenant.longest_holder());
        holders.max_by_key(|holder| holder.held)
    }

    /// Finds the fair share and closes an idle member of another pool, if there is any: called by
    /// a pool that has just queued, without any lock held.
    pub(super) fn survey(&self, who: usize, now: Instant) {
        let tenants: Vec<_> = {
            let mut ledger = self.ledger.lock();
            let waits = ledger.queue.iter().any(|s| s.who == who && !s.granted);
            let valid = ledger.surveyed.is_some_and(|at| now < at + SURVEY_VALID);
            if !waits || valid {
                return;
            }
            ledger.tenants.retain(|(_, tenant)| tenant.strong_count() > 0);
            ledger.tenants.iter().filter_map(|(w, t)| Some((*w, t.upgrade()?))).collect()
        };
        let standings: Vec<_> = tenants.iter().map(|(w, t)| (*w, t, t.standing())).collect();
        let wanting = standings.iter().filter(|(.., s)| s.wants).count().max(1);
        let idlers = standings.iter().filter(|(w, _, s)| *w != who && s.idle > 0);
        // With one share for all, most above it is the same as most open.
        let victim = idlers.max_by_key(|(.., s)| s.open);
        {
            let mut ledger = self.ledger.lock();
            ledger.share = (ledger.live_cap() / wanting).max(1);
            ledger.surveyed = victim.is_none().then_some(now);
        }
        if let Some((_, tenant, _)) = victim {
            // False: somebody took it meanwhile, and will check it in to the queue.
            tenant.surrender();
        }
    }

    /// Hands free places to the queue, frees the lock, and wakes who got one.
    fn grant(&self, mut ledger: parking_lot::MutexGuard<'_, Ledger>) {
        let mut woken = Vec::new();
        while ledger.free() > 0 {
            let first = ledger.queue.iter_mut().filter(|s| !s.granted).min_by_key(|s| s.open);
            let Some(starved) = first else { break };
            starved.granted = true;
            woken.push(starved.tenant.clone());
        }
        self.note(&mut ledger);
        drop(ledger);
        for tenant in woken.iter().filter_map(Weak::upgrade) {
            tenant.wake();
        }
    }

    fn note(&self, ledger: &mut Ledger) {
        let starved = ledger.queue.iter().any(|s| !s.granted);
        if !starved {
            // From now on members go idle unnoticed.
            ledger.surveyed = None;
        }
        if starved != self.starved.load(Ordering::Relaxed) {
            self.starved.store(starved, Ordering::Relaxed);
        }
    }
}

impl Ledger {
    fn live_cap(&self) -> usize {
        self.ceiling.as_ref().map_or(self.cap, |c| c.cap.min(self.cap))
    }

    fn free(&self) -> usize {
        let granted = self.queue.iter().filter(|s| s.granted).count();
        self.live_cap().saturating_sub(self.used + granted)
    }

    fn take(&mut self, who: usize, now: Instant) -> bool {
        let mine = self.queue.iter().position(|s| s.who == who);
        let granted = mine.and_then(|i| self.queue.get(i)).is_some_and(|s| s.granted);
        if !granted {
            if let Some(ceiling) = &mut self.ceiling
                && ceiling.raise_at <= now
                && self.used >= ceiling.cap
            {
                // One more try. It succeeds (`opened`), or `full` sets the ceiling anew.
                ceiling.cap = self.used + 1;
                ceiling.raise_at = now + ceiling.pause;
            }
            let owed = self.queue.iter().any(|s| s.who != who && !s.granted);
            if self.free() == 0 || (owed && mine.is_none()) {
                return false;
            }
        }
        if let Some(index) = mine {
            self.queue.remove(index);
        }
        self.used += 1;
        true
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = self.ledger.lock();
        f.debug_struct("Quota").field("cap", &ledger.cap).field("used", &ledger.used).finish()
    }
}
