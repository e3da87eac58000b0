//! Sizes and durations as people write them: `"256 KiB"`, `1048576`, `2.5`, `"200ms"`, `"1h"`.
//!
//! Pure: text or number in, checked value or a sentence about what is wrong out.

use std::fmt;
use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many KiB (1024 bytes); saturates.
    #[must_use]
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib.saturating_mul(1024))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length; saturates where `usize` is smaller.
    #[must_use]
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// True for zero bytes.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, unit) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{} {name}", self.0 / unit);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// The permissions of a file, as `chmod` takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// These bits of owner, group and others.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & 0o777)
    }

    /// Reads octal digits, as in `0770`; `None` when it is something else.
    pub(crate) fn parse(octal: &str) -> Option<Self> {
        let digits = !octal.is_empty() && octal.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let bits = u32::from_str_radix(octal, 8).ok().filter(|_| digits)?;
        (bits <= 0o777).then_some(Self(bits))
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// What a plain number means where a duration is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeUnit {
    /// Seconds, as PgBouncer has it nearly everywhere.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl TimeUnit {
    /// The duration of `number` units; `None` when negative or too large.
    pub(crate) fn duration(self, number: f64) -> Option<Duration> {
        let seconds = match self {
            Self::Seconds => number,
            Self::Milliseconds => number / 1e3,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// `time` as a plain number of this unit, as short as it can be.
    pub(crate) fn number(self, time: Duration) -> String {
        let number = match self {
            Self::Seconds => time.as_secs_f64(),
            // Exact for every number that can be written: a product would not be.
            Self::Milliseconds => time.as_nanos() as f64 / 1e6,
        };
        format!("{number}")
    }

    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
        }
    }
}

/// Reads `"5s"`, `"200ms"`, `"2 min"`, `"1h"`, and plain numbers in `unit`; `None` when it is not
/// a duration.
pub(crate) fn parse_duration(text: &str, unit: TimeUnit) -> Option<Duration> {
    let (number, name) = split_unit(text)?;
    let seconds = match name {
        "" => return unit.duration(number),
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" | "sec" | "second" | "seconds" => number,
        "m" | "min" | "minute" | "minutes" => number * 60.0,
        "h" | "hour" | "hours" => number * 3600.0,
        "d" | "day" | "days" => number * 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads a duration as the file has it, a plain number as seconds; `None` when it is none.
#[must_use]
pub fn read_duration(text: &str) -> Option<Duration> {
    parse_duration(text, TimeUnit::Seconds)
}

/// Reads `"256 KiB"`, `"1MB"`, and plain numbers of bytes; as in Postgres, kB, MB and GB are powers
/// of 1024. `None` when it is not a size or not a whole number of bytes.
pub(crate) fn parse_size(text: &str) -> Option<ByteSize> {
    let (number, name) = split_unit(text)?;
    let unit: u32 = match name.to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    let bytes = number * f64::from(unit);
    // Up to 2^53 every whole number is exact in an f64, and so is its decimal text.
    let whole = bytes.fract() == 0.0 && bytes <= 9_007_199_254_740_992.0;
    whole.then(|| format!("{bytes:.0}").parse().ok().map(ByteSize::from_bytes)).flatten()
}

/// A duration in the largest unit that needs no fraction, for messages.
pub fn show_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if time.subsec_nanos() != 0 {
        return format!("{} ms", time.as_secs_f64() * 1e3);
    }
    for (name, unit) in [("d", 86400), ("h", 3600), ("min", 60)] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return format!("{} {name}", seconds / unit);
        }
    }
    format!("{seconds} s")
}

/// Splits `"1.5 MB"` into its number and the name of its unit.
fn split_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, name) = text.split_at(end);
    Some((number.parse().ok()?, name.trim_start()))
}
