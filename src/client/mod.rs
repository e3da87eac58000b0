//! An accepted socket becomes an authenticated client.
