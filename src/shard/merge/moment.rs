//! Dates and times as Postgres writes them with `DateStyle` ISO, as numbers that are ordered as they
//! are.

/// The infinities, before and behind everything else.
const BEFORE: i64 = i64::MIN;
const BEHIND: i64 = i64::MAX;
const DAY: i64 = 86_400_000_000;
/// Days from 0000-03-01 to 2000-01-01.
const EPOCH: i64 = 730_425;

/// Days, of which only the order counts.
pub(super) fn date(text: &[u8]) -> Option<i64> {
    match text {
        b"infinity" => Some(BEHIND),
        b"-infinity" => Some(BEFORE),
        _ => {
            let (text, era) = era(text);
            let (days, rest) = days(text, era)?;
            rest.is_empty().then_some(days)
        }
    }
}

/// Microseconds since midnight.
pub(super) fn time(text: &[u8]) -> Option<i64> {
    let (time, rest) = clock(text)?;
    rest.is_empty().then_some(time)
}

/// Microseconds of a `timestamp`.
pub(super) fn timestamp(text: &[u8]) -> Option<i64> {
    let (moment, rest) = moment(text)?;
    rest.is_empty().then_some(moment)
}

/// Microseconds of a `timestamptz`, of UTC.
pub(super) fn timestamptz(text: &[u8]) -> Option<i64> {
    let (moment, rest) = moment(text)?;
    let (sign, mut rest) = match rest {
        [] if moment == BEFORE || moment == BEHIND => return Some(moment),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let mut seconds = 0;
    for unit in [3600, 60, 1] {
        let (value, after) = number(rest, 2)?;
        seconds += value * unit;
        match after {
            [] => return moment.checked_sub(sign * seconds * 1_000_000),
            [b':', after @ ..] if unit > 1 => rest = after,
            _ => return None,
        }
    }
    None
}

/// Whether it is of the years before the first.
#[derive(Clone, Copy)]
enum Era {
    Christ,
    Before,
}

fn era(text: &[u8]) -> (&[u8], Era) {
    match text.strip_suffix(b" BC") {
        Some(text) => (text, Era::Before),
        None => (text, Era::Christ),
    }
}

/// A day and a time of it, and what is behind.
fn moment(text: &[u8]) -> Option<(i64, &[u8])> {
    match text {
        b"infinity" => return Some((BEHIND, &[])),
        b"-infinity" => return Some((BEFORE, &[])),
        _ => {}
    }
    let (text, era) = era(text);
    let (days, rest) = days(text, era)?;
    let (time, rest) = clock(rest.strip_prefix(b" ")?)?;
    Some((days.checked_mul(DAY)?.checked_add(time)?, rest))
}

/// Days since 2000-01-01 in the Gregorian calendar, and what is behind the date: from there on all
/// moments of Postgres have room.
fn days(text: &[u8], era: Era) -> Option<(i64, &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (year, rest) = number(text, len.max(4))?;
    let (month, rest) = number(rest.strip_prefix(b"-")?, 2)?;
    let (day, rest) = number(rest.strip_prefix(b"-")?, 2)?;
    let year = match era {
        Era::Christ => year,
        Era::Before => 1 - year,
    };
    // The year begins in March, so that the day that some have more is their last.
    let shifted = year - i64::from(month <= 2);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leaps = shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400);
    Some((shifted * 365 + leaps + of_year - EPOCH, rest))
}

/// `12:34:56.789`
fn clock(text: &[u8]) -> Option<(i64, &[u8])> {
    let (hours, rest) = number(text, 2)?;
    let (minutes, rest) = number(rest.strip_prefix(b":")?, 2)?;
    let (seconds, mut rest) = number(rest.strip_prefix(b":")?, 2)?;
    let mut micros = 0;
    if let Some(behind) = rest.strip_prefix(b".") {
        let len = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (value, after) = number(behind, len).filter(|_| (1..=6).contains(&len))?;
        micros = value * 10_i64.pow(6 - u32::try_from(len).ok()?);
        rest = after;
    }
    Some((((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros, rest))
}

/// So many digits.
fn number(text: &[u8], len: usize) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_at_checked(len)?;
    if len > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some((digits.iter().fold(0, |value, byte| value * 10 + i64::from(byte - b'0')), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_ordered_as_they_follow() {
        let ordered = [
            "-infinity",
            "4713-01-01 00:00:00 BC",
            "0001-12-31 23:59:59.999999 BC",
            "0001-01-01 00:00:00",
            "1969-12-31 23:59:59",
            "1970-01-01 00:00:00",
            "2000-02-29 12:00:00.5",
            "2000-02-29 12:00:00.500001",
            "2000-03-01 00:00:00",
            "10000-01-01 00:00:00",
            "294276-12-31 23:59:59.999999",
            "infinity",
        ];
        let read = ordered.map(|text| timestamp(text.as_bytes()).unwrap());
        assert!(read.is_sorted_by(|one, other| one < other), "{read:?}");
        assert_eq!(timestamp(b"2000-01-02 00:00:01"), Some(DAY + 1_000_000));
        assert_eq!(date(b"2000-01-01"), Some(0));
        assert_eq!(date(b"0001-01-01 BC"), Some(-730_485));
        assert_eq!(time(b"24:00:00"), Some(DAY));
    }

    #[test]
    fn zones_are_taken_into_account() {
        let read = |text: &str| timestamptz(text.as_bytes());
        assert_eq!(read("2020-01-01 02:00:00+02"), read("2019-12-31 18:30:00-05:30"));
        assert_eq!(read("1890-01-01 00:19:32+00:19:32"), read("1890-01-01 00:00:00+00"));
        assert_eq!(read("0044-03-15 12:00:00+00 BC"), read("0044-03-15 13:00:00+01 BC"));
        assert_eq!(read("infinity"), Some(BEHIND));
        for text in ["2020-01-01 02:00:00", "2020-01-01 02:00:00 CET", "01/02/2020 02:00:00+00"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
