//! Who is asked for what, and whose secret is it: what clients are held against, and what we log
//! in to servers with.

mod lookup;
pub mod rules;

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;

pub use self::lookup::Unanswered;
use self::lookup::{Age, Source};
use self::rules::Caller;
use crate::auth::{
    Account, Method, Mock, Others, Proof, SecretError, ServerSecret, StoredSecret, UserSecret,
};
use crate::complaints::Complaints;
use crate::config::hba::{HbaMethod, HbaRule, IdentLine};
use crate::config::{AuthType, Config, Database};
use crate::net::host;
use crate::net::socket::Address;
use crate::server::connect::Target;

/// The users of a configuration.
#[derive(Debug)]
pub struct Users {
    auth_type: AuthType,
    rules: Vec<HbaRule>,
    maps: Vec<IdentLine>,
    listed: HashMap<String, Arc<Known>>,
    /// Where the secrets of others are looked up, by the database that a client asks for.
    sources: HashMap<String, Arc<Source>>,
    /// Where they are looked up for a database that the configuration does not have.
    source: Option<Arc<Source>>,
    /// Secrets of users that databases force, by database.
    forced: HashMap<String, Arc<ServerSecret>>,
    mock: Mock,
}

/// What is known of one user.
#[derive(Debug, Default)]
struct Known {
    exists: bool,
    stored: Option<Arc<UserSecret>>,
    server: Option<Arc<ServerSecret>>,
}

/// A user whom a client wants to be.
#[derive(Clone, Debug)]
pub struct Person {
    name: String,
    known: Arc<Known>,
    /// Where that was looked up, unless it was just now.
    source: Option<Arc<Source>>,
}

/// What a client is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It is sent away.
    Rejected {
        /// The rule that says so; `None` when none fits.
        by: Option<String>,
    },
    /// A proof by messages.
    Proof(Method),
    /// The certificate of its TLS connection.
    Certificate {
        /// The map between its name and users.
        map: Option<String>,
    },
    /// The user that the other end of the unix socket runs as.
    Peer {
        /// The map between that user and ours.
        map: Option<String>,
    },
}

/// A secret that can't be one.
#[derive(Debug, Error)]
#[error("secret of {whose}: {cause}")]
pub struct UsersError {
    whose: String,
    cause: SecretError,
}

impl Users {
    /// The users of this configuration. `target` says where and as whom secrets are looked up, and
    /// `complaints` takes what fails there. Who was unknown `before` is held against the same, and
    /// what is looked up in the same way goes on.
    ///
    /// # Errors
    /// When a secret has a form that can't be used.
    pub fn new(
        config: &Config,
        target: impl Fn(&Database, &str, Option<Arc<ServerSecret>>) -> Target,
        complaints: &Arc<Complaints>,
        before: Option<&Self>,
    ) -> Result<Self, UsersError> {
        let mut secrets = Vec::new();
        for (name, user) in &config.users {
            let secret = user.password.as_ref().map(|secret| StoredSecret::parse(secret.expose()));
            let secret = secret
                .transpose()
                .map_err(|cause| UsersError { whose: format!("user \"{name}\""), cause })?;
            secrets.push((name, secret));
        }
        let mut databases = config.databases.values();
        let looks_up = config.general.auth_user.is_some()
            || databases.any(|database| config.auth_user(database).is_some());
        let others = if looks_up { Others::LookedUp } else { Others::None };
        let mock = before.map_or_else(Mock::random, |before| before.mock.clone());
        let mock = mock.beside(secrets.iter().filter_map(|(_, secret)| secret.as_ref()), others);
        let mut listed = HashMap::new();
        for (name, secret) in secrets {
            // What was hashed for it is kept with it.
            let known = before.and_then(|before| before.listed.get(name));
            if let Some(known) = known.filter(|known| known.is_made_of(secret.as_ref(), &mock)) {
                listed.insert(name.clone(), Arc::clone(known));
                continue;
            }
            let server = secret.as_ref().and_then(StoredSecret::to_server_secret).map(Arc::new);
            let stored = secret.map(|stored| Arc::new(UserSecret::new(name, stored, &mock)));
            listed.insert(name.clone(), Arc::new(Known { exists: true, stored, server }));
        }
        let mut forced = HashMap::new();
        for (name, database) in &config.databases {
            if let Some(secret) = &database.password {
                let secret = ServerSecret::parse(secret.expose())
                    .map_err(|cause| UsersError { whose: format!("database \"{name}\""), cause })?;
                forced.insert(name.clone(), Arc::new(secret));
            }
        }
        let mut users = Self {
            auth_type: config.general.auth_type,
            rules: config.hba.clone(),
            maps: config.ident.clone(),
            listed,
            sources: HashMap::new(),
            source: None,
            forced,
            mock,
        };
        users.find_sources(config, target, complaints, before);
        Ok(users)
    }

