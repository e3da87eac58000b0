//! The queued session: a request waits for a server, while its client may cancel it, leave, or
//! send more, and is told what it waits for.

use std::future::Future;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::budget::{Granted, Turn};
use super::parting::ask_for_code;
use super::shards::Sharded;
use super::{Client, End, ServerPool, Session, Tenancy, client_gone, report};
use crate::client::condition;
use crate::net::scratch;
use crate::pool::{CheckoutError, Connector, Lease, Limit, Snapshot};
use crate::server::ServerError;
use crate::server::connect::ConnectError;
use crate::traffic::{Figure, Role, Side, Span};
use crate::wire::reply::{Report, Severity};

/// How waiting came to an end.
enum Waited {
    Server(Result<Granted, CheckoutError<ConnectError>>),
    Cancelled,
    ClientGone,
    Alarm,
}

/// Why one who waited got no server.
enum Vain {
    NoServer(ConnectError),
    TooLong(Report),
    Nowhere,
    Cancelled,
}

impl Vain {
    /// Whose it is.
    fn side(&self) -> Side {
        match self {
            Self::NoServer(_) | Self::Nowhere => Side::Server,
            Self::TooLong(_) => Side::Pooler,
            Self::Cancelled => Side::Client,
        }
    }

    fn report(self, severity: Severity) -> Report {
        match self {
            Self::NoServer(error) => report::connect_failed(severity, &error),
            Self::TooLong(report) => Report { severity, ..report },
            Self::Nowhere => Report { severity, ..condition::NO_PRIMARY.report() },
            Self::Cancelled => Report { severity, ..condition::CANCELLED.report() },
        }
    }
}

/// A client's wait for the server of one request, or of its login: for one that can be had, used, and
/// is what was asked for, however many it has tried.
struct Wait {
    since: Instant,
    /// The last attempt, when it had come to an end: where, how long after the first began, and what it got.
    ended: Option<(Role, Duration, Got)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Got {
    Server,
    Nothing,
}

impl Wait {
    /// It begins.
    fn new() -> Self {
        Self { since: Instant::now(), ended: None }
    }
}

/// A client may send this much while its request waits, before it is not read any more.
const HELD_MAX: usize = 1024 * 1024;

impl Session {
    /// Waits for a server and attaches it, and passes the request on. `false` when the request
    /// was refused: the client has been told, and may send another.
    pub(super) async fn queue(&mut self) -> Result<bool, End> {
        let mut wait = Wait::new();
        let served = self.serve(&mut wait).await;
        self.count_wait(&wait);
        if !served? {
            return Ok(false);
        }
        if let Some(attached) = self.attached.as_deref_mut() {
            attached.meter.waited = wait.since.elapsed();
        }
        poll_fn(|cx| {
            Poll::Ready(scratch::with(|scratch| self.take_in(cx, &[], &mut scratch.output)))
        })
        .await?;
        Ok(true)
    }

    /// Waits until a server is attached that will do; `false` when the request was refused.
    async fn serve(&mut self, wait: &mut Wait) -> Result<bool, End> {
        let mut asks = self.tenancy.must_ask();
        self.pause().await;
        loop {
            let lease = match self.wait(wait).await? {
                Ok((lease, spent)) => {
                    self.spends(spent);
                    lease
                }
                Err(Vain::NoServer(_) | Vain::Nowhere) if self.tries_elsewhere() => continue,
                Err(Vain::NoServer(_) | Vain::Nowhere) if self.tries_another_shard()? => {
                    asks = self.tenancy.must_ask();
                    continue;
                }
                Err(vain) => {
                    let side = vain.side();
                    // One that no server has yet fails, as by any other error.
                    let holds = self.sharded().is_some_and(Sharded::holds);
                    if self.is_moving() && !holds {
                        // Were it only refused, what comes next would run outside of it.
                        return Err(End::NeverServed(vain.report(Severity::Fatal)));
                    }
                    if let Some(course) = &mut self.course {
                        course.refused();
                    }
                    self.client.ignore.failed = holds;
                    self.refuse(side, &vain.report(Severity::Error)).await?;
                    return Ok(false);
                }
            };
            let ask_now = asks && self.is_aimed_at_primary();
            let asking = if ask_now { self.tenancy.question() } else { None };
            // If that fails, somebody else may ask.
            asks = asks && !ask_now;
            let lease = match asking {
                None => Some(lease),
                Some(asking) => ask_for_code(lease, asking).await,
            };
            let Some(lease) = lease else { continue };
            let lease = match self.must_ask(&lease) {
                false => lease,
                true => match self.apply_on(lease).await {
                    Ok(Some(lease)) => lease,
                    // Nothing of the client's has been sent to it.
                    Ok(None) => {
                        self.tries_elsewhere();
                        continue;
                    }
                    Err(_) if self.tries_elsewhere() => continue,
                    Err(end) => return Err(end),
                },
            };
            match self.take(lease)? {
                None => return Ok(true),
                Some(lease) => {
                    lease.check_in(self.on);
                    self.pause().await;
                }
            }
        }
    }

