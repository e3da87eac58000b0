//! URLs of servers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::config::ServerUrl;

fuzz_target!(|text: &str| {
    if let Ok(url) = ServerUrl::parse(text) {
        assert!(!url.host.is_empty() && !url.host.contains('\0'));
        assert!(url.port > 0);
        // The password is not shown, unless something else is the same text.
        if let Some(password) = url.password.as_ref().map(|secret| secret.expose())
            && password.len() > 20
        {
            let without = ServerUrl { password: None, ..url.clone() };
            let shown = format!("{url} {url:?}");
            assert!(
                !shown.contains(password) || format!("{without} {without:?}").contains(password)
            );
        }
    }
    // Any password survives, percent-encoded.
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    if !text.contains('\0') && !text.is_empty() {
        let url = ServerUrl::parse(&format!("postgres://app:{encoded}@db/shop")).unwrap();
        assert_eq!(url.password.unwrap().expose(), text);
    }
});
