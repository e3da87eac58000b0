//! Those who have connected and not logged in: so many at once, and who has been at it for longest
//! gives way to who comes.
//!
//! A login takes milliseconds. Whoever is oldest among very many has most likely no intention to
//! log in, and a crowd of such must not keep others out.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// All of them.
#[derive(Debug)]
pub(super) struct Strangers {
    max: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    last: u64,
    /// In the order in which they came, with what sends them away.
    all: BTreeMap<u64, Arc<Notify>>,
}

/// The time that one spends among them; over when dropped.
#[derive(Debug)]
pub(super) struct Visit {
    strangers: Arc<Strangers>,
    number: u64,
    sent_away: Arc<Notify>,
}

impl Strangers {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, inside: Mutex::default() })
    }

    /// One more; another gives way if there are too many.
    pub(super) fn enter(self: &Arc<Self>) -> Visit {
        let sent_away = Arc::new(Notify::new());
        let mut inside = self.inside.lock();
        if inside.all.len() >= self.max
            && let Some((_, oldest)) = inside.all.pop_first()
        {
            oldest.notify_one();
        }
        inside.last += 1;
        let number = inside.last;
        inside.all.insert(number, Arc::clone(&sent_away));
        Visit { strangers: Arc::clone(self), number, sent_away }
    }

    pub(super) fn count(&self) -> usize {
        self.inside.lock().all.len()
    }
}

impl Visit {
    /// Ready when this one has to give way.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn sent_away(&self) {
        self.sent_away.notified().await;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.strangers.inside.lock().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn is_sent_away(visit: &Visit) -> bool {
        pin!(visit.sent_away()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn oldest_gives_way() {
        let strangers = Strangers::new(2);
        let (first, second) = (strangers.enter(), strangers.enter());
        assert!(!is_sent_away(&first));
        let third = strangers.enter();
        assert!(is_sent_away(&first) && !is_sent_away(&second) && !is_sent_away(&third));
        assert_eq!(strangers.count(), 2);
        drop(second);
        drop(first);
        assert_eq!(strangers.count(), 1);
        let _fourth = strangers.enter();
        assert!(!is_sent_away(&third));
    }
}
