//! Reads go to replicas that are fresh enough, and to the primary otherwise.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::hosts::{configuration, stands};
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, PostgresServer,
    cluster_with_replicas, eventually, psql_rows,
};

/// What says on which port's server it runs; it is stable, and so may run on a replica.
const HERE: &str = "CREATE FUNCTION here() RETURNS int STABLE LANGUAGE sql AS \
    'SELECT inet_server_port()'";
/// What takes its time.
const SLOWLY: &str = "CREATE FUNCTION slowly() RETURNS void STABLE LANGUAGE sql AS \
    'SELECT pg_sleep(3)'";

pub struct Scene {
    pub cluster: Cluster,
    pub pooler: Pooler,
    pub runtime: tokio::runtime::Runtime,
}

impl Scene {
    pub fn new(replicas: usize, general: &str) -> Self {
        Self::of(Self::cluster(replicas), general)
    }

    /// With a table to write to, and a function that says where it runs.
    pub fn cluster(replicas: usize) -> Cluster {
        let cluster = cluster_with_replicas(replicas);
        let owner = format!("ALTER TABLE t OWNER TO {APP_USER}");
        let sql = format!("CREATE TABLE t (id int PRIMARY KEY, n int); {owner}; {HERE}; {SLOWLY}");
        cluster.primary().sql(APP_DATABASE, &sql).unwrap();
        cluster.wait_replayed().unwrap();
        cluster
    }

    pub fn of(cluster: Cluster, general: &str) -> Self {
        Self::configured(cluster, general, "")
    }

    /// With these lines at the top of the configuration and these for the database.
    pub fn configured(cluster: Cluster, general: &str, database: &str) -> Self {
        let mut hosts: Vec<&PostgresServer> = cluster.replicas().iter().collect();
        hosts.push(cluster.primary());
        let toml = configuration(&hosts, general);
        let toml = toml.replacen("[users.", &format!("{database}\n[users."), 1);
        let pooler = Pooler::start(&toml);
        stands(&pooler, cluster.primary(), "primary", "up");
        for replica in cluster.replicas() {
            stands(&pooler, replica, "replica", "up");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let scene = Self { cluster, pooler, runtime };
        let client = scene.client("");
        eventually("a replica is read from", LIMIT, || {
            scene.runtime.block_on(here(&client)) != scene.primary()
        });
        scene
    }

    pub fn primary(&self) -> u16 {
        self.cluster.primary().port()
    }

    pub fn client(&self, options: &str) -> Client {
        self.runtime.block_on(connect(&self.pooler, options))
    }
}

pub async fn connect(pooler: &Pooler, options: &str) -> Client {
    try_connect(pooler, options).await.unwrap()
}

pub async fn try_connect(pooler: &Pooler, options: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config: tokio_postgres::Config =
        pooler.url(APP_USER, PASSWORD, APP_DATABASE).parse().unwrap();
    if !options.is_empty() {
        config.options(options);
    }
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The first value of the rows of a text.
pub async fn value(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    });
    row.unwrap_or_else(|| panic!("no row of {sql}"))
}

pub async fn here(client: &Client) -> u16 {
    value(client, "SELECT here()").await.parse().unwrap()
}

#[test]
fn reads_are_spread_over_replicas_and_writes_go_to_the_primary() {
    let scene = Scene::new(2, "");
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    scene.runtime.block_on(async {
        let clients = [connect(&scene.pooler, "").await, connect(&scene.pooler, "").await];
        for turn in 0..100 {
            // Each by itself: who has read from a host stays with it for the moment.
            let client = connect(&scene.pooler, "").await;
            *counts.entry(here(&client).await).or_default() += 1;
            let row = client.query_one("SELECT here()", &[]).await.unwrap();
            assert_ne!(row.get::<_, i32>(0), i32::from(scene.primary()));
            let insert = format!("INSERT INTO t VALUES ({turn}, 1) RETURNING inet_server_port()");
            assert_eq!(value(&clients[turn % 2], &insert).await, scene.primary().to_string());
        }
        let written = value(&clients[0], "SELECT count(*) FROM t").await;
        assert_eq!(written, "100");
    });
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!(counts.values().all(|count| (40..=60).contains(count)), "{counts:?}");
}

