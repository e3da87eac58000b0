//! Texts that differ in plain literals alone have the same facts: one of them stands for all.
//!
//! Replaced are decimal numbers and plain strings in ASCII, and comments in ASCII without a hint are
//! emptied. What might mean something else by what is in it (a backslash, a prefix, a dollar
//! quote) stays as it is, with all that is behind it. The result is a text itself, never longer,
//! and has the facts of the one that it stands for: that is all that is promised, and what a
//! property and the fuzzer check.

use super::hint;
use crate::sql::bytes::{Class, class, is_word};

/// The text that stands for all that differ from `text` in plain literals alone. It is written
/// into `buffer`, which has to be as long as `text`; where it is not, the text stands for itself.
pub fn common<'a>(text: &'a [u8], buffer: &'a mut [u8]) -> &'a [u8] {
    if buffer.len() < text.len() {
        return text;
    }
    let mut walk = Walk { text, at: 0, copied: 0, buffer, len: 0 };
    while walk.step() {}
    walk.finish()
}

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    /// What is before this is in the buffer.
    copied: usize,
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Walk<'a> {
    /// Looks at what begins here; `false` if the rest stays as it is.
    #[inline]
    fn step(&mut self) -> bool {
        let Some(&byte) = self.text.get(self.at) else {
            return false;
        };
        match class(byte) {
            Class::Word => self.skip_while(is_word),
            Class::Blank | Class::Before | Class::Other => self.at += 1,
            Class::Digit => self.number(),
            Class::Quote | Class::DoubleQuote | Class::Dollar | Class::Remark => {
                return self.special(byte);
            }
        }
        true
    }

    fn special(&mut self, byte: u8) -> bool {
        let next = self.text.get(self.at + 1).copied();
        match (byte, next) {
            (b'\'', _) => self.string(),
            // U&"…" may spell any name.
            (b'"', _) if !self.is_behind(b"&") => self.quoted(),
            (b'$', Some(b'0'..=b'9')) => {
                self.at += 1;
                self.skip_while(is_word);
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

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        let rest = self.rest();
        self.at += rest.iter().position(|&byte| !wanted(byte)).unwrap_or(rest.len());
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
        let start = self.at;
        self.skip_while(|byte| is_word(byte) || byte == b'.');
        let end = self.at;
        self.at = start;
        let number = self.text.get(start..end).unwrap_or_default();
        let mut parts = number.split(|byte| *byte == b'.');
        let digits = |part: Option<&[u8]>| {
            part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
        };
        let whole = digits(parts.next());
        let fraction = match parts.next() {
            None => true,
            part => digits(part) && parts.next().is_none(),
        };
        if whole && fraction && self.is_apart() {
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
        }
    }

    #[test]
    fn buffer_that_is_too_short_leaves_the_text() {
        assert_eq!(common(b"SELECT 1", &mut [0; 7]), b"SELECT 1");
    }
}
