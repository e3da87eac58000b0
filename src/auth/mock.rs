//! What an unknown user is answered with, so that he cannot be told from a known one.
//!
//! Postgres does the same ("mock authentication", `src/backend/libpq/auth-scram.c`). Salts are a
//! function of the user's name and of a key that lives as long as the process, so that asking
//! twice gives the same salt. Secrets that are kept as plain text take their salts here as well:
//! creating such a user does not change what an outsider sees.

use std::collections::HashMap;
use std::fmt;

use super::scram::{Iterations, Verifier, hmac};
use super::secret::{Stored, StoredSecret};

/// The key of mock exchanges; one per process, shared by all logins.
#[derive(Clone)]
pub struct Mock {
    key: [u8; 32],
    iterations: Iterations,
    md5: Md5Mock,
    clear: ClearMock,
}

/// What an unknown user is asked for under [`Method::Md5`](super::Method::Md5): whatever most
/// known users are asked for, which depends on the form of their secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Md5Mock {
    /// Known users have plain or md5 secrets.
    Md5,
    /// Known users have SCRAM verifiers.
    Scram,
}

/// What it costs to check a password in clear ([`Method::Plain`](super::Method::Plain)), whoever it
/// is of: as much as it costs for those users for whom it costs most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClearMock {
    /// No known user has a SCRAM verifier.
    Nothing,
    /// Some have, or may have.
    Hashing,
}

/// Whether there are users beside those who are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// There are none.
    None,
    /// They are looked up, with secrets of any form.
    LookedUp,
}

impl Mock {
    /// A mock with a fresh random key.
    #[must_use]
    pub fn random() -> Mock {
        Mock::from_key(rand::random())
    }

    /// A mock with a key that the caller keeps, for processes that serve one address together.
    #[must_use]
    pub fn from_key(key: [u8; 32]) -> Mock {
        let (md5, clear) = (Md5Mock::Md5, ClearMock::Nothing);
        Mock { key, iterations: Iterations::DEFAULT, md5, clear }
    }

    /// Sets the iterations of mock exchanges and of verifiers made from plain secrets.
    #[must_use]
    pub fn with_iterations(self, iterations: Iterations) -> Mock {
        Mock { iterations, ..self }
    }

    /// Sets what an unknown user is asked for under the md5 method.
    #[must_use]
    pub fn with_md5(self, md5: Md5Mock) -> Mock {
        Mock { md5, ..self }
    }

    /// The mock that stands beside users with these secrets, and those who are looked up.
    #[must_use]
    pub fn beside<'s>(
        self,
        secrets: impl IntoIterator<Item = &'s StoredSecret>,
        others: Others,
    ) -> Mock {
        let (mut all, mut counts) = (0, HashMap::new());
        for secret in secrets {
            all += 1;
            if let Stored::Scram(verifier) = &secret.0 {
                *counts.entry(verifier.iterations()).or_insert(0) += 1;
            }
        }
        let verifiers: usize = counts.values().sum();
        let most = counts.into_iter().max_by_key(|(iterations, count)| (*count, iterations.get()));
        let iterations = most.map_or(Iterations::DEFAULT, |(iterations, _)| iterations);
        let some = verifiers > 0 || others == Others::LookedUp;
        let clear = if some { ClearMock::Hashing } else { ClearMock::Nothing };
        let md5 = if verifiers * 2 > all { Md5Mock::Scram } else { Md5Mock::Md5 };
        self.with_iterations(iterations).with_clear(clear).with_md5(md5)
    }

    /// Sets what it costs to check a password in clear.
    #[must_use]
    pub fn with_clear(self, clear: ClearMock) -> Mock {
        Mock { clear, ..self }
    }

    /// What a password in clear is hashed against where there is no verifier, if it is.
    pub(super) fn decoy(&self, user: &str) -> Option<Verifier> {
        let decoy = || Verifier::unprovable(&self.salt_of(user), self.iterations);
        (self.clear == ClearMock::Hashing).then(decoy)
    }

    pub(super) fn iterations(&self) -> Iterations {
        self.iterations
    }

    pub(super) fn md5(&self) -> Md5Mock {
        self.md5
    }

    /// The salt of a user, known or not: as long as those that Postgres makes.
    pub(super) fn salt_of(&self, user: &str) -> [u8; SALT_LEN] {
        let code = hmac(&self.key, &[b"salt of ", user.as_bytes()]);
        let mut salt = [0; SALT_LEN];
        for (place, byte) in salt.iter_mut().zip(code) {
            *place = byte;
        }
        salt
    }
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mock")
            .field("key", &"***")
            .field("iterations", &self.iterations)
            .field("md5", &self.md5)
            .field("clear", &self.clear)
            .finish()
    }
}

/// Bytes of the salts that Postgres makes (`SCRAM_DEFAULT_SALT_LEN`).
pub(super) const SALT_LEN: usize = 16;
