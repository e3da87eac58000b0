//! Versions of the protocol, and options of it.

use crate::setup::pooler;
use crate::wire::{Client, USER, cancel, startup};

const fn version(major: u32, minor: u32) -> u32 {
    (major << 16) | minor
}

#[test]
fn every_minor_version_is_served_and_newer_ones_are_told_what_they_get() {
    let pooler = pooler("");
    for (minor, options, negotiated, secret_len) in [
        (0, &[][..], None, 4),
        (1, &[], None, 4),
        (2, &[], None, 16),
        (3, &[], Some("v[3.2]"), 16),
        (9, &[], Some("v[3.2]"), 16),
        (9999, &[], Some("v[3.2]"), 16),
        (0, &[("_pq_.one", "1"), ("_pq_.two", "")], Some("v[3.0 _pq_.one _pq_.two]"), 4),
        (2, &[("_pq_.one", "1")], Some("v[3.2 _pq_.one]"), 16),
    ] {
        let mut client = Client::connect(pooler.port());
        client.send(&startup(version(3, minor), &[&USER[..], options].concat()));
        if let Some(negotiated) = negotiated {
            client.hears(negotiated);
        }
        client.hears("R0");
        client.finish_login().unwrap();
        assert_eq!(client.key.len(), 4 + secret_len, "3.{minor}");
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
        cancel(pooler.port(), &client.cancel_packet());
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    }
}

#[test]
fn other_major_versions_are_refused() {
    let pooler = pooler("");
    for number in [version(2, 0), version(1, 0), version(4, 0), 0, 80_877_101, u32::MAX] {
        let mut client = Client::connect(pooler.port());
        client.send(&startup(number, &USER));
        assert_eq!(client.rest(), "FATAL[0A000]", "{number}");
    }
}

#[test]
fn encryption_is_declined_and_the_startup_follows() {
    let pooler = pooler("");
    let request = |code: u32| crate::wire::untagged(&code.to_be_bytes());
    let (ssl, gss) = (request(80_877_103), request(80_877_104));
    for requests in [vec![&ssl], vec![&gss], vec![&ssl, &gss], vec![&gss, &ssl]] {
        let mut client = Client::connect(pooler.port());
        for request in requests {
            client.send(request);
            assert_eq!(client.hear_byte(), Some(b'N'));
        }
        client.send(&startup(version(3, 0), &USER));
        client.finish_login().unwrap();
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    }
    // No more than one of each is needed.
    let mut client = Client::connect(pooler.port());
    for _ in 0..3 {
        client.send(&ssl);
    }
    let mut answers = Vec::new();
    while let Some(byte) = client.hear_byte() {
        answers.push(byte);
    }
    assert!(answers.len() <= 3 && answers.iter().all(|byte| *byte == b'N'), "{answers:?}");
}
