//! How many servers pools may open on a host, and how many it takes. Decides only: asks nobody, and
//! reads no clock.

mod ask;

use std::collections::BTreeMap;

pub(super) use self::ask::{Capacities, room};
use super::inspect::Level;
use crate::config::check::{servers, servers_of};
use crate::config::{AuthType, Config, Database, HostPort};

/// Servers that pools may open on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// By the names of databases.
    pub(super) parts: Vec<(String, usize)>,
    /// What the listed users together may have there, each within its own limit.
    pub(super) users: usize,
    /// Users who are not listed have pools as well.
    pub(super) strangers: bool,
    /// `max_server_connections`.
    pub(super) cap: Option<usize>,
    /// There may be any number of pools of users or databases that are not listed.
    pub(super) open: bool,
}

/// What a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) max_connections: usize,
    /// Those of them that we can't have.
    pub(super) reserved: usize,
    /// Those that others have now; 0 where that was not looked at.
    pub(super) others: usize,
}

/// How what is wanted stands to what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) advice: String,
}

impl Demand {
    /// That on every host of a configuration.
    pub(super) fn of(config: &Config) -> BTreeMap<HostPort, Self> {
        let mut demands: BTreeMap<HostPort, Self> = BTreeMap::new();
        let mut users: BTreeMap<HostPort, BTreeMap<&str, usize>> = BTreeMap::new();
        for database in config.databases.values() {
            let part = (database.name.clone(), part(config, database));
            // Each may come to be the primary.
            for host in database.all_hosts() {
                let of_host = users.entry(host.clone()).or_default();
                for (name, user) in &config.users {
                    let sum = of_host.entry(name).or_default();
                    *sum = sum.saturating_add(servers_of(config, database, user));
                }
                let demand = demands.entry(host).or_default();
                demand.cap = config.general.max_server_connections;
                demand.open |= is_open(config, database);
                demand.strangers |= lets_strangers_in(config, database);
                demand.parts.push(part.clone());
            }
        }
        for (host, demand) in &mut demands {
            let within = |(name, sum): (&&str, &usize)| {
                let user = config.users.get(*name);
                user.and_then(|user| user.max_user_connections).map_or(*sum, |cap| cap.min(*sum))
            };
            let known = users.get(host).into_iter().flatten();
            demand.users = known.map(within).fold(0, usize::saturating_add);
        }
        demands
    }

    /// What the pools of all databases may have, by their sizes.
    pub(super) fn sum(&self) -> usize {
        self.parts.iter().map(|(_, servers)| *servers).fold(0, usize::saturating_add)
    }

    /// What pools may open at most; `None` where nothing bounds them.
    pub(super) fn most(&self) -> Option<usize> {
        match self.cap {
            Some(cap) if self.open => Some(cap),
            None if self.open => None,
            cap => {
                let users = if self.strangers { usize::MAX } else { self.users };
                Some(self.sum().min(users).min(cap.unwrap_or(usize::MAX)))
            }
        }
    }

    /// Each database with its part.
    pub(super) fn shares(&self) -> String {
        let parts: Vec<_> =
            self.parts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        parts.join(" + ")
    }
}

impl Room {
    /// What the server takes of all who are no superusers.
    pub(super) fn total(&self) -> usize {
        self.max_connections.saturating_sub(self.reserved)
    }

    /// Of these, what others have not taken.
    pub(super) fn left(&self) -> usize {
        self.total().saturating_sub(self.others)
    }
}

/// What a database's pools may hold together.
fn part(config: &Config, database: &Database) -> usize {
    match database.max_db_connections {
        // Whoever comes has a pool of their own.
        Some(cap) if lets_strangers_in(config, database) => cap,
        _ => servers(config, database),
    }
}

/// Whether users who are not listed have pools in a database.
fn lets_strangers_in(config: &Config, database: &Database) -> bool {
    config.auth_user(database).is_some() || config.general.auth_type == AuthType::Any
}

/// Whether pools of a database may be more than those of listed users, of any number.
fn is_open(config: &Config, database: &Database) -> bool {
    let bounded = database.max_db_connections.is_some();
    database.name == "*" || (lets_strangers_in(config, database) && !bounded)
}

/// The largest `default_pool_size` with which pools open no more than this on a host, where it is
/// less than now and that is enough.
pub(super) fn lower_pool_size(config: &Config, host: &HostPort, most: usize) -> Option<usize> {
    let mut other = config.clone();
    let mut fits = |size: usize| {
        other.general.default_pool_size = size;
        let demand = Demand::of(&other).remove(host);
        demand.and_then(|demand| demand.most()).is_some_and(|wanted| wanted <= most)
    };
    let (mut low, mut high) = (1, config.general.default_pool_size);
    if high <= low || !fits(low) || fits(high) {
        return None;
    }
    // `low` fits, `high` does not.
    while high - low > 1 {
        let size = low + (high - low) / 2;
        if fits(size) { low = size } else { high = size }
    }
    Some(low)
}

