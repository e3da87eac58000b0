//! `pgweir check --connect`: asks every server of a configuration, as those users whom its pools
//! log in, whether all will work. Reads only; opens one connection at a time, and waits for none
//! longer than a few seconds.

mod judge;
mod report;
mod shards;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use self::judge::{Facts, Proof};
pub use self::report::{Check, Level, json};
use self::shards::Held;
use super::capacity::{Demand, Room, lower_pool_size, room};
use super::discover::{LIMIT, Role, target};
use super::topologies::asked_as;
use crate::config::{Config, Database, HostPort, Shards, SslMode};
use crate::net::tls::{ClientTls, ServerTls, ServerTlsPlan};
use crate::server::ask::{AskError, Asker, Row};
use crate::server::connect::ConnectError;

/// Users who are tried on one server of a database.
const USERS_MAX: usize = 20;

const FACTS: &str = "SELECT current_setting('server_version'), pg_is_in_recovery(), \
     extract(epoch FROM clock_timestamp())";

const LAG: &str = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), \
     CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
     ELSE round(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())) END, \
     (SELECT count(*) FROM pg_stat_wal_receiver)";

/// Looks at everything that can be seen from here.
pub async fn inspect(config: &Config) -> Vec<Check> {
    let checks = own_certificates(config, SystemTime::now());
    let mut inspection = Inspection {
        config,
        checks,
        hosts: BTreeMap::new(),
        silent: BTreeSet::new(),
        held: BTreeMap::new(),
    };
    for database in config.databases.values() {
        // Its name there is the client's: any will do that every server has.
        let mut database = Database::clone(database);
        if database.dbname == "*" {
            let named = config.general.auth_dbname.as_ref().and_then(|name| config.database(name));
            database.dbname =
                named.map_or_else(|| "postgres".to_owned(), |named| named.dbname.clone());
        }
        for host in &database.all_hosts() {
            inspection.server(&database, host).await;
        }
        inspection.primary(&database);
    }
    inspection.shards();
    inspection.connections();
    inspection.checks
}

struct Inspection<'a> {
    config: &'a Config,
    checks: Vec<Check>,
    /// Hosts that have been asked.
    hosts: BTreeMap<HostPort, Facts>,
    /// Hosts where nobody answers: once is enough to wait for.
    silent: BTreeSet<HostPort>,
    /// What is on shards, by the names of their databases.
    held: BTreeMap<String, Held>,
}

impl Inspection<'_> {
    /// Logs in to one server of a database as each of its users, and asks what was not yet asked.
    async fn server(&mut self, database: &Database, host: &HostPort) {
        let place = format!("databases.{} at {host}", database.name);
        if self.silent.contains(host) {
            let check = Check::ok("login", &place, "not tried: nobody answers there");
            self.checks.push(check.but(Level::Error, "see the first login there"));
            return;
        }
        let users = users(self.config, database);
        if users.is_empty() {
            let check = Check::ok("login", &place, "not tried");
            self.checks.push(check.but(Level::Warning, "no user is listed to log in as"));
        }
        let mut answered = None;
        for user in users.iter().take(USERS_MAX) {
            let target = target(self.config, &asked_as(self.config, database, user), host, user);
            match Asker::connect(&target, &[]).await {
                Ok(mut asker) => {
                    self.checks.push(logged_in(&place, user, &asker));
                    self.hold(database, (host, user), &mut asker).await;
                    answered.get_or_insert(asker);
                }
                Err(error) => {
                    let proof = proof(self.config, database, user);
                    self.checks.push(judge::refused(place.clone(), proof, &error));
                    if is_silence(&error) {
                        self.silent.insert(host.clone());
                        break;
                    }
                }
            }
        }
        if let Some(more) = users.len().checked_sub(USERS_MAX).filter(|more| *more > 0) {
            let check = Check::ok("login", &place, format!("{more} more users were not tried"));
            self.checks.push(check.but(Level::Warning, "their passwords may be wrong"));
        }
        if let Some(asker) = answered {
            self.ask(asker, &place, host).await;
        }
    }

    /// Asks a server of a shard what is on it.
    async fn hold(&mut self, database: &Database, at: (&HostPort, &str), asker: &mut Asker) {
        let Some((home, shards)) = spread(self.config, database) else { return };
        self.held.entry(database.name.clone()).or_default().ask(shards, home, at, asker).await;
    }

    /// Whether shards hold what they should.
    fn shards(&mut self) {
        for database in self.config.databases.values() {
            let sharding = crate::app::shards::sharding(database);
            if let Some((shards, sharding)) = database.shards.as_ref().zip(sharding) {
                self.checks.extend(shards::compare(database, shards, &sharding, &self.held));
            }
        }
    }

    /// Asks a server what it is.
    async fn ask(&mut self, mut asker: Asker, place: &str, host: &HostPort) {
        if let Some(facts) = self.hosts.get(host) {
            self.checks.push(judge::role(place.to_owned(), facts));
            return;
        }
        if let Some(validity) = asker.server_validity() {
            // Where it counts, there is no login any more.
            let place = format!("of the server at {host}");
            self.checks.push(judge::validity(place, &validity, SystemTime::now(), Level::Warning));
        }
        let facts = match facts(&mut asker).await {
            Ok(facts) => facts,
            Err(error) => {
                let check = Check::ok("role", place, error.to_string());
                self.checks.push(check.but(Level::Error, "is it a Postgres server?"));
                return;
            }
        };
        self.checks.push(judge::role(place.to_owned(), &facts));
        self.checks.push(judge::clock(host.to_string(), &facts));
        if facts.role == Role::Replica {
            self.checks.push(lag(&mut asker, host).await);
        }
        self.hosts.insert(host.clone(), facts);
    }

    /// Whether the hosts of a database have one primary between them.
    fn primary(&mut self, database: &Database) {
        let hosts = database.all_hosts();
        let known: Vec<_> =
            hosts.iter().filter_map(|host| Some((host, self.hosts.get(host)?.role))).collect();
        let alone = matches!(*known, [(_, Role::Primary)] if hosts.len() == 1);
        if !known.is_empty() && !alone {
            self.checks.push(judge::primary(&database.name, hosts.len(), &known));
        }
    }

    /// Measures the pools of each host by what it can give.
    fn connections(&mut self) {
        for (host, demand) in Demand::of(self.config) {
            if let Some(facts) = self.hosts.get(&host) {
                let lower = |most| lower_pool_size(self.config, &host, most);
                let check = judge::connections(host.to_string(), &facts.room, &demand, lower);
                self.checks.push(check);
            }
        }
    }
}

