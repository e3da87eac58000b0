//! Who is it: logins of both sides as values, fed with message bodies. No sockets, no clock.
//!
//! [`ClientAuth`] is the side that asks a client for proof, [`ServerAuth`] the side that proves
//! us to a Postgres server. Both are synchronous; the caller does the I/O and the deadlines.
//!
//! Invariants: a body of a peer is never trusted to be well formed; an unknown user runs the
//! exchange that a known one runs; secrets are compared in constant time and print as `***`.
//! Must not know: sockets, configuration files, pools, where a secret was found.

mod client;
mod md5;
mod message;
mod mock;
mod scram;
mod secret;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Account, Again, ClientAuth, Method, Outcome, Proof, Rejection, Why};
pub use md5::md5_hash;
pub use mock::{ClearMock, Md5Mock, Mock, Others};
pub use scram::{Binding, Iterations, Malformed, ScramKeys, Verifier};
pub use secret::{SecretError, ServerSecret, StoredSecret, UserSecret};
pub use server::{Progress, ServerAuth, ServerAuthError};
