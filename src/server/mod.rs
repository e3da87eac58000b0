//! One connection to one Postgres.
