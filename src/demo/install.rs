//! The installed Postgres: where its binaries are and as whom they run.
//!
//! Postgres refuses to run as root: then its programs run as `postgres`, or `nobody` where there
//! is no such user. Programs get a clean environment, so that no PG* variable reaches them.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{cmp, env};

use super::error::{Attempt, ClusterError};
use super::program::run_well;

/// An installed Postgres and the user to run it as.
#[derive(Debug, Clone)]
pub struct Install {
    bin: PathBuf,
    version: String,
    /// The other user to become, when we are root.
    account: Option<Account>,
}

#[derive(Debug, Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Install {
    /// Finds the binaries: `PG_BINDIR` when set, else the newest of Debian's and Red Hat's
    /// folders, else what `pg_config` says, else `PATH`.
    ///
    /// # Errors
    /// When there are none, or when we are root and there is nobody else to run them as.
    pub fn find() -> Result<Self, ClusterError> {
        let places = places();
        let Some(bin) = places.iter().find(|bin| is_server(bin)) else {
            let looked = places.iter().map(|bin| bin.display().to_string()).collect::<Vec<_>>();
            return Err(ClusterError::NoServerBinaries {
                looked: format!("PG_BINDIR, /usr/lib/postgresql/*/bin, {}", looked.join(", ")),
            });
        };
        Self::of(bin)
    }

    /// The binaries in this folder.
    ///
    /// # Errors
    /// When they do not run, or when we are root and there is nobody else to run them as.
    pub fn of(bin: &Path) -> Result<Self, ClusterError> {
        let mut install =
            Self { bin: bin.to_owned(), version: String::new(), account: unprivileged()? };
        let mut command = install.command("postgres", Path::new("/"));
        install.version = run_well(command.arg("--version"), "", Duration::from_secs(20))?
            .trim()
            .trim_start_matches("postgres (PostgreSQL) ")
            .to_owned();
        Ok(install)
    }

    /// The folder of the binaries.
    pub fn bin_dir(&self) -> &Path {
        &self.bin
    }

    /// The version as `postgres --version` says it, such as `15.14 (Debian 15.14-0+deb12u1)`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The path of one of the binaries; the bare name when it lies elsewhere on `PATH`.
    pub fn program(&self, name: &str) -> PathBuf {
        let path = self.bin.join(name);
        if path.exists() { path } else { PathBuf::from(name) }
    }

    /// One of the binaries, to be run in `folder` as the unprivileged user.
    pub(super) fn command(&self, name: &str, folder: &Path) -> Command {
        self.command_at(&self.program(name), folder)
    }

    /// Any program, to be run in `folder` as the unprivileged user.
    pub(super) fn command_at(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(folder).env("HOME", folder).env("LC_ALL", "C");
        command.env("PATH", env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// How to call `pg_ctl` from a shell that has [`bin_dir`](Self::bin_dir) in its `PATH`: root,
    /// whom it refuses, calls it as the user that runs the servers, in a folder that this user may
    /// enter.
    pub(super) fn pg_ctl(&self) -> String {
        match self.account {
            None => "pg_ctl".to_owned(),
            Some(Account { uid, gid }) => {
                format!("env -C / setpriv --reuid={uid} --regid={gid} --clear-groups pg_ctl")
            }
        }
    }

    /// The user id that the servers run with.
    pub(super) fn uid(&self) -> Result<u32, ClusterError> {
        self.account.map_or_else(own_uid, |account| Ok(account.uid))
    }

    /// Gives `path` to the user that runs the servers.
    pub(super) fn give(&self, path: &Path) -> Result<(), ClusterError> {
        let Some(Account { uid, gid }) = self.account else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).attempt(|| format!("give {} away", path.display()))
    }
}

fn places() -> Vec<PathBuf> {
    if let Some(bin) = env::var_os("PG_BINDIR") {
        return vec![bin.into()];
    }
    let mut places = versions("/usr/lib/postgresql", "");
    places.extend(versions("/usr", "pgsql-"));
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        places.push(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    places.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    places
}

/// The `bin` folders of the versions in `folder`, newest first.
fn versions(folder: &str, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let major = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .collect();
    found.sort_by_key(|(major, _)| cmp::Reverse(*major));
    found.into_iter().map(|(_, bin)| bin).collect()
}

fn is_server(bin: &Path) -> bool {
    bin.is_absolute() && bin.join("postgres").is_file() && bin.join("initdb").is_file()
}

/// Our effective user: the owner of our entry in `/proc`.
fn own_uid() -> Result<u32, ClusterError> {
    Ok(fs::metadata("/proc/self").attempt(|| "read /proc/self".to_owned())?.uid())
}

fn unprivileged() -> Result<Option<Account>, ClusterError> {
    if own_uid()? != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").attempt(|| "read /etc/passwd".to_owned())?;
    let account = account_in(&users, "postgres").or_else(|| account_in(&users, "nobody"));
    account.map(Some).ok_or(ClusterError::NoUnprivilegedUser)
}

fn account_in(users: &str, name: &str) -> Option<Account> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_is_read_by_its_whole_name() {
        let users = "postgres2:x:7:8::/:/bin/sh\npostgres:x:101:104:admin,,,:/var/lib:/bin/bash\n";
        let account = account_in(users, "postgres").unwrap();
        assert_eq!((account.uid, account.gid), (101, 104));
        assert!(account_in(users, "nobody").is_none());
    }

    #[test]
    fn newest_version_comes_first_by_number() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["9", "15", "16", "100", "common"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let found = versions(folder.path().to_str().unwrap(), "");
        let expected = ["100", "16", "15", "9"].map(|name| folder.path().join(name).join("bin"));
        assert_eq!(found, expected);
    }
}
