//! The books of one pool: idle members and lines of waiters per loop, seats, counts, and the rules
//! by which members change hands. Synchronous and without side effects: what must be dropped,
//! woken or done is returned, because all of it runs under the pool's lock.
//!
//! Invariants: `open` = idle + active + tending = seats in use. While somebody waits, no member is
//! idle that could be lent as it is (stale ones are being checked, see `stale_for_waiters`).

mod due;
mod find;
mod refuse;
mod steer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::member::Member;
use super::opening::Retry;
use super::place::{Place, Purpose};
use super::pool::Ask;
use super::quota::Quotas;
use super::settings::{PoolSettings, Prospect};
use super::snapshot::{Closed, Totals};
use super::waiters::{Line, Outcome, Turn, Waiters};
use crate::net::loops::LoopId;

/// A member goes to the waiter of another loop only if that one came earlier than the own loop's
/// by more than this. Moving costs some microseconds on both loops. Measured (`benches/pool.rs`, 64
/// tasks that yield, two loops, 20 members, per million checkouts): without slack 300,000 to
/// 480,000 moves and up to six times the CPU; 0.5 ms 7,000; 2 ms 3,000; 10 ms 1,000, but then
/// waiters of one loop stay behind those of the other by as much.
pub(super) const SLACK: Duration = Duration::from_millis(10);
/// A move adds two to a loop's strain, a checkout at home takes one away: above this, when more
/// than a third of the checkouts move, the loop gets a member of its own.
const STRAIN_MAX: u32 = 16;

/// A member, and what the pool knows about it.
pub(super) struct Entry<M> {
    // The member is dropped before its place: closed first, then given back.
    pub(super) member: M,
    pub(super) id: u64,
    pub(super) seat: usize,
    pub(super) expires: Option<Instant>,
    pub(super) generation: Generation,
    pub(super) place: Place,
}

/// Members of an earlier generation than their pool's are closed when they are free.
pub(super) type Generation = u64;

/// Why somebody gets no member.
pub(super) enum Refusal<E> {
    Connect(Arc<E>),
    Nowhere,
    Closed,
}

/// What was found for one who asks.
pub(super) enum Found<M> {
    Fresh(Entry<M>),
    /// Idle for so long that it must be checked first.
    Stale(Entry<M>),
    Nothing,
}

/// What is left to do once the lock is free.
pub(super) struct After<M> {
    pub(super) close: Option<Entry<M>>,
    pub(super) waker: Option<Waker>,
    pub(super) crowd: Vec<Waker>,
    pub(super) upkeep: bool,
    /// There is one member less.
    pub(super) fewer: bool,
}

impl<M> After<M> {
    pub(super) fn nothing() -> Self {
        Self { close: None, waker: None, crowd: Vec::new(), upkeep: false, fewer: false }
    }
}

/// What one who waits finds when it looks.
pub(super) enum Collected<M, E> {
    Pending,
    Handed(Entry<M>, Turn),
    Refused(Refusal<E>),
}

pub(super) struct State<M, E> {
    pub(super) settings: PoolSettings,
    pub(super) quotas: Arc<Quotas>,
    lanes: Vec<Lane<M>>,
    waiters: Waiters<M, E>,
    seats: Vec<Option<Seat>>,
    free_seats: Vec<usize>,
    next_id: u64,
    next_ticket: u64,
    pub(super) open: usize,
    pub(super) idle: usize,
    pub(super) active: usize,
    pub(super) tending: usize,
    pub(super) opening: usize,
    pub(super) waiting: usize,
    pub(super) retry: Retry<E>,
    /// The maintainer knows that more is wanted and waits for a place or for its hour.
    pub(super) parked: bool,
    /// When the maintainer will look by itself; `None` while it is looking.
    pub(super) upkeep_at: Option<Instant>,
    /// When idle members are to be looked at.
    look_at: Instant,
    pub(super) closed: bool,
    /// Nobody is lent a member; who asks waits.
    pub(super) paused: bool,
    pub(super) prospect: Prospect,
    pub(super) generation: Generation,
    /// Members of earlier generations that are being opened.
    obsolete_openings: usize,
    /// Members of earlier generations that are being reset or checked.
    obsolete_tending: usize,
    pub(super) totals: Totals,
}

