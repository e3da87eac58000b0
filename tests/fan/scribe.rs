//! Inputs of COPY: options, and rows as they are written by them, mostly right.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

/// What a case consists of.
pub struct Input {
    /// Columns of the rows, `k` among them.
    pub columns: Vec<&'static str>,
    pub options: String,
    pub data: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Csv,
    Binary,
}

struct Scribe<'r> {
    random: &'r mut StdRng,
    form: Form,
    delimiter: u8,
    null: &'static str,
    quote: u8,
    escape: u8,
    end: &'static [u8],
}

/// Makes one.
pub fn input(random: &mut StdRng) -> Input {
    let mut columns = vec!["a", "b"];
    columns.shuffle(random);
    columns.truncate(random.random_range(0..=2));
    columns.push("k");
    columns.shuffle(random);
    let form =
        *[Form::Text, Form::Text, Form::Csv, Form::Csv, Form::Binary].choose(random).unwrap();
    let csv = form == Form::Csv;
    let delimiters: &[u8] = if csv { b",,,;|x\t" } else { b"\t\t\t|,; N" };
    let nulls = ["\\N", "\\N", "", "", "nil", "a", "\\\\", "a\\b", "x4", ".", "\\."];
    let quote = *b"\"\"\"'q".choose(random).unwrap();
    let mut scribe = Scribe {
        form,
        delimiter: *delimiters.choose(random).unwrap(),
        null: nulls.choose(random).unwrap(),
        quote,
        escape: *[quote, quote, b'\\', b'e', b'.'].choose(random).unwrap(),
        end: [&b"\n"[..], b"\n", b"\r\n", b"\r"].choose(random).unwrap(),
        random,
    };
    let (options, header) = scribe.options();
    let mut data = match form {
        Form::Binary => scribe.tuples(columns.len()),
        _ => scribe.lines(&columns, header),
    };
    if scribe.random.random_ratio(1, 3) {
        scribe.spoil(&mut data);
    }
    Input { columns, options, data }
}

