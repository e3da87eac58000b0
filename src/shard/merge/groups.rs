//! Aggregates: what shards have of a group becomes what the group has.

use std::io::Write as _;

use super::Fault;
use super::Manner;
use super::columns::Columns;
use super::key::{Kind, int, oid};
use super::number::Number;
use super::row::Held;
use crate::sql::fan::Combine;
use crate::wire::parameters::Format;

/// A group that rows are added to.
#[derive(Debug)]
pub(super) struct Group {
    cells: Vec<Cell>,
    number: Number,
    key: Vec<u8>,
}

/// A column of a group.
#[derive(Debug)]
struct Cell {
    how: How,
    format: Format,
    type_oid: u32,
    /// There was no value yet.
    is_null: bool,
    int: i128,
    number: Number,
    /// The value that is kept, and its place among others.
    value: Vec<u8>,
    key: Vec<u8>,
}

/// How a column comes of those of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    First,
    Any,
    /// A sum of whole numbers.
    Ints,
    Numbers,
    Extreme(Kind, Wanted),
    Avg {
        sum: usize,
        count: usize,
    },
    Bools(Wanted),
    Bits(Bits),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Least,
    Greatest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bits {
    And,
    Or,
    Xor,
}

impl Group {
    /// One of nothing yet.
    ///
    /// # Errors
    ///
    /// An aggregate is of a type that can't be put together exactly.
    pub(super) fn new(
        combine: &[Combine],
        columns: &Columns,
        manner: &Manner,
    ) -> Result<Self, Fault> {
        if combine.len() != columns.fields.len() {
            return Err(Fault::Differs);
        }
        let type_of = |at: u16| columns.field(at.into()).map(|field| field.type_oid);
        let mut cells = Vec::new();
        for (combine, field) in combine.iter().zip(&columns.fields) {
            let type_oid = field.type_oid;
            let inexact = Err(Fault::Inexact(type_oid));
            let is_int = matches!(type_oid, oid::INT2 | oid::INT4 | oid::INT8);
            let extreme = |wanted| {
                let kind = Kind::of(type_oid, field.format, manner.texts, manner)?;
                Ok(How::Extreme(kind, wanted))
            };
            let how = match combine {
                Combine::First => How::First,
                Combine::Any => How::Any,
                Combine::Sum if is_int => How::Ints,
                Combine::Sum if type_oid == oid::NUMERIC => How::Numbers,
                Combine::Min => extreme(Wanted::Least)?,
                Combine::Max => extreme(Wanted::Greatest)?,
                Combine::Avg { sum, count }
                    if type_oid == oid::NUMERIC
                        && matches!(type_of(*sum)?, oid::INT8 | oid::NUMERIC)
                        && type_of(*count)? == oid::INT8 =>
                {
                    How::Avg { sum: (*sum).into(), count: (*count).into() }
                }
                Combine::And if type_oid == oid::BOOL => How::Bools(Wanted::Least),
                Combine::Or if type_oid == oid::BOOL => How::Bools(Wanted::Greatest),
                Combine::BitAnd if is_int => How::Bits(Bits::And),
                Combine::BitOr if is_int => How::Bits(Bits::Or),
                Combine::BitXor if is_int => How::Bits(Bits::Xor),
                _ => return inexact,
            };
            cells.push(Cell {
                how,
                format: field.format,
                type_oid,
                is_null: true,
                int: 0,
                number: Number::default(),
                value: Vec::new(),
                key: Vec::new(),
            });
        }
        Ok(Self { cells, number: Number::default(), key: Vec::new() })
    }

    /// Begins with a row.
    pub(super) fn begin(&mut self, row: &Held) -> Result<(), Fault> {
        for (at, cell) in self.cells.iter_mut().enumerate() {
            cell.is_null = true;
            if let (How::First, Some(value)) = (cell.how, row.value(at)) {
                cell.keep(value);
            }
        }
        self.add(row)
    }

    /// Adds a row.
    pub(super) fn add(&mut self, row: &Held) -> Result<(), Fault> {
        let Self { cells, number, key } = self;
        for (at, cell) in cells.iter_mut().enumerate() {
            if let Some(value) = row.value(at) {
                cell.add(value, number, key).ok_or(Fault::Broken)?;
            }
        }
        Ok(())
    }

