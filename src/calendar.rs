//! Moments as dates of the calendar, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// `YYYY-MM-DD HH:MM:SS UTC`, as the console has it.
pub fn utc(time: SystemTime) -> String {
    let mut text = String::with_capacity(LEN);
    write(&mut text, time, ' ');
    text.push_str(" UTC");
    text
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, as JSON has it (RFC 3339).
pub fn rfc3339(time: SystemTime) -> String {
    let mut text = String::with_capacity(LEN);
    let millis = write(&mut text, time, 'T');
    text.push('.');
    digits(&mut text, millis, 100);
    text.push('Z');
    text
}

/// What a moment takes at most, until the year 9999.
const LEN: usize = "YYYY-MM-DDTHH:MM:SS.mmmZ".len();

/// Date, `between`, and time of day; gives the milliseconds.
fn write(text: &mut String, time: SystemTime, between: char) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let secs = since.as_secs();
    let (year, month, day) = date(secs / 86_400);
    let rest = secs % 86_400;
    let parts = [
        (year, 1000, '-'),
        (month, 10, '-'),
        (day, 10, between),
        (rest / 3600, 10, ':'),
        (rest / 60 % 60, 10, ':'),
    ];
    for (number, highest, behind) in parts {
        digits(text, number, highest);
        text.push(behind);
    }
    digits(text, rest % 60, 10);
    since.subsec_millis().into()
}

/// The date of a day, by how many came before it since 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let days_before = |year: u64| {
        let full = year - 1;
        full * 365 + full / 4 - full / 100 + full / 400
    };
    let since_first = days.saturating_add(days_before(1970));
    // At most one too many, as no year is shorter than that.
    let mut year = since_first / 365 + 1;
    while days_before(year) > since_first {
        year -= 1;
    }
    let mut rest = since_first - days_before(year);
    let mut month = 1;
    for len in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < len {
            break;
        }
        rest -= len;
        month += 1;
    }
    (year, month, rest + 1)
}

/// A number with as many digits as the highest power of ten has, or more where it needs them.
fn digits(text: &mut String, number: u64, mut highest: u64) {
    while number / highest >= 10 {
        highest *= 10;
    }
    while highest > 0 {
        let digit = u8::try_from(number / highest % 10).unwrap_or_default();
        text.push(char::from(b'0' + digit));
        highest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_dates_of_the_calendar() {
        for (secs, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (1_735_603_200, "2024-12-31 00:00:00 UTC"),
            (1_735_689_600, "2025-01-01 00:00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
            (253_402_300_800, "10000-01-01 00:00:00 UTC"),
            (1_798_761_599, "2026-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(secs)), date);
        }
        let time = UNIX_EPOCH + Duration::from_millis(951_782_399_007);
        assert_eq!(rfc3339(time), "2000-02-28T23:59:59.007Z");
    }
}
