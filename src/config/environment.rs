//! Variables of the environment: ours (`PGWEIR_…`), libpq's, and those of PgBouncer's images.
//!
//! Values are read as they are: nothing in a password is special. A secret may stand in a file
//! that `NAME_FILE` names.

pub(super) mod users;

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::keys::GENERAL;
use super::model::General;
use super::nearest::nearest;
use super::problem::{Problem, Problems};
use super::secret::Secret;
use super::setting::{Key, quote};
use super::url::{ServerUrl, UrlError};

/// The variables of a process, those that are empty left out.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// General keys that have been set while the process ran. They come first.
    set: BTreeMap<String, String>,
}

/// Prefix of our own variables.
const OURS: &str = "PGWEIR_";
/// Variables of ours that are no general key.
const SPECIAL: [&str; 5] = ["URL", "URL_FILE", "REPLICA_URLS", "REPLICA_URLS_FILE", "LOG"];
/// URLs of the server, the first that is set counts.
const URLS: [&str; 2] = ["PGWEIR_URL", "DATABASE_URL"];
/// A list of URLs, with commas between them.
const LIST: &str = "DATABASE_URLS";
/// Replicas of the one server.
const REPLICAS: &str = "PGWEIR_REPLICA_URLS";
/// Variables of images that have no meaning here, and what to do instead.
const NOT_NEEDED: [(&str, &str); 6] = [
    ("PGBOUNCER_EXTRA_FLAGS", FLAGS),
    ("PGBOUNCER_EXTRA_ARGS", FLAGS),
    ("LOG_STATS", FIGURES),
    ("STATS_PERIOD", FIGURES),
    ("PGBOUNCER_LOG_STATS", FIGURES),
    ("PGBOUNCER_STATS_PERIOD", FIGURES),
];
const FLAGS: &str = "the flags are PgBouncer's; use variables of keys, as PGWEIR_VERBOSE";
const FIGURES: &str = "figures are at /metrics and in SHOW STATS, not in the log";
/// The server in parts: host, port, user, password, database. The first set with a host counts.
const PARTS: [[&str; 5]; 3] = [
    ["DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD", "DB_NAME"],
    [
        "POSTGRESQL_HOST",
        "POSTGRESQL_PORT",
        "POSTGRESQL_USERNAME",
        "POSTGRESQL_PASSWORD",
        "POSTGRESQL_DATABASE",
    ],
    ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"],
];
/// The name that clients ask for, beside the second of these sets, as in that image.
const ALIAS: (&str, &str) = ("PGBOUNCER_DATABASE", "POSTGRESQL_HOST");
/// General keys that images take by the key's own name, and with `PGBOUNCER_` before it.
const OF_IMAGES: &[&str] = &[
    "listen_addr",
    "listen_port",
    "unix_socket_dir",
    "auth_type",
    "auth_file",
    "auth_hba_file",
    "auth_user",
    "auth_query",
    "admin_users",
    "stats_users",
    "pool_mode",
    "max_client_conn",
    "default_pool_size",
    "min_pool_size",
    "reserve_pool_size",
    "reserve_pool_timeout",
    "max_db_connections",
    "max_user_connections",
    "max_prepared_statements",
    "server_round_robin",
    "server_lifetime",
    "server_idle_timeout",
    "server_connect_timeout",
    "server_login_retry",
    "client_login_timeout",
    "query_timeout",
    "query_wait_timeout",
    "client_idle_timeout",
    "idle_transaction_timeout",
    "server_reset_query",
    "server_reset_query_always",
    "server_check_query",
    "server_check_delay",
    "ignore_startup_parameters",
    "client_tls_sslmode",
    "client_tls_key_file",
    "client_tls_cert_file",
    "client_tls_ca_file",
    "client_tls_protocols",
    "client_tls_ciphers",
    "server_tls_sslmode",
    "server_tls_key_file",
    "server_tls_cert_file",
    "server_tls_ca_file",
    "server_tls_protocols",
    "server_tls_ciphers",
    "log_connections",
    "log_disconnections",
    "log_pooler_errors",
    "verbose",
];
/// Names of images that differ from the key's.
const ALIASES: [(&str, &str); 4] = [
    ("LOG_PGWEIR_ERRORS", "log_pooler_errors"),
    ("POOL_SIZE", "default_pool_size"),
    ("PGBOUNCER_PORT", "listen_port"),
    ("PGBOUNCER_BIND_ADDRESS", "listen_addr"),
];

