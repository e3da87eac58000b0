//! Where the requests of a session run: on the primary, or on a replica that is fresh enough.
//!
//! A request is decided as a whole, when all of it is there and none of it has been sent. What is in
//! doubt runs on the primary. What a session has written or read sets the moment up to which a replica
//! must have everything that it reads from next; moments are those of our own clock, taken when the
//! primary's answer had come ([`crate::topology`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::causal::Moment;
use super::names::{Names, Unnamed};
use super::replicas::{Chosen, Replicas, Seen, Tried};
use super::terms::Terms;
use crate::catalog::{Current, Readings};
use crate::config::{OwnWrites, ReadRouting};
use crate::route::{self, Judgement, Reason, Role, route};
use crate::server::manner::Manner;
use crate::server::prepared::text_of;
use crate::sql::facts::Does;
use crate::topology::Using;
use crate::topology::choice::{Need, Unfit};
use crate::wire::frame;
use crate::wire::view::{self, Target};

/// What a session goes by. Only sessions that may read from replicas own one.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// When it was last told that something was written.
    wrote: Option<Instant>,
    /// What it has read.
    seen: Seen,
    /// Since when reads run on the primary for the sake of what it has read alone.
    unsure: Option<Instant>,
    /// Since when it has read from the same replica.
    stays: Option<Instant>,
    /// The replica that it would read from if it were not for what it has read elsewhere, while it
    /// waits for a look to go there.
    pub heads_for: Option<Chosen>,
    /// What it shares with others.
    shared: Option<Shared>,
    /// Replicas that could not do it for the request at hand.
    tried: Tried,
    /// The request at hand runs on the primary, whatever it is.
    failed: bool,
    /// Where the request at hand is to run.
    pub aim: Aim,
    /// The request at hand was lost with a server once.
    pub lost: bool,
    /// It waits for replicas to be looked at.
    pub pauses: bool,
    /// Why it may run on a replica.
    pub wanted: Option<Reason>,
    /// How the last one was decided.
    pub last: Option<Last>,
}

/// Where a request is to run.
#[derive(Clone, Debug, Default)]
pub(super) enum Aim {
    /// Where the primary is.
    #[default]
    Primary,
    /// On this replica, if it is still as fresh as this.
    Replica(Chosen, Need),
}

/// A moment that others have, too.
#[derive(Debug)]
struct Shared {
    token: Option<Box<[u8]>>,
    moment: Arc<Moment>,
}

/// How a request was decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    /// Why it runs where it runs.
    pub reason: Reason,
    /// On this one of the hosts.
    pub host: Option<usize>,
}

/// What decides whether a request may go to the server that is attached.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub judge: Judge<'a>,
    /// The replica that it is; `None` = it is the primary.
    pub replica: Option<&'a AtReplica>,
    /// How fresh it has to be.
    pub need: Need,
    /// Commits of the session are flushed later than it is told of them.
    pub lazy: bool,
}

/// That a session is attached to a replica.
#[derive(Debug)]
pub(super) struct AtReplica {
    /// The replica's number among the hosts.
    pub host: usize,
    chosen: Chosen,
    _using: Using,
}

/// What decides about requests.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub catalog: &'a Current,
    pub readings: &'a Readings,
    pub routing: ReadRouting,
    pub session: route::Session,
    pub serializable: bool,
    pub message_max: u32,
}

/// How long reads run on the primary, only because the session has read there, before it waits.
const UNSURE: Duration = Duration::from_secs(1);
/// How long a session reads from the same replica before it takes its turn again.
const STAY: Duration = Duration::from_secs(1);

/// What was found of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is not whole yet.
    Incomplete,
    /// It is.
    Whole {
        /// So many bytes.
        len: usize,
        /// Why it runs where it may; `None` where there is nothing in it that would have to run
        /// anywhere.
        reason: Option<Reason>,
        /// The database may be another after it.
        writes: bool,
    },
}

