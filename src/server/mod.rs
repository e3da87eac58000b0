//! One connection to one Postgres: login, reply ledger, settings, prepared names, reset, cancel.

pub mod ask;
pub mod card;
pub mod connect;
mod connection;
pub mod doubt;
pub mod encrypt;
pub mod held;
pub mod hosts;
pub mod ledger;
pub mod lent;
pub mod manner;
pub mod params;
pub mod prepared;
pub mod processes;
pub mod receive;
pub mod reported;
pub mod schema;
pub mod site;
pub mod undo;
pub mod unseen;

pub use connection::{CRASHED, CancelKey, Cleanliness, Server, ServerError, Upkeep};