/// How the pools' demand stands to the room of a host. `lower` finds the `default_pool_size` with
/// which pools open no more than that.
pub(super) fn judge(
    room: &Room,
    demand: &Demand,
    lower: impl Fn(usize) -> Option<usize>,
) -> Verdict {
    let (total, left) = (room.total(), room.left());
    let advised = (left * 4 / 5).max(1);
    let verdict = |level, advice: String| Verdict { level, advice };
    let Some(most) = demand.most() else {
        let advice = format!(
            "users and databases that are not listed have pools of their own: set \
             max_server_connections = {advised}"
        );
        return verdict(Level::Warning, advice);
    };
    let smaller = || {
        let cap = format!("set max_server_connections = {advised}: requests wait then");
        match lower(advised) {
            Some(size) => format!("lower default_pool_size to {size}, or {cap}"),
            None => format!("make pools smaller, or {cap}"),
        }
    };
    if most > total {
        let text = format!("pools may open {most}, the server takes {total}");
        verdict(Level::Error, format!("{text}: {}", smaller()))
    } else if most > left {
        let others = room.others;
        let text = format!("pools may open {most}, and others leave {left} ({others} are theirs)");
        verdict(Level::Warning, format!("{text}: {}", smaller()))
    } else if most > left * 4 / 5 {
        let text = "that leaves less than a fifth to others, as backups and psql";
        verdict(Level::Warning, text.to_owned())
    } else {
        verdict(Level::Ok, String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(sizes: &[usize], cap: Option<usize>, open: bool) -> Demand {
        let parts = sizes.iter().map(|size| ("shop".to_owned(), *size)).collect();
        Demand { parts, users: usize::MAX, strangers: false, cap, open }
    }

    fn config(toml: &str) -> Config {
        Config::from_toml_str("pooler.toml", toml).unwrap()
    }

    fn host() -> HostPort {
        HostPort { host: "db".into(), port: 5432 }
    }

    #[test]
    fn pools_are_measured_by_what_the_server_can_give() {
        let level = |sizes: &[usize], cap, open, others| {
            let room = Room { max_connections: 103, reserved: 3, others };
            judge(&room, &demand(sizes, cap, open), |_| None).level
        };
        assert_eq!(level(&[40, 40], None, false, 0), Level::Ok);
        assert_eq!(level(&[40, 41], None, false, 0), Level::Warning);
        assert_eq!(level(&[50, 50], None, false, 0), Level::Warning);
        assert_eq!(level(&[50, 51], None, false, 0), Level::Error);
        assert_eq!(level(&[50, 51], Some(80), false, 0), Level::Ok);
        assert_eq!(level(&[50], Some(1000), false, 0), Level::Ok);
        assert_eq!(level(&[50], Some(1000), true, 0), Level::Error);
        assert_eq!(level(&[50], None, true, 0), Level::Warning);
        assert_eq!(level(&[50], Some(80), true, 0), Level::Ok);
        assert_eq!(level(&[usize::MAX, 2], None, false, 0), Level::Error);
        assert_eq!(level(&[40], None, false, 50), Level::Ok);
        assert_eq!(level(&[51], None, false, 50), Level::Warning);
        assert_eq!(level(&[1], None, false, 200), Level::Warning);
    }

    #[test]
    fn advice_has_a_pool_size_that_fits() {
        let toml = "default_pool_size = 50\n[databases.shop]\nhost = \"db\"\n\
                    [databases.log]\nhost = \"db\"\npool_size = 10\n\
                    [users.a]\npassword = \"x\"\n[users.b]\npassword = \"x\"\n";
        let config = config(toml);
        let demand = Demand::of(&config).remove(&host()).unwrap();
        assert_eq!((demand.most(), demand.shares()), (Some(120), "log 20 + shop 100".into()));
        let room = Room { max_connections: 100, reserved: 3, others: 0 };
        let verdict = judge(&room, &demand, |most| lower_pool_size(&config, &host(), most));
        assert_eq!(
            verdict.advice,
            "pools may open 120, the server takes 97: lower default_pool_size to 28, or set \
             max_server_connections = 77: requests wait then"
        );
        // The pools that have a size of their own are too many by themselves.
        assert_eq!(lower_pool_size(&config, &host(), 21), None);
        assert_eq!(lower_pool_size(&config, &host(), 22), Some(1));
        assert_eq!(lower_pool_size(&config, &host(), 120), None);
    }

    #[test]
    fn caps_of_users_and_databases_hold_over_all_pools() {
        let users = "[users.a]\npassword = \"x\"\nmax_user_connections = 15\n\
                     [users.b]\npassword = \"x\"\n";
        let most = |shop: &str, general: &str| {
            let toml = format!(
                "{general}\n[databases.shop]\nhost = \"db\"\n{shop}\n[databases.log]\nhost = \
                 \"db\"\n{users}"
            );
            Demand::of(&config(&toml)).remove(&host()).unwrap().most()
        };
        // 20 and 20 of b, 15 of a in both together.
        assert_eq!(most("", ""), Some(55));
        assert_eq!(most("max_db_connections = 5", ""), Some(40));
        assert_eq!(most("reserve_pool_size = 3", ""), Some(58));
        // Clients that become the same user have pools of their own all the same.
        assert_eq!(most("user = \"c\"\npassword = \"x\"", ""), Some(55));
        assert_eq!(most("auth_user = \"a\"", ""), None);
        assert_eq!(most("auth_user = \"a\"\nmax_db_connections = 50", ""), Some(85));
        assert_eq!(most("auth_user = \"a\"", "max_server_connections = 30"), Some(30));
    }
}
