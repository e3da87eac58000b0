//! What is made of the facts that an inspection finds. Decides only: asks nobody, and reads no
//! clock.

use std::time::{Duration, SystemTime};

use super::report::{Check, Level};
use crate::app::capacity::{self, Demand, Room, Verdict};
use crate::app::discover::Role;
use crate::app::tls::SOON;
use crate::auth::ServerAuthError;
use crate::config::HostPort;
use crate::net::tls::Validity;
use crate::server::connect::ConnectError;

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) role: Role,
    /// Others who are there are not counted.
    pub(super) room: Room,
    /// Seconds that its clock is ahead of ours, and how far off that may be.
    pub(super) ahead: f64,
    pub(super) ahead_error: f64,
}

/// What proves us to a server, as far as the configuration knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// All that there is.
    Own,
    /// Only together with what the client shows when it logs in.
    WithClient,
}

/// A clock may differ by this many seconds: replicas' lags are compared by it.
const SKEW_MAX: f64 = 1.0;

pub(super) fn refused(place: String, proof: Proof, error: &ConnectError) -> Check {
    let check = Check::ok("login", place, error.to_string());
    let hint = match error {
        ConnectError::Unreachable { .. } | ConnectError::TimedOut { .. } => {
            "does the server run, and are host and port right?"
        }
        ConnectError::Auth { cause, .. } => {
            let lacks = matches!(
                cause,
                ServerAuthError::NoSecret { .. } | ServerAuthError::SecretForm { .. }
            );
            if lacks && proof == Proof::WithClient {
                let hint = "not tried: what proves this user comes with its client's login";
                return check.but(Level::Warning, hint);
            }
            "the password under [users], in auth_file or of the database must be the server's"
        }
        ConnectError::Tls { .. } => {
            "server_tls_sslmode and the files of server_tls must suit the server"
        }
        ConnectError::Refused { .. } => match error.server_sqlstate() {
            Some(b"28P01") => {
                "the password under [users], in auth_file or of the database is not the server's"
            }
            Some(b"28000") => "the server's pg_hba.conf must let this user in from here",
            Some(b"3D000") => "dbname must be a database of the server",
            Some(b"53300") => "the server has no connection left: see max_connections there",
            _ => "the server's log says more",
        },
        ConnectError::Closed { .. } | ConnectError::Lied { .. } => "is it a Postgres server?",
    };
    check.but(Level::Error, hint)
}

pub(super) fn role(place: String, facts: &Facts) -> Check {
    Check::ok("role", place, format!("{}, Postgres {}", facts.role, facts.version))
}

/// `known` are those of a database's hosts, `hosts` in number, that could be asked.
pub(super) fn primary(database: &str, hosts: usize, known: &[(&HostPort, Role)]) -> Check {
    let primaries: Vec<String> = known
        .iter()
        .filter(|(_, role)| *role == Role::Primary)
        .map(|(host, _)| host.to_string())
        .collect();
    let found = if primaries.is_empty() { "none".to_owned() } else { primaries.join(", ") };
    let check = Check::ok("primary", format!("databases.{database}"), found);
    match (primaries.len(), hosts) {
        (1, _) => check,
        (0, 1) => {
            let hint = "writes fail there; fine for a database that is only read";
            check.but(Level::Warning, hint)
        }
        (0, _) => check.but(Level::Error, "clients wait until one of the hosts is promoted"),
        _ => check.but(Level::Error, "all but the one that was promoted last get nothing"),
    }
}

/// `lag` is what has come and was not replayed in bytes, and how old what was replayed is in
/// seconds, as the server writes them; `receives` whether more can come.
pub(super) fn lag(
    place: String,
    bytes: Option<&str>,
    seconds: Option<&str>,
    receives: bool,
) -> Check {
    let unknown = "unknown";
    let text = format!(
        "{} bytes received and not replayed, {} seconds behind",
        bytes.unwrap_or(unknown),
        seconds.unwrap_or(unknown),
    );
    let check = Check::ok("lag", place, text);
    match (bytes, receives) {
        (Some(_), true) => check,
        _ => check.but(Level::Warning, "it receives nothing: see primary_conninfo and its log"),
    }
}

pub(super) fn clock(place: String, facts: &Facts) -> Check {
    let Facts { ahead, ahead_error, .. } = facts;
    let side = if *ahead < 0.0 { "behind" } else { "ahead of" };
    let text = format!("{:.3} s {side} ours (to {ahead_error:.3} s)", ahead.abs());
    let check = Check::ok("clock", place, text);
    if ahead.abs() - ahead_error <= SKEW_MAX {
        return check;
    }
    check.but(Level::Warning, "lags and times in logs can't be compared: run NTP on both")
}

pub(super) fn connections(
    place: String,
    room: &Room,
    demand: &Demand,
    lower: impl Fn(usize) -> Option<usize>,
) -> Check {
    let (sum, cap) = (demand.sum(), demand.cap);
    let most = demand.most().unwrap_or(sum);
    let capped = cap.map_or_else(String::new, |cap| format!(", max_server_connections {cap}"));
    let text = format!(
        "pools may open {most} (sum {sum}: {}{capped}) of the {} that the server has \
         (max_connections {}, {} reserved)",
        demand.shares(),
        room.total(),
        room.max_connections,
        room.reserved,
    );
    let Verdict { level, advice } = capacity::judge(room, demand, lower);
    let check = Check::ok("connections", place, text);
    if level == Level::Ok { check } else { check.but(level, advice) }
}

/// `at_worst` is how bad it is if it is not good now.
pub(super) fn validity(
    place: String,
    validity: &Validity,
    now: SystemTime,
    at_worst: Level,
) -> Check {
    let Validity { from, to } = validity;
    let check = |text| Check::ok("certificate", place, text);
    if now < from.at {
        return check(format!("not valid before {from}"))
            .but(at_worst, "is the clock of this machine right? else wait, or replace it");
    }
    match to.at.duration_since(now) {
        Err(_past) => check(format!("expired on {to}"))
            .but(at_worst, "replace it; files that have changed are read again by themselves"),
        Ok(left) => {
            let days = left.as_secs() / Duration::from_secs(24 * 3600).as_secs();
            let check = check(format!("good for {days} days, to {to}"));
            if left < SOON { check.but(Level::Warning, "replace it soon") } else { check }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(ahead: f64) -> Facts {
        let (version, role) = ("17.5".to_owned(), Role::Primary);
        let room = Room { max_connections: 100, reserved: 3, others: 0 };
        Facts { version, role, room, ahead, ahead_error: 0.5 }
    }

    #[test]
    fn a_clock_is_wrong_when_no_delay_explains_it() {
        let level = |ahead| clock(String::new(), &facts(ahead)).level;
        assert_eq!(level(-1.5), Level::Ok);
        assert_eq!(level(1.4), Level::Ok);
        assert_eq!(level(-1.6), Level::Warning);
        assert_eq!(level(3600.0), Level::Warning);
        assert_eq!(clock("db".to_owned(), &facts(-3.25)).text, "3.250 s behind ours (to 0.500 s)");
    }
}
