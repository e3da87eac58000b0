//! The table `[alerts]`.

use std::time::Duration;

use toml::de::DeTable;

use super::{Reader, Seen, joined};
use crate::config::alerts::{Alerts, Webhook};
use crate::config::keys::ALERTS;
use crate::config::model::Config;
use crate::config::units::ByteSize;

const TABLE: &str = "alerts";

impl Reader<'_> {
    pub(super) fn read_alerts(&mut self, root: &DeTable<'_>, config: &mut Config) {
        let Some((key, value)) = root.get_key_value(TABLE) else {
            return;
        };
        let Some(table) = value.get_ref().as_table() else {
            let line = self.line(&key.span());
            let hint = "as in [alerts], its keys below".to_owned();
            return self.report_at(Some(line), TABLE, "must be a table", Some(hint));
        };
        let keys: Vec<_> = ALERTS.iter().collect();
        let seen = self.read_table(TABLE, table, &keys, &[], &mut config.alerts);
        for secret in [&mut config.alerts.webhook_url, &mut config.alerts.webhook_authorization] {
            secret.take_if(|secret| secret.expose().is_empty());
        }
        self.check_alerts(&seen, &config.alerts);
    }

    fn check_alerts(&mut self, seen: &Seen, alerts: &Alerts) {
        let url = alerts.webhook_url.as_ref().map(|url| Webhook::parse(url.expose()));
        if let Some(Err(what)) = url {
            self.report_alert(seen, "webhook_url", what);
        }
        let authorization = alerts.webhook_authorization.as_ref();
        let is_header = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if authorization.is_some_and(|header| !header.expose().bytes().all(is_header)) {
            self.report_alert(seen, "webhook_authorization", "must be one line of ASCII");
        }
        if alerts.command.first().is_some_and(|program| !program.starts_with('/')) {
            self.report_alert(seen, "command", "the program must be a whole path, from /");
        }
        for (key, warning, critical) in ranks(alerts) {
            if let (Some(warning), Some(critical)) = (warning, critical)
                && critical < warning
            {
                let what = "is reached before the warning";
                self.report_alert(seen, key, what);
            }
        }
    }

    fn report_alert(&mut self, seen: &Seen, key: &str, what: &str) {
        self.report_at(seen.get(key).copied(), &joined(TABLE, key), what, None);
    }
}

/// The thresholds of two severities, as numbers that grow with the severity.
fn ranks(alerts: &Alerts) -> [(&'static str, Option<i128>, Option<i128>); 10] {
    let time = |time: Option<Duration>| {
        time.map(|time| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX))
    };
    let soon = |left: Option<Duration>| time(left).map(|left| -left);
    let count = |count: Option<usize>| count.map(|count| count as i128);
    let size = |size: ByteSize| (!size.is_empty()).then(|| i128::from(size.bytes()));
    let Alerts {
        replica_lag_warning,
        replica_lag_critical,
        replica_lag_bytes_warning,
        replica_lag_bytes_critical,
        clients_waiting_warning,
        clients_waiting_critical,
        longest_wait_warning,
        longest_wait_critical,
        wait_p95_warning,
        wait_p95_critical,
        pool_saturated_warning,
        pool_saturated_critical,
        client_limit_warning,
        client_limit_critical,
        holder_warning,
        holder_critical,
        error_rate_warning,
        error_rate_critical,
        certificate_warning,
        certificate_critical,
        ..
    } = alerts;
    [
        ("replica_lag_critical", time(*replica_lag_warning), time(*replica_lag_critical)),
        (
            "replica_lag_bytes_critical",
            size(*replica_lag_bytes_warning),
            size(*replica_lag_bytes_critical),
        ),
        (
            "clients_waiting_critical",
            count(*clients_waiting_warning),
            count(*clients_waiting_critical),
        ),
        ("longest_wait_critical", time(*longest_wait_warning), time(*longest_wait_critical)),
        ("wait_p95_critical", time(*wait_p95_warning), time(*wait_p95_critical)),
        (
            "pool_saturated_critical",
            count(*pool_saturated_warning),
            count(*pool_saturated_critical),
        ),
        ("client_limit_critical", count(*client_limit_warning), count(*client_limit_critical)),
        ("holder_critical", time(*holder_warning), time(*holder_critical)),
        ("error_rate_critical", count(*error_rate_warning), count(*error_rate_critical)),
        ("certificate_critical", soon(*certificate_warning), soon(*certificate_critical)),
    ]
}
