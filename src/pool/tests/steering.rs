//! Pausing, other settings, and members that have been replaced.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::fake::{self, Bench, Connector, World, ask, lease, on, quiesce};
use crate::net::loops::Loops;
use crate::pool::{
    CheckoutError, Closed, PoolName, PoolPlan, PoolSettings, Pools, Prospect, SharedLimits,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn paused_pool_empties_as_members_come_back_and_lends_none() {
    let bench = Bench::new(2, |s| s.min = 1);
    let (held, idle) = (lease(&bench.pool, 0, 1).await, lease(&bench.pool, 1, 2).await);
    idle.check_in(on(1));
    bench.pool.pause();
    assert_eq!(bench.world.live(), 1, "what was idle is closed at once");
    let emptied = tokio::spawn({
        let pool = Arc::clone(&bench.pool);
        async move { pool.emptied().await }
    });
    let waiting = tokio::spawn(bench.pool.wait(ask(0, 3)));
    sleep(SECOND * 10).await;
    assert!(!emptied.is_finished() && !waiting.is_finished());
    held.check_in(on(0));
    emptied.await.unwrap();
    sleep(SECOND * 10).await;
    assert!(!waiting.is_finished() && bench.world.live() == 0, "not even the minimum is opened");
    assert_eq!(bench.pool.snapshot().totals.closed(Closed::Paused), 2);

    bench.pool.resume();
    drop(waiting.await.unwrap().unwrap());
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn member_that_is_on_its_way_when_the_pause_begins_is_closed() {
    let bench = Bench::new(1, |_| {});
    let waiting = tokio::spawn(bench.pool.wait(ask(0, 1)));
    quiesce().await;
    assert_eq!(bench.pool.snapshot().opening, 1);
    bench.pool.pause();
    bench.pool.emptied().await;
    assert!(!waiting.is_finished());
    bench.check_books();
    bench.pool.resume();
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn replaced_members_are_closed_when_they_are_free() {
    let bench = Bench::new(1, |_| {});
    let (held, idle) = (lease(&bench.pool, 0, 1).await, lease(&bench.pool, 0, 2).await);
    let old = [held.member_id(), idle.member_id()];
    idle.check_in(on(0));
    let opening = tokio::spawn(bench.pool.wait(ask(0, 3)));
    drop(opening.await.unwrap().unwrap());
    bench.pool.replace_members();
    assert_eq!(bench.world.live(), 1);
    let fresh = lease(&bench.pool, 0, 4).await;
    assert!(!old.contains(&fresh.member_id()));
    let replaced = tokio::spawn({
        let pool = Arc::clone(&bench.pool);
        async move { pool.replaced().await }
    });
    sleep(SECOND).await;
    assert!(!replaced.is_finished(), "one of them is still lent");
    held.check_in(on(0));
    replaced.await.unwrap();
    assert_eq!(bench.world.live(), 1);
    let fresh_id = fresh.member_id();
    fresh.check_in(on(0));
    assert_eq!(lease(&bench.pool, 0, 5).await.member_id(), fresh_id, "the new one stays");
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn member_begun_before_the_replacement_is_not_lent() {
    let bench = Bench::new(1, |_| {});
    let waiting = tokio::spawn(bench.pool.wait(ask(0, 1)));
    quiesce().await;
    bench.pool.replace_members();
    bench.pool.replace_members();
    let lease = waiting.await.unwrap().unwrap();
    bench.pool.replaced().await;
    assert_eq!(bench.pool.snapshot().totals.closed(Closed::Obsolete), 1);
    assert_eq!(bench.world.live(), 1);
    lease.check_in(on(0));
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn who_waits_while_there_is_nowhere_to_go_is_served_in_order_when_there_is() {
    let bench = Bench::new(1, |s| s.size = 1);
    let (held, idle) = (lease(&bench.pool, 0, 1).await, bench.world.live());
    assert_eq!(idle, 1);
    bench.pool.set_prospect(Prospect::Awaited);
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut crowd = Vec::new();
    for number in 0..10 {
        let (pool, order) = (Arc::clone(&bench.pool), Arc::clone(&order));
        let waiting = pool.wait(ask(0, number));
        crowd.push(tokio::spawn(async move {
            let lease = waiting.await.unwrap();
            order.lock().push(number);
            lease.check_in(on(0));
        }));
    }
    sleep(SECOND * 100).await;
    held.check_in(on(0));
    sleep(SECOND).await;
    assert_eq!((bench.world.live(), order.lock().len()), (0, 0), "what was lent is closed, too");
    bench.pool.set_prospect(Prospect::Open);
    for waiter in crowd {
        waiter.await.unwrap();
    }
    assert_eq!(*order.lock(), (0..10).collect::<Vec<_>>());
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn who_waits_without_hope_is_refused_and_so_is_who_comes() {
    let bench = Bench::new(1, |_| {});
    bench.pool.set_prospect(Prospect::Awaited);
    let waiting = tokio::spawn(bench.pool.wait(ask(0, 1)));
    sleep(SECOND * 100).await;
    assert!(!waiting.is_finished() && bench.world.attempts() == 0);
    bench.pool.set_prospect(Prospect::Hopeless);
    assert!(matches!(waiting.await.unwrap(), Err(CheckoutError::Nowhere)));
    assert!(matches!(bench.pool.try_checkout(&ask(0, 2)), Err(CheckoutError::Nowhere)));
    assert!(matches!(bench.pool.wait(ask(0, 2)).await, Err(CheckoutError::Nowhere)));
    bench.pool.set_prospect(Prospect::Open);
    drop(lease(&bench.pool, 0, 3).await);
    bench.check_books();
}

#[tokio::test(start_paused = true)]
async fn openings_that_hang_on_the_old_server_keep_nobody_from_the_new_one() {
    let bench = Bench::new(1, |_| {});
    *bench.world.connect_takes.lock() = SECOND * 1000;
    let waiting = tokio::spawn(bench.pool.wait(ask(0, 1)));
    sleep(SECOND).await;
    assert_eq!((bench.pool.snapshot().opening, bench.world.attempts()), (1, 1));
    *bench.world.connect_takes.lock() = SECOND;
    bench.pool.replace_members();
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(bench.pool.snapshot().opening, 1, "the old one still hangs");
}

#[tokio::test(start_paused = true)]
async fn pool_that_moves_to_another_server_counts_there() {
    let world = World::new();
    let pools = Pools::new(Arc::new(Loops::within(&Handle::current(), 1)));
    let limits = |host: &str| SharedLimits {
        host: host.to_owned(),
        max_server_connections: Some(1),
        max_server_logins: 4,
        max_db_connections: None,
        max_user_connections: None,
    };
    let make = |user: &str, host: &str| {
        let name = PoolName { database: "d".to_owned(), user: user.to_owned(), replica: None };
        let plan = || PoolPlan {
            settings: PoolSettings::default(),
            limits: limits(host),
            connector: Connector(world.clone()),
        };
        pools.find_or_make(&name, plan).unwrap()
    };
    let (a, b) = (make("a", "one"), make("b", "one"));
    let held = lease(&a, 0, 1).await;
    let waiting = tokio::spawn(b.wait(ask(0, 2)));
    sleep(SECOND).await;
    assert!(!waiting.is_finished(), "one is all that the server gives");
    pools.reconfigure(&b, PoolSettings::default(), limits("two"));
    let there = waiting.await.unwrap().unwrap();
    // The old server's place is still held by the old member.
    let again = tokio::spawn(a.wait(ask(0, 3)));
    sleep(SECOND).await;
    assert!(!again.is_finished());
    pools.reconfigure(&a, PoolSettings { size: 1, ..PoolSettings::default() }, limits("one"));
    held.check_in(on(0));
    assert!(again.await.unwrap().is_ok());
    there.check_in(on(0));
    for pool in [&a, &b] {
        fake::check_books(pool);
    }
}
