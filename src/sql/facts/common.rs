//! Texts that differ in plain literals alone have the same facts: one of them stands for all.
//!
//! Replaced are decimal numbers and plain strings in ASCII, and comments in ASCII without a hint are
//! emptied. What might mean something else by what is in it (a backslash, a prefix, a dollar
//! quote) stays as it is, with all that is behind it. The result is a text itself, never longer,
//! and has the facts of the one that it stands for: that is all that is promised, and what a
//! property and the fuzzer check.

use super::hint;
use crate::sql::bytes::{Class, class, is_word, plain_len, word_len};

/// The text that stands for all that differ from `text` in plain literals alone. It is written
/// into `buffer`, which has to be as long as `text`; where it is not, the text stands for itself.
pub fn common<'a>(text: &'a [u8], buffer: &'a mut [u8]) -> &'a [u8] {
    common_and_places(text, buffer).0
}

/// The same, with the places of the first values, which the walk has come by.
pub fn common_and_places<'a>(text: &'a [u8], buffer: &'a mut [u8]) -> (&'a [u8], Places) {
    if buffer.len() < text.len() {
        return (text, Places::default());
    }
    let places = Places::default();
    let mut walk = Walk { text, at: 0, copied: 0, buffer, len: 0, places };
    while walk.step() {}
    let places = walk.places;
    (walk.finish(), places)
}

/// Where the first values of a text stand, in their order: numbers, strings and parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    places: [(u32, u32); 4],
    count: u8,
}

impl Places {
    /// Where the value of this number begins and ends, if that is known.
    pub fn get(&self, at: u32) -> Option<(usize, usize)> {
        let known = self.places.get(..usize::from(self.count))?;
        let (start, end) = *known.get(usize::try_from(at).ok()?)?;
        Some((usize::try_from(start).ok()?, usize::try_from(end).ok()?))
    }

    fn add(&mut self, start: usize, end: usize) {
        let place = u32::try_from(start).ok().zip(u32::try_from(end).ok());
        if let Some(next) = self.places.get_mut(usize::from(self.count))
            && let Some(place) = place
        {
            *next = place;
            self.count += 1;
        }
    }
}

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    /// What is before this is in the buffer.
    copied: usize,
    buffer: &'a mut [u8],
    len: usize,
    places: Places,
}

impl<'a> Walk<'a> {
    /// Goes to the next that may be a literal, or begin something longer, and looks at it; `false` if the
    /// rest stays as it is.
    #[inline]
    fn step(&mut self) -> bool {
        self.at += plain_len(self.rest());
        let Some(&byte) = self.text.get(self.at) else {
            return false;
        };
        match class(byte) {
            // It belongs to the word before.
            Class::Digit | Class::Dollar if self.is_in_word() => self.at += word_len(self.rest()),
            Class::Digit => self.number(),
            _ => return self.special(byte),
        }
        true
    }

