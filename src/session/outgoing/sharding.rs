//! Whether the client's next request is for the shard whose server is attached. One for another shard
//! goes there between transactions, and is refused within one, before any of it is sent.

use std::sync::Arc;

use super::{ClientFault, Outgoing, Stop, TARGET_MAX, Taken};
use crate::config::PoolMode;
use crate::route::Role;
use crate::server::ledger::Awaited;
use crate::server::params::Params;
use crate::server::prepared::StatementName;
use crate::server::reported::Reported;
use crate::session::Tenancy;
use crate::session::flow::{Move, Open, Refusal};
use crate::session::names::Names;
use crate::session::shards::{Ahead, Demand, Doubt, Found, Sharded, is_utf8, refused, too_long};
use crate::shard::ShardId;
use crate::sql::{Bracket, Leaves, bracket, is_prelude};
use crate::wire::frame::{self, HEADER_LEN, Header};
use crate::wire::reply::Report;
use crate::wire::request;
use crate::wire::view;

/// The shard that is attached, and what decides about others.
#[derive(Clone, Copy)]
pub(in crate::session) struct AtShard<'a> {
    pub sharded: &'a Sharded,
    pub tenancy: &'a Tenancy,
    pub params: &'a Params,
    pub known: &'a Reported,
}

impl AtShard<'_> {
    /// The client may leave between transactions.
    fn may_leave(self) -> bool {
        self.tenancy.terms.mode != PoolMode::Session
    }

    /// A BEGIN may be held until its transaction has a shard.
    fn may_hold(self) -> bool {
        self.tenancy.terms.mode == PoolMode::Transaction
    }

    /// Plans the request that these bytes begin with, unless it has been planned before.
    fn plan(
        self,
        ahead: Option<Ahead>,
        bytes: &[u8],
        names: &Names,
        doubt: Doubt,
    ) -> Option<Found> {
        let Self { sharded, tenancy, params, known } = self;
        let utf8 = || is_utf8(Some(known));
        let found = ahead.and_then(|it| it.found(bytes, doubt, sharded.catalog(), utf8));
        found.or_else(|| sharded.planner(tenancy, params, known).request(bytes, names, doubt))
    }
}

/// What was decided of requests to a server of a shard.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is about something else")]
pub(in crate::session) struct OfShard {
    /// So many of the client's next bytes belong to a request that may go to this server.
    pub judged: usize,
    /// No text in it leaves anything.
    pub clean: bool,
    /// What was found of the first request before this server was there.
    pub ahead: Option<Ahead>,
    /// A request was refused: what comes before a Sync is skipped by the server.
    pub skips: bool,
    /// What is not settled behind the requests that went to this server.
    pub doubt: Doubt,
    /// The last of them has said something of that, outside of a transaction or in what may be one.
    pub said: bool,
    /// The text that has begun the transaction under way, as long as nothing has run in it but what is
    /// about itself, which is part of this text: statements were prepared or described at most.
    pub begun: Option<Box<[u8]>>,
    /// The server was asked for what the requests before may have left: the client's settings may say
    /// where the next one is for.
    pub settled: bool,
    /// That transaction goes on at another shard.
    pub moves: bool,
    /// Something was run since the last Sync.
    pub ran_open: bool,
}

/// Whether a message does nothing but begin a transaction.
fn begins(header: Header, rest: &[u8]) -> bool {
    let body = rest.get(HEADER_LEN..header.message_len()).filter(|_| header.tag == b'Q');
    let text = body.and_then(view::query_text);
    matches!(text.and_then(bracket), Some(Bracket::Begin | Bracket::Start))
}

/// What may be left that says where requests are for.
pub(in crate::session) const OF_SETTINGS: Leaves =
    Leaves::SETTINGS.with(Leaves::ANY_SETTINGS).with(Leaves::RESET);

/// A transaction that begins with a longer text stays where it has begun.
const BEGUN_MAX: usize = 4096;

impl OfShard {
    /// The next request waits for what the client's settings say.
    pub(in crate::session) fn waits_for_settings(&self) -> bool {
        self.settled && !self.doubt.is_settled()
    }

