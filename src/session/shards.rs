//! A session of a database that is spread over shards: each shard is a tenancy of its own, and between
//! transactions a session goes to the one that its next request is for.
//!
//! A request is planned when all of it is there and none of it has been sent, by a session without a
//! server here, by one with a server in [`super::outgoing`]. A BEGIN alone says nothing of a shard: it is
//! held, and answered by us, until the first request that needs a server.

mod ahead;
mod doubt;
mod explain;
mod parts;
mod planner;
mod plans;
mod refusals;
mod requests;
mod schemas;
mod spreading;

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

pub(super) use self::ahead::Ahead;
pub(super) use self::doubt::Doubt;
pub use self::explain::ShardRoute;
use self::parts::Parts;
pub(super) use self::planner::{Demand, Planner, is_utf8};
pub use self::plans::Layout;
use self::plans::Planned;
pub(super) use self::refusals::refused;
pub(super) use self::requests::{Found, declared};
pub(super) use self::spreading::Spreading;
use super::gate::check_reading;
use super::incoming;
use super::routing::{Course, Moving};
use super::whole::ends_request;
use super::{ClientFault, End, Session, Tenancy};
use crate::catalog::Known;
use crate::client::condition;
use crate::config::PoolMode;
use crate::route::Role;
use crate::server::params::Params;
use crate::server::reported::Reported;
use crate::shard::{ShardId, ShardSet};
use crate::sql::keys::Access;
use crate::sql::{Bracket, bracket};
use crate::traffic::Side;
use crate::wire::frame;
use crate::wire::reply::{self, Report};
use crate::wire::view;

/// The tenancies of a user on the shards of a database, which its tenancy on the default shard has.
#[derive(Debug)]
pub struct Shards {
    layout: Arc<Layout>,
    /// Those of the shards from number 1 on. Each is the latest when it was last looked at.
    others: Box<[RwLock<Arc<Tenancy>>]>,
}

impl Shards {
    /// Those of the shards from number 1 on.
    pub fn new(layout: Arc<Layout>, others: impl IntoIterator<Item = Arc<Tenancy>>) -> Self {
        Self { layout, others: others.into_iter().map(RwLock::new).collect() }
    }

    /// How the database is spread.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The latest tenancy on a shard other than the default one.
    fn tenancy(&self, shard: ShardId) -> Option<Arc<Tenancy>> {
        let place = self.others.get(usize::from(shard.0).checked_sub(1)?)?;
        let known = Arc::clone(&place.read());
        match known.successor() {
            None => Some(known),
            Some(latest) => {
                *place.write() = Arc::clone(&latest);
                Some(latest)
            }
        }
    }
}

/// Where a session is among the shards.
#[derive(Debug)]
pub(super) struct Sharded {
    /// Its tenancy on the default shard.
    home: Arc<Tenancy>,
    shards: Arc<Shards>,
    /// The shard that its tenancy is on now.
    pub at: ShardId,
    /// The transaction under way has no server yet.
    holds: bool,
    /// What was found of the request that waits for a server.
    ahead: Option<Ahead>,
    /// What was planned last of what is prepared: it is bound time and again.
    last: Mutex<Option<Arc<Planned>>>,
    /// Where it is the same everywhere: the shards that have no server for it.
    tried: Option<ShardSet>,
    /// Where it has read over several shards.
    parts: Parts,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    /// It goes on, on the shard that the session is at.
    Goes,
    /// So many bytes have been answered.
    Answered(usize),
    /// It is not whole yet.
    Waits,
    /// It has so many bytes, and runs on these shards.
    Across(usize, ShardSet),
}

impl Sharded {
    /// Of a session that begins with this tenancy; `None` where there are no shards.
    pub(super) fn of(home: &Arc<Tenancy>) -> Option<Self> {
        let shards = Arc::clone(home.shards.as_ref()?);
        let at = shards.layout.sharding.default_shard();
        let home = Arc::clone(home);
        Some(Self {
            home,
            shards,
            at,
            holds: false,
            ahead: None,
            last: Mutex::default(),
            tried: None,
            parts: Parts::default(),
        })
    }

