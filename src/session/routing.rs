//! Where the requests of a session run: on the primary, or on a replica that is fresh enough.
//!
//! A request is decided as a whole, when all of it is there and none of it has been sent. What is in
//! doubt runs on the primary. What a session has written or read sets the moment up to which a replica
//! must have everything that it reads from next; moments are those of our own clock, taken when the
//! primary's answer had come ([`crate::topology`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::budget::Spent;
use super::causal::Moment;
use super::clock::Clock;
use super::flow::Placed;
use super::judge::Judge;
use super::replicas::{Chosen, Replicas, Seen, Tried};
use super::shards::Sharded;
use super::terms::Terms;
use crate::config::OwnWrites;
use crate::route::decisions::Decisions;
use crate::route::{Reason, Role};
use crate::server::manner::Manner;
use crate::topology::Using;
use crate::topology::choice::{Need, Unfit};

/// What a session goes by. Only sessions that may read from replicas, or are among shards, own one.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// When it was last told that something was written.
    wrote: Option<Instant>,
    /// What it has read.
    seen: Seen,
    /// Since when reads run on the primary for the sake of what it has read alone.
    unsure: Option<Instant>,
    /// Since when it has read from the same replica.
    stays: Option<Instant>,
    /// The replica that it would read from if it were not for what it has read elsewhere, while it
    /// waits for a look to go there.
    pub heads_for: Option<Chosen>,
    /// What it shares with others.
    shared: Option<Shared>,
    /// Replicas that could not do it for the request at hand.
    tried: Tried,
    /// The request at hand runs on the primary, whatever it is.
    failed: bool,
    /// Where the request at hand is to run.
    pub aim: Aim,
    /// The request at hand was lost with a server once.
    pub lost: bool,
    /// It waits for replicas to be looked at.
    pub pauses: bool,
    /// How long, if not as long as such a wait may last at all.
    pub patience: Option<Duration>,
    /// When it has last done so in vain for what it had written or seen.
    vain: Option<Instant>,
    /// Why it may run on a replica.
    pub wanted: Option<Reason>,
    /// How the last one was decided.
    pub last: Option<Last>,
    /// The last one asks how the one before it was decided: that.
    asked: Option<Option<Last>>,
    /// The transaction under way goes on elsewhere.
    pub moving: Option<Moving>,
    /// What it has of the budget of reads on the primary.
    pub spent: Option<Spent>,
    /// Where it is among shards.
    pub sharded: Option<Sharded>,
    /// It is a part of a request over several of them, which reads.
    pub part: Option<Arc<Part>>,
}

/// Where a part of a request over several shards reads, for whoever has asked for it.
#[derive(Debug, Default)]
pub(super) struct Part(AtomicUsize);

impl Part {
    /// It takes a server of this host, or of the primary.
    pub(super) fn takes(&self, host: Option<usize>) {
        self.0.store(host.map_or(0, |host| host + 1), Ordering::Release);
    }

    /// The host that it took one of last; `None` = the primary, or none.
    pub(super) fn host(&self) -> Option<usize> {
        self.0.load(Ordering::Acquire).checked_sub(1)
    }
}

/// A transaction that leaves its server and goes on elsewhere, where it is begun anew: it has done
/// nothing yet that would be lost.
#[derive(Debug)]
pub(super) struct Moving {
    /// The text that begins it.
    pub begin: Box<[u8]>,
    /// Where to.
    pub to: Role,
    /// Its limits of time.
    pub clock: Option<Box<Clock>>,
}

/// Where a request is to run.
#[derive(Clone, Debug, Default)]
pub(super) enum Aim {
    /// Where the primary is.
    #[default]
    Primary,
    /// On this replica, if it is still as fresh as this.
    Replica(Chosen, Need),
}

/// A moment that others have, too.
#[derive(Debug)]
struct Shared {
    token: Option<Box<[u8]>>,
    moment: Arc<Moment>,
}

/// How a request was decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    /// Why it runs where it runs.
    pub reason: Reason,
    /// On this one of the hosts.
    pub host: Option<usize>,
}

/// What decides whether a request may go to the server that is attached.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub judge: Judge<'a>,
    /// The replica that it is; `None` = it is the primary.
    pub replica: Option<&'a AtReplica>,
    /// How fresh it has to be.
    pub need: Need,
    /// Commits of the session are flushed later than it is told of them.
    pub lazy: bool,
    pub decisions: &'a Decisions,
}

impl Place<'_> {
    /// One more request runs where the one before it did, for this reason; one that asks where that
    /// was is not told of itself.
    pub(super) fn follows(&self, reason: Reason, asks_route: bool, placed: &mut Placed) {
        self.decisions.count(reason);
        if !asks_route {
            placed.last = Some(reason);
        }
    }
}

