//! The first step of a request over several shards: each has a server, and has bound its part.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::answer::Answer;
use super::asked::{Asked, LIMITED};
use super::leg::Leg;
use super::work::{Kind, Work};
use super::{Under, Vain, changed, faulty};
use crate::session::routing::Course;
use crate::session::shards::refused;
use crate::session::{Session, report};
use crate::shard::ShardId;

/// A leg may take so long to get a server while others keep theirs for it.
const MOMENT: Duration = Duration::from_millis(50);
/// One that has a server may take so long until others keep theirs no longer for it: it may wait for a lock.
const WHILE: Duration = Duration::from_secs(1);
/// As good as never.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Session {
    /// Has a leg on each shard bind the statement, one after the other: two that need the same servers never wait
    /// for each other's. Nor does one keep servers while it waits for long: what is not to be had within a
    /// moment is waited for by itself, by one request at a time, and the others begin anew.
    pub(super) async fn bind_all(
        &mut self,
        asked: &Asked,
        work: &Work,
        under: &mut Under,
    ) -> Result<Option<Answer>, Vain> {
        let started = Instant::now();
        let deadline = self.tenancy.terms.query_wait_timeout.map(|limit| started + limit);
        let mut order: Vec<ShardId> = work.shards.iter().collect();
        let (mut at, mut answer, mut turn, mut moment) = (0, None, None, MOMENT);
        while let Some(shard) = order.get(at).copied() {
            if under.legs.len() == at {
                under.legs.push(self.begin_leg(asked, work, shard)?);
            }
            let soon = |wait| {
                let until = Instant::now() + wait;
                deadline.map_or(until, |deadline| until.min(deadline))
            };
            let has_server = |under: &Under| under.legs.get(at).is_some_and(Leg::has_server);
            let bound = match at {
                // It keeps nobody waiting.
                0 => self.bind_leg(under, at, deadline).await?,
                _ => {
                    self.bind_leg(under, at, Some(soon(moment))).await?
                        || has_server(under) && self.bind_leg(under, at, Some(soon(WHILE))).await?
                }
            };
            if !bound {
                let waits = under.legs.split_off(at);
                Under::put_away(under.legs.drain(..), &self.tenancy.house.cancels);
                under.legs = waits;
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    let what = format!("It waits for shard {}.", self.shard_name(shard));
                    let report = report::wait_timeout(started.elapsed(), what);
                    return Err(Vain::Refused(Box::new(report)));
                }
                if turn.is_none() && !under.legs.first().is_some_and(Leg::has_server) {
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
                None => answer = self.answer_of(asked, work, (leg, &under.parameters))?,
                Some(answer) => answer.fits(leg).map_err(faulty)?,
            }
            at += 1;
        }
        // Whatever was waited for first, the others are asked in the same order by all.
        under.legs.sort_by_key(|leg| leg.shard.0);
        Ok(answer)
    }

    /// The answer that begins with what the first leg has described.
    fn answer_of(
        &self,
        asked: &Asked,
        work: &Work,
        (first, parameters): (&Leg, &[u8]),
    ) -> Result<Option<Answer>, Vain> {
        let held_max = self.tenancy.terms.fan_out_max;
        let legs = usize::try_from(work.shards.len()).unwrap_or(usize::MAX);
        let made = match &work.kind {
            Kind::Reads(_) | Kind::Changes(_) if asked.limited && !first.columns.is_empty() => {
                return Err(Vain::Refused(refused(LIMITED, "Send the statement without it.")));
            }
            Kind::Reads(_) if first.columns.is_empty() => {
                return Err(Vain::Refused(refused("a statement that gives no rows", "")));
            }
            Kind::Reads(fan) => {
                let manner = self.manner_of_rows(self.orders(work.shards));
                let made = Answer::of_rows(asked, fan, legs, first, &manner);
                return made.map(Some).map_err(|fault| self.unordered(fault, work.shards));
            }
            Kind::Changes(joined) => {
                let described = if work.learns { parameters } else { &first.parameters };
                let described = (described, &*first.columns);
                Answer::of_change(asked, joined, legs, described, held_max)
            }
            Kind::Defines(_) | Kind::CopyIn => return Ok(None),
        };
        made.map(Some).map_err(faulty)
    }

    /// Asks one shard for what it says of the whole: the body of its ParameterDescription.
    pub(super) async fn learn_of_whole(
        &mut self,
        work: &mut Work,
        under: &mut Under,
    ) -> Result<Vec<u8>, Vain> {
        let first = work.shards.iter().next().ok_or_else(|| Vain::Refused(changed()))?;
        let mut leg = self.begin_plain(first, None)?;
        work.ask_for_whole(&mut leg);
        under.legs.push(leg);
        let parameters = self.body_of(under, 0, b't').await?;
        self.finish_leg(under, 0).await?;
        Under::put_away(under.legs.drain(..), &self.tenancy.house.cancels);
        work.declare(&parameters).ok_or_else(|| Vain::Refused(changed()))?;
        Ok(parameters)
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

    /// Begins a session on a shard, and asks it what comes first.
    pub(super) fn begin_leg(
        &mut self,
        asked: &Asked,
        work: &Work,
        shard: ShardId,
    ) -> Result<Leg, Vain> {
        let sharded = self.sharded();
        let course = self.course.as_deref().filter(|_| matches!(work.kind, Kind::Reads(_)));
        let part = course.map(|course| {
            let on = sharded.and_then(|sharded| sharded.reads_from(shard, course.seen()));
            course.part(on, work.primary)
        });
        let mut leg = self.begin_plain(shard, part)?;
        work.prepare(asked, &mut leg);
        Ok(leg)
    }

    /// Begins a session on a shard.
    fn begin_plain(&mut self, shard: ShardId, course: Option<Course>) -> Result<Leg, Vain> {
        let tenancy = self.sharded_mut().map(|sharded| sharded.tenancy(shard));
        let tenancy = tenancy.ok_or_else(|| Vain::Refused(changed()))?;
        Leg::begin(self, shard, tenancy, course).map_err(|error| {
            tracing::warn!(%error, "no connection within the process for a part of a request");
            Vain::Lost(shard)
        })
    }
}
