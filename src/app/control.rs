//! The control plane: signals and what follows from them, up to an orderly end.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::accept::Doorway;
use super::{App, Stage};
use crate::admin::{Haste, Order};
use crate::cancel::Summons;

/// How long clients may take to go when the end can't wait: to be sent the rest of a message, and
/// then the last words.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// How often clients are asked to go, some at a time.
const PACE_STEP: Duration = Duration::from_millis(20);

/// A signal, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Reload,
    Pause,
    Resume,
    Stop(Haste),
}

/// The signals that we listen to.
struct Signals(Vec<(Signal, SignalStream)>);

impl Signals {
    fn listen() -> io::Result<Self> {
        let kinds = [
            (SignalKind::hangup(), Signal::Reload),
            (SignalKind::user_defined1(), Signal::Pause),
            (SignalKind::user_defined2(), Signal::Resume),
            (SignalKind::terminate(), Signal::Stop(Haste::WaitForClients)),
            (SignalKind::interrupt(), Signal::Stop(Haste::WaitForServers)),
            (SignalKind::quit(), Signal::Stop(Haste::AtOnce)),
        ];
        let streams = kinds.map(|(kind, means)| signal(kind).map(|stream| (means, stream)));
        streams.into_iter().collect::<io::Result<_>>().map(Self)
    }

    /// Cancel safe.
    async fn next(&mut self) -> Signal {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        for (means, stream) in &mut self.0 {
            if let Poll::Ready(Some(())) = stream.poll_recv(cx) {
                return Poll::Ready(*means);
            }
        }
        Poll::Pending
    }
}

impl App {
    /// Does as signals and operators say, until the process has to end and has been made ready
    /// for it.
    ///
    /// # Errors
    /// When signals can't be caught.
    pub(super) async fn control(
        self: Arc<Self>,
        mut doorways: Vec<Doorway>,
        mut stops: mpsc::Receiver<Haste>,
        ready: impl FnOnce(),
    ) -> io::Result<()> {
        let mut signals = Signals::listen()?;
        ready();
        if let Some(manager) = &self.manager {
            manager.ready();
        }
        let haste = self.serve(&mut signals, &mut stops).await;
        self.stopping.store(true, Ordering::Relaxed);
        tracing::info!("stopping: {}", haste.describe());
        self.note_process(&format!("stopping: {}", haste.describe()));
        if let Some(manager) = &self.manager {
            manager.stopping();
        }
        tokio::select! {
            () = self.wind_down(haste, &mut doorways) => {}
            () = hurried(&mut signals, &mut stops) => tracing::info!("stopping at once"),
        }
        self.end(doorways).await;
        Ok(())
    }

    async fn serve(
        self: &Arc<Self>,
        signals: &mut Signals,
        stops: &mut mpsc::Receiver<Haste>,
    ) -> Haste {
        loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                Some(haste) = stops.recv() => return haste,
            };
            let order = match signal {
                Signal::Stop(haste) => return haste,
                Signal::Reload => Order::Reload,
                Signal::Pause => Order::Pause(None),
                Signal::Resume => Order::Resume(None),
            };
            tracing::info!("got a signal: {}", order.name());
            let app = Arc::clone(self);
            // Not awaited here: a pause may take as long as the longest transaction.
            tokio::spawn(async move {
                let name = order.name();
                match app.carry_out(order, None).await {
                    Ok(_) => tracing::info!("{name}: done"),
                    // A reload has logged its own.
                    Err(error) => tracing::warn!("{name}: {error}"),
                }
            });
        }
    }

    /// The graceful part of a stop, within `drain_timeout`.
    async fn wind_down(&self, haste: Haste, doorways: &mut Vec<Doorway>) {
        let general = &self.setup().config.general;
        let graceful = async {
            match haste {
                Haste::AtOnce => {}
                Haste::WaitForServers => {
                    self.close(doorways).await;
                    self.set_paused(None, true);
                    self.paused(None).await;
                }
                Haste::WaitForClients => {
                    self.stage.send_replace(Stage::Leaving);
                    sleep(general.drain_delay).await;
                    self.close(doorways).await;
                    self.dismiss(general.drain_pace).await;
                    self.house.cancels.emptied().await;
                }
            }
        };
        match general.drain_timeout {
            None => graceful.await,
            Some(limit) => {
                if timeout(limit, graceful).await.is_err() {
                    let clients = self.house.cancels.list().len();
                    tracing::warn!(clients, "drain_timeout: not everybody has left");
                }
            }
        }
    }

    /// Lets nobody in any more but operators, by the unix socket.
    /// When what is returned is ready, no port is open on any loop: whoever is asked to go then
    /// does not come back to us.
    fn close(&self, doorways: &mut Vec<Doorway>) -> impl Future<Output = ()> + use<> {
        self.stage.send_replace(Stage::Closing);
        let ports = doorways.extract_if(.., |doorway| doorway.listener().is_tcp());
        let accepting: Vec<_> = ports.flat_map(Doorway::close).collect();
        async move {
            for accepting in accepting {
                if let Err(error) = accepting.await {
                    tracing::error!(%error, "a loop has not closed its ports in order");
                }
            }
        }
    }

    /// Asks every client to go at the end of its transaction, so many per second.
    async fn dismiss(&self, pace: Option<u32>) {
        let clients = self.house.cancels.list();
        let began = Instant::now();
        for (gone, seat) in clients.into_iter().enumerate() {
            if let Some(pace) = pace {
                let due = Duration::from_secs(1).mul_f64(gone as f64 / f64::from(pace));
                if due > began.elapsed() + PACE_STEP {
                    sleep(due.saturating_sub(began.elapsed())).await;
                }
            }
            seat.summon(Summons::Drain);
        }
    }

    /// The end: who is still there is told, where that can be done, and everything is closed.
    pub(super) async fn end(&self, mut doorways: Vec<Doorway>) {
        let ports_closed = self.close(&mut doorways);
        for seat in self.house.cancels.list() {
            seat.summon(Summons::Stop);
        }
        let closed = timeout(LAST_MOMENT, async {
            ports_closed.await;
            self.house.cancels.emptied().await;
            // What nobody waits for any more would run on at its server, with its locks.
            self.house.partings.closed().await;
            self.tenancies.close().await;
        });
        if closed.await.is_err() {
            tracing::debug!("not everybody took notice of the end");
        }
    }
}

fn ignoring(signal: &str) {
    tracing::warn!("got {signal} while shutting down, ignoring");
}

/// Somebody wants an end that is under way to come at once.
async fn hurried(signals: &mut Signals, stops: &mut mpsc::Receiver<Haste>) {
    loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            Some(_) = stops.recv() => return,
        };
        match signal {
            Signal::Stop(_) => return,
            Signal::Reload => ignoring("SIGHUP"),
            Signal::Pause => ignoring("SIGUSR1"),
            Signal::Resume => ignoring("SIGUSR2"),
        }
    }
}
