//! The rules that `ARCHITECTURE.md` sets for the source, checked on every file: who may import
//! whom, which module may use which library, and what a file looks like.
//!
//! Each rule is a function from files to complaints, and has a test that shows it complaining.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test fails by panicking and is read by nobody else"
)]

#[path = "architecture/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use source::{Source, Token};

/// Layers from below to above: a module imports only from layers below its own.
const LAYERS: &[&[&str]] = &[
    &["wire", "config", "complaints", "traffic", "calendar", "events"],
    &["sql", "auth"],
    &["net", "route", "shard"],
    &["client", "server"],
    &["pool", "topology", "cancel", "notify", "catalog", "alerts"],
    &["session", "admin", "http", "users"],
    &["app", "demo", "main"],
];

/// Imports within a layer, each for a reason.
const BESIDE: &[(&str, &str)] = &[
    ("main", "app"),  // the command line starts it
    ("main", "demo"), // and the demonstration, which does not know the pooler
];

/// Which modules may use a library; in tests everybody may.
const DOORS: &[(&str, &[&str])] = &[
    ("ahash", &["server", "session", "catalog"]),
    ("anyhow", &["main"]),
    ("base64", &["auth"]),
    ("bb8", &["pool"]),
    ("clap", &["main"]),
    ("hashbrown", &["server", "catalog"]),
    ("hmac", &["auth"]),
    ("http-body-util", &["http"]),
    ("hyper", &["http"]),
    ("hyper-util", &["http"]),
    ("libc", &["net"]),
    ("listenfd", &["net"]),
    ("md-5", &["auth", "shard"]),
    ("metrics-exporter-prometheus", &["http"]),
    ("nix", &["net"]),
    ("pbkdf2", &["auth"]),
    ("pgwire", &["wire", "auth"]),
    ("rustls", &["net"]),
    ("serde", &["config"]),
    ("sha2", &["auth", "net"]),
    ("socket2", &["net", "app"]),
    ("sqlparser", &["sql"]),
    ("stringprep", &["auth"]),
    ("tikv-jemallocator", &["main"]),
    ("toml", &["config"]),
    ("tracing-subscriber", &["main"]),
    ("x509-cert", &["net"]),
];

/// Libraries that belong to nobody, as the language's own does; `tokio` not below `net`.
const EVERYWHERE: &[&str] = &[
    "bytes",
    "memchr",
    "metrics",
    "parking_lot",
    "rand",
    "subtle",
    "thiserror",
    "tokio",
    "tracing",
];

/// Lines of a file, its tests apart, that one sitting is enough for.
const LINES_MAX: usize = 500;

/// Files that are longer, and why.
const LONG: &[(&str, &str)] =
    &[("src/session/mod.rs", "the states of a session and every step between them")];

/// Statics that change, and why.
const CHANGING: &[(&str, &str)] = &[
    ("src/auth/scram.rs", "counts rounds of hashing, in tests alone"),
    ("src/net/scratch.rs", "one pair of buffers per thread"),
    ("src/net/tls/turn.rs", "one turn per thread"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    Source::below(root(), "src")
}

#[track_caller]
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Imports that go up or aside, modules without a layer, and layers without their module.
fn layers(files: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.module() != "lib") {
        let (path, own) = (file.path.display(), file.module());
        let Some(own_layer) = layer(&own) else {
            complaints.push(format!("{path}:1: module {own} has no layer"));
            continue;
        };
        for import in file.imports() {
            let line = import.line;
            let Some(other) = import.module else {
                complaints.push(format!("{path}:{line}: imports what can't be followed"));
                continue;
            };
            let allowed = other == own || BESIDE.contains(&(&own, &other));
            match layer(&other) {
                _ if allowed => {}
                Some(other_layer) if other_layer < own_layer => {}
                Some(other_layer) => complaints.push(format!(
                    "{path}:{line}: {own} (layer {own_layer}) imports {other} (layer {other_layer})"
                )),
                None => complaints.push(format!("{path}:{line}: {other} has no layer")),
            }
        }
    }
    complaints
}

/// Libraries that are used by others than their doorkeepers.
fn doors(files: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| !file.is_test()) {
        for (library, keepers) in DOORS {
            if keepers.contains(&file.module().as_str()) {
                continue;
            }
            let name = library.replace('-', "_");
            let name = if *library == "md-5" { "md5" } else { &name };
            for line in file.uses_of(name).into_iter().filter(|line| *line <= file.lines()) {
                complaints.push(format!(
                    "{}:{line}: {library} is for {} alone",
                    file.path.display(),
                    keepers.join(" and ")
                ));
            }
        }
        let below_sockets = layer(&file.module()) < layer("net") && file.module() != "lib";
        for line in file.uses_of("tokio").into_iter().filter(|line| *line <= file.lines()) {
            if below_sockets {
                complaints.push(format!("{}:{line}: tokio below net", file.path.display()));
            }
        }
    }
    complaints
}

