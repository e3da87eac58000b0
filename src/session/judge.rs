//! What is decided of a request as a whole, when all of it is there and none of it has been sent.

use std::sync::Arc;

use super::names::{Names, Unnamed};
use super::whole::{Once, ends_request, is_whole};
use crate::catalog::{Current, Reading, Readings};
use crate::config::ReadRouting;
use crate::route::{self, Judgement, Reason, Role, route};
use crate::server::prepared::text_of;
use crate::server::unseen::Unseen;
use crate::sql::{self, facts::Does};
use crate::wire::frame;
use crate::wire::view::{self, Target};

/// What decides about requests.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub catalog: &'a Current,
    pub readings: &'a Readings,
    pub routing: ReadRouting,
    pub session: route::Session,
    pub message_max: u32,
    /// Statements up to so many bytes are followed by their names.
    pub followed_max: usize,
    /// It is a part of a request over several shards: behind a Flush comes no more than that what has been bound
    /// is executed.
    pub part: bool,
}

/// What was found of a request.
#[derive(Clone, Debug)]
pub(super) enum Judged {
    /// It is not whole yet.
    Incomplete,
    /// It is.
    Whole(Request),
}

/// What was found of a request that is whole.
#[expect(clippy::struct_excessive_bools, reason = "each of them is a fact of its own")]
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    /// So many bytes.
    pub len: usize,
    /// Why it runs where it may; `None` where there is nothing in it that would have to run
    /// anywhere.
    pub reason: Option<Reason>,
    /// The database may be another after it.
    pub writes: bool,
    /// The text that begins the transaction that it is the start of, where that may move.
    pub begins: Option<Box<[u8]>>,
    /// What it reads first in a transaction that may move.
    pub reads: Option<Arc<Reading>>,
    /// It writes or locks.
    pub acts: bool,
    /// It says that the transaction only reads.
    pub settles: bool,
    /// It asks where the one before it ran.
    pub asks_route: bool,
    /// It does no more than to prepare and to describe, and ends with a Flush: what runs comes behind.
    pub prepares: bool,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// In a transaction that has to be able to go on elsewhere.
    Movable,
    /// Anywhere else.
    Nothing,
}

/// Words in strings that mean a time that depends on that of the transaction.
const TIMES: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];

