//! Whose secret is it: what clients are held against, and what we log in to servers with.

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;

use crate::auth::{
    Account, Method, Mock, Proof, SecretError, ServerSecret, StoredSecret, UserSecret,
};
use crate::config::{AuthType, Config, Database};

/// The users of a configuration.
#[derive(Debug)]
pub struct Users {
    method: Method,
    known: HashMap<String, Known>,
    /// Secrets of users that databases force, by database.
    forced: HashMap<String, Arc<ServerSecret>>,
    mock: Mock,
}

#[derive(Debug)]
struct Known {
    stored: Option<Arc<UserSecret>>,
    server: Option<Arc<ServerSecret>>,
}

/// A secret that can't be one.
#[derive(Debug, Error)]
#[error("secret of {whose}: {cause}")]
pub struct UsersError {
    whose: String,
    cause: SecretError,
}

impl Users {
    /// The users of this configuration.
    ///
    /// # Errors
    /// When a secret has a form that can't be used.
    pub fn new(config: &Config) -> Result<Self, UsersError> {
        let mock = Mock::random();
        let mut known = HashMap::new();
        for (name, user) in &config.users {
            let secret = user.password.as_ref().map(|secret| StoredSecret::parse(secret.expose()));
            let secret = secret
                .transpose()
                .map_err(|cause| UsersError { whose: format!("user \"{name}\""), cause })?;
            let server = secret.as_ref().and_then(StoredSecret::to_server_secret).map(Arc::new);
            let stored = secret.map(|stored| Arc::new(UserSecret::new(name, stored, &mock)));
            known.insert(name.clone(), Known { stored, server });
        }
        let mut forced = HashMap::new();
        for (name, database) in &config.databases {
            if let Some(secret) = &database.password {
                let secret = ServerSecret::parse(secret.expose())
                    .map_err(|cause| UsersError { whose: format!("database \"{name}\""), cause })?;
                forced.insert(name.clone(), Arc::new(secret));
            }
        }
        let method = match config.general.auth_type {
            AuthType::Scram => Method::Scram,
            AuthType::Md5 => Method::Md5,
            AuthType::Plain => Method::Plain,
            AuthType::Trust => Method::Trust,
            AuthType::Any => Method::Any,
        };
        Ok(Self { method, known, forced, mock })
    }

    /// How clients prove who they are.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What unknown users are held against.
    pub fn mock(&self) -> &Mock {
        &self.mock
    }

    /// What a client of this name is held against.
    pub fn account(&self, user: &str) -> Account {
        match self.known.get(user) {
            None => Account::Unknown,
            Some(Known { stored: None, .. }) => Account::WithoutSecret,
            Some(Known { stored: Some(secret), .. }) => Account::WithSecret(Arc::clone(secret)),
        }
    }

    /// What we log in to a database's server with, for a client of this name that has given
    /// this proof.
    pub fn server_secret(
        &self,
        database: &Database,
        user: &str,
        proof: Option<Proof>,
    ) -> Option<Arc<ServerSecret>> {
        if database.password.is_some() {
            return self.forced.get(&database.name).cloned();
        }
        let role = database.user.as_deref().unwrap_or(user);
        let known = self.known.get(role).and_then(|known| known.server.clone());
        known.or_else(|| proof.and_then(Proof::into_server_secret).map(Arc::new))
    }
}
