//! Keys: the values that tables are spread by, read as Postgres reads them for their type.
//!
//! Reading copies nothing but what has to be unescaped. What Postgres might read in another way, by
//! its version or by a setting, is not read at all: a key that is doubtful has no shard.

mod array;
pub(super) mod bytea;
mod date;

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

pub use crate::wire::parameters::Format;
pub use array::each_key;

/// The type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `text` or `varchar`, under a collation for which only equal bytes are equal. Postgres cuts
    /// blanks beyond the length of a `varchar(n)` off, which is not seen here.
    Text,
    /// `uuid`.
    Uuid,
    /// `bytea`.
    Bytea,
    /// `date`.
    Date,
}

/// A value of a key. The order is that of numbers, days and bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    /// None.
    Null,
    /// Of any type of integers: equal numbers are equal keys.
    Int(i64),
    /// Days since 2000-01-01; the least and the greatest are the infinities.
    Date(i32),
    /// Its bytes, in the server's encoding.
    Text(Cow<'a, [u8]>),
    /// Its bytes.
    Bytea(Cow<'a, [u8]>),
    /// Its bytes.
    Uuid([u8; 16]),
}

/// Why something is no key. What was given is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAKey {
    /// It is no value of the type (Postgres: 22P02, or 22P03 in binary).
    #[error("the shard key is no {0}")]
    Invalid(KeyType),
    /// It is beyond the type's range (22003).
    #[error("the shard key is out of range for type {0}")]
    OutOfRange(KeyType),
    /// Postgres may read it, in a way that depends on its version or on settings (0A000).
    #[error("the shard key is written in a way that can't be read with certainty as {0}")]
    Unclear(KeyType),
    /// The parameter is declared to be of another type, with this number (0A000).
    #[error("the shard key, of type {0}, is given as a parameter of another type (OID {1})")]
    OtherType(KeyType, u32),
}

impl KeyType {
    /// All of them.
    pub(super) const ALL: [Self; 7] =
        [Self::Int8, Self::Int4, Self::Int2, Self::Text, Self::Uuid, Self::Bytea, Self::Date];

