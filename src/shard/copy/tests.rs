//! Inputs and the parts that they have, however they are cut.

use super::*;

const TEXT: &str = "";

fn format(options: &str) -> Format {
    let text = format!("COPY t FROM STDIN {options}");
    Format::read(&text, "k", Strings::Conforming).unwrap()
}

/// Parts as they are given, `*` before those for all shards.
fn push(shown: &mut Vec<String>, part: Part<'_>) -> Result<(), Fault> {
    shown.push(match part {
        Part::All(bytes) => format!("*{}", bytes.escape_ascii()),
        Part::Row { bytes, key, line } => {
            let key = match &key {
                Field::Null => "NULL".to_owned(),
                Field::Text(key) => format!("<{}>", key.escape_ascii()),
                Field::Binary(key) => format!("x{}", key.escape_ascii()),
            };
            format!("{line} {key} {}", bytes.escape_ascii())
        }
    });
    Ok(())
}

fn fed(mut rows: Rows, pieces: &[&[u8]]) -> Vec<String> {
    let mut shown = Vec::new();
    let mut take = || {
        for piece in pieces {
            rows.feed(piece, |part| push(&mut shown, part))?;
        }
        rows.finish(|part| push(&mut shown, part))
    };
    if let Err(fault) = take() {
        shown.push(format!("! {fault}"));
    }
    shown
}

