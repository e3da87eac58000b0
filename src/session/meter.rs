//! Counts and times of one attachment, and how they come to those of its database and user.

use std::time::Duration;

use tokio::time::Instant;

use super::Attached;
use super::cost::Times;
use super::flow::Flow;
use super::tenancy::Tenancy;
use crate::net::loops::LoopId;
use crate::server::ledger::Ledger;
use crate::traffic::{Figure, Role, Span, Tally, micros};

impl Attached {
    /// Has it told of the server where that has nothing to do for the client.
    #[inline]
    pub(super) fn note_rest(&self) {
        if self.meter.busy.is_none() {
            self.lease.card().rests(self.lease.receiver.status());
        }
    }
}

/// What passes while a server is attached.
#[derive(Debug)]
pub(super) struct Meter {
    tally: Tally,
    /// Since when the server is at work for the client.
    busy: Option<Instant>,
    /// Since when a transaction is under way.
    began: Option<Instant>,
    /// What the server is.
    role: Role,
    whose: Whose,
    /// The number of the client.
    client: u32,
    /// How long the first request has waited for it.
    pub waited: Duration,
}

/// Whose requests pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A client's.
    Clients,
    /// Parts of one that is on several shards: only what is of the server counts.
    Parts,
}

impl Whose {
    /// What counts of what a server has answered.
    fn counted(self, answered: Tally) -> Tally {
        match self {
            Self::Clients => answered,
            Self::Parts => {
                let mut own = Tally::default();
                own.add(Figure::ServerParses, answered.get(Figure::ServerParses));
                own
            }
        }
    }
}

impl Meter {
    /// The client of this number has got a server of this role.
    pub(super) fn start(role: Role, whose: Whose, client: u32) -> Self {
        let mut tally = Tally::default();
        tally.add(Figure::Assignments, 1);
        Self { tally, busy: None, began: None, role, whose, client, waited: Duration::ZERO }
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
    /// counted goes to its database. Requests that were answered in one go share their time.
    pub(super) fn received(
        &mut self,
        bytes: usize,
        ledger: &mut Ledger,
        flow: &mut Flow,
        tenancy: &Tenancy,
        on: LoopId,
    ) {
        self.tally.add(Figure::Sent, bytes as u64);
        if !ledger.has_answered() {
            return;
        }
        let counted = ledger.take_tally();
        let now = Instant::now();
        let transactions = counted.get(Figure::Transactions);
        // What was sent behind is under way already.
        let next = (!ledger.is_quiet()).then_some(now);
        let busy = std::mem::replace(&mut self.busy, next).unwrap_or(now);
        if self.whose == Whose::Parts {
            while flow.requests.take_over().is_some() {}
            self.tally.join(&self.whose.counted(counted));
            if transactions > 0 {
                tenancy.traffic.add(on.index(), &std::mem::take(&mut self.tally));
            }
            return;
        }
        let (queries, took) = (counted.get(Figure::Queries), now - busy);
        self.tally.add_time(Figure::QueryTime, took);
        tenancy.times.add(on.index(), self.role, Span::Query, queries, took);
        self.tell_costs(took, queries, flow, tenancy, on);
        if transactions > 0 {
            let began = std::mem::replace(&mut self.began, next).unwrap_or(now);
            let took = now - began;
            self.tally.add_time(Figure::TransactionTime, took);
            tenancy.times.add(on.index(), self.role, Span::Transaction, transactions, took);
        }
        self.tally.join(&counted);
        if transactions > 0 {
            tenancy.traffic.add(on.index(), &std::mem::take(&mut self.tally));
        }
    }

    /// So many requests have been answered in one go, in this time.
    fn tell_costs(
        &mut self,
        took: Duration,
        queries: u64,
        flow: &mut Flow,
        tenancy: &Tenancy,
        on: LoopId,
    ) {
        // Which of them took how long of it can't be seen. The last one has what can't be divided.
        let took = Duration::from_micros(micros(took));
        let share = Duration::from_micros(micros(took) / queries.max(1));
        let mut left = took;
        for number in 1..=queries {
            let Some((text, went)) = flow.requests.take_over() else { return };
            let ran = if number < queries { share } else { left };
            left -= ran;
            let times = Times { waited: std::mem::take(&mut self.waited), ran };
            tenancy.note_cost(&text, times, (went, self.role, self.client), on);
        }
    }

    /// The attachment is over: what is left goes to its database as well.
    pub(super) fn stop(&mut self, ledger: &mut Ledger, tenancy: &Tenancy, on: LoopId) {
        self.tally.join(&self.whose.counted(ledger.take_tally()));
        tenancy.traffic.add(on.index(), &std::mem::take(&mut self.tally));
    }
}
