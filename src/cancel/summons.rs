//! What clients are asked to do for the sake of others.

/// What a client is asked to do; a later one outdoes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Summons {
    /// Nothing.
    Stay,
    /// Go at the end of its transaction: the process ends.
    Drain,
    /// Go at the end of its transaction: its database or user is not configured any more.
    Reconfigured,
    /// Go at once: the process ends.
    Stop,
    /// Go at once: an operator wants it so.
    Kill,
}

impl Summons {
    pub(super) const ALL: [Self; 5] =
        [Self::Stay, Self::Drain, Self::Reconfigured, Self::Stop, Self::Kill];
}
