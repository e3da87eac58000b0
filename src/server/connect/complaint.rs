//! What the log is told of a server that can't be had: the side, as whom, by which method, where.

use super::{ConnectError, Target, text};
use crate::complaints::shown;
use crate::wire::view;

impl Target {
    /// That a login there came to nothing, for the log.
    pub fn complaint(&self, error: &ConnectError) -> String {
        let Self { user, database, .. } = self;
        let address = error.address();
        let (user, database) = (shown(user), shown(database));
        let method = error.method().map(|method| format!("method {method}, "));
        let method = method.unwrap_or_default();
        // The first words are PgBouncer's, where it has some.
        let cause = match error {
            ConnectError::Unreachable { cause, .. } => format!("connect failed: {cause}"),
            ConnectError::TimedOut { after, .. } => format!("connect timeout, after {after:?}"),
            ConnectError::Refused { error, .. } => format!("{} {}", severity(error), text(error)),
            ConnectError::Tls { cause, .. } => format!("TLS with server failed: {cause}"),
            other => other.told(),
        };
        format!(
            "server login failed: {cause} (pgweir to server: user {user}, database {database}, \
             {method}at {address})"
        )
    }
}

fn severity(error: &[u8]) -> String {
    let severity = view::error_field(error, b'V').or(view::error_field(error, b'S'));
    String::from_utf8_lossy(severity.unwrap_or(b"FATAL")).into_owned()
}
