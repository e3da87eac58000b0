use super::*;

const MANNER: Manner = Manner {
    texts: Texts::ByBytes,
    converts: false,
    iso_dates: true,
    exact_floats: true,
    held_bytes_max: 100,
};

fn key(by: &Sorted, value: Option<&str>) -> Vec<u8> {
    let mut key = Vec::new();
    by.write(value.map(str::as_bytes), &mut Number::default(), &mut key).unwrap();
    key
}

#[test]
fn nulls_and_directions_are_in_the_bytes() {
    let values = [Some("-5"), Some("0"), Some("7"), None];
    for (descending, nulls_first, order) in [
        (false, false, [0, 1, 2, 3]),
        (false, true, [3, 0, 1, 2]),
        (true, true, [3, 2, 1, 0]),
        (true, false, [2, 1, 0, 3]),
    ] {
        let by =
            Sorted { column: 0, kind: Kind::Int, format: Format::Text, descending, nulls_first };
        let keys = order.map(|at: usize| key(&by, values[at]));
        assert!(keys.is_sorted_by(|one, other| one < other), "{keys:?}");
    }
}

/// Otherwise what is behind it in a key would count.
#[test]
fn no_key_is_the_beginning_of_another() {
    for (kind, values) in [
        (Kind::Text, &["", "a", "ab", "b"][..]),
        (Kind::Blanked, &["", "a", "a b", "b"]),
        (Kind::Bytea, &["\\x", "\\x00", "\\x0000", "\\x01"]),
        (Kind::Numeric, &["-1.5", "-1", "0", "1", "1.5", "10000"]),
    ] {
        for descending in [false, true] {
            let format = Format::Text;
            let by = Sorted { column: 0, kind, format, descending, nulls_first: false };
            for one in values {
                for other in values.iter().filter(|other| *other != one) {
                    let (one, other) = (key(&by, Some(one)), key(&by, Some(other)));
                    assert!(!other.starts_with(&one), "{kind:?} {one:?} {other:?}");
                }
            }
        }
    }
    let by = Sorted {
        column: 0,
        kind: Kind::Blanked,
        format: Format::Text,
        descending: false,
        nulls_first: false,
    };
    assert_eq!(key(&by, Some("a  ")), key(&by, Some("a")));
}

#[test]
fn values_of_other_types_are_none() {
    for (kind, value) in [
        (Kind::Bool, "true"),
        (Kind::Int, "1.5"),
        (Kind::Oid, "-1"),
        (Kind::Uuid, "0000"),
        (Kind::Date, "01/02/2020"),
        (Kind::Time, "noon"),
        (Kind::Numeric, "x"),
    ] {
        let mut out = Vec::new();
        let written = kind.write(Format::Text, value.as_bytes(), &mut Number::default(), &mut out);
        assert_eq!(written, None, "{kind:?}");
        let written = kind.write(Format::Binary, b"123", &mut Number::default(), &mut out);
        assert_eq!(written, None, "{kind:?}");
    }
}

#[test]
fn order_depends_on_what_is_known() {
    let of = |type_oid, format, texts, manner: &Manner| Kind::of(type_oid, format, texts, manner);
    let text = Format::Text;
    assert_eq!(of(oid::TEXT, text, Texts::ByBytes, &MANNER), Ok(Kind::Text));
    for texts in [Texts::Deterministic, Texts::Unknown] {
        assert_eq!(of(oid::TEXT, text, texts, &MANNER), Err(Fault::Collation));
    }
    let converts = Manner { converts: true, ..MANNER };
    assert_eq!(of(oid::NAME, text, Texts::ByBytes, &converts), Err(Fault::Encoding));
    let dates = Manner { iso_dates: false, ..MANNER };
    assert_eq!(of(oid::DATE, text, Texts::ByBytes, &dates), Err(Fault::DateStyle));
    assert_eq!(of(oid::DATE, Format::Binary, Texts::ByBytes, &dates), Ok(Kind::Date));
    let floats = Manner { exact_floats: false, ..MANNER };
    assert_eq!(of(oid::FLOAT8, text, Texts::ByBytes, &floats), Err(Fault::InexactFloats));
    assert_eq!(
        of(oid::INTERVAL, text, Texts::ByBytes, &MANNER),
        Err(Fault::NoOrder(oid::INTERVAL))
    );
    assert_eq!(of(114, text, Texts::ByBytes, &MANNER), Err(Fault::NoOrder(114)));
}
