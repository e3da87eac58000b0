//! The md5 method of Postgres: what is stored and what is answered to a challenge.
//!
//! The stored hash is as good as the password to whoever holds it, so it is a secret too.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// The stored form of a password, `md5` and 32 hex digits, as in `pg_authid.rolpassword`.
#[must_use]
pub fn md5_hash(user: &str, password: &str) -> String {
    prefixed(&hex_of(&[password.as_bytes(), user.as_bytes()]))
}

/// The 32 hex digits of a stored md5 secret, without the prefix.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Md5Hash([u8; 32]);

impl Md5Hash {
    /// From `md5` and 32 lower-case hex digits; Postgres takes anything else for a plain password.
    pub(super) fn parse(text: &str) -> Option<Md5Hash> {
        let digits: [u8; 32] = text.strip_prefix(PREFIX)?.as_bytes().try_into().ok()?;
        digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
            .then_some(Md5Hash(digits))
    }

    pub(super) fn of(user: &str, password: &[u8]) -> Md5Hash {
        Md5Hash(hex_of(&[password, user.as_bytes()]))
    }

    /// What the holder of this secret answers to a challenge, without the final NUL.
    pub(super) fn answer(&self, salt: Salt) -> String {
        prefixed(&hex_of(&[&self.0, &salt]))
    }

    pub(super) fn is_answered_by(&self, answer: &[u8], salt: Salt) -> bool {
        self.answer(salt).as_bytes().ct_eq(answer).into()
    }

    pub(super) fn is_hash_of(&self, user: &str, password: &[u8]) -> bool {
        self.0.ct_eq(&Md5Hash::of(user, password).0).into()
    }
}

/// The salt of an md5 challenge.
pub(super) type Salt = [u8; 4];

const PREFIX: &str = "md5";

fn prefixed(hex: &[u8; 32]) -> String {
    format!("{PREFIX}{}", String::from_utf8_lossy(hex))
}

fn hex_of(parts: &[&[u8]]) -> [u8; 32] {
    let digest = parts.iter().fold(Md5::new(), |digest, part| digest.chain_update(part)).finalize();
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut hex = [b'0'; 32];
    for (place, digit) in hex.iter_mut().zip(digits) {
        *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
    }
    hex
}
