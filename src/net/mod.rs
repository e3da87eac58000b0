//! Sockets, event loops and the buffers that bytes pass through.

pub mod host;
pub mod listen;
pub mod loops;
pub mod notify;
pub mod peer;
pub mod scratch;
pub mod socket;
pub mod tls;
