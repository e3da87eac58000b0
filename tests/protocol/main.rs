//! Tests at the wire: scripted clients against the real pooler, in front of real servers, or of
//! scripted ones where a real one will not misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "a test fails by panicking and is read by nobody else"
)]

#[path = "../support/mod.rs"]
mod support;

mod bystander;
mod fake;
mod setup;
mod wire;

mod bad_clients;
mod bad_logins;
mod bare_errors;
mod behaviour;
mod cancel;
mod caps;
mod columns;
mod console;
mod defaults;
mod endings;
mod exporter;
mod figures;
mod floods;
mod gauges;
mod hindrances;
mod listen;
mod logs;
mod lost_servers;
mod lying_servers;
mod numbers;
mod orders;
mod pins;
mod pressure;
mod reading;
mod refusing_servers;
mod timeouts;
mod versions;
mod waits;