    /// What decides about its requests.
    pub(super) fn planner<'a>(
        &'a self,
        tenancy: &'a Tenancy,
        params: &'a Params,
        known: &'a Reported,
    ) -> Planner<'a> {
        Planner {
            layout: &self.shards.layout,
            last: Some(&self.last),
            catalog: &self.home.catalog,
            manner: params.manner(),
            reported: Some(known),
            message_max: tenancy.terms.message_max,
            statement_max: tenancy.terms.statement_max,
            follows_names: tenancy.terms.follows_names(),
            fan_out_writes: tenancy.terms.fan_out_writes,
            unseen: tenancy.terms.knows_code().then_some(&tenancy.schema.unseen),
        }
    }

    /// The number of the catalog that decides about its requests.
    pub(super) fn catalog(&self) -> Option<u64> {
        self.home.catalog.number()
    }

    /// What was found of the request that a server was taken for.
    pub(super) fn ahead(&mut self) -> Option<Ahead> {
        self.ahead.take()
    }

    /// A server begins the transaction that was held; whether one was.
    pub(super) fn begins(&mut self) -> bool {
        std::mem::take(&mut self.holds)
    }

    /// A transaction has been begun that has no server yet.
    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    /// The transaction has left its server, which has run nothing in it, to go on at another shard.
    pub(super) fn holds_again(&mut self) {
        self.holds = true;
    }

    /// What a shard is called.
    pub(super) fn name(&self, shard: ShardId) -> &str {
        let name = self.shards.layout.sharding.shards().get(usize::from(shard.0));
        name.map_or("", String::as_str)
    }

    /// The latest tenancy on a shard.
    pub(super) fn tenancy(&mut self, shard: ShardId) -> Arc<Tenancy> {
        if let Some(tenancy) = self.shards.tenancy(shard) {
            return tenancy;
        }
        if let Some(latest) = self.home.successor() {
            self.home = latest;
        }
        Arc::clone(&self.home)
    }

    /// How the database is spread.
    pub(super) fn layout(&self) -> &Arc<Layout> {
        &self.shards.layout
    }

    /// The shard for what runs on any: the default one, but for when there are servers of another one alone.
    fn any(&mut self) -> ShardId {
        let sharding = Arc::clone(&self.shards.layout.sharding);
        let default = sharding.default_shard();
        let mut has_servers = |shard: &ShardId| !self.tenancy(*shard).pool.is_failing();
        if has_servers(&default) {
            return default;
        }
        sharding.all().iter().find(has_servers).unwrap_or(default)
    }

    /// What is known of a shard.
    pub(super) fn known_of(&self, shard: ShardId) -> Option<Arc<Known>> {
        self.tenancy_on(shard).catalog.latest()
    }

    /// The tenancy on a shard: the default one's is that of the session's last hop there.
    fn tenancy_on(&self, shard: ShardId) -> Arc<Tenancy> {
        self.shards.tenancy(shard).unwrap_or_else(|| Arc::clone(&self.home))
    }

    /// The tenancy that the session is at has been followed by another.
    pub(super) fn followed(&mut self, latest: &Arc<Tenancy>) {
        if self.at == self.shards.layout.sharding.default_shard() {
            self.home = Arc::clone(latest);
        }
    }
}

/// Where a session is among shards, by what it goes by.
pub(super) fn sharded(course: &Option<Box<Course>>) -> Option<&Sharded> {
    course.as_deref()?.sharded.as_ref()
}

impl Session {
    /// Where it is among shards, if there are any.
    pub(super) fn sharded(&self) -> Option<&Sharded> {
        sharded(&self.course)
    }

    pub(super) fn sharded_mut(&mut self) -> Option<&mut Sharded> {
        self.course.as_deref_mut()?.sharded.as_mut()
    }

