//! Real loops and real time: thousands of tasks that do all at once what can be done to a pool.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use rand::Rng;
use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};

use super::fake::{self, Connector, World, ask, check_books, on};
use crate::net::loops::Loops;
use crate::pool::{Closed, Condition, Order, Pool, Quotas, Verdict};

/// Longer than any of it takes, also on a busy machine: not to be reached.
const STUCK: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Score {
    served: AtomicUsize,
    refused: AtomicUsize,
    canceled: AtomicUsize,
}

/// One client: `rounds` asks, each ended in one of the ways there are. What is refused is asked
/// again: how often that is depends on the machine.
async fn client(pool: Arc<Pool<Connector>>, index: u16, id: u64, rounds: u32, score: Arc<Score>) {
    for _ in 0..rounds {
        let dice = rand::rng().random_range(0..100);
        while ask_once(&pool, index, id, dice, &score).await.is_break() {
            score.refused.fetch_add(1, SeqCst);
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Asks, and ends what comes of it; breaks off when it is refused.
async fn ask_once(
    pool: &Arc<Pool<Connector>>,
    index: u16,
    id: u64,
    dice: u32,
    score: &Score,
) -> ControlFlow<()> {
    let ask = ask(index, id);
    let lease = match pool.try_checkout(&ask) {
        Ok(Some(lease)) => lease,
        Err(_) => return ControlFlow::Break(()),
        Ok(None) => {
            let mut waiting = pool.wait(ask);
            if dice < 10 {
                // Cancels before, while or after it is handed a member.
                let patience = Duration::from_micros(rand::rng().random_range(0..300));
                if timeout(patience, &mut waiting).await.is_err() {
                    score.canceled.fetch_add(1, SeqCst);
                }
                return ControlFlow::Continue(());
            }
            let Ok(outcome) = timeout(STUCK, &mut waiting).await else {
                panic!("a wake-up was lost: {:?}", pool.snapshot())
            };
            match outcome {
                Ok(lease) => lease,
                Err(_) => return ControlFlow::Break(()),
            }
        }
    };
    end(lease, index, dice).await;
    score.served.fetch_add(1, SeqCst);
    ControlFlow::Continue(())
}

async fn end(mut lease: crate::pool::Lease<Connector>, index: u16, dice: u32) {
    if dice.is_multiple_of(3) {
        tokio::task::yield_now().await;
    }
    assert!(lease.alive() || dice < 100);
    match dice {
        90..=91 => drop(lease),
        92 => lease.discard(Closed::ServerGone),
        93..=94 => {
            lease.condition = Condition::Broken;
            lease.check_in(on(index));
        }
        95..=97 => {
            lease.condition = Condition::NeedsReset;
            lease.reset_works = dice != 97;
            lease.check_in(on(index));
        }
        98 => {
            lease.moves = false;
            lease.check_in(on(index));
        }
        _ => lease.check_in(on(index)),
    }
}

fn start(loops: u16) -> (Arc<Loops>, Arc<World>) {
    let world = World::new();
    *world.connect_takes.lock() = Duration::from_micros(200);
    (Arc::new(Loops::start(loops).unwrap()), world)
}

#[tokio::test]
async fn everybody_is_served_and_the_books_add_up() {
    for order in [Order::LastIn, Order::RoundRobin, Order::ForceHop] {
        let (loops, world) = start(3);
        let host = fake::host(Some(13), 3);
        let pools: Vec<_> = ["a", "b", "c"]
            .iter()
            .map(|user| {
                let quotas = Quotas::of_host(host.clone());
                fake::pool(user, &world, quotas, loops.clone(), |s| {
                    s.size = 8;
                    s.min = 1;
                    s.reserve = 2;
                    s.reserve_timeout = Duration::from_millis(1);
                    s.check_delay = Some(Duration::from_millis(2));
                    s.idle_timeout = Some(Duration::from_millis(3));
                    s.lifetime = Some(Duration::from_millis(100));
                    s.login_retry = Duration::from_millis(3);
                    s.order = order;
                })
            })
            .collect();
        let score = Arc::new(Score::default());
        let tasks: Vec<_> = (0..1200_u64)
            .map(|id| {
                let (pool, index) =
                    (&pools[usize::try_from(id % 3).unwrap()], u16::try_from(id % 7 % 3).unwrap());
                let task = client(pool.clone(), index, id, 20, score.clone());
                loops.spawn(on(index), task).unwrap()
            })
            .collect();
        // The weather changes meanwhile.
        let weather = tokio::spawn({
            let world = world.clone();
            async move {
                let verdicts =
                    [Verdict::Unreachable, Verdict::StartingUp, Verdict::Full, Verdict::Rejected];
                for verdict in verdicts.into_iter().cycle() {
                    world.next(&[verdict; 3]);
                    sleep(Duration::from_millis(50)).await;
                    world.kill_all();
                }
            }
        });
        for task in tasks {
            task.await.unwrap();
        }
        weather.abort();
        let asked = [&score.served, &score.refused, &score.canceled].map(|n| n.load(SeqCst));
        assert!(asked[0] > 20_000, "{order:?}: {asked:?}");
        for pool in &pools {
            pool.close().await;
            check_books(pool);
            let snapshot = pool.snapshot();
            assert_eq!((snapshot.open(), snapshot.waiting, snapshot.opening), (0, 0, 0));
        }
        assert_eq!((world.live(), host.open(), host.logins()), (0, 0, 0), "{order:?}");
        assert!(world.live_max() <= 13 && world.logins_max() <= 3, "{order:?}");
    }
}

#[tokio::test]
async fn nobody_is_served_much_less_than_others() {
    let (loops, world) = start(2);
    let pool = fake::pool("u", &world, Quotas::of_host(fake::host(None, 4)), loops.clone(), |s| {
        s.size = 5;
    });
    let served: Arc<Vec<AtomicUsize>> = Arc::new((0..64).map(|_| AtomicUsize::new(0)).collect());
    let total = Arc::new(AtomicUsize::new(0));
    // Those who start first would be ahead for ever.
    let start = Arc::new(Barrier::new(64));
    let tasks: Vec<_> = (0..64_u16)
        .map(|id| {
            let (pool, served, total) = (pool.clone(), served.clone(), total.clone());
            let start = start.clone();
            let index = id % 2;
            loops
                .spawn(on(index), async move {
                    start.wait().await;
                    while total.fetch_add(1, SeqCst) < 100_000 {
                        let held = fake::lease(&pool, index, u64::from(id)).await;
                        tokio::task::yield_now().await;
                        held.check_in(on(index));
                        served[usize::from(id)].fetch_add(1, SeqCst);
                    }
                })
                .unwrap()
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let served: Vec<_> = served.iter().map(|n| n.load(SeqCst)).collect();
    for index in 0..2 {
        let of_loop = || served.iter().skip(index).step_by(2);
        let (least, most) = (*of_loop().min().unwrap(), *of_loop().max().unwrap());
        // The line is strict (`waiters_are_fifo`); how soon a runtime polls whom it has woken is
        // not. A pool that lets new ones overtake serves some a hundred times more than others.
        assert!(most <= least + least / 4, "loop {index}: {least} to {most}");
    }
    pool.close().await;
    check_books(&pool);
}
