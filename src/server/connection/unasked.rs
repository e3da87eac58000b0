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
        let end = end_of(
            self,
            |server, fresh| read(&mut server.socket, fresh),
            |server, fresh| {
                let mut own = Own::default();
                server.take(fresh, &mut own).is_ok() && !own.failed && server.is_at_rest()
            },
        );
        end == Some(io::ErrorKind::WouldBlock) && self.socket.is_drained()
    }
}

/// How the reading of all that has come ends; `None` where that is not right, or too much.
fn end_of<T>(
    from: &mut T,
    read: impl Fn(&mut T, &mut [u8]) -> io::Result<usize>,
    take: impl Fn(&mut T, &[u8]) -> bool,
) -> Option<io::ErrorKind> {
    let mut fresh = [0; 1024];
    let mut taken = 0_usize;
    while taken <= UNASKED_MAX {
        match read(from, &mut fresh) {
            Err(error) => return Some(error.kind()),
            Ok(count) if !take(from, fresh.get(..count).unwrap_or_default()) => return None,
            Ok(count) => taken += count,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_without_end_is_not_read_to_its_end() {
        let read = |left: &mut usize, fresh: &mut [u8]| match left.checked_sub(fresh.len()) {
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(rest) => {
                *left = rest;
                Ok(fresh.len())
            }
        };
        let (mut few, mut endless) = (UNASKED_MAX, usize::MAX);
        assert_eq!(end_of(&mut few, read, |_, _| true), Some(io::ErrorKind::WouldBlock));
        assert_eq!(end_of(&mut endless, read, |_, _| true), None);
        assert!(usize::MAX - endless < 2 * UNASKED_MAX);
    }
}
