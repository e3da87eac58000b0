//! What goes through once there is TLS: a lot, slowly, and by other ways than queries.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use rustls::server::Acceptor;

use crate::client::{SSL_REQUEST, TlsClient, startup};
use crate::house::{House, SERVER_TLS, ask};
use crate::support::{
    APP_DATABASE, APP_USER, LIMIT, PASSWORD, Pooler, SUPERUSER, client, eventually, psql_rows,
};

/// TLS on both sides of the pooler.
fn both_sides(house: &House, settings: &str) -> Pooler {
    let tls = House::client_tls("require");
    let settings = format!("{tls}; server_tls_sslmode = \"verify-full\"; {settings}");
    house.pooler("localhost", &format!("{settings}server_tls_ca_file = \"DIR/ca.crt\""))
}

#[test]
fn much_goes_out_and_comes_in_unchanged() {
    let house = House::new();
    let pooler = both_sides(&house, "");
    let url = format!("{}?sslmode=require", pooler.url(APP_USER, PASSWORD, APP_DATABASE));
    let rows = "SELECT i, repeat(md5(i::text), 3) AS x FROM generate_series(1, 100000) AS i";
    let copied = psql_rows(&url, &format!("COPY ({rows}) TO STDOUT;"));
    assert_eq!(
        copied.len(),
        psql_rows(&house.admin_url(), &format!("COPY ({rows}) TO STDOUT;")).len()
    );
    let sql = format!(
        "CREATE TABLE copied (i int, x text);\nCOPY copied FROM STDIN;\n{copied}\n\\.\n\
         SELECT count(*) FROM copied c JOIN ({rows}) AS r USING (i, x);\n"
    );
    assert_eq!(psql_rows(&url, &sql), "100000");
    // One row of 50 MB, both ways.
    let sql = "SELECT length(repeat('x', 50000000)), md5(repeat('ab', 25000000));\n\
               SELECT md5(repeat('ab', 25000000)) = md5(x) FROM (SELECT repeat('ab', 25000000)) AS t(x);\n";
    assert!(psql_rows(&url, sql).ends_with("\nt"));
    assert_eq!(psql_rows(&url, "SELECT repeat('ab', 25000000);").len(), 50_000_000);
}

#[test]
fn client_that_does_not_read_is_not_read_for() {
    let house = House::new();
    let pooler = both_sides(&house, "auth_type = \"trust\"; ");
    let mut slow = login(&pooler);
    let sql = "SELECT repeat('x', 1000000) FROM generate_series(1, 200)";
    slow.send(&query(sql));
    let url = format!("{}?sslmode=require", pooler.url(APP_USER, PASSWORD, APP_DATABASE));
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite';";
    // As it goes on doing, once what the kernel holds is full.
    eventually("the server waits for its client", LIMIT, || {
        (0..20).all(|_| psql_rows(&url, waits) == "1")
    });
    let memory = memory_kib(pooler.pid());
    assert!(memory < 60_000, "{memory} KiB");
    let heard = slow.hear(|heard| heard.ends_with(b"Z\0\0\0\x05I"));
    assert!(heard.len() > 200_000_000, "{}", heard.len());
}

fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn login(pooler: &Pooler) -> TlsClient {
    let mut client = TlsClient::ask(pooler.port());
    client.send(&startup(&[("user", APP_USER), ("database", APP_DATABASE)]));
    let heard = client.hear(|heard| heard.ends_with(b"Z\0\0\0\x05I"));
    assert!(heard.ends_with(b"Z\0\0\0\x05I"), "{}", pooler.log());
    client.key = key(&heard);
    client
}

/// The body of BackendKeyData in what was heard of a login.
fn key(mut heard: &[u8]) -> Vec<u8> {
    loop {
        let length = u32::from_be_bytes(heard[1..5].try_into().unwrap()) as usize;
        if heard[0] == b'K' {
            return heard[5..=length].to_vec();
        }
        heard = &heard[length + 1..];
    }
}

fn query(sql: &str) -> Vec<u8> {
    let length = u32::try_from(sql.len() + 5).unwrap();
    [b"Q", &length.to_be_bytes()[..], sql.as_bytes(), b"\0"].concat()
}

/// Passes connections on to a port, and says with which bytes each of them begins.
fn passage(to: u16) -> (u16, mpsc::Receiver<[u8; 8]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, begins) = mpsc::channel();
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let told = told.clone();
            thread::spawn(move || {
                let (mut near, mut far) = (near, TcpStream::connect(("127.0.0.1", to)).unwrap());
                let mut first = [0; 8];
                if near.read_exact(&mut first).is_err() {
                    return;
                }
                told.send(first).ok();
                far.write_all(&first).unwrap();
                let (mut back_from, mut back_to) =
                    (far.try_clone().unwrap(), near.try_clone().unwrap());
                let back = thread::spawn(move || {
                    std::io::copy(&mut back_from, &mut back_to).ok();
                    back_to.shutdown(Shutdown::Both).ok();
                });
                std::io::copy(&mut near, &mut far).ok();
                far.shutdown(Shutdown::Both).ok();
                back.join().unwrap();
            });
        }
    });
    (port, begins)
}

