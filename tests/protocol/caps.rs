//! Limits in number: of clients, and of servers.

use std::thread;
use std::time::{Duration, Instant};

use crate::fake::Fake;
use crate::setup::{file, pooler, shared};
use crate::support::{LIMIT, PASSWORD, Pooler, PostgresServer, eventually};
use crate::wire::{Client, USER, startup};

const SLACK: Duration = Duration::from_secs(2);

#[track_caller]
fn check_full(pooler: &Pooler, parameters: &[(&str, &str)], limit: &str) {
    let error = Client::try_login(pooler.port(), parameters).expect_err(limit);
    assert_eq!(error.text(), "FATAL[53300]");
    let text = error.field(b'M').unwrap();
    assert!(text.contains(&format!("({limit})")), "{text}");
}

#[test]
fn clients_are_limited_and_there_is_room_again_when_one_leaves() {
    for (limit, settings, tables) in [
        ("max_client_conn", "max_client_conn = 2", ""),
        ("max_db_client_connections", "max_db_client_connections = 2", ""),
        ("max_user_client_connections", "max_user_client_connections = 2", ""),
        ("max_user_client_connections", "", "max_user_client_connections = 2\n"),
    ] {
        let pooler = Pooler::start(&file(shared().port(), settings, tables));
        let mut first = Client::login(pooler.port());
        let second = Client::login(pooler.port());
        for _ in 0..3 {
            check_full(&pooler, &USER, limit);
        }
        first.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
        drop(second);
        eventually("there is room again", LIMIT, || {
            Client::try_login(pooler.port(), &USER).is_ok()
        });
    }
}

#[test]
fn strangers_take_nobody_s_place() {
    let pooler = pooler("auth_type = \"scram-sha-256\"; max_client_conn = 2");
    let mut strangers = Vec::new();
    for _ in 0..5 {
        let mut stranger = Client::connect(pooler.port());
        stranger.send(&startup(196_608, &USER));
        // It is asked for a proof, and gives none.
        assert!(stranger.hear().text().starts_with("R10"));
        strangers.push(stranger);
    }
    let login = || Client::login_with(pooler.port(), &USER, PASSWORD);
    let _inside = [login(), login()];
    check_full(&pooler, &USER, "max_client_conn");
}

#[test]
fn client_that_leaves_while_its_login_waits_for_a_server_is_gone_at_once() {
    let pooler = pooler("default_pool_size = 1; max_client_conn = 2");
    let mut holder = Client::login(pooler.port());
    holder.talk("Q begin", "C[BEGIN] ZT");
    // Settings that no server has taken yet have to be proven on one before the login is over.
    let mut waiter = Client::connect(pooler.port());
    waiter.send(&startup(
        196_608,
        &[USER[0], USER[1], ("application_name", "one that nobody has had before")],
    ));
    // It is let in, and now it waits.
    assert_eq!(waiter.hear().text(), "R0");
    check_full(&pooler, &USER, "max_client_conn");
    waiter.shut();
    eventually("the waiter counts no more", LIMIT, || {
        Client::try_login(pooler.port(), &USER).is_ok()
    });
    holder.talk("Q commit", "C[COMMIT] ZI");
}

#[test]
fn logins_at_the_same_time_do_not_pass_a_limit_together() {
    for limit in ["max_client_conn", "max_db_client_connections", "max_user_client_connections"] {
        let pooler = pooler(&format!("{limit} = 3"));
        let port = pooler.port();
        for round in 0..3 {
            let logins: Vec<_> =
                (0..12).map(|_| thread::spawn(move || Client::try_login(port, &USER))).collect();
            let inside: Vec<_> =
                logins.into_iter().filter_map(|login| login.join().unwrap().ok()).collect();
            // Those of an earlier round may still be leaving, and count until they have.
            assert!(inside.len() <= 3 && (round > 0 || inside.len() == 3), "{limit}");
            drop(inside);
            eventually("all have left", LIMIT, || {
                let again: Vec<_> = (0..3).map(|_| Client::try_login(port, &USER)).collect();
                again.iter().all(Result::is_ok)
            });
            eventually("all have left again", LIMIT, || {
                let again: Vec<_> = (0..3).map(|_| Client::try_login(port, &USER)).collect();
                again.iter().all(Result::is_ok)
            });
        }
    }
}

/// Databases of its own for one test, and tables that name them for pools of two users each.
struct Databases {
    server: &'static PostgresServer,
    names: Vec<String>,
    tables: String,
}

impl Databases {
    #[track_caller]
    fn make(test: &str, count: usize) -> Self {
        let server = shared();
        let names: Vec<_> = (0..count).map(|index| format!("{test}{index}")).collect();
        let mut tables = String::new();
        for name in &names {
            server.sql("postgres", &format!("create database {name}")).unwrap();
            tables += &format!(
                "[databases.{name}]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"app\"\n\
                 password = \"{PASSWORD}\"\n",
                server.port()
            );
        }
        tables += "[users.one]\n[users.two]\n";
        Self { server, names, tables }
    }

    fn pooler(&self, settings: &str) -> Pooler {
        Pooler::start(&file(self.server.port(), settings, &self.tables))
    }

    /// How many servers are open in all of them.
    fn open(&self) -> usize {
        let list = self.names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(",");
        let sql = format!("select count(*) from pg_stat_activity where datname in ({list})");
        self.server.sql("postgres", &sql).unwrap().parse().unwrap()
    }
}

