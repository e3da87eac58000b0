//! What is configured and what is made of it: one value, which a reload replaces as a whole.

use std::sync::Arc;

use thiserror::Error;

use super::design::target;
use super::tls::{Tls, TlsStartError};
use crate::config::Config;
use crate::session::House;
use crate::users::{Users, UsersError};

/// What everybody goes by who comes in now.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(super) config: Arc<Config>,
    pub(super) users: Users,
    pub(super) tls: Tls,
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
}

impl Setup {
    /// What is made of this configuration, with what is the same as `before` taken over.
    pub(super) fn new(
        config: Arc<Config>,
        house: &House,
        before: Option<&Self>,
    ) -> Result<Self, SetupError> {
        let tls = Tls::new(&config, before.map(|before| &before.tls))?;
        let users = Users::new(
            &config,
            |database, user, secret| target(&config, &tls, house.tcp, database, user, secret),
            &house.complaints,
            before.map(|before| &before.users),
        )?;
        Ok(Self { config, users, tls })
    }
}