    /// Counts a wait that is over, once.
    fn count_wait(&self, wait: &Wait) {
        let Some((role, took, got)) = wait.ended else { return };
        let (Tenancy { traffic, times, .. }, on) = (&*self.tenancy, self.on.index());
        // Who gave up has waited as well.
        times.add(on, role, Span::Wait, 1, took);
        if got == Got::Server {
            traffic.add_time(on, Figure::WaitTime, took);
        }
    }

    /// Waits for a server. The inner error is why there was none.
    async fn wait(&mut self, wait: &mut Wait) -> Result<Result<Granted, Vain>, End> {
        let (pool, role, started) = (self.aimed_pool(), self.aimed_role(), wait.since);
        let deadline = self.tenancy.terms.query_wait_timeout.map(|limit| started + limit);
        let mut notice = self.tenancy.terms.query_wait_notify.map(|after| started + after);
        self.seat.queue(&self.tenancy.login, pool.name().replica.as_ref(), started);
        let mut waiting = Turn::new(&pool, self.wish(), self.budget());
        let mut alarm = pin!(sleep_until(earlier(notice, deadline)));
        let waited = loop {
            let waited = poll_fn(|cx| self.poll_queued(cx, &mut waiting, alarm.as_mut())).await;
            match waited {
                Ok(Waited::Alarm) if deadline.is_some_and(|at| at <= Instant::now()) => {
                    let vain = match self.budget().filter(|_| waiting.is_for_budget()) {
                        Some(budget) => {
                            let crowd = format!(
                                "No replica is there, and fallback_percent leaves {} servers of the \
                                 primary's pool to reads, {} of them in use.",
                                budget.size(),
                                budget.used(),
                            );
                            Vain::TooLong(report::wait_timeout(started.elapsed(), crowd))
                        }
                        None => self.waited_in_vain(&pool, started),
                    };
                    waiting.time_out();
                    break Ok(Err(vain));
                }
                Ok(Waited::Alarm) => {
                    if notice.take().is_some() {
                        let mut out = Vec::new();
                        report::queued_notice(self.crowd(&pool)).write(&mut out);
                        self.client.outbox.push(&out);
                    }
                    alarm.as_mut().reset(earlier(None, deadline));
                }
                Ok(Waited::Server(Ok(lease))) => break Ok(Ok(lease)),
                Ok(Waited::Server(Err(CheckoutError::Connect(error)))) => {
                    break Ok(Err(Vain::NoServer(error)));
                }
                Ok(Waited::Server(Err(CheckoutError::Nowhere))) => break Ok(Err(Vain::Nowhere)),
                // A reload may have taken the replica away.
                Ok(Waited::Server(Err(CheckoutError::Closed))) if role == Role::Replica => {
                    break Ok(Err(Vain::Nowhere));
                }
                Ok(Waited::Server(Err(CheckoutError::Closed))) => break Err(self.dismissal()),
                Ok(Waited::Cancelled) => break Ok(Err(Vain::Cancelled)),
                Ok(Waited::ClientGone) => break Err(End::ClientGone),
                Err(end) => break Err(end),
            }
        };
        let got = if let Ok(Ok(_)) = &waited { Got::Server } else { Got::Nothing };
        wait.ended = Some((role, started.elapsed(), got));
        // Nothing is under way to a server that we never had.
        drop(self.seat.leave());
        waited
    }

    fn poll_queued(
        &mut self,
        cx: &mut Context<'_>,
        waiting: &mut Turn,
        alarm: Pin<&mut tokio::time::Sleep>,
    ) -> Poll<Result<Waited, End>> {
        if let Poll::Ready(result) = waiting.poll(cx) {
            return Poll::Ready(Ok(Waited::Server(result)));
        }
        self.may_wait()?;
        if self.seat.poll_cancelled(cx).is_ready() {
            return Poll::Ready(Ok(Waited::Cancelled));
        }
        if !self.client.meanwhile(cx)? {
            return Poll::Ready(Ok(Waited::ClientGone));
        }
        alarm.poll(cx).map(|()| Ok(Waited::Alarm))
    }

    /// Tells the client that its requests are refused.
    async fn refuse(&mut self, side: Side, report: &Report) -> Result<(), End> {
        let mut out = Vec::new();
        let mut inbox = std::mem::take(&mut self.client.inbox);
        let message_max = self.tenancy.terms.message_max;
        inbox.join(&[], |bytes| {
            let bytes = self.failed_with(bytes);
            let Self { client, names, .. } = self;
            client.ignore.refuse(bytes, message_max, names, report, &mut out)
        })?;
        self.client.inbox = inbox;
        self.note_refusals(side, report);
        poll_fn(|cx| Poll::Ready(self.client.send(cx, &out))).await
    }