/// Runs many clients of these users and databases at once, and gives the largest number of
/// servers that was seen meanwhile.
fn crowd(pooler: &Pooler, databases: &Databases, users: &[&'static str]) -> usize {
    let port = pooler.port();
    let mut clients = Vec::new();
    for database in &databases.names {
        for &user in users {
            for _ in 0..4 {
                let database = database.clone();
                clients.push(thread::spawn(move || {
                    let mut client =
                        Client::login_as(port, &[("user", user), ("database", &database)]);
                    for _ in 0..15 {
                        client.talk("Q select 1 from pg_sleep(0.02)", "T D[1] C[SELECT 1] ZI");
                    }
                }));
            }
        }
    }
    let mut most = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        // One that the pooler has closed may still be on its way out: it is not there twice.
        most = most.max(databases.open().min(databases.open()));
    }
    for client in clients {
        client.join().unwrap();
    }
    most
}

#[test]
fn servers_of_a_database_are_limited_over_its_pools() {
    let databases = Databases::make("cap_db", 1);
    let pooler = databases.pooler("max_db_connections = 2; default_pool_size = 5");
    assert_eq!(crowd(&pooler, &databases, &["one", "two"]), 2);
}

#[test]
fn servers_of_a_user_are_limited_over_its_pools() {
    let databases = Databases::make("cap_user", 2);
    let pooler = databases.pooler("max_user_connections = 2; default_pool_size = 5");
    assert_eq!(crowd(&pooler, &databases, &["one"]), 2);
}

#[test]
fn servers_of_a_host_are_limited_over_all_pools_and_every_pool_is_served() {
    let databases = Databases::make("cap_host", 3);
    let pooler = databases.pooler("max_server_connections = 3; default_pool_size = 5");
    assert_eq!(crowd(&pooler, &databases, &["one", "two"]), 3);
}

#[test]
fn servers_of_a_pool_are_limited() {
    let databases = Databases::make("cap_pool", 1);
    let pooler = databases.pooler("default_pool_size = 3");
    assert_eq!(crowd(&pooler, &databases, &["one"]), 3);
}

#[test]
fn idle_servers_of_one_pool_make_room_for_another() {
    let databases = Databases::make("room", 2);
    let pooler = databases.pooler("max_server_connections = 2; default_pool_size = 5");
    let login = |database: &str| {
        Client::login_as(pooler.port(), &[("user", "one"), ("database", database)])
    };
    let mut first = [login("room0"), login("room0")];
    for client in &mut first {
        client.talk("Q begin", "C[BEGIN] ZT");
    }
    for client in &mut first {
        client.talk("Q commit", "C[COMMIT] ZI");
    }
    let started = Instant::now();
    let mut second = [login("room1"), login("room1")];
    for client in &mut second {
        client.talk("Q begin", "C[BEGIN] ZT");
    }
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    assert_eq!(databases.open(), 2);
    // Now there is none to be had until one comes back: and it comes to the other pool.
    first[0].say("Q select 1");
    second[0].talk("Q commit", "C[COMMIT] ZI");
    let started = Instant::now();
    first[0].hears("T D[1] C[SELECT 1] ZI");
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    second[1].talk("Q commit", "C[COMMIT] ZI");
}

#[test]
fn busy_pool_does_not_starve_another() {
    let databases = Databases::make("starve", 2);
    let pooler = databases.pooler("max_server_connections = 2; default_pool_size = 2");
    let port = pooler.port();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy: Vec<_> = (0..8)
        .map(|_| {
            let stop = std::sync::Arc::clone(&stop);
            thread::spawn(move || {
                let mut client =
                    Client::login_as(port, &[("user", "one"), ("database", "starve0")]);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    client.talk("Q select 1 from pg_sleep(0.02)", "T D[1] C[SELECT 1] ZI");
                }
            })
        })
        .collect();
    let mut other = Client::login_as(port, &[("user", "one"), ("database", "starve1")]);
    let started = Instant::now();
    for _ in 0..20 {
        other.talk("Q select 1 from pg_sleep(0.01)", "T D[1] C[SELECT 1] ZI");
    }
    let took = started.elapsed();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for client in busy {
        client.join().unwrap();
    }
    // Its fair share is one of the two servers: 20 times 10 ms, and a few logins.
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn reserve_is_opened_for_those_who_waited_for_long() {
    let pooler = pooler("default_pool_size = 1; reserve_pool_size = 1; reserve_pool_timeout = 0.5");
    let mut holder = Client::login(pooler.port());
    let mut second = Client::login(pooler.port());
    let mut third = Client::login(pooler.port());
    holder.talk("Q begin", "C[BEGIN] ZT");
    let started = Instant::now();
    second.talk("Q begin", "C[BEGIN] ZT");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_millis(500) + SLACK);
    // There is one, and no more.
    third.say("Q select 3");
    assert!(!third.has_something(Duration::from_millis(800)));
    holder.talk("Q commit", "C[COMMIT] ZI");
    third.hears("T D[3] C[SELECT 1] ZI");
    second.talk("Q commit", "C[COMMIT] ZI");
}

#[test]
fn logins_at_a_host_are_limited_at_a_time() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let fake = Fake::start(|_, _, server| {
        MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(50));
        NOW.fetch_sub(1, Ordering::SeqCst);
        server.let_in();
        while let Some((tag, _)) = server.hear() {
            if tag == b'Q' {
                thread::sleep(Duration::from_millis(100));
                server.send(&crate::fake::answer());
            }
        }
    });
    let settings = "max_server_logins = 3; default_pool_size = 20";
    let pooler = Pooler::start(&file(fake.port(), settings, ""));
    let port = pooler.port();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::login(port);
                for _ in 0..5 {
                    client.talk("Q select 42", "T D[42] C[SELECT 1] ZI");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let most = MOST.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most} at a time");
    assert!(fake.connections("shop") > 3);
}
