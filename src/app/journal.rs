//! Lines of the log about connections, as other software looks for them: in PgBouncer's words, each
//! after database, user and address. `log_connections` and `log_disconnections` say whether.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;

use super::App;
use super::door::Guest;
use super::identify::Attempt;
use crate::admin::console::ConsoleEnd;
use crate::admin::{Operator, Order, SteerError};
use crate::client::card::{ClientCard, Login, Replication};
use crate::complaints::plain;
use crate::net::peer::Peer;
use crate::net::tls::Cipher;
use crate::session::End;

/// Who: `shop/app@10.0.0.1:51234`.
fn whose(names: Option<(&str, &str)>, peer: Peer) -> String {
    match names {
        Some((database, user)) => format!("{}/{}@{peer}", plain(database), plain(user)),
        None => format!("(nodb)/(nouser)@{peer}"),
    }
}

fn of_card(card: &ClientCard) -> String {
    whose(Some((&card.login.database, &card.login.user)), card.peer)
}

/// That it is over, and why.
fn closing(whose: &str, why: &str, age: Duration) -> String {
    format!("{whose} closing because: {why} (age={}s)", age.as_secs())
}

/// That somebody has logged in.
fn login(names: (&str, &str), peer: Peer, cipher: Option<Cipher>, replication: &str) -> String {
    let (database, user) = (plain(names.0), plain(names.1));
    let tls = cipher.map_or_else(|| "no".to_owned(), |cipher| cipher.to_string());
    let whose = whose(Some(names), peer);
    format!("{whose} login attempt: db={database} user={user} tls={tls} replication={replication}")
}

impl Attempt {
    /// Logs that it came to this client.
    pub(super) fn log_success(&self, id: Option<u32>, card: &ClientCard) {
        let replication = match card.replication {
            None => "no",
            Some(Replication::Physical) => "yes",
            Some(Replication::Logical) => "database",
        };
        let names = (&*card.login.database, &*card.login.user);
        let line = login(names, card.peer, card.cipher, replication);
        let method = self.method.unwrap_or_default();
        let application_name = card.application_name.as_deref().unwrap_or_default();
        let ((database, user), addr) = (names, card.peer);
        tracing::info!(%method, client = id, application_name, user, database, %addr, "{line}");
    }

    /// Logs that it came to a console.
    pub(super) fn log_console(&self, cipher: Option<Cipher>) {
        if let Some((user, database)) = &self.names {
            let line = login((&**database, &**user), self.peer, cipher, "no");
            let method = self.method.unwrap_or_default();
            let (user, database, addr) = (&**user, &**database, self.peer);
            tracing::info!(%method, user, database, %addr, "{line}");
        }
    }

    /// Whoever it is that opens a console.
    pub(super) fn operator(&self) -> Operator {
        let nobody = || (Arc::from(""), Arc::from(""));
        let (user, console) = self.names.clone().unwrap_or_else(nobody);
        Operator { console, user, peer: self.peer }
    }

    fn closing(&self, why: &str) -> String {
        let names = self.names.as_ref().map(|(user, database)| (&**database, &**user));
        closing(&whose(names, self.peer), why, self.came.elapsed())
    }
}

/// Why a console has ended.
pub(super) fn console_end(ended: Result<ConsoleEnd, JoinError>) -> String {
    match ended {
        Ok(end) => end.to_string(),
        // The process ends, and what serves consoles with it.
        Err(error) if error.is_cancelled() => "server shutting down".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Logs what an operator wants done.
pub(super) fn log_order(by: &Operator, order: &Order) {
    let whose = whose(Some((&by.console, &by.user)), by.peer);
    let (database, user, addr) = (&*by.console, &*by.user, by.peer);
    let (order, about, words) = (order.name(), order.about(), order.words());
    tracing::info!(order, about, user, database, %addr, "{whose} {words} command issued");
}

/// Logs that it was not done.
pub(super) fn log_failed_order(by: &Operator, order: &str, error: &SteerError) {
    let whose = whose(Some((&by.console, &by.user)), by.peer);
    let error = error.of(order);
    let (database, user, addr) = (&*by.console, &*by.user, by.peer);
    tracing::warn!(order, user, database, %addr, "{whose} {error}");
}

impl App {
    /// Logs that a client has left, if it is to be logged.
    pub(super) fn log_end(&self, guest: &Guest, end: &End) {
        if self.logs_disconnections() {
            let (card, reason) = (guest.seat().card(), end.to_string());
            let age = card.since.elapsed();
            let line = closing(&of_card(card), &reason, age);
            let Login { user, database } = &*card.login;
            let (client, addr, age) = (guest.seat().pid(), card.peer, age.as_secs());
            tracing::info!(client, user, database, %addr, reason, age, "{line}");
        }
    }

    /// Logs that an operator has left the console, if it is to be logged.
    pub(super) fn log_console_end(&self, attempt: &Attempt, why: &str) {
        if self.logs_disconnections() {
            let (user, database) =
                attempt.names.as_ref().map_or(("", ""), |(user, name)| (&**user, &**name));
            let (addr, reason, age) = (attempt.peer, why, attempt.came.elapsed().as_secs());
            tracing::info!(user, database, %addr, reason, age, "{}", attempt.closing(why));
        }
    }

    /// Logs that a replication connection has ended, if it is to be logged.
    pub(super) fn log_replication_end<E>(&self, card: &ClientCard, done: &Result<(), E>) {
        let why = if done.is_ok() { "replication has ended" } else { "server login failed" };
        if self.logs_disconnections() {
            let age = Instant::now().saturating_duration_since(card.since);
            let Login { user, database } = &*card.login;
            let (addr, line) = (card.peer, closing(&of_card(card), why, age));
            tracing::info!(user, database, %addr, reason = why, age = age.as_secs(), "{line}");
        }
    }

    /// Logs that somebody was not let in, and why.
    pub(super) fn log_refusal(&self, attempt: &Attempt, reason: &str) {
        self.house.complaints.complain(&attempt.failed(reason));
        self.log_stranger(attempt, reason);
    }

    /// Logs that somebody has left who never came in, if it is to be logged. There may be floods
    /// of them.
    pub(super) fn log_stranger(&self, attempt: &Attempt, why: &str) {
        if self.logs_disconnections() {
            self.house.complaints.mention(&attempt.closing(why));
        }
    }

    fn logs_disconnections(&self) -> bool {
        self.setup().config.general.log_disconnections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn console_ends_with_the_process() {
        let cancelled = tokio::spawn(std::future::pending());
        cancelled.abort();
        assert_eq!(console_end(cancelled.await), "server shutting down");
        assert_eq!(console_end(Ok(ConsoleEnd::Goodbye)), "client close request");
    }

    #[test]
    fn lines_are_those_of_pgbouncer() {
        let peer = Peer::Tcp("10.0.0.1:5000".parse().unwrap());
        let who = whose(Some(("shop", "app")), peer);
        assert_eq!(
            closing(&who, "client close request", Duration::from_secs(61)),
            "shop/app@10.0.0.1:5000 closing because: client close request (age=61s)"
        );
        assert_eq!(whose(None, peer), "(nodb)/(nouser)@10.0.0.1:5000");
        assert_eq!(
            login(("shop", "app"), peer, None, "no"),
            "shop/app@10.0.0.1:5000 login attempt: db=shop user=app tls=no replication=no"
        );
        let forged = whose(Some(("a\nb", "x closing because: y")), peer);
        assert_eq!(forged, "\"a\\nb\"/\"x closing because: y\"@10.0.0.1:5000");
    }
}
