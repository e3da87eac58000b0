//! What an operator may want done, and what comes of it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::is_console;
use crate::complaints::{plain, shown};
use crate::net::peer::Peer;

/// One thing to be done; databases by the names that clients know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read the configuration again and go by it.
    Reload,
    /// Lend no server of a database, or of any; done when all are closed.
    Pause(Option<String>),
    /// The same of all of them, under another name.
    Suspend,
    /// End that.
    Resume(Option<String>),
    /// Close the servers that there are, each when it is free.
    Reconnect(Option<String>),
    /// Wait until those have been closed.
    WaitClose(Option<String>),
    /// Pause, and close all clients at once.
    Kill(Option<String>),
    /// Let nobody new in.
    Disable(String),
    /// End that.
    Enable(String),
    /// Close one client at once, by its number in SHOW CLIENTS.
    KillClient(String),
    /// Read from no replica at this host for so many seconds.
    Ban(String),
    /// End that.
    Unban(String),
    /// Have a general key another value until the restart.
    Set(Override),
    /// Have it the value again that it has without that.
    Reset(String),
    /// Have nobody but the log told of an alert, for so long or until that is ended.
    Silence(String, Option<Duration>),
    /// End that.
    Unsilence(String),
    /// Have load balancers look elsewhere.
    Drain,
    /// End that.
    Undrain,
    /// End the process.
    Shutdown(Haste),
}

/// Who has given an order.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The database of the console, as it was called.
    pub console: Arc<str>,
    /// The user.
    pub user: Arc<str>,
    /// From where.
    pub peer: Peer,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", plain(&self.user), self.peer)
    }
}

/// A general key and the value that it is to have, as an operator has written it.
pub type Override = (String, String);

/// How soon the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// At once.
    AtOnce,
    /// When no server is in use any more.
    WaitForServers,
    /// When all clients have gone, for which they are asked to.
    WaitForClients,
}

/// Why an order was not carried out.
#[derive(Debug, Error)]
pub enum SteerError {
    /// Databases are steered, and this is the console; which order, and its name.
    #[error("cannot {0} admin db: {1}")]
    Console(&'static str, String),
    /// The configuration has no such database.
    #[error("no such database: {0}")]
    NoDatabase(String),
    /// There is no pause to end.
    #[error("pooler is not paused/suspended")]
    NotPaused,
    /// There is no pause of this database itself.
    #[error("database is not paused itself: {0}")]
    DatabaseNotPaused(String),
    /// The new configuration is not valid; why.
    #[error("RELOAD failed, see logs for additional details")]
    Reload(String),
    /// What was given is no client's number.
    #[error("invalid client pointer supplied")]
    NoNumber,
    /// No client has this number.
    #[error("client not found")]
    NoClient,
    /// No database has such a host among several.
    #[error("no such host: {0}")]
    NoHost(String),
    /// The key's value counts from the start on.
    #[error("{0} cannot be changed without a restart")]
    NeedsRestart(String),
    /// The configuration would not be valid with it; why.
    #[error("SET failed, nothing has changed")]
    Set(String),
    /// The configuration would not be valid without it; why.
    #[error("RESET failed, nothing has changed")]
    Reset(String),
    /// There is no such alert.
    #[error("no such alert: {0}")]
    NoAlert(String),
    /// There is no silence to end.
    #[error("alert is not silenced: {0}")]
    NotSilenced(String),
    /// The process is about to end.
    #[error("pooler is shutting down")]
    Ending,
}

impl SteerError {
    /// What PgBouncer's console has for it, where it has one.
    pub(super) fn sqlstate(&self) -> &'static str {
        match self {
            Self::Reload(_) => "F0000",
            Self::Console(..) => "08P01",
            Self::NoDatabase(_) => "3D000",
            Self::Set(_) | Self::Reset(_) | Self::NoNumber => "22023",
            Self::NoClient | Self::NoAlert(_) | Self::NoHost(_) => "42704",
            Self::NeedsRestart(_) => "55P02",
            Self::NotPaused | Self::DatabaseNotPaused(_) | Self::NotSilenced(_) => "55000",
            Self::Ending => "57P01",
        }
    }

