//! What a request has cost: told of its text, for the log and for the console.

use std::time::Duration;

use super::Tenancy;
use super::terms::QueryCosts;
use crate::complaints::shown;
use crate::net::loops::LoopId;
use crate::sql::fingerprint;
use crate::traffic::{Cost, Distribution};

/// How a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Went {
    #[default]
    Well,
    Wrong,
}

impl Tenancy {
    /// A request that began with this text has been answered. Values in it are told to nobody.
    pub(super) fn note_cost(
        &self,
        text: &[u8],
        waited: Duration,
        ran: Duration,
        went: Went,
        on: LoopId,
    ) {
        let Self { terms, house, login, .. } = self;
        let is_slow = terms.log_min_duration.is_some_and(|min| waited + ran >= min);
        if is_slow {
            let (user, database) = (shown(&login.user), shown(&login.database));
            let kind =
                format!("slow statement (user {user}, database {database}): {}", fingerprint(text));
            let [waited, ran] = [waited, ran].map(|time| time.as_secs_f64() * 1000.0);
            house
                .complaints
                .complain_of(&kind, || format!("{kind} (waited {waited:.1} ms, ran {ran:.1} ms)"));
        }
        if terms.query_costs == QueryCosts::Counted {
            let errors = u64::from(went == Went::Wrong);
            let cost = Cost { calls: 1, errors, ran: Distribution::of(ran), waited };
            house.queries.add(on.index(), &login.database, fingerprint(text), &cost);
        }
    }
}
