//! Databases with several hosts: what each is found to be, and how far.

use std::sync::Mutex;
use std::time::Duration;

use tokio_postgres::NoTls;

use crate::support::{
    APP_DATABASE, APP_USER, Cluster, LIMIT, PASSWORD, Pooler, PostgresServer,
    cluster_with_replicas, eventually, psql, psql_rows,
};

/// A pooler with one database on these hosts, which are looked at ten times a second.
pub fn configuration(hosts: &[&PostgresServer], general: &str) -> String {
    let hosts: Vec<String> =
        hosts.iter().map(|server| format!("\"127.0.0.1:{}\"", server.port())).collect();
    format!(
        "listen_port = 0\nadmin_users = \"boss\"\ncheck_interval = 0.1\n\
         check_user = \"{APP_USER}\"\n{general}\n\
         [databases.{APP_DATABASE}]\nhosts = [{}]\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n\
         [users.boss]\npassword = \"{PASSWORD}\"\n",
        hosts.join(", ")
    )
}

/// Some columns of SHOW REPLICAS, by their place, of the host at this server's port.
#[track_caller]
pub fn shown<const N: usize>(
    pooler: &Pooler,
    server: &PostgresServer,
    columns: [usize; N],
) -> [String; N] {
    let table = psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW REPLICAS");
    let port = server.port().to_string();
    let row: Vec<_> = table
        .lines()
        .map(|line| line.split('|').collect::<Vec<_>>())
        .find(|row| row[2] == port)
        .unwrap_or_else(|| panic!("port {port} in\n{table}"));
    columns.map(|column| row[column].to_owned())
}

/// Role and state.
pub const STANDING: [usize; 2] = [3, 4];
const LAG: [usize; 2] = [7, 8];

#[track_caller]
pub fn stands(pooler: &Pooler, server: &PostgresServer, role: &str, state: &str) {
    let mut found = [String::new(), String::new()];
    let what = format!("{} is {role} and {state}", server.port());
    eventually(&what, LIMIT, || {
        found = shown(pooler, server, STANDING);
        found == [role, state]
    });
}

/// The seconds that a replica is behind, where that is known.
fn lag(pooler: &Pooler, server: &PostgresServer) -> Option<f64> {
    let [seconds, _] = shown(pooler, server, LAG);
    seconds.parse().ok()
}

#[track_caller]
fn lag_becomes(pooler: &Pooler, server: &PostgresServer, what: &str, fits: impl Fn(f64) -> bool) {
    eventually(&format!("lag {what}"), LIMIT, || lag(pooler, server).is_some_and(&fits));
}

fn cluster() -> Cluster {
    let cluster = cluster_with_replicas(2);
    cluster.primary().sql(APP_DATABASE, "CREATE TABLE t (n int)").unwrap();
    cluster.wait_replayed().unwrap();
    cluster
}

#[test]
fn roles_are_found_in_any_order_of_hosts() {
    let cluster = cluster_with_replicas(2);
    let [first, second] = cluster.replicas() else { panic!("two replicas") };
    let primary = cluster.primary();
    for hosts in [[primary, first, second], [first, primary, second], [second, first, primary]] {
        let pooler = Pooler::start(&configuration(&hosts, ""));
        stands(&pooler, primary, "primary", "up");
        stands(&pooler, first, "replica", "up");
        stands(&pooler, second, "replica", "up");
        assert_eq!(shown(&pooler, first, [5]), ["1"]);
    }
}

