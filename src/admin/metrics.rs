//! The same figures for Prometheus: PgBouncer's exporter's names where it has the figure.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::Display;
use std::time::UNIX_EPOCH;

use super::registry::{PoolFigures, Registry};
use super::{
    CONSOLE, VERSION, alerts, catalogs, errors, exporter, hosts, inside, routes, stats, times,
    waiting,
};
use crate::notify::{Figures, State};
use crate::traffic::Distribution;

/// One metric of a pool: its name, what it is, and its value.
type PoolGauge = (&'static str, &'static str, fn(&PoolFigures) -> f64);

/// One metric of a connection that listens.
type ListenerGauge = (&'static str, &'static str, fn(&Figures) -> f64);

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
static POOL_GAUGES: &[PoolGauge] = &[
    ("client_active_connections", "Clients that use a server or need none.", |pool| {
        pool.clients_active as f64
    }),
    ("client_waiting_connections", "Clients that wait for a server.", |pool| {
        pool.snapshot.waiting as f64
    }),
    ("client_active_cancel_connections", "Cancels that are under way.", |pool| {
        pool.cancels.sent as f64
    }),
    ("client_waiting_cancel_connections", "Cancels that wait.", |pool| pool.cancels.waiting as f64),
    ("server_active_connections", "Servers that a client uses.", |pool| {
        pool.servers_active() as f64
    }),
    ("server_active_cancel_connections", "Connections that carry a cancel.", |pool| {
        pool.cancels.sent as f64
    }),
    ("server_being_canceled_connections", "Servers held until a cancel has landed.", |pool| {
        pool.cancels.holding as f64
    }),
    ("server_idle_connections", "Servers that are free.", |pool| pool.servers_idle() as f64),
    ("server_used_connections", "Servers that are free, and are checked before use.", |pool| {
        pool.snapshot.stale as f64
    }),
    ("server_testing_connections", "Servers that are being reset or checked.", |pool| {
        pool.snapshot.tending as f64
    }),
    ("server_login_connections", "Servers that are being opened.", |pool| {
        pool.snapshot.opening as f64
    }),
    ("client_maxwait_seconds", "How long the client in front has waited.", |pool| {
        pool.snapshot.oldest_wait.unwrap_or_default().as_secs_f64()
    }),
];

/// What a page has at least, with a few pools.
const PAGE_LEN: usize = 64 * 1024;

/// What `/metrics` answers.
pub fn text(registry: &dyn Registry) -> String {
    let mut page = Page(String::with_capacity(PAGE_LEN));
    page.gauge("pgbouncer_up", "Whether the pooler answers.", 1);
    exporter::version(&mut page, registry);
    page.head("pgweir_build_info", "The version of pgweir.");
    page.sample("pgweir_build_info", &[("version", VERSION)], 1);
    page.gauge("pgweir_clients", "Clients that are logged in.", registry.client_count());
    let name = "pgweir_certificate_expires_seconds";
    page.head(name, "When a certificate expires, in seconds since 1970.");
    for (certificate, at) in registry.certificates() {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        page.sample(name, &[("certificate", &*certificate)], at);
    }
    let failed = u8::from(registry.reload_failed().is_some());
    page.gauge("pgweir_last_reload_failed", "Whether the last RELOAD has failed.", failed);
    let mut pools = registry.pools();
    let spare = pools.len().saturating_sub(registry.config().general.max_metrics_users);
    forget_idle(&mut pools, spare);
    for (name, help, value) in POOL_GAUGES {
        let name = format!("pgbouncer_pools_{name}");
        page.head(&name, help);
        for pool in &pools {
            let labels = [("database", &*pool.name.place()), ("user", &*pool.name.user)];
            page.sample(&name, &labels, value(pool));
        }
        // The console's own, as in `SHOW POOLS`.
        let is_active = name.ends_with("_client_active_connections");
        let own = if is_active { registry.consoles().open() } else { 0 };
        page.sample(&name, &[("database", CONSOLE), ("user", CONSOLE)], own);
    }
    page.head("pgweir_pinned_clients", "Clients that keep a server between transactions.");
    for pool in &pools {
        let labels = [("database", &*pool.name.place()), ("user", &*pool.name.user)];
        page.sample("pgweir_pinned_clients", &labels, pool.clients_pinned);
    }
    page.head("pgweir_pool_size", "Servers that the pool may have, the reserve apart.");
    for pool in &pools {
        let labels = [("database", &*pool.name.place()), ("user", &*pool.name.user)];
        page.sample("pgweir_pool_size", &labels, pool.size);
    }
    let name = "pgweir_pool_servers_max";
    page.head(
        name,
        "The same, or fewer where limits over several pools, or the server, leave no more now.",
    );
    for pool in &pools {
        let labels = [("database", &*pool.name.place()), ("user", &*pool.name.user)];
        page.sample(name, &labels, pool.most);
    }
    waiting::metrics(&mut page, registry, &pools);
    alerts::metrics(&mut page, registry);
    listeners(&mut page, registry);
    stats::metrics(&mut page, registry);
    times::metrics(&mut page, registry);
    errors::metrics(&mut page, registry);
    inside::metrics(&mut page, registry);
    exporter::metrics(&mut page, registry);
    hosts::metrics(&mut page, registry);
    routes::metrics(&mut page, registry);
    catalogs::metrics(&mut page, registry);
    page.0
}

