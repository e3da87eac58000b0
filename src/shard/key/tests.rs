//! Values in every form, and what is none.

use super::*;

fn shown(read: Result<Key<'_>, NotAKey>) -> String {
    match read {
        Ok(key) => key.to_string(),
        Err(NotAKey::Invalid(_)) => "invalid".into(),
        Err(NotAKey::OutOfRange(_)) => "range".into(),
        Err(NotAKey::Unclear(_)) => "unclear".into(),
        Err(NotAKey::OtherType(..)) => "other type".into(),
    }
}

#[test]
fn texts_are_read_as_postgres_does_or_not_at_all() {
    let uuid = "550e8400-e29b-41d4-a716-446655440000";
    for (kind, text, expected) in [
        ("int8", "42", "42"),
        ("int8", " \t-42\n", "-42"),
        ("int8", "+0042", "42"),
        ("int8", "9223372036854775807", "9223372036854775807"),
        ("int8", "-9223372036854775808", "-9223372036854775808"),
        ("int8", "9223372036854775808", "range"),
        ("int4", "2147483648", "range"),
        ("int4", "-2147483648", "-2147483648"),
        ("int2", "32768", "range"),
        ("int8", "", "invalid"),
        ("int8", "- 1", "invalid"),
        ("int8", "--1", "invalid"),
        ("int8", "abc", "invalid"),
        ("int8", "4 2", "invalid"),
        ("int8", "0x1F", "unclear"),
        ("int8", "1_000", "unclear"),
        ("int8", "5.0", "unclear"),
        ("int8", "5e1", "unclear"),
        ("text", " a'b ", " a'b "),
        ("text", "", ""),
        ("uuid", uuid, uuid),
        ("uuid", "{550E8400-E29B-41D4-A716-446655440000}", uuid),
        ("uuid", "550e8400e29b41d4a716446655440000", uuid),
        ("uuid", "550e-8400-e29b-41d4-a716-4466-5544-0000", uuid),
        ("uuid", "{550e8400e29b41d4a716446655440000", "invalid"),
        ("uuid", "550e840-0e29b41d4a716446655440000", "invalid"),
        ("uuid", "550e8400-e29b-41d4-a716-44665544000", "invalid"),
        ("uuid", "550e8400-e29b-41d4-a716-446655440000-", "invalid"),
        ("uuid", " 550e8400-e29b-41d4-a716-446655440000", "invalid"),
        ("bytea", "\\xDEad be", "\\xdeadbe"),
        ("bytea", "\\xabc", "invalid"),
        ("bytea", "a\\\\b\\001", "\\x615c6201"),
        ("bytea", "a\\b", "invalid"),
        ("bytea", "ab", "\\x6162"),
        ("date", "2000-01-01", "2000-01-01"),
        ("date", "2024-02-29", "2024-02-29"),
        ("date", "0001-01-01", "0001-01-01"),
        ("date", "9999-12-31", "9999-12-31"),
        ("date", "Infinity", "infinity"),
        ("date", "2023-02-29", "unclear"),
        ("date", "2023-13-01", "unclear"),
        ("date", "0000-01-01", "unclear"),
        ("date", "01-02-2003", "unclear"),
        ("date", "2023-1-1", "unclear"),
        ("date", "2023-01-01 10:00", "unclear"),
    ] {
        let kind = KeyType::of(kind).unwrap();
        assert_eq!(shown(Key::of_text(kind, text.as_bytes())), expected, "{kind} {text:?}");
    }
}

#[test]
fn days_are_counted_as_postgres_does() {
    for (text, days) in
        [("2000-01-01", 0), ("1999-12-31", -1), ("2000-03-01", 60), ("1970-01-01", -10_957)]
    {
        assert_eq!(Key::of_text(KeyType::Date, text.as_bytes()), Ok(Key::Date(days)), "{text}");
    }
    for days in (-800_000..3_000_000).step_by(97) {
        let text = Key::Date(days).to_string();
        if !text.ends_with("BC") && text.len() == 10 {
            assert_eq!(Key::of_text(KeyType::Date, text.as_bytes()), Ok(Key::Date(days)), "{text}");
        }
    }
    assert_eq!(Key::Date(-730_120).to_string(), "0001-12-31 BC");
}

