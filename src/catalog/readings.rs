//! Facts of texts, kept by text: what a thousand sessions say again and again is taken apart once.
//!
//! Texts that differ in plain literals alone share a [`Reading`]; the whole text is compared, a keyed
//! hash only finds it. What is kept is bounded in bytes. There are two generations: what is used
//! is in the young one or comes back into it, and when that is full, the old one is forgotten and
//! it takes its place. A text that is new costs its own taking apart, outside of any lock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ahash::RandomState;
use hashbrown::HashTable;
use parking_lot::RwLock;

use super::Current;
use crate::route::{Judgement, Reason};
use crate::sql::facts::{Does, Facts, TEXT_MAX, common, facts};

/// What there is to know of a text, but for the values in it.
#[derive(Debug)]
pub struct Reading {
    /// The text that stands for it.
    text: Box<[u8]>,
    facts: Facts,
    /// What catalogs have had to say, by their numbers; the latest last.
    judged: RwLock<Vec<Judged>>,
    weight: usize,
}

/// What there is to say of a text in a database, as long as a catalog of it is in force.
#[derive(Clone, Debug)]
struct Judged {
    /// The catalog's number.
    by: u64,
    judgement: Judgement,
    /// It does not depend on the transaction that it is in.
    steady: bool,
}

/// As many catalogs are remembered at once, of different databases.
const JUDGED_MAX: usize = 8;

/// All of them.
#[derive(Debug)]
pub struct Readings {
    hasher: RandomState,
    shards: [Shard; SHARDS],
    /// Bytes that a generation of a shard may have.
    generation_max: AtomicUsize,
}

const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shard {
    kept: RwLock<Generations>,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashTable<Arc<Reading>>,
    old: HashTable<Arc<Reading>>,
    young_bytes: usize,
    old_bytes: usize,
}

/// What there is to tell of what is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many texts.
    pub texts: usize,
    /// What they take, roughly.
    pub bytes: usize,
    /// How many bytes they may.
    pub bytes_max: usize,
    /// How often a text was there.
    pub hits: u64,
    /// How often it was not.
    pub misses: u64,
    /// How many were forgotten to make room.
    pub evictions: u64,
}

/// Texts up to this many bytes find their reading without an allocation.
const SHORT: usize = 1024;

