//! TLS with clients: every mode against every kind of client.

use std::io::{Read, Write};

use crate::certificates::{Authority, Good, put, self_signed};
use crate::house::{House, SERVER_TLS, ask};
use crate::support::{
    APP_DATABASE, APP_USER, LIMIT, PASSWORD, Pooler, eventually, pgbench, psql_rows,
};

/// What a client gets with these parameters: `in`, or an error with these words in it.
#[track_caller]
fn check(house: &House, pooler: &Pooler, parameters: &str, wanted: &str) {
    let folder = house.folder().display().to_string();
    let ended = ask(pooler, &parameters.replace("DIR", &folder), "SELECT 'in';");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    let right = if wanted == "in" { said == "in\n" } else { said.contains(wanted) };
    assert!(right, "{parameters}: wanted {wanted}, got {said}\n{}", pooler.log());
}

#[test]
fn modes_demand_what_they_say() {
    let house = House::without_tls();
    let app = house.authority.sign(APP_USER, &[], Good::Now);
    app.write(house.folder(), "app");
    let late = house.authority.sign(APP_USER, &[], Good::InThePast);
    late.write(house.folder(), "late");
    Authority::new("another authority")
        .sign(APP_USER, &[], Good::Now)
        .write(house.folder(), "other");
    self_signed(APP_USER, &[]).write(house.folder(), "own");

    let own = |name: &str| format!("sslmode=require&sslcert=DIR/{name}.crt&sslkey=DIR/{name}.key");
    let known = "sslmode=verify-full&sslrootcert=DIR/ca.crt";
    // Clients: in clear, whatever there is, TLS, TLS with our certificate verified; then those who
    // show one of theirs.
    let clients = [
        "sslmode=disable".to_owned(),
        "sslmode=prefer".to_owned(),
        "sslmode=require".to_owned(),
        known.to_owned(),
        own("app"),
        own("late"),
        own("other"),
        own("own"),
    ];
    let no = "server does not support SSL, but SSL was required";
    let (clear, none) = ("FATAL:  SSL required", "certificate required");
    let (late, unknown) = ("certificate expired", "unknown ca");
    for (mode, ca, wanted) in [
        ("disable", "", ["in", "in", no, no, no, no, no, no]),
        ("allow", "", ["in"; 8]),
        ("prefer", "", ["in"; 8]),
        ("require", "", [clear, "in", "in", "in", "in", "in", "in", "in"]),
        // Who shows a certificate has to show a good one.
        ("prefer", "ca.crt", ["in", "in", "in", "in", "in", late, unknown, unknown]),
        ("verify-ca", "ca.crt", [clear, none, none, none, "in", late, unknown, unknown]),
        ("verify-full", "ca.crt", [clear, none, none, none, "in", late, unknown, unknown]),
    ] {
        let mut settings = House::client_tls(mode);
        if !ca.is_empty() {
            settings += &format!("; client_tls_ca_file = \"DIR/{ca}\"");
        }
        let pooler = house.pooler("127.0.0.1", &settings);
        for (client, wanted) in clients.iter().zip(wanted) {
            eprintln!("{mode} {ca}: {client}");
            check(&house, &pooler, client, wanted);
        }
    }
}

