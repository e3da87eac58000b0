//! SQL text becomes facts: what a statement may leave behind in a session.
//!
//! Text is a peer's bytes, in its own encoding; it is scanned, never trusted and never changed.
//! Anything that is not understood counts as the worst that it could be.

mod bytes;
mod commands;
pub mod copy;
mod ctes;
mod effects;
pub mod facts;
pub mod fan;
mod fingerprint;
pub mod keys;
mod names;
pub mod readonly;
mod scan;
mod schemas;
mod shards;
mod words;

pub use commands::{Command, Discarded, command, commands};
pub use effects::{
    CHANNELS_MAX, Effects, Leaves, Mentions, Prepare, Resets, effects, leaves_nothing, prepare,
    prepares,
};
pub use fingerprint::fingerprint;
pub use names::{defines, names_any};
pub use schemas::{
    LookedUp, PathSetting, Qualifiers, defines_alone, looked_up, path_setting, qualifiers,
    search_path,
};
pub use shards::{
    Bracket, Changes, ShardHint, ShardSetting, WrongHint, bracket, changes, is_prelude, names_path,
    names_shards, shard_hint, shard_setting,
};
pub use words::{Words, after, behind, statements};