/// Dependencies that nobody has decided about.
fn undecided(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let decided = |name: &str| {
        EVERYWHERE.contains(&name) || DOORS.iter().any(|(library, _)| *library == name)
    };
    let dependencies = manifest["dependencies"].as_table().unwrap();
    let undecided = dependencies.keys().filter(|name| !decided(name));
    undecided.map(|name| format!("Cargo.toml: {name} has no doorkeeper")).collect()
}

/// Heads that are missing, files that are too long, exceptions that are none any more.
fn shapes(files: &[Source], long: &[(&str, &str)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        let path = file.path.display().to_string();
        if !file.text.starts_with("//!") && !file.is_test() {
            complaints.push(format!("{path}:1: does not open with //!"));
        }
        let excepted = long.iter().any(|(excepted, _)| *excepted == path);
        match file.lines() {
            lines if lines > LINES_MAX && !excepted && !file.is_test() => {
                complaints.push(format!("{path}:{lines}: longer than {LINES_MAX} lines"));
            }
            lines if lines <= LINES_MAX && excepted => {
                complaints.push(format!("{path}: is short, and need not be excepted"));
            }
            _ => {}
        }
    }
    complaints
}

fn statics(files: &[Source], changing: &[(&str, &str)]) -> Vec<String> {
    let excepted = |path: &str| changing.iter().any(|(excepted, _)| *excepted == path);
    let mut complaints = Vec::new();
    for file in files {
        let path = file.path.display().to_string();
        let lines = file.mutable_statics().into_iter().filter(|_| !excepted(&path));
        complaints.extend(lines.map(|line| format!("{path}:{line}: a static that changes")));
    }
    complaints
}

/// SQLSTATEs in text outside of the one list of conditions. Those that servers send are bytes.
fn conditions(files: &[Source]) -> Vec<String> {
    let is_sqlstate = |text: &str| {
        text.len() == 5
            && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
            && text.ends_with(|last: char| last.is_ascii_digit())
    };
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| !file.is_test()) {
        // The console's errors are those of PgBouncer's console, for its clients alone.
        let console = file.path.starts_with("src/admin");
        if console || file.path == Path::new("src/client/condition.rs") {
            continue;
        }
        for (line, text) in file.texts().filter(|(_, text)| is_sqlstate(text)) {
            let path = file.path.display();
            complaints.push(format!("{path}:{line}: {text} belongs to src/client/condition.rs"));
        }
    }
    complaints
}

/// Keys of the configuration that nobody reads: those fields of its structs that no other code
/// names.
fn unread(files: &[Source]) -> Vec<String> {
    const MODELS: [&str; 4] = [
        "src/config/model.rs",
        "src/config/database.rs",
        "src/config/user.rs",
        "src/config/alerts.rs",
    ];
    let is = |file: &Source, paths: &[&str]| paths.iter().any(|path| file.path == Path::new(path));
    let reads = |file: &&Source| {
        !file.is_test() && !is(file, &MODELS) && !file.path.starts_with("src/config/keys")
    };
    let words = |file: &'_ Source| -> BTreeSet<String> {
        let words = file.tokens.iter().filter(|(line, _)| *line <= file.lines());
        words
            .filter_map(|(_, token)| match token {
                Token::Word(word) => Some(word.clone()),
                _ => None,
            })
            .collect()
    };
    let read: BTreeSet<String> = files.iter().filter(reads).flat_map(words).collect();
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| is(file, &MODELS)) {
        for pair in file.tokens.windows(2) {
            if let [(_, Token::Word(shown)), (line, Token::Word(name))] = pair
                && shown == "pub"
                && !read.contains(name)
            {
                complaints.push(format!("{}:{line}: nobody reads {name}", file.path.display()));
            }
        }
    }
    complaints
}