/// With the key in this field, from 0, of so many.
#[track_caller]
fn check(options: &str, (key, fields): (usize, usize), input: &[u8], expected: &[&str]) {
    let rows = || Rows::new(format(options), key, fields, 1000);
    let whole = fed(rows(), &[input]);
    assert_eq!(whole, expected, "{options}: {}", input.escape_ascii());
    for first in 0..=input.len() {
        for second in first..=input.len() {
            let pieces = [&input[..first], &input[first..second], &input[second..]];
            let cut = fed(rows(), &pieces);
            assert_eq!(cut, expected, "{options}: {pieces:?}");
        }
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(fed(rows(), &bytes), expected, "{options}: {}, by bytes", input.escape_ascii());
}

#[test]
fn lines_of_text_are_rows() {
    check(TEXT, (0, 2), b"", &[]);
    check(TEXT, (0, 2), b"1\ta\n22\tb\n", &["1 <1> 1\\ta\\n", "2 <22> 22\\tb\\n"]);
    check(TEXT, (1, 2), b"a\t1\r\nb\t\r\n", &["1 <1> a\\t1\\r\\n", "2 <> b\\t\\r\\n"]);
    check(TEXT, (1, 2), b"a\t1\rb\t2", &["1 <1> a\\t1\\r", "2 <2> b\\t2"]);
    check(TEXT, (0, 1), b"\n\n", &["1 <> \\n", "2 <> \\n"]);
    check(TEXT, (0, 1), b"a\r", &["1 <a> a\\r"]);
    check("(DELIMITER '|', HEADER)", (1, 2), b"a|k\nb|2", &["*a|k\\n", "2 <2> b|2"]);
    check("(HEADER)", (1, 2), b"no end", &["*no end"]);
    // Of fields, the key's is the only one that has to be there.
    check(TEXT, (0, 3), b"1\n1\t2\t3\t4\n", &["1 <1> 1\\n", "2 <1> 1\\t2\\t3\\t4\\n"]);
    check(
        TEXT,
        (1, 2),
        b"a\t1\nb\nc\t2\n",
        &["1 <1> a\\t1\\n", "! line 2 of COPY: the shard key is missing"],
    );
}

#[test]
fn backslashes_in_text_are_taken_away() {
    check(
        TEXT,
        (0, 2),
        b"\\N\t\\N\n\\\\N\t\n",
        &["1 NULL \\\\N\\t\\\\N\\n", "2 <\\\\N> \\\\\\\\N\\t\\n"],
    );
    check(
        TEXT,
        (0, 1),
        b"\\b\\f\\n\\r\\t\\v\\q\\\"\n",
        &["1 <\\x08\\x0c\\n\\r\\t\\x0bq\\\"> \\\\b\\\\f\\\\n\\\\r\\\\t\\\\v\\\\q\\\\\\\"\\n"],
    );
    check(
        TEXT,
        (0, 1),
        b"\\1018\\x4G\\x4a4\\xg\\8\\777\\18\n",
        &["1 <A8\\x04GJ4xg8\\xff\\x018> \\\\1018\\\\x4G\\\\x4a4\\\\xg\\\\8\\\\777\\\\18\\n"],
    );
    // Line ends and delimiters are data behind a backslash.
    check(TEXT, (1, 2), b"a\\\nb\\\tc\td\\\ne\n", &["1 <d\\ne> a\\\\\\nb\\\\\\tc\\td\\\\\\ne\\n"]);
    check(TEXT, (0, 1), b"a\\\r\nb\n", &["1 <a\\r> a\\\\\\r\\n", "2 <b> b\\n"]);
    check(
        "NULL ''",
        (1, 2),
        b"a\t\n\\N\tb\\\\\n",
        &["1 NULL a\\t\\n", "2 <b\\\\> \\\\N\\tb\\\\\\\\\\n"],
    );
    check(
        "NULL 'a\\b'",
        (0, 1),
        b"a\\b\na\\\\b\n",
        &["1 NULL a\\\\b\\n", "2 <a\\\\b> a\\\\\\\\b\\n"],
    );
    // The last of all is nothing.
    check(TEXT, (0, 1), b"a\\\\\\", &["1 <a\\\\> a\\\\\\\\\\\\"]);
    check(TEXT, (0, 1), b"\\N\\", &["1 NULL \\\\N\\\\"]);
}

#[test]
fn marker_ends_text() {
    check(TEXT, (0, 1), b"a\n\\.\nb\rc\\.d", &["1 <a> a\\n", "*\\\\.\\n"]);
    check(TEXT, (0, 1), b"a\r\n\\.\r\nb", &["1 <a> a\\r\\n", "*\\\\.\\r\\n"]);
    check(TEXT, (0, 1), b"a\r\\.\r", &["1 <a> a\\r", "*\\\\.\\r"]);
    check(TEXT, (0, 1), b"\\.\r\nb", &["*\\\\.\\r"]);
    check("(HEADER)", (0, 1), b"\\.\n", &["*\\\\.\\n"]);
    check(
        TEXT,
        (0, 1),
        b"\\\\.\n\\n\\.\n",
        &[
            "1 <\\\\.> \\\\\\\\.\\n",
            "! line 2 of COPY can't be given to a shard with certainty: the marker \\. is not alone on \
         its line",
        ],
    );
    for input in [&b"\\."[..], b"\\.x\n", b"\\.\t\n", b"\\. \n"] {
        check(TEXT, (0, 1), input, &["! line 1 of COPY: the marker \\. is not alone on its line"]);
    }
    for (input, row) in [
        (&b"a\n\\.\r"[..], "1 <a> a\\n"),
        (b"a\r\\.\n", "1 <a> a\\r"),
        (b"a\r\n\\.\r\r", "1 <a> a\\r\\n"),
    ] {
        let fault = "! line 2 of COPY: the marker \\. ends in another way than lines";
        check(TEXT, (0, 1), input, &[row, fault]);
    }
}

#[test]
fn lines_end_as_the_first_one_does() {
    let (cr, lf) = (
        "! line 2 of COPY: a carriage return in data is not escaped",
        "! line 2 of COPY: a newline in data is not escaped",
    );
    for options in [TEXT, "CSV"] {
        check(options, (0, 1), b"a\nb\rc\n", &["1 <a> a\\n", cr]);
        check(options, (0, 1), b"a\nb\r\n", &["1 <a> a\\n", cr]);
        check(options, (0, 1), b"a\rb\nc\r", &["1 <a> a\\r", lf]);
        check(options, (0, 1), b"a\r\nb\n", &["1 <a> a\\r\\n", lf]);
        check(options, (0, 1), b"a\r\nb\rc", &["1 <a> a\\r\\n", cr]);
        check(options, (0, 1), b"a\r\nb\r", &["1 <a> a\\r\\n", cr]);
    }
    check("(HEADER)", (0, 1), b"h\nb\r\n", &["*h\\n", cr]);
}

#[test]
fn quotes_in_csv_are_taken_away() {
    check(
        "CSV",
        (1, 2),
        b"a,1\nb,\nc,\"\"\n\"d\",\"2\"\n",
        &["1 <1> a,1\\n", "2 NULL b,\\n", "3 <> c,\\\"\\\"\\n", "4 <2> \\\"d\\\",\\\"2\\\"\\n"],
    );
    // Lines in quotes count, and rows are where they end.
    check(
        "CSV",
        (1, 2),
        b"\"a\nb,\"\"c\"\"\r\n\",\"x,\"\"y\"\"\"\nz,2\n",
        &[
            "3 <x,\\\"y\\\"> \\\"a\\nb,\\\"\\\"c\\\"\\\"\\r\\n\\\",\\\"x,\\\"\\\"y\\\"\\\"\\\"\\n",
            "4 <2> z,2\\n",
        ],
    );
    check(
        "CSV",
        (0, 1),
        b"a\"b,c\"d\n x \n\\N\n",
        &[
            "1 <ab,cd> a\\\"b,c\\\"d\\n",
            "2 < x > \\x20x\\x20\\n".replace("\\x20", " ").as_str(),
            "3 <\\\\N> \\\\N\\n",
        ],
    );
    check("CSV", (0, 1), b"\"a\"", &["1 <a> \\\"a\\\""]);
    check(
        "CSV",
        (0, 1),
        b"x\n\"a\n",
        &["1 <x> x\\n", "! line 2 of COPY: a quoted field does not end"],
    );
    check("CSV HEADER", (0, 1), b"\"a\nb", &["*\\\"a\\nb"]);
    check(
        "CSV HEADER",
        (1, 2),
        b"\"a\nb\",k\r\n\"c\",1\r\n",
        &["*\\\"a\\nb\\\",k\\r\\n", "2 <1> \\\"c\\\",1\\r\\n"],
    );
    check("CSV", (1, 2), b"\"a,b\"\n", &["! line 1 of COPY: the shard key is missing"]);
    check(
        "CSV QUOTE '''' DELIMITER ';'",
        (1, 2),
        b"'a;b';'it''s'\n",
        &["1 <it\\'s> \\'a;b\\';\\'it\\'\\'s\\'\\n"],
    );
}

#[test]
fn escapes_in_csv_are_before_quotes_and_themselves() {
    let options = "CSV ESCAPE E'\\\\'";
    check(
        options,
        (1, 2),
        b"\"a\\\"b,\n\\\\\",\"c\\d\\\\\\\"\"\n",
        &["2 <c\\\\d\\\\\\\"> \\\"a\\\\\\\"b,\\n\\\\\\\\\\\",\\\"c\\\\d\\\\\\\\\\\\\\\"\\\"\\n"],
    );
    // Not outside of quotes.
    check(options, (0, 1), b"a\\\"b\nc\"\n", &["2 <a\\\\b\\nc> a\\\\\\\"b\\nc\\\"\\n"]);
    check(options, (0, 1), b"\"a\\", &["! line 1 of COPY: a quoted field does not end"]);
}

#[test]
fn nulls_in_csv_are_forced() {
    let input = b"x\n\"x\"\nx\"\"\ny\n";
    let rows = |keys: [&str; 4]| {
        let lines = ["x", "\\\"x\\\"", "x\\\"\\\"", "y"];
        let row = |at: usize| format!("{} {} {}\\n", at + 1, keys[at], lines[at]);
        [row(0), row(1), row(2), row(3)]
    };
    for (options, keys) in [
        ("", ["NULL", "<x>", "<x>", "<y>"]),
        ("FORCE NULL k", ["NULL", "NULL", "NULL", "<y>"]),
        ("FORCE NOT NULL k", ["<x>", "<x>", "<x>", "<y>"]),
        ("FORCE NOT NULL k FORCE NULL k", ["<x>", "NULL", "NULL", "<y>"]),
        ("FORCE NOT NULL other", ["NULL", "<x>", "<x>", "<y>"]),
    ] {
        let expected = rows(keys);
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(&format!("CSV NULL 'x' {options}"), (0, 1), input, &expected);
    }
}

#[test]
fn marker_in_csv_is_an_end_where_versions_agree_that_it_is_no_row() {
    check("CSV", (0, 2), b"a,b\n\\.\nc,\"\n", &["1 <a> a,b\\n", "*\\\\.\\n"]);
    check("CSV", (0, 2), b"a,b\r\n\\.\r\n", &["1 <a> a,b\\r\\n", "*\\\\.\\r\\n"]);
    check(
        "CSV",
        (0, 1),
        b"\\.a\n\"\\.\"\n\\.\"\"\n\\",
        &[
            "1 <\\\\.a> \\\\.a\\n",
            "2 <\\\\.> \\\"\\\\.\\\"\\n",
            "3 <\\\\.> \\\\.\\\"\\\"\\n",
            "4 <\\\\> \\\\",
        ],
    );
    check(
        "CSV",
        (0, 2),
        b"x,y\r\n\\.\n",
        &["1 <x> x,y\\r\\n", "! line 2 of COPY: a newline in data is not escaped"],
    );
    check(
        "CSV",
        (0, 2),
        b"x,y\n\\.\r\n",
        &["1 <x> x,y\\n", "! line 2 of COPY: the marker \\. ends in another way than lines"],
    );
    let doubt = "can't be given to a shard with certainty: \\. alone on its line is a value to some \
                 versions and an end to others";
    check("CSV", (0, 1), b"a\n\\.\n", &["1 <a> a\\n", &format!("! line 2 of COPY {doubt}")]);
    check("CSV HEADER", (0, 2), b"\\.\n", &[&format!("! line 1 of COPY {doubt}")]);
    check("CSV", (0, 1), b"\\.", &["1 <\\\\.> \\\\."]);
}

fn binary(rows: &[&[Option<&[u8]>]]) -> Vec<u8> {
    let mut out = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02xy".to_vec();
    for row in rows {
        out.extend(i16::try_from(row.len()).unwrap().to_be_bytes());
        for field in *row {
            let len = field.map_or(-1, |field| i32::try_from(field.len()).unwrap());
            out.extend(len.to_be_bytes());
            out.extend(field.unwrap_or_default());
        }
    }
    out
}

const HEADER: &str = "*PGCOPY\\n\\xff\\r\\n\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02xy";

#[test]
fn binary_rows_are_found_by_their_lengths() {
    let mut input = binary(&[&[Some(b"a"), Some(b"\0\x07")], &[Some(b""), None]]);
    let first = "1 x\\x00\\x07 \\x00\\x02\\x00\\x00\\x00\\x01a\\x00\\x00\\x00\\x02\\x00\\x07";
    let second = "2 NULL \\x00\\x02\\x00\\x00\\x00\\x00\\xff\\xff\\xff\\xff";
    check("BINARY", (1, 2), &input, &[HEADER, first, second]);
    input.extend([0xff, 0xff]);
    check("BINARY", (1, 2), &input, &[HEADER, first, second, "*\\xff\\xff"]);
    input.push(0);
    let behind = "! line 3 of COPY: data follows the trailer";
    check("BINARY", (1, 2), &input, &[HEADER, first, second, "*\\xff\\xff", behind]);
}

#[test]
fn what_is_no_binary_format_is_a_fault() {
    let fault = |what: &str, line: u8| format!("! line {line} of COPY: {what}");
    check("BINARY", (0, 1), b"", &[&fault("the header is missing", 1)]);
    check("BINARY", (0, 1), &binary(&[])[..20], &[&fault("the header is missing", 1)]);
    check("BINARY", (0, 1), b"PGCOPY\n\xff\n", &[&fault("this is not the binary format", 1)]);
    let with = |tail: &[u8]| [binary(&[]).as_slice(), tail].concat();
    check("BINARY", (0, 1), &with(b"\0"), &[HEADER]);
    for (tail, what) in [
        (&b"\0\x01\0"[..], "the last row has no end"),
        (b"\0\x01\0\0\0\x02a", "the last row has no end"),
        (b"\0\0", "the shard key is missing"),
        (b"\xff\xfe", "a count of fields is below zero"),
        (b"\0\x01\xff\xff\xff\xfe", "a field has a length below zero"),
    ] {
        check("BINARY", (0, 1), &with(tail), &[HEADER, &fault(what, 1)]);
    }
    let long = with(b"\0\x01\0\0\x10\0");
    check("BINARY", (0, 1), &long, &[HEADER, "! a row of COPY is longer than 1000 bytes"]);
    let mut header = binary(&[]);
    header.truncate(15);
    header.extend([0xff; 4]);
    check("BINARY", (0, 1), &header, &[&fault("the header has a length below zero", 1)]);
}

#[test]
fn rows_are_as_long_as_allowed_however_they_come() {
    let row = |len: usize, end: &str| format!("{}{end}", "x".repeat(len - end.len())).into_bytes();
    for (options, end) in [("", "\n"), ("", "\r\n"), ("", "\r"), ("CSV", "\n"), ("", "")] {
        for (len, fits) in [(300, true), (301, false), (3000, false)] {
            let input =
                [row(len, end), if end.is_empty() { vec![] } else { row(20, end) }].concat();
            for size in [1, 7, 256, 299, 300, 301, 302, 4000] {
                let rows = Rows::new(format(options), 0, 1, 300);
                let shown = fed(rows, &input.chunks(size).collect::<Vec<_>>());
                let fault = shown.last().unwrap().starts_with("! a row of COPY is longer than 300");
                assert_eq!(fault, !fits, "{len} {end:?} by {size}: {shown:?}");
            }
        }
    }
}

#[test]
fn no_more_is_kept_than_a_row_may_have() {
    let mut rows = Rows::new(format(""), 0, 1, 1 << 20);
    let mut longest = 0;
    for piece in [vec![b'x'; 700_000], b"\n".to_vec(), vec![b'y'; 100], b"\n".to_vec()] {
        rows.feed(&piece, |_| Ok::<_, Fault>(())).unwrap();
        longest = longest.max(rows.held.capacity());
    }
    assert!(longest >= 700_000, "{longest}");
    assert!(rows.held.capacity() <= KEPT, "{}", rows.held.capacity());
    let fault = (0..300).find_map(|_| rows.feed(&[b'z'; 9000], |_| Ok::<_, Fault>(())).err());
    assert_eq!(fault, Some(Fault::TooLong(1 << 20)));
    assert!(rows.held.len() <= (1 << 20) + AHEAD + 1, "{}", rows.held.len());
}

/// What `each` says ends it.
#[test]
fn errors_of_the_taker_are_given_back() {
    #[derive(Debug, PartialEq)]
    enum Error {
        Taker,
        Rows(Fault),
    }
    impl From<Fault> for Error {
        fn from(fault: Fault) -> Self {
            Self::Rows(fault)
        }
    }
    let mut rows = Rows::new(format(""), 0, 1, 10);
    assert_eq!(rows.feed(b"a\nb\n", |_| Err(Error::Taker)), Err(Error::Taker));
    let mut rows = Rows::new(format(""), 0, 1, 10);
    rows.feed(&[b'x'; 11], |_| Ok::<_, Error>(())).unwrap();
    assert_eq!(rows.feed(b"\n", |_| Ok::<_, Error>(())), Err(Error::Rows(Fault::TooLong(10))));
}
