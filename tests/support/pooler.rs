//! The built `pgweir` as a process of its own, with a configuration given as text.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use super::{LIMIT, eventually};

/// A running pooler. It is killed when this is dropped, and when this process dies.
#[derive(Debug)]
pub struct Pooler {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
    guard: Child,
    guard_pipe: Option<ChildStdin>,
    folder: Option<tempfile::TempDir>,
}

impl Pooler {
    /// Runs `pgweir run FILE`, with `toml` in the file, and waits until it listens. The text must
    /// say `listen_port = 0`.
    #[track_caller]
    pub fn start(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), toml);
        let file = folder.path().join(FILE);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
        let mut pooler = Self::spawn(command.arg("run").arg(file).stdin(Stdio::null()));
        pooler.folder = Some(folder);
        pooler
    }

    /// Runs `pgweir FILE` with these arguments before it, with `ini` in the file, and waits until it
    /// listens. `FOLDER` in the text is a folder that goes with it, and holds the file.
    #[track_caller]
    pub fn start_ini(ini: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(INI);
        std::fs::write(&file, ini.replace("FOLDER", &folder.path().display().to_string())).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
        let mut pooler = Self::spawn(command.args(arguments).arg(file).stdin(Stdio::null()));
        pooler.folder = Some(folder);
        pooler
    }

    /// The folder with the file that it was started with.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// Replaces the file that it was started with.
    pub fn rewrite(&self, toml: &str) {
        write(self.folder.as_ref().unwrap().path(), toml);
    }

    /// Runs `pgweir` with these arguments and waits until it listens.
    #[track_caller]
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
        Self::spawn(command.args(arguments).stdin(Stdio::null()))
    }

    /// Runs this command, which is `pgweir` or becomes it, and waits until it listens.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (guard, guard_pipe) = start_guard(child.id());
        let log = Arc::new(Mutex::new(String::new()));
        let (found, port) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        collect(stderr, Arc::clone(&log), |_| ());
        collect(stdout, Arc::clone(&log), move |line| {
            if let Some(at) = line.strip_prefix(LISTENS) {
                let port = at.rsplit_once(':').and_then(|(_, port)| port.trim().parse().ok());
                found.send(port.unwrap_or(0)).ok();
            }
        });
        let guard_pipe = Some(guard_pipe);
        let mut pooler = Self { child, port: 0, log, guard, guard_pipe, folder: None };
        match port.recv_timeout(LIMIT) {
            Ok(port) => pooler.port = port,
            Err(error) => panic!("pgweir does not listen ({error}); it said:\n{}", pooler.log()),
        }
        pooler
    }

    /// The port of the address that it listens on first; 0 for a unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection string for clients.
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The process id, to look at its memory, or to signal while this value lives.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output and standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal such as `HUP`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -$0 $1", name, &pid]).status().unwrap();
        assert!(sent.success(), "pgweir is not running; it said:\n{}", self.log());
    }

    /// Ends it by SIGTERM and returns how it ended.
    #[track_caller]
    pub fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for its end and returns how it ended.
    #[track_caller]
    pub fn ended(mut self) -> ExitStatus {
        let mut status = None;
        eventually("pgweir ends", LIMIT, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if let Some(mut pipe) = self.guard_pipe.take() {
            pipe.write_all(b"ended\n").ok();
        }
        self.guard.wait().ok();
        if thread::panicking() {
            eprintln!("pgweir said:\n{}", self.log());
        }
    }
}

/// Writes the file whole, as an editor does: nobody reads half of it.
fn write(folder: &Path, toml: &str) {
    // Tests run beside each other, and the pages have one port by default.
    let pages = if toml.contains("http_listen") { "" } else { "http_listen = \"\"\n" };
    let draft = folder.join("draft");
    std::fs::write(&draft, format!("{pages}{toml}")).unwrap();
    std::fs::rename(draft, folder.join(FILE)).unwrap();
}

fn collect(
    pipe: impl Read + Send + 'static,
    log: Arc<Mutex<String>>,
    look: impl Fn(&str) + Send + 'static,
) {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            let line = String::from_utf8_lossy(&bytes);
            log.lock().unwrap().push_str(&line);
            look(&line);
            bytes.clear();
        }
    });
}

/// A shell that kills the pooler when we die without a word; only if that number still is a
/// `pgweir`.
fn start_guard(pid: u32) -> (Child, ChildStdin) {
    let script = "trap '' HUP INT TERM; read -r word && exit; \
                  [ /proc/$1/exe -ef \"$2\" ] && kill -KILL $1";
    let mut command = Command::new("sh");
    command.args(["-c", script, "pgweir-guard", &pid.to_string(), env!("CARGO_BIN_EXE_pgweir")]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut guard = command.spawn().unwrap();
    let pipe = guard.stdin.take().unwrap();
    (guard, pipe)
}

const FILE: &str = "pooler.toml";
const INI: &str = "pgbouncer.ini";
const LISTENS: &str = "pgweir listens on ";
