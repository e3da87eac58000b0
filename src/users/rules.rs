//! Which rule a connection falls under, and which names a map allows. Pure.

use std::net::IpAddr;

use crate::config::hba::{HbaAddress, HbaDatabase, HbaKind, HbaRule, HbaUser, IdentLine};

/// A connection as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The way that it has come.
    pub way: Way,
    /// The database that it asks for.
    pub database: &'a str,
    /// The user that it wants to be.
    pub user: &'a str,
    /// Whether it asks for physical replication, which has no database.
    pub physical: bool,
}

/// The way that a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a unix socket.
    Unix,
    /// By TCP, in clear.
    Clear(IpAddr),
    /// By TCP and TLS.
    Tls(IpAddr),
}

/// Finds the first rule for a connection. `own` gives the addresses of this machine with their
/// masks; it is asked only when a rule depends on them.
pub fn find<'r>(
    rules: &'r [HbaRule],
    caller: &Caller<'_>,
    own: &dyn Fn() -> Vec<(IpAddr, IpAddr)>,
) -> Option<&'r HbaRule> {
    rules.iter().find(|rule| {
        let from = match (rule.kind, caller.way) {
            (HbaKind::Local, Way::Unix) => None,
            (HbaKind::Host, Way::Clear(from) | Way::Tls(from))
            | (HbaKind::HostSsl, Way::Tls(from))
            | (HbaKind::HostNoSsl, Way::Clear(from)) => Some(from),
            _ => return false,
        };
        rule.databases.iter().any(|database| is_database(database, caller))
            && rule.users.iter().any(|user| is_user(user, caller.user))
            && from.is_none_or(|from| is_from(rule.address, from, own))
    })
}

fn is_database(database: &HbaDatabase, caller: &Caller<'_>) -> bool {
    match database {
        HbaDatabase::Replication => caller.physical,
        // As in Postgres: what is not of a database is under no other word.
        _ if caller.physical => false,
        HbaDatabase::All => true,
        HbaDatabase::SameUser => caller.database == caller.user,
        HbaDatabase::Named(name) => name == caller.database,
    }
}

fn is_user(user: &HbaUser, name: &str) -> bool {
    match user {
        HbaUser::All => true,
        HbaUser::Named(user) => user == name,
    }
}

fn is_from(address: HbaAddress, from: IpAddr, own: &dyn Fn() -> Vec<(IpAddr, IpAddr)>) -> bool {
    // A socket of both families shows IPv4 addresses as mapped ones.
    let from = from.to_canonical();
    match address {
        HbaAddress::All => true,
        HbaAddress::SameHost => own().iter().any(|(address, _)| *address == from),
        HbaAddress::SameNet => own().iter().any(|(address, mask)| in_net(*address, *mask, from)),
        HbaAddress::Net(net, mask) => in_net(net, mask, from),
    }
}

fn in_net(net: IpAddr, mask: IpAddr, address: IpAddr) -> bool {
    match (net, mask, address) {
        (IpAddr::V4(net), IpAddr::V4(mask), IpAddr::V4(address)) => {
            net.to_bits() & mask.to_bits() == address.to_bits() & mask.to_bits()
        }
        (IpAddr::V6(net), IpAddr::V6(mask), IpAddr::V6(address)) => {
            net.to_bits() & mask.to_bits() == address.to_bits() & mask.to_bits()
        }
        _ => false,
    }
}

/// Whether who is `outside` to the system or in a certificate may be `user`: without a map when
/// the names are equal, with one when one of its lines says so.
pub fn may_be(lines: &[IdentLine], map: Option<&str>, outside: &str, user: &str) -> bool {
    let Some(map) = map else {
        return outside == user;
    };
    let mut lines = lines.iter().filter(|line| line.map == map && line.outside == outside);
    lines.any(|line| is_user(&line.user, user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::hba::{parse, parse_ident};

    fn rules(text: &str) -> Vec<HbaRule> {
        parse("hba", text, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn own() -> Vec<(IpAddr, IpAddr)> {
        vec![(ip("192.168.5.7"), ip("255.255.255.0")), (ip("fe80::1"), ip("ffff::"))]
    }

    /// The line of the rule that `user@database` falls under; 0 for none.
    #[track_caller]
    fn check(text: &str, way: Way, login: &str, line: usize) {
        let (user, database) = login.split_once('@').unwrap();
        let physical = database == "(replication)";
        let rules = rules(text);
        let caller = Caller { way, database, user, physical };
        let found = find(&rules, &caller, &own);
        let found = found.map_or("hba:0", |rule| rule.origin.as_str());
        assert_eq!(found, format!("hba:{line}"), "{login} {way:?} in {text}");
    }

    #[test]
    fn first_rule_that_fits_counts() {
        let text = "hostssl all root all reject\n\
                    local all all peer\n\
                    host shop app,bob 10.0.0.0/8 md5\n\
                    host sameuser all samenet trust\n\
                    hostnossl all all samehost password\n\
                    host replication rep all md5\n\
                    hostssl \"all\" all all md5\n";
        let clear = |text| Way::Clear(ip(text));
        let tls = |text| Way::Tls(ip(text));
        check(text, Way::Unix, "root@shop", 2);
        check(text, tls("1.2.3.4"), "root@shop", 1);
        check(text, clear("1.2.3.4"), "root@shop", 0);
        check(text, clear("10.9.8.7"), "bob@shop", 3);
        check(text, clear("::ffff:10.9.8.7"), "bob@shop", 3);
        check(text, clear("11.9.8.7"), "bob@shop", 0);
        check(text, clear("10.9.8.7"), "bob@other", 0);
        check(text, clear("192.168.5.99"), "eve@eve", 4);
        check(text, clear("192.168.6.99"), "eve@eve", 0);
        check(text, clear("192.168.5.7"), "eve@shop", 5);
        check(text, tls("192.168.5.7"), "eve@shop", 0);
        check(text, clear("fe80::2"), "eve@eve", 4);
        check(text, clear("1.1.1.1"), "rep@(replication)", 6);
        check(text, Way::Unix, "rep@(replication)", 0);
        check(text, tls("1.1.1.1"), "x@all", 7);
        check(text, tls("1.1.1.1"), "x@shop", 0);
    }

    #[test]
    fn maps_allow_what_their_lines_say() {
        let text = "os root postgres\nos root app\nother bob all\n";
        let lines = parse_ident("ident", text, &|_| Err(std::io::ErrorKind::NotFound.into()));
        let lines = lines.unwrap();
        for (map, outside, user, may) in [
            (None, "app", "app", true),
            (None, "App", "app", false),
            (Some("os"), "root", "app", true),
            (Some("os"), "root", "postgres", true),
            (Some("os"), "root", "root", false),
            (Some("os"), "bob", "bob", false),
            (Some("other"), "bob", "anybody", true),
            (Some("none"), "bob", "bob", false),
        ] {
            assert_eq!(may_be(&lines, map, outside, user), may, "{map:?} {outside} {user}");
        }
    }
}
