//! Sockets, event loops and buffered message I/O.

pub mod loops;
