//! Who takes what a server says to us.

use std::ops::Range;
use std::sync::Arc;

use crate::server::ledger::Local;
use crate::server::receive::Sink;
use crate::server::reported::Reported;
use crate::server::unseen::Asking;

/// Takes the replies to requests of our own.
#[derive(Default)]
pub(super) struct Own {
    /// What the server refused it with.
    pub(super) refused: Option<Vec<u8>>,
    /// A request of somebody's failed.
    pub(super) failed: bool,
    /// Who wants the rows.
    pub(super) asking: Option<Asking>,
}

impl Sink for Own {
    fn forward(&mut self, _: Range<usize>) {}
    fn local(&mut self, _: u64, _: Local, _: u8) {}
    fn failed(&mut self, _: Range<u64>, _: &[u8]) -> bool {
        self.failed = true;
        false
    }
    fn notified(&mut self, _: Range<usize>, _: &[u8]) {}
    fn reported(&mut self, _: &Arc<Reported>) {}
    fn own_row(&mut self, _: u64, body: &[u8]) {
        if let Some(asking) = &mut self.asking {
            asking.row(body);
        }
    }
    fn own_complete(&mut self, _: u64, _: &Arc<Reported>) {}
    fn own_refused(&mut self, _: u64, error: &[u8]) {
        self.refused = Some(error.to_vec());
    }
}
