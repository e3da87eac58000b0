//! Secrets as they are kept: to check a client with, and to log in to a server with.
//!
//! Invariants: a secret is bounded, not empty and without NUL; it prints as `***`; hashing that
//! costs milliseconds is done once per secret, by the first login that needs it.

use std::fmt;
use std::sync::OnceLock;

use parking_lot::Mutex;
use subtle::ConstantTimeEq;

use super::md5::Md5Hash;
use super::mock::{Md5Mock, Mock};
use super::scram::{Iterations, ScramKeys, VERIFIER_PREFIX, Verifier};

/// A secret of a user list or of `pg_authid`: plain, md5 hash or SCRAM verifier.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSecret(pub(super) Stored);

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Stored {
    /// The password itself.
    Plain(String),
    /// `md5` and the hash over password and name.
    Md5(Md5Hash),
    /// `SCRAM-SHA-256$…`.
    Scram(Verifier),
}

impl StoredSecret {
    /// Tells the forms apart as Postgres does: what is not exactly `md5` and 32 hex digits is a
    /// plain password. What begins like a verifier and is none is an error, not a password.
    ///
    /// # Errors
    /// [`SecretError`] says what is wrong, without the secret.
    pub fn parse(text: &str) -> Result<StoredSecret, SecretError> {
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if text.len() > SECRET_LEN_MAX {
            return Err(SecretError::TooLong);
        }
        if text.contains('\0') {
            return Err(SecretError::Nul);
        }
        if text.starts_with(VERIFIER_PREFIX) {
            return Verifier::parse(text)
                .map(|verifier| StoredSecret(Stored::Scram(verifier)))
                .ok_or(SecretError::Verifier);
        }
        Ok(StoredSecret(match Md5Hash::parse(text) {
            Some(hash) => Stored::Md5(hash),
            None => Stored::Plain(text.to_owned()),
        }))
    }

    /// The name of the form, for logs: `plain`, `md5` or `scram-sha-256`.
    #[must_use]
    pub fn form(&self) -> &'static str {
        match self.0 {
            Stored::Plain(_) => "plain",
            Stored::Md5(_) => "md5",
            Stored::Scram(_) => "scram-sha-256",
        }
    }

    /// What its user is asked for under [`Method::Md5`](super::Method::Md5).
    #[must_use]
    pub fn under_md5(&self) -> Md5Mock {
        match self.0 {
            Stored::Scram(_) => Md5Mock::Scram,
            Stored::Plain(_) | Stored::Md5(_) => Md5Mock::Md5,
        }
    }

    /// The same secret to log in to a server with; `None` for a verifier, which proves nothing.
    #[must_use]
    pub fn to_server_secret(&self) -> Option<ServerSecret> {
        match &self.0 {
            Stored::Plain(password) => {
                Some(ServerSecret::new(Known::Password(password.clone().into_bytes())))
            }
            Stored::Md5(hash) => Some(ServerSecret::new(Known::Md5(hash.clone()))),
            Stored::Scram(_) => None,
        }
    }
}

impl fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredSecret({}, ***)", self.form())
    }
}

/// Why a text is no secret. The text is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nobody logs in with an empty password, as in Postgres.
    #[error("the secret is empty")]
    Empty,
    /// Longer than a password message may be.
    #[error("the secret is longer than {SECRET_LEN_MAX} bytes")]
    TooLong,
    /// The protocol ends strings with NUL.
    #[error("the secret contains a NUL byte")]
    Nul,
    /// Begins with `SCRAM-SHA-256$` and does not go on as a verifier, or asks for more than
    /// [`Iterations::MAX`].
    #[error(
        "the secret begins like a SCRAM verifier but is not \
         SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>"
    )]
    Verifier,
    /// A SCRAM verifier was given where a login to a server needs a secret.
    #[error("a SCRAM verifier checks clients but cannot log in to a server")]
    ProvesNothing,
}

/// The secret of one known user, shared by all of his logins.
pub struct UserSecret {
    user: String,
    stored: StoredSecret,
    /// For a secret that is no verifier: salt and count of the one made from it.
    salt: [u8; super::mock::SALT_LEN],
    iterations: Iterations,
    made: OnceLock<Verifier>,
}

impl UserSecret {
    /// Salts come from the mock, so that a user has the salt he would have if he were unknown.
    #[must_use]
    pub fn new(user: &str, stored: StoredSecret, mock: &Mock) -> UserSecret {
        UserSecret {
            user: user.to_owned(),
            stored,
            salt: mock.salt_of(user),
            iterations: mock.iterations(),
            made: OnceLock::new(),
        }
    }

    /// Whether [`UserSecret::new`] would give the same for this user.
    #[must_use]
    pub fn is_made_of(&self, stored: &StoredSecret, mock: &Mock) -> bool {
        let Self { user, stored: own, salt, iterations, made: _ } = self;
        own == stored && *salt == mock.salt_of(user) && *iterations == mock.iterations()
    }

    /// The name of the user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The secret as it is stored.
    #[must_use]
    pub fn stored(&self) -> &StoredSecret {
        &self.stored
    }

    /// Salt and count of a SCRAM challenge, without hashing; `None` for an md5 secret.
    pub(super) fn challenge(&self) -> Option<(&[u8], Iterations)> {
        match &self.stored.0 {
            Stored::Plain(_) => Some((&self.salt, self.iterations)),
            Stored::Scram(verifier) => Some((verifier.salt(), verifier.iterations())),
            Stored::Md5(_) => None,
        }
    }

