//! Each way for a client to prove who it is, by each way for us to log in to the server, in clear
//! and by TLS on both sides: who gets in and how that was proven on both, and what the others are told.

use pgweir::auth::md5_hash;

use crate::certificates::{Good, put};
use crate::house::House;
use crate::servers::set_hba;
use crate::support::{
    APP_DATABASE, LIMIT, PASSWORD, Pooler, SUPERUSER, eventually, psql_rows, psql_with,
};

/// How a client proves who it is, and what we know of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Plain,
    Md5,
    Scram,
    Verifier,
    AuthQuery,
    Certificate,
    Peer,
}

/// What the server asks us for; the role of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// The password, in clear.
    Plain,
    Md5,
    /// With channel binding where there is TLS.
    Scram,
    Certificate,
}

/// How a client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Clear,
    Tls,
    Unix,
}

const CLIENTS: [Client; 7] = [
    Client::Plain,
    Client::Md5,
    Client::Scram,
    Client::Verifier,
    Client::AuthQuery,
    Client::Certificate,
    Client::Peer,
];
const SERVERS: [Server; 4] = [Server::Plain, Server::Md5, Server::Scram, Server::Certificate];

impl Server {
    fn role(self) -> &'static str {
        match self {
            Self::Plain => "by_plain",
            Self::Md5 => "by_md5",
            Self::Scram => "by_scram",
            Self::Certificate => "by_cert",
        }
    }
}

impl Client {
    fn ways(self) -> &'static [Way] {
        match self {
            Self::Certificate => &[Way::Tls],
            Self::Peer => &[Way::Unix],
            _ => &[Way::Clear, Way::Tls],
        }
    }

    fn settings(self) -> String {
        match self {
            Self::Plain => "auth_type = \"plain\"".to_owned(),
            Self::Md5 => "auth_type = \"md5\"".to_owned(),
            Self::Scram | Self::Verifier => "auth_type = \"scram-sha-256\"".to_owned(),
            // md5 secrets and verifiers come out of one query.
            Self::AuthQuery => format!("auth_type = \"md5\"; auth_user = \"{SUPERUSER}\""),
            Self::Certificate => {
                "auth_type = \"cert\"; client_tls_ca_file = \"DIR/ca.crt\"".to_owned()
            }
            Self::Peer => "auth_type = \"hba\"; auth_ident_file = \"DIR/ident\"; \
                           unix_socket_dir = \"DIR\""
                .to_owned(),
        }
    }

    /// What the configuration has of a role.
    fn secret(self, role: &str, verifier: &str) -> Option<String> {
        match self {
            Self::Plain | Self::Scram => Some(PASSWORD.to_owned()),
            Self::Md5 => Some(md5_hash(role, PASSWORD)),
            Self::Verifier => Some(verifier.to_owned()),
            Self::AuthQuery | Self::Certificate | Self::Peer => None,
        }
    }
}

/// What a client with the right proof hears instead of rows; `None` when it gets in.
fn expected(client: Client, server: Server, server_tls: &str) -> Option<&'static str> {
    match (server, client) {
        (Server::Certificate, _) if server_tls == "disable" => Some("no pg_hba.conf entry"),
        (Server::Certificate, _) => None,
        (_, Client::Plain | Client::Scram) => None,
        (Server::Plain, Client::Md5 | Client::AuthQuery) => {
            Some("asks for a password in clear, but only an md5 hash is known")
        }
        (Server::Plain, Client::Verifier) => {
            Some("asks for a password in clear, but only SCRAM keys is known")
        }
        (Server::Plain, _) => Some("asks for a password in clear, but no password is known"),
        (_, Client::AuthQuery) => None,
        (Server::Md5, Client::Md5) | (Server::Scram, Client::Verifier) => None,
        (Server::Md5, Client::Verifier) => Some("asks for md5, but only SCRAM keys is known"),
        (Server::Md5, _) => Some("asks for md5, but no password is known"),
        (Server::Scram, Client::Md5) => {
            Some("asks for SCRAM-SHA-256, but only an md5 hash is known")
        }
        (Server::Scram, _) => Some("asks for SCRAM-SHA-256, but no password is known"),
    }
}

