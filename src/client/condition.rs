//! Every condition of ours that a client may be told of: how bad it is, SQLSTATE, wording, hint.
//!
//! This is the only place with SQLSTATEs of ours; a test holds `docs/errors.md` against it. The
//! wording is PgBouncer's where it has the condition too, as other software matches on it. What
//! a server says itself is told in its own words, and is not here.

use std::fmt::Display;
use std::time::Duration;

use crate::wire::reply::{Report, Severity};

/// Something that a client may be told.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// How bad it is. What ends a connection before its first ReadyForQuery is always fatal.
    pub severity: Severity,
    /// Five characters.
    pub sqlstate: &'static str,
    /// What happened, with `{}` for what differs from case to case.
    pub message: &'static str,
    /// What to do about it, with `{}` as in the message; empty for nothing.
    pub hint: &'static str,
}

impl Condition {
    /// What the client is told.
    pub fn report(&self) -> Report {
        self.about("")
    }

    /// What a client is told that has not had its first ReadyForQuery.
    pub fn fatal(&self) -> Report {
        Report { severity: Severity::Fatal, ..self.report() }
    }

    /// What the client is told, with `what` in the places that differ from case to case.
    pub fn about(&self, what: impl Display) -> Report {
        let what = what.to_string();
        Report {
            severity: self.severity,
            sqlstate: self.sqlstate.into(),
            message: self.message.replace("{}", &what),
            detail: None,
            routine: None,
            hint: (!self.hint.is_empty()).then(|| self.hint.replace("{}", &what)),
        }
    }
}

