//! Who sits on the way, or at the other end, and does not play by the rules.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::client::{SSL_REQUEST, TlsClient, connect, startup};
use crate::house::{House, ask};
use crate::support::{APP_DATABASE, APP_USER, LIMIT, PASSWORD, Pooler, eventually};

fn pooler(house: &House) -> Pooler {
    house.pooler("127.0.0.1", &format!("{}; auth_type = \"trust\"", House::client_tls("prefer")))
}

/// What is read up to the end of the stream.
fn rest(tcp: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    tcp.read_to_end(&mut heard).ok();
    heard
}

fn login() -> Vec<u8> {
    startup(&[("user", APP_USER), ("database", APP_DATABASE)])
}

fn is_ready(heard: &[u8]) -> bool {
    heard.ends_with(b"Z\0\0\0\x05I")
}

#[test]
fn bytes_behind_the_request_in_clear_end_the_connection() {
    let house = House::without_tls();
    let pooler = pooler(&house);
    let mut tcp = connect(pooler.port());
    tcp.write_all(&[&SSL_REQUEST[..], &login()].concat()).unwrap();
    assert_eq!(rest(&mut tcp), b"", "{}", pooler.log());
    let logged = "received unencrypted data after SSL or GSSENC request";
    eventually("it is logged", LIMIT, || pooler.log().contains(logged));

    // In a segment of their own they are read as TLS, which they are not.
    let mut tcp = connect(pooler.port());
    tcp.write_all(&SSL_REQUEST).unwrap();
    let mut answer = [0];
    tcp.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"S");
    tcp.write_all(&login()).unwrap();
    let heard = rest(&mut tcp);
    // An alert, and nothing of Postgres.
    assert_eq!(heard.first(), Some(&0x15), "{heard:?}");
    eventually("it is logged", LIMIT, || pooler.log().contains("what the peer sent is not TLS"));
}

#[test]
fn direct_tls_needs_its_protocol() {
    let house = House::without_tls();
    let pooler = pooler(&house);
    let mut client = TlsClient::direct(pooler.port(), &["postgresql"]);
    client.handshake().unwrap();
    client.send(&login());
    assert!(is_ready(&client.hear(is_ready)), "{}", pooler.log());
    client.send(b"X\0\0\0\x04");
    assert!(client.ends_cleanly());

    let mut client = TlsClient::direct(pooler.port(), &["http/1.1"]);
    assert!(client.handshake().is_err(), "another protocol");
    let mut client = TlsClient::direct(pooler.port(), &[]);
    // The handshake is over for us before the other side looks at it.
    client.handshake().ok();
    assert!(client.hear(is_ready).is_empty(), "no protocol");
    eventually("it is logged", LIMIT, || pooler.log().contains("direct TLS without the protocol"));
}

#[test]
fn tls_inside_tls_is_refused() {
    let house = House::without_tls();
    let pooler = pooler(&house);
    let mut client = TlsClient::ask(pooler.port());
    client.send(&SSL_REQUEST);
    assert_eq!(client.hear(|_| false), b"");
    eventually("it is logged", LIMIT, || pooler.log().contains("too many requests for encryption"));
}

#[test]
fn handshake_cut_at_any_byte_leaves_nothing() {
    let house = House::without_tls();
    let settings = format!("{}; max_unauthenticated_clients = 1", House::client_tls("require"));
    let pooler = house.pooler("127.0.0.1", &settings);
    let hello = recorded_hello();
    for end in (0..hello.len()).step_by(7) {
        let mut tcp = connect(pooler.port());
        tcp.write_all(&hello[..end]).unwrap();
        tcp.shutdown(std::net::Shutdown::Write).ok();
        rest(&mut tcp);
        // There is room for one stranger: the next gets in only when this one is gone.
    }
    eventually("the last one is gone", LIMIT, || {
        ask(&pooler, "sslmode=require", "SELECT 1;").stdout == "1\n"
    });
}