#[test]
fn cancel_goes_the_way_of_its_connection() {
    let house = House::new();
    let (port, begins) = passage(house.cluster.primary().port());
    let toml = house.toml(
        "localhost",
        &format!(
            "{}; server_tls_sslmode = \"require\"; auth_type = \"trust\"",
            House::client_tls("require")
        ),
    );
    let server = format!("port = {}\n", house.cluster.primary().port());
    let pooler = Pooler::start(&toml.replace(&server, &format!("port = {port}\n")));
    let mut victim = login(&pooler);
    victim.send(&query("SELECT pg_sleep(600)"));
    eventually("it runs", LIMIT, || {
        let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%';";
        psql_rows(&house.admin_url(), running) == "1"
    });
    let mut cancel = TlsClient::ask(pooler.port());
    let body = [&80_877_102_u32.to_be_bytes()[..], &victim.key].concat();
    let length = u32::try_from(body.len() + 4).unwrap();
    cancel.send(&[&length.to_be_bytes()[..], &body].concat());
    assert!(cancel.ends_cleanly());
    let heard = victim.hear(|heard| heard.ends_with(b"Z\0\0\0\x05I"));
    assert!(heard.windows(5).any(|part| part == b"57014"), "{}", pooler.log());
    drop((victim, cancel));
    // One login and one cancel at least, and all of them ask for TLS first.
    let begins: Vec<_> = begins.try_iter().collect();
    assert!(begins.len() >= 2 && begins.iter().all(|begin| *begin == SSL_REQUEST), "{begins:?}");
}

#[test]
fn replication_goes_by_tls() {
    let house = House::new();
    let toml = format!(
        "{}[users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n",
        house.toml(
            "localhost",
            &format!("{}; server_tls_sslmode = \"require\"", House::client_tls("require"))
        )
    );
    let pooler = Pooler::start(&toml);
    let port = pooler.port();
    let connection =
        format!("host=127.0.0.1 port={port} user={SUPERUSER} password={PASSWORD} sslmode=require");
    let mut command = client("pg_basebackup");
    command.args(["-d", &connection, "-D", "-", "-F", "t", "-X", "none", "-c", "fast"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", pooler.log());
    assert!(output.stdout.len() > 20_000_000, "{}", output.stdout.len());
}

#[test]
fn poolers_speak_direct_tls_with_each_other() {
    let house = House::new();
    let near = both_sides(&house, "");
    let settings = "server_tls_sslmode = \"verify-full\"; server_tls_ca_file = \"DIR/ca.crt\"; \
                    server_tls_negotiation = \"direct\"";
    let toml = house.toml("localhost", settings);
    let server = format!("port = {}\n", house.cluster.primary().port());
    let far = Pooler::start(&toml.replace(&server, &format!("port = {}\n", near.port())));
    assert_eq!(ask(&far, "", SERVER_TLS).stdout, "t\n", "{}\n{}", near.log(), far.log());
}

#[test]
fn servers_are_told_which_host_is_meant() {
    for (host, wanted) in [("localhost", Some("localhost")), ("127.0.0.1", None)] {
        for negotiation in ["postgres", "direct"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let hello = thread::spawn(move || {
                let (mut tcp, _) = listener.accept().unwrap();
                if negotiation == "postgres" {
                    let mut request = [0; 8];
                    tcp.read_exact(&mut request).unwrap();
                    assert_eq!(request, SSL_REQUEST);
                    tcp.write_all(b"S").unwrap();
                }
                read_hello(&mut tcp)
            });
            let pooler = Pooler::start(&format!(
                "listen_port = 0\nserver_tls_sslmode = \"require\"\n\
                 server_tls_negotiation = \"{negotiation}\"\nserver_connect_timeout = 2\n\
                 [databases.{APP_DATABASE}]\nhost = \"{host}\"\nport = {port}\n\
                 [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
            ));
            let ended = ask(&pooler, "", "SELECT 1;");
            assert!(ended.stderr.contains("TLS with server failed"), "{}", ended.stderr);
            let (name, protocols) = hello.join().unwrap();
            assert_eq!(name.as_deref(), wanted, "{negotiation}");
            assert_eq!(protocols, [b"postgresql"], "{negotiation}");
        }
    }
}

/// The host that a client says first it means, and the protocols that it goes on with.
fn read_hello(tcp: &mut TcpStream) -> (Option<String>, Vec<Vec<u8>>) {
    let mut acceptor = Acceptor::default();
    loop {
        acceptor.read_tls(tcp).unwrap();
        if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error).unwrap() {
            let hello = accepted.client_hello();
            let protocols = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
            return (hello.server_name().map(str::to_owned), protocols);
        }
    }
}

#[test]
#[ignore = "a measurement, not a check"]
fn memory_per_idle_client() {
    const COUNT: usize = 1000;
    let house = House::new();
    let pooler = house.pooler(
        "localhost",
        &format!("{}; auth_type = \"trust\"; max_client_conn = 3000", House::client_tls("prefer")),
    );
    let used = |mut client: TlsClient| {
        client.send(&query("SELECT repeat('x', 20000)"));
        client.hear(|heard| heard.ends_with(b"Z\0\0\0\x05I"));
        client
    };
    let mut clients: Vec<_> = (0..10).map(|_| used(login(&pooler))).collect();
    let before = memory_kib(pooler.pid());
    clients.extend((0..COUNT).map(|_| login(&pooler)));
    let after = memory_kib(pooler.pid());
    println!("logged in: {} bytes", (after - before) * 1024 / COUNT as u64);
    let clients: Vec<_> = clients.into_iter().map(used).collect();
    let after = memory_kib(pooler.pid());
    println!("after 20 KB each: {} bytes", (after - before) * 1024 / COUNT as u64);
    drop(clients);
}
