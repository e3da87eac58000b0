//! The way of a session's requests to the primary or a replica: what is decided of each, and what
//! becomes of that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::budget::{Budget, Spent};
use super::flow::{Move, Stop};
use super::judge::{Judge, Judged, Request, Within};
use super::routing::{Aim, AtReplica, Last, Moving, Told};
use super::{Attached, End, Next, ServerPool, Session, Tenancy};
use crate::config::{OwnWrites, ReadRouting, TransactionRouting};
use crate::pool::{Connector, Lease};
use crate::route::{self, Reason, Role};
use crate::server::ledger::{Audience, Awaited};
use crate::server::params::Params;
use crate::server::receive::Fault;
use crate::server::reported::Reported;
use crate::sql::facts::Isolation;
use crate::topology::choice::Need;
use crate::traffic::{self, Span};
use crate::wire::request;

/// How long a request waits at most for replicas to be looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// What decides about the requests of a session; `None` where there are no replicas.
pub(super) fn judge<'a>(
    tenancy: &'a Tenancy,
    params: &Params,
    known: &Reported,
) -> Option<Judge<'a>> {
    tenancy.replicas.as_ref()?;
    let manner = params.manner();
    let terms = &tenancy.terms;
    let role = terms.server_user.as_deref().unwrap_or(&tenancy.login.user);
    let default = tenancy.catalog.manners(role);
    let says = |name, value: &[u8]| known.get(name).is_some_and(|said| said == value);
    Some(Judge {
        catalog: &tenancy.catalog,
        readings: &tenancy.house.readings,
        routing: terms.read_routing,
        session: route::Session {
            in_transaction: false,
            // What a replica reports of it may be its own.
            read_only: terms.read_only || manner.read_only.unwrap_or(default.read_only),
            // Those who have some keep their server.
            temporary: false,
            other_encoding: !says("client_encoding", b"UTF8"),
            wants: manner.role,
            isolation: match manner.isolation {
                Isolation::Default => default.isolation,
                isolation => isolation,
            },
            // Names that are not followed are known to one server alone.
            optimistic: terms.transaction_routing == TransactionRouting::Optimistic
                && terms.read_routing == ReadRouting::Auto
                && terms.follows_names(),
        },
        message_max: terms.message_max,
        followed_max: terms.followed_max(),
        part: false,
    })
}

/// Whether commits are flushed later than clients are told of them, where a session says nothing.
pub(super) fn lazy_by_default(tenancy: &Tenancy) -> bool {
    let replicas = tenancy.replicas.as_ref();
    replicas.is_some_and(|replicas| replicas.topology().flushing().lazy)
}

/// Whether commits of a session are flushed later than it is told of them.
pub(super) fn lazy(tenancy: &Tenancy, params: &Params) -> bool {
    params.manner().lazy.unwrap_or_else(|| lazy_by_default(tenancy))
}

/// The moment at which what the client is told of now is flushed.
pub(super) fn flushed(tenancy: &Tenancy, lazily: bool, now: Instant) -> Instant {
    match &tenancy.replicas {
        Some(replicas) if lazily => now + replicas.topology().flushing().within,
        _ => now,
    }
}

impl Session {
    /// Decides where the request runs that these bytes begin with, if there are replicas.
    fn aim_at(&mut self, request: &[u8]) {
        let Some(judge) = judge(&self.tenancy, &self.params, &self.known) else { return };
        let judge = Judge { part: self.is_part(), ..judge };
        let goes_on = |moving: &Moving| moving.to == Role::Primary;
        let moving = self.course.as_deref().and_then(|course| course.moving.as_ref());
        let judged = judge.request(request, &self.names, Within::Nothing);
        let asks_route = matches!(&judged, Judged::Whole(Request { asks_route: true, .. }));
        let mut reason = match judged {
            _ if moving.is_some_and(goes_on) => Reason::GoesOn,
            _ if self.ear.is_some() => Reason::Listens,
            Judged::Incomplete => Reason::NotWhole,
            Judged::Whole(Request { len, .. }) if len > self.tenancy.terms.request_max => {
                Reason::NotWhole
            }
            Judged::Whole(request) => request.reason.unwrap_or(Reason::Nothing),
        };
        let now = Instant::now();
        self.share_moment();
        let Some(replicas) = &self.tenancy.replicas else { return };
        let course = self.course.get_or_insert_default();
        if self.tenancy.terms.read_your_writes == OwnWrites::Off {
            course.forget_seen();
        }
        course.next(asks_route);
        (course.aim, course.pauses, course.wanted) = (Aim::Primary, false, None);
        (course.patience, course.heads_for) = (None, None);
        if course.has_given_up() {
            reason = Reason::Failed;
        }
        if reason.role() == Role::Replica {
            course.wanted = Some(reason);
            let need = course.need(&self.tenancy.terms, self.params.manner());
            match course.choose(replicas, &need, now) {
                Ok(chosen) => {
                    course.pauses = course.heads_for.is_some();
                    course.aim = Aim::Replica(chosen, need);
                }
                Err(why) => {
                    if why == Reason::NotFresh {
                        replicas.topology().want(now);
                        course.pause_if_due(self.tenancy.terms.replica_wait, now);
                    }
                    reason = why;
                }
            }
        }
        let host = match &course.aim {
            Aim::Primary => None,
            Aim::Replica(chosen, _) => Some(chosen.host),
        };
        course.last = Some(Last { reason, host });
    }

