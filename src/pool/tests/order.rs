//! Which member, which waiter, which loop.

use std::time::Duration;

use tokio::time::sleep;

use super::fake::{self, Bench, ask, lease, on, quiesce};
use crate::pool::quota::Tenant as _;
use crate::pool::state::SLACK;
use crate::pool::{Ask, Condition, Lease, Order};

/// Leases `count` members of loop `index`, so that they were opened in order.
async fn leases(bench: &Bench, index: u16, count: u64) -> Vec<Lease<fake::Connector>> {
    let mut held = Vec::new();
    for holder in 0..count {
        held.push(lease(&bench.pool, index, holder).await);
    }
    held
}

#[tokio::test(start_paused = true)]
async fn waiters_are_fifo() {
    struct Case {
        /// Loop of each waiter, and how long it comes after the one before.
        waiters: &'static [(u16, Duration)],
        /// The loop that members are checked in on.
        released_on: u16,
        /// The waiters in the order in which they are served.
        served: &'static [usize],
    }
    const NOW: Duration = Duration::ZERO;
    let above = SLACK + Duration::from_millis(1);
    let above: &'static [_] = Box::leak(Box::new([(1, NOW), (0, above), (0, NOW), (1, NOW)]));
    let within: &'static [_] = Box::leak(Box::new([(1, NOW), (0, SLACK), (0, NOW)]));
    let cases = [
        // Within a loop strictly.
        Case { waiters: &[(0, NOW), (0, NOW), (0, NOW)], released_on: 0, served: &[0, 1, 2] },
        // No waiters at home: the other loop's, in order.
        Case { waiters: &[(1, NOW), (1, NOW), (2, NOW)], released_on: 0, served: &[0, 1, 2] },
        // Within the slack the own loop comes first.
        Case { waiters: within, released_on: 0, served: &[1, 2, 0] },
        // Above it, who came first.
        Case { waiters: above, released_on: 0, served: &[0, 1, 2, 3] },
    ];
    for (number, case) in cases.iter().enumerate() {
        let bench = Bench::new(3, |s| s.size = 1);
        let mut held = lease(&bench.pool, case.released_on, 99).await;
        let mut waiting = Vec::new();
        for (holder, (index, after)) in case.waiters.iter().enumerate() {
            sleep(*after).await;
            let holder = u64::try_from(holder).unwrap();
            waiting.push(Some(bench.pool.wait(ask(*index, holder))));
        }
        for expected in case.served {
            held.check_in(on(case.released_on));
            let holder = bench.pool.longest_holder().unwrap().id;
            assert_eq!(holder, u64::try_from(*expected).unwrap(), "case {number}");
            held = waiting[*expected].take().unwrap().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn checkout_does_not_overtake() {
    let bench = Bench::new(2, |s| s.size = 1);
    let held = lease(&bench.pool, 0, 1).await;
    let first = bench.pool.wait(ask(0, 2));
    let second = bench.pool.wait(ask(0, 3));
    held.check_in(on(0));
    // The member is on its way to the first; the second still waits.
    assert!(bench.pool.try_checkout(&ask(0, 4)).unwrap().is_none());
    first.await.unwrap().check_in(on(0));
    assert!(second.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn idle_members_are_lent_in_the_order_that_is_set() {
    for (order, expected) in [(Order::LastIn, [2, 2, 2]), (Order::RoundRobin, [0, 1, 2])] {
        let bench = Bench::new(1, |s| s.order = order);
        let held = leases(&bench, 0, 3).await;
        let ids: Vec<_> = held.iter().map(Lease::member_id).collect();
        held.into_iter().for_each(|held| held.check_in(on(0)));
        for expected in expected {
            let held = lease(&bench.pool, 0, 9).await;
            assert_eq!(held.member_id(), ids[expected], "{order:?}");
            held.check_in(on(0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn affinity_decides_among_the_idle() {
    let bench = Bench::new(1, |_| {});
    let mut held = leases(&bench, 0, 4).await;
    held[1].tag = 7;
    let wanted = held[1].member_id();
    let last = held[3].member_id();
    held.into_iter().for_each(|held| held.check_in(on(0)));
    for (affinity, expected) in [(7, wanted), (0, last), (5, last)] {
        let ask = Ask { affinity, ..ask(0, 1) };
        let held = bench.pool.try_checkout(&ask).unwrap().unwrap();
        assert_eq!(held.member_id(), expected, "affinity {affinity}");
        // Back to its place in the order of use: the last one is used last again.
        held.check_in(on(0));
        if affinity == 7 {
            lease(&bench.pool, 0, 1).await.check_in(on(0));
            let others: Vec<_> = leases(&bench, 0, 4).await;
            let (mut last, rest): (Vec<_>, Vec<_>) =
                others.into_iter().partition(|held| held.member_id() == last);
            rest.into_iter().for_each(|held| held.check_in(on(0)));
            last.pop().unwrap().check_in(on(0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn own_loop_comes_before_another() {
    let bench = Bench::new(2, |_| {});
    let here = lease(&bench.pool, 0, 1).await;
    let there = lease(&bench.pool, 1, 2).await;
    let id = here.member_id();
    here.check_in(on(0));
    there.check_in(on(1));
    assert_eq!(lease(&bench.pool, 0, 3).await.member_id(), id);
    assert_eq!(bench.pool.snapshot().totals.moved, 0);
}

#[tokio::test(start_paused = true)]
async fn moves_die_out() {
    let bench = Bench::new(2, |s| s.size = 4);
    for turn in 0..1000_u16 {
        lease(&bench.pool, turn % 2, 1).await.check_in(on(turn % 2));
        quiesce().await;
        sleep(Duration::from_micros(100)).await;
    }
    let snapshot = bench.pool.snapshot();
    assert!(snapshot.totals.moved < 150, "{snapshot:?}");
    // One for each loop is enough.
    assert_eq!(snapshot.open(), 2, "{snapshot:?}");
    let before = snapshot.totals.moved;
    for turn in 0..100_u16 {
        lease(&bench.pool, turn % 2, 1).await.check_in(on(turn % 2));
    }
    assert_eq!(bench.pool.snapshot().totals.moved, before);
}

#[tokio::test(start_paused = true)]
async fn full_pool_goes_on_moving() {
    let bench = Bench::new(2, |s| s.size = 1);
    for turn in 0..100_u16 {
        lease(&bench.pool, turn % 2, 1).await.check_in(on(turn % 2));
        quiesce().await;
    }
    assert_eq!(bench.pool.snapshot().open(), 1);
    assert_eq!(bench.pool.snapshot().totals.moved, 99);
}

#[tokio::test(start_paused = true)]
async fn forced_hop_takes_another_member() {
    let bench = Bench::new(2, |s| {
        s.order = Order::ForceHop;
        s.size = 2;
    });
    let mut last_member = None;
    for turn in 0..20_u64 {
        let ask = Ask { last_member, ..ask(0, turn) };
        let held = fake::checkout(&bench.pool, ask).await.unwrap();
        assert_ne!(Some(held.member_id()), last_member);
        last_member = Some(held.member_id());
        held.check_in(on(0));
    }
    assert_eq!(bench.world.live(), 2);
}

#[tokio::test(start_paused = true)]
async fn forced_hop_waits_for_another_member() {
    let bench = Bench::new(1, |s| {
        s.order = Order::ForceHop;
        s.size = 2;
    });
    let held = lease(&bench.pool, 0, 1).await;
    let last_member = Some(held.member_id());
    // It waits before its last one is free again, and before another is there.
    let waiting = bench.pool.wait(Ask { last_member, ..ask(0, 1) });
    held.check_in(on(0));
    assert_ne!(Some(waiting.await.unwrap().member_id()), last_member);
}

#[tokio::test(start_paused = true)]
async fn forced_hop_has_another_opened_when_the_last_one_comes_back_from_its_reset() {
    let bench = Bench::new(1, |s| {
        s.order = Order::ForceHop;
        s.size = 2;
    });
    let mut held = lease(&bench.pool, 0, 1).await;
    held.condition = Condition::NeedsReset;
    let last_member = Some(held.member_id());
    held.check_in(on(0));
    // As long as that one is on its way, none is opened beside it.
    let waiting = bench.pool.wait(Ask { last_member, ..ask(0, 1) });
    let waiting = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert_ne!(Some(waiting.unwrap().unwrap().member_id()), last_member);
}

#[tokio::test(start_paused = true)]
async fn forced_hop_makes_do_with_the_last_one() {
    // One place in all, and then no place for a second one on the server.
    for (size, cap) in [(1, None), (2, Some(1))] {
        let bench = Bench::with_host(1, fake::host(cap, 1), |s| {
            s.order = Order::ForceHop;
            s.size = size;
        });
        let held = lease(&bench.pool, 0, 1).await;
        let last_member = Some(held.member_id());
        held.check_in(on(0));
        let held = fake::checkout(&bench.pool, Ask { last_member, ..ask(0, 1) }).await.unwrap();
        assert_eq!(Some(held.member_id()), last_member);
    }
}
