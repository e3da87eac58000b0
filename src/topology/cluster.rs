//! Which host is the primary, decided from what looks at all of them have shown.
//!
//! - Only a host that is up and says so itself is the primary. Of several the one on the highest
//!   timeline is: it was promoted last. Those on the same timeline are not told apart; the one that
//!   is the primary stays it, and where none is, none becomes it.
//! - A timeline that was seen once is never gone back on: who still writes an earlier one is a
//!   primary of the past, whether or not the one of now can be reached.
//! - Hosts belong to one cluster (`system_identifier`). Another one's get nothing, as long as
//!   a host of this one is up.
//! - Nobody is the primary before every host has been looked at once: the first to answer may be
//!   one of the past.

use std::time::Duration;

use tokio::time::Instant;

use super::Role;
use super::breaker::Circuit;
use super::freshness::{Moments, Position};
use super::health::{Health, Sign, State};
use super::lsn::Lsn;
use super::probe::{Flushing, Miss, Sample};
use crate::config::HostPort;

/// All hosts of a database, and what is known of them.
#[derive(Clone, Debug)]
pub struct Cluster {
    hosts: Vec<Host>,
    primary: Option<usize>,
    /// The latest that had a primary.
    line: Option<Line>,
    /// Where the primary was, on that line.
    moments: Moments,
    /// Primaries that are none for us.
    slighted: Vec<usize>,
}

/// A history that all positions on it belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    system: u64,
    timeline: u32,
}

#[derive(Clone, Debug)]
struct Host {
    at: HostPort,
    health: Health,
    looked_at: bool,
    sample: Option<Sample>,
    /// When that was asked for, and when it was there.
    requested: Instant,
    answered: Instant,
    error: Option<String>,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug)]
struct Replayed {
    lsn: Lsn,
    /// All transactions before this one are over there.
    xmin: Option<u64>,
}

/// What a host is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not said what it is, or is gone and was a primary.
    Unknown,
    /// It gets what has to be done on a primary.
    Primary,
    /// It follows another.
    Replica,
    /// It takes itself for a primary, and gets nothing.
    Slighted,
    /// It is as good as the others, whatever it is.
    Equal,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Unknown, Self::Primary, Self::Replica, Self::Slighted, Self::Equal];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Slighted => "second primary",
            Self::Equal => "equal",
        }
    }
}

/// Something that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It answers.
    Up(HostPort),
    /// It does not, for this reason.
    Down(HostPort, String),
    /// It is there and does not want to say what it is, for this reason.
    Refuses(HostPort, String),
    /// It is the primary now, on this timeline.
    Primary(HostPort, u32),
    /// There is no primary any more.
    NoPrimary,
    /// It takes itself for a primary, and another is, or none for want of a difference.
    Slighted(HostPort),
}

/// What there is to tell of a host.
#[derive(Clone, Debug)]
pub struct HostFigures {
    /// Where it listens.
    pub at: HostPort,
    /// What it is.
    pub standing: Standing,
    /// Whether it is there, and for how long.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Its timeline.
    pub timeline: Option<u32>,
    /// How far it is.
    pub lsn: Option<Lsn>,
    /// The moment up to which it has everything, for a replica.
    pub fresh_as_of: Option<Instant>,
    /// How much it lacks of what the primary had when it was looked at last, for a replica.
    pub lag_bytes: Option<u64>,
    /// Whether it is left out, where hosts are as good as one another.
    pub circuit: Option<Circuit>,
    /// How many sessions read there now, as from a replica.
    pub used: usize,
    /// Until when an operator leaves it out.
    pub banned_until: Option<Instant>,
    /// Why the last look showed nothing.
    pub error: Option<String>,
}

impl HostFigures {
    /// How long ago it had everything; `None` when that is not known.
    pub fn lag(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.fresh_as_of?))
    }
}

impl Host {
    /// Where it was, if it is a primary.
    fn position(&self) -> Option<Position> {
        let Sample { lsn, snapshot, flushing, .. } = self.sample.as_ref()?;
        Some(Position {
            requested: self.requested,
            answered: self.answered,
            lsn: (*lsn)?,
            snapshot: snapshot.clone(),
            flushed_within: flushing.within,
        })
    }
}

