//! What is dropped of what a client sends, after its request was refused: as a server would, we
//! skip to the Sync, and the connection goes on.

use super::ClientFault;
use super::names::Names;
use crate::wire::frame::{self, Header};
use crate::wire::reply::{self, Report};

/// What is dropped of what a client sends, after its request was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ignore {
    /// The rest of a message, in bytes.
    bytes: u32,
    /// All messages up to a Sync.
    to_sync: bool,
}

impl Ignore {
    pub(super) fn is_on(self) -> bool {
        self.bytes > 0 || self.to_sync
    }

    /// Drops what has to be dropped, and gives the number of bytes. A Sync is answered.
    pub(super) fn skip(
        &mut self,
        bytes: &[u8],
        message_max: u32,
        out: &mut Vec<u8>,
    ) -> Result<usize, ClientFault> {
        let mut used = 0;
        loop {
            let rest = bytes.len() - used;
            let count = self.bytes.min(u32::try_from(rest).unwrap_or(u32::MAX));
            self.bytes -= count;
            used += count as usize;
            let rest = bytes.get(used..).unwrap_or_default();
            if self.bytes > 0 || !self.to_sync {
                return Ok(used);
            }
            let Some(header) = frame::header(rest, message_max)? else {
                return Ok(used);
            };
            if header.tag == b'X' {
                // It is for whoever reads on.
                self.to_sync = false;
                return Ok(used);
            }
            self.bytes = message_len(header);
            if header.tag == b'S' {
                self.to_sync = false;
                out.extend_from_slice(&reply::ready(b'I'));
            }
        }
    }

    /// Refuses all requests in `bytes`: each is answered by the report, and the connection goes
    /// on. What is not complete is refused too, and its rest dropped as it comes. As on a server,
    /// the unnamed statement goes even so where it would be replaced. Gives the number of bytes
    /// that this took.
    pub(super) fn refuse(
        &mut self,
        bytes: &[u8],
        message_max: u32,
        names: &mut Names,
        report: &Report,
        out: &mut Vec<u8>,
    ) -> Result<usize, ClientFault> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let Some(header) = frame::header(rest, message_max)? else {
                return Ok(used);
            };
            match header.tag {
                b'S' => {
                    self.to_sync = false;
                    out.extend_from_slice(&reply::ready(b'I'));
                }
                b'X' => return Ok(used),
                _ if self.to_sync => {}
                b'Q' | b'F' => {
                    if header.tag == b'Q' {
                        names.drop_unnamed();
                    }
                    report.write(out);
                    out.extend_from_slice(&reply::ready(b'I'));
                }
                b'P' | b'B' | b'D' | b'E' | b'C' => {
                    if header.tag == b'P' && rest.get(frame::HEADER_LEN) == Some(&0) {
                        names.drop_unnamed();
                    }
                    report.write(out);
                    self.to_sync = true;
                }
                _ => {}
            }
            let there = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            self.bytes = message_len(header).saturating_sub(there);
            used += header.message_len().min(rest.len());
        }
    }
}

/// A header's length fits by its nature: its length word has 32 bits, of which one is unused.
fn message_len(header: Header) -> u32 {
    u32::try_from(header.message_len()).unwrap_or(u32::MAX)
}
