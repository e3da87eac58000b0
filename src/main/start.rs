//! Starting with a configuration file, and what the process is to the system: PgBouncer's flags,
//! its log and pid files, its user.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context;
use clap::{ArgAction, Args};
use pgweir::admin::Override;
use pgweir::config::ini::{Loaded, Remark, Weight};
use pgweir::config::{self, Environment, General, Problems};
use pgweir::net::host::become_user;

use super::log::Log;
use super::{environment, serve};

/// How to run: PgBouncer's flags.
#[derive(Clone, Debug, Args)]
pub(super) struct Manner {
    /// More words in the log, as `verbose`; may be given several times.
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// No log on standard error: `logfile` has it.
    #[arg(short, long)]
    quiet: bool,
    /// The user of the system to become, as `user`; takes root.
    #[arg(short, long)]
    user: Option<String>,
    /// PgBouncer's flag; refused: pgweir stays in the foreground.
    #[arg(short, long)]
    daemon: bool,
    /// PgBouncer's flag; refused: another process may listen on the same port instead.
    #[arg(short = 'R', long)]
    reboot: bool,
}

impl Manner {
    /// Says no to what there is not.
    pub(super) fn refuse(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.daemon,
            "-d: pgweir stays in the foreground. Let the service manager keep it (systemd: \
             Type=notify, without -d), or start it by `setsid pgweir -q FILE </dev/null &`"
        );
        anyhow::ensure!(
            !self.reboot,
            "-R: sockets are not taken over. Set so_reuseport = 1 in both files, start the new \
             process and end the old one with SIGTERM"
        );
        Ok(())
    }

    /// Sets what the flags say.
    pub(super) fn apply(&self, general: &mut General) {
        general.verbose = general.verbose.saturating_add(self.verbose).min(3);
        if let Some(user) = &self.user {
            general.user = Some(user.clone());
        }
    }
}

/// What has been done to the system; undone at the end.
#[derive(Debug)]
pub(super) struct Process {
    log: Log,
    _pid: Option<PidFile>,
}

impl Process {
    /// Becomes who it is to be, begins the log, and leaves its number. Without a configuration
    /// there is a log alone, for what is wrong with it.
    pub(super) fn begin(
        environment: &Environment,
        manner: &Manner,
        general: Option<&General>,
    ) -> anyhow::Result<Self> {
        let Some(general) = general else {
            super::log::begin(environment, None);
            return Ok(Self { log: Log::default(), _pid: None });
        };
        let mut general = general.clone();
        manner.apply(&mut general);
        if let Some(user) = &general.user {
            become_user(user).with_context(|| format!("user: cannot become {user}"))?;
        }
        let log = Log::new(general.logfile.as_deref(), manner.quiet).context("logfile")?;
        log.begin(environment, Some(&general));
        let pid = general.pidfile.as_deref().map(PidFile::write).transpose().context("pidfile")?;
        Ok(Self { log, _pid: pid })
    }

    pub(super) fn log(&self) -> Log {
        self.log.clone()
    }
}

/// Runs with this file, whichever format it has.
pub(super) fn run_file(file: PathBuf, manner: Manner) -> anyhow::Result<ExitCode> {
    manner.refuse()?;
    let environment = environment();
    let flags = manner.clone();
    let (variables, path) = (environment.clone(), file.clone());
    let read = move |set: &[Override]| -> Result<Loaded, Problems> {
        let mut loaded = config::file::load(&path, &variables.with(set.to_vec()))?;
        flags.apply(&mut loaded.config.general);
        Ok(loaded)
    };
    let loaded = read(&[]);
    let general = loaded.as_ref().ok().map(|loaded| &loaded.config.general);
    let process = Process::begin(&environment, &manner, general);
    let Loaded { config, remarks, .. } = loaded.with_context(|| nothing_there(&file))?;
    let process = process?;
    remark(&remarks, &[]);
    let (log, known) = (process.log(), Mutex::new(remarks));
    let source = Box::new(move |set: &[Override]| {
        // Whatever is wrong with the file: log rotation has its file anew.
        log.reopen();
        let loaded = read(set)?;
        log.follow(loaded.config.general.logfile.as_deref());
        let mut known = known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        remark(&loaded.remarks, &known);
        known.clone_from(&loaded.remarks);
        Ok(loaded)
    });
    serve(config, source, &[])
}

fn nothing_there(file: &Path) -> String {
    let name = file.display();
    if file.exists() {
        format!("{name} can't be used")
    } else {
        format!("{name} is neither a file nor a command (pgweir --help)")
    }
}

/// Logs what has not been said before.
fn remark(remarks: &[Remark], before: &[Remark]) {
    for Remark { weight, text } in remarks.iter().filter(|remark| !before.contains(remark)) {
        match weight {
            Weight::Warning => tracing::warn!("{text}"),
            Weight::Note => tracing::info!("{text}"),
        }
    }
}

/// The file with our number.
#[derive(Debug)]
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error| {
            let text = format!("{}: {error}", path.display());
            io::Error::new(error.kind(), text)
        };
        if let Ok(text) = std::fs::read_to_string(path)
            && let Ok(other) = text.trim().parse::<u32>()
            && other != std::process::id()
            && Path::new("/proc").join(other.to_string()).exists()
        {
            let what = format!("process {other} runs, whose number it has");
            return Err(named(io::Error::new(io::ErrorKind::AlreadyExists, what)));
        }
        std::fs::write(path, format!("{}\n", std::process::id())).map_err(named)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = std::fs::read_to_string(&self.0);
        let ours = ours.is_ok_and(|text| text.trim() == std::process::id().to_string());
        if ours && let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the pid file");
        }
    }
}
