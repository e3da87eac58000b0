//! A request over several shards: each runs its part of it, in a [`Leg`], and the client gets one answer.
//!
//! Two steps. First each shard is asked to parse and bind, one after the other: nothing has run anywhere when
//! one of them refuses, or has no server to be had. Then all of them execute at once, and their rows are merged as they come. Nothing is read
//! from a leg but what is needed next, so what is held is bounded by a read and a message for each.
//!
//! What fails on one shard fails the request; what the others run is cancelled.

mod answer;
mod asked;
mod hear;
mod leg;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use self::answer::{Answer, told};
use self::asked::{Asked, Naming};
use self::leg::{Leg, State};
use super::names::{NamesUndo, Unnamed};
use super::shards::{Demand, Doubt, refusal_of, refused};
use super::steering::{flushed, lazy_by_default};
use super::{End, Session, Tenancy, report};
use crate::cancel::Cancels;
use crate::catalog::Orders;
use crate::client::condition;
use crate::server::prepared::text_of;
use crate::shard::merge::{Fault, Manner, Step, Texts};
use crate::shard::{ShardId, ShardSet};
use crate::sql;
use crate::sql::facts::{Hint, facts};
use crate::sql::fan::Fan;
use crate::traffic::Side;
use crate::wire::reply::{self, Report};
use crate::wire::request;
use crate::wire::view;

/// Why a request over several shards came to nothing.
enum Vain {
    /// The session ends.
    End(Box<End>),
    /// The client cancelled it.
    Cancelled,
    /// A shard said no: the body of its error.
    Said(ShardId, Box<[u8]>),
    /// A shard's part of it was lost.
    Lost(ShardId),
    /// A shard has this otherwise than the client knows it.
    Otherwise(ShardId, Box<str>),
    /// We say no.
    Refused(Box<Report>),
}

impl From<End> for Vain {
    fn from(end: End) -> Self {
        Self::End(Box::new(end))
    }
}

/// A leg may take so long to get a server while others keep theirs for it.
const MOMENT: Duration = Duration::from_millis(50);
/// As good as never.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// So much is put together before the client is sent it.
const CHUNK: usize = 32 * 1024;
/// A client may send this much meanwhile, before it is not read any more.
const HELD_MAX: usize = 1024 * 1024;

/// What is under way.
#[derive(Default)]
struct Under {
    legs: Vec<Leg>,
    /// All of them have bound the statement.
    bound: bool,
    out: Vec<u8>,
    /// Messages may have so many bytes.
    message_max: usize,
}

impl Under {
    /// Lets sessions of legs end.
    fn put_away(legs: impl IntoIterator<Item = Leg>, cancels: &Arc<Cancels>) {
        for leg in legs {
            tokio::spawn(leg.put_away(Arc::clone(cancels)));
        }
    }
}

impl Session {
    /// Runs the request that the client's inbox begins with, of so many bytes, on all shards.
    pub(super) async fn across(&mut self, len: usize) -> Result<(), End> {
        let request: Box<[u8]> = self.client.inbox.held().get(..len).unwrap_or_default().into();
        self.client.inbox.join(&[], |_| Ok::<_, End>(len))?;
        self.seat.spread();
        let message_max = self.tenancy.terms.fan_out_max;
        let mut under = Under { message_max, ..Under::default() };
        let ran = self.run_across(&request, &mut under).await;
        drop(self.seat.leave());
        let now = Instant::now();
        let seen = flushed(&self.tenancy, lazy_by_default(&self.tenancy), now);
        if let Some(course) = &mut self.course {
            course.was_on_primary(None, seen);
        }
        let Under { legs, bound, mut out, .. } = under;
        let done = self.conclude(ran, &request, bound, &mut out);
        Under::put_away(legs, &self.tenancy.house.cancels);
        poll_fn(|cx| Poll::Ready(self.client.send(cx, &out))).await?;
        done
    }

