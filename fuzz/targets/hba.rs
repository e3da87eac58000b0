//! Rules of `pg_hba.conf` and maps of `pg_ident.conf`, and the files that they name.

#![no_main]

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pgweir::config::hba::{HbaKind, parse, parse_ident};
use pgweir::users::rules::{Caller, Way, find, may_be};

fuzz_target!(|text: &str| {
    // A file that an `@name` names holds the first line, which may name itself.
    let first = text.lines().next().unwrap_or_default();
    let read = |path: &Path| match path.file_name() {
        Some(_) => Ok(first.to_owned()),
        None => Err(ErrorKind::NotFound.into()),
    };
    let address = IpAddr::from([127, 0, 0, 1]);
    let own = || vec![(address, IpAddr::from([255, 0, 0, 0]))];
    if let Ok(rules) = parse("hba", text, &read) {
        for way in [Way::Unix, Way::Clear(address), Way::Tls(address)] {
            for physical in [false, true] {
                let caller = Caller { way, database: "shop", user: "app", physical };
                if let Some(rule) = find(&rules, &caller, &own) {
                    assert_eq!(rule.kind == HbaKind::Local, way == Way::Unix);
                    assert!(rule.kind != HbaKind::HostSsl || way == Way::Tls(address));
                    assert!(rule.kind != HbaKind::HostNoSsl || way == Way::Clear(address));
                }
            }
        }
        // More behind it changes nothing for what is before.
        let more = format!("{text}\nlocal all all reject\n");
        if !text.ends_with('\\')
            && let Ok(more) = parse("hba", &more, &read)
        {
            assert_eq!(more[..rules.len()], rules[..]);
        }
    }
    if let Ok(lines) = parse_ident("ident", text, &read) {
        for line in &lines {
            assert!(
                may_be(&lines, Some(&line.map), &line.outside, "app")
                    || !matches!(&line.user, pgweir::config::hba::HbaUser::All)
            );
        }
    }
});
