//! What a client sends behind `COPY … FROM STDIN`, split into rows, each with its key as it is
//! written, so that every row can go to its shard.
//!
//! Rows are split where Postgres splits them: each shard's server finds the same rows in its part
//! that one server would find in the whole. What versions of Postgres read in different ways, and what
//! they refuse in a way that a shard with a part of the rows might not see, is a [`Fault`].
//!
//! Of what has come, no more is kept than the beginning of one row.
//!
//! The bytes are taken for an encoding in which characters have no bytes of ASCII but those of ASCII:
//! all that servers store in, but not SJIS, BIG5, GBK, UHC, GB18030 and JOHAB, which clients alone use.

mod fields;
mod lines;
mod tuples;

use std::borrow::Cow;

use thiserror::Error;

pub use crate::sql::copy::{Csv, Forced, Form, Format, Strings};
use lines::Lines;
use tuples::Tuples;

/// What of a row's buffer is kept for the next one, in bytes.
const KEPT: usize = 64 * 1024;
/// By how much is looked beyond the end of a row, in bytes.
const AHEAD: usize = 2;

/// Splits what a client sends.
#[derive(Debug)]
pub struct Rows {
    cutter: Cutter,
    /// The beginning of a row whose end has not come.
    held: Vec<u8>,
    /// How long a row may be.
    row_max: usize,
    is_over: bool,
}

/// A piece of what a client sends, with what ends it.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'r> {
    /// It is for every shard: a line with names, the header or trailer of the binary format, the
    /// marker `\.`.
    All(&'r [u8]),
    /// A row.
    Row {
        /// With its line end, if it has one.
        bytes: &'r [u8],
        /// The key, as it is given.
        key: Field<'r>,
        /// Its line, as Postgres counts them, or in the binary format its number, from 1.
        line: u64,
    },
}

/// A field of a row.
#[derive(Debug, PartialEq, Eq)]
pub enum Field<'r> {
    /// NULL.
    Null,
    /// In the text form of its type.
    Text(Cow<'r, [u8]>),
    /// In the binary form of its type.
    Binary(&'r [u8]),
}

/// Why rows can't be split any further. It is what the client has sent, or what is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// A row is longer than is allowed (54000).
    #[error("a row of COPY is longer than {0} bytes")]
    TooLong(usize),
    /// Postgres would refuse it as well (22P04).
    #[error("line {line} of COPY: {what}")]
    Malformed {
        /// Where.
        line: u64,
        /// Why.
        what: &'static str,
    },
    /// Versions of Postgres read it in different ways (0A000).
    #[error("line {line} of COPY can't be given to a shard with certainty: {what}")]
    Doubtful {
        /// Where.
        line: u64,
        /// Why.
        what: &'static str,
    },
}

#[derive(Debug)]
enum Cutter {
    Lines(Lines),
    Tuples(Tuples),
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coming {
    More,
    Nothing,
}

/// Of a piece: how long it is with its end, and what it is.
#[derive(Clone, Copy, Debug)]
struct Cut {
    len: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// For all shards.
    Head,
    /// For all shards, and the last.
    End,
    /// A row, which is this long without its end.
    Row(usize),
}

impl Rows {
    /// For rows of so many fields, of which this one is the key, from 0. `row_max` bytes are the most
    /// that a row may have.
    pub fn new(format: Format, key: usize, fields: usize, row_max: usize) -> Self {
        let cutter = match format.form {
            Form::Binary => Cutter::Tuples(Tuples::new(key, row_max)),
            form => Cutter::Lines(Lines::new(form, format.header, key, fields)),
        };
        Self { cutter, held: Vec::new(), row_max, is_over: false }
    }

    /// Takes what has come, cut anywhere, and gives each piece that is whole now to `each`, in order.
    ///
    /// # Errors
    ///
    /// What `each` says, or a fault: nothing may be fed behind either.
    pub fn feed<E: From<Fault>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = self.complete(bytes, &mut each)?;
        while !rest.is_empty() && !self.ignores()? {
            let Some(cut) = self.cutter.cut(rest, Coming::More)? else {
                if rest.len() > self.row_max.saturating_add(AHEAD) {
                    return Err(Fault::TooLong(self.row_max).into());
                }
                self.held.extend_from_slice(rest);
                break;
            };
            let (piece, behind) = rest.split_at_checked(cut.len).unwrap_or((rest, &[]));
            self.is_over = give(&mut self.cutter, piece, cut, self.row_max, &mut each)?;
            rest = behind;
        }
        Ok(())
    }