impl Scribe<'_> {
    fn chance(&mut self, of: u32) -> bool {
        self.random.random_ratio(1, of)
    }

    /// The options, and whether there is a line with names.
    fn options(&mut self) -> (String, bool) {
        if self.form == Form::Binary {
            let texts = ["BINARY", "(FORMAT binary)", "WITH (FORMAT 'binary')"];
            return ((*texts.choose(self.random).unwrap()).to_owned(), false);
        }
        let csv = self.form == Form::Csv;
        let listed = self.random.random_bool(0.6);
        let header = self.chance(3);
        let mut options = Vec::new();
        let (delimiter, null) = if csv { (b',', "") } else { (b'\t', "\\N") };
        if csv {
            options.push(if listed { "FORMAT csv".to_owned() } else { "CSV".to_owned() });
        }
        let byte = |byte: u8| match byte {
            b'\t' => "E'\\t'".to_owned(),
            b'\'' => "''''".to_owned(),
            b'\\' => "E'\\\\'".to_owned(),
            byte => format!("'{}'", char::from(byte)),
        };
        if self.delimiter != delimiter || self.chance(3) {
            options.push(format!("DELIMITER {}", byte(self.delimiter)));
        }
        if self.null != null || self.chance(3) {
            let escaped = self.null.replace('\\', "\\\\");
            let plain = !self.null.ends_with('\\') && self.random.random_bool(0.5);
            let null = if plain { format!("'{}'", self.null) } else { format!("E'{escaped}'") };
            options.push(format!("NULL {null}"));
        }
        if csv && (self.quote != b'"' || self.chance(4)) {
            options.push(format!("QUOTE {}", byte(self.quote)));
        }
        if csv && (self.escape != self.quote || self.chance(4)) {
            options.push(format!("ESCAPE {}", byte(self.escape)));
        }
        if header {
            let values: &[&str] = if listed { &["", " true", " match", " 1"] } else { &[""] };
            options.push(format!("HEADER{}", values.choose(self.random).unwrap()));
        }
        for (list, plain) in
            [("FORCE_NULL (k)", "FORCE NULL k"), ("FORCE_NOT_NULL (k)", "FORCE NOT NULL k")]
        {
            if csv && self.chance(4) {
                options.push(if listed { list } else { plain }.to_owned());
            }
        }
        options.shuffle(self.random);
        let joined = match (options.is_empty(), listed) {
            (true, _) => String::new(),
            (false, true) => format!("WITH ({})", options.join(", ")),
            (false, false) => format!("WITH {}", options.join(" ")),
        };
        (joined, header)
    }

    /// What may be misunderstood.
    fn token(&mut self) -> Vec<u8> {
        let own = [self.delimiter, self.quote, self.escape];
        let tokens: [&[u8]; 22] = [
            &own[..1],
            &own[1..2],
            &own[2..],
            b"\n",
            b"\r",
            b"\r\n",
            b"\\",
            b"\\.",
            b"\\N",
            b".",
            b"a",
            b"b",
            b"nil",
            b"x41",
            b"x4",
            b"101",
            b"7",
            b" ",
            "é".as_bytes(),
            b"N",
            b"\t",
            b"zz",
        ];
        tokens.choose(self.random).unwrap().to_vec()
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        match self.random.random_range(0..10) {
            0 => None,
            1 => Some(self.null.as_bytes().to_vec()),
            _ => {
                let count = self.random.random_range(0..5);
                Some((0..count).flat_map(|_| self.token()).collect())
            }
        }
    }

    fn lines(&mut self, columns: &[&str], header: bool) -> Vec<u8> {
        let mut data = Vec::new();
        let delimiter = self.delimiter;
        if header {
            data.extend(columns.join(&String::from(char::from(delimiter))).as_bytes());
            data.extend(self.end);
        }
        for _ in 0..self.random.random_range(0..12) {
            for at in 0..columns.len() {
                if at > 0 {
                    data.push(delimiter);
                }
                let value = self.value();
                let field = if self.form == Form::Csv { self.csv(value) } else { self.text(value) };
                data.extend(field);
            }
            data.extend(self.end);
        }
        if self.chance(6) {
            data.truncate(data.len().saturating_sub(self.end.len()));
            if self.chance(6) {
                data.push(b'\\');
            }
        }
        if self.chance(8) {
            data.extend(b"\\.");
            data.extend(self.end);
            for _ in 0..self.random.random_range(0..4) {
                data.extend(self.token());
            }
        }
        data
    }

    fn text(&mut self, value: Option<Vec<u8>>) -> Vec<u8> {
        let Some(value) = value else { return self.null.as_bytes().to_vec() };
        if self.chance(20) {
            // As it is: with escapes of its own.
            return value.into_iter().filter(|byte| !b"\r\n".contains(byte)).collect();
        }
        let mut out = Vec::new();
        for byte in value {
            let named = b"\x08\x0c\n\r\t\x0b".iter().position(|of| *of == byte);
            let needs = b"\\\n\r".contains(&byte) || byte == self.delimiter;
            match (named, self.random.random_range(0..8)) {
                (Some(at), 0..4) => out.extend([b'\\', b"bfnrtv"[at]]),
                (_, 4) => out.extend(format!("\\{byte:03o}").bytes()),
                (_, 5) => out.extend(format!("\\x{byte:02x}").bytes()),
                _ if needs => out.extend([b'\\', byte]),
                (_, 6) if byte.is_ascii_punctuation() && byte != b'.' => out.extend([b'\\', byte]),
                _ => out.push(byte),
            }
        }
        out
    }

    fn csv(&mut self, value: Option<Vec<u8>>) -> Vec<u8> {
        let Some(value) = value else { return self.null.as_bytes().to_vec() };
        let special =
            |byte: &u8| b"\r\n".contains(byte) || [self.delimiter, self.quote].contains(byte);
        let needs = value.iter().any(special);
        if !needs && self.random.random_bool(0.5) {
            return value;
        }
        let mut out = vec![self.quote];
        for byte in value {
            if byte == self.quote || byte == self.escape {
                out.push(self.escape);
            }
            out.push(byte);
        }
        out.push(self.quote);
        if self.chance(10) {
            out.extend(b"zz");
        }
        out
    }

    fn tuples(&mut self, fields: usize) -> Vec<u8> {
        let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0".to_vec();
        data.push(if self.chance(8) { 9 } else { 0 });
        let more: &[u8] = if self.chance(4) { b"more" } else { b"" };
        data.extend(u32::try_from(more.len()).unwrap().to_be_bytes());
        data.extend(more);
        for _ in 0..self.random.random_range(0..8) {
            data.extend(u16::try_from(fields).unwrap().to_be_bytes());
            for _ in 0..fields {
                let value = self.value();
                let len = value.as_ref().map_or(u32::MAX, |it| u32::try_from(it.len()).unwrap());
                data.extend(len.to_be_bytes());
                data.extend(value.unwrap_or_default());
            }
        }
        if self.random.random_bool(0.8) {
            data.extend([0xff, 0xff]);
        }
        data
    }

    /// Makes it wrong, or other than it was meant.
    fn spoil(&mut self, data: &mut Vec<u8>) {
        for _ in 0..self.random.random_range(1..4) {
            let at = self.random.random_range(0..=data.len());
            match self.random.random_range(0..6) {
                0 if at < data.len() => drop(data.remove(at)),
                1 => data.truncate(at.max(data.len() / 2)),
                2 if self.form == Form::Binary => data.push(0),
                3 => data.insert(at, *[0, 0xff, 0xc3, 0x1a].choose(self.random).unwrap()),
                4 => drop(data.splice(at..at, *b"\n\\.\n")),
                _ => {
                    let token = self.token();
                    data.splice(at..at, token);
                }
            }
        }
    }
}
