//! Which client each process of a server works for.
//!
//! Who hears a notification is told the process that sent it, and compares it with the number
//! that it was given at login: so the number of a server's process is that of its client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::net::socket::Address;

/// The processes of all our servers.
#[derive(Debug, Default)]
pub struct Processes {
    by_address: Mutex<HashMap<Address, Numbers>>,
}

type Numbers = HashMap<u32, Weak<AtomicU32>>;

/// One of them, for as long as we are connected to it.
#[derive(Debug)]
pub struct Process {
    processes: Arc<Processes>,
    address: Address,
    number: u32,
    /// The client that it worked for last; 0 for none.
    client: Arc<AtomicU32>,
}

impl Processes {
    /// We are connected to this process.
    pub fn enrol(self: &Arc<Self>, address: &Address, number: u32) -> Process {
        let client = Arc::default();
        let mut all = self.by_address.lock();
        if !all.contains_key(address) {
            all.insert(address.clone(), HashMap::new());
        }
        if let Some(numbers) = all.get_mut(address) {
            numbers.insert(number, Arc::downgrade(&client));
        }
        drop(all);
        Process { processes: Arc::clone(self), address: address.clone(), number, client }
    }

    /// The client that a process works for, or did last; `None` for one that is not ours.
    pub fn client_of(&self, address: &Address, number: u32) -> Option<u32> {
        let all = self.by_address.lock();
        let client = all.get(address)?.get(&number)?.upgrade()?;
        Some(client.load(Ordering::Acquire)).filter(|client| *client > 0)
    }
}

impl Process {
    /// It works for this client from now on.
    #[inline]
    pub fn serve(&self, client: u32) {
        self.client.store(client, Ordering::Release);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut all = self.processes.by_address.lock();
        let Some(numbers) = all.get_mut(&self.address) else {
            return;
        };
        // The system may have given the number to another process of ours by now.
        let own = |known: &Weak<AtomicU32>| std::ptr::eq(known.as_ptr(), &*self.client);
        if numbers.get(&self.number).is_some_and(own) {
            numbers.remove(&self.number);
        }
        if numbers.is_empty() {
            all.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_its_clients_until_we_leave_it() {
        let processes = Arc::new(Processes::default());
        let [one, two] = [1, 2].map(|port| Address::Tcp("localhost".into(), port));
        let first = processes.enrol(&one, 7);
        let other = processes.enrol(&two, 7);
        assert_eq!(processes.client_of(&one, 7), None);
        first.serve(100);
        other.serve(200);
        assert_eq!(processes.client_of(&one, 7), Some(100));
        assert_eq!(processes.client_of(&two, 7), Some(200));
        let again = processes.enrol(&one, 7);
        again.serve(300);
        drop(first);
        assert_eq!(processes.client_of(&one, 7), Some(300));
        drop((again, other));
        assert_eq!(processes.client_of(&one, 7), None);
        assert!(processes.by_address.lock().is_empty());
    }
}
