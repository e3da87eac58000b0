//! Whether a peer's certificate is one to trust, as libpq and OpenSSL judge it.
//!
//! rustls's own judgement is kept where it applies. It takes neither a certificate of version 1
//! (what `openssl x509 -req` makes without extensions) nor one that is trusted itself and may sign
//! others (what `openssl req -x509` makes); both are common with Postgres.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::certificate::{Certificate, Validity};

/// Certificates that are trusted, and so are those that they sign.
#[derive(Debug)]
pub(super) struct Authorities {
    roots: Arc<RootCertStore>,
    trusted: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Authorities {
    /// `None` when none of the certificates can be one of an authority.
    pub(super) fn new(
        trusted: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let algorithms = provider.signature_verification_algorithms;
        (!roots.is_empty()).then(|| Self { roots: Arc::new(roots), trusted, algorithms })
    }

    /// How long the one is good for that expires first.
    pub(super) fn first_to_expire(&self) -> Option<Validity> {
        let read = self.trusted.iter().filter_map(|trusted| Certificate::parse(trusted));
        read.map(|trusted| trusted.validity()).min_by_key(|validity| validity.to.at)
    }

    /// Judges a certificate; `chain` does where rustls can.
    fn check(
        &self,
        shown: &CertificateDer<'_>,
        now: UnixTime,
        chain: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let certificate = Certificate::read(shown)?;
        if self.trusted.iter().any(|trusted| trusted == shown) {
            return certificate.check_dates(now);
        }
        if !certificate.is_v1() {
            return chain();
        }
        certificate.check_dates(now)?;
        let signed = self
            .trusted
            .iter()
            .filter_map(|issuer| Certificate::read(issuer).ok())
            .any(|issuer| certificate.is_signed_by(&issuer, now, &self.algorithms));
        if signed { Ok(()) } else { Err(CertificateError::UnknownIssuer.into()) }
    }
}

/// How much of a server's certificate is verified.
#[derive(Debug)]
pub(super) enum Trust {
    /// Nothing: whoever answers is believed.
    Anybody,
    /// Who has signed it.
    Chain(Authorities),
    /// Who has signed it, and for which host.
    ChainAndHost(Authorities),
}

/// Judges the certificates of servers.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) trust: Trust,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = |authorities: &Authorities| {
            authorities.check(end_entity, now, || {
                verify_server_cert_signed_by_trust_anchor(
                    &ParsedCertificate::try_from(end_entity)?,
                    &authorities.roots,
                    intermediates,
                    now,
                    authorities.algorithms.all,
                )
            })
        };
        match &self.trust {
            Trust::Anybody => {}
            Trust::Chain(authorities) => chain(authorities)?,
            Trust::ChainAndHost(authorities) => {
                chain(authorities)?;
                Certificate::read(end_entity)?.check_host(server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_by_key(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Judges the certificates of clients.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    authorities: Authorities,
    inner: Arc<dyn ClientCertVerifier>,
    demand: Demand,
}

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    Asked,
    Required,
}

impl ClientVerifier {
    pub(super) fn new(
        authorities: Authorities,
        provider: &Arc<CryptoProvider>,
        demand: Demand,
    ) -> Result<Self, Error> {
        let roots = Arc::clone(&authorities.roots);
        let inner = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let inner = inner.build().map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { authorities, inner, demand })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.demand == Demand::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.authorities.check(end_entity, now, || {
            self.inner.verify_client_cert(end_entity, intermediates, now).map(|_verified| ())
        })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.authorities.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_by_key(message, cert, dss, &self.authorities.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.algorithms.supported_schemes()
    }
}

/// By the key alone: rustls reads no more of a certificate than it must, but of version 1 not even
/// that.
fn verify_by_key(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = Certificate::read(cert)?.public_key()?;
    verify_tls13_signature_with_raw_key(message, &key, dss, algorithms)
}
