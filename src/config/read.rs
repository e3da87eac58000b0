//! From TOML, user lists and URLs to a [`Config`]; all problems of all of them in one report.
//!
//! A table is read against its list of keys. A problem found does not end the reading; what a
//! broken line would cause further on is not reported beside it.

mod access;
mod alerts;
mod hosts;
mod shards;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::auto::ANY;
use super::choice::AuthType;
use super::database::Database;
use super::environment::Environment;
use super::ini::theirs;
use super::keys::{DATABASE, GENERAL, USER};
use super::model::{Config, General};
use super::nearest::nearest;
use super::problem::{Problem, Problems};
use super::setting::{Key, quote};
use super::tls::{Misfit, client_misfits, server_misfits};
use super::user::User;
use super::userlist;
pub(super) use access::HbaEntry;

impl Config {
    /// Reads a `pooler.toml` and the files that it names.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self, Problems> {
        Self::from_toml_file_in(path, &Environment::default())
    }

    /// The same; general keys that the environment sets are not the file's.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn from_toml_file_in(
        path: impl AsRef<Path>,
        environment: &Environment,
    ) -> Result<Self, Problems> {
        let (name, text) = text_of(path.as_ref())?;
        Self::from_toml_str_in(&name, &text, environment)
    }

    /// Reads the text of a `pooler.toml` and the files that it names; `name` stands for the file
    /// in problems.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn from_toml_str(name: &str, text: &str) -> Result<Self, Problems> {
        Self::from_toml_str_in(name, text, &Environment::default())
    }

    /// The same; general keys that the environment sets are not the text's.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn from_toml_str_in(
        name: &str,
        text: &str,
        environment: &Environment,
    ) -> Result<Self, Problems> {
        Reader::new(name, text).read(environment)
    }

    /// Reads what an ini was written down as, which may have no database.
    pub(super) fn from_translated(
        name: &str,
        text: &str,
        environment: &Environment,
    ) -> Result<Self, Problems> {
        let reader = Reader { without_databases: true, ..Reader::new(name, text) };
        reader.read(environment)
    }
}

/// A file's name, as problems have it, and its text.
pub(super) fn text_of(path: &Path) -> Result<(String, String), Problem> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((file, text)),
        Err(error) => {
            let what = format!("can't be read: {error}");
            Err(Problem { file, line: None, key: String::new(), what, hint: None })
        }
    }
}

/// The keys that a table has, with their lines.
type Seen = BTreeMap<&'static str, usize>;

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    /// Where each line's newline is.
    line_ends: Vec<usize>,
    problems: Vec<Problem>,
    /// Lines with bad syntax: what was made of them says nothing.
    broken: BTreeSet<usize>,
    /// Problems of the files that this one names.
    elsewhere: Vec<Problem>,
    /// There need not be any database.
    without_databases: bool,
}

impl<'a> Reader<'a> {
    fn new(file: &'a str, text: &'a str) -> Self {
        let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
        let (problems, elsewhere) = (Vec::new(), Vec::new());
        let broken = BTreeSet::new();
        Self { file, text, line_ends, problems, broken, elsewhere, without_databases: false }
    }

    fn read(mut self, environment: &Environment) -> Result<Config, Problems> {
        let (root, errors) = DeTable::parse_recoverable(self.text);
        self.read_errors(&errors);
        let config = self.read_root(root.get_ref(), environment);
        self.finish(config)
    }

    /// Reports bad syntax. One error drags others behind it on the same line and the next ones:
    /// of such a run only the first is told.
    fn read_errors(&mut self, errors: &[toml::de::Error]) {
        let mut last = None;
        for error in errors {
            let line = error.span().map(|span| self.line(&span));
            let what = error.message().trim_end().replace('\n', ", ");
            if let Some(line) = line {
                self.give_up_on(line, what.contains("unclosed"));
            }
            let dragged = line.zip(last).is_some_and(|(line, last)| line <= last + 1);
            last = line.max(last);
            if !dragged {
                self.report_at(line, "", what, None);
            }
        }
    }

    /// Trusts nothing that was read from a line with bad syntax. What follows a broken header or an
    /// unclosed value is in a table that it was not meant for: down to the next header it goes too.
    fn give_up_on(&mut self, line: usize, unclosed: bool) {
        self.broken.insert(line);
        let is_header = |text: &str| text.trim_start().starts_with('[');
        let mut lines = self.text.lines().skip(line.saturating_sub(1));
        let header = lines.next().is_some_and(is_header);
        if header || unclosed {
            let below = lines.take_while(|text| !is_header(text)).count();
            self.broken.extend(line..=line + below);
        }
    }

