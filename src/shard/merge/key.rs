//! Values as bytes that are ordered as Postgres orders the values: which of two rows comes first is
//! then told by comparing bytes, whatever their columns are.
//!
//! Equal values have equal bytes, and no value's bytes are the beginning of another's.

use super::moment;
use super::number::Number;
use super::{Fault, Manner, Texts};
use crate::shard::key::bytea;
use crate::wire::parameters::Format;
use crate::wire::view::Fields;

/// Types of values, as far as they are ordered here, by their numbers in `pg_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Oid,
    Float4,
    Float8,
    Numeric,
    /// By bytes.
    Text,
    /// By bytes, without blanks at the end.
    Blanked,
    Bytea,
    Uuid,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
}

pub(super) mod oid {
    pub(in crate::shard::merge) const BOOL: u32 = 16;
    pub(in crate::shard::merge) const BYTEA: u32 = 17;
    pub(in crate::shard::merge) const NAME: u32 = 19;
    pub(in crate::shard::merge) const INT8: u32 = 20;
    pub(in crate::shard::merge) const INT2: u32 = 21;
    pub(in crate::shard::merge) const INT4: u32 = 23;
    pub(in crate::shard::merge) const TEXT: u32 = 25;
    pub(in crate::shard::merge) const OID: u32 = 26;
    pub(in crate::shard::merge) const FLOAT4: u32 = 700;
    pub(in crate::shard::merge) const FLOAT8: u32 = 701;
    pub(in crate::shard::merge) const BPCHAR: u32 = 1042;
    pub(in crate::shard::merge) const VARCHAR: u32 = 1043;
    pub(in crate::shard::merge) const DATE: u32 = 1082;
    pub(in crate::shard::merge) const TIME: u32 = 1083;
    pub(in crate::shard::merge) const TIMESTAMP: u32 = 1114;
    pub(in crate::shard::merge) const TIMESTAMPTZ: u32 = 1184;
    pub(in crate::shard::merge) const INTERVAL: u32 = 1186;
    pub(in crate::shard::merge) const NUMERIC: u32 = 1700;
    pub(in crate::shard::merge) const UUID: u32 = 2950;
}

impl Kind {
    /// How values of a column are ordered. `texts` says how those of text are.
    ///
    /// # Errors
    ///
    /// They can't be put in order here.
    pub(super) fn of(
        type_oid: u32,
        format: Format,
        texts: Texts,
        manner: &Manner,
    ) -> Result<Self, Fault> {
        let kind = match type_oid {
            oid::BOOL => Self::Bool,
            oid::INT2 | oid::INT4 | oid::INT8 => Self::Int,
            oid::OID => Self::Oid,
            oid::FLOAT4 => Self::Float4,
            oid::FLOAT8 => Self::Float8,
            oid::NUMERIC => Self::Numeric,
            oid::NAME => Self::Text,
            oid::TEXT | oid::VARCHAR if texts == Texts::ByBytes => Self::Text,
            oid::BPCHAR if texts == Texts::ByBytes => Self::Blanked,
            oid::TEXT | oid::VARCHAR | oid::BPCHAR => return Err(Fault::Collation),
            oid::BYTEA => Self::Bytea,
            oid::UUID => Self::Uuid,
            oid::DATE => Self::Date,
            oid::TIME => Self::Time,
            oid::TIMESTAMP => Self::Timestamp,
            oid::TIMESTAMPTZ => Self::TimestampTz,
            oid::INTERVAL if format == Format::Binary => Self::Interval,
            other => return Err(Fault::NoOrder(other)),
        };
        let is_text = format == Format::Text;
        match kind {
            Self::Float4 | Self::Float8 if is_text && !manner.exact_floats => {
                Err(Fault::InexactFloats)
            }
            Self::Date | Self::Timestamp | Self::TimestampTz if is_text && !manner.iso_dates => {
                Err(Fault::DateStyle)
            }
            Self::Text | Self::Blanked if manner.converts => Err(Fault::Encoding),
            kind => Ok(kind),
        }
    }

    /// Writes the bytes of a value; `None` if it is none of this type.
    pub(super) fn write(
        self,
        format: Format,
        value: &[u8],
        number: &mut Number,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        match format {
            Format::Text => self.write_text(value, number, out),
            Format::Binary => self.write_binary(value, number, out),
        }
    }

