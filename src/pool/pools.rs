//! All pools, by database and user, and the quotas that they share.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::member::Connect;
use super::pool::{Pool, PoolName};
use super::quota::{Host, Quota, Quotas};
use super::settings::PoolSettings;
use crate::net::loops::Loops;

/// What a pool is made of when it is first asked for.
#[derive(Debug)]
pub struct PoolPlan<C> {
    /// Its own limits.
    pub settings: PoolSettings,
    /// Those that it shares.
    pub limits: SharedLimits,
    /// Opens its members.
    pub connector: C,
}

/// Limits that hold over all pools of a server, database or user. The latest to name one of these
/// decides for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLimits {
    /// The server, as `host:port`: pools with the same one share its limits.
    pub host: String,
    /// Most members on that server.
    pub max_server_connections: Option<usize>,
    /// Most connection attempts at a time on that server.
    pub max_server_logins: usize,
    /// Most members for that database, at each of its replicas and elsewhere.
    pub max_db_connections: Option<usize>,
    /// Most members for that user.
    pub max_user_connections: Option<usize>,
}

/// The pools of a process. Looked up when a client logs in, not per query.
#[derive(Debug)]
pub struct Pools<C: Connect> {
    loops: Arc<Loops>,
    all: Mutex<All<C>>,
}

#[derive(Debug)]
struct All<C: Connect> {
    closed: bool,
    pools: HashMap<PoolName, Arc<Pool<C>>>,
    hosts: HashMap<String, Arc<Host>>,
    databases: HashMap<String, Arc<Quota>>,
    users: HashMap<String, Arc<Quota>>,
}

impl<C: Connect> Pools<C> {
    /// None yet.
    pub fn new(loops: Arc<Loops>) -> Self {
        let all = All {
            closed: false,
            pools: HashMap::new(),
            hosts: HashMap::new(),
            databases: HashMap::new(),
            users: HashMap::new(),
        };
        Self { loops, all: Mutex::new(all) }
    }

    /// The pool of that name, if anybody asked for it before.
    pub fn find(&self, name: &PoolName) -> Option<Arc<Pool<C>>> {
        self.all.lock().pools.get(name).cloned()
    }

    /// The pool of that name, made by `plan` if it is the first time. `None` once closed.
    pub fn find_or_make(
        &self,
        name: &PoolName,
        plan: impl FnOnce() -> PoolPlan<C>,
    ) -> Option<Arc<Pool<C>>> {
        let mut all = self.all.lock();
        if all.closed {
            return None;
        }
        if let Some(pool) = all.pools.get(name) {
            return Some(pool.clone());
        }
        let PoolPlan { settings, limits, connector } = plan();
        let quotas = all.quotas(name, limits);
        let pool = Pool::new(name.clone(), settings, quotas, connector, self.loops.clone());
        all.pools.insert(name.clone(), pool.clone());
        Some(pool)
    }

    /// Has a pool go by other settings and limits from now on.
    pub fn reconfigure(&self, pool: &Arc<Pool<C>>, settings: PoolSettings, limits: SharedLimits) {
        let quotas = self.all.lock().quotas(pool.name(), limits);
        pool.reconfigure(settings, quotas);
    }

    /// Takes a pool out, for the caller to close: the next who asks gets a new one.
    pub fn remove(&self, name: &PoolName) -> Option<Arc<Pool<C>>> {
        let mut all = self.all.lock();
        let All { pools, hosts, databases, users, .. } = &mut *all;
        let removed = pools.remove(name);
        // Those of pools that are gone.
        hosts.retain(|_, host| Arc::strong_count(host) > 1);
        databases.retain(|_, quota| Arc::strong_count(quota) > 1);
        users.retain(|_, quota| Arc::strong_count(quota) > 1);
        removed
    }

    /// Every pool there is now, in no order.
    pub fn list(&self) -> Vec<Arc<Pool<C>>> {
        self.all.lock().pools.values().cloned().collect()
    }

    /// Closes every pool (see [`Pool::close`]) and makes none any more.
    ///
    /// # Cancel safety
    /// Call it again after canceling it: pools not reached yet would stay open.
    pub async fn close(&self) {
        let pools = {
            let mut all = self.all.lock();
            all.closed = true;
            all.pools.values().cloned().collect::<Vec<_>>()
        };
        for pool in pools {
            pool.close().await;
        }
    }
}

impl<C: Connect> All<C> {
    /// The quotas of a pool, with these limits from now on.
    fn quotas(&mut self, name: &PoolName, limits: SharedLimits) -> Quotas {
        let SharedLimits {
            host,
            max_server_connections,
            max_server_logins,
            max_db_connections,
            max_user_connections,
        } = limits;
        let new = || Arc::new(Host::new(max_server_connections, max_server_logins));
        let host = self.hosts.entry(host).or_insert_with(new).clone();
        host.set_limits(max_server_connections, max_server_logins);
        Quotas {
            user: Some(shared(&mut self.users, &name.user, max_user_connections)),
            database: Some(shared(&mut self.databases, &name.place(), max_db_connections)),
            host,
        }
    }
}

fn shared(quotas: &mut HashMap<String, Arc<Quota>>, name: &str, cap: Option<usize>) -> Arc<Quota> {
    let quota = quotas.entry(name.to_owned()).or_insert_with(|| Arc::new(Quota::new(cap)));
    quota.set_cap(cap);
    quota.clone()
}
