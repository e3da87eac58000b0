//! Certificates that change while clients come, go and stay.

use std::thread;

use crate::certificates::{Authority, Good, der, put};
use crate::client::TlsClient;
use crate::house::{House, SERVER_TLS, ask};
use crate::support::{
    APP_DATABASE, APP_USER, LIMIT, PASSWORD, Pooler, check, eventually, pgbench, psql_rows,
};

fn shows(pooler: &Pooler, certificate: &str) -> bool {
    let mut client = TlsClient::ask(pooler.port());
    client.handshake().is_ok() && client.shown() == Some(der(certificate))
}

fn count(pooler: &Pooler, text: &str) -> usize {
    pooler.log().matches(text).count()
}

#[test]
fn certificates_change_under_load_without_an_error() {
    let house = House::new();
    let settings = format!(
        "{}; server_tls_sslmode = \"verify-full\"; server_tls_ca_file = \"DIR/ca.crt\"",
        House::client_tls("require")
    );
    let pooler = house.pooler("localhost", &settings);
    let url = format!("{}?sslmode=require", pooler.url(APP_USER, PASSWORD, APP_DATABASE));
    let servers = "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity
                   WHERE usename = 'app';";
    let stays = thread::spawn({
        let url = url.clone();
        let arguments = ["-n", "-c", "2", "-T", "12", "-f", "-"].map(str::to_owned);
        move || {
            pgbench(
                &[&arguments.each_ref().map(String::as_str)[..], &[&url]].concat(),
                "SELECT 1;",
                LIMIT,
            )
        }
    });
    let comes = thread::spawn({
        let url = url.clone();
        move || pgbench(&["-n", "-C", "-c", "2", "-T", "12", "-f", "-", &url], "SELECT 1;", LIMIT)
    });
    eventually("the load has its servers", LIMIT, || {
        psql_rows(&house.admin_url(), servers).contains(' ')
    });
    let before = psql_rows(&house.admin_url(), servers);
    for _ in 0..3 {
        let fresh = house.authority.sign("pgweir", &["localhost"], Good::Now);
        fresh.write(house.folder(), "pgweir");
        eventually("clients see it", LIMIT, || shows(&pooler, &fresh.certificate));
        // And one that only looks like a change.
        put(house.folder(), "ca.crt", house.authority.pem());
    }
    let after = psql_rows(&house.admin_url(), servers);
    for (what, load) in [("stays", stays), ("comes", comes)] {
        let ended = load.join().unwrap();
        assert!(ended.status.success(), "{what}: {}\n{}", ended.stderr, pooler.log());
        assert!(ended.stdout.contains("number of failed transactions: 0"), "{}", ended.stdout);
    }
    assert!(before.split(' ').all(|pid| after.contains(pid)), "{before} became {after}");
}

#[test]
fn another_authority_holds_for_new_servers_alone() {
    let house = House::new();
    let pooler = house.pooler(
        "localhost",
        "server_tls_sslmode = \"verify-full\"; server_tls_ca_file = \"DIR/ca.crt\"; \
         server_login_retry = 1; default_pool_size = 1",
    );
    let backend = "SELECT pg_backend_pid();";
    let first = ask(&pooler, "", backend).stdout;
    let other = Authority::new("another authority");
    put(house.folder(), "ca.crt", other.pem());
    eventually("it is read", LIMIT, || count(&pooler, "TLS with servers: files have changed") == 1);
    assert_eq!(ask(&pooler, "", backend).stdout, first, "the server that is there stays");
    psql_rows(&house.admin_url(), &format!("SELECT pg_terminate_backend({});", first.trim()));
    eventually("a new one is not trusted", LIMIT, || {
        ask(&pooler, "", SERVER_TLS).stderr.contains("unknown issuer")
    });
    house.show(&other.sign("server", &["localhost"], Good::Now));
    eventually("until it shows another certificate", LIMIT, || {
        ask(&pooler, "", SERVER_TLS).stdout == "t\n"
    });
}

#[test]
fn files_that_do_not_fit_leave_all_as_it_was() {
    let house = House::without_tls();
    let old = house.authority.sign("pgweir", &["localhost"], Good::Now);
    old.write(house.folder(), "pgweir");
    let pooler = house.pooler("127.0.0.1", &House::client_tls("require"));
    let stay = "TLS with clients: files have changed, the old ones stay in use: ";
    let new = house.authority.sign("pgweir", &["localhost"], Good::Now);
    put(house.folder(), "pgweir.crt", &new.certificate);
    eventually("it is said", LIMIT, || count(&pooler, stay) == 1);
    assert!(pooler.log().contains("pgweir.key is not the key of"), "{}", pooler.log());
    assert!(shows(&pooler, &old.certificate));
    put(house.folder(), "pgweir.crt", "-----BEGIN CERTIFICATE-----\nAAA\n");
    eventually("it is said", LIMIT, || count(&pooler, stay) == 2);
    assert!(shows(&pooler, &old.certificate));
    new.write(house.folder(), "pgweir");
    eventually("they fit", LIMIT, || shows(&pooler, &new.certificate));
    assert_eq!(ask(&pooler, "sslmode=require", "SELECT 1;").stdout, "1\n");
}

#[test]
fn check_tells_how_long_certificates_are_good_for() {
    let house = House::new();
    let settings = format!("server_tls_sslmode = \"require\"; {}", House::client_tls("allow"));
    let toml = house.toml("127.0.0.1", &settings);
    let ended = check(&toml, &["--connect"]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stdout);
    assert!(ended.stdout.contains("ok: certificate of ours, for clients: good for "));
    assert!(ended.stdout.contains("ok: certificate of the server at 127.0.0.1:"));
    assert!(ended.stdout.contains("by scram-sha-256-plus, TLSv1.3/"), "{}", ended.stdout);

    let old = house.authority.sign("server", &["127.0.0.1"], Good::InThePast);
    house.show(&old);
    house.authority.sign("pgweir", &["localhost"], Good::InThePast).write(house.folder(), "pgweir");
    let ended = check(&toml, &["--connect"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stdout);
    let ours = "error: certificate of ours, for clients: expired on 2002-02-02T00:00:00Z";
    assert!(ended.stdout.contains(ours), "{}", ended.stdout);
    assert!(ended.stdout.contains("warning: certificate of the server at 127.0.0.1:"));

    let strict = house.toml(
        "127.0.0.1",
        "server_tls_sslmode = \"verify-full\"; server_tls_ca_file = \"DIR/ca.crt\"",
    );
    let ended = check(&strict, &["--connect"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stdout);
    let login = "error: login databases.shop at 127.0.0.1:";
    let line = ended.stdout.lines().find(|line| line.starts_with(login)).unwrap();
    assert!(line.contains("TLS with server") && line.contains("expired"), "{line}");
}
