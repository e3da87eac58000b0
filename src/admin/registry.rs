//! What the console and the metrics look at: plain figures, which the application gathers when
//! they are asked for.

use std::sync::Arc;
use std::time::SystemTime;

use crate::cancel::Seat;
use crate::config::{Config, PoolMode};
use crate::pool::{PoolName, Snapshot};

/// Where figures come from.
pub trait Registry: Send + Sync + 'static {
    /// What is configured.
    fn config(&self) -> &Config;
    /// Every pool, in the order of their names.
    fn pools(&self) -> Vec<PoolFigures>;
    /// Every client that is logged in, consoles apart, in no order.
    fn clients(&self) -> Vec<Arc<Seat>>;
    /// How many are connected that have not logged in yet.
    fn strangers(&self) -> usize;
    /// When the certificate that clients are shown expires; `None` without TLS.
    fn certificate_expires(&self) -> Option<SystemTime>;
}

/// One pool.
#[derive(Clone, Debug)]
pub struct PoolFigures {
    /// Whose it is.
    pub name: PoolName,
    /// When its servers go back.
    pub mode: PoolMode,
    /// Clients that have the use of a server or ask for none.
    pub clients_active: usize,
    /// Its servers, and those who wait for one.
    pub snapshot: Snapshot,
}