    /// The verifier that is stored, or the one of the plain secret, which the first caller makes
    /// (about 2 ms; others that come meanwhile wait for it). `None` for an md5 secret.
    pub(super) fn verifier(&self) -> Option<&Verifier> {
        match &self.stored.0 {
            Stored::Plain(password) => {
                Some(self.made.get_or_init(|| {
                    Verifier::new(password.as_bytes(), &self.salt, self.iterations)
                }))
            }
            Stored::Scram(verifier) => Some(verifier),
            Stored::Md5(_) => None,
        }
    }

    /// Whether the next look at the verifier makes it, which takes milliseconds.
    pub(super) fn makes_verifier(&self) -> bool {
        matches!(self.stored.0, Stored::Plain(_)) && self.made.get().is_none()
    }

    /// What answers an md5 challenge; `None` for a verifier.
    pub(super) fn md5(&self) -> Option<Md5Hash> {
        match &self.stored.0 {
            Stored::Plain(password) => Some(Md5Hash::of(&self.user, password.as_bytes())),
            Stored::Md5(hash) => Some(hash.clone()),
            Stored::Scram(_) => None,
        }
    }

    /// Whether a password in clear is this user's; costs a full hashing for a verifier.
    pub(super) fn is_of_password(&self, password: &[u8]) -> bool {
        match &self.stored.0 {
            Stored::Plain(stored) => stored.as_bytes().ct_eq(password).into(),
            Stored::Md5(hash) => hash.is_hash_of(&self.user, password),
            Stored::Scram(verifier) => verifier.is_of_password(password),
        }
    }
}

impl fmt::Debug for UserSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSecret")
            .field("user", &self.user)
            .field("stored", &self.stored)
            .finish_non_exhaustive()
    }
}

/// What one user logs in to servers with, shared by all connections that do.
pub struct ServerSecret {
    pub(super) known: Known,
    /// Keys made from the password, by the salts that servers asked for: a reconnect storm pays
    /// once. Held while hashing, so that those who wait for the same keys do not hash as well.
    made: Mutex<Vec<ScramKeys>>,
}

pub(super) enum Known {
    /// Answers every challenge.
    Password(Vec<u8>),
    /// Answers md5 challenges.
    Md5(Md5Hash),
    /// Answers SCRAM challenges with their salt.
    Keys(ScramKeys),
}

impl ServerSecret {
    /// A plain password or an md5 hash, in the forms of [`StoredSecret::parse`].
    ///
    /// # Errors
    /// As there, and [`SecretError::ProvesNothing`] for a SCRAM verifier.
    pub fn parse(text: &str) -> Result<ServerSecret, SecretError> {
        StoredSecret::parse(text)?.to_server_secret().ok_or(SecretError::ProvesNothing)
    }

    /// The keys that a client's own SCRAM login has shown (pass-through).
    #[must_use]
    pub fn from_keys(keys: ScramKeys) -> ServerSecret {
        ServerSecret::new(Known::Keys(keys))
    }

    pub(super) fn new(known: Known) -> ServerSecret {
        ServerSecret { known, made: Mutex::new(Vec::new()) }
    }

    /// Whether another secret is the same one; keys made from it are not looked at.
    #[must_use]
    pub fn is_same(&self, other: &ServerSecret) -> bool {
        match (&self.known, &other.known) {
            (Known::Password(own), Known::Password(other)) => own.ct_eq(other).into(),
            (Known::Md5(own), Known::Md5(other)) => own == other,
            (Known::Keys(own), Known::Keys(other)) => own == other,
            _ => false,
        }
    }

    /// The name of the form, for errors and logs.
    #[must_use]
    pub fn form(&self) -> &'static str {
        match self.known {
            Known::Password(_) => "a password",
            Known::Md5(_) => "an md5 hash",
            Known::Keys(_) => "SCRAM keys",
        }
    }

    /// The keys for a challenge; `None` if they cannot be had from what is known.
    pub(super) fn keys(&self, salt: &[u8], iterations: Iterations) -> Option<ScramKeys> {
        match &self.known {
            Known::Md5(_) => None,
            Known::Keys(keys) => keys.fit(salt, iterations).then(|| keys.clone()),
            Known::Password(password) => {
                let mut made = self.made.lock();
                if let Some(keys) = made.iter().find(|keys| keys.fit(salt, iterations)) {
                    return Some(keys.clone());
                }
                let keys = ScramKeys::of_password(password, salt, iterations);
                // The oldest goes; a server that invents salts only costs itself.
                if made.len() >= KEYS_KEPT_MAX {
                    made.remove(0);
                }
                made.push(keys.clone());
                Some(keys)
            }
        }
    }

    /// How many keys are kept, for tests of the cache.
    #[cfg(test)]
    pub(super) fn keys_kept(&self) -> usize {
        self.made.lock().len()
    }
}

impl fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerSecret({}, ***)", self.form())
    }
}

/// A password message may be 64 KiB; the longest secret fits in one with its NUL.
const SECRET_LEN_MAX: usize = 64 * 1024 - 8;
/// Hosts of one database usually share one salt (replicas do); old ones linger after a change.
const KEYS_KEPT_MAX: usize = 8;
