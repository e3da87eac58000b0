//! How often something may happen: `100/15min`.

use std::fmt;
use std::time::Duration;

use super::units::{TimeUnit, parse_duration, show_duration};

/// So many times in a time: all of them at once, or spread; each comes back after its share of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    per: Duration,
}

impl Rate {
    /// Reads `100/15min`, `20/s`, `5/10s`. At most a million times, in at least a millisecond and at
    /// most a day.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (count, per) = text.split_once('/')?;
        let count = count.trim().parse().ok().filter(|count| (1..=COUNT_MAX).contains(count))?;
        let per = Some(per.trim()).filter(|per| !per.is_empty())?;
        let one = if per.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "1" };
        let per = parse_duration(&format!("{one}{per}"), TimeUnit::Seconds)?;
        (PER_MIN..=PER_MAX).contains(&per).then_some(Self { count, per })
    }

    /// How many at once.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// In how long as many come back.
    #[must_use]
    pub fn per(self) -> Duration {
        self.per
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, show_duration(self.per).replace(' ', ""))
    }
}

const COUNT_MAX: u32 = 1_000_000;
const PER_MIN: Duration = Duration::from_millis(1);
const PER_MAX: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_shown() {
        for (text, count, seconds, shown) in [
            ("100/15min", 100, 900.0, "100/15min"),
            ("20/s", 20, 1.0, "20/1s"),
            (" 5 / 10s ", 5, 10.0, "5/10s"),
            ("1/200ms", 1, 0.2, "1/200ms"),
            ("7/h", 7, 3600.0, "7/1h"),
        ] {
            let rate = Rate::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((rate.count(), rate.per().as_secs_f64()), (count, seconds), "{text}");
            assert_eq!(rate.to_string(), shown);
            assert_eq!(Rate::parse(shown), Some(rate));
        }
        for text in ["", "5", "/s", "0/s", "-1/s", "5/", "5/0s", "5/2d", "1000001/s", "5/x", "a/s"]
        {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }
}
