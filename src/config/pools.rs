//! What holds for the pool of a user on a database, where either may override a general setting.

use std::time::Duration;

use super::choice::PoolMode;
use super::database::Database;
use super::model::Config;
use super::user::User;

impl Config {
    /// Servers that one pool may hold: the user's setting, else the database's, else the default.
    #[must_use]
    pub fn pool_size(&self, database: &Database, user: Option<&User>) -> usize {
        let own = user.and_then(|user| user.pool_size).or(database.pool_size);
        own.unwrap_or(self.general.default_pool_size)
    }

    /// Servers that a pool keeps open; never more than its size.
    #[must_use]
    pub fn min_pool_size(&self, database: &Database, user: Option<&User>) -> usize {
        let wanted = database.min_pool_size.unwrap_or(self.general.min_pool_size);
        wanted.min(self.pool_size(database, user))
    }

    /// Extra servers for a pool whose clients wait too long; none when `reserve_pool_timeout` is 0.
    #[must_use]
    pub fn reserve_pool_size(&self, database: &Database, user: Option<&User>) -> usize {
        if self.general.reserve_pool_timeout.is_zero() {
            return 0;
        }
        user.and_then(|user| user.reserve_pool_size)
            .or(database.reserve_pool_size)
            .unwrap_or(self.general.reserve_pool_size)
    }

    /// When a server goes back to the pool.
    #[must_use]
    pub fn pool_mode(&self, database: &Database, user: Option<&User>) -> PoolMode {
        let own = user.and_then(|user| user.pool_mode).or(database.pool_mode);
        own.unwrap_or(self.general.pool_mode)
    }

    /// How long a client may wait for a server; `None` = for ever.
    #[must_use]
    pub fn query_wait_timeout(&self, database: &Database, user: Option<&User>) -> Option<Duration> {
        user.and_then(|user| user.query_wait_timeout).unwrap_or(database.query_wait_timeout)
    }
}
