//! The load: crowds of clients on one thread, in a closed loop, and an open loop at a fixed rate.
//!
//! A crowd stays connected for as long as its [`Crowd`] lives; what it has done is read while it
//! runs, so that a measurement has neither a start nor an end of its own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::client::{Client, Target};
use crate::keeper;
use crate::script::{Script, Step};

/// Connections being made at once.
const CONNECTING_MAX: usize = 64;

/// How long all clients of a crowd may take to be logged in.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);

/// Clients that are connected and, once let go, at work.
#[derive(Debug)]
pub(crate) struct Crowd {
    shared: Arc<Shared>,
    /// Dropped to end the crowd.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    go: Notify,
    working: AtomicBool,
    done: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Shared {
    fn failed(&self, error: &anyhow::Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| format!("{error:#}"));
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Crowd {
    /// Connects `count` clients and lets each do its setup.
    pub(crate) fn connect(target: &Target, script: &Script, count: usize) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let (ready, connected) = mpsc::channel();
        let crowd = Gathering {
            shared: Arc::clone(&shared),
            target: target.clone(),
            script: script.clone(),
            count,
        };
        let thread = std::thread::Builder::new().name("crowd".into()).spawn(move || {
            let shared = Arc::clone(&crowd.shared);
            if let Err(error) = crowd.run(&ready, stopped) {
                shared.failed(&error);
            }
        })?;
        let crowd = Self { shared, stop: Some(stop), thread: Some(thread) };
        let deadline = Instant::now() + CONNECT_WITHIN;
        loop {
            if connected.recv_timeout(Duration::from_millis(20)).is_ok() {
                crowd.check()?;
                return Ok(crowd);
            }
            crowd.check()?;
            if Instant::now() > deadline {
                bail!("{count} clients were not connected within {CONNECT_WITHIN:?}");
            }
            keeper::pause(Duration::ZERO)?;
        }
    }

    /// Lets the clients work.
    pub(crate) fn go(&self) {
        self.shared.working.store(true, Ordering::Relaxed);
        self.shared.go.notify_waiters();
    }

    /// Units done so far.
    pub(crate) fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Fails if a client has.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match self.shared.failure() {
            Some(failure) => bail!("a client failed: {failure}"),
            None => Ok(()),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed by its thread.
            thread.join().ok();
        }
    }
}

/// A crowd in its thread.
struct Gathering {
    shared: Arc<Shared>,
    target: Target,
    script: Script,
    count: usize,
}

impl Gathering {
    fn run(self, ready: &mpsc::Sender<()>, stopped: oneshot::Receiver<()>) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async move {
            tokio::select! {
                biased;
                // Either the sender says so or it is gone.
                _ = stopped => Ok(()),
                ended = self.gather(ready) => ended,
            }
        })
    }

    async fn gather(self, ready: &mpsc::Sender<()>) -> anyhow::Result<()> {
        let target = Arc::new(self.target);
        let script = Arc::new(self.script);
        let clients = connect_all(&target, &script, self.count).await?;
        let mut working = JoinSet::new();
        for (number, client) in clients.into_iter().enumerate() {
            let (target, script) = (Arc::clone(&target), Arc::clone(&script));
            let shared = Arc::clone(&self.shared);
            working.spawn(async move {
                if let Err(error) = work(client, number, &target, &script, &shared).await {
                    shared.failed(&error);
                }
            });
        }
        // The tasks get as far as waiting for the signal before it can be given.
        tokio::task::yield_now().await;
        ready.send(()).ok();
        while working.join_next().await.is_some() {}
        Ok(())
    }
}

async fn connect_all(
    target: &Arc<Target>,
    script: &Arc<Script>,
    count: usize,
) -> anyhow::Result<Vec<Client>> {
    let permits = Arc::new(Semaphore::new(CONNECTING_MAX));
    let mut connecting = JoinSet::new();
    for number in 0..count {
        let (target, script) = (Arc::clone(target), Arc::clone(script));
        let permits = Arc::clone(&permits);
        connecting.spawn(async move {
            let _permit = permits.acquire().await?;
            let mut client = Client::connect(&target, number).await?;
            for step in &script.setup {
                client.perform(step).await?;
            }
            anyhow::Ok(client)
        });
    }
    let mut clients = Vec::with_capacity(count);
    while let Some(client) = connecting.join_next().await {
        clients.push(client??);
    }
    Ok(clients)
}

