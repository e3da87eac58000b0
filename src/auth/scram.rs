//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as Postgres speaks it: keys, verifiers, attributes.
//!
//! The two roles of the exchange are in `accept` and `prove`. Invariants: iterations and lengths
//! are bounded before they cost anything; keys print as `***` and are compared in constant time.
//! pgwire's `ScramServerAuth` is not used: it hides the ClientKey that a pass-through login
//! needs, and it has no exchange for a user that does not exist.

pub(super) mod accept;
pub(super) mod prove;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::mock::SALT_LEN;

/// A SCRAM key, proof, signature or digest.
pub(super) type Key = [u8; 32];

/// How often a password is hashed: bounded on both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Iterations(u32);

impl Iterations {
    /// The default of Postgres (`scram_iterations`).
    pub const DEFAULT: Iterations = Iterations(4096);
    /// About half a second of one core; a peer that asks for more stalls us on purpose.
    pub const MAX: Iterations = Iterations(1_000_000);

    /// `None` for 0 and for more than [`Iterations::MAX`].
    #[must_use]
    pub fn new(count: u32) -> Option<Iterations> {
        (1..=Iterations::MAX.0).contains(&count).then_some(Iterations(count))
    }

    /// The count.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// Decimal digits only; `u32::from_str` alone would take a sign.
    fn parse(text: &[u8]) -> Option<Iterations> {
        let digits = std::str::from_utf8(text).ok()?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok().and_then(Iterations::new)
    }
}

/// What a server keeps instead of a password; it checks a client but cannot log in as one.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: Iterations,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    /// Makes the verifier of a password with a random salt, as `ALTER ROLE … PASSWORD` does.
    ///
    /// Costs `iterations` rounds of hashing, about 2 ms for the default.
    #[must_use]
    pub fn of_password(password: &str, iterations: Iterations) -> Verifier {
        let salt: [u8; SALT_LEN] = rand::random();
        Verifier::new(password.as_bytes(), &salt, iterations)
    }

    pub(super) fn new(password: &[u8], salt: &[u8], iterations: Iterations) -> Verifier {
        let keys = ScramKeys::of_password(password, salt, iterations);
        Verifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: digest(&keys.client_key),
            server_key: keys.server_key,
        }
    }

    /// A verifier that nothing proves, for the exchange with a user that does not exist.
    pub(super) fn unprovable(salt: &[u8], iterations: Iterations) -> Verifier {
        Verifier { iterations, salt: salt.to_vec(), stored_key: [0; 32], server_key: [0; 32] }
    }

    /// From `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
    pub(super) fn parse(text: &str) -> Option<Verifier> {
        let (head, keys) = text.strip_prefix(VERIFIER_PREFIX)?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        Some(Verifier {
            iterations: Iterations::parse(iterations.as_bytes())?,
            salt: decode_salt(salt.as_bytes())?,
            stored_key: decode_key(stored_key.as_bytes())?,
            server_key: decode_key(server_key.as_bytes())?,
        })
    }

    /// The text form, as in `pg_authid.rolpassword`. It is a secret: do not log it.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        format!(
            "{VERIFIER_PREFIX}{}:{}${}:{}",
            self.iterations.get(),
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key),
        )
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.salt
    }

    pub(super) fn iterations(&self) -> Iterations {
        self.iterations
    }

    /// Whether a password in clear is the one behind this verifier; costs a full hashing.
    pub(super) fn is_of_password(&self, password: &[u8]) -> bool {
        let keys = ScramKeys::of_password(password, &self.salt, self.iterations);
        digest(&keys.client_key).ct_eq(&self.stored_key).into()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} iterations, ***)", self.iterations.get())
    }
}

#[cfg(test)]
thread_local! {
    /// How often this thread has hashed, for tests of what time might tell.
    pub(super) static ROUNDS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// The keys that a password gives under one salt: enough to log in wherever the same verifier
/// is stored, without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    iterations: Iterations,
    salt: Vec<u8>,
    client_key: Key,
    server_key: Key,
}

impl ScramKeys {
    pub(super) fn of_password(password: &[u8], salt: &[u8], iterations: Iterations) -> ScramKeys {
        let mut salted = [0; 32];
        let rounds = iterations.get();
        #[cfg(test)]
        ROUNDS.set(ROUNDS.get() + u64::from(rounds));
        pbkdf2::pbkdf2_hmac::<Sha256>(&normalized(password), salt, rounds, &mut salted);
        ScramKeys {
            iterations,
            salt: salt.to_vec(),
            client_key: hmac(&salted, &[b"Client Key"]),
            server_key: hmac(&salted, &[b"Server Key"]),
        }
    }

