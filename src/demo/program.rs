//! Running a program to its end under a deadline, and waiting for conditions.
//!
//! A program that misses its deadline is killed with everything it started: it runs in a process
//! group of its own, which exists until we have waited for it.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::{Attempt, ClusterError};

/// What a program that ended has left.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

/// Runs `command` with `input` on its standard input and returns how it ended, well or not.
///
/// # Errors
/// When it can't be started, or has not ended within `limit`: then it is killed.
pub fn run(command: &mut Command, input: &str, limit: Duration) -> Result<Ended, ClusterError> {
    let program = name_of(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().attempt(|| format!("start {program}"))?;
    let stdin = child.stdin.take();
    let text = input.to_owned();
    // A program may end without reading its input; its exit status tells whether that matters.
    let writer = thread::spawn(move || stdin.map(|mut pipe| pipe.write_all(text.as_bytes()).ok()));
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait_for(&format!("{program} ends"), limit, || {
        child.try_wait().attempt(|| format!("wait for {program}"))
    });
    if status.is_err() {
        kill_group(&mut child);
    }
    writer.join().ok();
    let (stdout, stderr) = (text_of(stdout), text_of(stderr));
    Ok(Ended { status: status?, stdout, stderr })
}

/// Like [`run`], but a program that ends with an error is an error; returns standard output.
///
/// # Errors
/// As [`run`], and when the exit status is not 0.
pub(super) fn run_well(
    command: &mut Command,
    input: &str,
    limit: Duration,
) -> Result<String, ClusterError> {
    let ended = run(command, input, limit)?;
    if ended.status.success() {
        return Ok(ended.stdout);
    }
    Err(ClusterError::Program {
        program: name_of(command),
        status: ended.status.to_string(),
        stderr: ended.stderr.trim_end().to_owned(),
    })
}

/// Waits until `condition` yields a value, looking every few milliseconds.
///
/// # Errors
/// What the condition fails with, or [`ClusterError::Deadline`] after `limit`.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>, ClusterError>,
) -> Result<T, ClusterError> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() >= end {
            return Err(ClusterError::Deadline { what: what.to_owned(), limit });
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn name_of(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What arrived before an error is kept; the exit status says whether it was enough.
        pipe.map(|mut pipe| pipe.read_to_end(&mut bytes).ok());
        bytes
    })
}

fn text_of(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}

/// The child leads its group and has not been waited for, so the group's number is still its own.
fn kill_group(child: &mut Child) {
    let group = format!("-{}", child.id());
    Command::new("sh").args(["-c", "kill -s KILL -- \"$1\"", "sh", &group]).status().ok();
    child.kill().ok();
    child.wait().ok();
}