    /// What has become of the order of this name, in a line.
    pub fn of(&self, order: &str) -> String {
        let mut line = self.to_string();
        if !line.starts_with(order) {
            line.insert_str(0, &format!("{order} failed: "));
        }
        if let Some(detail) = self.detail() {
            line += &format!(": {}", detail.replace('\n', "; "));
        }
        line
    }

    /// What there is to say besides.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Reload(why) | Self::Set(why) | Self::Reset(why) => Some(why.clone()),
            _ => None,
        }
    }
}

/// Notices to the operator when it is done.
pub type Outcome = Result<Vec<String>, SteerError>;
/// An order that is being carried out.
pub type Steered = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl Order {
    /// The command's word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reload => "RELOAD",
            Self::Pause(_) => "PAUSE",
            Self::Suspend => "SUSPEND",
            Self::Resume(_) => "RESUME",
            Self::Reconnect(_) => "RECONNECT",
            Self::WaitClose(_) => "WAIT_CLOSE",
            Self::Kill(_) => "KILL",
            Self::Disable(_) => "DISABLE",
            Self::Enable(_) => "ENABLE",
            Self::KillClient(_) => "KILL_CLIENT",
            Self::Ban(_) => "BAN",
            Self::Unban(_) => "UNBAN",
            Self::Set(_) => "SET",
            Self::Reset(_) => "RESET",
            Self::Silence(..) => "SILENCE",
            Self::Unsilence(_) => "UNSILENCE",
            Self::Drain => "DRAIN",
            Self::Undrain => "UNDRAIN",
            Self::Shutdown(_) => "SHUTDOWN",
        }
    }
}

impl Order {
    /// What it is about: a database, a host, a client's number, a key or an alert; empty for all there is.
    pub fn about(&self) -> &str {
        match self {
            Self::Pause(database)
            | Self::Resume(database)
            | Self::Reconnect(database)
            | Self::WaitClose(database)
            | Self::Kill(database) => database.as_deref().unwrap_or_default(),
            Self::Disable(about)
            | Self::Enable(about)
            | Self::KillClient(about)
            | Self::Ban(about)
            | Self::Unban(about)
            | Self::Silence(about, _)
            | Self::Unsilence(about) => about,
            // The value may be a secret.
            Self::Set((key, _)) | Self::Reset(key) => key,
            Self::Reload | Self::Suspend | Self::Drain | Self::Undrain | Self::Shutdown(_) => "",
        }
    }
}

impl Order {
    /// The whole of it, as PgBouncer's log has its own.
    pub fn words(&self) -> String {
        match self {
            Self::Set((key, value)) => format!("SET {key} = {}", shown(value)),
            Self::Reset(key) => format!("RESET {key}"),
            Self::Silence(alert, Some(time)) => format!("SILENCE '{alert}' {time:?}"),
            Self::Shutdown(Haste::WaitForServers) => "SHUTDOWN WAIT_FOR_SERVERS".to_owned(),
            Self::Shutdown(Haste::WaitForClients) => "SHUTDOWN WAIT_FOR_CLIENTS".to_owned(),
            _ => match self.about() {
                "" => self.name().to_owned(),
                about => format!("{} '{}'", self.name(), about.escape_debug()),
            },
        }
    }
}

impl Order {
    /// The error of an order for a database that is for the console.
    ///
    /// # Errors
    /// When it is one.
    pub fn spare_console(&self) -> Result<(), SteerError> {
        let verb = match self {
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Reconnect(_) => "reconnect",
            Self::WaitClose(_) => "wait in",
            Self::Kill(_) => "kill",
            Self::Disable(_) => "disable",
            Self::Enable(_) => "enable",
            _ => return Ok(()),
        };
        match self.about() {
            name if is_console(name) => Err(SteerError::Console(verb, name.to_owned())),
            _ => Ok(()),
        }
    }
}

impl Haste {
    /// What is waited for.
    pub fn describe(self) -> &'static str {
        match self {
            Self::AtOnce => "at once",
            Self::WaitForServers => "when no server is in use",
            Self::WaitForClients => "when all clients have gone",
        }
    }
}