#[test]
fn both_versions_are_spoken_and_the_console_says_which() {
    let house = House::without_tls();
    for (settings, parameters, wanted) in [
        ("", "", "TLSv1.3/TLS_AES_256_GCM_SHA384"),
        ("", "&ssl_max_protocol_version=TLSv1.2", "TLSv1.2/ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("; client_tls_protocols = \"tlsv1.2\"", "", "TLSv1.2/ECDHE-ECDSA-AES256-GCM-SHA384"),
        (
            "; client_tls13_ciphers = \"TLS_CHACHA20_POLY1305_SHA256\"",
            "",
            "TLSv1.3/TLS_CHACHA20_POLY1305_SHA256",
        ),
        (
            "; client_tls_ciphers = \"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256\"",
            "&ssl_max_protocol_version=TLSv1.2",
            "TLSv1.2/ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
    ] {
        let settings =
            format!("{}; admin_users = \"{APP_USER}\"{settings}", House::client_tls("require"));
        let pooler = house.pooler("127.0.0.1", &settings);
        let url = |database| {
            format!("{}?sslmode=require{parameters}", pooler.url(APP_USER, PASSWORD, database))
        };
        let console = url("pgweir");
        let sql = format!("\\! psql -X -q -A -t -d '{console}' -c 'SHOW CLIENTS'\n");
        let rows = psql_rows(&url(APP_DATABASE), &sql);
        assert!(rows.contains(&format!("|{wanted}|")), "{settings}: {rows}");
    }
}

#[test]
fn channel_binding_is_offered_and_holds() {
    let house = House::new();
    let pooler = house.pooler("localhost", &House::client_tls("prefer"));
    for (parameters, wanted) in [
        ("sslmode=require&channel_binding=require", "in"),
        ("sslmode=require&channel_binding=prefer", "in"),
        ("sslmode=require&channel_binding=disable", "in"),
        ("sslmode=disable&channel_binding=prefer", "in"),
        ("sslmode=disable&channel_binding=require", "channel binding required"),
    ] {
        check(&house, &pooler, parameters, wanted);
    }
    // The secret that a bound login shows is as good for the server: it stores the verifier of the
    // same password, and nobody has the password.
    let verifier = psql_rows(
        &house.admin_url(),
        &format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{APP_USER}';"),
    );
    let toml = house.toml("localhost", &House::client_tls("require"));
    let pooler =
        Pooler::start(&toml.replace(&format!("\"{PASSWORD}\""), &format!("\"{verifier}\"")));
    let ended = ask(&pooler, "sslmode=require&channel_binding=require", SERVER_TLS);
    assert_eq!(ended.stdout, "t\n", "{}\n{}", ended.stderr, pooler.log());
}

#[test]
fn rsa_certificates_bind_as_well() {
    let house = House::without_tls();
    for (name, more) in
        [("rsa", ""), ("sha512", "-sha512"), ("pss", "-sigopt rsa_padding_mode:pss")]
    {
        let arguments = format!(
            "req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout {name}.key -out {name}.crt {more}"
        );
        house.openssl(&arguments);
        let settings = House::client_tls("require").replace("pgweir.", &format!("{name}."));
        let pooler = house.pooler("127.0.0.1", &settings);
        check(&house, &pooler, "sslmode=require&channel_binding=require", "in");
    }
}

#[test]
fn pgbench_connects_anew_each_time() {
    let house = House::new();
    let pooler = house.pooler(
        "localhost",
        &format!("{}; server_tls_sslmode = \"require\"", House::client_tls("require")),
    );
    let url = format!("{}?sslmode=require", pooler.url(APP_USER, PASSWORD, APP_DATABASE));
    let arguments = ["-n", "-C", "-c", "4", "-t", "10", "-f", "-", &url];
    let ended = pgbench(&arguments, "SELECT 1;", LIMIT);
    assert!(ended.stdout.contains("actually processed: 40/40"), "{ended:?}\n{}", pooler.log());
}

#[test]
fn rules_ask_for_certificates_and_tell_tls_from_clear() {
    let house = House::new();
    house.authority.sign(APP_USER, &[], Good::Now).write(house.folder(), "app");
    house.authority.sign("laptop-7", &[], Good::Now).write(house.folder(), "laptop");
    house.authority.sign("stranger", &[], Good::Now).write(house.folder(), "stranger");
    put(house.folder(), "ident", "laptops laptop-7 app\n");
    let rules = "hostssl shop app 127.0.0.1/32 cert map=laptops\nhostnossl all all all reject\n";
    put(house.folder(), "hba", rules);
    let tls = format!("{}; client_tls_ca_file = \"DIR/ca.crt\"", House::client_tls("prefer"));
    let rules = "auth_type = \"hba\"; auth_hba_file = \"DIR/hba\"; auth_ident_file = \"DIR/ident\"";
    let pooler = house.pooler("localhost", &format!("{tls}; {rules}"));
    let own = |name: &str| format!("sslmode=require&sslcert=DIR/{name}.crt&sslkey=DIR/{name}.key");
    let refused = "certificate authentication failed for user \"app\"";
    check(&house, &pooler, &own("laptop"), "in");
    check(&house, &pooler, &own("app"), refused);
    check(&house, &pooler, &own("stranger"), refused);
    check(&house, &pooler, "sslmode=require", refused);
    check(&house, &pooler, "sslmode=disable", "FATAL");
    let logged = "its certificate is \"stranger\", who may not be this user";
    eventually("it is logged", LIMIT, || pooler.log().contains(logged));

    // Without a map the name has to be the user's, whatever else says so.
    for options in ["", "clientcert=verify-full", "clientcert=1", "clientname=CN"] {
        put(house.folder(), "hba", &format!("hostssl all all samenet cert {options}\n"));
        let pooler = house.pooler("localhost", &format!("{tls}; {rules}"));
        check(&house, &pooler, &own("app"), "in");
        check(&house, &pooler, &own("laptop"), refused);
        check(&house, &pooler, "sslmode=disable", "FATAL:  login rejected");
    }
    // A map may have any user.
    put(house.folder(), "ident", "laptops laptop-7 all\n");
    put(house.folder(), "hba", "hostssl all all samehost cert clientname=CN map=laptops\n");
    let pooler = house.pooler("localhost", &format!("{tls}; {rules}"));
    check(&house, &pooler, &own("laptop"), "in");
    check(&house, &pooler, &own("app"), refused);
    // What would let in others than it says is no rule.
    put(house.folder(), "hba", "hostssl all all all cert clientname=DN\n");
    let ended = crate::support::check(&house.toml("localhost", &format!("{tls}; {rules}")), &[]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stdout);
    let wrong =
        "hba:1: option `clientname=DN` is not supported: whose a certificate is, is its common";
    assert!(format!("{}{}", ended.stdout, ended.stderr).contains(wrong), "{ended:?}");
}

#[test]
fn certificate_may_be_all_that_is_asked_for() {
    let house = House::new();
    house.authority.sign(APP_USER, &[], Good::Now).write(house.folder(), "app");
    house.authority.sign("stranger", &[], Good::Now).write(house.folder(), "stranger");
    let tls = format!("{}; client_tls_ca_file = \"DIR/ca.crt\"", House::client_tls("verify-full"));
    let pooler = house.pooler("localhost", &format!("{tls}; auth_type = \"cert\""));
    let own = |name: &str| format!("sslmode=require&sslcert=DIR/{name}.crt&sslkey=DIR/{name}.key");
    check(&house, &pooler, &own("app"), "in");
    let refused = "certificate authentication failed for user \"app\"";
    check(&house, &pooler, &own("stranger"), refused);
}

#[test]
fn expired_certificate_is_named_at_the_start() {
    let house = House::without_tls();
    house.authority.sign("pgweir", &[], Good::InThePast).write(house.folder(), "pgweir");
    let settings = format!("{}; http_listen = \"127.0.0.1:0\"", House::client_tls("require"));
    let pooler = house.pooler("127.0.0.1", &settings);
    let wanted = "TLS with clients: our certificate has expired, on 2002-02-02T00:00:00Z";
    eventually("it is logged", LIMIT, || pooler.log().contains(wanted));
    let mut page = None;
    eventually("it says where metrics are", LIMIT, || {
        let log = pooler.log();
        let mut found =
            log.lines().filter_map(|line| line.trim().strip_prefix("metrics   http://"));
        page = found.next().map(str::to_owned);
        page.is_some()
    });
    let page = page.unwrap();
    let (address, _) = page.split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let raised = "alert raised, critical: certificate of clients: -";
    eventually("an alert is raised", LIMIT, || pooler.log().contains(raised));
    assert!(
        text.contains("\npgweir_certificate_expires_seconds{certificate=\"clients\"} 1012608000\n"),
        "{text}"
    );
}
