//! A row as it came, with the places of its values.

use crate::wire::view::Fields;

/// The body of a DataRow. It is filled again and again without taking more memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    body: Vec<u8>,
    /// Where values begin and how long they are; NULL has no length.
    values: Vec<(usize, Option<usize>)>,
}

/// A row for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// How many columns it has.
    pub columns: u16,
    /// Their values, each with its length before it, as in a DataRow.
    pub values: &'a [u8],
}

impl Row<'_> {
    /// Appends the DataRow.
    pub fn write(&self, out: &mut Vec<u8>) {
        crate::wire::reply::raw(out, b'D', &[&self.columns.to_be_bytes(), self.values]);
    }
}

impl Held {
    /// Takes a row over; `None` if it is none of so many columns.
    pub(super) fn fill(&mut self, body: &[u8], columns: usize) -> Option<()> {
        self.body.clear();
        self.body.extend_from_slice(body);
        self.values.clear();
        let mut view = Fields::new(body);
        if usize::from(view.short()?) != columns {
            return None;
        }
        for _ in 0..columns {
            let len = view.word()?;
            let start = body.len() - view.rest().len();
            let len = if len == u32::MAX { None } else { Some(len as usize) };
            view.bytes(len.unwrap_or(0))?;
            self.values.push((start, len));
        }
        view.rest().is_empty().then_some(())
    }

    /// Whether both are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.body == other.body
    }

    /// Begins a row that is made here.
    pub(super) fn begin(&mut self, columns: usize) {
        self.body.clear();
        self.values.clear();
        let columns = u16::try_from(columns).unwrap_or(u16::MAX);
        self.body.extend_from_slice(&columns.to_be_bytes());
    }

    /// Adds a value, which is written or is NULL.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) {
        let at = self.body.len();
        self.body.extend_from_slice(&[0; 4]);
        let written = write(&mut self.body);
        let (len, word) = match written {
            Some(()) => {
                let len = self.body.len() - at - 4;
                (Some(len), u32::try_from(len).unwrap_or(u32::MAX))
            }
            None => {
                self.body.truncate(at + 4);
                (None, u32::MAX)
            }
        };
        if let Some(place) = self.body.get_mut(at..at + 4) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        self.values.push((at + 4, len));
    }

    /// A value; `None` is NULL.
    pub(super) fn value(&self, at: usize) -> Option<&[u8]> {
        let (start, len) = *self.values.get(at)?;
        self.body.get(start..start + len?)
    }

    /// Its first columns.
    pub(super) fn shown(&self, columns: usize) -> Row<'_> {
        let end = match columns.checked_sub(1).and_then(|last| self.values.get(last)) {
            Some((start, len)) => start + len.unwrap_or(0),
            None => 2,
        };
        Row {
            columns: u16::try_from(columns).unwrap_or(u16::MAX),
            values: self.body.get(2..end).unwrap_or_default(),
        }
    }
}
