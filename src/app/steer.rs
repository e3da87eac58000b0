//! What operators want, carried out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::App;
use super::journal::{log_failed_order, log_order};
use super::reload::{Change, Reloaded};
use crate::admin::{Haste, Operator, Order, Outcome, SteerError};
use crate::cancel::Summons;
use crate::complaints::shown;
use crate::config::General;
use crate::events::Kind;
use crate::session::Tenancy;

/// How long an operator's ban holds.
const BAN: Duration = Duration::from_secs(3600);

impl App {
    /// Carries an order out; when this is ready, it has been. Notices are for the operator.
    ///
    /// `by` is `None` for a signal, which has been logged.
    pub(super) async fn carry_out(self: Arc<Self>, order: Order, by: Option<Operator>) -> Outcome {
        let (events, about) = (Arc::clone(&self.house.events), order.about().to_owned());
        let giver = by.as_ref().map_or("a signal".to_owned(), Operator::to_string);
        let (name, note) = (order.name(), |text: &str| {
            events.add(Kind::Order, &about, &format!("{text}, by {giver}"), SystemTime::now());
        });
        if let Some(by) = &by {
            log_order(by, &order);
        }
        let whom = match &order {
            Order::Set((_, value)) => format!(" to {}", shown(value)),
            Order::KillClient(id) => {
                let seat = id.parse().ok().and_then(|id| self.house.cancels.find(id));
                seat.map_or(String::new(), |seat| format!(" of {seat}"))
            }
            _ => String::new(),
        };
        // It may take as long as the longest transaction.
        note(&format!("{name}{whom}"));
        let outcome = self.do_as_told(order).await;
        if let Err(error) = &outcome {
            note(&error.of(name));
            if let Some(by) = &by {
                log_failed_order(by, name, error);
            }
        }
        outcome
    }

    async fn do_as_told(self: Arc<Self>, order: Order) -> Outcome {
        order.spare_console()?;
        match order {
            Order::Reload => match self.reload(None).await {
                Ok(Reloaded { restart, .. }) => Ok(restart
                    .into_iter()
                    .map(|key| format!("{key} has changed; this needs a restart"))
                    .collect()),
                Err(error) => Err(SteerError::Reload(error.to_string())),
            },
            Order::Pause(database) => {
                let database = self.known(database)?;
                self.set_paused(database.as_deref(), true);
                self.paused(database.as_deref()).await;
                Ok(Vec::new())
            }
            Order::Suspend => {
                self.set_paused(None, true);
                self.tenancies.note_suspended();
                self.paused(None).await;
                Ok(Vec::new())
            }
            Order::Resume(database) => {
                let database = self.known(database)?;
                match (self.set_paused(database.as_deref(), false), database) {
                    (true, _) => Ok(Vec::new()),
                    (false, None) => Err(SteerError::NotPaused),
                    (false, Some(database)) => Err(SteerError::DatabaseNotPaused(database)),
                }
            }
            Order::Reconnect(database) => {
                let tenancies = self.tenancies_of(database)?;
                for tenancy in tenancies {
                    tenancy.pools().for_each(|pool| pool.replace_members());
                    self.house.hub.renew(&tenancy.pool.connector().target());
                }
                Ok(Vec::new())
            }
            Order::WaitClose(database) => {
                for tenancy in self.tenancies_of(database)? {
                    for pool in tenancy.pools() {
                        pool.replaced().await;
                    }
                }
                Ok(Vec::new())
            }
            Order::Kill(database) => {
                let database = self.known(database)?;
                self.set_paused(database.as_deref(), true);
                self.kill(database.as_deref());
                Ok(Vec::new())
            }
            Order::KillClient(id) => self.kill_client(&id),
            Order::Set((key, _)) | Order::Reset(key) if General::needs_restart(&key) => {
                Err(SteerError::NeedsRestart(key))
            }
            Order::Set(wanted) => match self.reload(Some(Change::Set(wanted.clone()))).await {
                Ok(Reloaded { notes, .. }) => Ok(notes
                    .into_iter()
                    .filter(|(key, _)| *key == wanted.0)
                    .map(|(key, note)| format!("{key}: {note}"))
                    .collect()),
                Err(error) => Err(SteerError::Set(error.to_string())),
            },
            Order::Reset(key) => match self.reload(Some(Change::Reset(key))).await {
                Ok(_) => Ok(Vec::new()),
                Err(error) => Err(SteerError::Reset(error.to_string())),
            },
            Order::Disable(database) => self.set_disabled(database, true),
            Order::Enable(database) => self.set_disabled(database, false),
            Order::Silence(alert, time) => self.alerts.silence(alert, time),
            Order::Unsilence(alert) => self.alerts.unsilence(alert),
            Order::Drain => self.set_drained(true),
            Order::Undrain => self.set_drained(false),
            Order::Ban(host) => self.ban(&host, Some(Instant::now() + BAN)),
            Order::Unban(host) => self.ban(&host, None),
            Order::Shutdown(haste) => self.shut_down(haste).await,
        }
    }

