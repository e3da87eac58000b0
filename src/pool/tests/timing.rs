//! Reserve, minimum, lifetime, idling and checks after idling.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::fake::{self, Bench, CONNECT, TEND, ask, lease, on};
use crate::pool::Closed;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn minimum_is_opened_and_kept() {
    let bench = Bench::new(2, |s| {
        s.min = 3;
        s.idle_timeout = Some(SECOND * 10);
    });
    sleep(SECOND).await;
    assert_eq!(bench.pool.snapshot().idle, 3);
    lease(&bench.pool, 0, 1).await.discard(Closed::Requested);
    sleep(SECOND).await;
    assert_eq!(bench.pool.snapshot().idle, 3);
    sleep(SECOND * 60).await;
    let snapshot = bench.pool.snapshot();
    assert_eq!((snapshot.idle, snapshot.totals.opened), (3, 4), "idling closes none of them");
}

#[tokio::test(start_paused = true)]
async fn reserve_is_opened_after_its_timeout_and_closed_when_idle() {
    let bench = Bench::new(1, |s| {
        s.size = 2;
        s.reserve = 1;
        s.reserve_timeout = SECOND * 5;
    });
    let held = [lease(&bench.pool, 0, 1).await, lease(&bench.pool, 0, 2).await];
    let asked = Instant::now();
    let first = tokio::spawn(bench.pool.wait(ask(0, 3)));
    sleep(SECOND).await;
    let second = tokio::spawn(bench.pool.wait(ask(0, 4)));
    let extra = first.await.unwrap().unwrap();
    assert!(asked.elapsed() >= SECOND * 5 && asked.elapsed() < SECOND * 5 + CONNECT * 3);
    sleep(SECOND * 20).await;
    assert!(!second.is_finished(), "there is only one in reserve");
    held.into_iter().for_each(|held| held.check_in(on(0)));
    extra.check_in(on(0));
    drop(second.await.unwrap());
    assert_eq!(bench.world.live(), 2, "the reserve is used up by the dropped lease");
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn surplus_is_closed_after_the_reserve_timeout() {
    let bench = Bench::new(1, |s| {
        s.size = 1;
        s.reserve = 1;
    });
    let held = lease(&bench.pool, 0, 1).await;
    let extra = bench.pool.wait(ask(0, 2)).await.unwrap();
    held.check_in(on(0));
    extra.check_in(on(0));
    sleep(SECOND * 4).await;
    assert_eq!(bench.world.live(), 2);
    sleep(SECOND * 2).await;
    assert_eq!(bench.world.live(), 1);
    assert_eq!(bench.pool.snapshot().totals.closed(Closed::Surplus), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_members_are_closed_in_time() {
    let bench = Bench::new(1, |s| {
        s.idle_timeout = Some(SECOND * 30);
        s.min = 1;
    });
    let mut held = Vec::new();
    for holder in 0..3 {
        held.push(lease(&bench.pool, 0, holder).await);
    }
    sleep(SECOND * 100).await;
    held.into_iter().for_each(|held| held.check_in(on(0)));
    sleep(SECOND * 30 - Duration::from_millis(10)).await;
    assert_eq!(bench.world.live(), 3);
    sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.world.live(), 1, "all but the minimum, to 50 ms");
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn lifetime_ends_members_at_different_times() {
    let bench = Bench::new(1, |s| {
        s.lifetime = Some(SECOND * 1000);
        s.idle_timeout = None;
        s.check_delay = None;
    });
    let mut held = Vec::new();
    for holder in 0..20 {
        held.push(lease(&bench.pool, 0, holder).await);
    }
    let kept = held.pop().unwrap();
    held.into_iter().for_each(|held| held.check_in(on(0)));
    sleep(SECOND * 899).await;
    assert_eq!(bench.world.live(), 20);
    sleep(SECOND * 50).await;
    let live = bench.world.live();
    assert!((3..19).contains(&live), "{live} of 19 outlive half of the jitter");
    sleep(SECOND * 60).await;
    assert_eq!(bench.world.live(), 1, "a lent one is not closed");
    kept.check_in(on(0));
    assert_eq!(bench.world.live(), 0, "but when it is checked in");
    assert_eq!(bench.pool.snapshot().totals.closed(Closed::Lifetime), 20);
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn member_that_idled_is_checked_first() {
    let bench = Bench::new(2, |s| s.check_delay = Some(SECOND * 30));
    let held = lease(&bench.pool, 0, 1).await;
    let id = held.member_id();
    held.check_in(on(0));
    sleep(SECOND * 29).await;
    assert!(
        bench.pool.try_checkout(&ask(0, 1)).unwrap().map(|held| held.check_in(on(0))).is_some()
    );
    sleep(SECOND * 31).await;
    assert!(bench.pool.try_checkout(&ask(0, 1)).unwrap().is_none());
    let asked = Instant::now();
    let held = bench.pool.wait(ask(0, 1)).await.unwrap();
    assert_eq!(held.member_id(), id);
    assert!(asked.elapsed() <= TEND * 2);
    assert_eq!(bench.world.attempts(), 1, "nothing was opened beside it");
}

#[tokio::test(start_paused = true)]
async fn member_that_fails_its_check_is_replaced() {
    let bench = Bench::new(1, |s| s.size = 2);
    let held = [lease(&bench.pool, 0, 1).await, lease(&bench.pool, 0, 2).await];
    held.into_iter().for_each(|held| held.check_in(on(0)));
    sleep(SECOND * 60).await;
    bench.world.check_works.store(false, SeqCst);
    let held = fake::checkout(&bench.pool, ask(0, 3)).await.unwrap();
    assert!(held.alive());
    let totals = bench.pool.snapshot().totals;
    assert_eq!((totals.closed(Closed::CheckFailed), totals.opened), (2, 3));
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn crowd_after_idling_checks_what_is_there() {
    let bench = Bench::new(2, |s| s.size = 4);
    let mut held = Vec::new();
    for holder in 0..4 {
        held.push(lease(&bench.pool, u16::from(holder % 2 == 0), holder).await);
    }
    held.into_iter().for_each(|held| {
        let home = crate::pool::Member::home(&*held);
        held.check_in(home);
    });
    sleep(SECOND * 60).await;
    let waits: Vec<_> = (0..4).map(|n| bench.pool.wait(ask(0, n))).collect();
    assert_eq!(bench.pool.snapshot().tending, 4);
    for wait in waits {
        std::mem::forget(wait.await.unwrap());
    }
    assert_eq!(bench.world.attempts(), 4);
}
