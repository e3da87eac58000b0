//! Moments as dates of the calendar, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// `YYYY-MM-DD HH:MM:SS UTC`, as the console has it.
pub fn utc(time: SystemTime) -> String {
    let (date, clock, _) = parts(time);
    format!("{date} {clock} UTC")
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, as JSON has it (RFC 3339).
pub fn rfc3339(time: SystemTime) -> String {
    let (date, clock, millis) = parts(time);
    format!("{date}T{clock}.{millis:03}Z")
}

/// Date, time of day and milliseconds.
fn parts(time: SystemTime) -> (String, String, u32) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let secs = since.as_secs();
    let (mut days, rest) = (secs / 86_400, secs % 86_400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    loop {
        let len = 365 + u64::from(is_leap(year));
        if days < len {
            break;
        }
        days -= len;
        year += 1;
    }
    let mut month = 1;
    for len in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let date = format!("{year}-{month:02}-{:02}", days + 1);
    (date, format!("{hour:02}:{minute:02}:{second:02}"), since.subsec_millis())
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
            (1_798_761_599, "2026-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(secs)), date);
        }
        let time = UNIX_EPOCH + Duration::from_millis(951_782_399_007);
        assert_eq!(rfc3339(time), "2000-02-28T23:59:59.007Z");
    }
}
