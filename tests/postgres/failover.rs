//! Pools follow the primary: whoever is between transactions goes on, and nothing is written to
//! one of the past.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use super::hosts::{STANDING, configuration, shown, stands};
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, PostgresServer, StopMode,
    cluster_with_replicas, eventually, psql, psql_rows,
};
use crate::wire;

/// A client in a runtime of its own.
struct Session {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Session {
    fn open(pooler: &Pooler) -> Result<Self, tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
        let (client, connection) = runtime.block_on(tokio_postgres::connect(&url, NoTls))?;
        runtime.spawn(connection);
        Ok(Self { runtime, client })
    }

    fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.runtime.block_on(self.client.batch_execute(sql))
    }
}

/// The SQLSTATE and message of an error that a server, or we, have sent.
#[track_caller]
fn told(error: &tokio_postgres::Error) -> (String, String) {
    let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    (error.code().code().to_owned(), error.message().to_owned())
}

/// A cluster with a table, and a pooler that knows its primary.
fn scene(replicas: usize, general: &str) -> (Cluster, Pooler) {
    let cluster = cluster_with_replicas(replicas);
    let sql = format!("CREATE TABLE t (n int); ALTER TABLE t OWNER TO {APP_USER}");
    cluster.primary().sql(APP_DATABASE, &sql).unwrap();
    cluster.wait_replayed().unwrap();
    let mut hosts: Vec<&PostgresServer> = cluster.replicas().iter().collect();
    hosts.push(cluster.primary());
    let pooler = Pooler::start(&configuration(&hosts, general));
    stands(&pooler, cluster.primary(), "primary", "up");
    (cluster, pooler)
}

fn rows(server: &PostgresServer) -> usize {
    server.sql(APP_DATABASE, "SELECT count(*) FROM t").unwrap().parse().unwrap()
}

#[test]
fn promotion_under_load_is_not_noticed_between_transactions() {
    let (cluster, pooler) = scene(1, "");
    let (old, new) = (cluster.primary(), &cluster.replicas()[0]);
    let idle: Vec<Session> = (0..20).map(|_| Session::open(&pooler).unwrap()).collect();
    idle.iter().for_each(|session| session.run("INSERT INTO t VALUES (0)").unwrap());

    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut written_again = Duration::ZERO;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(session) = Session::open(&pooler) else { continue };
                    while !stop.load(Ordering::Relaxed)
                        && session.run("INSERT INTO t VALUES (1)").is_ok()
                    {
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let writes = || {
            let before = written.load(Ordering::Relaxed);
            eventually("the load is written", LIMIT, || {
                written.load(Ordering::Relaxed) > before + 20
            });
        };
        writes();
        new.promote().unwrap();
        let promoted = Instant::now();
        old.kill().unwrap();
        idle[0].run("INSERT INTO t VALUES (2)").unwrap();
        written_again = promoted.elapsed();
        writes();
        stop.store(true, Ordering::Relaxed);
    });
    println!("written again {written_again:?} after the promotion");
    for session in &idle {
        session.run("INSERT INTO t VALUES (3)").unwrap();
    }
    stands(&pooler, new, "primary", "up");
    stands(&pooler, old, "unknown", "down");
    let count = "SELECT count(*) FROM t WHERE n >= 2";
    assert_eq!(new.sql(APP_DATABASE, count).unwrap(), "21");

    // It comes back as it was, and gets nothing.
    old.start().unwrap();
    stands(&pooler, old, "second primary", "up");
    let before = rows(old);
    for session in &idle {
        session.run("INSERT INTO t VALUES (4)").unwrap();
    }
    assert_eq!(rows(old), before);
    // Not even when the new one is gone.
    new.kill().unwrap();
    stands(&pooler, new, "unknown", "down");
    assert_eq!(shown(&pooler, old, STANDING), ["second primary", "up"]);
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| idle[1].run("INSERT INTO t VALUES (5)"));
        eventually("it waits", LIMIT, || {
            let pools = psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW POOLS");
            pools.split('|').nth(3) == Some("1")
        });
        assert_eq!(rows(old), before);
        new.start().unwrap();
        waiting.join().unwrap()
    });
    waiting.unwrap();
    assert_eq!(rows(old), before);
}

