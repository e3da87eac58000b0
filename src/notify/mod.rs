//! Who listens to which channels, and the connections that hear for them.
//!
//! In transaction mode a client has no server that could listen for it. So there is one connection
//! for all who listen on a database (and have the same encoding): a [`Station`] is the book of
//! who wants to hear what, [`listener`] the connection, an [`Ear`] one client's place. A station
//! is there while somebody listens.
//!
//! Order per channel is the server's. An ear's queue is bounded, and so is the time that anybody
//! waits for a station. Nothing here knows of sessions and pools: where to connect is asked of a
//! [`Lead`].
//!
//! Locks: the hub's is above a station's, and that above an ear's.

mod ear;
mod listener;
mod station;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use self::ear::Inner;
pub use self::ear::{Ear, Said, Settled, Ticket};
use self::station::Station;
pub use self::station::{Figures, State};
use crate::net::socket::Address;
use crate::server::connect::Target;
use crate::server::processes::Processes;

/// Where those who listen belong.
pub trait Lead: Send + Sync + std::fmt::Debug {
    /// The server that they use now.
    fn target(&self) -> Target;
    /// Nobody may connect there at the moment.
    fn is_paused(&self) -> bool;
}

/// All stations.
#[derive(Debug)]
pub struct Hub {
    stations: Mutex<HashMap<Arc<Key>, Arc<Station>>>,
    processes: Arc<Processes>,
    last_ear: AtomicU64,
}

/// What a station is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Where the server listens.
    pub address: Address,
    /// The database's name there.
    pub database: String,
    /// The `client_encoding` in which names and payloads are heard.
    pub encoding: Box<[u8]>,
}

/// SQL that listens to these channels.
pub fn listening_to(channels: &[Box<[u8]>]) -> Vec<u8> {
    let mut sql = Vec::new();
    channels.iter().for_each(|name| station::command(&mut sql, b"LISTEN ", name));
    sql
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, database, encoding } = self;
        write!(f, "{address}/{database} ({})", String::from_utf8_lossy(encoding))
    }
}

impl Key {
    fn of(target: &Target, encoding: &[u8]) -> Self {
        let Target { address, database, .. } = target;
        Self { address: address.clone(), database: database.clone(), encoding: encoding.into() }
    }
}

impl Hub {
    /// Nobody listens yet. `processes` tells whose notifications are those of our servers.
    pub fn new(processes: Arc<Processes>) -> Arc<Self> {
        let (stations, last_ear) = (Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { stations, processes, last_ear })
    }

    /// The processes of all servers.
    pub fn processes(&self) -> &Arc<Processes> {
        &self.processes
    }

    /// An ear for a client with this encoding, which hears nothing yet. At most `limit` bytes wait
    /// for it. To be called on a loop: where it is the first one, its station's task runs there.
    pub fn join(self: &Arc<Self>, encoding: &[u8], lead: Arc<dyn Lead>, limit: usize) -> Ear {
        self.seat(encoding, lead, Inner::new(limit))
    }

    fn seat(self: &Arc<Self>, encoding: &[u8], lead: Arc<dyn Lead>, inner: Inner) -> Ear {
        let key = Arc::new(Key::of(&lead.target(), encoding));
        let id = self.last_ear.fetch_add(1, Ordering::Relaxed);
        let mut stations = self.stations.lock();
        let station = match stations.get(&key) {
            Some(station) => Arc::clone(station),
            None => {
                let station = Station::new(Arc::clone(&key));
                stations.insert(key, Arc::clone(&station));
                // Ends by itself when the last ear has left.
                tokio::spawn(listener::run(Arc::clone(&station), Arc::clone(&self.processes)));
                station
            }
        };
        let ear = station.join(id, Arc::clone(&lead), inner);
        Ear::new(Arc::clone(self), station, id, lead, ear)
    }

    fn leave(&self, station: &Arc<Station>, id: u64) {
        let mut stations = self.stations.lock();
        if station.leave(id) {
            // Nobody can have joined meanwhile: that takes the same lock.
            stations.remove(station.key());
        }
    }

    /// Something has changed about where servers are, or whether anybody may connect there.
    pub fn look(&self) {
        for station in self.list() {
            station.look();
        }
    }

    /// Those of this server and database connect anew.
    pub fn renew(&self, target: &Target) {
        for station in self.list() {
            let key = station.key();
            if key.address == target.address && key.database == target.database {
                station.renew();
            }
        }
    }

    /// What there is to tell of each station, in no order.
    pub fn figures(&self) -> Vec<Figures> {
        self.list().iter().map(|station| station.figures()).collect()
    }

    fn list(&self) -> Vec<Arc<Station>> {
        self.stations.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
