//! The figures that the console and the metrics ask for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::crowd::{Crowd, Owners};
use super::explain::{Circumstances, Explainer, explain};
use super::{App, Stage as AppStage, shards};
use crate::admin::{
    CancelFigures, Consoles, Explaining, Explanation, InTheWay, Marks, Measuring, Operator, Order,
    PoolFigures, Reach, Registry, Steered, metrics, page,
};
use crate::alerts::Shown;
use crate::cancel::{Cancelling, Seat, Stage};
use crate::catalog;
use crate::config::{Config, TransactionRouting};
use crate::events::Event;
use crate::http::Pages;
use crate::notify;
use crate::pool::{Hindrance, Holder, PoolName, QuotaId};
use crate::route::decisions::Decisions;
use crate::route::{Role, Session};
use crate::server::card::ServerCard;
use crate::server::held::Prepared;
use crate::session::Layout;
use crate::shard::Sharding;
use crate::topology::HostFigures;
use crate::traffic::{Cost, ErrorLine, Pair, Times, Traffic};

impl Registry for App {
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.setup().config)
    }

    fn consoles(&self) -> &Arc<Consoles> {
        &self.consoles
    }

    fn pools(&self) -> Vec<PoolFigures> {
        let mut cancels = self.house.cancels.under_way();
        let owners = Owners::of(&cancels, || self.servers());
        let mut crowd = Crowd::default();
        let mut figures = Vec::new();
        let mut holders = HashMap::new();
        for tenancy in self.tenancies.list() {
            for pool in tenancy.pools() {
                let (name, snapshot) = (pool.name(), pool.snapshot());
                let at_replica = name.replica.is_some();
                let address = pool.connector().target().address;
                // Each is counted once: one that waits where the primary is.
                let own = cancels.extract_if(.., |cancel| match &cancel.server {
                    Some(server) => server.0 == address && owners.is_of(cancel, server, name),
                    None => !at_replica && cancel.login == tenancy.login,
                });
                let cancels = cancel_figures(own);
                // Replicas that nobody has read from are not worth a row.
                if at_replica && snapshot.open() + snapshot.waiting + snapshot.opening == 0 {
                    continue;
                }
                crowd.hold(figures.len(), pool.holders());
                figures.push(PoolFigures {
                    name: name.clone(),
                    mode: tenancy.terms.mode,
                    size: pool.settings().size,
                    most: pool.most(),
                    clients_active: 0,
                    clients_pinned: 0,
                    cancels,
                    hindrance: in_the_way(pool.hindrance(), &mut holders),
                    quotas: pool.quotas(),
                    snapshot,
                });
            }
        }
        crowd.count(&self.clients(), &mut figures);
        figures.sort_by(|a, b| a.name.cmp(&b.name));
        figures
    }

    fn holders(&self) -> Vec<(PoolName, Holder)> {
        let mut all = Vec::new();
        for tenancy in self.tenancies.list() {
            for pool in tenancy.pools() {
                let own = pool.holders().into_iter();
                all.extend(own.map(|holder| (pool.name().clone(), holder)));
            }
        }
        all
    }

    fn clients(&self) -> Vec<Arc<Seat>> {
        self.house.cancels.list()
    }

    fn servers(&self) -> Vec<Arc<ServerCard>> {
        self.house.hub.processes().list()
    }

    fn traffic(&self) -> Vec<(String, Arc<Traffic>)> {
        // Those that nothing has passed through yet are shown, too.
        let config = self.config();
        for name in config.databases.keys().filter(|name| *name != "*") {
            self.house.traffics.of(name);
        }
        self.house.traffics.list()
    }

    fn times(&self) -> Vec<(Pair, Arc<Times>)> {
        self.house.traffics.times()
    }

    fn folded(&self) -> u64 {
        self.house.traffics.folded()
    }

    fn errors(&self) -> Vec<ErrorLine> {
        self.house.errors.list()
    }

    fn queries(&self) -> Vec<(String, String, Cost)> {
        self.house.queries.list()
    }

    fn events(&self) -> Vec<Event> {
        self.house.events.list()
    }

    fn statements(&self) -> Vec<Prepared> {
        self.house.statements.list()
    }

    fn statement_totals(&self) -> (usize, usize) {
        self.house.statements.totals()
    }

    fn pins(&self) -> Vec<(&'static str, u64)> {
        self.house.pins.list()
    }

    fn marks(&self) -> Marks {
        let mut marks = Marks::default();
        for tenancy in self.tenancies.list() {
            for pool in tenancy.pools() {
                marks.closing.extend(pool.closing());
                marks.stale.extend(pool.stale());
            }
        }
        let cancels = self.house.cancels.under_way().into_iter();
        let held = cancels.filter(|cancel| cancel.stage == Stage::Held);
        marks.held = held.filter_map(|cancel| cancel.server).collect();
        marks
    }

    fn listeners(&self) -> Vec<notify::Figures> {
        self.house.hub.figures()
    }

    fn hosts(&self) -> Vec<(String, HostFigures)> {
        let mut hosts = self.topologies.figures();
        hosts.extend(self.setup().balances.figures());
        hosts
    }

    fn outages(&self) -> Vec<Reach> {
        self.alerts.outages().list()
    }

    fn catalogs(&self) -> Vec<catalog::Figures> {
        let all = self.house.catalogs.list();
        all.iter().map(|current| current.figures()).collect()
    }

    fn readings(&self) -> catalog::Kept {
        self.house.readings.kept()
    }

    fn decisions(&self) -> Vec<(String, Arc<Decisions>)> {
        self.house.decisions.list().into_iter().filter(|(_, known)| !known.is_empty()).collect()
    }

    fn cancel_count(&self) -> u64 {
        self.house.cancels.came()
    }

    fn strangers(&self) -> usize {
        self.door.strangers()
    }

    fn certificates(&self) -> Vec<(String, SystemTime)> {
        self.setup().tls.certificates()
    }

    fn reload_failed(&self) -> Option<String> {
        self.alerts.reload_failed()
    }

    fn alerts(&self) -> Vec<Shown> {
        self.alerts.shown()
    }

    fn is_paused(&self, database: Option<&str>) -> bool {
        self.tenancies.is_paused(database)
    }

    fn is_suspended(&self) -> bool {
        self.tenancies.is_suspended()
    }

    fn marked(&self) -> Vec<String> {
        self.tenancies.marked()
    }

    fn is_disabled(&self, database: &str) -> bool {
        self.tenancies.is_disabled(database)
    }

    fn shardings(&self) -> Vec<(String, Arc<Sharding>)> {
        let setup = self.setup();
        let of = |(name, layout): (&String, &Arc<Layout>)| {
            let known = self.house.catalogs.of(name).remembered();
            (name.clone(), layout.typed(known.as_deref()))
        };
        setup.shardings.iter().map(of).collect()
    }

    fn capacity(self: Arc<Self>) -> Measuring {
        Box::pin(self.measure())
    }

    fn explain(self: Arc<Self>, database: String, text: Vec<u8>) -> Explaining {
        let setup = self.setup();
        let config = Arc::clone(&setup.config);
        Box::pin(async move {
            let mut database = config.database(&database)?;
            let mut lines = Explanation::new();
            if let Some(layout) = setup.shardings.get(&database.name) {
                let known = self.house.catalogs.of(&database.name);
                let route =
                    shards::explain(layout, &known, &text, database.allow_fan_out_writes).await;
                lines = route.lines;
                if !route.on_one {
                    return Some(lines);
                }
                let shard =
                    route.shard.and_then(|shard| layout.sharding.database(&database.name, shard));
                database = shard.and_then(|name| config.database(&name)).unwrap_or(database);
            }
            let session = Session {
                optimistic: config.transaction_routing(&database, None)
                    == TransactionRouting::Optimistic,
                ..Session::default()
            };
            if database.seeks_primary() {
                let current = self.house.catalogs.of(&database.name);
                let hosts = self.hosts().into_iter().filter(|(name, _)| *name == database.name);
                let circumstances = Circumstances {
                    hosts: hosts.map(|(_, host)| host).collect(),
                    max_lag: config.max_lag(&database, None),
                    routing: config.read_routing(&database, None),
                };
                lines.extend(explain(&current, &circumstances, &text, session).await);
                return Some(lines);
            }
            let explainer = Explainer::new(&config, &database).await;
            lines.extend(explainer.explain(&text, session));
            if lines.contains(&("target", Role::Replica.name().to_owned())) {
                let hosts = match database.all_hosts().len() {
                    1 => "primary: the database has one host",
                    _ => "any host: the database has no replicas among them",
                };
                lines.push(("now", hosts.to_owned()));
            }
            Some(lines)
        })
    }

    fn steer(self: Arc<Self>, order: Order, by: &Operator) -> Steered {
        Box::pin(self.carry_out(order, Some(by.clone())))
    }
}

