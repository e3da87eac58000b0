//! The psql console.
