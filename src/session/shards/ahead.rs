//! What was found of a request before there was a server for it, so that it need not be found out
//! once more when there is one: nothing else of the client has been understood in between.

use super::doubt::Doubt;
use super::planner::{Demand, Planner};
use super::requests::Found;
use crate::shard::ShardId;

/// What was found of the request that the client's bytes begin with, and by what. It goes with the first of
/// them that is taken.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Ahead {
    #[cfg(debug_assertions)]
    hash: u64,
    len: usize,
    to: Option<ShardId>,
    runs: bool,
    clean: bool,
    catalog: Option<u64>,
    /// Whether texts are in UTF-8, where that may count.
    utf8: Option<bool>,
}

/// What tests know the bytes by that it is about.
#[cfg(debug_assertions)]
fn hash(bytes: Option<&[u8]>) -> u64 {
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(bytes)
}

impl Planner<'_> {
    /// Keeps what was found of a request of a session without a server, if that is all there is to it.
    pub(in crate::session) fn keep(&self, request: &[u8], found: &Found) -> Option<Ahead> {
        let to = match found.demand {
            Ok(Demand::Anywhere) => None,
            Ok(Demand::On(shard)) => Some(shard),
            Ok(Demand::Parts(..)) | Err(_) => return None,
        };
        // It says nothing of where the next ones are for.
        (found.doubt == Doubt::default()).then(|| Ahead {
            #[cfg(debug_assertions)]
            hash: hash(Some(request)),
            len: request.len(),
            to,
            runs: found.runs,
            catalog: found.catalog,
            clean: found.clean,
            utf8: (!request.is_ascii() || self.layout.sharding.schemas().is_some())
                .then(|| self.utf8()),
        })
    }
}

impl Ahead {
    /// What was found of the request that these bytes begin with, if what it was found by is as it was.
    pub(in crate::session) fn found(
        self,
        bytes: &[u8],
        doubt: Doubt,
        catalog: Option<u64>,
        utf8: impl FnOnce() -> bool,
    ) -> Option<Found> {
        #[cfg(debug_assertions)]
        assert_eq!(self.hash, hash(bytes.get(..self.len)), "what was planned is what is sent");
        let Self { len, to, runs, clean, .. } = self;
        // That a transaction is open counts for settings alone, and there are none in it.
        let holds = doubt == Doubt { inside: doubt.inside, ..Doubt::default() }
            && self.catalog == catalog
            && len <= bytes.len()
            && self.utf8.is_none_or(|before| before == utf8());
        let demand = Ok(to.map_or(Demand::Anywhere, Demand::On));
        holds.then_some(Found { len, demand, runs, clean, doubt, catalog })
    }
}
