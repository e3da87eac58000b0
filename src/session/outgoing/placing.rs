//! Whether the client's next request may go to the server that is attached.

use tokio::time::Instant;

use super::{Outgoing, Stop};
use crate::route::{Reason, Role};
use crate::session::routing::{AtReplica, Judged, Place};
use crate::session::tentative::Tentative;

/// Whether bytes may say when a commit is flushed.
fn mentions_flushing(bytes: &[u8]) -> bool {
    [&b"synchronous_commit"[..], b"SYNCHRONOUS_COMMIT"]
        .iter()
        .any(|name| memchr::memmem::find(bytes, name).is_some())
}

impl Outgoing<'_, '_> {
    /// Whether the message that these bytes begin with may be sent to this server; where it may not,
    /// the flow is stopped, or the rest of its request has to come first.
    pub(super) fn may_follow(&mut self, rest: &[u8]) -> bool {
        let Some(place) = self.place else { return true };
        // What a request begins with has been judged with all of it.
        if self.flow.placed.judged > 0
            || self.server.ledger.is_open()
            || self.server.ledger.is_copying_in()
        {
            return true;
        }
        match place.replica {
            Some(at) => self.may_follow_on_replica(rest, place, at),
            None => {
                let lazy = self.flow.placed.lazy || place.lazy;
                self.flow.placed.lazy = lazy || mentions_flushing(rest);
                if !self.flow.placed.wrote {
                    self.flow.placed.wrote = match place.judge.request(rest, self.names) {
                        Judged::Incomplete => true,
                        Judged::Whole { len, writes, .. } => {
                            self.flow.placed.judged = len;
                            writes
                        }
                    };
                }
                true
            }
        }
    }

    fn may_follow_on_replica(&mut self, rest: &[u8], place: Place<'_>, at: &AtReplica) -> bool {
        let waits = !self.server.ledger.owes_only_ours();
        // Should it fail, what comes behind it has not been sent.
        if waits && self.flow.placed.tentative.is_some() {
            self.flow.stop = Some(Stop::Replies);
            return false;
        }
        // A transaction stays where it is. Whether it is over depends on what is not answered yet.
        if !waits && self.server.receiver.status() != b'I' {
            return true;
        }
        let elsewhere = Some(if waits { Stop::Replies } else { Stop::Elsewhere });
        let (len, reason) = match place.judge.request(rest, self.names) {
            Judged::Whole { len, reason, .. } if len <= self.terms.request_max => (len, reason),
            Judged::Incomplete if rest.len() <= self.terms.request_max => return false,
            Judged::Incomplete | Judged::Whole { .. } => {
                self.flow.stop = elsewhere;
                return false;
            }
        };
        let reads = match reason {
            None | Some(Reason::Nothing) => true,
            Some(reason) => {
                reason.role() == Role::Replica && at.is_still(&place.need, Instant::now())
            }
        };
        if !reads {
            self.flow.stop = elsewhere;
            return false;
        }
        self.flow.placed.judged = len;
        self.flow.placed.requests = self.flow.placed.requests.saturating_add(1);
        let whole = rest.get(..len).filter(|whole| whole.len() == rest.len());
        self.flow.placed.tentative =
            whole.filter(|_| !waits).map(|whole| Tentative::new(self.server.ledger.next(), whole));
        true
    }
}