    /// At the end of what the client sends: gives the last row, which may lack a line end.
    ///
    /// # Errors
    ///
    /// What `each` says, or a fault.
    pub fn finish<E: From<Fault>>(
        &mut self,
        mut each: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while !self.is_over {
            let Some(cut) = self.cutter.cut(rest, Coming::Nothing)? else { break };
            let (piece, behind) = rest.split_at_checked(cut.len).unwrap_or((rest, &[]));
            self.is_over = give(&mut self.cutter, piece, cut, self.row_max, &mut each)?;
            rest = behind;
        }
        self.is_over = true;
        Ok(())
    }

    /// Whether what comes is of no interest any more: it is behind a marker `\.`.
    fn ignores(&self) -> Result<bool, Fault> {
        match (&self.cutter, self.is_over) {
            (_, false) => Ok(false),
            (Cutter::Lines(_), true) => Ok(true),
            (Cutter::Tuples(tuples), true) => Err(tuples.malformed("data follows the trailer")),
        }
    }

    /// Completes the row that has begun; what follows it is left.
    fn complete<'b, E: From<Fault>>(
        &mut self,
        bytes: &'b [u8],
        each: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<&'b [u8], E> {
        let mut rest = bytes;
        while !self.held.is_empty() && !rest.is_empty() {
            // Where it ends is not known: more is taken each time, but no more than it may have.
            let had = self.held.len();
            let room = self.row_max.saturating_add(AHEAD + 1).saturating_sub(had);
            let (some, behind) = rest.split_at(had.max(256).min(room).min(rest.len()));
            self.held.extend_from_slice(some);
            let Some(cut) = self.cutter.cut(&self.held, Coming::More)? else {
                if self.held.len() > self.row_max.saturating_add(AHEAD) {
                    return Err(Fault::TooLong(self.row_max).into());
                }
                rest = behind;
                continue;
            };
            let piece = self.held.get(..cut.len).unwrap_or(&self.held);
            self.is_over = give(&mut self.cutter, piece, cut, self.row_max, each)?;
            // What had come before was no whole row, so all of it is a part of this one.
            rest = rest.get(cut.len.saturating_sub(had)..).unwrap_or_default();
            if self.held.capacity() > KEPT {
                self.held = Vec::new();
            }
            self.held.clear();
        }
        Ok(rest)
    }
}

/// Gives a piece; whether it is the last.
#[inline]
fn give<E: From<Fault>>(
    cutter: &mut Cutter,
    piece: &[u8],
    cut: Cut,
    row_max: usize,
    each: &mut impl FnMut(Part<'_>) -> Result<(), E>,
) -> Result<bool, E> {
    if piece.len() > row_max {
        return Err(Fault::TooLong(row_max).into());
    }
    let part = match cut.kind {
        Kind::Head | Kind::End => Part::All(piece),
        Kind::Row(len) => {
            let (key, line) = cutter.key(piece, len)?;
            Part::Row { bytes: piece, key, line }
        }
    };
    each(part)?;
    Ok(matches!(cut.kind, Kind::End))
}

impl Cutter {
    /// The piece that these bytes begin with; `None` where its end has not come. The same bytes, and
    /// more, have to come again then.
    #[inline]
    fn cut(&mut self, bytes: &[u8], coming: Coming) -> Result<Option<Cut>, Fault> {
        match self {
            Self::Lines(lines) => lines.cut(bytes, coming),
            Self::Tuples(tuples) => tuples.cut(bytes, coming),
        }
    }

    /// The key of the row that was cut last, and its line.
    #[inline]
    fn key<'r>(&mut self, row: &'r [u8], len: usize) -> Result<(Field<'r>, u64), Fault> {
        match self {
            Self::Lines(lines) => lines.key(row.get(..len).unwrap_or(row)),
            Self::Tuples(tuples) => tuples.key(row),
        }
    }
}

#[cfg(test)]
mod tests;
