//! What a configuration wants of the pool of one user on one database, as values that can be
//! compared: a reload touches only what differs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::balances::{self, Balances};
use super::tls::Tls;
use crate::auth::ServerSecret;
use crate::config::{Config, Database, General, HostPort, Secret};
use crate::net::socket::{Address, TcpOptions};
use crate::net::tls::ServerTlsPlan;
use crate::pool::{Goal, Order, PoolSettings, SharedLimits};
use crate::server::Upkeep;
use crate::server::connect::Target;
use crate::server::hosts::Hosts;
use crate::server::site::Site;
use crate::topology::balance::{Balance, Plan};

/// A pool as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Design {
    pub(super) settings: PoolSettings,
    pub(super) limits: SharedLimits,
    pub(super) aim: Aim,
}

/// The servers of a pool as they are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aim {
    address: Address,
    role: String,
    pub(super) dbname: String,
    /// As configured. What clients have shown instead is not known here.
    pub(super) password: Option<Secret>,
    connect_timeout: Duration,
    upkeep: Upkeep,
    connect_query: Option<String>,
    tls: Option<ServerTlsPlan>,
    pub(super) read_only: bool,
    /// One of several hosts is the primary.
    watched: bool,
    /// The hosts that are as good as this one.
    balance: Option<Plan>,
}

impl Design {
    /// What this configuration wants of the pool of a user on a database, whose server is at
    /// `address`.
    pub(super) fn new(config: &Config, database: &Database, user: &str, address: Address) -> Self {
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
        let role = database.user.clone().unwrap_or_else(|| user.to_owned());
        let listed_password = || config.users.get(&role).and_then(|user| user.password.clone());
        let aim = Aim {
            address,
            password: database.password.clone().or_else(listed_password),
            role,
            dbname: database.dbname.clone(),
            connect_timeout: *server_connect_timeout,
            upkeep: Upkeep {
                reset_query: server_reset_query.clone(),
                check_query: server_check_query.clone(),
                deadline: *server_connect_timeout,
            },
            connect_query: database.connect_query.clone(),
            tls: Tls::plan(config, database),
            read_only: listed.is_some_and(|user| user.read_only),
            watched: database.seeks_primary(),
            balance: balances::plan(config, database),
        };
        let limits = SharedLimits {
            // Hosts that are as good as one another share their limits.
            host: match &aim.balance {
                Some(_) => database.hosts_text(),
                None => aim.address.to_string(),
            },
            max_server_connections: *max_server_connections,
            max_server_logins: *max_server_logins,
            max_db_connections: database.max_db_connections,
            max_user_connections: listed
                .map_or(*max_user_connections, |user| user.max_user_connections),
        };
        Self { settings, limits, aim }
    }
}

impl Aim {
    /// The same, for opening servers, which raise the alarm where somebody watches.
    pub(super) fn goal(
        self,
        tls: &Tls,
        tcp: TcpOptions,
        secret: Option<Arc<ServerSecret>>,
        alarm: Option<&Arc<Notify>>,
        balance: Option<Arc<Balance>>,
    ) -> Goal {
        let site = alarm.filter(|_| self.watched).cloned();
        let site = site.map_or_else(Site::default, Site::watched);
        let Self { address, role, dbname, connect_timeout, upkeep, connect_query, .. } = self;
        let target = Target {
            address,
            hosts: balance.map(|balance| balance as Arc<dyn Hosts>),
            user: role,
            secret,
            database: dbname,
            connect_timeout,
            tcp,
            tls: self.tls.map(|plan| tls.with(plan)),
            read_only: self.read_only,
        };
        Goal { target, upkeep: Arc::new(upkeep), connect_query, site: Arc::new(site) }
    }
}

/// Where, at the host that is written first or at those that are as good, and as whom servers of a
/// database are logged in to for a user.
pub(crate) fn target(
    config: &Config,
    tls: &Tls,
    balances: &Balances,
    tcp: TcpOptions,
    database: &Database,
    user: &str,
    secret: Option<Arc<ServerSecret>>,
) -> Target {
    let aim = Design::new(config, database, user, address(database)).aim;
    aim.goal(tls, tcp, secret, None, balances.of(config, database)).target
}

/// Where the first host of a database listens.
pub(crate) fn address(database: &Database) -> Address {
    address_of(&database.host_port())
}

/// The address of a host.
pub(super) fn address_of(host: &HostPort) -> Address {
    match host.unix_socket() {
        Some(path) => Address::Unix(path),
        None => Address::Tcp(host.host.clone(), host.port),
    }
}