    fn is_in_word(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.text.get(at));
        before.is_some_and(|before| is_word(*before))
    }

    fn special(&mut self, byte: u8) -> bool {
        let next = self.text.get(self.at + 1).copied();
        match (byte, next) {
            (b'\'', _) => self.string(),
            // U&"…" may spell any name.
            (b'"', _) if !self.is_behind(b"&") => self.quoted(),
            (b'$', Some(b'0'..=b'9')) => {
                let start = self.at;
                self.at += 1;
                self.at += word_len(self.rest());
                self.places.add(start, self.at);
                true
            }
            (b'-', Some(b'-')) => {
                self.line_comment();
                true
            }
            (b'/', Some(b'*')) => self.comment(),
            (b'-' | b'/', _) => {
                self.at += 1;
                true
            }
            _ => false,
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Whether the byte before is one of these.
    fn is_behind(&self, bytes: &[u8]) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.text.get(at));
        before.is_some_and(|before| bytes.contains(before))
    }

    /// Whether what begins here can't belong to what is before.
    fn is_apart(&self) -> bool {
        match self.at.checked_sub(1).and_then(|at| self.text.get(at)) {
            Some(before) => {
                matches!(class(*before), Class::Blank | Class::Before | Class::Remark)
            }
            None => true,
        }
    }

    /// Everything up to here stays, and this comes in the place of what goes up to `end`.
    fn replace(&mut self, with: &[u8], end: usize) {
        self.copy(self.at);
        self.write(with);
        (self.at, self.copied) = (end, end);
    }

    fn copy(&mut self, end: usize) {
        let text = self.text;
        self.write(text.get(self.copied..end).unwrap_or_default());
        self.copied = end;
    }

    fn write(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(place) = self.buffer.get_mut(self.len..end) {
            place.copy_from_slice(bytes);
            self.len = end;
        }
    }

    fn number(&mut self) {
        let rest = self.rest();
        let digits = |from: usize| {
            let rest = rest.get(from..).unwrap_or_default();
            rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len())
        };
        let whole = digits(0);
        let plain = match rest.get(whole) {
            Some(b'.') => Some(digits(whole + 1)).filter(|len| *len > 0).map(|len| whole + 1 + len),
            _ => Some(whole),
        };
        let goes_on = |byte: &u8| is_word(*byte) || *byte == b'.';
        let plain = plain.filter(|len| !rest.get(*len).is_some_and(goes_on));
        let len = plain.or_else(|| rest.iter().position(|byte| !goes_on(byte)));
        let end = self.at + len.unwrap_or(rest.len());
        self.places.add(self.at, end);
        if plain.is_some() && self.is_apart() {
            self.replace(b"0", end);
        } else {
            self.at = end;
        }
    }

    fn string(&mut self) -> bool {
        if !self.is_apart() {
            return false;
        }
        let rest = self.rest();
        let mut end = 1;
        loop {
            let inside = rest.get(end..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'\'', b'\\', inside) else {
                return false;
            };
            end += found + 1;
            match (inside.get(found), inside.get(found + 1)) {
                (Some(b'\''), Some(b'\'')) => end += 1,
                (Some(b'\''), _) => break,
                _ => return false,
            }
        }
        let end = self.at + end;
        self.places.add(self.at, end);
        if self.text.get(self.at..end).is_some_and(<[u8]>::is_ascii) {
            self.replace(b"''", end);
        } else {
            self.at = end;
        }
        true
    }

    fn quoted(&mut self) -> bool {
        let inside = self.rest().get(1..).unwrap_or_default();
        // A doubled quote is two names here, which comes to the same.
        let Some(end) = memchr::memchr(b'"', inside) else {
            return false;
        };
        self.at += end + 2;
        true
    }

    fn line_comment(&mut self) {
        let rest = self.rest();
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let end = self.at + end;
        let comment = self.text.get(self.at..end).unwrap_or_default();
        if comment.is_ascii() && !hint::may_be_in(comment) {
            self.replace(b"--", end);
        } else {
            self.at = end;
        }
    }

    fn comment(&mut self) -> bool {
        let inside = self.rest().get(2..).unwrap_or_default();
        let Some(end) = memchr::memmem::find(inside, b"*/") else {
            return false;
        };
        let begun = inside.get(..end + 1).unwrap_or_default();
        if memchr::memmem::find(begun, b"/*").is_some() {
            return false;
        }
        let end = self.at + 2 + end + 2;
        if begun.is_ascii() && !hint::may_be_in(begun) {
            self.replace(b"/**/", end);
        } else {
            self.at = end;
        }
        true
    }

    fn finish(mut self) -> &'a [u8] {
        self.copy(self.text.len());
        let Self { buffer, len, .. } = self;
        let buffer: &'a [u8] = buffer;
        buffer.get(..len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::super::facts;
    use super::*;
    use crate::sql::keys::Literals;

    fn of(text: &str) -> String {
        let mut buffer = vec![0; text.len()];
        let common = common(text.as_bytes(), &mut buffer);
        String::from_utf8(common.to_vec()).unwrap()
    }

    #[test]
    fn plain_literals_are_replaced_and_nothing_else() {
        for (text, expected) in [
            ("SELECT * FROM t WHERE id = 42", "SELECT * FROM t WHERE id = 0"),
            ("SELECT 1,2.50 , -3,'it''s'||'x'", "SELECT 0,0 , -0,''||''"),
            ("a1 $1 a.b2 t$3 \"1 '2\"", "a1 $1 a.b2 t$3 \"1 '2\""),
            ("1. .5 1e5 1.2.3 0x1f 1_000 5a", "1. .5 1e5 1.2.3 0x1f 1_000 5a"),
            ("IN ('a','b') LIMIT 10 -- x 1\n/* 5 */ 6", "IN ('','') LIMIT 0 --\n/**/ 0"),
            ("'é' 1 \"ü\" 2", "'é' 0 \"ü\" 0"),
            ("1 /* pgweir: primary */ 2", "0 /* pgweir: primary */ 0"),
            ("1 -- pgweir: shard=a\n2", "0 -- pgweir: shard=a\n0"),
            ("1 /* /* */ */ 2", "0 /* /* */ */ 2"),
            ("1 /*/ */ 2", "0 /**/ 0"),
            ("1 /* /*/ */ 2", "0 /* /*/ */ 2"),
            ("'a' 'b'\n'c'", "'' ''\n''"),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
        // All that is behind these stays.
        for rest in [
            "E'a' 1",
            "x'ff' 1",
            "U&'a' 1",
            "U&\"a\" 1",
            "$$a$$ 1",
            "$a$ 1",
            "'a\\b' 1",
            "'a\\' 1",
            "'open 1",
            "\"open 1",
            "/* open 1",
            "date'2020-01-01' 1",
        ] {
            assert_eq!(of(&format!("2 {rest}")), format!("0 {rest}"));
        }
    }

    const PIECES: &[&str] = &[
        "SELECT ",
        "FROM ",
        "t ",
        "WHERE ",
        "a = ",
        "1",
        "42.5",
        "'x'",
        "'it''s'",
        "'",
        "''",
        "\"",
        "\"Q\" ",
        "\\",
        "$1",
        "$",
        "$$",
        "$a$",
        "-",
        "--",
        "\n",
        "/*",
        "*/",
        "*",
        "/",
        "(",
        ")",
        ",",
        ";",
        ".",
        ":",
        "::int ",
        "[",
        "]",
        "E",
        "U&",
        "x",
        "B",
        "N",
        "é",
        " ",
        "e",
        "_",
        "0",
        "f(",
        "nextval(",
        "INSERT ",
        "INTO ",
        "FOR UPDATE",
        "INTERVAL ",
        "LIMIT ",
        "COPY t TO STDOUT ",
        "/* pgweir: primary */",
        "/* pgweir: replica */",
        "pgweir: replica",
        "@",
        "|",
        "<",
        "AS ",
        "UNION ",
        "BEGIN ",
        "READ ONLY ",
        "EXPLAIN ",
        "'pgweir: primary'",
        "IN (1, 2)",
        "\r",
        "\0",
    ];

    /// By the places that the walk has come by, and by those that the scanner finds.
    fn values_are_where_they_are_said_to_be(text: &[u8]) {
        let mut buffer = vec![0; text.len()];
        let (_, places) = common_and_places(text, &mut buffer);
        let mut scanned = Literals::new(text);
        for at in 0..u32::from(places.count) {
            let (start, end) = places.get(at).unwrap();
            let shown = String::from_utf8_lossy(text);
            assert_eq!(scanned.get(at), Some(text.get(start..end).unwrap()), "{at} of {shown:?}");
        }
    }

    #[test]
    fn first_values_have_places() {
        for (text, count) in [
            ("a = 1 AND b = 'x' AND c = $1 AND d = 1.5e3 AND e = 5", 4),
            ("a1 = $2", 1),
            ("SELECT", 0),
            ("a = 1 AND b = E'x' AND c = 2", 1),
        ] {
            let mut buffer = vec![0; text.len()];
            let (_, places) = common_and_places(text.as_bytes(), &mut buffer);
            assert_eq!(places.count, count, "{text}");
            assert_eq!(places.get(count.into()), None);
            values_are_where_they_are_said_to_be(text.as_bytes());
        }
    }

    /// `COMMON_TEXTS` says how many there are.
    #[test]
    fn text_that_stands_for_others_has_their_facts() {
        let count = std::env::var("COMMON_TEXTS").map_or(40_000, |count| count.parse().unwrap());
        let mut random = StdRng::seed_from_u64(5);
        for _ in 0..count {
            let parts = random.random_range(1..14);
            let text: String =
                (0..parts).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect();
            let common = of(&text);
            assert_eq!(facts(text.as_bytes()), facts(common.as_bytes()), "{text:?} {common:?}");
            assert_eq!(of(&common), common, "{text:?}");
            values_are_where_they_are_said_to_be(text.as_bytes());
        }
    }

    #[test]
    fn buffer_that_is_too_short_leaves_the_text() {
        assert_eq!(common(b"SELECT 1", &mut [0; 7]), b"SELECT 1");
    }
}
