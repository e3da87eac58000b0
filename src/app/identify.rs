//! Who a stranger is: what is asked of it, and what that has shown.

use std::sync::Arc;

use tokio::time::Instant;

use super::App;
use super::door::Refused;
use super::setup::Setup;
use crate::admin;
use crate::auth::{ClientAuth, Proof, Rejection};
use crate::client::condition;
use crate::client::login::{self, LoginError, Stranger};
use crate::complaints::shown;
use crate::net::peer::Peer;
use crate::session::report::count;
use crate::traffic::Side;
use crate::users::rules::Caller;
use crate::users::{Demand, Person, Unanswered};
use crate::wire::reply::Report;

/// An attempt to log in, as far as it has come.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) peer: Peer,
    /// As whom and where to.
    pub(super) names: Option<(Arc<str>, Arc<str>)>,
    /// How it is proven, as far as that has been asked.
    pub(super) method: Option<&'static str>,
    /// When it connected.
    pub(super) came: Instant,
}

/// A stranger who has proven who it is.
pub(super) struct Identified {
    pub(super) person: Person,
    pub(super) proof: Proof,
    /// What it has not been sent yet of its login.
    pub(super) greeting: Vec<u8>,
}

impl Attempt {
    pub(super) fn new(peer: Peer) -> Self {
        Self { peer, names: None, method: None, came: Instant::now() }
    }

    /// What whoever runs as the same user of the system is told at once, by the unix socket and
    /// under the console's name: there is nothing of ours that it could not have anyway.
    pub(super) fn own_operator(&mut self) -> Option<Vec<u8>> {
        let (user, _) = self.names.as_ref()?;
        let ours = self.peer.process()?.is_our_user() && admin::is_console(user);
        ours.then(|| {
            self.method = Some("peer");
            ClientAuth::welcome()
        })
    }

    /// That it came to nothing, for the log.
    pub(super) fn failed(&self, reason: &str) -> String {
        let mut complaint = format!("login failed: client to pgweir: {reason} (");
        if let Some((user, database)) = &self.names {
            complaint += &format!("user {}, database {}, ", shown(user), shown(database));
        }
        if let Some(method) = self.method {
            complaint += &format!("method {method}, ");
        }
        complaint + &format!("from {})", self.peer.origin())
    }
}

/// Whose it is that somebody was not let in: limits and orders are ours.
pub(super) fn side_of(report: &Report) -> Side {
    if ["53", "57"].iter().any(|class| report.sqlstate.starts_with(class)) {
        Side::Pooler
    } else {
        Side::Client
    }
}

impl App {
    /// Tells somebody who has logged in as far as `greeting` says that it gets no session.
    pub(super) fn turn_away(
        &self,
        side: Side,
        stranger: &mut Stranger,
        greeting: &[u8],
        report: &Report,
    ) {
        count(&self.house.errors, side, report);
        login::refuse(stranger.socket(), greeting, report);
    }

    /// Has a client prove who it is, in the way that is asked of its connection.
    pub(super) async fn identify(
        &self,
        setup: &Setup,
        stranger: &mut Stranger,
        caller: &Caller<'_>,
        attempt: &mut Attempt,
    ) -> Result<Identified, Refused> {
        let users = &setup.users;
        let method = match users.demand(caller) {
            Demand::Proof(method) => method,
            Demand::Rejected { by } => {
                attempt.method = Some("reject");
                let by = by.map_or("no rule lets it in".to_owned(), |rule| format!("rule {rule}"));
                return Err(Refused::Quietly(by, condition::NOT_LET_IN.report()));
            }
            Demand::Certificate { map } => {
                attempt.method = Some("cert");
                let shown = stranger.certificate().map(|shown| shown.common_name.clone());
                let outside = match shown {
                    None => Err("it has shown no certificate".to_owned()),
                    Some(None) => Err("its certificate has no common name".to_owned()),
                    Some(Some(name)) => Ok(name),
                };
                let told = condition::NO_CERTIFICATE.about(caller.user);
                return self
                    .vouch(setup, caller, "its certificate", outside, map.as_deref(), told)
                    .await;
            }
            Demand::Peer { map } => {
                attempt.method = Some("peer");
                return self.identify_peer(setup, caller, attempt.peer, map.as_deref()).await;
            }
        };
        attempt.method = Some(method.name());
        let mut person = self.person(setup, caller).await?;
        let (account, mock) = (person.account(), users.mock(caller.database));
        let renewed = async || person.renew().await.then(|| person.account());
        let proven = stranger.authenticate(method, caller.user, account, &mock, renewed).await;
        attempt.method = stranger.method();
        if let Err(LoginError::Rejected(Rejection::NotProven(_))) = &proven {
            person.doubt();
        }
        let (proof, greeting) = proven?;
        Ok(Identified { person, proof, greeting })
    }

    /// Takes the system's word for who a client is.
    async fn identify_peer(
        &self,
        setup: &Setup,
        caller: &Caller<'_>,
        peer: Peer,
        map: Option<&str>,
    ) -> Result<Identified, Refused> {
        let outside = match peer.process() {
            Some(process) => process.user_name().await,
            None => None,
        };
        let outside = outside.ok_or_else(|| "the other end of the socket is not known".to_owned());
        let told = condition::NOT_THE_PEER.about(caller.user);
        self.vouch(setup, caller, "the other end of the socket", outside, map, told).await
    }

    /// Lets in a client of whom something else, the `witness`, says that it is `outside`, if that
    /// may be the user.
    async fn vouch(
        &self,
        setup: &Setup,
        caller: &Caller<'_>,
        witness: &str,
        outside: Result<String, String>,
        map: Option<&str>,
        told: Report,
    ) -> Result<Identified, Refused> {
        let known = match outside {
            Ok(outside) if setup.users.may_be(map, &outside, caller.user) => Ok(()),
            Ok(outside) => Err(format!("{witness} is {outside:?}, who may not be this user")),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = known {
            return Err(Refused::Quietly(reason, told));
        }
        let person = self.person(setup, caller).await?;
        let (greeting, proof) = ClientAuth::vouched(&person.account())
            .map_err(|rejection| Refused::Quietly(rejection.to_string(), told))?;
        Ok(Identified { person, proof, greeting })
    }

    async fn person(&self, setup: &Setup, caller: &Caller<'_>) -> Result<Person, Refused> {
        let person = setup.users.person(caller.database, caller.user).await;
        person.map_err(|Unanswered| Refused::Told(condition::LOGIN_UNAVAILABLE.report()))
    }
}
