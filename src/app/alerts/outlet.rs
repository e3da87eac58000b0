//! A receiver of alerts, and what it has not been told yet.
//!
//! One attempt at a time; after one that has failed there is a pause, longer and longer. What is
//! told meanwhile is what holds then: see [`Mailbox`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::{LOOK_EVERY, body, command};
use crate::alerts::{Mailbox, Notice};
use crate::app::App;
use crate::config::{Alerts, Secret};
use crate::http;
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
        let mut told = Instant::now();
        let mut tls = Https::default();
        loop {
            let notices = self.wait(&app.setup().config.alerts, told).await;
            let receiver = self.receiver.lock().clone();
            let config = Arc::clone(&app.setup().config);
            if notices.is_empty() || receiver.is_none() {
                told = Instant::now();
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
                    told = Instant::now();
                    if pause.take().is_some() {
                        tracing::info!("alerts are delivered again by {}", self.name());
                    }
                }
                Err(cause) => {
                    let by = self.name();
                    if pause.is_none() {
                        tracing::warn!("alerts cannot be delivered by {by}, still trying: {cause}");
                    }
                    let [first, longest] = PAUSES;
                    let now = pause.map_or(first, |pause: Duration| (pause * 2).min(longest));
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
    async fn wait(&self, settings: &Alerts, told: Instant) -> Vec<Notice> {
        let repeat = settings.webhook_repeat.filter(|_| {
            let webhook = settings.webhook().filter(|_| self.way == Way::Webhook);
            webhook.is_some_and(|webhook| webhook.is_alertmanager())
        });
        let due = self.due();
        if !due.is_empty() {
            return due;
        }
        let [_, longest] = PAUSES;
        let until = told + repeat.unwrap_or(longest);
        match timeout_at(until, self.news.notified()).await {
            Err(_elapsed) if repeat.is_some() => self.mailbox.lock().known(),
            _ => self.due(),
        }
    }

    /// What has to be told now. A program is told one thing at a time.
    fn due(&self) -> Vec<Notice> {
        let mut due = self.mailbox.lock().due();
        if self.way == Way::Command {
            due.truncate(1);
        }
        due
    }

    async fn attempt(
        &self,
        settings: &Alerts,
        notices: &[Notice],
        tls: &mut Https,
    ) -> Result<(), String> {
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
                    posted.map_err(|error| error.to_string())?;
                }
                Ok(())
            }
            Way::Command => {
                for notice in notices {
                    let text = body::one(notice, &instance);
                    let run = command::run(&settings.command, text, settings.command_timeout).await;
                    run.map_err(|error| error.to_string())?;
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
