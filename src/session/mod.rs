//! The loop that joins a client to leases.
