//! Keys of PgBouncer whose values mean something else here.

use super::super::setting::quote;
use super::super::tls::{TlsVersion, read_suites};
use super::document::{Fate, Set, Toml};
use super::translate::{Outcome, View};
use super::written::{seconds, whole};

/// What there is instead of `log_stats`.
pub(super) const NO_FIGURES: &str =
    "not supported: figures are in SHOW STATS and /metrics, and no lines with them are in the log";
/// What there is instead of `conffile`.
pub(super) const ONE_FILE: &str =
    "not supported: RELOAD reads the file again that pgweir was started with";

pub(super) fn min_pool_size(view: &View<'_>, name: &'static str, value: &str) -> Outcome {
    let (Some(min), Some(size)) = (whole(value), view.default_pool_size()) else {
        return Outcome::ours(name, value);
    };
    lowered(name, value, min, size)
}

/// PgBouncer opens no more than the pool's size, whatever the minimum.
pub(super) fn lowered(name: &'static str, value: &str, min: i64, size: i64) -> Outcome {
    if min <= size {
        return Outcome::ours(name, value);
    }
    let why =
        format!("lowered to the pool's size, {}, which PgBouncer does not exceed either", size);
    Outcome::adapted(name, size.to_string(), why)
}

pub(super) fn conffile(view: &View<'_>, _: &'static str, value: &str) -> Outcome {
    if value.is_empty() || value == view.file {
        return Outcome::not_needed("RELOAD reads this file again");
    }
    Outcome::left_out(Fate::NotSupported(bare(ONE_FILE)))
}

pub(super) fn log_stats(_: &View<'_>, _: &'static str, value: &str) -> Outcome {
    if whole(value) == Some(0) {
        return Outcome::not_needed("figures are never in the log");
    }
    Outcome::left_out(Fate::NotSupported(bare(NO_FIGURES)))
}

fn bare(absence: &str) -> String {
    absence.strip_prefix("not supported: ").unwrap_or(absence).to_owned()
}

pub(super) fn of_hba(view: &View<'_>, name: &'static str, value: &str) -> Outcome {
    if value.is_empty() || view.value("auth_type").eq_ignore_ascii_case("hba") {
        return Outcome::ours(name, value);
    }
    Outcome::not_needed("auth_type is not hba")
}

pub(super) fn auth_file(view: &View<'_>, name: &'static str, value: &str) -> Outcome {
    if value.is_empty() || !view.value("auth_type").eq_ignore_ascii_case("any") {
        return Outcome::ours(name, value);
    }
    Outcome::not_needed("with auth_type = any nobody is listed")
}

pub(super) fn verbose(_: &View<'_>, name: &'static str, value: &str) -> Outcome {
    match whole(value) {
        Some(level) if level > 3 => {
            Outcome::adapted(name, "3".to_owned(), "3 is all that there is".to_owned())
        }
        _ => Outcome::ours(name, value),
    }
}

pub(super) fn server_check_delay(view: &View<'_>, name: &'static str, value: &str) -> Outcome {
    if view.value("server_check_query").is_empty() {
        return Outcome::not_needed("server_check_query is empty: nothing is checked");
    }
    Outcome::ours(name, value)
}

pub(super) fn server_check_query(_: &View<'_>, name: &'static str, value: &str) -> Outcome {
    match value {
        "<empty>" => Outcome::ours(name, ""),
        // Ten years.
        "" => Outcome {
            sets: vec![Set { key: "server_check_delay", value: Toml::Shown("315360000".into()) }],
            fate: Fate::Converted,
        },
        query => Outcome::ours(name, query),
    }
}

pub(super) fn server_lifetime(_: &View<'_>, name: &'static str, value: &str) -> Outcome {
    if seconds(value) == Some(0.0) {
        let why = "1 ms, which is over after one use, as 0 means in PgBouncer (0 is no limit here)";
        return Outcome::adapted(name, "0.001".to_owned(), why.to_owned());
    }
    Outcome::ours(name, value)
}

pub(super) fn server_login_retry(_: &View<'_>, name: &'static str, value: &str) -> Outcome {
    if seconds(value) == Some(0.0) {
        let why = "the shortest pause that there is".to_owned();
        return Outcome::adapted(name, "0.001".to_owned(), why);
    }
    Outcome::ours(name, value)
}

pub(super) fn no_limit(_: &View<'_>, name: &'static str, value: &str) -> Outcome {
    if seconds(value) == Some(0.0) {
        let why = "0 is no limit in PgBouncer; an hour is the most here".to_owned();
        return Outcome::adapted(name, "3600".to_owned(), why);
    }
    Outcome::ours(name, value)
}

/// Versions below 1.2 are not spoken: what is left of the list counts.
pub(super) fn tls_protocols(_: &View<'_>, name: &'static str, value: &str) -> Outcome {
    let lower = value.to_ascii_lowercase();
    let words: Vec<&str> =
        lower.split([',', ':', ' ']).map(str::trim).filter(|word| !word.is_empty()).collect();
    let known = |word: &&str| {
        ["all", "secure", "legacy", "tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3"].contains(word)
    };
    if !words.iter().all(known) {
        return Outcome::ours(name, value);
    }
    let has = |version: &str| {
        let whole = |word: &&str| ["all", "secure", "legacy"].contains(word);
        words.is_empty() || words.iter().any(|word| *word == version || whole(word))
    };
    let old = |word: &&str| ["all", "legacy", "tlsv1.0", "tlsv1.1"].contains(word);
    let left = match (has("tlsv1.2"), has("tlsv1.3")) {
        (true, true) => "secure",
        (true, false) => "tlsv1.2",
        (false, true) => "tlsv1.3",
        // The reader says what is wrong with it.
        (false, false) => return Outcome::ours(name, value),
    };
    if words.iter().any(old) {
        let why = "versions of TLS below 1.2 are not spoken".to_owned();
        return Outcome::adapted(name, quote(left), why);
    }
    Outcome::ours(name, left)
}

/// Names of suites are kept, as far as there are such suites; OpenSSL's expressions are not.
pub(super) fn tls_ciphers(_: &View<'_>, name: &'static str, value: &str) -> Outcome {
    let version = if name.contains("13") { TlsVersion::V13 } else { TlsVersion::V12 };
    let names: Vec<&str> = value.split([':', ',', ' ']).filter(|name| !name.is_empty()).collect();
    if read_suites(version, &names).is_ok() {
        return Outcome::ours(name, &names.join(":"));
    }
    if let ["fast" | "normal" | "all" | "legacy" | "insecure"] = &*names {
        return Outcome::not_needed("all suites of pgweir are strong, and offered");
    }
    let known: Vec<&str> =
        names.iter().filter(|name| read_suites(version, &[name]).is_ok()).copied().collect();
    let keyword = ["default", "secure"];
    let expression =
        names.iter().any(|name| name.contains(['!', '+', '@', '=']) || name.starts_with('-'));
    if expression || known.is_empty() || known.iter().any(|name| keyword.contains(name)) {
        let all = "all suites of pgweir are offered, which are those with AES-GCM or ChaCha20 and \
                   forward secrecy";
        return Outcome::left_out(Fate::NotSupported(all.to_owned()));
    }
    let why = "suites that pgweir does not have are left out".to_owned();
    Outcome::adapted(name, quote(&known.join(":")), why)
}
