//! Whether a host is worth an attempt, from what became of the last ones.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::events::{Events, Kind};
use crate::net::socket::Address;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// It opens when so many of a hundred attempts have failed.
    pub errors: usize,
    /// How long it stays open, and how long an attempt counts.
    pub reset: Duration,
}

/// What a breaker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Attempts are made.
    Closed,
    /// None is made: too many have failed.
    Open,
    /// One is made, to see whether it fails.
    HalfOpen,
}

impl Circuit {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// Tells the log and `events` of what has become of a breaker after an attempt.
pub(super) fn tell(
    events: &Events,
    host: &Address,
    (before, after): (Circuit, Circuit),
    error: &str,
) {
    let note = |text: &str| events.add(Kind::Host, &host.to_string(), text, SystemTime::now());
    match (before, after) {
        (Circuit::Closed, Circuit::Open) => {
            tracing::warn!(%host, "host is left out: {error}");
            note(&format!("host is left out: {error}"));
        }
        (Circuit::Open | Circuit::HalfOpen, Circuit::Closed) => {
            tracing::info!(%host, "host is used again");
            note("host is used again");
        }
        _ => {}
    }
}

/// Attempts of which some must have failed: a single one says little.
const ATTEMPTS_MIN: usize = 3;
/// How many are remembered.
const ATTEMPTS_MAX: usize = 20;

/// The breaker of a host.
#[derive(Clone, Debug)]
pub struct Breaker {
    limits: Limits,
    /// When each of the last attempts ended, and whether it failed.
    attempts: VecDeque<(Instant, bool)>,
    /// When it opened.
    opened: Option<Instant>,
    /// When the attempt began that decides whether it closes.
    trial: Option<Instant>,
}

impl Breaker {
    /// A closed one.
    pub fn new(limits: Limits) -> Self {
        Self { limits, attempts: VecDeque::new(), opened: None, trial: None }
    }

    /// One that knows what this one does, under other limits.
    pub(super) fn under(&self, limits: Limits) -> Self {
        Self { limits, ..self.clone() }
    }

    /// What it says.
    pub fn circuit(&self, now: Instant) -> Circuit {
        match self.opened {
            None => Circuit::Closed,
            Some(opened) if now < opened + self.limits.reset => Circuit::Open,
            Some(_) => Circuit::HalfOpen,
        }
    }

    /// Until when it is open, if it is.
    pub fn opens_again(&self) -> Option<Instant> {
        Some(self.opened? + self.limits.reset)
    }

    /// Whether an attempt may be made now, which is begun then.
    pub fn admit(&mut self, now: Instant) -> bool {
        match self.circuit(now) {
            Circuit::Closed => true,
            Circuit::Open => false,
            // The one before may have come to nothing without a word.
            Circuit::HalfOpen if self.trial.is_some_and(|at| now < at + self.limits.reset) => false,
            Circuit::HalfOpen => {
                self.trial = Some(now);
                true
            }
        }
    }

    /// An attempt has ended.
    pub fn tried(&mut self, failed: bool, now: Instant) {
        if self.opened.is_some() {
            // Of the one that decides, or of one that was made for want of another host.
            *self = Self::new(self.limits);
            self.opened = failed.then_some(now);
            return;
        }
        self.attempts.retain(|(at, _)| now < *at + self.limits.reset);
        if self.attempts.len() == ATTEMPTS_MAX {
            self.attempts.pop_front();
        }
        self.attempts.push_back((now, failed));
        let (all, failures) =
            (self.attempts.len(), self.attempts.iter().filter(|(_, failed)| *failed).count());
        if failed && all >= ATTEMPTS_MIN && failures * 100 >= all * self.limits.errors {
            self.opened = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { errors: 50, reset: Duration::from_secs(30) };

    /// What a breaker says after attempts, a second apart: `.` for a good one, `x` for a failed one,
    /// a digit for so many times ten seconds that pass.
    fn after(attempts: &str) -> (Breaker, Instant) {
        let (mut breaker, mut now) = (Breaker::new(LIMITS), Instant::now());
        for attempt in attempts.chars() {
            match attempt.to_digit(10) {
                Some(tens) => now += Duration::from_secs(u64::from(tens) * 10),
                None => breaker.tried(attempt == 'x', now),
            }
            now += Duration::from_secs(1);
        }
        (breaker, now)
    }

    #[test]
    fn breaker_opens_at_its_share_of_errors() {
        for (attempts, wanted) in [
            ("", Circuit::Closed),
            ("xx", Circuit::Closed),
            ("xxx", Circuit::Open),
            (".x.", Circuit::Closed),
            ("..x.x.", Circuit::Closed),
            (".x.x", Circuit::Open),
            ("..xx", Circuit::Open),
            (".....xxx.", Circuit::Closed),
            (".....xxxxx", Circuit::Open),
            // Those of long ago don't count.
            ("xx3x", Circuit::Closed),
            ("....3.xx", Circuit::Open),
            ("xxx3", Circuit::HalfOpen),
            ("xxx3.", Circuit::Closed),
            ("xxx3x", Circuit::Open),
            ("xxx3xx2", Circuit::Open),
            ("xxx.", Circuit::Closed),
        ] {
            let (breaker, now) = after(attempts);
            assert_eq!(breaker.circuit(now), wanted, "{attempts}");
        }
    }

    #[test]
    fn open_breaker_admits_nobody_and_a_half_open_one_a_single_attempt() {
        let (mut breaker, now) = after("xxx");
        assert!(!breaker.admit(now));
        let now = now + LIMITS.reset;
        assert!(breaker.admit(now) && !breaker.admit(now));
        assert!(breaker.admit(now + LIMITS.reset), "the first was never heard of again");
        breaker.tried(false, now);
        assert!(breaker.admit(now) && breaker.admit(now));
    }
}
