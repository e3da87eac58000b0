//! What is read out of an X.509 certificate beside what rustls reads: names, dates, and what a
//! channel is bound by. Names match as libpq matches them.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, Error};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
use x509_cert::time::Time;
use x509_cert::{Certificate as X509, Version};

/// A certificate that could be read. Nothing of it is verified by that.
#[derive(Debug)]
pub struct Certificate(X509);

/// Whose certificate it is that a client has shown and proven to hold the key of. Its chain was
/// verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The common name (CN), if it has one.
    pub common_name: Option<String>,
}

/// The time that a certificate is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first moment.
    pub from: Moment,
    /// Its last moment.
    pub to: Moment,
}

/// A moment that a certificate names. `2027-01-31T12:00:00Z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When it is.
    pub at: SystemTime,
    text: String,
}

impl From<Time> for Moment {
    fn from(time: Time) -> Self {
        Self { at: time.to_system_time(), text: time.to_string() }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Certificate {
    /// Reads one in DER; `None` when it is none.
    pub fn parse(der: &[u8]) -> Option<Self> {
        Self::read(der).ok()
    }

    /// Whether it is the certificate of this host, a name or an address.
    pub fn is_for(&self, host: &str) -> bool {
        ServerName::try_from(host).is_ok_and(|host| self.check_host(&host).is_ok())
    }

    /// The hosts that it is for: its alternative names, else its common name.
    pub fn hosts(&self) -> Vec<String> {
        let alternatives = self.alternatives();
        match alternatives.is_empty() {
            true => self.common_name().into_iter().collect(),
            false => alternatives.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn read(der: &[u8]) -> Result<Self, Error> {
        let read = X509::from_der(der);
        read.map(Self).map_err(|_unreadable| CertificateError::BadEncoding.into())
    }

    pub(super) fn is_v1(&self) -> bool {
        self.0.tbs_certificate.version == Version::V1
    }

    /// The time that it is good for.
    pub fn validity(&self) -> Validity {
        let validity = &self.0.tbs_certificate.validity;
        Validity { from: validity.not_before.into(), to: validity.not_after.into() }
    }

    pub(super) fn check_dates(&self, now: UnixTime) -> Result<(), Error> {
        let validity = &self.0.tbs_certificate.validity;
        let seconds = |time: Time| {
            UnixTime::since_unix_epoch(Duration::from_secs(time.to_unix_duration().as_secs()))
        };
        let (not_before, not_after) = (seconds(validity.not_before), seconds(validity.not_after));
        if now < not_before {
            return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
        }
        if now > not_after {
            return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
        }
        Ok(())
    }

    /// The public key with its algorithm.
    pub(super) fn public_key(&self) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
        let der = self.0.tbs_certificate.subject_public_key_info.to_der();
        der.map(Into::into).map_err(|_unwritable| CertificateError::BadEncoding.into())
    }

    /// Whether this is the signature of `issuer`, an authority whose time has not passed.
    pub(super) fn is_signed_by(
        &self,
        issuer: &Self,
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> bool {
        let (own, theirs) = (&self.0, &issuer.0.tbs_certificate);
        let constraints = theirs.get::<BasicConstraints>().ok().flatten();
        let is_authority = issuer.is_v1() || constraints.is_some_and(|(_, basic)| basic.ca);
        if own.tbs_certificate.issuer != theirs.subject
            || !is_authority
            || issuer.check_dates(now).is_err()
        {
            return false;
        }
        let key = &theirs.subject_public_key_info;
        let (Ok(signed_by), Ok(key_of), Ok(message)) = (
            own.signature_algorithm.to_der(),
            key.algorithm.to_der(),
            own.tbs_certificate.to_der(),
        ) else {
            return false;
        };
        algorithms.all.iter().any(|algorithm| {
            algorithm.signature_alg_id().as_ref() == inside(&signed_by)
                && algorithm.public_key_alg_id().as_ref() == inside(&key_of)
                && algorithm
                    .verify_signature(
                        key.subject_public_key.raw_bytes(),
                        &message,
                        own.signature.raw_bytes(),
                    )
                    .is_ok()
        })
    }

    /// Whether it is the certificate of this host: by its alternative names, and by its common
    /// name where it has none of the host's kind.
    ///
    /// # Errors
    /// The names that it has instead.
    pub(super) fn check_host(&self, host: &ServerName<'_>) -> Result<(), Error> {
        let alternatives = self.alternatives();
        let address = match host {
            ServerName::IpAddress(address) => Some(IpAddr::from(*address)),
            _ => None,
        };
        let wanted = host.to_str();
        // An address may also stand as text among the names.
        let is_wanted = |name: &str| match address {
            Some(address) => name.parse() == Ok(address),
            None => is_host(name, &wanted),
        };
        let of_its_kind =
            |name: &Alternative| matches!(name, Alternative::Ip(_)) == address.is_some();
        let matches = alternatives.iter().any(|name| match name {
            Alternative::Dns(name) => is_wanted(name),
            Alternative::Ip(own) => address == Some(*own),
        });
        let common = || {
            let falls_back = !alternatives.iter().any(of_its_kind);
            falls_back && self.common_name().is_some_and(|name| is_wanted(&name))
        };
        if matches || common() {
            return Ok(());
        }
        let (expected, presented) = (host.to_owned(), self.hosts());
        Err(CertificateError::NotValidForNameContext { expected, presented }.into())
    }

    /// Whose it is.
    pub(super) fn subject(&self) -> ClientCertificate {
        ClientCertificate { common_name: self.common_name() }
    }

    /// The first common name that is text and hides no zero byte.
    pub fn common_name(&self) -> Option<String> {
        const COMMON_NAME: &str = "2.5.4.3";
        let parts = self.0.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
        let value = parts.into_iter().find(|part| part.oid.to_string() == COMMON_NAME);
        let value = &value?.value;
        let is_text = matches!(
            value.tag(),
            Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString
        );
        let text = std::str::from_utf8(value.value()).ok()?;
        (is_text && !text.contains('\0')).then(|| text.to_owned())
    }

    fn alternatives(&self) -> Vec<Alternative> {
        let found = self.0.tbs_certificate.get::<SubjectAltName>().ok().flatten();
        let Some((_, SubjectAltName(names))) = found else {
            return Vec::new();
        };
        let read = names.into_iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(Alternative::Dns(name.to_string())),
            GeneralName::IpAddress(address) => {
                let bytes = address.as_bytes();
                let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
                let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
                v4().or_else(v6).map(Alternative::Ip)
            }
            _ => None,
        });
        read.collect()
    }
}

/// A name of the host whose certificate it is.
#[derive(Debug, PartialEq, Eq)]
enum Alternative {
    Dns(String),
    Ip(IpAddr),
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => name.fmt(f),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// What `tls-server-end-point` (RFC 5929) binds a channel by: the hash of the server's
/// certificate, of the kind that it is signed with, and no weaker than SHA-256. `None` where there
/// is no such kind.
pub fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let read = X509::from_der(certificate).ok()?;
    let algorithm = read.signature_algorithm;
    let parameters = algorithm.parameters.as_ref().map_or(&[][..], |any| any.value());
    Some(match algorithm.oid.to_string().as_str() {
        // md5, sha1, sha256 with RSA; sha1, sha256 with ECDSA.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Sha256::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(certificate).to_vec(),
        // RSASSA-PSS names its hash in the parameters: SHA-1 where it names none.
        "1.2.840.113549.1.1.10" => match [SHA_512, SHA_384].map(|oid| contains(parameters, oid)) {
            [true, _] => Sha512::digest(certificate).to_vec(),
            [_, true] => Sha384::digest(certificate).to_vec(),
            _ => Sha256::digest(certificate).to_vec(),
        },
        _ => return None,
    })
}

/// The object identifiers, as DER has them.
const SHA_384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA_512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What an encoded value holds.
fn inside(der: &[u8]) -> &[u8] {
    AnyRef::from_der(der).map_or(&[], |any| any.value())
}

/// Whether a name in a certificate is this host's. A `*` stands for one whole label, the first.
pub fn is_host(name: &str, host: &str) -> bool {
    let (name, host) = (name.trim_end_matches('.'), host.trim_end_matches('.'));
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(rest), Some((label, domain))) = (name.strip_prefix("*."), host.split_once('.'))
    else {
        return false;
    };
    !label.is_empty() && rest.contains('.') && rest.eq_ignore_ascii_case(domain)
}

#[cfg(test)]
mod tests {
    use rcgen::string::BmpString;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn certificate(common_names: &[DnValue], alternatives: &[&str]) -> Certificate {
        let names: Vec<_> = alternatives.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, name.clone());
        }
        let key = KeyPair::generate().unwrap();
        Certificate::parse(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn hosts_match_as_libpq_matches_them() {
        for (common_name, alternatives, host, expected) in [
            ("db.example", &[][..], "db.example", true),
            ("db.example", &[], "other.example", false),
            ("*.example.com", &[], "db.example.com", true),
            // The common name counts where there is no name of the host's kind.
            ("db.example", &["other.example"], "db.example", false),
            ("db.example", &["other.example"], "other.example", true),
            ("db.example", &["10.0.0.7"], "db.example", true),
            ("10.0.0.7", &[], "10.0.0.7", true),
            ("10.0.0.7", &["db.example"], "10.0.0.7", true),
            ("10.0.0.7", &["10.0.0.8"], "10.0.0.7", false),
            ("x", &["10.0.0.7", "::1"], "10.0.0.7", true),
            ("x", &["10.0.0.7", "::1"], "::1", true),
            ("x", &["10.0.0.7"], "10.0.0.8", false),
            // A star stands for no part of an address.
            ("*.0.0.7", &[], "10.0.0.7", false),
        ] {
            let certificate = certificate(&[common_name.into()], alternatives);
            assert_eq!(
                certificate.is_for(host),
                expected,
                "{common_name} {alternatives:?}: {host}"
            );
        }
        assert!(!certificate(&["a b".into()], &[]).is_for("a b"), "no host");
        // An address that stands among the names.
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names.push(SanType::DnsName("10.0.0.7".try_into().unwrap()));
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certificate = Certificate::parse(signed.der()).unwrap();
        assert!(certificate.is_for("10.0.0.7") && !certificate.is_for("10.0.0.8"));
    }

    #[test]
    fn common_name_is_the_first_one_and_hides_nothing() {
        let text = |text: &str| DnValue::Utf8String(text.to_owned());
        let wide = BmpString::try_from("app").unwrap();
        for (names, expected) in [
            (vec![], None),
            (vec![text("app")], Some("app")),
            (vec![DnValue::PrintableString("app".try_into().unwrap())], Some("app")),
            (vec![text("app\0.evil")], None),
            (vec![DnValue::BmpString(wide)], None),
        ] {
            let certificate = certificate(&names, &[]);
            assert_eq!(certificate.subject().common_name.as_deref(), expected, "{names:?}");
        }
    }

    #[test]
    fn star_is_one_label() {
        for (name, host, expected) in [
            ("db.example", "db.example", true),
            ("DB.example", "db.Example", true),
            ("db.example", "db.example.", true),
            ("*.db.example", "a.db.example", true),
            ("*.db.example", "db.example", false),
            ("*.db.example", "a.b.db.example", false),
            ("*.example", "db.example", false),
            ("*", "localhost", false),
            ("a*.db.example", "ab.db.example", false),
            ("db.example", "db.example.evil", false),
        ] {
            assert_eq!(is_host(name, host), expected, "{name} {host}");
        }
    }
}
