//! Who is connected.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::time::Instant;

/// What is known of a client for as long as it is connected.
#[derive(Debug)]
pub struct ClientCard {
    /// The process id that it was told; unique.
    pub id: u32,
    /// The user as it logged in.
    pub user: Arc<str>,
    /// The database as it calls it.
    pub database: Arc<str>,
    /// What it calls itself.
    pub application_name: Arc<str>,
    /// Where it comes from; `None` for a unix socket.
    pub peer: Option<SocketAddr>,
    /// When it logged in.
    pub since: Instant,
}

impl std::fmt::Display for ClientCard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "client {} ({}@{}", self.id, self.user, self.database)?;
        if let Some(peer) = self.peer {
            write!(f, " from {peer}")?;
        }
        if !self.application_name.is_empty() {
            write!(f, ", {}", self.application_name)?;
        }
        f.write_str(")")
    }
}

/// All clients that are logged in.
#[derive(Debug, Default)]
pub struct Registry {
    cards: Mutex<HashMap<u32, Arc<ClientCard>>>,
}

/// A place in the registry for as long as the client is there.
#[derive(Debug)]
pub struct Registered {
    card: Arc<ClientCard>,
    registry: Weak<Registry>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.cards.lock().remove(&self.card.id);
        }
    }
}

impl std::ops::Deref for Registered {
    type Target = ClientCard;

    fn deref(&self) -> &ClientCard {
        &self.card
    }
}

impl Registry {
    /// Enters a client until what this returns is dropped.
    pub fn enter(self: &Arc<Self>, card: ClientCard) -> Registered {
        let card = Arc::new(card);
        self.cards.lock().insert(card.id, Arc::clone(&card));
        Registered { card, registry: Arc::downgrade(self) }
    }

    /// The client of this id.
    pub fn find(&self, id: u32) -> Option<Arc<ClientCard>> {
        self.cards.lock().get(&id).cloned()
    }

    /// All clients, in no order.
    pub fn list(&self) -> Vec<Arc<ClientCard>> {
        self.cards.lock().values().cloned().collect()
    }

    /// How many clients there are that `counts`.
    pub fn count(&self, counts: impl Fn(&ClientCard) -> bool) -> usize {
        self.cards.lock().values().filter(|card| counts(card)).count()
    }
}
