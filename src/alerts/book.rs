//! Which alerts are raised.
//!
//! One alert is pending while its value is past the threshold, and is raised when it has been so
//! for the condition's duration: whatever comes back before that starts anew, and what is not known in between does not. It is resolved when
//! the value has been back by more than the hysteresis for `resolve_after`; in between it stays as it
//! is. A value that is not known changes nothing. What is resolved is kept for an hour, for people, as long as
//! there is place: what is to be seen now comes first.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::condition::{CONDITIONS, Condition, Sense, Unit};
use super::{Key, Moment, Notice, Reading, Severity};
use crate::config::Alerts;

/// How long what is resolved is shown.
const KEPT: Duration = Duration::from_secs(3600);

/// All alerts that are something else than quiet.
#[derive(Debug, Default)]
pub struct Book {
    entries: HashMap<(&'static str, Severity), HashMap<String, Entry>>,
    count: usize,
    /// By the name of a condition.
    silences: BTreeMap<&'static str, Silence>,
    overflows: bool,
}

/// Nobody but the log is told.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Moment,
    /// `None` is for ever.
    until: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Entry {
    stage: Stage,
    value: f64,
    threshold: f64,
    unit: Unit,
    detail: String,
    /// When it was last read.
    read: Instant,
}

/// Where an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Past the threshold, since then.
    Pending(Moment),
    /// Raised; and since when the value is back, if it is.
    Raised { since: Moment, back: Option<Instant> },
    /// It was raised, and is not any more.
    Resolved { since: Moment, at: Moment },
}

/// How an alert stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It will be raised if this goes on.
    Pending,
    /// It is raised.
    Raised,
    /// It was, in the last hour.
    Resolved,
    /// There is nothing to tell of it but that it is silenced.
    Quiet,
}

impl State {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Raised => "raised",
            Self::Resolved => "resolved",
            Self::Quiet => "quiet",
        }
    }
}

/// An alert as it is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Which.
    pub key: Key,
    /// How it stands.
    pub state: State,
    /// Since when.
    pub since: Moment,
    /// Its value when it was last known, its threshold, and the unit of both.
    pub value: f64,
    /// See there.
    pub threshold: f64,
    /// See there.
    pub unit: Unit,
    /// What else there is to say.
    pub detail: String,
    /// Nobody but the log is told; until then, or for ever.
    pub silenced: Option<Option<Instant>>,
}

/// What a value is to a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Past,
    /// Not past it, and not back by the hysteresis.
    Between,
    Back,
    Unknown,
}

/// What holds for one alert.
#[derive(Clone, Copy, Debug)]
struct Terms {
    lasts: Duration,
    resolve_after: Duration,
}

impl Stage {
    /// What becomes of it; `None` is quiet.
    fn next(before: Option<Self>, seen: Seen, now: Moment, terms: Terms) -> Option<Self> {
        let raised = |since: Moment| match now.at.saturating_duration_since(since.at) {
            waited if waited >= terms.lasts => Self::Raised { since: now, back: None },
            _ => Self::Pending(since),
        };
        match (before, seen) {
            (None | Some(Self::Resolved { .. }), Seen::Past) => Some(raised(now)),
            (Some(Self::Pending(since)), Seen::Past) => Some(raised(since)),
            // It may be what keeps it from being known.
            (Some(Self::Pending(_)), Seen::Unknown) => before,
            (None | Some(Self::Pending(_)), _) => None,
            (Some(Self::Raised { since, back }), Seen::Back) => {
                let back = back.unwrap_or(now.at);
                Some(match now.at.saturating_duration_since(back) {
                    gone if gone >= terms.resolve_after => Self::Resolved { since, at: now },
                    _ => Self::Raised { since, back: Some(back) },
                })
            }
            (Some(Self::Raised { since, .. }), _) => Some(Self::Raised { since, back: None }),
            (Some(Self::Resolved { at, .. }), _) => {
                before.filter(|_| now.at.saturating_duration_since(at.at) < KEPT)
            }
        }
    }

    /// What becomes of an alert whose thing is not there any more, or that is turned off.
    fn ended(self, now: Moment) -> Option<Self> {
        match self {
            Self::Pending(_) => None,
            Self::Raised { since, .. } => Some(Self::Resolved { since, at: now }),
            Self::Resolved { at, .. } => {
                Some(self).filter(|_| now.at.saturating_duration_since(at.at) < KEPT)
            }
        }
    }

    fn is_raised(self) -> bool {
        matches!(self, Self::Raised { .. })
    }
}

