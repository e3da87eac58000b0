//! Values of `numeric`, with the digits that Postgres has of them (`utils/adt/numeric.c`): sums,
//! and averages with as many digits behind the point as its division gives.

use std::cmp::Ordering;

use crate::wire::view::Fields;

/// A value of `numeric`, which can be read anew without taking more memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Number {
    kind: Kind,
    /// The first digit's place: 0 has ones, 1 has ten thousands, -1 has the first behind the point.
    weight: i32,
    /// Decimal digits that are shown behind the point.
    scale: u16,
    /// Of base 10,000; neither the first nor the last is 0. Zero has none.
    digits: Vec<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Positive,
    Negative,
    Infinity,
    MinusInfinity,
    NaN,
}

const BASE: u16 = 10_000;
const DIGITS: usize = 4;
/// `NUMERIC_MIN_SIG_DIGITS`, `NUMERIC_MAX_DISPLAY_SCALE`.
const SIGNIFICANT_MIN: i64 = 16;
const SCALE_MAX: i64 = 1000;
/// Longer numbers than Postgres can have.
const TEXT_MAX: usize = 150_000;

impl Number {
    /// Reads it as Postgres writes it; `None` if it is none.
    pub(super) fn read_text(&mut self, text: &[u8]) -> Option<()> {
        self.clear(match text {
            b"NaN" => Kind::NaN,
            b"Infinity" => Kind::Infinity,
            b"-Infinity" => Kind::MinusInfinity,
            _ => Kind::Positive,
        });
        if self.kind != Kind::Positive {
            return Some(());
        }
        let (kind, text) = match text {
            [b'-', text @ ..] => (Kind::Negative, text),
            text => (Kind::Positive, text),
        };
        let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
        let (whole, behind) = text.split_at_checked(point)?;
        let behind = behind.get(1..).unwrap_or_default();
        let is_number = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        if whole.is_empty() && behind.is_empty() || text.len() > TEXT_MAX {
            return None;
        }
        if !is_number(whole) || !is_number(behind) {
            return None;
        }
        let value = |part: &[u8]| {
            let digits = part.iter().chain([b'0'; DIGITS].iter()).take(DIGITS);
            digits.fold(0, |value, byte| value * 10 + u16::from(byte - b'0'))
        };
        let head = whole.len() % DIGITS;
        let (head, blocks) = whole.split_at_checked(head)?;
        if !head.is_empty() {
            self.digits
                .push(head.iter().fold(0, |value, byte| value * 10 + u16::from(byte - b'0')));
        }
        self.digits.extend(blocks.chunks(DIGITS).map(value));
        self.weight = i32::try_from(self.digits.len()).ok()? - 1;
        self.digits.extend(behind.chunks(DIGITS).map(value));
        self.scale = u16::try_from(behind.len()).ok()?;
        self.kind = kind;
        self.strip();
        Some(())
    }

    /// Reads it from its binary form.
    pub(super) fn read_binary(&mut self, body: &[u8]) -> Option<()> {
        let mut fields = Fields::new(body);
        let (count, weight) = (fields.short()?, fields.short()?);
        self.clear(match fields.short()? {
            0 => Kind::Positive,
            0x4000 => Kind::Negative,
            0xc000 => Kind::NaN,
            0xd000 => Kind::Infinity,
            0xf000 => Kind::MinusInfinity,
            _ => return None,
        });
        self.scale = fields.short()?;
        self.weight = i32::from(weight.cast_signed());
        for _ in 0..count {
            self.digits.push(fields.short().filter(|digit| *digit < BASE)?);
        }
        self.strip();
        fields.rest().is_empty().then_some(())
    }

    /// Becomes a whole number.
    pub(super) fn set(&mut self, value: i128) {
        self.clear(if value < 0 { Kind::Negative } else { Kind::Positive });
        let mut rest = value.unsigned_abs();
        while rest > 0 {
            self.digits.push(u16::try_from(rest % u128::from(BASE)).unwrap_or(0));
            rest /= u128::from(BASE);
        }
        self.digits.reverse();
        self.weight = self.len() - 1;
        self.strip();
    }

    fn clear(&mut self, kind: Kind) {
        (self.kind, self.weight, self.scale) = (kind, 0, 0);
        self.digits.clear();
    }

    fn len(&self) -> i32 {
        i32::try_from(self.digits.len()).unwrap_or(i32::MAX)
    }

    fn is_finite(&self) -> bool {
        matches!(self.kind, Kind::Positive | Kind::Negative)
    }

    /// Takes zeros at both ends away.
    fn strip(&mut self) {
        let leading = self.digits.iter().take_while(|digit| **digit == 0).count();
        let trailing = self.digits.iter().rev().take_while(|digit| **digit == 0).count();
        self.digits.truncate(self.digits.len() - trailing);
        self.digits.drain(..leading.min(self.digits.len()));
        self.weight -= i32::try_from(leading).unwrap_or(0);
        if self.digits.is_empty() && self.is_finite() {
            (self.kind, self.weight) = (Kind::Positive, 0);
        }
    }

