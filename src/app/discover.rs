//! What a server says of itself before we stand in front of it, and what follows from it.

use std::time::Duration;

use crate::auth::ServerSecret;
use crate::config::{Config, Database, HostPort};
use crate::net::tls::{Cipher, ServerTls, ServerTlsPlan};
use crate::server::ask::{Answer, AskError, ask};
use crate::server::connect::Target;
pub use crate::topology::Role;

use super::design::address_of;
use super::{cores, tcp_options};

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// `server_version`.
    pub version: String,
    /// Whether it is a primary or a replica.
    pub role: Role,
    /// `max_connections`.
    pub max_connections: usize,
    /// Connections that we could still open: reserved ones and those in use taken off.
    pub free: usize,
    /// Whether the user that we asked as may look up secrets with the default `auth_query`.
    pub shows_secrets: bool,
    /// How it let us in.
    pub method: &'static str,
    /// What the connection to it is encrypted with.
    pub cipher: Option<Cipher>,
}

const QUESTION: &str = "SELECT current_setting('server_version'), pg_is_in_recovery(), \
     current_setting('max_connections'), \
     current_setting('max_connections')::int \
     - current_setting('superuser_reserved_connections')::int \
     - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
     has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'SELECT')";

/// Nobody is to wait longer than this for an answer when starting.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// Asks the server of a database, or a replica of it at `host`, as the user that the database
/// forces, or as the one who looks up secrets.
///
/// # Errors
/// When it can't be asked.
pub async fn discover(
    config: &Config,
    database: &Database,
    host: &HostPort,
) -> Result<Found, AskError> {
    let user = database.user.as_deref().or(config.auth_user(database)).unwrap_or_default();
    let target = target(config, database, host, user);
    let Answer { rows, method, cipher } = ask(&target, QUESTION, LIMIT).await?;
    let mut values = rows.into_iter().flatten().flatten();
    let mut next = || values.next().unwrap_or_default();
    Ok(Found {
        version: next(),
        role: if next() == "t" { Role::Replica } else { Role::Primary },
        max_connections: next().parse().unwrap_or_default(),
        free: next().parse().unwrap_or_default(),
        shows_secrets: next() == "t",
        method,
        cipher,
    })
}

/// A server of a database, as this user with the password that is configured for him.
pub(super) fn target(config: &Config, database: &Database, host: &HostPort, user: &str) -> Target {
    let listed = || config.users.get(user).and_then(|user| user.password.as_ref());
    let secret = database.password.as_ref().or_else(listed);
    Target {
        address: address_of(host),
        hosts: None,
        user: user.to_owned(),
        secret: secret.and_then(|secret| ServerSecret::parse(secret.expose()).ok()).map(Into::into),
        database: database.dbname.clone(),
        connect_timeout: config.general.server_connect_timeout.min(LIMIT),
        tcp: tcp_options(&config.general),
        tls: Some(ServerTls::new(ServerTlsPlan::new(&config.general, database)).into()),
        read_only: false,
    }
}

/// How many servers a pool should have, and why: twice the cores and one for the disk, as long as
/// that leaves the server a fifth of its free connections.
pub fn advise_pool_size(found: &Found) -> (usize, String) {
    let cores = cores().unwrap_or(1);
    let (wanted, room) = (cores * 2 + 1, found.free * 4 / 5);
    if wanted <= room {
        (wanted, format!("{cores} cores x 2 + 1"))
    } else {
        (room.max(1), format!("80 % of {} free connections", found.free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_size_leaves_the_server_room() {
        let found = |free| Found {
            version: String::new(),
            role: Role::Primary,
            max_connections: 100,
            free,
            shows_secrets: false,
            method: "trust",
            cipher: None,
        };
        let wanted = cores().unwrap_or(1) * 2 + 1;
        assert_eq!(advise_pool_size(&found(1000)).0, wanted);
        assert_eq!(advise_pool_size(&found(0)).0, 1);
        assert_eq!(advise_pool_size(&found(wanted)).0, wanted * 4 / 5);
    }
}
