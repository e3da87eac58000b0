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
    /// Opens its members.
    pub connector: C,
    /// The server, as `host:port`: pools with the same one share its limits.
    pub host: String,
    /// Most members on that server. The first plan that names the server decides.
    pub max_server_connections: Option<usize>,
    /// Most connection attempts at a time on that server. The first plan decides.
    pub max_server_logins: usize,
    /// Most members for that database. The first plan decides.
    pub max_db_connections: Option<usize>,
    /// Most members for that user. The first plan decides.
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
        let PoolPlan {
            settings,
            connector,
            host,
            max_server_connections,
            max_server_logins,
            max_db_connections,
            max_user_connections,
        } = plan();
        let quotas = Quotas {
            user: max_user_connections.map(|cap| shared(&mut all.users, &name.user, cap)),
            database: max_db_connections.map(|cap| shared(&mut all.databases, &name.database, cap)),
            host: all
                .hosts
                .entry(host)
                .or_insert_with(|| Arc::new(Host::new(max_server_connections, max_server_logins)))
                .clone(),
        };
        let pool = Pool::new(name.clone(), settings, quotas, connector, self.loops.clone());
        all.pools.insert(name.clone(), pool.clone());
        Some(pool)
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

fn shared(quotas: &mut HashMap<String, Arc<Quota>>, name: &str, cap: usize) -> Arc<Quota> {
    match quotas.get(name) {
        Some(quota) => quota.clone(),
        None => {
            let quota = Arc::new(Quota::new(Some(cap)));
            quotas.insert(name.to_owned(), quota.clone());
            quota
        }
    }
}
