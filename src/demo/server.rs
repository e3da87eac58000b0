//! One throwaway Postgres server: its process, its configuration, and a superuser's psql.
//!
//! Only processes that this value has started are ever signalled: the postmaster is our child and
//! keeps its number until we have waited for it; its children are looked up, and signalled, while
//! the postmaster is stopped and can't reap them.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::error::{Attempt, ClusterError};
use super::install::Install;
use super::port::PortLease;
use super::procfs::{self, Process};
use super::program::{run, run_well, wait_for};

/// One Postgres server. It is killed, and its folder removed, when its cluster is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    name: String,
    install: Arc<Install>,
    /// The folder of the cluster: sockets and logs.
    folder: PathBuf,
    data: PathBuf,
    lease: PortLease,
    postmaster: Mutex<Postmaster>,
}

#[derive(Debug)]
enum Postmaster {
    Stopped,
    Running(Child),
    /// All its processes are held by SIGSTOP.
    Paused(Child),
}

/// How a server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for the clients to leave.
    Smart,
    /// Ends sessions with an error and shuts down in order.
    Fast,
    /// Ends everything at once; the next start recovers.
    Immediate,
}

impl PostgresServer {
    pub(super) fn new(
        name: &str,
        install: &Arc<Install>,
        folder: &Path,
        lease: PortLease,
    ) -> PostgresServer {
        Self {
            name: name.to_owned(),
            install: Arc::clone(install),
            folder: folder.to_owned(),
            data: folder.join(name),
            lease,
            postmaster: Mutex::new(Postmaster::Stopped),
        }
    }

