//! The partitions that a shard has of a table, held against the keys that are placed there: does each of
//! those have a partition, and does each partition have keys?
//!
//! Bounds are as Postgres writes them (`pg_get_expr(relpartbound, …)`) of tables that are partitioned by
//! the key alone, by its own operators.

use super::{Hash, List, Placement, Ranges, Rule};
use crate::shard::key::{Key, KeyType};
use crate::shard::{ShardId, hash};

/// How the partitions of a table fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Each key of the shard has a partition. Whether each partition has keys is not asked of those that
    /// take all keys.
    Fits,
    /// They don't.
    Not {
        /// Keys that have none, in words.
        lacks: Option<String>,
        /// Partitions without keys of this shard, by their places among the bounds: of rows there
        /// nobody knows.
        surplus: Vec<usize>,
    },
    /// It can't be said.
    Unclear,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Bound {
    Hash {
        modulus: u64,
        remainder: u64,
    },
    Range {
        from: End,
        to: End,
    },
    List(Vec<Key<'static>>),
    /// The one for what has no other.
    Rest,
}

/// Where a range begins or ends; in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Least,
    Key(Key<'static>),
    Most,
}

impl Placement {
    /// How partitions with these bounds fit the keys of a shard. `by_bytes`: texts are ordered by their
    /// bytes there.
    pub fn fit(&self, shard: ShardId, kind: KeyType, by_bytes: bool, bounds: &[&str]) -> Fit {
        let read: Option<Vec<Bound>> = bounds.iter().map(|text| Bound::read(kind, text)).collect();
        let Some(bounds) = read else { return Fit::Unclear };
        let in_order = kind != KeyType::Text || by_bytes;
        let is_range = bounds.iter().any(|bound| matches!(bound, Bound::Range { .. }));
        if bounds.contains(&Bound::Rest) {
            return Fit::Fits;
        }
        if is_range && !in_order {
            return Fit::Unclear;
        }
        if has_all(&bounds) {
            return Fit::Fits;
        }
        let lacks = match self.lacks(shard, &bounds) {
            Ok(lacks) => lacks,
            Err(Unclear) => return Fit::Unclear,
        };
        let is_surplus = |(at, bound)| self.is_surplus(shard, bound).then_some(at);
        let surplus: Vec<usize> = (0..).zip(&bounds).filter_map(is_surplus).collect();
        match lacks.is_none() && surplus.is_empty() {
            true => Fit::Fits,
            false => Fit::Not { lacks, surplus },
        }
    }

    /// Keys of a shard that are in none of the bounds, which are of one kind and don't have all.
    fn lacks(&self, shard: ShardId, bounds: &[Bound]) -> Result<Option<String>, Unclear> {
        let here = |places: &[(Key<'static>, ShardId)]| {
            let own = places.iter().filter(|(_, it)| *it == shard).map(|(key, _)| key);
            own.cloned().collect::<Vec<_>>()
        };
        let homeless = |key: &Key<'_>| !bounds.iter().any(|bound| bound.has(key));
        if let Some(key) = here(&self.overrides).iter().find(|key| homeless(key)) {
            return Ok(Some(format!("the key {key}")));
        }
        match &self.rule {
            Rule::Buckets(hash, buckets) => {
                let own = || (0..).zip(buckets).filter(|(_, it)| **it == shard);
                let count = buckets.len() as u64;
                match (hash, bounds.first()) {
                    (_, None) => Ok(own().next().map(|_| "any key".to_owned())),
                    (Hash::Postgres, Some(Bound::Hash { .. })) => {
                        for (bucket, _) in own() {
                            if !has_class(bounds, count, bucket).ok_or(Unclear)? {
                                return Ok(Some(format!("keys of bucket {bucket} of {count}")));
                            }
                        }
                        Ok(None)
                    }
                    (Hash::Md5Hex8 | Hash::Modulo, Some(Bound::Hash { .. })) => Err(Unclear),
                    (_, Some(_)) => Ok(own().next().map(|_| "some keys".to_owned())),
                }
            }
            Rule::Ranges(ranges) => {
                if let Some(Bound::Hash { .. }) = bounds.first() {
                    return Err(Unclear);
                }
                let own = ranges.of(shard);
                Ok(own.into_iter().find_map(|(from, to)| gap(bounds, from, &to)))
            }
            Rule::List(List { values, otherwise }) => {
                if let Some(key) = here(values).iter().find(|key| homeless(key)) {
                    return Ok(Some(format!("the key {key}")));
                }
                let rest = *otherwise == Some(shard);
                Ok(rest.then(|| "keys that are not on the list".to_owned()))
            }
        }
    }

    /// Whether no key that is placed on a shard can be in a bound.
    fn is_surplus(&self, shard: ShardId, bound: &Bound) -> bool {
        let by_override = self.overrides.iter().any(|(key, it)| *it == shard && bound.has(key));
        let by_rule = match (&self.rule, bound) {
            (_, Bound::Rest) => true,
            (_, Bound::List(keys)) => keys.iter().any(|key| self.shard(key) == Ok(shard)),
            (Rule::Buckets(Hash::Postgres, buckets), Bound::Hash { modulus, remainder }) => {
                let common = gcd(*modulus, buckets.len() as u64);
                let meets = |bucket: u64| bucket % common == remainder % common;
                (0..).zip(buckets).any(|(bucket, it)| *it == shard && meets(bucket))
            }
            (Rule::Ranges(ranges), Bound::Range { from, to }) => {
                ranges.of(shard).iter().any(|(start, end)| start < to && from < end)
            }
            (Rule::List(List { values, otherwise }), Bound::Hash { .. } | Bound::Range { .. }) => {
                *otherwise == Some(shard)
                    || values.iter().any(|(key, it)| *it == shard && bound.has(key))
            }
            (Rule::Buckets(_, buckets), Bound::Hash { .. } | Bound::Range { .. }) => {
                buckets.contains(&shard)
            }
            (Rule::Ranges(ranges), Bound::Hash { .. }) => !ranges.of(shard).is_empty(),
        };
        !by_override && !by_rule
    }
}

struct Unclear;

impl Ranges {
    /// Those of a shard: where each begins, and where it ends.
    fn of(&self, shard: ShardId) -> Vec<(End, End)> {
        let start = |from: &Option<Key<'static>>| from.clone().map_or(End::Least, End::Key);
        let ends = self.starts.iter().skip(1).map(|(from, _)| start(from));
        let last = self.end.clone().map_or(End::Most, End::Key);
        let ranges = self.starts.iter().zip(ends.chain([last]));
        let own = ranges.filter(|((_, it), _)| *it == shard);
        own.map(|((from, _), end)| (start(from), end)).collect()
    }
}

/// Whether every key is in one of the bounds.
fn has_all(bounds: &[Bound]) -> bool {
    match bounds.first() {
        Some(Bound::Hash { .. }) => has_class(bounds, 1, 0) == Some(true),
        Some(Bound::Range { .. }) => gap(bounds, End::Least, &End::Most).is_none(),
        Some(Bound::List(_) | Bound::Rest) | None => false,
    }
}

/// Whether all hashes that leave `class` by `count` are in one of the bounds, which don't overlap: by
/// their shares of them. `None` where Postgres would not have such bounds.
fn has_class(bounds: &[Bound], count: u64, class: u64) -> Option<bool> {
    let modulus = |bound: &Bound| match bound {
        Bound::Hash { modulus, .. } => Some(*modulus),
        _ => None,
    };
    let most = bounds.iter().filter_map(modulus).max()?;
    let mut sum: u64 = 0;
    for bound in bounds {
        let Bound::Hash { modulus, remainder } = bound else { return None };
        // The factors of all others are among those of the greatest.
        if *modulus == 0 || !most.is_multiple_of(*modulus) {
            return None;
        }
        let common = gcd(*modulus, count);
        if class % common == remainder % common {
            sum += common * (most / modulus);
        }
    }
    Some(sum == most)
}

fn gcd(one: u64, other: u64) -> u64 {
    match other {
        0 => one.max(1),
        _ => gcd(other, one % other),
    }
}

/// The first keys between two ends that are in none of the bounds.
fn gap(bounds: &[Bound], from: End, to: &End) -> Option<String> {
    let mut ranges: Vec<(&End, &End)> = bounds
        .iter()
        .filter_map(|bound| match bound {
            Bound::Range { from, to } => Some((from, to)),
            _ => None,
        })
        .collect();
    ranges.sort();
    let mut at = from;
    for (start, end) in ranges {
        if *start > at {
            break;
        }
        at = at.max(end.clone());
    }
    (at < *to).then(|| {
        let next = bounds.iter().filter_map(|bound| match bound {
            Bound::Range { from, .. } if *from > at => Some(from),
            _ => None,
        });
        let until = next.min().unwrap_or(to).min(to);
        match (&at, until) {
            (End::Key(from), End::Key(to)) => format!("keys from {from} to before {to}"),
            (End::Key(from), _) => format!("keys from {from} on"),
            (_, End::Key(to)) => format!("keys before {to}"),
            _ => "any key".to_owned(),
        }
    })
}

impl Bound {
    fn read(kind: KeyType, text: &str) -> Option<Self> {
        if text == "DEFAULT" {
            return Some(Self::Rest);
        }
        let said = text.strip_prefix("FOR VALUES ")?;
        if let Some(said) = said.strip_prefix("WITH (modulus ") {
            let (modulus, remainder) = said.strip_suffix(')')?.split_once(", remainder ")?;
            return Some(Self::Hash {
                modulus: modulus.parse().ok()?,
                remainder: remainder.parse().ok()?,
            });
        }
        if let Some(said) = said.strip_prefix("FROM (") {
            let (from, said) = End::read(kind, said)?;
            let (to, said) = End::read(kind, said.strip_prefix(") TO (")?)?;
            return (said == ")").then_some(Self::Range { from, to });
        }
        let mut said = said.strip_prefix("IN (")?;
        let mut keys = Vec::new();
        loop {
            let (constant, rest) = constant(said)?;
            keys.push(match &*constant {
                "NULL" if !said.starts_with('\'') => Key::Null,
                constant => Key::of_text(kind, constant.as_bytes()).ok()?.into_owned(),
            });
            match rest {
                ")" => return Some(Self::List(keys)),
                rest => said = rest.strip_prefix(", ")?,
            }
        }
    }

    /// Whether a key is in it.
    fn has(&self, key: &Key<'_>) -> bool {
        match self {
            Self::Hash { modulus, remainder } => {
                hash::postgres(key).checked_rem(*modulus) == Some(*remainder)
            }
            Self::Range { from, to } => {
                let key = End::Key(key.clone().into_owned());
                key != End::Key(Key::Null) && *from <= key && key < *to
            }
            Self::List(keys) => keys.contains(key),
            Self::Rest => true,
        }
    }
}

impl End {
    fn read(kind: KeyType, text: &str) -> Option<(Self, &str)> {
        let (constant, rest) = constant(text)?;
        let end = match &*constant {
            "MINVALUE" if !text.starts_with('\'') => Self::Least,
            "MAXVALUE" if !text.starts_with('\'') => Self::Most,
            constant => Self::Key(Key::of_text(kind, constant.as_bytes()).ok()?.into_owned()),
        };
        Some((end, rest))
    }
}

/// The value of the constant that a text begins with, and what is behind it.
fn constant(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let end = text.find([',', ')'])?;
        let (bare, rest) = text.split_at_checked(end)?;
        let plain = bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        return plain.then(|| (bare.to_owned(), rest));
    };
    let mut value = String::new();
    loop {
        let (inside, behind) = rest.split_once('\'')?;
        value += inside;
        match behind.strip_prefix('\'') {
            Some(behind) => rest = behind,
            None => return Some((value, behind)),
        }
        value.push('\'');
    }
}

#[cfg(test)]
mod tests {
    use super::super::Given;
    use super::*;

    const A: ShardId = ShardId(0);
    const B: ShardId = ShardId(1);

    fn key(kind: KeyType, text: &str) -> Key<'static> {
        Key::of_text(kind, text.as_bytes()).unwrap().into_owned()
    }

    fn hashed(hash: Hash, map: &[ShardId]) -> Placement {
        Placement::new(Rule::Buckets(hash, map.into()), Vec::new())
    }

    fn remainders(modulus: u32, remainders: &[u32]) -> Vec<String> {
        let bound = |it| format!("FOR VALUES WITH (modulus {modulus}, remainder {it})");
        remainders.iter().map(bound).collect()
    }

    fn fit(placement: &Placement, shard: ShardId, kind: KeyType, bounds: &[String]) -> Fit {
        let bounds: Vec<&str> = bounds.iter().map(String::as_str).collect();
        placement.fit(shard, kind, true, &bounds)
    }

    fn not(lacks: &str, surplus: &[usize]) -> Fit {
        let lacks = Some(lacks.to_owned()).filter(|lacks| !lacks.is_empty());
        Fit::Not { lacks, surplus: surplus.to_vec() }
    }

    #[test]
    fn partitions_by_hash_fit_the_buckets_of_their_shard() {
        let kind = KeyType::Int8;
        let two = hashed(Hash::Postgres, &[A, B]);
        let eight = hashed(Hash::Postgres, &[A, A, A, B, B, B, B, B]);
        for (placement, shard, bounds, wanted) in [
            (&two, A, remainders(2, &[0]), Fit::Fits),
            (&two, A, remainders(4, &[0, 2]), Fit::Fits),
            (&two, A, remainders(4, &[0, 1, 2, 3]), Fit::Fits),
            (&two, A, [remainders(4, &[0]), remainders(8, &[2, 6])].concat(), Fit::Fits),
            (&two, A, remainders(4, &[0]), not("keys of bucket 0 of 2", &[])),
            (&two, A, remainders(2, &[1]), not("keys of bucket 0 of 2", &[0])),
            (&two, B, remainders(4, &[1, 3, 0]), not("", &[2])),
            (&two, A, Vec::new(), not("any key", &[])),
            (&eight, A, remainders(4, &[0, 1, 2]), Fit::Fits),
            (&eight, B, remainders(4, &[0, 1, 3]), not("keys of bucket 6 of 8", &[])),
            (&eight, A, remainders(3, &[0, 1, 2]), Fit::Fits),
            (&eight, A, remainders(3, &[0, 1]), not("keys of bucket 0 of 8", &[])),
        ] {
            assert_eq!(fit(placement, shard, kind, &bounds), wanted, "{shard} {bounds:?}");
        }
        let md5 = hashed(Hash::Md5Hex8, &[A, B]);
        assert_eq!(fit(&md5, A, kind, &remainders(2, &[0])), Fit::Unclear);
        assert_eq!(fit(&md5, A, kind, &remainders(2, &[0, 1])), Fit::Fits);
        let ranges = ["FOR VALUES FROM ('0') TO ('10')".to_owned()];
        assert_eq!(fit(&two, A, kind, &ranges), not("some keys", &[]));
    }

    /// Held against the hash itself.
    #[test]
    fn each_key_of_a_shard_has_a_partition_where_they_fit() {
        let placement = hashed(Hash::Postgres, &[A, B, B, A, A, B]);
        for modulus in 1..=12 {
            for set in 1..(1_u32 << modulus) {
                let own: Vec<u32> = (0..modulus).filter(|it| set >> it & 1 == 1).collect();
                let bounds = remainders(modulus, &own);
                let lacks = match fit(&placement, A, KeyType::Int8, &bounds) {
                    Fit::Fits => false,
                    Fit::Not { lacks, .. } => lacks.is_some(),
                    Fit::Unclear => panic!("{bounds:?}"),
                };
                let homeless = |value: i64| {
                    let key = Key::Int(value);
                    let remainder = hash::postgres(&key) % u64::from(modulus);
                    placement.shard(&key) == Ok(A)
                        && !own.iter().any(|it| remainder == u64::from(*it))
                };
                // Some hundred keys leave every remainder by twelve.
                assert_eq!(lacks, (0..200).any(homeless), "{bounds:?}");
            }
        }
    }

    #[test]
    fn partitions_by_range_fit_the_ranges_of_their_shard() {
        let kind = KeyType::Int8;
        let int = |value| Some(Key::Int(value));
        let given: [Given; 3] = [(None, int(10), A), (int(10), int(20), B), (int(20), None, A)];
        let rule = Rule::Ranges(Ranges::new(&given).unwrap());
        let placement = Placement::new(rule, vec![(Key::Int(99), B)]);
        let range = |from: &str, to: &str| format!("FOR VALUES FROM ({from}) TO ({to})");
        let below = range("MINVALUE", "'10'");
        for (shard, bounds, wanted) in [
            (A, vec![range("'20'", "MAXVALUE"), below.clone()], Fit::Fits),
            (A, vec![range("MINVALUE", "MAXVALUE")], Fit::Fits),
            (A, vec![below.clone(), "DEFAULT".to_owned()], Fit::Fits),
            (A, vec![below.clone()], not("keys from 20 on", &[])),
            (A, vec![range("20", "MAXVALUE"), range("'-5'", "10")], not("keys before -5", &[])),
            (B, vec![range("10", "20"), range("99", "100")], Fit::Fits),
            (B, vec![range("10", "20")], not("the key 99", &[])),
            (
                B,
                vec![range("10", "14"), range("15", "20"), range("99", "100"), range("200", "300")],
                not("keys from 14 to before 15", &[3]),
            ),
            (B, vec!["FOR VALUES IN ('12', NULL)".to_owned()], not("the key 99", &[])),
            (A, vec![range("10", "20), (1")], Fit::Unclear),
            (A, remainders(2, &[0]), Fit::Unclear),
        ] {
            assert_eq!(fit(&placement, shard, kind, &bounds), wanted, "{shard} {bounds:?}");
        }
    }

    #[test]
    fn partitions_by_list_fit_the_values_of_their_shard() {
        let kind = KeyType::Text;
        let value = |text: &str, shard| (key(kind, text), shard);
        let values = vec![value("eu", A), value("o'r", A), value("us", B)];
        let closed = Placement::new(Rule::List(List::new(values.clone(), None)), Vec::new());
        let open = Placement::new(Rule::List(List::new(values, Some(A))), Vec::new());
        let list = |inside: &str| format!("FOR VALUES IN ({inside})");
        for (placement, shard, bounds, wanted) in [
            (&closed, A, vec![list("'eu'"), list("'o''r', 'x, y'")], Fit::Fits),
            (&closed, A, vec![list("'eu'"), list("'us'")], not("the key o'r", &[1])),
            (&closed, B, vec![list("'us', NULL, 'NULL'")], Fit::Fits),
            (&open, A, vec![list("'eu', 'o''r'")], not("keys that are not on the list", &[])),
            (&open, A, vec![list("'eu'"), "DEFAULT".to_owned()], Fit::Fits),
            (&open, A, vec![list("E'a\\\\b'")], Fit::Unclear),
        ] {
            assert_eq!(fit(placement, shard, kind, &bounds), wanted, "{shard} {bounds:?}");
        }
        let range = ["FOR VALUES FROM ('a') TO ('z')"];
        assert_eq!(closed.fit(A, kind, true, &range), Fit::Fits);
        assert_eq!(closed.fit(A, kind, false, &range), Fit::Unclear);
    }
}
