//! Why there is no TLS: each cause is one line of the log, and of `pgweir check`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::certificates::{Authority, Good, put};
use crate::house::{House, ask};
use crate::support::{APP_USER, LIMIT, check, eventually};

const UNKNOWN: &str = "certificate verify failed: unknown issuer: it is signed by none of the \
                       authorities that are trusted";
const EXPIRED: &str = "certificate verify failed: certificate has expired, on 2002-02-02T00:00:00Z";
const NOT_YET: &str =
    "certificate verify failed: certificate is not valid before 2101-01-01T00:00:00Z";

/// The line of a text that has these words.
#[track_caller]
fn line<'a>(text: &'a str, words: &str) -> &'a str {
    let mut lines = text.lines().filter(|line| line.contains(words));
    lines.next().unwrap_or_else(|| panic!("no line with {words} in {text}"))
}

#[test]
fn what_is_wrong_with_a_servers_certificate_is_said() {
    let house = House::without_tls();
    let hosts = ["localhost"];
    let stranger = Authority::new("another authority");
    let settings = "server_tls_sslmode = \"verify-full\"; server_tls_ca_file = \"DIR/ca.crt\"";
    for (identity, cause) in [
        (house.authority.sign("server", &hosts, Good::InThePast), EXPIRED),
        (house.authority.sign("server", &hosts, Good::InTheFuture), NOT_YET),
        (
            house.authority.sign("server", &["db.example"], Good::Now),
            "certificate verify failed: certificate is for db.example, not for localhost",
        ),
        (stranger.sign("server", &hosts, Good::Now), UNKNOWN),
    ] {
        house.show(&identity);
        let pooler = house.pooler("localhost", settings);
        let told = ask(&pooler, "", "SELECT 1;").stderr;
        // Where servers are is for the log alone.
        let tells = cause.replace("db.example, not for localhost", "another host");
        assert!(told.contains(&format!("FATAL:  TLS with server failed: {tells}\n")), "{told}");
        eventually("it is logged", LIMIT, || pooler.log().contains("server login failed"));
        let log = pooler.log();
        let logged = line(&log, "server login failed");
        let whole = format!("TLS with server failed: {cause} (pgweir to server: user \"app\"");
        assert!(logged.contains(&whole) && logged.contains("at localhost:"), "{logged}");
        let checked = check(&house.toml("localhost", settings), &["--connect"]);
        assert_eq!(checked.status.code(), Some(1), "{}", checked.stdout);
        let login = line(&checked.stdout, "error: login databases.shop at localhost:");
        assert!(login.contains(&format!(" failed: {cause} (")), "{login}");
    }
}

#[test]
fn what_is_wrong_with_a_clients_certificate_is_said() {
    let house = House::without_tls();
    let settings =
        format!("{}; client_tls_ca_file = \"DIR/ca.crt\"", House::client_tls("verify-ca"));
    let stranger = Authority::new("another authority");
    for (identity, cause) in [
        (Some(house.authority.sign(APP_USER, &[], Good::InThePast)), EXPIRED),
        (Some(house.authority.sign(APP_USER, &[], Good::InTheFuture)), NOT_YET),
        (Some(stranger.sign(APP_USER, &[], Good::Now)), UNKNOWN),
        (None, "the peer showed no certificate"),
    ] {
        let pooler = house.pooler("127.0.0.1", &settings);
        let shown = identity.map_or_else(String::new, |identity| {
            let (certificate, key) = identity.write(house.folder(), "app");
            format!("&sslcert={}&sslkey={}", certificate.display(), key.display())
        });
        let ended = ask(&pooler, &format!("sslmode=require{shown}"), "SELECT 1;");
        assert!(!ended.status.success());
        let whole = format!(
            "login failed: client to pgweir: TLS handshake failed: {cause} (from 127.0.0.1)"
        );
        eventually(&whole, LIMIT, || pooler.log().contains(&whole));
    }
}

#[test]
fn what_is_wrong_with_our_own_certificate_is_said() {
    let house = House::without_tls();
    let both = format!(
        "{}; server_tls_sslmode = \"require\"; server_tls_cert_file = \"DIR/pgweir.crt\"; \
         server_tls_key_file = \"DIR/pgweir.key\"",
        House::client_tls("require")
    );
    for (good, logged, checked) in [
        (
            Good::InThePast,
            "our certificate has expired, on 2002-02-02T00:00:00Z",
            "expired on 2002-02-02T00:00:00Z",
        ),
        (
            Good::InTheFuture,
            "our certificate is not valid before 2101-01-01T00:00:00Z",
            "not valid before 2101-01-01T00:00:00Z",
        ),
    ] {
        house.authority.sign("pgweir", &[], good).write(house.folder(), "pgweir");
        let pooler = house.pooler("127.0.0.1", &both);
        let ended = check(&house.toml("127.0.0.1", &both), &["--connect"]);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stdout);
        for (whom, place) in
            [("clients", "for clients"), ("servers", "for the servers of databases.shop")]
        {
            let whole = format!("ERROR pgweir::app::tls: TLS with {whom}: {logged}\n");
            eventually(&whole, LIMIT, || pooler.log().contains(&whole));
            let wanted = format!("error: certificate of ours, {place}: {checked} (");
            line(&ended.stdout, &wanted);
        }
    }
}

