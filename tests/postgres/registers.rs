//! What is known of registers whose values only grow, and of those who write them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

type Writes = Vec<(Instant, Option<Instant>)>;

/// What is known of all registers.
#[derive(Default)]
pub struct World {
    /// Values and when each had been acknowledged, ascending.
    acknowledged: Mutex<HashMap<usize, Vec<(Instant, i64)>>>,
    /// Of each write to a register, when it was sent and when it was answered.
    writes: Mutex<HashMap<usize, Writes>>,
    /// The largest values that those with a token have written.
    by_token: Mutex<HashMap<(usize, usize), i64>>,
    pub violations: Mutex<Vec<String>>,
    pub reads: AtomicUsize,
    pub errors: AtomicUsize,
    /// How many changes of the primary have begun or ended: odd while one is under way.
    pub changes: AtomicUsize,
    /// How often a server has become the primary, or has been stopped as such: odd while there is none.
    pub reigns: AtomicUsize,
    /// The port of the primary.
    pub primary: AtomicU16,
    /// How many reads have found on the primary that a write was still under way.
    pub under_way: AtomicUsize,
    pub over: AtomicBool,
}

/// What a session has seen of a register.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    pub value: i64,
    /// On the server at this port.
    pub port: u16,
    /// When its read had begun and was over.
    pub began: Instant,
    pub ended: Instant,
    /// Under which primary it began.
    pub reign: usize,
}

/// A write that is under way.
pub struct Writing<'a> {
    world: &'a World,
    register: usize,
    number: usize,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut writes = self.world.writes.lock().unwrap();
        writes.get_mut(&self.register).unwrap()[self.number].1 = Some(Instant::now());
    }
}

impl World {
    pub fn writing(&self, register: usize) -> Writing<'_> {
        let mut writes = self.writes.lock().unwrap();
        let writes = writes.entry(register).or_default();
        writes.push((Instant::now(), None));
        Writing { world: self, register, number: writes.len() - 1 }
    }

    /// Whether a register has gone back only because its last write is under way: it was seen on a
    /// replica, and is not yet to be seen on the primary, whose backend has told nobody of it. Writes
    /// of a register wait for each other, so it is one at most.
    pub fn is_under_way(&self, register: usize, before: Sight, now: Sight) -> bool {
        let (primary, reign) =
            (self.primary.load(Ordering::Relaxed), self.reigns.load(Ordering::Relaxed));
        let writes = self.writes.lock().unwrap();
        let mut writes = writes.get(&register).into_iter().flatten();
        (before.port != primary && now.port == primary)
            && (reign.is_multiple_of(2) && before.reign == reign)
            && before.value == now.value + 1
            && self.at(register, now.began) <= now.value
            && writes.any(|(sent, answered)| {
                *sent < before.ended && answered.is_none_or(|answered| answered > now.began)
            })
    }

    /// This is the primary, if any is, from now on.
    pub fn has_primary(&self, port: Option<u16>) {
        self.primary.store(port.unwrap_or(0), Ordering::Relaxed);
        self.reigns.fetch_add(1, Ordering::Relaxed);
    }

    pub fn violated(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }

    pub fn wrote(&self, register: usize, token: usize, value: i64) {
        let now = Instant::now();
        let mut acknowledged = self.acknowledged.lock().unwrap();
        let values = acknowledged.entry(register).or_default();
        // Others may have been acknowledged before, and heard of later.
        let at = values.partition_point(|(_, other)| *other < value);
        values.insert(at, (now, value));
        let mut by_token = self.by_token.lock().unwrap();
        let last = by_token.entry((token, register)).or_default();
        *last = value.max(*last);
    }

    /// The largest value that had been acknowledged at a moment.
    pub fn at(&self, register: usize, moment: Instant) -> i64 {
        let acknowledged = self.acknowledged.lock().unwrap();
        let mut values = acknowledged.get(&register).into_iter().flatten().rev();
        values.find(|(at, _)| *at <= moment).map_or(0, |(_, value)| *value)
    }

    pub fn of_token(&self, register: usize, token: usize) -> i64 {
        self.by_token.lock().unwrap().get(&(token, register)).copied().unwrap_or_default()
    }
}

#[test]
fn only_what_is_under_way_is_let_pass() {
    let moment = Instant::now();
    let at = |millis: u64| moment + Duration::from_millis(millis);
    let sight = |value, port, began, reign| Sight {
        value,
        port,
        began: at(began),
        ended: at(began + 1),
        reign,
    };
    // Sent before the replica was read, and answered when: the primary is read at 10.
    for (answered, before, now, passes) in [
        (None, sight(7, 2, 5, 2), sight(6, 1, 10, 2), true),
        (Some(11), sight(7, 2, 5, 2), sight(6, 1, 10, 2), true),
        (Some(9), sight(7, 2, 5, 2), sight(6, 1, 10, 2), false),
        (None, sight(8, 2, 5, 2), sight(6, 1, 10, 2), false),
        (None, sight(7, 1, 5, 2), sight(6, 1, 10, 2), false),
        (None, sight(7, 2, 5, 2), sight(6, 3, 10, 2), false),
        (None, sight(7, 2, 5, 0), sight(6, 1, 10, 2), false),
        (None, sight(7, 2, 0, 2), sight(6, 1, 10, 2), false),
    ] {
        let world = World::default();
        world.primary.store(1, Ordering::Relaxed);
        world.reigns.store(2, Ordering::Relaxed);
        world.writes.lock().unwrap().insert(0, vec![(at(2), answered.map(at))]);
        if let Some(answered) = answered {
            world.acknowledged.lock().unwrap().insert(0, vec![(at(answered), 7)]);
        }
        assert_eq!(world.is_under_way(0, before, now), passes, "{answered:?} {before:?} {now:?}");
    }
    // What has been acknowledged is not under way, also where another write is.
    let world = World::default();
    world.primary.store(1, Ordering::Relaxed);
    world.writes.lock().unwrap().insert(0, vec![(at(2), None)]);
    world.acknowledged.lock().unwrap().insert(0, vec![(at(3), 7)]);
    assert!(!world.is_under_way(0, sight(7, 2, 5, 0), sight(6, 1, 10, 0)));
}