    /// The type of this name; the names are Postgres's.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "smallint" | "int2" => Self::Int2,
            "integer" | "int" | "int4" => Self::Int4,
            "bigint" | "int8" => Self::Int8,
            "text" | "varchar" | "character varying" => Self::Text,
            "uuid" => Self::Uuid,
            "bytea" => Self::Bytea,
            "date" => Self::Date,
            _ => return None,
        })
    }

    /// Its name in Postgres.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Text => "text",
            Self::Uuid => "uuid",
            Self::Bytea => "bytea",
            Self::Date => "date",
        }
    }

    /// Whether it is one of the integers, which are equal where their numbers are.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }

    /// Of integers, how many bytes they have.
    pub fn width(self) -> usize {
        match self {
            Self::Int2 => 2,
            Self::Int4 => 4,
            _ => 8,
        }
    }

    /// The numbers that Postgres knows it by, and those of types that are compared as it is.
    fn oids(self) -> &'static [u32] {
        match self {
            Self::Int2 | Self::Int4 | Self::Int8 => &[20, 21, 23],
            Self::Text => &[25, 1043],
            Self::Uuid => &[2950],
            Self::Bytea => &[17],
            Self::Date => &[1082],
        }
    }

    /// The numbers of arrays of them.
    fn array_oids(self) -> &'static [u32] {
        match self {
            Self::Int2 | Self::Int4 | Self::Int8 => &[1005, 1007, 1016],
            Self::Text => &[1009, 1015],
            Self::Uuid => &[2951],
            Self::Bytea => &[1001],
            Self::Date => &[1182],
        }
    }

    fn range(self) -> (i64, i64) {
        match self {
            Self::Int2 => (i16::MIN.into(), i16::MAX.into()),
            Self::Int4 => (i32::MIN.into(), i32::MAX.into()),
            _ => (i64::MIN, i64::MAX),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'a> Key<'a> {
    /// A parameter of a Bind message; `None` is NULL. `oid` is its type, as the client has declared
    /// it or as the server has described it; 0 where neither has. It is taken for a value of the
    /// column's own type then, so where a parameter is used for something else as well, its type
    /// has to be known.
    ///
    /// # Errors
    ///
    /// It is of another type, or no value of its type.
    pub fn of_parameter(
        kind: KeyType,
        oid: u32,
        format: Format,
        value: Option<&'a [u8]>,
    ) -> Result<Self, NotAKey> {
        if oid != 0 && !kind.oids().contains(&oid) {
            return Err(NotAKey::OtherType(kind, oid));
        }
        match (value, format) {
            (None, _) => Ok(Self::Null),
            (Some(value), Format::Text) => Self::of_text(kind, value),
            (Some(value), Format::Binary) => Self::of_binary(kind, oid, value),
        }
    }

    /// A value in the text form of its type, as in a parameter, in COPY and in the configuration.
    ///
    /// # Errors
    ///
    /// It is none, or not certainly one.
    pub fn of_text(kind: KeyType, text: &'a [u8]) -> Result<Self, NotAKey> {
        match kind {
            KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => integer(kind, text),
            KeyType::Text => Ok(Self::Text(Cow::Borrowed(text))),
            KeyType::Uuid => uuid(text).map(Self::Uuid).ok_or(NotAKey::Invalid(kind)),
            KeyType::Bytea => bytea::read(text).map(Self::Bytea).ok_or(NotAKey::Invalid(kind)),
            KeyType::Date => date::read(text).map(Self::Date).ok_or(NotAKey::Unclear(kind)),
        }
    }

    fn of_binary(kind: KeyType, oid: u32, value: &'a [u8]) -> Result<Self, NotAKey> {
        let invalid = NotAKey::Invalid(kind);
        Ok(match kind {
            KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => {
                let value = match (value, oid) {
                    ([a, b], 0 | 21) => i16::from_be_bytes([*a, *b]).into(),
                    ([a, b, c, d], 0 | 23) => i32::from_be_bytes([*a, *b, *c, *d]).into(),
                    (&[a, b, c, d, e, f, g, h], 0 | 20) => {
                        i64::from_be_bytes([a, b, c, d, e, f, g, h])
                    }
                    // It may be of another type.
                    _ if oid == 0 => return Err(NotAKey::Unclear(kind)),
                    _ => return Err(invalid),
                };
                Self::Int(value)
            }
            KeyType::Text => Self::Text(Cow::Borrowed(value)),
            KeyType::Bytea => Self::Bytea(Cow::Borrowed(value)),
            KeyType::Uuid => Self::Uuid(value.try_into().ok().ok_or(invalid)?),
            KeyType::Date => Self::Date(i32::from_be_bytes(value.try_into().ok().ok_or(invalid)?)),
        })
    }

    /// A literal as it stands in SQL: a number, or a string with its quotes or dollars. `minus` stands
    /// before it.
    ///
    /// # Errors
    ///
    /// It is no value of the type, or not certainly one: strings with a prefix or a backslash are
    /// not read, for these depend on a setting.
    pub fn of_literal(kind: KeyType, raw: &'a [u8], minus: bool) -> Result<Self, NotAKey> {
        match raw {
            // With a cast Postgres takes it.
            [b'0'..=b'9', ..] if !kind.is_integer() => Err(NotAKey::Unclear(kind)),
            [b'0'..=b'9', ..] => number(kind, raw, minus),
            // A minus before a string has Postgres guess its type.
            _ if minus => Err(NotAKey::Unclear(kind)),
            [b'\'', inside @ .., b'\''] => {
                let doubled = memchr::memchr(b'\'', inside).is_some();
                let backslash = memchr::memchr(b'\\', inside).is_some();
                match (backslash, doubled) {
                    (true, _) if kind != KeyType::Bytea => Err(NotAKey::Unclear(kind)),
                    (_, false) => Self::of_text(kind, inside),
                    (_, true) => Key::of_text(kind, &undoubled(inside)).map(Key::into_owned),
                }
            }
            [b'$', rest @ ..] => {
                let tag = memchr::memchr(b'$', rest).map(|end| end + 2);
                let inside = tag.and_then(|tag| raw.get(tag..raw.len().checked_sub(tag)?));
                inside.map_or(Err(NotAKey::Unclear(kind)), |inside| Self::of_text(kind, inside))
            }
            _ => Err(NotAKey::Unclear(kind)),
        }
    }

    /// With bytes of its own.
    pub fn into_owned(self) -> Key<'static> {
        match self {
            Self::Null => Key::Null,
            Self::Int(value) => Key::Int(value),
            Self::Date(days) => Key::Date(days),
            Self::Text(text) => Key::Text(Cow::Owned(text.into_owned())),
            Self::Bytea(value) => Key::Bytea(Cow::Owned(value.into_owned())),
            Self::Uuid(value) => Key::Uuid(value),
        }
    }

    /// Whether it is the same in every encoding. What is not, is the server's only if the client's
    /// encoding is the server's as well.
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Text(text) => text.is_ascii(),
            Self::Null | Self::Int(_) | Self::Date(_) | Self::Bytea(_) | Self::Uuid(_) => true,
        }
    }
}

