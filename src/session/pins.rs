//! Why a session keeps its server between transactions, and whether it may.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::{General, PinPolicy};
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
    /// A channel that is listened to by code that we don't see, or beside too many others.
    Listener,
    /// Settings that are too much to be set again on another server.
    Settings,
}

impl Pin {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Temporary,
        Self::Cursor,
        Self::Lock,
        Self::Prepared,
        Self::Library,
        Self::Seed,
        Self::LargeStatement,
        Self::Unknown,
        Self::Listener,
        Self::Settings,
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
            Self::Listener => "channel listened to by code",
            Self::Settings => "settings above 128 KiB",
        }
    }

    /// What is done about it, and the key that says so. The last four are for want of anything
    /// else that could be done.
    fn policy(self, general: &General) -> (&'static str, PinPolicy) {
        match self {
            Self::Temporary => ("pin_temporary", general.pin_temporary),
            Self::Cursor => ("pin_cursor", general.pin_cursor),
            Self::Lock => ("pin_lock", general.pin_lock),
            Self::Prepared => ("pin_prepared", general.pin_prepared),
            Self::Library => ("pin_library", general.pin_library),
            Self::Seed => ("pin_seed", general.pin_seed),
            Self::LargeStatement => ("max_statement_size", PinPolicy::Pin),
            Self::Unknown => ("server_reset_query_always", PinPolicy::Pin),
            Self::Listener | Self::Settings => ("pool_mode", PinPolicy::Pin),
        }
    }

    fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins(u16);

/// With the key that says what is done about it.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, _) = self.policy(&General::default());
        write!(f, "{} ({key})", self.reason())
    }
}

/// Which clients may keep their servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PinTerms {
    /// Who leaves this is refused.
    rejected: Pins,
    /// This goes with the end of its transaction.
    pub allowed: Pins,
    /// How many of a pool.
    pub max: Option<usize>,
    /// For how long.
    pub timeout: Option<Duration>,
}

impl PinTerms {
    /// What the configuration says.
    pub fn new(general: &General) -> Self {
        let of = |policy| {
            let mut pins = Pins::default();
            for pin in Pin::ALL.into_iter().filter(|pin| pin.policy(general).1 == policy) {
                pins.add(pin);
            }
            pins
        };
        Self {
            rejected: of(PinPolicy::Reject),
            allowed: of(PinPolicy::Allow),
            max: general.max_pinned_clients,
            timeout: general.pin_timeout,
        }
    }

    /// What is refused of a text that leaves this. What code may leave that we don't see is
    /// known afterwards only.
    #[inline]
    pub fn refuses(&self, leaves: Leaves) -> Option<Pin> {
        if self.rejected.is_empty() {
            return None;
        }
        seen(leaves).find(|pin| self.rejected.has(*pin))
    }

    /// What is refused of what has been found.
    pub fn refuses_found(&self, pins: Pins) -> Option<Pin> {
        Pin::ALL.into_iter().find(|pin| pins.has(*pin) && self.rejected.has(*pin))
    }
}

/// What a text that leaves this is seen to need a server of its own for.
pub(super) fn seen(leaves: Leaves) -> impl Iterator<Item = Pin> {
    let seen = move |(kind, _): &&(Leaves, Pin)| !leaves.has(Leaves::CODE) && leaves.has(*kind);
    OBJECTS.iter().chain(&OTHERS).filter(seen).map(|(_, pin)| *pin)
}

/// What can't be found by asking.
pub const OTHERS: [(Leaves, Pin); 2] = [(Leaves::LIBRARY, Pin::Library), (Leaves::SEED, Pin::Seed)];

/// What can be found on a server by asking.
const OBJECTS: [(Leaves, Pin); 4] = [
    (Leaves::TEMPORARY, Pin::Temporary),
    (Leaves::CURSOR, Pin::Cursor),
    (Leaves::LOCK, Pin::Lock),
    (Leaves::FIXED, Pin::Prepared),
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

    /// Takes these out, and says whether any of them was in it.
    pub fn remove(&mut self, others: Self) -> bool {
        let before = *self;
        self.0 &= !others.0;
        *self != before
    }

    /// This one, or not any more.
    pub fn set(&mut self, pin: Pin, is: bool) {
        if is {
            self.add(pin);
        } else {
            self.0 &= !pin.bit();
        }
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

/// How often clients began to keep their servers, by reason.
#[derive(Debug, Default)]
pub struct PinCounts([AtomicU64; Pin::ALL.len()]);

impl PinCounts {
    pub(super) fn add(&self, pin: Pin) {
        let own = Pin::ALL.into_iter().zip(&self.0).find(|(kind, _)| *kind == pin);
        if let Some((_, count)) = own {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each reason with its number.
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Pin::ALL.into_iter().map(Pin::reason).zip(counts).collect()
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
        pins.set(Pin::Listener, true);
        pins.found(Leaves::CURSOR);
        assert_eq!(has(pins), [Pin::Cursor, Pin::Library, Pin::Listener]);
        pins.set(Pin::Listener, false);
        assert_eq!(pins.reasons(), "cursor with hold, loaded library");
    }
}
