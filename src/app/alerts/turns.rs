//! What a receiver is told in its turn: what it refuses does not keep it from hearing of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::outlet::longer;
use crate::alerts::{Key, Notice};

/// What a receiver has refused, and when it is told again.
#[derive(Debug, Default)]
pub(super) struct Turns(BTreeMap<Key, Refused>);

#[derive(Clone, Copy, Debug)]
struct Refused {
    pause: Duration,
    again: Instant,
}

impl Turns {
    /// What of all that is due is told next: all together that was not refused before, or else one alert
    /// that was, if its pause is over.
    pub(super) fn next(&mut self, mut due: Vec<Notice>, now: Instant) -> Vec<Notice> {
        let keys: BTreeSet<&Key> = due.iter().map(|notice| &notice.key).collect();
        self.0.retain(|key, _| keys.contains(key));
        if due.iter().all(|notice| self.0.contains_key(&notice.key)) {
            let next = self.0.iter().min_by_key(|(_, refused)| refused.again);
            let next = next.filter(|(_, refused)| refused.again <= now).map(|(key, _)| key.clone());
            due.retain(|notice| next.as_ref() == Some(&notice.key));
        } else {
            due.retain(|notice| !self.0.contains_key(&notice.key));
        }
        due
    }

    /// When the next one that was refused may be told again.
    pub(super) fn again(&self) -> Option<Instant> {
        self.0.values().map(|refused| refused.again).min()
    }

    /// The receiver has refused these, together; whether any of them for the first time.
    pub(super) fn refused(&mut self, notices: &[Notice], now: Instant) -> bool {
        let mut is_new = false;
        for notice in notices {
            let before = self.0.get(&notice.key).map(|refused| refused.pause);
            let pause = longer(before);
            is_new |= before.is_none();
            self.0.insert(notice.key.clone(), Refused { pause, again: now + pause });
        }
        is_new
    }

    /// The receiver has taken these.
    pub(super) fn taken(&mut self, notices: &[Notice]) {
        for notice in notices {
            self.0.remove(&notice.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::alerts::{Severity, Unit};

    fn notice(about: &str) -> Notice {
        Notice {
            key: Key { name: "holder", about: about.to_owned(), severity: Severity::Warning },
            since: UNIX_EPOCH,
            resolved: None,
            value: 1.0,
            threshold: 1.0,
            unit: Unit::Count,
            detail: String::new(),
            silenced: false,
        }
    }

    #[test]
    fn what_is_refused_is_told_alone_and_later_and_keeps_nobody_waiting() {
        let (mut turns, began) = (Turns::default(), Instant::now());
        let due = ["a", "b", "c"].map(notice).to_vec();
        let abouts = |told: Vec<Notice>| {
            told.into_iter().map(|notice| notice.key.about).collect::<Vec<_>>().concat()
        };
        let next = |turns: &mut Turns, due: &[Notice], seconds: u64| {
            abouts(turns.next(due.to_vec(), began + Duration::from_secs(seconds)))
        };
        assert_eq!(next(&mut turns, &due, 0), "abc");
        assert!(turns.refused(&due, began));
        // One of them may be the reason: from now on each is told by itself.
        assert_eq!(next(&mut turns, &due, 0), "");
        assert_eq!(turns.again(), Some(began + Duration::from_secs(1)));
        assert_eq!(next(&mut turns, &due, 1), "a");
        assert!(!turns.refused(&due[..1], began + Duration::from_secs(1)));
        assert_eq!(next(&mut turns, &due, 1), "b");
        turns.taken(&due[1..2]);
        let rest = [notice("a"), notice("c"), notice("d")];
        // News first.
        assert_eq!(next(&mut turns, &rest, 1), "d");
        assert_eq!(next(&mut turns, &rest[..2], 1), "c");
        turns.taken(&rest[1..2]);
        assert_eq!(next(&mut turns, &rest[..1], 2), "");
        assert_eq!(next(&mut turns, &rest[..1], 3), "a");
        // What is not due any more is forgotten.
        assert_eq!((next(&mut turns, &[], 3), turns.again()), (String::new(), None));
    }
}