#[test]
fn lag_is_right_when_idle_when_replay_pauses_and_when_the_link_is_cut() {
    let cluster = cluster();
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    let pooler = Pooler::start(&configuration(&[primary, replica], ""));
    let write = || drop(primary.sql(APP_DATABASE, "INSERT INTO t VALUES (1)").unwrap());
    // A look is at most as old as the interval and the time that it takes.
    let none = |seconds: f64| seconds < 1.0;

    lag_becomes(&pooler, replica, "of an idle primary is none", none);
    replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
    let paused = "SELECT pg_get_wal_replay_pause_state()";
    eventually("replay pauses", LIMIT, || replica.sql("postgres", paused).unwrap() == "paused");
    lag_becomes(&pooler, replica, "is none as long as nothing is written", none);
    write();
    lag_becomes(&pooler, replica, "grows while replay pauses", |seconds| seconds > 2.0);
    assert_ne!(shown(&pooler, replica, LAG)[1], "0");
    replica.sql("postgres", "SELECT pg_wal_replay_resume()").unwrap();
    lag_becomes(&pooler, replica, "is none again", none);

    let upstream = replica.sql("postgres", "SHOW primary_conninfo").unwrap();
    replica.set("primary_conninfo", "host=127.0.0.1 port=1").unwrap();
    eventually("the link is cut", LIMIT, || {
        let streams = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        primary.sql("postgres", streams).unwrap() == "1"
    });
    write();
    lag_becomes(&pooler, replica, "grows while the link is cut", |seconds| seconds > 2.0);
    replica.set("primary_conninfo", &upstream).unwrap();
    lag_becomes(&pooler, replica, "is none after that", none);
    assert_eq!(shown(&pooler, replica, LAG)[1], "0");
}

#[test]
fn delayed_replica_is_as_far_behind_as_it_is_delayed() {
    let cluster = cluster();
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    replica.set_replay_delay(Duration::from_secs(2)).unwrap();
    let pooler = Pooler::start(&configuration(&[replica, primary], ""));
    stands(&pooler, primary, "primary", "up");
    // Something to replay all the time, for lag to be about the delay.
    let mut worst: f64 = 0.0;
    eventually("it has been behind by the delay", LIMIT, || {
        primary.sql(APP_DATABASE, "INSERT INTO t VALUES (1)").unwrap();
        worst = lag(&pooler, replica).unwrap_or_default();
        worst > 2.0
    });
    assert!(worst < 4.0, "{worst}");
}

#[test]
fn host_that_does_not_answer_is_down_and_its_lag_unknown() {
    let cluster = cluster();
    let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
    let hosts = [primary, replica];
    let pooler = Pooler::start(&configuration(&hosts, "check_timeout = 0.2"));
    lag_becomes(&pooler, replica, "is known", |_| true);
    replica.pause().unwrap();
    stands(&pooler, replica, "replica", "down");
    let [lag, error] = shown(&pooler, replica, [7, 11]);
    assert_eq!((lag.as_str(), error.as_str()), ("", "no answer within 200ms"));
    replica.resume().unwrap();
    stands(&pooler, replica, "replica", "up");
    lag_becomes(&pooler, replica, "is known again", |_| true);
    replica.kill().unwrap();
    stands(&pooler, replica, "replica", "down");
    assert!(shown(&pooler, replica, [11])[0].contains("refused"), "{}", pooler.log());
}

#[test]
fn reload_adds_and_removes_hosts_and_one_host_is_not_looked_at() {
    let cluster = cluster_with_replicas(2);
    let [first, second] = cluster.replicas() else { panic!("two replicas") };
    let primary = cluster.primary();
    let pooler = Pooler::start(&configuration(&[primary], ""));
    let console = pooler.url("boss", PASSWORD, "pgweir");
    let writes =
        || psql_rows(&pooler.url(APP_USER, PASSWORD, APP_DATABASE), "CREATE TEMP TABLE t ()");
    writes();
    assert_eq!(psql_rows(&console, "SHOW REPLICAS"), "");
    let looking = |server: &PostgresServer| {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgweir check'";
        server.sql("postgres", count).unwrap()
    };
    assert_eq!(looking(primary), "0");

    let change = |hosts: &[&PostgresServer]| {
        pooler.rewrite(&configuration(hosts, ""));
        assert!(psql(&console, "RELOAD").status.success());
        writes();
    };
    change(&[first, primary]);
    stands(&pooler, primary, "primary", "up");
    stands(&pooler, first, "replica", "up");
    change(&[first, primary, second]);
    // Known before, and not forgotten.
    assert_eq!(shown(&pooler, primary, STANDING), ["primary", "up"]);
    stands(&pooler, second, "replica", "up");
    assert_eq!(looking(second), "1");
    change(&[primary]);
    assert_eq!(psql_rows(&console, "SHOW REPLICAS"), "");
    for server in [primary, first, second] {
        eventually("nobody looks any more", LIMIT, || looking(server) == "0");
    }
}

