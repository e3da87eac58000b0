//! What this machine knows of itself.

use std::ffi::CString;
use std::io;
use std::net::IpAddr;

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
