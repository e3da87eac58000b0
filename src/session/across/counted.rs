//! A request over several shards is one request of its client: it counts once for the database, in all that
//! is told of requests, however much the sessions of its legs have run. They count where they ran what is
//! of the servers there: assignments, bytes, waits.

use tokio::time::Instant;

use super::asked::{Asked, Step};
use super::leg::Leg;
use super::{Sharded, Under, Vain};
use crate::server::prepared::text_of;
use crate::session::Session;
use crate::session::cost::{Text, Times, Went};
use crate::traffic::{Figure, Role, Span, Tally};

/// What there is to count of a request that runs.
#[derive(Default)]
pub(super) struct Counted {
    text: Text,
    /// Statements that it has prepared and bound.
    tally: Tally,
}

impl Counted {
    /// Of what a client asks; its text where somebody wants to know what that costs.
    pub(super) fn of(asked: &Asked, with_text: bool) -> Self {
        let count = |wanted| asked.steps.iter().filter(|step| **step == wanted).count() as u64;
        let mut tally = Tally::default();
        tally.add(Figure::ClientParses, count(Step::Parsed));
        tally.add(Figure::Binds, count(Step::Bound));
        let text = if with_text { Text::of(text_of(&asked.identity)) } else { Text::default() };
        Self { text, tally }
    }
}

impl Session {
    /// The request has ended so, which began then: it is counted if shards have answered it.
    pub(super) fn count_across(&mut self, under: &Under, ran: &Result<(), Vain>, began: Instant) {
        let went = match ran {
            Ok(()) => Went::Well,
            Err(Vain::End(_) | Vain::Refused(_)) => return,
            Err(_) => Went::Wrong,
        };
        // In a transaction that no server has yet, it ends none.
        let ends = u64::from(!self.sharded().is_some_and(Sharded::holds));
        let (on, took, client) = (self.on, began.elapsed(), self.seat.pid());
        let is_on_replica = |leg: &Leg| leg.read_from().is_some();
        let role = match !under.legs.is_empty() && under.legs.iter().all(is_on_replica) {
            true => Role::Replica,
            false => Role::Primary,
        };
        let Some(sharded) = self.sharded_mut() else { return };
        let home = sharded.tenancy(sharded.layout().sharding.default_shard());
        let Counted { text, tally } = &under.counted;
        let mut tally = *tally;
        tally.add(Figure::Queries, 1);
        tally.add_time(Figure::QueryTime, took);
        tally.add(Figure::Transactions, ends);
        if ends > 0 {
            tally.add_time(Figure::TransactionTime, took);
        }
        home.traffic.add(on.index(), &tally);
        for (span, count) in [(Span::Query, 1), (Span::Transaction, ends)] {
            home.times.add(on.index(), role, span, count, took);
        }
        if home.terms.tells_costs() {
            let times = Times { ran: took, ..Times::default() };
            home.note_cost(text, times, (went, role, client), on);
        }
    }
}