    /// A request that runs something goes to this server.
    fn ran(&mut self, request: &[u8]) {
        let Some(begun) = self.begun.take() else { return };
        // What it has said by itself of what follows does not go elsewhere with it.
        let settled = self.doubt.is_settled() && !self.doubt.recodes;
        let text = match frame::message(request, u32::MAX) {
            Ok(Some((Header { tag: b'Q', .. }, body))) => view::query_text(body),
            Ok(_) | Err(_) => None,
        };
        self.begun = text.filter(|text| settled && is_prelude(text)).and_then(|text| {
            let longer = [&*begun, b"\n;", text].concat();
            (longer.len() <= BEGUN_MAX).then(|| longer.into())
        });
    }
}

impl Outgoing<'_, '_> {
    /// Whether the message that these bytes begin with may be sent to this server: `None` where it may.
    pub(super) fn on_shard(
        &mut self,
        header: Header,
        rest: &[u8],
    ) -> Result<Option<Taken>, ClientFault> {
        let Some(shard) = self.shard else { return Ok(None) };
        if self.flow.shard.skips {
            self.flow.shard.skips = header.tag != b'S';
            return Ok(None);
        }
        // The data of a COPY may come before its server has begun it, and nothing else is taken within.
        if self.flow.shard.judged > 0
            || matches!(header.tag, b'X' | b'd' | b'c' | b'f')
            || self.server.ledger.is_copying_in()
        {
            return Ok(None);
        }
        // Replies to us may be owed, or none with a request that is open: for those nobody waits.
        let quiet = self.server.ledger.owes_only_ours() || self.server.ledger.is_empty();
        // What a SET before it has said counts only where that does not fail.
        if !quiet && self.flow.shard.said {
            self.flow.stop = Some(Stop::Replies);
            return Ok(Some(Taken::Not));
        }
        self.flow.shard.doubt.recodes &= !quiet;
        let outside = self.server.receiver.status() == b'I' && !self.server.ledger.is_open();
        let doubted = self.flow.asked.is_some() || !self.server.doubted().is_empty();
        if quiet && outside && doubted && !self.flow.shard.settled {
            self.flow.shard.settled = self.flow.asked.is_none();
            self.flow.stop = Some(Stop::Settling);
            return Ok(Some(Taken::Not));
        }
        let doubt = &mut self.flow.shard.doubt;
        let unsure = self.flow.asked.is_some() || self.server.doubted().has_any(OF_SETTINGS);
        if quiet && outside && !unsure {
            doubt.settle();
        }
        doubt.inside = quiet && self.server.receiver.status() == b'T';
        let before = *doubt;
        let ahead = self.flow.shard.ahead.take();
        let Some(Found { len, demand, runs, clean, doubt, .. }) =
            shard.plan(ahead, rest, self.names, *doubt)
        else {
            return self.half(header, rest);
        };
        let free = self.ear.is_none() && self.flow.pins.is_empty() && !self.flow.placed.stays;
        // A BEGIN behind other requests is held as one by itself is, when those are over.
        let is_next = self.flow.batch.is_some() && demand == Ok(Demand::Anywhere);
        if is_next && free && shard.may_hold() && (outside || !quiet) && begins(header, rest) {
            self.flow.stop = Some(if quiet { Stop::Elsewhere } else { Stop::Replies });
            return Ok(Some(Taken::Not));
        }
        let to = match demand {
            Ok(Demand::Anywhere) => Some(shard.sharded.at),
            Ok(Demand::On(to)) => Some(to),
            Ok(Demand::Parts(..)) => None,
            Err(_) if !quiet => {
                // It may be another's, when that is known which is under way.
                self.flow.stop = Some(Stop::Replies);
                return Ok(Some(Taken::Not));
            }
            Err(report) => return self.refuse_on_shard(header, rest, *report),
        };
        if to == Some(shard.sharded.at) {
            (self.flow.shard.judged, self.flow.shard.clean) = (len, clean);
            self.flow.shard.settled = false;
            self.flow.shard.said =
                !doubt.inside && (doubt.said, doubt.path) != (before.said, before.path);
            self.flow.shard.doubt = doubt;
            let open = self.server.ledger.is_open();
            self.flow.shard.ran_open = runs || self.flow.shard.ran_open && open;
            if runs {
                self.flow.shard.ran(rest.get(..len).unwrap_or_default());
            }
            return Ok(None);
        }
        if !self.leaves_shard(shard, to, quiet, outside)? {
            return Ok(Some(Taken::Not));
        }
        let here = shard.sharded.name(shard.sharded.at);
        let there =
            to.map_or("several".to_owned(), |to| format!("shard {}", shard.sharded.name(to)));
        let report = match outside {
            false => refused(
                format!("its transaction is on shard {here}, and it is for {there}"),
                "End the transaction first. What comes first in one decides where it is: begin with \
                 what has a key, or with SET LOCAL pgweir.shard_key.",
            ),
            true => refused(
                format!("its session keeps a server of shard {here}, and it is for {there}"),
                "SHOW PINS, in the console, says what is kept.",
            ),
        };
        self.refuse_on_shard(header, rest, *report)
    }