impl Judge<'_> {
    /// Judges the request that these bytes begin with.
    pub(super) fn request(&self, bytes: &[u8], names: &Names) -> Judged {
        let (mut len, mut strongest, mut writes) = (0, None, false);
        // A Bind of what the request itself prepares has been judged with that.
        let mut parsed: Option<&[u8]> = None;
        loop {
            let rest = bytes.get(len..).unwrap_or_default();
            let (header, body) = match frame::message(rest, self.message_max) {
                Ok(Some(message)) => message,
                Ok(None) => return Judged::Incomplete,
                // Who sends it on will say what is wrong.
                Err(_) => {
                    let reason = Some(Reason::Opaque);
                    return Judged::Whole { len: len.max(1), reason, writes: true };
                }
            };
            len += header.message_len();
            let found = match header.tag {
                b'Q' => Some(self.text(view::query_text(body))),
                b'P' => {
                    let parse = view::Parse::read(body);
                    parsed = parse.as_ref().map(|parse| parse.name);
                    Some(self.text(parse.map(|parse| parse.text)))
                }
                b'B' => match view::Bind::read(body) {
                    Some(bind) if parsed == Some(bind.statement) => None,
                    Some(bind) => Some(self.named(bind.statement, names)),
                    None => Some((Reason::Opaque, true)),
                },
                b'D' => match Target::read(body) {
                    Some(Target::Statement(name)) if parsed != Some(name) => {
                        Some(self.named(name, names))
                    }
                    _ => None,
                },
                b'E' | b'C' | b'S' | b'X' => None,
                b'H' => Some((Reason::NotWhole, true)),
                _ => Some((Reason::Opaque, true)),
            };
            let (reason, may_write) = found.unzip();
            strongest = stronger(strongest, reason);
            writes |= may_write.unwrap_or(false);
            if matches!(header.tag, b'Q' | b'S' | b'H' | b'F' | b'X') {
                return Judged::Whole { len, reason: strongest, writes };
            }
        }
    }

    /// A text, and whether it may write; `None` is one that can't be read.
    fn text(&self, text: Option<&[u8]>) -> (Reason, bool) {
        let Some(text) = text else { return (Reason::Opaque, true) };
        let reading = self.readings.of(text);
        let judgement = reading.judge(self.catalog);
        let reason = route(reading.facts(), &judgement, self.session).reason;
        let writes = match &reading.facts().does {
            Does::Nothing => false,
            // What stands beside it has not been judged.
            Does::Begins(_) => reading.facts().statements > 1,
            Does::Reads => judgement != Judgement::Harmless,
            Does::Session(_) | Does::Opaque(_) | Does::Locks(_) | Does::Writes(_) => true,
        };
        let reason = match (reason, self.routing) {
            (Reason::Reads, ReadRouting::Explicit) => Reason::NotAsked,
            (reason, _) if reason.role() == Role::Replica && self.serializable => {
                Reason::Serializable
            }
            (reason, _) => reason,
        };
        (reason, writes)
    }

    /// What the client has prepared under this name.
    fn named(&self, name: &[u8], names: &Names) -> (Reason, bool) {
        if !name.is_empty() {
            return self.text(names.get(name).map(|statement| statement.text()));
        }
        match names.unnamed() {
            Unnamed::Here(identity) | Unnamed::Elsewhere(identity) => {
                self.text(Some(text_of(identity)))
            }
            Unnamed::None | Unnamed::OnlyHere => (Reason::Opaque, true),
        }
    }
}

/// Of the two the one that leads to the primary; what does nothing counts only by itself.
fn stronger(one: Option<Reason>, other: Option<Reason>) -> Option<Reason> {
    let rank = |reason: &Reason| match reason {
        Reason::Nothing => 0,
        reason if reason.role() == Role::Replica => 1,
        _ => 2,
    };
    match (one, other) {
        (Some(one), Some(other)) if rank(&other) > rank(&one) => Some(other),
        (one, other) => one.or(other),
    }
}

impl Course {
    /// How fresh a replica has to be that this session reads from.
    pub(super) fn need(&self, terms: &Terms, manner: &Manner) -> Need {
        let shared = self.shared.as_ref().and_then(|shared| shared.moment.get());
        let max_lag = manner.max_lag.unwrap_or(terms.max_lag);
        let since = match terms.read_your_writes {
            OwnWrites::Off => None,
            OwnWrites::Session | OwnWrites::Database => self.wrote.max(shared),
        };
        Need { since, max_lag }
    }

    /// Shares this moment from now on, if not yet.
    pub(super) fn share(
        &mut self,
        token: Option<&[u8]>,
        find: impl FnOnce() -> Option<Arc<Moment>>,
    ) {
        if self.shared.as_ref().is_none_or(|shared| shared.token.as_deref() != token) {
            self.shared = find().map(|moment| Shared { token: token.map(Into::into), moment });
        }
    }

    /// Something was written, and the client may be told of it.
    pub(super) fn told(&self, now: Instant) {
        if let Some(shared) = &self.shared {
            shared.moment.wrote(now);
        }
    }

