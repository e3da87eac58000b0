//! Where lines end: in the text format, and in CSV.
//!
//! The first line says how all of them end. Backslashes and quotes make line ends a part of a line.

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::fields::{csv_field, text_field};
use super::{Coming, Csv, Cut, Fault, Field, Form, Kind};

#[derive(Debug)]
pub(super) struct Lines {
    form: Form,
    /// The first line, with names, has not come.
    header: bool,
    key: usize,
    fields: usize,
    ends: Ends,
    /// Lines that have come.
    line: u64,
    /// What is known of the line that is looked at.
    state: State,
    /// Whether the line that was cut last has backslashes, or quotes.
    special: bool,
}

/// How lines end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Unknown,
    Lf,
    Cr,
    CrLf,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// How much of it has been looked at.
    at: usize,
    /// That is in quotes.
    quoted: bool,
    /// There are backslashes in it, or quotes.
    special: bool,
}

/// What a `\.` at the start of a line is.
enum Marker {
    /// The end of all rows, of so many bytes.
    Alone(usize),
    /// What follows it is the end of a line, but not of these lines.
    OtherEnd,
    /// Something follows it.
    Data,
    /// What follows it has not come.
    Unknown,
}

impl Lines {
    pub(super) fn new(form: Form, header: bool, key: usize, fields: usize) -> Self {
        let state = State::default();
        Self { form, header, key, fields, ends: Ends::Unknown, line: 0, state, special: false }
    }

    #[inline]
    pub(super) fn cut(&mut self, bytes: &[u8], coming: Coming) -> Result<Option<Cut>, Fault> {
        let found = match &self.form {
            Form::Csv(csv) => {
                let Csv { quote, escape, .. } = *csv;
                self.cut_csv(bytes, quote, escape, coming)?
            }
            Form::Text { .. } | Form::Binary => self.cut_text(bytes, coming)?,
        };
        if let Some(cut) = found {
            self.special = self.state.special;
            self.state = State::default();
            let inside = match &self.form {
                Form::Csv(_) if self.special => self.ends_inside(bytes.get(..cut.len)),
                _ => 0,
            };
            self.line = self.line.saturating_add(inside + 1);
        }
        Ok(found)
    }

