//! Which transactions are over for whoever looks at a server now.

/// What `txid_current_snapshot()` says. Two that are equal show the same rows: none of those who are under way
/// has ended in between, and nobody who has come since has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// All before it are over.
    pub xmin: u64,
    /// None from it on is.
    pub xmax: u64,
    /// Between them, those that are not.
    under_way: Box<str>,
}

impl Snapshot {
    /// Reads what Postgres writes: `10:20:10,14,15`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        Some(Self { xmin, xmax, under_way: parts.next()?.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_read_as_postgres_writes_them() {
        let read = |text| Snapshot::parse(text).map(|read| (read.xmin, read.xmax));
        assert_eq!(read("10:20:10,14,15"), Some((10, 20)));
        assert_eq!(read("4294967300:4294967300:"), Some((4_294_967_300, 4_294_967_300)));
        for text in ["", "1", "1:2", "a:2:", "1:-2:", "1::3"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_ne!(Snapshot::parse("1:9:1,4"), Snapshot::parse("1:9:1,5"));
    }
}