impl Readings {
    /// None yet; they may take so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        let readings = Self {
            hasher: RandomState::new(),
            shards: Default::default(),
            generation_max: AtomicUsize::new(0),
        };
        readings.resize(bytes_max);
        readings
    }

    /// So many bytes from now on. Generations that are too large for that are forgotten.
    pub fn resize(&self, bytes_max: usize) {
        let max = bytes_max / SHARDS / 2;
        self.generation_max.store(max, Ordering::Relaxed);
        for shard in &self.shards {
            let Generations { young, old, young_bytes, old_bytes } = &mut *shard.kept.write();
            for (texts, bytes) in [(young, young_bytes), (old, old_bytes)] {
                if *bytes > max {
                    shard.evictions.fetch_add(texts.len() as u64, Ordering::Relaxed);
                    (*texts, *bytes) = (HashTable::new(), 0);
                }
            }
        }
    }

    /// The reading of a text. One that is longer than any that is taken apart is not kept.
    pub fn of(&self, text: &[u8]) -> Arc<Reading> {
        match text.len() {
            len if len <= SHORT => self.find_or_read(text, &mut [0; SHORT]),
            len if len <= TEXT_MAX => self.find_or_read(text, &mut vec![0; len]),
            _ => Arc::new(Reading::new(Box::default(), text)),
        }
    }

    fn find_or_read(&self, text: &[u8], buffer: &mut [u8]) -> Arc<Reading> {
        let key = common(text, buffer);
        let hash = self.hasher.hash_one(key);
        // The table goes by the bits at both ends.
        let shard = (hash >> 32) as usize % SHARDS;
        let Some(shard) = self.shards.get(shard) else {
            return Arc::new(Reading::new(Box::default(), text));
        };
        let is_it = |reading: &Arc<Reading>| *reading.text == *key;
        let is_old = {
            let kept = shard.kept.read();
            if let Some(reading) = kept.young.find(hash, is_it) {
                shard.hits.fetch_add(1, Ordering::Relaxed);
                return Arc::clone(reading);
            }
            kept.old.find(hash, is_it).map(Arc::clone)
        };
        let reading = match is_old {
            Some(reading) => {
                shard.hits.fetch_add(1, Ordering::Relaxed);
                reading
            }
            None => {
                shard.misses.fetch_add(1, Ordering::Relaxed);
                Arc::new(Reading::new(key.into(), text))
            }
        };
        self.keep(shard, hash, reading)
    }

    /// Keeps a reading among the young ones, if it is not there by now.
    fn keep(&self, shard: &Shard, hash: u64, reading: Arc<Reading>) -> Arc<Reading> {
        let max = self.generation_max.load(Ordering::Relaxed);
        if reading.weight > max {
            return reading;
        }
        let rehash = |reading: &Arc<Reading>| self.hasher.hash_one(&*reading.text);
        let is_it = |other: &Arc<Reading>| other.text == reading.text;
        let mut kept = shard.kept.write();
        if let Some(other) = kept.young.find(hash, is_it) {
            return Arc::clone(other);
        }
        let mut forgotten = HashTable::new();
        if let Ok(entry) = kept.old.find_entry(hash, is_it) {
            entry.remove();
            kept.old_bytes -= reading.weight;
        }
        if kept.young_bytes + reading.weight > max {
            let young = std::mem::take(&mut kept.young);
            forgotten = std::mem::replace(&mut kept.old, young);
            kept.old_bytes = std::mem::take(&mut kept.young_bytes);
        }
        kept.young_bytes += reading.weight;
        kept.young.insert_unique(hash, Arc::clone(&reading), rehash);
        drop(kept);
        shard.evictions.fetch_add(forgotten.len() as u64, Ordering::Relaxed);
        reading
    }

    /// What there is to tell of them.
    pub fn kept(&self) -> Kept {
        let max = self.generation_max.load(Ordering::Relaxed);
        let mut all = Kept { bytes_max: max * SHARDS * 2, ..Kept::default() };
        for Shard { kept, hits, misses, evictions } in &self.shards {
            let kept = kept.read();
            all.texts += kept.young.len() + kept.old.len();
            all.bytes += kept.young_bytes + kept.old_bytes;
            all.hits += hits.load(Ordering::Relaxed);
            all.misses += misses.load(Ordering::Relaxed);
            all.evictions += evictions.load(Ordering::Relaxed);
        }
        all
    }
}

impl Reading {
    fn new(key: Box<[u8]>, text: &[u8]) -> Self {
        let facts = facts(text);
        let weight = size_of::<Self>() + key.len() + weight(&facts) + JUDGED_MAX * JUDGED;
        Self { text: key, facts, judged: RwLock::default(), weight }
    }

    /// What the text does.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What a catalog has to say of its names now. What does not read has none that matter.
    pub fn judge(&self, current: &Current) -> Judgement {
        self.judged(current, |judged| judged.judgement.clone()).unwrap_or(Judgement::NotLoaded)
    }

    /// Whether it does nothing but read, and the same in every transaction.
    pub fn is_steady(&self, current: &Current) -> bool {
        let steady = |judged: &Judged| judged.steady && judged.judgement == Judgement::Harmless;
        self.judged(current, steady).unwrap_or(false)
    }

    /// A replica has refused it: it is for the primary, until definitions change.
    pub fn was_refused(&self, current: &Current) {
        self.change(current, |judged| {
            judged.judgement = Judgement::Doubtful(Reason::RefusedBefore, "".into());
        });
    }

