//! A client that behaves well beside those that do not, and must never notice them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crate::wire::Client;

/// Runs queries until it is asked how that went.
pub struct Bystander {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Bystander {
    /// Logs in with these parameters; the first round is done when this returns.
    #[track_caller]
    pub fn start(port: u16, parameters: &[(&str, &str)]) -> Self {
        Self::of(Client::login_as(port, parameters))
    }

    /// The same with a password.
    #[track_caller]
    pub fn start_with(port: u16, parameters: &[(&str, &str)], password: &str) -> Self {
        Self::of(Client::login_with(port, parameters, password))
    }

    fn of(mut client: Client) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let work = {
            let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        Self { stop, rounds, thread: Some(thread::spawn(work)) }
    }

    /// Ends it. Every one of its queries must have been answered as it should.
    #[track_caller]
    pub fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok(), "the bystander noticed after {:?} rounds", self.rounds);
        assert!(self.rounds.load(Ordering::Relaxed) > 0);
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The pooler goes after this.
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
