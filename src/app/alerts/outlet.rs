//! A receiver of alerts, and what it has not been told yet.
//!
//! One attempt at a time; after one that has failed there is a pause, longer and longer: of all, where the
//! receiver is not there, and else of what it refuses ([`Turns`]). What is told meanwhile is what holds then:
//! see [`Mailbox`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::command::CommandError;
use super::turns::Turns;
use super::{LOOK_EVERY, body, command};
use crate::alerts::{Mailbox, Notice};
use crate::app::App;
use crate::config::{Alerts, Secret};
use crate::http::{self, PostError};
use crate::net::tls::{ServerTls, ServerTlsPlan};

/// The first pause after an attempt that has failed, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// Alerts in one request.
const TOGETHER_MAX: usize = 100;

/// How a receiver is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By a request.
    Webhook,
    /// By a program.
    Command,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outlet {
    way: Way,
    mailbox: Mutex<Mailbox>,
    /// Who is told at present.
    receiver: Mutex<Option<Receiver>>,
    news: Notify,
}

/// What a receiver is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// News, if there is any.
    Due,
    /// What it knows to be raised, once more.
    Known,
}

/// Why it was not told.
enum Failure {
    /// It is not there, or not well.
    Away(String),
    /// It does not want this.
    Refused(String),
}

