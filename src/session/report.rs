//! What a client is told where that takes more than the condition itself, and what the log is told
//! of it.

use std::time::Duration;

use super::{Session, Tenancy};
use crate::client::condition;
use crate::complaints::shown;
use crate::server::connect::ConnectError;
use crate::wire::reply::{Report, Severity};
use crate::wire::view;

impl Session {
    /// Has the log say what the client is told, if that is wanted.
    pub(super) fn log_error(&self, report: &Report) {
        let Tenancy { terms, house, login, .. } = &*self.tenancy;
        if terms.log_pooler_errors {
            let (user, database) = (shown(&login.user), shown(&login.database));
            let (message, from) = (&report.message, self.seat.card().peer.origin());
            house.complaints.complain(&format!(
                "pooler error: {message} (user {user}, database {database}, from {from})"
            ));
        }
    }
}

/// A request waited too long for a server. `crowd` describes the pool.
pub fn wait_timeout(waited: Duration, crowd: String) -> Report {
    let seconds = format!("{:.1}", waited.as_secs_f64());
    Report { detail: Some(crowd), ..condition::WAIT_TIMEOUT.about(seconds) }
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
