//! A configuration without a file: from the URLs of a primary and its replicas, or of several servers.

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
        Self::from_servers_in(vec![primary], replicas, environment)
    }

    /// A database at each of these servers, where there are several. Each URL's user may log in to
    /// all of them, as far as the servers let it; nobody else is looked up. The first one's is an
    /// admin of the console.
    ///
    /// # Errors
    /// What the URLs and the environment ask for and can't have.
    pub fn from_servers_in(
        servers: Vec<ServerUrl>,
        replicas: Vec<ServerUrl>,
        environment: &Environment,
    ) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let first = servers.first().map(ServerUrl::login_user).unwrap_or_default();
        let mut general = General {
            admin_users: vec![first.clone()],
            auth_user: Some(first).filter(|_| servers.len() == 1),
            ..General::default()
        };
        let of_environment = environment.apply(&mut general);
        if let Some(timeout) = servers.iter().find_map(|server| server.connect_timeout) {
            general.server_connect_timeout = timeout;
        }
        match servers.as_slice() {
            [primary] => problems.extend(misfits(primary, &replicas)),
            _ if replicas.is_empty() => {}
            _ => {
                let hint = "use a file, where each database has its own";
                problems.push(told("--replica", "", "there are several servers", hint));
            }
        }
        let mut config = Self::empty(general);
        for server in servers {
            problems.extend(config.add_server(server, &replicas));
        }
        problems.extend(of_environment);
        if let Some(path) = config.general.auth_file.clone() {
            match text_of(&path) {
                Ok((name, text)) => problems.extend(add_list(&mut config, &name, &text)),
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(environment.add_users(&mut config));
        Problems::none_or(problems, config)
    }

    /// Adds a server's database and user.
    fn add_server(&mut self, server: ServerUrl, replicas: &[ServerUrl]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut report = |key: &str, what: &str, hint: &str| {
            problems.push(told("--url", key, what, hint));
        };
        let (user, password) = (server.login_user(), server.password.clone());
        let name = server.alias.clone().unwrap_or_else(|| server.database());
        if password.is_none() {
            let hint = "postgres://user:password@host/database; or use a file, where auth_type = \
                        \"trust\" lets clients in without";
            report("password", "missing: clients log in with it", hint);
        }
        if RESERVED.contains(&name.as_str()) {
            let hint = "use a file, and give the database another name";
            report("dbname", "the console has this name", hint);
        }
        let mut database = Database::new(name.clone(), String::new(), &self.general);
        database.replicas = replicas.iter().map(ServerUrl::host_port).collect();
        database.check_user = Some(user.clone());
        // Each client is itself on the server: others may be able to log in too.
        let dbname = Some(server.database());
        database.take_url(ServerUrl { dbname, user: None, password: None, ..server });
        for (key, what) in server_misfits(&database) {
            report(key, what, "");
        }
        if self.databases.contains_key(&name) {
            let what = format!("two servers have the database {name}");
            report("dbname", &what, "use a file, and give one of them another name");
        }
        let other = self.users.get(&user).is_some_and(|known| known.password != password);
        if other {
            let what = format!("user {user} has two passwords");
            report("user", &what, "use a file, where each database has its own");
        }
        let general = &self.general;
        self.users.entry(user.clone()).or_insert_with(|| User::new(user, password, general));
        self.databases.insert(name, Arc::new(database));
        problems
    }
}

/// What replicas say that their primary does not.
fn misfits(primary: &ServerUrl, replicas: &[ServerUrl]) -> Vec<Problem> {
    let other = |mine: Option<&str>, own: &str| mine.is_some_and(|mine| mine != own);
    let secret = |url: &ServerUrl| url.password.clone().unwrap_or_else(|| Secret::new(""));
    let differs = |url: &&ServerUrl| {
        other(url.user.as_deref(), &primary.login_user())
            || other(url.dbname.as_deref(), &primary.database())
            || (url.password.is_some() && secret(url) != secret(primary))
    };
    let report = |_| {
        let what = "user, password or database differ from those of --url";
        told("--replica", "", what, "a replica has the primary's; leave them out")
    };
    replicas.iter().filter(differs).map(report).collect()
}

fn told(file: &str, key: &str, what: &str, hint: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        line: None,
        key: key.to_owned(),
        what: what.to_owned(),
        hint: Some(hint.to_owned()).filter(|hint| !hint.is_empty()),
    }
}
