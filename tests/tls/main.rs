//! TLS with clients and with servers, against real Postgres: modes, certificates, what an attacker
//! on the way may try, and files that change.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test fails by panicking and is read by nobody else"
)]

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod attacks;
mod bound;
mod causes;
mod certificates;
mod client;
mod clients;
mod house;
mod matrix;
mod rotation;
mod servers;
mod traffic;