    /// A transaction that began with it has gone on to write: it is no beginning of one that only
    /// reads, until definitions change.
    pub fn led_to_writes(&self, current: &Current) {
        self.change(current, |judged| judged.steady = false);
    }

    /// What there is to say of it now; `None` where nothing is known, or it does not read.
    fn judged<T>(&self, current: &Current, look: impl Fn(&Judged) -> T) -> Option<T> {
        if self.facts.does != Does::Reads {
            return None;
        }
        current.with(|known| {
            let known = known?;
            let number = known.number();
            if let Some(judged) = self.judged.read().iter().rev().find(|it| it.by == number) {
                return Some(look(judged));
            }
            let judgement = known.judge(&self.facts);
            let judged = Judged { by: number, judgement, steady: known.is_steady(&self.facts) };
            let found = look(&judged);
            let mut all = self.judged.write();
            if all.len() >= JUDGED_MAX {
                all.remove(0);
            }
            all.push(judged);
            Some(found)
        })
    }

    fn change(&self, current: &Current, change: impl Fn(&mut Judged)) {
        let Some(number) = self.judged(current, |judged| judged.by) else { return };
        self.judged.write().iter_mut().filter(|judged| judged.by == number).for_each(change);
    }
}

/// What a judgement takes, with the name that it may be about.
const JUDGED: usize = size_of::<Judged>() + 32;

/// What facts take beside themselves, roughly: trees have nodes of eleven places.
fn weight(facts: &Facts) -> usize {
    let tree = |count: usize, entry: usize| count.div_ceil(6) * (11 * entry + 32);
    let set = |names: &BTreeSet<Box<str>>| {
        let texts: usize = names.iter().map(|name| name.len() + 16).sum();
        texts + tree(names.len(), 16)
    };
    let Facts { calls, relations, operators, attributes, mentions, .. } = facts;
    let qualified: usize = calls
        .keys()
        .chain(relations)
        .map(|name| name.name.len() + 16 + name.schema.as_ref().map_or(0, |name| name.len() + 16))
        .sum();
    let names = tree(calls.len(), 40) + tree(relations.len(), 32) + qualified;
    names + set(operators) + set(attributes) + set(mentions)
}

#[cfg(test)]
mod tests {
    use super::super::{Catalog, Catalogs};
    use super::*;

    #[test]
    fn texts_that_differ_in_values_share_a_reading() {
        let readings = Readings::new(1 << 20);
        let first = readings.of(b"SELECT * FROM t WHERE id = 1 AND name = 'x'");
        let same = readings.of(b"SELECT * FROM t WHERE id = 23 AND name = 'it''s'");
        let other = readings.of(b"SELECT * FROM u WHERE id = 1 AND name = 'x'");
        assert!(Arc::ptr_eq(&first, &same) && !Arc::ptr_eq(&first, &other));
        assert_eq!(*first.facts(), facts(b"SELECT * FROM t WHERE id = 1 AND name = 'x'"));
        let Kept { texts, hits, misses, evictions, .. } = readings.kept();
        assert_eq!((texts, hits, misses, evictions), (2, 1, 2, 0));
    }

