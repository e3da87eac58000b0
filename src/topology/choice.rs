//! Which of several replicas a session reads from, as a decision about values.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Share, Spread};

/// How fresh a replica has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// It has everything up to this moment.
    pub since: Option<Instant>,
    /// It lacks no more than the last of this time.
    pub max_lag: Option<Duration>,
}

/// Why no replica will do, the least hopeful first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfit {
    /// None is there.
    Missing,
    /// Those that are there are too far behind.
    Lagging,
    /// None has everything up to the moment.
    Behind,
    /// They have, but might be behind what was read elsewhere.
    Unsure,
}

/// What there is to know of a replica when one is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The moment up to which it has everything; `None` when it is not to be had.
    pub fresh_as_of: Option<Instant>,
    /// How many read there.
    pub used: usize,
    /// It may be behind what was read elsewhere.
    pub unsure: bool,
}

/// The hosts of a database as those among which one is chosen.
#[derive(Debug)]
pub struct Choice {
    spread: Spread,
    shares: Box<[Share]>,
    /// How far each host is with its turns: each moves it by its length, which is shorter for more
    /// weight.
    turns: Box<[AtomicU64]>,
    /// How far the foremost is.
    front: AtomicU64,
}

impl Need {
    /// Whether a replica that has everything up to `fresh_as_of` will do.
    ///
    /// # Errors
    /// Why it will not.
    #[inline]
    pub fn admits(&self, fresh_as_of: Instant, now: Instant) -> Result<(), Unfit> {
        if self.max_lag.is_some_and(|max| now.saturating_duration_since(fresh_as_of) > max) {
            return Err(Unfit::Lagging);
        }
        if self.since.is_some_and(|since| fresh_as_of < since) {
            return Err(Unfit::Behind);
        }
        Ok(())
    }
}

impl Choice {
    /// Chooses so, among hosts with these shares.
    pub fn new(spread: Spread, shares: impl IntoIterator<Item = Share>) -> Self {
        let shares: Box<[Share]> = shares.into_iter().collect();
        let turns = shares.iter().map(|_| AtomicU64::new(0)).collect();
        Self { spread, shares, turns, front: AtomicU64::new(0) }
    }

    /// Whether it chooses so.
    pub fn is(&self, spread: Spread, shares: &[Share]) -> bool {
        self.spread == spread && *self.shares == *shares
    }

    /// Chooses one of the candidates, which are in the order of the shares. Hosts that are for
    /// when there is no other are chosen only then.
    ///
    /// # Errors
    /// Why none will do.
    pub fn choose(
        &self,
        need: &Need,
        now: Instant,
        candidate: impl Fn(usize) -> Candidate,
    ) -> Result<usize, Unfit> {
        let mut unfit = Unfit::Missing;
        for is_backup in [false, true] {
            let mut fit = |index: usize, share: &Share| {
                if share.backup != is_backup {
                    return None;
                }
                let Candidate { fresh_as_of, used, unsure } = candidate(index);
                match need.admits(fresh_as_of?, now) {
                    Ok(()) if unsure => {
                        unfit = Unfit::Unsure;
                        None
                    }
                    Ok(()) => Some(used),
                    Err(why) => {
                        unfit = unfit.max(why);
                        None
                    }
                }
            };
            let mut fitting: [(usize, usize, usize); HOSTS_MAX] = [(0, 0, 0); HOSTS_MAX];
            let mut count = 0;
            for (index, share) in self.shares.iter().enumerate().take(HOSTS_MAX) {
                if let Some(used) = fit(index, share)
                    && let Some(slot) = fitting.get_mut(count)
                {
                    *slot = (index, used, share.weight.max(1));
                    count += 1;
                }
            }
            let fitting = fitting.get(..count).unwrap_or_default();
            if let Some(index) = self.among(fitting) {
                return Ok(index);
            }
        }
        Err(unfit)
    }

    /// One of these: index, use, weight.
    fn among(&self, fitting: &[(usize, usize, usize)]) -> Option<usize> {
        let [_, _, ..] = fitting else {
            return fitting.first().map(|(index, ..)| *index);
        };
        // How many use a host, per weight: a cross product compares it.
        let least = fitting.iter().min_by(|a, b| (a.1 * b.2).cmp(&(b.1 * a.2)))?;
        // Those that have no more than one above that: else the first would get all while there is
        // little to do, whatever its weight.
        let is_light = |host: &(usize, usize, usize)| match self.spread {
            Spread::LeastConn => host.1 * least.2 <= (least.1 + least.2) * host.2,
            Spread::RoundRobin | Spread::Random => true,
        };
        let light = || fitting.iter().filter(|host| is_light(host));
        if self.spread != Spread::Random {
            return self.next_of(light().map(|(index, _, weight)| (*index, *weight)));
        }
        let weights: usize = light().map(|(_, _, weight)| weight).sum();
        let mut at = usize::from_le_bytes(random()) % weights.max(1);
        for (index, _, weight) in light() {
            match at.checked_sub(*weight) {
                Some(left) => at = left,
                None => return Some(*index),
            }
        }
        None
    }

