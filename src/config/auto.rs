//! Databases that nobody has listed: `[databases."*"]` stands for each of them.

use std::sync::Arc;

use super::database::Database;
use super::model::Config;

/// The name of the table that stands for all others.
pub(super) const ANY: &str = "*";
/// The longest name of a database on a server.
const NAME_LEN_MAX: usize = 63;

impl Config {
    /// The database of this name: the one that is listed, or one made of `[databases."*"]`.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<Arc<Database>> {
        if name == ANY || name.len() > NAME_LEN_MAX {
            return self.databases.get(name).filter(|_| name != ANY).cloned();
        }
        if let Some(listed) = self.databases.get(name) {
            return Some(Arc::clone(listed));
        }
        let mut made = Database::clone(self.databases.get(ANY)?);
        name.clone_into(&mut made.name);
        if made.dbname == ANY {
            name.clone_into(&mut made.dbname);
        }
        Some(Arc::new(made))
    }

    /// Whether a database of this name would be made of `[databases."*"]`.
    #[must_use]
    pub fn is_auto(&self, name: &str) -> bool {
        !self.databases.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::General;
    use super::*;

    #[test]
    fn any_name_is_made_of_the_star_unless_it_is_listed() {
        let mut config = Config::empty(General::default());
        assert_eq!(config.database("x"), None);
        let mut add = |name: &str, host: &str| {
            let database = Database::new(name, host, &General::default());
            config.databases.insert(name.to_owned(), Arc::new(database));
        };
        add("*", "any");
        add("listed", "own");
        let found = |name: &str| {
            let database = config.database(name)?;
            assert_eq!(database.name, name);
            Some((database.host.clone(), database.dbname.clone()))
        };
        let pair = |host: &str, name: &str| Some((host.to_owned(), name.to_owned()));
        assert_eq!(found("listed"), pair("own", "listed"));
        assert_eq!(found("x"), pair("any", "x"));
        let long = "n".repeat(63);
        assert_eq!(found(&long), pair("any", &long));
        for name in ["*".to_owned(), "n".repeat(64), "n".repeat(65), "n".repeat(60_000)] {
            assert_eq!(found(&name), None);
        }
        assert!(config.is_auto("x") && !config.is_auto("listed"));
    }
}