/// Leaves out so many pools that have neither clients nor servers, as far as there are such: users who came
/// once would be told of for ever.
fn forget_idle(pools: &mut Vec<PoolFigures>, mut count: usize) {
    pools.retain(|pool| {
        let snapshot = &pool.snapshot;
        let servers = snapshot.open() + snapshot.opening;
        let is_idle = servers + snapshot.waiting + pool.clients_active == 0;
        let goes = is_idle && count > 0;
        count -= usize::from(goes);
        !goes
    });
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
static LISTENER_GAUGES: &[ListenerGauge] = &[
    ("up", "Whether a connection that listens for clients hears.", |listener| {
        f64::from(u8::from(matches!(listener.state, State::Listening(_))))
    }),
    ("clients", "Clients that it listens for.", |listener| listener.clients as f64),
    ("channels", "Channels that they listen to.", |listener| listener.channels as f64),
    ("queue_bytes", "Bytes of notifications that wait for them.", |listener| {
        listener.queued as f64
    }),
];

fn listeners(page: &mut Page, registry: &dyn Registry) {
    let listeners = registry.listeners();
    for (name, help, value) in LISTENER_GAUGES {
        let name = format!("pgweir_listener_{name}");
        page.head(&name, help);
        for listener in &listeners {
            let key = &listener.key;
            let (server, encoding) =
                (key.address.to_string(), String::from_utf8_lossy(&key.encoding));
            let labels = [
                ("server", server.as_str()),
                ("database", &key.database),
                ("client_encoding", &encoding),
            ];
            page.sample(&name, &labels, value(listener));
        }
    }
}

#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help);
        self.sample(name, &[], value);
    }

    pub(super) fn head(&mut self, name: &str, help: &str) {
        self.head_of("gauge", name, help);
    }

    /// Of a metric of this type.
    pub(super) fn head_of(&mut self, kind: &str, name: &str, help: &str) {
        let parts = ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"];
        self.0.extend(parts);
    }

    /// Of times, in seconds.
    pub(super) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], times: &Distribution) {
        let bucket = format!("{name}_bucket");
        let bounds = times.cumulative().map(|(bound, below)| (seconds(bound), below));
        let infinite = ("+Inf".to_owned(), times.count());
        for (bound, below) in bounds.chain([infinite]) {
            self.sample(&bucket, &[labels, &[("le", &bound)]].concat(), below);
        }
        self.sample(&format!("{name}_sum"), labels, seconds(times.micros));
        self.sample(&format!("{name}_count"), labels, times.count());
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { "{" } else { "," };
            self.0.extend([before, label, "=\""]);
            self.quoted(text);
            self.0.push('"');
        }
        let after = if labels.is_empty() { " " } else { "} " };
        self.0.push_str(after);
        self.0.push_str(&value.to_string());
        self.0.push('\n');
    }

    fn quoted(&mut self, text: &str) {
        for part in text.split_inclusive(['\\', '"', '\n']) {
            match part.as_bytes() {
                [.., b'\n'] => self.0.extend([part.trim_end_matches('\n'), "\\n"]),
                [.., b'\\' | b'"'] => {
                    let (plain, last) = part.split_at(part.len() - 1);
                    self.0.extend([plain, "\\", last]);
                }
                _ => self.0.push_str(part),
            }
        }
    }
}

/// Exactly so many microseconds.
fn seconds(micros: u64) -> String {
    let all = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    all.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::CancelFigures;
    use crate::config::PoolMode;
    use crate::pool::{PoolName, Snapshot};

    #[test]
    fn pools_that_nobody_uses_are_left_out_when_there_are_many() {
        let pool = |user: &str, clients_active, idle| PoolFigures {
            name: PoolName { database: "shop".into(), user: user.into(), replica: None },
            mode: PoolMode::Transaction,
            size: 1,
            most: 1,
            clients_active,
            clients_pinned: 0,
            cancels: CancelFigures::default(),
            snapshot: Snapshot { idle, ..Snapshot::default() },
            hindrance: None,
            quotas: [None; 3],
        };
        for (count, left) in [(0, "abcd"), (1, "acd"), (9, "ac")] {
            let mut pools =
                vec![pool("a", 0, 1), pool("b", 0, 0), pool("c", 1, 0), pool("d", 0, 0)];
            forget_idle(&mut pools, count);
            let users: String = pools.into_iter().map(|pool| pool.name.user).collect();
            assert_eq!(users, left);
        }
    }

    #[test]
    fn microseconds_are_told_exactly() {
        let told = [0, 100, 2_500_000, 60_000_000, 1_000_001].map(seconds);
        assert_eq!(told, ["0", "0.0001", "2.5", "60", "1.000001"]);
    }

    #[test]
    fn labels_stay_within_their_quotes() {
        let mut page = Page::default();
        page.sample("m", &[("a", "x\"y\\z\n"), ("b", "")], 0.5);
        assert_eq!(page.0, "m{a=\"x\\\"y\\\\z\\n\",b=\"\"} 0.5\n");
    }
}
