//! Strings of JSON.

use std::fmt::Write;

/// A string as RFC 8259 writes it: quotes, backslashes and control characters are escaped.
pub(super) fn string(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => {
                // Writing to a string does not fail.
                write!(out, "\\u{:04x}", u32::from(control)).unwrap_or_default();
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
