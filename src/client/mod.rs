//! An accepted socket becomes an authenticated client.

pub mod card;
pub mod condition;
pub mod lobby;
pub mod login;
pub mod pace;
