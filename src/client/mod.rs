//! An accepted socket becomes an authenticated client.

pub mod registry;