#[test]
fn literals_are_read_where_their_value_is_certain() {
    for (kind, raw, expected) in [
        ("int8", "42", "42"),
        ("int8", "'42'", "42"),
        ("int8", "$$42$$", "42"),
        ("int8", "$a$ 42 $a$", "42"),
        ("int8", "42.0", "unclear"),
        ("int8", "E'42'", "unclear"),
        ("int8", "x'2A'", "unclear"),
        ("text", "'it''s'''", "it's'"),
        ("text", "''", ""),
        ("text", "42", "unclear"),
        ("text", "'a\\b'", "unclear"),
        ("text", "$$a\\b$$", "a\\b"),
        ("bytea", "'\\x00ff'", "\\x00ff"),
        ("uuid", "'550e8400e29b41d4a716446655440000'", "550e8400-e29b-41d4-a716-446655440000"),
        ("date", "'2024-02-29'", "2024-02-29"),
        ("text", "'", "unclear"),
        ("text", "$", "unclear"),
        ("text", "", "unclear"),
    ] {
        let kind = KeyType::of(kind).unwrap();
        let read = Key::of_literal(kind, raw.as_bytes(), false);
        assert_eq!(shown(read), expected, "{kind} {raw}");
    }
    let minus = |raw: &'static str| shown(Key::of_literal(KeyType::Int8, raw.as_bytes(), true));
    assert_eq!(minus("9223372036854775808"), "-9223372036854775808");
    assert_eq!(minus("9223372036854775809"), "range");
    assert_eq!(minus("'1'"), "unclear");
}

#[test]
fn parameters_are_read_in_both_formats() {
    let binary = |kind, oid, value: &'static [u8]| {
        shown(Key::of_parameter(kind, oid, Format::Binary, Some(value)))
    };
    for (kind, oid, value, expected) in [
        (KeyType::Int8, 20, &[0xff; 8][..], "-1"),
        (KeyType::Int8, 0, &[0xff; 4], "-1"),
        (KeyType::Int8, 21, &[1, 2], "258"),
        (KeyType::Int4, 23, &[0, 0, 0, 42], "42"),
        (KeyType::Int8, 23, &[0; 8], "invalid"),
        (KeyType::Int8, 0, &[0; 3], "unclear"),
        (KeyType::Int8, 701, &[0; 8], "other type"),
        (KeyType::Text, 1043, b"a b", "a b"),
        (KeyType::Text, 1042, b"a b", "other type"),
        (KeyType::Uuid, 2950, &[0x11; 16], "11111111-1111-1111-1111-111111111111"),
        (KeyType::Uuid, 0, &[0x11; 15], "invalid"),
        (KeyType::Bytea, 17, &[0, 255], "\\x00ff"),
        (KeyType::Date, 1082, &[0, 0, 0, 59], "2000-02-29"),
        (KeyType::Date, 1114, &[0; 8], "other type"),
    ] {
        assert_eq!(binary(kind, oid, value), expected, "{kind} {oid} {value:?}");
    }
    let text = |value| Key::of_parameter(KeyType::Int4, 23, Format::Text, value);
    assert_eq!(text(Some(b"42")), Ok(Key::Int(42)));
    assert_eq!(text(None), Ok(Key::Null));
}

#[test]
fn nothing_is_copied_but_what_is_unescaped() {
    for (raw, borrowed) in [(&b"'abc'"[..], true), (b"'a''c'", false)] {
        let Ok(Key::Text(text)) = Key::of_literal(KeyType::Text, raw, false) else { panic!() };
        assert_eq!(matches!(text, Cow::Borrowed(_)), borrowed);
    }
}