    /// Pauses or resumes a database, or all of them.
    pub(super) fn set_paused(&self, database: Option<&str>, paused: bool) -> bool {
        let was = self.tenancies.set_paused(database, paused);
        self.house.hub.look();
        was
    }

    /// Waits until no pool of a paused database has a server.
    pub(super) async fn paused(&self, database: Option<&str>) {
        for tenancy in self.tenancies.list_of(database) {
            for pool in tenancy.pools() {
                pool.emptied().await;
            }
        }
    }

    fn kill(&self, database: Option<&str>) {
        for seat in self.house.cancels.list() {
            if database.is_none_or(|name| seat.card().login.database == name) {
                seat.summon(Summons::Kill);
            }
        }
    }

    fn kill_client(&self, id: &str) -> Outcome {
        let id = id.parse().map_err(|_malformed| SteerError::NoNumber)?;
        let seat = self.house.cancels.find(id).ok_or(SteerError::NoClient)?;
        tracing::info!("KILL_CLIENT: {seat} is closed");
        seat.summon(Summons::Kill);
        Ok(Vec::new())
    }

    fn set_disabled(&self, database: String, disabled: bool) -> Outcome {
        if let Some(database) = self.known(Some(database))? {
            self.tenancies.set_disabled(&database, disabled);
        }
        Ok(Vec::new())
    }

    fn set_drained(&self, drained: bool) -> Outcome {
        let before = self.drained.swap(drained, Ordering::Relaxed);
        if before != drained {
            let state = if drained { "drained: /readyz says 503" } else { "not drained any more" };
            tracing::info!("{state}");
        }
        Ok(Vec::new())
    }

    fn ban(&self, host: &str, until: Option<Instant>) -> Outcome {
        match self.topologies.ban(host, until) {
            0 => Err(SteerError::NoHost(host.to_owned())),
            _ => Ok(Vec::new()),
        }
    }

    async fn shut_down(&self, haste: Haste) -> Outcome {
        // Asked for twice, it is not to come at once, in the midst of transactions.
        if haste != Haste::AtOnce && self.stopping.swap(true, Ordering::Relaxed) {
            return Err(SteerError::Ending);
        }
        // The control plane takes one at a time, and ends when it has taken two.
        let taken = self.stops.send(haste).await;
        taken.map_err(|_ending| SteerError::Ending)?;
        Ok(Vec::new())
    }

    fn tenancies_of(&self, database: Option<String>) -> Result<Vec<Arc<Tenancy>>, SteerError> {
        let database = self.known(database)?;
        Ok(self.tenancies.list_of(database.as_deref()))
    }

    /// A database that there is, or all.
    fn known(&self, database: Option<String>) -> Result<Option<String>, SteerError> {
        match database {
            Some(name) if self.setup().config.database(&name).is_none() => {
                Err(SteerError::NoDatabase(name))
            }
            database => Ok(database),
        }
    }
}
