//! Several pools under one limit.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::fake::{self, Connector, World, ask, check_books, lease, on};
use crate::net::loops::Loops;
use crate::pool::{
    Closed, Host, Pool, PoolName, PoolPlan, PoolSettings, Pools, Quota, Quotas, SharedLimits,
};

const SECOND: Duration = Duration::from_secs(1);

struct Town {
    world: Arc<World>,
    host: Arc<Host>,
    loops: Arc<Loops>,
}

impl Town {
    fn new(cap: usize) -> Self {
        let loops = Arc::new(Loops::within(&Handle::current(), 2));
        Self { world: World::new(), host: fake::host(Some(cap), 4), loops }
    }

    fn pool(&self, user: &str, size: usize) -> Arc<Pool<Connector>> {
        let quotas = Quotas::of_host(self.host.clone());
        fake::pool(user, &self.world, quotas, self.loops.clone(), |s| s.size = size)
    }
}

/// A client that asks for a member all the time and holds it for 10 ms.
fn busy(pool: &Arc<Pool<Connector>>, holder: u64) {
    let pool = pool.clone();
    tokio::spawn(async move {
        loop {
            let held = lease(&pool, u16::from(holder % 2 == 1), holder).await;
            sleep(Duration::from_millis(10)).await;
            held.check_in(on(u16::from(holder % 2 == 1)));
        }
    });
}

#[tokio::test(start_paused = true)]
async fn idle_member_of_another_pool_gives_way() {
    let town = Town::new(4);
    let (rich, poor) = (town.pool("rich", 10), town.pool("poor", 10));
    let mut held = Vec::new();
    for holder in 0..4 {
        held.push(lease(&rich, 0, holder).await);
    }
    held.into_iter().for_each(|held| held.check_in(on(0)));
    let asked = Instant::now();
    let _held = lease(&poor, 0, 9).await;
    assert!(asked.elapsed() < Duration::from_millis(15));
    assert_eq!(rich.snapshot().totals.closed(Closed::Evicted), 1);
    assert_eq!((town.world.live(), town.world.live_max(), town.host.open()), (4, 4, 4));
    check_books(&rich);
}

