//! What has happened lately that an operator may want to know: the last so many.
//!
//! What happens again and again is one event with a number, so that it does not push out all the
//! rest. There is no clock here.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The process begins or ends.
    Process,
    /// The configuration was read again.
    Reload,
    /// An operator wanted something done.
    Order,
    /// A host of a database.
    Host,
    /// Which host is the primary.
    Primary,
    /// A client could not keep its server.
    Pins,
    /// An alert was raised or resolved.
    Alert,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Reload => "reload",
            Self::Order => "order",
            Self::Host => "host",
            Self::Primary => "primary",
            Self::Pins => "pins",
            Self::Alert => "alert",
        }
    }
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it did for the first time.
    pub at: SystemTime,
    /// When it did last.
    pub last: SystemTime,
    /// How often.
    pub times: u64,
    /// What it is about.
    pub kind: Kind,
    /// The host, database or key; empty for the process as a whole.
    pub about: String,
    /// What happened.
    pub text: String,
}

/// What is the same again so soon is the same event.
const AGAIN: Duration = Duration::from_secs(60);
/// What is kept of a text.
const TEXT_MAX: usize = 300;

/// The last ones.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    events: VecDeque<Event>,
    max: usize,
}

impl Events {
    /// None yet; so many will be kept.
    pub fn new(max: usize) -> Self {
        Self { kept: Mutex::new(Kept { events: VecDeque::new(), max }) }
    }

    /// So many are kept from now on.
    pub fn limit(&self, max: usize) {
        let mut kept = self.kept.lock();
        kept.max = max;
        kept.trim();
    }

    /// This happens.
    pub fn add(&self, kind: Kind, about: &str, text: &str, at: SystemTime) {
        let short = |text: &str| text.chars().take(TEXT_MAX).collect::<String>();
        let (about, text) = (short(about), short(text));
        let mut kept = self.kept.lock();
        let is_same = |event: &&mut Event| {
            event.kind == kind
                && event.about == about
                && event.text == text
                && at.duration_since(event.last).unwrap_or_default() < AGAIN
        };
        if let Some(event) = kept.events.iter_mut().rev().find(is_same) {
            event.times += 1;
            event.last = at;
            return;
        }
        kept.events.push_back(Event { at, last: at, times: 1, kind, about, text });
        kept.trim();
    }

    /// All that are kept, in the order in which they began.
    pub fn list(&self) -> Vec<Event> {
        self.kept.lock().events.iter().cloned().collect()
    }
}

impl Kept {
    fn trim(&mut self) {
        let surplus = self.events.len().saturating_sub(self.max);
        self.events.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn last_ones_are_kept_and_repeats_are_one() {
        let events = Events::new(2);
        events.add(Kind::Host, "a", "host is down", after(1));
        events.add(Kind::Host, "b", "host is down", after(2));
        events.add(Kind::Host, "a", "host is down", after(60));
        events.add(Kind::Host, "a", "host is down", after(119));
        let shown = |events: &Events| -> Vec<_> {
            events.list().into_iter().map(|event| (event.about, event.times)).collect()
        };
        assert_eq!(shown(&events), [("a".into(), 3), ("b".into(), 1)]);
        assert_eq!((events.list()[0].at, events.list()[0].last), (after(1), after(119)));
        events.add(Kind::Host, "a", "host is down", after(179));
        assert_eq!(shown(&events), [("b".into(), 1), ("a".into(), 1)]);
        events.limit(1);
        assert_eq!(shown(&events), [("a".into(), 1)]);
        events.limit(0);
        events.add(Kind::Reload, "", &"x".repeat(1000), after(200));
        assert!(events.list().is_empty());
    }
}
