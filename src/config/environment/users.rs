//! Users whose secrets the environment holds. No problem quotes a secret.

use super::{Environment, problem};
use crate::config::model::Config;
use crate::config::problem::Problem;
use crate::config::secret::Secret;
use crate::config::user::User;
use crate::config::userlist;

/// A whole user list, as `auth_file` has it.
const LIST: &str = "PGBOUNCER_USERLIST";
/// One password, or several with commas between them, of the users that a key names.
const ROLES: [(&str, &str, &str); 2] = [
    ("ADMIN_PASSWORD", "ADMIN_PASSWORDS", "admin_users"),
    ("STATS_PASSWORD", "STATS_PASSWORDS", "stats_users"),
];

impl Environment {
    /// Adds the users whose secrets the variables hold.
    pub(in crate::config) fn add_users(&self, config: &mut Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        match self.secret(LIST) {
            Ok(None) => {}
            Ok(Some(text)) => problems.extend(add_list(config, LIST, &text)),
            Err(problem) => problems.push(problem),
        }
        for (one, several, key) in ROLES {
            let names = match key {
                "admin_users" => config.general.admin_users.clone(),
                _ => config.general.stats_users.clone(),
            };
            match self.passwords(one, several) {
                Ok((_, passwords)) if passwords.is_empty() => {}
                Ok((variable, passwords)) if passwords.len() != names.len() => {
                    let (has, wants) = (passwords.len(), names.len());
                    let what =
                        format!("passwords: {has}, names in {key}: {wants}; give one for each");
                    problems.push(problem(variable, what));
                }
                Ok((variable, passwords)) => {
                    let pairs = names.into_iter().zip(passwords);
                    let added = pairs.map(|(name, password)| add(config, variable, name, password));
                    problems.extend(added.filter_map(Result::err));
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems
    }

    /// The variables that hold users' secrets and are set.
    pub(in crate::config) fn of_users(&self) -> impl Iterator<Item = &str> {
        let names = ROLES.iter().flat_map(|(one, several, _)| [*one, *several]).chain([LIST]);
        names.filter_map(|name| self.set_by(name))
    }

    fn passwords(
        &self,
        one: &'static str,
        several: &'static str,
    ) -> Result<(&'static str, Vec<Secret>), Problem> {
        match (self.secret(one)?, self.secret(several)?) {
            (Some(_), Some(_)) => Err(problem(several, format!("{one} is set, too"))),
            (Some(password), None) => Ok((one, vec![Secret::new(password)])),
            (None, Some(list)) => Ok((several, list.split(',').map(Secret::new).collect())),
            (None, None) => Ok((one, Vec::new())),
        }
    }
}

/// Adds the users of a list; of two lines for a user the later one wins.
pub(in crate::config) fn add_list(config: &mut Config, name: &str, text: &str) -> Vec<Problem> {
    match userlist::parse(name, text) {
        Ok(users) => {
            let last: std::collections::BTreeMap<_, _> = users.into_iter().collect();
            let added = last.into_iter().map(|(user, secret)| add(config, name, user, secret));
            added.filter_map(Result::err).collect()
        }
        Err(problems) => problems.into_iter().collect(),
    }
}

fn add(config: &mut Config, source: &str, name: String, secret: Secret) -> Result<(), Problem> {
    let Config { users, general, .. } = config;
    let user = users.entry(name.clone()).or_insert_with(|| User::new(name, None, general));
    if user.password.as_ref().is_some_and(|known| *known != secret) {
        let what = format!("user {} has another secret elsewhere: remove one of them", user.name);
        return Err(problem(source, what));
    }
    user.password = Some(secret);
    Ok(())
}
