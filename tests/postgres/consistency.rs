//! What sessions see, held against what was written: registers whose values only grow, many sessions
//! that write and read them in every protocol, and replicas that are delayed, paused, killed,
//! started again and promoted meanwhile.
//!
//! A session sees what it wrote (and what others with its token did), never sees a register go back,
//! and sees nothing that is older than `max_lag` allows. `CONSISTENCY_SECONDS=600` makes the run long;
//! with the guards switched off it has to find what they prevent. One thing is let pass, and counted: a
//! write that a replica has shown and the primary not yet, while its writer waits for the answer
//! (`under_way` shows it by itself).

use std::collections::HashMap;
use std::env;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Row, SimpleQueryMessage, Statement};

use super::hosts::stands;
use super::reads::{Scene, try_connect};
use super::registers::{Sight, World};
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, PostgresServer, StopMode,
    cluster_with_replicas, eventually, psql_rows,
};

const REGISTERS: usize = 5;
const SESSIONS: usize = 12;
const MAX_LAG: Duration = Duration::from_secs(3);
/// What is allowed on top: a request may wait at a pool, and its answer takes its time.
const SLACK: Duration = Duration::from_secs(2);

/// A small generator: a run is the same for the same seed, as far as time allows.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % bound
    }
}

/// One session and what it knows.
struct Session {
    client: Client,
    update: Statement,
    select: Statement,
    token: usize,
    wrote: HashMap<usize, i64>,
    /// The largest value of each register that it has seen.
    read: HashMap<usize, Sight>,
    /// How many transactions it has begun.
    turn: usize,
    /// The ports of all servers, by how they mark what is read there.
    ports: Vec<u16>,
}

impl Session {
    async fn open(
        scene: &Scene,
        ports: &[u16],
        token: usize,
    ) -> Result<Self, tokio_postgres::Error> {
        let options = format!("-c pgweir.causal_token=t{token}");
        let client = try_connect(&scene.pooler, &options).await?;
        let update = client.prepare("UPDATE reg SET v = v + 1 WHERE id = $1 RETURNING v").await?;
        let select = client.prepare(&format!("SELECT v, {WHERE} FROM reg WHERE id = $1")).await?;
        let (wrote, read) = (HashMap::new(), HashMap::new());
        let ports = ports.to_vec();
        Ok(Self { client, update, select, token, wrote, read, turn: 0, ports })
    }

    async fn write(&mut self, world: &World, register: usize) -> Result<(), tokio_postgres::Error> {
        let id = i32::try_from(register).unwrap();
        let _writing = world.writing(register);
        let value: i64 = self.client.query_one(&self.update, &[&id]).await?.get(0);
        world.wrote(register, self.token, value);
        self.wrote.insert(register, value);
        Ok(())
    }

    /// Reads and writes in one transaction, or reads twice.
    async fn transact(
        &mut self,
        world: &World,
        register: usize,
        writes: bool,
    ) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute("BEGIN").await?;
        // What has led to writes once is no beginning on a replica: each such transaction has its own.
        self.turn += 1;
        self.read(world, register, if writes { 3 } else { 2 }).await?;
        let id = i32::try_from(register).unwrap();
        let mut written = None;
        let _writing = writes.then(|| world.writing(register));
        if writes {
            written = Some(self.client.query_one(&self.update, &[&id]).await?.get(0));
        } else {
            self.read(world, register, 0).await?;
        }
        self.client.batch_execute("COMMIT").await?;
        if let Some(value) = written {
            world.wrote(register, self.token, value);
            self.wrote.insert(register, value);
        }
        Ok(())
    }

    async fn read(
        &mut self,
        world: &World,
        register: usize,
        how: usize,
    ) -> Result<(), tokio_postgres::Error> {
        let (began, reign) = (Instant::now(), world.reigns.load(Ordering::Relaxed));
        let shared = world.of_token(register, self.token);
        let text = format!("SELECT v, {WHERE} FROM reg WHERE id = {register}");
        let id = i32::try_from(register).unwrap();
        let of_row = |row: Row| (row.get(0), row.get(1));
        let (value, place): (i64, String) = match how {
            0 => first(&self.client.simple_query(&text).await?),
            1 => of_row(self.client.query_one(&text, &[]).await?),
            3 => {
                let text = text.replace(" v,", &format!(" v AS a{},", self.turn));
                first(&self.client.simple_query(&text).await?)
            }
            _ => of_row(self.client.query_one(&self.select, &[&id]).await?),
        };
        let ended = Instant::now();
        let seen = Sight { value, port: self.ports[place.len() - 3], began, ended, reign };
        world.reads.fetch_add(1, Ordering::Relaxed);
        let least = |what: &str, least: i64| {
            if value < least {
                world.violated(format!("{what}: register {register} is {value}, was {least}"));
            }
        };
        least("own write", self.wrote.get(&register).copied().unwrap_or_default());
        least("write of the token", shared);
        if let Some(then) = began.checked_sub(MAX_LAG + SLACK) {
            least("too old", world.at(register, then));
        }
        let before = *self.read.entry(register).or_insert(seen);
        if value < before.value {
            if world.is_under_way(register, before, seen) {
                world.under_way.fetch_add(1, Ordering::Relaxed);
            } else {
                world.violated(format!("went back: register {register}: {before:?}, {seen:?}"));
            }
        }
        // What the primary has shown is not under way any more.
        let shown = seen.port == world.primary.load(Ordering::Relaxed);
        if value > before.value || value == before.value && shown {
            self.read.insert(register, seen);
        }
        Ok(())
    }
}

