//! Values as PgBouncer reads them, written as TOML has them.
//!
//! What is no value of its kind becomes a text, which the reader then complains of.

use super::super::setting::{Kind, quote};

/// A value for a key of this kind.
pub(super) fn written(kind: Kind, text: &str) -> String {
    let number = || whole(text);
    let found = match kind {
        // Whatever is not 0 is on.
        Kind::Flag => number().map(|number| (number != 0).to_string()),
        Kind::Count(..) | Kind::Limit(..) => number().map(|number| number.to_string()),
        Kind::Time(..) | Kind::TimeLimit(..) => seconds(text).map(|seconds| seconds.to_string()),
        Kind::FileMode => number()
            .and_then(|mode| u32::try_from(mode).ok())
            .map(|mode| quote(&format!("{mode:04o}"))),
        Kind::Mode | Kind::Auth | Kind::SslMode | Kind::Balance | Kind::TlsVersions => {
            Some(quote(&text.to_ascii_lowercase()))
        }
        _ => None,
    };
    found.unwrap_or_else(|| quote(text))
}

/// A whole number as C's `strtol` reads it: `0x10` and `010` are other bases.
pub(super) fn whole(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = match hexadecimal {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    let plain = digits.chars().all(|c| c.is_digit(radix));
    let number = i64::from_str_radix(digits, radix).ok().filter(|_| plain)?;
    Some(sign * number)
}

/// A number of seconds, or whatever the unit is, as C's `strtod` reads it.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text.parse().ok().filter(|_| plain)?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{off, time};

    #[test]
    fn values_are_written_as_toml_has_them() {
        let cases = [
            (Kind::Flag, "1", "true"),
            (Kind::Flag, "0", "false"),
            (Kind::Flag, "2", "true"),
            (Kind::Flag, "yes", "\"yes\""),
            (Kind::Count(0, 10), "010", "8"),
            (Kind::Count(0, 10), "0x1F", "31"),
            (Kind::Count(0, 10), "-1", "-1"),
            (Kind::Count(0, 10), "0", "0"),
            (Kind::Count(0, 10), "+7", "7"),
            (Kind::Count(0, 10), "1 ", "\"1 \""),
            (Kind::Count(0, 10), "09", "\"09\""),
            (Kind::Count(0, 10), "--1", "\"--1\""),
            (Kind::Count(0, 10), "99999999999999999999", "\"99999999999999999999\""),
            (time(0, 10), "1.5", "1.5"),
            (time(0, 10), ".5", "0.5"),
            (time(0, 10), "1e2", "100"),
            (off(10), "0", "0"),
            (off(10), "-1", "\"-1\""),
            (off(10), "inf", "\"inf\""),
            (off(10), "5s", "\"5s\""),
            (Kind::FileMode, "0770", "\"0770\""),
            (Kind::FileMode, "511", "\"0777\""),
            (Kind::FileMode, "rw", "\"rw\""),
            (Kind::Mode, "Transaction", "\"transaction\""),
            (Kind::Text, "a \"b\"\\", "\"a \\\"b\\\"\\\\\""),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(written(kind, text), expected, "{text}");
        }
    }
}