    /// The one of these (index, weight) that is the furthest behind with its turns. Who was passed
    /// over, as it was busy or away, makes up for some of what it has missed.
    fn next_of(&self, hosts: impl Iterator<Item = (usize, usize)>) -> Option<usize> {
        let start = self.front.load(Ordering::Relaxed).saturating_sub(MISSED_MAX * TURN);
        let known = |(index, weight): (usize, usize)| {
            let turns = self.turns.get(index)?;
            Some((turns.load(Ordering::Relaxed), index, weight, turns))
        };
        let (was, index, weight, turns) =
            hosts.filter_map(known).min_by_key(|(at, index, ..)| ((*at).max(start), *index))?;
        let now = was.max(start) + TURN / u64::try_from(weight).ok()?.max(1);
        turns.fetch_add(now - was, Ordering::Relaxed);
        self.front.fetch_max(now, Ordering::Relaxed);
        Some(index)
    }
}

fn random() -> [u8; size_of::<usize>()] {
    use std::hash::{BuildHasher, RandomState};
    // Seeded anew each time.
    RandomState::new().hash_one(0u8).to_le_bytes()
}

/// Hosts of a database among which one is chosen; those behind are not.
const HOSTS_MAX: usize = 32;
/// The length of a turn of a host of weight 1.
const TURN: u64 = 1 << 20;
/// So many turns that it has missed are made up for.
const MISSED_MAX: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Share = Share { weight: 1, backup: false };

    fn shares(spread: Spread, weights: &[usize]) -> Choice {
        Choice::new(spread, weights.iter().map(|weight| Share { weight: *weight, ..PLAIN }))
    }

    /// How often each host is chosen of so many times, when these use them.
    fn chosen(choice: &Choice, times: usize, used: &[usize]) -> Vec<usize> {
        let now = Instant::now();
        let mut counts = vec![0; used.len()];
        for _ in 0..times {
            let at = |index: usize| Candidate {
                fresh_as_of: Some(now),
                used: used[index],
                unsure: false,
            };
            counts[choice.choose(&Need::default(), now, at).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn weights_are_kept_where_hosts_are_equally_busy() {
        for spread in [Spread::LeastConn, Spread::RoundRobin] {
            assert_eq!(chosen(&shares(spread, &[1, 1, 2]), 400, &[0, 0, 0]), [100, 100, 200]);
            assert_eq!(chosen(&shares(spread, &[3, 1]), 400, &[3, 1]), [300, 100]);
        }
        let random = chosen(&shares(Spread::Random, &[1, 3]), 4000, &[0, 0]);
        assert!((800..1200).contains(&random[0]), "{random:?}");
    }

    #[test]
    fn busy_host_is_passed_over_by_least_conn_alone() {
        assert_eq!(chosen(&shares(Spread::LeastConn, &[1, 1, 1]), 60, &[5, 2, 3]), [0, 30, 30]);
        assert_eq!(chosen(&shares(Spread::LeastConn, &[4, 1]), 60, &[9, 1]), [0, 60]);
        assert_eq!(chosen(&shares(Spread::RoundRobin, &[1, 1]), 60, &[5, 2]), [30, 30]);
    }

    #[test]
    fn host_makes_up_for_turns_that_it_has_missed_lately() {
        for (missed, made_up) in [(20, 20), (1000, 32)] {
            let choice = shares(Spread::LeastConn, &[1, 1]);
            chosen(&choice, missed, &[5, 0]);
            let counts = chosen(&choice, 100, &[0, 0]);
            assert_eq!(counts[0] - counts[1], made_up, "{counts:?}");
        }
    }

    #[test]
    fn backup_is_chosen_only_when_there_is_no_other() {
        let now = Instant::now();
        let choice = Choice::new(Spread::LeastConn, [Share { backup: true, ..PLAIN }, PLAIN]);
        let (old, need) = (now - Duration::from_secs(9), Duration::from_secs(5));
        let need = Need { since: None, max_lag: Some(need) };
        let choose = |fresh: [Option<Instant>; 2]| {
            choice.choose(&need, now, |index| Candidate {
                fresh_as_of: fresh[index],
                used: 0,
                unsure: false,
            })
        };
        assert_eq!(choose([Some(now), Some(now)]), Ok(1));
        assert_eq!(choose([Some(now), Some(old)]), Ok(0));
        assert_eq!(choose([Some(now), None]), Ok(0));
        assert_eq!(choose([Some(old), None]), Err(Unfit::Lagging));
    }

    #[test]
    fn unknown_lag_is_not_eligible() {
        let now = Instant::now();
        let choice = shares(Spread::LeastConn, &[1, 1]);
        let nowhere = |_| Candidate { fresh_as_of: None, used: 0, unsure: false };
        assert_eq!(choice.choose(&Need::default(), now, nowhere), Err(Unfit::Missing));
    }

    #[test]
    fn replica_has_everything_up_to_the_moment_and_no_older_than_allowed() {
        let now = Instant::now();
        let ago = |seconds| now - Duration::from_secs(seconds);
        let need =
            |since, max_lag: Option<u64>| Need { since, max_lag: max_lag.map(Duration::from_secs) };
        for (need, fresh, wanted) in [
            (need(None, None), ago(1000), Ok(())),
            (need(None, Some(5)), ago(5), Ok(())),
            (need(None, Some(5)), ago(6), Err(Unfit::Lagging)),
            (need(Some(ago(3)), None), ago(3), Ok(())),
            (need(Some(ago(3)), None), ago(4), Err(Unfit::Behind)),
            (need(Some(ago(3)), Some(1)), ago(2), Err(Unfit::Lagging)),
        ] {
            assert_eq!(need.admits(fresh, now), wanted);
        }
    }
}