/// The values of the first row.
fn first(messages: &[SimpleQueryMessage]) -> (i64, String) {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?.parse().unwrap(), row.get(1)?.into())),
        _ => None,
    });
    row.unwrap()
}

/// Each server has this many digits more than the one before it in what is read, which shows where
/// that was: code that tells it would be something to ask the server about.
const WHERE: &str = "1.23456789::float8::text";

fn marked(cluster: &Cluster) -> Vec<u16> {
    let servers = std::iter::once(cluster.primary()).chain(cluster.replicas());
    let ports = servers.enumerate().map(|(number, server)| {
        server.set("extra_float_digits", &format!("-{}", 13 - number)).unwrap();
        server.port()
    });
    ports.collect()
}

/// Runs for so long; what was violated.
fn run(general: &str, seed: u64, length: Duration, faults: usize) -> (World, Scene) {
    let cluster = cluster_with_replicas(2);
    let sql = format!(
        "CREATE TABLE reg (id int PRIMARY KEY, v bigint); ALTER TABLE reg OWNER TO {APP_USER}; \
         INSERT INTO reg SELECT i, 0 FROM generate_series(0, {REGISTERS}) i; \
         CREATE FUNCTION here() RETURNS int STABLE LANGUAGE sql AS 'SELECT inet_server_port()'; \
         GRANT pg_monitor TO {APP_USER}"
    );
    cluster.primary().sql(APP_DATABASE, &sql).unwrap();
    cluster.wait_replayed().unwrap();
    let ports = marked(&cluster);
    let scene = Scene::of(cluster, general);
    let world = World::default();
    world.primary.store(scene.primary(), Ordering::Relaxed);
    std::thread::scope(|scope| {
        let (world, scene, ports) = (&world, &scene, &ports);
        scope.spawn(move || disturb(scene, world, seed, faults));
        scope.spawn(move || {
            std::thread::sleep(length);
            world.over.store(true, Ordering::Relaxed);
        });
        scene.runtime.block_on(async {
            let sessions = (0..SESSIONS).map(|number| work(scene, world, ports, seed, number));
            let mut all: Vec<_> = sessions.map(Box::pin).collect();
            // Together, on this task: none waits for another.
            std::future::poll_fn(|cx| {
                all.retain_mut(|session| session.as_mut().poll(cx).is_pending());
                if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
        });
    });
    (world, scene)
}

async fn work(scene: &Scene, world: &World, ports: &[u16], seed: u64, number: usize) {
    let mut random = Random(seed.wrapping_mul(31).wrapping_add(number as u64 * 7919) | 1);
    let mut session = None;
    while !world.over.load(Ordering::Relaxed) {
        let changes = world.changes.load(Ordering::Relaxed);
        let done = match &mut session {
            None => {
                Session::open(scene, ports, number % 4).await.map(|opened| session = Some(opened))
            }
            Some(session) => {
                let register = random.below(REGISTERS);
                match random.below(12) {
                    0 => session.write(world, register).await,
                    10 => session.transact(world, register, false).await,
                    11 => session.transact(world, register, random.below(2) == 0).await,
                    how => session.read(world, register, how % 3).await,
                }
            }
        };
        if let Err(error) = done {
            world.errors.fetch_add(1, Ordering::Relaxed);
            // What is under way on a primary of the past ends.
            if changes.is_multiple_of(2) && world.changes.load(Ordering::Relaxed) == changes {
                world.violated(format!("error: {error:?}"));
            }
            session = None;
        }
        // Some pause, as people do, and some don't.
        if random.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(random.below(60) as u64)).await;
        }
    }
}

/// How many kinds of faults there are that leave the primary where it is.
const OF_REPLICAS: usize = 4;
/// The same, and that another host becomes the primary.
const ALL: usize = 5;

