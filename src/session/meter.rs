//! Counts and times of one attachment, and how they come to its database's.

use tokio::time::Instant;

use crate::server::ledger::Ledger;
use crate::traffic::{Figure, Tally, Traffic};

/// What passes while a server is attached.
#[derive(Debug)]
pub(super) struct Meter {
    tally: Tally,
    /// Since when the server is at work for the client.
    busy: Option<Instant>,
    /// Since when a transaction is under way.
    began: Option<Instant>,
}

impl Meter {
    /// A client has got a server.
    pub(super) fn start() -> Self {
        let mut tally = Tally::default();
        tally.add(Figure::Assignments, 1);
        Self { tally, busy: None, began: None }
    }

    /// So many bytes of the client have been passed on; the moment, if its server had nothing to do.
    pub(super) fn sent(&mut self, bytes: usize) -> Option<Instant> {
        if bytes == 0 {
            return None;
        }
        self.tally.add(Figure::Received, bytes as u64);
        if self.busy.is_some() {
            return None;
        }
        let now = Instant::now();
        self.busy = Some(now);
        self.began.get_or_insert(now);
        Some(now)
    }

    /// So many bytes of the server have been judged. At the end of a transaction all that was
    /// counted goes to its database.
    pub(super) fn received(
        &mut self,
        bytes: usize,
        ledger: &mut Ledger,
        traffic: &Traffic,
        on: usize,
    ) {
        self.tally.add(Figure::Sent, bytes as u64);
        let counted = ledger.take_tally();
        if counted.get(Figure::Queries) == 0 {
            return self.tally.join(&counted);
        }
        let now = Instant::now();
        let is_over = counted.get(Figure::Transactions) > 0;
        // What was sent behind is under way already.
        let next = (!ledger.is_quiet()).then_some(now);
        if let Some(busy) = std::mem::replace(&mut self.busy, next) {
            self.tally.add_time(Figure::QueryTime, now - busy);
        }
        if is_over && let Some(began) = std::mem::replace(&mut self.began, next) {
            self.tally.add_time(Figure::TransactionTime, now - began);
        }
        self.tally.join(&counted);
        if is_over {
            traffic.add(on, &std::mem::take(&mut self.tally));
        }
    }

    /// The attachment is over: what is left goes to its database as well.
    pub(super) fn stop(&mut self, ledger: &mut Ledger, traffic: &Traffic, on: usize) {
        self.tally.join(&ledger.take_tally());
        traffic.add(on, &std::mem::take(&mut self.tally));
    }
}