/// What belongs to one loop.
struct Lane<M> {
    /// Least recently used in front.
    idle: VecDeque<Idle<M>>,
    line: Line,
    opening: usize,
    strain: u32,
}

struct Idle<M> {
    entry: Entry<M>,
    since: Instant,
}

/// A member that exists: who holds it, until when it lives.
struct Seat {
    /// Of the member.
    number: u64,
    holder: Option<(u64, Instant)>,
    expires: Option<Instant>,
    generation: Generation,
}

impl<M: Member, E> State<M, E> {
    pub(super) fn new(settings: PoolSettings, quotas: Arc<Quotas>, loops: usize) -> Self {
        let lane = || Lane { idle: VecDeque::new(), line: Line::EMPTY, opening: 0, strain: 0 };
        Self {
            settings,
            quotas,
            lanes: std::iter::repeat_with(lane).take(loops.max(1)).collect(),
            waiters: Waiters::new(),
            seats: Vec::new(),
            free_seats: Vec::new(),
            next_id: 1,
            next_ticket: 0,
            look_at: Instant::now(),
            open: 0,
            idle: 0,
            active: 0,
            tending: 0,
            opening: 0,
            waiting: 0,
            retry: Retry::default(),
            parked: false,
            upkeep_at: None,
            closed: false,
            paused: false,
            prospect: Prospect::Open,
            generation: 0,
            obsolete_openings: 0,
            obsolete_tending: 0,
            totals: Totals::default(),
        }
    }

    // --- members ---------------------------------------------------------------------------

