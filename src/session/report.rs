//! What a client is told where that takes more than the condition itself, and what the log is told
//! of it.

use std::time::{Duration, SystemTime};

use super::{Session, Tenancy};
use crate::client::card::ClientCard;
use crate::client::condition;
use crate::complaints::{plain, shown};
use crate::pool::{Hindrance, Limit};
use crate::server::connect::ConnectError;
use crate::traffic::{ErrorBook, Side};
use crate::wire::reply::{Report, Severity};
use crate::wire::view;

impl Session {
    /// The client is told of an error by us: it is counted, and the log says so if that is wanted.
    pub(super) fn note_error(&self, side: Side, report: &Report) {
        self.note_errors(side, report, 1);
    }

    /// The same, for each request that was refused with it.
    pub(super) fn note_refusals(&mut self, side: Side, report: &Report) {
        let times = self.client.ignore.take_told();
        self.note_errors(side, report, times);
    }

    fn note_errors(&self, side: Side, report: &Report, times: usize) {
        if times == 0 || !self.seat.card().tells_errors() {
            return;
        }
        let Tenancy { terms, house, login, .. } = &*self.tenancy;
        (0..times).for_each(|_| count(&house.errors, side, report));
        if terms.log_pooler_errors {
            let (user, database) = (shown(&login.user), shown(&login.database));
            let (message, from) = (&report.message, self.seat.card().peer.origin());
            house.complaints.complain(&format!(
                "pooler error: {message} (user {user}, database {database}, from {from})"
            ));
        }
    }
}

/// The log is told, in PgBouncer's words, of a client that prepares a name which it has already.
pub(super) fn prepared_twice(tenancy: &Tenancy, card: &ClientCard, name: &[u8]) {
    let Tenancy { terms, house, .. } = tenancy;
    if !terms.log_pooler_errors || !card.tells_errors() {
        return;
    }
    let (database, user) = (plain(&card.login.database), plain(&card.login.user));
    let name = shown(&String::from_utf8_lossy(name));
    let name = name.trim_matches('"');
    let kind = format!("prepared twice by {user} in {database} from {}", card.peer.origin());
    house.complaints.complain_of(&kind, || {
        let peer = &card.peer;
        format!("{database}/{user}@{peer} prepared statement '{name}' was already prepared")
    });
}

/// Counts an error of ours, or one that we tell in a server's words.
pub fn count(errors: &ErrorBook, side: Side, report: &Report) {
    let Report { sqlstate, message, .. } = report;
    errors.add(side, sqlstate.as_bytes(), SystemTime::now(), || message.clone());
}

/// Counts an error that a server's client is told, whose body this is. Its message may have values
/// in it.
pub(super) fn count_server(errors: &ErrorBook, error: &[u8]) {
    let field = |code| view::error_field(error, code).unwrap_or_default();
    errors.add(Side::Server, field(b'C'), SystemTime::now(), || {
        format!("reported by {}", String::from_utf8_lossy(field(b'R')))
    });
}

/// A request waited too long for a server. `crowd` describes the pool.
pub fn wait_timeout(waited: Duration, crowd: String) -> Report {
    let seconds = format!("{:.1}", waited.as_secs_f64());
    Report { detail: Some(crowd), ..condition::WAIT_TIMEOUT.about(seconds) }
}

/// The same, where this is what it waited for.
pub fn wait_timeout_for(limit: Option<Limit>, waited: Duration, crowd: String) -> Report {
    let report = wait_timeout(waited, crowd);
    let hint = match limit {
        None | Some(Limit::PoolSize) => return report,
        Some(Limit::Paused) => condition::RESUME.to_owned(),
        Some(Limit::Nowhere) => condition::NO_PRIMARY.hint.to_owned(),
        Some(Limit::Down | Limit::Coming) => condition::LOOK_AT_LOG.to_owned(),
        Some(Limit::Full) => condition::raise("max_connections of the server"),
        Some(limit) => condition::raise(limit.as_str()),
    };
    Report { hint: Some(hint), ..report }
}

/// What keeps those who wait in a pool waiting, as a sentence, where it is not the size of the pool.
pub fn hindrance(hindrance: &Hindrance) -> String {
    let taken = hindrance.taken();
    let taken = taken.map_or(String::new(), |(used, of)| format!(" ({used} of {of} taken)"));
    match hindrance.limit {
        Limit::PoolSize => String::new(),
        Limit::Paused => " The database is paused.".to_owned(),
        Limit::Nowhere => " No primary is known.".to_owned(),
        Limit::Down => " The last attempt to open a server has failed.".to_owned(),
        Limit::Coming => " A server is being opened or made ready.".to_owned(),
        Limit::Full => {
            format!(" The server takes no more connections{taken}: max_connections there.")
        }
        limit => format!(" What there is too little of: {}{taken}.", limit.as_str()),
    }
}

/// The client's request waits.
pub fn queued_notice(crowd: String) -> Report {
    Report { detail: Some(crowd), ..condition::QUEUED.report() }
}

/// There is no server. What a server said itself is told in its own words.
pub fn connect_failed(severity: Severity, error: &ConnectError) -> Report {
    let ours = match error {
        ConnectError::Refused { error: body, .. } => return from_server(severity, body),
        ConnectError::Auth { .. } => condition::SERVER_LOGIN,
        ConnectError::Unreachable { .. }
        | ConnectError::TimedOut { .. }
        | ConnectError::Closed { .. }
        | ConnectError::Tls { .. }
        | ConnectError::Lied { .. } => condition::NO_SERVER,
    };
    Report { severity, ..ours.about(error.told()) }
}

/// A server's own error, with this severity.
pub fn from_server(severity: Severity, body: &[u8]) -> Report {
    let field =
        |code| view::error_field(body, code).map(|text| String::from_utf8_lossy(text).into_owned());
    let unsaid = condition::UNSAID;
    Report {
        severity,
        sqlstate: field(b'C')
            .filter(|code| code.len() == 5)
            .unwrap_or(unsaid.sqlstate.into())
            .into(),
        message: field(b'M').unwrap_or(unsaid.message.into()),
        detail: field(b'D'),
        hint: field(b'H'),
        routine: None,
    }
}
