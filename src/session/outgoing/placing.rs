//! Whether the client's next request may go to the server that is attached.

use tokio::time::Instant;

use super::{Outgoing, Stop};
use crate::route::{Reason, Role};
use crate::session::flow::Open;
use crate::session::judge::{Judged, Request, Within};
use crate::session::routing::{AtReplica, Place};
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
            None => self.may_follow_on_primary(rest, place),
        }
    }

    fn may_follow_on_primary(&mut self, rest: &[u8], place: Place<'_>) -> bool {
        let rested = self.server.ledger.owes_only_ours();
        let placed = &mut self.flow.placed;
        // Should its server be lost, what comes behind it has not been sent.
        if !rested && placed.tentative.is_some() {
            self.flow.stop = Some(Stop::Replies);
            return false;
        }
        placed.lazy = placed.lazy || place.lazy || mentions_flushing(rest);
        // It is still here only because its server was asked something.
        let status = self.server.receiver.status();
        let rests = rested && status == b'I' && self.flow.batch.is_some();
        if placed.wrote && !rests {
            return true;
        }
        let open = placed.open.take().filter(|_| rested && status == b'T');
        let Judged::Whole(request) = place.judge.request(rest, self.names, Within::Nothing) else {
            placed.wrote = true;
            return true;
        };
        match request.reason {
            Some(reason) if rests && reason.role() == Role::Primary => {
                place.follows(reason, placed)
            }
            Some(_) if rests && self.flow.pins.is_empty() && !placed.stays => {
                self.flow.stop = Some(Stop::Elsewhere);
                return false;
            }
            _ => {}
        }
        // `SET TRANSACTION READ ONLY` comes first in what has begun without saying so.
        if open.is_some() && request.reason == Some(Reason::ReadOnly) {
            placed.open = open;
            placed.leaves_for(Role::Replica);
            self.flow.stop = Some(Stop::Elsewhere);
            return false;
        }
        placed.judged = request.len;
        placed.wrote |= request.writes;
        placed.requests = placed.requests.saturating_add(1);
        // Behind others it may be about what they have left in the session.
        let first = status == b'I' && self.flow.batch.is_none();
        let alone = first && rested && rest.len() == request.len;
        let reads = alone && request.reason.is_some_and(|reason| reason.role() == Role::Replica);
        placed.tentative = reads.then(|| Tentative::new(self.server.ledger.next(), rest, false));
        placed.open = request.begins.map(|begin| Open { begin, by: 0, reads: None });
        true
    }

    fn may_follow_on_replica(&mut self, rest: &[u8], place: Place<'_>, at: &AtReplica) -> bool {
        let waits = !self.server.ledger.owes_only_ours();
        // Should it fail, what comes behind it has not been sent.
        if waits && self.flow.placed.tentative.is_some() {
            self.flow.stop = Some(Stop::Replies);
            return false;
        }
        // Whether a transaction is over depends on what is not answered yet.
        let status = self.server.receiver.status();
        if !waits && status == b'I' {
            self.flow.placed.open = None;
        }
        // It stays where it is, if it can't go on elsewhere.
        let movable = self.flow.placed.open.is_some();
        if !waits && (status == b'E' || status == b'T' && !movable) {
            return true;
        }
        let within = if movable { Within::Movable } else { Within::Nothing };
        let request = match place.judge.request(rest, self.names, within) {
            Judged::Whole(request) if request.len <= self.terms.request_max => request,
            Judged::Incomplete if rest.len() <= self.terms.request_max => return false,
            Judged::Incomplete | Judged::Whole(_) => return self.goes_elsewhere(waits),
        };
        let Request { len, reason, begins, reads: first, .. } = request;
        let reads = match reason {
            None | Some(Reason::Nothing) => true,
            Some(reason) => {
                reason.role() == Role::Replica && at.is_still(&place.need, Instant::now())
            }
        };
        if !reads {
            return self.goes_elsewhere(waits);
        }
        let placed = &mut self.flow.placed;
        placed.judged = len;
        placed.requests = placed.requests.saturating_add(1);
        if let Some(reason) = reason.filter(|_| placed.requests > 1 && !movable) {
            place.follows(reason, placed);
        }
        match (begins, &mut placed.open) {
            (Some(begin), open) => {
                *open = Some(Open { begin, by: placed.requests, reads: first });
            }
            (None, Some(open)) => open.reads = open.reads.take().or(first),
            (None, None) => {}
        }
        let whole = rest.get(..len).filter(|whole| whole.len() == rest.len());
        self.flow.placed.tentative = whole
            .filter(|_| !waits)
            .map(|whole| Tentative::new(self.server.ledger.next(), whole, true));
        true
    }

    /// The next request is not for this replica: it is for another server, once all that is owed has
    /// been answered.
    fn goes_elsewhere(&mut self, waits: bool) -> bool {
        self.flow.stop = Some(if waits { Stop::Replies } else { Stop::Elsewhere });
        if !waits {
            self.flow.placed.leaves_for(Role::Primary);
        }
        false
    }
}