/// What there is to tell of where the last request ran that could run anywhere, and why.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    replicas: Option<&'a Replicas>,
    last: Option<Last>,
}

impl<'a> Told<'a> {
    pub(super) fn of(replicas: Option<&'a Replicas>, course: Option<&Course>) -> Self {
        Self { replicas, last: course.and_then(|course| course.asked.unwrap_or(course.last)) }
    }

    /// The words for it. A later one may have run on this server since, for this reason.
    pub(super) fn text(self, since: Option<Reason>, at: Option<&AtReplica>) -> String {
        let Some(replicas) = self.replicas else {
            return "primary: nothing is read from replicas here".to_owned();
        };
        let since = since.map(|reason| Last { reason, host: at.map(|at| at.host) });
        let Some(Last { reason, host }) = since.or(self.last) else {
            return "none yet".to_owned();
        };
        let name = host.and_then(|host| replicas.pools().get(host)?.name().replica.as_ref());
        match name {
            Some(name) => format!("replica {name}: {}", reason.name()),
            None => format!("primary: {}", reason.name()),
        }
    }
}

/// That a session is attached to a replica.
#[derive(Debug)]
pub(super) struct AtReplica {
    /// The replica's number among the hosts.
    pub host: usize,
    chosen: Chosen,
    _using: Using,
}

/// How long reads run on the primary, only because the session has read there, before it waits.
const UNSURE: Duration = Duration::from_secs(1);
/// How long a session reads from the same replica before it takes its turn again.
const STAY: Duration = Duration::from_secs(1);
/// How long it does not wait for a replica after it has done so in vain.
const VAIN: Duration = Duration::from_secs(1);

impl Course {
    /// Of a session that begins here among shards.
    pub(super) fn among(sharded: Sharded) -> Self {
        Self { sharded: Some(sharded), ..Self::default() }
    }

    /// Of a part of a request of this session, which reads from a shard, by what the session has written, and
    /// read there if that was on this one of its hosts; or on the primary, whatever it is.
    pub(super) fn part(&self, on: Option<usize>, primary: bool) -> Self {
        Self {
            wrote: self.wrote,
            seen: Seen { at: self.seen.at, on },
            // Others keep their servers meanwhile.
            vain: Some(Instant::now()),
            failed: primary,
            part: Some(Arc::default()),
            ..Self::default()
        }
    }

    /// When it has read last.
    pub(super) fn seen(&self) -> Option<Instant> {
        self.seen.at
    }

    /// How fresh a replica has to be that this session reads from.
    pub(super) fn need(&self, terms: &Terms, manner: &Manner) -> Need {
        let shared = self.shared.as_ref().and_then(|shared| shared.moment.get());
        let max_lag = manner.max_lag.unwrap_or(terms.max_lag);
        let since = match terms.read_your_writes {
            OwnWrites::Off => None,
            OwnWrites::Session | OwnWrites::Database => self.wrote.max(shared),
        };
        Need { since, max_lag }
    }

    /// Shares this moment from now on, if not yet.
    pub(super) fn share(
        &mut self,
        token: Option<&[u8]>,
        find: impl FnOnce() -> Option<Arc<Moment>>,
    ) {
        if self.shared.as_ref().is_none_or(|shared| shared.token.as_deref() != token) {
            self.shared = find().map(|moment| Shared { token: token.map(Into::into), moment });
        }
    }

    /// Something was written, and the client may be told of it.
    pub(super) fn told(&self, now: Instant) {
        if let Some(shared) = &self.shared {
            shared.moment.wrote(now);
        }
    }

    /// Another request is to be decided; it may ask how the one before it was.
    pub(super) fn next(&mut self, asks_route: bool) {
        self.asked = asks_route.then(|| self.asked.unwrap_or(self.last));
    }

    /// One more request ran where the one before it did, for this reason.
    pub(super) fn followed(&mut self, last: Last) {
        (self.last, self.asked) = (Some(last), None);
    }

    /// What it has seen counts no more (`read_your_writes = "off"`).
    pub(super) fn forget_seen(&mut self) {
        (self.seen, self.unsure) = (Seen::default(), None);
    }

    /// It has been on the primary up to now; what it may have written, and seen, is flushed at these
    /// moments.
    pub(super) fn was_on_primary(&mut self, wrote: Option<Instant>, seen: Instant) {
        self.wrote = self.wrote.max(wrote);
        self.seen = Seen { at: Some(seen), on: None };
    }

    /// It has read from this one of the hosts up to now.
    pub(super) fn was_on_replica(&mut self, host: usize, now: Instant) {
        self.seen = Seen { at: Some(now), on: Some(host) };
        self.unsure = None;
    }