impl Judge<'_> {
    /// Judges the request that these bytes begin with.
    pub(super) fn request(&self, bytes: &[u8], names: &Names, within: Within) -> Judged {
        let mut judging = Judging {
            judge: *self,
            names,
            seen: Once::default(),
            found: Request::default(),
            parsed: None,
            movable: within == Within::Movable,
            bound: false,
            opened: false,
            texts: 0,
            runs: false,
            stays: false,
        };
        let mut len = 0;
        // Nothing is looked at twice because it comes slowly.
        if !is_whole(bytes, self.message_max) {
            return Judged::Incomplete;
        }
        loop {
            let rest = bytes.get(len..).unwrap_or_default();
            let (header, body) = match frame::message(rest, self.message_max) {
                Ok(Some(message)) => message,
                Ok(None) => return Judged::Incomplete,
                // Who sends it on will say what is wrong.
                Err(_) => {
                    judging.add((Reason::Opaque, true));
                    judging.found.len = len.max(1);
                    return Judged::Whole(judging.found);
                }
            };
            len += header.message_len();
            judging.message(header.tag, body);
            if ends_request(header.tag) {
                return Judged::Whole(judging.whole(bytes.get(..len).unwrap_or_default()));
            }
        }
    }

    /// A replica has refused this request: what it reads is for the primary from now on.
    pub(super) fn was_refused(&self, request: &[u8], names: &Names) {
        self.texts(request, names, |text| {
            if let Some(text) = text {
                self.readings.of(text).was_refused(self.catalog);
            }
        });
    }

    /// Whether something in this request, which reads by all that is known of it, may leave anything in
    /// the session that runs it.
    pub(super) fn may_leave(&self, request: &[u8], names: &Names, unseen: &Unseen) -> bool {
        let mut leaves = false;
        self.texts(request, names, |text| {
            leaves = leaves || text.is_none_or(|text| unseen.may_leave(text));
        });
        leaves
    }

    /// The texts that a request runs; `None` is one that is not known.
    fn texts(&self, request: &[u8], names: &Names, mut each: impl FnMut(Option<&[u8]>)) {
        let (mut rest, mut parsed, mut seen) = (request, None, Once::default());
        while let Ok(Some((header, body))) = frame::message(rest, self.message_max) {
            match header.tag {
                b'Q' => each(view::query_text(body)),
                b'P' => {
                    let parse = view::Parse::read(body);
                    parsed = parse.as_ref().map(|parse| parse.name);
                    each(parse.map(|parse| parse.text));
                }
                b'B' => match view::Bind::read(body) {
                    // What the request itself has prepared last has been told.
                    Some(bind) if parsed == Some(bind.statement) => {}
                    bind => {
                        let text = bind.and_then(|bind| self.named(bind.statement, names));
                        let looked = text.and_then(|text| seen.of(text, |text| each(Some(text))));
                        if looked.is_none() {
                            each(None);
                        }
                    }
                },
                _ => {}
            }
            rest = rest.get(header.message_len()..).unwrap_or_default();
        }
    }

    /// Where a text may run, and whether it may write.
    fn text(&self, reading: &Reading) -> (Reason, bool) {
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
            (reason, _) => reason,
        };
        (reason, writes)
    }

    /// The same of one in a transaction that has to be able to go on elsewhere.
    fn text_in_movable(&self, reading: &Reading) -> (Reason, bool) {
        match self.text(reading) {
            (Reason::Nothing, writes) if !reading.facts().unsteady => (Reason::Nothing, writes),
            (Reason::ReadOnly, writes) if matches!(reading.facts().does, Does::Begins(_)) => {
                (Reason::ReadOnly, writes)
            }
            (reason, false)
                if reason.role() == Role::Replica && reading.is_steady(self.catalog) =>
            {
                (Reason::Reads, false)
            }
            (_, writes) => (Reason::GoesOn, writes),
        }
    }

    /// What the client has prepared under this name, as far as it is known.
    fn named<'n>(&self, name: &[u8], names: &'n Names) -> Option<&'n [u8]> {
        if !name.is_empty() {
            return names.get(name).map(|statement| statement.text());
        }
        match names.unnamed() {
            Unnamed::Here(identity) | Unnamed::Elsewhere(identity) => Some(text_of(identity)),
            Unnamed::None | Unnamed::OnlyHere => None,
        }
    }
}

/// A request that is being judged.
#[expect(clippy::struct_excessive_bools, reason = "each of them is a fact of its own")]
struct Judging<'a> {
    judge: Judge<'a>,
    names: &'a Names,
    seen: Once<Arc<Reading>>,
    found: Request,
    /// What the request itself has prepared last: a Bind of that has been judged with it.
    parsed: Option<&'a [u8]>,
    /// The transaction has to be able to go on elsewhere.
    movable: bool,
    /// There is a portal of this request.
    bound: bool,
    /// One that has not run.
    opened: bool,
    /// How many texts there are.
    texts: usize,
    /// There is something that runs, or tells of it.
    runs: bool,
    /// It prepares what this server alone will know by its name.
    stays: bool,
}

