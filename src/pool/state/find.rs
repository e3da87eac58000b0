//! Which idle member one who asks gets.

use tokio::time::Instant;

use super::{Entry, Found, Idle, STRAIN_MAX, State};
use crate::net::loops::LoopId;
use crate::pool::member::Member;
use crate::pool::pool::Ask;
use crate::pool::settings::{Order, Prospect};

/// How many idle members are looked at for one whose affinity fits.
const AFFINITY_SCAN: usize = 8;

impl<M: Member, E> State<M, E> {
    /// Takes the idle member that suits best. Only when nobody waits.
    pub(in crate::pool) fn find(&mut self, ask: &Ask, now: Instant) -> Found<M> {
        // A paused pool has none.
        if self.idle == 0 {
            return Found::Nothing;
        }
        let own = self.lane_of(ask.on);
        let picked = match self.settings.order {
            Order::LastIn => self.pick_recent(own, ask.affinity, now),
            Order::RoundRobin => self.pick_in_turn(own),
            Order::ForceHop => self.pick_other(ask.last_member, now),
        };
        let Some((lane, index)) = picked else { return Found::Nothing };
        let Some(idle) = self.lanes.get_mut(lane).and_then(|lane| lane.idle.remove(index)) else {
            return Found::Nothing;
        };
        self.idle -= 1;
        let stale = self.is_stale(&idle, now);
        if stale { Found::Stale(idle.entry) } else { Found::Fresh(idle.entry) }
    }

    /// The most recently used of the own loop, one with that affinity first; then, for a fresh
    /// one, of the loop that has most.
    fn pick_recent(&self, own: usize, affinity: usize, now: Instant) -> Option<(usize, usize)> {
        let last = |lane: usize| {
            let idle = &self.lanes.get(lane)?.idle;
            Some((idle.len().checked_sub(1)?, idle.back()?))
        };
        if let Some((index, latest)) = last(own)
            && !self.is_stale(latest, now)
        {
            let mine = self.lanes.get(own)?.idle.iter().enumerate().rev().take(AFFINITY_SCAN);
            let fits = |(_, idle): &(usize, &Idle<M>)| {
                idle.entry.member.affinity() == affinity && !self.is_stale(idle, now)
            };
            return Some((own, mine.into_iter().find(fits).map_or(index, |(index, _)| index)));
        }
        let rich = (0..self.lanes.len()).filter(|lane| *lane != own);
        let fresh = rich.filter_map(|lane| Some((lane, last(lane)?)));
        let other = fresh
            .filter(|(_, (_, idle))| !self.is_stale(idle, now))
            .max_by_key(|(_, (index, _))| *index)
            .map(|(lane, (index, _))| (lane, index));
        let stale = || (0..self.lanes.len()).find_map(|lane| Some((lane, last(lane)?.0)));
        other.or_else(|| Some((own, last(own)?.0))).or_else(stale)
    }

    /// The least recently used, of the own loop first.
    fn pick_in_turn(&self, own: usize) -> Option<(usize, usize)> {
        let has = |lane: &usize| self.lanes.get(*lane).is_some_and(|lane| !lane.idle.is_empty());
        std::iter::once(own).chain(0..self.lanes.len()).find(has).map(|lane| (lane, 0))
    }

    /// The least recently used of all, but not `last` if another can be had or opened.
    fn pick_other(&self, last: Option<u64>, now: Instant) -> Option<(usize, usize)> {
        let all = self.lanes.iter().enumerate().flat_map(|(lane, l)| {
            l.idle.iter().enumerate().map(move |(index, idle)| (lane, index, idle))
        });
        let best = all.min_by_key(|(.., idle)| (Some(idle.entry.id) == last, idle.since))?;
        let same = Some(best.2.entry.id) == last;
        (!same || !self.another_comes(now)).then_some((best.0, best.1))
    }

    /// Whether the one in that slot waits for another member than this, which it had last.
    pub(super) fn hops(&self, slot: u32, id: u64, now: Instant) -> bool {
        let had = || self.waiters.get(slot).is_some_and(|it| it.turn.ask.last_member == Some(id));
        self.settings.order == Order::ForceHop && had() && self.another_comes(now)
    }

    /// Whether anything may be opened now, where there is room.
    pub(in crate::pool) fn may_open(&self, now: Instant) -> bool {
        let opens = !self.closed && !self.paused && self.prospect == Prospect::Open;
        opens && !self.retry.halted && !self.retry.is_pausing(now)
    }

    fn another_comes(&self, now: Instant) -> bool {
        let room = self.open + self.opening < self.settings.size;
        self.opening > 0 || room && !self.parked && self.may_open(now)
    }

    /// Takes an idle member to be checked for those who wait, unless enough are on their way.
    pub(in crate::pool) fn stale_for_waiters(&mut self) -> Option<Entry<M>> {
        if self.idle == 0 || self.waiting <= self.coming() {
            return None;
        }
        let lane = self.lanes.iter_mut().find(|lane| !lane.idle.is_empty())?;
        let idle = lane.idle.pop_back()?;
        self.idle -= 1;
        self.tending += 1;
        Some(idle.entry)
    }

    /// Notes whether a checkout was served at home.
    pub(in crate::pool) fn strain(&mut self, on: LoopId, moved: bool) {
        let lane = self.lane_of(on);
        self.totals.moved += u64::from(moved);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.strain = if moved { lane.strain + 2 } else { lane.strain.saturating_sub(1) };
        }
    }

    /// Whether this loop should get a member of its own.
    pub(in crate::pool) fn is_strained(&self, on: LoopId) -> bool {
        let room = self.open + self.opening < self.settings.size;
        room && self.lanes.get(self.lane_of(on)).is_some_and(|lane| lane.strain > STRAIN_MAX)
    }

    /// Idle members that have to be checked before they are lent.
    pub(in crate::pool) fn stale(&self, now: Instant) -> impl Iterator<Item = &Entry<M>> {
        let idle = self.lanes.iter().flat_map(|lane| &lane.idle);
        idle.filter(move |idle| self.is_stale(idle, now)).map(|idle| &idle.entry)
    }

    fn is_stale(&self, idle: &Idle<M>, now: Instant) -> bool {
        let idled = |delay| now.saturating_duration_since(idle.since) >= delay;
        self.settings.check_delay.is_some_and(idled)
    }
}
