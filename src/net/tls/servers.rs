//! TLS with servers, with what libpq's modes demand of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::certificate::{Certificate, Validity, end_point};
use super::files::{self, SYSTEM_WORD, Watched};
use super::stream::{Failed, TlsStream};
use super::verify::{ServerVerifier, Trust};
use super::{ALPN, TlsError, ended, provider, versions};
use crate::config::{Database, General, SslMode, SslNegotiation, TlsVersions};
use crate::net::socket::{Socket, TlsSocket};

/// TLS with servers, as it is configured for a database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerTlsPlan {
    mode: SslMode,
    negotiation: SslNegotiation,
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    versions: TlsVersions,
    suites12: Vec<String>,
    suites13: Vec<String>,
    protocol: Protocol,
}

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    Postgres,
    Http,
}

/// What we demand of servers, and what we show to them.
#[derive(Debug)]
pub struct ServerTls {
    plan: ServerTlsPlan,
    made: Watched<Made>,
}

/// What the files amount to.
#[derive(Debug)]
struct Made {
    config: Arc<ClientConfig>,
    /// Of our certificate, where we have one.
    validity: Option<Validity>,
}

/// A server that speaks TLS.
#[derive(Debug)]
pub struct Connected {
    /// Its stream.
    pub socket: Socket,
    /// What the channel to it is bound by (`tls-server-end-point`).
    pub end_point: Option<Arc<[u8]>>,
}

impl ServerTlsPlan {
    /// What holds for this database.
    pub fn new(general: &General, database: &Database) -> Self {
        Self {
            mode: database.server_tls_sslmode,
            negotiation: database.server_tls_negotiation,
            authorities: database.server_tls_ca_file.clone(),
            certificate: database.server_tls_cert_file.clone(),
            key: database.server_tls_key_file.clone(),
            versions: general.server_tls_protocols,
            suites12: general.server_tls_ciphers.clone(),
            suites13: general.server_tls13_ciphers.clone(),
            protocol: Protocol::Postgres,
        }
    }

    /// What holds for a web server: it proves to be the host, by these authorities or the system's.
    pub fn https(authorities: Option<&Path>) -> Self {
        Self {
            mode: SslMode::VerifyFull,
            // Without a word before it; what is looked at after a direct start is Postgres's.
            negotiation: SslNegotiation::Postgres,
            authorities: authorities.map(Path::to_owned),
            certificate: None,
            key: None,
            versions: TlsVersions::Secure,
            suites12: Vec::new(),
            suites13: Vec::new(),
            protocol: Protocol::Http,
        }
    }

    /// The file with the authorities that are trusted, where any are asked for. libpq has
    /// `require` verify as well when it has been given some.
    fn trusted(&self) -> Option<&Path> {
        match (self.mode, &self.authorities) {
            (SslMode::Disable | SslMode::Allow | SslMode::Prefer, _) => None,
            (SslMode::Require, authorities) => authorities.as_deref(),
            (SslMode::VerifyCa | SslMode::VerifyFull, Some(path)) => Some(path),
            (SslMode::VerifyCa | SslMode::VerifyFull, None) => Some(Path::new(SYSTEM_WORD)),
        }
    }

    fn explain(&self, failed: &Failed) -> TlsError {
        let Self { negotiation, versions, .. } = *self;
        match failed {
            Failed::Lost { error, heard: false } => {
                TlsError::Unanswered { cause: ended(error), negotiation, versions }
            }
            failed => TlsError::failed(failed, versions),
        }
    }

    fn make(&self) -> Result<Made, TlsError> {
        let provider = Arc::new(provider(&self.suites12, &self.suites13));
        let algorithms = provider.signature_verification_algorithms;
        let trust = match self.trusted() {
            None => Trust::Anybody,
            Some(path) => {
                let authorities = files::authorities(path, &provider)?;
                match self.mode {
                    SslMode::VerifyFull => Trust::ChainAndHost(authorities),
                    _ => Trust::Chain(authorities),
                }
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions(self.versions))
            .map_err(|error| TlsError::handshake(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerVerifier { trust, algorithms }));
        let mut validity = None;
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let identity = files::identity(certificate, key, &provider)?;
                let own = identity.cert.first().and_then(|own| Certificate::parse(own));
                validity = own.map(|own| own.validity());
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = match self.protocol {
            Protocol::Postgres => vec![ALPN.to_vec()],
            Protocol::Http => vec![b"http/1.1".to_vec()],
        };
        config.resumption = Resumption::disabled();
        Ok(Made { config: Arc::new(config), validity })
    }
}

impl ServerTls {
    /// TLS with servers as it is configured. The files are read when they are needed.
    pub fn new(plan: ServerTlsPlan) -> Self {
        let files = plan.trusted().and_then(files::place).map(Path::to_owned).into_iter();
        let files = files.chain(plan.certificate.clone()).chain(plan.key.clone()).collect();
        Self { plan, made: Watched::new(files) }
    }

    /// Reads the files if they have not been.
    ///
    /// # Errors
    /// When a file is not what it should be.
    pub fn check(&self) -> Result<(), TlsError> {
        self.made().map(|_made| ())
    }

    /// The file of our certificate for servers, if we have one.
    pub fn certificate_file(&self) -> Option<&Path> {
        self.plan.certificate.as_deref()
    }

    /// How long our certificate for servers is good for, if we have one.
    pub fn validity(&self) -> Option<Validity> {
        self.made().ok()?.validity.clone()
    }

    fn made(&self) -> Result<Arc<Made>, TlsError> {
        self.made.get(|| self.plan.make())
    }

    /// When TLS is spoken, and what it demands.
    pub fn mode(&self) -> SslMode {
        self.plan.mode
    }

    /// How it starts.
    pub fn negotiation(&self) -> SslNegotiation {
        self.plan.negotiation
    }

    /// Reads the files again if they have changed, for connections that are made from now on;
    /// `None` when they have not.
    ///
    /// # Errors
    /// When a file is not what it should be: all stays as it was.
    pub fn refresh(&self) -> Option<Result<(), TlsError>> {
        self.made.refresh(|| self.plan.make())
    }

    /// Speaks TLS with a server that is ready for it. A host that is a name is sent along (SNI).
    ///
    /// # Errors
    /// When that comes to nothing.
    pub async fn connect(&self, socket: Socket, host: &str) -> Result<Connected, TlsError> {
        let Socket::Tcp(tcp) = socket else {
            return Err(TlsError::NotTcp);
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_invalid| TlsError::NoHost(host.to_owned()))?;
        let session = UnbufferedClientConnection::new(Arc::clone(&self.made()?.config), name)
            .map_err(|error| TlsError::handshake(&error))?;
        let connected = TlsStream::connect(tcp, session).await;
        let stream = connected.map_err(|failed| self.plan.explain(&failed))?;
        if self.plan.negotiation == SslNegotiation::Direct && stream.alpn() != Some(ALPN) {
            return Err(TlsError::NoProtocol);
        }
        let end_point =
            stream.peer_certificates().first().and_then(|own| end_point(own)).map(Into::into);
        Ok(Connected { socket: Socket::Tls(TlsSocket(stream)), end_point })
    }
}
