//! In transaction mode an application can't tell that it changes servers: the same SQL is sent
//! to Postgres itself and through a pool that takes another server at every transaction, while
//! another client changes everything that a session has. What is heard has to be the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    clippy::cast_possible_truncation,
    dead_code,
    reason = "a test fails by panicking and is read by nobody else; the wire is shared"
)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../protocol/wire.rs"]
mod wire;

mod altered;
mod crossing;
mod generated;
mod named;
mod runner;
mod scripts;
mod unseen;
