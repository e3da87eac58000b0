//! What one receiver has to be told: of each alert how it stands now, and how it ended before, if the
//! receiver has not heard of that.
//!
//! A receiver that is not there for a while misses nothing that matters: what was raised and is
//! still raised is told as raised, what was resolved meanwhile as resolved, with both moments. Of an alert
//! that ended more than once meanwhile one end is told: that of what the receiver knows to be raised, or
//! else the last.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::{Key, Notice};

/// See the module.
#[derive(Debug, Default)]
pub struct Mailbox(BTreeMap<Key, Letter>);

#[derive(Debug)]
struct Letter {
    notice: Notice,
    /// What the receiver has last taken: when that was raised, and resolved.
    told: Option<Told>,
    /// It had ended before it was raised again, which is still to be told.
    ended: Option<Notice>,
}

type Told = (SystemTime, Option<SystemTime>);

fn told(notice: &Notice) -> Told {
    (notice.since, notice.resolved)
}

impl Letter {
    /// Another word on the same alert.
    fn replace(&mut self, notice: &Notice) {
        let before = std::mem::replace(&mut self.notice, notice.clone());
        let is_news = before.since != notice.since && before.resolved.is_some();
        if !is_news || self.told == Some(told(&before)) {
            return;
        }
        let knows = |ended: &Notice| self.told == Some((ended.since, None));
        if !self.ended.as_ref().is_some_and(knows) {
            self.ended = Some(before);
        }
    }
}

impl Mailbox {
    /// Takes in what is raised now and what has just changed. What is silenced is told when it ends
    /// to be, or when it is resolved and its raising was told.
    pub fn put(&mut self, raised: &[Notice], changes: &[Notice], max: usize) {
        let resolved = changes.iter().filter(|notice| notice.resolved.is_some());
        for notice in resolved.chain(raised) {
            match self.0.get_mut(&notice.key) {
                Some(letter) if letter.told.is_some() && notice.resolved.is_some() => {
                    letter.replace(notice);
                }
                Some(letter) if !notice.silenced => letter.replace(notice),
                None if !notice.silenced => {
                    let letter = Letter { notice: notice.clone(), told: None, ended: None };
                    self.0.insert(notice.key.clone(), letter);
                }
                // It was to be told as raised, and now it is silenced.
                Some(letter) if letter.told.is_none() => drop(self.0.remove(&notice.key)),
                _ => {}
            }
        }
        // Only what was resolved can be too many: what is raised is bounded itself.
        while self.0.len() > max.saturating_mul(2) {
            let oldest = self.0.iter().min_by_key(|(_, letter)| letter.notice.resolved.is_none());
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { break };
            self.0.remove(&key);
            tracing::warn!("alert {key} was not delivered: there are too many that were not");
        }
    }

    /// What has to be told now, in the order of names, and ends before what has been raised since.
    pub fn due(&self) -> Vec<Notice> {
        let due = self.0.values().flat_map(|letter| {
            let now = Some(&letter.notice).filter(|now| letter.told != Some(told(now)));
            letter.ended.iter().chain(now)
        });
        due.cloned().collect()
    }

    /// What the receiver knows to be raised.
    pub fn known(&self) -> Vec<Notice> {
        let known = self.0.values().filter(|letter| letter.told == Some(told(&letter.notice)));
        known.map(|letter| letter.notice.clone()).collect()
    }

    /// The receiver has taken these. What has changed meanwhile is due again.
    pub fn delivered(&mut self, notices: &[Notice]) {
        for notice in notices {
            let Some(letter) = self.0.get_mut(&notice.key) else { continue };
            letter.told = Some(told(notice));
            letter.ended.take_if(|ended| told(ended) == told(notice));
            if notice.resolved.is_some() && told(&letter.notice) == told(notice) {
                self.0.remove(&notice.key);
            }
        }
    }

    /// Forgets all of it: there is another receiver.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
