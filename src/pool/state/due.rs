//! What time brings about: the reserve, idling, lifetimes; and what there is to tell at a moment.

use std::time::Duration;

use tokio::time::Instant;

use super::{After, Entry, State};
use crate::pool::member::Member;
use crate::pool::snapshot::{Closed, Holder, Snapshot};

/// How soon the reserve is looked at again when it was due but could not be used.
const RESERVE_AGAIN: Duration = Duration::from_millis(50);
/// How often idle members are looked at: one that is gone is not counted for longer.
const LOOK: Duration = Duration::from_secs(1);

impl<M: Member, E> State<M, E> {
    fn oldest_since(&self) -> Option<Instant> {
        let fronts = self.lanes.iter().filter_map(|lane| lane.line.first());
        fronts.filter_map(|slot| Some(self.waiters.get(slot)?.turn.since)).min()
    }

    /// When the reserve may be used.
    pub(in crate::pool) fn reserve_at(&self) -> Option<Instant> {
        let since = self.oldest_since().filter(|_| self.settings.reserve > 0)?;
        Some(since + self.settings.reserve_timeout)
    }

    /// Takes an idle member whose time is over. Counted as struck off already.
    pub(in crate::pool) fn take_overdue(&mut self, now: Instant) -> Option<(Entry<M>, After<M>)> {
        let mut oldest: Option<(Instant, usize, usize)> = None;
        let mut expired = None;
        for (lane, l) in self.lanes.iter().enumerate() {
            for (index, idle) in l.idle.iter().enumerate() {
                if idle.entry.expires.is_some_and(|at| at <= now) {
                    expired = Some((lane, index, Closed::Lifetime));
                }
                if oldest.is_none_or(|(since, ..)| idle.since < since) {
                    oldest = Some((idle.since, lane, index));
                }
            }
        }
        let due = expired.or_else(|| {
            let (since, lane, index) = oldest?;
            let (limit, why) = self.idle_limit()?;
            (since + limit <= now).then_some((lane, index, why))
        });
        let (lane, index, why) = due?;
        let mut idle = self.lanes.get_mut(lane)?.idle.remove(index)?;
        self.idle -= 1;
        idle.entry.member.closes(why);
        let after = self.strike(idle.entry.seat, why, now);
        Some((idle.entry, after))
    }

    /// Takes the idle members that have something to say, or are gone, if it is time for a look. Counted as
    /// struck off already.
    pub(in crate::pool) fn take_gone(&mut self, now: Instant) -> (Vec<Entry<M>>, After<M>) {
        let (mut gone, mut after) = (Vec::new(), After::nothing());
        if now < self.look_at {
            return (gone, after);
        }
        self.look_at = now + LOOK;
        for lane in &mut self.lanes {
            let mut at = 0;
            while let Some(idle) = lane.idle.get_mut(at) {
                match idle.entry.member.is_quiet() {
                    true => at += 1,
                    false => gone.extend(lane.idle.remove(at).map(|idle| idle.entry)),
                }
            }
        }
        self.idle -= gone.len();
        for entry in &mut gone {
            entry.member.closes(Closed::NotQuiet);
            let more = self.strike(entry.seat, Closed::NotQuiet, now);
            after.crowd.extend(more.crowd);
            after.fewer = true;
        }
        (gone, after)
    }

    /// Takes the idle member used least recently, to close it for another pool.
    pub(in crate::pool) fn take_oldest_idle(&mut self) -> Option<Entry<M>> {
        let fronts = self.lanes.iter().enumerate();
        let fronts = fronts.filter_map(|(lane, l)| Some((l.idle.front()?.since, lane)));
        let (_, lane) = fronts.min()?;
        let idle = self.lanes.get_mut(lane)?.idle.pop_front()?;
        self.idle -= 1;
        Some(idle.entry)
    }

    /// Takes every idle member.
    pub(in crate::pool) fn take_all_idle(&mut self) -> Vec<Entry<M>> {
        self.idle = 0;
        self.lanes.iter_mut().flat_map(|lane| lane.idle.drain(..)).map(|idle| idle.entry).collect()
    }

    /// How long a member may idle now.
    fn idle_limit(&self) -> Option<(Duration, Closed)> {
        let surplus = (self.open > self.settings.size)
            .then_some((self.settings.reserve_timeout, Closed::Surplus));
        let usual = self.settings.idle_timeout.filter(|_| self.open > self.settings.min);
        let usual = usual.map(|limit| (limit, Closed::IdleTimeout));
        [surplus, usual].into_iter().flatten().min_by_key(|(limit, _)| *limit)
    }

    /// When the maintainer must look again for what time brings about. A member that goes idle
    /// later than now is due later than `now` plus its limit, so that check-ins need not look.
    pub(in crate::pool) fn due(&self, now: Instant) -> Option<Instant> {
        let later = |at: &Instant| *at > now;
        let expiries = self.seats.iter().flatten().filter_map(|seat| seat.expires).filter(later);
        let sinces = self.lanes.iter().flat_map(|lane| lane.idle.iter().map(|idle| idle.since));
        let limit = self.idle_limit().map(|(limit, _)| limit);
        let idle = limit.map(|limit| sinces.min().map_or(now, |since| since.min(now)) + limit);
        let reserve = self.reserve_at().filter(|_| {
            self.open + self.opening < self.settings.size.saturating_add(self.settings.reserve)
        });
        // Parked, others rely on this hour, even if nobody waits at this moment.
        let wanted =
            self.parked || self.waiting > 0 || self.open + self.opening < self.settings.min;
        let retry = self.retry.at.filter(|_| wanted && !self.retry.halted);
        // Overdue, it waits for members that are on their way and may not come.
        let reserve = reserve.map(|at| if later(&at) { at } else { now + RESERVE_AGAIN });
        let look = (self.open + self.opening > 0).then_some(self.look_at);
        [expiries.min(), idle, reserve, retry.filter(later), look].into_iter().flatten().min()
    }

    pub(in crate::pool) fn holders(&self, now: Instant) -> impl Iterator<Item = Holder> {
        let held = self.seats.iter().flatten().filter_map(|seat| seat.holder);
        held.map(move |(id, since)| Holder { id, held: now.saturating_duration_since(since) })
    }

    /// Who has held a member for longest.
    pub(in crate::pool) fn longest_holder(&self, now: Instant) -> Option<Holder> {
        self.holders(now).max_by_key(|holder| holder.held)
    }

    pub(in crate::pool) fn snapshot(&self, now: Instant) -> Snapshot {
        let ago = |since: Instant| now.saturating_duration_since(since);
        Snapshot {
            idle: self.idle,
            stale: self.stale(now).count(),
            active: self.active,
            tending: self.tending,
            opening: self.opening,
            waiting: self.waiting,
            oldest_wait: self.oldest_since().map(ago),
            totals: self.totals.clone(),
        }
    }
}
