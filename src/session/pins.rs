//! Why a session keeps its server between transactions.

use crate::sql::Leaves;

/// Something that only one server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Temporary tables or other temporary objects.
    Temporary,
    /// A cursor `WITH HOLD`.
    Cursor,
    /// A session advisory lock.
    Lock,
    /// A statement prepared by SQL that can't be prepared elsewhere.
    Prepared,
    /// A library that was loaded.
    Library,
    /// A seed for random numbers.
    Seed,
    /// A prepared statement that was too long to be kept.
    LargeStatement,
    /// The server would not say what its session has.
    Unknown,
}

impl Pin {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Temporary,
        Self::Cursor,
        Self::Lock,
        Self::Prepared,
        Self::Library,
        Self::Seed,
        Self::LargeStatement,
        Self::Unknown,
    ];

    /// What an operator reads.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Temporary => "temporary object",
            Self::Cursor => "cursor with hold",
            Self::Lock => "session advisory lock",
            Self::Prepared => "statement prepared by SQL",
            Self::Library => "loaded library",
            Self::Seed => "seed of random numbers",
            Self::LargeStatement => "statement above max_statement_size",
            Self::Unknown => "session that the server says nothing of",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins(u8);

/// What can be found on a server by asking.
const OBJECTS: [(Leaves, Pin); 4] = [
    (Leaves::TEMPORARY, Pin::Temporary),
    (Leaves::CURSOR, Pin::Cursor),
    (Leaves::LOCK, Pin::Lock),
    (Leaves::PREPARED, Pin::Prepared),
];

impl Pins {
    /// None.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The reasons, in words.
    pub fn reasons(self) -> String {
        let pins = Pin::ALL.into_iter().filter(|pin| self.has(*pin));
        pins.map(Pin::reason).collect::<Vec<_>>().join(", ")
    }

    /// Whether it is among them.
    pub fn has(self, pin: Pin) -> bool {
        self.0 & pin.bit() != 0
    }

    /// This one, too.
    pub fn add(&mut self, pin: Pin) {
        self.0 |= pin.bit();
    }

    /// These objects were found, and no others.
    pub fn found(&mut self, objects: Leaves) {
        for (leaves, pin) in OBJECTS {
            if objects.has(leaves) {
                self.0 |= pin.bit();
            } else {
                self.0 &= !pin.bit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_replaces_what_was_found_before() {
        let mut pins = Pins::default();
        pins.add(Pin::Library);
        pins.found(Leaves::TEMPORARY | Leaves::LOCK);
        let has =
            |pins: Pins| Pin::ALL.into_iter().filter(|pin| pins.has(*pin)).collect::<Vec<_>>();
        assert_eq!(has(pins), [Pin::Temporary, Pin::Lock, Pin::Library]);
        pins.found(Leaves::CURSOR | Leaves::LISTENER);
        assert_eq!(has(pins), [Pin::Cursor, Pin::Library]);
        assert_eq!(pins.reasons(), "cursor with hold, loaded library");
    }
}
