//! What the system knows about a process: its CPU time, its memory and its system calls.

use std::fs::{read_dir, read_to_string};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::keeper::{pause, send_signal};

/// CPU time of all threads of a process; of those that ended, nothing.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let mut total = 0_u64;
    for thread in read_dir(format!("/proc/{pid}/task")).context("the process has ended")? {
        let Ok(schedstat) = read_to_string(thread?.path().join("schedstat")) else { continue };
        let on_cpu = schedstat.split_whitespace().next().unwrap_or_default();
        total += on_cpu.parse::<u64>().context("schedstat")?;
    }
    if total > 0 { Ok(Duration::from_nanos(total)) } else { cpu_ticks(pid) }
}

/// The same in hundredths of a second, for a kernel without schedstat.
fn cpu_ticks(pid: u32) -> anyhow::Result<Duration> {
    let stat = read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut tick = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis((tick() + tick()) * 10))
}

/// Memory of a process in bytes, pages shared with others counted in part.
pub(crate) fn memory(pid: u32) -> anyhow::Result<u64> {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    let kilobytes = line.trim().trim_end_matches("kB").trim();
    Ok(kilobytes.parse::<u64>()? * 1024)
}

/// Memory once it has stopped to shrink, for at most `patience`.
pub(crate) fn settled_memory(pid: u32, patience: Duration) -> anyhow::Result<u64> {
    let begin = Instant::now();
    let mut least = memory(pid)?;
    let mut since = begin;
    while since.elapsed() < Duration::from_secs(1) && begin.elapsed() < patience {
        pause(Duration::from_millis(100))?;
        let now = memory(pid)?;
        if now + 64 * 1024 < least {
            since = Instant::now();
        }
        least = least.min(now);
    }
    Ok(least)
}

/// How system calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracer {
    /// By the kernel's trace points: the process runs at full speed.
    Perf,
    /// By stopping the process at each call: it runs slowly, and so gathers more per call.
    Strace,
}

impl Tracer {
    /// The best that is installed and allowed.
    pub(crate) fn find() -> Option<Self> {
        let works = |program: &str, arguments: &[&str]| {
            Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        if works("perf", &["stat", "-e", &events(), "true"]) {
            return Some(Self::Perf);
        }
        works("strace", &["-c", "true"]).then_some(Self::Strace)
    }

    /// Counts the calls of a process by name for `window`, and passes over those it never made.
    ///
    /// Calls `mark` when counting begins and when it ends: to attach and to let go take longer.
    pub(crate) fn count(
        self,
        pid: u32,
        window: Duration,
        folder: &Path,
        mut mark: impl FnMut(),
    ) -> anyhow::Result<Vec<(String, u64)>> {
        let pid = pid.to_string();
        let file = folder.join("calls");
        let mut command = Command::new(match self {
            Self::Perf => "perf",
            Self::Strace => "strace",
        });
        match self {
            Self::Perf => command.args(["stat", "-x,", "-e", &events()]).arg("-p").arg(&pid),
            Self::Strace => command.args(["-c", "-f", "-qq", "-p", &pid]),
        };
        command.arg("-o").arg(&file);
        if self == Self::Perf {
            // Perf counts from the start of this command to its end.
            let script = format!("echo begin; sleep {}", window.as_secs_f64());
            command.args(["--", "sh", "-c", &script]);
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().context("a pipe")?;
        let mut lines = BufReader::new(stdout);
        if self == Self::Perf {
            lines.read_line(&mut String::new())?;
            mark();
            pause(window)?;
            mark();
        } else {
            mark();
            pause(window)?;
            send_signal("INT", child.id());
            child.wait()?;
            mark();
        }
        child.wait()?;
        let counts = self.parse(&read_to_string(&file).unwrap_or_default());
        if counts.is_empty() {
            bail!("{self:?} counted no calls");
        }
        Ok(counts)
    }

    fn parse(self, report: &str) -> Vec<(String, u64)> {
        let line = |line: &str| match self {
            Self::Perf => {
                let mut fields = line.split(',');
                let count: u64 = fields.next()?.parse().ok()?;
                let name = fields.find_map(|field| field.strip_prefix(EVENT))?;
                Some((name.to_owned(), count))
            }
            Self::Strace => {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let name = *fields.last()?;
                let count: u64 = fields.get(3)?.parse().ok()?;
                (name != "total").then(|| (name.to_owned(), count))
            }
        };
        let mut counts: Vec<_> = report.lines().filter_map(line).filter(|(_, n)| *n > 0).collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

const EVENT: &str = "syscalls:sys_enter_";

/// The calls that a pooler may make while it works; perf has no cheap way to name them all.
const CALLS: [&str; 30] = [
    "read",
    "write",
    "readv",
    "writev",
    "recvfrom",
    "sendto",
    "recvmsg",
    "sendmsg",
    "epoll_wait",
    "epoll_pwait",
    "epoll_ctl",
    "poll",
    "ppoll",
    "io_uring_enter",
    "futex",
    "accept4",
    "socket",
    "connect",
    "close",
    "shutdown",
    "getsockopt",
    "setsockopt",
    "getsockname",
    "getpeername",
    "fcntl",
    "timerfd_settime",
    "clock_nanosleep",
    "sched_yield",
    "mmap",
    "madvise",
];

fn events() -> String {
    CALLS.map(|call| format!("{EVENT}{call}")).join(",")
}