/// The names between backticks in those rows of the table below `heading` that have a cell for
/// tests: the last.
fn tests_named(document: &str, heading: &str) -> Vec<String> {
    let section = document.split_once(heading).map_or("", |(_, rest)| rest);
    let rows = section.lines().take_while(|line| !line.starts_with("## "));
    let cells = rows.filter_map(|row| row.strip_suffix('|')?.rsplit('|').next());
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

fn functions(files: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files {
        for pair in file.tokens.windows(2) {
            if let [(_, Token::Word(keyword)), (_, Token::Word(name))] = pair
                && keyword == "fn"
            {
                found.insert(name.clone());
            }
        }
    }
    found
}

#[test]
fn modules_import_only_from_below() {
    assert_none(&layers(&sources()));
    let modules: BTreeSet<String> = sources().iter().map(Source::module).collect();
    let listed = LAYERS.iter().copied().flatten().copied();
    let missing: Vec<&str> = listed.filter(|module| !modules.contains(*module)).collect();
    assert!(missing.is_empty(), "layers name modules that don't exist: {missing:?}");
}

#[test]
fn libraries_are_used_by_their_doorkeepers_alone() {
    assert_none(&doors(&sources()));
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert_none(&undecided(&manifest));
}

#[test]
fn files_are_headed_and_short() {
    assert_none(&shapes(&sources(), LONG));
}

#[test]
fn nothing_static_changes() {
    assert_none(&statics(&sources(), CHANGING));
}

#[test]
fn sqlstates_are_in_one_place() {
    assert_none(&conditions(&sources()));
}

#[test]
fn every_key_of_the_configuration_is_read() {
    assert_none(&unread(&sources()));
}

#[test]
fn invariants_and_attacks_have_their_tests() {
    let mut named = Vec::new();
    for (file, heading) in [
        ("ARCHITECTURE.md", "## Invariants"),
        ("docs/security.md", "## Attacks that have worked on poolers"),
    ] {
        let document = std::fs::read_to_string(root().join(file)).unwrap();
        let found = tests_named(&document, heading);
        assert!(found.len() >= 10, "{file}: {found:?}");
        named.extend(found);
    }
    let mut files = sources();
    files.extend(Source::below(root(), "tests"));
    let known = functions(&files);
    let unknown: Vec<_> = named.iter().filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "no test is called {unknown:?}");
}

/// Runs a rule on one bad file after another.
fn check(rule: impl Fn(&[Source]) -> Vec<String>, samples: &[(&str, &str, &[&str])]) {
    for (path, text, expected) in samples {
        let complaints = rule(&[Source::new(*path, text)]);
        assert_eq!(complaints, *expected, "{path}: {text}");
    }
}

#[test]
fn imports_from_above_or_beside_are_found() {
    let up =
        |line: usize| format!("src/pool/x.rs:{line}: pool (layer 4) imports session (layer 5)");
    let (up1, up2, up3) = (up(1), up(2), up(3));
    check(
        layers,
        &[
            ("src/pool/x.rs", "use crate::net::socket::Socket;", &[]),
            ("src/pool/x.rs", "use crate::pool::Lease; use super::state;", &[]),
            ("src/pool/x.rs", "\nuse crate::session::Session;", &[&up2]),
            ("src/pool/x.rs", "fn f() { crate::session::f() }", &[&up1]),
            ("src/pool/x.rs", "use crate::{net::{self, x},\nserver, session::y};", &[&up2]),
            ("src/pool/x.rs", "\n\nuse super::super::session;", &[&up3]),
            ("src/pool/x.rs", "mod tests {\n use super::super::state;\n}", &[]),
            ("src/pool/x.rs", "mod tests {\n use super::super::super::session;\n}", &[&up2]),
            ("src/pool/x.rs", "mod a { mod b {} } use super::super::session;", &[&up1]),
            ("src/pool/x.rs", "// use crate::session\n/* crate::session */", &[]),
            ("src/pool/x.rs", "const X: &str = \"use crate::session::x\";", &[]),
            ("src/pool/x.rs", "const X: &str = r#\"crate::session \"::\"#;", &[]),
            ("src/pool/x.rs", "let x = ('\"', '\\'', 'a: loop {}); crate::session::f()", &[&up1]),
            (
                "src/pool/x.rs",
                "pub(crate) fn f() {} macro_rules! m { () => { $crate::net::x } }",
                &[],
            ),
            (
                "src/pool/x.rs",
                "use crate::*;",
                &["src/pool/x.rs:1: imports what can't be followed"],
            ),
            ("src/pool/x.rs", "use crate::nowhere::X;", &["src/pool/x.rs:1: nowhere has no layer"]),
            ("src/nowhere.rs", "", &["src/nowhere.rs:1: module nowhere has no layer"]),
            ("src/main.rs", "use pgweir::app; use pgweir::config::Config;", &[]),
            (
                "src/client/mod.rs",
                "use crate::server::Server;",
                &["src/client/mod.rs:1: client (layer 3) imports server (layer 3)"],
            ),
        ],
    );
}

