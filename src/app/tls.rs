//! TLS with clients and with the servers of each database, and the files that it is made of, which
//! are watched.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use crate::config::{Config, Database, SslMode};
use crate::net::tls::{ClientTls, ServerTls, ServerTlsPlan, TlsError, Validity};

/// Why there is no TLS as it is configured.
#[derive(Debug, Error)]
#[error("TLS setup failed: {whose}: {cause}")]
pub struct TlsStartError {
    whose: String,
    cause: TlsError,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    clients: RwLock<Option<Arc<ClientTls>>>,
    /// One for all databases with the same settings.
    servers: Mutex<HashMap<ServerTlsPlan, Arc<ServerTls>>>,
}

/// TLS of a configuration whose files are what they should be.
#[derive(Debug)]
pub(crate) struct Prepared {
    clients: Option<Arc<ClientTls>>,
    servers: HashMap<ServerTlsPlan, Arc<ServerTls>>,
}

/// How often the files are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Tls {
    /// TLS as it is configured, with what is the same as `before` taken over.
    ///
    /// # Errors
    /// When a file is not what it should be.
    pub(crate) fn new(config: &Config, before: Option<&Self>) -> Result<Self, TlsStartError> {
        let tls = Self::default();
        if let Some(before) = before {
            tls.servers.lock().clone_from(&before.servers.lock());
        }
        tls.adopt(tls.prepare(config)?);
        Ok(tls)
    }

    /// Reads the files of a configuration. What servers are met with stays the same value where the
    /// settings are the same.
    ///
    /// # Errors
    /// When a file is not what it should be. Nothing has changed then.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Prepared, TlsStartError> {
        let clients = ClientTls::new(&config.general)
            .map_err(|cause| TlsStartError { whose: "clients".into(), cause })?;
        let mut servers = HashMap::new();
        for (name, database) in &config.databases {
            if let Some(plan) = Self::plan(config, database) {
                let tls = self.with(plan.clone());
                let fresh = tls.refresh().unwrap_or(Ok(())).and_then(|()| tls.check());
                fresh.map_err(|cause| TlsStartError {
                    whose: format!("servers of database \"{name}\""),
                    cause,
                })?;
                servers.insert(plan, tls);
            }
        }
        Ok(Prepared { clients: clients.map(Arc::new), servers })
    }

    /// Goes by another configuration from now on. Connections that are there stay.
    pub(crate) fn adopt(&self, prepared: Prepared) {
        warn_of("clients", prepared.clients.as_ref().and_then(|clients| clients.validity()));
        for servers in prepared.servers.values() {
            warn_of("servers", servers.validity());
        }
        *self.clients.write() = prepared.clients;
        *self.servers.lock() = prepared.servers;
    }

    /// With clients, where they may speak it.
    pub(crate) fn with_clients(&self) -> Option<Arc<ClientTls>> {
        self.clients.read().clone()
    }

    /// How it is spoken with the servers of a database, where it may be.
    pub(super) fn plan(config: &Config, database: &Database) -> Option<ServerTlsPlan> {
        let spoken = database.server_tls_sslmode != SslMode::Disable;
        spoken.then(|| ServerTlsPlan::new(&config.general, database))
    }

    /// With servers, as planned.
    pub(super) fn with(&self, plan: ServerTlsPlan) -> Arc<ServerTls> {
        let mut servers = self.servers.lock();
        let tls = servers.entry(plan.clone()).or_insert_with(|| Arc::new(ServerTls::new(plan)));
        Arc::clone(tls)
    }

    /// Certificates and when each expires: ours for clients and for servers, by their files, and the
    /// first of clients' authorities.
    pub(super) fn certificates(&self) -> Vec<(String, SystemTime)> {
        let mut all = Vec::new();
        if let Some(clients) = self.with_clients() {
            all.extend(clients.validity().map(|own| ("clients".to_owned(), own.to.at)));
            let authorities = clients.authorities_validity();
            all.extend(authorities.map(|first| ("authorities of clients".to_owned(), first.to.at)));
        }
        let servers: Vec<_> = self.servers.lock().values().cloned().collect();
        let servers = servers.iter().filter_map(|servers| {
            let file = servers.certificate_file()?.display().to_string();
            Some((format!("servers ({file})"), servers.validity()?.to.at))
        });
        let mut servers: Vec<_> = servers.collect();
        servers.sort();
        // Databases may have the same file with different modes.
        servers.dedup();
        all.extend(servers);
        all
    }

    /// Reads the files again that have changed. Those who are connected stay.
    pub(super) fn refresh(&self) {
        if let Some(clients) = self.with_clients()
            && let Some(refreshed) = clients.refresh()
        {
            report("clients", &refreshed, clients.validity());
        }
        let servers: Vec<_> = self.servers.lock().values().cloned().collect();
        for servers in servers {
            if let Some(refreshed) = servers.refresh() {
                report("servers", &refreshed, servers.validity());
            }
        }
    }
}

fn report(whom: &str, refreshed: &Result<(), TlsError>, validity: Option<Validity>) {
    match refreshed {
        Ok(()) => {
            tracing::info!("TLS with {whom}: files have changed and were read again");
            warn_of(whom, validity);
        }
        Err(error) => {
            tracing::error!(
                "TLS with {whom}: files have changed, the old ones stay in use: {error}"
            );
        }
    }
}

/// A certificate of ours that expires this soon is worth a word.
pub(super) const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

fn warn_of(whom: &str, validity: Option<Validity>) {
    let Some(Validity { from, to }) = validity else {
        return;
    };
    let now = SystemTime::now();
    if now < from.at {
        tracing::error!("TLS with {whom}: our certificate is not valid before {from}");
    }
    match to.at.duration_since(now) {
        Err(_past) => tracing::error!("TLS with {whom}: our certificate has expired, on {to}"),
        Ok(left) if left < SOON => {
            tracing::warn!("TLS with {whom}: our certificate expires on {to}");
        }
        Ok(_) => {}
    }
}