#[test]
fn transaction_that_says_that_it_reads_runs_on_a_replica() {
    let scene = Scene::new(1, "");
    let replica = scene.cluster.replicas()[0].port().to_string();
    let primary = scene.primary().to_string();
    scene.runtime.block_on(async {
        let place = "SELECT inet_server_port()";
        for (begin, wanted) in [
            ("BEGIN READ ONLY", &replica),
            ("START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", &replica),
            ("BEGIN READ ONLY ISOLATION LEVEL SERIALIZABLE", &primary),
            ("BEGIN", &primary),
        ] {
            // By one who has seen nothing yet, and so need not wait for a look.
            let client = connect(&scene.pooler, "").await;
            client.simple_query(begin).await.unwrap();
            assert_eq!(value(&client, place).await, *wanted, "{begin}");
            assert_eq!(value(&client, "SELECT here()").await, *wanted, "{begin}");
            client.simple_query("COMMIT").await.unwrap();
        }
        let client = connect(&scene.pooler, "").await;
        client.simple_query("BEGIN READ ONLY").await.unwrap();
        let error = client.simple_query("INSERT INTO t VALUES (1, 1)").await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "25006");
        client.simple_query("ROLLBACK").await.unwrap();
        client.simple_query("INSERT INTO t VALUES (1, 1)").await.unwrap();

        let reader = connect(&scene.pooler, "-c default_transaction_read_only=on").await;
        reader.simple_query("BEGIN").await.unwrap();
        assert_eq!(value(&reader, place).await, replica);
        reader.simple_query("COMMIT").await.unwrap();
    });
}

#[test]
fn session_stays_with_its_replica_by_a_server_that_was_opened_later() {
    const ROUNDS: usize = 20;
    let scene = Scene::new(1, "");
    let replica = scene.cluster.replicas()[0].port();
    let console = scene.pooler.url("boss", PASSWORD, "pgweir");
    psql_rows(&console, "SET check_interval = 60");
    eventually("it is read from again", LIMIT, || {
        scene.runtime.block_on(async { here(&connect(&scene.pooler, "").await).await == replica })
    });
    let mut stayed = 0;
    scene.runtime.block_on(async {
        for _ in 0..ROUNDS {
            let reader = connect(&scene.pooler, "").await;
            let holder = connect(&scene.pooler, "").await;
            assert_eq!(here(&reader).await, replica);
            // The server that has just been read from is busy from now on.
            holder.simple_query("BEGIN READ ONLY").await.unwrap();
            assert_eq!(value(&holder, "SELECT inet_server_port()").await, replica.to_string());
            stayed += usize::from(here(&reader).await == replica);
            holder.simple_query("COMMIT").await.unwrap();
            psql_rows(&console, "RECONNECT");
        }
    });
    // A look is waited for 0.1 s at most, and may take longer where there is much else to do.
    assert!(stayed > ROUNDS / 2, "{stayed} of {ROUNDS}");
}

#[test]
fn session_sees_what_it_wrote_and_comes_back_when_the_replica_has_it() {
    let scene = Scene::new(1, "");
    let [replica] = scene.cluster.replicas() else { panic!("a replica") };
    scene.runtime.block_on(async {
        let writer = connect(&scene.pooler, "").await;
        replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
        for turn in 0..20 {
            let insert = format!("INSERT INTO t VALUES ({turn}, 1)");
            writer.simple_query(&insert).await.unwrap();
            let select = format!("SELECT count(*) FROM t WHERE id = {turn}");
            assert_eq!(value(&writer, &select).await, "1");
            let count: i64 = writer.query_one(&select, &[]).await.unwrap().get(0);
            assert_eq!(count, 1);
            assert_eq!(here(&writer).await, scene.primary());
        }
        // Others may read what is older, as long as that is not too old.
        let other = connect(&scene.pooler, "").await;
        let seen = value(&other, "SELECT here() || '|' || count(*) FROM t").await;
        assert_eq!(seen, format!("{}|0", replica.port()));
        replica.sql("postgres", "SELECT pg_wal_replay_resume()").unwrap();
    });
    let client = scene.client("");
    scene.runtime.block_on(client.simple_query("INSERT INTO t VALUES (100, 1)")).unwrap();
    eventually("the writer reads from the replica", LIMIT, || {
        scene.runtime.block_on(async {
            assert_eq!(value(&client, "SELECT count(*) FROM t WHERE id = 100").await, "1");
            here(&client).await == replica.port()
        })
    });
}

