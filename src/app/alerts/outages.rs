//! Databases where no primary is sought: whether anybody is at their hosts, by what becomes of their pools'
//! connections.
//!
//! A database is up while a pool of it has a server, and down when none has and the last attempt of one
//! has found nobody there. Nobody else looks at its hosts; so as long as it is down, one of its pools
//! tries again without a client, as often as it would for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::admin::Reach;
use crate::app::App;
use crate::net::loops::LoopId;
use crate::pool::Ask;
use crate::session::ServerPool;

/// How long one attempt waits for a server: longer ones are begun anew, and nobody is in the pool's line for
/// long that is no client.
const ATTEMPT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(in crate::app) struct Outages {
    known: Mutex<BTreeMap<String, Reach>>,
    /// Those that are tried without a client now.
    tried: Mutex<BTreeSet<String>>,
}

/// What the pools of a database show.
#[derive(Default)]
struct Shown {
    is_up: bool,
    /// Of a pool that found nobody.
    lost: Option<(Arc<ServerPool>, String)>,
}

impl Outages {
    /// Of all databases of which it is known.
    pub(in crate::app) fn list(&self) -> Vec<Reach> {
        self.known.lock().values().cloned().collect()
    }
}

impl App {
    /// Looks at what has become of connections, and has what is down be tried again.
    pub(super) fn look_for_outages(self: &Arc<Self>) {
        let (now, config) = (Instant::now(), Arc::clone(&self.setup().config));
        let mut shown: BTreeMap<String, Shown> = BTreeMap::new();
        for tenancy in self.tenancies.list() {
            let pool = &tenancy.pool;
            let shown = shown.entry(tenancy.login.database.clone()).or_default();
            if pool.snapshot().open() > 0 {
                shown.is_up = true;
            } else if let Some(error) = pool.last_error().filter(|error| error.is_of_the_host()) {
                shown.lost = Some((Arc::clone(pool), error.to_string()));
            }
        }
        let before = self.alerts.outages.list();
        let mut known = BTreeMap::new();
        for (name, Shown { is_up, lost }) in shown {
            let Some(database) = config.database(&name) else { continue };
            if database.seeks_primary() || !is_up && lost.is_none() {
                continue;
            }
            let hosts = database.all_hosts();
            let at = if let [host] = hosts.as_slice() { Some(host.clone()) } else { None };
            let same = before.iter().find(|it| it.database == name && it.is_up == is_up);
            let since = same.map_or(now, |before| before.since);
            let lost = lost.filter(|_| !is_up);
            let error = lost.as_ref().map(|(_, error)| error.clone());
            let reach = Reach { database: name.clone(), at, is_up, since, error };
            known.insert(name.clone(), reach);
            if let Some((pool, _)) = lost {
                self.try_again(name, pool);
            }
        }
        *self.alerts.outages.known.lock() = known;
    }

    /// Has a pool open a server without a client, if nobody waits for one and it may.
    fn try_again(self: &Arc<Self>, database: String, pool: Arc<ServerPool>) {
        let snapshot = pool.snapshot();
        if snapshot.waiting + snapshot.opening > 0 || pool.is_paused() {
            return;
        }
        if !self.alerts.outages.tried.lock().insert(database.clone()) {
            return;
        }
        let (app, on) = (Arc::clone(self), LoopId::new(0));
        self.loops.spawn(on, async move {
            let ask = Ask { on, affinity: 0, holder: 0, last_member: None };
            if let Ok(Ok(lease)) = timeout(ATTEMPT, pool.wait(ask)).await {
                lease.check_in(on);
            }
            app.alerts.outages.tried.lock().remove(&database);
        });
    }
}
