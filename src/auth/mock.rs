//! What an unknown user is answered with, so that he cannot be told from a known one.
//!
//! Postgres does the same ("mock authentication", `src/backend/libpq/auth-scram.c`). Salts are a
//! function of the user's name and of a key that lives as long as the process, so that asking
//! twice gives the same salt. Secrets that are kept as plain text take their salts here as well:
//! creating such a user does not change what an outsider sees.

use std::fmt;

use super::scram::{Iterations, hmac};

/// The key of mock exchanges; one per process, shared by all logins.
#[derive(Clone)]
pub struct Mock {
    key: [u8; 32],
    iterations: Iterations,
    md5: Md5Mock,
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

impl Mock {
    /// A mock with a fresh random key.
    #[must_use]
    pub fn random() -> Mock {
        Mock::from_key(rand::random())
    }

    /// A mock with a key that the caller keeps, for processes that serve one address together.
    #[must_use]
    pub fn from_key(key: [u8; 32]) -> Mock {
        Mock { key, iterations: Iterations::DEFAULT, md5: Md5Mock::Md5 }
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
            .finish()
    }
}

/// Bytes of the salts that Postgres makes (`SCRAM_DEFAULT_SALT_LEN`).
pub(super) const SALT_LEN: usize = 16;
