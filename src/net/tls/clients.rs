//! TLS with clients, who have asked for it or start it at once.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::sign::SingleCertAndKey;

use super::certificate::{Certificate, ClientCertificate, Validity, end_point};
use super::files::{self, Watched};
use super::stream::TlsStream;
use super::verify::{ClientVerifier, Demand};
use super::{ALPN, TlsError, provider, versions};
use crate::config::{General, SslMode, TlsVersions};
use crate::net::socket::{Socket, TlsSocket};

/// What we show to clients, and what we demand of them.
#[derive(Debug)]
pub struct ClientTls {
    plan: Plan,
    made: Watched<Made>,
}

/// As configured.
#[derive(Debug)]
struct Plan {
    mode: SslMode,
    certificate: PathBuf,
    key: PathBuf,
    authorities: Option<PathBuf>,
    versions: TlsVersions,
    suites12: Vec<String>,
    suites13: Vec<String>,
}

/// What the files amount to.
#[derive(Debug)]
struct Made {
    config: Arc<ServerConfig>,
    end_point: Option<Arc<[u8]>>,
    validity: Option<Validity>,
    /// Of the authority that expires first, where there are any.
    authorities: Option<Validity>,
}

/// How a client starts TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It has asked, and was told yes.
    Asked,
    /// At once: then it has to say that it is for Postgres.
    Direct,
}

/// A client that speaks TLS.
#[derive(Debug)]
pub struct Accepted {
    /// Its stream.
    pub socket: Socket,
    /// The certificate that it has shown, if it has.
    pub certificate: Option<ClientCertificate>,
    /// What a channel to us is bound by (`tls-server-end-point`).
    pub end_point: Option<Arc<[u8]>>,
}

impl ClientTls {
    /// TLS with clients as it is configured; `None` when it is not.
    ///
    /// # Errors
    /// When a file is not what it should be.
    pub fn new(general: &General) -> Result<Option<Self>, TlsError> {
        let (Some(certificate), Some(key)) =
            (&general.client_tls_cert_file, &general.client_tls_key_file)
        else {
            return Ok(None);
        };
        if general.client_tls_sslmode == SslMode::Disable {
            return Ok(None);
        }
        let plan = Plan {
            mode: general.client_tls_sslmode,
            certificate: certificate.clone(),
            key: key.clone(),
            authorities: general.client_tls_ca_file.clone(),
            versions: general.client_tls_protocols,
            suites12: general.client_tls_ciphers.clone(),
            suites13: general.client_tls13_ciphers.clone(),
        };
        let files = [&plan.certificate, &plan.key].into_iter().chain(&plan.authorities);
        let made = Watched::new(files.cloned().collect());
        let tls = Self { plan, made };
        tls.made()?;
        Ok(Some(tls))
    }

    /// Whether clients in clear are refused.
    pub fn is_required(&self) -> bool {
        self.plan.mode.demands_tls()
    }

    /// How long our certificate is good for.
    pub fn validity(&self) -> Option<Validity> {
        self.made().ok()?.validity.clone()
    }

    /// How long the first of the authorities of clients' certificates is good for, where there are any.
    pub fn authorities_validity(&self) -> Option<Validity> {
        self.made().ok()?.authorities.clone()
    }

    /// Reads the files again if they have changed, for clients that come from now on; `None` when
    /// they have not.
    ///
    /// # Errors
    /// When a file is not what it should be: all stays as it was.
    pub fn refresh(&self) -> Option<Result<(), TlsError>> {
        self.made.refresh(|| self.plan.make())
    }

    fn made(&self) -> Result<Arc<Made>, TlsError> {
        self.made.get(|| self.plan.make())
    }

    /// Speaks TLS with a client. `ahead` is what it has sent of it already.
    ///
    /// # Errors
    /// When that comes to nothing; the client has been told as far as TLS tells it.
    pub async fn accept(
        &self,
        socket: Socket,
        ahead: Vec<u8>,
        start: Start,
    ) -> Result<Accepted, TlsError> {
        let Socket::Tcp(tcp) = socket else {
            return Err(TlsError::NotTcp);
        };
        let made = self.made()?;
        let session = UnbufferedServerConnection::new(Arc::clone(&made.config))
            .map_err(|error| TlsError::handshake(&error))?;
        let accepted = TlsStream::accept(tcp, session, ahead).await;
        let stream = accepted.map_err(|failed| TlsError::failed(&failed, self.plan.versions))?;
        if start == Start::Direct && stream.alpn() != Some(ALPN) {
            return Err(TlsError::NoProtocol);
        }
        let shown = stream.peer_certificates().first();
        let certificate = shown.and_then(|shown| Certificate::parse(shown));
        Ok(Accepted {
            certificate: certificate.map(|certificate| certificate.subject()),
            end_point: made.end_point.clone(),
            socket: Socket::Tls(TlsSocket(stream)),
        })
    }
}

impl Plan {
    fn make(&self) -> Result<Made, TlsError> {
        let provider = Arc::new(provider(&self.suites12, &self.suites13));
        let identity = files::identity(&self.certificate, &self.key, &provider)?;
        let end_point = identity.cert.first().and_then(|own| end_point(own)).map(Into::into);
        let own = identity.cert.first().and_then(|own| Certificate::parse(own));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions(self.versions))
            .map_err(|error| TlsError::handshake(&error))?;
        let mut first = None;
        let builder = match &self.authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let demand = if self.mode.verifies() { Demand::Required } else { Demand::Asked };
                let authorities = files::authorities(path, &provider)?;
                first = authorities.first_to_expire();
                let verifier = ClientVerifier::new(authorities, &provider, demand)
                    .map_err(|error| TlsError::file(path, error.to_string()))?;
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let validity = own.map(|own| own.validity());
        Ok(Made { config: Arc::new(config), end_point, validity, authorities: first })
    }
}
