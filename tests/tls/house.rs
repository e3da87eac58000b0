//! Servers with TLS, poolers in front of them, and psql with libpq's parameters.

use std::path::{Path, PathBuf};

use crate::certificates::{Authority, Good, Identity, der, put};
use crate::client::TlsClient;
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, Ended, LIMIT, PASSWORD, Pooler, SUPERUSER, cluster,
    eventually, psql_rows, psql_with,
};

/// A server with TLS, and a folder for what poolers need.
pub struct House {
    pub cluster: Cluster,
    pub authority: Authority,
    folder: tempfile::TempDir,
}

impl House {
    /// Its server has a certificate for `localhost` and 127.0.0.1.
    pub fn new() -> Self {
        let house = Self::without_tls();
        let identity = house.authority.sign("server", &["localhost", "127.0.0.1"], Good::Now);
        house.show(&identity);
        house
    }

    pub fn without_tls() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let house = Self { cluster: cluster(), authority: Authority::new("authority"), folder };
        put(house.folder(), "ca.crt", house.authority.pem());
        let identity = house.authority.sign("pgweir", &["localhost", "127.0.0.1"], Good::Now);
        identity.write(house.folder(), "pgweir");
        house
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub fn admin_url(&self) -> String {
        self.cluster.primary().url(SUPERUSER, PASSWORD, APP_DATABASE)
    }

    /// Has the server show this to whoever connects from now on.
    pub fn show(&self, identity: &Identity) {
        let (certificate, key) = identity.write(self.cluster.folder(), "server");
        let ca = put(self.cluster.folder(), "ca.crt", self.authority.pem());
        let sql = format!(
            "ALTER SYSTEM SET ssl_cert_file = '{}'; ALTER SYSTEM SET ssl_key_file = '{}';
             ALTER SYSTEM SET ssl_ca_file = '{}'; ALTER SYSTEM SET ssl = on;
             SELECT pg_reload_conf();",
            certificate.display(),
            key.display(),
            ca.display(),
        );
        psql_rows(&self.admin_url(), &sql.replace("; ", ";\n"));
        // The postmaster reads its files when it gets to it.
        let wanted = der(&identity.certificate);
        let port = self.cluster.primary().port();
        eventually("the server shows its certificate", LIMIT, || {
            let mut client = TlsClient::ask(port);
            client.handshake().is_ok() && client.shown().is_some_and(|shown| shown == wanted)
        });
    }

    /// Runs openssl in the folder.
    pub fn openssl(&self, arguments: &str) {
        let mut command = std::process::Command::new("openssl");
        command.current_dir(self.folder()).args(arguments.split_whitespace());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A pooler in front of the server, reached as `host`, with these general keys.
    #[track_caller]
    pub fn pooler(&self, host: &str, settings: &str) -> Pooler {
        Pooler::start(&self.toml(host, settings))
    }

    pub fn toml(&self, host: &str, settings: &str) -> String {
        let settings =
            settings.replace("; ", "\n").replace("DIR", &self.folder().display().to_string());
        let port = self.cluster.primary().port();
        format!(
            "listen_port = 0\n{settings}\n[databases.{APP_DATABASE}]\nhost = \"{host}\"\n\
             port = {port}\n[users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
        )
    }

    /// Settings with which clients may use TLS.
    pub fn client_tls(mode: &str) -> String {
        format!(
            "client_tls_sslmode = \"{mode}\"; client_tls_cert_file = \"DIR/pgweir.crt\"; \
             client_tls_key_file = \"DIR/pgweir.key\""
        )
    }
}

/// A query as the application's user, with libpq's parameters in `DIR`.
pub fn ask(pooler: &Pooler, parameters: &str, sql: &str) -> Ended {
    let url = format!("{}?{parameters}", pooler.url(APP_USER, PASSWORD, APP_DATABASE));
    // What lies in the home of whoever runs the tests must not count.
    psql_with(&url, sql, &[("HOME", "/nonexistent")])
}

/// Whether the server's end of the connection has TLS.
pub const SERVER_TLS: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();";
