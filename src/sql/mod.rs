//! SQL text becomes facts: what a statement may leave behind in a session.
//!
//! Text is a peer's bytes, in its own encoding; it is scanned, never trusted and never changed.
//! Anything that is not understood counts as the worst that it could be.

mod effects;
mod scan;
mod words;

pub use effects::{Command, Effects, effects};
pub use words::{Words, statements};
