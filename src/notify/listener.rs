//! The connection of a station: opened when somebody listens, and again when it is lost.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

use super::station::{Station, Step};
use crate::net::socket::Socket;
use crate::server::connect::{ConnectError, Target, connect};
use crate::server::processes::Processes;
use crate::wire::frame::{self, FrameError};
use crate::wire::{request, view};

/// Why a connection ended.
#[derive(Debug, Error)]
enum Lost {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("connection to server lost: {0}")]
    Io(#[from] io::Error),
    #[error("server closed the connection unexpectedly")]
    Closed,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("server sent what nobody asked for")]
    Lied,
    #[error("server did not answer in time")]
    TimedOut,
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Left(&'static str),
}

/// The longest message that is believed.
const MESSAGE_MAX: u32 = 64 * 1024;
/// So many are told before others of the loop have their turn: some 0.1 ms.
const AT_ONCE: usize = 1_000;
/// A connection on which nothing happens is asked for a sign of life.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// Between attempts to connect, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Hears for a station until nobody listens any more.
pub(super) async fn run(station: Arc<Station>, processes: Arc<Processes>) {
    let mut pause = FIRST_PAUSE;
    while !station.is_closed() {
        let Some(target) = station.target() else {
            station.lost("the database is paused");
            station.changed().await;
            continue;
        };
        let cause = match Listener::open(&station, &processes, &target).await {
            Ok(mut listener) => {
                pause = FIRST_PAUSE;
                match listener.listen().await {
                    Ok(()) => return listener.close(),
                    Err(lost) => lost,
                }
            }
            Err(lost) => lost,
        };
        let database = &target.database;
        tracing::warn!(
            server = %target.address,
            database,
            "listening connection of {database} lost: {cause}"
        );
        station.lost(&cause.to_string());
        if !matches!(cause, Lost::Left(_)) {
            let until = Instant::now() + pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
            while !station.is_closed() && Instant::now() < until {
                tokio::select! {
                    () = sleep_until(until) => {}
                    () = station.changed() => {}
                }
            }
        }
    }
}

struct Listener<'a> {
    station: &'a Station,
    processes: &'a Processes,
    socket: Socket,
    /// Of the process that listens for us.
    pid: u32,
    /// For each answer.
    limit: Duration,
    held: Vec<u8>,
    /// By when an answer must be there.
    due: Option<Instant>,
}

impl<'a> Listener<'a> {
    async fn open(
        station: &'a Station,
        processes: &'a Processes,
        target: &Target,
    ) -> Result<Self, Lost> {
        let encoding = (&b"client_encoding"[..], &*station.key().encoding);
        let name = (&b"application_name"[..], &b"pgweir listener"[..]);
        let login = connect(target, &[name, encoding]).await?;
        tracing::debug!(server = %target.address, "new listening connection");
        Ok(Self {
            station,
            processes,
            socket: login.socket,
            pid: login.key.pid,
            limit: target.connect_timeout,
            held: Vec::new(),
            due: None,
        })
    }

    /// Until nobody listens any more.
    async fn listen(&mut self) -> Result<(), Lost> {
        // What nobody waits for is asked all the same: then it is known to listen.
        self.station.catch_up();
        let mut chunk = [0; 8192];
        loop {
            match self.station.step(self.due.is_none()) {
                Step::Close => return Ok(()),
                Step::Leave(why) => return Err(Lost::Left(why)),
                Step::Wait => {}
                Step::Ask(sql) => self.ask(&sql).await?,
            }
            let until = self.due.unwrap_or_else(|| Instant::now() + QUIET_MAX);
            tokio::select! {
                read = self.socket.read(&mut chunk) => match read? {
                    0 => return Err(Lost::Closed),
                    count => {
                        self.held.extend_from_slice(chunk.get(..count).unwrap_or_default());
                        self.take().await?;
                    }
                },
                () = self.station.changed() => {}
                () = sleep_until(until) => match self.due {
                    Some(_) => return Err(Lost::TimedOut),
                    None => drop(self.station.catch_up()),
                },
            }
        }
    }

    async fn ask(&mut self, sql: &[u8]) -> Result<(), Lost> {
        let mut out = Vec::new();
        request::query(&mut out, sql);
        self.due = Some(Instant::now() + self.limit);
        match timeout(self.limit, self.socket.write_all(&out)).await {
            Ok(written) => Ok(written?),
            Err(_elapsed) => Err(Lost::TimedOut),
        }
    }

    /// Takes the messages that are complete.
    async fn take(&mut self) -> Result<(), Lost> {
        let (mut used, mut told) = (0, 0);
        while let Some((header, body)) =
            frame::message(self.held.get(used..).unwrap_or_default(), MESSAGE_MAX)?
        {
            match header.tag {
                b'A' => {
                    let heard = view::notification(body).ok_or(Lost::Lied)?;
                    told += self.station.heard(heard, self.processes);
                }
                b'Z' if self.due.take().is_some() => self.station.answered(self.pid),
                b'E' => {
                    let text = view::error_field(body, b'M').unwrap_or_default();
                    return Err(Lost::Refused(String::from_utf8_lossy(text).into_owned()));
                }
                b'C' | b'I' | b'N' | b'S' => {}
                _ => return Err(Lost::Lied),
            }
            used += header.message_len();
            if told >= AT_ONCE {
                told = 0;
                // Those whom it does not concern have their turn.
                yield_now().await;
            }
        }
        self.held.drain(..used);
        Ok(())
    }

    fn close(mut self) {
        let mut out = Vec::new();
        request::terminate(&mut out);
        // The server notices the closing itself; the word only spares it a line in its log.
        if self.socket.try_write(&out).is_ok() {
            self.socket.farewell();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::notify::tests::{ears, station};
    use crate::wire::reply;

    /// Whoever shares the loop has a turn every thousand notifications.
    #[tokio::test]
    async fn many_who_hear_do_not_hold_up_the_others() {
        let station = station();
        let _ears = ears(&station, 500, |_| vec![Box::from(&b"news"[..])]);
        let (near, _far) = tokio::net::UnixStream::pair().unwrap();
        let processes = Processes::default();
        let mut held = Vec::new();
        for _ in 0..200 {
            reply::notification(&mut held, 1, b"news", b"");
        }
        let mut listener = Listener {
            station: &station,
            processes: &processes,
            socket: Socket::Unix(near),
            pid: 1,
            limit: QUIET_MAX,
            held,
            due: None,
        };
        let turns = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                count.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        listener.take().await.unwrap();
        other.abort();
        assert!(listener.held.is_empty());
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns >= 90, "{turns} turns during 100,000 notifications");
    }
}