impl<'a> Judging<'a> {
    fn message(&mut self, tag: u8, body: &'a [u8]) {
        match tag {
            b'Q' => self.text(view::query_text(body)),
            b'P' => {
                let parse = view::Parse::read(body);
                self.parsed = parse.as_ref().map(|parse| parse.name);
                let is_long = body.len() > self.judge.followed_max;
                self.stays |= is_long && self.parsed.is_some_and(|name| !name.is_empty());
                self.text(parse.map(|parse| parse.text));
            }
            b'B' => match view::Bind::read(body) {
                // A portal with a name is there for as long as its transaction.
                Some(bind) if self.movable && !bind.portal.is_empty() => {
                    self.add((Reason::GoesOn, true));
                }
                Some(bind) => {
                    (self.bound, self.opened) = (true, true);
                    if self.parsed != Some(bind.statement) {
                        self.text(self.judge.named(bind.statement, self.names));
                    }
                }
                None => self.text(None),
            },
            b'D' => match Target::read(body) {
                Some(Target::Statement(name)) if self.parsed != Some(name) => {
                    self.text(self.judge.named(name, self.names));
                }
                _ => {}
            },
            // It goes on with what is there from before, or leaves some.
            b'E' if self.movable && !(self.bound && view::executes_all(body)) => {
                self.add((Reason::GoesOn, true));
            }
            b'E' => self.opened = false,
            b'C' | b'S' | b'X' => {}
            b'H' if self.judge.part => self.found.prepares = true,
            b'H' if self.runs || self.stays || self.movable => self.add((Reason::NotWhole, true)),
            // What comes behind it is not judged on the primary.
            b'H' => (self.found.prepares, self.found.writes) = (true, true),
            _ => self.text(None),
        }
        self.runs |= matches!(tag, b'B' | b'E') || tag == b'D' && body.first() == Some(&b'P');
    }

    /// A text that is run; `None` is one that can't be read.
    fn text(&mut self, text: Option<&[u8]>) {
        let judge = self.judge;
        let mut reading = |text| self.seen.of(text, |text| judge.readings.of(text));
        let Some((text, reading)) = text.and_then(|text| Some((text, reading(text)?))) else {
            return self.add((Reason::Opaque, true));
        };
        self.texts += 1;
        let (reason, writes) = match self.movable {
            false => judge.text(&reading),
            true if says_a_time(text) => (Reason::GoesOn, true),
            true => judge.text_in_movable(&reading),
        };
        let facts = reading.facts();
        self.found.asks_route |= facts.may_ask_route && sql::effects(text).asks_route;
        self.found.acts |= matches!(facts.does, Does::Writes(_) | Does::Locks(_));
        match reason {
            // What stands before it is not part of it.
            Reason::Optimistic | Reason::Begins if self.found.reason.is_some() => {
                return self.add((Reason::Begins, writes));
            }
            Reason::Optimistic | Reason::Begins => {
                self.found.begins = (reading.facts().statements == 1).then(|| text.into());
                self.movable = reason == Reason::Optimistic;
            }
            Reason::ReadOnly if self.movable => {
                (self.movable, self.found.settles) = (false, true);
            }
            Reason::Reads if self.movable => {
                self.found.reads.get_or_insert(reading);
            }
            _ => {}
        }
        self.add((reason, writes));
    }

    fn add(&mut self, (reason, writes): (Reason, bool)) {
        self.found.reason = stronger(self.found.reason, Some(reason));
        self.found.writes |= writes;
    }

    /// All of it has been judged.
    fn whole(self, bytes: &[u8]) -> Request {
        let Self { mut found, movable, opened, texts, .. } = self;
        found.len = bytes.len();
        if movable && (opened || found.reads.is_some() && says_a_time(bytes)) {
            found.reason = Some(Reason::GoesOn);
        }
        // Of one that begins on the primary nothing is left behind only if nothing else is done.
        let there = found.reason.is_some_and(|reason| reason.role() == Role::Replica);
        if found.prepares || texts > 1 && (!movable || !there) {
            found.begins = None;
        }
        found
    }
}

/// Whether a request has a word that means a time which depends on that of its transaction.
fn says_a_time(request: &[u8]) -> bool {
    let request = request.to_ascii_lowercase();
    let is_of_word =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    TIMES.iter().any(|time| {
        memchr::memmem::find_iter(&request, time).any(|at| {
            let before = at.checked_sub(1).and_then(|before| request.get(before));
            !is_of_word(before) && !is_of_word(request.get(at + time.len()))
        })
    })
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
