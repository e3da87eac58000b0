//! Logins that failed, for the log: the first of a kind at once, its repeats as a number.
//!
//! Who floods us with bad logins does not flood the log: kinds are bounded too.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

/// How long repeats are gathered before their number is logged.
pub(super) const GATHERED: Duration = Duration::from_secs(10);
/// Kinds that are told apart in that time.
const KINDS_MAX: usize = 1000;
/// What is shown of a name that somebody has sent us.
const SHOWN_LEN_MAX: usize = 63;

/// A login that failed between a client and us.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Complaint {
    /// As whom, as far as it was said.
    pub(super) user: Option<String>,
    /// Where to.
    pub(super) database: Option<String>,
    /// How the client was asked to prove it.
    pub(super) method: Option<&'static str>,
    /// From where; `None` for this machine's unix socket.
    pub(super) from: Option<IpAddr>,
    pub(super) reason: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, database, method, from, reason } = self;
        write!(f, "client to pgweir: {reason} (")?;
        if let (Some(user), Some(database)) = (user, database) {
            write!(f, "user {}, database {}, ", shown(user), shown(database))?;
        }
        if let Some(method) = method {
            write!(f, "method {method}, ")?;
        }
        match from {
            Some(from) => write!(f, "from {from})"),
            None => write!(f, "from the unix socket)"),
        }
    }
}

/// A name as somebody has sent it: short, in quotes, without control characters.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(SHOWN_LEN_MAX).collect();
    let more = if short.len() < name.len() { "..." } else { "" };
    format!("{short:?}{more}")
}

/// What was complained of lately.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    repeats: Mutex<HashMap<Complaint, u64>>,
}

impl Complaints {
    /// Logs a complaint, or counts it if its kind was logged lately.
    pub(super) fn complain(&self, complaint: Complaint) {
        if let Some(complaint) = self.count(complaint) {
            tracing::warn!("login failed: {complaint}");
        }
    }

    fn count(&self, complaint: Complaint) -> Option<Complaint> {
        let mut repeats = self.repeats.lock();
        if let Some(count) = repeats.get_mut(&complaint) {
            *count += 1;
            return None;
        }
        let full = repeats.len() >= KINDS_MAX;
        let kind = if full { others() } else { complaint.clone() };
        let first = !repeats.contains_key(&kind);
        *repeats.entry(kind).or_default() += u64::from(full);
        (first && !full).then_some(complaint)
    }

    /// Logs how often each was repeated, and starts anew.
    pub(super) fn sum_up(&self) {
        let repeats = std::mem::take(&mut *self.repeats.lock());
        for (complaint, count) in repeats.into_iter().filter(|(_, count)| *count > 0) {
            tracing::warn!("login failed {count} times more in {GATHERED:?}: {complaint}");
        }
    }
}

/// Stands for all kinds beyond the limit.
fn others() -> Complaint {
    let reason = "for many other users, addresses and reasons".to_owned();
    Complaint { user: None, database: None, method: None, from: None, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(reason: &str) -> Complaint {
        Complaint {
            user: Some("a\nb".to_owned()),
            database: Some("x".repeat(100)),
            method: Some("md5"),
            from: Some(IpAddr::from([127, 0, 0, 1])),
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn repeats_are_counted_and_kinds_are_bounded() {
        let complaints = Complaints::default();
        assert!(complaints.count(complaint("wrong password")).is_some());
        assert!(complaints.count(complaint("wrong password")).is_none());
        assert!(complaints.count(complaint("no such user")).is_some());
        assert_eq!(complaints.repeats.lock().get(&complaint("wrong password")), Some(&1));
        let logged = (0..3000).filter(|n| complaints.count(complaint(&n.to_string())).is_some());
        assert_eq!(logged.count(), KINDS_MAX - 2);
        assert!(complaints.repeats.lock().len() <= KINDS_MAX + 1);
        assert_eq!(complaints.repeats.lock().get(&others()), Some(&2002));
        complaints.sum_up();
        assert!(complaints.count(complaint("wrong password")).is_some());
    }

    #[test]
    fn names_are_shown_short_and_quoted() {
        let text = complaint("no").to_string();
        let name = "x".repeat(63);
        let expected = format!(
            "client to pgweir: no (user \"a\\nb\", database \"{name}\"..., method md5, from 127.0.0.1)"
        );
        assert_eq!(text, expected);
    }
}
