//! A configuration without a file: from the URLs of a primary and its replicas.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::database::Database;
use super::environment::Environment;
use super::environment::users::add_list;
use super::model::{Config, General};
use super::problem::{Problem, Problems};
use super::read::{RESERVED, text_of};
use super::secret::Secret;
use super::tls::server_misfits;
use super::url::ServerUrl;
use super::user::User;

impl Config {
    /// One database at the primary's URL. Its user may log in with its password, is an admin of the
    /// console, and looks up the secrets of other users. All else has its default.
    ///
    /// # Errors
    /// What the URLs ask for and can't have.
    pub fn from_urls(primary: ServerUrl, replicas: Vec<ServerUrl>) -> Result<Self, Problems> {
        Self::from_urls_in(primary, replicas, &Environment::default())
    }

    /// The same, with the general keys that the environment sets.
    ///
    /// # Errors
    /// What the URLs and the environment ask for and can't have.
    pub fn from_urls_in(
        primary: ServerUrl,
        replicas: Vec<ServerUrl>,
        environment: &Environment,
    ) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut report = |file: &str, key: &str, what: &str, hint: Option<&str>| {
            problems.push(Problem {
                file: file.to_owned(),
                line: None,
                key: key.to_owned(),
                what: what.to_owned(),
                hint: hint.map(str::to_owned),
            });
        };
        if primary.password.is_none() {
            let hint = "postgres://user:password@host/database; or use a file, where auth_type = \
                        \"trust\" lets clients in without";
            report("--url", "password", "missing: clients log in with it", Some(hint));
        }
        for url in &replicas {
            let other = |mine: Option<&str>, own: &str| mine.is_some_and(|mine| mine != own);
            let secret = |url: &ServerUrl| url.password.clone().unwrap_or_else(|| Secret::new(""));
            let differs = other(url.user.as_deref(), &primary.login_user())
                || other(url.dbname.as_deref(), &primary.database())
                || (url.password.is_some() && secret(url) != secret(&primary));
            if differs {
                let what = "user, password or database differ from those of --url";
                let hint = "a replica has the primary's; leave them out";
                report("--replica", "", what, Some(hint));
            }
        }

        let user = primary.login_user();
        let name = primary.database();
        if RESERVED.contains(&name.as_str()) {
            let what = "the console has this name";
            let hint = "use a file, and give the database another name";
            report("--url", "dbname", what, Some(hint));
        }
        let mut general = General {
            admin_users: vec![user.clone()],
            auth_user: Some(user.clone()),
            ..General::default()
        };
        let of_environment = environment.apply(&mut general);
        if let Some(timeout) = primary.connect_timeout {
            general.server_connect_timeout = timeout;
        }
        let mut database = Database::new(name.clone(), String::new(), &general);
        database.replicas = replicas.iter().map(ServerUrl::host_port).collect();
        let password = primary.password.clone();
        // Each client is itself on the server: others may be able to log in too.
        database.take_url(ServerUrl { user: None, password: None, ..primary });
        for (key, what) in server_misfits(&database) {
            report("--url", key, what, None);
        }
        let users = BTreeMap::from([(user.clone(), User::new(user, password, &general))]);
        let databases = BTreeMap::from([(name, Arc::new(database))]);
        problems.extend(of_environment);
        let mut config = Self { databases, users, ..Self::empty(general) };
        if let Some(path) = config.general.auth_file.clone() {
            match text_of(&path) {
                Ok((name, text)) => problems.extend(add_list(&mut config, &name, &text)),
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(environment.add_users(&mut config));
        Problems::none_or(problems, config)
    }
}
