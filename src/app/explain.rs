//! Where a text would run, and why: its facts, the catalog of its database, and the decision.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::catalogs::{LIMIT, overrides};
use super::discover::target;
use super::topologies::asked;
use crate::admin::{Eligible, Explanation, LAGS, eligible};
use crate::catalog::{Catalog, Current};
use crate::config::{Config, Database, ReadRouting};
use crate::route::{Judgement, Reason, Role, Route, Session, route};
use crate::sql::facts::{Access, Certainty, Does, Facts, Hint, facts};
use crate::topology::HostFigures;

/// How long who asks waits for a catalog that is being read.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Explains where texts would run, by a catalog that is loaded once.
#[derive(Debug)]
pub struct Explainer {
    /// What is known, or why nothing is.
    catalog: Result<Catalog, String>,
}

impl Explainer {
    /// Loads the catalog from the first of the database's hosts that lets us in.
    pub async fn new(config: &Config, database: &Database) -> Self {
        Self { catalog: load(config, database).await }
    }

    /// Explains where a text would run for a session of which this is known.
    pub fn explain(&self, text: &[u8], session: Session) -> Explanation {
        let facts = facts(text);
        let (judgement, catalog) = match &self.catalog {
            Ok(catalog) => (catalog.judge(&facts), "loaded".to_owned()),
            Err(why) => (Judgement::NotLoaded, format!("not loaded: {why}")),
        };
        explained(&facts, &judgement, catalog, session)
    }
}

/// What counts beside the text, its database's catalog and the session.
#[derive(Debug)]
pub(super) struct Circumstances {
    /// The hosts of the database.
    pub hosts: Vec<HostFigures>,
    /// How much a replica may lack.
    pub max_lag: Option<Duration>,
    /// What is read from replicas.
    pub routing: ReadRouting,
}

/// Explains where a text would run, by the catalog that is known now.
pub(super) async fn explain(
    current: &Current,
    circumstances: &Circumstances,
    text: &[u8],
    session: Session,
) -> Explanation {
    let facts = facts(text);
    let (judgement, catalog) = match timeout(PATIENCE, current.read()).await {
        Ok(known) => {
            let age = known.as_of().elapsed().as_secs_f64();
            (known.judge(&facts), format!("as of {age:.1} s ago, from {}", known.at()))
        }
        Err(_elapsed) => {
            let error = current.figures().error;
            let why = error.unwrap_or_else(|| "its primary has not been asked yet".to_owned());
            (Judgement::NotLoaded, format!("not loaded: {why}"))
        }
    };
    let mut lines = explained(&facts, &judgement, catalog, session);
    let Circumstances { hosts, max_lag, routing } = circumstances;
    let (now, reason) = (Instant::now(), route(&facts, &judgement, session).reason);
    let any = |is| hosts.iter().any(|host| eligible(host, *max_lag, now) == is);
    let instead = match (routing, reason) {
        _ if reason.role() == Role::Primary => None,
        (ReadRouting::Off, _) | (ReadRouting::Explicit, Reason::Reads) => Some(Reason::NotAsked),
        _ if any(Eligible::Yes) => None,
        _ if any(Eligible::No(LAGS)) => Some(Reason::Lagging),
        _ => Some(Reason::NoReplica),
    };
    lines.extend(instead.map(|reason| ("now", format!("primary: {}", reason.name()))));
    lines.extend(hosts.iter().map(|host| ("host", describe_host(host, *max_lag, now))));
    lines
}

fn describe_host(host: &HostFigures, max_lag: Option<Duration>, now: Instant) -> String {
    let mut line = format!("{}: {}, {}", host.at, host.standing.name(), host.state.name());
    if let Some(lag) = host.lag(now) {
        line += &format!(", lag {:.3} s", lag.as_secs_f64());
    }
    let may = match eligible(host, max_lag, now) {
        Eligible::Yes => "yes",
        Eligible::No(why) => why,
    };
    line + ", eligible: " + may
}

fn explained(
    facts: &Facts,
    judgement: &Judgement,
    catalog: String,
    session: Session,
) -> Explanation {
    let Route { role, reason, about } = route(facts, judgement, session);
    let mut lines = vec![
        ("target", role.name().to_owned()),
        ("reason", reason.name().to_owned()),
        ("about", about.as_deref().unwrap_or_default().to_owned()),
        ("meaning", reason.text().to_owned()),
        ("catalog", catalog),
    ];
    lines.extend(describe(facts));
    lines.retain(|(_, value)| !value.is_empty());
    lines
}

async fn load(config: &Config, database: &Database) -> Result<Catalog, String> {
    let asked = asked(config, database).ok_or("there is no user to ask as: set check_user")?;
    let user = asked.user.clone().unwrap_or_default();
    let mut why = String::new();
    for host in asked.all_hosts() {
        let target = target(config, &asked, &host, &user);
        match timeout(LIMIT, Catalog::load(&target, &overrides(config, database))).await {
            Ok(Ok(catalog)) => return Ok(catalog),
            Ok(Err(error)) => why = format!("{host}: {error}"),
            Err(_elapsed) => why = format!("{host}: not within {LIMIT:?}"),
        }
    }
    Err(why)
}

fn describe(facts: &Facts) -> Explanation {
    let does = match &facts.does {
        Does::Nothing => "nothing".to_owned(),
        Does::Reads => "reads".to_owned(),
        Does::Begins(modes) => {
            let access = match modes.access {
                Access::ReadOnly => "begins, read only",
                Access::Default => "begins",
                Access::ReadWrite => "begins, read write",
            };
            let isolation = modes.isolation.name();
            let comma = if isolation.is_empty() { "" } else { ", " };
            format!("{access}{comma}{isolation}")
        }
        Does::Session(by) => format!("session: {by}"),
        Does::Opaque(why) => format!("not known: {}", why.text()),
        Does::Locks(by) => format!("locks: {by}"),
        Does::Writes(by) => format!("writes: {by}"),
    };
    let calls = facts.calls.iter().filter(|(_, certainty)| **certainty == Certainty::Called);
    let functions: Vec<String> = calls.map(|(name, _)| name.to_string()).collect();
    let relations: Vec<String> = facts.relations.iter().map(ToString::to_string).collect();
    let hint = match facts.hint {
        None => "",
        Some(Hint::Primary) => "primary",
        Some(Hint::Replica) => "replica",
    };
    vec![
        ("statements", facts.statements.to_string()),
        ("does", does),
        ("functions", functions.join(", ")),
        ("relations", relations.join(", ")),
        ("hint", hint.to_owned()),
    ]
}