impl Cluster {
    /// Hosts that nobody has looked at, but for those that are in `before` as well.
    pub fn new(
        hosts: impl IntoIterator<Item = HostPort>,
        before: Option<&Self>,
        now: Instant,
    ) -> Self {
        let known = |at: &HostPort| before?.hosts.iter().find(|host| host.at == *at).cloned();
        let new = |at| {
            let health = Health::new(now);
            Host {
                at,
                health,
                looked_at: false,
                sample: None,
                requested: now,
                answered: now,
                error: None,
            }
        };
        let hosts: Vec<Host> =
            hosts.into_iter().map(|at| known(&at).unwrap_or_else(|| new(at))).collect();
        let primary = before.and_then(Self::primary);
        let primary = primary.and_then(|at| hosts.iter().position(|host| host.at == *at));
        let line = before.and_then(|before| before.line);
        let moments = before.map(|before| before.moments.clone()).unwrap_or_default();
        Self { hosts, primary, line, moments, slighted: Vec::new() }
    }

    /// The primary, where one is known.
    pub fn primary(&self) -> Option<&HostPort> {
        Some(&self.hosts.get(self.primary?)?.at)
    }

    /// Whether this one is.
    pub fn is_primary(&self, host: usize) -> bool {
        self.primary == Some(host)
    }

    /// Takes in what a look at a host has shown, which began at `requested`.
    pub fn observe(
        &mut self,
        host: usize,
        requested: Instant,
        now: Instant,
        look: Result<Sample, Miss>,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(seen) = self.hosts.get_mut(host) else { return events };
        seen.looked_at = true;
        let sign = look.as_ref().map_or_else(|miss| miss.sign, |_| Sign::Answer);
        let changed = seen.health.saw(sign, now);
        match look {
            Ok(sample) => {
                (seen.sample, seen.error) = (Some(sample), None);
                (seen.requested, seen.answered) = (requested, now);
            }
            Err(miss) => {
                if sign == Sign::Refusal && seen.error.as_ref() != Some(&miss.cause) {
                    events.push(Event::Refuses(seen.at.clone(), miss.cause.clone()));
                }
                seen.error = Some(miss.cause);
            }
        }
        if changed {
            let (at, error) = (seen.at.clone(), seen.error.clone());
            events.push(match seen.health.state() {
                State::Up => Event::Up(at),
                State::Down | State::Unknown => Event::Down(at, error.unwrap_or_default()),
            });
        }
        self.elect(&mut events);
        // Once more does no harm, and the one that was chosen now has been asked before.
        let primary = self.primary.and_then(|primary| self.hosts.get(primary));
        if let Some(position) = primary.and_then(Host::position) {
            self.moments.sampled(position);
        }
        events
    }

    fn elect(&mut self, events: &mut Vec<Event>) {
        let line = self.line_of_now();
        let of = |sample: &Sample| Line { system: sample.system, timeline: sample.timeline };
        let primaries = self.up().filter(|(_, sample)| sample.role == Role::Primary);
        let primaries: Vec<(usize, Line)> =
            primaries.map(|(index, sample)| (index, of(sample))).collect();
        let ready = self.line.is_some() || self.hosts.iter().all(|host| host.looked_at);
        let fits = |(_, own): &&(usize, Line)| ready && line == Some(*own);
        let best: Vec<usize> = primaries.iter().filter(fits).map(|(index, _)| *index).collect();
        let chosen = match *best {
            [only] => Some(only),
            _ => self.primary.filter(|primary| best.contains(primary)),
        };
        if let Some(line) = line.filter(|line| chosen.is_some() && self.line != Some(*line)) {
            self.line = Some(line);
            self.moments = Moments::default();
        }
        if self.primary != chosen {
            self.primary = chosen;
            self.moments = Moments::default();
            events.push(match (self.primary(), self.line) {
                (Some(at), Some(line)) => Event::Primary(at.clone(), line.timeline),
                _ => Event::NoPrimary,
            });
        }
        let others = primaries.iter().map(|(index, _)| *index);
        let slighted: Vec<usize> = others.filter(|index| ready && chosen != Some(*index)).collect();
        for index in slighted.iter().filter(|index| !self.slighted.contains(index)) {
            events.extend(self.hosts.get(*index).map(|host| Event::Slighted(host.at.clone())));
        }
        self.slighted = slighted;
    }