    fn read_root(&mut self, root: &DeTable<'_>, environment: &Environment) -> Config {
        let mut general = General::default();
        let keys: Vec<_> = GENERAL.iter().flat_map(|group| group.keys).collect();
        let seen = self.read_table("", root, &keys, &TABLES, &mut general);
        self.elsewhere.extend(environment.apply(&mut general));
        if general.default_pool_size == 0 {
            general.default_pool_size = general.max_client_conn;
        }
        self.check_general(&general, &seen);

        let mut config = Config::empty(general);
        for (key, name, table) in self.tables_under(root, "users") {
            self.read_user(&key, name, table, &mut config);
        }
        self.read_auth_file(&seen, root, &mut config);
        self.elsewhere.extend(environment.add_users(&mut config));
        self.read_access(&seen, root, &mut config);
        self.read_alerts(root, &mut config);
        for (key, name, table) in self.tables_under(root, "databases") {
            let databases = self.read_database(&key, name, table, &config.general);
            for database in databases {
                let (name, line) = (database.name.clone(), self.line(&key.span()));
                if config.databases.insert(name.clone(), Arc::new(database)).is_some() {
                    let what = format!("a shard of another database is called {name}");
                    self.report_at(Some(line), key.get_ref(), what, None);
                }
            }
        }
        let names = root.get("databases").and_then(|value| value.get_ref().as_table());
        let none = names.is_none_or(|names| names.is_empty()) && !self.without_databases;
        if none && self.broken.is_empty() {
            let hint = "add a table: [databases.NAME] with host = \"…\" or url = \"postgres://…\"";
            let line = root.get_key_value("databases").map(|(key, _)| self.line(&key.span()));
            self.report_at(line, "databases", "there is no database", Some(hint.to_owned()));
        }
        self.read_password_file(&seen, &mut config);
        self.check_look_ups(&seen, &config);
        config
    }

    /// Reads the keys of one table into `target`; `tables` are names that the caller reads.
    fn read_table<T>(
        &mut self,
        path: &str,
        table: &DeTable<'_>,
        keys: &[&'static Key<T>],
        tables: &[&str],
        target: &mut T,
    ) -> Seen {
        let mut seen = Seen::new();
        for (spanned, value) in table {
            let name: &str = spanned.get_ref();
            if tables.contains(&name) {
                continue;
            }
            let line = self.line(&spanned.span());
            // No key takes a table: where there are tables, another of these was meant.
            let is_table = !tables.is_empty() && value.get_ref().is_table();
            let keys_here = keys.iter().filter(|_| !is_table);
            let Some(key) = keys_here.clone().find(|key| key.name == name) else {
                let names = keys_here.map(|key| key.name).chain(tables.iter().copied());
                let hint = unknown_key_hint(path, name, value.get_ref(), nearest(name, names));
                self.report_at(Some(line), &joined(path, name), "unknown key", hint);
                continue;
            };
            seen.insert(key.name, line);
            // The span of a value that was made up for a broken line may lie anywhere.
            let end = value.span().end;
            let end = self.line(&(end..end)).max(line);
            if self.broken.range(line..=end).next().is_some() {
                continue;
            }
            match key.kind.read(value.get_ref()) {
                Ok(value) => (key.set)(target, value),
                Err(wrong) => {
                    self.report_at(Some(line), &joined(path, name), wrong.what, wrong.hint);
                }
            }
        }
        seen
    }

    /// The tables `[parent.NAME]`, each with its name as a key. What is no table is reported.
    fn tables_under<'t>(
        &mut self,
        root: &'t DeTable<'_>,
        parent: &str,
    ) -> Vec<(Spanned<String>, &'t str, &'t DeTable<'t>)> {
        let mut found = Vec::new();
        let Some((parent_key, parent_value)) = root.get_key_value(parent) else {
            return found;
        };
        let Some(children) = parent_value.get_ref().as_table() else {
            let line = self.line(&parent_key.span());
            let hint = format!("as in [{parent}.NAME]");
            self.report_at(Some(line), parent, "must be a table of tables", Some(hint));
            return found;
        };
        for (key, value) in children {
            let name: &str = key.get_ref();
            let path = joined(parent, name);
            let line = self.line(&key.span());
            if name.is_empty() || name.contains('\0') {
                self.report_at(Some(line), &path, "a name can't be empty or hold zero bytes", None);
            } else if let Some(table) = value.get_ref().as_table() {
                found.push((Spanned::new(key.span(), path), name, table));
            } else {
                let hint = format!("as in [{path}], its keys below");
                self.report_at(Some(line), &path, "must be a table", Some(hint));
            }
        }
        found
    }

