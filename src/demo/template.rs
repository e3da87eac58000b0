//! Data folders that `initdb` has made once, to be copied for each server.
//!
//! They lie in a cache folder in the temporary folder, one per version of Postgres, identity and
//! day: a day, because the machine may clean its temporary folder file by file. A template appears
//! by a rename, so whoever sees it sees all of it, and it is never changed afterwards.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{env, io};

use super::error::{Attempt, ClusterError};
use super::folder::create_private;
use super::install::Install;
use super::program::run_well;

/// The folder, private to the user that runs the servers, that outlives the clusters.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
}

impl Cache {
    pub(super) fn open(install: &Install) -> Result<Self, ClusterError> {
        let uid = install.uid()?;
        let path = env::temp_dir().join(format!("pgweir-cache-{uid}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => install.give(&path)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).attempt(|| format!("create {}", path.display())),
        }
        let cache = Self { path };
        cache.check_private(install, uid)?;
        Ok(cache)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A data folder with the roles and databases of every cluster, made now unless it is there.
    /// Servers have the same system identifier if and only if they have the same `identity`.
    pub(super) fn template(
        &self,
        install: &Install,
        identity: u8,
    ) -> Result<PathBuf, ClusterError> {
        let path = self.path.join(template_name(install, identity));
        if path.exists() {
            return Ok(path);
        }
        let _lock = self.lock()?;
        if path.exists() {
            return Ok(path);
        }
        self.remove_old()?;
        let building = create_private(&self.path, BUILDING)?;
        install.give(&building)?;
        build(install, &building)?;
        fs::rename(&building, &path).attempt(|| format!("name {}", path.display()))?;
        Ok(path)
    }

    /// The folder may have been made by another process, which then gives it away in a moment,
    /// or by another user, who could put anything into it.
    fn check_private(&self, install: &Install, uid: u32) -> Result<(), ClusterError> {
        let found = fs::symlink_metadata(&self.path)
            .attempt(|| format!("look at {}", self.path.display()))?;
        let private = found.is_dir() && found.mode() & 0o077 == 0;
        if private && found.uid() == uid {
            return Ok(());
        }
        // As root: the maker was interrupted, or is about to do the same.
        if private && found.uid() == 0 && uid != 0 {
            return install.give(&self.path);
        }
        Err(ClusterError::ForeignCache(self.path.clone()))
    }

    fn lock(&self) -> Result<File, ClusterError> {
        let path = self.path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .attempt(|| format!("open {}", path.display()))?;
        lock.lock().attempt(|| format!("lock {}", path.display()))?;
        Ok(lock)
    }

    /// Removes what nobody uses any more: we hold the lock, so nobody is building; and a copy of
    /// a template takes less than two days.
    fn remove_old(&self) -> Result<(), ClusterError> {
        let entries = fs::read_dir(&self.path)
            .attempt(|| format!("list {}", self.path.display()))?
            .filter_map(Result::ok);
        for entry in entries {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let old = name
                .strip_prefix(TEMPLATE)
                .and_then(|rest| rest.split('-').next()?.parse::<u64>().ok())
                .is_some_and(|day| day + 2 <= today());
            if old || name.starts_with(BUILDING) {
                // A leftover costs room and nothing else.
                fs::remove_dir_all(entry.path()).ok();
            }
        }
        Ok(())
    }
}

/// Copies a data folder that no server runs in, for the user that runs the servers.
pub(super) fn copy(install: &Install, from: &Path, to: &Path) -> Result<(), ClusterError> {
    let context = || format!("copy {} to {}", from.display(), to.display());
    DirBuilder::new().mode(0o700).create(to).attempt(context)?;
    install.give(to)?;
    for entry in fs::read_dir(from).attempt(context)? {
        let entry = entry.attempt(context)?;
        let target = to.join(entry.file_name());
        if entry.file_type().attempt(context)?.is_dir() {
            copy(install, &entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).attempt(context)?;
            install.give(&target)?;
        }
    }
    Ok(())
}

fn template_name(install: &Install, identity: u8) -> String {
    let mut hasher = DefaultHasher::new();
    (install.version(), install.bin_dir(), SETUP, INITDB).hash(&mut hasher);
    format!("{TEMPLATE}{}-{:016x}-{identity}", today(), hasher.finish())
}

fn today() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() / 86_400
}

fn build(install: &Install, data: &Path) -> Result<(), ClusterError> {
    run_well(install.command("initdb", data).args(INITDB).arg("-D").arg(data), "", LIMIT)?;
    let mut single = install.command("postgres", data);
    single.args(["--single", "-F", "-c", "full_page_writes=off", "-D"]).arg(data).arg("postgres");
    run_well(&mut single, SETUP, LIMIT)?;
    Ok(())
}

const TEMPLATE: &str = "template-";
const BUILDING: &str = "building-";
const LIMIT: Duration = Duration::from_secs(120);

const INITDB: &[&str] =
    &["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale"];

/// One statement per line, as the single-user server wants it. The password is documented: these
/// servers listen on 127.0.0.1 alone and hold nothing.
const SETUP: &str = "\
ALTER ROLE postgres PASSWORD 's3cret'
CREATE ROLE app LOGIN PASSWORD 's3cret'
CREATE DATABASE shop OWNER app
";