#[test]
fn transaction_on_a_primary_of_the_past_ends_with_one_error() {
    let (cluster, pooler) = scene(1, "");
    let (old, new) = (cluster.primary(), &cluster.replicas()[0]);
    let [open, failing, idle] = [0; 3].map(|_| Session::open(&pooler).unwrap());
    open.run("BEGIN; INSERT INTO t VALUES (1)").unwrap();
    idle.run("SELECT 1").unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(|| failing.run("INSERT INTO t SELECT 2 FROM pg_sleep(20)"));
        eventually("it runs", LIMIT, || {
            let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT%sleep%' \
                           AND state = 'active'";
            old.sql(APP_DATABASE, running).unwrap() == "1"
        });
        // The old one is there, and would still write.
        new.promote().unwrap();
        let error = running.join().unwrap().unwrap_err();
        let lost = ("08006".to_owned(), "server is not the primary any more".to_owned());
        assert_eq!(told(&error), lost);
    });
    eventually("the client in a transaction is closed", LIMIT, || open.client.is_closed());
    assert!(open.run("COMMIT").is_err());
    idle.run("INSERT INTO t VALUES (3)").unwrap();
    assert_eq!((rows(old), rows(new)), (0, 1));
    eventually("nothing is left on the old one", LIMIT, || {
        let sessions = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{APP_USER}' \
             AND application_name <> 'pgweir check'"
        );
        old.sql("postgres", &sessions).unwrap() == "0"
    });
    assert_eq!(shown(&pooler, old, STANDING), ["second primary", "up"]);
    assert!(pooler.log().contains("takes itself for a primary"), "{}", pooler.log());
}

#[test]
fn primary_that_hangs_is_left_when_another_is_promoted() {
    let (cluster, pooler) = scene(1, "");
    let (old, new) = (cluster.primary(), &cluster.replicas()[0]);
    let [open, idle] = [0; 2].map(|_| Session::open(&pooler).unwrap());
    open.run("BEGIN; INSERT INTO t VALUES (1)").unwrap();
    idle.run("SELECT 1").unwrap();
    old.pause().unwrap();
    thread::scope(|scope| {
        // Nobody answers, and nothing is refused.
        let waiting = scope.spawn(|| open.run("INSERT INTO t VALUES (1)"));
        new.promote().unwrap();
        stands(&pooler, new, "primary", "up");
        idle.run("INSERT INTO t VALUES (2)").unwrap();
        assert_eq!(told(&waiting.join().unwrap().unwrap_err()).0, "08006");
    });
    assert_eq!(rows(new), 1);
    // What was open on the old one keeps nobody from the new one.
    let many: Vec<_> = (0..20).map(|_| Session::open(&pooler).unwrap()).collect();
    many.iter().for_each(|session| session.run("BEGIN; INSERT INTO t VALUES (3)").unwrap());
    many.iter().for_each(|session| session.run("COMMIT").unwrap());
    old.resume().unwrap();
    stands(&pooler, old, "second primary", "up");
    assert_eq!(rows(old), 0);
}

#[test]
fn transaction_on_a_primary_that_is_stopped_gets_its_word_and_no_other() {
    let (cluster, pooler) = scene(1, "");
    let (old, new) = (cluster.primary(), &cluster.replicas()[0]);
    let [running, idle] = [0; 2].map(|_| Session::open(&pooler).unwrap());
    idle.run("SELECT 1").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| running.run("INSERT INTO t SELECT 1 FROM pg_sleep(20)"));
        eventually("it runs", LIMIT, || {
            let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT%sleep%' \
                           AND state = 'active'";
            old.sql(APP_DATABASE, running).unwrap() == "1"
        });
        // As in a switchover: all that was written is at the replica when it is promoted.
        old.stop(StopMode::Fast).unwrap();
        assert_eq!(told(&waiting.join().unwrap().unwrap_err()).0, "57P01");
        let held = scope.spawn(|| idle.run("INSERT INTO t VALUES (2)"));
        new.promote().unwrap();
        held.join().unwrap().unwrap();
    });
    assert_eq!(new.sql(APP_DATABASE, "SELECT n FROM t").unwrap(), "2");
}

