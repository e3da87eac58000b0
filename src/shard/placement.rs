//! From keys to shards: by a hash over buckets, by ranges, or by a list.
//!
//! Hashes go to buckets, of which there may be many more than shards, so that one of them can move. A
//! single key may have a shard of its own.

mod bounds;

use thiserror::Error;

pub use self::bounds::Fit;
use super::key::Key;
use super::{ShardId, hash};

/// Where the rows of every key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    rule: Rule,
    /// Keys whose rows are elsewhere than the rule says, in their order.
    overrides: Box<[(Key<'static>, ShardId)]>,
}

/// How keys are spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// By a hash, whose remainder is the number of a bucket; which shard each bucket is on.
    Buckets(Hash, Box<[ShardId]>),
    /// By their order.
    Ranges(Ranges),
    /// One by one.
    List(List),
}

/// What the remainder is taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// What `PARTITION BY HASH` goes by, bit by bit: bucket and `REMAINDER` are the same number.
    Postgres,
    /// The first eight hexadecimal digits of the md5 of the key's text.
    Md5Hex8,
    /// The number itself; that of a negative one is counted from below, and so never negative.
    Modulo,
}

/// Ranges without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// Where each begins, in order; the first may begin nowhere.
    starts: Box<[(Option<Key<'static>>, ShardId)]>,
    /// Where the last one ends: before this key, or nowhere.
    end: Option<Key<'static>>,
}

/// Keys with their shards, and where all others are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    values: Box<[(Key<'static>, ShardId)]>,
    otherwise: Option<ShardId>,
}

/// Why a key has no shard. Postgres has no partition for such a row then (23514).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unplaced {
    /// It is NULL, for which the rule has no place.
    #[error("the shard key is NULL, for which there is no shard")]
    Null,
    /// It is in none of the ranges.
    #[error("the shard key is outside of all ranges of the shards")]
    OutsideOfRanges,
    /// It is not on the list, and nothing is said of others.
    #[error("the shard key is not on the list of the shards' values")]
    NotListed,
    /// A number was expected.
    #[error("the shard key is no number")]
    NoNumber,
}

