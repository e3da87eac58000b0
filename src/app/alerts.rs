//! Alerts: what is read of everything, once a second, and who is told.

mod body;
mod command;
mod outages;
mod outlet;
mod readings;
mod turns;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use self::outages::Outages;
use self::outlet::{Outlet, Way};
use self::readings::Past;
use super::App;
use crate::admin::{Outcome, SteerError};
use crate::alerts::{Book, Moment, Notice, Severity, Shown};
use crate::events::Kind;

/// Between two looks at everything.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// All that is known of alerts.
#[derive(Debug)]
pub(super) struct Alerts {
    book: Mutex<Book>,
    past: Mutex<Past>,
    reload_failed: Mutex<Option<String>>,
    outages: Outages,
    webhook: Outlet,
    command: Outlet,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            book: Mutex::default(),
            past: Mutex::default(),
            reload_failed: Mutex::default(),
            outages: Outages::default(),
            webhook: Outlet::new(Way::Webhook),
            command: Outlet::new(Way::Command),
        }
    }
}

fn now() -> Moment {
    Moment { at: Instant::now(), time: SystemTime::now() }
}

impl Alerts {
    /// What there is to show.
    pub(super) fn shown(&self) -> Vec<Shown> {
        self.book.lock().shown()
    }

    /// Whether hosts that nobody looks at are there.
    pub(super) fn outages(&self) -> &Outages {
        &self.outages
    }

    /// How the last reload went: why it has failed, if it has.
    pub(super) fn reloaded(&self, failed: Option<String>) {
        *self.reload_failed.lock() = failed;
    }

    /// Why the last reload has failed, if it has.
    pub(super) fn reload_failed(&self) -> Option<String> {
        self.reload_failed.lock().clone()
    }

    pub(super) fn silence(&self, alert: String, time: Option<Duration>) -> Outcome {
        let now = now();
        // What is too far away to be a moment is for ever.
        let until = time.and_then(|time| now.at.checked_add(time));
        if !self.book.lock().silence(&alert, now, until) {
            return Err(SteerError::NoAlert(alert));
        }
        tracing::info!("alert {alert} is silenced");
        Ok(Vec::new())
    }

    pub(super) fn unsilence(&self, alert: String) -> Outcome {
        if !self.book.lock().unsilence(&alert) {
            return Err(SteerError::NotSilenced(alert));
        }
        tracing::info!("alert {alert} is not silenced any more");
        Ok(Vec::new())
    }
}

impl App {
    /// Looks at everything from time to time, as long as the process runs.
    pub(super) async fn watch_alerts(self: Arc<Self>) {
        loop {
            sleep(LOOK_EVERY).await;
            self.look_for_outages();
            self.look_for_alerts();
        }
    }

    fn look_for_alerts(&self) {
        let config = Arc::clone(&self.setup().config);
        let (now, settings) = (now(), &config.alerts);
        let readings = {
            let past = &mut self.alerts.past.lock();
            readings::all(self, settings, past, now)
        };
        let (changes, raised) = {
            let mut book = self.alerts.book.lock();
            (book.look(now, &readings, settings), book.raised())
        };
        for change in &changes {
            let (text, about) = (what(change), change.key.to_string());
            self.house.events.add(Kind::Alert, &about, &text, now.time);
            tell(change, &text);
        }
        self.alerts.webhook.put(&raised, &changes, settings);
        self.alerts.command.put(&raised, &changes, settings);
    }

    /// Posts alerts to whom they are for, as long as the process runs.
    pub(super) async fn post_alerts(self: Arc<Self>) {
        self.alerts.webhook.tell(&self).await;
    }

    /// Runs the command for alerts, as long as the process runs.
    pub(super) async fn run_alert_commands(self: Arc<Self>) {
        self.alerts.command.tell(&self).await;
    }
}

/// What has become of an alert, in a line.
fn what(notice: &Notice) -> String {
    let (severity, summary) = (notice.key.severity.name(), notice.summary());
    let silenced = if notice.silenced { " (silenced)" } else { "" };
    let became = if notice.resolved.is_some() { "resolved" } else { "raised" };
    format!("alert {became}, {severity}{silenced}: {summary}")
}

/// Has the log say so.
fn tell(notice: &Notice, text: &str) {
    let Notice { key, value, threshold, detail, silenced, .. } = notice;
    let (alert, about, severity) = (key.name, &*key.about, key.severity.name());
    macro_rules! tell {
        ($level:ident, $state:literal) => {
            tracing::$level!(
                alert,
                about,
                severity,
                state = $state,
                value,
                threshold,
                detail,
                silenced,
                "{text}"
            )
        };
    }
    match (notice.resolved, key.severity) {
        (Some(_), _) => tell!(info, "resolved"),
        (None, Severity::Warning) => tell!(warn, "raised"),
        (None, Severity::Critical) => tell!(error, "raised"),
    }
}