/// Runs `pgweir` as somebody who may read no more than the bits of a file say; root may read
/// everything else.
fn run_by_somebody(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_pgweir");
    let id = Command::new("id").arg("-u").output().unwrap();
    let mut command = if id.stdout == b"0\n" {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-dac_override,-dac_read_search", program]);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).output().unwrap()
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let house = House::without_tls();
    house.authority.sign("other", &[], Good::Now).write(house.folder(), "other");
    let pem = |what: &str, base64: &str| {
        format!("-----BEGIN {what}-----\n{base64}\n-----END {what}-----\n")
    };
    put(house.folder(), "text", "no certificate\n");
    put(house.folder(), "garbled", &pem("CERTIFICATE", "*"));
    put(house.folder(), "broken", &pem("CERTIFICATE", "AAAA"));
    put(house.folder(), "half", &house.authority.pem()[..200]);
    put(house.folder(), "broken.key", &pem("PRIVATE KEY", "AAAA"));
    put(house.folder(), "mine.crt", &fs::read_to_string(house.file("other.crt")).unwrap());
    put(house.folder(), "mine.key", &fs::read_to_string(house.file("other.key")).unwrap());
    put(house.folder(), "mine.ca", house.authority.pem());
    for name in ["mine.crt", "mine.key", "mine.ca"] {
        fs::set_permissions(house.file(name), Permissions::from_mode(0o000)).unwrap();
    }
    fs::create_dir(house.file("folder")).unwrap();
    let good = ("other.crt", "other.key", "ca.crt");
    let no_file = "can't be read: No such file or directory (os error 2)";
    let not_allowed = "can't be read: Permission denied (os error 13)";
    for ((certificate, key, ca), wanted) in [
        (("none", good.1, good.2), format!("/none {no_file}")),
        ((good.0, "none", good.2), format!("/none {no_file}")),
        ((good.0, good.1, "none"), format!("/none {no_file}")),
        (("mine.crt", good.1, good.2), format!("/mine.crt {not_allowed}")),
        ((good.0, "mine.key", good.2), format!("/mine.key {not_allowed}")),
        ((good.0, good.1, "mine.ca"), format!("/mine.ca {not_allowed}")),
        (("folder", good.1, good.2), "/folder can't be read: Is a directory".to_owned()),
        (("text", good.1, good.2), "/text has no certificate in PEM".to_owned()),
        ((good.0, good.1, "text"), "/text has no certificate in PEM".to_owned()),
        (("garbled", good.1, good.2), "/garbled is broken: ".to_owned()),
        (("half", good.1, good.2), "/half is broken: ".to_owned()),
        (("broken", good.1, good.2), "/broken is broken: no certificate of X.509".to_owned()),
        ((good.0, good.1, "garbled"), "/garbled is broken: ".to_owned()),
        ((good.0, good.1, "broken"), "/broken has no certificate of an authority".to_owned()),
        ((good.0, "other.crt", good.2), "/other.crt has no private key in PEM".to_owned()),
        ((good.0, "broken.key", good.2), "/broken.key is broken: ".to_owned()),
        ((good.0, "pgweir.key", good.2), "/pgweir.key is not the key of /".to_owned()),
    ] {
        for (side, mode) in [("client", "verify-ca"), ("server", "verify-ca")] {
            let files = format!(
                "{side}_tls_sslmode = \"{mode}\"; {side}_tls_cert_file = \"DIR/{certificate}\"; \
                 {side}_tls_key_file = \"DIR/{key}\"; {side}_tls_ca_file = \"DIR/{ca}\""
            );
            let toml = format!("http_listen = \"\"\n{}", house.toml("localhost", &files));
            let file = put(house.folder(), "pooler.toml", &toml);
            let file = file.to_str().unwrap();
            let output = run_by_somebody(&["run", file]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(&wanted), "{wanted}: {said}");
            assert!(said.contains(&format!("TLS setup failed: {side}s")), "{said}");
            assert_eq!(said.trim().lines().count(), 1, "{said}");
            let output = run_by_somebody(&["check", file, "--connect"]);
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{said}");
            let checked = line(&said, "error: certificate of ours");
            assert!(checked.contains(&wanted), "{checked}");
        }
    }
}