#[test]
fn crowd_of_handshakes_comes_in_turn_with_those_inside() {
    const CROWD: usize = 200;
    let house = House::without_tls();
    // The most expensive kind of key.
    house.openssl("req -x509 -newkey rsa:4096 -nodes -subj /CN=x -keyout long.key -out long.crt");
    let tls = House::client_tls("prefer").replace("pgweir.", "long.");
    let pooler = house.pooler("127.0.0.1", &format!("{tls}; workers = 1; auth_type = \"trust\""));
    let mut inside = connect(pooler.port());
    let ready = |inside: &mut TcpStream| {
        let mut heard = Vec::new();
        while !is_ready(&heard) {
            let mut chunk = [0; 4096];
            let count = inside.read(&mut chunk).unwrap();
            assert!(count > 0, "{}", pooler.log());
            heard.extend_from_slice(&chunk[..count]);
        }
    };
    inside.write_all(&login()).unwrap();
    ready(&mut inside);
    let hello = recorded_hello();
    let mut crowd: Vec<_> = (0..CROWD).map(|_| connect(pooler.port())).collect();
    for stranger in &mut crowd {
        stranger.write_all(&hello).unwrap();
    }
    let last = crowd.last().unwrap();
    last.set_nonblocking(true).unwrap();
    let mut rounds = 0;
    while last.peek(&mut [0]).is_err() {
        inside.write_all(b"Q\0\0\0\x0dselect 1\0").unwrap();
        ready(&mut inside);
        rounds += 1;
    }
    // A query takes a few looks at the sockets; else there were 60 handshakes in each.
    assert!(rounds > CROWD / 20, "{rounds} rounds");
}

#[test]
fn versions_below_the_floor_are_refused() {
    let house = House::without_tls();
    for (protocols, version, refused) in [
        ("secure", "tls1", Some("ours are TLSv1.2 and TLSv1.3")),
        ("secure", "tls1_1", Some("ours are TLSv1.2 and TLSv1.3")),
        ("secure", "tls1_2", None),
        ("secure", "tls1_3", None),
        ("tlsv1.2", "tls1_3", Some("ours is TLSv1.2")),
        ("tlsv1.3", "tls1_2", Some("ours is TLSv1.3")),
    ] {
        let tls =
            format!("client_tls_protocols = \"{protocols}\"; {}", House::client_tls("prefer"));
        let pooler = house.pooler("127.0.0.1", &tls);
        let mut command = std::process::Command::new("openssl");
        command.args(["s_client", "-starttls", "postgres", "-cipher", "DEFAULT@SECLEVEL=0"]);
        command.args([&format!("-{version}"), "-connect", &format!("127.0.0.1:{}", pooler.port())]);
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let (none, some) = ("New, (NONE), Cipher is (NONE)", ", Cipher is ");
        assert!(said.contains(if refused.is_some() { none } else { some }), "{version}: {said}");
        let Some(ours) = refused else {
            assert!(!said.contains(none), "{version}: {said}");
            continue;
        };
        let line =
            format!("client to pgweir: TLS handshake failed: no version of TLS in common: {ours}");
        eventually("it is logged", LIMIT, || pooler.log().contains(&line));
    }
}

/// What a client says first that starts TLS at once.
fn recorded_hello() -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = thread::spawn(move || {
        TlsClient::direct(port, &["postgresql"]).handshake().ok();
    });
    let (mut tcp, _) = listener.accept().unwrap();
    let mut hello = vec![0; 4096];
    let count = tcp.read(&mut hello).unwrap();
    hello.truncate(count);
    drop(tcp);
    client.join().unwrap();
    hello
}

/// A server that answers the request for TLS with these bytes, and then listens.
fn server_that_answers(answer: &'static [u8]) -> (u16, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        let mut request = [0; 8];
        tcp.read_exact(&mut request).unwrap();
        assert_eq!(request, SSL_REQUEST);
        tcp.write_all(answer).unwrap();
        rest(&mut tcp)
    });
    (port, heard)
}

#[test]
fn server_that_says_more_than_its_answer_is_left() {
    for (answer, wanted) in [
        (&b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"[..], "received unencrypted data after SSL response"),
        (b"E", "received invalid response to SSL negotiation: 0x45"),
        (b"N", "server does not support TLS"),
        (b"", ""),
    ] {
        let (port, heard) = server_that_answers(answer);
        let toml = format!(
            "listen_port = 0\nserver_tls_sslmode = \"require\"\nserver_login_retry = 60\n\
             server_connect_timeout = 1\n\
             [databases.{APP_DATABASE}]\nhost = \"127.0.0.1\"\nport = {port}\n\
             [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
        );
        let pooler = Pooler::start(&toml);
        let ended = ask(&pooler, "", "SELECT 1;");
        assert!(ended.stderr.contains(wanted), "{wanted}: {}", ended.stderr);
        assert_eq!(heard.join().unwrap(), b"", "nothing is said in clear");
    }
}