    /// `primary`, `replica1`, `replica2`, ...
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The TCP port on 127.0.0.1, kept over restarts.
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// The folder of the unix socket, for `host=` in a connection string. Only the user that runs
    /// the servers, and root, may enter it.
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The connection string of a TCP connection.
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        let (user, password, database) = (encode(user), encode(password), encode(database));
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port())
    }

    /// The process id of the postmaster, unless stopped.
    pub fn pid(&self) -> Option<u32> {
        match &*self.postmaster.lock() {
            Postmaster::Stopped => None,
            Postmaster::Running(child) | Postmaster::Paused(child) => Some(child.id()),
        }
    }

    /// Everything that the server has logged so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs SQL as the superuser over the unix socket; returns the rows, one per line, fields
    /// separated by `|`. Each statement is a transaction of its own.
    ///
    /// # Errors
    /// When a statement fails, or all of it takes more than 30 s.
    pub fn sql(&self, database: &str, text: &str) -> Result<String, ClusterError> {
        let mut psql = self.install.command("psql", &self.folder);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]);
        psql.arg(&self.folder).args(["-p", &self.port().to_string(), "-d", database, "-f", "-"]);
        Ok(run_well(&mut psql, text, LIMIT)?.trim_end_matches('\n').to_owned())
    }

    /// Whether the server lets clients in at this moment, asked over its port.
    pub fn is_ready(&self) -> bool {
        let mut command = self.install.command("pg_isready", &self.folder);
        command.args(["-q", "-t", "1", "-h", "127.0.0.1", "-p", &self.port().to_string()]);
        run(&mut command, "", LIMIT).is_ok_and(|ended| ended.status.success())
    }

    /// Starts a stopped server, on the same port and data, and waits until it lets clients in.
    ///
    /// # Errors
    /// When it runs already, ends again, or isn't ready within 30 s.
    pub fn start(&self) -> Result<(), ClusterError> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts the process and returns at once.
    pub(super) fn launch(&self) -> Result<(), ClusterError> {
        let mut postmaster = self.postmaster.lock();
        if !matches!(*postmaster, Postmaster::Stopped) {
            return Err(ClusterError::Running(self.name.clone()));
        }
        let path = self.log_path();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .attempt(|| format!("open {}", path.display()))?;
        let errors = log.try_clone().attempt(|| format!("open {}", path.display()))?;
        // The watchdog knows a server by its working folder, so it is set before the start.
        let mut command = self.install.command("postgres", &self.data);
        command.arg("-D").arg(&self.data).process_group(0);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().attempt(|| format!("start {}", self.name))?;
        *postmaster = Postmaster::Running(child);
        Ok(())
    }

    /// Waits until the server lets clients in.
    pub(super) fn wait_ready(&self) -> Result<(), ClusterError> {
        self.wait_state("lets clients in", |state| state == "ready")
    }

    /// Waits until the server has its port and its socket.
    pub(super) fn wait_bound(&self) -> Result<(), ClusterError> {
        self.wait_state("has bound its port", |_| true)
    }

    /// Waits for a state that the server itself has noted in `postmaster.pid`, whose first line is
    /// the process and whose eighth line, there once the port is bound, is the state.
    fn wait_state(&self, what: &str, is_it: impl Fn(&str) -> bool) -> Result<(), ClusterError> {
        wait_for(&format!("{} {what}", self.name), LIMIT, || {
            let mut postmaster = self.postmaster.lock();
            let Postmaster::Running(child) = &mut *postmaster else {
                return Err(ClusterError::NotRunning(self.name.clone()));
            };
            if child.try_wait().attempt(|| format!("wait for {}", self.name))?.is_some() {
                *postmaster = Postmaster::Stopped;
                drop(postmaster);
                return Err(self.why_not_started());
            }
            let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            let mut lines = text.lines();
            let ours = lines.next() == Some(child.id().to_string().as_str());
            Ok((ours && lines.nth(6).is_some_and(|state| is_it(state.trim()))).then_some(()))
        })
    }

    /// Asks the server to stop and returns at once. Nothing is asked of a stopped server.
    ///
    /// # Errors
    /// When the signal can't be sent.
    pub fn request_stop(&self, mode: StopMode) -> Result<(), ClusterError> {
        let signal = match mode {
            StopMode::Smart => "TERM",
            StopMode::Fast => "INT",
            StopMode::Immediate => "QUIT",
        };
        match &*self.postmaster.lock() {
            Postmaster::Stopped => Ok(()),
            Postmaster::Running(child) | Postmaster::Paused(child) => {
                procfs::signal(signal, &[child.id()])
            }
        }
    }

    /// Stops the server and waits until it has ended. A stopped server is left alone, a paused one
    /// goes on first.
    ///
    /// # Errors
    /// When it has not ended within 30 s.
    pub fn stop(&self, mode: StopMode) -> Result<(), ClusterError> {
        self.resume()?;
        self.request_stop(mode)?;
        self.wait_ended(LIMIT)
    }

    /// [`stop`](Self::stop) in fast mode, then [`start`](Self::start).
    ///
    /// # Errors
    /// As these two.
    pub fn restart(&self) -> Result<(), ClusterError> {
        self.stop(StopMode::Fast)?;
        self.start()
    }

    /// Kills the postmaster and all its children by SIGKILL, and returns when they are gone.
    ///
    /// # Errors
    /// When the processes can't be signalled or don't go.
    pub fn kill(&self) -> Result<(), ClusterError> {
        let mut postmaster = self.postmaster.lock();
        let child = match &mut *postmaster {
            Postmaster::Stopped => return Ok(()),
            Postmaster::Running(child) | Postmaster::Paused(child) => child,
        };
        let children = hold(child)?;
        let mut pids: Vec<u32> = children.iter().map(|process| process.pid).collect();
        pids.push(child.id());
        procfs::signal("KILL", &pids)?;
        child.wait().attempt(|| format!("wait for {}", self.name))?;
        *postmaster = Postmaster::Stopped;
        wait_for("the killed server's processes are gone", LIMIT, || {
            Ok((!children.iter().any(Process::is_alive)).then_some(()))
        })
    }

    /// Holds every process of the server by SIGSTOP: connections stay, and nothing answers.
    /// The kernel still accepts new TCP connections on its behalf.
    ///
    /// # Errors
    /// When it is not running, or does not stop in time.
    pub fn pause(&self) -> Result<(), ClusterError> {
        let mut postmaster = self.postmaster.lock();
        match std::mem::replace(&mut *postmaster, Postmaster::Stopped) {
            Postmaster::Stopped => Err(ClusterError::NotRunning(self.name.clone())),
            Postmaster::Running(mut child) | Postmaster::Paused(mut child) => {
                let held = hold(&mut child).and_then(|children| {
                    let pids: Vec<u32> = children.iter().map(|process| process.pid).collect();
                    procfs::signal("STOP", &pids)?;
                    wait_for("the server's processes are stopped", LIMIT, || {
                        Ok(children.iter().all(Process::is_held).then_some(()))
                    })
                });
                *postmaster = Postmaster::Paused(child);
                held
            }
        }
    }

    /// Lets a paused server go on; any other is left alone.
    ///
    /// # Errors
    /// When the signal can't be sent.
    pub fn resume(&self) -> Result<(), ClusterError> {
        let mut postmaster = self.postmaster.lock();
        match std::mem::replace(&mut *postmaster, Postmaster::Stopped) {
            Postmaster::Paused(child) => {
                let mut pids: Vec<u32> =
                    procfs::children(child.id()).iter().map(|process| process.pid).collect();
                pids.push(child.id());
                *postmaster = Postmaster::Running(child);
                procfs::signal("CONT", &pids)
            }
            other => {
                *postmaster = other;
                Ok(())
            }
        }
    }

    /// Makes a primary of a replica and waits until it takes writes.
    ///
    /// # Errors
    /// When it is no replica, or is not promoted within 30 s.
    pub fn promote(&self) -> Result<(), ClusterError> {
        self.sql("postgres", "SELECT pg_promote(false)")?;
        wait_for(&format!("{} is promoted", self.name), LIMIT, || {
            let replica = self.sql("postgres", "SELECT pg_is_in_recovery()")?;
            Ok((replica == "f").then_some(()))
        })
    }

    /// Lets a replica stream from another server of its cluster, a promoted one for example.
    ///
    /// # Errors
    /// When a setting can't be changed.
    pub fn follow(&self, upstream: &PostgresServer) -> Result<(), ClusterError> {
        self.set("primary_conninfo", &upstream.conninfo(&self.name))
    }

    /// Lets a replica apply what it receives this much later.
    ///
    /// # Errors
    /// When the setting can't be changed.
    pub fn set_replay_delay(&self, delay: Duration) -> Result<(), ClusterError> {
        self.set("recovery_min_apply_delay", &format!("{}ms", delay.as_millis()))
    }

    /// Changes a setting that needs no restart, for this server and from now on.
    ///
    /// # Errors
    /// When Postgres refuses the value, or is not running.
    pub fn set(&self, setting: &str, value: &str) -> Result<(), ClusterError> {
        let value = quote(value);
        self.sql("postgres", &format!("ALTER SYSTEM SET {setting} = {value}"))?;
        self.reload()
    }

    /// Replaces the rules that come before the built-in ones in `pg_hba.conf`, and reloads.
    ///
    /// # Errors
    /// When the file can't be written or the server is not running.
    pub fn set_hba(&self, rules: &[&str]) -> Result<(), ClusterError> {
        self.write_hba(rules)?;
        self.reload()
    }

    /// Makes the server read its files again; returns when new sessions see the effect.
    ///
    /// # Errors
    /// When it is not running.
    pub fn reload(&self) -> Result<(), ClusterError> {
        let loaded = || self.sql("postgres", "SELECT pg_conf_load_time()");
        let before = loaded()?;
        self.sql("postgres", "SELECT pg_reload_conf()")?;
        wait_for("the configuration is loaded", LIMIT, || Ok((loaded()? != before).then_some(())))
    }

    /// What a replica of the given name needs to stream from this server.
    pub(super) fn conninfo(&self, replica: &str) -> String {
        let folder = self.folder.display();
        format!("host={folder} port={} user=postgres application_name={replica}", self.port())
    }

    pub(super) fn write_hba(&self, rules: &[impl AsRef<str>]) -> Result<(), ClusterError> {
        let mut text = String::from("local all all trust\nlocal replication all trust\n");
        for rule in rules {
            text.push_str(rule.as_ref());
            text.push('\n');
        }
        text.push_str("host all all all scram-sha-256\nhost replication all all scram-sha-256\n");
        self.write("pg_hba.conf", &text)
    }

    /// Writes `postgresql.conf`; a later setting overrides an earlier one of the same name.
    pub(super) fn write_settings(&self, settings: &[(String, String)]) -> Result<(), ClusterError> {
        let mut text = String::new();
        let ours = [
            ("port".to_owned(), self.port().to_string()),
            ("unix_socket_directories".to_owned(), self.folder.display().to_string()),
        ];
        for (name, value) in ours.iter().chain(settings) {
            writeln!(text, "{name} = {}", quote(value)).ok();
        }
        self.write("postgresql.conf", &text)
    }

    pub(super) fn write(&self, file: &str, text: &str) -> Result<(), ClusterError> {
        let path = self.data.join(file);
        fs::write(&path, text).attempt(|| format!("write {}", path.display()))?;
        self.install.give(&path)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn why_not_started(&self) -> ClusterError {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(15).collect();
        if lines.iter().any(|line| line.contains("Address already in use")) {
            return ClusterError::PortTaken(self.port());
        }
        let log = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        ClusterError::DidNotStart { server: self.name.clone(), log }
    }

    fn wait_ended(&self, limit: Duration) -> Result<(), ClusterError> {
        wait_for(&format!("{} ends", self.name), limit, || {
            let mut postmaster = self.postmaster.lock();
            let (Postmaster::Running(child) | Postmaster::Paused(child)) = &mut *postmaster else {
                return Ok(Some(()));
            };
            if child.try_wait().attempt(|| format!("wait for {}", self.name))?.is_none() {
                return Ok(None);
            }
            *postmaster = Postmaster::Stopped;
            Ok(Some(()))
        })
    }

    /// A killed postmaster leaves a small piece of System V shared memory, noted in the seventh
    /// line of its pid file, for the next start in the same folder to remove.
    fn free_shared_memory(&self) {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let id = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
        if let Some(id) = id {
            let mut command = self.install.command_at(Path::new("ipcrm"), &self.folder);
            run(command.args(["-m", id]), "", LIMIT).ok();
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let paused = matches!(*self.postmaster.lock(), Postmaster::Paused(_));
        let ended = !paused
            && self.request_stop(StopMode::Immediate).is_ok()
            && self.wait_ended(Duration::from_secs(5)).is_ok();
        if !ended {
            // If this fails too the watchdog, which looks at all processes, does the rest.
            self.kill().ok();
        }
        self.free_shared_memory();
    }
}

/// Stops the postmaster, so that it neither starts nor reaps anything, and lists its children.
fn hold(postmaster: &mut Child) -> Result<Vec<Process>, ClusterError> {
    let pid = postmaster.id();
    procfs::signal("STOP", &[pid])?;
    wait_for("the postmaster is stopped", LIMIT, || {
        Ok(Process::of(pid).is_none_or(|process| process.is_held()).then_some(()))
    })?;
    Ok(procfs::children(pid))
}

/// A string constant, as both SQL and `postgresql.conf` read it.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").ok();
        }
        encoded
    })
}

const LIMIT: Duration = Duration::from_secs(30);
