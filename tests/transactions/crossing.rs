//! Two clients that share one server: their settings never cross, and equal ones cost nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::runner::bench;
use crate::support::{APP_DATABASE, APP_USER, PASSWORD, Pooler};
use crate::wire::{Client, messages};

fn one_server(port: u16) -> Pooler {
    Pooler::start(&format!(
        "listen_port = 0\nhttp_listen = \"\"\nauth_type = \"trust\"\ndefault_pool_size = 1\n\
         server_idle_timeout = 0\nserver_lifetime = 0\nserver_check_delay = \"1h\"\n\
         [databases.{APP_DATABASE}]\nhost = \"127.0.0.1\"\nport = {port}\n\
         [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
    ))
}

/// What a client has set, and what it must find.
struct Tenant {
    client: Client,
    schema: &'static str,
    role: &'static str,
    zone: String,
    tag: String,
}

impl Tenant {
    fn set_zone(&mut self, zone: &str) {
        self.client.talk(&format!("Q set timezone = '{zone}'"), &self.told("SET", zone));
        self.zone = zone.to_owned();
    }

    /// A changed time zone is reported.
    fn told(&self, tag: &str, zone: &str) -> String {
        match self.zone == zone {
            true => format!("C[{tag}] ZI"),
            false => format!("C[{tag}] S[TimeZone={zone}] ZI"),
        }
    }

    fn ask(&mut self, random: &mut StdRng) {
        let (sql, value) = match random.random_range(0..5) {
            0 => ("select name from place", self.schema.to_owned()),
            1 => ("select current_user", self.role.to_owned()),
            2 => ("show timezone", self.zone.clone()),
            3 => ("select current_setting('app.tenant')", self.tag.clone()),
            _ => {
                let all = "select concat_ws(' ', current_user, current_setting('timezone'), \
                           current_setting('app.tenant'), name) from place";
                (all, format!("{} {} {} {}", self.role, self.zone, self.tag, self.schema))
            }
        };
        let tag = if sql.starts_with("show") { "SHOW" } else { "SELECT 1" };
        match random.random_range(0..3) {
            0 => self.client.talk(&format!("Q {sql}"), &format!("T D[{value}] C[{tag}] ZI")),
            1 => {
                let script = format!("P - {sql} / B - / E / S");
                self.client.talk(&script, &format!("1 2 D[{value}] C[{tag}] ZI"));
            }
            _ => {
                self.client.talk("Q begin", "C[BEGIN] ZT");
                self.client.talk(&format!("Q {sql}"), &format!("T D[{value}] C[{tag}] ZT"));
                self.client.talk("Q commit", "C[COMMIT] ZI");
            }
        }
    }
}

/// `CROSSED_QUERIES=100000` makes it long.
#[test]
fn settings_of_two_clients_on_one_server_never_cross() {
    let queries = std::env::var("CROSSED_QUERIES").map_or(3_000, |count| count.parse().unwrap());
    let pooler = one_server(bench().cluster().primary().port());
    let login = |schema: &'static str, role: &'static str, zone: &str| {
        let user = [("user", APP_USER), ("database", APP_DATABASE), ("timezone", zone)];
        let client = Client::login_as(pooler.port(), &user);
        let zone = zone.to_owned();
        let mut tenant = Tenant { client, schema, role, zone, tag: String::new() };
        tenant.client.talk(&format!("Q set search_path = {schema}"), "C[SET] ZI");
        tenant.client.talk(&format!("Q set role = {role}"), "C[SET] ZI");
        tenant
    };
    let mut tenants = [login("one", APP_USER, "Asia/Tokyo"), login("two", "other", "America/Lima")];
    let mut random = StdRng::seed_from_u64(7);
    for query in 0..queries {
        let tenant = &mut tenants[random.random_range(0..2)];
        if query < 2 || random.random_range(0..50) == 0 {
            tenant.tag = format!("{}-{query}", tenant.schema);
            tenant.client.talk(&format!("Q set app.tenant = '{}'", tenant.tag), "C[SET] ZI");
        }
        if random.random_range(0..50) == 0 {
            let zones = ["Asia/Tokyo", "America/Lima", "UTC", "Europe/Rome"];
            tenant.set_zone(zones[random.random_range(0..zones.len())]);
        }
        if !tenant.tag.is_empty() {
            tenant.ask(&mut random);
        }
    }
}

/// Passes bytes on to a server, and counts those that go there.
fn counted(server: u16) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            pass(client.try_clone().unwrap(), server.try_clone().unwrap(), Some(&counter));
            pass(server, client, None);
        }
    });
    (port, count)
}

fn pass(mut from: TcpStream, mut to: TcpStream, counter: Option<&Arc<AtomicU64>>) {
    let counter = counter.map(Arc::clone);
    thread::spawn(move || {
        let mut chunk = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            // Before they go: whoever has seen the reply sees them counted.
            if let Some(counter) = &counter {
                counter.fetch_add(count as u64, Ordering::SeqCst);
            }
            if to.write_all(&chunk[..count]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
    });
}

#[test]
fn equal_settings_cost_not_one_byte() {
    let (port, count) = counted(bench().cluster().primary().port());
    let pooler = one_server(port);
    let mut clients = [(); 2].map(|()| {
        let user = [("user", APP_USER), ("database", APP_DATABASE), ("timezone", "Asia/Tokyo")];
        let mut client = Client::login_as(pooler.port(), &user);
        client.talk("Q set search_path = two", "C[SET] ZI");
        client.talk("Q set app.tenant = 'x'", "C[SET] ZI");
        client.talk("Q select name from place", "T D[two] C[SELECT 1] ZI");
        client
    });
    // Both have been there: the server has what both want.
    for client in &mut clients {
        client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    }
    let before = count.load(Ordering::SeqCst);
    let (script, expected) = ("Q select name from place", "T D[two] C[SELECT 1] ZI");
    for turn in 0..1_000 {
        clients[turn % 2].talk(script, expected);
    }
    let sent = count.load(Ordering::SeqCst) - before;
    assert_eq!(sent, 1_000 * messages(script).len() as u64);
    // The counter would see a difference.
    clients[0].talk("Q set app.tenant = 'y'", "C[SET] ZI");
    let before = count.load(Ordering::SeqCst);
    clients[1].talk(script, expected);
    assert!(count.load(Ordering::SeqCst) - before > messages(script).len() as u64);
}