    /// Whether the keys belong to this salt and count; others cannot be derived from them.
    pub(super) fn fit(&self, salt: &[u8], iterations: Iterations) -> bool {
        self.salt == salt && self.iterations == iterations
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys(***)")
    }
}

/// What an encrypted channel is bound by: the hash of the server's certificate
/// (`tls-server-end-point`, RFC 5929).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding(pub Arc<[u8]>);

/// The gs2 header of a client that binds its channel.
const BOUND_HEADER: &str = "p=tls-server-end-point,,";

/// What is wrong with a message of a peer, in words of ours alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(super) &'static str);

/// What starts the text of a verifier.
pub(super) const VERIFIER_PREFIX: &str = "SCRAM-SHA-256$";
/// Postgres makes nonces of 24 characters, so a combined one has 48; more than this is an attack.
pub(super) const NONCE_LEN_MAX: usize = 1024;
/// Postgres makes salts of 16 bytes.
pub(super) const SALT_LEN_MAX: usize = 1024;

/// 18 random bytes in base64, as Postgres makes them.
pub(super) fn random_nonce() -> String {
    STANDARD.encode(rand::random::<[u8; 18]>())
}

pub(super) fn hmac(key: &Key, parts: &[&[u8]]) -> Key {
    // A key shorter than the block of SHA-256 is padded with zeros (RFC 2104, section 2).
    let mut block = [0; 64];
    for (place, byte) in block.iter_mut().zip(key) {
        *place = *byte;
    }
    parts
        .iter()
        .fold(Hmac::<Sha256>::new(&block.into()), |code, part| code.chain_update(part))
        .finalize()
        .into_bytes()
        .into()
}

/// The AuthMessage of an exchange, signed with a key.
fn signature(key: &Key, first_bare: &[u8], server_first: &[u8], final_bare: &[u8]) -> Key {
    hmac(key, &[first_bare, b",", server_first, b",", final_bare])
}

fn digest(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

fn xor(left: &Key, right: &Key) -> Key {
    let mut both = *left;
    for (place, byte) in both.iter_mut().zip(right) {
        *place ^= byte;
    }
    both
}

fn decode_key(text: &[u8]) -> Option<Key> {
    // Checked before decoding: 32 bytes are 44 characters.
    (text.len() == 44).then(|| STANDARD.decode(text).ok()?.try_into().ok())?
}

fn decode_salt(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() || text.len() > SALT_LEN_MAX {
        return None;
    }
    STANDARD.decode(text).ok()
}

/// SASLprep, or the bytes as they are where it does not apply, like Postgres
/// (`src/common/saslprep.c`).
fn normalized(password: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(password) else {
        return Cow::Borrowed(password);
    };
    match stringprep::saslprep(text) {
        Ok(Cow::Owned(prepared)) if !prepared.is_empty() => Cow::Owned(prepared.into_bytes()),
        _ => Cow::Borrowed(password),
    }
}

/// The `name=value` attributes of a SCRAM message, separated by commas, in their order.
struct Attributes<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Attributes<'a> {
    fn of(message: &'a [u8]) -> Attributes<'a> {
        Attributes { rest: Some(message) }
    }

    /// The value of the next attribute, which must have this name.
    fn expect(&mut self, name: u8, else_wrong: &'static str) -> Result<&'a [u8], Malformed> {
        match self.next_any()? {
            Some((found, value)) if found == name => Ok(value),
            _ => Err(Malformed(else_wrong)),
        }
    }

    fn next_any(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let Some(rest) = self.rest else {
            return Ok(None);
        };
        let mut parts = rest.splitn(2, |byte| *byte == b',');
        let attribute = parts.next().unwrap_or_default();
        self.rest = parts.next();
        match attribute {
            [name, b'=', value @ ..] if name.is_ascii_alphabetic() && !value.contains(&0) => {
                Ok(Some((*name, value)))
            }
            _ => Err(Malformed("an attribute is not of the form name=value")),
        }
    }
}

/// A nonce: printable, not empty, bounded. Commas cannot be in it any more.
fn checked_nonce(nonce: &[u8]) -> Result<&[u8], Malformed> {
    if nonce.is_empty() || !nonce.iter().all(u8::is_ascii_graphic) {
        return Err(Malformed("the nonce is empty or not printable"));
    }
    if nonce.len() > NONCE_LEN_MAX {
        return Err(Malformed("the nonce is too long"));
    }
    Ok(nonce)
}
