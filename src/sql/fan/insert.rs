//! An INSERT of several rows, taken apart so that each shard gets the rows that are its own.

use std::collections::HashMap;
use std::ops::Range;

use super::source::Source;
use crate::sql::keys::{Construct, Found, Numbered, Refusal, around, one_statement, readable};
use crate::sql::scan::Token;

/// A text `INSERT INTO … VALUES (…), (…) …`.
#[derive(Clone, Debug)]
pub struct Rows<'t> {
    text: &'t str,
    /// What stands before the rows.
    head: Piece,
    rows: Vec<Piece>,
    /// What stands behind them.
    tail: Piece,
    /// Where its parameters stand, and their numbers.
    parameters: Vec<(Range<usize>, u16)>,
    /// There is more than plain values in a row.
    pub computes: bool,
}

/// A piece of the text.
#[derive(Clone, Debug, Default)]
struct Piece {
    place: Range<usize>,
    /// Which of the parameters stand in it.
    parameters: Range<usize>,
}

/// A part of such a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// With some of the rows.
    pub text: String,
    /// The parameters that it has, by their numbers in the whole, from 1. Its own are numbered as they
    /// stand here.
    pub parameters: Vec<u16>,
}

impl<'t> Rows<'t> {
    /// Takes a text apart whose plan says that rows may go to their shards.
    ///
    /// # Errors
    ///
    /// Its rows can't be told.
    pub fn read(text: &'t [u8]) -> Found<Self> {
        let text = readable(text)?;
        let tokens = one_statement(text)?;
        let source = Source { text, tokens: &tokens };
        let unread = || Refusal::of(Construct::Grammar);
        if !source.is(0, "insert") {
            return Err(around(&tokens).map_or_else(unread, Refusal::of));
        }
        let parameters = parameters(source).ok_or_else(unread)?;
        let piece = |span: Range<usize>| {
            let place = source.start(span.start)..source.end(span.end);
            let before = |at: usize| parameters.partition_point(|(other, _)| other.start < at);
            Piece { parameters: before(place.start)..before(place.end), place }
        };
        let (spans, computes) = rows(source).ok_or_else(unread)?;
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
            return Err(unread());
        };
        let (mut head, mut tail) = (piece(0..first.start), piece(last.end..source.len()));
        // Comments around them stay.
        (head.place, tail.place.end) = (0..source.start(first.start), text.len());
        tail.place.start = source.end(last.end);
        let rows = spans.iter().cloned().map(piece).collect();
        Ok(Self { text, head, rows, tail, parameters, computes })
    }

    /// How many rows it has.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The numbers of parameters that stand in several places.
    pub fn shared(&self) -> Vec<u16> {
        let mut numbers: Vec<u16> = self.parameters.iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        let several = numbers.chunk_by(|one, other| one == other).filter(|all| all.len() > 1);
        several.filter_map(|all| all.first().copied()).collect()
    }

    /// The same with these rows alone.
    pub fn part(&self, rows: impl IntoIterator<Item = usize>) -> Part {
        let mut part = Part::default();
        let mut numbers = HashMap::new();
        self.take(&self.head, &mut part, &mut numbers);
        for (at, row) in rows.into_iter().filter_map(|row| self.rows.get(row)).enumerate() {
            if at > 0 {
                part.text.push_str(", ");
            }
            self.take(row, &mut part, &mut numbers);
        }
        self.take(&self.tail, &mut part, &mut numbers);
        part
    }

    fn take(&self, piece: &Piece, part: &mut Part, numbers: &mut HashMap<u16, usize>) {
        let mut at = piece.place.start;
        for (place, number) in self.parameters.get(piece.parameters.clone()).unwrap_or_default() {
            part.text.push_str(self.text.get(at..place.start).unwrap_or_default());
            at = place.end;
            let own = *numbers.entry(*number).or_insert_with(|| {
                part.parameters.push(*number);
                part.parameters.len()
            });
            part.text.push('$');
            part.text.push_str(&own.to_string());
        }
        part.text.push_str(self.text.get(at..piece.place.end).unwrap_or_default());
    }
}

/// Where parameters stand, and their numbers.
fn parameters(source: Source<'_>) -> Option<Vec<(Range<usize>, u16)>> {
    let Numbered { values, places, .. } = source.tokens;
    let mut found = Vec::new();
    for at in values {
        let place = places.get(*at)?;
        if let Some(number) = source.text.get(place.clone())?.strip_prefix('$')
            && number.starts_with(|first: char| first.is_ascii_digit())
        {
            found.push((place.clone(), number.parse().ok()?));
        }
    }
    Some(found)
}

