//! How often somebody may come: token buckets, by who it is.
//!
//! A bucket that is full says nothing and is forgotten, so that books stay small; a book that is
//! full of others all the same is begun anew: it is bounded first, and exact second.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::condition::{self, wait_for};
use crate::config::Rate;
use crate::wire::reply::Report;

/// Buckets that a book keeps.
const KEPT_MAX: usize = 10_000;

/// One token bucket.
#[derive(Debug)]
pub struct Pace {
    rate: Rate,
    /// When it will be full again: before now when it is.
    full_at: Mutex<Instant>,
}

impl Pace {
    fn new(rate: Rate) -> Self {
        Self { rate, full_at: Mutex::new(Instant::now()) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long to wait for one, when there is none.
    pub fn take(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let one = self.rate.per() / self.rate.count();
        let mut full_at = self.full_at.lock();
        // Filling one token takes `one`, and the whole bucket `per`.
        let after = (*full_at).max(now) + one;
        match after.duration_since(now).checked_sub(self.rate.per()) {
            Some(missing) if !missing.is_zero() => Err(missing),
            _ => {
                *full_at = after;
                Ok(())
            }
        }
    }

    fn is_full(&self) -> bool {
        *self.full_at.lock() <= Instant::now()
    }
}

/// The buckets of all who come.
#[derive(Debug)]
pub struct Paces<K> {
    rate: Option<Rate>,
    kept: Mutex<HashMap<K, Arc<Pace>>>,
}

impl<K: Eq + Hash> Paces<K> {
    /// All are full; `None` for no limit.
    pub fn new(rate: Option<Rate>) -> Self {
        Self { rate, kept: Mutex::default() }
    }

    /// The bucket of one of them; `None` where there is no limit.
    pub fn of(&self, who: K) -> Option<Arc<Pace>> {
        let rate = self.rate?;
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT_MAX && !kept.contains_key(&who) {
            // One that somebody holds would be a second one if it were forgotten.
            kept.retain(|_, pace| Arc::strong_count(pace) > 1 || !pace.is_full());
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
        }
        Some(Arc::clone(kept.entry(who).or_insert_with(|| Arc::new(Pace::new(rate)))))
    }

    /// Takes a token for a login.
    ///
    /// # Errors
    /// What the client is told when there is none: that it comes too often for this key.
    pub fn keep(&self, who: K, key: &str) -> Result<(), Report> {
        let taken = self.of(who).map_or(Ok(()), |pace| pace.take());
        taken.map_err(|wait| wait_for(condition::LOGIN_RATE, key, wait))
    }
}

/// Whom an address stands for: one machine, or the network that one customer gets in IPv6.
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn burst_passes_and_tokens_come_back_one_by_one() {
        let pace = Pace::new(Rate::parse("4/s").unwrap());
        for _ in 0..4 {
            assert_eq!(pace.take(), Ok(()));
        }
        assert_eq!(pace.take(), Err(Duration::from_millis(250)));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(pace.take(), Err(Duration::from_millis(150)));
        tokio::time::advance(Duration::from_millis(150)).await;
        assert_eq!(pace.take(), Ok(()));
        assert!(pace.take().is_err());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(pace.is_full());
        assert_eq!((0..10).filter(|_| pace.take().is_ok()).count(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_its_own_and_books_are_bounded() {
        let paces = Paces::new(Rate::parse("1/h"));
        assert_eq!(paces.of(0).unwrap().take(), Ok(()));
        assert!(paces.of(0).unwrap().take().is_err());
        assert_eq!(paces.of(1).unwrap().take(), Ok(()));
        for who in 0..3 * KEPT_MAX {
            drop(paces.of(who));
        }
        assert!(paces.kept.lock().len() <= KEPT_MAX);
        // Full ones went first.
        assert!(paces.of(0).unwrap().take().is_err());
        assert!(Paces::<u8>::new(None).of(0).is_none());
    }

    #[test]
    fn a_network_of_ipv6_is_one() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(neighbourhood(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_eq!(neighbourhood(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }
}
