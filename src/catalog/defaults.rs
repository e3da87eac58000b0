//! What transactions of each role are like where nobody says anything: set by the server's files, by
//! `ALTER DATABASE`, `ALTER ROLE`, or `ALTER ROLE … IN DATABASE`.

use std::collections::HashMap;

use crate::server::manner::is_on;
use crate::sql::facts::Isolation;

/// What transactions are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manners {
    /// How they are kept apart from others.
    pub isolation: Isolation,
    /// They may only read.
    pub read_only: bool,
}

/// Those of all roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    others: Manners,
    by_role: HashMap<Box<str>, Manners>,
}

impl Defaults {
    /// From settings as (role, name, value), where a later one goes before an earlier one of the same
    /// role; without a role, they are everybody's, and come first.
    pub fn new<'s>(settings: impl IntoIterator<Item = (&'s str, &'s str, &'s str)>) -> Self {
        let mut defaults = Self::default();
        for (role, name, value) in settings {
            let manners = match role {
                "" => &mut defaults.others,
                role => defaults.by_role.entry(role.into()).or_insert(defaults.others),
            };
            match name {
                "default_transaction_isolation" => {
                    manners.isolation = Isolation::read(value.as_bytes()).unwrap_or_default();
                }
                "default_transaction_read_only" => {
                    manners.read_only = is_on(value.as_bytes());
                }
                _ => {}
            }
        }
        defaults
    }

    /// Those of this role.
    #[inline]
    pub fn of(&self, role: &str) -> Manners {
        if self.by_role.is_empty() {
            return self.others;
        }
        self.by_role.get(role).copied().unwrap_or(self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_has_what_it_was_given_and_what_everybody_has_else() {
        let isolation = "default_transaction_isolation";
        let defaults = Defaults::new([
            ("", isolation, "read committed"),
            ("", isolation, "serializable"),
            ("a", "default_transaction_read_only", "on"),
            ("b", isolation, "repeatable read"),
            ("b", isolation, "read committed"),
        ]);
        let manners = |isolation, read_only| Manners { isolation, read_only };
        assert_eq!(defaults.of("a"), manners(Isolation::Serializable, true));
        assert_eq!(defaults.of("b"), manners(Isolation::ReadCommitted, false));
        assert_eq!(defaults.of("c"), manners(Isolation::Serializable, false));
        assert_eq!(Defaults::default().of("a"), Manners::default());
    }
}
