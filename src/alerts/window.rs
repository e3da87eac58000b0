//! What something was a while ago, for what has come since.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How long ago.
const WINDOW: Duration = Duration::from_secs(60);
/// Between two that are kept.
const STEP: Duration = Duration::from_secs(5);

/// Values of the last minute, some seconds apart.
#[derive(Debug)]
pub struct Window<T>(VecDeque<(Instant, T)>);

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Default> Window<T> {
    /// The value of a minute ago; and this one is kept. Before the first look there was nothing.
    pub fn look(&mut self, now: Instant, value: T) -> Option<&T> {
        if self.0.is_empty() {
            self.0.push_back((now, T::default()));
        }
        // The first of two stays as long as the second is not old enough.
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.0.pop_front();
        }
        let last = self.0.back().map(|(at, _)| *at);
        if last.is_none_or(|last| now.saturating_duration_since(last) >= STEP) {
            self.0.push_back((now, value));
        }
        self.0.front().map(|(_, value)| value)
    }
}

/// The time that `share` of what has come since took no longer than, in seconds, as Prometheus's
/// `histogram_quantile` has it: bounds in seconds with how many took no longer, and all. `None` when
/// nothing has come.
pub fn quantile(share: f64, bounds: &[(f64, u64)], all: u64) -> Option<f64> {
    if all == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let rank = share * all as f64;
    let (mut lower, mut below) = (0.0, 0);
    for (bound, count) in bounds {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let (reached, inside) = (*count as f64, (*count - below.min(*count)) as f64);
        if reached >= rank {
            #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
            let part = if inside > 0.0 { (rank - below as f64) / inside } else { 1.0 };
            return Some(lower + (bound - lower) * part);
        }
        (lower, below) = (*bound, *count);
    }
    Some(lower)
}
