//! Hosts that are as good as one another, to those who connect.

use std::fmt;
use std::time::Duration;

use crate::net::socket::Address;

/// Chooses among them.
pub trait Hosts: fmt::Debug + Send + Sync {
    /// Those that are worth an attempt, in the order in which they are to be tried; at least one.
    fn order(&self) -> Vec<Address>;
    /// The longest attempt, as long as there is another one to be tried.
    fn patience(&self) -> Duration;
    /// An attempt at one of them has ended: well, or for this reason of the host.
    fn tried(&self, host: &Address, failure: Option<String>);
}