#[test]
fn replica_that_lags_more_than_allowed_is_left_out() {
    let scene = Scene::new(1, "max_lag = 1");
    let [replica] = scene.cluster.replicas() else { panic!("a replica") };
    let write = |n: usize| {
        let sql = format!("INSERT INTO t VALUES ({n}, 1)");
        scene.cluster.primary().sql(APP_DATABASE, &sql).unwrap();
    };
    let reader = scene.client("");
    assert_eq!(scene.runtime.block_on(here(&reader)), replica.port());
    replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
    write(1);
    let written = Instant::now();
    let mut n = 1;
    eventually("the primary is read from", LIMIT, || {
        n += 1;
        write(n);
        scene.runtime.block_on(here(&reader)) == scene.primary()
    });
    let left = written.elapsed();
    println!("left {left:?} after the write that it lacks");
    assert!(left < Duration::from_secs(5), "{left:?}");
    assert_eq!(scene.runtime.block_on(value(&reader, "SELECT count(*) > 0 FROM t")), "t");
    // A session may allow more.
    let patient = scene.client("-c pgweir.max_lag=1h");
    assert_eq!(scene.runtime.block_on(here(&patient)), replica.port());
    replica.sql("postgres", "SELECT pg_wal_replay_resume()").unwrap();
    eventually("the replica is read from", LIMIT, || {
        scene.runtime.block_on(here(&reader)) == replica.port()
    });
}

#[test]
fn sessions_say_where_they_want_to_read() {
    let scene = Scene::new(1, "");
    let replica = scene.cluster.replicas()[0].port();
    scene.runtime.block_on(async {
        let to_primary = connect(&scene.pooler, "-c pgweir.role=primary").await;
        assert_eq!(here(&to_primary).await, scene.primary());
        to_primary.simple_query("SET pgweir.role = 'auto'").await.unwrap();
        tokio::time::timeout(LIMIT, async {
            // It has been on the primary up to now, and sees what was there.
            while here(&to_primary).await != replica {}
        })
        .await
        .unwrap();
        let client = connect(&scene.pooler, "").await;
        assert_eq!(here(&client).await, replica);
        let hinted = "/* pgweir: primary */ SELECT here()";
        assert_eq!(value(&client, hinted).await, scene.primary().to_string());
        let unknown = "/* pgweir: replica */ SELECT inet_server_port()";
        let fresh = connect(&scene.pooler, "").await;
        assert_eq!(value(&fresh, unknown).await, scene.primary().to_string());
    });
}

#[test]
fn writes_of_others_are_seen_with_the_same_token_and_of_all_where_that_is_wanted() {
    let paused = |scene: &Scene| {
        let pause = "SELECT pg_wal_replay_pause()";
        scene.cluster.replicas()[0].sql("postgres", pause).unwrap();
    };
    let scene = Scene::new(1, "");
    let replica = scene.cluster.replicas()[0].port();
    scene.runtime.block_on(async {
        let token = "-c pgweir.causal_token=u7";
        let writer = connect(&scene.pooler, token).await;
        let reader = connect(&scene.pooler, token).await;
        let other = connect(&scene.pooler, "-c pgweir.causal_token=u8").await;
        assert_eq!(here(&reader).await, replica);
        paused(&scene);
        writer.simple_query("INSERT INTO t VALUES (1, 1)").await.unwrap();
        assert_eq!(value(&reader, "SELECT count(*) FROM t").await, "1");
        assert_eq!(value(&other, "SELECT count(*) FROM t").await, "0");
    });
    let scene = Scene::new(1, "read_your_writes = \"database\"");
    scene.runtime.block_on(async {
        let (writer, reader) = (connect(&scene.pooler, "").await, connect(&scene.pooler, "").await);
        assert_eq!(here(&reader).await, scene.cluster.replicas()[0].port());
        paused(&scene);
        writer.simple_query("INSERT INTO t VALUES (1, 1)").await.unwrap();
        assert_eq!(value(&reader, "SELECT count(*) FROM t").await, "1");
    });
}

#[test]
fn read_that_a_replica_refuses_is_answered_by_the_primary() {
    let scene = Scene::new(1, "read_only_functions = [\"wrongly\"]");
    let client = scene.client("");
    scene.runtime.block_on(async {
        // Its owner says that it only reads.
        let sql = "CREATE FUNCTION wrongly(i int) RETURNS int LANGUAGE sql AS \
            'INSERT INTO t VALUES (i, 1); SELECT i'";
        client.simple_query(sql).await.unwrap();
        scene.cluster.wait_replayed().unwrap();
        for n in 1..5 {
            let reader = connect(&scene.pooler, "").await;
            assert_eq!(value(&reader, &format!("SELECT wrongly({n})")).await, n.to_string());
            let sql = format!("SELECT wrongly({n} + 10)");
            let row = reader.query_one(&sql, &[]).await.unwrap();
            assert_eq!(row.get::<_, i32>(0), n + 10);
            let statement = reader.prepare("SELECT wrongly($1)").await.unwrap();
            let row = reader.query_one(&statement, &[&(n + 20)]).await.unwrap();
            assert_eq!(row.get::<_, i32>(0), n + 20);
            // Errors are those of the primary, and the session goes on.
            let error = reader.simple_query("SELECT 1 / 0").await.unwrap_err();
            assert_eq!(error.code().unwrap().code(), "22012");
        }
        assert_eq!(value(&client, "SELECT count(*) FROM t").await, "12");
    });
}