impl Environment {
    /// These variables.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let set = variables.into_iter().filter(|(_, value)| !value.is_empty());
        Self { variables: set.collect(), set: BTreeMap::new() }
    }

    /// The same with general keys that were set while the process ran.
    #[must_use]
    pub fn with(&self, set: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut other = self.clone();
        other.set.extend(set);
        other
    }

    /// The general keys that were set while the process ran.
    pub(super) fn taken(&mut self) -> BTreeMap<String, String> {
        std::mem::take(&mut self.set)
    }

    /// The servers that the variables name: each has a database of its own.
    ///
    /// # Errors
    /// When what they say is no server, or a file of a secret can't be read.
    pub fn servers(&self) -> Result<Vec<ServerUrl>, Problems> {
        for name in URLS {
            if let Some(url) = self.secret(name)? {
                let url = ServerUrl::parse(&url);
                return url.map(|url| vec![url]).map_err(|error| not_a_url(name, &error));
            }
        }
        let listed = self.urls(LIST)?;
        if !listed.is_empty() {
            return Ok(listed);
        }
        for [host, port, user, password, database] in PARTS {
            let Some(at) = self.get(host) else { continue };
            let blank = ServerUrl::parse("postgres://localhost");
            let mut url = blank.map_err(|error| problem(host, error.to_string()))?;
            at.clone_into(&mut url.host);
            if let Some(number) = self.get(port) {
                let bad = || problem(port, "must be a number from 1 to 65535".to_owned());
                url.port = number.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?;
            }
            url.user = self.get(user).map(str::to_owned);
            url.dbname = self.get(database).map(str::to_owned);
            url.password = self.secret(password)?.map(Secret::new);
            url.alias = self.get(ALIAS.0).filter(|_| host == ALIAS.1).map(str::to_owned);
            return Ok(vec![url]);
        }
        Ok(Vec::new())
    }

    /// The replicas that the variables name.
    ///
    /// # Errors
    /// When one of them is no URL, or their file can't be read.
    pub fn replicas(&self) -> Result<Vec<ServerUrl>, Problems> {
        self.urls(REPLICAS)
    }

    /// URLs with commas between them.
    fn urls(&self, name: &str) -> Result<Vec<ServerUrl>, Problems> {
        let urls = self.secret(name)?.unwrap_or_default();
        // What starts none belongs to the one before, as a further host of it.
        let mut apart: Vec<String> = Vec::new();
        for part in urls.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match apart.last_mut().filter(|_| !part.contains("://")) {
                Some(url) => url.extend([",", part]),
                None => apart.push(part.to_owned()),
            }
        }
        let urls = apart.iter().map(String::as_str);
        urls.map(ServerUrl::parse)
            .collect::<Result<_, _>>()
            .map_err(|error| not_a_url(name, &error))
    }

    /// The variables that name the servers, where neither a flag nor a file does.
    pub fn naming_servers(&self) -> Vec<&str> {
        let heads = PARTS.map(|parts| parts[0]);
        let known = |name: &&str| self.set_by(name).is_some();
        let Some(first) = URLS.into_iter().chain([LIST]).chain(heads).find(known) else {
            return Vec::new();
        };
        let parts = PARTS.into_iter().find(|parts| parts[0] == first);
        let names = parts.map_or_else(|| vec![first], Vec::from);
        let alias = (first == ALIAS.1).then_some(ALIAS.0);
        names
            .into_iter()
            .chain(alias)
            .chain([REPLICAS])
            .filter_map(|name| self.set_by(name))
            .collect()
    }

    /// The variable of this name, or the one that names its file.
    fn set_by(&self, name: &str) -> Option<&str> {
        let file = format!("{name}_FILE");
        let set = self.variables.get_key_value(name).or(self.variables.get_key_value(&file));
        set.map(|(name, _)| name.as_str())
    }

    /// The variables that are used beside a file, by name; values may be secret.
    pub fn used(&self) -> Vec<&str> {
        let keys = GENERAL.iter().flat_map(|group| group.keys);
        let keys = keys.filter_map(|key| self.of_key(key).map(|(name, _)| name));
        keys.chain(self.of_users()).collect()
    }

    /// Whether a variable sets this general key.
    pub fn sets(&self, key: &str) -> bool {
        self.variable(key).is_some()
    }

    /// The variable that sets this general key.
    pub(super) fn variable(&self, key: &str) -> Option<&str> {
        let mut keys = GENERAL.iter().flat_map(|group| group.keys);
        let known = keys.find(|known| known.name == key)?;
        self.of_key(known).map(|(name, _)| name)
    }

    /// A sentence about each of our variables, and of some of images, that means nothing.
    pub fn unknown(&self) -> Vec<String> {
        let keys: Vec<String> = GENERAL
            .iter()
            .flat_map(|group| group.keys)
            .map(|key| key.name.to_ascii_uppercase())
            .collect();
        let known = || keys.iter().map(String::as_str).chain(SPECIAL);
        let ours = self.variables.keys().filter_map(|name| name.strip_prefix(OURS));
        let ours =
            ours.filter(|name| !known().any(|known| known == *name)).map(|name| {
                match nearest(name, known()) {
                    Some(near) => {
                        format!("{OURS}{name} means nothing here; did you mean {OURS}{near}?")
                    }
                    None => format!("{OURS}{name} means nothing here"),
                }
            });
        let others = NOT_NEEDED.iter().filter(|(name, _)| self.get(name).is_some());
        let others = others.map(|(name, instead)| format!("{name} means nothing here: {instead}"));
        let names_nothing =
            self.get(ALIAS.0).is_some() && !self.naming_servers().contains(&ALIAS.0);
        let alias = names_nothing.then(|| {
            let (name, host) = ALIAS;
            format!("{name} means nothing here: it goes with {host}, which does not count")
        });
        ours.chain(others).chain(alias).collect()
    }

    /// Sets the general keys that the variables name.
    pub(super) fn apply(&self, general: &mut General) -> Vec<Problem> {
        let mut problems = Vec::new();
        for key in GENERAL.iter().flat_map(|group| group.keys) {
            let Some((name, value)) = self.of_key(key) else { continue };
            match read(key, value) {
                Ok(value) => (key.set)(general, value),
                Err(what) if self.set.contains_key(name) => {
                    problems.push(Problem { file: "SET".to_owned(), ..problem(name, what) });
                }
                Err(what) => problems.push(problem(name, what)),
            }
        }
        problems
    }

    /// The variable that counts for a key, with its value; or the key itself.
    fn of_key(&self, key: &Key<General>) -> Option<(&str, &str)> {
        if let Some((name, value)) = self.set.get_key_value(key.name) {
            return Some((name, value));
        }
        let upper = key.name.to_ascii_uppercase();
        let mut names = vec![format!("{OURS}{upper}")];
        if OF_IMAGES.contains(&key.name) {
            names.push(format!("PGBOUNCER_{upper}"));
            names.push(upper);
        }
        let aliases = ALIASES.iter().filter(|(_, other)| *other == key.name);
        names.extend(aliases.map(|(alias, _)| (*alias).to_owned()));
        let found = names.iter().find_map(|name| self.variables.get_key_value(name))?;
        Some((found.0, found.1))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A value that may stand in a file instead. The file's last line break is not part of it.
    fn secret(&self, name: &str) -> Result<Option<String>, Problem> {
        let file = format!("{name}_FILE");
        match (self.get(name), self.get(&file)) {
            (Some(_), Some(_)) => Err(problem(&file, format!("{name} is set, too"))),
            (Some(value), None) => Ok(Some(value.to_owned())),
            (None, None) => Ok(None),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| problem(&file, format!("{path} can't be read: {error}")))?;
                let line = text.strip_suffix('\n').unwrap_or(&text);
                Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
            }
        }
    }
}

/// Reads a value as the file would have it: numbers and switches bare, all else as text.
fn read(key: &Key<General>, value: &str) -> Result<super::value::Value, String> {
    let mut wrong = "can't be read".to_owned();
    for text in [value.to_owned(), quote(value)] {
        let document = format!("key = {text}");
        let Ok(table) = DeTable::parse(&document) else { continue };
        let Some(value) = table.get_ref().get("key").filter(|_| table.get_ref().len() == 1) else {
            continue;
        };
        match key.kind.read(value.get_ref()) {
            Ok(value) => return Ok(value),
            Err(problem) => wrong = problem.what,
        }
    }
    Err(wrong)
}

fn not_a_url(variable: &str, error: &UrlError) -> Problems {
    problem(variable, error.to_string()).into()
}

fn problem(variable: &str, what: String) -> Problem {
    Problem {
        file: "environment".to_owned(),
        line: None,
        key: variable.to_owned(),
        what,
        hint: None,
    }
}
