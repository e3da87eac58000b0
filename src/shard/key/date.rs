//! Dates in the one form that means the same under every `DateStyle`: `YYYY-MM-DD`.

use std::fmt;

use super::trimmed;

/// Days from 0000-03-01 to 2000-01-01, of the Gregorian calendar.
const EPOCH: i64 = 730_425;
/// Days of 400 years.
const ERA: i64 = 146_097;

/// Days since 2000-01-01.
pub(super) fn read(text: &[u8]) -> Option<i32> {
    let text = trimmed(text);
    if text.eq_ignore_ascii_case(b"infinity") {
        return Some(i32::MAX);
    }
    if text.eq_ignore_ascii_case(b"-infinity") {
        return Some(i32::MIN);
    }
    let [date @ .., b'-', m1, m0, b'-', d1, d0] = text else { return None };
    // With fewer digits it might be a day or a month; with more, Postgres's versions differ.
    if date.len() != 4 {
        return None;
    }
    let (year, month, day) = (number(date)?, number(&[*m1, *m0])?, number(&[*d1, *d0])?);
    if year == 0 {
        return None;
    }
    let days = days(year, month, day);
    // 2023-02-30 would be another day when it is written.
    (date_of(days) == (year, month, day)).then(|| i32::try_from(days).ok()).flatten()
}

/// As Postgres writes it under `DateStyle` ISO.
pub(super) fn write(days: i32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match days {
        i32::MAX => return f.write_str("infinity"),
        i32::MIN => return f.write_str("-infinity"),
        _ => {}
    }
    match date_of(days.into()) {
        (year, month, day) if year > 0 => write!(f, "{year:04}-{month:02}-{day:02}"),
        (year, month, day) => write!(f, "{:04}-{month:02}-{day:02} BC", 1 - year),
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    let digit = |value: i64, digit: &u8| {
        digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0'))
    };
    digits.iter().try_fold(0, digit)
}

/// Years are counted from March on, so that the day that may be missing is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}
