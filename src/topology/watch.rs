//! The hosts of a database, looked at as long as somebody wants to know: one task and one connection
//! per host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::breaker::Limits;
use super::cluster::{Cluster, Event, HostFigures, Standing};
use super::gauge::Gauge;
use super::health::State;
use super::probe::{Flushing, Probe};
use crate::config::HostPort;
use crate::events::{Events, Kind};
use crate::server::connect::Target;

/// How often hosts are looked at, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks at a host.
    pub every: Duration,
    /// The longest look.
    pub limit: Duration,
    /// When a host is left out where servers can't be opened.
    pub breaker: Limits,
}

/// Between two looks at the primary while somebody waits for a replica to have something; replicas are
/// looked at behind it.
const EVERY_WANTED: Duration = Duration::from_millis(10);
/// For how long after the last one did.
const WANTED: Duration = Duration::from_secs(1);
/// Between two looks while no primary is known.
const EVERY_SEARCHING: Duration = Duration::from_millis(100);
/// For how long it is searched for at that pace.
const SEARCH: Duration = Duration::from_secs(60);
/// The least time between two looks, whatever happens.
const APART: Duration = Duration::from_millis(5);

/// Which host is the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Primary {
    /// This one.
    Known(HostPort),
    /// None, since then.
    Missing(Instant),
}

/// The hosts of a database, under watch. Dropping it ends that.
#[derive(Debug)]
pub struct Topology {
    books: Arc<Books>,
    _watchers: JoinSet<()>,
}

#[derive(Debug)]
struct Books {
    pace: Pace,
    cluster: Mutex<Cluster>,
    primary: watch::Sender<Primary>,
    /// One for each host, in their order.
    gauges: Vec<Arc<Gauge>>,
    epoch: Instant,
    /// When somebody last wanted a replica to be fresher than it was, in milliseconds from the epoch.
    wanted: AtomicU64,
    /// A look has been answered.
    looked: Notify,
    /// When the primary flushes what is committed, in milliseconds; and whether that is later than it
    /// is told.
    flushed_within: AtomicU64,
    flushes_late: AtomicBool,
    /// What changes is told there, too.
    log: Arc<Events>,
}

impl Topology {
    /// Watches these hosts, each of which is asked at its target, with what is known `before` of
    /// those that it had too. The tasks run in the runtime of `on`.
    pub fn watch(
        hosts: Vec<(HostPort, Target)>,
        pace: Pace,
        before: Option<&Self>,
        log: Arc<Events>,
        on: &Handle,
    ) -> Self {
        let now = Instant::now();
        let names = hosts.iter().map(|(host, _)| host.clone());
        let known = before.map(|before| before.books.cluster.lock().clone());
        let cluster = Cluster::new(names, known.as_ref(), now);
        let primary = cluster.primary().cloned().map_or(Primary::Missing(now), Primary::Known);
        let known = before.into_iter().flat_map(|before| before.gauges());
        let known: Vec<&Arc<Gauge>> = known.collect();
        let gauge = |(_, target): &(_, Target)| {
            let address = &target.address;
            let gauge = Gauge::new(address.clone(), pace.breaker, now, Arc::clone(&log));
            if let Some(before) = known.iter().find(|before| before.address() == address) {
                gauge.succeed(before, pace.breaker, now);
            }
            gauge
        };
        let books = Arc::new(Books {
            pace,
            cluster: Mutex::new(cluster),
            primary: watch::Sender::new(primary),
            gauges: hosts.iter().map(gauge).collect(),
            epoch: now,
            wanted: AtomicU64::new(0),
            looked: Notify::new(),
            flushed_within: AtomicU64::new(millis(Flushing::default().within)),
            flushes_late: AtomicBool::new(false),
            log,
        });
        let mut watchers = JoinSet::new();
        for (host, (_, target)) in hosts.into_iter().enumerate() {
            watchers.spawn_on(Arc::clone(&books).watch(host, target), on);
        }
        Self { books, _watchers: watchers }
    }

    /// What there is to tell of each host, in their order.
    pub fn figures(&self) -> Vec<HostFigures> {
        let now = Instant::now();
        let mut figures = self.books.cluster.lock().figures();
        for (host, gauge) in figures.iter_mut().zip(&self.books.gauges) {
            host.circuit = Some(gauge.circuit(now));
            host.used = gauge.used();
            host.banned_until = gauge.banned_until(now);
        }
        figures
    }

    /// What those who choose a host read of each, in their order.
    pub fn gauges(&self) -> &[Arc<Gauge>] {
        &self.books.gauges
    }

    /// Somebody wants replicas to be fresher than they are: hosts are looked at more often for a
    /// while.
    pub fn want(&self, now: Instant) {
        let at = millis(now.saturating_duration_since(self.books.epoch)).max(1);
        let before = self.books.wanted.swap(at, Ordering::Relaxed);
        if Duration::from_millis(at.saturating_sub(before)) > EVERY_WANTED || before == 0 {
            self.look();
        }
    }