async fn work(
    mut client: Client,
    number: usize,
    target: &Target,
    script: &Script,
    shared: &Shared,
) -> anyhow::Result<()> {
    if script.transaction.is_empty() {
        // An idle client notices when it is thrown out.
        return client.wait_for(0).await;
    }
    let go = shared.go.notified();
    if !shared.working.load(Ordering::Relaxed) {
        go.await;
    }
    loop {
        for step in &script.transaction {
            client.perform(step).await?;
        }
        shared.done.fetch_add(script.units, Ordering::Relaxed);
        if script.reconnects {
            client.close().await?;
            client = Client::connect(target, number).await?;
        }
    }
}

/// Sends `step` at a fixed rate over `connections` connections and returns how long each answer
/// took, in the order of their arrival.
///
/// The clock of a request starts when it was due, not when a connection became free for it.
pub(crate) fn open_loop(
    target: &Target,
    step: &Step,
    connections: usize,
    rate: u32,
    duration: Duration,
    warm_up: Duration,
    started: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<Vec<Duration>> {
    let (due, requests) = tokio::sync::mpsc::unbounded_channel();
    let (ready, connected) = mpsc::channel();
    std::thread::scope(|scope| {
        let collector = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, answer_all(target, step, connections, requests, &ready))
        });
        let paced = pace(&due, &connected, rate, warm_up, duration, started);
        drop(due);
        let collected = collector.join().ok().context("the collector panicked")?;
        let latencies = collected?;
        paced?;
        Ok(latencies)
    })
}

fn pace(
    due: &tokio::sync::mpsc::UnboundedSender<Due>,
    connected: &mpsc::Receiver<()>,
    rate: u32,
    warm_up: Duration,
    duration: Duration,
    started: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // A closed channel means that connecting failed; the collector knows why.
    if connected.recv().is_err() {
        return Ok(());
    }
    let interval = Duration::from_secs(1) / rate;
    let begin = Instant::now();
    let mut started = Some(started);
    let mut next = begin;
    while next < begin + warm_up + duration {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let counts = next >= begin + warm_up;
        if counts && let Some(started) = started.take() {
            started()?;
        }
        if due.send(Due { at: Instant::now(), counts }).is_err() {
            return Ok(());
        }
        next += interval;
    }
    Ok(())
}

/// A request that is due now.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    counts: bool,
}

/// The state of an open loop's connections.
#[derive(Debug, Default)]
struct Desk {
    /// Connections without a request.
    free: Vec<usize>,
    /// Requests without a connection.
    backlog: VecDeque<Due>,
    latencies: Vec<Duration>,
    failure: Option<anyhow::Error>,
}

async fn answer_all(
    target: &Target,
    step: &Step,
    connections: usize,
    mut requests: tokio::sync::mpsc::UnboundedReceiver<Due>,
    ready: &mpsc::Sender<()>,
) -> anyhow::Result<Vec<Duration>> {
    let desk = Rc::new(RefCell::new(Desk::default()));
    let mut lines = Vec::new();
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let (line, mut orders) = tokio::sync::mpsc::unbounded_channel::<Due>();
        let mut client = Client::connect(target, number).await?;
        let (desk, step) = (Rc::clone(&desk), step.clone());
        desk.borrow_mut().free.push(number);
        lines.push(line);
        tasks.spawn_local(async move {
            while let Some(mut order) = orders.recv().await {
                loop {
                    let answered = async {
                        client.send_now(&step.bytes)?;
                        client.wait_for(b'Z').await
                    };
                    let answered = answered.await;
                    let mut desk = desk.borrow_mut();
                    if let Err(error) = answered {
                        desk.failure.get_or_insert(error);
                        return;
                    }
                    if order.counts {
                        desk.latencies.push(order.at.elapsed());
                    }
                    match desk.backlog.pop_front() {
                        Some(waiting) => order = waiting,
                        None => {
                            desk.free.push(number);
                            break;
                        }
                    }
                }
            }
        });
    }
    ready.send(()).ok();
    while let Some(mut order) = requests.recv().await {
        let mut desk = desk.borrow_mut();
        if desk.failure.is_some() {
            break;
        }
        match desk.free.pop().and_then(|number| lines.get(number)) {
            Some(line) => {
                order.at = Instant::now();
                line.send(order).ok().context("a connection ended")?;
            }
            None => desk.backlog.push_back(order),
        }
    }
    drop(lines);
    while tasks.join_next().await.is_some() {}
    let mut desk = desk.borrow_mut();
    match desk.failure.take() {
        Some(failure) => Err(failure.context("a client failed")),
        None => Ok(std::mem::take(&mut desk.latencies)),
    }
}
