//! One connection to one Postgres.

pub mod ledger;
pub mod params;
pub mod prepared;
pub mod reported;
pub mod undo;
