//! Alerts that are posted to a receiver with TLS.

use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::{Authority, Good, Identity, der, put};
use crate::house::House;
use crate::support::receiver::{Received, answer};
use crate::support::{LIMIT, PASSWORD, Pooler, eventually, psql_rows};

/// Listens with this identity; its port, and what it takes.
fn receiver(identity: &Identity) -> (u16, mpsc::Receiver<Received>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der(&identity.certificate).into()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taken, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            if let Some(request) = answer(&mut stream, "200 OK") {
                taken.send(request).ok();
            }
        }
    });
    (port, received)
}

#[test]
fn receiver_has_to_prove_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("authority");
    let ca = put(folder.path(), "ca.crt", authority.pem());
    let good = receiver(&authority.sign("hooks", &["localhost"], Good::Now));
    let other = receiver(&authority.sign("hooks", &["elsewhere"], Good::Now));
    let stranger = receiver(&Authority::new("another").sign("hooks", &["localhost"], Good::Now));
    for ((port, received), error) in [
        (good, ""),
        (other, "certificate is for elsewhere, not for localhost"),
        (stranger, "unknown issuer"),
    ] {
        let toml = format!(
            "listen_port = 0\n[databases.shop]\nhost = \"127.0.0.1\"\n[alerts]\n\
             webhook_url = \"https://localhost:{port}/hook\"\nwebhook_ca_file = \"{}\"\n",
            ca.display()
        );
        let pooler = Pooler::start(&toml);
        pooler.rewrite("no such key");
        pooler.signal("HUP");
        if error.is_empty() {
            let request = received.recv_timeout(LIMIT).unwrap();
            assert!(request.body.contains("\"alert\":\"reload_failed\""), "{}", request.body);
        } else {
            eventually(error, LIMIT, || pooler.log().contains(error));
            assert!(received.try_recv().is_err());
        }
    }
}

/// The warning and the critical alert, each for itself.
#[test]
fn certificate_that_expires_soon_is_told_of_until_it_is_renewed() {
    let house = House::without_tls();
    let renew = |good: Good| {
        house.authority.sign("pgweir", &["localhost"], good).write(house.folder(), "pgweir");
    };
    renew(Good::Days(10));
    let settings = format!("admin_users = \"boss\"; {}", House::client_tls("allow"));
    let boss = format!("[users.boss]\npassword = \"{PASSWORD}\"\n[alerts]\nresolve_after = 0\n");
    let pooler = Pooler::start(&format!("{}{boss}", house.toml("127.0.0.1", &settings)));
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let shown = || -> Vec<String> {
        let table = psql_rows(&console, "SHOW ALERTS");
        let lines = table.lines().filter_map(|line| line.strip_prefix("certificate|clients|"));
        let states = lines.map(|line| line.split('|').take(2).collect::<Vec<_>>().join("|"));
        states.collect()
    };
    let becomes = |wanted: &[&str]| {
        eventually(&format!("certificate is {wanted:?}"), LIMIT, || {
            let mut found = shown();
            found.sort();
            found == wanted
        });
    };
    becomes(&["warning|raised"]);
    renew(Good::Days(2));
    becomes(&["critical|raised", "warning|raised"]);
    // 14 days, and not a fifth more.
    renew(Good::Days(15));
    becomes(&["critical|resolved", "warning|raised"]);
    renew(Good::Days(90));
    becomes(&["critical|resolved", "warning|resolved"]);
    let log = pooler.log();
    let raised = "alert raised, warning: certificate of clients: 9 d 23 h (threshold 14 d)";
    assert!(log.contains(raised), "{log}");
}
