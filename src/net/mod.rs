//! Sockets, event loops and the buffers that bytes pass through.

pub mod loops;
pub mod scratch;
pub mod socket;
