//! The client's side of SCRAM-SHA-256, and the verifier that poolers are given.
//!
//! The salted password is computed once per salt: the load generator must not be what costs in
//! the case that measures logins.

use std::collections::HashMap;

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

type Key = [u8; 32];

/// Iterations of the verifier; Postgres's default.
const ITERATIONS: u32 = 4096;

/// The salt of the verifier; sixteen bytes as Postgres has.
const SALT: &[u8] = b"compare-to-floor";

/// The line that Postgres would keep in `pg_authid` for this password.
pub(crate) fn verifier(password: &str) -> anyhow::Result<String> {
    let salted = salted(password, SALT, ITERATIONS)?;
    let stored = Sha256::digest(mac(&salted, b"Client Key")?);
    let server = mac(&salted, b"Server Key")?;
    Ok(format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        BASE64.encode(SALT),
        BASE64.encode(stored),
        BASE64.encode(server)
    ))
}

/// Salted passwords by salt and iterations.
#[derive(Debug, Default)]
pub(crate) struct Salted {
    known: HashMap<(String, u32), Key>,
}

/// The client's first message; the nonce need not be unpredictable here.
pub(crate) fn client_first(nonce: &str) -> String {
    format!("n,,n=,r={nonce}")
}

impl Salted {
    /// The client's final message to `server_first`.
    pub(crate) fn client_final(
        &mut self,
        password: &str,
        nonce: &str,
        server_first: &str,
    ) -> anyhow::Result<String> {
        let attribute = |name: &str| {
            server_first
                .split(',')
                .find_map(|part| part.strip_prefix(name))
                .with_context(|| format!("no {name} in the server's first message"))
        };
        let combined = attribute("r=")?;
        if !combined.starts_with(nonce) {
            bail!("the server's nonce does not begin with ours");
        }
        let iterations: u32 = attribute("i=")?.parse().context("iterations")?;
        let key = (attribute("s=")?.to_owned(), iterations);
        let salted = match self.known.get(&key) {
            Some(salted) => *salted,
            None => {
                let fresh = salted(password, &BASE64.decode(&key.0)?, iterations)?;
                self.known.insert(key, fresh);
                fresh
            }
        };
        let without_proof = format!("c=biws,r={combined}");
        let signed = format!("n=,r={nonce},{server_first},{without_proof}");
        let client = mac(&salted, b"Client Key")?;
        let signature = mac(&Sha256::digest(client), signed.as_bytes())?;
        let proof: Vec<u8> = client.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        Ok(format!("{without_proof},p={}", BASE64.encode(&proof)))
    }
}

fn mac(key: &[u8], data: &[u8]) -> anyhow::Result<Key> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).context("a key for HMAC")?;
    mac.update(data);
    Ok(mac.finalize().into_bytes().into())
}

fn salted(password: &str, salt: &[u8], iterations: u32) -> anyhow::Result<Key> {
    let mut out = [0; 32];
    pbkdf2::pbkdf2::<Hmac<Sha256>>(password.as_bytes(), salt, iterations, &mut out)
        .context("PBKDF2")?;
    Ok(out)
}
