//! What those who wait in a pool wait for, and who stands in their way.

use std::sync::Arc;

use super::member::{Connect, Member};
use super::pool::Pool;
use super::quota::{Quota, Quotas};
use super::settings::Prospect;
use super::snapshot::Holder;
use super::state::State;

/// What there would have to be more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Members of the pool itself.
    PoolSize,
    /// `max_user_connections`.
    User,
    /// `max_db_connections`.
    Database,
    /// `max_server_connections`.
    Host,
    /// What the server takes, as it says itself.
    Full,
    /// `max_server_logins`.
    Logins,
    /// The end of a pause.
    Paused,
    /// A place where members can be opened.
    Nowhere,
    /// A server that lets itself be opened: the last attempt has failed.
    Down,
    /// Nothing: one is being opened, or made ready.
    Coming,
}

impl Limit {
    /// In a word; where it is a key, that.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PoolSize => "pool_size",
            Self::User => "max_user_connections",
            Self::Database => "max_db_connections",
            Self::Host => "max_server_connections",
            Self::Full => "max_connections",
            Self::Logins => "max_server_logins",
            Self::Paused => "paused",
            Self::Nowhere => "no primary",
            Self::Down => "server down",
            Self::Coming => "opening",
        }
    }
}

/// What those who wait in a pool wait for.
#[derive(Debug)]
pub struct Hindrance {
    /// What there is too little of.
    pub limit: Limit,
    /// Who has held a member of the pool itself for longest, as far as that is in the way.
    own: Option<Holder>,
    /// The quota that has no place, by its step.
    shared: Option<(Arc<Quotas>, usize)>,
}

impl Hindrance {
    /// Where it is a limit over several pools, which of them.
    pub fn shared(&self) -> Option<QuotaId> {
        self.quota().map(Quota::id)
    }

    /// Who has held for longest what is missing, in whichever pool.
    pub fn longest_holder(&self) -> Option<Holder> {
        match self.quota() {
            Some(quota) => quota.longest_holder(),
            None => self.own,
        }
    }

    /// Of a limit over several pools: places that are taken, and how many there are.
    pub fn taken(&self) -> Option<(usize, usize)> {
        self.quota().map(Quota::taken)
    }

    fn quota(&self) -> Option<&Quota> {
        let (quotas, step) = self.shared.as_ref()?;
        quotas.steps().get(*step).copied().flatten()
    }
}

/// Which of the limits over several pools, while there are pools under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuotaId(pub(super) usize);

impl<C: Connect> Pool<C> {
    /// What those who wait wait for; `None` where nobody does.
    pub fn hindrance(&self) -> Option<Hindrance> {
        let now = tokio::time::Instant::now();
        let state = self.state.lock();
        let (limit, step) = state.hindrance(self.who())?;
        let is_in_the_way = !matches!(limit, Limit::Paused | Limit::Nowhere);
        let own = is_in_the_way.then(|| state.longest_holder(now));
        let shared = step.map(|step| (Arc::clone(&state.quotas), step));
        Some(Hindrance { limit, own: own.flatten(), shared })
    }

    /// The limits over several pools that it is under.
    pub fn quotas(&self) -> [Option<QuotaId>; 3] {
        self.state.lock().quotas.steps().map(|quota| quota.map(Quota::id))
    }
}

impl<M: Member, E> State<M, E> {
    fn hindrance(&self, who: usize) -> Option<(Limit, Option<usize>)> {
        if self.waiting == 0 {
            return None;
        }
        let own = |limit| Some((limit, None));
        if self.paused {
            return own(Limit::Paused);
        }
        if self.prospect != Prospect::Open {
            return own(Limit::Nowhere);
        }
        let connections = &self.quotas.host.connections;
        let host = if connections.is_full_itself() { Limit::Full } else { Limit::Host };
        let limits = [Limit::User, Limit::Database, host];
        let steps = self.quotas.steps().into_iter().zip(limits).enumerate();
        for (step, (quota, limit)) in steps {
            if quota.is_some_and(|quota| quota.keeps_waiting(who)) {
                return Some((limit, Some(step)));
            }
        }
        if self.quotas.host.logins.keeps_waiting(who) {
            return own(Limit::Logins);
        }
        if self.active > 0 && self.open >= self.settings.size {
            return own(Limit::PoolSize);
        }
        if self.retry.last.is_some() {
            // Between two attempts nobody stands in line for a place.
            return match host {
                Limit::Full => Some((host, Some(2))),
                _ => own(Limit::Down),
            };
        }
        let is_full = self.active > 0 && self.open + self.opening >= self.settings.size;
        own(if is_full { Limit::PoolSize } else { Limit::Coming })
    }
}
