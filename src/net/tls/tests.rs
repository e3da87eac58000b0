//! Both ends of a connection, played against each other over a real socket.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::task::Poll;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rcgen::{CertificateParams, KeyPair};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::{Database, SslMode};
use crate::net::socket::{Outbox, Socket, TlsSocket};

/// What the two ends are made of; the server's certificate is trusted itself.
fn ends(folder: &Path) -> (ClientTls, ServerTls) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = folder.join("certificate");
    std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.join("key"), key.serialize_pem()).unwrap();
    let general = crate::config::General {
        client_tls_sslmode: SslMode::Require,
        client_tls_cert_file: Some(certificate.clone()),
        client_tls_key_file: Some(folder.join("key")),
        server_tls_sslmode: SslMode::VerifyFull,
        server_tls_ca_file: Some(certificate),
        ..Default::default()
    };
    let plan = ServerTlsPlan::new(&general, &Database::new("", "localhost", &general));
    (ClientTls::new(&general).unwrap().unwrap(), ServerTls::new(plan))
}

async fn pair() -> (Socket, Socket) {
    let folder = tempfile::tempdir().unwrap();
    let (clients, servers) = ends(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    for socket in [&near, &far] {
        // Small, so that writes are taken in pieces.
        let socket = SockRef::from(socket);
        socket.set_send_buffer_size(20_000).unwrap();
        socket.set_recv_buffer_size(20_000).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
    }
    let accepted = clients.accept(Socket::Tcp(far), Vec::new(), Start::Asked);
    let connected = servers.connect(Socket::Tcp(near), "localhost");
    let (accepted, connected) = tokio::join!(accepted, connected);
    let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
    assert!(accepted.end_point.is_some() && accepted.end_point == connected.end_point);
    (accepted.socket, connected.socket)
}

/// Our own server sends all of its handshake in one record: what is behind the certificate is there
/// when that is judged.
#[tokio::test]
async fn certificate_for_another_host_is_refused_and_the_peer_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (clients, servers) = ends(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let accepted = clients.accept(Socket::Tcp(far), Vec::new(), Start::Asked);
    let connected = servers.connect(Socket::Tcp(near), "elsewhere");
    let (accepted, connected) = tokio::join!(accepted, connected);
    assert!(matches!(connected, Err(TlsError::OtherHost { .. })), "{connected:?}");
    let told = accepted.unwrap_err().to_string();
    assert_eq!(told, "the peer does not accept our certificate");
}

/// Sends all by an outbox, in pieces of any size.
async fn send(socket: &mut Socket, mut bytes: &[u8], dice: &mut StdRng) {
    let mut outbox = Outbox::default();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(dice.random_range(1..=bytes.len().min(300_000)));
        bytes = rest;
        poll_fn(|cx| Poll::Ready(outbox.send(socket, cx, piece))).await.unwrap();
        poll_fn(|cx| match outbox.flush(socket, cx) {
            Ok(()) if !outbox.is_empty() => Poll::Pending,
            done => Poll::Ready(done),
        })
        .await
        .unwrap();
    }
}

/// Receives by any way of reading, into buffers of any size, and moves to another reactor's books
/// now and then.
async fn receive(mut socket: Socket, count: usize, dice: &mut StdRng) -> (Socket, Vec<u8>) {
    let mut received = Vec::new();
    while received.len() < count {
        let mut buffer = vec![0; dice.random_range(1..200_000)];
        let read = match dice.random_range(0..8) {
            0 => socket.try_read(&mut buffer),
            1 => socket.read_now(&mut buffer),
            2 => {
                socket = socket.rehome().unwrap();
                continue;
            }
            _ => socket.read(&mut buffer).await,
        };
        match read {
            Ok(0) => break,
            Ok(read) => received.extend_from_slice(&buffer[..read]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        tokio::task::yield_now().await;
    }
    (socket, received)
}

#[tokio::test]
async fn bytes_arrive_as_they_were_sent_whatever_the_pieces() {
    for seed in 0..4 {
        let (mut far, near) = pair().await;
        let mut dice = StdRng::seed_from_u64(seed);
        let mut sent = vec![0; 600_000];
        dice.fill(&mut sent[..]);
        let (mut sending, mut receiving) = (dice.clone(), dice.clone());
        let (received, ()) = tokio::join!(
            receive(near, sent.len(), &mut receiving),
            send(&mut far, &sent, &mut sending)
        );
        let (mut near, received) = received;
        assert!(received == sent, "seed {seed}: {} of {} bytes", received.len(), sent.len());
        assert!(near.is_drained());
        // And the other way, up to the end, which is said.
        let (mut sending, mut receiving) = (dice.clone(), dice);
        let back = async {
            send(&mut near, &sent[..70_000], &mut sending).await;
            near.farewell();
        };
        let (received, ()) = tokio::join!(receive(far, usize::MAX, &mut receiving), back);
        assert!(received.1 == sent[..70_000], "seed {seed}");
    }
}

#[tokio::test]
async fn idle_stream_holds_no_buffer() {
    let (mut far, mut near) = pair().await;
    let mut received = vec![0; 100_000];
    let (sent, read) = tokio::join!(far.write_all(&[7; 100_000]), near.read_exact(&mut received));
    sent.and(read).unwrap();
    for socket in [far, near] {
        let Socket::Tls(TlsSocket(stream)) = socket else { panic!("no TLS") };
        assert_eq!(stream.held(), 0);
    }
}

#[tokio::test]
async fn what_is_decrypted_and_not_read_is_not_at_rest() {
    let (mut far, mut near) = pair().await;
    far.write_all(b"whole").await.unwrap();
    let mut buffer = [0; 3];
    assert_eq!(near.read(&mut buffer).await.unwrap(), 3);
    assert!(!near.is_drained(), "two bytes are decrypted and were not read");
    assert_eq!(near.try_read(&mut buffer).unwrap(), 2);
    assert!(near.is_drained());
    assert_eq!(near.try_read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}
