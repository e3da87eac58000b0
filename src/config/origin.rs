//! Where each setting comes from: a variable, a line of the file, a list of users, or nowhere.
//! Written as the file would have it; secrets are `***`.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::database::Database;
use super::environment::Environment;
use super::file::{self, Format};
use super::ini::{self, Lines, Loaded};
use super::keys::{ALERTS, DATABASE, GENERAL, HBA, USER};
use super::model::{Config, General};
use super::problem::Problems;
use super::read::text_of;
use super::setting::{Key, quote};

/// A line of a configuration that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `key = value`, the head of a table, or nothing.
    pub text: String,
    /// Where the setting comes from: a variable's name, `file:line`, `default`. Heads have none.
    pub origin: Option<String>,
}

/// Every general setting, and all that is set in tables.
///
/// # Errors
/// Everything that is wrong in any of the files.
pub fn show(path: impl AsRef<Path>, environment: &Environment) -> Result<Vec<Shown>, Problems> {
    let path = path.as_ref();
    let (name, text) = text_of(path)?;
    let Loaded { config, .. } = file::load(path, environment)?;
    let ini = match Format::of(path, &text) {
        Format::Ini => Some(ini::lines(&name, &text, &file::read)),
        Format::Toml => None,
    };
    let text = ini.as_ref().map_or(&*text, |lines| &lines.text);
    // It has just been read without an error.
    let (root, _) = DeTable::parse_recoverable(text);
    let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
    let show = Show { name: &name, line_ends, ini: ini.as_ref(), lines: Vec::new() };
    Ok(show.all(root.get_ref(), &config, environment))
}

/// The same for a configuration without a file: general keys are those of `flags`, with the flags'
/// names, or variables'; the rest is of the `servers`, which stand for what has named them.
pub fn show_config(
    config: &Config,
    environment: &Environment,
    flags: &[(&str, String)],
    servers: &str,
) -> Vec<Shown> {
    let mut show = Show { name: "", line_ends: Vec::new(), ini: None, lines: Vec::new() };
    let default = General::default();
    for key in GENERAL.iter().flat_map(|group| group.keys) {
        let flag = flags.iter().find(|(name, _)| *name == key.name).map(|(_, flag)| flag.clone());
        let variable = environment.variable(key.name).map(str::to_owned);
        let value = (key.get)(&config.general);
        let derived = (value != (key.get)(&default)).then(|| servers.to_owned());
        let origin = flag.or(variable).or(derived).unwrap_or_else(|| "default".to_owned());
        show.push(key.name, &value.toml(), origin);
    }
    for (name, database) in &config.databases {
        let blank = Database::new(name.clone(), String::new(), &config.general);
        show.head(head("databases", name));
        for key in DATABASE {
            let value = (key.get)(database);
            if value != (key.get)(&blank) {
                show.push(key.name, &value.toml(), servers.to_owned());
            }
        }
    }
    let mut of_variables = Config::empty(config.general.clone());
    // Their problems were told when the configuration was made.
    environment.add_users(&mut of_variables);
    let listed = config.general.auth_file.as_ref().map(|path| path.display().to_string());
    let urls = config.databases.len();
    for name in config.users.keys() {
        let origin = if of_variables.users.contains_key(name) {
            environment.of_users().collect::<Vec<_>>().join(", ")
        } else {
            let more = listed.clone().filter(|_| config.users.len() > urls);
            [Some(servers.to_owned()), more].into_iter().flatten().collect::<Vec<_>>().join(" or ")
        };
        show.head(head("users", name));
        show.push("password", &quote("***"), origin);
    }
    show.lines
}

struct Show<'a> {
    name: &'a str,
    /// Where each line's newline is.
    line_ends: Vec<usize>,
    /// Where the text's lines come from, if it is what an ini was written down as.
    ini: Option<&'a Lines>,
    lines: Vec<Shown>,
}

impl Show<'_> {
    fn all(mut self, root: &DeTable<'_>, config: &Config, variables: &Environment) -> Vec<Shown> {
        for key in GENERAL.iter().flat_map(|group| group.keys) {
            let line = || root.get_key_value(key.name).map(|(key, _)| self.at(key.span().start));
            let variable = variables.variable(key.name).map(str::to_owned);
            let origin = variable.or_else(line).unwrap_or_else(|| "default".to_owned());
            self.push(key.name, &(key.get)(&config.general).toml(), origin);
        }
        if let Some(alerts) = root.get("alerts").and_then(|alerts| alerts.get_ref().as_table()) {
            self.head("[alerts]".to_owned());
            self.table(alerts, ALERTS);
        }
        self.tables(root, "databases", DATABASE);
        self.tables(root, "users", USER);
        self.listed_users(root, config, variables);
        if let Some(DeValue::Array(rules)) = root.get("hba").map(|rules| rules.get_ref()) {
            for rule in rules.iter().filter_map(|rule| rule.get_ref().as_table()) {
                self.head("[[hba]]".to_owned());
                self.table(rule, HBA);
            }
        }
        self.lines
    }

    fn tables<T>(&mut self, root: &DeTable<'_>, parent: &str, keys: &[Key<T>]) {
        let tables = root.get(parent).and_then(|tables| tables.get_ref().as_table());
        for (name, table) in tables.into_iter().flatten() {
            if let Some(table) = table.get_ref().as_table() {
                self.head(head(parent, name.get_ref()));
                self.table(table, keys);
            }
        }
    }

    fn table<T>(&mut self, table: &DeTable<'_>, keys: &[Key<T>]) {
        for (name, value) in table {
            let key = keys.iter().find(|key| key.name == name.get_ref().as_ref());
            if let Some((key, Ok(value))) = key.map(|key| (key, key.kind.read(value.get_ref()))) {
                self.push(key.name, &value.toml(), self.at(name.span().start));
            }
        }
    }

    /// Users whose secrets are not in this file.
    fn listed_users(&mut self, root: &DeTable<'_>, config: &Config, variables: &Environment) {
        let mut of_variables = Config::empty(config.general.clone());
        // Their problems were told when the configuration was read.
        variables.add_users(&mut of_variables);
        let list = config.general.auth_file.as_ref();
        for (name, user) in &config.users {
            let own = root.get("users").and_then(|users| users.get_ref().get(name.as_str()));
            let own = own.and_then(|user| user.get_ref().get("password")).is_some();
            if own || user.password.is_none() {
                continue;
            }
            let origin = if of_variables.users.contains_key(name) {
                variables.of_users().collect::<Vec<_>>().join(", ")
            } else {
                list.map(|path| path.display().to_string()).unwrap_or_default()
            };
            self.head(head("users", name));
            self.push("password", &quote("***"), origin);
        }
    }

    fn head(&mut self, head: String) {
        let plain = |text| Shown { text, origin: None };
        self.lines.extend([plain(String::new()), plain(head)]);
    }

    fn push(&mut self, key: &str, value: &str, origin: String) {
        self.lines.push(Shown { text: format!("{key} = {value}"), origin: Some(origin) });
    }

    /// `file:line` of a place in the text.
    fn at(&self, place: usize) -> String {
        let line = 1 + self.line_ends.partition_point(|end| *end < place);
        match self.ini {
            Some(lines) => lines.place(line),
            None => format!("{}:{line}", self.name),
        }
    }
}

/// The head of a table; names that TOML has no bare form for stand in quotes.
fn head(parent: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.chars().all(bare) {
        format!("[{parent}.{name}]")
    } else {
        format!("[{parent}.{}]", quote(name))
    }
}