    /// When the primary flushes what is committed.
    pub fn flushing(&self) -> Flushing {
        Flushing {
            lazy: self.books.flushes_late.load(Ordering::Relaxed),
            within: Duration::from_millis(self.books.flushed_within.load(Ordering::Relaxed)),
        }
    }

    /// Waits until a host has answered a look.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn looked(&self) {
        self.books.looked.notified().await;
    }

    /// Which host is the primary, now and when that changes.
    pub fn primary(&self) -> watch::Receiver<Primary> {
        self.books.primary.subscribe()
    }

    /// A host that is there, a replica if one is.
    pub fn any_up(&self) -> Option<HostPort> {
        let up = self.figures().into_iter().filter(|host| host.state == State::Up);
        up.max_by_key(|host| host.standing == Standing::Replica).map(|host| host.at)
    }

    /// Has every host looked at now.
    pub fn look(&self) {
        self.books.gauges.iter().for_each(|gauge| gauge.look());
    }
}

impl Books {
    /// Looks at a host again and again.
    async fn watch(self: Arc<Self>, host: usize, target: Target) {
        let mut probe = Probe::new(target, self.pace.limit);
        loop {
            let requested = Instant::now();
            let look = probe.look().await;
            let (events, every) = self.observe(host, requested, look);
            for event in &events {
                tell(event);
                note(event, &self.log);
            }
            sleep_until(requested + APART).await;
            tokio::select! {
                () = sleep_until(requested + every) => {}
                () = probe.disturbed() => {}
                () = self.hurried(host) => {}
            }
        }
    }

    /// What has changed, and when to look again.
    fn observe(
        &self,
        host: usize,
        requested: Instant,
        look: Result<super::Sample, super::Miss>,
    ) -> (Vec<Event>, Duration) {
        let now = Instant::now();
        let mut cluster = self.cluster.lock();
        let answered = look.is_ok();
        let events = cluster.observe(host, requested, now, look);
        for (gauge, fresh_as_of) in self.gauges.iter().zip(cluster.freshness()) {
            gauge.show(fresh_as_of);
        }
        if answered && let Some(gauge) = self.gauges.get(host) {
            gauge.answered(requested);
        }
        let Flushing { lazy, within } = cluster.flushing();
        self.flushes_late.store(lazy, Ordering::Relaxed);
        self.flushed_within.store(millis(within), Ordering::Relaxed);
        self.looked.notify_waiters();
        // Under the lock: what is told last is what is so.
        self.primary.send_if_modified(|primary| {
            let next = match (cluster.primary(), &*primary) {
                (Some(host), _) => Primary::Known(host.clone()),
                (None, Primary::Missing(since)) => Primary::Missing(*since),
                (None, Primary::Known(_)) => Primary::Missing(now),
            };
            let differs = *primary != next;
            *primary = next;
            differs
        });
        let every = match *self.primary.borrow() {
            Primary::Missing(since) if now < since + SEARCH => EVERY_SEARCHING.min(self.pace.every),
            // What a replica has says something new when the primary has been asked.
            _ if self.is_wanted(now) && cluster.is_primary(host) => {
                let others = self.gauges.iter().enumerate().filter(|(other, _)| *other != host);
                others.for_each(|(_, gauge)| gauge.look());
                EVERY_WANTED.min(self.pace.every)
            }
            _ => self.pace.every,
        };
        (events, every)
    }

    fn is_wanted(&self, now: Instant) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        wanted > 0 && now < self.epoch + Duration::from_millis(wanted) + WANTED
    }

    async fn hurried(&self, host: usize) {
        match self.gauges.get(host) {
            Some(gauge) => gauge.hurried().await,
            None => std::future::pending().await,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Has the log say what has changed.
fn tell(event: &Event) {
    match event {
        Event::Up(host) => tracing::info!(%host, "host is up"),
        Event::Down(host, cause) => tracing::warn!(%host, "host is down: {cause}"),
        Event::Refuses(host, cause) => tracing::warn!(%host, "host can't be looked at: {cause}"),
        Event::Primary(host, timeline) => tracing::info!(%host, timeline, "host is the primary"),
        Event::NoPrimary => tracing::warn!("no host is the primary"),
        Event::Slighted(host) => tracing::warn!(
            %host,
            "host takes itself for a primary, and is not the one with the latest history: \
             it gets nothing"
        ),
    }
}

/// Has operators see what has changed.
fn note(event: &Event, log: &Events) {
    let (kind, host, text) = match event {
        Event::Up(host) => (Kind::Host, Some(host), "host is up".into()),
        Event::Down(host, cause) => (Kind::Host, Some(host), format!("host is down: {cause}")),
        Event::Refuses(host, cause) => {
            (Kind::Host, Some(host), format!("host can't be looked at: {cause}"))
        }
        Event::Primary(host, timeline) => {
            (Kind::Primary, Some(host), format!("host is the primary, on timeline {timeline}"))
        }
        Event::NoPrimary => (Kind::Primary, None, "no host is the primary".into()),
        Event::Slighted(host) => {
            (Kind::Primary, Some(host), "host takes itself for a primary: it gets nothing".into())
        }
    };
    let about = host.map_or_else(String::new, ToString::to_string);
    log.add(kind, &about, &text, SystemTime::now());
}