    /// What is next is for another shard, or for several: the session goes there, if it may, or waits until
    /// it may. Whether it is refused.
    fn leaves_shard(
        &mut self,
        shard: AtShard<'_>,
        to: Option<ShardId>,
        quiet: bool,
        outside: bool,
    ) -> Result<bool, ClientFault> {
        let own = !self.flow.resets.is_empty() || !self.flow.redo.is_empty();
        if !quiet || own && !self.server.ledger.is_empty() {
            self.flow.stop = Some(Stop::Replies);
            return Ok(false);
        }
        let free = self.ear.is_none() && self.flow.pins.is_empty() && !self.flow.placed.stays;
        if !free || !shard.may_leave() {
            return Ok(true);
        }
        if outside {
            self.flow.stop = Some(Stop::Elsewhere);
            return Ok(false);
        }
        let (status, open) = (self.server.receiver.status(), self.server.ledger.is_open());
        // Nothing is lost with what has been prepared without a Sync: it is known to us.
        let moves = to.is_some() && self.flow.shard.begun.is_some();
        if open && !self.flow.shard.ran_open && (status == b'I' || status == b'T' && moves) {
            self.sent_own(Awaited::Sync)?;
            self.out.insert(request::sync);
            self.flow.stop = Some(Stop::Replies);
            return Ok(false);
        }
        let begun = status == b'T' && !open && to.is_some();
        let Some(begin) = self.flow.shard.begun.take_if(|_| begun) else { return Ok(true) };
        self.flow.placed.open = Some(Open { on: Role::Primary, begin, by: 0, reads: None });
        self.flow.placed.moves = Some(Move { to: Role::Primary, acts: false });
        self.flow.shard.moves = true;
        self.flow.stop = Some(Stop::Elsewhere);
        Ok(false)
    }

    /// A request that is not whole yet.
    fn half(&mut self, header: Header, rest: &[u8]) -> Result<Option<Taken>, ClientFault> {
        let is_text = matches!(header.tag, b'Q' | b'P');
        let is_whole = rest.len() >= header.message_len();
        if rest.len() <= self.terms.request_max {
            return Ok(Some(Taken::Not));
        }
        match is_text && !is_whole {
            true if header.body_len > self.terms.statement_max => Err(ClientFault::LongText),
            true => Ok(Some(Taken::Not)),
            false => self.refuse_on_shard(header, rest, *too_long()),
        }
    }

    /// Refuses a request by its first message that can fail; `None` lets those before it go.
    fn refuse_on_shard(
        &mut self,
        header: Header,
        rest: &[u8],
        report: Report,
    ) -> Result<Option<Taken>, ClientFault> {
        let why = Refusal::OnShards(Arc::new(report));
        let whole = rest.get(HEADER_LEN..header.message_len());
        let taken = match (header.tag, whole) {
            (b'Q' | b'F', Some(_)) => return self.refuse_query(why).map(Some),
            (b'P', Some(body)) => {
                let name = view::Parse::read(body).map_or(&b"?"[..], |parse| parse.name);
                self.refuse_parse(why, name)?
            }
            (b'D', Some(body)) if matches!(body.first(), Some(b'S')) => {
                let sent = self.sent(Awaited::Describe)?;
                self.flow.refused.extend(sent.map(|sequence| (sequence, why)));
                let nobody = StatementName::nobody();
                self.out.insert(|out| request::describe_statement(out, nobody.as_bytes()));
                Taken::Whole
            }
            (b'B', _) => {
                let start = rest.get(HEADER_LEN..rest.len().min(header.message_len()));
                match view::Bind::read(start.unwrap_or_default()) {
                    Some(bind) => self.refuse_bind(why, &bind, header)?,
                    None => return Ok(None),
                }
            }
            (b'Q' | b'F' | b'P', None) => return Ok(Some(Taken::Not)),
            (b'D', None) if header.body_len <= TARGET_MAX => return Ok(Some(Taken::Not)),
            // A portal may be described: it is there, or it fails by itself.
            _ => return Ok(None),
        };
        self.flow.shard.skips = true;
        Ok(Some(taken))
    }
}
