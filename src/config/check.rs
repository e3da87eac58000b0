//! What `pgweir check` says about a configuration without connecting anywhere.

use std::collections::{BTreeMap, BTreeSet};

use super::choice::AuthType;
use super::database::Database;
use super::host_port::HostPort;
use super::model::Config;
use super::user::User;

/// What a configuration amounts to: databases, pools, the sum of their sizes, and warnings. Lines
/// that start with `warning:` are worth a look.
#[must_use]
pub fn report(config: &Config) -> Vec<String> {
    let general = &config.general;
    let mut listening: Vec<String> = general
        .listen_addr
        .iter()
        .map(|host| HostPort { host: host.clone(), port: general.listen_port }.to_string())
        .collect();
    listening.extend(general.unix_socket_dir.clone());
    let mut lines = vec![format!(
        "clients: {}, up to {}; {}",
        listening.join(", "),
        count(general.max_client_conn, "client"),
        format_args!(
            "auth_type {}, {} listed",
            general.auth_type,
            count(config.users.len(), "user")
        ),
    )];
    let mut hosts: BTreeMap<HostPort, usize> = BTreeMap::new();
    let mut sum: usize = 0;
    for database in config.databases.values() {
        let servers = servers(config, database);
        lines.push(database_line(config, database, servers));
        sum = sum.saturating_add(servers);
        // Each may come to be the primary.
        for host in database.all_hosts() {
            let of_host = hosts.entry(host).or_default();
            *of_host = of_host.saturating_add(servers);
        }
    }
    for (host, sum) in &hosts {
        lines.push(match general.max_server_connections {
            Some(cap) if cap < *sum => {
                format!("server {host}: up to {cap} (max_server_connections; pools ask for {sum})")
            }
            _ => format!("server {host}: up to {sum} (its max_connections must be above that)"),
        });
    }
    let databases = count(config.databases.len(), "database");
    lines.push(format!("ok: {databases}, {}, sum of pool sizes {sum}", pools_text(config)));
    lines.extend(warnings(config).into_iter().map(|warning| format!("warning: {warning}")));
    lines
}

/// Servers that the pools of a database's listed users may hold together. There is one for each,
/// whatever user they become on the server.
#[must_use]
pub fn servers(config: &Config, database: &Database) -> usize {
    let of = |user| servers_of(config, database, user);
    let sum = config.users.values().map(of).fold(0, usize::saturating_add);
    database.max_db_connections.map_or(sum, |cap| cap.min(sum))
}

/// Servers that the pool of a user on a database may hold.
#[must_use]
pub fn servers_of(config: &Config, database: &Database, user: &User) -> usize {
    let reserve = config.reserve_pool_size(database, Some(user));
    let size = config.pool_size(database, Some(user)).saturating_add(reserve);
    user.max_user_connections.map_or(size, |cap| cap.min(size))
}

fn database_line(config: &Config, database: &Database, servers: usize) -> String {
    let mut line = format!(
        "database {}: {}/{}, {} of {} in {} mode, up to {}",
        database.name,
        database.host_port(),
        database.dbname,
        count(config.users.len(), "pool"),
        config.pool_size(database, None),
        config.pool_mode(database, None),
        count(servers, "server"),
    );
    let hosts = database.all_hosts().len();
    if hosts > 1 {
        line.push_str(&format!(", {}", count(hosts, "host")));
    }
    line
}

fn pools_text(config: &Config) -> String {
    count(config.databases.len() * config.users.len(), "pool")
}

fn warnings(config: &Config) -> Vec<String> {
    let general = &config.general;
    let mut warnings = Vec::new();
    let by_password =
        matches!(general.auth_type, AuthType::Scram | AuthType::Md5 | AuthType::Plain);
    let looked_up = general.auth_user.is_some()
        || config.databases.values().any(|database| database.auth_user.is_some());
    if config.users.is_empty() && general.auth_type != AuthType::Any && !looked_up {
        warnings.push("no user is listed: nobody can log in".to_owned());
    }
    for user in config.users.values() {
        match &user.password {
            None if by_password && !looked_up => {
                warnings.push(format!("user {} has no password and can't log in", user.name));
            }
            Some(secret)
                if general.auth_type == AuthType::Scram && secret.expose().starts_with("md5") =>
            {
                let name = &user.name;
                warnings.push(format!("user {name} has an md5 secret, which SCRAM can't check"));
            }
            _ => {}
        }
    }
    for (key, names) in
        [("admin_users", &general.admin_users), ("stats_users", &general.stats_users)]
    {
        for name in names.iter().filter(|name| !config.users.contains_key(*name) && !looked_up) {
            warnings.push(format!("{key}: user {name} is not listed and can't log in"));
        }
    }
    if general.auth_type == AuthType::Any || general.auth_type == AuthType::Trust {
        warnings.push(format!("auth_type {}: no password is asked for", general.auth_type));
    }
    if !config.hba.is_empty() && general.auth_type != AuthType::Hba {
        warnings.push(
            "there are rules, and auth_type is not \"hba\": they count for nothing".to_owned(),
        );
    }
    let auth_users = config.databases.values().filter_map(|database| config.auth_user(database));
    for name in auth_users.collect::<BTreeSet<_>>() {
        if config.users.get(name).is_none_or(|user| user.password.is_none()) {
            warnings
                .push(format!("auth_user {name} has no password under [users] or in auth_file"));
        }
    }
    let watched = config.databases.values().filter(|database| database.seeks_primary());
    let check_users = watched.filter_map(|database| {
        let user = config.check_user(database)?;
        let own = database.user.as_deref().is_none_or(|forced| forced == user);
        Some(user).filter(|_| !(own && database.password.is_some()))
    });
    for name in check_users.collect::<BTreeSet<_>>() {
        if config.users.get(name).is_none_or(|user| user.password.is_none()) {
            warnings
                .push(format!("check_user {name} has no password under [users] or in auth_file"));
        }
    }
    if general.debug_force_hop {
        warnings.push("debug_force_hop is on: it costs time, and is for tests".to_owned());
    }
    warnings
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