    /// Chooses where the request at hand runs, which may run on a replica for this reason.
    ///
    /// # Errors
    /// Why on none.
    pub(super) fn choose(
        &mut self,
        replicas: &Replicas,
        need: &Need,
        now: Instant,
    ) -> Result<Chosen, Reason> {
        if self.failed {
            return Err(Reason::Failed);
        }
        let unfit = match replicas.choose(need, self.seen, now, self.tried) {
            Ok(chosen) => {
                self.takes_turn(replicas, need, now, &chosen);
                return Ok(chosen);
            }
            Err(unfit) => unfit,
        };
        if unfit == Unfit::Unsure {
            self.unsure.get_or_insert(now);
        } else {
            self.unsure = None;
        }
        Err(match unfit {
            Unfit::Missing => Reason::NoReplica,
            Unfit::Lagging => Reason::Lagging,
            Unfit::Behind | Unfit::Unsure => Reason::NotFresh,
        })
    }

    /// A session that never pauses would stay for ever with the replica that it has come to, however
    /// busy that is: no other is ever known to have what it has just read. So it takes its turn anew
    /// now and then, and waits for a look where that leads elsewhere.
    fn takes_turn(&mut self, replicas: &Replicas, need: &Need, now: Instant, chosen: &Chosen) {
        if self.seen.on != Some(chosen.host) {
            self.stays = None;
            return;
        }
        if now < *self.stays.get_or_insert(now) + STAY {
            return;
        }
        self.stays = Some(now);
        let free = replicas.choose(need, Seen::default(), now, self.tried);
        self.heads_for =
            free.ok().filter(|free| free.host != chosen.host && !free.shows(self.seen));
    }

    /// Whether it may go by now where it heads for.
    pub(super) fn arrives(&self, need: &Need, now: Instant) -> Option<Chosen> {
        let there = |chosen: &&Chosen| chosen.admits(need, now) && chosen.shows(self.seen);
        self.heads_for.as_ref().filter(there).cloned()
    }

    /// Waits for a moment to come back to replicas, if that is wanted, or due: a session that never
    /// pauses would stay on the primary for ever, where it always sees what no replica is known to have
    /// yet.
    pub(super) fn pause_if_due(&mut self, wait: Option<Duration>, now: Instant) {
        let is_due = self.unsure.is_some_and(|since| now >= since + UNSURE);
        if is_due {
            self.unsure = Some(now);
        }
        let waits = wait.filter(|_| self.vain.is_none_or(|vain| now >= vain + VAIN));
        self.pauses = is_due || waits.is_some();
        self.patience = waits.filter(|_| !is_due);
    }

    /// It has waited in vain: the replicas are further behind than a moment.
    pub(super) fn waited_in_vain(&mut self, now: Instant) {
        if self.patience.take().is_some() {
            self.vain = Some(now);
        }
    }

    /// This replica could not do it.
    pub(super) fn tried(&mut self, host: usize) {
        self.tried.add(host);
    }

    /// No replica is to be tried any more for the request at hand.
    pub(super) fn give_up(&mut self) {
        self.failed = true;
    }

    /// Whether that is so.
    pub(super) fn has_given_up(&self) -> bool {
        self.failed
    }

    /// The hosts are others from now on.
    pub(super) fn hosts_changed(&mut self) {
        (self.seen.on, self.heads_for, self.tried) = (None, None, Tried::default());
    }

    /// It goes on at another shard: what it has written and seen is known by moments of our clock,
    /// which hold there as well.
    pub(super) fn shard_changed(&mut self) {
        self.hosts_changed();
        (self.shared, self.last, self.stays, self.unsure) = (None, None, None, None);
    }

    /// The request at hand was refused.
    pub(super) fn refused(&mut self) {
        self.sent();
        self.lost = false;
    }

    /// It is on its way; whether replicas have failed at it.
    pub(super) fn sent(&mut self) -> bool {
        let failed = self.failed;
        (self.tried, self.failed, self.aim) = (Tried::default(), false, Aim::Primary);
        (self.pauses, self.patience, self.heads_for) = (false, None, None);
        failed
    }

    /// It reads from this replica from now on, by a server that was opened then; `None` when that is
    /// not as fresh as needed any more, or not known to be.
    pub(super) fn take(&self, chosen: &Chosen, need: &Need, opened: Instant) -> Option<AtReplica> {
        let using = chosen.take(need, self.seen, opened, Instant::now())?;
        Some(AtReplica { host: chosen.host, chosen: chosen.clone(), _using: using })
    }

    /// The server that was to be taken was opened after the session had read from this replica:
    /// nothing says but a look that the replica was there all the time.
    pub(super) fn looks_again(&mut self, chosen: Chosen) {
        (self.pauses, self.patience) = (self.seen.on == Some(chosen.host), None);
        self.heads_for = self.pauses.then_some(chosen);
    }
}

impl AtReplica {
    /// Whether the session may go on reading there.
    pub(super) fn is_still(&self, need: &Need, now: Instant) -> bool {
        self.chosen.admits(need, now)
    }
}
