//! The text form of `bytea`: hexadecimal behind `\x`, or characters with escapes.

use std::borrow::Cow;

use super::hex;

/// The bytes that a text stands for, if it stands for any.
pub(in crate::shard) fn read(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    match text {
        [b'\\', b'x', digits @ ..] => hexadecimal(digits).map(Cow::Owned),
        text if memchr::memchr(b'\\', text).is_some() => escaped(text).map(Cow::Owned),
        text => Some(Cow::Borrowed(text)),
    }
}

/// Pairs of digits; blanks may stand between pairs.
fn hexadecimal(mut digits: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(digits.len() / 2);
    loop {
        digits = match digits {
            [] => return Some(value),
            [b' ' | b'\n' | b'\t' | b'\r', rest @ ..] => rest,
            [high, low, rest @ ..] => {
                value.push(hex(*high)? << 4 | hex(*low)?);
                rest
            }
            [_] => return None,
        };
    }
}

/// `\\` is a backslash, and three octal digits behind one are a byte.
fn escaped(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(text.len());
    loop {
        text = match text {
            [] => return Some(value),
            [b'\\', b'\\', rest @ ..] => {
                value.push(b'\\');
                rest
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                value.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest
            }
            [b'\\', ..] => return None,
            [byte, rest @ ..] => {
                value.push(*byte);
                rest
            }
        };
    }
}
