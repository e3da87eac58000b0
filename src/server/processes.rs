//! Which client each process of a server works for.
//!
//! Who hears a notification is told the process that sent it, and compares it with the number
//! that it was given at login: so the number of a server's process is that of its client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::card::ServerCard;
use crate::net::socket::Address;

/// The processes of all our servers.
#[derive(Debug, Default)]
pub struct Processes {
    all: Mutex<All>,
    /// Each new one is logged.
    announced: AtomicBool,
    /// Each that is left is logged.
    missed: AtomicBool,
}

#[derive(Debug, Default)]
struct All {
    by_address: HashMap<Address, Numbers>,
    by_id: HashMap<u64, Weak<ServerCard>>,
}

type Numbers = HashMap<u32, Weak<ServerCard>>;

/// One of them, for as long as we are connected to it.
#[derive(Debug)]
pub struct Process {
    processes: Arc<Processes>,
    card: Arc<ServerCard>,
    /// Why we leave it, where that has been said.
    why: Option<&'static str>,
}

impl Processes {
    /// We are connected to this server.
    pub fn enrol(self: &Arc<Self>, card: ServerCard) -> Process {
        if self.announced.load(Ordering::Relaxed) {
            tracing::info!("{}", card.announcement());
        }
        let card = Arc::new(card);
        let mut all = self.all.lock();
        if !all.by_address.contains_key(&card.address) {
            all.by_address.insert(card.address.clone(), HashMap::new());
        }
        if let Some(numbers) = all.by_address.get_mut(&card.address) {
            numbers.insert(card.pid, Arc::downgrade(&card));
        }
        all.by_id.insert(card.id, Arc::downgrade(&card));
        drop(all);
        Process { processes: Arc::clone(self), card, why: None }
    }

    /// Logs each new one from now on, and each that is left, or does not any more.
    pub fn log(&self, announced: bool, missed: bool) {
        self.announced.store(announced, Ordering::Relaxed);
        self.missed.store(missed, Ordering::Relaxed);
    }

    /// The client that a process works for, or did last; `None` for one that is not ours.
    pub fn client_of(&self, address: &Address, number: u32) -> Option<u32> {
        self.all.lock().by_address.get(address)?.get(&number)?.upgrade()?.client()
    }

    /// All of them, in no order.
    pub fn list(&self) -> Vec<Arc<ServerCard>> {
        self.all.lock().by_id.values().filter_map(Weak::upgrade).collect()
    }
}

impl Process {
    /// What is told of it.
    #[inline]
    pub fn card(&self) -> &Arc<ServerCard> {
        &self.card
    }

    /// We are about to leave it for this; what was said first counts.
    pub fn leave_because(&mut self, why: &'static str) {
        self.why.get_or_insert(why);
    }
}

/// Why we leave a process of which nobody has said anything: the tasks of its pool have been ended.
const POOL_CLOSED: &str = "pool closed";

impl Drop for Process {
    fn drop(&mut self) {
        if self.processes.missed.load(Ordering::Relaxed) {
            tracing::info!("{}", self.card.farewell(self.why.unwrap_or(POOL_CLOSED)));
        }
        let ServerCard { id, address, pid, .. } = &*self.card;
        let mut all = self.processes.all.lock();
        all.by_id.remove(id);
        let Some(numbers) = all.by_address.get_mut(address) else {
            return;
        };
        // The system may have given the number to another process of ours by now.
        let own = |known: &Weak<ServerCard>| std::ptr::eq(known.as_ptr(), &raw const *self.card);
        if numbers.get(pid).is_some_and(own) {
            numbers.remove(pid);
        }
        if numbers.is_empty() {
            all.by_address.remove(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::card::Owner;
    use super::*;

    #[test]
    fn a_process_is_its_clients_until_we_leave_it() {
        let processes = Arc::new(Processes::default());
        let owner = Arc::new(Owner { database: "shop".into(), user: "app".into() });
        let [one, two] = [1, 2].map(|port| Address::Tcp("localhost".into(), port));
        let mut last = 0;
        let mut enrol = |address: &Address| {
            last += 1;
            processes.enrol(ServerCard::at(last, Arc::clone(&owner), address.clone(), 7))
        };
        let (first, other) = (enrol(&one), enrol(&two));
        assert_eq!(processes.client_of(&one, 7), None);
        first.card().serve(100);
        other.card().serve(200);
        assert_eq!(processes.client_of(&one, 7), Some(100));
        assert_eq!(processes.client_of(&two, 7), Some(200));
        let again = enrol(&one);
        again.card().serve(300);
        assert_eq!(processes.list().len(), 3);
        drop(first);
        assert_eq!(processes.client_of(&one, 7), Some(300));
        drop((again, other));
        assert_eq!(processes.client_of(&one, 7), None);
        let all = processes.all.lock();
        assert!(all.by_address.is_empty() && all.by_id.is_empty());
    }
}
