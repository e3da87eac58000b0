//! How many consoles are open, and what passes through them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::traffic::{Figure, Traffic};

/// All consoles that are open, and what has passed through them.
#[derive(Debug)]
pub struct Consoles {
    open: AtomicUsize,
    traffic: Arc<Traffic>,
}

impl Consoles {
    /// None yet; what passes is counted there.
    pub fn new(traffic: Arc<Traffic>) -> Self {
        Self { open: AtomicUsize::new(0), traffic }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// One among them, as long as it is open.
pub(super) struct Present(Arc<Consoles>);

impl Present {
    /// It is open from now on.
    pub(super) fn new(consoles: &Arc<Consoles>) -> Self {
        consoles.open.fetch_add(1, Ordering::Relaxed);
        consoles.traffic.add_one(0, Figure::Logins, 1);
        Self(Arc::clone(consoles))
    }

    /// It has been answered.
    pub(super) fn answered(&self) {
        self.0.traffic.add_one(0, Figure::Queries, 1);
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
