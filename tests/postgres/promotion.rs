//! A replica is promoted under load, and the old primary killed: who is between transactions notices
//! nothing, reads go on, and writes do soon.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::reads::{Scene, connect, here};
use crate::support::{APP_DATABASE, APP_USER, LIMIT, cluster_with_replicas, eventually};

const READERS: usize = 6;
const WRITERS: usize = 2;
const IDLE: usize = 20;

/// What readers and writers have done.
#[derive(Default)]
struct Done {
    reads: Mutex<Vec<Instant>>,
    read_errors: Mutex<Vec<Option<SqlState>>>,
    /// When each write was told, and by the server at which port.
    writes: Mutex<Vec<(Instant, i32)>>,
    write_errors: AtomicUsize,
    over: AtomicBool,
}

impl Done {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// When the first write was told by the server at this port.
    fn first_at(&self, port: u16) -> Option<Instant> {
        let writes = self.writes.lock().unwrap();
        writes.iter().find(|(_, at)| *at == i32::from(port)).map(|(when, _)| *when)
    }
}

async fn read(client: Client, done: Arc<Done>) {
    while !done.is_over() {
        match client.query_one("SELECT count(*) FROM t", &[]).await {
            Ok(_) => done.reads.lock().unwrap().push(Instant::now()),
            Err(error) => {
                let code = error.code().cloned();
                return done.read_errors.lock().unwrap().push(code);
            }
        }
    }
}

async fn write(scene: Arc<Scene>, done: Arc<Done>) {
    const INSERT: &str = "INSERT INTO t VALUES (1) RETURNING inet_server_port()";
    while !done.is_over() {
        let client = connect(&scene.pooler, "").await;
        while !done.is_over() {
            match client.query_one(INSERT, &[]).await {
                Ok(row) => done.writes.lock().unwrap().push((Instant::now(), row.get(0))),
                // What is under way on the old primary is lost.
                Err(_) => {
                    done.write_errors.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
}

#[test]
fn reads_go_on_and_writes_soon_when_a_replica_is_promoted() {
    let cluster = cluster_with_replicas(2);
    let sql = format!(
        "CREATE TABLE t (n int); ALTER TABLE t OWNER TO {APP_USER}; \
         GRANT pg_monitor TO {APP_USER}; \
         CREATE FUNCTION here() RETURNS int STABLE LANGUAGE sql AS 'SELECT inet_server_port()'"
    );
    cluster.primary().sql(APP_DATABASE, &sql).unwrap();
    cluster.wait_replayed().unwrap();
    let scene = Arc::new(Scene::of(cluster, ""));
    let done = Arc::new(Done::default());
    let idle: Vec<Client> = (0..IDLE).map(|_| scene.client("")).collect();
    for client in &idle {
        scene.runtime.block_on(client.batch_execute("INSERT INTO t VALUES (0)")).unwrap();
        scene.runtime.block_on(here(client));
    }
    let mut load = JoinSet::new();
    for _ in 0..READERS {
        let client = scene.client("");
        load.spawn_on(read(client, Arc::clone(&done)), scene.runtime.handle());
    }
    for _ in 0..WRITERS {
        load.spawn_on(write(Arc::clone(&scene), Arc::clone(&done)), scene.runtime.handle());
    }
    let goes_on = || {
        let count = || (done.reads.lock().unwrap().len(), done.writes.lock().unwrap().len());
        let before = count();
        eventually("there are reads and writes", LIMIT, || {
            let now = count();
            now.0 > before.0 + 50 && now.1 > before.1 + 20
        });
    };
    goes_on();

    let new = &scene.cluster.replicas()[0];
    let asked = Instant::now();
    new.promote().unwrap();
    let promoted = Instant::now();
    scene.cluster.primary().kill().unwrap();
    eventually("the new primary is written to", LIMIT, || done.first_at(new.port()).is_some());
    let written = done.first_at(new.port()).unwrap();
    goes_on();
    for client in &idle {
        scene.runtime.block_on(here(client));
        scene.runtime.block_on(client.batch_execute("INSERT INTO t VALUES (2)")).unwrap();
    }
    done.over.store(true, Ordering::Relaxed);
    scene.runtime.block_on(load.join_all());

    let reads = done.reads.lock().unwrap();
    let meanwhile = reads.iter().filter(|at| (asked..written).contains(at)).count();
    let pauses = reads.windows(2).map(|pair| pair[1].duration_since(pair[0]));
    let read_errors = done.read_errors.lock().unwrap();
    let write_errors = done.write_errors.load(Ordering::Relaxed);
    let after = written.saturating_duration_since(promoted);
    println!(
        "first write {after:?} after the promotion ({:?} after it was asked for); {meanwhile} of \
         {} reads meanwhile, longest pause between any {:?}; {write_errors} writes and {} reads lost",
        written - asked,
        reads.len(),
        pauses.max().unwrap_or_default(),
        read_errors.len(),
    );
    assert!(after < Duration::from_secs(2), "{after:?}");
    // One that is on the old primary by then is lost as whatever is under way there.
    let lost = Some(SqlState::CONNECTION_FAILURE);
    assert!(read_errors.iter().all(|code| *code == lost), "{read_errors:?}");
    assert!(read_errors.len() < READERS, "{read_errors:?}");
    assert!(write_errors <= WRITERS, "{write_errors}");
    let count = "SELECT count(*) FROM t WHERE n = 2";
    assert_eq!(new.sql(APP_DATABASE, count).unwrap(), IDLE.to_string());
}
