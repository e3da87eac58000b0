//! A request over several shards: each runs its part of it, in a [`Leg`], and the client gets one answer.
//!
//! Steps. First each shard is asked to parse and bind, one after the other ([`bind`]): nothing has run
//! anywhere when one of them refuses, or has no server to be had. Reads then execute on all of them at once;
//! changes of rows one after the other, in a transaction on each that is committed when all have run
//! ([`change`]). Rows are merged as they come. Nothing is read from a leg but what is needed next, so what is
//! held is bounded by a read and a message for each.
//!
//! What fails on one shard fails the request; what the others run is cancelled, and undone.

mod answer;
mod asked;
mod bind;
mod change;
mod copy;
mod counted;
mod define;
mod ended;
mod hear;
mod leg;
mod naming;
mod work;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;

use self::answer::{Answer, told};
use self::asked::Asked;
use self::counted::Counted;
use self::leg::{Leg, State};
use self::work::{Kind, Work};
use super::report::count_server;
use super::shards::{Sharded, refused};
use super::steering::{flushed, lazy, lazy_by_default};
use super::{End, Session};
use crate::cancel::Cancels;
use crate::catalog::Orders;
use crate::client::condition;
use crate::config::PoolMode;
use crate::shard::merge::{Fault, Manner, Merge, Step, Texts};
use crate::shard::{ShardId, ShardSet};
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
    /// Some shards have done it, and others have not.
    Partly(Box<Report>),
}

impl Vain {
    /// Whether a primary might not have said so, or be lost.
    fn may_be_of_replica(&self) -> bool {
        match self {
            Self::Said(_, error) => view::error_field(error, b'C') != Some(b"57014"),
            Self::Refused(report) => report.sqlstate == condition::SHARDS_DIFFER.sqlstate,
            Self::Lost(_) | Self::Otherwise(..) => true,
            Self::End(_) | Self::Cancelled | Self::Partly(_) => false,
        }
    }
}

impl From<End> for Vain {
    fn from(end: End) -> Self {
        Self::End(Box::new(end))
    }
}

/// So much is put together before the client is sent it.
const CHUNK: usize = 32 * 1024;

/// What is under way.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is about something else")]
struct Under {
    legs: Vec<Leg>,
    counted: Counted,
    /// All of them have bound the statement.
    bound: bool,
    /// Rows may have been changed.
    wrote: bool,
    /// What a shard has said of the parameters of the whole.
    parameters: Vec<u8>,
    /// The client has been asked for rows, and of the extended protocol: its Sync comes behind them.
    sync_follows: bool,
    /// So much of a message of the client's is still to come, in bytes.
    left: usize,
    /// The client has been asked for rows, and may send more.
    rows: bool,
    /// What the client is told before the first row, if there is no error before that.
    begin: Vec<u8>,
    /// It has been told that.
    shown: bool,
    out: Vec<u8>,
    /// Messages may have so many bytes.
    message_max: usize,
}

impl Under {
    /// What comes now is shown.
    fn show(&mut self) {
        self.shown = true;
        self.out.append(&mut self.begin);
    }

    /// Whether it has read from a replica, and nothing of that has been shown.
    fn is_unseen(&self) -> bool {
        !self.shown && self.legs.iter().any(|leg| leg.read_from().is_some())
    }

    /// Lets sessions of legs end.
    fn put_away(legs: impl IntoIterator<Item = Leg>, cancels: &Arc<Cancels>) {
        for leg in legs {
            tokio::spawn(leg.put_away(Arc::clone(cancels)));
        }
    }
}

impl Session {
    /// Runs the request that the client's inbox begins with, of so many bytes, on these shards.
    pub(super) async fn across(&mut self, len: usize, shards: ShardSet) -> Result<(), End> {
        let request: Box<[u8]> = self.client.inbox.held().get(..len).unwrap_or_default().into();
        self.client.inbox.join(&[], |_| Ok::<_, End>(len))?;
        self.seat.spread();
        let began = Instant::now();
        let message_max = self.tenancy.terms.fan_out_max;
        let mut under = Under { message_max, ..Under::default() };
        let ran = self.run_across(&request, shards, &mut under).await;
        drop(self.seat.leave());
        self.count_across(&under, &ran, began);
        self.was_across(&under);
        if under.bound {
            under.show();
        }
        let Under { legs, bound, sync_follows, left, rows, mut out, .. } = under;
        self.client.ignore.drop_bytes(left);
        if rows && !sync_follows {
            self.client.ignore.drop_rows();
        }
        let done = self.conclude(ran, &request, (bound, sync_follows), &mut out);
        Under::put_away(legs, &self.tenancy.house.cancels);
        poll_fn(|cx| Poll::Ready(self.client.send(cx, &out))).await?;
        done
    }

