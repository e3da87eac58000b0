//! TLS with clients and with the servers of each database, and the files that it is made of, which
//! are watched.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;

use crate::config::{Config, Database, SslMode};
use crate::net::tls::{ClientTls, ServerTls, ServerTlsPlan, TlsError};

/// Why there is no TLS as it is configured.
#[derive(Debug, Error)]
#[error("{whose}: {cause}")]
pub struct TlsStartError {
    whose: String,
    cause: TlsError,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tls {
    clients: Option<Arc<ClientTls>>,
    /// One for all databases with the same settings.
    servers: Mutex<HashMap<ServerTlsPlan, Arc<ServerTls>>>,
}

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Tls {
    /// TLS as it is configured. All files are read.
    ///
    /// # Errors
    /// When one of them is not what it should be.
    pub(crate) fn new(config: &Config) -> Result<Self, TlsStartError> {
        let clients = ClientTls::new(&config.general)
            .map_err(|cause| TlsStartError { whose: "TLS with clients".into(), cause })?;
        let tls = Self { clients: clients.map(Arc::new), servers: Mutex::default() };
        for (name, database) in &config.databases {
            if let Some(servers) = tls.with_servers(config, database) {
                servers.check().map_err(|cause| TlsStartError {
                    whose: format!("TLS with servers of database \"{name}\""),
                    cause,
                })?;
            }
        }
        Ok(tls)
    }

    /// With clients, where they may speak it.
    pub(crate) fn with_clients(&self) -> Option<&Arc<ClientTls>> {
        self.clients.as_ref()
    }

    /// With the servers of a database, where it may be spoken.
    pub(crate) fn with_servers(
        &self,
        config: &Config,
        database: &Database,
    ) -> Option<Arc<ServerTls>> {
        if database.server_tls_sslmode == SslMode::Disable {
            return None;
        }
        let plan = ServerTlsPlan::new(&config.general, database);
        let mut servers = self.servers.lock();
        let tls = servers.entry(plan.clone()).or_insert_with(|| Arc::new(ServerTls::new(plan)));
        Some(Arc::clone(tls))
    }

    /// Reads the files again that have changed, now and for as long as it is polled. Those who are
    /// connected stay.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.refresh();
        }
    }

    fn refresh(&self) {
        if let Some(refreshed) = self.clients.as_ref().and_then(|clients| clients.refresh()) {
            report("clients", &refreshed);
        }
        let servers: Vec<_> = self.servers.lock().values().cloned().collect();
        for refreshed in servers.iter().filter_map(|servers| servers.refresh()) {
            report("servers", &refreshed);
        }
    }
}

fn report(whom: &str, refreshed: &Result<(), TlsError>) {
    match refreshed {
        Ok(()) => tracing::info!("TLS with {whom}: files have changed and were read again"),
        Err(error) => {
            tracing::error!(
                "TLS with {whom}: files have changed, the old ones stay in use: {error}"
            );
        }
    }
}