    fn read_user(
        &mut self,
        key: &Spanned<String>,
        name: &str,
        table: &DeTable<'_>,
        config: &mut Config,
    ) {
        let mut user = User::new(name, None, &config.general);
        let keys: Vec<_> = USER.iter().collect();
        self.read_table(key.get_ref(), table, &keys, &[], &mut user);
        if user.pool_size == Some(0) {
            user.pool_size = Some(config.general.max_client_conn);
        }
        config.users.insert(name.to_owned(), user);
    }

    /// Adds the users of `auth_file`; a later line for the same user wins.
    fn read_auth_file(&mut self, seen: &Seen, root: &DeTable<'_>, config: &mut Config) {
        let Some(path) = config.general.auth_file.clone() else {
            return;
        };
        let line = seen.get("auth_file").copied();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("{} can't be read: {error}", path.display());
                let hint = "a relative path starts in the current directory".to_owned();
                let hint = path.is_relative().then_some(hint);
                return self.report_at(line, "auth_file", what, hint);
            }
        };
        let listed = match userlist::parse(&path.display().to_string(), &text) {
            Ok(listed) => listed,
            Err(problems) => return self.elsewhere.extend(problems),
        };
        let in_this_file: BTreeSet<String> = config
            .users
            .values()
            .filter(|user| user.password.is_some())
            .map(|user| user.name.clone())
            .collect();
        let mut told = BTreeSet::new();
        for (name, secret) in listed {
            if in_this_file.contains(&name) {
                if told.insert(name.clone()) {
                    let line = self.line_of(root, &["users", &name, "password"]);
                    let key = joined(&joined("users", &name), "password");
                    let what = format!("{} has a secret for this user too", path.display());
                    self.report_at(line, &key, what, Some("remove one of them".to_owned()));
                }
                continue;
            }
            let new = || User::new(name.clone(), None, &config.general);
            config.users.entry(name.clone()).or_insert_with(new).password = Some(secret);
        }
    }

    fn read_database(
        &mut self,
        key: &Spanned<String>,
        name: &str,
        table: &DeTable<'_>,
        general: &General,
    ) -> Vec<Database> {
        let path = key.get_ref();
        let header = self.line(&key.span());
        let mut database = Database::new(name, String::new(), general);
        let keys: Vec<_> = DATABASE.iter().collect();
        let seen = self.read_table(path, table, &keys, &shards::BELOW, &mut database);
        if database.pool_size == Some(0) {
            database.pool_size = Some(general.max_client_conn);
        }

        if RESERVED.contains(&name) {
            let hint = "give the database another name, and its own in dbname".to_owned();
            self.report_at(Some(header), path, "the console has this name", Some(hint));
        }
        let elsewhere = database.auth_dbname.is_some() || general.auth_dbname.is_some();
        let looks_up = database.auth_user.is_some() || general.auth_user.is_some();
        let anywhere = name == ANY && database.dbname == ANY;
        if anywhere && looks_up && !elsewhere && self.broken.is_empty() {
            let what = "missing: secrets can't be looked up in any database that somebody names";
            let hint = "name the database in which auth_query runs".to_owned();
            self.report_at(Some(header), &joined(path, "auth_dbname"), what, Some(hint));
        }
        let others = self.read_shards((path, header), (table, &seen), &mut database, general);
        if database.shards.is_none() && !table.contains_key("shards") {
            self.check_hosts(path, header, (table, &seen), (&database, general));
        }
        if let (Some(line), Some(min)) = (seen.get("min_pool_size"), database.min_pool_size) {
            let size = database.pool_size.unwrap_or(general.default_pool_size);
            let name = if database.pool_size.is_some() { "pool_size" } else { "default_pool_size" };
            self.check_min_pool_size(&joined(path, "min_pool_size"), *line, min, (name, size));
        }
        self.report_misfits(path, &seen, &server_misfits(&database));
        if general.auth_type == AuthType::Any && database.user.is_none() && self.broken.is_empty() {
            let what = "missing: with auth_type = \"any\" nobody has a secret for the server";
            let hint = "add the user (and password) to log in to the server with".to_owned();
            self.report_at(Some(header), &joined(path, "user"), what, Some(hint));
        }
        std::iter::once(database).chain(others).collect()
    }

    fn check_general(&mut self, general: &General, seen: &Seen) {
        let servers = Database::new("", "", general);
        let misfits = [client_misfits(general), server_misfits(&servers)].concat();
        self.report_misfits("", seen, &misfits);
        if let Some(line) = seen.get("min_pool_size") {
            let size = ("default_pool_size", general.default_pool_size);
            self.check_min_pool_size("min_pool_size", *line, general.min_pool_size, size);
        }
        if general.listen_addr.is_empty() && general.unix_socket_dir.is_none() {
            let hint = "set listen_addr, or unix_socket_dir".to_owned();
            let line = seen.get("listen_addr").copied();
            self.report_at(line, "listen_addr", "there is nothing to listen on", Some(hint));
        }
        let http = general.http_listen.as_deref().and_then(|http| http.rsplit_once(':'));
        if let Some((host, port)) = http {
            let same_port = general.listen_port != 0 && port == general.listen_port.to_string();
            let everywhere = ["*", "0.0.0.0"];
            let mut listening = general.listen_addr.iter().map(String::as_str);
            let overlap = listening
                .any(|own| own == host || everywhere.contains(&own) || everywhere.contains(&host));
            if same_port && overlap {
                let line = seen.get("http_listen").or(seen.get("listen_port")).copied();
                let hint = "choose another port".to_owned();
                self.report_at(line, "http_listen", "listen_port has this port", Some(hint));
            }
        }
    }

    /// Reports what does not fit together, at the keys of this table or the url that ask for it.
    fn report_misfits(&mut self, path: &str, seen: &Seen, misfits: &[Misfit]) {
        for (key, what) in misfits {
            if let Some(line) = seen.get(key).or(seen.get("url")) {
                self.report_at(Some(*line), &joined(path, key), *what, None);
            }
        }
    }

    fn check_min_pool_size(&mut self, key: &str, line: usize, min: usize, size: (&str, usize)) {
        let (name, size) = size;
        if min > size {
            let hint = format!("lower it, or raise {name}");
            self.report_at(Some(line), key, format!("{min} is above {name}, {size}"), Some(hint));
        }
    }

    fn report_at(
        &mut self,
        line: Option<usize>,
        key: &str,
        what: impl Into<String>,
        hint: Option<String>,
    ) {
        let (file, key, what) = (self.file.to_owned(), key.to_owned(), what.into());
        self.problems.push(Problem { file, line, key, what, hint });
    }

    fn finish(mut self, config: Config) -> Result<Config, Problems> {
        let broken = self.broken;
        let sound = |problem: &Problem| problem.line.is_none_or(|line| !broken.contains(&line));
        self.problems.retain(|problem| problem.key.is_empty() || sound(problem));
        self.problems.sort_by_key(|problem| problem.line);
        self.problems.append(&mut self.elsewhere);
        Problems::none_or(self.problems, config)
    }

    /// The line, from 1, in which `span` starts.
    fn line(&self, span: &Range<usize>) -> usize {
        1 + self.line_ends.partition_point(|end| *end < span.start)
    }

    /// The line of the key at the end of `path`.
    fn line_of(&self, root: &DeTable<'_>, path: &[&str]) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        let (key, value) = root.get_key_value(*first)?;
        match (rest, value.get_ref()) {
            ([], _) => Some(self.line(&key.span())),
            (rest, DeValue::Table(table)) => self.line_of(table, rest),
            _ => None,
        }
    }
}

