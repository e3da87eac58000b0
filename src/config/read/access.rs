//! Who is let in how: `[[hba]]`, the files of rules and maps, and where secrets are looked up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{Problem, Problems, RESERVED, Reader, Seen};
use crate::config::choice::AuthType;
use crate::config::database::Database;
use crate::config::hba::{self, Parts, Word};
use crate::config::keys::HBA;
use crate::config::model::Config;
use crate::config::userlist;

/// One `[[hba]]` as it stands in the file.
#[derive(Debug, Default)]
pub(in crate::config) struct HbaEntry {
    pub(in crate::config) kind: String,
    pub(in crate::config) database: Vec<String>,
    pub(in crate::config) user: Vec<String>,
    pub(in crate::config) address: Option<String>,
    pub(in crate::config) method: String,
    pub(in crate::config) map: Option<String>,
}

impl HbaEntry {
    fn into_parts(self) -> Result<Parts, String> {
        let local = self.kind == "local";
        let address = match (local, self.address) {
            (true, None) => None,
            (true, Some(_)) => return Err("`local` has no address".to_owned()),
            (false, address) => Some((Word::listed(address.as_deref().unwrap_or("all")), None)),
        };
        let words = |names: Vec<String>| names.iter().map(|name| Word::listed(name)).collect();
        Ok(Parts {
            kind: self.kind,
            databases: words(self.database),
            users: words(self.user),
            address,
            method: self.method,
            options: self.map.map(|map| format!("map={map}")).into_iter().collect(),
        })
    }
}

