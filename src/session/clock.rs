//! The limits of time while a server is attached. Only sessions that have such limits own one.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::terms::Terms;
use super::{Attached, End, Session};
use crate::client::condition::{self, Condition};

/// Watches one attachment.
#[derive(Debug)]
pub(super) struct Clock {
    attached: Instant,
    phase: Phase,
    /// When this phase began.
    since: Instant,
    alarm: Pin<Box<Sleep>>,
}

/// What the session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A request is under way.
    Request,
    /// A transaction is open, or half a message was sent, and no request is under way.
    IdleInTransaction,
    /// Neither.
    Rest,
}

impl Clock {
    /// Starts now, with a request.
    pub(super) fn start() -> Self {
        let now = Instant::now();
        let alarm = Box::pin(sleep_until(now));
        Self { attached: now, phase: Phase::Request, since: now, alarm }
    }

    /// Ready, with the limit that has passed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        terms: &Terms,
        phase: Phase,
        pinned: Option<Instant>,
    ) -> Poll<Condition> {
        if phase != self.phase {
            let now = Instant::now();
            if phase == Phase::Request && self.phase == Phase::Rest {
                self.attached = now;
            }
            (self.phase, self.since) = (phase, now);
        }
        let pinned = pinned.filter(|_| phase == Phase::Rest).and_then(|since| {
            let limit = terms.pins.timeout?;
            Some((since + limit, condition::PIN_TIMEOUT))
        });
        let limits = [
            (Phase::Request, self.since, terms.query_timeout, condition::QUERY_TIMEOUT),
            (
                Phase::IdleInTransaction,
                self.since,
                terms.idle_transaction_timeout,
                condition::IDLE_TRANSACTION_TIMEOUT,
            ),
            (phase, self.attached, terms.transaction_timeout, condition::TRANSACTION_TIMEOUT),
        ];
        let next = limits
            .into_iter()
            .filter(|(when, ..)| *when == phase && phase != Phase::Rest)
            .filter_map(|(_, since, limit, what)| Some((since + limit?, what)))
            .chain(pinned)
            .min_by_key(|(deadline, _)| *deadline);
        let Some((deadline, what)) = next else {
            return Poll::Pending;
        };
        if self.alarm.deadline() != deadline {
            self.alarm.as_mut().reset(deadline);
        }
        self.alarm.as_mut().poll(cx).map(|()| what)
    }
}

/// How long a session works in one go, while there is always something more for it: then it is the turn
/// of the others on its loop.
const SLICE: Duration = Duration::from_millis(2);
/// So many rounds are taken without a look at the time: as many as an ordinary request has.
const ROUNDS: u32 = 4;

/// One go of a session.
#[derive(Debug, Default)]
pub(super) struct Slice {
    rounds: u32,
    begun: Option<Instant>,
}

impl Slice {
    /// Whether it has had its time, after one more round; then it is woken again.
    pub(super) fn is_over(&mut self, cx: &Context<'_>) -> bool {
        self.rounds += 1;
        if self.rounds < ROUNDS {
            return false;
        }
        let is_over = self.begun.get_or_insert_with(Instant::now).elapsed() >= SLICE;
        if is_over {
            cx.waker().wake_by_ref();
        }
        is_over
    }
}

impl Session {
    /// Whether a limit has been reached.
    pub(super) fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some(attached) = self.attached.as_deref_mut() else {
            return Poll::Pending;
        };
        let Attached { lease, flow, clock: Some(clock), .. } = attached else {
            return Poll::Pending;
        };
        let pinned = flow.kept.as_ref().map(|kept| kept.since);
        let phase = match (lease.is_at_rest(), lease.receiver.status()) {
            (false, _) => Phase::Request,
            // Half a message holds the server up as an open transaction does.
            (true, b'I') if self.client.inbox.is_empty() => Phase::Rest,
            (true, _) => Phase::IdleInTransaction,
        };
        clock.poll(cx, &self.tenancy.terms, phase, pinned).map(End::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn session_that_has_always_more_to_do_lets_others_work() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let mut slice = Slice::default();
        assert!((1..ROUNDS).all(|_| !slice.is_over(&cx)));
        slice.is_over(&cx);
        std::thread::sleep(SLICE);
        assert!(slice.is_over(&cx));
        assert!(woken.0.load(Ordering::Relaxed) > 0);
    }
}