    /// The digit of a place.
    fn digit(&self, place: i32) -> u16 {
        let at = usize::try_from(i64::from(self.weight) - i64::from(place));
        at.ok().and_then(|at| self.digits.get(at)).map_or(0, |digit| *digit)
    }

    /// The places that one of two has digits at, from the first to behind the last.
    fn places(&self, other: &Self) -> (i32, i32) {
        let last = |number: &Self| number.weight - number.len() + 1;
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, _) => (other.weight, last(other)),
            (_, true) => (self.weight, last(self)),
            _ => (self.weight.max(other.weight), last(self).min(last(other))),
        }
    }

    fn compare_digits(&self, other: &Self) -> Ordering {
        let (first, last) = self.places(other);
        let mut places = (last..=first).rev();
        let differs = |place: &i32| self.digit(*place) != other.digit(*place);
        let place = places.find(differs);
        place.map_or(Ordering::Equal, |place| self.digit(place).cmp(&other.digit(place)))
    }

    /// As Postgres orders them: NaN is the greatest, and equal to itself.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let class = |number: &Self| match number.kind {
            Kind::MinusInfinity => 0,
            Kind::Positive | Kind::Negative => 1,
            Kind::Infinity => 2,
            Kind::NaN => 3,
        };
        let order = class(self).cmp(&class(other));
        if order != Ordering::Equal || !self.is_finite() {
            return order;
        }
        match (self.kind, other.kind) {
            (Kind::Negative, Kind::Negative) => other.compare_digits(self),
            (Kind::Negative, _) => Ordering::Less,
            (_, Kind::Negative) => Ordering::Greater,
            _ => self.compare_digits(other),
        }
    }

    /// Adds another; the longer scale is kept.
    pub(super) fn add(&mut self, other: &Self) {
        let scale = self.scale.max(other.scale);
        match (self.kind, other.kind) {
            (Kind::NaN, _) | (_, Kind::NaN) => self.clear(Kind::NaN),
            (Kind::Infinity, Kind::MinusInfinity) | (Kind::MinusInfinity, Kind::Infinity) => {
                self.clear(Kind::NaN);
            }
            (Kind::Infinity | Kind::MinusInfinity, _) => {}
            (_, kind @ (Kind::Infinity | Kind::MinusInfinity)) => self.clear(kind),
            (one, two) => {
                let (first, last) = self.places(other);
                let (kind, same) = match self.compare_digits(other) {
                    _ if one == two => (one, true),
                    Ordering::Less => (two, false),
                    Ordering::Equal | Ordering::Greater => (one, false),
                };
                let swapped = kind != one;
                let mut digits = Vec::new();
                let mut carry = 0_i32;
                for place in last..=first {
                    let (mine, its) = (self.digit(place), other.digit(place));
                    let (more, less) = if swapped { (its, mine) } else { (mine, its) };
                    let less = if same { i32::from(less) } else { -i32::from(less) };
                    let sum = i32::from(more) + less + carry;
                    carry = sum.div_euclid(i32::from(BASE));
                    digits.push(u16::try_from(sum.rem_euclid(i32::from(BASE))).unwrap_or(0));
                }
                let mut weight = first;
                if carry > 0 {
                    digits.push(1);
                    weight += 1;
                }
                digits.reverse();
                (self.kind, self.weight, self.digits) = (kind, weight, digits);
                self.strip();
            }
        }
        self.scale = if self.is_finite() { scale } else { 0 };
    }

    /// Divides a sum by how many it is of, as `avg` does.
    pub(super) fn divide(&mut self, count: u64) {
        if !self.is_finite() || count == 0 {
            return;
        }
        let mut divisor = Self::default();
        divisor.set(i128::from(count));
        let scale = self.division_scale(&divisor);
        // One digit more than is shown, to round by.
        let last = last_place(scale) - 1;
        let mut rest = 0_u128;
        let mut digits = Vec::new();
        let first = self.weight.max(0);
        for place in (last..=first).rev() {
            let value = rest * u128::from(BASE) + u128::from(self.digit(place));
            digits.push(u16::try_from(value / u128::from(count)).unwrap_or(0));
            rest = value % u128::from(count);
        }
        // The divisor may have digits before the first one of the quotient.
        (self.digits, self.weight) = (digits, first);
        self.round(scale);
    }

    /// How many digits a quotient has behind the point (`select_div_scale`).
    fn division_scale(&self, divisor: &Self) -> u16 {
        let first = |number: &Self| number.digits.first().map_or(0, |digit| *digit);
        let mut weight = i64::from(self.weight) - i64::from(divisor.weight);
        if first(self) <= first(divisor) {
            weight -= 1;
        }
        let scale = SIGNIFICANT_MIN - weight * 4;
        let scale = scale.max(i64::from(self.scale)).max(i64::from(divisor.scale)).max(0);
        u16::try_from(scale.min(SCALE_MAX)).unwrap_or(0)
    }

    /// Rounds to so many digits behind the point, half away from zero.
    fn round(&mut self, scale: u16) {
        self.scale = scale;
        // The last place that stays, and how many of its decimal digits do.
        let place = last_place(scale);
        let kept = match scale % 4 {
            0 => 4,
            kept => kept,
        };
        let unit = 10_u16.pow(4 - u32::from(kept));
        let next = if unit == 1 {
            self.digit(place - 1) / 1000
        } else {
            self.digit(place) % unit * 10 / unit
        };
        let keep = usize::try_from(i64::from(self.weight) - i64::from(place) + 1).unwrap_or(0);
        self.digits.truncate(keep);
        if let Some(last) = keep.checked_sub(1).and_then(|at| self.digits.get_mut(at)) {
            *last -= *last % unit;
        }
        if next >= 5 {
            self.digits.resize(keep, 0);
            let mut carry = unit;
            for digit in self.digits.iter_mut().rev() {
                let sum = *digit + carry;
                (*digit, carry) = (sum % BASE, sum / BASE);
                if carry == 0 {
                    break;
                }
            }
            if carry > 0 {
                self.digits.insert(0, carry);
                self.weight += 1;
            }
        }
        self.strip();
    }

    /// Writes it as Postgres does.
    pub(super) fn write_text(&self, out: &mut Vec<u8>) {
        let special: &[u8] = match self.kind {
            Kind::NaN => b"NaN",
            Kind::Infinity => b"Infinity",
            Kind::MinusInfinity => b"-Infinity",
            Kind::Negative => b"-",
            Kind::Positive => b"",
        };
        out.extend_from_slice(special);
        if !self.is_finite() {
            return;
        }
        let decimals = |digit: u16| {
            [1000, 100, 10, 1].map(|unit| b'0' + u8::try_from(digit / unit % 10).unwrap_or(0))
        };
        if self.weight < 0 || self.digits.is_empty() {
            out.push(b'0');
        } else {
            for place in (0..=self.weight).rev() {
                let digits = decimals(self.digit(place));
                let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
                let skipped = if place == self.weight { zeros } else { 0 };
                out.extend(digits.iter().skip(skipped));
            }
        }
        if self.scale > 0 {
            out.push(b'.');
            let places = (last_place(self.scale)..0).rev();
            let digits = places.flat_map(|place| decimals(self.digit(place)));
            out.extend(digits.take(usize::from(self.scale)));
        }
    }

    /// Writes its binary form; `None` if Postgres has none for it.
    pub(super) fn write_binary(&self, out: &mut Vec<u8>) -> Option<()> {
        let sign: u16 = match self.kind {
            Kind::Positive => 0,
            Kind::Negative => 0x4000,
            Kind::NaN => 0xc000,
            Kind::Infinity => 0xd000,
            Kind::MinusInfinity => 0xf000,
        };
        let count = i16::try_from(self.digits.len()).ok()?;
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&i16::try_from(self.weight).ok()?.to_be_bytes());
        out.extend_from_slice(&sign.to_be_bytes());
        // What tells infinities from NaN is where a scale would be, and is sent as one.
        let is_infinite = matches!(self.kind, Kind::Infinity | Kind::MinusInfinity);
        let scale = if is_infinite { 0x20 } else { self.scale };
        out.extend_from_slice(&scale.to_be_bytes());
        self.digits.iter().for_each(|digit| out.extend_from_slice(&digit.to_be_bytes()));
        Some(())
    }

    /// Writes bytes that are ordered as numbers are; equal numbers have equal bytes.
    pub(super) fn write_key(&self, out: &mut Vec<u8>) {
        out.push(match self.kind {
            Kind::MinusInfinity => 0,
            Kind::Negative => 1,
            Kind::Positive => 2,
            Kind::Infinity => 3,
            Kind::NaN => 4,
        });
        let start = out.len();
        if !self.is_finite() {
            return;
        }
        if self.digits.is_empty() {
            out.push(0);
            return;
        }
        out.push(1);
        let weight = self.weight.cast_unsigned() ^ 0x8000_0000;
        out.extend_from_slice(&weight.to_be_bytes());
        self.digits.iter().for_each(|digit| out.extend_from_slice(&(digit + 1).to_be_bytes()));
        out.extend_from_slice(&[0, 0]);
        if self.kind == Kind::Negative {
            out.iter_mut().skip(start).for_each(|byte| *byte = !*byte);
        }
    }

    /// Its value, if it is a whole number of 64 bits.
    pub(super) fn to_i64(&self) -> Option<i64> {
        let fraction = self.len() > self.weight.checked_add(1)? && !self.digits.is_empty();
        if !self.is_finite() || fraction || self.weight > 5 {
            return None;
        }
        let places = (0..=self.weight).rev();
        let value = places
            .fold(0_i128, |value, place| value * i128::from(BASE) + i128::from(self.digit(place)));
        let value = if self.digits.is_empty() { 0 } else { value };
        i64::try_from(if self.kind == Kind::Negative { -value } else { value }).ok()
    }
}

/// The place of the last digit of base 10,000 that a scale has a part of.
fn last_place(scale: u16) -> i32 {
    -i32::from(scale.div_ceil(4))
}

#[cfg(test)]
mod tests;