#[tokio::test(start_paused = true)]
async fn member_without_waiters_gives_way_when_checked_in() {
    let town = Town::new(2);
    let (rich, poor) = (town.pool("rich", 10), town.pool("poor", 10));
    let held = [lease(&rich, 0, 1).await, lease(&rich, 0, 2).await];
    let waits = [poor.wait(ask(0, 3)), poor.wait(ask(0, 4))];
    sleep(SECOND).await;
    assert_eq!(poor.snapshot().waiting, 2);
    held.into_iter().for_each(|held| held.check_in(on(0)));
    for wait in waits {
        std::mem::forget(wait.await.unwrap());
    }
    assert_eq!((rich.snapshot().open(), town.world.live_max()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn pools_with_waiters_share_fairly_and_stay_so() {
    for (cap, pools) in [(10, 2), (10, 3), (4, 4), (7, 3)] {
        let town = Town::new(cap);
        let pools: Vec<_> = (0..pools).map(|n| town.pool(&format!("u{n}"), 20)).collect();
        // They come one after the other: the first has everything.
        for pool in &pools {
            (0..30).for_each(|holder| busy(pool, holder));
            sleep(SECOND).await;
        }
        sleep(SECOND).await;
        let share = cap / pools.len();
        let opened: u64 = pools.iter().map(|pool| pool.snapshot().totals.opened).sum();
        for pool in &pools {
            let snapshot = pool.snapshot();
            let open = snapshot.open() + snapshot.opening;
            assert!((share..=share + 1).contains(&open), "cap {cap}: {open} of {share}");
            check_books(pool);
        }
        sleep(SECOND * 10).await;
        let later: u64 = pools.iter().map(|pool| pool.snapshot().totals.opened).sum();
        assert_eq!(opened, later, "cap {cap}: members change hands without end");
        assert!(town.world.live_max() <= cap);
    }
}

#[tokio::test(start_paused = true)]
async fn small_pool_leaves_its_rest_to_others() {
    let town = Town::new(10);
    let (small, large) = (town.pool("small", 2), town.pool("large", 20));
    (0..30).for_each(|holder| busy(&large, holder));
    sleep(SECOND).await;
    (0..30).for_each(|holder| busy(&small, holder));
    sleep(SECOND).await;
    assert_eq!((small.snapshot().open(), large.snapshot().open()), (2, 8));
}

#[tokio::test(start_paused = true)]
async fn narrow_and_broad_quotas_hold_together() {
    let town = Town::new(6);
    let user = Arc::new(Quota::new(Some(3)));
    let database = Arc::new(Quota::new(Some(4)));
    let pool = |name: &str, by_user: bool, by_database: bool| {
        let quotas = Quotas {
            user: by_user.then(|| user.clone()),
            database: by_database.then(|| database.clone()),
            host: town.host.clone(),
        };
        fake::pool(name, &town.world, quotas, town.loops.clone(), |s| s.size = 20)
    };
    let pools = [pool("a", true, true), pool("b", true, false), pool("c", false, true)];
    for pool in &pools {
        (0..20).for_each(|holder| busy(pool, holder));
    }
    for _ in 0..100 {
        sleep(Duration::from_millis(37)).await;
        assert!(user.used() <= 3 && database.used() <= 4 && town.host.open() <= 6);
    }
    for pool in &pools {
        let before = pool.snapshot().totals.checkouts;
        sleep(SECOND).await;
        let served = pool.snapshot().totals.checkouts - before;
        assert!(served > 50, "{:?}: {served}", pool.name());
    }
    for pool in &pools {
        pool.close().await;
    }
    sleep(SECOND).await;
    assert_eq!((user.used(), database.used(), town.host.open()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn full_server_is_shared_fairly_too() {
    let town = Town::new(100);
    town.world.room(6);
    let pools = [town.pool("a", 20), town.pool("b", 20)];
    (0..30).for_each(|holder| busy(&pools[0], holder));
    sleep(SECOND * 2).await;
    assert_eq!(pools[0].snapshot().open(), 6);
    (0..30).for_each(|holder| busy(&pools[1], holder));
    sleep(SECOND * 60).await;
    assert_eq!(pools.each_ref().map(|pool| pool.snapshot().open()), [3, 3]);
    assert!(town.world.attempts() < 60, "{}", town.world.attempts());
}

#[tokio::test(start_paused = true)]
async fn pool_that_closes_leaves_its_places_and_its_turn() {
    let town = Town::new(1);
    let (a, b, c) = (town.pool("a", 5), town.pool("b", 5), town.pool("c", 5));
    let held = lease(&a, 0, 1).await;
    let first = b.wait(ask(0, 2));
    fake::quiesce().await;
    let second = c.wait(ask(0, 3));
    fake::quiesce().await;
    b.close().await;
    assert!(first.await.is_err());
    held.check_in(on(0));
    assert!(second.await.is_ok());
    assert_eq!(town.host.open(), 0, "the lease was dropped");
}

fn limits(max_db_connections: Option<usize>) -> SharedLimits {
    SharedLimits {
        host: "h:5432".to_owned(),
        max_server_connections: Some(3),
        max_server_logins: 4,
        max_db_connections,
        max_user_connections: None,
    }
}

#[tokio::test(start_paused = true)]
async fn pools_are_made_once_and_share_their_limits() {
    let world = World::new();
    let pools = Pools::new(Arc::new(Loops::within(&Handle::current(), 1)));
    let plan = || PoolPlan {
        settings: PoolSettings::default(),
        limits: limits(Some(2)),
        connector: Connector(world.clone()),
    };
    let name =
        |user: &str| PoolName { database: "d".to_owned(), user: user.to_owned(), replica: None };
    let a = pools.find_or_make(&name("a"), plan).unwrap();
    let b = pools.find_or_make(&name("b"), plan).unwrap();
    assert!(Arc::ptr_eq(&a, &pools.find_or_make(&name("a"), plan).unwrap()));
    assert!(pools.find(&name("c")).is_none());
    let _held = [lease(&a, 0, 1).await, lease(&b, 0, 2).await];
    let waiting = tokio::spawn(b.wait(ask(0, 3)));
    sleep(SECOND).await;
    assert!(!waiting.is_finished(), "two is all that the database gets");
    pools.reconfigure(&b, PoolSettings::default(), limits(None));
    sleep(SECOND).await;
    assert!(waiting.is_finished(), "now it gets as many as the server has");
    let third = waiting.await.unwrap().unwrap();
    let waiting = tokio::spawn(a.wait(ask(0, 4)));
    sleep(SECOND).await;
    assert!(!waiting.is_finished(), "three is all that the server gives");
    third.check_in(on(0));
    let _fourth = waiting.await.unwrap().unwrap();
    let waiting = tokio::spawn(b.wait(ask(0, 5)));
    pools.close().await;
    assert!(waiting.await.unwrap().is_err());
    assert!(pools.find_or_make(&name("c"), plan).is_none());
}