impl Reader<'_> {
    /// Reads rules and maps, from this file and those that it names.
    pub(super) fn read_access(&mut self, seen: &Seen, root: &DeTable<'_>, config: &mut Config) {
        self.read_hba_tables(root, config);
        let general = &config.general;
        if let Some(path) = general.auth_hba_file.clone() {
            if !config.hba.is_empty() {
                let line = seen.get("auth_hba_file").copied();
                let hint = "rules stand in one place: a rule's order counts".to_owned();
                let what = "there are rules under [[hba]] too";
                return self.report_at(line, "auth_hba_file", what, Some(hint));
            }
            config.hba = self.read_named_file(seen, "auth_hba_file", &path, hba::parse);
        }
        if let Some(path) = config.general.auth_ident_file.clone() {
            config.ident = self.read_named_file(seen, "auth_ident_file", &path, hba::parse_ident);
        }
        let by_rules = config.general.auth_type == AuthType::Hba;
        if by_rules && config.hba.is_empty() && self.is_sound() {
            let line = seen.get("auth_type").copied();
            let hint = "add [[hba]] tables, or auth_hba_file".to_owned();
            self.report_at(
                line,
                "auth_type",
                "\"hba\" has no rules: nobody could log in",
                Some(hint),
            );
        }
        self.check_maps(config);
    }

    /// Whether nothing is wrong so far: what was left out may explain the rest.
    fn is_sound(&self) -> bool {
        self.broken.is_empty() && self.problems.is_empty() && self.elsewhere.is_empty()
    }

    fn read_hba_tables(&mut self, root: &DeTable<'_>, config: &mut Config) {
        let Some((key, value)) = root.get_key_value("hba") else {
            return;
        };
        let DeValue::Array(entries) = value.get_ref() else {
            let line = self.line(&key.span());
            let hint = "as in [[hba]], once per rule".to_owned();
            return self.report_at(Some(line), "hba", "must be a list of tables", Some(hint));
        };
        for entry in entries {
            let line = self.line(&entry.span());
            let Some(table) = entry.get_ref().as_table() else {
                self.report_at(Some(line), "hba", "must be a list of tables", None);
                continue;
            };
            let mut read = HbaEntry::default();
            let before = self.problems.len();
            let keys: Vec<_> = HBA.iter().collect();
            let seen = self.read_table("hba", table, &keys, &[], &mut read);
            for missing in ["type", "method"].iter().filter(|key| !seen.contains_key(**key)) {
                self.report_at(Some(line), &format!("hba.{missing}"), "missing", None);
            }
            if self.problems.len() > before {
                continue;
            }
            let default = |names: &mut Vec<String>| {
                if names.is_empty() {
                    names.push("all".to_owned());
                }
            };
            default(&mut read.database);
            default(&mut read.user);
            let origin = format!("{}:{line}", self.file);
            match read.into_parts().and_then(|parts| parts.into_rule(origin)) {
                Ok(rule) => config.hba.push(rule),
                Err(what) => self.report_at(Some(line), "hba", what, None),
            }
        }
    }

    /// Adds the passwords of `password_file` to databases.
    pub(super) fn read_password_file(&mut self, seen: &Seen, config: &mut Config) {
        let Some(path) = config.general.password_file.clone() else {
            return;
        };
        let parse = |name: &str, text: &str, _: hba::ReadFile<'_>| userlist::parse(name, text);
        let listed = self.read_named_file(seen, "password_file", &path, parse);
        let sound = self.is_sound();
        let mut last = BTreeMap::new();
        last.extend(listed);
        for (name, password) in last {
            let what = match config.databases.get_mut(&name).map(Arc::make_mut) {
                Some(Database { password: known @ None, .. }) => {
                    *known = Some(password);
                    continue;
                }
                Some(_) => {
                    format!("database \"{name}\" has a password of its own: remove one of them")
                }
                // It may be one that could not be read.
                None if !sound => continue,
                None => format!("there is no database \"{name}\""),
            };
            let file = path.display().to_string();
            self.elsewhere.push(Problem { file, line: None, key: String::new(), what, hint: None });
        }
    }

    fn read_named_file<T>(
        &mut self,
        seen: &Seen,
        key: &'static str,
        path: &Path,
        parse: impl Fn(&str, &str, hba::ReadFile<'_>) -> Result<Vec<T>, Problems>,
    ) -> Vec<T> {
        let read = |path: &Path| std::fs::read_to_string(path);
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => {
                let line = seen.get(key).copied();
                let what = format!("{} can't be read: {error}", path.display());
                let hint = "a relative path starts in the current directory".to_owned();
                self.report_at(line, key, what, path.is_relative().then_some(hint));
                return Vec::new();
            }
        };
        parse(&path.display().to_string(), &text, &read).unwrap_or_else(|problems| {
            self.elsewhere.extend(problems);
            Vec::new()
        })
    }

    /// Reports rules whose map there is not: nobody would get in by them.
    fn check_maps(&mut self, config: &Config) {
        let mut missing: Vec<_> = Vec::new();
        for rule in &config.hba {
            let known = |map: &String| config.ident.iter().any(|line| line.map == *map);
            if let Some(map) = rule.map.as_ref().filter(|map| !known(map)) {
                missing.push((rule.origin.clone(), map.clone()));
            }
        }
        if !self.is_sound() {
            return;
        }
        for (origin, map) in missing {
            self.elsewhere.push(Problem {
                file: origin,
                line: None,
                key: String::new(),
                what: format!("auth_ident_file has no map \"{map}\""),
                hint: None,
            });
        }
    }

    /// Reports look-ups of secrets that have no place.
    pub(super) fn check_look_ups(&mut self, seen: &Seen, config: &Config) {
        let general = &config.general;
        let mut wrong = Vec::new();
        let mut check = |line: Option<usize>, key: String, name: &str| {
            if RESERVED.contains(&name) {
                let what = format!("cannot use the reserved \"{name}\" database as an auth_dbname");
                wrong.push((line, key, what));
            } else if !config.databases.contains_key(name) {
                wrong.push((line, key, format!("there is no [databases.{name}]")));
            }
        };
        if let Some(name) = &general.auth_dbname {
            check(seen.get("auth_dbname").copied(), "auth_dbname".to_owned(), name);
        }
        for database in config.databases.values() {
            if let Some(name) = &database.auth_dbname {
                check(None, format!("databases.{}.auth_dbname", database.name), name);
            }
        }
        for database in config.databases.values() {
            let asks = database.auth_query.is_some() || database.auth_dbname.is_some();
            if asks && config.auth_user(database).is_none() {
                let key = format!("databases.{}.auth_user", database.name);
                wrong.push((None, key, "missing: who is to run auth_query?".to_owned()));
            }
        }
        for (line, key, what) in wrong {
            self.report_at(line, &key, what, None);
        }
    }
}

impl Config {
    /// Who asks a database's hosts for their roles, where there are several.
    #[must_use]
    pub fn check_user<'a>(&'a self, database: &'a Database) -> Option<&'a str> {
        let configured = database.check_user.as_deref().or(self.general.check_user.as_deref());
        configured.or(database.user.as_deref()).or_else(|| self.auth_user(database))
    }

    /// Who looks up secrets for a database; `None` when they are not looked up.
    #[must_use]
    pub fn auth_user<'a>(&'a self, database: &'a Database) -> Option<&'a str> {
        database.auth_user.as_deref().or(self.general.auth_user.as_deref())
    }
}
