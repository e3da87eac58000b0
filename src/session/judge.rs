//! What is decided of a request as a whole, when all of it is there and none of it has been sent.

use std::sync::Arc;

use super::names::{Names, Unnamed};
use crate::catalog::{Current, Reading, Readings};
use crate::config::ReadRouting;
use crate::route::{self, Judgement, Reason, Role, route};
use crate::server::prepared::text_of;
use crate::sql::facts::Does;
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
        let mut found = Request::default();
        // A Bind of what the request itself prepares has been judged with that.
        let mut parsed: Option<&[u8]> = None;
        let (mut movable, mut bound) = (within == Within::Movable, false);
        let mut texts = 0;
        loop {
            let rest = bytes.get(found.len..).unwrap_or_default();
            let (header, body) = match frame::message(rest, self.message_max) {
                Ok(Some(message)) => message,
                Ok(None) => return Judged::Incomplete,
                // Who sends it on will say what is wrong.
                Err(_) => {
                    found.len = found.len.max(1);
                    (found.reason, found.writes) = (Some(Reason::Opaque), true);
                    return Judged::Whole(found);
                }
            };
            found.len += header.message_len();
            let text = match header.tag {
                b'Q' => Text::Is(view::query_text(body)),
                b'P' => {
                    let parse = view::Parse::read(body);
                    parsed = parse.as_ref().map(|parse| parse.name);
                    Text::Is(parse.map(|parse| parse.text))
                }
                b'B' => match view::Bind::read(body) {
                    // A portal with a name is there for as long as its transaction.
                    Some(bind) if movable && !bind.portal.is_empty() => Text::Keeps,
                    Some(bind) => {
                        bound = true;
                        match parsed == Some(bind.statement) {
                            true => Text::None,
                            false => Text::Is(self.named(bind.statement, names)),
                        }
                    }
                    None => Text::Is(None),
                },
                b'D' => match Target::read(body) {
                    Some(Target::Statement(name)) if parsed != Some(name) => {
                        Text::Is(self.named(name, names))
                    }
                    _ => Text::None,
                },
                // It goes on with what is there from before, or leaves some.
                b'E' if movable && !(bound && view::executes_all(body)) => Text::Keeps,
                b'E' | b'C' | b'S' | b'X' => Text::None,
                b'H' => Text::Unended,
                _ => Text::Is(None),
            };
            let judged = match text {
                Text::None => None,
                Text::Keeps => Some((Reason::GoesOn, true)),
                Text::Unended => Some((Reason::NotWhole, true)),
                Text::Is(None) => Some((Reason::Opaque, true)),
                Text::Is(Some(text)) => {
                    texts += 1;
                    let reading = self.readings.of(text);
                    let judged = match movable {
                        false => self.text(&reading),
                        true => self.text_in_movable(&reading),
                    };
                    match judged.0 {
                        // What stands before it is not part of it.
                        Reason::Optimistic | Reason::Begins if found.reason.is_some() => {
                            Some((Reason::Begins, judged.1))
                        }
                        reason @ (Reason::Optimistic | Reason::Begins) => {
                            let alone = reading.facts().statements == 1;
                            found.begins = alone.then(|| text.into());
                            movable = reason == Reason::Optimistic;
                            Some(judged)
                        }
                        Reason::Reads if movable => {
                            found.reads.get_or_insert(reading);
                            Some(judged)
                        }
                        _ => Some(judged),
                    }
                }
            };
            let (reason, may_write) = judged.unzip();
            found.reason = stronger(found.reason, reason);
            found.writes |= may_write.unwrap_or(false);
            if matches!(header.tag, b'Q' | b'S' | b'H' | b'F' | b'X') {
                let whole = bytes.get(..found.len).unwrap_or_default();
                if found.reads.is_some() && says_a_time(whole) {
                    found.reason = Some(Reason::GoesOn);
                }
                // Of one that has begun on the primary nothing is left behind only if nothing is done.
                if !movable && texts > 1 {
                    found.begins = None;
                }
                return Judged::Whole(found);
            }
        }
    }

    /// A replica has refused this request: what it reads is for the primary from now on.
    pub(super) fn was_refused(&self, request: &[u8], names: &Names) {
        let mut rest = request;
        while let Ok(Some((header, body))) = frame::message(rest, self.message_max) {
            let text = match header.tag {
                b'Q' => view::query_text(body),
                b'P' => view::Parse::read(body).map(|parse| parse.text),
                b'B' => view::Bind::read(body).and_then(|bind| self.named(bind.statement, names)),
                _ => None,
            };
            if let Some(text) = text {
                self.readings.of(text).was_refused(self.catalog);
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

/// What a message runs.
enum Text<'a> {
    /// Nothing by itself.
    None,
    /// This; the inner `None` is what can't be read.
    Is(Option<&'a [u8]>),
    /// What keeps its server.
    Keeps,
    /// A request that does not end.
    Unended,
}

fn says_a_time(request: &[u8]) -> bool {
    let request = request.to_ascii_lowercase();
    TIMES.iter().any(|time| memchr::memmem::find(&request, time).is_some())
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
