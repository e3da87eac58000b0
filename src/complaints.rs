//! What goes wrong again and again, for the log: the first of a kind at once, its repeats as a
//! number.
//!
//! Who floods us with bad logins does not flood the log: kinds are bounded too. Whoever owns this
//! has repeats summed up from time to time; there is no clock here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Kinds that are told apart between two sums.
const KINDS_MAX: usize = 1000;
/// Lines between two sums that are no complaints.
const MENTIONS_MAX: usize = 1000;
/// What is shown of a complaint: some of its words are a peer's.
const COMPLAINT_LEN_MAX: usize = 1000;
/// What is shown of a name that somebody has sent us.
const NAME_LEN_MAX: usize = 63;
/// Stands for all kinds beyond the limit.
const OTHERS: &str = "many other complaints";

/// A name as somebody has sent it: short, in quotes, without control characters.
pub fn shown(name: &str) -> String {
    let short: String = name.chars().take(NAME_LEN_MAX).collect();
    let more = if short.len() < name.len() { "..." } else { "" };
    format!("{short:?}{more}")
}

/// What is shown of a text that may be long.
pub fn short(text: &str) -> String {
    text.chars().take(COMPLAINT_LEN_MAX).collect()
}

/// A name as somebody has sent it, bare where it can be taken for nothing else; as [`shown`]
/// otherwise.
pub fn plain(name: &str) -> String {
    let bare = |c: char| c.is_alphanumeric() || "_-.$".contains(c);
    match !name.is_empty() && name.len() <= NAME_LEN_MAX && name.chars().all(bare) {
        true => name.to_owned(),
        false => shown(name),
    }
}

/// What was complained of lately.
#[derive(Debug, Default)]
pub struct Complaints {
    repeats: Mutex<HashMap<String, u64>>,
    /// Lines that were mentioned.
    mentions: AtomicUsize,
}

impl Complaints {
    /// Logs a complaint, or counts it if its kind, which is its text, was logged lately.
    pub fn complain(&self, what: &str) {
        let what: String = what.chars().take(COMPLAINT_LEN_MAX).collect();
        if self.is_new(&what) {
            tracing::warn!("{what}");
        }
    }

    /// Logs what is no complaint, up to a number between two sums.
    pub fn mention(&self, what: &str) {
        if self.mentions.fetch_add(1, Ordering::Relaxed) < MENTIONS_MAX {
            tracing::info!("{what}");
        }
    }

    /// Logs `what`, or counts it if one of this kind was logged lately.
    pub fn complain_of(&self, kind: &str, what: impl FnOnce() -> String) {
        self.complain_by(kind, || tracing::warn!("{}", short(&what())));
    }

    /// Has `tell` log it, or counts it if one of this kind was logged lately.
    pub fn complain_by(&self, kind: &str, tell: impl FnOnce()) {
        let kind: String = kind.chars().take(COMPLAINT_LEN_MAX).collect();
        if self.is_new(&kind) {
            tell();
        }
    }

    fn is_new(&self, what: &str) -> bool {
        let mut repeats = self.repeats.lock();
        if let Some(count) = repeats.get_mut(what) {
            *count += 1;
            return false;
        }
        if repeats.len() >= KINDS_MAX {
            *repeats.entry(OTHERS.to_owned()).or_default() += 1;
            return false;
        }
        repeats.insert(what.to_owned(), 0);
        true
    }

    /// Logs how often each was repeated in the time `gathered`, and starts anew.
    pub fn sum_up(&self, gathered: Duration) {
        let repeats = std::mem::take(&mut *self.repeats.lock());
        for (what, count) in repeats.into_iter().filter(|(_, count)| *count > 0) {
            tracing::warn!("{count} times more in {gathered:?}: {what}");
        }
        let more = self.mentions.swap(0, Ordering::Relaxed).saturating_sub(MENTIONS_MAX);
        if more > 0 {
            tracing::warn!("{more} more connections closed in {gathered:?} before their login");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_kinds_are_bounded() {
        let complaints = Complaints::default();
        assert!(complaints.is_new("wrong password"));
        assert!(!complaints.is_new("wrong password"));
        assert!(complaints.is_new("no such user"));
        assert_eq!(complaints.repeats.lock().get("wrong password"), Some(&1));
        let logged = (0..3000).filter(|n| complaints.is_new(&n.to_string()));
        assert_eq!(logged.count(), KINDS_MAX - 2);
        assert!(complaints.repeats.lock().len() <= KINDS_MAX + 1);
        assert_eq!(complaints.repeats.lock().get(OTHERS), Some(&2002));
        complaints.sum_up(Duration::from_secs(1));
        assert!(complaints.is_new("wrong password"));
    }

    #[test]
    fn long_complaints_are_kept_short() {
        let complaints = Complaints::default();
        let long = "x".repeat(100_000);
        complaints.complain(&long);
        complaints.complain(&format!("{long}y"));
        let repeats = complaints.repeats.lock();
        assert_eq!(repeats.get(&"x".repeat(COMPLAINT_LEN_MAX)), Some(&1));
    }

    #[test]
    fn names_are_shown_short_and_quoted() {
        assert_eq!(shown("a\nb"), "\"a\\nb\"");
        assert_eq!(shown(&"x".repeat(100)), format!("\"{}\"...", "x".repeat(63)));
        assert_eq!(plain("my_shop-1.x"), "my_shop-1.x");
        for strange in ["", "a b", "a/b", "a@b", "a\"", "a=b", &"x".repeat(64)] {
            assert_eq!(plain(strange), shown(strange));
        }
    }
}