    /// Tells the client how it ended.
    fn conclude(
        &mut self,
        ran: Result<(), Vain>,
        request: &[u8],
        bound: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), End> {
        // As on a server, the unnamed statement goes where it would be replaced by what failed.
        let replaces = request.first() == Some(&b'P') && request.get(5) == Some(&0);
        if ran.is_err() && (request.starts_with(b"Q") || replaces && !bound) {
            self.names.drop_unnamed();
        }
        let report = match ran {
            Ok(()) => {
                out.extend_from_slice(&reply::ready(b'I'));
                return Ok(());
            }
            Err(Vain::End(end)) => return Err(*end),
            Err(Vain::Said(_, error)) if is_of_grouping(&error, request) => *refused(
                "a name in GROUP BY that is one of a column and of another expression",
                "Write the table's name before it, or the expression itself.",
            ),
            Err(Vain::Said(shard, error)) => {
                told(&error, self.shard_name(shard), out);
                out.extend_from_slice(&reply::ready(b'I'));
                return Ok(());
            }
            Err(Vain::Cancelled) => condition::CANCELLED.report(),
            Err(Vain::Lost(shard)) => {
                let what = format!("shard {} closed the connection", self.shard_name(shard));
                condition::SHARD_LOST.about(what)
            }
            Err(Vain::Otherwise(shard, what)) => {
                let what = format!("shard {} has another {what}", self.shard_name(shard));
                *refused(what, "Set it alike on all shards, or in the client.")
            }
            Err(Vain::Refused(report)) => *report,
        };
        self.note_error(Side::Pooler, &report);
        report.write(out);
        out.extend_from_slice(&reply::ready(b'I'));
        Ok(())
    }

    fn shard_name(&self, shard: ShardId) -> &str {
        self.sharded().map_or("", |sharded| sharded.name(shard))
    }

    async fn run_across(&mut self, request: &[u8], under: &mut Under) -> Result<(), Vain> {
        let asked = Asked::read(request, &self.names)
            .map_err(|what| Vain::Refused(refused(what, "Send the statement by itself.")))?;
        self.is_free(&asked)?;
        let (fan, shards) = self.plan_across(request, &asked)?;
        let mut answer = self.bind_all(&asked, &fan, shards, under).await?;
        under.bound = true;
        self.take_names(&asked, |naming| matches!(naming, Naming::Stands(_)));
        answer.begin(&mut under.out);
        let mut execute = Vec::new();
        // LIMIT 0 needs none of them.
        let runs = answer.merge.step().map_err(faulty)? != Step::Done;
        if runs {
            request::execute(&mut execute, b"");
        }
        request::sync(&mut execute);
        for leg in &mut under.legs {
            leg.ask(&execute);
            leg.state = if runs { State::Runs } else { State::Ended };
        }
        self.merge(under, &mut answer.merge).await?;
        answer.finish(&mut under.out);
        self.take_names(&asked, |naming| matches!(naming, Naming::Freed(_)));
        for at in 0..under.legs.len() {
            self.finish_leg(under, at).await?;
        }
        Ok(())
    }