/// The pause after another attempt has failed.
pub(super) fn longer(pause: Option<Duration>) -> Duration {
    let [first, longest] = PAUSES;
    pause.map_or(first, |pause| (pause * 2).min(longest))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Receiver {
    Url(Secret),
    Program(Vec<String>),
}

impl Outlet {
    pub(super) fn new(way: Way) -> Self {
        let (mailbox, receiver) = (Mutex::default(), Mutex::default());
        Self { way, mailbox, receiver, news: Notify::new() }
    }

    fn receiver(&self, settings: &Alerts) -> Option<Receiver> {
        match self.way {
            Way::Webhook => settings.webhook_url.clone().map(Receiver::Url),
            Way::Command if settings.command.is_empty() => None,
            Way::Command => Some(Receiver::Program(settings.command.clone())),
        }
    }

    /// Takes in what is raised and what has just changed, where somebody is to be told.
    pub(super) fn put(&self, raised: &[Notice], changes: &[Notice], settings: &Alerts) {
        let wanted = self.receiver(settings);
        let mut mailbox = self.mailbox.lock();
        let mut receiver = self.receiver.lock();
        if *receiver != wanted {
            mailbox.clear();
            receiver.clone_from(&wanted);
        }
        if wanted.is_some() {
            mailbox.put(raised, changes, settings.max_alerts);
            if !mailbox.due().is_empty() {
                self.news.notify_one();
            }
        }
    }

    /// Tells whoever is configured, as long as the process runs.
    pub(super) async fn tell(&self, app: &App) {
        let mut pause = None;
        let mut repeated = Instant::now();
        let mut turns = Turns::default();
        let mut tls = Https::default();
        loop {
            let (notices, what) = self.wait(&app.setup().config.alerts, repeated, &mut turns).await;
            let receiver = self.receiver.lock().clone();
            let config = Arc::clone(&app.setup().config);
            if notices.is_empty() || receiver.is_none() {
                if what == What::Known {
                    repeated = Instant::now();
                }
                continue;
            }
            if receiver != self.receiver(&config.alerts) {
                // It has changed this moment: what it is to be told is found out at the next look.
                sleep(LOOK_EVERY).await;
                continue;
            }
            match self.attempt(&config.alerts, &notices, &mut tls).await {
                Ok(()) => {
                    let mut mailbox = self.mailbox.lock();
                    if *self.receiver.lock() == receiver {
                        mailbox.delivered(&notices);
                    }
                    turns.taken(&notices);
                    if what == What::Known {
                        repeated = Instant::now();
                    }
                    if pause.take().is_some() {
                        tracing::info!("alerts are delivered again by {}", self.name());
                    }
                }
                Err(Failure::Refused(cause)) if what == What::Due => {
                    if turns.refused(&notices, Instant::now()) {
                        let keys = notices.iter().map(|notice| notice.key.to_string());
                        let keys = keys.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
                        let (keys, by) = (keys.join(", "), self.name());
                        tracing::warn!(
                            "alerts are refused by {by}, and told again, each by itself: {cause}: {keys}"
                        );
                    }
                }
                Err(Failure::Away(cause) | Failure::Refused(cause)) => {
                    let by = self.name();
                    if pause.is_none() {
                        tracing::warn!("alerts cannot be delivered by {by}, still trying: {cause}");
                    }
                    let now = longer(pause);
                    pause = Some(now);
                    sleep(now).await;
                }
            }
        }
    }

    fn name(&self) -> &'static str {
        match self.way {
            Way::Webhook => "webhook_url",
            Way::Command => "command",
        }
    }

    /// What has to be told next; nothing, when it is time to look again.
    async fn wait(
        &self,
        settings: &Alerts,
        repeated: Instant,
        turns: &mut Turns,
    ) -> (Vec<Notice>, What) {
        let repeat = settings.webhook_repeat.filter(|_| {
            let webhook = settings.webhook().filter(|_| self.way == Way::Webhook);
            webhook.is_some_and(|webhook| webhook.is_alertmanager())
        });
        let repeat = repeat.map(|repeat| repeated + repeat);
        let now = Instant::now();
        // However much else there is to tell, or it forgets.
        if repeat.is_some_and(|at| at <= now) {
            return (self.mailbox.lock().known(), What::Known);
        }
        let mut due = turns.next(self.mailbox.lock().due(), now);
        due.truncate(match self.way {
            Way::Webhook => TOGETHER_MAX,
            Way::Command => 1,
        });
        if due.is_empty() {
            let [_, longest] = PAUSES;
            let until = [Some(now + longest), repeat, turns.again()].into_iter().flatten().min();
            drop(timeout_at(until.unwrap_or(now), self.news.notified()).await);
        }
        (due, What::Due)
    }

    async fn attempt(
        &self,
        settings: &Alerts,
        notices: &[Notice],
        tls: &mut Https,
    ) -> Result<(), Failure> {
        let instance = settings.instance.clone().unwrap_or_else(machine);
        match self.way {
            Way::Webhook => {
                // It was taken out meanwhile: the mailbox will be empty.
                let Some(webhook) = settings.webhook() else { return Ok(()) };
                let tls = tls.with(settings);
                let authorization = settings.webhook_authorization.as_ref();
                let limit = settings.webhook_timeout;
                for notices in notices.chunks(TOGETHER_MAX) {
                    let text = match webhook.is_alertmanager() {
                        true => body::alertmanager(notices, &instance),
                        false => body::plain(notices, &instance),
                    };
                    let posted = http::post(&webhook, &tls, authorization, text, limit).await;
                    posted.map_err(|error| match error {
                        PostError::Refused(400..500) => Failure::Refused(error.to_string()),
                        _ => Failure::Away(error.to_string()),
                    })?;
                }
                Ok(())
            }
            Way::Command => {
                for notice in notices {
                    let text = body::one(notice, &instance);
                    let run = command::run(&settings.command, text, settings.command_timeout).await;
                    run.map_err(|error| match error {
                        CommandError::Ended(_) | CommandError::Late(_) => {
                            Failure::Refused(error.to_string())
                        }
                        CommandError::Run(_) | CommandError::Lost => {
                            Failure::Away(error.to_string())
                        }
                    })?;
                }
                Ok(())
            }
        }
    }
}

/// TLS with the receiver, made once for each file of authorities.
#[derive(Default)]
struct Https(Option<(Option<PathBuf>, Arc<ServerTls>)>);

impl Https {
    fn with(&mut self, settings: &Alerts) -> Arc<ServerTls> {
        let file = &settings.webhook_ca_file;
        match &self.0 {
            Some((known, tls)) if known == file => {
                // A file that is broken is told when it is used.
                tls.refresh().unwrap_or(Ok(())).unwrap_or_default();
                Arc::clone(tls)
            }
            _ => {
                let plan = ServerTlsPlan::https(file.as_deref());
                let tls = Arc::new(ServerTls::new(plan));
                self.0 = Some((file.clone(), Arc::clone(&tls)));
                tls
            }
        }
    }
}

/// What this machine is called.
fn machine() -> String {
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname"));
    name.map_or_else(|_| "pgweir".to_owned(), |name| name.trim().to_owned())
}