    /// What the session has written, and seen, on the shards counts from now on.
    fn was_across(&mut self, under: &Under) {
        let now = Instant::now();
        let tenancies = || under.legs.iter().map(|leg| &leg.tenancy);
        let seen = tenancies().map(|it| flushed(it, lazy_by_default(it), now));
        let wrote = tenancies().map(|it| flushed(it, lazy(it, &self.params), now));
        let (seen, wrote) = (seen.max().unwrap_or(now), wrote.max().unwrap_or(now));
        let Some(course) = &mut self.course else { return };
        course.was_on_primary(under.wrote.then_some(wrote), seen);
        if under.wrote {
            course.told(wrote);
        }
        if let Some(sharded) = &mut course.sharded {
            let hosts = under.legs.iter().filter_map(Leg::read_from);
            sharded.read_from(seen, hosts);
        }
    }

    /// Tells the client how it ended.
    fn conclude(
        &mut self,
        ran: Result<(), Vain>,
        request: &[u8],
        (bound, sync_follows): (bool, bool),
        out: &mut Vec<u8>,
    ) -> Result<(), End> {
        // As on a server, the unnamed statement goes where it would be replaced by what failed.
        let replaces = request.first() == Some(&b'P') && request.get(5) == Some(&0);
        if ran.is_err() && (request.starts_with(b"Q") || replaces && !bound) {
            self.names.drop_unnamed();
        }
        let report = match ran {
            Ok(()) => {
                if !sync_follows {
                    let holds = self.sharded().is_some_and(Sharded::holds);
                    out.extend_from_slice(&reply::ready(if holds { b'T' } else { b'I' }));
                }
                return Ok(());
            }
            Err(Vain::End(end)) => return Err(*end),
            Err(Vain::Said(_, error)) if is_of_grouping(&error, request) => *refused(
                "a name in GROUP BY that is one of a column and of another expression",
                "Write the table's name before it, or the expression itself.",
            ),
            Err(Vain::Said(shard, error)) => {
                count_server(&self.tenancy.house.errors, &error);
                told(&error, self.shard_name(shard), out);
                self.fails_over(request, sync_follows, out);
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
            Err(Vain::Refused(report) | Vain::Partly(report)) => *report,
        };
        self.note_error(Side::Pooler, &report);
        report.write(out);
        self.fails_over(request, sync_follows, out);
        Ok(())
    }

    /// A request has failed: what its Sync is behind, if that has not come, is dropped.
    fn fails_over(&mut self, request: &[u8], sync_follows: bool, out: &mut Vec<u8>) {
        // In a transaction that has no server yet, it fails that.
        self.client.ignore.failed = self.sharded().is_some_and(Sharded::holds);
        match request.last_chunk::<5>() {
            // A Flush. No other request ends so: there is a NUL at the end of a Query.
            _ if sync_follows => self.client.ignore.drop_to_sync(),
            Some([b'H', 0, 0, 0, 4]) => self.client.ignore.drop_to_sync(),
            _ => out.extend_from_slice(&reply::ready(self.client.ignore.rest())),
        }
    }

    fn shard_name(&self, shard: ShardId) -> &str {
        self.sharded().map_or("", |sharded| sharded.name(shard))
    }

    async fn run_across(
        &mut self,
        request: &[u8],
        shards: ShardSet,
        under: &mut Under,
    ) -> Result<(), Vain> {
        let asked = Asked::read(request, &self.names)
            .map_err(|what| Vain::Refused(refused(what, "Send the statement by itself.")))?;
        under.counted = Counted::of(&asked, self.tenancy.terms.tells_costs());
        self.may_name(&asked)?;
        let mut work = self.plan_across(&asked, shards)?;
        if self.tenancy.terms.mode == PoolMode::Statement && work.transacts() {
            let what = "a change over several shards where pool_mode is statement";
            return Err(Vain::Refused(refused(what, "Use pool_mode = \"transaction\".")));
        }
        // A client that does not read is not asked for more.
        self.send_across(under).await?;
        if let Some(mut splitting) = work.splitting.take() {
            self.copy(&asked, &work, &mut splitting, under).await?;
            self.take_names(&asked, &asked.names);
            return Ok(());
        }
        if let Kind::Defines(how) = work.kind {
            self.define(&asked, &work, how, under).await?;
            self.take_names(&asked, &asked.names);
            return Ok(());
        }
        if work.learns {
            let whole = self.learn_of_whole(&mut work, under).await?;
            under.parameters = whole;
        }
        let holds = self.sharded().is_some_and(Sharded::holds);
        work.primary |= holds || self.ear.is_some();
        let answer = loop {
            match self.run_bound(&asked, &work, under).await {
                // What a replica can't do is for the primaries, as long as nothing of it has been shown.
                Err(vain) if !work.primary && vain.may_be_of_replica() && under.is_unseen() => {
                    Under::put_away(under.legs.drain(..), &self.tenancy.house.cancels);
                    work.primary = true;
                }
                done => break done?,
            }
        };
        let (_, late) = asked.names.split_at_checked(asked.early).unwrap_or_default();
        let tag = answer.tag(under.legs.iter().map(|leg| &*leg.tag)).map_err(faulty)?;
        if work.changes() {
            self.commit(under).await?;
        }
        answer.finish(&tag, &mut under.out);
        self.take_names(&asked, late);
        Ok(())
    }

    /// Has all of them bind it, and run what they have bound.
    async fn run_bound(
        &mut self,
        asked: &Asked,
        work: &Work,
        under: &mut Under,
    ) -> Result<Answer, Vain> {
        let answer = self.bind_all(asked, work, under).await?;
        let mut answer = answer.ok_or_else(|| Vain::Refused(changed()))?;
        if !std::mem::replace(&mut under.bound, true) {
            let (early, _) = asked.names.split_at_checked(asked.early).unwrap_or_default();
            self.take_names(asked, early);
        }
        under.begin.clear();
        answer.begin(&mut under.begin);
        if work.changes() {
            under.show();
            self.change(under, &mut answer.merge).await?;
        } else {
            self.read(under, &mut answer.merge).await?;
            under.show();
        }
        Ok(answer)
    }

    /// Has all of them execute what they have bound, and puts their rows together.
    async fn read(&mut self, under: &mut Under, merge: &mut Merge) -> Result<(), Vain> {
        let mut execute = Vec::new();
        // LIMIT 0 needs none of them.
        let runs = merge.step().map_err(faulty)? != Step::Done;
        if runs {
            request::execute(&mut execute, b"");
        }
        request::sync(&mut execute);
        for leg in &mut under.legs {
            leg.ask(&execute, 1);
            leg.state = if runs { State::Runs } else { State::Ended };
        }
        self.merge(under, merge).await
    }

    /// What each shard is asked of it.
    fn plan_across(&self, asked: &Asked, shards: ShardSet) -> Result<Work, Vain> {
        let Some(sharded) = self.sharded() else { return Err(Vain::Refused(changed())) };
        let planner = sharded.planner(&self.tenancy, &self.params, &self.known);
        let terms = &self.tenancy.terms;
        let own = self.params.get(b"lock_timeout").is_some();
        let lock_timeout = terms.fan_out_lock_timeout.filter(|_| !own);
        Work::new(asked, shards, &planner, (terms.fan_out_max, lock_timeout))
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
    fn manner_of_rows(&self, orders: Orders) -> Manner {
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
        Fault::Apart => condition::COPIES_DIFFER,
        Fault::Differs => return Vain::Refused(Box::new(condition::SHARDS_DIFFER.report())),
        _ => return Vain::Refused(refused(fault, "")),
    };
    Vain::Refused(Box::new(condition.about(fault)))
}
