//! Auto-databases: bounded in number, and forgotten when nobody uses them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Book, Tenancies};
use crate::client::card::Login;
use crate::client::condition;
use crate::wire::reply::Report;

/// The longest time between looks for what is idle.
const LOOK_EVERY: Duration = Duration::from_secs(10);

impl Tenancies {
    /// Makes sure that there is room for a database: unused auto-databases give way.
    pub(super) fn make_room_for(&self, book: &mut Book, database: &str) -> Result<(), Report> {
        let setup = Arc::clone(&book.setup);
        let (config, max) = (&setup.config, setup.config.general.max_auto_databases);
        let autos = |book: &Book| {
            let names = book.known.keys().map(|login| login.database.as_str());
            names.filter(|name| config.is_auto(name)).collect::<BTreeSet<_>>().len()
        };
        if !config.is_auto(database)
            || book.known.keys().any(|login| login.database == database)
            || autos(book) < max
        {
            return Ok(());
        }
        self.forget(book, Duration::ZERO);
        if autos(book) < max {
            return Ok(());
        }
        Err(condition::TOO_MANY_CLIENTS.about("max_auto_databases"))
    }

    /// Forgets auto-databases without a client for so long. Their pools close on their own.
    fn forget(&self, book: &mut Book, idle: Duration) {
        let now = Instant::now();
        let Book { setup, known, unused, .. } = book;
        known.retain(|login, tenancy| {
            // Each session has a share in it, and a new one gets it under the lock of the book.
            let busy = tenancy.pools().any(|pool| {
                let snapshot = pool.snapshot();
                snapshot.active + snapshot.waiting > 0
            });
            let used = Arc::strong_count(tenancy) > 1 || busy;
            if used || !setup.config.is_auto(&login.database) {
                unused.remove(login);
                return true;
            }
            let since = unused.entry(Arc::clone(login)).or_insert(now);
            if now.duration_since(*since) < idle {
                return true;
            }
            unused.remove(login);
            let Login { database, user } = &**login;
            tracing::info!(database, user, "cleaning up idle pool");
            for pool in tenancy.pools() {
                if let Some(pool) = self.pools.remove(pool.name()) {
                    tokio::spawn(async move { pool.close().await });
                }
            }
            false
        });
    }

    /// Forgets auto-databases that nobody has used for `autodb_idle_timeout`, from time to time.
    pub(crate) async fn forget_idle(&self) {
        loop {
            let idle = self.setup().config.general.autodb_idle_timeout;
            let every = idle.map_or(LOOK_EVERY, |idle| (idle / 4).min(LOOK_EVERY));
            tokio::time::sleep(every).await;
            if let Some(idle) = idle {
                self.forget(&mut self.book.lock(), idle);
            }
        }
    }
}
