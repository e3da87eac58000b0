//! A client whose every byte is the test's, on both sides of its encryption. It believes whatever
//! certificate it is shown.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use crate::support::LIMIT;

pub struct TlsClient {
    pub tcp: TcpStream,
    session: ClientConnection,
    /// BackendKeyData of its login.
    pub key: Vec<u8>,
}

/// What an SSLRequest is.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A connection on which nothing has been said.
pub fn connect(port: u16) -> TcpStream {
    let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_read_timeout(Some(LIMIT)).unwrap();
    tcp
}

impl TlsClient {
    /// Asks for TLS, which has to be granted.
    #[track_caller]
    pub fn ask(port: u16) -> Self {
        let mut tcp = connect(port);
        tcp.write_all(&SSL_REQUEST).unwrap();
        let mut answer = [0];
        tcp.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"S");
        Self::over(tcp, &["postgresql"])
    }

    /// Starts TLS at once, and offers these protocols.
    pub fn direct(port: u16, protocols: &[&str]) -> Self {
        Self::over(connect(port), protocols)
    }

    pub fn over(tcp: TcpStream, protocols: &[&str]) -> Self {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believes(provider)))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let host = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(config), host).unwrap();
        Self { tcp, session, key: Vec::new() }
    }

    pub fn handshake(&mut self) -> io::Result<()> {
        while self.session.is_handshaking() {
            self.session.complete_io(&mut self.tcp)?;
        }
        Ok(())
    }

    /// The certificate that the other side has shown.
    pub fn shown(&self) -> Option<Vec<u8>> {
        Some(self.session.peer_certificates()?.first()?.to_vec())
    }

    pub fn send(&mut self, bytes: &[u8]) {
        rustls::Stream::new(&mut self.session, &mut self.tcp).write_all(bytes).unwrap();
    }

    /// Reads until `end` says that this was all, or the other side has closed.
    pub fn hear(&mut self, end: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut chunk = [0; 4096];
        while !end(&heard) {
            match rustls::Stream::new(&mut self.session, &mut self.tcp).read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(count) => heard.extend_from_slice(&chunk[..count]),
            }
        }
        heard
    }

    /// Whether the other side says that it closes, before it does.
    pub fn ends_cleanly(&mut self) -> bool {
        let mut chunk = [0; 4096];
        loop {
            match rustls::Stream::new(&mut self.session, &mut self.tcp).read(&mut chunk) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

/// A startup packet of protocol 3.0.
pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        for text in [name, value] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap();
    [length.to_be_bytes().to_vec(), body].concat()
}

#[derive(Debug)]
struct Believes(Arc<CryptoProvider>);

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
