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
    /// What is left of the rows of a COPY.
    rows: bool,
    /// The transaction under way, which has no server, has failed.
    pub(super) failed: bool,
    /// Reports that clients were told and nobody has counted.
    told: usize,
}

impl Ignore {
    pub(super) fn is_on(self) -> bool {
        self.bytes > 0 || self.to_sync || self.rows
    }

    /// How many reports the client has been told since this was asked last.
    pub(super) fn take_told(&mut self) -> usize {
        std::mem::take(&mut self.told)
    }

    /// What a ReadyForQuery says where no server has a transaction of it.
    pub(super) fn rest(self) -> u8 {
        if self.failed { b'E' } else { b'I' }
    }

    /// The same in a transaction that has no server yet.
    pub(super) fn held(self) -> u8 {
        if self.failed { b'E' } else { b'T' }
    }

    /// Drops what is left of the rows of a COPY, which come before all else.
    pub(super) fn drop_rows(&mut self) {
        self.rows = true;
    }

    /// Drops so many bytes.
    pub(super) fn drop_bytes(&mut self, count: usize) {
        self.bytes = u32::try_from(count).unwrap_or(u32::MAX);
    }

    /// Drops all up to a Sync from now on.
    pub(super) fn drop_to_sync(&mut self) {
        self.to_sync = true;
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
            if !self.to_sync && !self.rows || self.bytes > 0 {
                return Ok(used);
            }
            let Some(header) = frame::header(rest, message_max)? else {
                return Ok(used);
            };
            if !self.to_sync {
                self.rows = header.tag == b'd';
                if !matches!(header.tag, b'c' | b'd' | b'f') {
                    return Ok(used);
                }
            }
            if header.tag == b'X' {
                // It is for whoever reads on.
                self.to_sync = false;
                return Ok(used);
            }
            self.bytes = message_len(header);
            if header.tag == b'S' {
                self.to_sync = false;
                out.extend_from_slice(&reply::ready(self.rest()));
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
                    out.extend_from_slice(&reply::ready(self.rest()));
                }
                b'X' => return Ok(used),
                _ if self.to_sync => {}
                b'Q' | b'F' => {
                    if header.tag == b'Q' {
                        names.drop_unnamed();
                    }
                    report.write(out);
                    self.told += 1;
                    out.extend_from_slice(&reply::ready(self.rest()));
                }
                b'P' | b'B' | b'D' | b'E' | b'C' => {
                    if header.tag == b'P' && rest.get(frame::HEADER_LEN) == Some(&0) {
                        names.drop_unnamed();
                    }
                    report.write(out);
                    self.told += 1;
                    self.to_sync = true;
                }
                _ => {}
            }
            used += self.drop_message(header, rest.len());
        }
    }

    /// Drops a message of which so many bytes are there, and gives how many of them are its own.
    pub(super) fn drop_message(&mut self, header: Header, there: usize) -> usize {
        let count = header.message_len().min(there);
        self.drop_bytes(header.message_len() - count);
        count
    }
}

/// A header's length fits by its nature: its length word has 32 bits, of which one is unused.
fn message_len(header: Header) -> u32 {
    u32::try_from(header.message_len()).unwrap_or(u32::MAX)
}
