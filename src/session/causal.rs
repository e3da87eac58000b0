//! Up to which moment somebody has to see what was written: the sessions of a database, or those that
//! share a token. (What a session needs for itself, it keeps itself.)
//!
//! A moment is known before the client of the writer is told that its transaction is over: whoever hears
//! of that from it finds the moment here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::RandomState;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A moment that several sessions share, and that only moves forward.
#[derive(Debug)]
pub struct Moment {
    epoch: Instant,
    /// Nanoseconds from the epoch, and one more; 0 = there is none.
    at: AtomicU64,
}

impl Moment {
    fn new(epoch: Instant, at: u64) -> Arc<Self> {
        Arc::new(Self { epoch, at: AtomicU64::new(at) })
    }

    /// Something was written, and its client may be told.
    #[inline]
    pub(super) fn wrote(&self, now: Instant) {
        let at = u64::try_from(now.saturating_duration_since(self.epoch).as_nanos());
        self.at.fetch_max(at.unwrap_or(u64::MAX).saturating_add(1), Ordering::AcqRel);
    }

    /// When something was written last.
    #[inline]
    pub(super) fn get(&self) -> Option<Instant> {
        let at = self.at.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.epoch + Duration::from_nanos(at))
    }
}

/// All of them.
#[derive(Debug)]
pub struct Writes {
    epoch: Instant,
    databases: Mutex<HashMap<Box<str>, Arc<Moment>>>,
    /// What has to be assumed of a database that is not known: it may have been forgotten.
    floor: AtomicU64,
    tokens: Mutex<Tokens>,
    hasher: RandomState,
}

/// A database, and what sessions on it share, or its digest where that is long.
type Token = (Box<str>, Box<[u8]>);

/// Of a longer token a keyed digest is kept: those that are remembered take no more memory than their number
/// says. Two that have the same see each other's writes as well, and nothing else comes of it.
const TOKEN_MAX: usize = 64;

#[derive(Debug, Default)]
struct Tokens {
    by_name: HashMap<Token, Arc<Moment>, RandomState>,
    /// In the order in which they came.
    order: VecDeque<Token>,
    /// What has to be assumed of a token that is not known: it may have been forgotten.
    floor: u64,
}

/// Tokens that are remembered. Those of an earlier time are forgotten; what was written under them is
/// then reckoned with for all that come.
const TOKENS_MAX: usize = 100_000;
/// How many are looked at for one that comes, which sessions may still have.
const LOOKED_AT: usize = 4;

impl Writes {
    /// Nothing has been written yet.
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            databases: Mutex::default(),
            floor: AtomicU64::new(0),
            tokens: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// That of all sessions on a database.
    pub fn of(&self, database: &str) -> Arc<Moment> {
        let mut databases = self.databases.lock();
        if let Some(known) = databases.get(database) {
            return Arc::clone(known);
        }
        databases.retain(|_, moment| {
            let used = Arc::strong_count(moment) > 1;
            if !used {
                self.floor.fetch_max(moment.at.load(Ordering::Acquire), Ordering::AcqRel);
            }
            used
        });
        let moment = Moment::new(self.epoch, self.floor.load(Ordering::Acquire));
        databases.insert(database.into(), Arc::clone(&moment));
        moment
    }

    /// That of the sessions on a database that share a token.
    pub(super) fn of_token(&self, database: &str, token: &[u8]) -> Arc<Moment> {
        let digest;
        let token = match token.len() {
            ..=TOKEN_MAX => token,
            _ => {
                digest = [0_u8, 1].map(|part| self.hasher.hash_one((part, token)).to_be_bytes());
                digest.as_flattened()
            }
        };
        let name: Token = (database.into(), token.into());
        let mut tokens = self.tokens.lock();
        if let Some(known) = tokens.by_name.get(&name) {
            return Arc::clone(known);
        }
        for _ in 0..LOOKED_AT {
            if tokens.order.len() >= TOKENS_MAX {
                tokens.forget();
            }
        }
        let moment = Moment::new(self.epoch, tokens.floor);
        tokens.order.push_back(name.clone());
        tokens.by_name.insert(name, Arc::clone(&moment));
        moment
    }
}

impl Tokens {
    /// Forgets the oldest one that nobody uses; one that is in use counts as new.
    fn forget(&mut self) {
        let Some(name) = self.order.pop_front() else { return };
        let Some(moment) = self.by_name.get(&name) else { return };
        // Who has it may still write.
        if Arc::strong_count(moment) > 1 {
            return self.order.push_back(name);
        }
        self.floor = self.floor.max(moment.at.load(Ordering::Acquire));
        self.by_name.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_move_forward_and_are_shared() {
        let now = Instant::now();
        let writes = Writes::new(now);
        let later = |millis| now + Duration::from_millis(millis);
        let (one, same) = (writes.of_token("d", b"t"), writes.of_token("d", b"t"));
        let (other, elsewhere) = (writes.of_token("d", b"u"), writes.of_token("e", b"t"));
        assert_eq!(one.get(), None);
        one.wrote(later(5));
        one.wrote(later(3));
        assert_eq!((same.get(), other.get(), elsewhere.get()), (Some(later(5)), None, None));
        let all = writes.of("d");
        all.wrote(now);
        assert_eq!(writes.of("d").get(), Some(now));
    }

    #[test]
    fn long_token_is_shared_and_takes_no_more_than_its_digest() {
        let now = Instant::now();
        let writes = Writes::new(now);
        let long = |last: u8| [vec![b'x'; 400_000], vec![last]].concat();
        let (one, other) = (writes.of_token("d", &long(1)), writes.of_token("d", &long(2)));
        one.wrote(now);
        assert_eq!((writes.of_token("d", &long(1)).get(), other.get()), (Some(now), None));
        let tokens = writes.tokens.lock();
        let kept = tokens.order.iter().chain(tokens.by_name.keys());
        assert_eq!(kept.map(|(_, token)| token.len()).sum::<usize>(), 4 * 16);
    }

    #[test]
    fn forgotten_token_is_not_taken_for_one_that_never_wrote() {
        let now = Instant::now();
        let writes = Writes::new(now);
        let (written, then) = (writes.of_token("d", b"t"), now + Duration::from_secs(1));
        written.wrote(then);
        drop(written);
        writes.tokens.lock().forget();
        assert_eq!(writes.of_token("d", b"t").get(), Some(then));
        assert_eq!(writes.of_token("d", b"new").get(), Some(then));
    }
}