impl Entry {
    fn notice(&self, key: Key, silenced: bool) -> Option<Notice> {
        let (since, resolved) = match self.stage {
            Stage::Pending(_) => return None,
            Stage::Raised { since, .. } => (since.time, None),
            Stage::Resolved { since, at } => (since.time, Some(at.time)),
        };
        let Self { value, threshold, unit, .. } = *self;
        let detail = self.detail.clone();
        Some(Notice { key, since, resolved, value, threshold, unit, detail, silenced })
    }
}

impl Book {
    /// Takes in what everything has shown now: what was raised or resolved by it, in the order of
    /// the readings. What has not been read is not there any more.
    pub fn look(&mut self, now: Moment, readings: &[Reading], settings: &Alerts) -> Vec<Notice> {
        self.silences.retain(|_, silence| silence.until.is_none_or(|until| until > now.at));
        let mut changes = Vec::new();
        // Who finds no place need not look for one again, and neither need what is as bad.
        let mut turned_away: Option<Severity> = None;
        for reading in readings {
            for severity in Severity::ALL {
                let Some(threshold) = reading.condition.threshold(settings, severity) else {
                    continue;
                };
                let full = self.count >= settings.max_alerts
                    && (turned_away.is_some_and(|worst| severity <= worst)
                        || self.is_new(reading, severity)
                            && is_past(reading, threshold, settings)
                            && !self.makes_room(severity));
                if self.read(now, reading, (severity, threshold), settings, full, &mut changes) {
                    turned_away = turned_away.max(Some(severity));
                }
            }
        }
        self.sweep(now, &mut changes);
        if turned_away.is_some() && !self.overflows {
            tracing::warn!("there are more alerts than max_alerts: some are not seen");
        }
        self.overflows = turned_away.is_some();
        changes
    }

    /// Whether there is nothing of this alert yet.
    fn is_new(&self, reading: &Reading, severity: Severity) -> bool {
        let entries = self.entries.get(&(reading.condition.name, severity));
        !entries.is_some_and(|entries| entries.contains_key(&reading.about))
    }

    /// Forgets something for one of this severity: what was resolved first of all, then what is only
    /// pending and not as bad; `false` where there is neither.
    fn makes_room(&mut self, severity: Severity) -> bool {
        let rank = |of: Severity, entry: &Entry| match entry.stage {
            Stage::Resolved { at, .. } => Some((false, at.at)),
            Stage::Pending(since) if of < severity => Some((true, since.at)),
            Stage::Pending(_) | Stage::Raised { .. } => None,
        };
        let all = self.entries.iter().flat_map(|(key, entries)| {
            entries.iter().filter_map(|(about, entry)| Some((rank(key.1, entry)?, *key, about)))
        });
        let Some((_, key, about)) = all.min().map(|(rank, key, about)| (rank, key, about.clone()))
        else {
            return false;
        };
        let gone = self.entries.get_mut(&key).and_then(|entries| entries.remove(&about));
        self.count -= usize::from(gone.is_some());
        true
    }

    /// Takes in one reading; whether there is no place for it.
    fn read(
        &mut self,
        now: Moment,
        reading: &Reading,
        (severity, threshold): (Severity, f64),
        settings: &Alerts,
        full: bool,
        changes: &mut Vec<Notice>,
    ) -> bool {
        let Reading { condition, about, value, detail } = reading;
        let entries = self.entries.entry((condition.name, severity)).or_default();
        let before = entries.get(about).map(|entry| entry.stage);
        let seen = value.map_or(Seen::Unknown, |value| seen(condition, value, threshold, settings));
        let lasts = (condition.lasts)(settings);
        let terms = Terms { lasts, resolve_after: settings.resolve_after };
        let Some(stage) = Stage::next(before, seen, now, terms) else {
            self.count -= usize::from(entries.remove(about).is_some());
            return false;
        };
        if before.is_none() && full {
            return true;
        }
        self.count += usize::from(before.is_none());
        let entry = entries.entry(about.clone()).or_insert_with(|| {
            let unit = condition.unit;
            let detail = String::new();
            Entry { stage, value: 0.0, threshold, unit, detail, read: now.at }
        });
        (entry.stage, entry.threshold, entry.read) = (stage, threshold, now.at);
        if let Some(value) = value
            && !matches!(stage, Stage::Resolved { at, .. } if at != now)
        {
            entry.value = *value;
            entry.detail.clone_from(detail);
        }
        let was_raised = before.is_some_and(Stage::is_raised);
        if was_raised != stage.is_raised() {
            let key = Key { name: condition.name, about: about.clone(), severity };
            let silenced = self.silences.contains_key(condition.name);
            changes.extend(entry.notice(key, silenced));
        }
        false
    }

