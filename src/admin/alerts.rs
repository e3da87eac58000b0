//! Alerts, as the console and the metrics tell of them.

use std::time::Duration;

use tokio::time::Instant;

use super::commands::{Column, Row};
use super::metrics::Page;
use super::registry::Registry;
use super::tables::text;
use crate::alerts::{CONDITIONS, Severity, Shown, State};
use crate::calendar::utc;
use crate::wire::reply::ColumnType::Text;
use crate::wire::reply::Value;

pub(super) static ALERTS: &[Column] = &[
    ("alert", Text),
    ("about", Text),
    ("severity", Text),
    ("state", Text),
    ("since", Text),
    ("value", Text),
    ("threshold", Text),
    ("silenced", Text),
    ("detail", Text),
];

pub(super) fn alerts(registry: &dyn Registry) -> Vec<Row> {
    let now = Instant::now();
    let row = |shown: Shown| {
        let known = |value: f64| match shown.state {
            State::Quiet => Value::Null,
            _ => text(shown.unit.show(value)),
        };
        vec![
            text(shown.key.name),
            text(shown.key.about.as_str()),
            match shown.state {
                State::Quiet => Value::Null,
                _ => text(shown.key.severity.name()),
            },
            text(shown.state.name()),
            text(utc(shown.since.time)),
            known(shown.value),
            known(shown.threshold),
            shown.silenced.map_or(Value::Null, |until| text(silence(until, now))),
            text(shown.detail),
        ]
    };
    registry.alerts().into_iter().map(row).collect()
}

/// For how much longer something is silenced.
fn silence(until: Option<Instant>, now: Instant) -> String {
    match until {
        None => "until UNSILENCE".to_owned(),
        Some(until) => {
            let left = until.saturating_duration_since(now).as_secs();
            format!("for {}", crate::config::show_duration(Duration::from_secs(left)))
        }
    }
}

pub(super) fn metrics(page: &mut Page, registry: &dyn Registry) {
    let alerts = registry.alerts();
    page.head(
        "pgweir_alert",
        "1 while the alert is raised; 0 while it may be soon, and for an hour after.",
    );
    for Shown { key, state, .. } in alerts.iter().filter(|shown| shown.state != State::Quiet) {
        let severity = key.severity.name();
        let labels = [("alert", key.name), ("about", &*key.about), ("severity", severity)];
        page.sample("pgweir_alert", &labels, u8::from(*state == State::Raised));
    }
    page.head("pgweir_alerts_raised", "Alerts that are raised.");
    for severity in Severity::ALL {
        let raised =
            |shown: &&Shown| shown.state == State::Raised && shown.key.severity == severity;
        let count = alerts.iter().filter(raised).count();
        page.sample("pgweir_alerts_raised", &[("severity", severity.name())], count);
    }
    page.head("pgweir_alert_silenced", "1 for conditions that nobody is told of.");
    for condition in CONDITIONS {
        let is = |shown: &Shown| shown.key.name == condition.name && shown.silenced.is_some();
        if alerts.iter().any(is) {
            page.sample("pgweir_alert_silenced", &[("alert", condition.name)], 1);
        }
    }
}