/// What those of a pool wait for. Who holds what several pools share is looked up once for all of them.
fn in_the_way(
    hindrance: Option<Hindrance>,
    holders: &mut HashMap<QuotaId, Option<Holder>>,
) -> Option<InTheWay> {
    let hindrance = hindrance?;
    let (limit, shared) = (hindrance.limit, hindrance.shared());
    let look = || hindrance.longest_holder();
    let holder = match shared {
        Some(quota) => *holders.entry(quota).or_insert_with(look),
        None => look(),
    };
    Some(InTheWay { limit, shared, holder })
}

fn cancel_figures(cancels: impl Iterator<Item = Cancelling>) -> CancelFigures {
    let mut figures = CancelFigures::default();
    for cancel in cancels {
        match cancel.stage {
            Stage::Waiting => figures.waiting += 1,
            Stage::Sent => figures.sent += 1,
            Stage::Held => {
                figures.sent += 1;
                figures.holding += 1;
            }
        }
    }
    figures
}

impl Pages for App {
    fn status(&self) -> String {
        page::html(self)
    }

    fn metrics(&self) -> String {
        metrics::text(self)
    }

    fn unready(&self) -> Option<&'static str> {
        if self.stage() != AppStage::Serving {
            Some("stopping")
        } else if self.drained.load(Ordering::Relaxed) {
            Some("drained")
        } else {
            let config = &self.setup().config;
            let patience = config.general.failover_timeout;
            let is_lost = |seen: &Reach| !seen.is_up && seen.since.elapsed() >= patience;
            let listed = |seen: &Reach| config.databases.contains_key(&seen.database);
            let lost = self.outages().iter().filter(|seen| is_lost(seen) && listed(seen)).count();
            // Where one can be served, those who come for it are welcome.
            let (watched, all) = (self.topologies.given_up(patience), config.databases.len());
            (all > 0 && watched + lost == all).then_some("no primary")
        }
    }
}
