//! Options, in both syntaxes.

use super::*;

fn read(options: &str) -> Result<Format, Construct> {
    Format::read(
        &format!("COPY s.t (id, \"Key\") FROM STDIN {options}"),
        "Key",
        Strings::Conforming,
    )
}

fn text(delimiter: u8, null: &str) -> Form {
    Form::Text { delimiter, null: null.as_bytes().into() }
}

/// Delimiter, quote, escape and null.
fn csv(bytes: [u8; 3], null: &str) -> Csv {
    let [delimiter, quote, escape] = bytes;
    let null = null.as_bytes().into();
    Csv { delimiter, quote, escape, null, forced: Forced::default() }
}

#[track_caller]
fn check(options: &str, form: Form, header: bool) {
    assert_eq!(read(options), Ok(Format { form, header, utf8: false }), "{options}");
}

#[test]
fn options_are_read_in_both_syntaxes() {
    for options in [
        "",
        ";",
        "WITH (FORMAT text)",
        "(format 'text', freeze, on_error stop, log_verbosity verbose)",
        "WITH (FORMAT \"text\", FREEZE off) WHERE id > 5 AND x IN (1, 2);",
        "WHERE true",
        "WITH NULL AS '\\N' DELIMITER E'\\t'",
        "WITH NULL E'\\\\N' DELIMITER E'\\x09' FREEZE",
        "WITH (NULL $$\\N$$, DELIMITER $q$\t$q$)",
        "DELIMITERS E'\\011'",
        "USING DELIMITERS E'\\t' WITH NULL '\\N'",
        "/* a */ WITH -- b\n (DELIMITER '\t')",
    ] {
        check(options, text(b'\t', "\\N"), false);
    }
    check("WITH DELIMITER AS ';' NULL AS ''", text(b';', ""), false);
    check("(NULL 'it''s', DELIMITER '|', HEADER)", text(b'|', "it's"), true);
    check("(NULL E'a\\'\\x41\\102''', HEADER match)", text(b'\t', "a'AB'"), true);

    let plain = || csv(*b",\"\"", "");
    for options in ["CSV", "WITH CSV", "WITH (FORMAT csv)", "(FORMAT 'csv', HEADER off, HEADER 0)"]
    {
        check(options, Form::Csv(plain()), false);
    }
    for value in ["", "true", "ON", "1", "'On'", "MATCH", "'match'"] {
        check(&format!("(FORMAT csv, HEADER {value})"), Form::Csv(plain()), true);
    }
    check(
        "WITH DELIMITER AS ';' NULL AS 'nil' CSV HEADER QUOTE AS '''' ESCAPE AS E'\\\\'",
        Form::Csv(csv(*b";'\\", "nil")),
        true,
    );
    check("(FORMAT csv, QUOTE '''')", Form::Csv(csv(*b",''", "")), false);
    for options in
        ["BINARY", "WITH BINARY", "WITH (FORMAT binary)", "WITH (FORMAT 'binary', FREEZE)"]
    {
        check(options, Form::Binary, false);
    }
    let old = Format::read("copy binary t from stdin with", "id", Strings::Unknown);
    assert_eq!(old, Ok(Format { form: Form::Binary, header: false, utf8: false }));
}

#[test]
fn nulls_are_forced_where_the_key_is_named() {
    let forced =
        |null, not_null| Form::Csv(Csv { forced: Forced { null, not_null }, ..csv(*b",\"\"", "") });
    for (options, form) in [
        ("(FORMAT csv, FORCE_NULL (id, \"Key\"))", forced(true, false)),
        ("(FORMAT csv, FORCE_NULL (id, key))", forced(false, false)),
        ("(FORMAT csv, FORCE_NULL *, FORCE_NOT_NULL (\"Key\"))", forced(true, true)),
        ("CSV FORCE NOT NULL id, \"Key\" FORCE NULL id", forced(false, true)),
        ("CSV FORCE NULL \"Key\" HEADER", forced(true, false)),
    ] {
        check(options, form, options.contains("HEADER"));
    }
}

