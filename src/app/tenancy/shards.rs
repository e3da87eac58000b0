//! The tenancies of a user on the shards of a database: each has its own pool, hosts and replicas, and
//! all share the settings of their clients.

use std::sync::Arc;

use super::{Book, Tenancies};
use crate::app::setup::Setup;
use crate::auth::ServerSecret;
use crate::client::card::Login;
use crate::client::condition;
use crate::config::{Config, Database};
use crate::session::{House, ServerPool, Shards};
use crate::shard::ShardId;
use crate::wire::reply::Report;

/// Whether a database is this one, or a shard of it.
pub(super) fn belongs(config: &Config, database: &str, to: &str) -> bool {
    database == to || database_of(config, database) == to
}

/// The database that one of this name is a shard of; itself, if it is none.
pub(super) fn database_of<'a>(config: &'a Config, name: &'a str) -> &'a str {
    let of = config.databases.get(name).and_then(|database| database.shard_of.as_deref());
    of.unwrap_or(name)
}

/// Whether a database is spread in the same way by both.
pub(super) fn is_spread_alike(old: &Setup, new: &Setup, name: &str) -> bool {
    let before = old.shardings.get(database_of(&old.config, name));
    let now = new.shardings.get(database_of(&new.config, name));
    before.map(|layout| &layout.sharding) == now.map(|layout| &layout.sharding)
}

impl Tenancies {
    /// The tenancies beside the one whose pool this is, on the default shard of its database.
    pub(super) fn shards(
        &self,
        book: &mut Book,
        (login, database): (&Login, &Database),
        pool: &ServerPool,
        house: &Arc<House>,
        secret: Option<&Arc<ServerSecret>>,
    ) -> Result<Option<Arc<Shards>>, Report> {
        let setup = Arc::clone(&book.setup);
        let Some(layout) = setup.shardings.get(&database.name) else { return Ok(None) };
        let mut others = Vec::new();
        for at in (1..).map(ShardId) {
            let Some(name) = layout.sharding.database(&database.name, at) else { break };
            let missing = || condition::NO_DATABASE.about(&name);
            let shard = Arc::clone(setup.config.databases.get(&name).ok_or_else(missing)?);
            let login = Arc::new(Login { database: name.clone(), user: login.user.clone() });
            let secret = secret_of(&setup, &shard, &login.user).or(secret.cloned());
            // Their clients are the same people, with the same table of settings.
            let connector = |goal, owner| pool.connector().beside(goal).of(owner);
            let own = self.pool(book, (&login, &shard), secret, connector)?;
            let _versions = house.schemas.of_shard(&name, &database.name);
            let tenancy = self.tenancy(book, (&login, &shard), own, house, None);
            book.known.insert(login, Arc::clone(&tenancy));
            others.push(tenancy);
        }
        Ok(Some(Arc::new(Shards::new(Arc::clone(layout), others))))
    }

    /// The servers of a user on all shards of a database are logged in to with `secret` from now on,
    /// where they have none of their own.
    pub(super) fn renew(&self, book: &Book, login: &Login, secret: &Arc<ServerSecret>) {
        let config = &book.setup.config;
        for (own, tenancy) in &book.known {
            if own.user != login.user || !belongs(config, &own.database, &login.database) {
                continue;
            }
            let shard = config.databases.get(&own.database);
            let own = shard
                .filter(|shard| shard.shard_of.is_some())
                .and_then(|shard| secret_of(&book.setup, shard, &login.user));
            let secret = own.as_ref().unwrap_or(secret);
            tenancy.pools().for_each(|pool| pool.connector().renew(Arc::clone(secret)));
        }
    }
}

impl Book {
    /// Whether the pools of a database are paused.
    pub(super) fn is_paused(&self, database: &str) -> bool {
        let of = database_of(&self.setup.config, database);
        self.all_paused || self.paused.contains(database) || self.paused.contains(of)
    }
}

/// What is configured for logging in to a shard.
fn secret_of(setup: &Setup, shard: &Database, user: &str) -> Option<Arc<ServerSecret>> {
    let configured = shard.password.is_some() || shard.user.is_some();
    let role = shard.user.as_deref().unwrap_or(user);
    setup.users.role_secret(shard, role).filter(|_| configured)
}
