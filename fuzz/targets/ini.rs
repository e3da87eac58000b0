//! PgBouncer's ini, and what it is converted to.

#![no_main]

use std::io::ErrorKind;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pgweir::config::ini::{Files, convert, load};
use pgweir::config::{Config, Environment};

fuzz_target!(|text: &str| {
    // Files that it names are read, but for those that it includes: the first line of itself.
    if text.contains("_file") {
        return;
    }
    let first = text.lines().next().unwrap_or_default();
    let read = |path: &Path| match path.file_name() {
        Some(_) => Ok(first.to_owned()),
        None => Err(ErrorKind::NotFound.into()),
    };
    let ran = load("ini", text, &read, &Environment::default());
    let files = Files { password_file: "passwords", auth_file: None };
    let converted = convert("ini", text, &read, files);
    assert_eq!(ran.is_ok(), converted.is_ok());
    let (Ok(ran), Ok(converted)) = (ran, converted) else {
        return;
    };
    if converted.passwords.is_none() && !ran.config.databases.is_empty() {
        let loaded = Config::from_toml_str("toml", &converted.toml);
        assert_eq!(loaded.as_ref(), Ok(&ran.config), "{}", converted.toml);
    }
});
