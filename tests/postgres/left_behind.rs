//! A replica that is lost while it is asked what a session has left there.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::hosts::configuration;
use super::reads::Scene;
use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, eventually, psql_rows,
};
use crate::wire;

/// What the question has in it.
const QUESTION: &[u8] = b"pg_show_all_settings";

/// Stands before a server. When it is armed, the next question is not passed on, nor is what comes behind
/// it, and the connection is cut when that is wanted.
#[derive(Default)]
struct Relay {
    port: u16,
    armed: AtomicBool,
    held: AtomicUsize,
    cuts: AtomicBool,
}

impl Relay {
    fn before(server: u16) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Arc::new(Self { port, ..Self::default() });
        let (all, own) = (Arc::clone(&relay), Arc::clone(&relay));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", server)))
                else {
                    return;
                };
                let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass(from, to, |_| true));
                let own = Arc::clone(&own);
                thread::spawn(move || pass(client, server, |bytes| own.passes(bytes)));
            }
        });
        all
    }

    /// Whether this goes to the server; what does not ends the connection.
    fn passes(&self, bytes: &[u8]) -> bool {
        let asks = bytes.windows(QUESTION.len()).any(|part| part == QUESTION);
        if !asks || !self.armed.swap(false, Ordering::SeqCst) {
            return true;
        }
        self.held.fetch_add(1, Ordering::SeqCst);
        eventually("the connection is to be cut", LIMIT, || self.cuts.load(Ordering::SeqCst));
        false
    }

    /// The next question is held.
    fn arm(&self) {
        self.cuts.store(false, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
    }

    fn cut(&self) {
        self.cuts.store(true, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(&[u8]) -> bool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !passes(&bytes[..count]) || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        // The other thread may have done so already.
        drop(stream.shutdown(Shutdown::Both));
    }
}

struct Stage {
    cluster: Cluster,
    relay: Arc<Relay>,
    pooler: Pooler,
}

impl Stage {
    fn new() -> Self {
        let cluster = Scene::cluster(1);
        let sql = "CREATE FUNCTION leaves() RETURNS text STABLE LANGUAGE sql AS \
            'SELECT set_config(''app.mark'', inet_server_port()::text, false)'; \
            CREATE FUNCTION also() RETURNS text STABLE LANGUAGE plpgsql AS \
            'BEGIN RETURN leaves(); END'; \
            CREATE FUNCTION parsed() RETURNS text STABLE \
            RETURN set_config('app.mark', inet_server_port()::text, false)";
        cluster.primary().sql(APP_DATABASE, sql).unwrap();
        cluster.wait_replayed().unwrap();
        let replica = &cluster.replicas()[0];
        let relay = Relay::before(replica.port());
        let toml = configuration(&[cluster.primary(), replica], "");
        let host = |port: u16| format!("127.0.0.1:{port}");
        let pooler = Pooler::start(&toml.replace(&host(replica.port()), &host(relay.port)));
        let stage = Self { cluster, relay, pooler };
        let console = stage.pooler.url("boss", PASSWORD, "pgweir");
        eventually("a replica is there", LIMIT, || {
            psql_rows(&console, "SHOW REPLICAS").contains("|replica|up|")
        });
        // Whoever comes to the primary first asks which code there is.
        let insert = "INSERT INTO t VALUES (1, 1)";
        psql_rows(&stage.pooler.url(APP_USER, PASSWORD, APP_DATABASE), insert);
        stage
    }

    /// A session that has been answered by the replica, which is being asked what it has left.
    fn asked(&self, sql: &str) -> wire::Client {
        self.relay.arm();
        let startup = [("user", APP_USER), ("database", APP_DATABASE)];
        let before = self.relay.held.load(Ordering::SeqCst);
        let row = format!("D[{}]", self.cluster.replicas()[0].port());
        let mut found = None;
        eventually("the replica has answered", LIMIT, || {
            let mut client = wire::Client::login_with(self.pooler.port(), &startup, PASSWORD);
            client.say(&format!("Q {sql}"));
            found = client.hears_up_to("ZI").contains(&row).then_some(client);
            found.is_some()
        });
        eventually("the question is held", LIMIT, || {
            self.relay.held.load(Ordering::SeqCst) > before
        });
        found.unwrap()
    }
}

/// On which side the next request comes of the moment at which the connection is lost.
const WHEN: [&str; 2] = ["before", "after"];

#[test]
fn session_that_has_left_nothing_on_a_lost_replica_goes_on() {
    let stage = Stage::new();
    for when in WHEN {
        let mut client = stage.asked("SELECT here()");
        if when == "before" {
            client.say("Q SELECT 7");
        }
        stage.relay.cut();
        if when == "after" {
            let console = stage.pooler.url("boss", PASSWORD, "pgweir");
            eventually("it is lost", LIMIT, || {
                let pools = psql_rows(&console, "SHOW POOLS");
                pools.lines().all(|pool| !pool.starts_with("shop@") || !pool.contains("|app|0|1|"))
            });
            client.say("Q SELECT 7");
        }
        client.hears("T D[7] C[SELECT 1] ZI");
        client.talk("Q INSERT INTO t SELECT max(id) + 1, 1 FROM t", "C[INSERT 0 1] ZI");
    }
}

#[test]
fn session_whose_settings_are_lost_with_a_replica_ends() {
    let stage = Stage::new();
    for sql in ["SELECT leaves()", "SELECT also()", "SELECT parsed()"] {
        for when in WHEN {
            let mut client = stage.asked(sql);
            if when == "before" {
                client.say("Q SELECT 7");
            }
            stage.relay.cut();
            assert_eq!(client.rest(), "FATAL[08006]", "{sql}, {when}");
        }
    }
}