    /// Shares with others what they have to see of each other's writes, where nothing is judged:
    /// whatever runs may write.
    pub(super) fn share_unjudged(&mut self) -> bool {
        let terms = &self.tenancy.terms;
        let shares = self.tenancy.replicas.is_none()
            && match terms.read_your_writes {
                OwnWrites::Off => false,
                OwnWrites::Database => true,
                OwnWrites::Session => self.params.manner().token.is_some(),
            };
        if shares {
            self.share_moment();
        }
        shares
    }

    /// The client has another token: what it has written here counts for that, too.
    pub(super) fn share_anew(&mut self) {
        if self.tenancy.replicas.is_some() {
            self.share_moment();
        }
        let unjudged = self.share_unjudged();
        if let (Some(attached), Some(course)) = (&mut self.attached, &self.course) {
            attached.flow.placed.wrote |= unjudged;
            let placed = &attached.flow.placed;
            if placed.wrote {
                course.told(flushed(&self.tenancy, placed.lazy, Instant::now()));
            }
        }
    }

    /// Shares with others what they have to see of each other's writes.
    fn share_moment(&mut self) {
        let tenancy = &self.tenancy;
        let token = self.params.manner().token.as_deref();
        let writes = &tenancy.house.writes;
        let find = || match (tenancy.terms.read_your_writes, token) {
            (OwnWrites::Off, _) => None,
            (OwnWrites::Database, _) => Some(writes.of(&tenancy.login.database)),
            (OwnWrites::Session, Some(token)) => {
                Some(writes.of_token(&tenancy.login.database, token))
            }
            (OwnWrites::Session, None) => None,
        };
        self.course.get_or_insert_default().share(token, find);
    }

    /// Attaches a server if one is to be had at once for the request that these bytes begin with.
    pub(super) fn try_attach(&mut self, request: &[u8]) -> Result<Next, End> {
        self.renew();
        self.aim_at(request);
        // One who has to ask waits anyway.
        if self.tenancy.must_ask() {
            self.go_to_primary();
            return Ok(Next::Queue);
        }
        if self.course.as_deref().is_some_and(|course| course.pauses) {
            return Ok(Next::Queue);
        }
        let spent = match self.budget().map(Budget::try_spend) {
            Some(None) => return Ok(Next::Queue),
            Some(spent) => spent,
            None => None,
        };
        // An error is found again by the one who queues.
        let Ok(Some(lease)) = self.aimed_pool().try_checkout(&self.wish()) else {
            return Ok(Next::Queue);
        };
        if self.must_ask(&lease) {
            lease.check_in(self.on);
            return Ok(Next::Queue);
        }
        let role = self.aimed_role();
        self.spends(spent);
        match self.take(lease)? {
            None => {
                self.tenancy.times.add(self.on.index(), role, Span::Wait, 1, Duration::ZERO);
                Ok(Next::Attached)
            }
            Some(lease) => {
                lease.check_in(self.on);
                Ok(Next::Queue)
            }
        }
    }

