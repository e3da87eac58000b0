//! The poolers that are compared: how each is found, configured alike, and started.
//!
//! All that differs between them is in this file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

use crate::client::{PASSWORD, Target};
use crate::keeper::{Kept, free_port, is_root};
use crate::{scram, tls};

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The bare relay: the floor.
    Relay,
    /// What everybody is compared with.
    PgBouncer,
    /// Ourselves.
    Pgweir,
}

impl Peer {
    /// In the order of the table's columns and of each round.
    pub(crate) const ALL: [Self; 3] = [Self::Relay, Self::PgBouncer, Self::Pgweir];
}

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// They need not.
    Trust,
    /// By SCRAM-SHA-256 with a stored verifier.
    Scram,
}

/// Whether clients keep named statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statements {
    /// Only unnamed ones, or none.
    Unnamed,
    /// Named ones, which a PgBouncer before 1.21 can only do in session mode.
    Named,
}

/// Between whom there is TLS: 1.3, with the certificate of [`tls`](crate::tls).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Nobody.
    None,
    /// Clients and poolers.
    Clients,
    /// Poolers and servers, too.
    Both,
}

impl Tls {
    /// libpq's modes for clients, and for poolers with servers.
    fn modes(self) -> (&'static str, &'static str) {
        match self {
            Self::None => ("disable", "disable"),
            Self::Clients => ("require", "disable"),
            Self::Both => ("require", "require"),
        }
    }

    /// libpq's mode for clients.
    pub(crate) fn for_clients(self) -> &'static str {
        self.modes().0
    }

    /// Settings under the names that both poolers know, each as a name and a value.
    fn settings(self, folder: &Path) -> Vec<(&'static str, String)> {
        let (clients, servers) = self.modes();
        let mut settings = vec![("server_tls_sslmode", servers.to_owned())];
        if self != Self::None {
            let [certificate, key] = tls::files(folder).map(|path| path.display().to_string());
            settings.extend([
                ("client_tls_sslmode", clients.to_owned()),
                ("client_tls_cert_file", certificate),
                ("client_tls_key_file", key),
                ("client_tls_protocols", "tlsv1.3".to_owned()),
                ("server_tls_protocols", "tlsv1.3".to_owned()),
            ]);
        }
        settings
    }
}

/// Whether a database is one, or spread over shards; the others than pgweir know of one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// It is one.
    Nowhere,
    /// Over itself and [`SECOND_SHARD`], on the same server, by pgbench's numbers of accounts.
    TwoShards,
}

/// The database that is the second shard of the first.
pub(crate) const SECOND_SHARD: &str = "bench_b";

/// What a case asks of a pooler's configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) pool_size: usize,
    /// Databases, and as many users: one for each.
    pub(crate) databases: usize,
    pub(crate) login: Login,
    pub(crate) statements: Statements,
    pub(crate) tls: Tls,
    /// A replica, which pgweir may read from; the others know nothing of it.
    pub(crate) replica: Option<SocketAddr>,
    pub(crate) spread: Spread,
    /// Clients that there may be.
    pub(crate) clients_max: usize,
    /// Where pgweir serves its metrics; whoever logs in may then open the console.
    pub(crate) pages: Option<SocketAddr>,
}

impl Setup {
    /// The names of the databases and users.
    pub(crate) fn names(&self) -> Vec<String> {
        if self.databases == 1 {
            return vec!["bench".to_owned()];
        }
        (0..self.databases).map(|number| format!("bench{number}")).collect()
    }
}

/// A pooler that is up.
#[derive(Debug)]
pub(crate) struct Pooler {
    kept: Kept,
    /// Where and as whom clients log in.
    pub(crate) target: Target,
}

impl Pooler {
    /// The process whose costs count.
    pub(crate) fn pid(&self) -> u32 {
        self.kept.pid()
    }

    /// What it wrote last, for a failure's report.
    pub(crate) fn log_tail(&self) -> String {
        self.kept.log_tail()
    }
}

/// Where `benches/pgbouncer` puts a newer PgBouncer than the installed one.
const FETCHED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/pgbouncer/run");