    /// Enters a new member into the books; its place in life is for the caller to say.
    pub(super) fn enter(
        &mut self,
        member: M,
        place: Place,
        expires: Option<Instant>,
        generation: Generation,
    ) -> Entry<M> {
        let seat = Some(Seat { number: member.number(), holder: None, expires, generation });
        let index = match self.free_seats.pop() {
            Some(index) => index,
            None => {
                self.seats.push(None);
                self.seats.len() - 1
            }
        };
        if let Some(slot) = self.seats.get_mut(index) {
            *slot = seat;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.open += 1;
        self.totals.opened += 1;
        Entry { member, id, seat: index, expires, generation, place }
    }

    /// Strikes a member off the books. It was counted as neither idle nor active nor tending.
    pub(super) fn strike(&mut self, seat: usize, why: Closed, now: Instant) -> After<M> {
        if let Some(slot) = self.seats.get_mut(seat) {
            *slot = None;
        }
        self.free_seats.push(seat);
        self.open -= 1;
        self.totals.count_closed(why);
        After {
            crowd: self.refuse_if_hopeless(now),
            upkeep: self.waiting > 0 || self.open + self.opening < self.settings.min,
            fewer: true,
            ..After::nothing()
        }
    }

    /// The member in that seat is lent.
    pub(super) fn hold(&mut self, seat: usize, holder: u64, now: Instant) {
        if let Some(Some(seat)) = self.seats.get_mut(seat) {
            seat.holder = Some((holder, now));
        }
        self.active += 1;
        self.totals.checkouts += 1;
    }

    /// The member in that seat is lent no more.
    pub(super) fn let_go(&mut self, seat: usize) {
        if let Some(Some(seat)) = self.seats.get_mut(seat) {
            seat.holder = None;
        }
        self.active -= 1;
    }

    /// Finds a new use for a member that is free on loop `on`: the next waiter, the idle list, or
    /// the end.
    pub(super) fn give(
        &mut self,
        mut entry: Entry<M>,
        on: LoopId,
        now: Instant,
        who: usize,
    ) -> After<M> {
        let why = if let Some(why) = self.unwanted(&entry) {
            Some(why)
        } else if entry.expires.is_some_and(|at| at <= now) {
            Some(Closed::Lifetime)
        } else if let Some(quota) = self.quotas.claim(who, self.open, self.waiting) {
            entry.place.promise(quota);
            Some(Closed::Evicted)
        } else {
            None
        };
        if let Some(why) = why {
            let mut after = self.strike(entry.seat, why, now);
            entry.member.closes(why);
            after.close = Some(entry);
            return after;
        }
        let mut after = After::nothing();
        match self.next_waiter(on).filter(|(_, slot)| !self.hops(*slot, entry.id, now)) {
            Some((lane, slot)) => after.waker = self.hand(entry, lane, slot, now),
            None => {
                // What is left by somebody who hops: another is to be opened, or this one will do.
                after.upkeep = self.waiting > 0;
                let home = self.lane_of(entry.member.home());
                if let Some(lane) = self.lanes.get_mut(home) {
                    lane.idle.push_back(Idle { entry, since: now });
                    self.idle += 1;
                }
            }
        }
        after
    }

    /// The own loop's oldest waiter, unless another loop's is older by more than the slack.
    fn next_waiter(&self, on: LoopId) -> Option<(usize, u32)> {
        if self.waiting == 0 {
            return None;
        }
        let front = |lane: usize| {
            let slot = self.lanes.get(lane)?.line.first()?;
            Some((self.waiters.get(slot)?.turn.since, lane, slot))
        };
        let oldest = (0..self.lanes.len()).filter_map(front).min_by_key(|(since, ..)| *since)?;
        let own = front(self.lane_of(on)).filter(|own| own.0 <= oldest.0 + SLACK);
        let (_, lane, slot) = own.unwrap_or(oldest);
        Some((lane, slot))
    }

    fn hand(&mut self, entry: Entry<M>, lane: usize, slot: u32, now: Instant) -> Option<Waker> {
        self.leave_line(lane, slot);
        let seat = entry.seat;
        let waiter = self.waiters.get_mut(slot)?;
        let (holder, since) = (waiter.turn.ask.holder, waiter.turn.since);
        waiter.outcome = Outcome::Handed(entry);
        let waker = waiter.waker.take();
        self.hold(seat, holder, now);
        self.totals.waited += 1;
        self.totals.wait_time += now.saturating_duration_since(since);
        waker
    }

    // --- waiting ---------------------------------------------------------------------------

    /// A slot for one who has its answer already.
    pub(super) fn answered(&mut self, ask: Ask, now: Instant, outcome: Outcome<M, E>) -> u32 {
        self.waiters.insert(Turn { ask, ticket: 0, since: now }, outcome)
    }

    /// Puts one who asks at the end of its loop's line; whether the maintainer must look.
    pub(super) fn queue(&mut self, ask: Ask, now: Instant) -> (u32, bool) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let slot = self.line_up(Turn { ask, ticket, since: now });
        let total = self.open + self.opening;
        let wanted = self.waiting > self.coming();
        let reserve_at = now + self.settings.reserve_timeout;
        let reserve = self.settings.reserve > 0
            && total < self.settings.size.saturating_add(self.settings.reserve)
            && self.upkeep_at.is_none_or(|planned| reserve_at < planned);
        let asked = std::mem::take(&mut self.retry.halted);
        let open = wanted && total < self.settings.size && !self.parked;
        (slot, open || reserve || asked)
    }

    /// Puts back one whose member was dead, where it stood.
    pub(super) fn queue_again(&mut self, turn: Turn) -> u32 {
        self.line_up(turn)
    }

    fn line_up(&mut self, turn: Turn) -> u32 {
        let slot = self.waiters.insert(turn, Outcome::Queued);
        let lane = self.lane_of(turn.ask.on);
        if let Some(lane) = self.lanes.get_mut(lane) {
            self.waiters.link(&mut lane.line, slot);
            self.waiting += 1;
        }
        slot
    }

