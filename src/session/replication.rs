//! `replication=` connections: a server of their own, outside the pools, and bytes both ways.
//!
//! A walsender's session can't be shared, and its COPY BOTH has no end that we would have to
//! see, so nothing is looked at after the login.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use tokio::io::copy_bidirectional;

use crate::cancel::Seated;
use crate::net::socket::Socket;
use crate::server::card::{Owner, ServerCard};
use crate::server::connect::{ConnectError, Target, connect};
use crate::server::processes::Processes;
use crate::traffic::{Figure, Traffic};
use crate::wire::reply;
use crate::wire::startup::Setting;

/// What there is to tell of a server.
#[derive(Debug)]
pub struct Enrolment {
    /// Where it is told.
    pub processes: Arc<Processes>,
    /// Its number, which no other server has.
    pub id: u64,
    /// Whose it is.
    pub owner: Arc<Owner>,
    /// What has passed through its database.
    pub traffic: Arc<Traffic>,
}

/// Connects a client that is logged in to a server of its own, and relays until one of them
/// closes. `greeting` is what it was not sent yet of its login, `parameters` are all that it asked
/// for beside user and database.
///
/// # Errors
/// When there is no server; the client has not been told.
pub async fn replicate(
    client: &mut Socket,
    greeting: Vec<u8>,
    target: &Target,
    parameters: &[Setting],
    seat: &Seated,
    enrolment: Enrolment,
) -> Result<(), ConnectError> {
    let extra: Vec<(&[u8], &[u8])> =
        parameters.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    let mut server = connect(target, &extra).await?;
    let Enrolment { processes, id, owner, traffic } = enrolment;
    let mut process = processes.enrol(ServerCard::new(id, owner, &server));
    process.card().serve(seat.pid());
    process.leave_because("replication ended");
    traffic.add_one(0, Figure::Logins, 1);
    seat.attach(&Arc::new(server.key));
    let mut out = greeting;
    for (name, value) in server.reported.iter() {
        reply::parameter_status(&mut out, name, value);
    }
    reply::backend_key(&mut out, seat.pid(), seat.secret());
    out.extend_from_slice(&reply::ready(b'I'));
    let relayed = async {
        client.write_all(&out).await?;
        tokio::select! {
            relayed = copy_bidirectional(client, &mut server.socket) => relayed,
            // It has no boundary that we would see: closed as a connection that is lost.
            _ = poll_fn(|cx| seat.poll_summons(cx)) => Err(io::ErrorKind::Interrupted.into()),
        }
    };
    match relayed.await {
        Ok((sent, received)) => {
            traffic.add_one(0, Figure::Received, sent);
            traffic.add_one(0, Figure::Sent, received);
            tracing::debug!(sent, received, "replication connection closed");
        }
        Err(error) => tracing::debug!(%error, "replication connection lost"),
    }
    drop(seat.leave());
    Ok(())
}
