//! Authorities and what they sign, made anew for each test.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// An authority whose certificate lies in a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// How long a certificate is good for.
#[derive(Clone, Copy)]
pub enum Good {
    Now,
    InThePast,
    InTheFuture,
    /// For so many days from now on.
    Days(u64),
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these hosts, whose common name is `name`.
    pub fn sign(&self, name: &str, hosts: &[&str], good: Good) -> Identity {
        let (params, key) = params(name, hosts, good);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }
}

/// A certificate that nobody else has signed.
pub fn self_signed(name: &str, hosts: &[&str]) -> Identity {
    let (params, key) = params(name, hosts, Good::Now);
    let certificate = params.self_signed(&key).unwrap().pem();
    Identity { certificate, key: key.serialize_pem() }
}

fn params(name: &str, hosts: &[&str], good: Good) -> (CertificateParams, KeyPair) {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let years = match good {
        Good::Now => None,
        Good::Days(days) => {
            let now = SystemTime::now();
            Some((now.into(), (now + Duration::from_secs(days * 86_400)).into()))
        }
        Good::InThePast => Some((date_time_ymd(2001, 1, 1), date_time_ymd(2002, 2, 2))),
        Good::InTheFuture => Some((date_time_ymd(2101, 1, 1), date_time_ymd(2102, 2, 2))),
    };
    if let Some((from, to)) = years {
        (params.not_before, params.not_after) = (from, to);
    }
    (params, KeyPair::generate().unwrap())
}

impl Identity {
    /// Writes both to files in `folder`: `NAME.crt` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let certificate = put(folder, &format!("{name}.crt"), &self.certificate);
        (certificate, put(folder, &format!("{name}.key"), &self.key))
    }
}

/// What the first certificate in a PEM text is on the wire.
pub fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// Puts a file in place at once, as whoever renews certificates should. Only its owner may read it.
pub fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let (path, fresh) = (folder.join(name), folder.join(format!("{name}.new")));
    std::fs::write(&fresh, text).unwrap();
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).unwrap();
    let owner = std::fs::metadata(folder).unwrap();
    chown(&fresh, Some(owner.uid()), Some(owner.gid())).unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    path
}