    fn find_sources(
        &mut self,
        config: &Config,
        target: impl Fn(&Database, &str, Option<Arc<ServerSecret>>) -> Target,
        complaints: &Arc<Complaints>,
        before: Option<&Self>,
    ) {
        let general = &config.general;
        let before = |wanted: &Source| {
            let before = before?;
            let mut sources = before.sources.values().chain(&before.source);
            sources.find(|source| source.is_unchanged(wanted)).cloned()
        };
        let mut all: Vec<Arc<Source>> = Vec::new();
        let mut source = |place: &Database, auth_user: &str, query: &str| {
            let secret = self.role_secret(place, auth_user);
            let mut target = target(place, auth_user, secret);
            auth_user.clone_into(&mut target.user);
            if let Some(known) =
                all.iter().find(|source| source.is_same(&place.name, &target, query))
            {
                return Arc::clone(known);
            }
            let complaints = Arc::clone(complaints);
            let (query, mock) = (query.to_owned(), self.mock.clone());
            let source = Source::new(&place.name, target, query, general, mock, complaints);
            let source = before(&source).unwrap_or_else(|| Arc::new(source));
            all.push(Arc::clone(&source));
            source
        };
        let mut sources = HashMap::new();
        for database in config.databases.values() {
            let Some(auth_user) = config.auth_user(database) else {
                continue;
            };
            let place = database.auth_dbname.as_ref().or(general.auth_dbname.as_ref());
            let place = place.and_then(|name| config.databases.get(name)).unwrap_or(database);
            let query = database.auth_query.as_ref().unwrap_or(&general.auth_query);
            sources.insert(database.name.clone(), source(place, auth_user, query));
        }
        let place = general.auth_dbname.as_ref().and_then(|name| config.databases.get(name));
        let general_source = place
            .zip(general.auth_user.as_ref())
            .map(|(place, auth_user)| source(place, auth_user, &general.auth_query));
        self.sources = sources;
        self.source = general_source;
    }

    /// Secrets that are looked up in one of these databases are, at this address from now on.
    pub fn turn(&self, databases: &[String], address: &Address) {
        for source in self.sources.values().chain(&self.source) {
            if databases.iter().any(|name| name == source.place()) {
                source.turn(address);
            }
        }
    }

    /// What a connection is asked for.
    pub fn demand(&self, caller: &Caller<'_>) -> Demand {
        let method = match self.auth_type {
            AuthType::Scram => Method::Scram,
            AuthType::Md5 => Method::Md5,
            AuthType::Plain => Method::Plain,
            AuthType::Trust => Method::Trust,
            AuthType::Any => Method::Any,
            AuthType::Cert => return Demand::Certificate { map: None },
            AuthType::Hba => return self.demand_by_rule(caller),
        };
        Demand::Proof(method)
    }

    fn demand_by_rule(&self, caller: &Caller<'_>) -> Demand {
        let Some(rule) = rules::find(&self.rules, caller, &host::addresses) else {
            return Demand::Rejected { by: None };
        };
        match rule.method {
            HbaMethod::Reject => Demand::Rejected { by: Some(rule.origin.clone()) },
            HbaMethod::Trust => Demand::Proof(Method::Trust),
            HbaMethod::Plain => Demand::Proof(Method::Plain),
            HbaMethod::Md5 => Demand::Proof(Method::Md5),
            HbaMethod::Scram => Demand::Proof(Method::Scram),
            HbaMethod::Cert => Demand::Certificate { map: rule.map.clone() },
            HbaMethod::Peer => Demand::Peer { map: rule.map.clone() },
        }
    }

    /// Whether who is `outside` to the system or in a certificate may be `user`.
    pub fn may_be(&self, map: Option<&str>, outside: &str, user: &str) -> bool {
        rules::may_be(&self.maps, map, outside, user)
    }

    /// What unknown users of a database are held against.
    pub fn mock(&self, database: &str) -> Mock {
        let mock = self.mock.clone();
        match self.source(database) {
            Some(source) => mock.with_md5(source.under_md5()),
            None => mock,
        }
    }

    /// Where the secrets of a database's users are looked up.
    fn source(&self, database: &str) -> Option<&Arc<Source>> {
        let any = || self.sources.get("*").or(self.source.as_ref());
        self.sources.get(database).or_else(any)
    }