#[test]
fn encodings_are_utf8_or_refused() {
    for options in ["ENCODING 'UTF-8'", "(ENCODING utf8)", "(ENCODING 'unicode')"] {
        assert!(read(options).unwrap().utf8, "{options}");
    }
    for options in ["ENCODING 'latin1'", "(ENCODING sjis)", "(ENCODING '')"] {
        assert_eq!(read(options), Err(Construct::CopyOption), "{options}");
    }
}

#[test]
fn what_is_not_certain_is_refused() {
    for options in [
        "(ON_ERROR ignore)",
        "(ON_ERROR ignore, REJECT_LIMIT 3)",
        "(DEFAULT 'x')",
        "(FORMAT parquet)",
        "(FORMAT 'CSV')",
        "(\"FORMAT\" csv)",
        "(FORMAT csv) garbage",
        "(FORMAT csv",
        "(FORMAT csv,)",
        "()",
        "(FORMAT csv, HEADER 2)",
        "(HEADER maybe)",
        "(FORMAT binary, HEADER)",
        "(FORMAT csv, FORCE_QUOTE *)",
        "(FORMAT csv, FORCE_NULL id)",
        "CSV FORCE QUOTE id",
        "(CONVERT_SELECTIVELY (id))",
        "(DELIMITER 'ab')",
        "(DELIMITER '')",
        "(DELIMITER a)",
        "(DELIMITER 'a')",
        "(DELIMITER '.')",
        "(DELIMITER 'é')",
        "(NULL 'é')",
        "(NULL E'\\n')",
        "(NULL 'a\tb')",
        "(NULL 0)",
        "(NULL E'\\v')",
        "(NULL E'\\u0041')",
        "(NULL E'\\xg')",
        "(NULL E'\\777')",
        "(NULL U&'a')",
        "(NULL B'0')",
        "(FORMAT csv, QUOTE E'\\n')",
        "(FORMAT csv, QUOTE E'\\\\')",
        "(FORMAT csv, DELIMITER E'\\\\')",
        "(FORMAT csv, DELIMITER '.')",
        "(FORMAT csv, DELIMITER '\"')",
        "(FORMAT csv, ESCAPE ',')",
        "(FORMAT csv, NULL 'a\"')",
        "USING 'x'",
        "TO STDOUT",
    ] {
        let found = read(options);
        let unclear = options.contains("U&").then_some(Construct::Text);
        assert_eq!(found, Err(unclear.unwrap_or(Construct::CopyOption)), "{options}");
    }
    for text in
        ["COPY t FROM 'file'", "COPY t FROM PROGRAM 'x'", "COPY (SELECT 1) TO STDOUT", "SELECT 1"]
    {
        let found = Format::read(text, "id", Strings::Conforming);
        assert_eq!(found, Err(Construct::CopyOption), "{text}");
    }
    for text in
        ["", "COPY t (id) FROM STDIN; COMMIT", "COPY t (id) FROM STDIN WHERE id > 0; SELECT 1"]
    {
        let found = Format::read(text, "id", Strings::Conforming);
        assert_eq!(found, Err(Construct::Several), "{text}");
    }
}

/// With standard_conforming_strings off, `'\N'` is N.
#[test]
fn backslash_in_plain_string_needs_a_setting_that_is_known() {
    let text = "COPY t FROM STDIN (NULL '\\N')";
    assert!(Format::read(text, "id", Strings::Conforming).is_ok());
    assert_eq!(Format::read(text, "id", Strings::Unknown), Err(Construct::CopyOption));
    assert!(Format::read("COPY t FROM STDIN (NULL E'\\\\N')", "id", Strings::Unknown).is_ok());
}

#[test]
fn texts_cut_anywhere_are_read_or_refused() {
    let text =
        "COPY t (a, \"b\") FROM STDIN WITH (FORMAT csv, NULL E'\\\\N', FORCE_NULL (a)) WHERE a";
    for end in 0..=text.len() {
        drop(Format::read(&text[..end], "a", Strings::Conforming));
    }
}
