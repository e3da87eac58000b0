//! What is configured and what is made of it: one value, which a reload replaces as a whole.

use std::sync::Arc;

use thiserror::Error;

use super::balances::Balances;
use super::design::target;
use super::shards::{Shardings, shardings};
use super::tls::{Tls, TlsStartError};
use crate::auth::ServerSecret;
use crate::config::{Config, Database, Problems};
use crate::net::socket::TcpOptions;
use crate::server::connect::Target;
use crate::session::House;
use crate::users::{Users, UsersError};

/// What everybody goes by who comes in now.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(super) config: Arc<Config>,
    pub(super) users: Users,
    pub(super) tls: Tls,
    pub(super) balances: Balances,
    pub(super) shardings: Shardings,
}

/// Why nothing can be made of a configuration.
#[derive(Debug, Error)]
pub enum SetupError {
    /// A secret can't be used.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// TLS can't be spoken as it is configured.
    #[error(transparent)]
    Tls(#[from] TlsStartError),
    /// The shards of a database are not what they could be.
    #[error(transparent)]
    Shards(#[from] Problems),
}

impl Setup {
    /// What is made of this configuration, with what is the same as `before` taken over.
    pub(super) fn new(
        config: Arc<Config>,
        house: &House,
        before: Option<&Self>,
    ) -> Result<Self, SetupError> {
        let shardings = shardings(&config, before.map(|before| &before.shardings))?;
        let tls = Tls::new(&config, before.map(|before| &before.tls))?;
        let balances = Balances::new(&config, &house.events, before.map(|before| &before.balances));
        let tcp = house.tcp;
        let users = Users::new(
            &config,
            |database, user, secret| target(&config, &tls, &balances, tcp, database, user, secret),
            &house.complaints,
            before.map(|before| &before.users),
        )?;
        Ok(Self { config, users, tls, balances, shardings })
    }

    /// Where and as whom servers of a database are logged in to for a user.
    pub(super) fn target(
        &self,
        tcp: TcpOptions,
        database: &Database,
        user: &str,
        secret: Option<Arc<ServerSecret>>,
    ) -> Target {
        target(&self.config, &self.tls, &self.balances, tcp, database, user, secret)
    }
}
