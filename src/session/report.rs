//! What a client is told when something goes wrong: severity, SQLSTATE and text of every
//! condition that is ours. `docs/errors.md` is this table in prose.
//!
//! Wording is PgBouncer's where it has the condition too, as other software matches on it.

use std::time::Duration;

use crate::server::connect::ConnectError;
use crate::wire::reply::{Report, Severity};
use crate::wire::view;

fn report(severity: Severity, sqlstate: &'static str, message: impl Into<String>) -> Report {
    Report {
        severity,
        sqlstate: sqlstate.into(),
        message: message.into(),
        detail: None,
        hint: None,
    }
}

/// A command in a transaction that has failed, as Postgres says it.
pub fn in_failed_transaction() -> Report {
    report(
        Severity::Error,
        "25P02",
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

/// The client broke the protocol.
pub fn protocol_violation(what: impl Into<String>) -> Report {
    report(Severity::Fatal, "08P01", what)
}

/// The server broke the protocol, or its connection.
pub fn server_lost(what: impl Into<String>) -> Report {
    let mut lost = report(Severity::Fatal, "08006", what);
    lost.hint = Some("The outcome of the request is unknown.".into());
    lost
}

/// The client has cancelled a request that waited for a server.
pub fn cancelled_in_queue() -> Report {
    report(Severity::Error, "57014", "canceling statement due to user request")
}

/// A request waited too long for a server. `crowd` describes the pool.
pub fn wait_timeout(waited: Duration, crowd: String) -> Report {
    let mut timeout = report(
        Severity::Error,
        "53300",
        format!("query_wait_timeout: no server became free within {:.1} s", waited.as_secs_f64()),
    );
    timeout.detail = Some(crowd);
    timeout.hint = Some(
        "Raise default_pool_size if the server can bear it, or end what holds the servers.".into(),
    );
    timeout
}

/// The client's request waits.
pub fn queued_notice(crowd: String) -> Report {
    let mut notice = report(
        Severity::Notice,
        "00000",
        "No server connection available in postgres backend, client being queued",
    );
    notice.detail = Some(crowd);
    notice
}

/// The pool is being closed.
pub fn shutting_down() -> Report {
    report(Severity::Fatal, "57P01", "pooler is shutting down")
}

/// A limit of time while a server was attached.
pub fn timed_out(what: &'static str) -> Report {
    let sqlstate = if what == "idle transaction timeout" { "25P03" } else { "57014" };
    report(Severity::Fatal, sqlstate, what)
}

/// The client did nothing for too long.
pub fn client_idle() -> Report {
    report(Severity::Fatal, "57P05", "client_idle_timeout")
}

/// A transaction block in statement mode.
pub fn statement_mode() -> Report {
    report(Severity::Fatal, "0A000", "transaction blocks not allowed in statement pooling mode")
}

/// There is no server. What a server said itself is told in its own words.
pub fn connect_failed(severity: Severity, error: &ConnectError) -> Report {
    let ConnectError::Refused { error: body, .. } = error else {
        let sqlstate = match error {
            ConnectError::Auth { .. } => "28000",
            _ => "08006",
        };
        return report(severity, sqlstate, error.to_string());
    };
    from_server(severity, body)
}

/// A server's own error, with this severity.
pub fn from_server(severity: Severity, body: &[u8]) -> Report {
    let field =
        |code| view::error_field(body, code).map(|text| String::from_utf8_lossy(text).into_owned());
    Report {
        severity,
        sqlstate: field(b'C').filter(|code| code.len() == 5).unwrap_or("XX000".into()).into(),
        message: field(b'M').unwrap_or("server sent an error without a message".into()),
        detail: field(b'D'),
        hint: field(b'H'),
    }
}
