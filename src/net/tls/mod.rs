//! TLS on both sides, and the only user of rustls.
//!
//! ring is the one provider, named wherever one is needed. Nothing is resumed: each connection
//! proves itself anew, so that a certificate that is trusted no more is so at once.
//! Must not know: the packets that ask for TLS.

mod certificate;
mod clients;
mod files;
mod servers;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod turn;
mod verify;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{
    AlertDescription, CertificateError, CommonState, Error, PeerIncompatible,
    SupportedProtocolVersion, version,
};
use thiserror::Error as ThisError;

pub use self::certificate::{Certificate, ClientCertificate, Moment, Validity, end_point, is_host};
pub use self::clients::{Accepted, ClientTls, Start};
pub use self::servers::{Connected, ServerTls, ServerTlsPlan};
use self::stream::Failed;
pub(super) use self::stream::TlsStream;
use crate::config::{SslNegotiation, TLS_SUITES, TlsVersions};

/// Why there is no TLS. In a line, for the log and for who configures it.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum TlsError {
    /// A file is not what it should be.
    #[error("{} {what}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The two sides did not agree, or do not trust each other.
    #[error("{0}")]
    Handshake(String),
    /// The server's certificate is another host's.
    #[error("certificate verify failed: certificate is for {presented}, not for {expected}")]
    OtherHost {
        /// Whose it is.
        presented: String,
        /// Whose it should be.
        expected: String,
    },
    /// There is no version that both sides speak.
    #[error("no version of TLS in common: {}", spoken(*.0))]
    NoVersion(TlsVersions),
    /// The connection was lost.
    #[error("{0}")]
    Lost(String),
    /// The server ended the connection when we had begun, without a word. Postgres before 17 does
    /// so when TLS starts at once, and OpenSSL where its settings leave it nothing to answer with.
    #[error("the server broke off without an answer ({cause}): {}", doubt(*.negotiation, *.versions))]
    Unanswered {
        /// How the connection ended.
        cause: String,
        /// How we have begun.
        negotiation: SslNegotiation,
        /// What we speak.
        versions: TlsVersions,
    },
    /// The peer started TLS at once without saying that it is for Postgres.
    #[error("direct TLS without the protocol (ALPN) \"postgresql\"")]
    NoProtocol,
    /// A host that no certificate can be for.
    #[error("\"{0}\" is neither a host name nor an address")]
    NoHost(String),
    /// TLS is for TCP.
    #[error("TLS is for TCP alone")]
    NotTcp,
}

impl TlsError {
    fn file(path: &Path, what: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), what: what.into() }
    }

    fn handshake(error: &Error) -> Self {
        let Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected,
            presented,
        }) = error
        else {
            return Self::Handshake(explain(error));
        };
        let presented =
            if presented.is_empty() { "no host".to_owned() } else { presented.join(", ") };
        Self::OtherHost { presented, expected: expected.to_str().into_owned() }
    }

    /// What clients are told, who have no business with hosts and files.
    pub fn told(&self) -> String {
        match self {
            Self::File { .. } => "a file of ours is not what it should be".to_owned(),
            Self::OtherHost { .. } => {
                "certificate verify failed: certificate is for another host".to_owned()
            }
            Self::NoHost(_) => "the host is neither a name nor an address".to_owned(),
            Self::Handshake(_)
            | Self::NoVersion(_)
            | Self::Lost(_)
            | Self::Unanswered { .. }
            | Self::NoProtocol
            | Self::NotTcp => self.to_string(),
        }
    }

    /// Why a handshake of these versions has failed.
    fn failed(failed: &Failed, versions: TlsVersions) -> Self {
        match failed {
            Failed::Tls(error) if is_about_versions(error) => Self::NoVersion(versions),
            Failed::Tls(error) => Self::handshake(error),
            Failed::Lost { error, .. } => Self::Lost(ended(error)),
        }
    }
}

/// How a connection ended.
fn ended(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the peer closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether the sides have no version of TLS in common.
fn is_about_versions(error: &Error) -> bool {
    use PeerIncompatible as Is;
    match error {
        Error::AlertReceived(alert) => *alert == AlertDescription::ProtocolVersion,
        Error::PeerIncompatible(what) => matches!(
            what,
            Is::Tls12NotOffered
                | Is::Tls12NotOfferedOrEnabled
                | Is::SupportedVersionsExtensionRequired
                | Is::ServerDoesNotSupportTls12Or13
                | Is::ServerTlsVersionIsDisabledByOurConfig
                // Clients that speak nothing above 1.1 have no such extension.
                | Is::SignatureAlgorithmsExtensionRequired
        ),
        _ => false,
    }
}

/// What we speak.
fn spoken(versions: TlsVersions) -> &'static str {
    match versions {
        TlsVersions::Secure => "ours are TLSv1.2 and TLSv1.3",
        TlsVersions::Only12 => "ours is TLSv1.2",
        TlsVersions::Only13 => "ours is TLSv1.3",
    }
}

