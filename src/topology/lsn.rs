//! A position in the write-ahead log.

use std::fmt;

/// Where in the log: positions of one timeline are comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(u64);

impl Lsn {
    /// Reads what Postgres writes: `16/B374D848`.
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let part = |part: &str| {
            let digits = part.bytes().all(|byte| byte.is_ascii_hexdigit());
            u32::from_str_radix(part, 16).ok().filter(|_| digits)
        };
        Some(Self(u64::from(part(high)?) << 32 | u64::from(part(low)?)))
    }

    /// How many bytes it lies behind another; 0 when it does not.
    pub fn bytes_behind(self, other: Self) -> u64 {
        other.0.saturating_sub(self.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(lsn) = self;
        write!(f, "{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_postgres_writes_them() {
        for text in ["0/0", "0/1501260", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(Lsn::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "0", "/", "0/", "1/+2", "1/g", "100000000/0", "0/100000000", "1/2/3"] {
            assert_eq!(Lsn::parse(text), None, "{text}");
        }
        let at = |text| Lsn::parse(text).unwrap();
        assert!(at("1/0") > at("0/FFFFFFFF"));
        assert_eq!(at("0/FFFFFFFF").bytes_behind(at("1/0")), 1);
        assert_eq!(at("1/0").bytes_behind(at("0/FFFFFFFF")), 0);
    }
}
