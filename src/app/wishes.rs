//! What a startup packet wishes for, beside user and database.

use crate::client::card::Replication;
use crate::client::condition;
use crate::config::{Database, General, User};
use crate::wire::reply::Report;
use crate::wire::startup::{Setting, Startup, read_options};

/// Which walsender the client wants, if it wants one, as Postgres reads the parameter.
pub(super) fn asks_for_replication(startup: &Startup) -> Option<Replication> {
    let value = startup.parameter("replication").unwrap_or_default().to_ascii_lowercase();
    match value.as_slice() {
        b"database" => Some(Replication::Logical),
        b"true" | b"on" | b"yes" | b"1" | b"t" | b"y" => Some(Replication::Physical),
        _ => None,
    }
}

/// The settings of a new session: the database's, then those in the startup packet's `options`,
/// then what is given outright. The last of a name counts.
pub(super) fn settings(
    startup: &Startup,
    general: &General,
    database: &Database,
    user: Option<&User>,
) -> Result<Vec<Setting>, Report> {
    let options = startup.parameter("options").unwrap_or_default();
    let mut settings =
        read_options(options).map_err(|error| condition::STARTUP_OPTIONS.about(error))?;
    let special: [&[u8]; 4] = [b"user", b"database", b"options", b"replication"];
    let given = startup.parameters.iter().filter(|(name, _)| !special.contains(&name.as_slice()));
    settings.extend(given.cloned());
    let ignored = |name: &[u8]| {
        let ignored = &general.ignore_startup_parameters;
        ignored.iter().any(|ignored| ignored.as_bytes().eq_ignore_ascii_case(name))
    };
    settings.retain(|(name, _)| !ignored(name));
    settings.splice(..0, defaults(database));
    let writes = |name: &[u8]| {
        let mut known =
            [&b"default_transaction_read_only"[..], b"transaction_read_only"].into_iter();
        known.find(|known| known.eq_ignore_ascii_case(name))
    };
    if user.is_some_and(|user| user.read_only)
        && let Some(name) = settings.iter().find_map(|(name, _)| writes(name))
    {
        return Err(condition::READ_ONLY_USER.about(String::from_utf8_lossy(name)));
    }
    Ok(settings)
}

/// What a walsender's server is told beside user and database: what the client has, and the
/// settings of the database that it has not. `options` come first at a server, so those count.
pub(super) fn walsender_parameters(startup: &Startup, database: &Database) -> Vec<Setting> {
    let options = startup.parameter("options").unwrap_or_default();
    let options = read_options(options).unwrap_or_default();
    let brought = |name: &[u8]| options.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let given = startup.parameters.iter();
    let given = given.filter(|(name, _)| name != b"user" && name != b"database").cloned();
    defaults(database).filter(|(name, _)| !brought(name)).chain(given).collect()
}

/// What a database gives to clients that bring none of their own.
fn defaults(database: &Database) -> impl Iterator<Item = Setting> {
    let settings = [
        ("client_encoding", &database.client_encoding),
        ("datestyle", &database.datestyle),
        ("timezone", &database.timezone),
        ("application_name", &database.application_name),
    ];
    settings.into_iter().filter_map(|(name, value)| {
        Some((name.as_bytes().to_vec(), value.as_ref()?.as_bytes().to_vec()))
    })
}
