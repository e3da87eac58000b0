//! What a name that an operator sets means where it is no general key of ours.

use super::ini::theirs;
use super::keys::{DATABASE, GENERAL, USER};
use super::nearest::nearest_of;

/// What whoever sets this should know: it is a key of PgBouncer that means nothing here, one that stands
/// elsewhere, or looks like one of ours. `None` for everything else, as what drivers set.
pub fn about_key(name: &str) -> Option<String> {
    if let Some(why) = theirs::find(name).and_then(theirs::Theirs::absence) {
        return Some(format!("{name} is a key of PgBouncer; {why}"));
    }
    if OF_SESSIONS.contains(&name) || name.contains('.') {
        return None;
    }
    let names = || GENERAL.iter().flat_map(|group| group.keys).map(|key| key.name);
    let of_tables = || DATABASE.iter().map(|key| key.name).chain(USER.iter().map(|key| key.name));
    if of_tables().any(|key| key == name) {
        return Some(format!("{name} is a key of a database or a user; nothing has changed"));
    }
    let known = names().chain(theirs::GENERAL.iter().map(|key| key.name));
    let near = nearest_of(name, known, LETTERS)?;
    Some(format!("{name} is no key, and nothing has changed; did you mean {near}?"))
}

/// Letters of a name of which one is a typo, in names that may as well be those of Postgres's many settings.
const LETTERS: usize = 8;

/// Keys of a database that are settings of Postgres's sessions.
static OF_SESSIONS: [&str; 4] = ["application_name", "client_encoding", "datestyle", "timezone"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_drivers_set() {
        for (name, told) in [
            (
                "stats_period",
                Some("a key of PgBouncer; not supported: averages are taken over 60 s"),
            ),
            ("log_stats", Some("a key of PgBouncer; not supported: figures are in SHOW STATS")),
            ("dns_max_ttl", Some("a key of PgBouncer; not needed: the system looks a name up")),
            ("pool_size", Some("a key of a database or a user; nothing has changed")),
            (
                "defualt_pool_size",
                Some("no key, and nothing has changed; did you mean default_pool_size?"),
            ),
            ("stat_period", Some("no key, and nothing has changed; did you mean stats_period?")),
            ("client_encoding", None),
            ("datestyle", None),
            ("extra_float_digits", None),
            ("application_name", None),
            ("timezone", None),
            ("standard_conforming_strings", None),
            ("bytea_output", None),
            ("search_path", None),
            ("statement_timeout", None),
            ("lock_timeout", None),
            ("session", None),
            ("time", None),
            ("role", None),
            ("names", None),
            ("local", None),
            ("app.pool_mode", None),
        ] {
            let about = about_key(name);
            match told {
                Some(told) => {
                    let about = about.unwrap_or_default();
                    assert!(about.starts_with(&format!("{name} is {told}")), "{name}: {about}");
                }
                None => assert_eq!(about, None, "{name}"),
            }
        }
    }
}