    /// What the group has, as a row.
    pub(super) fn finish(&mut self, row: &mut Held) -> Result<(), Fault> {
        row.begin(self.cells.len());
        for at in 0..self.cells.len() {
            let average = self.average(at);
            let Some(cell) = self.cells.get_mut(at) else { break };
            if let How::Avg { .. } = cell.how {
                cell.is_null = average.is_none();
                cell.number = average.unwrap_or_default();
            }
            if let (How::Ints, false) = (cell.how, cell.is_null) {
                cell.in_range()?;
            }
            row.push(|out| if cell.is_null { None } else { cell.write(out) });
        }
        Ok(())
    }

    fn average(&self, at: usize) -> Option<Number> {
        let How::Avg { sum, count } = self.cells.get(at)?.how else { return None };
        let (sum, count) = (self.cells.get(sum)?, self.cells.get(count)?);
        if sum.is_null || count.is_null || count.int == 0 {
            return None;
        }
        let mut average = sum.number.clone();
        if sum.how == How::Ints {
            average.set(sum.int);
        }
        average.divide(u64::try_from(count.int).ok()?);
        Some(average)
    }
}

impl Cell {
    fn keep(&mut self, value: &[u8]) {
        self.value.clear();
        self.value.extend_from_slice(value);
        self.is_null = false;
    }

    /// Adds a value that is not NULL; `None` if it is none of the type.
    fn add(&mut self, value: &[u8], number: &mut Number, key: &mut Vec<u8>) -> Option<()> {
        let first = self.is_null;
        match self.how {
            How::First | How::Avg { .. } => {}
            How::Any => {
                if first {
                    self.keep(value);
                }
            }
            How::Ints => {
                let value = self.int_of(value)?;
                self.int = if first { value } else { self.int.checked_add(value)? };
                self.is_null = false;
            }
            How::Numbers => {
                match self.format {
                    Format::Text => number.read_text(value)?,
                    Format::Binary => number.read_binary(value)?,
                }
                if first {
                    std::mem::swap(&mut self.number, number);
                } else {
                    self.number.add(number);
                }
                self.is_null = false;
            }
            How::Extreme(kind, wanted) => {
                key.clear();
                kind.write(self.format, value, number, key)?;
                let better = match wanted {
                    Wanted::Least => *key < self.key,
                    Wanted::Greatest => *key > self.key,
                };
                if first || better {
                    std::mem::swap(&mut self.key, key);
                    self.keep(value);
                }
            }
            How::Bools(wanted) => {
                let value = i128::from(matches!(value, b"t" | [1]));
                self.int = match wanted {
                    _ if first => value,
                    Wanted::Least => self.int.min(value),
                    Wanted::Greatest => self.int.max(value),
                };
                self.is_null = false;
            }
            How::Bits(bits) => {
                let value = self.int_of(value)?;
                self.int = match bits {
                    _ if first => value,
                    Bits::And => self.int & value,
                    Bits::Or => self.int | value,
                    Bits::Xor => self.int ^ value,
                };
                self.is_null = false;
            }
        }
        Some(())
    }

    fn int_of(&self, value: &[u8]) -> Option<i128> {
        match self.format {
            Format::Text => std::str::from_utf8(value).ok()?.parse().ok(),
            Format::Binary => int(value).map(i128::from),
        }
    }

    fn in_range(&self) -> Result<(), Fault> {
        let (fits, name) = match self.type_oid {
            oid::INT2 => (i16::try_from(self.int).is_ok(), "smallint"),
            oid::INT4 => (i32::try_from(self.int).is_ok(), "integer"),
            _ => (i64::try_from(self.int).is_ok(), "bigint"),
        };
        if fits { Ok(()) } else { Err(Fault::OutOfRange(name)) }
    }

    /// Writes its value, which is not NULL.
    fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        match (self.how, self.format) {
            (How::First | How::Any | How::Extreme(..), _) => out.extend_from_slice(&self.value),
            (How::Numbers | How::Avg { .. }, Format::Text) => self.number.write_text(out),
            (How::Numbers | How::Avg { .. }, Format::Binary) => self.number.write_binary(out)?,
            (How::Bools(_), Format::Text) => out.push(if self.int == 1 { b't' } else { b'f' }),
            (How::Bools(_), Format::Binary) => out.push(u8::from(self.int == 1)),
            (How::Ints | How::Bits(_), Format::Text) => write!(out, "{}", self.int).ok()?,
            (How::Ints | How::Bits(_), Format::Binary) => match self.type_oid {
                oid::INT2 => out.extend(i16::try_from(self.int).ok()?.to_be_bytes()),
                oid::INT4 => out.extend(i32::try_from(self.int).ok()?.to_be_bytes()),
                _ => out.extend(i64::try_from(self.int).ok()?.to_be_bytes()),
            },
        }
        Some(())
    }
}
