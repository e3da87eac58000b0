//! Clients that replicate: each has a server of its own, outside of the pools.

use std::sync::Arc;

use super::App;
use super::door::Entrance;
use super::identify::Identified;
use super::setup::Setup;
use super::wishes::walsender_parameters;
use crate::cancel::Secret;
use crate::client::card::{ClientCard, Login};
use crate::client::condition;
use crate::client::login::Stranger;
use crate::server::card::Owner;
use crate::server::connect::Target;
use crate::session::replication::{Enrolment, replicate};
use crate::session::report;
use crate::traffic::Side;
use crate::wire::reply::Severity;
use crate::wire::startup::Startup;

/// A client that is to get a server of its own.
pub(super) struct Walsender {
    pub(super) stranger: Stranger,
    pub(super) startup: Startup,
    pub(super) card: ClientCard,
    pub(super) entrance: Entrance,
}

impl App {
    /// Gives a client a server of its own, and relays to the end of either.
    pub(super) async fn replicate(&self, setup: Arc<Setup>, walsender: Walsender) {
        let Walsender { mut stranger, startup, card, entrance } = walsender;
        let Entrance { ticket: _ticket, database, identified, .. } = entrance;
        let Identified { person, proof, greeting } = identified;
        let user = &card.login.user;
        let secret = setup.users.server_secret(&database, &person, Some(proof));
        let target = setup.target(self.house.tcp, &database, user, secret);
        let Some(address) = self.tenancies.primary(&database) else {
            let report = condition::NO_PRIMARY.fatal();
            return self.turn_away(Side::Server, &mut stranger, &[], &report);
        };
        let target = Target { address, ..target };
        drop(setup);
        let parameters = walsender_parameters(&startup, &database);
        let seat = self.house.cancels.seat(Secret::random(startup.minor), card);
        let Login { database, user } = &*seat.card().login;
        let owner = Owner { database: database.clone(), user: user.clone() };
        let enrolment = Enrolment {
            processes: Arc::clone(self.house.hub.processes()),
            id: self.tenancies.next_server(),
            owner: Arc::new(owner),
            traffic: self.house.traffics.of(database),
        };
        let socket = stranger.socket();
        let done = replicate(socket, greeting, &target, &parameters, &seat, enrolment).await;
        self.log_replication_end(seat.card(), &done);
        if let Err(error) = done {
            self.house.complaints.complain(&target.complaint(&error));
            let report = report::connect_failed(Severity::Fatal, &error);
            self.turn_away(Side::Server, &mut stranger, &[], &report);
        }
    }
}
