//! Ports for servers that must keep them while they are stopped.
//!
//! A port is taken from below the range that the kernel uses for outgoing connections, so that no
//! client socket sits on it when its server is started again. It is held by a file lock, which the
//! kernel drops with us, against other clusters of the same user; against everybody else there is
//! only a look beforehand, and the caller must be ready for [`ClusterError::PortTaken`].

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;

use rand::Rng;

use super::error::{Attempt, ClusterError};

/// A port that no other cluster of this user takes while this value lives.
#[derive(Debug)]
pub(super) struct PortLease {
    port: u16,
    _lock: File,
}

impl PortLease {
    /// Takes a free port, recording it in `folder`, which must exist.
    pub(super) fn take(folder: &Path) -> Result<Self, ClusterError> {
        let range = quiet_range(
            &fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default(),
        );
        for _ in 0..ATTEMPTS {
            let port = rand::rng().random_range(range.clone());
            let path = folder.join(format!("port-{port}"));
            let lock = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .attempt(|| format!("open {}", path.display()))?;
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(Self { port, _lock: lock });
            }
        }
        Err(ClusterError::NoFreePort(ATTEMPTS))
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// The ports that the kernel, as `ephemeral` describes it ("low high"), never picks by itself.
fn quiet_range(ephemeral: &str) -> Range<u16> {
    let mut bounds = ephemeral.split_whitespace().map_while(|word| word.parse::<u16>().ok());
    let low = bounds.next().unwrap_or(32_768);
    let high = bounds.next().unwrap_or(60_999);
    if low >= LOWEST + 1_000 {
        LOWEST..low
    } else if high <= u16::MAX - 1_000 {
        high + 1..u16::MAX
    } else {
        LOWEST..u16::MAX
    }
}

/// Above the ports that well-known services use.
const LOWEST: u16 = 10_000;
const ATTEMPTS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_avoids_outgoing_connections() {
        assert_eq!(quiet_range("32768\t60999\n"), 10_000..32_768);
        assert_eq!(quiet_range("1024 60000"), 60_001..65_535);
        assert_eq!(quiet_range("1024 65535"), 10_000..65_535);
        assert_eq!(quiet_range(""), 10_000..32_768);
    }

    #[test]
    fn leases_that_live_differ_and_are_free() {
        let folder = tempfile::tempdir().unwrap();
        let leases: Vec<_> = (0..20).map(|_| PortLease::take(folder.path()).unwrap()).collect();
        let mut ports: Vec<_> = leases.iter().map(PortLease::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), leases.len());
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }
}
