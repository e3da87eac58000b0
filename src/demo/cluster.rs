//! Throwaway clusters: a primary and its streaming replicas in a temporary folder.
//!
//! Nothing of a cluster outlives its value, nor, by a watchdog, the process that owns the value.
//! Replicas are copies of the same template as their primary, which stands at the same place in
//! the log: they need no base backup. Data is not synced to disk.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub use super::error::ClusterError;
use super::folder::Folder;
pub use super::install::Install;
use super::port::PortLease;
pub use super::program::{Ended, run, wait_for};
pub use super::server::{PostgresServer, StopMode};
use super::template::{Cache, copy};

/// A role of every cluster that owns the database [`APP_DATABASE`]; its password is [`PASSWORD`].
pub const APP_USER: &str = "app";
/// The database of [`APP_USER`].
pub const APP_DATABASE: &str = "shop";
/// The superuser; its password is [`PASSWORD`].
pub const SUPERUSER: &str = "postgres";
/// The password of both roles. The servers listen on 127.0.0.1 alone and hold nothing.
pub const PASSWORD: &str = "s3cret";

/// A running primary and its replicas.
#[derive(Debug)]
pub struct Cluster {
    // The order matters: the servers end before their folder is removed.
    primary: PostgresServer,
    replicas: Vec<PostgresServer>,
    install: Arc<Install>,
    folder: Folder,
}

/// What a cluster shall be like.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    replicas: usize,
    replay_delay: Duration,
    hba: Vec<String>,
    settings: Vec<(String, String)>,
    identity: u8,
    install: Option<Install>,
}

impl Builder {
    /// The number of streaming replicas; none unless set.
    #[must_use]
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// How much later the replicas apply what they receive; see also
    /// [`PostgresServer::set_replay_delay`].
    #[must_use]
    pub fn replay_delay(mut self, delay: Duration) -> Self {
        self.replay_delay = delay;
        self
    }

    /// Lines of `pg_hba.conf` for TCP that come before the built-in ones, which ask everybody for
    /// scram-sha-256: `host all all 127.0.0.1/32 md5`.
    #[must_use]
    pub fn hba(mut self, rules: &[&str]) -> Self {
        self.hba.extend(rules.iter().map(|&rule| rule.to_owned()));
        self
    }

    /// Settings for all servers of the cluster, over those that it has by default.
    #[must_use]
    pub fn settings(mut self, settings: &[(&str, &str)]) -> Self {
        self.settings.extend(settings.iter().map(|&(name, value)| (name.into(), value.into())));
        self
    }

    /// Clusters of another identity have another system identifier, as clusters that were never
    /// one have; 0 unless set. Give each shard its own.
    #[must_use]
    pub fn identity(mut self, identity: u8) -> Self {
        self.identity = identity;
        self
    }

    /// Which Postgres the servers are; the one that [`Install::find`] finds unless set.
    #[must_use]
    pub fn install(mut self, install: Install) -> Self {
        self.install = Some(install);
        self
    }

    /// Starts the servers; returns when the primary takes writes and all replicas stream.
    ///
    /// # Errors
    /// When there are no server binaries, or a server does not come up within 30 s.
    pub fn start(mut self) -> Result<Cluster, ClusterError> {
        let install = Arc::new(self.install.take().map_or_else(Install::find, Ok)?);
        let cache = Cache::open(&install)?;
        let template = cache.template(&install, self.identity)?;
        let folder = Folder::create(&install)?;
        check_socket_path(folder.path())?;
        let names: Vec<String> = (1..=self.replicas).map(|n| format!("replica{n}")).collect();
        let copy_for = |name: &str| copy(&install, &template, &folder.path().join(name));
        thread::scope(|scope| {
            let mut copies = vec![scope.spawn(|| copy_for("primary"))];
            copies.extend(names.iter().map(|name| scope.spawn(|| copy_for(name))));
            copies.into_iter().try_for_each(|copy| {
                copy.join().unwrap_or(Err(ClusterError::NotRunning("a copying thread".to_owned())))
            })
        })?;
        let launch = |name: &str, upstream: Option<&PostgresServer>| {
            self.launch(name, upstream, &install, &cache, &folder)
        };
        let primary = launch("primary", None)?;
        let replicas = names
            .iter()
            .map(|name| launch(name, Some(&primary)))
            .collect::<Result<Vec<PostgresServer>, ClusterError>>()?;
        let cluster = Cluster { primary, replicas, install, folder };
        cluster.primary.wait_ready()?;
        cluster.replicas.iter().try_for_each(PostgresServer::wait_ready)?;
        cluster.wait_streaming()?;
        Ok(cluster)
    }