/// Those in a transaction hear it once, whether or not they wait for an answer; all others nothing, also
/// where their server is kept no more than for a moment.
#[test]
fn primary_that_is_stopped_is_told_of_in_transactions_alone() {
    let (cluster, pooler) = scene(1, "");
    let (old, new) = (cluster.primary(), &cluster.replicas()[0]);
    let startup = [("user", APP_USER), ("database", APP_DATABASE)];
    let login = || wire::Client::login_with(pooler.port(), &startup, PASSWORD);
    let mut idle: Vec<wire::Client> = (0..12).map(|_| login()).collect();
    for (turn, client) in idle.iter_mut().enumerate() {
        let prepared = "P w INSERT INTO t VALUES (1) / B w / E / S";
        match turn % 3 {
            0 => client.talk("Q INSERT INTO t VALUES (1)", "C[INSERT 0 1] ZI"),
            1 => client.talk(prepared, "1 2 C[INSERT 0 1] ZI"),
            _ => client.talk("Q SET work_mem = '5MB'", "C[SET] ZI"),
        }
    }
    let [mut open, mut failed, mut partial, mut kept] = [0; 4].map(|_| login());
    open.talk("Q BEGIN / Q INSERT INTO t VALUES (9)", "C[BEGIN] ZT C[INSERT 0 1] ZT");
    failed.talk("Q BEGIN / Q wibble", "C[BEGIN] ZT E[42601] ZE");
    partial.talk("P - INSERT INTO t VALUES (9) / B - / E / H", "1 2 C[INSERT 0 1]");
    kept.talk("Q CREATE TEMP TABLE mine (a int)", "C[CREATE TABLE] ZI");
    eventually("it is known to keep its server", LIMIT, || {
        !psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW PINS").is_empty()
    });
    old.stop(StopMode::Fast).unwrap();
    let mut rests = Vec::new();
    for client in [&mut open, &mut failed, &mut partial, &mut kept] {
        rests.push(client.rest());
    }
    assert_eq!(rests, ["FATAL[57P01]"; 4]);
    // They are held until there is one again.
    for client in &mut idle {
        assert!(!client.has_something(Duration::from_millis(1)), "it has heard of it");
        client.say("Q INSERT INTO t VALUES (2) / Q SHOW work_mem");
    }
    new.promote().unwrap();
    for (turn, client) in idle.iter_mut().enumerate() {
        let memory = if turn % 3 == 2 { "5MB" } else { "4MB" };
        client.hears(&format!("C[INSERT 0 1] ZI T D[{memory}] C[SHOW] ZI"));
    }
    let count = "SELECT count(*) FILTER (WHERE n = 2), count(*) FILTER (WHERE n = 9) FROM t";
    assert_eq!(new.sql(APP_DATABASE, count).unwrap(), "12|0");
}

#[test]
fn replica_that_follows_the_new_primary_is_fresh_at_once() {
    let (cluster, pooler) = scene(2, "");
    let [new, other] = cluster.replicas() else { panic!("two replicas") };
    let old = cluster.primary();
    old.sql("postgres", &format!("GRANT pg_monitor TO {APP_USER}")).unwrap();
    cluster.wait_replayed().unwrap();
    new.promote().unwrap();
    old.kill().unwrap();
    stands(&pooler, new, "primary", "up");
    let lag = |server| shown(&pooler, server, [5, 7, 8]);
    eventually("who does not follow is not fresh", LIMIT, || lag(other)[1].is_empty());
    assert_eq!(lag(other)[0], "1");
    other.follow(new).unwrap();
    eventually("who follows is", LIMIT, || {
        let [timeline, seconds, bytes] = lag(other);
        let near = seconds.parse::<f64>().is_ok_and(|seconds| seconds < 1.0);
        timeline == "2" && near && bytes == "0"
    });
}

