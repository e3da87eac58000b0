//! A server that takes nothing but a bound channel, which no Postgres can be told to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use pgweir::auth::{
    Account, Binding, ClientAuth, Method, Mock, Outcome, Proof, StoredSecret, UserSecret,
};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};

use crate::certificates::{Authority, Good, Identity, der};
use crate::client::SSL_REQUEST;
use crate::house::ask;
use crate::support::{APP_DATABASE, APP_USER, LIMIT, PASSWORD, Pooler, eventually};

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// Answers the request for TLS, and speaks it.
fn encrypted(mut tcp: TcpStream, identity: &Identity) -> Stream {
    tcp.set_read_timeout(Some(LIMIT)).unwrap();
    let mut request = [0; 8];
    tcp.read_exact(&mut request).unwrap();
    assert_eq!(request, SSL_REQUEST);
    tcp.write_all(b"S").unwrap();
    let chain = vec![der(&identity.certificate).into()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), tcp)
}

/// The body behind a length word.
fn body(stream: &mut Stream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut body).unwrap();
    body
}

/// Lets the application's user in by SCRAM-SHA-256-PLUS, over the channel of the certificate that it
/// believes to have shown, and by nothing else; whether it came to that.
fn serve(tcp: TcpStream, identity: &Identity, believed: &str) -> bool {
    let mut stream = encrypted(tcp, identity);
    body(&mut stream);
    let mock = Mock::random();
    let stored = StoredSecret::parse(PASSWORD).unwrap();
    let account = Account::WithSecret(Arc::new(UserSecret::new(APP_USER, stored, &mock)));
    let binding = Binding(Sha256::digest(der(believed)).to_vec().into());
    let (mut auth, _) = ClientAuth::start(Method::Scram, APP_USER, account, &mock, Some(binding));
    stream.write_all(b"R\0\0\0\x1c\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0").unwrap();
    loop {
        let mut tag = [0];
        if stream.read_exact(&mut tag).is_err() || tag != *b"p" {
            return false;
        }
        match auth.received(&body(&mut stream)) {
            Outcome::Send(message) => stream.write_all(&message).unwrap(),
            Outcome::Rejected(_) => return false,
            Outcome::Accepted { send, proof } => {
                stream.write_all(&send).unwrap();
                stream.write_all(b"K\0\0\0\x0c\0\0\0\x01\0\0\0\x01Z\0\0\0\x05I").unwrap();
                return matches!(proof, Proof::Scram(_));
            }
        }
    }
}

#[test]
fn server_that_takes_only_a_bound_channel_gets_one() {
    let authority = Authority::new("authority");
    let shown = authority.sign("server", &["localhost"], Good::Now);
    let other = authority.sign("server", &["localhost"], Good::Now);
    // The second one believes that it is at the end of another channel: somebody is in between.
    for (believed, let_in) in [(&shown, true), (&other, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (shown, believed) = (shown.clone(), believed.certificate.clone());
        let server = thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            serve(tcp, &shown, &believed)
        });
        let pooler = Pooler::start(&format!(
            "listen_port = 0\nverbose = 1\nserver_tls_sslmode = \"require\"\n\
             [databases.{APP_DATABASE}]\nhost = \"localhost\"\nport = {port}\n\
             [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
        ));
        // It says no more, so that no request gets an answer.
        let ended = ask(&pooler, "", "SELECT 1;");
        assert!(!ended.status.success());
        assert_eq!(server.join().unwrap(), let_in, "{}", pooler.log());
        let logged = if let_in { "new connection to server" } else { "server login failed" };
        eventually("it is logged with its method", LIMIT, || {
            let log = pooler.log();
            let mut lines = log.lines().filter(|line| line.contains(logged));
            lines.any(|line| line.contains("scram-sha-256-plus"))
        });
    }
}
