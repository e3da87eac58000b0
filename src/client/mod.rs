//! An accepted socket becomes an authenticated client.

pub mod login;
pub mod registry;