    /// Has the settings of a client proven.
    pub(super) async fn prove(&mut self) -> Result<(), End> {
        let mut wait = Wait::new();
        let proven = self.prove_anywhere(&mut wait).await;
        self.count_wait(&wait);
        proven
    }

    async fn prove_anywhere(&mut self, wait: &mut Wait) -> Result<(), End> {
        self.hop_anywhere()?;
        while self.params.proven().is_none() {
            let lease = match self.wait_at_login(wait).await {
                Err(End::NoServer(_)) if self.tries_another_shard()? => continue,
                lease => lease?,
            };
            // A server that is lost proves nothing.
            if let Some(lease) = self.apply_on(lease).await? {
                lease.check_in(self.on);
            }
        }
        self.hop_home()
    }

    /// The first server of a client: there is no request yet that could be refused.
    async fn wait_at_login(&mut self, wait: &mut Wait) -> Result<Lease<Connector>, End> {
        let waited = self.wait(wait).await?;
        waited.map(|(lease, _)| lease).map_err(|vain| match vain {
            Vain::NoServer(error) => End::NoServer(error),
            vain => End::NeverServed(vain.report(Severity::Fatal)),
        })
    }

    /// Makes a server's settings the client's, and waits until they are; `None` when the server was
    /// lost with that.
    pub(super) async fn apply_on(
        &mut self,
        mut lease: Lease<Connector>,
    ) -> Result<Option<Lease<Connector>>, End> {
        let params = Arc::clone(&self.params);
        match lease.apply(&params).await {
            Ok(()) => Ok(Some(lease)),
            Err(ServerError::Refused(error)) => {
                lease.check_in(self.on);
                Err(End::Refused(error))
            }
            Err(ServerError::Fault(fault)) => Err(End::Server(fault)),
            Err(ServerError::Io(_) | ServerError::Closed) => {
                lease.site.doubt();
                Ok(None)
            }
            Err(ServerError::TimedOut) => {
                lease.site.doubt();
                Err(End::ServerGone)
            }
        }
    }

    /// Why one waited for too long: there is no server at all, or others have them.
    fn waited_in_vain(&self, pool: &ServerPool, started: Instant) -> Vain {
        let Snapshot { idle, active, tending, .. } = pool.snapshot();
        let limit = pool.hindrance().map(|hindrance| hindrance.limit);
        let is_for_server = limit != Some(Limit::Paused) && idle + active + tending == 0;
        match pool.last_error().filter(|_| is_for_server) {
            Some(error) => Vain::NoServer(error),
            None => {
                let (waited, crowd) = (started.elapsed(), self.crowd(pool));
                Vain::TooLong(report::wait_timeout_for(limit, waited, crowd))
            }
        }
    }

    /// Who else is in the pool, for those who wait.
    fn crowd(&self, pool: &ServerPool) -> String {
        let snapshot = pool.snapshot();
        let name = pool.name();
        let mut crowd = format!(
            "Pool \"{}\"/\"{}\": size {}, {} in use, {} being opened, {} clients waiting.",
            name.place(),
            name.user,
            pool.settings().size,
            snapshot.active,
            snapshot.opening,
            snapshot.waiting,
        );
        let hindrance = pool.hindrance();
        crowd += &hindrance.as_ref().map(report::hindrance).unwrap_or_default();
        if let Some(holder) = hindrance.and_then(|hindrance| hindrance.longest_holder()) {
            let cancels = &self.tenancy.house.cancels;
            let seat = u32::try_from(holder.id).ok().and_then(|pid| cancels.find(pid));
            let who = match seat {
                None => "a client that has left".to_owned(),
                // Whose it is, is for those who see to all databases.
                Some(seat) if seat.card().login.database != self.tenancy.login.database => {
                    format!("client {}, of another database", seat.pid())
                }
                Some(seat) => seat.to_string(),
            };
            crowd += &format!(" Held longest, for {:.1} s, by {who}.", holder.held.as_secs_f64());
        }
        crowd
    }
}

/// The earlier of two moments; far away where there is none.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
    a.into_iter().chain(b).min().unwrap_or_else(|| Instant::now() + FAR)
}

impl Client {
    /// Sends a client that waits for its request what there is for it, and reads what it sends behind that,
    /// up to a limit; `false` if it is gone.
    pub(super) fn meanwhile(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if !self.outbox.is_empty() {
            self.outbox.flush(&mut self.socket, cx).map_err(client_gone)?;
        }
        while self.inbox.len() < HELD_MAX {
            let read = scratch::with(|scratch| {
                let read = self.socket.poll_read(cx, &mut scratch.input);
                if let Poll::Ready(Ok(count)) = read {
                    self.inbox.hold(scratch.input.get(..count).unwrap_or_default());
                }
                read
            });
            match read {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Ok(false),
            }
        }
        Ok(true)
    }
}
