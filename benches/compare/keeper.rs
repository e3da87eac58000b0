//! Child processes that never outlive the run.
//!
//! Each is started through a keeper: this program again, which starts the wanted one, tells its
//! process id, and ends it when its own standard input closes. That happens when [`Kept`] is
//! dropped and also when the run is killed in a way that leaves no time to tidy up.

use std::fs::{File, read_to_string};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// What a server of ours writes before the address that it listens on.
pub(crate) const LISTENS: &str = "listens on ";

/// How long a process may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a process is looked at while waiting for it.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Set when the user asked to stop.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Sleeps, unless the user asked to stop.
pub(crate) fn pause(duration: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + duration;
    loop {
        if INTERRUPTED.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// A running process; dropped, it has ended.
#[derive(Debug)]
pub(crate) struct Kept {
    keeper: Child,
    stdin: Option<ChildStdin>,
    pid: u32,
    log: PathBuf,
}

impl Kept {
    /// Starts `program` with its output in `log`.
    pub(crate) fn start(
        program: &Path,
        arguments: &[String],
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let mut keeper = Command::new(std::env::current_exe()?)
            .arg("keep")
            .arg(&log)
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C is for the run, which then ends its processes in order.
            .process_group(0)
            .spawn()
            .context("the keeper")?;
        let stdin = keeper.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = keeper.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let pid = line.trim().parse();
        let mut kept = Self { keeper, stdin, pid: 0, log };
        let Ok(pid) = pid else {
            bail!("{} could not be started: {}", program.display(), kept.log_tail());
        };
        kept.pid = pid;
        Ok(kept)
    }

    /// Starts this program with a subcommand that tells where it listens.
    pub(crate) fn start_own(
        arguments: &[&str],
        log: PathBuf,
    ) -> anyhow::Result<(Self, SocketAddr)> {
        let arguments: Vec<String> =
            arguments.iter().map(|&argument| argument.to_owned()).collect();
        let kept = Self::start(&std::env::current_exe()?, &arguments, log)?;
        let address = kept.wait_for_address()?;
        Ok((kept, address))
    }

    /// The process that was asked for, not its keeper.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the process has told the address that it listens on.
    pub(crate) fn wait_for_address(&self) -> anyhow::Result<SocketAddr> {
        self.wait(|| {
            let log = read_to_string(&self.log).ok()?;
            let (_, after) = log.split_once(LISTENS)?;
            let (address, _) = after.split_once(|c: char| c.is_whitespace())?;
            address.parse().ok()
        })
    }

    /// Waits until the process accepts connections on a local port.
    pub(crate) fn wait_for_port(&self, port: u16) -> anyhow::Result<SocketAddr> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.wait(|| TcpStream::connect(address).ok().map(|_| address))
    }

    /// Waits until `found` finds something, as long as the process lives.
    pub(crate) fn wait<T>(&self, mut found: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found() {
                return Ok(found);
            }
            if !Path::new(&format!("/proc/{}", self.pid)).exists() {
                bail!("it ended at once: {}", self.log_tail());
            }
            if Instant::now() > until {
                bail!("it did not get ready: {}", self.log_tail());
            }
            pause(LOOK_EVERY)?;
        }
    }

    /// The end of what the process wrote.
    pub(crate) fn log_tail(&self) -> String {
        let log = read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        if lines.is_empty() {
            return "it wrote nothing".to_owned();
        }
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // The keeper ends after its process has; a failed wait means that it is gone already.
        self.keeper.wait().ok();
    }
}

/// A local port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The keeper itself: `keep LOG PROGRAM ARGUMENT...`.
pub(crate) fn keep(arguments: &[String]) -> anyhow::Result<()> {
    let [log, program, arguments @ ..] = arguments else {
        bail!("keep LOG PROGRAM ARGUMENT...");
    };
    let log = File::options().create(true).append(true).open(log)?;
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            writeln!(&log, "{program}: {error}")?;
            bail!("{program}: {error}");
        }
    };
    let pid = child.id();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{pid}")?;
    stdout.flush()?;
    std::thread::spawn(move || {
        let mut ignored = Vec::new();
        // Ends with the run, whichever way that ends.
        std::io::stdin().read_to_end(&mut ignored).ok();
        // Nothing that is measured here leaves anything behind.
        send_signal("KILL", pid);
    });
    child.wait()?;
    Ok(())
}

/// Sends a signal to a process that this one started.
pub(crate) fn send_signal(signal: &str, pid: u32) {
    // The shell's own kill: a call into libc would need unsafe code. The child may be gone.
    Command::new("sh").arg("-c").arg(format!("kill -s {signal} {pid}")).status().ok();
}
