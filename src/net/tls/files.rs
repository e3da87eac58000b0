//! Certificates and keys in files: reading them, and noticing when they change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::certificate::Certificate;
use super::verify::Authorities;

/// Where systems keep the certificates of public authorities.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// libpq's word for the authorities that the system trusts.
pub(super) const SYSTEM_WORD: &str = "system";

/// The file that is meant; `None` where the system's is, and there is none.
pub(super) fn place(path: &Path) -> Option<&Path> {
    if path == Path::new(SYSTEM_WORD) {
        return SYSTEM.iter().map(Path::new).find(|path| path.exists());
    }
    Some(path)
}

/// The authorities in a file.
pub(super) fn authorities(path: &Path, provider: &CryptoProvider) -> Result<Authorities, TlsError> {
    let path = place(path)
        .ok_or_else(|| TlsError::file(path, "has no authorities: there is none of their files"))?;
    let certificates = certificates(path)?;
    Authorities::new(certificates, provider)
        .ok_or_else(|| TlsError::file(path, "has no certificate of an authority"))
}

/// A certificate with those that it needs behind it, and its key.
pub(super) fn identity(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    let own = chain.first().ok_or_else(|| TlsError::file(certificate, NO_CERTIFICATE))?;
    let own = Certificate::read(own)
        .map_err(|_unreadable| TlsError::file(certificate, "is broken: no certificate of X.509"))?;
    let signer = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_none| TlsError::file(key, "has no private key in PEM, or one with a password"))
        .and_then(|der| {
            let loaded = provider.key_provider.load_private_key(der);
            loaded.map_err(|_unusable| TlsError::file(key, BROKEN_KEY))
        })?;
    if let (Some(of_key), Ok(of_certificate)) = (signer.public_key(), own.public_key())
        && of_key != of_certificate
    {
        let what = format!("is not the key of {}", certificate.display());
        return Err(TlsError::file(key, what));
    }
    Ok(CertifiedKey::new(chain, signer))
}

const NO_CERTIFICATE: &str = "has no certificate in PEM";
const BROKEN_KEY: &str = "is broken: neither a key for RSA, nor for ECDSA, nor for Ed25519";

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| TlsError::file(path, format!("is broken: {error}")))?;
    if found.is_empty() { Err(TlsError::file(path, NO_CERTIFICATE)) } else { Ok(found) }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::file(path, format!("can't be read: {error}")))
}

/// What is made of files when it is first asked for, and anew when they change.
#[derive(Debug)]
pub(super) struct Watched<T> {
    files: Vec<PathBuf>,
    value: RwLock<Option<Arc<T>>>,
    /// What the files were when they were looked at last.
    seen: Mutex<Vec<Option<Stamp>>>,
}

/// What differs when a file has been changed or replaced.
type Stamp = (u64, u64, i64, i64, u64);

impl<T> Watched<T> {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self { files, value: RwLock::default(), seen: Mutex::default() }
    }

    pub(super) fn get(
        &self,
        make: impl FnOnce() -> Result<T, TlsError>,
    ) -> Result<Arc<T>, TlsError> {
        if let Some(value) = &*self.value.read() {
            return Ok(Arc::clone(value));
        }
        // Looked at before they are read: what changes meanwhile is seen the next time.
        let seen = stamps(&self.files);
        let value = Arc::new(make()?);
        *self.seen.lock() = seen;
        *self.value.write() = Some(Arc::clone(&value));
        Ok(value)
    }

    /// Makes the value anew if a file is not what it was; `None` when all are, or there is no value
    /// yet. What can't be made leaves the value as it was.
    pub(super) fn refresh(
        &self,
        make: impl FnOnce() -> Result<T, TlsError>,
    ) -> Option<Result<(), TlsError>> {
        let now = stamps(&self.files);
        if self.value.read().is_none() || *self.seen.lock() == now {
            return None;
        }
        let made = make();
        *self.seen.lock() = now;
        Some(made.map(|value| *self.value.write() = Some(Arc::new(value))))
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size()))
    };
    files.iter().map(stamp).collect()
}