#[test]
fn replica_that_dies_takes_no_read_with_it() {
    let scene = Scene::new(2, "");
    let [first, second] = scene.cluster.replicas() else { panic!("two replicas") };
    scene.runtime.block_on(async {
        let mut reads = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let client = connect(&scene.pooler, "").await;
            reads.spawn(async move { value(&client, "SELECT here() FROM slowly()").await });
        }
        let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slowly%' \
            AND pid <> pg_backend_pid() AND state = 'active'";
        eventually("reads run on it", LIMIT, || {
            first.sql(APP_DATABASE, running).unwrap().parse::<usize>().unwrap() > 2
        });
        first.kill().unwrap();
        let ports = reads.join_all().await;
        assert!(ports.iter().all(|port| *port != first.port().to_string()), "{ports:?}");
        assert!(ports.contains(&second.port().to_string()), "{ports:?}");
    });
}

#[test]
fn queries_are_shown_with_where_they_ran() {
    let scene = Scene::new(1, "query_stats_size = \"1MB\"");
    scene.runtime.block_on(async {
        let reader = connect(&scene.pooler, "").await;
        for _ in 0..5 {
            assert_ne!(value(&reader, "SELECT here(), 1").await, scene.primary().to_string());
        }
        reader.simple_query("INSERT INTO t VALUES (1, 1)").await.unwrap();
    });
    let shown = |start: &str| {
        let table = psql_rows(&scene.pooler.url("boss", PASSWORD, "pgweir"), "SHOW QUERIES");
        let start = format!("shop|{start}|");
        let line = table.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{table}"));
        line.rsplitn(4, '|').take(3).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown("SELECT here(), ?"), ["5", "0", "replica"]);
    assert_eq!(shown("INSERT INTO t VALUES(?)"), ["0", "1", "primary"]);
    scene.runtime.block_on(async {
        let writer = connect(&scene.pooler, "").await;
        writer.simple_query("BEGIN; INSERT INTO t VALUES (2, 1)").await.unwrap();
        assert_eq!(value(&writer, "SELECT here(), 2").await, scene.primary().to_string());
        writer.simple_query("COMMIT").await.unwrap();
    });
    assert_eq!(shown("SELECT here(), ?"), ["5", "1", "both"]);
}

/// One of the ways in which a client reads.
async fn count(client: &Client, prepared: &tokio_postgres::Statement, id: i32, how: i32) -> i64 {
    let text = format!("SELECT count(*) FROM t WHERE id = {id}");
    match how % 3 {
        0 => value(client, &text).await.parse().unwrap(),
        1 => client.query_one(&text, &[]).await.unwrap().get(0),
        _ => client.query_one(prepared, &[&id]).await.unwrap().get(0),
    }
}

/// How many requests ran on replicas.
fn on_replicas(scene: &Scene) -> usize {
    let routes = psql_rows(&scene.pooler.url("boss", PASSWORD, "pgweir"), "SHOW ROUTES");
    let replicas = routes.lines().filter(|line| line.contains("|replica|"));
    replicas.filter_map(|line| line.split('|').nth(3)?.parse::<usize>().ok()).sum()
}

