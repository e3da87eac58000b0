//! What those who wait wait for, and who has it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::fake::{self, Connector, World, ask, lease};
use crate::net::loops::Loops;
use crate::pool::{Host, Limit, Pool, Prospect, Quota, Quotas, Verdict};

struct Town {
    world: Arc<World>,
    user: Arc<Quota>,
    database: Arc<Quota>,
    host: Arc<Host>,
    loops: Arc<Loops>,
}

impl Town {
    fn new([user, database, host]: [Option<usize>; 3]) -> Self {
        let quota = |cap| Arc::new(Quota::new(cap));
        let loops = Arc::new(Loops::within(&Handle::current(), 2));
        let (user, database) = (quota(user), quota(database));
        Self { world: World::new(), user, database, host: fake::host(host, 4), loops }
    }

    fn pool(&self, name: &str, size: usize) -> Arc<Pool<Connector>> {
        let quotas = Quotas {
            user: Some(self.user.clone()),
            database: Some(self.database.clone()),
            host: self.host.clone(),
        };
        fake::pool(name, &self.world, quotas, self.loops.clone(), |s| s.size = size)
    }
}

/// What one who waits there waits for, who has held it for longest, and places taken and there.
fn told(pool: &Pool<Connector>) -> (Limit, Option<u64>, Option<(usize, usize)>) {
    let hindrance = pool.hindrance().unwrap();
    (hindrance.limit, hindrance.longest_holder().map(|holder| holder.id), hindrance.taken())
}

const A_MOMENT: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn quota_that_binds_is_told_with_the_longest_holder_under_it() {
    let of = |place: usize| {
        let mut caps = [None; 3];
        caps[place] = Some(2);
        caps
    };
    let limits = [Limit::User, Limit::Database, Limit::Host];
    for (place, limit) in limits.into_iter().enumerate() {
        let town = Town::new(of(place));
        let [a, b, c] = ["a", "b", "c"].map(|name| town.pool(name, 5));
        assert!(a.hindrance().is_none());
        let first = lease(&a, 0, 1).await;
        sleep(A_MOMENT).await;
        let _second = lease(&b, 0, 2).await;
        let waits = [c.wait(ask(0, 3)), b.wait(ask(0, 4))];
        sleep(A_MOMENT).await;
        assert_eq!(told(&c), (limit, Some(1), Some((2, 2))));
        assert_eq!(told(&b), told(&c), "not its own holder, which is younger");
        let shared = c.hindrance().unwrap().shared();
        assert!(shared.is_some() && a.quotas()[place] == shared && b.quotas()[place] == shared);
        drop(first);
        sleep(A_MOMENT).await;
        let hindered = [&b, &c].map(|pool| pool.hindrance().is_some());
        assert_eq!(hindered.iter().filter(|is| **is).count(), 1, "one got the place");
        drop(waits);
        assert!(b.hindrance().is_none() && c.hindrance().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn own_size_is_told_with_the_own_holder() {
    let town = Town::new([None, None, Some(9)]);
    let [a, b] = ["a", "b"].map(|name| town.pool(name, 1));
    let _elder = lease(&a, 0, 1).await;
    sleep(A_MOMENT).await;
    let wait = b.wait(ask(0, 2));
    assert_eq!(told(&b), (Limit::Coming, None, None));
    let _own = wait.await.unwrap();
    let _wait = b.wait(ask(0, 3));
    sleep(A_MOMENT).await;
    assert_eq!(told(&b), (Limit::PoolSize, Some(2), None));
}

#[tokio::test(start_paused = true)]
async fn server_that_is_full_is_told_with_who_has_its_connections() {
    let town = Town::new([None, None, Some(100)]);
    town.world.room(1);
    let [a, b] = ["a", "b"].map(|name| town.pool(name, 5));
    let _held = lease(&a, 0, 1).await;
    let _wait = b.wait(ask(0, 2));
    // Before a further attempt, and between attempts.
    for _ in 0..40 {
        sleep(A_MOMENT * 2).await;
        let (limit, holder, taken) = told(&b);
        assert!(
            limit == Limit::Full && holder == Some(1) || limit == Limit::Coming,
            "{limit:?} {holder:?} {taken:?}"
        );
    }
    assert_eq!(told(&b), (Limit::Full, Some(1), Some((1, 1))));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_named_where_no_holder_is_in_the_way() {
    let town = Town::new([None, None, None]);
    let pool = town.pool("a", 1);
    let held = lease(&pool, 0, 1).await;
    let _wait = pool.wait(ask(0, 2));
    pool.pause();
    assert_eq!(told(&pool), (Limit::Paused, None, None));
    pool.resume();
    assert_eq!(told(&pool), (Limit::PoolSize, Some(1), None));
    pool.set_prospect(Prospect::Awaited);
    assert_eq!(told(&pool), (Limit::Nowhere, None, None));
    pool.set_prospect(Prospect::Open);
    town.world.always(Some(Verdict::StartingUp));
    drop(held);
    sleep(A_MOMENT).await;
    assert_eq!(told(&pool), (Limit::Down, None, None));
}