    /// By the text that stands for it, which may be another's by then.
    #[test]
    fn corpus_is_read_with_other_values_as_it_is_by_itself() {
        let readings = Readings::new(64 << 20);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let (mut count, mut others) = (0, 0);
        for file in files.filter(|file| file.extension().is_some_and(|end| end == "tsv")) {
            for line in std::fs::read_to_string(file).unwrap().lines() {
                let text = line.splitn(3, '\t').last().unwrap().as_bytes();
                let mut buffer = vec![0; text.len()];
                let stands = common(text, &mut buffer);
                let first = readings.of(stands);
                let reading = readings.of(text);
                assert!(Arc::ptr_eq(&first, &reading), "{line}");
                assert_eq!(*reading.facts(), facts(text), "{line}");
                count += 1;
                others += usize::from(stands != text);
            }
        }
        assert!(count > 1000 && others > count / 4, "{others} of {count}");
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_used_stays() {
        let max = 256 * 1024;
        let readings = Readings::new(max);
        let used = readings.of(b"SELECT used FROM t");
        for number in 0..5000 {
            readings.of(format!("SELECT a{number} FROM t WHERE b = 1").as_bytes());
            assert!(Arc::ptr_eq(&used, &readings.of(b"SELECT used FROM t")), "{number}");
            assert!(readings.kept().bytes <= max);
        }
        let Kept { texts, bytes, evictions, hits, misses, bytes_max } = readings.kept();
        assert!(texts > 50 && bytes > max / 4 && bytes_max <= max, "{texts} {bytes}");
        assert_eq!((misses, hits, evictions), (5001, 5000, 5001 - texts as u64));
        let before = readings.kept();
        let heavy = (0..300).map(|number| format!("a{number}, ")).collect::<String>();
        readings.of(format!("SELECT {heavy} 1 FROM t").as_bytes());
        assert_eq!(readings.kept().texts, before.texts, "one has not driven out all others");
        readings.resize(0);
        let Kept { texts, bytes, evictions, .. } = readings.kept();
        assert_eq!((texts, bytes, evictions), (0, 0, 5001), "all of them are forgotten");
    }

    #[test]
    fn long_texts_are_read_and_not_kept() {
        let readings = Readings::new(1 << 20);
        let text = format!("SELECT 1 -- {}", "x".repeat(2 * SHORT));
        assert_eq!(readings.of(text.as_bytes()).facts().does, Does::Reads);
        assert_eq!(readings.kept().texts, 1);
        let text = format!("SELECT 1 -- {}", "x".repeat(TEXT_MAX));
        assert_ne!(readings.of(text.as_bytes()).facts().does, Does::Reads);
        assert_eq!(readings.kept().texts, 1);
    }

    #[test]
    fn judgement_is_that_of_the_catalog_in_force_and_made_once() {
        let catalogs = Catalogs::new(Arc::default());
        let readings = Readings::new(1 << 20);
        let reading = readings.of(b"SELECT f(1)");
        let unknown = Judgement::Doubtful(Reason::UnknownFunction, "f".into());
        let current = catalogs.of("shop");
        assert_eq!(reading.judge(&current), Judgement::NotLoaded);
        let databases: Vec<_> = (0..20).map(|n| catalogs.of(&n.to_string())).collect();
        for database in databases.iter().chain([&current]) {
            database.attempt().loaded(Catalog::default(), "here".to_owned());
            assert_eq!(reading.judge(database), unknown);
            assert_eq!(reading.judge(database), unknown);
        }
        assert_eq!(reading.judged.read().len(), JUDGED_MAX);
        current.forget();
        assert_eq!(reading.judge(&current), Judgement::NotLoaded);
    }

    #[test]
    fn what_was_found_out_by_running_it_counts_as_long_as_the_catalog() {
        let catalogs = Catalogs::new(Arc::default());
        let readings = Readings::new(1 << 20);
        let (current, other) = (catalogs.of("shop"), catalogs.of("other"));
        let load = |current: &Current| {
            current.attempt().loaded(Catalog::default(), "here".to_owned());
        };
        load(&current);
        load(&other);
        let reading = readings.of(b"SELECT 1");
        let refused = Judgement::Doubtful(Reason::RefusedBefore, "".into());
        reading.was_refused(&current);
        assert_eq!(reading.judge(&current), refused);
        assert!(!reading.is_steady(&current));
        assert_eq!(reading.judge(&other), Judgement::Harmless);
        assert!(reading.is_steady(&other));
        reading.led_to_writes(&other);
        assert_eq!(reading.judge(&other), Judgement::Harmless);
        assert!(!reading.is_steady(&other));
        load(&current);
        load(&other);
        assert_eq!(reading.judge(&current), Judgement::Harmless);
        assert!(reading.is_steady(&current) && reading.is_steady(&other));
    }
}