    /// Whom a client of this name wants to be: one of the list, or one who is looked up.
    ///
    /// # Errors
    /// When a look-up was due and was not possible.
    pub async fn person(&self, database: &str, user: &str) -> Result<Person, Unanswered> {
        let (listed, source) = (self.listed.get(user), self.source(database));
        let name = user.to_owned();
        match (listed, source) {
            (Some(known), _) if known.stored.is_some() => {
                Ok(Person { name, known: Arc::clone(known), source: None })
            }
            (listed, Some(source)) => {
                let (known, age) = source.look_up(user).await?;
                let known = listed.filter(|_| !known.exists).map_or(known, Arc::clone);
                let source = (age == Age::Kept).then(|| Arc::clone(source));
                Ok(Person { name, known, source })
            }
            (Some(known), None) => Ok(Person { name, known: Arc::clone(known), source: None }),
            (None, None) => Ok(Person { name, known: Arc::default(), source: None }),
        }
    }

    /// What we log in to a database's server with, for a client that has given this proof.
    pub fn server_secret(
        &self,
        database: &Database,
        person: &Person,
        proof: Option<Proof>,
    ) -> Option<Arc<ServerSecret>> {
        let shown = |proof: Option<Proof>| proof?.into_server_secret().map(Arc::new);
        if database.password.is_some() || database.user.is_some() {
            let role = database.user.as_deref().unwrap_or(&person.name);
            let own = role == person.name;
            return self.role_secret(database, role).or_else(|| shown(proof.filter(|_| own)));
        }
        person.known.server.clone().or_else(|| shown(proof))
    }

    /// The secret of a role on a database's server, as far as the configuration has it.
    pub fn role_secret(&self, database: &Database, role: &str) -> Option<Arc<ServerSecret>> {
        let own = database.user.as_deref().is_none_or(|user| user == role);
        let any = || self.forced.get("*").filter(|_| database.password.is_some());
        let forced = self.forced.get(&database.name).or_else(any).filter(|_| own).cloned();
        forced.or_else(|| self.listed.get(role).and_then(|known| known.server.clone()))
    }
}

impl Known {
    /// Whether the same would be made of this secret.
    fn is_made_of(&self, secret: Option<&StoredSecret>, mock: &Mock) -> bool {
        match (&self.stored, secret) {
            (Some(stored), Some(secret)) => stored.is_made_of(secret, mock),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Person {
    /// What the client is held against.
    pub fn account(&self) -> Account {
        match &*self.known {
            Known { exists: false, .. } => Account::Unknown,
            Known { stored: None, .. } => Account::WithoutSecret,
            Known { stored: Some(secret), .. } => Account::WithSecret(Arc::clone(secret)),
        }
    }

    /// Looks the user up again; whether something else is known now.
    pub async fn renew(&mut self) -> bool {
        let Some(source) = self.source.take() else { return false };
        source.doubt(&self.name);
        let Ok((known, _)) = source.look_up(&self.name).await else { return false };
        // What has not changed is the same value.
        let changed = !Arc::ptr_eq(&known, &self.known);
        self.known = known;
        changed
    }

    /// The proof was not that of this user's secret, which may have been changed since.
    pub fn doubt(&self) {
        if let Some(source) = &self.source {
            source.doubt(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Iterations, Verifier};

    fn users(listed: &[(&str, &str)], before: Option<&Users>) -> Users {
        let mut toml = "[databases.shop]\nhost = \"db\"\n".to_owned();
        for (name, secret) in listed {
            toml += &format!("[users.{name}]\npassword = \"{secret}\"\n");
        }
        let config = Config::from_toml_str("pooler.toml", &toml).unwrap();
        let nowhere = |_: &Database, _: &str, _| unreachable!("nobody is looked up");
        Users::new(&config, nowhere, &Arc::default(), before).unwrap()
    }

    /// Whether this user's secret is the same value in both.
    fn is_kept(before: &Users, after: &Users, user: &str) -> bool {
        let secret = |users: &Users| Arc::clone(users.listed.get(user).unwrap());
        Arc::ptr_eq(&secret(before), &secret(after))
    }

    #[test]
    fn what_was_hashed_outlives_a_reload_that_changes_others() {
        let verifier =
            |rounds| Verifier::of_password("x", Iterations::new(rounds).unwrap()).to_secret_text();
        let (usual, rare) = (verifier(4096), verifier(7));
        let before = users(&[("app", "s3cret"), ("other", "s3cret"), ("third", &usual)], None);
        let after =
            users(&[("app", "s3cret"), ("other", "changed"), ("third", &usual)], Some(&before));
        assert!(is_kept(&before, &after, "app") && is_kept(&before, &after, "third"));
        assert!(!is_kept(&before, &after, "other"));
        // Another number of iterations makes other keys of a password, and the same of a verifier.
        let (rarely, usually) = ([("app", "s3cret"), ("third", &rare)], [("app", "s3cret")]);
        let (rarely, usually) = (users(&rarely, Some(&after)), users(&usually, Some(&after)));
        assert!(!is_kept(&after, &rarely, "app") && !is_kept(&after, &rarely, "third"));
        assert!(is_kept(&after, &usually, "app"));
    }
}