/// What a server that does not answer may lack.
fn doubt(negotiation: SslNegotiation, versions: TlsVersions) -> &'static str {
    match (negotiation, versions) {
        (SslNegotiation::Direct, _) => "does it take TLS at once, as Postgres does since 17?",
        (SslNegotiation::Postgres, TlsVersions::Secure) => "does it speak TLSv1.2 or TLSv1.3?",
        (SslNegotiation::Postgres, TlsVersions::Only12) => "does it speak TLSv1.2?",
        (SslNegotiation::Postgres, TlsVersions::Only13) => "does it speak TLSv1.3?",
    }
}

/// What a stream is encrypted with. `TLSv1.3/TLS_AES_256_GCM_SHA384`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cipher(u8);

impl Cipher {
    fn of(session: &CommonState) -> Self {
        let name = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let position =
            TLS_SUITES.iter().position(|suite| name.is_some_and(|name| is(name, suite.standard)));
        Self(position.and_then(|position| u8::try_from(position).ok()).unwrap_or(u8::MAX))
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TLS_SUITES.get(usize::from(self.0)) {
            Some(suite) => write!(f, "{}/{}", suite.version.name(), suite.name),
            None => f.write_str("TLS"),
        }
    }
}

/// Whether rustls's name of a suite is this one of the standard.
fn is(name: &str, standard: &str) -> bool {
    name == standard
        || name
            .strip_prefix("TLS13_")
            .is_some_and(|rest| standard.strip_prefix("TLS_") == Some(rest))
}

/// ring, with these suites alone (OpenSSL's names); all of a version that names none.
fn provider(suites12: &[String], suites13: &[String]) -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites.retain(|suite| {
        let name = suite.suite().as_str().unwrap_or_default();
        let known = TLS_SUITES.iter().find(|known| is(name, known.standard));
        let wanted = if suite.tls13().is_some() { suites13 } else { suites12 };
        wanted.is_empty() || known.is_some_and(|known| wanted.iter().any(|name| name == known.name))
    });
    provider
}

fn versions(versions: TlsVersions) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    let [newer, older] = BOTH.each_ref().map(std::slice::from_ref);
    match versions {
        TlsVersions::Secure => &BOTH,
        TlsVersions::Only12 => older,
        TlsVersions::Only13 => newer,
    }
}

/// The protocol in ALPN. <https://www.postgresql.org/docs/17/protocol-flow.html#PROTOCOL-FLOW-SSL>
const ALPN: &[u8] = b"postgresql";

/// What went wrong, in words for people.
fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => {
            format!("certificate verify failed: {}", explain_certificate(error))
        }
        Error::NoCertificatesPresented => "the peer showed no certificate".to_owned(),
        Error::InvalidMessage(_) => "what the peer sent is not TLS".to_owned(),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "no cipher suite in common with the peer".to_owned()
        }
        Error::PeerIncompatible(what) => format!("nothing in common with the peer: {what:?}"),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => "the peer does not know who signed our certificate",
            AlertDescription::CertificateRequired => "the peer demands a certificate",
            AlertDescription::CertificateExpired => "our certificate has expired, says the peer",
            AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
                "the peer does not accept our certificate"
            }
            other => return format!("the peer refused: {other:?}"),
        }
        .to_owned(),
        other => other.to_string(),
    }
}

fn explain_certificate(error: &CertificateError) -> String {
    let date = |seconds: u64| {
        x509_cert::der::DateTime::from_unix_duration(Duration::from_secs(seconds))
            .map_or_else(|_far| "an unknown date".to_owned(), |date| date.to_string())
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("certificate has expired, on {}", date(not_after.as_secs()))
        }
        CertificateError::Expired => "certificate has expired".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("certificate is not valid before {}", date(not_before.as_secs()))
        }
        CertificateError::UnknownIssuer => {
            "unknown issuer: it is signed by none of the authorities that are trusted".to_owned()
        }
        CertificateError::BadSignature => {
            "the authority that it names has not signed it".to_owned()
        }
        other => other.to_string(),
    }
}