/// How a client that has got in has proven who it is, as the log calls it.
fn proven(client: Client, server: Server, way: Way) -> &'static str {
    let bound = way == Way::Tls;
    match client {
        Client::Plain => "password",
        Client::Md5 => "md5",
        // The secrets of the roles decide.
        Client::AuthQuery if server != Server::Scram => "md5",
        Client::Scram | Client::Verifier | Client::AuthQuery if bound => "scram-sha-256-plus",
        Client::Scram | Client::Verifier | Client::AuthQuery => "scram-sha-256",
        Client::Certificate => "cert",
        Client::Peer => "peer",
    }
}

/// How we have proven to the server who we are, as the log calls it.
fn shown(server: Server, server_tls: &str) -> &'static str {
    match server {
        Server::Plain => "password in clear",
        Server::Md5 => "md5",
        Server::Scram if server_tls == "disable" => "scram-sha-256",
        Server::Scram => "scram-sha-256-plus",
        // It asks for nothing by messages.
        Server::Certificate => "trust",
    }
}

/// The methods in the log's lines of this text about a role, in their order.
fn methods(log: &str, text: &str, role: &str) -> Vec<String> {
    let lines = log.lines().filter(|line| line.contains(text) && line.contains(role));
    let method = |line: &str| {
        let (_, rest) = line.split_once(" method=").unwrap();
        let end = [" tls=", " client="].iter().filter_map(|next| rest.find(next)).min();
        rest[..end.unwrap()].to_owned()
    };
    lines.map(method).collect()
}

/// The rows or the error of `select current_user`.
fn login(house: &House, pooler: &Pooler, role: &str, way: Way, password: &str) -> String {
    let port = pooler.port();
    let folder = house.folder().display();
    let at = match way {
        Way::Clear => format!("host=127.0.0.1 port={port} sslmode=disable"),
        Way::Tls => format!(
            "host=127.0.0.1 port={port} sslmode=require sslcert={folder}/{role}.crt \
             sslkey={folder}/{role}.key"
        ),
        Way::Unix => format!("host={folder} port={port}"),
    };
    let url = format!("{at} user={role} password={password} dbname={APP_DATABASE}");
    let ended = psql_with(&url, "select current_user", &[("HOME", "/nonexistent")]);
    if ended.status.success() { ended.stdout.trim().to_owned() } else { ended.stderr }
}

/// A server that asks each of the roles for something else.
fn house() -> (House, String) {
    let house = House::new();
    let roles = format!(
        "CREATE ROLE by_scram LOGIN PASSWORD '{PASSWORD}';\nSET password_encryption = 'md5';\n\
         CREATE ROLE by_md5 LOGIN PASSWORD '{PASSWORD}';\n\
         CREATE ROLE by_plain LOGIN PASSWORD '{PASSWORD}';\n\
         CREATE ROLE by_cert LOGIN PASSWORD '{PASSWORD}';\n"
    );
    psql_rows(&house.admin_url(), &roles);
    set_hba(
        &house.cluster,
        "host all by_plain 127.0.0.1/32 password\nhost all by_md5 127.0.0.1/32 md5\n\
         host all by_scram 127.0.0.1/32 scram-sha-256\n\
         hostssl all by_cert 127.0.0.1/32 cert",
    );
    let us = std::process::Command::new("id").arg("-un").output().unwrap();
    let us = String::from_utf8(us.stdout).unwrap();
    let us = us.trim();
    let mut maps = String::new();
    for server in SERVERS {
        let role = server.role();
        house.authority.sign(role, &[], Good::Now).write(house.folder(), role);
        maps += &format!("os {us} {role}\n");
    }
    put(house.folder(), "ident", &maps);
    let verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = 'by_scram'";
    let verifier = psql_rows(&house.admin_url(), verifier);
    (house, verifier)
}