    /// The key of a line without its end.
    #[inline]
    pub(super) fn key<'r>(&self, line: &'r [u8]) -> Result<(Field<'r>, u64), Fault> {
        let field = match &self.form {
            Form::Text { delimiter, null } => {
                text_field(line, self.key, *delimiter, null, self.special)
            }
            Form::Csv(csv) => csv_field(line, self.key, csv, self.special),
            Form::Binary => None,
        };
        let missing = || Fault::Malformed { line: self.line, what: "the shard key is missing" };
        Ok((field.ok_or_else(missing)?, self.line))
    }

    /// Line ends in quotes, as Postgres counts them.
    fn ends_inside(&self, line: Option<&[u8]>) -> u64 {
        let line = line.unwrap_or_default();
        let end = if self.ends == Ends::Lf { b'\n' } else { b'\r' };
        let all = memchr_iter(end, line).count();
        let is_ended = matches!(line.last(), Some(b'\r' | b'\n'));
        u64::try_from(all.saturating_sub(usize::from(is_ended))).unwrap_or(0)
    }

    #[inline]
    fn cut_text(&mut self, bytes: &[u8], coming: Coming) -> Result<Option<Cut>, Fault> {
        let mut at = self.state.at;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(found) = memchr3(b'\n', b'\r', b'\\', rest) else {
                return Ok(self.unended(bytes, coming));
            };
            at += found;
            if rest.get(found) != Some(&b'\\') {
                return self.line_end(bytes, at, coming);
            }
            self.state.special = true;
            match (bytes.get(at + 1), coming) {
                (None, Coming::Nothing) => return Ok(self.unended(bytes, coming)),
                (None, Coming::More) => {
                    self.state.at = at;
                    return Ok(None);
                }
                (Some(b'.'), _) if at > 0 => {
                    return Err(self.doubtful("the marker \\. is not alone on its line"));
                }
                (Some(b'.'), _) => return self.marker_in_text(bytes, coming),
                // Whatever follows, be it a line end, is data.
                (Some(_), _) => at += 2,
            }
        }
    }

    fn marker_in_text(&mut self, bytes: &[u8], coming: Coming) -> Result<Option<Cut>, Fault> {
        match self.marker(bytes, coming) {
            Marker::Unknown => Ok(None),
            Marker::Alone(len) => Ok(Some(Cut { len, kind: Kind::End })),
            Marker::OtherEnd => {
                Err(self.malformed("the marker \\. ends in another way than lines"))
            }
            Marker::Data => Err(self.malformed("the marker \\. is not alone on its line")),
        }
    }

    #[inline]
    fn cut_csv(
        &mut self,
        bytes: &[u8],
        quote: u8,
        escape: u8,
        coming: Coming,
    ) -> Result<Option<Cut>, Fault> {
        let mut at = self.state.at;
        if at == 0 && bytes.first() == Some(&b'\\') {
            match (bytes.get(1), coming) {
                (Some(b'.'), _) => {
                    if let Some(found) = self.marker_in_csv(bytes, coming)? {
                        return Ok(found);
                    }
                }
                (None, Coming::More) => return Ok(None),
                _ => {}
            }
        }
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if !self.state.quoted {
                let Some(found) = memchr3(b'\n', b'\r', quote, rest) else {
                    return Ok(self.unended(bytes, coming));
                };
                at += found;
                if rest.get(found) != Some(&quote) {
                    return self.line_end(bytes, at, coming);
                }
                at += 1;
                (self.state.quoted, self.state.special) = (true, true);
                continue;
            }
            let found =
                if quote == escape { memchr(quote, rest) } else { memchr2(quote, escape, rest) };
            let Some(found) = found else {
                // Nobody looks at the fields of a line with names.
                if coming == Coming::Nothing && !self.header {
                    return Err(self.malformed("a quoted field does not end"));
                }
                return Ok(self.unended(bytes, coming));
            };
            at += found;
            if rest.get(found) == Some(&quote) {
                // A quote that is escaped by another ends the quotes and begins them again.
                self.state.quoted = false;
                at += 1;
                continue;
            }
            match (bytes.get(at + 1), coming) {
                (None, Coming::More) => {
                    self.state.at = at;
                    return Ok(None);
                }
                (Some(next), _) if *next == quote || *next == escape => at += 2,
                _ => at += 1,
            }
        }
    }

    /// `None`: it is data.
    fn marker_in_csv(
        &mut self,
        bytes: &[u8],
        coming: Coming,
    ) -> Result<Option<Option<Cut>>, Fault> {
        match self.marker(bytes, coming) {
            Marker::Unknown => Ok(Some(None)),
            Marker::Data => Ok(None),
            Marker::OtherEnd => {
                Err(self.malformed("the marker \\. ends in another way than lines"))
            }
            // Since Postgres 18 it is a row of one field. Where there are more, that is an error, and
            // what follows it does not matter in any version.
            Marker::Alone(len) if self.fields > 1 && !self.header => {
                Ok(Some(Some(Cut { len, kind: Kind::End })))
            }
            Marker::Alone(_) => Err(self.doubtful(
                "\\. alone on its line is a value to some versions and an end to others",
            )),
        }
    }

    fn marker(&self, bytes: &[u8], coming: Coming) -> Marker {
        let missing = if coming == Coming::More { Marker::Unknown } else { Marker::Data };
        match (self.ends, bytes.get(2), bytes.get(3)) {
            (_, None, _) => missing,
            (Ends::CrLf, Some(b'\r'), None) => missing,
            (Ends::CrLf, Some(b'\r'), Some(b'\n')) => Marker::Alone(4),
            (Ends::CrLf, Some(b'\r'), Some(b'\r')) => Marker::OtherEnd,
            (Ends::CrLf, Some(_), _) => Marker::Data,
            (Ends::Unknown | Ends::Lf, Some(b'\n'), _)
            | (Ends::Unknown | Ends::Cr, Some(b'\r'), _) => Marker::Alone(3),
            (_, Some(b'\r' | b'\n'), _) => Marker::OtherEnd,
            (_, Some(_), _) => Marker::Data,
        }
    }

    /// A line whose end has not come.
    fn unended(&mut self, bytes: &[u8], coming: Coming) -> Option<Cut> {
        let len = bytes.len();
        match coming {
            Coming::Nothing if len > 0 => Some(self.line(len, len)),
            Coming::Nothing => None,
            Coming::More => {
                self.state.at = len;
                None
            }
        }
    }

    /// What ends the line, as it seems, is here.
    #[inline]
    fn line_end(&mut self, bytes: &[u8], at: usize, coming: Coming) -> Result<Option<Cut>, Fault> {
        let is_lf = bytes.get(at) == Some(&b'\n');
        let len = match (self.ends, is_lf) {
            (Ends::Unknown | Ends::Lf, true) => {
                self.ends = Ends::Lf;
                at + 1
            }
            (Ends::Cr, false) => at + 1,
            (Ends::Unknown | Ends::CrLf, false) => match (bytes.get(at + 1), coming) {
                (Some(b'\n'), _) => {
                    self.ends = Ends::CrLf;
                    at + 2
                }
                (None, Coming::More) => {
                    self.state.at = at;
                    return Ok(None);
                }
                _ if self.ends == Ends::CrLf => {
                    return Err(self.malformed("a carriage return in data is not escaped"));
                }
                _ => {
                    self.ends = Ends::Cr;
                    at + 1
                }
            },
            (Ends::Lf, false) => {
                return Err(self.malformed("a carriage return in data is not escaped"));
            }
            (Ends::Cr | Ends::CrLf, true) => {
                return Err(self.malformed("a newline in data is not escaped"));
            }
        };
        Ok(Some(self.line(len, at)))
    }

    #[inline]
    fn line(&mut self, len: usize, content: usize) -> Cut {
        let header = std::mem::take(&mut self.header);
        Cut { len, kind: if header { Kind::Head } else { Kind::Row(content) } }
    }

    fn malformed(&self, what: &'static str) -> Fault {
        Fault::Malformed { line: self.line.saturating_add(1), what }
    }

    fn doubtful(&self, what: &'static str) -> Fault {
        Fault::Doubtful { line: self.line.saturating_add(1), what }
    }
}
