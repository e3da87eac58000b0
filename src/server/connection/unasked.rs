//! What a server sends while nobody has asked it for anything.

use std::io;

use super::Server;
use super::own::Own;
use crate::net::socket::Socket;

/// Who sends more than this before anybody looks is not waited for to come to an end: notices and reports
/// between two requests are some hundred bytes.
const UNASKED_MAX: usize = 64 * 1024;

impl Server {
    /// Whether nothing has come since it was last used: notices and the like are taken in, and
    /// a server that said goodbye is none any more. A system call only when there was something.
    pub fn is_quiet(&mut self) -> bool {
        self.take_unasked(Socket::try_read)
    }

    pub(super) fn take_unasked(
        &mut self,
        read: fn(&mut Socket, &mut [u8]) -> io::Result<usize>,
    ) -> bool {
        let mut fresh = [0; 1024];
        let mut taken = 0_usize;
        while taken <= UNASKED_MAX {
            match read(&mut self.socket, &mut fresh) {
                Err(error) => {
                    return error.kind() == io::ErrorKind::WouldBlock && self.socket.is_drained();
                }
                Ok(count) => {
                    let mut own = Own::default();
                    let fresh = fresh.get(..count).unwrap_or_default();
                    if self.take(fresh, &mut own).is_err() || own.failed || !self.is_at_rest() {
                        return false;
                    }
                    taken += count;
                }
            }
        }
        false
    }
}
