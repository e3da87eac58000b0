//! One field of a line: where it is, whether it is NULL, and what it says.

use crate::sql::copy::control;
use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::{Csv, Field};

/// The field of this number in a line of the text format; `None` if there are fewer. `special`: there
/// are backslashes.
#[inline]
pub(super) fn text_field<'l>(
    line: &'l [u8],
    number: usize,
    delimiter: u8,
    null: &[u8],
    special: bool,
) -> Option<Field<'l>> {
    if !special {
        let raw = plain(line, number, delimiter)?;
        return Some(if raw == null { Field::Null } else { Field::Text(Cow::Borrowed(raw)) });
    }
    let mut rest = line;
    for _ in 0..number {
        rest = rest.get(escaped_end(rest, delimiter)? + 1..)?;
    }
    let end = escaped_end(rest, delimiter).unwrap_or(rest.len());
    let mut raw = rest.get(..end)?;
    // A backslash that nothing follows, at the end of all, is nothing.
    if ends_in_backslash(raw) {
        raw = raw.get(..raw.len() - 1)?;
    }
    if raw == null {
        return Some(Field::Null);
    }
    Some(Field::Text(match memchr(b'\\', raw) {
        None => Cow::Borrowed(raw),
        Some(_) => Cow::Owned(unescaped(raw)),
    }))
}

/// The field of this number in a line where delimiters are nothing else.
#[inline]
fn plain(line: &[u8], number: usize, delimiter: u8) -> Option<&[u8]> {
    let mut rest = line;
    for _ in 0..number {
        rest = rest.get(memchr(delimiter, rest)? + 1..)?;
    }
    let end = memchr(delimiter, rest).unwrap_or(rest.len());
    rest.get(..end)
}

/// Where the next delimiter is that has no backslash before it.
fn escaped_end(line: &[u8], delimiter: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(delimiter, b'\\', line.get(at..)?)?;
        if line.get(at) == Some(&delimiter) {
            return Some(at);
        }
        at += 2;
    }
}

fn ends_in_backslash(raw: &[u8]) -> bool {
    raw.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, behind @ ..] = rest {
        rest = behind;
        let (b'\\', [escaped, behind @ ..]) = (*first, behind) else {
            out.push(*first);
            continue;
        };
        rest = behind;
        out.push(match *escaped {
            b'v' => 0x0b,
            digit @ b'0'..=b'7' => number(&mut rest, digit - b'0', 8),
            b'x' if rest.first().is_some_and(u8::is_ascii_hexdigit) => number(&mut rest, 0, 16),
            other => control(other).unwrap_or(other),
        });
    }
    out
}

/// Up to two more digits. Of a number beyond 255, the lowest bits count.
fn number(rest: &mut &[u8], first: u8, radix: u8) -> u8 {
    let mut value = first;
    for _ in 0..2 {
        let Some((byte, behind)) = rest.split_first() else { break };
        let digit = char::from(*byte).to_digit(radix.into()).and_then(|it| u8::try_from(it).ok());
        let Some(digit) = digit else { break };
        value = value.wrapping_mul(radix).wrapping_add(digit);
        *rest = behind;
    }
    value
}

/// The field of this number in a line of CSV; `None` if there are fewer. `special`: there are quotes.
#[inline]
pub(super) fn csv_field<'l>(
    line: &'l [u8],
    number: usize,
    csv: &Csv,
    special: bool,
) -> Option<Field<'l>> {
    let bare = |raw: &'l [u8]| match (raw == &*csv.null, csv.forced.not_null) {
        (true, false) => Field::Null,
        _ => Field::Text(Cow::Borrowed(raw)),
    };
    if !special {
        return plain(line, number, csv.delimiter).map(bare);
    }
    let mut rest = line;
    for _ in 0..number {
        rest = rest.get(quoted_end(rest, csv)? + 1..)?;
    }
    let end = quoted_end(rest, csv).unwrap_or(rest.len());
    let raw = rest.get(..end)?;
    if memchr(csv.quote, raw).is_none() {
        return Some(bare(raw));
    }
    let value = unquoted(raw, csv);
    let forced = csv.forced.null && *value == *csv.null;
    Some(if forced { Field::Null } else { Field::Text(value) })
}

/// Where the next delimiter is that is in no quotes.
fn quoted_end(line: &[u8], csv: &Csv) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(csv.delimiter, csv.quote, line.get(at..)?)?;
        if line.get(at) == Some(&csv.delimiter) {
            return Some(at);
        }
        at += 1;
        loop {
            at += memchr2(csv.quote, csv.escape, line.get(at..)?)?;
            let escapes = line.get(at) == Some(&csv.escape);
            let next = line.get(at + 1);
            if escapes && next.is_some_and(|next| [csv.quote, csv.escape].contains(next)) {
                at += 2;
                continue;
            }
            at += 1;
            if line.get(at - 1) == Some(&csv.quote) {
                break;
            }
        }
    }
}

/// Without its quotes, and with what was escaped in them.
fn unquoted<'l>(raw: &'l [u8], csv: &Csv) -> Cow<'l, [u8]> {
    if let [first, inside @ .., last] = raw {
        let is_plain = memchr2(csv.quote, csv.escape, inside).is_none();
        if *first == csv.quote && *last == csv.quote && is_plain {
            return Cow::Borrowed(inside);
        }
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut quoted = false;
    let mut rest = raw;
    while let [first, behind @ ..] = rest {
        rest = behind;
        match (quoted && *first == csv.escape, behind) {
            (true, [next, behind @ ..]) if [csv.quote, csv.escape].contains(next) => {
                out.push(*next);
                rest = behind;
            }
            _ if *first == csv.quote => quoted = !quoted,
            _ => out.push(*first),
        }
    }
    Cow::Owned(out)
}