    /// Has a leg on each shard bind the statement, one after the other: two that need the same servers never wait
    /// for each other's. Nor does one keep servers while it waits for long: what is not to be had within a
    /// moment is waited for by itself, by one request at a time, and the others begin anew.
    async fn bind_all(
        &mut self,
        asked: &Asked,
        fan: &Fan,
        shards: ShardSet,
        under: &mut Under,
    ) -> Result<Answer, Vain> {
        let started = Instant::now();
        let deadline = self.tenancy.terms.query_wait_timeout.map(|limit| started + limit);
        let mut order: Vec<ShardId> = shards.iter().collect();
        let (mut at, mut answer, mut turn, mut moment) = (0, None, None, MOMENT);
        while let Some(shard) = order.get(at).copied() {
            if under.legs.len() == at {
                under.legs.push(self.begin_leg(asked, fan, shard)?);
            }
            let until = (at > 0).then(|| Instant::now() + moment).or(deadline);
            // With a server it waits for nothing that others keep.
            let bound = self.bind_leg(under, at, until).await?
                || under.legs.get(at).is_some_and(Leg::has_server)
                    && self.bind_leg(under, at, deadline).await?;
            if !bound {
                let waits = under.legs.split_off(at);
                Under::put_away(under.legs.drain(..), &self.tenancy.house.cancels);
                under.legs = waits;
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    let what = format!("It waits for shard {}.", self.shard_name(shard));
                    let report = report::wait_timeout(started.elapsed(), what);
                    return Err(Vain::Refused(Box::new(report)));
                }
                if turn.is_none() {
                    Under::put_away(under.legs.drain(..), &self.tenancy.house.cancels);
                    turn = Some(self.turn(deadline).await?);
                }
                // There is one alone that waits for longer each time.
                moment = moment.saturating_mul(2);
                order.rotate_left(at);
                (at, answer) = (0, None);
                continue;
            }
            let Some(leg) = under.legs.get(at) else { break };
            match &mut answer {
                None => {
                    let manner = self.manner_of_rows(self.orders(shards));
                    let made = Answer::new(asked, fan, order.len(), leg, &manner);
                    answer = Some(made.map_err(|fault| self.unordered(fault, shards))?);
                }
                Some(answer) => answer.fits(leg).map_err(faulty)?,
            }
            at += 1;
        }
        answer.ok_or_else(|| Vain::Refused(changed()))
    }

    /// Waits for its turn among the requests that some shard has had no server for; until then at most.
    async fn turn(&mut self, deadline: Option<Instant>) -> Result<OwnedSemaphorePermit, Vain> {
        let turns = self.sharded().map(|sharded| Arc::clone(&sharded.layout().turns));
        let turns = turns.ok_or_else(|| Vain::Refused(changed()))?;
        let started = Instant::now();
        let mut turn = pin!(turns.acquire_owned());
        let waited = poll_fn(|cx| {
            if let Err(vain) = self.poll_client(cx) {
                return Poll::Ready(Err(vain));
            }
            turn.as_mut().poll(cx).map(|turn| turn.map_err(|_closed| Vain::Refused(changed())))
        });
        let far = Instant::now() + FAR;
        match timeout_at(deadline.unwrap_or(far), waited).await {
            Ok(turn) => turn,
            Err(_elapsed) => {
                let what = "Other requests over several shards wait before it.".to_owned();
                let report = report::wait_timeout(started.elapsed(), what);
                Err(Vain::Refused(Box::new(report)))
            }
        }
    }

    fn begin_leg(&mut self, asked: &Asked, fan: &Fan, shard: ShardId) -> Result<Leg, Vain> {
        let tenancy = self.sharded_mut().map(|sharded| sharded.tenancy(shard));
        let tenancy = tenancy.ok_or_else(|| Vain::Refused(changed()))?;
        let begun = Leg::begin(self, shard, Arc::clone(&tenancy));
        let mut leg = begun.map_err(|error| {
            tracing::warn!(%error, "no connection within the process for a part of a request");
            Vain::Lost(shard)
        })?;
        leg.ask(&prepare(asked, fan, &tenancy));
        Ok(leg)
    }

    /// Whether the name that it gives to a statement is free.
    fn is_free(&self, asked: &Asked) -> Result<(), Vain> {
        let taken = asked.names.iter().find_map(|naming| match naming {
            Naming::Stands(name) if !name.is_empty() => self.names.get(name).map(|_| name),
            _ => None,
        });
        let Some(name) = taken else { return Ok(()) };
        let name = String::from_utf8_lossy(name);
        Err(Vain::Refused(Box::new(condition::NAME_TAKEN.about(name))))
    }

    /// What becomes of the statement, and the shards that it is for.
    fn plan_across(&self, request: &[u8], asked: &Asked) -> Result<(Fan, ShardSet), Vain> {
        let Some(sharded) = self.sharded() else { return Err(Vain::Refused(changed())) };
        let planner = sharded.planner(&self.tenancy, &self.params, &self.known);
        let found = planner.request(request, &self.names, Doubt::default());
        let demand = found.map_or_else(|| Err(changed()), |found| found.demand);
        let Demand::Parts(shards) = demand.map_err(Vain::Refused)? else {
            return Err(Vain::Refused(changed()));
        };
        let fan = sharded.layout().fan(text_of(&asked.identity), sharded.known().as_deref());
        fan.map(|fan| (fan, shards)).map_err(|why| Vain::Refused(refusal_of(&why)))
    }

    /// How these shards order values, as far as it is known of all.
    fn orders(&self, shards: ShardSet) -> Orders {
        let known = |shard| self.sharded().and_then(|sharded| sharded.known_of(shard));
        let orders = shards.iter().map(|shard| known(shard).map(|known| known.orders()));
        orders.map(Option::unwrap_or_default).reduce(Orders::and).unwrap_or_default()
    }

    /// Why rows can't be put together: that may hang on what is not known yet.
    fn unordered(&self, fault: Fault, shards: ShardSet) -> Vain {
        let is_unknown = |shard: &ShardId| {
            self.sharded().is_some_and(|sharded| sharded.known_of(*shard).is_none())
        };
        let unknown = match fault {
            Fault::Collation | Fault::NotTold(_) | Fault::InexactFloats => {
                shards.iter().find(is_unknown)
            }
            _ => None,
        };
        match unknown {
            None => faulty(fault),
            Some(shard) => {
                let report = condition::ORDERS_UNKNOWN.about(self.shard_name(shard));
                Vain::Refused(Box::new(report))
            }
        }
    }

    /// How values in its rows are written and ordered.
    fn manner_of_rows(&self, orders: Orders) -> Manner<'static> {
        let known = |name| self.known.get(name).unwrap_or_default();
        let as_stored = known("client_encoding") == known("server_encoding");
        let digits = self.params.get(b"extra_float_digits");
        let digits = digits.map(|digits| std::str::from_utf8(digits).unwrap_or_default().parse());
        Manner {
            texts: match orders {
                Orders { by_bytes: true, .. } => Texts::ByBytes,
                Orders { deterministic: true, .. } => Texts::Deterministic,
                _ => Texts::Unknown,
            },
            converts: !as_stored,
            iso_dates: known("DateStyle").starts_with(b"ISO"),
            exact_floats: match digits {
                None => orders.exact_floats,
                Some(digits) => digits.is_ok_and(|digits: i32| digits > 0),
            },
            enums: &|_| false,
            held_bytes_max: self.tenancy.terms.fan_out_max,
        }
    }
}