#[test]
fn hosts_are_asked_as_the_user_who_is_named_for_that() {
    let cluster = cluster_with_replicas(1);
    let hosts = [cluster.primary(), &cluster.replicas()[0]];
    let role = "CREATE ROLE checker LOGIN PASSWORD 'another'";
    cluster.primary().sql("postgres", role).unwrap();
    cluster.wait_replayed().unwrap();
    let forced = format!("user = \"{APP_USER}\"\npassword = \"{PASSWORD}\"\n[users.");
    let toml = configuration(&hosts, "").replacen(APP_USER, "checker", 1);
    let toml = toml.replacen("[users.", &forced, 1) + "[users.checker]\npassword = \"another\"\n";
    let pooler = Pooler::start(&toml);
    for (host, role) in hosts.into_iter().zip(["primary", "replica"]) {
        stands(&pooler, host, role, "up");
        let who = "SELECT DISTINCT usename FROM pg_stat_activity \
                   WHERE application_name = 'pgweir check'";
        assert_eq!(host.sql("postgres", who).unwrap(), "checker");
    }
    let url = pooler.url("boss", PASSWORD, APP_DATABASE);
    assert_eq!(psql_rows(&url, "SELECT current_user"), APP_USER);
}

#[test]
fn host_that_refuses_to_be_looked_at_is_named_in_the_log() {
    let cluster = cluster_with_replicas(1);
    let hosts = [cluster.primary(), &cluster.replicas()[0]];
    let toml = configuration(&hosts, "failover_timeout = 0");
    let wrong = format!("[users.wrong]\npassword = \"{PASSWORD}\"\n");
    let toml = toml.replacen(APP_USER, "wrong", 1) + &wrong;
    let pooler = Pooler::start(&toml);
    let ended = psql(&pooler.url(APP_USER, PASSWORD, APP_DATABASE), "SELECT 1");
    assert!(ended.stderr.contains("no primary server is known"), "{}", ended.stderr);
    eventually("the log says why", LIMIT, || {
        let log = pooler.log();
        log.contains("host can't be looked at") && log.contains("password authentication failed")
    });
    assert_eq!(shown(&pooler, hosts[0], STANDING), ["unknown", "unknown"]);
}

#[test]
fn clients_wait_for_a_primary_and_are_refused_when_none_comes() {
    let (cluster, pooler) = scene(1, "failover_timeout = 1.5");
    let (primary, console) = (cluster.primary(), pooler.url("boss", PASSWORD, "pgweir"));
    let sessions = [0; 3].map(|_| Session::open(&pooler).unwrap());
    sessions.iter().for_each(|session| session.run("SELECT 1").unwrap());
    // A restart is waited for.
    primary.restart().unwrap();
    sessions.iter().for_each(|session| session.run("INSERT INTO t VALUES (1)").unwrap());

    primary.stop(StopMode::Fast).unwrap();
    let refused = ("57P03".to_owned(), "no primary server is known (failover_timeout)".to_owned());
    assert_eq!(told(&sessions[0].run("INSERT INTO t VALUES (2)").unwrap_err()), refused);
    let asked = Instant::now();
    assert_eq!(told(&sessions[1].run("INSERT INTO t VALUES (2)").unwrap_err()), refused);
    assert!(asked.elapsed() < Duration::from_secs(1), "at once: {:?}", asked.elapsed());
    let late = psql(&pooler.url(APP_USER, PASSWORD, APP_DATABASE), "SELECT 1");
    assert!(late.stderr.contains("no primary server is known"), "{}", late.stderr);
    assert_eq!(psql_rows(&console, "SHOW POOLS").split('|').nth(3), Some("0"));

    primary.start().unwrap();
    stands(&pooler, primary, "primary", "up");
    sessions.iter().for_each(|session| session.run("INSERT INTO t VALUES (3)").unwrap());
    assert_eq!(rows(primary), 6);
}