#[test]
fn each_proof_with_each_server_in_clear_and_by_tls() {
    let (house, verifier) = house();
    let client_tls = House::client_tls("prefer");
    let mut wrong = Vec::new();
    let mut cells = 0;
    for (client, server_tls) in
        CLIENTS.into_iter().flat_map(|client| [(client, "disable"), (client, "verify-full")])
    {
        let settings = format!(
            "{client_tls}; {}; log_connections = true; verbose = 1; server_tls_sslmode = \"{server_tls}\"; \
             server_tls_ca_file = \"DIR/ca.crt\"; server_tls_cert_file = \"DIR/by_cert.crt\"; \
             server_tls_key_file = \"DIR/by_cert.key\"",
            client.settings()
        );
        let mut toml = house.toml("localhost", &settings);
        toml += &format!("[users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n");
        for server in SERVERS {
            let role = server.role();
            match client.secret(role, &verifier) {
                Some(secret) => toml += &format!("[users.{role}]\npassword = \"{secret}\"\n"),
                None if client == Client::AuthQuery => {}
                None => toml += &format!("[users.{role}]\n"),
            }
        }
        if client == Client::Peer {
            toml += "[[hba]]\ntype = \"local\"\nmethod = \"peer\"\nmap = \"os\"\n";
        }
        let pooler = Pooler::start(&toml);
        for (server, way) in
            SERVERS.into_iter().flat_map(|s| client.ways().iter().map(move |way| (s, *way)))
        {
            cells += 1;
            let role = server.role();
            let before = pooler.log().len();
            let said = login(&house, &pooler, role, way, PASSWORD);
            let expected = expected(client, server, server_tls);
            let fine = match expected {
                None => said == role,
                Some(text) => said.contains("FATAL: ") && said.contains(text),
            };
            let cell = format!("{client:?} {way:?}, server {server:?} {server_tls}");
            if !fine {
                wrong.push(format!("{cell}: {said}"));
            } else if expected.is_none() {
                let mut inside = Vec::new();
                eventually("the login is logged", LIMIT, || {
                    inside = methods(&pooler.log()[before..], "login attempt: db=", role);
                    !inside.is_empty()
                });
                // The pool may have opened its server for another way already.
                let opened = methods(&pooler.log(), "new connection to server server=", role);
                let outside = shown(server, server_tls);
                if inside != [proven(client, server, way)]
                    || opened.is_empty()
                    || opened.iter().any(|method| method != outside)
                {
                    wrong.push(format!("{cell}: in by {inside:?}, out by {opened:?}"));
                }
            }
            // A wrong proof is told one thing, whatever the server is like.
            let told = format!("FATAL:  password authentication failed for user \"{role}\"");
            if client.ways().len() == 2 {
                let said = login(&house, &pooler, role, way, "wrong");
                if !said.contains(&told) {
                    wrong.push(format!("{client:?} {way:?}, wrong password: {said}"));
                }
            }
        }
    }
    assert_eq!(cells, 96);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn wrong_certificates_and_users_of_the_system_are_told_so() {
    let (house, _) = house();
    let settings = format!("{}; {}", House::client_tls("prefer"), Client::Certificate.settings());
    let toml = house.toml("localhost", &settings);
    let pooler = Pooler::start(&format!("{toml}[users.by_md5]\n[users.by_scram]\n"));
    put(
        house.folder(),
        "by_md5.crt",
        &std::fs::read_to_string(house.file("by_scram.crt")).unwrap(),
    );
    put(
        house.folder(),
        "by_md5.key",
        &std::fs::read_to_string(house.file("by_scram.key")).unwrap(),
    );
    let said = login(&house, &pooler, "by_md5", Way::Tls, PASSWORD);
    assert!(said.contains("certificate authentication failed for user \"by_md5\""), "{said}");
    let said = login(&house, &pooler, "by_md5", Way::Clear, PASSWORD);
    assert!(said.contains("FATAL: "), "{said}");
}
