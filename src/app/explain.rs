//! Where a text would run, and why: its facts, the catalog of its database, and the decision.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::catalogs::{LIMIT, overrides};
use super::discover::target;
use super::topologies::asked;
use crate::admin::Explanation;
use crate::catalog::{Catalog, Current};
use crate::config::{Config, Database};
use crate::route::{Judgement, Route, Session, route};
use crate::sql::facts::{Access, Certainty, Does, Facts, Hint, facts};
use crate::topology::{Circuit, HostFigures};

/// How long who asks waits for a catalog that is being read.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// Explains where a text would run, by the catalog that is known now.
pub(super) async fn explain(
    current: &Current,
    hosts: impl IntoIterator<Item = HostFigures>,
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
    lines.extend(hosts.into_iter().map(|host| ("host", describe_host(&host))));
    lines
}

fn describe_host(host: &HostFigures) -> String {
    let mut line = format!("{}: {}, {}", host.at, host.standing.name(), host.state.name());
    if let Some(lag) = host.lag(Instant::now()) {
        line += &format!(", lag {:.3} s", lag.as_secs_f64());
    }
    if host.banned_until.is_some() {
        line += ", banned";
    }
    if host.circuit.is_some_and(|circuit| circuit != Circuit::Closed) {
        line += ", left out for its errors";
    }
    line
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