/// Delays, pauses, kills and starts replicas until all is over, and promotes them where that is
/// one of so many kinds of faults.
fn disturb(scene: &Scene, world: &World, seed: u64, faults: usize) {
    let mut random = Random(seed | 1);
    let mut primary = scene.cluster.primary();
    let mut replicas: Vec<&PostgresServer> = scene.cluster.replicas().iter().collect();
    let pause = |random: &mut Random| {
        let until = Instant::now() + Duration::from_millis(200 + random.below(1500) as u64);
        while Instant::now() < until && !world.over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let quiet = |server: &PostgresServer, sql: &str| drop(server.sql("postgres", sql));
    let mut fault = faults - 1;
    while !world.over.load(Ordering::Relaxed) {
        let replica = replicas[random.below(replicas.len())];
        match std::mem::replace(&mut fault, random.below(faults)) {
            0 => {
                quiet(replica, "SELECT pg_wal_replay_pause()");
                pause(&mut random);
                quiet(replica, "SELECT pg_wal_replay_resume()");
            }
            1 => {
                let delay = Duration::from_millis(random.below(2000) as u64);
                replica.set_replay_delay(delay).unwrap();
                pause(&mut random);
                replica.set_replay_delay(Duration::ZERO).unwrap();
            }
            2 => {
                replica.kill().unwrap();
                pause(&mut random);
                replica.start().unwrap();
            }
            4 => {
                world.changes.fetch_add(1, Ordering::Relaxed);
                primary = change(scene, world, primary, &mut replicas);
                world.changes.fetch_add(1, Ordering::Relaxed);
                pause(&mut random);
            }
            _ => pause(&mut random),
        }
    }
}

/// Makes another server the primary without losing anything, and the old one a replica of it.
fn change<'a>(
    scene: &Scene,
    world: &World,
    old: &'a PostgresServer,
    replicas: &mut Vec<&'a PostgresServer>,
) -> &'a PostgresServer {
    let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    eventually("all replicas stream", LIMIT, || {
        old.sql("postgres", streaming).is_ok_and(|count| count == replicas.len().to_string())
    });
    old.stop(StopMode::Fast).unwrap();
    world.has_primary(None);
    let received = |server: &&PostgresServer| {
        let sql = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')";
        server.sql("postgres", sql).unwrap().parse::<u64>().unwrap()
    };
    let (at, _) = replicas.iter().enumerate().max_by_key(|(_, server)| received(server)).unwrap();
    let new = replicas.swap_remove(at);
    // Until it is promoted it has what the others have: nobody writes.
    world.has_primary(Some(new.port()));
    new.promote().unwrap();
    replicas.iter().for_each(|other| other.follow(new).unwrap());
    std::fs::write(old.data_dir().join("standby.signal"), "").unwrap();
    old.start().unwrap();
    old.follow(new).unwrap();
    replicas.push(old);
    stands(&scene.pooler, new, "primary", "up");
    replicas.iter().for_each(|replica| stands(&scene.pooler, replica, "replica", "up"));
    new
}

fn length(default: u64) -> Duration {
    let seconds = env::var("CONSISTENCY_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(default))
}

/// Nothing is violated, and replicas have been read from.
fn holds(seed: u64, faults: usize, routing: &str) {
    println!("seed {seed}");
    let general = format!("max_lag = {}\n{routing}", MAX_LAG.as_secs());
    let (world, scene) = run(&general, seed, length(15), faults);
    let violations = world.violations.into_inner().unwrap();
    assert!(violations.is_empty(), "{} violations: {violations:#?}", violations.len());
    let reads = world.reads.load(Ordering::Relaxed);
    let routes = psql_rows(&scene.pooler.url("boss", PASSWORD, "pgweir"), "SHOW ROUTES");
    let errors = world.errors.load(Ordering::Relaxed);
    let changes = world.changes.load(Ordering::Relaxed) / 2;
    let under_way = world.under_way.load(Ordering::Relaxed);
    println!(
        "{reads} reads, {under_way} of what was under way, {changes} promotions, {errors} errors\n{routes}"
    );
    assert!(changes > 0 || faults == OF_REPLICAS, "nobody was promoted");
    assert!(reads > 500, "{reads}");
    let on_replicas: usize = routes
        .lines()
        .filter(|line| line.contains("|replica|"))
        .filter_map(|line| line.split('|').nth(3)?.parse::<usize>().ok())
        .sum();
    assert!(on_replicas > reads / 20, "{on_replicas} of {reads}");
}

#[test]
fn nothing_is_seen_that_must_not_be_while_replicas_come_and_go() {
    holds(u64::from(std::process::id()), OF_REPLICAS, "");
}

#[test]
fn nothing_is_seen_that_must_not_be_while_primaries_change() {
    holds(u64::from(std::process::id()), ALL, "");
}

#[test]
fn nothing_is_seen_that_must_not_be_while_transactions_move() {
    let routing = "transaction_routing = \"optimistic\"\nreplica_wait = \"50ms\"";
    holds(u64::from(std::process::id()), ALL, routing);
}

#[test]
fn checker_finds_what_the_guards_prevent() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    // Neither a bound nor a session's own writes count: what is read may be anything.
    let off = "max_lag = 0\nread_your_writes = \"off\"";
    let (world, _scene) = run(off, seed, length(15), OF_REPLICAS);
    let violations = world.violations.into_inner().unwrap();
    let of = |kind: &str| violations.iter().filter(|what| what.starts_with(kind)).count();
    let found = [of("own write"), of("write of the token"), of("went back")];
    println!("{found:?} of {}", violations.len());
    assert!(found.iter().all(|count| *count > 0), "{found:?}: {violations:#?}");
    assert_eq!(of("error"), 0, "{violations:#?}");
}
