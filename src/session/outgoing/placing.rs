//! Whether the client's next request may go to the server that is attached.

use tokio::time::Instant;

use super::{ClientFault, Outgoing, Stop};
use crate::route::{Reason, Role};
use crate::server::ledger::Awaited;
use crate::session::flow::{Move, Open};
use crate::session::judge::{Judged, Request, Within};
use crate::session::routing::{AtReplica, Place};
use crate::session::tentative::Tentative;
use crate::wire::request;

/// Whether bytes may say when a commit is flushed.
fn mentions_flushing(bytes: &[u8]) -> bool {
    [&b"synchronous_commit"[..], b"SYNCHRONOUS_COMMIT"]
        .iter()
        .any(|name| memchr::memmem::find(bytes, name).is_some())
}

impl Outgoing<'_, '_> {
    /// Whether the message that these bytes begin with may be sent to this server; where it may not,
    /// the flow is stopped, or the rest of its request has to come first.
    pub(super) fn may_follow(&mut self, rest: &[u8]) -> Result<bool, ClientFault> {
        let Some(place) = self.place else { return Ok(true) };
        // What a request begins with has been judged with all of it.
        if self.flow.placed.judged > 0 || self.server.ledger.is_copying_in() {
            return Ok(true);
        }
        match place.replica {
            // Outside of a transaction nothing but what prepares comes there without its Sync.
            Some(at) if !self.server.ledger.is_open() || self.server.receiver.status() == b'I' => {
                self.may_follow_on_replica(rest, place, at)
            }
            None if !self.server.ledger.is_open() => Ok(self.may_follow_on_primary(rest, place)),
            Some(_) | None => Ok(true),
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
        let own = !self.flow.resets.is_empty() || !self.flow.redo.is_empty();
        let rests = rested && status == b'I' && self.flow.batch.is_some() && !own;
        let free = self.ear.is_none() && self.flow.pins.is_empty() && !placed.stays;
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
                place.follows(reason, request.asks_route, placed);
            }
            Some(_) if rests && free => {
                self.flow.stop = Some(Stop::Elsewhere);
                return false;
            }
            _ => {}
        }
        // `SET TRANSACTION READ ONLY` comes first in what has begun without saying so.
        if open.is_some() && free && request.reason == Some(Reason::ReadOnly) {
            placed.open = open;
            placed.moves = Some(Move { to: Role::Replica, acts: false });
            self.flow.stop = Some(Stop::Elsewhere);
            return false;
        }
        placed.judged = request.len;
        placed.wrote |= request.writes;
        placed.requests = placed.requests.saturating_add(1);
        // Behind others it may be about what they have left in the session.
        let first = status == b'I' && self.flow.batch.is_none();
        let alone = first && rested && rest.len() == request.len;
        let reads = alone
            && !request.writes
            && !request.prepares
            && request.reason.is_some_and(|reason| reason.role() == Role::Replica);
        placed.tentative = reads.then(|| Tentative::on_primary(self.server.ledger.next(), rest));
        // Nothing is left behind only if nothing has been done.
        placed.open = request.begins.filter(|_| request.reads.is_none()).map(|begin| Open {
            on: Role::Primary,
            begin,
            by: placed.requests,
            reads: None,
        });
        true
    }

    fn may_follow_on_replica(
        &mut self,
        rest: &[u8],
        place: Place<'_>,
        at: &AtReplica,
    ) -> Result<bool, ClientFault> {
        let open = self.server.ledger.is_open();
        let waits = match open {
            true => !self.server.has_answered(),
            false => !self.server.ledger.owes_only_ours(),
        };
        // Should it fail, what comes behind it has not been sent; what prepares is answered at once.
        if waits && (open || self.flow.placed.tentative.is_some()) {
            self.flow.stop = Some(Stop::Replies);
            return Ok(false);
        }
        // Whether a transaction is over depends on what is not answered yet.
        let status = self.server.receiver.status();
        if !waits && status == b'I' {
            self.flow.placed.open = None;
        }
        // It stays where it is, if it can't go on elsewhere.
        let movable = self.flow.placed.open.is_some();
        if !waits && (status == b'E' || status == b'T' && !movable) {
            return Ok(true);
        }
        let within = if movable { Within::Movable } else { Within::Nothing };
        let request = match place.judge.request(rest, self.names, within) {
            Judged::Whole(request) if request.len <= self.terms.request_max => request,
            Judged::Incomplete if rest.len() <= self.terms.request_max => return Ok(false),
            Judged::Incomplete | Judged::Whole(_) => return self.goes_elsewhere(waits, false),
        };
        let Request {
            len, reason, begins, reads: first, acts, settles, asks_route, prepares, ..
        } = request;
        let reads = match reason {
            None | Some(Reason::Nothing) => true,
            Some(reason) => {
                reason.role() == Role::Replica && at.is_still(&place.need, Instant::now())
            }
        };
        if !reads {
            return self.goes_elsewhere(waits, acts);
        }
        let leaves = match reason {
            None | Some(Reason::Nothing | Reason::Reads | Reason::Optimistic) => {
                let request = rest.get(..len).unwrap_or_default();
                place.judge.may_leave(request, self.names, &self.schema.unseen)
            }
            Some(_) => true,
        };
        let placed = &mut self.flow.placed;
        placed.judged = len;
        placed.requests = placed.requests.saturating_add(1);
        if leaves {
            placed.may_leave();
        }
        if let Some(reason) = reason.filter(|_| placed.requests > 1 && !movable && !open) {
            place.follows(reason, asks_route, placed);
        }
        let completes = usize::from(begins.is_some());
        match (begins, &mut placed.open) {
            // It says that it only reads: it stays.
            (_, open) if settles => *open = None,
            (Some(begin), open) => {
                *open = Some(Open { on: Role::Replica, begin, by: placed.requests, reads: first });
            }
            (None, Some(open)) => open.reads = open.reads.take().or(first),
            (None, None) => {}
        }
        let whole = rest.get(..len).filter(|whole| whole.len() == rest.len());
        // What a part has bound is nowhere else.
        let whole = whole.filter(|_| !waits && (prepares || !place.judge.part));
        self.flow.placed.tentative = whole.map(|whole| {
            Tentative::on_replica(self.server.ledger.next(), whole, completes, prepares)
        });
        Ok(true)
    }

    /// The next request is not for this replica: it is for another server, once all that is owed has
    /// been answered.
    fn goes_elsewhere(&mut self, waits: bool, acts: bool) -> Result<bool, ClientFault> {
        // Nothing is lost with what has been prepared without a Sync: it is known to us.
        if !waits && self.server.ledger.is_open() {
            self.sent_own(Awaited::Sync)?;
            self.out.insert(request::sync);
            self.flow.stop = Some(Stop::Replies);
            return Ok(false);
        }
        self.flow.stop = Some(if waits { Stop::Replies } else { Stop::Elsewhere });
        if !waits {
            self.flow.placed.moves = Some(Move { to: Role::Primary, acts });
        }
        Ok(false)
    }
}
