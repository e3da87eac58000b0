//! A program that is told of an alert on its standard input.

use std::io::{self, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::oneshot;

/// Between two looks whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why it did not do it.
#[derive(Debug, Error)]
pub(super) enum CommandError {
    /// It can't be run.
    #[error("cannot be run: {0}")]
    Run(#[from] io::Error),
    /// It says so.
    #[error("{0}")]
    Ended(ExitStatus),
    /// It took too long.
    #[error("ran for longer than {0:?}, and was killed")]
    Late(Duration),
    /// The thread that looks after it is gone.
    #[error("was lost")]
    Lost,
}

/// Runs a program with `input` on its standard input, and waits for its end. It gets `PATH` and
/// no other variable: ours may have secrets in them.
///
/// # Cancel safety
/// The program runs on, at most until its limit.
pub(super) async fn run(
    command: &[String],
    input: String,
    limit: Duration,
) -> Result<(), CommandError> {
    let command = command.to_vec();
    let (ended, end) = oneshot::channel();
    // Not on the runtime's threads, which the end of the process would wait for.
    thread::Builder::new().name("alert command".to_owned()).spawn(move || {
        let outcome = run_now(&command, &input, limit);
        // Nobody waits any more: the process ends.
        ended.send(outcome).unwrap_or_default();
    })?;
    end.await.map_err(|_lost| CommandError::Lost)?
}

fn run_now(command: &[String], input: &str, limit: Duration) -> Result<(), CommandError> {
    let (program, arguments) = command.split_first().ok_or(CommandError::Lost)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Less than a pipe holds; who does not read it need not.
        stdin.write_all(input.as_bytes()).unwrap_or_default();
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return if status.success() { Ok(()) } else { Err(CommandError::Ended(status)) };
        }
        if began.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Err(CommandError::Late(limit));
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &[&str], limit: Duration) -> String {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        match run_now(&command, "{\"alert\":1}", limit) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn command_reads_its_alert_and_is_bounded_in_time() {
        let minute = Duration::from_secs(60);
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(
            check(&["/bin/sh", "-c", "cat > \"$1\"; env >> \"$1\"", "sh", path], minute),
            ""
        );
        let found = std::fs::read_to_string(path).unwrap();
        assert!(found.starts_with("{\"alert\":1}") && found.contains("PATH="), "{found}");
        assert!(!found.contains("CARGO"), "{found}");
        assert_eq!(check(&["/bin/sh", "-c", "exit 3"], minute), "exit status: 3");
        assert!(check(&["/no/such/program"], minute).starts_with("cannot be run: "));
        let late = check(&["/bin/sleep", "60"], Duration::from_millis(50));
        assert_eq!(late, "ran for longer than 50ms, and was killed");
    }
}