#[test]
fn libraries_in_the_wrong_hands_are_found() {
    check(
        doors,
        &[
            ("src/auth/scram.rs", "use hmac::Mac; use base64::Engine;", &[]),
            ("src/server/x.rs", "\nuse hmac::Mac;", &["src/server/x.rs:2: hmac is for auth alone"]),
            (
                "src/wire/x.rs",
                "fn f() { md5::x() }",
                &["src/wire/x.rs:1: md-5 is for auth and shard alone"],
            ),
            ("src/app.rs", "use toml;", &["src/app.rs:1: toml is for config alone"]),
            (
                "src/app.rs",
                "#[derive(serde::Serialize)]",
                &["src/app.rs:1: serde is for config alone"],
            ),
            ("src/app.rs", "let toml = 1; x.toml::<y>(); crate::toml::x()", &[]),
            ("src/sql/x.rs", "use tokio::time;", &["src/sql/x.rs:1: tokio below net"]),
            ("src/app.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\nuse hmac::Mac;\n}", &[]),
            ("src/auth/tests.rs", "use toml::Table;", &[]),
        ],
    );
    let manifest = "[dependencies]\ntokio = \"1\"\nleft-pad = \"1\"\n";
    assert_eq!(undecided(manifest), ["Cargo.toml: left-pad has no doorkeeper"]);
}

#[test]
fn shapeless_files_are_found() {
    let line = "\n".repeat(LINES_MAX);
    let headed = format!("//! Head.{line}");
    let tested = format!("{headed}#[cfg(test)]\nmod tests {{\n{line}}}");
    let long = format!("{headed}fn f() {{}}");
    check(
        |files| shapes(files, &[]),
        &[
            ("src/x.rs", "//! Head.", &[]),
            ("src/x.rs", "use x;", &["src/x.rs:1: does not open with //!"]),
            ("src/x.rs", &tested, &[]),
            ("src/x/tests.rs", &long, &[]),
            ("src/x.rs", &long, &["src/x.rs:501: longer than 500 lines"]),
        ],
    );
    let excepted = shapes(&[Source::new("src/x.rs", "//! Head.")], &[("src/x.rs", "is long")]);
    assert_eq!(excepted, ["src/x.rs: is short, and need not be excepted"]);
}

#[test]
fn changing_statics_are_found() {
    let found: &[&str] = &["src/x.rs:1: a static that changes"];
    check(
        |files| statics(files, &[("src/net/scratch.rs", "")]),
        &[
            ("src/x.rs", "static X: &[u8] = b\"\"; const Y: Mutex<u8> = z;", &[]),
            ("src/x.rs", "static X: LazyLock<HashSet<&'static str>> = y;", &[]),
            ("src/x.rs", "fn f(x: &'static Mutex<u8>) {}", &[]),
            ("src/x.rs", "static mut X: u8 = 0;", found),
            ("src/x.rs", "pub(crate) static X: Mutex<u8> = y;", found),
            ("src/x.rs", "static X: std::sync::atomic::AtomicU64 = y;", found),
            ("src/x.rs", "thread_local! { static X: RefCell<u8> = y }", found),
            ("src/net/scratch.rs", "thread_local! { static X: RefCell<u8> = y }", &[]),
        ],
    );
}

#[test]
fn scattered_sqlstates_are_found() {
    let found: &[&str] = &["src/x.rs:1: 57P01 belongs to src/client/condition.rs"];
    check(
        conditions,
        &[
            ("src/x.rs", "refuse(\"57P01\", \"no\")", found),
            ("src/x.rs", "code == b\"57P01\" || word == \"FATAL\" || port == \"543210\"", &[]),
            ("src/client/condition.rs", "X: Fatal \"57P01\"", &[]),
            ("src/x.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\nf(\"57P01\")\n}", &[]),
        ],
    );
}

#[test]
fn keys_that_nobody_reads_are_found() {
    let model = Source::new("src/config/model.rs", "struct X { pub a: u8, pub b: u8 }");
    let key = Source::new("src/config/keys/x.rs", "key!(b, doc)");
    let reader = Source::new("src/app.rs", "x.a\n#[cfg(test)]\nmod tests {\nx.b }");
    let complaints = unread(&[model, key, reader]);
    assert_eq!(complaints, ["src/config/model.rs:1: nobody reads b"]);
}

#[test]
fn tests_that_do_not_exist_are_found() {
    let document = "## Invariants\n| a | `f` `g` |\n| `x` | - |\n\n## Next\n| b | `h` |\n";
    assert_eq!(tests_named(document, "## Invariants"), ["f", "g"]);
    let known = functions(&[Source::new("src/x.rs", "fn f() {} // fn g\n")]);
    assert_eq!(known, BTreeSet::from(["f".to_owned()]));
}
