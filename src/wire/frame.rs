//! Framing: where one tagged message ends and the next begins. Nothing else may decide that.
//!
//! A tagged message is one byte of tag and four of length (which counts itself, not the tag).
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use thiserror::Error;

/// Bytes of a tag and its length word.
pub const HEADER_LEN: usize = 5;

/// A message header whose length is known to be at least the length word itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message type, a byte of ASCII in all that Postgres defines.
    pub tag: u8,
    /// Bytes of the body, without tag and length word.
    pub body_len: usize,
}

impl Header {
    /// Bytes of the whole message, tag and length word included.
    pub fn message_len(self) -> usize {
        HEADER_LEN + self.body_len
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length word is smaller than its own four bytes.
    #[error("invalid message length {length} in message type {tag:#04x}")]
    TooShort {
        /// The message type.
        tag: u8,
        /// The length word as sent.
        length: u32,
    },
    /// The length word is above the limit that applies here.
    #[error("message type {tag:#04x} of {length} bytes exceeds the limit of {limit} bytes")]
    TooLong {
        /// The message type.
        tag: u8,
        /// The length word as sent.
        length: u32,
        /// The limit, in bytes.
        limit: u32,
    },
}

/// Reads the header at the start of `bytes`: `None` while fewer than [`HEADER_LEN`] are there.
///
/// `limit` bounds the length word, so that nobody reserves memory on a peer's word.
///
/// # Errors
/// [`FrameError`] when the length word can't be that of a message.
#[inline]
pub fn header(bytes: &[u8], limit: u32) -> Result<Option<Header>, FrameError> {
    let Some(&[tag, a, b, c, d]) = bytes.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    if length < 4 {
        return Err(FrameError::TooShort { tag, length });
    }
    if length > limit {
        return Err(FrameError::TooLong { tag, length, limit });
    }
    Ok(Some(Header { tag, body_len: length as usize - 4 }))
}

/// The first message of `bytes` when all of it is there: its header and its body.
///
/// # Errors
/// As [`header`].
#[inline]
pub fn message(bytes: &[u8], limit: u32) -> Result<Option<(Header, &[u8])>, FrameError> {
    let Some(header) = header(bytes, limit)? else {
        return Ok(None);
    };
    Ok(bytes.get(HEADER_LEN..header.message_len()).map(|body| (header, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_needs_five_bytes() {
        for cut in 0..HEADER_LEN {
            assert_eq!(header(&b"Q\0\0\0\x05"[..cut], 100), Ok(None));
        }
        assert_eq!(header(b"Q\0\0\0\x05", 100), Ok(Some(Header { tag: b'Q', body_len: 1 })));
    }

    #[test]
    fn length_word_is_bounded_both_ways() {
        for length in 0..4_u8 {
            let bytes = [b'p', 0, 0, 0, length];
            assert_eq!(
                header(&bytes, 100),
                Err(FrameError::TooShort { tag: b'p', length: u32::from(length) })
            );
        }
        assert!(header(&[b'p', 0, 0, 0, 101], 100).is_err());
        assert!(header(&[b'p', 0xff, 0xff, 0xff, 0xff], i32::MAX as u32).is_err());
        assert!(header(&[b'p', 0, 0, 0, 100], 100).is_ok());
    }

    #[test]
    fn message_is_exactly_its_declared_length() {
        let bytes = b"Z\0\0\0\x05Itrailing";
        let (header, body) = message(bytes, 100).unwrap().unwrap();
        assert_eq!((header.tag, body), (b'Z', &b"I"[..]));
        assert_eq!(message(&bytes[..5], 100), Ok(None));
    }
}
