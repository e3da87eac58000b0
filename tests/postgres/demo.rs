//! The demonstration, with a stand-in for the pooler: the primary's own port.

use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};
use std::{env, fs};

use pgweir::demo::{Mode, Outcome, RunningPooler, run};

use crate::support::{LIMIT, eventually};

/// Sends clients to the primary itself, the first host of the configuration's only database.
fn no_pooler(toml: &str) -> Result<RunningPooler, Box<dyn std::error::Error + Send + Sync>> {
    let hosts = toml.lines().find_map(|line| line.strip_prefix("hosts = [\"127.0.0.1:"));
    let port = hosts.and_then(|hosts| hosts.split('"').next()).ok_or("no port")?;
    Ok(RunningPooler { port: port.parse()?, stop: Box::new(|| ()) })
}

#[test]
fn check_fails_on_what_a_pooler_does_and_on_no_others_without_one() {
    let mut out = Vec::new();
    let outcome = run(Mode::Check, 0, &mut out, no_pooler).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert_eq!(outcome, Outcome::Failed, "{out}");
    let failed: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("FAILED  ")).collect();
    let expected = [
        "20 clients at once, through pgweir: they share the pool's 4",
        "Servers open after all this, seen from Postgres",
        "A read runs on a replica, and pgweir says which one and why",
        "A write runs on the primary",
        "What pgweir has found out about the servers",
        "Why does this not run on a replica? Functions may write unless they are declared otherwise",
        "Through pgweir a session reads what it wrote: from the primary until a replica has it",
        "How far the replicas are behind 2 seconds after a write",
        "A session that wants what is at most a second old does not read from them then",
        "Stop the primary and promote the first replica, under a client that stays connected",
        "... and it is read from again",
        "Where requests ran since the start, and why",
        "A database over two servers, a and b: eight users and their orders, written through pgweir",
        "... are where the hash of their key says: the users of a and those of b, asked directly",
        "Where is user 15?",
        "The shards",
        "Which shard is this for, and why?",
        "... and this?",
        "Rows of both in one order: the four largest orders, with names from the table that both have",
        "Groups over both",
        "A transaction on one user's shard",
        "One over two shards is refused, and nothing of it is done",
        "So is what can't be put together exactly of what each shard says",
        "A shard named by hand answers alone",
        "Shard b stops: its users can't be had, those of a can",
    ];
    assert_eq!(failed, expected, "{out}");
}

#[test]
fn pooler_that_does_not_start_ends_the_demonstration() {
    let error = run(Mode::Check, 0, &mut io::sink(), |_| Err("no luck".into())).unwrap_err();
    assert_eq!(error.to_string(), "the pooler did not start: no luck");
}

#[test]
fn interrupted_demonstration_leaves_nothing() {
    for signal in ["INT", "TERM", "HUP"] {
        let mut demo = Command::new(env::current_exe().unwrap())
            .args(["--exact", "demo::demonstration_that_waits_for_a_signal"])
            .args(["--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
        let folder = |line: String| line.split_once(" in /").map(|(_, path)| format!("/{path}"));
        let until_there = lines.by_ref().take_while(|line| !line.starts_with("pgweir listens"));
        let folders: Vec<String> = until_there.filter_map(folder).collect();
        assert_eq!(folders.len(), 3, "{folders:?}");
        assert!(lines.any(|line| line.starts_with("Ctrl-C ends")));
        assert!(folders.iter().all(|folder| fs::exists(folder).unwrap()), "{folders:?}");
        let pid = demo.id().to_string();
        Command::new("sh").args(["-c", "kill -$0 $1", signal, &pid]).status().unwrap();
        let mut status = None;
        eventually("the demonstration ends", LIMIT, || {
            status = demo.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{signal}: {status:?}");
        assert!(!folders.iter().any(|folder| fs::exists(folder).unwrap()), "{signal}");
    }
}

/// The other half of [`interrupted_demonstration_leaves_nothing`], in a process of its own.
#[test]
#[ignore = "run by interrupted_demonstration_leaves_nothing"]
fn demonstration_that_waits_for_a_signal() {
    assert_eq!(run(Mode::Show, 0, &mut io::stdout(), no_pooler).unwrap(), Outcome::Well);
}
