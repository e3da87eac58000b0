//! Going by another configuration without an interruption, or not at all.

use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;

use super::App;
use super::setup::{Setup, SetupError};
use super::tenancy::Moved;
use crate::admin::Override;
use crate::cancel::Summons;
use crate::config::Problems;
use crate::config::ini::Loaded;
use crate::events::Kind;

/// What a reload has brought about.
#[derive(Debug)]
pub(super) struct Reloaded {
    /// Keys that have changed and wait for a restart.
    pub(super) restart: Vec<&'static str>,
    /// Keys that operators have set, each with what is to be said of its value.
    pub(super) notes: Vec<(String, String)>,
}

/// What operators want of a key.
#[derive(Debug)]
pub(super) enum Change {
    /// This value, whatever the file says.
    Set(Override),
    /// What the file says.
    Reset(String),
}

/// Why everything is as it was.
#[derive(Debug, Error)]
pub(super) enum ReloadError {
    /// The configuration is not valid.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// Nothing can be made of it.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The reading broke off.
    #[error("the configuration could not be read: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl App {
    /// Reads the configuration again and has everybody go by it: newcomers at once, sessions at
    /// their next transaction boundary, servers when they are free, and none of these where
    /// nothing has changed for it. `also` is what an operator changes; what was set before stays.
    ///
    /// # Errors
    /// What is wrong; nothing has changed then.
    pub(super) async fn reload(
        self: &Arc<Self>,
        also: Option<Change>,
    ) -> Result<Reloaded, ReloadError> {
        let mut overrides = self.overrides.lock().await;
        let mut wanted = overrides.clone();
        let sets = also.is_some();
        match also {
            None => {}
            Some(Change::Set(also)) => {
                wanted.retain(|(key, _)| *key != also.0);
                wanted.push(also);
            }
            Some(Change::Reset(name)) => wanted.retain(|(key, _)| *key != name),
        }
        if let Some(manager) = &self.manager {
            manager.reloading();
        }
        let reloaded = self.try_reload(wanted.clone()).await;
        if reloaded.is_ok() {
            *overrides = wanted;
        }
        if let Some(manager) = &self.manager {
            manager.ready();
        }
        // A value that an operator has tried is told to that operator.
        if reloaded.is_ok() || !sets {
            self.alerts.reloaded(reloaded.as_ref().err().map(ToString::to_string));
        }
        let said = match &reloaded {
            Ok(Reloaded { restart, .. }) if restart.is_empty() => {
                "configuration reloaded".to_owned()
            }
            Ok(Reloaded { restart, .. }) => {
                tracing::warn!("needs a restart: {}", restart.join(", "));
                format!("configuration reloaded; needs a restart: {}", restart.join(", "))
            }
            // Of the order that it is.
            Err(_) if sets => return reloaded,
            Err(error) => {
                tracing::error!("RELOAD failed, nothing has changed:\n{error}");
                format!("RELOAD failed, nothing has changed: {error}")
            }
        };
        self.house.events.add(Kind::Reload, "", &said, SystemTime::now());
        reloaded
    }

    async fn try_reload(
        self: &Arc<Self>,
        overrides: Vec<Override>,
    ) -> Result<Reloaded, ReloadError> {
        let app = Arc::clone(self);
        let loaded = tokio::task::spawn_blocking(move || (app.source)(&overrides)).await??;
        let Loaded { mut config, notes, .. } = loaded;
        let before = self.setup();
        let restart = config.general.keep_until_restart(&before.config.general);
        let setup = Setup::new(Arc::new(config), &self.house, Some(&before))?;
        // From here on nothing fails.
        let general = &setup.config.general;
        self.house.hub.processes().log(general.log_connections, general.log_disconnections);
        self.topologies.adopt(&setup, &Arc::downgrade(self));
        let Moved { changed, gone, left } = self.tenancies.reload(setup);
        self.house.hub.look();
        let setup = self.setup();
        self.house.traffics.limit_pairs(setup.config.general.max_metrics_users);
        self.house.queries.resize(setup.config.general.query_stats_size.len());
        self.house.events.limit(setup.config.general.max_events);
        self.adopt_catalogs(&setup.config);
        self.house.readings.resize(setup.config.general.facts_cache_size.len());
        tracing::info!(changed, gone = gone.len(), "configuration reloaded");
        for seat in self.house.cancels.list() {
            if gone.iter().any(|(login, _)| **login == *seat.card().login) {
                seat.summon(Summons::Reconfigured);
            }
        }
        for pool in gone.into_iter().map(|(_, pool)| pool).chain(left) {
            // Servers that are lent are closed when they come back.
            tokio::spawn(async move { pool.close().await });
        }
        Ok(Reloaded { restart, notes })
    }
}
