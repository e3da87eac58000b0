use super::*;

fn number(text: &str) -> Number {
    let mut number = Number::default();
    number.read_text(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
    number
}

fn text(number: &Number) -> String {
    let mut out = Vec::new();
    number.write_text(&mut out);
    String::from_utf8(out).unwrap()
}

const ORDERED: [&str; 18] = [
    "-Infinity",
    "-123456789012345678901234567890",
    "-10000.5",
    "-10000",
    "-9999.99999999",
    "-0.0001",
    "-0.00009999",
    "0",
    "0.000000000000000000000001",
    "0.5",
    "1",
    "1.00000001",
    "9999",
    "10000",
    "10000.0001",
    "123456789012345678901234567890.5",
    "Infinity",
    "NaN",
];

#[test]
fn numbers_are_read_and_written_as_they_are() {
    for written in ORDERED.iter().chain(&["1.00", "0.000", "100000.10", "0.10000"]) {
        let read = number(written);
        assert_eq!(text(&read), *written);
        let (mut binary, mut again) = (Vec::new(), Number::default());
        read.write_binary(&mut binary).unwrap();
        // Infinities have no scale, whatever is sent for it.
        again.read_binary(&binary).unwrap();
        assert_eq!(text(&again), *written);
        for len in 0..binary.len() {
            assert_eq!(again.read_binary(&binary[..len]), None, "{written} {len}");
        }
    }
    for wrong in ["", "-", ".", "1e5", "1 ", "0x1", "--1", "nan", "1.2.3"] {
        assert_eq!(Number::default().read_text(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn keys_have_the_order_of_numbers() {
    let key = |text: &str| {
        let mut key = Vec::new();
        number(text).write_key(&mut key);
        key
    };
    for (at, one) in ORDERED.iter().enumerate() {
        for (other_at, other) in ORDERED.iter().enumerate() {
            assert_eq!(key(one).cmp(&key(other)), at.cmp(&other_at), "{one} {other}");
            assert_eq!(number(one).compare(&number(other)), at.cmp(&other_at), "{one} {other}");
        }
    }
    assert_eq!(key("1.0"), key("1.000"));
    assert_eq!(key("-0.0"), key("0"));
}

#[test]
fn sums_keep_the_longer_scale() {
    for (one, other, sum) in [
        ("1", "2.50", "3.50"),
        ("-1", "1.000", "0.000"),
        ("9999.9999", "0.0001", "10000.0000"),
        ("-10000", "0.0001", "-9999.9999"),
        ("0.0001", "-10000", "-9999.9999"),
        ("Infinity", "-Infinity", "NaN"),
        ("Infinity", "5.5", "Infinity"),
        ("5.5", "-Infinity", "-Infinity"),
        ("NaN", "1", "NaN"),
    ] {
        let mut found = number(one);
        found.add(&number(other));
        assert_eq!(text(&found), sum, "{one} {other}");
    }
}

/// By `SELECT 10 / 3::numeric` and the like.
#[test]
fn averages_have_the_digits_of_a_division() {
    for (sum, count, average) in [
        ("3", 2, "1.5000000000000000"),
        ("10", 3, "3.3333333333333333"),
        ("1", 3, "0.33333333333333333333"),
        ("-2", 3, "-0.66666666666666666667"),
        ("0", 3, "0.00000000000000000000"),
        ("20000", 3, "6666.6666666666666667"),
        ("100000000", 7, "14285714.285714285714"),
        ("1.23456789012345678901234567890", 2, "0.61728394506172839450617283945"),
        ("NaN", 2, "NaN"),
        ("-Infinity", 2, "-Infinity"),
    ] {
        let mut found = number(sum);
        found.divide(count);
        assert_eq!(text(&found), average, "{sum} / {count}");
    }
}

#[test]
fn whole_numbers_of_64_bits_are_known() {
    for (written, value) in [
        ("0", Some(0)),
        ("10000", Some(10_000)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("1.5", None),
        ("0.5", None),
        ("2.000", Some(2)),
        ("NaN", None),
    ] {
        assert_eq!(number(written).to_i64(), value, "{written}");
    }
    let mut set = Number::default();
    set.set(i128::from(i64::MIN) * 3);
    assert_eq!(text(&set), "-27670116110564327424");
}
