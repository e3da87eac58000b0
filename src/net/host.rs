//! What this machine knows of itself.

use std::ffi::CString;
use std::net::IpAddr;
use std::path::Path;
use std::{fs, io};

use nix::ifaddrs::getifaddrs;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::SockaddrStorage;
use nix::unistd::{User, geteuid, initgroups, setgid, setuid};

/// The addresses of this machine's interfaces, each with the mask of its network; none when the
/// system does not say.
pub fn addresses() -> Vec<(IpAddr, IpAddr)> {
    let interfaces = match getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::warn!(%error, "cannot list the addresses of this machine");
            return Vec::new();
        }
    };
    let both = |address: Option<SockaddrStorage>, mask: Option<SockaddrStorage>| {
        Some((ip(&address?)?, ip(&mask?)?))
    };
    interfaces.filter_map(|interface| both(interface.address, interface.netmask)).collect()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let four = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    let six = || address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
    four.or_else(six)
}

/// Raises the limit on open files as far as the system lets us, and gives what it is then.
pub fn raise_open_files() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return usize::MAX;
    };
    let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    usize::try_from(if raised { hard } else { soft }).unwrap_or(usize::MAX)
}

/// The files and sockets that the process has open, and how many it may have.
pub fn open_files() -> Option<(u64, u64)> {
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    // The size of this folder is their number, since Linux 6.2; it was 0 before.
    let folder = "/proc/self/fd";
    let open = match fs::metadata(folder).ok()?.len() {
        0 => u64::try_from(fs::read_dir(folder).ok()?.count()).ok()?,
        open => open,
    };
    Some((open, most))
}

/// Bytes that the process has in memory.
pub fn resident() -> Option<u64> {
    kilobytes("/proc/self/status", "VmRSS:")
}

/// Bytes that it can have in memory: what its cgroup lets it have, or those above that, or the machine has.
pub fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let root = Path::new("/sys/fs/cgroup");
    let folder = root.join(own);
    let above = folder.ancestors().take_while(|folder| folder.starts_with(root));
    let first_version = root.join("memory/memory.limit_in_bytes");
    let files = above.map(|folder| folder.join("memory.max")).chain([first_version]);
    // Where there is no limit, this is no number.
    let limits = files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.chain(kilobytes("/proc/meminfo", "MemTotal:")).min()
}

/// The number in the line of a file of the system that begins so, in bytes.
fn kilobytes(file: &str, start: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(start))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Becomes this user of the machine, with its groups, if it is another one.
///
/// # Errors
/// When there is no such user, or we are not root.
pub fn become_user(name: &str) -> io::Result<()> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no such user");
    let user = User::from_name(name)?.ok_or_else(missing)?;
    if geteuid() == user.uid {
        return Ok(());
    }
    let login = CString::new(name).map_err(|_zero| missing())?;
    initgroups(&login, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_loopback() {
        let loopback = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([255, 0, 0, 0]));
        assert!(addresses().contains(&loopback), "{:?}", addresses());
    }
}
