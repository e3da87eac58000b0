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
        let path = create_private(&roomy_parent(), "pgweir-")?;
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

/// `TMPDIR` when it is set; else memory, where copying a data folder takes a tenth of the time,
/// if there is plenty of it; else the system's temporary folder.
fn roomy_parent() -> PathBuf {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    if env::var_os("TMPDIR").is_none()
        && tmpfs_kib(&read("/proc/mounts"), SHARED_MEMORY).is_some_and(|size| size >= PLENTY_KIB)
        && available_kib(&read("/proc/meminfo")).is_some_and(|free| free >= PLENTY_KIB)
    {
        return PathBuf::from(SHARED_MEMORY);
    }
    env::temp_dir()
}

/// The size of the tmpfs at `folder`, as `/proc/mounts` says it: `tmpfs /dev/shm tmpfs rw,size=8k`.
fn tmpfs_kib(mounts: &str, folder: &str) -> Option<u64> {
    let last = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(folder))?;
    let mut fields = last.split(' ').skip(2);
    if fields.next()? != "tmpfs" {
        return None;
    }
    let size = fields.next()?.split(',').find_map(|option| option.strip_prefix("size="))?;
    size.strip_suffix('k')?.parse().ok()
}

fn available_kib(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    rest.trim().strip_suffix("kB")?.trim().parse().ok()
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

const SHARED_MEMORY: &str = "/dev/shm";
/// A cluster takes 50 MiB per server, and what a test writes.
const PLENTY_KIB: u64 = 8 << 20;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_that_of_the_tmpfs_mounted_last() {
        let mounts = "tmpfs /dev/shm tmpfs rw,relatime,size=65536k 0 0\n\
                      tmpfs /dev/shm tmpfs rw,size=24684096k,inode64 0 0\n\
                      /dev/vda / ext4 rw 0 0\n";
        assert_eq!(tmpfs_kib(mounts, "/dev/shm"), Some(24_684_096));
        assert_eq!(tmpfs_kib(mounts, "/"), None);
        assert_eq!(tmpfs_kib("tmpfs /dev/shm tmpfs rw 0 0", "/dev/shm"), None);
        assert_eq!(tmpfs_kib("", "/dev/shm"), None);
    }

    #[test]
    fn available_memory_is_read_from_meminfo() {
        let text = "MemTotal:  9 kB\nMemAvailable:   47000000 kB\n";
        assert_eq!(available_kib(text), Some(47_000_000));
        assert_eq!(available_kib("MemTotal: 9 kB\n"), None);
    }
}
