//! Two ways to the same database, and what is heard on each.

use std::sync::LazyLock;
use std::time::Duration;

use pgweir::demo::cluster::wait_for;

use crate::support::{APP_DATABASE, APP_USER, Cluster, PASSWORD, Pooler, SUPERUSER};
use crate::wire::{Client, Message, message};

/// How statements are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    /// Parse, Bind, Describe, Execute, Sync of unnamed things.
    Extended,
}

/// A cluster, and a pooler with few servers in front of it.
pub struct Bench {
    cluster: Cluster,
    pooler: Pooler,
}

static BENCH: LazyLock<Bench> = LazyLock::new(Bench::start);

/// Lives until the process ends; what watches over clusters removes it then.
pub fn bench() -> &'static Bench {
    &BENCH
}

/// Settings that every client has from the start, beside those of the test.
const STARTUP: [(&str, &str); 2] = [("user", APP_USER), ("database", APP_DATABASE)];

const SCHEMA: &str = "
    create role other;
    grant other to app;
    create schema one;
    create schema two;
    create table one.place as select 'one' as name;
    create table two.place as select 'two' as name, 2 as number;
    create table public.place as select 'public'::text as name;
    create table public.serial (id int generated always as identity, note text);
    grant usage on schema one, two to public;
    grant select on all tables in schema one, two to public;
    grant all on all tables in schema public to public;
    create function public.hidden(tenant text) returns text language plpgsql as $$
        begin
            perform set_config('app.tenant', tenant, false);
            return tenant;
        end $$;
    create function public.hidden_table() returns void language plpgsql as $$
        begin create temp table if not exists hidden (n int); end $$;
";

impl Bench {
    fn start() -> Self {
        let rules = ["host all all 127.0.0.1/32 trust"];
        let cluster = Cluster::builder().hba(&rules).start().unwrap();
        cluster.primary().sql(APP_DATABASE, SCHEMA).unwrap();
        let port = cluster.primary().port();
        let pooler = Pooler::start(&format!(
            "listen_port = 0\nhttp_listen = \"\"\nauth_type = \"trust\"\n\
             pool_mode = \"transaction\"\ndefault_pool_size = 3\ndebug_force_hop = true\n\
             query_wait_notify = 0\n\
             [databases.{APP_DATABASE}]\nhost = \"127.0.0.1\"\nport = {port}\n\
             [users.{APP_USER}]\npassword = \"{PASSWORD}\"\n"
        ));
        Self { cluster, pooler }
    }

    fn login(port: u16, more: &[(&str, &str)]) -> Client {
        Client::login_as(port, &[&STARTUP[..], more].concat())
    }

    /// A client of Postgres itself.
    pub fn direct(&self, startup: &[(&str, &str)]) -> Client {
        Self::login(self.cluster.primary().port(), startup)
    }

    /// A client of the pooler.
    pub fn pooled(&self, startup: &[(&str, &str)]) -> Client {
        Self::login(self.pooler.port(), startup)
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Runs the script both ways and compares. What is heard on the way without a pooler is right.
    ///
    /// # Errors
    /// Says the first difference.
    pub fn compare(
        &self,
        startup: &[(&str, &str)],
        script: &[(Protocol, String)],
    ) -> Result<(), String> {
        let mut direct = self.direct(startup);
        let mut expected = Vec::new();
        let (mut told, mut told_pooled) = (Vec::new(), Vec::new());
        for (protocol, sql) in script {
            expected.push(run(&mut direct, *protocol, sql, &mut told));
        }
        for sql in LAST {
            run(&mut direct, Protocol::Simple, sql, &mut told);
        }
        direct.say("X");
        drop(direct);
        self.no_locks()?;
        let mut pooled = self.pooled(startup);
        let mut disturber = Disturber::start(self);
        for (index, (protocol, sql)) in script.iter().enumerate() {
            disturber.disturb();
            let heard = run(&mut pooled, *protocol, sql, &mut told_pooled);
            if heard != expected[index] {
                let before: Vec<_> = script[..index].iter().map(|(_, sql)| sql.as_str()).collect();
                return Err(format!(
                    "after {before:#?}\n{protocol:?} {sql}\n     direct: {}\nthe pooler: {heard}",
                    expected[index]
                ));
            }
        }
        for sql in LAST {
            run(&mut pooled, Protocol::Simple, sql, &mut told_pooled);
        }
        // Their order is that of each channel.
        told.sort_by_key(channel);
        told_pooled.sort_by_key(channel);
        if told_pooled != told {
            let all: Vec<_> = script.iter().map(|(_, sql)| sql.as_str()).collect();
            return Err(format!(
                "after {all:#?}\n     direct: {told:?}\nthe pooler: {told_pooled:?}"
            ));
        }
        pooled.say("X");
        drop(pooled);
        disturber.check();
        drop(disturber);
        self.no_locks()
    }

    /// Waits until those who have left hold no lock any more.
    fn no_locks(&self) -> Result<(), String> {
        let port = self.cluster.primary().port();
        let superuser = [("user", SUPERUSER), ("database", APP_DATABASE)];
        let mut look = Client::login_as(port, &superuser);
        let mut none = || {
            let left = look.value("select count(*) from pg_locks where locktype = 'advisory'");
            Ok((left == "0").then_some(()))
        };
        let waited = wait_for("no advisory lock is left", Duration::from_secs(5), &mut none);
        look.say("X");
        waited.map_err(|error| error.to_string())
    }
}

/// Changes all that a session has, again and again, and must find it as it left it.
struct Disturber {
    client: Client,
    turns: usize,
}

const DISTURBED: &str = "select current_setting('search_path') || current_setting('timezone') || \
    current_setting('datestyle') || current_setting('app.tenant') || current_user";

impl Disturber {
    fn start(bench: &Bench) -> Self {
        let mut client = bench.pooled(&[]);
        client.say(
            "Q set search_path = disturbed; set timezone = 'Pacific/Chatham'; \
             set datestyle = 'German'; set app.tenant = 'disturbed'; set role other; \
             set statement_timeout = '29s'; set bytea_output = 'escape'; set work_mem = '3MB'",
        );
        let heard = client.hears_up_to("ZI");
        assert!(!heard.contains("E["), "{heard}");
        Self { client, turns: 0 }
    }

