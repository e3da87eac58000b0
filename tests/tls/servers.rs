//! TLS with servers: every mode against every kind of server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::certificates::{Good, Identity, self_signed};
use crate::house::{House, SERVER_TLS, ask};
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, eventually, psql_rows,
};

const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

/// What a client gets who asks whether the server's connection has TLS: `t`, `f`, or an error with
/// these words in it.
#[track_caller]
fn check(house: &House, server: &str, mode: &str, wanted: &str) {
    let settings = format!("server_tls_sslmode = \"{mode}\"; server_tls_ca_file = \"DIR/ca.crt\"");
    let pooler = house.pooler("localhost", &settings);
    let ended = ask(&pooler, "", SERVER_TLS);
    let got = if ended.status.success() { ended.stdout.trim() } else { ended.stderr.trim() };
    let right = if wanted.len() == 1 { got == wanted } else { got.contains(wanted) };
    assert!(right, "{server} with {mode}: wanted {wanted}, got {got}\n{}", pooler.log());
}

fn check_modes(house: &House, server: &str, wanted: [&str; 6]) {
    let modes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    for (mode, wanted) in modes.into_iter().zip(wanted) {
        check(house, server, mode, wanted);
    }
}

#[test]
fn server_without_tls() {
    let no = "server does not support TLS, which server_tls_sslmode demands";
    check_modes(&House::without_tls(), "no TLS", ["f", "f", "f", no, no, no]);
}

#[test]
fn modes_demand_what_they_say() {
    let house = House::new();
    check_modes(&house, "right host", ["f", "f", "t", "t", "t", "t"]);

    house.show(&house.authority.sign("server", &["db.example"], Good::Now));
    let other = "certificate is for another host";
    check_modes(&house, "another host", ["f", "f", "t", "t", "t", other]);

    house.show(&self_signed("server", &HERE));
    // As libpq does, `require` verifies when it has been told by whom.
    let unknown = "unknown issuer";
    check_modes(&house, "signed by itself", ["f", "f", "t", unknown, unknown, unknown]);
    let pooler = house.pooler("localhost", "server_tls_sslmode = \"require\"");
    assert_eq!(ask(&pooler, "", SERVER_TLS).stdout, "t\n", "nobody says whom to trust");
    for settings in ["", "; server_tls_ca_file = \"system\""] {
        let settings = format!("server_tls_sslmode = \"verify-ca\"{settings}");
        let ended = ask(&house.pooler("localhost", &settings), "", SERVER_TLS);
        assert!(ended.stderr.contains(unknown), "the system does: {}", ended.stderr);
    }

    house.show(&house.authority.sign("server", &HERE, Good::InThePast));
    let expired = "certificate has expired, on 2002-02-02";
    check_modes(&house, "expired", ["f", "f", "t", expired, expired, expired]);
}

#[test]
fn server_that_demands_tls_gets_it_in_every_mode_but_one() {
    let house = House::new();
    set_hba(&house.cluster, "hostssl all all 127.0.0.1/32 scram-sha-256");
    let refused = "no pg_hba.conf entry";
    check_modes(&house, "hostssl", [refused, "t", "t", "t", "t", "t"]);
    set_hba(&house.cluster, "hostnossl all all 127.0.0.1/32 scram-sha-256");
    check_modes(&house, "hostnossl", ["f", "f", "f", refused, refused, refused]);
}

/// Replaces the rules for TCP. Postgres reads the file for each reload.
pub fn set_hba(cluster: &Cluster, rule: &str) {
    let file = cluster.folder().join("primary").join("pg_hba.conf");
    let superuser = "local all all trust\nhostssl all postgres 127.0.0.1/32 scram-sha-256\n\
                     hostnossl all postgres 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(&file, format!("{superuser}{rule}\n")).unwrap();
    let url = cluster.primary().url(crate::support::SUPERUSER, PASSWORD, APP_DATABASE);
    psql_rows(&url, "SELECT pg_reload_conf();");
    eventually("rules are read", LIMIT, || {
        let rules = "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL;";
        psql_rows(&url, rules) == "0"
    });
}

