//! Which pool each client belongs to, for those who count them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::admin::PoolFigures;
use crate::cancel::{Cancelling, Queued, Seat};
use crate::client::card::Login;
use crate::config::HostPort;
use crate::net::socket::Address;
use crate::pool::{Holder, PoolName};
use crate::server::card::{Owner, ServerCard};

/// Who has a server of which pool; pools by their places in a list.
#[derive(Debug, Default)]
pub(super) struct Crowd(HashMap<u64, usize>);

impl Crowd {
    /// These have servers of this pool.
    pub(super) fn hold(&mut self, pool: usize, holders: Vec<Holder>) {
        self.0.extend(holders.into_iter().map(|holder| (holder.id, pool)));
    }

    /// Counts clients in the pools: where they have a server or wait for one, at a replica or on a shard as
    /// well; all others in that of their login. Parts of requests over several shards are no clients.
    pub(super) fn count(&self, seats: &[Arc<Seat>], pools: &mut [PoolFigures]) {
        let mut places: HashMap<Login, Vec<(Option<HostPort>, usize)>> = HashMap::new();
        for (place, PoolFigures { name, .. }) in pools.iter().enumerate() {
            let PoolName { database, user, replica } = name.clone();
            places.entry(Login { database, user }).or_default().push((replica, place));
        }
        let of = |login: &Login, at: Option<&HostPort>| {
            let own = places.get(login)?.iter();
            own.filter(|(replica, _)| replica.as_ref() == at).map(|(_, place)| *place).next()
        };
        let mut queued = vec![0_usize; pools.len()];
        for seat in seats {
            let card = seat.card();
            let waits = seat.queued();
            let waits =
                waits.and_then(|Queued { login, replica, .. }| of(&login, replica.as_ref()));
            if let Some(count) = waits.and_then(|place| queued.get_mut(place)) {
                *count += 1;
                continue;
            }
            if card.is_leg {
                continue;
            }
            let holds = self.0.get(&u64::from(seat.pid())).copied();
            let place = holds.or_else(|| of(&card.login, None));
            if let Some(pool) = place.and_then(|place| pools.get_mut(place)) {
                pool.clients_active += 1;
                pool.clients_pinned += usize::from(seat.pinned().is_some());
            }
        }
        for (pool, queued) in pools.iter_mut().zip(queued) {
            // They wait for their turn to wait.
            pool.clients_active += queued.saturating_sub(pool.snapshot.waiting);
        }
    }
}

/// Whose servers cancels are under way to.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<(Address, u32), Arc<Owner>>);

impl Owners {
    /// Those of these cancels, among all servers.
    pub(super) fn of(
        cancels: &[Cancelling],
        servers: impl FnOnce() -> Vec<Arc<ServerCard>>,
    ) -> Self {
        if cancels.iter().all(|cancel| cancel.server.is_none()) {
            return Self::default();
        }
        let owner =
            |card: Arc<ServerCard>| ((card.address.clone(), card.pid), Arc::clone(&card.owner));
        Self(servers().into_iter().map(owner).collect())
    }

    /// Whether a cancel goes to a server of this pool, or, where that has gone, is by one of its clients.
    pub(super) fn is_of(
        &self,
        cancel: &Cancelling,
        server: &(Address, u32),
        pool: &PoolName,
    ) -> bool {
        let (database, user) = match self.0.get(server).map(|owner| &**owner) {
            Some(Owner { database, user }) => (database, user),
            None => (&cancel.login.database, &cancel.login.user),
        };
        (database, user) == (&pool.database, &pool.user)
    }
}