macro_rules! conditions {
    ($($(#[$about:meta])* $name:ident: $severity:ident $sqlstate:literal $message:literal $hint:literal;)*) => {
        $(
            $(#[$about])*
            pub const $name: Condition = Condition {
                severity: Severity::$severity,
                sqlstate: $sqlstate,
                message: $message,
                hint: $hint,
            };
        )*

        /// All of them.
        pub const ALL: &[Condition] = &[$($name),*];
    };
}

conditions! {
    // Before and during the login.
    /// It speaks another protocol.
    PROTOCOL_VERSION: Fatal "0A000" "{}" "";
    /// What it sent is no login.
    LOGIN_PROTOCOL: Fatal "08P01" "{}" "";
    /// It came in clear, and `client_tls_sslmode` demands TLS.
    TLS_REQUIRED: Fatal "28000" "SSL required" "";
    /// `options` has something else than settings.
    STARTUP_OPTIONS: Fatal "08P01" "unsupported options startup parameter: {}" "";
    /// The console is for those whom the configuration names.
    NO_CONSOLE: Fatal "42501" "not allowed" "";
    /// It gave no user.
    NO_USER: Fatal "28000" "no PostgreSQL user name specified in startup packet" "";
    /// It did not prove who it is; why is for the log alone.
    NOT_PROVEN: Fatal "28P01" "password authentication failed for user \"{}\"" "";
    /// No rule lets it in.
    NOT_LET_IN: Fatal "28000" "login rejected" "";
    /// It has no certificate of this user.
    NO_CERTIFICATE: Fatal "28000" "certificate authentication failed for user \"{}\"" "";
    /// It is not this user of the system at the other end of a unix socket.
    NOT_THE_PEER: Fatal "28000" "Peer authentication failed for user \"{}\"" "";
    /// Secrets could not be looked up.
    LOGIN_UNAVAILABLE: Fatal "57P03" "secrets of users can't be looked up at the moment"
        "Try again; the log of pgweir says why.";
    /// The configuration has no such database.
    NO_DATABASE: Fatal "3D000" "no such database: {}" "";
    /// There are as many clients as a limit allows.
    TOO_MANY_CLIENTS: Fatal "53300" "no more connections allowed ({})"
        "Raise {}, or end connections that are not needed.";

    /// It logs in too often; the hint says when to try again.
    LOGIN_RATE: Fatal "53400" "too many logins ({})" "Try again later.";
    /// The process can't open more files.
    OPEN_FILES: Fatal "53300" "no more connections allowed (open files)"
        "Raise the limit on open files of the pooler (ulimit -n).";

    // Waiting for a server.
    /// It asks too often; the hint says when to try again.
    QUERY_RATE: Error "53400" "too many requests ({})" "Try again later.";
    /// The request waits.
    QUEUED: Notice "00000"
        "No server connection available in postgres backend, client being queued" "";
    /// It waited too long.
    WAIT_TIMEOUT: Error "53300"
        "query_wait_timeout: no server became free within {} s"
        "Raise default_pool_size if the server can bear it, or end what holds the servers.";
    /// The client cancelled a request that waited.
    CANCELLED: Error "57014" "canceling statement due to user request" "";
    /// None of the database's hosts is the primary, for `failover_timeout`.
    NO_PRIMARY: Error "57P03" "no primary server is known (failover_timeout)"
        "SHOW REPLICAS, in the console, says how each host stands.";
    /// There is no server to be had, and none has said why.
    NO_SERVER: Error "08006" "{}" "";
    /// We could not log in to the server, or it could not prove itself.
    SERVER_LOGIN: Error "28000" "{}" "";

    /// A server refused us without saying why.
    UNSAID: Error "XX000" "server sent an error without a message" "";

    // On a server.
    /// A command that we answer ourselves, in a transaction that has failed.
    FAILED_TRANSACTION: Error "25P02"
        "current transaction is aborted, commands ignored until end of transaction block" "";
    /// The server is gone, or can't be understood any more.
    SERVER_LOST: Fatal "08006" "{}" "The outcome of the request is unknown.";
    /// Another host is the primary now.
    PRIMARY_CHANGED: Fatal "08006" "server is not the primary any more"
        "The transaction is lost; whether a COMMIT under way was carried out is unknown.";
    /// A user who may only read tries to write.
    READ_ONLY: Error "25006" "cannot execute {} in a read-only transaction"
        "The user is read-only (read_only in the configuration of the pooler).";
    /// A user who may only read asks for what might let it write.
    READ_ONLY_USER: Fatal "25006" "a read-only user cannot ask for {}" "";
    /// The client broke the protocol.
    CLIENT_PROTOCOL: Fatal "08P01" "{}" "";
    /// A transaction block in statement mode.
    STATEMENT_MODE: Fatal "0A000"
        "transaction blocks not allowed in statement pooling mode" "";

    // Session state that can't travel.
    /// A text would leave what only one server can have, and `pin_…` rejects that.
    PIN_REJECTED: Error "0A000" "rejected by the pooler: {}"
        "It would keep the client on one server. Leave it out, or use session mode.";
    /// Something that only the primary can do, in a transaction that reads from a replica.
    ON_REPLICA: Error "0A000" "a transaction on a replica can't have: {}"
        "Begin it READ WRITE, or with /* pgweir: primary */ before BEGIN.";
    /// The same, found when the transaction was over.
    PIN_REJECTED_LATE: Fatal "0A000" "rejected by the pooler: {}"
        "Code on the server has left it. Leave it out, or use session mode.";
    /// A client would be given rows of another shape than it was told.
    OTHER_COLUMNS: Error "0A000" "cached plan must not change result type" "";
    /// `client_statements_size`.
    STATEMENTS_FULL: Error "53400" "too many prepared statements (client_statements_size)"
        "Deallocate those that are not needed any more, or raise client_statements_size.";
    /// `max_pinned_clients`.
    PINS_FULL: Fatal "53400" "too many clients keep a server (max_pinned_clients): {}"
        "SHOW PINS, in the console, lists them.";
    /// `pin_timeout`.
    PIN_TIMEOUT: Fatal "57P05" "pin_timeout" "SHOW PINS, in the console, says what is kept.";

    // Shards.
    /// It can't be said which one shard it is for, or it is for several; the hint names the ways out.
    ON_SHARDS: Error "0A000" "can't be run on shards: {}" "";
    /// A key that is stored, or that a hint names, is no value of its type.
    NO_KEY: Error "22P02" "{}" "";
    /// A key that is stored, or that a hint names, is beyond its type's range.
    KEY_RANGE: Error "22003" "{}" "";
    /// One of the shards that a request is for.
    SHARD_LOST: Error "08006" "{}" "The log of pgweir says why.";
    /// What a shard has done of a definition.
    ON_SHARD: Notice "00000" "shard {}" "";
    /// Shards give other columns than each other.
    SHARDS_DIFFER: Error "0A000" "shards give different columns for the same statement"
        "pgweir check --connect says where their tables differ; of types that Postgres does not bring, so may \
         the numbers (pg_type.oid): cast them to text.";
    /// A change of a reference table came out in different ways.
    COPIES_DIFFER: Error "55000" "{}"
        "Nothing was changed. Make the copies of the table alike, and its defaults and triggers.";
    /// Some shards have committed a change, and others have not.
    PARTLY_COMMITTED: Error "40003" "{}"
        "Look at what is on those shards, and do there by hand what is missing.";
    /// A client has given COPY up.
    COPY_FAILED: Error "57014" "COPY from stdin failed: {}" "";
    /// A message in the midst of COPY.
    COPY_MESSAGE: Error "08P01" "unexpected message type {} during COPY from stdin" "";
    /// What a client sends behind COPY.
    COPY_FORMAT: Error "22P04" "{}" "";
    /// A definition that can't be undone has failed on a shard.
    PARTLY_DEFINED: Error "40003" "{}" "Mend what is wrong there, and run it on the shards that are left.";
    /// Of a statement over several shards.
    NEGATIVE_LIMIT: Error "2201W" "{}" "";
    /// Of a statement over several shards.
    NEGATIVE_OFFSET: Error "2201X" "{}" "";
    /// Of a statement over several shards.
    AGGREGATE_RANGE: Error "22003" "{}" "";
    /// `fan_out_buffer_size`.
    FAN_OUT_BUFFER: Error "53400" "{} (fan_out_buffer_size)"
        "Raise fan_out_buffer_size, or order groups by what they are grouped by.";
    /// The name of a statement stands for another one.
    NAME_TAKEN: Error "42P05" "prepared statement \"{}\" already exists" "";
    /// The catalog of the default shard has not been read yet.
    SHARDS_UNKNOWN: Error "57P03" "which tables the default shard has is not known yet"
        "SHOW CATALOGS, in the console, says why.";
    /// The catalog of a shard has not been read yet.
    ORDERS_UNKNOWN: Error "57P03" "how shard {} orders values is not known yet"
        "SHOW CATALOGS, in the console, says why.";

    // Notifications.
    /// Nobody hears the channels that it listens to.
    LISTENER_LOST: Notice "01000" "notifications are not heard at the moment: {}"
        "What is notified until they are heard again is lost to this client.";
    /// They are heard again.
    LISTENER_BACK: Notice "01000" "notifications are heard again"
        "Look for what was notified in the meantime.";
    /// It does not take the notifications that it listens to.
    LISTEN_OVERFLOW: Fatal "53400" "too many notifications wait for this client (listen_queue_size)"
        "Read more often and keep transactions short, or raise listen_queue_size.";

    // Limits of time, and the end.
    /// `query_timeout`.
    QUERY_TIMEOUT: Fatal "57014" "query timeout" "";
    /// `transaction_timeout`.
    TRANSACTION_TIMEOUT: Fatal "57014" "transaction timeout" "";
    /// `idle_transaction_timeout`.
    IDLE_TRANSACTION_TIMEOUT: Fatal "25P03" "idle transaction timeout" "";
    /// `client_idle_timeout`.
    CLIENT_IDLE: Fatal "57P05" "client_idle_timeout" "";
    /// A reload has taken the client's database or user away.
    RECONFIGURED: Fatal "57P01" "database configuration changed" "";
    /// An operator has ended the connection.
    KILLED: Fatal "57P01" "admin forced disconnect" "";
    /// An operator lets nobody into this database for now.
    DISABLED: Fatal "57P03" "database \"{}\" is disabled" "ENABLE, in the console, opens it again.";
    /// The pooler ends.
    SHUTTING_DOWN: Fatal "57P01" "pooler is shutting down" "";
}

/// What to do about [`WAIT_TIMEOUT`] where it is not the size of the pool that keeps one waiting: a limit that
/// goes by this name does.
pub fn raise(limit: &str) -> String {
    format!("Raise {limit} if the server can bear it, or end what holds the servers.")
}

/// The same: an operator has paused the database.
pub const RESUME: &str = "RESUME, in the console, ends the pause.";
/// The same: no server lets itself be opened.
pub const LOOK_AT_LOG: &str = "The log of pgweir says what becomes of attempts to open servers.";

/// That a rate has been used up, and for how long.
pub fn wait_for(condition: Condition, key: &str, wait: Duration) -> Report {
    // Rounded up: who comes then is let in.
    let millis = wait.as_millis() + 1;
    Report { hint: Some(format!("Try again in {millis} ms.")), ..condition.about(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_says_what_differs_in_its_places() {
        let report = TOO_MANY_CLIENTS.about("max_client_conn");
        assert_eq!(report.message, "no more connections allowed (max_client_conn)");
        let hint = "Raise max_client_conn, or end connections that are not needed.";
        assert_eq!(report.hint.as_deref(), Some(hint));
        assert_eq!(SHUTTING_DOWN.report().hint, None);
    }
}