/// What is installed.
#[derive(Debug)]
pub(crate) struct Peers {
    pgbouncer: Option<PathBuf>,
    pgbouncer_version: (u32, u32, u32),
    pgweir: Option<PathBuf>,
    folder: PathBuf,
    started: AtomicU32,
}

impl Peers {
    /// Looks for the binaries; `PGBOUNCER` and `PGWEIR_BIN` name other ones.
    pub(crate) fn find(folder: &Path) -> Self {
        let pgbouncer = std::env::var_os("PGBOUNCER").map(PathBuf::from).or_else(|| {
            let known =
                [FETCHED, "/usr/sbin/pgbouncer", "/usr/local/bin/pgbouncer"].map(PathBuf::from);
            known.into_iter().find(|path| path.exists())
        });
        let pgbouncer_version = pgbouncer.as_deref().and_then(version_of);
        Self {
            pgbouncer: pgbouncer.filter(|_| pgbouncer_version.is_some()),
            pgbouncer_version: pgbouncer_version.unwrap_or_default(),
            pgweir: std::env::var_os("PGWEIR_BIN")
                .map(PathBuf::from)
                .or_else(|| option_env!("CARGO_BIN_EXE_pgweir").map(PathBuf::from))
                .filter(|path| path.exists()),
            folder: folder.to_owned(),
            started: AtomicU32::new(0),
        }
    }

    /// A column's heading.
    pub(crate) fn title(&self, peer: Peer) -> String {
        let (major, minor, patch) = self.pgbouncer_version;
        match peer {
            Peer::Relay => "relay (floor)".to_owned(),
            Peer::PgBouncer if self.pgbouncer.is_none() => "PgBouncer".to_owned(),
            Peer::PgBouncer => format!("PgBouncer {major}.{minor}.{patch}"),
            Peer::Pgweir => "pgweir".to_owned(),
        }
    }

    /// Whether PgBouncer keeps named statements of clients apart in transaction mode.
    pub(crate) fn pgbouncer_prepares(&self) -> bool {
        self.pgbouncer_version >= (1, 21, 0)
    }