#[test]
fn refused_write_has_the_hosts_looked_at() {
    // Nobody would look for an hour.
    let (cluster, pooler) = scene(1, "");
    let (old, new) = (cluster.primary(), &cluster.replicas()[0]);
    let slow =
        configuration(&[new, old], "").replace("check_interval = 0.1", "check_interval = 3600");
    pooler.rewrite(&slow);
    psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "RELOAD");
    let session = Session::open(&pooler).unwrap();
    session.run("SET application_name = 'x'").unwrap();
    stands(&pooler, old, "primary", "up");
    new.promote().unwrap();
    session.run("INSERT INTO t VALUES (1)").unwrap();
    assert_eq!((rows(old), rows(new)), (1, 0), "it can't be known yet");
    old.set("default_transaction_read_only", "on").unwrap();
    eventually("writing is refused", LIMIT, || {
        session.run("INSERT INTO t VALUES (2)").is_err_and(|error| told(&error).0 == "25006")
    });
    // What is under way on the old one when the new one is found is lost.
    eventually("the new one is found", LIMIT, || {
        Session::open(&pooler).is_ok_and(|session| session.run("INSERT INTO t VALUES (3)").is_ok())
    });
    assert_eq!(new.sql(APP_DATABASE, "SELECT DISTINCT n FROM t").unwrap(), "3");
}

#[test]
fn secrets_are_looked_up_on_a_replica_while_there_is_no_primary() {
    let (cluster, pooler) = scene(1, "auth_user = \"boss\"\nfailover_timeout = 1");
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    let roles = format!(
        "CREATE ROLE boss SUPERUSER LOGIN PASSWORD '{PASSWORD}';
         CREATE ROLE other LOGIN PASSWORD '{PASSWORD}'"
    );
    primary.sql("postgres", &roles).unwrap();
    cluster.wait_replayed().unwrap();
    primary.kill().unwrap();
    stands(&pooler, primary, "unknown", "down");
    stands(&pooler, replica, "replica", "up");
    let login =
        |password: &str| psql(&pooler.url("other", password, APP_DATABASE), "SELECT 1").stderr;
    let said = login("wrong");
    assert!(said.contains("password authentication failed"), "{said}");
    let said = login(PASSWORD);
    assert!(said.contains("no primary server is known"), "{said}");
}

#[test]
fn logins_are_looked_up_and_listeners_hear_at_the_new_primary() {
    let (cluster, pooler) = scene(1, "auth_user = \"boss\"");
    let (old, new) = (cluster.primary(), &cluster.replicas()[0]);
    let superuser = format!("ALTER ROLE {} SUPERUSER", "boss");
    let roles = format!(
        "CREATE ROLE boss LOGIN PASSWORD '{PASSWORD}'; {superuser};
         CREATE ROLE other LOGIN PASSWORD '{PASSWORD}'; GRANT ALL ON t TO other"
    );
    old.sql(APP_DATABASE, &roles).unwrap();
    cluster.wait_replayed().unwrap();
    let other = pooler.url("other", PASSWORD, APP_DATABASE);
    assert_eq!(psql_rows(&other, "SELECT count(*) FROM t"), "0");
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let heard = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, mut connection) = runtime.block_on(tokio_postgres::connect(&url, NoTls)).unwrap();
    let count = Arc::clone(&heard);
    runtime.spawn(async move {
        let next = |cx: &mut std::task::Context<'_>| connection.poll_message(cx);
        let mut next = std::future::poll_fn(next);
        while let Some(Ok(message)) = (&mut next).await {
            if let tokio_postgres::AsyncMessage::Notification(_) = message {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    runtime.block_on(client.batch_execute("LISTEN news")).unwrap();
    new.promote().unwrap();
    old.kill().unwrap();
    stands(&pooler, new, "primary", "up");
    eventually("others come in", LIMIT, || {
        let ended = psql(&other, "INSERT INTO t VALUES (1)");
        ended.status.success()
    });
    eventually("it is heard", LIMIT, || {
        psql_rows(&url, "NOTIFY news");
        heard.load(Ordering::Relaxed) > 0
    });
}
