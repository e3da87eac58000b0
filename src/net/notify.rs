//! Words to the service manager: systemd's `sd_notify`, a datagram to `NOTIFY_SOCKET`.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

/// The way to the service manager that has started us.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    /// The one that listens at this address; `@name` is in the abstract namespace.
    ///
    /// # Errors
    /// When it is no address, or the system gives no socket.
    pub fn at(address: &str) -> io::Result<Self> {
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        Ok(Self { socket: UnixDatagram::unbound()?, address })
    }

    /// We serve.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// We read the configuration again; [`ready`](Self::ready) ends that.
    pub fn reloading(&self) {
        // It tells this reload from the one before.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| now.num_microseconds());
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading"));
    }

    /// We end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// A manager that does not listen is no reason not to run.
    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send_to_addr(state.as_bytes(), &self.address) {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }
}
