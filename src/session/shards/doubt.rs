//! What the next requests are understood by that is not settled yet.

use crate::shard::ShardId;

/// What of a session is not settled yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Doubt {
    /// How the client's strings are encoded may have been changed.
    pub recodes: bool,
    /// What has been said of the shard since the settings were learnt.
    pub said: Said,
    /// A transaction is open, and nothing is under way.
    pub inside: bool,
}

/// What has been said of the shard since the settings were learnt that say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::session) enum Said {
    /// Nothing.
    #[default]
    Settled,
    /// That it is this.
    Here(Forced),
    /// Something.
    Unclear,
}

/// A shard that has been named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) struct Forced {
    /// Which.
    pub shard: ShardId,
    /// By its own name, not by a key of it.
    pub by_name: bool,
}