/// As Postgres writes it.
impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Date(days) => date::write(*days, f),
            Self::Text(text) => f.write_str(&String::from_utf8_lossy(text)),
            Self::Bytea(value) => {
                f.write_str("\\x")?;
                value.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Uuid(value) => {
                for (at, byte) in value.iter().enumerate() {
                    let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(f, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

/// What C takes for blank.
fn trimmed(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | 0x09..=0x0d);
    let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

/// The input of an integer's type.
fn integer(kind: KeyType, text: &[u8]) -> Result<Key<'static>, NotAKey> {
    match text {
        [b'0'..=b'9', .., b'0'..=b'9'] | [b'0'..=b'9'] => return number(kind, text, false),
        _ => {}
    }
    match trimmed(text) {
        [b'-', digits @ ..] => number(kind, digits, true),
        [b'+', digits @ ..] | digits => number(kind, digits, false),
    }
}

/// An integer without its sign.
fn number(kind: KeyType, digits: &[u8], minus: bool) -> Result<Key<'static>, NotAKey> {
    let out = NotAKey::OutOfRange(kind);
    let mut value = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(not_digits(kind, digits));
        }
        let digit = i64::from(digit);
        let digit = if minus { -digit } else { digit };
        let Some(next) = value.checked_mul(10).and_then(|value| value.checked_add(digit)) else {
            let rest = digits.iter().all(u8::is_ascii_digit);
            return Err(if rest { out } else { not_digits(kind, digits) });
        };
        value = next;
    }
    let (least, most) = kind.range();
    match digits {
        [] => Err(NotAKey::Invalid(kind)),
        _ if (least..=most).contains(&value) => Ok(Key::Int(value)),
        _ => Err(out),
    }
}

/// 0x1F and 1_000 are numbers since Postgres 16; 5.0 may be compared and be equal.
fn not_digits(kind: KeyType, text: &[u8]) -> NotAKey {
    let number = text.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.')
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte));
    if number { NotAKey::Unclear(kind) } else { NotAKey::Invalid(kind) }
}

/// Hexadecimal digits, in braces or not, with a hyphen behind any four of them or not.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut rest = match text {
        [b'{', inside @ .., b'}'] => inside,
        [b'{', ..] => return None,
        text => text,
    };
    let mut value = [0; 16];
    for (at, byte) in value.iter_mut().enumerate() {
        let [high, low, behind @ ..] = rest else { return None };
        *byte = hex(*high)? << 4 | hex(*low)?;
        rest = match behind {
            [b'-', behind @ ..] if at % 2 == 1 && at < 15 => behind,
            behind => behind,
        };
    }
    rest.is_empty().then_some(value)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The inside of a string, where a doubled quote stands for one.
fn undoubled(inside: &[u8]) -> Vec<u8> {
    let mut quote = false;
    let mut keep = |byte: &u8| {
        quote = *byte == b'\'' && !quote;
        !quote
    };
    inside.iter().copied().filter(|byte| keep(byte)).collect()
}

#[cfg(test)]
mod tests;