#[test]
fn certificate_that_is_trusted_itself_is_enough() {
    let house = House::without_tls();
    // This makes an authority that stands for itself, named by its common name alone.
    house.openssl(
        "req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout own.key -out own.crt",
    );
    house.show(&written(&house, "own"));
    for mode in ["verify-ca", "verify-full"] {
        let settings =
            format!("server_tls_sslmode = \"{mode}\"; server_tls_ca_file = \"DIR/own.crt\"");
        let pooler = house.pooler("localhost", &settings);
        assert_eq!(ask(&pooler, "", SERVER_TLS).stdout, "t\n", "{mode}: {}", pooler.log());
    }
    let settings = "server_tls_sslmode = \"verify-full\"; server_tls_ca_file = \"DIR/own.crt\"";
    let ended = ask(&house.pooler("127.0.0.1", settings), "", SERVER_TLS);
    assert!(ended.stderr.contains("certificate is for another host"), "{}", ended.stderr);
}

#[test]
fn certificate_of_version_1_is_verified() {
    let house = House::without_tls();
    // As Postgres's own documentation does it.
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -subj /CN=root -keyout root.key -out root.crt",
        "req -new -newkey rsa:2048 -nodes -subj /CN=localhost -keyout v1.key -out v1.csr",
        "x509 -req -in v1.csr -CA root.crt -CAkey root.key -CAcreateserial -out v1.crt",
    ] {
        house.openssl(arguments);
    }
    house.show(&written(&house, "v1"));
    let check = |ca: &str, wanted: &str| {
        let settings =
            format!("server_tls_sslmode = \"verify-full\"; server_tls_ca_file = \"DIR/{ca}\"");
        let pooler = house.pooler("localhost", &settings);
        let ended = ask(&pooler, "", SERVER_TLS);
        assert!(format!("{}{}", ended.stdout, ended.stderr).contains(wanted), "{ended:?}");
    };
    check("root.crt", "t\n");
    check("ca.crt", "unknown issuer");
}

/// What openssl has written under a name.
fn written(house: &House, name: &str) -> Identity {
    let read = |suffix| std::fs::read_to_string(house.file(&format!("{name}.{suffix}"))).unwrap();
    Identity { certificate: read("crt"), key: read("key") }
}

#[test]
fn server_gets_our_certificate() {
    let house = House::new();
    set_hba(&house.cluster, "hostssl all all 127.0.0.1/32 cert");
    house.authority.sign(APP_USER, &[], Good::Now).write(house.folder(), "app");
    let tls = "server_tls_sslmode = \"verify-full\"; server_tls_ca_file = \"DIR/ca.crt\"";
    let shown = format!(
        "{tls}; server_tls_cert_file = \"DIR/app.crt\"; server_tls_key_file = \"DIR/app.key\""
    );
    let pooler = house.pooler("localhost", &shown);
    assert_eq!(ask(&pooler, "", SERVER_TLS).stdout, "t\n", "{}", pooler.log());
    let ended = ask(&house.pooler("localhost", tls), "", SERVER_TLS);
    assert!(ended.stderr.contains("connection requires a valid client certificate"), "{ended:?}");
}

#[test]
fn url_says_it_all() {
    let house = House::new();
    set_hba(&house.cluster, "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full");
    house.authority.sign(APP_USER, &[], Good::Now).write(house.folder(), "app");
    let (folder, port) = (house.folder().display().to_string(), house.cluster.primary().port());
    let url = format!(
        "postgres://{APP_USER}:{PASSWORD}@localhost:{port}/{APP_DATABASE}?sslmode=verify-full\
         &sslrootcert={folder}/ca.crt&sslcert={folder}/app.crt&sslkey={folder}/app.key"
    );
    let pooler = Pooler::start_with(&["--url", &url, "--port", "0", "--http", ""]);
    assert_eq!(ask(&pooler, "", SERVER_TLS).stdout, "t\n", "{}", pooler.log());
    let log = pooler.log();
    assert!(log.contains("to the server by scram-sha-256-plus"), "{log}");
    assert!(log.contains("TLS       clients: no; server: TLSv1.3/TLS_AES_256_GCM_SHA384"), "{log}");
}