    fn disturb(&mut self) {
        const TURNS: [&str; 5] = [
            "Q prepare p as select 'disturbed'",
            "Q deallocate p",
            "Q select set_config('app.tenant', 'disturbed', false)",
            "Q create temp table t1 as select 'disturbed'; drop table t1",
            "Q select pg_advisory_lock(999), pg_advisory_unlock_all()",
        ];
        self.client.say(TURNS[self.turns % TURNS.len()]);
        self.client.hears_up_to("ZI");
        self.turns += 1;
        self.check();
    }

    fn check(&mut self) {
        let found = self.client.value(DISTURBED);
        assert_eq!(found, "disturbedPacific/ChathamGerman, DMYdisturbedother");
    }
}

/// Of `A[channel payload ]`.
#[expect(clippy::ptr_arg, reason = "it is a key of strings")]
fn channel(told: &String) -> String {
    told.split(' ').next().unwrap_or_default().to_owned()
}

/// What was notified has been told after these.
const LAST: [&str; 2] = ["rollback", "select 1"];

/// Sends one statement and gives all that is heard of it. Notifications are put apart: those that
/// a transaction which listens sends itself may come behind its end.
fn run(client: &mut Client, protocol: Protocol, sql: &str, told: &mut Vec<String>) -> String {
    match protocol {
        Protocol::Simple => client.send(&message(b'Q', format!("{sql}\0").as_bytes())),
        Protocol::Extended => {
            let mut bytes = message(b'P', format!("\0{sql}\0\0\0").as_bytes());
            bytes.extend(message(b'B', b"\0\0\0\0\0\0\0\0"));
            bytes.extend(message(b'D', b"P\0"));
            bytes.extend(message(b'E', b"\0\0\0\0\0"));
            bytes.extend(message(b'S', b""));
            client.send(&bytes);
        }
    }
    let mut heard = Vec::new();
    loop {
        let message = client.hear();
        // Where Postgres reports a setting among the other replies is of no consequence.
        if message.tag == b'A' {
            assert_eq!(message.body[..4], client.key[..4], "it is the client's own");
            told.push(message.text());
        } else if message.tag != b'S' {
            heard.push(shown(&message));
        }
        if message.tag == b'Z' {
            // What the client brought is set again behind a string that resets and does more.
            if sql.contains(';') {
                return heard.join(" ");
            }
            let reported = ["TimeZone", "DateStyle", "client_encoding", "application_name"];
            for name in reported {
                heard.push(format!("{name}={}", client.parameters[name]));
            }
            return heard.join(" ");
        }
    }
}

fn shown(message: &Message) -> String {
    match message.tag {
        b'E' | b'N' => {
            let field = |code| message.field(code).unwrap_or_default();
            format!("{}({})", message.text(), field(b'M'))
        }
        b'T' => format!("T[{}]", columns(&message.body)),
        _ => message.text(),
    }
}

/// Names and types.
fn columns(body: &[u8]) -> String {
    let mut rest = &body[2..];
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|&byte| byte == 0) {
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let oid = rest[end + 7..end + 11].try_into().map(u32::from_be_bytes).unwrap();
        columns.push(format!("{name}:{oid}"));
        rest = &rest[end + 19..];
    }
    columns.join(",")
}
