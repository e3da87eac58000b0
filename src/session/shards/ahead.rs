//! What was found of a request before there was a server for it, so that it need not be found out
//! once more when there is one: nothing else of the client has been understood in between.

use std::sync::LazyLock;

use ahash::RandomState;

use super::doubt::Doubt;
use super::planner::{Demand, Planner};
use super::requests::Found;
use crate::catalog::Known;
use crate::session::names::Names;
use crate::shard::ShardId;

/// What was found, and by what. A request is known by a keyed hash of its bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Ahead {
    hash: u64,
    len: usize,
    to: Option<ShardId>,
    runs: bool,
    clean: bool,
    catalog: Option<u64>,
    /// Whether texts are in UTF-8, where that may count.
    utf8: Option<bool>,
}

static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

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
            hash: KEYS.hash_one(request),
            len: request.len(),
            to,
            runs: found.runs,
            catalog: self.known.as_deref().map(Known::number),
            clean: found.clean,
            utf8: (!request.is_ascii() || self.layout.sharding.schemas().is_some())
                .then(|| self.utf8()),
        })
    }

    /// As [`Planner::request`], for what may have been planned before.
    pub(in crate::session) fn request_after(
        &self,
        ahead: Option<Ahead>,
        bytes: &[u8],
        names: &Names,
        doubt: Doubt,
    ) -> Option<Found> {
        let known = ahead.filter(|ahead| {
            // That a transaction is open counts for settings alone, and there are none in it.
            doubt == Doubt { inside: doubt.inside, ..Doubt::default() }
                && ahead.utf8.is_none_or(|utf8| utf8 == self.utf8())
                && ahead.catalog == self.known.as_deref().map(Known::number)
                && bytes.get(..ahead.len).is_some_and(|it| KEYS.hash_one(it) == ahead.hash)
        });
        match known {
            Some(Ahead { len, to, runs, clean, .. }) => {
                let demand = Ok(to.map_or(Demand::Anywhere, Demand::On));
                Some(Found { len, demand, runs, clean, doubt })
            }
            None => self.request(bytes, names, doubt),
        }
    }
}