    /// The cluster that these hosts are of, and the highest timeline that was seen of it.
    fn line_of_now(&self) -> Option<Line> {
        let is_there = |line: &Line| self.up().any(|(_, sample)| sample.system == line.system);
        let kept = self.line.filter(is_there);
        let primary = || self.up().find(|(_, sample)| sample.role == Role::Primary);
        let system = kept.map(|line| line.system).or_else(|| Some(primary()?.1.system))?;
        let own = self.up().filter(|(_, sample)| sample.system == system);
        let seen = own.map(|(_, sample)| sample.timeline).max();
        let timeline = seen.max(kept.map(|line| line.timeline))?;
        Some(Line { system, timeline })
    }

    fn up(&self) -> impl Iterator<Item = (usize, &Sample)> {
        let up = self.hosts.iter().enumerate();
        let up = up.filter(|(_, host)| host.health.state() == State::Up);
        up.filter_map(|(index, host)| Some((index, host.sample.as_ref()?)))
    }

    /// How far a replica is in the history of the primary. What one of another history says, or
    /// one that was silent when it was asked last, says nothing.
    fn replayed(&self, host: &Host) -> Option<Replayed> {
        let answers = host.health.state() == State::Up && host.error.is_none();
        let sample = host.sample.as_ref().filter(|sample| {
            let line = Line { system: sample.system, timeline: sample.timeline };
            sample.role == Role::Replica && answers && self.line == Some(line)
        })?;
        Some(Replayed {
            lsn: sample.lsn?,
            xmin: sample.snapshot.as_ref().map(|snapshot| snapshot.xmin),
        })
    }

    /// When the primary flushes what is committed.
    pub fn flushing(&self) -> Flushing {
        let primary = self.primary.and_then(|primary| self.hosts.get(primary)?.sample.as_ref());
        primary.map_or_else(Flushing::default, |sample| sample.flushing)
    }

    /// The moment up to which each of the hosts has everything, where it is a replica of which that
    /// is known.
    pub fn freshness(&self) -> impl Iterator<Item = Option<Instant>> {
        self.hosts.iter().map(|host| self.fresh_as_of(self.replayed(host)?))
    }

    fn fresh_as_of(&self, replayed: Replayed) -> Option<Instant> {
        self.moments.fresh_as_of(replayed.lsn, replayed.xmin)
    }

    /// What there is to tell, in the order of the hosts.
    pub fn figures(&self) -> Vec<HostFigures> {
        let figures = |(index, host): (usize, &Host)| {
            let state = host.health.state();
            let standing = match host.sample.as_ref().map(|sample| sample.role) {
                None => Standing::Unknown,
                Some(Role::Replica) => Standing::Replica,
                Some(Role::Primary) if self.primary == Some(index) => Standing::Primary,
                Some(Role::Primary) if state == State::Up => Standing::Slighted,
                Some(Role::Primary) => Standing::Unknown,
            };
            let replayed = self.replayed(host);
            HostFigures {
                at: host.at.clone(),
                standing,
                state,
                since: host.health.since(),
                timeline: host.sample.as_ref().map(|sample| sample.timeline),
                lsn: host.sample.as_ref().and_then(|sample| sample.lsn),
                fresh_as_of: replayed.and_then(|replayed| self.fresh_as_of(replayed)),
                lag_bytes: replayed
                    .and_then(|replayed| Some(replayed.lsn.bytes_behind(self.moments.latest()?))),
                circuit: None,
                used: 0,
                banned_until: None,
                error: host.error.clone(),
            }
        };
        self.hosts.iter().enumerate().map(figures).collect()
    }
}