    /// Starts a pooler in front of `upstream`.
    pub(crate) fn start(
        &self,
        peer: Peer,
        setup: &Setup,
        upstream: SocketAddr,
    ) -> anyhow::Result<Pooler> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(format!("pooler{number}"));
        std::fs::create_dir(&folder)?;
        let (kept, address) = match peer {
            Peer::Relay => Kept::start_own(&["relay", &upstream.to_string()], folder.join("log"))?,
            Peer::PgBouncer => self.start_pgbouncer(setup, upstream, &folder)?,
            Peer::Pgweir => self.start_pgweir(setup, upstream, &folder)?,
        };
        Ok(Pooler { kept, target: Target { address, names: setup.names().into() } })
    }

    fn start_pgbouncer(
        &self,
        setup: &Setup,
        upstream: SocketAddr,
        folder: &Path,
    ) -> anyhow::Result<(Kept, SocketAddr)> {
        let binary = self.pgbouncer.as_deref().context("not installed (see PGBOUNCER)")?;
        let auth_file = write_auth_file(setup, folder)?;
        let port = free_port()?;
        let mut ini = String::from("[databases]\n");
        for name in setup.names() {
            ini += &format!("{name} = host={} port={}\n", upstream.ip(), upstream.port());
        }
        let pool_mode = match setup.statements {
            Statements::Named if !self.pgbouncer_prepares() => "session",
            Statements::Named | Statements::Unnamed => "transaction",
        };
        let auth_type = match setup.login {
            Login::Trust => "trust",
            Login::Scram => "scram-sha-256",
        };
        ini += &format!(
            "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             listen_backlog = 1024\npool_mode = {pool_mode}\ndefault_pool_size = {}\n\
             max_client_conn = {}\nauth_type = {auth_type}\nauth_file = {}\n\
             log_connections = 0\nlog_disconnections = 0\n",
            setup.pool_size,
            setup.clients_max,
            auth_file.display(),
        );
        if self.pgbouncer_prepares() {
            ini += "max_prepared_statements = 200\n";
        }
        for (name, value) in setup.tls.settings(&self.folder) {
            ini += &format!("{name} = {value}\n");
        }
        let file = folder.join("pgbouncer.ini");
        std::fs::write(&file, ini)?;
        let mut arguments = vec![file.display().to_string()];
        if is_root() {
            // PgBouncer refuses to run as root.
            arguments.splice(0..0, ["-u".to_owned(), "postgres".to_owned()]);
        }
        let kept = Kept::start(binary, &arguments, folder.join("log"))?;
        let address = kept.wait_for_port(port)?;
        Ok((kept, address))
    }

    fn start_pgweir(
        &self,
        setup: &Setup,
        upstream: SocketAddr,
        folder: &Path,
    ) -> anyhow::Result<(Kept, SocketAddr)> {
        let binary = self.pgweir.as_deref().context("not built (see PGWEIR_BIN)")?;
        let mut toml = format!(
            "listen_port = 0\npool_mode = \"transaction\"\ndefault_pool_size = {}\n\
             max_client_conn = {}\n",
            setup.pool_size, setup.clients_max,
        );
        toml += &match setup.pages {
            Some(pages) => format!("http_listen = \"{pages}\"\nstats_users = \"bench\"\n"),
            None => "http_listen = \"\"\n".to_owned(),
        };
        for (name, value) in setup.tls.settings(&self.folder) {
            toml += &format!("{name} = \"{value}\"\n");
        }
        match setup.login {
            Login::Trust => toml += "auth_type = \"trust\"\n",
            Login::Scram => {
                let auth_file = write_auth_file(setup, folder)?;
                toml += &format!(
                    "auth_type = \"scram-sha-256\"\nauth_file = \"{}\"\n",
                    auth_file.display()
                );
            }
        }
        for name in setup.names() {
            let place = format!("host = \"{}\"\nport = {}\n", upstream.ip(), upstream.port());
            toml += &match (setup.replica, setup.spread) {
                (_, Spread::TwoShards) => format!(
                    "[databases.{name}]\ncheck_user = \"{name}\"\ndefault_shard = \"a\"\n\
                     [databases.{name}.groups.accounts]\nkey_type = \"integer\"\n\
                     function = \"postgres\"\ntables = {{ pgbench_accounts = \"aid\" }}\n\
                     [databases.{name}.shards.a]\n{place}dbname = \"{name}\"\n\
                     [databases.{name}.shards.b]\n{place}dbname = \"{SECOND_SHARD}\"\n"
                ),
                (None, Spread::Nowhere) => format!("[databases.{name}]\n{place}"),
                (Some(replica), Spread::Nowhere) => format!(
                    "[databases.{name}]\nhosts = [\"{upstream}\", \"{replica}\"]\n\
                     check_user = \"{name}\"\n"
                ),
            };
            if setup.login == Login::Trust {
                toml += &format!("[users.{name}]\npassword = \"{PASSWORD}\"\n");
            }
        }
        let file = folder.join("pooler.toml");
        std::fs::write(&file, toml)?;
        let arguments = ["run".to_owned(), file.display().to_string()];
        let kept = Kept::start(binary, &arguments, folder.join("log"))?;
        let address = kept.wait_for_address()?;
        Ok((kept, address))
    }
}

/// Writes the users in PgBouncer's format, with verifiers where SCRAM is asked for.
fn write_auth_file(setup: &Setup, folder: &Path) -> anyhow::Result<PathBuf> {
    let secret = match setup.login {
        Login::Trust => PASSWORD.to_owned(),
        Login::Scram => scram::verifier(PASSWORD)?,
    };
    let lines: String =
        setup.names().iter().map(|name| format!("\"{name}\" \"{secret}\"\n")).collect();
    let file = folder.join("users.txt");
    std::fs::write(&file, lines)?;
    Ok(file)
}

/// The version that a PgBouncer tells.
fn version_of(binary: &Path) -> Option<(u32, u32, u32)> {
    let output = Command::new(binary).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().next()?.rsplit(' ').next()?;
    let mut numbers = version.split('.').map(|number| {
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().unwrap_or(0)
    });
    Some((numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
}
