//! Processes as Linux shows them in `/proc`, and signals to them.

use std::fs;
use std::process::{Command, Stdio};

use super::error::{Attempt, ClusterError};

/// A process, told apart from a later one of the same number by the time of its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    parent: u32,
    state: char,
    started: u64,
}

impl Process {
    pub(super) fn of(pid: u32) -> Option<Self> {
        Self::from_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Reads `pid (name) state parent ...`; the name may hold anything, so its end is the last
    /// closing parenthesis. The start time is field 22.
    fn from_stat(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let (_, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            pid: pid.parse().ok()?,
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// Whether this very process still runs.
    pub(super) fn is_alive(&self) -> bool {
        Self::of(self.pid)
            .is_some_and(|now| now.started == self.started && !matches!(now.state, 'Z' | 'X'))
    }

    /// Whether this very process does nothing: stopped by a signal, or ended.
    pub(super) fn is_held(&self) -> bool {
        Self::of(self.pid).is_none_or(|now| {
            now.started != self.started || matches!(now.state, 'T' | 't' | 'Z' | 'X')
        })
    }
}

/// The children of a process, those that have ended but were not waited for included.
pub(super) fn children(parent: u32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| Process::of(entry.file_name().to_str()?.parse().ok()?))
        .filter(|process| process.parent == parent)
        .collect()
}

/// Sends a signal by the shell's `kill`. That one of the processes has ended is no error; that
/// none could be signalled is.
pub(super) fn signal(name: &str, pids: &[u32]) -> Result<(), ClusterError> {
    if pids.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("sh");
    command.args(["-c", "sent=1; for pid; do kill -$0 $pid && sent=0; done; exit $sent", name]);
    command.args(pids.iter().map(u32::to_string)).stderr(Stdio::null());
    let status = command.status().attempt(|| format!("send {name}"))?;
    if status.success() {
        return Ok(());
    }
    Err(ClusterError::Program {
        program: format!("kill -{name}"),
        status: status.to_string(),
        stderr: format!("no process of {pids:?} took the signal"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::program::wait_for;
    use super::*;

    #[test]
    fn name_with_parentheses_is_passed_over() {
        let mut stat = String::from("42 (a) R (b) T 7");
        for field in 5..=25 {
            stat.push_str(&format!(" {field}"));
        }
        let process = Process::from_stat(&stat).unwrap();
        assert_eq!(process, Process { pid: 42, parent: 7, state: 'T', started: 22 });
    }

    #[test]
    fn child_is_found_and_held_and_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let found = children(std::process::id());
        let process = found.iter().find(|process| process.pid == child.id()).unwrap();
        assert!(process.is_alive());
        signal("STOP", &[child.id()]).unwrap();
        let limit = std::time::Duration::from_secs(10);
        wait_for("held", limit, || Ok(process.is_held().then_some(()))).unwrap();
        assert!(process.is_alive());
        signal("KILL", &[child.id()]).unwrap();
        child.wait().unwrap();
        assert!(!process.is_alive());
        assert!(signal("CONT", &[child.id()]).is_err());
    }
}