    /// Finds the shard of the request that these bytes begin with, which needs a server, and goes there.
    pub(super) fn place(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Placing, End> {
        let Some(sharded) = self.sharded_mut() else { return Ok(Placing::Goes) };
        (sharded.ahead, sharded.tried) = (None, None);
        let holds = sharded.holds;
        // It is somewhere already.
        if self.is_moving() && !holds {
            return Ok(Placing::Goes);
        }
        // What is left of a COPY that has failed is nobody's.
        let first = frame::header(bytes, self.tenancy.terms.message_max);
        if let Ok(Some(header)) = first
            && matches!(header.tag, b'd' | b'c' | b'f')
        {
            let count = self.client.ignore.drop_message(header, bytes.len());
            return Ok(Placing::Answered(count));
        }
        let Some(sharded) = self.sharded() else { return Ok(Placing::Goes) };
        let default = sharded.shards.layout.sharding.default_shard();
        let planner = sharded.planner(&self.tenancy, &self.params, &self.known);
        let Some(found) = planner.request(bytes, &self.names, Doubt::default()) else {
            let request_max = self.tenancy.terms.request_max;
            if holds && bytes.len() <= request_max {
                return Ok(Placing::Waits);
            }
            if holds {
                // Its server is told to fail.
                self.hop(default)?;
                return Ok(Placing::Goes);
            }
            return self.refuse_here(bytes, &too_long(), out).map(Placing::Answered);
        };
        let len = found.len;
        let request = bytes.get(..len).unwrap_or(bytes);
        let ahead = planner.keep(request, &found);
        let Found { demand, .. } = found;
        let anywhere = matches!(demand, Ok(Demand::Anywhere));
        if let Some(answered) = self.bracketed(request, anywhere, out)? {
            return Ok(answered);
        }
        if holds && self.client.ignore.failed {
            let parse = frame::message(request, self.tenancy.terms.message_max).ok().flatten();
            let parse = parse.filter(|(header, _)| header.tag == b'P');
            let parse = parse.and_then(|(_, body)| view::Parse::read(body));
            let ends = parse.and_then(|parse| bracket(parse.text));
            if let Some(Bracket::Rollback) = ends {
                // Without a Sync a server ends it, in which nothing has run.
                self.client.ignore.failed = false;
                self.hop(default)?;
                return Ok(Placing::Goes);
            }
            let report = condition::FAILED_TRANSACTION.report();
            return self.refuse_here(request, &report, out).map(Placing::Answered);
        }
        let in_between = self.tenancy.terms.fan_out_in_transactions;
        match demand {
            Ok(Demand::Anywhere) => self.hop_anywhere()?,
            Ok(Demand::On(shard)) => self.hop(shard)?,
            Ok(Demand::Parts(shards, access))
                if !holds || access == Access::Reads && in_between =>
            {
                // Its BEGIN has passed the gate for one server, and this one asks for several.
                let objection = if holds { self.objection() } else { None };
                if let Some(report) = objection {
                    return self.fail_here(request, &report, out);
                }
                return Ok(Placing::Across(len, shards));
            }
            Ok(Demand::Parts(..)) => return self.fail_here(request, &several(), out),
            Err(report) if holds => return self.fail_here(request, &report, out),
            Err(report) => {
                return self.refuse_here(request, &report, out).map(Placing::Answered);
            }
        }
        if let Some(sharded) = self.sharded_mut() {
            sharded.ahead = ahead;
        }
        Ok(Placing::Goes)
    }

    /// Holds a BEGIN, and answers what needs no server in a transaction that has none yet.
    fn bracketed(
        &mut self,
        request: &[u8],
        anywhere: bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<Placing>, End> {
        if !anywhere {
            return Ok(None);
        }
        let terms = &self.tenancy.terms;
        let message = frame::message(request, terms.message_max);
        let Some((header, body)) = message.map_err(ClientFault::from)? else { return Ok(None) };
        let text = match header.tag {
            b'Q' => view::query_text(body),
            _ => None,
        };
        let Some(course) = &mut self.course else { return Ok(None) };
        let Some(sharded) = &mut course.sharded else { return Ok(None) };
        match (sharded.holds, text.and_then(bracket)) {
            (false, Some(begin @ (Bracket::Begin | Bracket::Start)))
                if terms.mode == PoolMode::Transaction && self.ear.is_none() =>
            {
                // It is sent by us later, as it is.
                if terms.read_only {
                    check_reading(header, Some(body), terms.statement_max)?;
                }
                sharded.holds = true;
                course.moving = Some(Moving {
                    begin: text.unwrap_or_default().into(),
                    to: Role::Primary,
                    clock: None,
                });
                self.names.drop_unnamed();
                reply::command_complete(out, begin.tag());
                out.extend_from_slice(&reply::ready(b'T'));
            }
            (true, Some(end @ (Bracket::Commit | Bracket::Rollback))) => {
                self.names.drop_unnamed();
                self.end_held(end, out);
                out.extend_from_slice(&reply::ready(b'I'));
            }
            (true, None) if header.tag != b'Q' && self.ends_held(request, out) => {}
            (true, None) if header.tag == b'X' => return Err(End::Goodbye),
            (true, None) if header.tag == b'S' => {
                out.extend_from_slice(&reply::ready(self.client.ignore.held()));
            }
            _ => return Ok(None),
        }
        Ok(Some(Placing::Answered(request.len())))
    }

    /// The transaction that no server has yet ends so, or, where it has failed, is rolled back: the client is
    /// told what has been done.
    pub(super) fn end_held(&mut self, end: Bracket, out: &mut Vec<u8>) {
        if let Some(course) = &mut self.course {
            course.moving = None;
            if let Some(sharded) = &mut course.sharded {
                sharded.holds = false;
            }
        }
        if !std::mem::take(&mut self.client.ignore.failed) {
            return reply::command_complete(out, end.tag());
        }
        reply::command_complete(out, Bracket::Rollback.tag());
        // What was set on a server that it has left is undone with it.
        if let Some(reported) = self.params.proven() {
            incoming::tell(out, &mut self.known, reported);
        }
    }

    /// The transaction that no server has yet has failed; as long as that is so, how much of these bytes, which
    /// it has failed with, its client is told that of at once: the first request.
    pub(super) fn failed_with<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let mut len = 0;
        while self.client.ignore.failed
            && let Some(rest) = bytes.get(len..)
            && let Ok(Some(header)) = frame::header(rest, self.tenancy.terms.message_max)
        {
            len += header.message_len();
            if ends_request(header.tag) {
                return bytes.get(..len).unwrap_or(bytes);
            }
        }
        bytes
    }

    /// Goes to a shard. What names of statements stand for on servers has to be the same there.
    fn hop(&mut self, to: ShardId) -> Result<(), End> {
        let Some(course) = &mut self.course else { return Ok(()) };
        let Some(sharded) = &mut course.sharded else { return Ok(()) };
        if sharded.at == to {
            return Ok(());
        }
        let tenancy = sharded.tenancy(to);
        if tenancy.terms.follows_names() != self.tenancy.terms.follows_names() {
            return Err(End::Reconfigured);
        }
        sharded.at = to;
        self.tenancy = tenancy;
        self.last_member = 0;
        course.shard_changed();
        Ok(())
    }

    /// Goes to a shard that has servers, for a request that is the same everywhere.
    pub(super) fn hop_anywhere(&mut self) -> Result<(), End> {
        let Some(sharded) = self.sharded_mut() else { return Ok(()) };
        sharded.tried = Some(ShardSet::default());
        let to = sharded.any();
        self.hop(to)
    }

    /// The shard that it is at has no server for the request at hand: whether it goes to another one.
    pub(super) fn tries_another_shard(&mut self) -> Result<bool, End> {
        let Some(sharded) = self.sharded_mut() else { return Ok(false) };
        let Some(tried) = &mut sharded.tried else { return Ok(false) };
        tried.insert(sharded.at);
        let all = sharded.shards.layout.sharding.all();
        let Some(next) = all.iter().find(|shard| !tried.contains(*shard)) else { return Ok(false) };
        self.hop(next).map(|()| true)
    }

    /// Goes back to the default shard.
    pub(super) fn hop_home(&mut self) -> Result<(), End> {
        let home = self.sharded().map(|sharded| sharded.shards.layout.sharding.default_shard());
        home.map_or(Ok(()), |home| self.hop(home))
    }

    /// Refuses a request, with which the transaction fails that has no server yet.
    fn fail_here(
        &mut self,
        request: &[u8],
        report: &Report,
        out: &mut Vec<u8>,
    ) -> Result<Placing, End> {
        self.client.ignore.failed = true;
        self.refuse_here(request, report, out).map(Placing::Answered)
    }

    /// Refuses requests without a server.
    fn refuse_here(
        &mut self,
        bytes: &[u8],
        report: &Report,
        out: &mut Vec<u8>,
    ) -> Result<usize, End> {
        let message_max = self.tenancy.terms.message_max;
        let Self { client, names, .. } = self;
        let used = client.ignore.refuse(bytes, message_max, names, report, out);
        self.note_refusals(Side::Pooler, report);
        Ok(used?)
    }
}

/// A request for several shards where its transaction has to be on one.
fn several() -> Box<Report> {
    refused(
        "a transaction is on one shard, and it is for several",
        "End the transaction first. Reads may come first in one with allow_fan_out_in_transactions.",
    )
}

/// A request that can't be seen whole.
pub(super) fn too_long() -> Box<Report> {
    refused(
        "a request that is longer than request_buffer_size",
        "Raise request_buffer_size, or send less before a Sync.",
    )
}