#[test]
fn ten_thousand_rows_are_read_as_soon_as_they_are_written() {
    const SESSIONS: i32 = 20;
    const EACH: i32 = 500;
    let scene = Scene::new(1, "");
    let [replica] = scene.cluster.replicas() else { panic!("a replica") };
    replica.set_replay_delay(Duration::from_secs(2)).unwrap();
    scene.runtime.block_on(async {
        let mut sessions = tokio::task::JoinSet::new();
        for number in 0..SESSIONS {
            let token = format!("-c pgweir.causal_token=c{number}");
            let (writer, same) =
                (connect(&scene.pooler, &token).await, connect(&scene.pooler, &token).await);
            sessions.spawn(async move {
                let sql = "SELECT count(*) FROM t WHERE id = $1";
                let prepared =
                    (writer.prepare(sql).await.unwrap(), same.prepare(sql).await.unwrap());
                let insert = writer.prepare("INSERT INTO t VALUES ($1, 1)").await.unwrap();
                for turn in 0..EACH {
                    let id = number * EACH + turn;
                    match turn % 2 {
                        0 => drop(writer.execute(&insert, &[&id]).await.unwrap()),
                        _ => {
                            let text = format!("INSERT INTO t VALUES ({id}, 1)");
                            drop(writer.simple_query(&text).await.unwrap());
                        }
                    }
                    let (reader, prepared) = match turn % 4 {
                        0 => (&same, &prepared.1),
                        _ => (&writer, &prepared.0),
                    };
                    assert_eq!(count(reader, prepared, id, turn).await, 1, "{id}");
                }
            });
        }
        sessions.join_all().await;
    });
    // All of it is on the replica some time later, and so are the reads.
    replica.set_replay_delay(Duration::ZERO).unwrap();
    let client = scene.client("");
    scene.runtime.block_on(client.simple_query("INSERT INTO t VALUES (-1, 1)")).unwrap();
    let before = on_replicas(&scene);
    eventually("reads run on the replica again", LIMIT, || {
        let all = scene.runtime.block_on(value(&client, "SELECT count(*) FROM t"));
        assert_eq!(all, (SESSIONS * EACH + 1).to_string());
        on_replicas(&scene) > before + 10
    });
}

#[test]
fn last_route_and_counts_say_why() {
    let scene = Scene::new(1, "");
    let replica = scene.cluster.replicas()[0].port();
    scene.runtime.block_on(async {
        let client = connect(&scene.pooler, "").await;
        for (sql, wanted) in [
            ("SELECT here()", format!("replica 127.0.0.1:{replica}: reads")),
            ("SELECT random()", format!("replica 127.0.0.1:{replica}: reads")),
            ("SHOW work_mem", "primary: session".to_owned()),
            ("INSERT INTO t VALUES (1, 1)", "primary: writes".to_owned()),
        ] {
            let ran = client.simple_query(sql).await;
            ran.unwrap();
            let last = value(&client, "SHOW pgweir.last_route").await;
            assert_eq!(last, wanted, "{sql}");
        }
    });
    let routes = psql_rows(&scene.pooler.url("boss", PASSWORD, "pgweir"), "SHOW ROUTES");
    assert!(routes.contains(&format!("{APP_DATABASE}|primary|writes|1|")), "{routes}");
}

#[test]
fn what_a_replica_cannot_have_is_refused_in_its_transactions() {
    let scene = Scene::new(1, "");
    scene.runtime.block_on(async {
        let client = connect(&scene.pooler, "").await;
        for sql in [
            "SELECT pg_advisory_xact_lock(7)",
            "SELECT pg_advisory_lock(7)",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        ] {
            client.simple_query("BEGIN READ ONLY").await.unwrap();
            assert_eq!(value(&client, "SELECT 1").await, "1");
            let error = client.simple_query(sql).await.unwrap_err();
            let error = error.as_db_error().unwrap();
            assert_eq!(error.code().code(), "0A000", "{sql}: {error:?}");
            assert!(error.message().contains("replica"), "{error:?}");
            client.simple_query("ROLLBACK").await.unwrap();
        }
        // Outside of one they run on the primary.
        client.simple_query("SELECT pg_advisory_lock(7)").await.unwrap();
        client.simple_query("SELECT pg_advisory_unlock(7)").await.unwrap();
    });
}

#[test]
fn write_that_a_string_hides_behind_its_begin_is_seen() {
    let scene = Scene::new(1, "");
    let [replica] = scene.cluster.replicas() else { panic!("a replica") };
    scene.runtime.block_on(async {
        let client = connect(&scene.pooler, "").await;
        let sql = "CREATE FUNCTION writes(i int) RETURNS int LANGUAGE sql AS \
            'INSERT INTO t VALUES (i, 1); SELECT i'";
        client.simple_query(sql).await.unwrap();
        scene.cluster.wait_replayed().unwrap();
        let other = connect(&scene.pooler, "").await;
        tokio::time::timeout(LIMIT, async { while here(&other).await != replica.port() {} })
            .await
            .unwrap();
        replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
        other.simple_query("BEGIN; SELECT writes(1); COMMIT").await.unwrap();
        assert_eq!(value(&other, "SELECT count(*) FROM t").await, "1");
        replica.sql("postgres", "SELECT pg_wal_replay_resume()").unwrap();
    });
}