    /// The budget that the request at hand needs a place in: it would run on a replica if there were
    /// one, or one that lags less.
    pub(super) fn budget(&self) -> Option<&Budget> {
        let course = self.course.as_deref().filter(|course| matches!(course.aim, Aim::Primary))?;
        let reason = course.last.as_ref()?.reason;
        let fails = matches!(reason, Reason::NoReplica | Reason::Lagging);
        self.tenancy.replicas.as_ref()?.budget().filter(|_| fails)
    }

    /// The request at hand has this place in the budget.
    pub(super) fn spends(&mut self, spent: Option<Spent>) {
        if let Some(course) = &mut self.course {
            course.spent = spent;
        }
    }

    /// The request runs on the primary after all.
    fn go_to_primary(&mut self) {
        if let Some(course) = &mut self.course {
            course.aim = Aim::Primary;
        }
    }

    /// Where the last request ran that could run anywhere, and why, for people.
    pub(super) fn last_route(&self) -> String {
        Told::of(self.tenancy.replicas.as_deref(), self.course.as_deref()).text(None, None)
    }

    /// Whether it is a part of a request over several shards.
    pub(super) fn is_part(&self) -> bool {
        self.course.as_deref().is_some_and(|course| course.part.is_some())
    }

    /// Whether the request at hand runs on the primary.
    pub(super) fn is_aimed_at_primary(&self) -> bool {
        let aim = self.course.as_deref().map(|course| &course.aim);
        matches!(aim, None | Some(Aim::Primary))
    }

    /// What its server is used as.
    pub(super) fn aimed_role(&self) -> traffic::Role {
        match self.is_aimed_at_primary() {
            true => traffic::Role::Primary,
            false => traffic::Role::Replica,
        }
    }

    /// The pool that the request at hand takes its server from.
    pub(super) fn aimed_pool(&self) -> Arc<ServerPool> {
        match self.course.as_deref().map(|course| &course.aim) {
            Some(Aim::Replica(chosen, _)) => Arc::clone(&chosen.pool),
            Some(Aim::Primary) | None => Arc::clone(&self.tenancy.pool),
        }
    }

    /// Attaches a server of the pool that was aimed at. One of a replica that is not known to be as
    /// fresh as needed comes back: the request runs on the primary, or there after a look.
    pub(super) fn take(
        &mut self,
        lease: Lease<Connector>,
    ) -> Result<Option<Lease<Connector>>, End> {
        let (mut at, mut failed) = (None, false);
        if let Some(course) = &mut self.course {
            if let Aim::Replica(chosen, need) = std::mem::take(&mut course.aim) {
                at = course.take(&chosen, &need, lease.created());
                if at.is_none() {
                    course.last = Some(Last { reason: Reason::NotFresh, host: None });
                    course.looks_again(chosen);
                    return Ok(Some(lease));
                }
            }
            failed = course.sent();
            if let Some(part) = &course.part {
                part.takes(at.as_ref().map(|at| at.host));
            }
            if let Some(last) = course.last {
                self.tenancy.decisions.count(last.reason);
            }
        }
        self.attach(lease, at)?;
        // What a replica has refused may be no read.
        if let Some(attached) = &mut self.attached {
            attached.flow.placed.wrote |= failed;
        }
        Ok(None)
    }

    /// There is no server to be had where the request was to run: whether it tries elsewhere.
    pub(super) fn tries_elsewhere(&mut self) -> bool {
        let Some(replicas) = &self.tenancy.replicas else { return false };
        let Some(course) = &mut self.course else { return false };
        let Aim::Replica(chosen, need) = std::mem::take(&mut course.aim) else { return false };
        course.tried(chosen.host);
        match course.choose(replicas, &need, Instant::now()) {
            Ok(next) => {
                course.last = course.last.map(|last| Last { host: Some(next.host), ..last });
                course.aim = Aim::Replica(next, need);
            }
            Err(reason) => course.last = Some(Last { reason, host: None }),
        }
        true
    }

    /// How fresh a replica has to be that it reads from, if it may read from any.
    pub(super) fn need(&self) -> Option<Need> {
        let course = self.course.as_deref()?;
        Some(course.need(&self.tenancy.terms, self.params.manner()))
    }