    /// Ends what was not read this time.
    fn sweep(&mut self, now: Moment, changes: &mut Vec<Notice>) {
        let mut gone = Vec::new();
        for ((name, severity), entries) in &mut self.entries {
            let silenced = self.silences.contains_key(name);
            entries.retain(|about, entry| {
                if entry.read == now.at {
                    return true;
                }
                let was_raised = entry.stage.is_raised();
                let Some(stage) = entry.stage.ended(now) else {
                    self.count -= 1;
                    return false;
                };
                entry.stage = stage;
                if was_raised {
                    let key = Key { name, about: about.clone(), severity: *severity };
                    gone.extend(entry.notice(key, silenced));
                }
                true
            });
        }
        gone.sort_by(|one, other| one.key.cmp(&other.key));
        changes.append(&mut gone);
    }

    /// What is raised now, in the order of names.
    pub fn raised(&self) -> Vec<Notice> {
        let mut raised = Vec::new();
        for (key, entry) in self.all().filter(|(_, entry)| entry.stage.is_raised()) {
            let silenced = self.silences.contains_key(key.name);
            raised.extend(entry.notice(key, silenced));
        }
        raised.sort_by(|one, other| one.key.cmp(&other.key));
        raised
    }

    /// Everything there is to show: what is raised first, then what may be soon, then what was.
    pub fn shown(&self) -> Vec<Shown> {
        let shown = |(key, entry): (Key, &Entry)| {
            let (state, since) = match entry.stage {
                Stage::Pending(since) => (State::Pending, since),
                Stage::Raised { since, .. } => (State::Raised, since),
                Stage::Resolved { at, .. } => (State::Resolved, at),
            };
            let silenced = self.silences.get(key.name).map(|silence| silence.until);
            let Entry { value, threshold, unit, .. } = *entry;
            let detail = entry.detail.clone();
            Shown { key, state, since, value, threshold, unit, detail, silenced }
        };
        let mut all: Vec<Shown> = self.all().map(shown).collect();
        let is_shown = |name: &str| all.iter().any(|shown| shown.key.name == name);
        let others = self.silences.iter().filter(|(name, _)| !is_shown(name));
        let quiet = |(name, silence): (&&'static str, &Silence)| Shown {
            key: Key { name, about: String::new(), severity: Severity::Warning },
            state: State::Quiet,
            since: silence.since,
            value: 0.0,
            threshold: 0.0,
            unit: Unit::Flag,
            detail: String::new(),
            silenced: Some(silence.until),
        };
        let quiet: Vec<Shown> = others.map(quiet).collect();
        all.extend(quiet);
        let rank = |state| match state {
            State::Raised => 0,
            State::Pending => 1,
            State::Resolved => 2,
            State::Quiet => 3,
        };
        all.sort_by(|one, other| {
            let (one, other) = ((rank(one.state), &one.key), (rank(other.state), &other.key));
            one.cmp(&other)
        });
        all
    }

    fn all(&self) -> impl Iterator<Item = (Key, &Entry)> {
        self.entries.iter().flat_map(|((name, severity), entries)| {
            let key = |about: &String| Key { name, about: about.clone(), severity: *severity };
            entries.iter().map(move |(about, entry)| (key(about), entry))
        })
    }

    /// Has nobody but the log told of a condition from now on, until then or for ever; `false` when
    /// there is none of this name.
    pub fn silence(&mut self, name: &str, now: Moment, until: Option<Instant>) -> bool {
        let condition = CONDITIONS.iter().find(|condition| condition.name == name);
        let Some(condition) = condition else { return false };
        self.silences.insert(condition.name, Silence { since: now, until });
        true
    }

    /// Ends that; `false` when it was not so.
    pub fn unsilence(&mut self, name: &str) -> bool {
        self.silences.remove(name).is_some()
    }
}

fn is_past(reading: &Reading, threshold: f64, settings: &Alerts) -> bool {
    let seen = reading.value.map(|value| seen(reading.condition, value, threshold, settings));
    seen == Some(Seen::Past)
}

fn seen(condition: &Condition, value: f64, threshold: f64, settings: &Alerts) -> Seen {
    #[expect(clippy::cast_precision_loss, reason = "up to 90")]
    let band = threshold * settings.hysteresis as f64 / 100.0;
    let (over, back) = match condition.sense {
        Sense::AtLeast => (value >= threshold, value < threshold - band || value <= 0.0),
        Sense::AtMost => (value <= threshold, value > threshold + band),
    };
    match (over, back) {
        (true, _) => Seen::Past,
        (_, true) => Seen::Back,
        _ => Seen::Between,
    }
}