    /// What it has seen counts no more (`read_your_writes = "off"`).
    pub(super) fn forget_seen(&mut self) {
        (self.seen, self.unsure) = (Seen::default(), None);
    }

    /// It has been on the primary up to now; what it may have written, and seen, is flushed at these
    /// moments.
    pub(super) fn was_on_primary(&mut self, wrote: Option<Instant>, seen: Instant) {
        self.wrote = self.wrote.max(wrote);
        self.seen = Seen { at: Some(seen), on: None };
    }

    /// It has read from this one of the hosts up to now.
    pub(super) fn was_on_replica(&mut self, host: usize, now: Instant) {
        self.seen = Seen { at: Some(now), on: Some(host) };
        self.unsure = None;
    }

    /// Chooses where the request at hand runs, which may run on a replica for this reason.
    ///
    /// # Errors
    /// Why on none.
    pub(super) fn choose(
        &mut self,
        replicas: &Replicas,
        need: &Need,
        now: Instant,
    ) -> Result<Chosen, Reason> {
        if self.failed {
            return Err(Reason::Failed);
        }
        let unfit = match replicas.choose(need, self.seen, now, self.tried) {
            Ok(chosen) => {
                self.takes_turn(replicas, need, now, &chosen);
                return Ok(chosen);
            }
            Err(unfit) => unfit,
        };
        if unfit == Unfit::Unsure {
            self.unsure.get_or_insert(now);
        } else {
            self.unsure = None;
        }
        Err(match unfit {
            Unfit::Missing => Reason::NoReplica,
            Unfit::Lagging => Reason::Lagging,
            Unfit::Behind | Unfit::Unsure => Reason::NotFresh,
        })
    }

    /// A session that never pauses would stay for ever with the replica that it has come to, however
    /// busy that is: no other is ever known to have what it has just read. So it takes its turn anew
    /// now and then, and waits for a look where that leads elsewhere.
    fn takes_turn(&mut self, replicas: &Replicas, need: &Need, now: Instant, chosen: &Chosen) {
        if self.seen.on != Some(chosen.host) {
            self.stays = None;
            return;
        }
        if now < *self.stays.get_or_insert(now) + STAY {
            return;
        }
        self.stays = Some(now);
        let free = replicas.choose(need, Seen::default(), now, self.tried);
        self.heads_for =
            free.ok().filter(|free| free.host != chosen.host && !free.shows(self.seen));
    }

    /// Whether it may go by now where it heads for.
    pub(super) fn arrives(&self, need: &Need, now: Instant) -> Option<Chosen> {
        let there = |chosen: &&Chosen| chosen.admits(need, now) && chosen.shows(self.seen);
        self.heads_for.as_ref().filter(there).cloned()
    }

    /// Waits for a moment to come back to replicas, if that is due: a session that never pauses would
    /// stay on the primary for ever, where it always sees what no replica is known to have yet.
    pub(super) fn pause_if_due(&mut self, now: Instant) {
        self.pauses = self.unsure.is_some_and(|since| now >= since + UNSURE);
        if self.pauses {
            self.unsure = Some(now);
        }
    }

    /// This replica could not do it.
    pub(super) fn tried(&mut self, host: usize) {
        self.tried.add(host);
    }

    /// No replica is to be tried any more for the request at hand.
    pub(super) fn give_up(&mut self) {
        self.failed = true;
    }

    /// The hosts are others from now on.
    pub(super) fn hosts_changed(&mut self) {
        (self.seen.on, self.heads_for, self.tried) = (None, None, Tried::default());
    }

    /// The request at hand was refused.
    pub(super) fn refused(&mut self) {
        self.sent();
        self.lost = false;
    }

    /// It is on its way; whether replicas have failed at it.
    pub(super) fn sent(&mut self) -> bool {
        let failed = self.failed;
        (self.tried, self.failed, self.aim) = (Tried::default(), false, Aim::Primary);
        (self.pauses, self.heads_for) = (false, None);
        failed
    }

    /// It reads from this replica from now on, by a server that was opened then; `None` when that is
    /// not as fresh as needed any more.
    pub(super) fn take(&self, chosen: Chosen, need: &Need, opened: Instant) -> Option<AtReplica> {
        let using = chosen.take(need, self.seen, opened, Instant::now())?;
        Some(AtReplica { host: chosen.host, chosen, _using: using })
    }
}

impl AtReplica {
    /// Whether the session may go on reading there.
    pub(super) fn is_still(&self, need: &Need, now: Instant) -> bool {
        self.chosen.admits(need, now)
    }
}
