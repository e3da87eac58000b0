//! What may be left in a session, as a set.

use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// A set of things that may be left in a session.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Leaves(u16);

macro_rules! leaves {
    ($($(#[$about:meta])* $name:ident = $bit:literal;)*) => {
        impl Leaves {
            $($(#[$about])* pub const $name: Self = Self(1 << $bit);)*
        }

        impl std::fmt::Debug for Leaves {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut set = f.debug_set();
                $(if self.has(Self::$name) { set.entry(&stringify!($name)); })*
                set.finish()
            }
        }
    };
}

leaves! {
    /// Values of settings that are known by name.
    SETTINGS = 0;
    /// Values of any settings.
    ANY_SETTINGS = 1;
    /// Settings as they are for a new session.
    RESET = 2;
    /// Temporary tables and other temporary objects.
    TEMPORARY = 3;
    /// Cursors that outlive their transaction.
    CURSOR = 4;
    /// Advisory locks that outlive their transaction.
    LOCK = 5;
    /// Statements prepared by SQL, or deallocated.
    PREPARED = 6;
    /// Channels that are listened to, or no longer.
    LISTENER = 7;
    /// A library that was loaded.
    LIBRARY = 8;
    /// A seed for random numbers.
    SEED = 9;
    /// Nothing new; something that was left before may be gone.
    ENDS = 10;
    /// Prepared statements may be gone.
    NO_STATEMENTS = 11;
    /// Settings of any name, those that no server lists among them.
    CODE = 12;
    /// Statements prepared by SQL that can't be prepared elsewhere.
    FIXED = 13;
    /// What is left by the prepared statements that it executes by name.
    EXECUTED = 14;
}

impl Leaves {
    /// The empty set.
    pub const NOTHING: Self = Self(0);
    /// What code may leave that we don't see, as that of functions.
    pub const UNSEEN: Self = Self(
        Self::CODE.0
            | Self::ANY_SETTINGS.0
            | Self::TEMPORARY.0
            | Self::CURSOR.0
            | Self::LOCK.0
            | Self::STATEMENTS.0
            | Self::ENDS.0,
    );
    /// What commands may leave that we don't understand.
    pub const ANYTHING: Self = Self(
        Self::UNSEEN.0 | Self::LISTENER.0 | Self::LIBRARY.0 | Self::SEED.0 | Self::NO_STATEMENTS.0,
    );
    /// What `DISCARD ALL` leaves.
    pub const NEW_SESSION: Self = Self(
        Self::ANY_SETTINGS.0
            | Self::RESET.0
            | Self::ENDS.0
            | Self::NO_STATEMENTS.0
            | Self::LISTENER.0,
    );
    /// What can be asked for as an object of the session.
    pub const OBJECTS: Self =
        Self(Self::TEMPORARY.0 | Self::CURSOR.0 | Self::LOCK.0 | Self::STATEMENTS.0 | Self::ENDS.0);
    /// What can be asked for of prepared statements that go by clients' own names.
    pub const STATEMENTS: Self = Self(Self::PREPARED.0 | Self::FIXED.0);

    /// This and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This, but nothing of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in it.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in it.
    #[inline]
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Nothing is in it.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Leaves {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Leaves {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Leaves {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Leaves {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}
