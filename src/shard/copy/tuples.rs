//! The binary format: a header, rows of counted fields with their lengths, a trailer.
//! <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.55.9.4>

use std::ops::Range;

use super::{Coming, Cut, Fault, Field, Kind};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// The signature, flags, and the length of what else is in the header.
const HEADER: usize = SIGNATURE.len() + 8;

#[derive(Debug)]
pub(super) struct Tuples {
    key: usize,
    row_max: usize,
    /// The header has come.
    begun: bool,
    /// Rows that have come.
    row: u64,
    /// What is known of the row that is looked at.
    state: State,
    /// The key of the row that was cut last.
    found: Option<Place>,
}

#[derive(Debug, Default)]
struct State {
    /// Where its next field is.
    at: usize,
    /// How many fields it has, and how many of them are behind us.
    count: usize,
    passed: usize,
    key: Option<Place>,
}

/// Where a field is; `None` is NULL.
type Place = Option<Range<usize>>;

impl Tuples {
    pub(super) fn new(key: usize, row_max: usize) -> Self {
        Self { key, row_max, begun: false, row: 0, state: State::default(), found: None }
    }

    pub(super) fn cut(&mut self, bytes: &[u8], coming: Coming) -> Result<Option<Cut>, Fault> {
        let cut = if self.begun { self.cut_row(bytes)? } else { self.cut_header(bytes)? };
        match (coming, cut) {
            (Coming::Nothing, None) if !self.begun => Err(self.malformed("the header is missing")),
            // Half a count is nothing to Postgres.
            (Coming::Nothing, None) if bytes.len() > 1 => {
                Err(self.malformed("the last row has no end"))
            }
            (_, cut) => Ok(cut),
        }
    }

    /// The key of the row that was cut last, and its number.
    pub(super) fn key<'r>(&mut self, row: &'r [u8]) -> Result<(Field<'r>, u64), Fault> {
        let missing = || Fault::Malformed { line: self.row, what: "the shard key is missing" };
        let field = match self.found.take().ok_or_else(missing)? {
            None => Field::Null,
            Some(place) => Field::Binary(row.get(place).ok_or_else(missing)?),
        };
        Ok((field, self.row))
    }

    fn cut_header(&mut self, bytes: &[u8]) -> Result<Option<Cut>, Fault> {
        let known = bytes.len().min(SIGNATURE.len());
        if bytes.get(..known) != SIGNATURE.get(..known) {
            return Err(self.malformed("this is not the binary format"));
        }
        let Some(more) = i32_at(bytes, HEADER - 4) else { return Ok(None) };
        let negative = |_| self.malformed("the header has a length below zero");
        let len = usize::try_from(more).map_err(negative)?.saturating_add(HEADER);
        self.limited(len)?;
        if bytes.len() < len {
            return Ok(None);
        }
        self.begun = true;
        Ok(Some(Cut { len, kind: Kind::Head }))
    }

    fn cut_row(&mut self, bytes: &[u8]) -> Result<Option<Cut>, Fault> {
        if self.state.at == 0 {
            let Some(count) = bytes.first_chunk::<2>() else { return Ok(None) };
            let count = i16::from_be_bytes(*count);
            if count == -1 {
                return Ok(Some(Cut { len: 2, kind: Kind::End }));
            }
            let negative = |_| self.malformed("a count of fields is below zero");
            self.state.count = usize::try_from(count).map_err(negative)?;
            self.state.at = 2;
        }
        while self.state.passed < self.state.count {
            let start = self.state.at.saturating_add(4);
            let Some(len) = i32_at(bytes, self.state.at) else { return Ok(None) };
            let place = match len {
                -1 => None,
                len => {
                    let negative = |_| self.malformed("a field has a length below zero");
                    Some(start..start.saturating_add(usize::try_from(len).map_err(negative)?))
                }
            };
            let end = place.as_ref().map_or(start, |place| place.end);
            self.limited(end)?;
            if bytes.len() < end {
                return Ok(None);
            }
            if self.state.passed == self.key {
                self.state.key = Some(place);
            }
            self.state.at = end;
            self.state.passed += 1;
        }
        let State { at: len, key, .. } = std::mem::take(&mut self.state);
        self.found = key;
        self.row += 1;
        Ok(Some(Cut { len, kind: Kind::Row(len) }))
    }

    fn limited(&self, len: usize) -> Result<(), Fault> {
        if len > self.row_max { Err(Fault::TooLong(self.row_max)) } else { Ok(()) }
    }

    pub(super) fn malformed(&self, what: &'static str) -> Fault {
        Fault::Malformed { line: self.row.saturating_add(1), what }
    }
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes))
}