    fn write_text(self, value: &[u8], number: &mut Number, out: &mut Vec<u8>) -> Option<()> {
        let text = || std::str::from_utf8(value).ok();
        match self {
            Self::Bool => match value {
                b"t" => out.push(1),
                b"f" => out.push(0),
                _ => return None,
            },
            Self::Int => whole(out, text()?.parse().ok()?),
            Self::Oid => whole(out, text()?.parse::<u32>().ok()?.into()),
            Self::Float4 => float(out, text()?.parse::<f32>().ok()?.into()),
            Self::Float8 => float(out, text()?.parse().ok()?),
            Self::Numeric => {
                number.read_text(value)?;
                number.write_key(out);
            }
            Self::Text => ended(out, value),
            Self::Blanked => ended(out, without_blanks(value)),
            Self::Bytea => zeros_told(out, &bytea::read(value)?),
            Self::Uuid => out.extend_from_slice(<&[u8; 36]>::try_from(value).ok()?),
            Self::Date => whole(out, moment::date(value)?),
            Self::Time => whole(out, moment::time(value)?),
            Self::Timestamp => whole(out, moment::timestamp(value)?),
            Self::TimestampTz => whole(out, moment::timestamptz(value)?),
            Self::Interval => return None,
        }
        Some(())
    }

    fn write_binary(self, value: &[u8], number: &mut Number, out: &mut Vec<u8>) -> Option<()> {
        match (self, value) {
            (Self::Bool, [value]) => out.push(*value),
            (Self::Int | Self::Date | Self::Time | Self::Timestamp | Self::TimestampTz, _) => {
                whole(out, int(value)?);
            }
            (Self::Oid, _) => out.extend_from_slice(<&[u8; 4]>::try_from(value).ok()?),
            (Self::Float4, _) => float(out, f32::from_be_bytes(value.try_into().ok()?).into()),
            (Self::Float8, _) => float(out, f64::from_be_bytes(value.try_into().ok()?)),
            (Self::Numeric, _) => {
                number.read_binary(value)?;
                number.write_key(out);
            }
            (Self::Text, _) => ended(out, value),
            (Self::Blanked, _) => ended(out, without_blanks(value)),
            (Self::Bytea, _) => zeros_told(out, value),
            (Self::Uuid, _) => out.extend_from_slice(<&[u8; 16]>::try_from(value).ok()?),
            (Self::Interval, _) => {
                let mut fields = Fields::new(value);
                let micros = int(fields.bytes(8)?)?;
                let (days, months) = (int(fields.bytes(4)?)?, int(fields.bytes(4)?)?);
                // Months count as thirty days.
                let days = i128::from(days) + i128::from(months) * 30;
                let micros = days * 86_400_000_000 + i128::from(micros);
                out.extend_from_slice(&(micros ^ i128::MIN).to_be_bytes());
            }
            (Self::Bool, _) => return None,
        }
        Some(())
    }
}

/// A whole number of two, four or eight bytes.
pub(super) fn int(value: &[u8]) -> Option<i64> {
    Some(match value.len() {
        2 => i16::from_be_bytes(value.try_into().ok()?).into(),
        4 => i32::from_be_bytes(value.try_into().ok()?).into(),
        8 => i64::from_be_bytes(value.try_into().ok()?),
        _ => return None,
    })
}

fn whole(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&(value ^ i64::MIN).to_be_bytes());
}

/// NaN is the greatest, and both zeros are one.
fn float(out: &mut Vec<u8>, value: f64) {
    let value = if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
    let bits = value.to_bits();
    let bits = if value.is_sign_negative() { !bits } else { bits | 1 << 63 };
    out.extend_from_slice(&bits.to_be_bytes());
}

/// Text has no zeros in it.
fn ended(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(value);
    out.push(0);
}

/// A byte of zero is told from the end by what is behind it.
fn zeros_told(out: &mut Vec<u8>, value: &[u8]) {
    for byte in value {
        out.push(*byte);
        if *byte == 0 {
            out.push(1);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn without_blanks(value: &[u8]) -> &[u8] {
    let len = value.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
    value.get(..len).unwrap_or_default()
}

/// A column that rows are ordered by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sorted {
    pub(super) column: usize,
    pub(super) kind: Kind,
    pub(super) format: Format,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

impl Sorted {
    /// Writes the bytes of a column's value; `None` is NULL. Returns `None` if it is none of its type.
    pub(super) fn write(
        &self,
        value: Option<&[u8]>,
        number: &mut Number,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let Some(value) = value else {
            out.push(if self.nulls_first { 0 } else { 2 });
            return Some(());
        };
        out.push(1);
        let start = out.len();
        self.kind.write(self.format, value, number, out)?;
        if self.descending {
            out.iter_mut().skip(start).for_each(|byte| *byte = !*byte);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
