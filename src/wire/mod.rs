//! Protocol 3.x as bytes: framing, views of the few bodies that we read, and the messages that
//! we originate. No sockets, no state: every function takes bytes and gives a value.
//!
//! Bytes of a peer are framed and bounded here ([`frame`]) before anything looks inside them
//! ([`view`], [`startup`]). The messages that we say ourselves are built in [`reply`] (to
//! clients, with pgwire where text is enough) and [`request`] (to servers).

pub mod frame;
pub mod parameters;
pub mod reply;
pub mod request;
pub mod splice;
pub mod startup;
pub mod view;
