//! Asks hosts what they take and who has it, when somebody wants to know.
//!
//! A connection for each host, opened for the question and closed behind it; what was asked a moment
//! ago is not asked again. A host that can't be asked keeps what it has said last.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{Demand, Room, judge, lower_pool_size};
use crate::admin::HostCapacity;
use crate::app::App;
use crate::app::design::{Design, address_of};
use crate::app::setup::Setup;
use crate::app::topologies::asked_as;
use crate::config::{Database, HostPort};
use crate::net::socket::Address;
use crate::server::ask::{AskError, Asker};
use crate::server::connect::{ConnectError, Target};

/// A host has to have answered within this.
const LIMIT: Duration = Duration::from_secs(2);
/// What is not older is not asked again.
const FRESH: Duration = Duration::from_secs(1);
/// Hosts that are asked at the same time.
const AT_ONCE: usize = 8;
/// Users whom one host is asked as, one after the other, until it lets one in.
const USERS_MAX: usize = 3;

/// Who is no client, and we who ask, have no place that others could have. To whom a server does not
/// show what others are, all that have a user and a database are clients.
const ROOM: &str = "SELECT current_setting('max_connections'), \
     current_setting('superuser_reserved_connections')::int \
     + coalesce(current_setting('reserved_connections', true), '0')::int, \
     (SELECT count(*) FROM pg_stat_activity WHERE usesysid IS NOT NULL AND datid IS NOT NULL \
     AND coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid())";

/// What a server takes; all who are connected there are others.
pub(in crate::app) async fn room(asker: &mut Asker) -> Result<Room, AskError> {
    let asked = timeout(LIMIT, asker.ask(ROOM, &[])).await;
    let rows = asked.map_err(|_elapsed| AskError::TimedOut)??;
    let row = rows.into_iter().next().unwrap_or_default();
    let number = |index: usize| row.get(index)?.as_deref()?.parse().ok();
    let room = || {
        let (max_connections, reserved, others) = (number(0)?, number(1)?, number(2)?);
        Some(Room { max_connections, reserved, others })
    };
    room().ok_or_else(|| AskError::Refused("it does not say how many it takes".to_owned()))
}

/// What hosts have said.
#[derive(Debug, Default)]
pub(in crate::app) struct Capacities {
    known: Mutex<HashMap<HostPort, Known>>,
    /// Two who want to know at once ask once.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Known {
    tried: Instant,
    /// What was said last, and when.
    room: Option<(Room, Instant)>,
    /// Why the last attempt has failed, if it has.
    error: Option<String>,
}

impl App {
    /// What pools may open on each host, and what it takes.
    pub(in crate::app) async fn measure(self: Arc<Self>) -> Vec<HostCapacity> {
        let setup = self.setup();
        let demands = Demand::of(&setup.config);
        self.ask_hosts(&setup, &demands).await;
        let known = self.capacities.known.lock().clone();
        let figures = demands.into_iter().map(|(host, demand)| {
            let known = known.get(&host);
            let room = known.and_then(|known| known.room);
            let lower = |most| lower_pool_size(&setup.config, &host, most);
            let verdict = room.map(|(room, _)| judge(&room, &demand, lower));
            let open = self.open_at(&address_of(&host));
            HostCapacity {
                state: verdict.as_ref().map_or("unknown", |verdict| verdict.level.name()),
                wanted: demand.most(),
                shares: demand.shares(),
                cap: demand.cap,
                max_connections: room.map(|(room, _)| room.max_connections),
                reserved: room.map(|(room, _)| room.reserved),
                others: room.map(|(room, _)| room.others),
                open,
                free: room.map(|(room, _)| room.left().saturating_sub(open)),
                age: room.map(|(_, at)| at.elapsed()),
                advice: verdict.map_or_else(|| UNKNOWN.to_owned(), |verdict| verdict.advice),
                error: known.and_then(|known| known.error.clone()),
                host,
            }
        });
        figures.collect()
    }

    /// Servers of pools that are open at an address.
    fn open_at(&self, address: &Address) -> usize {
        let servers = self.house.hub.processes().list();
        servers.iter().filter(|server| server.address == *address).count()
    }

