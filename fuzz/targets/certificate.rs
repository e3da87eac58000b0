//! Names of hosts in certificates, and whatever a peer shows as its certificate: a name, a host and
//! a certificate in DER, with zero bytes between.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use pgweir::net::tls::{Certificate, end_point, is_host};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let name = String::from_utf8_lossy(part()).into_owned();
    let host = String::from_utf8_lossy(part()).into_owned();
    check_names(&name, &host);
    check_certificate(part(), &host);
});

fn check_names(name: &str, host: &str) {
    let matches = is_host(name, host);
    assert!(is_host(host, host));
    assert_eq!(matches, is_host(&name.to_ascii_uppercase(), &host.to_ascii_lowercase()));
    assert_eq!(matches, is_host(name, &format!("{host}.")));
    let (name, host) = (name.trim_end_matches('.'), host.trim_end_matches('.'));
    if matches && !name.eq_ignore_ascii_case(host) {
        // A star has stood for one label, and for no more and no less.
        let (label, domain) = host.split_once('.').unwrap();
        assert!(!label.is_empty() && name[2..].eq_ignore_ascii_case(domain));
        assert!(!is_host(name, domain) && !is_host(name, &format!("more.{host}")));
    }
}

fn check_certificate(der: &[u8], host: &str) {
    let bound = end_point(der);
    let Some(certificate) = Certificate::parse(der) else {
        assert_eq!(bound, None);
        return;
    };
    assert!(bound.is_none_or(|hash| matches!(hash.len(), 32 | 48 | 64)));
    let common_name = certificate.common_name();
    assert!(common_name.as_ref().is_none_or(|name| !name.contains('\0')));
    let validity = certificate.validity();
    assert!(validity.from.to_string().len() >= 20 && validity.to.to_string().len() >= 20);
    let hosts = certificate.hosts();
    for own in &hosts {
        assert!(!is_plain(own) || certificate.is_for(own), "{own}");
    }
    if certificate.is_for(host) {
        let address: Option<IpAddr> = host.parse().ok();
        let fits = |own: &String| match address {
            Some(address) => own.parse() == Ok(address),
            None => is_host(own, host),
        };
        assert!(hosts.iter().chain(&common_name).any(fits), "{hosts:?}: {host}");
    }
}

/// Whether it is the name of a host by any rule.
fn is_plain(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    name.len() <= 250 && name.split('.').all(is_label)
}
