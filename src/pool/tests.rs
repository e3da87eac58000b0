//! One thread and a paused clock, but for `stress`.

mod failing;
mod fake;
mod hindrances;
mod order;
mod sharing;
mod steering;
mod stress;
mod timing;

use std::time::Duration;

use super::quota::Tenant as _;
use super::{Closed, Condition};
use fake::{Bench, lease, quiesce};

#[tokio::test(start_paused = true)]
async fn member_checked_in_is_lent_again() {
    let bench = Bench::new(2, |_| {});
    let first = lease(&bench.pool, 0, 1).await;
    let id = first.member_id();
    first.check_in(fake::on(0));
    let again = bench.pool.try_checkout(&fake::ask(0, 2)).unwrap().unwrap();
    assert_eq!(again.member_id(), id);
    assert_eq!((bench.world.live(), bench.pool.snapshot().active), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn dropped_lease_closes_server() {
    let bench = Bench::new(1, |_| {});
    let held = lease(&bench.pool, 0, 1).await;
    let id = held.member_id();
    drop(held);
    assert_eq!(bench.world.live(), 0);
    assert_eq!(bench.pool.snapshot().totals.closed(Closed::Dropped), 1);
    // Its place is free: another is opened in it.
    let next = lease(&bench.pool, 0, 2).await;
    assert_ne!(next.member_id(), id);
}

#[tokio::test(start_paused = true)]
async fn dropped_lease_lets_the_next_waiter_open() {
    let bench = Bench::new(1, |s| s.size = 1);
    let held = lease(&bench.pool, 0, 1).await;
    let waiting = bench.pool.wait(fake::ask(0, 2));
    drop(held);
    assert!(waiting.await.is_ok());
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn condition_at_check_in_decides() {
    struct Case {
        condition: Condition,
        reset_works: bool,
        live: usize,
        resets: u64,
        closed: Option<Closed>,
    }
    let cases = [
        Case { condition: Condition::Clean, reset_works: true, live: 1, resets: 0, closed: None },
        Case {
            condition: Condition::NeedsReset,
            reset_works: true,
            live: 1,
            resets: 1,
            closed: None,
        },
        Case {
            condition: Condition::NeedsReset,
            reset_works: false,
            live: 0,
            resets: 1,
            closed: Some(Closed::ResetFailed),
        },
        Case {
            condition: Condition::Broken,
            reset_works: true,
            live: 0,
            resets: 0,
            closed: Some(Closed::Broken),
        },
    ];
    for case in cases {
        let bench = Bench::new(1, |_| {});
        let mut held = lease(&bench.pool, 0, 1).await;
        held.condition = case.condition;
        held.reset_works = case.reset_works;
        held.check_in(fake::on(0));
        quiesce().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let snapshot = bench.pool.snapshot();
        assert_eq!(bench.world.live(), case.live, "{:?}", case.condition);
        assert_eq!(snapshot.totals.resets, case.resets, "{:?}", case.condition);
        let closed = case.closed.map_or(0, |why| snapshot.totals.closed(why));
        assert_eq!(closed, u64::from(case.closed.is_some()), "{:?}", case.condition);
        bench.check_books();
    }
}

#[tokio::test(start_paused = true)]
async fn waiter_gets_the_member_only_after_its_reset() {
    let bench = Bench::new(1, |s| s.size = 1);
    let mut held = lease(&bench.pool, 0, 1).await;
    held.condition = Condition::NeedsReset;
    let waiting = bench.pool.wait(fake::ask(0, 2));
    held.check_in(fake::on(0));
    assert_eq!(bench.pool.snapshot().tending, 1);
    assert_eq!(waiting.await.unwrap().condition, Condition::Clean);
}

#[tokio::test(start_paused = true)]
async fn member_that_died_while_idle_is_replaced_unseen() {
    let bench = Bench::new(2, |s| s.size = 3);
    let held = [lease(&bench.pool, 0, 1).await, lease(&bench.pool, 0, 2).await];
    held.into_iter().for_each(|held| held.check_in(fake::on(0)));
    bench.world.kill_all();
    // Both are found dead, one after the other; a third is opened.
    let next = lease(&bench.pool, 0, 3).await;
    assert!(next.alive());
    assert_eq!(bench.pool.snapshot().totals.closed(Closed::NotQuiet), 2);
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn members_that_died_while_idle_are_not_counted_for_long() {
    let bench = Bench::new(2, |s| {
        s.size = 3;
        s.idle_timeout = None;
    });
    let held = [lease(&bench.pool, 0, 1).await, lease(&bench.pool, 1, 2).await];
    held.into_iter().for_each(|held| held.check_in(fake::on(0)));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.pool.snapshot().idle, 2, "who is well stays");
    bench.world.kill_all();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let snapshot = bench.pool.snapshot();
    assert_eq!((snapshot.idle, snapshot.totals.closed(Closed::NotQuiet)), (0, 2));
    assert_eq!(bench.world.live(), 0);
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn member_that_died_on_its_way_leaves_the_waiter_in_front() {
    let bench = Bench::new(1, |s| s.size = 1);
    let held = lease(&bench.pool, 0, 1).await;
    let first = bench.pool.wait(fake::ask(0, 2));
    let second = bench.pool.wait(fake::ask(0, 3));
    held.check_in(fake::on(0));
    bench.world.kill_all();
    let (first, second) = (tokio::spawn(first), tokio::spawn(second));
    let lease = first.await.unwrap().unwrap();
    assert!(lease.alive() && !second.is_finished());
    lease.check_in(fake::on(0));
    assert!(second.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn member_that_does_not_survive_its_move_is_replaced() {
    let bench = Bench::new(2, |s| s.size = 1);
    let mut held = lease(&bench.pool, 0, 1).await;
    held.moves = false;
    held.check_in(fake::on(0));
    let other = lease(&bench.pool, 1, 2).await;
    assert!(other.alive());
    assert_eq!(bench.pool.snapshot().totals.closed(Closed::MoveFailed), 1);
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn wait_dropped_leaves_the_line() {
    let bench = Bench::new(1, |s| s.size = 1);
    let held = lease(&bench.pool, 0, 1).await;
    let first = bench.pool.wait(fake::ask(0, 2));
    let second = bench.pool.wait(fake::ask(0, 3));
    let third = bench.pool.wait(fake::ask(0, 4));
    drop(second);
    assert_eq!(bench.pool.snapshot().waiting, 2);
    first.time_out();
    held.check_in(fake::on(0));
    assert!(third.await.is_ok());
    let totals = bench.pool.snapshot().totals;
    assert_eq!((totals.abandoned, totals.timeouts), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn wait_dropped_after_the_hand_off_gives_the_member_on() {
    let bench = Bench::new(1, |s| s.size = 1);
    let held = lease(&bench.pool, 0, 1).await;
    let id = held.member_id();
    let first = bench.pool.wait(fake::ask(0, 2));
    let second = bench.pool.wait(fake::ask(0, 3));
    held.check_in(fake::on(0));
    assert_eq!(bench.pool.snapshot().waiting, 1);
    drop(first);
    let lease = second.await.unwrap();
    assert_eq!(lease.member_id(), id);
    drop(bench.pool.wait(fake::ask(0, 4)));
    lease.check_in(fake::on(0));
    bench.check_books();
    assert_eq!(bench.pool.snapshot().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn opening_that_finishes_late_idles() {
    let bench = Bench::new(1, |_| {});
    let waiting = bench.pool.wait(fake::ask(0, 1));
    quiesce().await;
    assert_eq!(bench.pool.snapshot().opening, 1);
    drop(waiting);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let snapshot = bench.pool.snapshot();
    assert_eq!((snapshot.opening, snapshot.idle), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_openings_than_waiters_and_logins() {
    let bench = Bench::with_host(1, fake::host(None, 3), |s| s.size = 10);
    let mut waits: Vec<_> = (0..2).map(|n| bench.pool.wait(fake::ask(0, n))).collect();
    quiesce().await;
    assert_eq!(bench.pool.snapshot().opening, 2);
    waits.extend((2..8).map(|n| bench.pool.wait(fake::ask(0, n))));
    quiesce().await;
    assert_eq!((bench.pool.snapshot().opening, bench.host.logins()), (3, 3));
    for wait in waits {
        std::mem::forget(wait.await.unwrap());
    }
    assert_eq!((bench.world.live(), bench.world.logins_max()), (8, 3));
}

#[tokio::test(start_paused = true)]
async fn longest_holder_and_oldest_wait_are_told() {
    let bench = Bench::new(1, |s| s.size = 2);
    let first = lease(&bench.pool, 0, 71).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let _second = lease(&bench.pool, 0, 72).await;
    let _waiting = bench.pool.wait(fake::ask(0, 73));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let snapshot = bench.pool.snapshot();
    assert_eq!(snapshot.oldest_wait, Some(Duration::from_secs(2)));
    let holder = bench.pool.longest_holder().unwrap();
    assert_eq!(holder.id, 71);
    assert!(holder.held >= Duration::from_secs(5));
    first.check_in(fake::on(0));
    assert_eq!(bench.pool.longest_holder().unwrap().id, 72);
}

#[tokio::test(start_paused = true)]
async fn closing_refuses_closes_and_ends_every_task() {
    let bench = Bench::new(2, |s| {
        s.size = 3;
        s.min = 3;
    });
    let held = lease(&bench.pool, 0, 1).await;
    let mut dirty = lease(&bench.pool, 1, 2).await;
    dirty.condition = Condition::NeedsReset;
    dirty.check_in(fake::on(1));
    lease(&bench.pool, 0, 3).await.check_in(fake::on(0));
    bench.pool.close().await;
    assert_eq!(bench.world.live(), 1, "only the lent one is left");
    assert!(bench.pool.try_checkout(&fake::ask(0, 4)).is_err());
    assert!(bench.pool.wait(fake::ask(0, 4)).await.is_err());
    held.check_in(fake::on(0));
    assert_eq!((bench.world.live(), bench.host.open(), bench.host.logins()), (0, 0, 0));
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn closing_fails_those_who_wait_and_stops_openings() {
    let bench = Bench::new(1, |s| s.size = 2);
    let _held = lease(&bench.pool, 0, 1).await;
    bench.world.hang();
    let waiting = bench.pool.wait(fake::ask(0, 2));
    quiesce().await;
    assert_eq!(bench.pool.snapshot().opening, 1);
    bench.pool.close().await;
    assert!(waiting.await.is_err());
    assert_eq!((bench.pool.snapshot().opening, bench.host.logins()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn dropped_pool_ends_its_tasks() {
    let bench = Bench::new(1, |s| s.min = 2);
    lease(&bench.pool, 0, 1).await.check_in(fake::on(0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.world.live(), 2);
    let Bench { pool, world, host } = bench;
    drop(pool);
    assert_eq!((world.live(), host.open()), (0, 0));
}
