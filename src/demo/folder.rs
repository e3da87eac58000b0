//! The temporary folder of one cluster, and the watchdog that removes it when we can't.
//!
//! The watchdog is a small shell process that waits on a pipe from us. When the pipe closes
//! without a word, as it does when we are killed, it ends the servers and removes the folder. It
//! ends a process only if that runs our `postgres` binary *and* works in one of this folder's data
//! folders. It runs as the user that runs the servers and in a process group of its own, so that
//! neither Ctrl-C nor a signal to our group ends it.

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::{env, io};

use super::error::{Attempt, ClusterError};
use super::install::Install;

/// A private folder that does not outlive us.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    watchdog: Child,
    /// Closing it without a word makes the watchdog clean up.
    pipe: Option<ChildStdin>,
}

impl Folder {
    pub(super) fn create(install: &Install) -> Result<Self, ClusterError> {
        let path = create_private(&env::temp_dir(), "pgweir-")?;
        // From here on the folder is removed if anything fails.
        let watched = install.give(&path).and_then(|()| start_watchdog(install, &path));
        match watched {
            Ok((watchdog, pipe)) => Ok(Self { path, watchdog, pipe: Some(pipe) }),
            Err(error) => {
                fs::remove_dir_all(&path).ok();
                Err(error)
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    /// The servers have ended by now: their values are dropped before this one.
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.path).is_ok();
        if let Some(mut pipe) = self.pipe.take()
            && removed
        {
            // If this fails the watchdog looks, and finds nothing to do.
            pipe.write_all(b"removed\n").ok();
        }
        self.watchdog.wait().ok();
    }
}

/// Makes a folder that only we may enter, with `prefix` and a random part as its name.
pub(super) fn create_private(parent: &Path, prefix: &str) -> Result<PathBuf, ClusterError> {
    loop {
        let path = parent.join(format!("{prefix}{:08x}", rand::random::<u32>()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => {
                created.attempt(|| format!("create {}", path.display()))?;
                return Ok(path);
            }
        }
    }
}

fn start_watchdog(install: &Install, path: &Path) -> Result<(Child, ChildStdin), ClusterError> {
    let mut command = install.command_at(Path::new("sh"), Path::new("/"));
    command.args(["-c", WATCHDOG, "pgweir-watchdog"]).arg(path).arg(install.program("postgres"));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut watchdog = command.spawn().attempt(|| "start the watchdog".to_owned())?;
    match watchdog.stdin.take() {
        Some(pipe) => Ok((watchdog, pipe)),
        None => Err(ClusterError::NotRunning("the watchdog".to_owned())),
    }
}

/// `$1` is the folder, `$2` the postgres binary. `-ef` compares what two paths lead to.
/// A server that ignores an immediate shutdown for five seconds is killed; its shared memory, the
/// seventh line of `postmaster.pid`, is then left to us.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM QUIT
folder=$1 postgres=$2
read -r word && exit 0
case $folder in */pgweir-*) ;; *) exit 1 ;; esac
servers() {
    for process in /proc/[0-9]*; do
        [ "$process/exe" -ef "$postgres" ] || continue
        for data in "$folder"/*/; do
            [ "$process/cwd" -ef "$data" ] && echo "${process#/proc/}"
        done
    done
}
round=0
while running=$(servers); [ -n "$running" ]; do
    if [ $round -lt 100 ]; then kill -QUIT $running; else kill -KILL $running; fi
    kill -CONT $running
    round=$((round + 1))
    sleep 0.05
done
for file in "$folder"/*/postmaster.pid; do
    [ -f "$file" ] || continue
    set -- $(sed -n 7p "$file")
    [ -n "$2" ] && ipcrm -m "$2"
done
round=0
while [ -e "$folder" ] && [ $round -lt 100 ]; do
    rm -rf "$folder"
    round=$((round + 1))
done
"#;