/// Has the server speak these versions of TLS alone.
fn speak(house: &House, min: &str, max: &str, ciphers: &str) {
    let sql = format!(
        "ALTER SYSTEM SET ssl_min_protocol_version = '{min}';\n\
         ALTER SYSTEM SET ssl_max_protocol_version = '{max}';\n\
         ALTER SYSTEM SET ssl_ciphers = '{ciphers}';\nSELECT pg_reload_conf();"
    );
    let url = format!("{}?sslmode=disable", house.admin_url());
    psql_rows(&url, &sql);
    let now = "SELECT current_setting('ssl_min_protocol_version') || ' ' || \
               current_setting('ssl_max_protocol_version') || ' ' || current_setting('ssl_ciphers');";
    eventually("the server goes by it", LIMIT, || {
        psql_rows(&url, now) == format!("{min} {max} {ciphers}")
    });
}

#[test]
fn server_below_the_floor_is_refused_by_name() {
    let house = House::new();
    // Debian's OpenSSL has older versions only so.
    speak(&house, "TLSv1", "TLSv1.1", "DEFAULT@SECLEVEL=0");
    let old = "TLS with server failed: no version of TLS in common: ours are TLSv1.2 and TLSv1.3";
    check_modes(&house, "TLS 1.1", ["f", "f", "f", old, old, old]);
}

#[test]
fn server_that_breaks_off_is_asked_for_its_versions() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        tcp.read_exact(&mut [0; 8]).unwrap();
        tcp.write_all(b"S").unwrap();
        // What has come and was not read resets the connection.
        tcp.peek(&mut [0]).unwrap();
    });
    let pooler = Pooler::start(&format!(
        "listen_port = 0\nserver_tls_sslmode = \"require\"\n[databases.{APP_DATABASE}]\n\
         host = \"127.0.0.1\"\nport = {port}\n[users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
    ));
    ask(&pooler, "", "SELECT 1;");
    server.join().unwrap();
    let cause = "server login failed: TLS with server failed: the server broke off without an answer \
                 (Connection reset by peer (os error 104)): does it speak TLSv1.2 or TLSv1.3? (pgweir to \
                 server: user";
    eventually("it is logged", LIMIT, || pooler.log().contains(cause));
}

#[test]
fn only_the_versions_that_are_configured_are_spoken_with_servers() {
    let house = House::new();
    let version = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid();";
    for (max, protocols, wanted) in [
        ("TLSv1.3", "secure", "TLSv1.3"),
        ("TLSv1.3", "tlsv1.2", "TLSv1.2"),
        ("TLSv1.3", "tlsv1.2,tlsv1.3", "TLSv1.3"),
        ("TLSv1.2", "secure", "TLSv1.2"),
        ("TLSv1.2", "tlsv1.3", "no version of TLS in common: ours is TLSv1.3"),
    ] {
        speak(&house, "TLSv1.2", max, "DEFAULT");
        let settings =
            format!("server_tls_sslmode = \"require\"; server_tls_protocols = \"{protocols}\"");
        let ended = ask(&house.pooler("localhost", &settings), "", version);
        assert!(format!("{}{}", ended.stdout, ended.stderr).contains(wanted), "{max}: {ended:?}");
    }
}

#[test]
fn older_server_is_named_that_does_not_take_tls_at_once() {
    let house = House::new();
    let settings = "server_tls_sslmode = \"require\"; server_tls_negotiation = \"direct\"";
    let ended = ask(&house.pooler("localhost", settings), "", SERVER_TLS);
    let wanted = "does it take TLS at once, as Postgres does since 17?";
    assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
}