    /// Asks every host that was not asked a moment ago.
    async fn ask_hosts(&self, setup: &Setup, demands: &BTreeMap<HostPort, Demand>) {
        let _asking = self.capacities.asking.lock().await;
        let now = Instant::now();
        let due: Vec<&HostPort> = {
            let mut known = self.capacities.known.lock();
            known.retain(|host, _| demands.contains_key(host));
            let is_due = |host: &&HostPort| {
                known.get(host).is_none_or(|known| now.duration_since(known.tried) > FRESH)
            };
            demands.keys().filter(is_due).collect()
        };
        let (mut asking, mut due) = (JoinSet::new(), due.into_iter());
        loop {
            while asking.len() < AT_ONCE
                && let Some(host) = due.next()
            {
                let (targets, host) = (self.ways_to(setup, host), host.clone());
                asking.spawn(async move { (host, ask(targets).await) });
            }
            match asking.join_next().await {
                None => return,
                Some(Ok((host, said))) => self.note_room(host, said),
                Some(Err(_ended)) => {}
            }
        }
    }

    fn note_room(&self, host: HostPort, said: Result<Room, String>) {
        let ours = self.open_at(&address_of(&host));
        let mut all = self.capacities.known.lock();
        let now = Instant::now();
        let known = all.entry(host).or_insert(Known { tried: now, room: None, error: None });
        known.tried = now;
        known.error = None;
        match said {
            // Ours may have been others a moment ago; at rest they are not.
            Ok(room) => {
                let others = room.others.saturating_sub(ours);
                known.room = Some((Room { others, ..room }, now));
            }
            Err(error) => known.error = Some(error),
        }
    }

    /// As whom a host can be asked: who looks at it or looks secrets up there, those who have pools
    /// there, and those who are listed with a secret.
    fn ways_to(&self, setup: &Setup, host: &HostPort) -> Vec<Target> {
        let (config, address) = (&setup.config, address_of(host));
        let databases =
            || config.databases.values().filter(|database| database.all_hosts().contains(host));
        let of = |database: &Database, user: &str| {
            let asked = asked_as(config, database, user);
            let secret = setup.users.role_secret(database, user);
            let aim = Design::new(config, &asked, user, address.clone()).aim;
            aim.goal(&setup.tls, self.house.tcp, secret, None, None).target
        };
        let lookers = databases().filter_map(|database| {
            let user = config.check_user(database)?;
            Some(of(database, user))
        });
        let pools = self.tenancies.list().into_iter().flat_map(|tenancy| {
            let targets = tenancy.pools().map(|pool| pool.connector().target());
            targets.filter(|target| target.address == address).collect::<Vec<_>>()
        });
        let listed = databases().flat_map(|database| {
            let forced = database.user.is_some();
            let users =
                config.users.values().filter(move |user| !forced && user.password.is_some());
            users.map(move |user| of(database, &user.name))
        });
        let ways = lookers.chain(pools).chain(listed);
        let short = |target: Target| {
            let connect_timeout = target.connect_timeout.min(LIMIT);
            Target { address: address.clone(), hosts: None, connect_timeout, ..target }
        };
        ways.take(USERS_MAX).map(short).collect()
    }
}

/// Asks a host in the first way that it answers to.
async fn ask(ways: Vec<Target>) -> Result<Room, String> {
    let mut error = "there is no user to ask as: set check_user".to_owned();
    for target in ways {
        match timeout(LIMIT, ask_as(&target)).await {
            Ok(Ok(room)) => return Ok(room),
            Ok(Err(failed)) => {
                error = failed.to_string();
                if !is_about_the_user(&failed) {
                    break;
                }
            }
            Err(_elapsed) => return Err(format!("no answer within {LIMIT:?}")),
        }
    }
    Err(error)
}

async fn ask_as(target: &Target) -> Result<Room, AskError> {
    let mut asker = Asker::connect(target, &[]).await?;
    room(&mut asker).await
}

/// Whether somebody else may be let in.
fn is_about_the_user(error: &AskError) -> bool {
    let AskError::Connect(error) = error else { return false };
    match error {
        ConnectError::Auth { .. } => true,
        ConnectError::Refused { .. } => error.server_sqlstate() != Some(b"53300"),
        _ => false,
    }
}

/// What there is to say while a host has not said anything.
const UNKNOWN: &str = "what the server takes is not known";
