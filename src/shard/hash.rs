//! Hashes of keys: Postgres's own, as `PARTITION BY HASH` goes by it, and the first digits of an md5.
//!
//! Postgres's is Bob Jenkins's lookup3 with a seed, taken over little-endian words, in the variant
//! of `common/hashfn.c`; `partitioning/partbounds.c` has the seed and how hashes of columns become
//! one. Big-endian servers hash in another way.

use std::fmt::{self, Write as _};

use md5::{Digest as _, Md5};

use super::key::Key;

/// What Postgres calls `HASH_PARTITION_SEED`.
const SEED: u64 = 0x7A5B_2236_7996_DCFD;
/// What `hash_combine64` adds.
const COMBINE: u64 = 0x49a0_f4dd_15e5_a8e3;

/// The hash of a row with this key, of which `PARTITION BY HASH` takes the remainder. A key that is
/// NULL adds nothing, and leaves 0.
pub(super) fn postgres(key: &Key<'_>) -> u64 {
    let hash = match key {
        Key::Null => return 0,
        Key::Int(value) => word(folded(*value)),
        #[expect(clippy::cast_sign_loss, reason = "its bits count")]
        Key::Date(days) => word(*days as u32),
        Key::Text(text) => bytes(text),
        Key::Bytea(value) => bytes(value),
        Key::Uuid(value) => bytes(value),
    };
    // hash_combine64 of nothing and this.
    hash.wrapping_add(COMBINE)
}

/// The first eight hexadecimal digits of the md5 of the key's text, as a number. NULL has none.
pub(super) fn md5_hex8(key: &Key<'_>) -> Option<u32> {
    let mut hasher = Md5::new();
    match key {
        Key::Null => return None,
        Key::Text(text) => hasher.update(text),
        Key::Int(_) | Key::Date(_) | Key::Uuid(_) | Key::Bytea(_) => {
            write!(Hashed(&mut hasher), "{key}").ok()?;
        }
    }
    let digest = hasher.finalize();
    digest.first_chunk().map(|first| u32::from_be_bytes(*first))
}

/// What is written goes into the hash.
struct Hashed<'a>(&'a mut Md5);

impl fmt::Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

/// Values of all integer types that are equal have equal hashes.
#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "its halves are meant")]
fn folded(value: i64) -> u32 {
    let (low, high) = (value as u32, (value >> 32) as u32);
    low ^ if value >= 0 { high } else { !high }
}

/// Three words that everything is mixed into.
struct State {
    a: u32,
    b: u32,
    c: u32,
}

impl State {
    /// For this many bytes.
    #[expect(clippy::cast_possible_truncation, reason = "Postgres's values are shorter than 1 GB")]
    fn new(len: usize) -> Self {
        let start = 0x9e37_79b9_u32.wrapping_add(len as u32).wrapping_add(3_923_095);
        let mut state = Self { a: start, b: start, c: start };
        state.add((SEED >> 32) as u32, SEED as u32, 0);
        state.mix();
        state
    }

    fn add(&mut self, a: u32, b: u32, c: u32) {
        self.a = self.a.wrapping_add(a);
        self.b = self.b.wrapping_add(b);
        self.c = self.c.wrapping_add(c);
    }

    fn mix(&mut self) {
        let Self { a, b, c } = self;
        stir(a, c, b, 4);
        stir(b, a, c, 6);
        stir(c, b, a, 8);
        stir(a, c, b, 16);
        stir(b, a, c, 19);
        stir(c, b, a, 4);
    }

    fn finish(mut self) -> u64 {
        let Self { a, b, c } = &mut self;
        let settle = |word: &mut u32, by: u32, turn: u32| {
            *word = (*word ^ by).wrapping_sub(by.rotate_left(turn));
        };
        settle(c, *b, 14);
        settle(a, *c, 11);
        settle(b, *a, 25);
        settle(c, *b, 16);
        settle(a, *c, 4);
        settle(b, *a, 14);
        settle(c, *b, 24);
        u64::from(self.b) << 32 | u64::from(self.c)
    }
}

/// One word is changed by the one behind, which then takes in the third.
fn stir(word: &mut u32, by: &mut u32, third: &u32, turn: u32) {
    *word = word.wrapping_sub(*by) ^ by.rotate_left(turn);
    *by = by.wrapping_add(*third);
}

fn word(value: u32) -> u64 {
    let mut state = State::new(size_of::<u32>());
    state.add(value, 0, 0);
    state.finish()
}

fn bytes(value: &[u8]) -> u64 {
    let mut state = State::new(value.len());
    let (blocks, rest) = value.as_chunks::<12>();
    for [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3] in blocks {
        state.add(
            u32::from_le_bytes([*a0, *a1, *a2, *a3]),
            u32::from_le_bytes([*b0, *b1, *b2, *b3]),
            u32::from_le_bytes([*c0, *c1, *c2, *c3]),
        );
        state.mix();
    }
    // The lowest byte of the last word is the length's.
    let tail = |from: usize, shift: usize| {
        let taken = rest.iter().skip(from).take(4 - shift);
        taken.enumerate().fold(0, |word, (at, byte)| word | u32::from(*byte) << (8 * (at + shift)))
    };
    state.add(tail(0, 0), tail(4, 0), tail(8, 1));
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `SELECT hashint8extended(42, 8816678312871386365)` and the like, with what
    /// `hash_combine64` adds.
    #[test]
    fn hashes_are_those_of_postgres() {
        for (key, expected) in [
            (Key::Null, 0),
            (Key::Int(42), 0xafd3_0d9a_116a_5a62),
            (Key::Int(-1), 0x0400_bc25_1f3b_afa5),
            (Key::Date(0), 0x0c84_40b7_4fd6_99b0),
            (Key::Text(b"alice"[..].into()), 0x603e_6fe0_912d_e3d5),
            (Key::Text(b"longer than twelve bytes"[..].into()), 0x74d6_1133_b2fd_a5ed),
            (Key::Uuid([0x55; 16]), 0x8fad_b337_8d19_1f52),
        ] {
            assert_eq!(postgres(&key), expected, "{key:?}");
        }
        assert_eq!(SEED, 8_816_678_312_871_386_365);
    }
}
