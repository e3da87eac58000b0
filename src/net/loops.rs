//! The event loops: one single-threaded runtime per core, each with its own reactor.
//!
//! A socket is registered with the loop that reads it. Whoever hands a socket to another loop
//! takes it out of its reactor first (`into_std`) and registers it anew (`from_std`) on the other.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Which event loop, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoopId(u16);

impl LoopId {
    /// The loop with this number; it is the caller's business that there is one.
    pub fn new(index: u16) -> Self {
        Self(index)
    }

    /// The number of the loop, below [`Loops::len`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The running event loops. Dropping it ends them with every task that they run.
#[derive(Debug)]
pub struct Loops {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    handle: Handle,
    /// Dropped to end the loop; `None` for a runtime that somebody else runs.
    _stop: Option<oneshot::Sender<()>>,
}

impl Loops {
    /// Starts `count` loops (at least one), each on a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread or no reactor.
    pub fn start(count: u16) -> io::Result<Self> {
        let running = (0..count.max(1)).map(Running::start).collect::<io::Result<_>>()?;
        Ok(Self { running })
    }

    /// So many loops in name, whose tasks all run in the runtime of `handle`: for tests that want
    /// one thread and a clock that they can pause.
    pub fn within(handle: &Handle, count: u16) -> Self {
        let running = || Running { handle: handle.clone(), _stop: None };
        Self { running: std::iter::repeat_with(running).take(count.max(1).into()).collect() }
    }

    /// How many loops there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Every loop's id.
    pub fn ids(&self) -> impl Iterator<Item = LoopId> + use<> {
        (0..u16::try_from(self.len()).unwrap_or(u16::MAX)).map(LoopId)
    }

    /// Runs `task` on that loop; an id out of range means the last loop.
    pub fn spawn<F>(&self, on: LoopId, task: F) -> Option<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let running = self.running.get(on.index()).or(self.running.last())?;
        Some(running.handle.spawn(task))
    }
}

impl Running {
    fn start(index: u16) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name(format!("loop-{index}")).spawn(move || {
            // The sender's end being dropped is the signal; no value ever travels.
            runtime.block_on(async { stopped.await.is_ok() });
        })?;
        Ok(Self { handle, _stop: Some(stop) })
    }
}