    /// Waits for a moment, so that a session that never pauses comes back to replicas.
    pub(super) async fn pause(&mut self) {
        let Some(replicas) = self.tenancy.replicas.clone() else { return };
        let Some(course) = self.course.as_deref_mut().filter(|course| course.pauses) else {
            return;
        };
        course.pauses = false;
        let patience = course.patience.unwrap_or(PAUSE);
        let looks = async {
            loop {
                let looked = replicas.topology().looked();
                replicas.topology().want(Instant::now());
                looked.await;
                let Some(course) = &mut self.course else { return };
                let need = course.need(&self.tenancy.terms, self.params.manner());
                let now = Instant::now();
                let chosen = match course.heads_for {
                    Some(_) => course.arrives(&need, now),
                    None => course.choose(&replicas, &need, now).ok(),
                };
                if let Some(chosen) = chosen {
                    let reason = course.wanted.unwrap_or(Reason::Reads);
                    course.last = Some(Last { reason, host: Some(chosen.host) });
                    course.aim = Aim::Replica(chosen, need);
                    return;
                }
            }
        };
        // In vain, it runs where it was aimed at.
        if timeout(patience, looks).await.is_err()
            && let Some(course) = &mut self.course
        {
            course.waited_in_vain(Instant::now());
        }
    }

    /// A replica has answered what only prepares. Where it has failed there is no Sync: it gets one of
    /// ours, and the primary is asked.
    pub(super) fn settle_prepared(&mut self) -> Result<(), End> {
        let Some(Attached { lease, flow, .. }) = self.attached.as_deref_mut() else {
            return Ok(());
        };
        if let Some(course) = &mut self.course
            && flow.placed.tentative.is_none()
            && lease.ledger.is_quiet()
        {
            // What was lost once has been answered.
            course.lost = false;
        }
        self.client.outbox.push(&flow.placed.prepared(&lease.ledger));
        if flow.placed.tentative.as_ref().is_some_and(|it| it.prepares && it.failed)
            && lease.ledger.is_skipping()
        {
            lease.ledger.sent(Awaited::Sync, Audience::Pooler).map_err(Fault::from)?;
            let mut sync = Vec::new();
            request::sync(&mut sync);
            lease.outbox.push(&sync);
            flow.stop = Some(Stop::Replies);
        }
        Ok(())
    }

    /// The client keeps its server: what it asks for runs there.
    pub(super) fn stays(&mut self) {
        let Some(attached) = self.attached.as_deref_mut() else { return };
        attached.flow.placed.stays = true;
        if attached.flow.stop == Some(Stop::Elsewhere) {
            // What is held is looked at again.
            attached.flow.stop = Some(Stop::Replies);
        }
    }

    /// Whether the transaction under way goes on elsewhere.
    pub(super) fn is_moving(&self) -> bool {
        match self.attached.as_deref() {
            Some(attached) => {
                attached.flow.placed.moves.is_some() && attached.lease.receiver.status() != b'I'
            }
            None => self.course.as_deref().is_some_and(|course| course.moving.is_some()),
        }
    }

    /// The transaction under way leaves its server, to be begun anew elsewhere, where that is so.
    pub(super) fn moves_on(&mut self, attached: &mut Attached) {
        let placed = &mut attached.flow.placed;
        let (Some(Move { to, acts }), Some(open)) = (placed.moves.take(), placed.open.take())
        else {
            return;
        };
        if attached.lease.receiver.status() == b'I' {
            return;
        }
        if let Some(reads) = open.reads.filter(|_| acts) {
            reads.led_to_writes(&self.tenancy.catalog);
        }
        if let Some(sharded) = self.sharded_mut().filter(|_| attached.flow.shard.moves) {
            sharded.holds_again();
        }
        let course = self.course.get_or_insert_default();
        course.moving = Some(Moving { begin: open.begin, to, clock: attached.clock.take() });
    }

    /// The server is left: what the session has seen of it counts from now on.
    pub(super) fn left(&mut self, attached: &Attached) {
        if let Some(course) = &mut self.course {
            let now = Instant::now();
            (course.lost, course.spent) = (false, None);
            match &attached.replica {
                Some(AtReplica { host, .. }) => course.was_on_replica(*host, now),
                // It has only begun there.
                None if matches!(
                    attached.flow.placed.moves,
                    Some(Move { to: Role::Replica, .. })
                ) => {}
                None => {
                    let placed = &attached.flow.placed;
                    let wrote = placed.wrote.then(|| flushed(&self.tenancy, placed.lazy, now));
                    let seen = flushed(&self.tenancy, lazy_by_default(&self.tenancy), now);
                    course.was_on_primary(wrote, seen);
                }
            }
        }
    }
}
