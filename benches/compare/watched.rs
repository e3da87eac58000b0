//! What it costs pgweir to be watched, and how soon it answers those who watch.
//!
//! The load is that of the simplest case, with as many clients as there may be. Two pgweirs take
//! turns: one that nobody looks at, and one whose metrics are scraped and whose console is asked
//! once a second.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::cases::{PLAIN, Turn, busy};
use crate::keeper::{free_port, pause};
use crate::load::Crowd;
use crate::peers::{Peer, Pooler, Setup};
use crate::run::Run;
use crate::script;
use crate::wire;

/// As many clients as there may be.
const CLIENTS: usize = 50;

/// How often it is looked at while costs are measured.
const EVERY: Duration = Duration::from_secs(1);

/// The same while answers are timed.
const OFTEN: Duration = Duration::from_millis(20);

/// How long answers are timed.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// What the console is asked each time.
const COMMANDS: [&str; 5] =
    ["SHOW POOLS", "SHOW STATS", "SHOW LISTS", "SHOW CLIENTS", "SHOW SERVERS"];

/// An answer may take so long; then nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Of the one that nobody looks at, by round.
    pub(crate) quiet: Vec<Turn>,
    pub(crate) watched: Vec<Turn>,
    /// What was asked, and how long each answer took.
    pub(crate) answers: Vec<Answer>,
}

/// One kind of question.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) to: &'static str,
    pub(crate) took: Vec<Duration>,
}

/// Measures both; `None` where pgweir can't be started.
pub(crate) fn measure(run: &mut Run) -> anyhow::Result<Option<Watched>> {
    const NAME: &str = "watched";
    let setup = Setup { clients_max: CLIENTS, ..PLAIN };
    let Some(quiet) = run.start(Peer::Pgweir, &setup, NAME)? else { return Ok(None) };
    let pages = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let setup = Setup { pages: Some(pages), ..setup };
    let Some(seen) = run.start(Peer::Pgweir, &setup, NAME)? else { return Ok(None) };
    let mut all = Watched::default();
    for _ in 0..run.rounds {
        all.quiet.push(turn(run, &quiet)?);
        let watcher = Watcher::start(seen.target.address, pages, EVERY);
        all.watched.push(turn(run, &seen)?);
        watcher.stop()?;
    }
    // There is room only when the last crowd has left.
    pause(Duration::from_secs(1))?;
    let crowd = Crowd::connect(&seen.target, &script::simple(), CLIENTS)?;
    crowd.go();
    pause(run.warm_up)?;
    let watcher = Watcher::start(seen.target.address, pages, OFTEN);
    pause(ANSWERS_WITHIN.max(run.window))?;
    all.answers = watcher.stop()?;
    crowd.check()?;
    Ok(Some(all))
}

fn turn(run: &Run, pooler: &Pooler) -> anyhow::Result<Turn> {
    let crowd = Crowd::connect(&pooler.target, &script::simple(), CLIENTS)?;
    busy(run, &crowd, pooler)
}

/// Somebody who looks at the console and at the metrics again and again, on a thread of its own.
struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<Answer>>>,
}

impl Watcher {
    fn start(console: SocketAddr, pages: SocketAddr, every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || watch(console, pages, every, &stopped));
        Self { stop, thread }
    }

    /// What it has seen; an error if it was not answered.
    fn stop(self) -> anyhow::Result<Vec<Answer>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the watcher panicked")?
    }
}

fn watch(
    console: SocketAddr,
    pages: SocketAddr,
    every: Duration,
    stopped: &AtomicBool,
) -> anyhow::Result<Vec<Answer>> {
    let kinds = ["a new console"].into_iter().chain(COMMANDS).chain(["/metrics"]);
    let mut answers: Vec<_> = kinds.map(|to| Answer { to, took: Vec::new() }).collect();
    let mut open = Console::open(console)?;
    while !stopped.load(Ordering::Relaxed) {
        let began = Instant::now();
        for answer in &mut answers {
            let asked = Instant::now();
            match answer.to {
                "a new console" => open = Console::open(console)?,
                "/metrics" => scrape(pages)?,
                command => open.ask(command)?,
            }
            answer.took.push(asked.elapsed());
        }
        std::thread::sleep(every.saturating_sub(began.elapsed()));
    }
    Ok(answers)
}

/// A connection to the console, whose users need no password here.
struct Console(TcpStream);

impl Console {
    fn open(at: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(at).context("console")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut console = Self(stream);
        let mut out = Vec::new();
        wire::startup(&mut out, &[("user", "bench"), ("database", "pgweir")]);
        console.0.write_all(&out)?;
        console.wait_until_ready()?;
        Ok(console)
    }

    fn ask(&mut self, command: &str) -> anyhow::Result<()> {
        let mut out = Vec::new();
        wire::query(&mut out, command);
        self.0.write_all(&out)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let (mut scan, mut chunk) = (wire::Scan::default(), [0; 16 * 1024]);
        loop {
            let count = self.0.read(&mut chunk).context("console")?;
            let (mut ready, mut failed) = (false, count == 0);
            scan.feed(chunk.get(..count).unwrap_or_default(), |kind| {
                ready |= kind == b'Z';
                failed |= kind == b'E';
            });
            if failed {
                bail!("console: {}", scan.error());
            }
            if ready {
                return Ok(());
            }
        }
    }
}

/// As Prometheus does, but for the connection, which is a new one each time.
fn scrape(pages: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(pages).context("/metrics")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page)?;
    if !page.starts_with(b"HTTP/1.1 200 ") {
        bail!("/metrics: {}", String::from_utf8_lossy(page.get(..60).unwrap_or(&page)));
    }
    Ok(())
}