/// The tokens of each row behind VALUES, brackets and all, and whether anything is computed in them.
fn rows(source: Source<'_>) -> Option<(Vec<Range<usize>>, bool)> {
    let (mut depth, mut rows, mut computes) = (0_usize, Vec::new(), false);
    let (mut start, mut fields, mut each) = (None, 0_usize, None);
    let mut among = false;
    for at in 0..source.len() {
        match source.token(at)? {
            Token::Symbol(b'(' | b'[') => {
                depth += 1;
                if among && depth == 1 {
                    (start, fields) = (Some(at), 1);
                }
                computes |= among && depth > 1;
            }
            Token::Symbol(b')' | b']') => {
                depth = depth.checked_sub(1)?;
                if let Some(from) = start.take_if(|_| depth == 0) {
                    // All have as many fields.
                    if *each.get_or_insert(fields) != fields {
                        return None;
                    }
                    rows.push(from..at + 1);
                    if !source.is_symbol(at + 1, b',') {
                        return Some((rows, computes));
                    }
                }
            }
            Token::Symbol(b',') if depth == 1 => fields += 1,
            Token::Symbol(b',') if among && depth == 0 && source.is_symbol(at + 1, b'(') => {}
            Token::Word(word) if depth == 0 && word.eq_ignore_ascii_case(b"values") => {
                // OVERRIDING … VALUE is another word.
                if among || !source.is_symbol(at + 1, b'(') {
                    return None;
                }
                among = true;
            }
            _ if among && depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str, rows: &[usize]) -> (String, Vec<u16>) {
        let Part { text, parameters } =
            Rows::read(text.as_bytes()).unwrap().part(rows.iter().copied());
        (text, parameters)
    }

    #[test]
    fn rows_are_taken_out_with_all_that_is_around_them() {
        let text = "/* a */ INSERT INTO t (id, \"values\") VALUES (1, 'x,('), (2, f((3), 4)) , \
                    (3, NULL) ON CONFLICT (id) DO UPDATE SET b = (5) RETURNING id -- z";
        let rows = Rows::read(text.as_bytes()).unwrap();
        assert_eq!(rows.count(), 3);
        assert!(rows.computes);
        let expected = "/* a */ INSERT INTO t (id, \"values\") VALUES (1, 'x,('), (3, NULL) ON \
                        CONFLICT (id) DO UPDATE SET b = (5) RETURNING id -- z";
        assert_eq!(part(text, &[0, 2]), (expected.to_owned(), vec![]));
        let plain = Rows::read(b"INSERT INTO t (id) VALUES (1), (-2)").unwrap();
        assert!(!plain.computes);
    }

    #[test]
    fn parameters_have_new_numbers() {
        let text = "INSERT INTO t (a, b) VALUES ($1, $5), ($3, $4),($5,$1) RETURNING $2::int, $3";
        for (rows, expected, parameters) in [
            (
                &[1][..],
                "INSERT INTO t (a, b) VALUES ($1, $2) RETURNING $3::int, $1",
                &[3, 4, 2][..],
            ),
            (
                &[0, 2],
                "INSERT INTO t (a, b) VALUES ($1, $2), ($2,$1) RETURNING $3::int, $4",
                &[1, 5, 2, 3],
            ),
        ] {
            assert_eq!(part(text, rows), (expected.to_owned(), parameters.to_vec()));
        }
    }

    #[test]
    fn what_has_no_plain_rows_is_not_taken_apart() {
        for text in [
            "INSERT INTO t (id) SELECT 1",
            "INSERT INTO t DEFAULT VALUES",
            "INSERT INTO t VALUES (1, 2), (3)",
            "EXPLAIN INSERT INTO t VALUES (1), (2)",
            "INSERT INTO t VALUES (1), ROW(2)",
            "WITH x AS (SELECT 1) INSERT INTO t VALUES (1), (2)",
            "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
        ] {
            assert!(Rows::read(text.as_bytes()).is_err(), "{text}");
        }
        let with = "INSERT INTO t (id) WITH x AS (VALUES (1)) VALUES (2), (3)";
        assert_eq!(part(with, &[1]).0, "INSERT INTO t (id) WITH x AS (VALUES (1)) VALUES (3)");
    }
}
