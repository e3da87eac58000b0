//! pgweir: a Postgres connection pooler, read/write router and shard router.
//!
//! The layers and the walk of a query are described in `ARCHITECTURE.md`.

pub mod admin;
pub mod alerts;
pub mod app;
pub mod auth;
pub mod calendar;
pub mod cancel;
pub mod catalog;
pub mod client;
pub mod complaints;
pub mod config;
pub mod demo;
pub mod events;
pub mod http;
pub mod net;
pub mod notify;
pub mod pool;
pub mod route;
pub mod server;
pub mod session;
pub mod shard;
pub mod sql;
pub mod topology;
pub mod traffic;
pub mod users;
pub mod wire;