impl Placement {
    /// By this rule, but for these keys. Of the same key's places, the last counts.
    pub fn new(rule: Rule, overrides: Vec<(Key<'static>, ShardId)>) -> Self {
        Self { rule, overrides: sorted(overrides) }
    }

    /// The shard of a key's rows.
    ///
    /// # Errors
    ///
    /// It has none.
    pub fn shard(&self, key: &Key<'_>) -> Result<ShardId, Unplaced> {
        if let Some(shard) = find(&self.overrides, key) {
            return Ok(shard);
        }
        match &self.rule {
            Rule::Buckets(hash, buckets) => {
                let bucket = hash.remainder(key, buckets.len() as u64)?;
                let place = usize::try_from(bucket).ok().and_then(|bucket| buckets.get(bucket));
                place.copied().ok_or(Unplaced::NotListed)
            }
            Rule::Ranges(ranges) => ranges.shard(key),
            Rule::List(list) => {
                let null = *key == Key::Null;
                let none = if null { Unplaced::Null } else { Unplaced::NotListed };
                find(&list.values, key).or(list.otherwise).ok_or(none)
            }
        }
    }

    /// The part of the keys that a shard has, in words.
    pub fn part(&self, shard: ShardId) -> String {
        let of =
            |places: &[(Key<'_>, ShardId)]| places.iter().filter(|(_, it)| *it == shard).count();
        let mut part = match &self.rule {
            Rule::Buckets(_, buckets) => {
                let own = buckets.iter().filter(|it| **it == shard).count();
                format!("{own} of {} buckets", buckets.len())
            }
            Rule::Ranges(Ranges { starts, .. }) => {
                let own = starts.iter().filter(|(_, it)| *it == shard).count();
                format!("{own} of {} ranges", starts.len())
            }
            Rule::List(List { values, otherwise }) => {
                let others = if *otherwise == Some(shard) { " and all others" } else { "" };
                format!("{} of {} values{others}", of(values), values.len())
            }
        };
        match of(&self.overrides) {
            0 => {}
            own => part += &format!(", {own} by override"),
        }
        part
    }

    /// Whether a key is listed by itself.
    pub fn lists(&self, key: &Key<'_>) -> bool {
        let of_rule = match &self.rule {
            Rule::List(List { values, .. }) => find(values, key),
            Rule::Buckets(..) | Rule::Ranges(_) => None,
        };
        find(&self.overrides, key).or(of_rule).is_some()
    }

    /// The keys that are listed by themselves.
    pub fn listed(&self) -> impl Iterator<Item = (&Key<'static>, ShardId)> {
        let values = match &self.rule {
            Rule::List(List { values, .. }) => &**values,
            Rule::Buckets(..) | Rule::Ranges(_) => &[],
        };
        let overridden = |key: &Key<'_>| find(&self.overrides, key).is_some();
        let values = values.iter().filter(move |(key, _)| !overridden(key));
        self.overrides.iter().chain(values).map(|(key, shard)| (key, *shard))
    }

    /// The bucket of a key, where keys go to buckets, and it does not have a shard of its own.
    pub fn bucket(&self, key: &Key<'_>) -> Option<u64> {
        match &self.rule {
            Rule::Buckets(hash, buckets) if find(&self.overrides, key).is_none() => {
                hash.remainder(key, buckets.len() as u64).ok()
            }
            Rule::Buckets(..) | Rule::Ranges(_) | Rule::List(_) => None,
        }
    }
}

impl Hash {
    fn remainder(self, key: &Key<'_>, buckets: u64) -> Result<u64, Unplaced> {
        let divisor = buckets.max(1);
        match (self, key) {
            (Self::Postgres, key) => Ok(hash::postgres(key) % divisor),
            (Self::Md5Hex8, key) => {
                let hash = hash::md5_hex8(key).ok_or(Unplaced::Null)?;
                Ok(u64::from(hash) % divisor)
            }
            (Self::Modulo, Key::Int(value)) => {
                let remainder = i128::from(*value).rem_euclid(i128::from(divisor));
                u64::try_from(remainder).ok().ok_or(Unplaced::NoNumber)
            }
            (Self::Modulo, Key::Null) => Err(Unplaced::Null),
            (Self::Modulo, _) => Err(Unplaced::NoNumber),
        }
    }
}

/// Why two neighbours don't fit together, by their places among the ranges as they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// There is none.
    None,
    /// It ends where it begins, or before.
    Empty(usize),
    /// The second begins before the first has ended.
    Overlap(usize, usize),
    /// The second begins behind the end of the first.
    Gap(usize, usize),
}

/// A range as it is given: its first key, the key that it ends before, and its shard.
pub type Given = (Option<Key<'static>>, Option<Key<'static>>, ShardId);

impl Ranges {
    /// Ranges, given in any order.
    ///
    /// # Errors
    ///
    /// They have gaps or overlap.
    pub fn new(given: &[Given]) -> Result<Self, Misfit> {
        let mut order: Vec<usize> = (0..given.len()).collect();
        let start = |at: &usize| given.get(*at).and_then(|(from, ..)| from.clone());
        // What begins nowhere comes first.
        order.sort_by_key(start);
        let mut starts = Vec::with_capacity(given.len());
        let mut last: Option<(usize, &Option<Key<'static>>)> = None;
        for at in order {
            let Some((from, to, shard)) = given.get(at) else { continue };
            if let (Some(from), Some(to)) = (from, to)
                && from >= to
            {
                return Err(Misfit::Empty(at));
            }
            match (last, from) {
                (None, _) => {}
                (Some((before, Some(end))), Some(from)) if end < from => {
                    return Err(Misfit::Gap(before, at));
                }
                (Some((_, Some(end))), Some(from)) if end == from => {}
                (Some((before, _)), _) => return Err(Misfit::Overlap(before, at)),
            }
            starts.push((from.clone(), *shard));
            last = Some((at, to));
        }
        let Some((_, end)) = last else { return Err(Misfit::None) };
        Ok(Self { starts: starts.into(), end: end.clone() })
    }

    fn shard(&self, key: &Key<'_>) -> Result<ShardId, Unplaced> {
        if *key == Key::Null {
            return Err(Unplaced::Null);
        }
        let begun = |start: &Option<Key<'static>>| start.as_ref().is_none_or(|start| start <= key);
        let behind = self.starts.partition_point(|(start, _)| begun(start));
        let found = behind.checked_sub(1).and_then(|last| self.starts.get(last));
        let inside = self.end.as_ref().is_none_or(|end| key < end);
        found.filter(|_| inside).map(|(_, shard)| *shard).ok_or(Unplaced::OutsideOfRanges)
    }
}

impl List {
    /// These values; `otherwise` is for all others, and for NULL where it is not a value itself.
    pub fn new(values: Vec<(Key<'static>, ShardId)>, otherwise: Option<ShardId>) -> Self {
        Self { values: sorted(values), otherwise }
    }
}

fn sorted(mut keys: Vec<(Key<'static>, ShardId)>) -> Box<[(Key<'static>, ShardId)]> {
    keys.sort();
    keys.into()
}

fn find(keys: &[(Key<'static>, ShardId)], key: &Key<'_>) -> Option<ShardId> {
    let at = keys.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
    keys.get(at).map(|(_, shard)| *shard)
}

#[cfg(test)]
mod tests {
    use super::super::KeyType;
    use super::*;

    fn key(kind: KeyType, text: &str) -> Key<'_> {
        Key::of_text(kind, text.as_bytes()).unwrap()
    }

    fn buckets(count: u8) -> Box<[ShardId]> {
        (0..count).map(ShardId).collect()
    }

    fn hashed(hash: Hash, count: u8) -> Placement {
        Placement::new(Rule::Buckets(hash, buckets(count)), Vec::new())
    }

    #[test]
    fn first_digits_of_md5_are_those_that_applications_take() {
        let uuid = "550e8400-e29b-41d4-a716-446655440000";
        let (four, sixteen) = (hashed(Hash::Md5Hex8, 4), hashed(Hash::Md5Hex8, 16));
        for (text, of_4, of_16) in [
            ("1", 0, 8),
            ("2", 1, 13),
            ("42", 0, 8),
            ("1001", 3, 3),
            ("alice", 2, 2),
            (uuid, 2, 14),
        ] {
            let text_key = key(KeyType::Text, text);
            let mut keys = vec![text_key];
            match text {
                "alice" => {}
                text if text.len() == 36 => keys.push(key(KeyType::Uuid, text)),
                text => keys.push(key(KeyType::Int8, text)),
            }
            for key in keys {
                assert_eq!(four.shard(&key), Ok(ShardId(of_4)), "{key:?}");
                assert_eq!(sixteen.shard(&key), Ok(ShardId(of_16)), "{key:?}");
            }
        }
        assert_eq!(four.shard(&Key::Null), Err(Unplaced::Null));
    }

    /// A literal, a string, and a parameter in both formats: one user, one shard.
    #[test]
    fn the_same_key_has_the_same_shard_however_it_is_written() {
        use super::super::Format::{Binary, Text};
        for hash in [Hash::Postgres, Hash::Md5Hex8, Hash::Modulo] {
            let placement = hashed(hash, 16);
            let wanted = placement.shard(&Key::Int(42));
            let kind = KeyType::Int8;
            for read in [
                Key::of_literal(kind, b"42", false),
                Key::of_literal(kind, b"'42'", false),
                Key::of_parameter(kind, 0, Text, Some(b"42")),
                Key::of_parameter(kind, 23, Binary, Some(&[0, 0, 0, 42])),
                Key::of_parameter(kind, 20, Binary, Some(&[0, 0, 0, 0, 0, 0, 0, 42])),
                Key::of_text(KeyType::Int2, b"42"),
            ] {
                assert_eq!(placement.shard(&read.unwrap()), wanted, "{hash:?}");
            }
        }
    }

    #[test]
    fn remainders_of_numbers_go_round_at_zero_as_well() {
        let placement = hashed(Hash::Modulo, 4);
        for (value, shard) in [(0, 0), (5, 1), (-1, 3), (-4, 0), (i64::MIN, 0), (i64::MAX, 3)] {
            assert_eq!(placement.shard(&Key::Int(value)), Ok(ShardId(shard)), "{value}");
        }
        assert_eq!(placement.shard(&key(KeyType::Text, "5")), Err(Unplaced::NoNumber));
        assert_eq!(placement.shard(&Key::Null), Err(Unplaced::Null));
    }

    #[test]
    fn buckets_and_single_keys_may_be_elsewhere() {
        // Shards that are counted from one: another map, the same function.
        let map = [1, 2, 3, 9].map(ShardId);
        let overrides = vec![(Key::Int(7), ShardId(4)), (Key::Int(-3), ShardId(5))];
        let placement = Placement::new(Rule::Buckets(Hash::Modulo, map.into()), overrides);
        for (value, shard, bucket) in
            [(4, 1, Some(0)), (6, 3, Some(2)), (3, 9, Some(3)), (7, 4, None), (-3, 5, None)]
        {
            let key = Key::Int(value);
            assert_eq!(placement.shard(&key), Ok(ShardId(shard)), "{value}");
            assert_eq!(placement.bucket(&key), bucket, "{value}");
        }
    }

    #[test]
    fn key_that_is_null_is_in_the_first_bucket_of_postgres() {
        let placement = hashed(Hash::Postgres, 7);
        assert_eq!(placement.shard(&Key::Null), Ok(ShardId(0)));
    }

    fn ranges(kind: KeyType, given: &[(&str, &str)]) -> Result<Ranges, Misfit> {
        let bound = |text: &str| (!text.is_empty()).then(|| key(kind, text).into_owned());
        let given: Vec<Given> = given
            .iter()
            .zip(0..)
            .map(|((from, to), shard)| (bound(from), bound(to), ShardId(shard)))
            .collect();
        Ranges::new(&given)
    }

    #[test]
    fn ranges_go_by_the_order_of_their_type() {
        for (kind, given, keys) in [
            (
                KeyType::Int8,
                &[("5001", ""), ("1", "5001")][..],
                &[("1", Some(1)), ("5000", Some(1)), ("5001", Some(0)), ("0", None), ("-9", None)]
                    [..],
            ),
            (
                KeyType::Text,
                &[("A", "G"), ("G", "a"), ("a", "é")],
                &[
                    ("Ann", Some(0)),
                    ("Fritz", Some(0)),
                    ("G", Some(1)),
                    ("ann", Some(2)),
                    ("é", None),
                ],
            ),
            (
                KeyType::Date,
                &[("", "2024-01-01"), ("2024-01-01", "")],
                &[("-infinity", Some(0)), ("2023-12-31", Some(0)), ("2024-01-01", Some(1))],
            ),
        ] {
            let rule = Rule::Ranges(ranges(kind, given).unwrap());
            let placement = Placement::new(rule, Vec::new());
            for (text, shard) in keys {
                let wanted = shard.map(ShardId).ok_or(Unplaced::OutsideOfRanges);
                assert_eq!(placement.shard(&key(kind, text)), wanted, "{kind} {text}");
            }
            assert_eq!(placement.shard(&Key::Null), Err(Unplaced::Null));
        }
    }

    #[test]
    fn ranges_with_gaps_and_overlaps_are_none() {
        for (given, misfit) in [
            (&[("1", "10"), ("11", "20")][..], Misfit::Gap(0, 1)),
            (&[("10", "20"), ("1", "9")], Misfit::Gap(1, 0)),
            (&[("1", "10"), ("9", "20")], Misfit::Overlap(0, 1)),
            (&[("1", ""), ("9", "20")], Misfit::Overlap(0, 1)),
            (&[("", "5"), ("", "20")], Misfit::Overlap(0, 1)),
            (&[("1", "10"), ("1", "10")], Misfit::Overlap(0, 1)),
            (&[("1", "10"), ("10", "10")], Misfit::Empty(1)),
            (&[("5", "1")], Misfit::Empty(0)),
            (&[], Misfit::None),
        ] {
            assert_eq!(ranges(KeyType::Int8, given), Err(misfit), "{given:?}");
        }
    }

    #[test]
    fn values_that_are_not_listed_have_the_shard_of_the_others_or_none() {
        let values = || {
            let value = |text, shard| (key(KeyType::Text, text).into_owned(), ShardId(shard));
            vec![value("us", 1), value("eu", 0)]
        };
        let list = |otherwise| Placement::new(Rule::List(List::new(values(), otherwise)), vec![]);
        let (strict, open) = (list(None), list(Some(ShardId(2))));
        for (key, strictly, openly) in [
            (key(KeyType::Text, "eu"), Ok(0), 0),
            (key(KeyType::Text, "us"), Ok(1), 1),
            (key(KeyType::Text, "EU"), Err(Unplaced::NotListed), 2),
            (Key::Null, Err(Unplaced::Null), 2),
        ] {
            assert_eq!(strict.shard(&key), strictly.map(ShardId), "{key:?}");
            assert_eq!(open.shard(&key), Ok(ShardId(openly)), "{key:?}");
        }
    }
}
