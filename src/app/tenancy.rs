//! What belongs to one database and user: the pool, and the terms of its sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::tls::Tls;
use crate::auth::ServerSecret;
use crate::client::card::Login;
use crate::config::{Config, Database, General};
use crate::net::loops::Loops;
use crate::net::socket::{Address, TcpOptions};
use crate::pool::{Connector, Order, PoolName, PoolPlan, PoolSettings, Pools};
use crate::server::Upkeep;
use crate::server::connect::Target;
use crate::session::{House, Tenancy, Terms};

/// All of them.
#[derive(Debug)]
pub(crate) struct Tenancies {
    config: Arc<Config>,
    pools: Pools<Connector>,
    known: Mutex<HashMap<Arc<Login>, Arc<Tenancy>>>,
    tls: Arc<Tls>,
    tcp: TcpOptions,
    last_server: Arc<AtomicU64>,
}

impl Tenancies {
    pub(crate) fn new(
        config: Arc<Config>,
        loops: Arc<Loops>,
        tls: Arc<Tls>,
        tcp: TcpOptions,
    ) -> Self {
        Self {
            config,
            pools: Pools::new(loops),
            known: Mutex::default(),
            tls,
            tcp,
            last_server: Arc::default(),
        }
    }

    /// The tenancy of this user on this database, made when it is the first time; `None` when
    /// the process is ending. Its servers are logged in to with `secret` from now on.
    pub(crate) fn find_or_make(
        &self,
        login: &Arc<Login>,
        database: &Database,
        house: &Arc<House>,
        secret: Option<Arc<ServerSecret>>,
    ) -> Option<Arc<Tenancy>> {
        let mut known = self.known.lock();
        if let Some(tenancy) = known.get(login) {
            if let Some(secret) = secret {
                tenancy.pool.connector().renew(secret);
            }
            return Some(Arc::clone(tenancy));
        }
        let Login { database: name, user } = &**login;
        let name = PoolName { database: name.clone(), user: user.clone() };
        let pool = self.pools.find_or_make(&name, || self.plan(database, user, secret))?;
        let terms = Terms::new(&self.config, database, self.config.users.get(user));
        let (login, house) = (Arc::clone(login), Arc::clone(house));
        let tenancy = Arc::new(Tenancy { login: Arc::clone(&login), pool, terms, house });
        known.insert(login, Arc::clone(&tenancy));
        Some(tenancy)
    }

    /// All of them, in no order.
    pub(crate) fn list(&self) -> Vec<Arc<Tenancy>> {
        self.known.lock().values().cloned().collect()
    }

    pub(crate) async fn close(&self) {
        self.known.lock().clear();
        self.pools.close().await;
    }

    /// Where and as whom servers of a database are logged in to for a user.
    pub(crate) fn target(
        &self,
        database: &Database,
        user: &str,
        secret: Option<Arc<ServerSecret>>,
    ) -> Target {
        target(&self.config, &self.tls, self.tcp, database, user, secret)
    }

    fn plan(
        &self,
        database: &Database,
        user: &str,
        secret: Option<Arc<ServerSecret>>,
    ) -> PoolPlan<Connector> {
        let config = &self.config;
        let General {
            server_reset_query,
            server_check_query,
            server_connect_timeout,
            server_idle_timeout,
            server_check_delay,
            server_login_retry,
            server_round_robin,
            debug_force_hop,
            reserve_pool_timeout,
            max_server_connections,
            max_server_logins,
            max_user_connections,
            ..
        } = &config.general;
        let listed = config.users.get(user);
        let upkeep = Upkeep {
            reset_query: server_reset_query.clone(),
            check_query: server_check_query.clone(),
            deadline: *server_connect_timeout,
        };
        let settings = PoolSettings {
            size: config.pool_size(database, listed),
            min: config.min_pool_size(database, listed),
            reserve: config.reserve_pool_size(database, listed),
            reserve_timeout: *reserve_pool_timeout,
            order: match (debug_force_hop, server_round_robin) {
                (true, _) => Order::ForceHop,
                (false, true) => Order::RoundRobin,
                (false, false) => Order::LastIn,
            },
            lifetime: database.server_lifetime,
            idle_timeout: *server_idle_timeout,
            check_delay: Some(*server_check_delay),
            login_retry: *server_login_retry,
        };
        let target = self.target(database, user, secret);
        PoolPlan {
            settings,
            host: target.address.to_string(),
            connector: Connector::new(
                target,
                upkeep,
                database.connect_query.clone(),
                Arc::clone(&self.last_server),
            ),
            max_server_connections: *max_server_connections,
            max_server_logins: *max_server_logins,
            max_db_connections: database.max_db_connections,
            max_user_connections: listed
                .map_or(*max_user_connections, |user| user.max_user_connections),
        }
    }
}

/// Where and as whom servers of a database are logged in to for a user.
pub(crate) fn target(
    config: &Config,
    tls: &Tls,
    tcp: TcpOptions,
    database: &Database,
    user: &str,
    secret: Option<Arc<ServerSecret>>,
) -> Target {
    Target {
        address: address(database),
        user: database.user.clone().unwrap_or_else(|| user.to_owned()),
        secret,
        database: database.dbname.clone(),
        connect_timeout: config.general.server_connect_timeout,
        tcp,
        tls: tls.with_servers(config, database),
        read_only: config.users.get(user).is_some_and(|user| user.read_only),
    }
}

/// Where a database's server listens.
pub(crate) fn address(database: &Database) -> Address {
    let at = database.host_port();
    match at.unix_socket() {
        Some(path) => Address::Unix(path),
        None => Address::Tcp(at.host, at.port),
    }
}
