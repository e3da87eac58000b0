//! A user of the configuration.

use std::time::Duration;

use super::choice::{PoolMode, ReadRouting, TransactionRouting};
#[cfg(doc)]
use super::model::Config;
use super::model::General;
use super::secret::Secret;

/// One `[users.NAME]` or one line of `auth_file`. `pool_size`, `reserve_pool_size` and `pool_mode`
/// are `None` where nothing is said; the limits and timeouts have the general value filled in, so
/// that `None` means that there is no limit. A user who is not listed has the general values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// Plain text, `md5…` or `SCRAM-SHA-256$…`.
    pub password: Option<Secret>,
    /// May not write.
    pub read_only: bool,
    /// Which reads go to replicas. [`Config::read_routing`] has the defaults in.
    pub read_routing: Option<ReadRouting>,
    /// Where transactions begin that don't say what they do. [`Config::transaction_routing`] has the
    /// defaults in.
    pub transaction_routing: Option<TransactionRouting>,
    /// How much a replica may lack. [`Config::max_lag`] has the defaults in.
    pub max_lag: Option<Option<Duration>>,
    /// Servers per pool. [`Config::pool_size`] has the defaults in.
    pub pool_size: Option<usize>,
    /// Extra servers per pool. [`Config::reserve_pool_size`] has the defaults in.
    pub reserve_pool_size: Option<usize>,
    /// When a server goes back to the pool. [`Config::pool_mode`] has the defaults in.
    pub pool_mode: Option<PoolMode>,
    /// Servers of this user over all databases.
    pub max_user_connections: Option<usize>,
    /// Clients of this user.
    pub max_user_client_connections: Option<usize>,
    /// Longest query.
    pub query_timeout: Option<Duration>,
    /// Longest wait for a server: outer `None` = the database's, inner `None` = for ever.
    /// [`Config::query_wait_timeout`] answers the question.
    pub query_wait_timeout: Option<Option<Duration>>,
    /// Longest idle time inside a transaction.
    pub idle_transaction_timeout: Option<Duration>,
    /// Longest transaction.
    pub transaction_timeout: Option<Duration>,
    /// Idle time after which a client is closed.
    pub client_idle_timeout: Option<Duration>,
}

impl User {
    /// A user with the general limits.
    pub fn new(name: impl Into<String>, password: Option<Secret>, general: &General) -> Self {
        Self {
            name: name.into(),
            password,
            read_only: false,
            read_routing: None,
            transaction_routing: None,
            max_lag: None,
            pool_size: None,
            reserve_pool_size: None,
            pool_mode: None,
            max_user_connections: general.max_user_connections,
            max_user_client_connections: general.max_user_client_connections,
            query_timeout: general.query_timeout,
            query_wait_timeout: None,
            idle_transaction_timeout: general.idle_transaction_timeout,
            transaction_timeout: general.transaction_timeout,
            client_idle_timeout: general.client_idle_timeout,
        }
    }
}