fn logged_in(place: &str, user: &str, asker: &Asker) -> Check {
    let security =
        asker.cipher().map_or_else(|| "in clear".to_owned(), |cipher| cipher.to_string());
    Check::ok("login", place, format!("as {user} by {}, {security}", asker.method()))
}

async fn facts(asker: &mut Asker) -> Result<Facts, AskError> {
    let before = SystemTime::now();
    let row = ask(asker, FACTS).await?;
    let after = before.elapsed();
    let seconds = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    };
    let ahead_error = after.unwrap_or(Duration::ZERO).as_secs_f64() / 2.0;
    // We may be among those who are there, by another process.
    let room = Room { others: 0, ..room(asker).await? };
    let mut values = row.into_iter().map(Option::unwrap_or_default);
    let mut next = || values.next().unwrap_or_default();
    Ok(Facts {
        version: next(),
        role: if next() == "t" { Role::Replica } else { Role::Primary },
        room,
        ahead: next().parse::<f64>().unwrap_or_default() - seconds(before) - ahead_error,
        ahead_error,
    })
}

async fn lag(asker: &mut Asker, host: &HostPort) -> Check {
    match ask(asker, LAG).await {
        Ok(row) => {
            let value = |index| row.get(index).and_then(Option::as_deref);
            judge::lag(host.to_string(), value(0), value(1), value(2) != Some("0"))
        }
        Err(error) => {
            let check = Check::ok("lag", host.to_string(), format!("can't be read: {error}"));
            check.but(Level::Warning, "the user may need to be a member of pg_monitor")
        }
    }
}

/// Asks for one row.
async fn ask(asker: &mut Asker, sql: &str) -> Result<Row, AskError> {
    let rows =
        timeout(LIMIT, asker.ask(sql, &[])).await.map_err(|_elapsed| AskError::TimedOut)??;
    Ok(rows.into_iter().next().unwrap_or_default())
}

/// Whom the pools of a database log in as, as far as they are known. On shards, there is one who reads
/// what tables they have.
fn users<'a>(config: &'a Config, database: &'a Database) -> Vec<&'a str> {
    let mut users: Vec<&str> = match &database.user {
        Some(user) => vec![user],
        None => config.users.keys().map(String::as_str).collect(),
    };
    if spread(config, database).is_some()
        && let Some(reader) = config.check_user(database)
        && !users.contains(&reader)
    {
        users.insert(0, reader);
    }
    users
}

/// The database that is spread, if this is one of its shards, and how.
fn spread<'a>(config: &'a Config, database: &'a Database) -> Option<(&'a Database, &'a Shards)> {
    let home = match &database.shard_of {
        Some(home) => config.databases.get(home)?,
        None => database,
    };
    Some((home, home.shards.as_ref()?))
}

fn proof(config: &Config, database: &Database, user: &str) -> Proof {
    let listed = || config.users.get(user).and_then(|user| user.password.as_ref());
    match database.password.as_ref().or_else(listed) {
        Some(secret) if secret.expose().starts_with("SCRAM-SHA-256$") => Proof::WithClient,
        None if config.auth_user(database).is_some() => Proof::WithClient,
        _ => Proof::Own,
    }
}

fn is_silence(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Unreachable { .. } | ConnectError::TimedOut { .. })
}

/// Those that we show to clients and servers.
fn own_certificates(config: &Config, now: SystemTime) -> Vec<Check> {
    let mut checks = Vec::new();
    let clients = "of ours, for clients".to_owned();
    match ClientTls::new(&config.general) {
        Ok(None) => {}
        Ok(Some(tls)) => {
            let own = tls.validity();
            checks.extend(own.map(|own| judge::validity(clients, &own, now, Level::Error)));
        }
        Err(error) => checks.push(
            Check::ok("certificate", clients, error.to_string())
                .but(Level::Error, "see client_tls_cert_file and client_tls_key_file"),
        ),
    }
    for database in config.databases.values() {
        if database.server_tls_sslmode == SslMode::Disable {
            continue;
        }
        let place = format!("of ours, for the servers of databases.{}", database.name);
        let tls = ServerTls::new(ServerTlsPlan::new(&config.general, database));
        if let Err(error) = tls.check() {
            let check = Check::ok("certificate", place, error.to_string());
            checks.push(check.but(Level::Error, "see the files of server_tls"));
        } else if let Some(own) = tls.validity() {
            checks.push(judge::validity(place, &own, now, Level::Error));
        }
    }
    checks
}