    /// Starts a server in its copy of the template, on another port if the first is taken, and
    /// returns as soon as it has its port: all servers come up side by side.
    fn launch(
        &self,
        name: &str,
        upstream: Option<&PostgresServer>,
        install: &Arc<Install>,
        cache: &Cache,
        folder: &Folder,
    ) -> Result<PostgresServer, ClusterError> {
        for _ in 0..PORT_ATTEMPTS {
            let lease = PortLease::take(cache.path())?;
            let server = PostgresServer::new(name, install, folder.path(), lease);
            let mut settings: Vec<(String, String)> =
                DEFAULTS.iter().map(|&(name, value)| (name.into(), value.into())).collect();
            if let Some(primary) = upstream {
                server.write("standby.signal", "")?;
                settings.push(("primary_conninfo".to_owned(), primary.conninfo(name)));
                settings.push((
                    "recovery_min_apply_delay".to_owned(),
                    format!("{}ms", self.replay_delay.as_millis()),
                ));
            }
            settings.extend_from_slice(&self.settings);
            server.write_settings(&settings)?;
            server.write_hba(&self.hba)?;
            server.launch()?;
            match server.wait_bound() {
                Err(ClusterError::PortTaken(_)) => {}
                other => return other.map(|()| server),
            }
        }
        Err(ClusterError::NoFreePort(PORT_ATTEMPTS))
    }
}

impl Cluster {
    /// A cluster to be described further and then started.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The server that takes writes, as the cluster was started.
    pub fn primary(&self) -> &PostgresServer {
        &self.primary
    }

    /// The streaming replicas, as the cluster was started.
    pub fn replicas(&self) -> &[PostgresServer] {
        &self.replicas
    }

    /// The folder that holds everything of this cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The binaries that the servers run from.
    pub fn install(&self) -> &Install {
        &self.install
    }

    /// Waits until every replica streams from the primary.
    ///
    /// # Errors
    /// When that takes more than 30 s.
    pub fn wait_streaming(&self) -> Result<(), ClusterError> {
        if self.replicas.is_empty() {
            return Ok(());
        }
        let query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        let expected = self.replicas.len().to_string();
        wait_for("all replicas stream", LIMIT, || {
            Ok((self.primary.sql("postgres", query)? == expected).then_some(()))
        })
    }

    /// Waits until every replica has applied what the primary has written up to this call.
    ///
    /// # Errors
    /// When that takes more than 30 s.
    pub fn wait_replayed(&self) -> Result<(), ClusterError> {
        let written = self.primary.sql("postgres", "SELECT pg_current_wal_lsn()")?;
        let query = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        for replica in &self.replicas {
            wait_for(&format!("{} has replayed", replica.name()), LIMIT, || {
                Ok((replica.sql("postgres", &query)? == "t").then_some(()))
            })?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    /// All servers are asked at once; then each field waits for its own.
    fn drop(&mut self) {
        for server in self.replicas.iter().chain([&self.primary]) {
            // A failure shows again when the server is dropped, which then kills it.
            server.request_stop(StopMode::Immediate).ok();
        }
    }
}

/// `/.s.PGSQL.12345` must fit behind it.
fn check_socket_path(folder: &Path) -> Result<(), ClusterError> {
    if folder.as_os_str().len() + 15 > 107 {
        return Err(ClusterError::PathTooLong(folder.to_owned()));
    }
    Ok(())
}

const LIMIT: Duration = Duration::from_secs(30);
const PORT_ATTEMPTS: u32 = 10;

/// Fast to start and to lose. Shared memory lies in the data folder, where it goes with it.
const DEFAULTS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("synchronous_commit", "on"),
    ("shared_buffers", "16MB"),
    ("dynamic_shared_memory_type", "mmap"),
    ("max_connections", "100"),
    ("max_prepared_transactions", "10"),
    ("wal_level", "logical"),
    ("max_wal_senders", "10"),
    ("max_replication_slots", "10"),
    ("max_wal_size", "1GB"),
    ("wal_keep_size", "256MB"),
    ("wal_retrieve_retry_interval", "100ms"),
    ("wal_receiver_status_interval", "1s"),
    ("hot_standby", "on"),
    ("password_encryption", "scram-sha-256"),
    ("log_line_prefix", "%m [%p] "),
    ("timezone", "UTC"),
];
