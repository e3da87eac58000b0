//! Servers that are down, starting, full, or of another mind about the password.

use std::time::Duration;

use futures_like::all;
use tokio::time::{Instant, sleep, timeout};

use super::fake::{self, Bench, ask, lease, on, quiesce};
use crate::pool::{CheckoutError, Closed, Order, Verdict};

mod futures_like {
    /// Awaits all, in order.
    pub(super) async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
        let mut outputs = Vec::new();
        for future in futures {
            outputs.push(future.await);
        }
        outputs
    }
}

fn refused<T>(outcome: &Result<T, CheckoutError<fake::Refused>>) -> Option<Verdict> {
    match outcome {
        Err(CheckoutError::Connect(error)) => Some(error.0),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn all_waiters_learn_the_true_error_at_once() {
    for verdict in [Verdict::Unreachable, Verdict::Rejected, Verdict::Full] {
        let bench = Bench::new(2, |_| {});
        bench.world.always(Some(verdict));
        let started = Instant::now();
        let waits = (0..50).map(|n| bench.pool.wait(ask(u16::from(n % 2 == 1), n))).collect();
        for outcome in all(waits).await {
            assert_eq!(refused(&outcome), Some(verdict));
        }
        assert!(started.elapsed() < Duration::from_millis(30), "{verdict:?}");
        // The pauses grow until they are not waited for.
        for _ in 0..5 {
            assert_eq!(refused(&fake::checkout(&bench.pool, ask(0, 1)).await), Some(verdict));
        }
        // Then new ones are told at once.
        let outcome = bench.pool.try_checkout(&ask(0, 1));
        assert_eq!(refused(&outcome), Some(verdict));
        assert_eq!(bench.pool.last_error().unwrap().0, verdict);
        bench.check_books();
    }
}

#[tokio::test(start_paused = true)]
async fn server_that_comes_back_is_found_at_the_next_ask() {
    let bench = Bench::new(1, |_| {});
    bench.world.next(&[Verdict::Unreachable]);
    assert!(bench.pool.wait(ask(0, 1)).await.is_err());
    sleep(Duration::from_millis(60)).await;
    assert_eq!(bench.world.attempts(), 1, "nobody asks, nobody tries");
    assert!(fake::checkout(&bench.pool, ask(0, 1)).await.is_ok());
    assert!(bench.pool.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn ask_just_after_a_failure_waits_for_the_next_attempt() {
    for verdict in [Verdict::Unreachable, Verdict::Rejected] {
        let bench = Bench::new(1, |_| {});
        bench.world.next(&[verdict]);
        assert_eq!(refused(&fake::checkout(&bench.pool, ask(0, 1)).await), Some(verdict));
        // What was missing is there by now, so the old answer is no longer true.
        let asked = Instant::now();
        assert!(fake::checkout(&bench.pool, ask(0, 2)).await.is_ok(), "{verdict:?}");
        assert!(asked.elapsed() < Duration::from_millis(65), "{:?}", asked.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn ask_during_the_pause_with_members_open_is_served_after_it() {
    let bench = Bench::new(1, |s| s.size = 3);
    let _held = lease(&bench.pool, 0, 1).await;
    bench.world.next(&[Verdict::Unreachable, Verdict::Unreachable]);
    let started = Instant::now();
    let waiting = bench.pool.wait(ask(0, 2));
    assert!(waiting.await.is_ok(), "a member is open: not hopeless");
    // Two failures, pauses of 25-50 and 50-100 ms.
    let took = started.elapsed();
    assert!(took > Duration::from_millis(100) && took < Duration::from_millis(185), "{took:?}");
    assert_eq!(bench.world.attempts(), 4);
}

#[tokio::test(start_paused = true)]
async fn waiter_after_an_idle_pause_is_served() {
    // The pause is over when nobody waits; who comes then must still wake the maintainer.
    let bench = Bench::new(1, |s| s.size = 3);
    let _held = lease(&bench.pool, 0, 1).await;
    bench.world.next(&[Verdict::Unreachable]);
    let waiting = bench.pool.wait(ask(0, 2));
    sleep(Duration::from_millis(12)).await;
    drop(waiting);
    sleep(Duration::from_secs(5)).await;
    let outcome = timeout(Duration::from_secs(1), bench.pool.wait(ask(0, 3))).await;
    assert!(outcome.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn failure_that_nobody_has_waited_for_refuses_nobody() {
    let bench = Bench::new(1, |s| s.size = 2);
    let held = lease(&bench.pool, 0, 1).await;
    // A second member is wanted, and no more when the first is back; the server is restarted meanwhile.
    bench.world.next(&[Verdict::Unreachable]);
    let waiting = bench.pool.wait(ask(0, 2));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.pool.snapshot().opening, 1);
    held.check_in(on(0));
    let served = waiting.await.unwrap();
    sleep(Duration::from_millis(12)).await;
    assert_eq!(bench.pool.snapshot().opening, 0);
    served.discard(Closed::ServerGone);
    let asked = Instant::now();
    assert!(fake::checkout(&bench.pool, ask(0, 3)).await.is_ok());
    assert!(asked.elapsed() < Duration::from_millis(65), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_the_ceiling() {
    let bench = Bench::new(1, |s| s.login_retry = Duration::from_secs(2));
    let held = lease(&bench.pool, 0, 1).await;
    bench.world.always(Some(Verdict::Unreachable));
    let waiting = bench.pool.wait(ask(0, 2));
    sleep(Duration::from_secs(60)).await;
    let attempts = bench.world.attempts();
    // Six to grow, then one in one to two seconds.
    assert!((34..=70).contains(&attempts), "{attempts}");
    held.check_in(on(0));
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn last_member_lost_while_the_server_is_down_fails_the_waiters() {
    let bench = Bench::new(1, |s| s.size = 2);
    let held = lease(&bench.pool, 0, 1).await;
    bench.world.always(Some(Verdict::Unreachable));
    let waiting = bench.pool.wait(ask(0, 2));
    sleep(Duration::from_millis(12)).await;
    let died = Instant::now();
    held.discard(Closed::ServerGone);
    assert_eq!(refused(&waiting.await), Some(Verdict::Unreachable));
    assert!(died.elapsed() < Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn rejected_is_not_tried_again_by_itself() {
    let bench = Bench::new(1, |s| s.min = 2);
    bench.world.always(Some(Verdict::Rejected));
    assert!(bench.pool.wait(ask(0, 1)).await.is_err());
    sleep(Duration::from_secs(300)).await;
    let attempts = bench.world.attempts();
    assert!(attempts <= 2, "{attempts}");
    assert!(fake::checkout(&bench.pool, ask(0, 1)).await.is_err());
    assert!(bench.world.attempts() > attempts, "a new ask tries again");
    bench.world.always(None);
    sleep(Duration::from_secs(1)).await;
    assert!(fake::checkout(&bench.pool, ask(0, 1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn starting_server_is_waited_for() {
    let bench = Bench::new(1, |_| {});
    bench.world.always(Some(Verdict::StartingUp));
    let waiting = tokio::spawn(bench.pool.wait(ask(0, 1)));
    sleep(Duration::from_millis(1050)).await;
    let attempts = bench.world.attempts();
    // Each takes 10 ms and a pause of 100.
    assert!((9..=10).contains(&attempts), "{attempts}");
    assert!(!waiting.is_finished());
    assert!(bench.pool.try_checkout(&ask(0, 2)).unwrap().is_none());
    bench.world.always(None);
    let back = Instant::now();
    assert!(waiting.await.unwrap().is_ok());
    assert!(back.elapsed() <= Duration::from_millis(120));
}

#[tokio::test(start_paused = true)]
async fn full_is_not_dead() {
    let bench = Bench::new(1, |s| s.size = 10);
    bench.world.room(3);
    let waits: Vec<_> = (0..8).map(|n| bench.pool.wait(ask(0, n))).collect();
    let mut waits = waits.into_iter();
    let mut held = Vec::new();
    for wait in waits.by_ref().take(3) {
        held.push(wait.await.unwrap());
    }
    // The rest waits for those three, and gets them in its turn.
    sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.host.live_cap(), Some(3));
    assert_eq!(bench.pool.snapshot().waiting, 5);
    assert!(bench.pool.try_checkout(&ask(0, 9)).unwrap().is_none());
    held.pop().unwrap().check_in(on(0));
    held.push(waits.next().unwrap().await.unwrap());
    // Some attempts are made, not many.
    let before = bench.world.attempts();
    sleep(Duration::from_secs(60)).await;
    let attempts = bench.world.attempts() - before;
    assert!((3..=10).contains(&attempts), "{attempts}");
    // When there is room, it is found.
    bench.world.room(100);
    let found = Instant::now();
    for wait in waits {
        held.push(wait.await.unwrap());
    }
    assert!(found.elapsed() < Duration::from_secs(20));
    assert_eq!(held.len(), 7);
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn opening_cut_short_gives_everything_back() {
    let bench = Bench::new(1, |_| {});
    bench.world.hang();
    let waiting = bench.pool.wait(ask(0, 1));
    sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.host.open(), bench.host.logins()), (1, 1));
    bench.pool.close().await;
    assert!(waiting.await.is_err());
    assert_eq!((bench.host.open(), bench.host.logins()), (0, 0));
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn waiters_survive_a_restart_of_the_server() {
    let bench = Bench::new(1, |s| s.size = 2);
    let held = [lease(&bench.pool, 0, 1).await, lease(&bench.pool, 0, 2).await];
    let waits: Vec<_> = (0..10).map(|n| bench.pool.wait(ask(0, n))).collect();
    bench.world.kill_all();
    bench.world.next(&[Verdict::StartingUp; 5]);
    held.into_iter().for_each(|held| held.discard(Closed::ServerGone));
    for wait in waits {
        wait.await.unwrap().check_in(on(0));
    }
    quiesce().await;
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn last_member_lost_after_a_rejection_fails_the_waiters() {
    let bench = Bench::new(1, |s| s.size = 2);
    let held = lease(&bench.pool, 0, 1).await;
    bench.world.always(Some(Verdict::Rejected));
    let waiting = bench.pool.wait(ask(0, 2));
    sleep(Duration::from_secs(10)).await;
    held.discard(Closed::ServerGone);
    let outcome = timeout(Duration::from_secs(1), waiting).await.unwrap();
    assert_eq!(refused(&outcome), Some(Verdict::Rejected));
}

/// Idle members die with the server that they are of, at whatever moment that is found out.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_server_that_has_gone_down_with_all_idle_members_is_told() {
    for (moment, order) in (0..200).zip([Order::LastIn, Order::ForceHop].into_iter().cycle()) {
        let bench = Bench::new(2, |s| {
            s.size = 2;
            s.order = order;
            s.idle_timeout = None;
            s.check_delay = None;
        });
        let held = [lease(&bench.pool, 0, 1).await, lease(&bench.pool, 0, 2).await];
        held.into_iter().for_each(|held| held.check_in(on(0)));
        sleep(Duration::from_millis(30_000 + moment * 5)).await;
        bench.world.kill_all();
        bench.world.always(Some(Verdict::Unreachable));
        let told =
            timeout(Duration::from_secs(5), bench.pool.wait(ask(u16::from(moment % 4 > 1), 3)))
                .await;
        assert_eq!(
            told.map(|told| refused(&told)).ok(),
            Some(Some(Verdict::Unreachable)),
            "{moment}"
        );
        bench.check_books();
    }
}