/// Top-level keys that are tables.
const TABLES: [&str; 4] = ["databases", "users", "hba", "alerts"];

/// Databases that clients reach the console by.
pub(super) const RESERVED: [&str; 2] = ["pgbouncer", "pgweir"];

fn unknown_key_hint(
    path: &str,
    name: &str,
    value: &DeValue<'_>,
    nearest: Option<&str>,
) -> Option<String> {
    let general = || GENERAL.iter().flat_map(|group| group.keys).any(|key| key.name == name);
    if !path.is_empty() && general() {
        return Some("a general key: it must stand above the first [table]".to_owned());
    }
    if path.is_empty() && name == "pgbouncer" {
        return Some("its keys stand at the top of the file, without a table".to_owned());
    }
    let theirs = theirs::find(name).and_then(theirs::Theirs::absence);
    if let Some(why) = theirs.filter(|_| !value.is_table()) {
        return Some(format!("a key of PgBouncer; {why}"));
    }
    if name == "reserve_pool" {
        return Some("a key of PgBouncer; its name is reserve_pool_size".to_owned());
    }
    nearest.map(|nearest| format!("did you mean `{nearest}`?"))
}

/// `path.name`, with quotes where TOML wants them.
fn joined(path: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = match !name.is_empty() && name.chars().all(bare) {
        true => name.to_owned(),
        false => quote(name),
    };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}