/// A pooler whose database has these hosts as good as one another.
fn spread(hosts: &[&PostgresServer], how: &str, more: &str) -> Pooler {
    let balanced = format!("load_balance_hosts = \"{how}\"\n[users.{APP_USER}]");
    let toml = configuration(hosts, &format!("check_timeout = 0.5\n{more}"));
    Pooler::start(&toml.replace(&format!("[users.{APP_USER}]"), &balanced))
}

/// How many of this many servers at once are on each of these hosts.
fn servers<const N: usize>(
    pooler: &Pooler,
    hosts: [&PostgresServer; N],
    count: usize,
) -> [usize; N] {
    psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "RECONNECT");
    let url = pooler.url(APP_USER, PASSWORD, APP_DATABASE);
    let (clients, runtime) = (Mutex::new(Vec::new()), tokio::runtime::Runtime::new().unwrap());
    let mut found = [0; N];
    for _ in 0..count {
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            // Keeps its server.
            client.batch_execute("BEGIN").await.unwrap();
            let port: i32 =
                client.query_one("SELECT inet_server_port()", &[]).await.unwrap().get(0);
            let host = hosts.iter().position(|host| i32::from(host.port()) == port).unwrap();
            found[host] += 1;
            clients.lock().unwrap().push(client);
        });
    }
    found
}

#[test]
fn hosts_that_are_as_good_share_the_servers_or_the_first_has_all() {
    let cluster = cluster_with_replicas(2);
    let [first, second] = cluster.replicas() else { panic!("two replicas") };
    let hosts = [first, second, cluster.primary()];
    let pooler = spread(&hosts, "round-robin", "");
    assert_eq!(servers(&pooler, hosts, 9), [3, 3, 3]);
    assert_eq!(shown(&pooler, second, [3, 4, 12]), ["equal", "up", "closed"]);
    let databases = psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW DATABASES");
    assert_eq!(databases.split('|').nth(10), Some("round-robin"));
    let pooler = spread(&hosts, "disable", "");
    assert_eq!(servers(&pooler, hosts, 4), [4, 0, 0]);
}

#[test]
fn host_that_is_gone_is_left_out_and_used_again() {
    let cluster = cluster_with_replicas(1);
    let hosts = [&cluster.replicas()[0], cluster.primary()];
    for (how, wanted) in [("disable", [6, 0]), ("round-robin", [3, 3])] {
        let pooler = spread(&hosts, how, "breaker_reset = 2");
        hosts[0].kill().unwrap();
        assert_eq!(servers(&pooler, hosts, 6), [0, 6], "nobody notices");
        assert_eq!(shown(&pooler, hosts[0], [4, 12, 15]), ["down", "open", "no: down"]);
        hosts[0].start().unwrap();
        eventually("one attempt is made", LIMIT, || {
            servers(&pooler, hosts, 6);
            shown(&pooler, hosts[0], [4, 12]) == ["up", "closed"]
        });
        assert_eq!(servers(&pooler, hosts, 6), wanted);
        let events = psql_rows(&pooler.url("boss", PASSWORD, "pgweir"), "SHOW EVENTS");
        for told in ["|host is left out: ", "|host is used again|"] {
            let line = format!("|host|127.0.0.1:{}{told}", hosts[0].port());
            assert!(events.contains(&line), "{line}: {events}");
        }
        // One that hangs is passed over, too.
        hosts[0].pause().unwrap();
        assert_eq!(servers(&pooler, hosts, 2), [0, 2]);
        hosts[0].resume().unwrap();
    }
}
