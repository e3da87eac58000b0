//! Auto-databases, which are bounded in number, and what is forgotten when nobody uses it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Book, Tenancies};
use crate::cancel::Cancels;
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
        let now = |listed| (listed == Listed::No).then_some(Duration::ZERO);
        self.forget(book, now, |_| false);
        if autos(book) < max {
            return Ok(());
        }
        Err(condition::TOO_MANY_CLIENTS.about("max_auto_databases"))
    }

    /// Forgets who has had no client for so long, which is asked for auto-databases and for others. Their
    /// pools close on their own. Those of others go when they have no servers, and not while nobody is at
    /// their hosts: that is told of, and they go on trying.
    fn forget(
        &self,
        book: &mut Book,
        after: impl Fn(Listed) -> Option<Duration>,
        has_client: impl Fn(&Login) -> bool,
    ) {
        let now = Instant::now();
        let Book { setup, known, unused, .. } = book;
        known.retain(|login, tenancy| {
            let is_auto = setup.config.is_auto(&login.database);
            let listed = if is_auto { Listed::No } else { Listed::Yes };
            let busy = tenancy.pools().any(|pool| {
                let snapshot = pool.snapshot();
                let stays = || {
                    snapshot.open() + snapshot.opening > 0
                        || pool.last_error().is_some_and(|error| error.is_of_the_host())
                };
                snapshot.active + snapshot.waiting > 0 || !is_auto && stays()
            });
            let Some(idle) = after(listed).filter(|_| !busy && !has_client(login)) else {
                unused.remove(login);
                return true;
            };
            let since = *unused.entry(Arc::clone(login)).or_insert(now);
            // Each session has a share in it, and a new one gets it under the lock of the book; who looks at
            // figures has one for a moment.
            if now.duration_since(since) < idle || Arc::strong_count(tenancy) > 1 {
                return true;
            }
            unused.remove(login);
            let Login { database, user } = &**login;
            tracing::info!(database, user, "{database}/{user}: cleaning up idle pool");
            for pool in tenancy.pools() {
                if let Some(pool) = self.pools.remove(pool.name()) {
                    tokio::spawn(async move { pool.close().await });
                }
            }
            false
        });
    }

    /// Forgets auto-databases that nobody has used for `autodb_idle_timeout`, and pools of others that have
    /// had nothing for `pool_idle_timeout`, from time to time.
    pub(crate) async fn forget_idle(&self, cancels: &Cancels) {
        loop {
            let general = self.setup().config.general.clone();
            let after = |listed| match listed {
                Listed::No => general.autodb_idle_timeout,
                Listed::Yes => general.pool_idle_timeout,
            };
            let first = [Listed::No, Listed::Yes].into_iter().filter_map(after).min();
            let every = first.map_or(LOOK_EVERY, |idle| (idle / 4).min(LOOK_EVERY));
            tokio::time::sleep(every).await;
            if first.is_some() {
                let seats = cancels.list();
                let logins: HashSet<&Login> =
                    seats.iter().map(|seat| &*seat.card().login).collect();
                self.forget(&mut self.book.lock(), after, |login| logins.contains(login));
            }
        }
    }
}

/// Whether the configuration has a database by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Yes,
    No,
}