/// Whether an error is about what only we have asked: whether a name in GROUP BY is that of an item.
fn is_of_grouping(error: &[u8], request: &[u8]) -> bool {
    let has = |text: &[u8]| text.to_ascii_lowercase().windows(8).any(|part| part == b"grouping");
    view::error_field(error, b'C') == Some(b"42803")
        && view::error_field(error, b'M').is_some_and(has)
        && !has(request)
}

/// It is not what it was when it was sent here.
fn changed() -> Box<Report> {
    refused("a statement that was planned anew meanwhile", "Send it again.")
}

/// Why rows can't be put together, as the client is told.
fn faulty(fault: Fault) -> Vain {
    let condition = match &fault {
        Fault::NegativeLimit => condition::NEGATIVE_LIMIT,
        Fault::NegativeOffset => condition::NEGATIVE_OFFSET,
        Fault::OutOfRange(_) => condition::AGGREGATE_RANGE,
        Fault::TooLarge(_) => condition::FAN_OUT_BUFFER,
        Fault::Broken => condition::SHARD_LOST,
        Fault::Differs => return Vain::Refused(Box::new(condition::SHARDS_DIFFER.report())),
        _ => return Vain::Refused(refused(fault, "")),
    };
    Vain::Refused(Box::new(condition.about(fault)))
}

impl Session {
    /// What the request's messages have said of names counts now.
    fn take_names(&mut self, asked: &Asked, which: impl Fn(&Naming) -> bool) {
        for naming in asked.names.iter().filter(|naming| which(naming)) {
            match naming {
                Naming::Stands(name) if name.is_empty() => {
                    let unnamed = Unnamed::Elsewhere(Arc::from(&*asked.identity));
                    self.names.set_unnamed(&mut NamesUndo::default(), 0, unnamed);
                }
                Naming::Freed(name) if name.is_empty() => self.names.drop_unnamed(),
                Naming::Stands(name) => {
                    let (lookup, version) = (self.params.lookup(), self.tenancy.schema.version());
                    let effects = || sql::effects(text_of(&asked.identity));
                    let statements = &self.tenancy.house.statements;
                    let statement = statements.share(&asked.identity, lookup, version, effects);
                    self.names.prepare(&mut NamesUndo::default(), 0, name, statement);
                }
                Naming::Freed(name) => self.names.deallocate(Some(name)),
            }
        }
    }
}

/// What a shard is asked first: to prepare and bind its part.
fn prepare(asked: &Asked, fan: &Fan, tenancy: &Tenancy) -> Vec<u8> {
    let text = fan.text.as_bytes();
    let types = asked.identity.get(text_of(&asked.identity).len() + 1..).unwrap_or_default();
    let mut out = Vec::new();
    // What the client has written and seen is known to its own session, and not to this one.
    let hint: &[u8] = match &tenancy.replicas {
        Some(_) if facts(text).hint != Some(Hint::Replica) => b"\n/* pgweir: primary */",
        _ => b"",
    };
    reply::raw(&mut out, b'P', &[b"\0", text, hint, b"\0", types]);
    request::describe_statement(&mut out, b"");
    let formats = asked.formats(fan.extras);
    reply::raw(&mut out, b'B', &[b"\0\0", &asked.parameters, &formats]);
    reply::raw(&mut out, b'D', &[b"P\0"]);
    request::flush(&mut out);
    out
}
