//! Tests against real Postgres servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking and is read by nobody else"
)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../protocol/wire.rs"]
#[allow(dead_code, clippy::cast_possible_truncation, reason = "it is shared")]
mod wire;

mod alerts;
mod auth;
mod auto;
mod capacity;
mod catalog;
mod check;
mod closing;
mod cluster;
mod composition;
mod conditions;
mod consistency;
mod console;
mod counted;
mod demo;
mod docker;
mod failover;
mod fallback;
mod flushed;
mod hosts;
mod lagging;
mod last_route;
mod left_behind;
mod lifecycle;
mod listening;
mod manners;
mod movable;
mod pgbouncer;
mod pools;
mod promotion;
mod reads;
mod registers;
mod reload;
mod resources;
mod routing;
mod shards;
mod spread;
mod under_way;