    fn leave_line(&mut self, lane: usize, slot: u32) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            self.waiters.unlink(&mut lane.line, slot);
            self.waiting -= 1;
        }
    }

    /// What has become of the wait in that slot; frees the slot unless it is still pending.
    pub(super) fn collect(&mut self, slot: u32, waker: &Waker) -> Collected<M, E> {
        match self.waiters.get_mut(slot) {
            Some(waiter) if matches!(waiter.outcome, Outcome::Queued) => {
                if !waiter.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
                    waiter.waker = Some(waker.clone());
                }
                Collected::Pending
            }
            _ => match self.waiters.remove(slot) {
                Some(mut waiter) => match std::mem::replace(&mut waiter.outcome, Outcome::Queued) {
                    Outcome::Handed(entry) => Collected::Handed(entry, waiter.turn),
                    Outcome::Refused(refusal) => Collected::Refused(refusal),
                    Outcome::Queued => Collected::Refused(Refusal::Closed),
                },
                None => Collected::Refused(Refusal::Closed),
            },
        }
    }

    /// Frees the slot of one who waits no longer; the member that it was just handed, if so.
    pub(super) fn abandon(&mut self, slot: u32) -> Option<Entry<M>> {
        let waiter = self.waiters.get(slot)?;
        if matches!(waiter.outcome, Outcome::Queued) {
            self.leave_line(self.lane_of(waiter.turn.ask.on), slot);
        }
        match self.waiters.remove(slot)?.outcome {
            Outcome::Handed(entry) => Some(entry),
            Outcome::Queued | Outcome::Refused(_) => None,
        }
    }

    // --- opening ---------------------------------------------------------------------------

    /// Whether a member should be opened now, for what, and on which loop.
    pub(super) fn wish(&self, now: Instant) -> Option<(LoopId, Purpose)> {
        if !self.may_open(now) {
            return None;
        }
        let total = self.open + self.opening;
        let reserve =
            if self.reserve_at().is_some_and(|at| at <= now) { self.settings.reserve } else { 0 };
        let lanes = || self.lanes.iter().enumerate();
        let on = |lane: usize| LoopId::new(u16::try_from(lane).unwrap_or(0));
        if self.waiting > self.coming() && total < self.settings.size.saturating_add(reserve) {
            let short = |lane: &Lane<M>| lane.line.len().saturating_sub(lane.opening);
            let (lane, _) = lanes().rev().max_by_key(|(_, lane)| short(lane))?;
            return Some((on(lane), Purpose::Waiter));
        }
        if total < self.settings.min.min(self.settings.size) {
            return Some((on(total % self.lanes.len()), Purpose::Refill));
        }
        if total < self.settings.size && self.opening == 0 {
            let (lane, _) = lanes().find(|(_, l)| l.strain > STRAIN_MAX)?;
            return Some((on(lane), Purpose::Spread));
        }
        None
    }

    /// Begins an opening on that loop, of a member of the generation that is given.
    pub(super) fn open_on(&mut self, on: LoopId) -> Generation {
        self.opening += 1;
        let lane = self.lane_of(on);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.opening += 1;
        }
        // One more may be what all of them lacked.
        self.forget_strain();
        self.generation
    }

    /// Ends an opening on that loop, whatever came of it.
    pub(super) fn opened_on(&mut self, on: LoopId, generation: Generation) {
        self.opening -= 1;
        self.obsolete_openings -= usize::from(generation != self.generation);
        let lane = self.lane_of(on);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.opening -= 1;
        }
    }

    /// A loop that can't get a member of its own for now is asked again after as many moves.
    pub(super) fn forget_strain(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.strain = 0);
    }

    /// A loop's lane; a loop that does not exist has the last one.
    fn lane_of(&self, on: LoopId) -> usize {
        on.index().min(self.lanes.len() - 1)
    }
}

impl<E> Clone for Refusal<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Connect(error) => Self::Connect(error.clone()),
            Self::Nowhere => Self::Nowhere,
            Self::Closed => Self::Closed,
        }
    }
}
