//! TLS from the first byte, which Postgres has since version 17: with a server and with a libpq
//! of that age, none of them ours.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certificates::{Authority, Good, put};
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, Install, LIMIT, PASSWORD, Pooler, SUPERUSER, eventually,
    psql_rows,
};

#[test]
fn direct_tls_works_with_libpq_and_with_postgres_17() {
    let authority = Authority::new("authority");
    let cluster = server(&authority);
    let folder = tempfile::tempdir().unwrap();
    let ca = put(folder.path(), "ca.crt", authority.pem());
    authority.sign("pgweir", &["localhost"], Good::Now).write(folder.path(), "pgweir");
    let (near, port) = (folder.path().display(), cluster.primary().port());
    let ways = [("direct", "direct"), ("direct", "postgres"), ("postgres", "direct")];
    for (to_us, to_server) in ways {
        let pooler = Pooler::start(&format!(
            "listen_port = 0\nclient_tls_sslmode = \"require\"\n\
             client_tls_cert_file = \"{near}/pgweir.crt\"\n\
             client_tls_key_file = \"{near}/pgweir.key\"\n\
             server_tls_sslmode = \"verify-full\"\nserver_tls_ca_file = \"{near}/ca.crt\"\n\
             server_tls_negotiation = \"{to_server}\"\n\
             [databases.{APP_DATABASE}]\nhost = \"localhost\"\nport = {port}\n\
             [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
        ));
        let url = format!(
            "host=localhost port={} user={APP_USER} password={PASSWORD} dbname={APP_DATABASE} \
             sslmode=verify-full sslrootcert={} sslnegotiation={to_us} channel_binding=require",
            pooler.port(),
            ca.display()
        );
        assert_eq!(ask(&url), "True t 17\n", "{to_us}, {to_server}: {}", pooler.log());
    }
}

/// A Postgres 17 with TLS, for `localhost`.
fn server(authority: &Authority) -> Cluster {
    let output = Command::new(here("postgres17.sh")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bin = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let cluster = Cluster::builder().install(Install::of(&bin).unwrap()).start().unwrap();
    let identity = authority.sign("server", &["localhost"], Good::Now);
    let (certificate, key) = identity.write(cluster.folder(), "server");
    let url = cluster.primary().url(SUPERUSER, PASSWORD, APP_DATABASE);
    let sql = format!(
        "ALTER SYSTEM SET ssl_cert_file = '{}';\nALTER SYSTEM SET ssl_key_file = '{}';\n\
         ALTER SYSTEM SET ssl = on;\nSELECT pg_reload_conf();",
        certificate.display(),
        key.display()
    );
    psql_rows(&url, &sql);
    let speaks = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();";
    eventually("the server speaks TLS", LIMIT, || {
        psql_rows(&format!("{url}?sslmode=prefer"), speaks) == "t"
    });
    cluster
}

/// Asks by the libpq that psycopg brings along: whether it has TLS with us and we with the server,
/// and how old the server is.
fn ask(url: &str) -> String {
    let installed = Command::new(here("run")).args(["--install", "psycopg3"]).status().unwrap();
    assert!(installed.success());
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let cache = env::var_os("DRIVERS_CACHE").map_or_else(|| target.join("drivers"), PathBuf::from);
    let python = cache.join("venv/bin/python");
    let output = Command::new(python).arg(here("python/direct_tls.py")).arg(url).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    said.concat()
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name)
}
