//! LISTEN and NOTIFY in transaction mode, with another server for each transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use crate::setup::{file, pooler, pooler_for, shared};
use crate::support::{APP_DATABASE, APP_USER, LIMIT, PASSWORD, Pooler, PostgresServer};
use crate::support::{cluster, eventually, psql_rows};
use crate::wire::{Client, Message, USER};

const HOPS: &str = "default_pool_size = 3; debug_force_hop = true";

/// What the channels are, as the server says.
const CHANNELS: &str = "select coalesce(string_agg(c, ' ' order by c), '') \
    from pg_listening_channels() c";

/// A client without a pooler.
#[track_caller]
fn direct(server: &PostgresServer) -> Client {
    Client::login_with(server.port(), &USER, PASSWORD)
}

fn notify(server: &PostgresServer, sql: &str) {
    server.sql(APP_DATABASE, sql).unwrap();
}

/// The process that has sent a notification.
fn sender(message: &Message) -> &[u8] {
    assert_eq!(message.tag, b'A', "{}", message.text());
    &message.body[..4]
}

fn listeners(server: &PostgresServer) -> String {
    let count = "select count(*) from pg_stat_activity where application_name = 'pgweir listener'";
    server.sql(APP_DATABASE, count).unwrap().trim().to_owned()
}

#[test]
fn own_notifications_come_before_the_end_of_their_request() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    client.talk("Q listen x", "C[LISTEN] ZI");
    client.say("Q notify x, 'one'");
    client.hears("C[NOTIFY]");
    let heard = client.hear();
    assert_eq!(heard.text(), "A[x one ]");
    assert_eq!(sender(&heard), &client.key[..4], "the number that the client was given");
    client.hears("ZI");
    client.talk("Q select pg_notify('x', 'two')", "T D[] C[SELECT 1] A[x two ] ZI");
    let code = "do $$ begin perform pg_notify('x', 'three'); end $$";
    client.talk(&format!("Q {code}"), "C[DO] A[x three ] ZI");
    client.talk("Q begin", "C[BEGIN] ZT");
    client.talk("Q notify x, 'four'", "C[NOTIFY] ZT");
    client.talk("Q notify y, 'five'", "C[NOTIFY] ZT");
    client.talk("Q commit", "C[COMMIT] A[x four ] ZI");
    // Listening and notifying at once.
    let all = "C[BEGIN] C[LISTEN] C[NOTIFY] C[COMMIT] A[z  ] ZI";
    client.talk("Q begin; listen z; notify z; commit", all);
    client.talk("P - notify x, 'six' / B - / E / S", "1 2 C[NOTIFY] A[x six ] ZI");
}

#[test]
fn notifications_of_others_have_the_numbers_of_their_senders() {
    let pooler = pooler(HOPS);
    let mut listens = Client::login(pooler.port());
    listens.talk("Q listen x", "C[LISTEN] ZI");
    let mut pooled = Client::login(pooler.port());
    pooled.talk("Q notify x", "C[NOTIFY] ZI");
    let heard = listens.hear();
    assert_eq!(sender(&heard), &pooled.key[..4]);
    let mut direct = direct(shared());
    direct.talk("Q notify x", "C[NOTIFY] ZI");
    let heard = listens.hear();
    assert_eq!(sender(&heard), &direct.key[..4]);
    pooled.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
}

#[test]
fn listen_and_unlisten_take_effect_with_their_transaction() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    let channels = |client: &mut Client, expected: &str| {
        client.talk(&format!("Q {CHANNELS}"), &format!("T D[{expected}] C[SELECT 1] ZI"));
    };
    client.talk("Q begin", "C[BEGIN] ZT");
    client.talk("Q listen x", "C[LISTEN] ZT");
    client.talk("Q rollback", "C[ROLLBACK] ZI");
    channels(&mut client, "");
    client.talk("Q begin", "C[BEGIN] ZT");
    client.talk("Q listen a", "C[LISTEN] ZT");
    client.talk("Q savepoint s", "C[SAVEPOINT] ZT");
    client.talk("Q listen b", "C[LISTEN] ZT");
    client.talk("Q rollback to s", "C[ROLLBACK] ZT");
    client.talk("Q listen \"C c\"", "C[LISTEN] ZT");
    notify(shared(), "notify a, 'too early'");
    client.talk("Q commit", "C[COMMIT] ZI");
    channels(&mut client, "C c a");
    notify(shared(), "notify a, '1'; notify b, '2'; notify \"C c\", '3'");
    client.hears("A[a 1 ] A[C c 3 ]");
    client.talk("Q begin", "C[BEGIN] ZT");
    client.talk("Q unlisten a", "C[UNLISTEN] ZT");
    notify(shared(), "notify a, '4'");
    client.talk("Q select 1", "T D[1] C[SELECT 1] ZT");
    client.talk("Q rollback", "C[ROLLBACK] A[a 4 ] ZI");
    channels(&mut client, "C c a");
    client.talk("Q begin", "C[BEGIN] ZT");
    client.talk("Q unlisten a", "C[UNLISTEN] ZT");
    client.talk("Q commit", "C[COMMIT] ZI");
    channels(&mut client, "C c");
    notify(shared(), "notify a, '5'; notify \"C c\", '6'");
    client.hears("A[C c 6 ]");
    client.talk("Q listen a", "C[LISTEN] ZI");
    client.talk("Q selec", "E[42601] ZI");
    client.talk("Q begin; listen d; select 1/0", "C[BEGIN] C[LISTEN] E[22012] ZE");
    client.talk("Q rollback", "C[ROLLBACK] ZI");
    channels(&mut client, "C c a");
    client.talk("Q unlisten *", "C[UNLISTEN] ZI");
    channels(&mut client, "");
    client.talk("Q listen a", "C[LISTEN] ZI");
    client.talk("P l listen e / B l / E / S", "1 2 C[LISTEN] ZI");
    channels(&mut client, "a e");
    client.talk("Q discard all", "C[DISCARD ALL] ZI");
    channels(&mut client, "");
    notify(shared(), "notify a; notify e");
    client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    eventually("nobody listens", LIMIT, || listeners(shared()) == "0");
}

#[test]
fn nobody_else_hears_or_has_the_channels() {
    let pooler = pooler("default_pool_size = 1");
    let mut listens = Client::login(pooler.port());
    let mut other = Client::login(pooler.port());
    for turn in 0..20 {
        listens.talk("Q listen x", "C[LISTEN] ZI");
        other.talk(&format!("Q {CHANNELS}"), "T D[] C[SELECT 1] ZI");
        other.talk(&format!("Q notify x, '{turn}'"), "C[NOTIFY] ZI");
        listens.hears(&format!("A[x {turn} ]"));
        listens.talk(&format!("Q {CHANNELS}"), "T D[x] C[SELECT 1] ZI");
        if turn % 3 == 0 {
            listens.talk("Q unlisten x", "C[UNLISTEN] ZI");
        }
    }
}

#[test]
fn the_same_channel_of_two_databases_is_two_channels() {
    notify(shared(), "create database other owner app");
    let port = shared().port();
    let tables = format!("[databases.other]\nhost = \"127.0.0.1\"\nport = {port}\n");
    let pooler = Pooler::start(&file(port, HOPS, &tables));
    let mut one = Client::login(pooler.port());
    let mut two = Client::login_as(pooler.port(), &[("user", APP_USER), ("database", "other")]);
    one.talk("Q listen x", "C[LISTEN] ZI");
    two.talk("Q listen x", "C[LISTEN] ZI");
    one.talk("Q notify x, 'one'", "C[NOTIFY] A[x one ] ZI");
    two.talk("Q notify x, 'two'", "C[NOTIFY] A[x two ] ZI");
    one.talk("Q notify x, 'three'", "C[NOTIFY] A[x three ] ZI");
}

/// Each sender's come in their order, none is lost and none comes twice, whatever the listener
/// does meanwhile.
#[test]
fn order_per_channel_is_kept_under_load() {
    const COUNT: usize = 1500;
    let pooler = pooler(HOPS);
    let port = pooler.port();
    let mut listens = Client::login(port);
    listens.talk("Q listen a; listen b", "C[LISTEN] C[LISTEN] ZI");
    let send = |name: &'static str| {
        std::thread::spawn(move || {
            let mut client = Client::login(port);
            for number in 0..COUNT {
                let channel = if number % 2 == 0 { "a" } else { "b" };
                let sql = format!("Q select pg_notify('{channel}', '{name} {number}')");
                client.talk(&sql, "T D[] C[SELECT 1] ZI");
            }
        })
    };
    let senders = ["one", "two", "three"].map(send);
    let mut last: BTreeMap<(String, String), usize> = BTreeMap::new();
    let (mut heard, mut busy) = (0, 0);
    while heard < 3 * COUNT {
        if busy == 0 {
            listens.say("Q begin / Q select 1 / Q commit");
            busy = 3;
        }
        let message = listens.hear();
        match message.tag {
            b'A' => {
                let text = message.text();
                let words: Vec<_> = text[2..text.len() - 2].split(' ').collect();
                let number: usize = words[2].parse().unwrap();
                let before = last.insert((words[0].into(), words[1].into()), number);
                let expected = before.map_or(number % 2, |before| before + 2);
                assert_eq!(number, expected, "{text}");
                heard += 1;
            }
            b'Z' => busy -= 1,
            b'E' | b'N' => panic!("{}", message.text()),
            _ => {}
        }
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

#[test]
fn queue_workers_lose_no_job() {
    const JOBS: usize = 3000;
    notify(
        shared(),
        "create table job (id int primary key, done_by int);
         grant all on job to app;
         create function tell() returns trigger language plpgsql as $$
            begin perform pg_notify('jobs', new.id::text); return new; end $$;
         create trigger tell after insert on job for each row execute function tell();",
    );
    let pooler = pooler("default_pool_size = 4; debug_force_hop = true");
    let port = pooler.port();
    let ready = Arc::new(Barrier::new(4));
    let work = move |who: usize, ready: Arc<Barrier>| {
        let mut client = Client::login(port);
        client.talk("Q listen jobs", "C[LISTEN] ZI");
        ready.wait();
        let mut told = BTreeSet::new();
        let mut taken = 0;
        // What is said on the way to the end of a request.
        let mut ask = |client: &mut Client, sql: &str| {
            client.say(sql);
            let mut updated = false;
            loop {
                let message = client.hear();
                match message.tag {
                    b'A' => {
                        let text = message.text();
                        assert!(told.insert(job(&text)), "{text} was told twice");
                    }
                    b'Z' => return (updated, told.len()),
                    b'C' => updated |= message.text() == "C[UPDATE 1]",
                    _ => panic!("{}", message.text()),
                }
            }
        };
        let mut known = 0;
        while known < JOBS {
            ask(&mut client, "Q begin");
            let sql = format!(
                "Q update job set done_by = {who} where id = (select id from job \
                 where done_by is null order by id for update skip locked limit 1)"
            );
            let (more, _) = ask(&mut client, &sql);
            taken += usize::from(more);
            (_, known) = ask(&mut client, "Q commit");
        }
        // What came last may not be taken yet.
        loop {
            client.say(&format!(
                "Q update job set done_by = {who} where id = (select id from job \
                 where done_by is null for update skip locked limit 1)"
            ));
            if !client.hears_up_to("ZI").contains("UPDATE 1") {
                return taken;
            }
            taken += 1;
        }
    };
    let workers = [1, 2, 3].map(|who| {
        let ready = Arc::clone(&ready);
        std::thread::spawn(move || work(who, ready))
    });
    ready.wait();
    let mut client = Client::login(port);
    let mut next = 0;
    while next < JOBS {
        let sql = format!("Q insert into job select generate_series({next}, {})", next + 9);
        client.talk(&sql, "C[INSERT 0 10] ZI");
        next += 10;
    }
    let taken: usize = workers.map(|worker| worker.join().unwrap()).iter().sum();
    assert_eq!(taken, JOBS);
    assert_eq!(client.value("select count(*) from job where done_by is null"), "0");
}

/// The number in `A[jobs 7 ]`.
fn job(text: &str) -> usize {
    text[7..text.len() - 2].parse().unwrap()
}

const KILL: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
    where application_name = 'pgweir listener'";

#[test]
fn loss_of_the_listener_is_told_and_so_is_its_return() {
    let cluster = cluster();
    let server = cluster.primary();
    let pooler = pooler_for(server, HOPS);
    let mut idle = Client::login(pooler.port());
    let mut busy = Client::login(pooler.port());
    let mut other = Client::login(pooler.port());
    idle.talk("Q listen x", "C[LISTEN] ZI");
    busy.talk("Q listen x", "C[LISTEN] ZI");
    busy.talk("Q begin", "C[BEGIN] ZT");
    for turn in 0..3 {
        assert_eq!(listeners(server), "1");
        notify(server, KILL);
        let lost = idle.hear();
        assert_eq!(lost.text(), "N[01000]");
        let text = lost.field(b'M').unwrap();
        assert!(text.starts_with("notifications are not heard at the moment: "), "{text}");
        let back = idle.hear();
        assert_eq!(back.field(b'M').unwrap(), "notifications are heard again");
        other.talk(&format!("Q notify x, '{turn}'"), "C[NOTIFY] ZI");
        idle.hears(&format!("A[x {turn} ]"));
        other.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    }
    busy.talk("Q select 1", "T D[1] C[SELECT 1] ZT");
    busy.talk(
        "Q commit",
        "C[COMMIT] N[01000] N[01000] A[x 0 ] N[01000] N[01000] A[x 1 ] N[01000] N[01000] A[x 2 ] ZI",
    );
}

#[test]
fn client_that_does_not_read_is_disconnected_and_nobody_else_notices() {
    let pooler = pooler(&format!("{HOPS}; listen_queue_size = '64 KiB'"));
    let mut reads = Client::login(pooler.port());
    let mut sleeps = Client::login(pooler.port());
    let mut in_transaction = Client::login(pooler.port());
    for client in [&mut reads, &mut sleeps, &mut in_transaction] {
        client.talk("Q listen x", "C[LISTEN] ZI");
    }
    in_transaction.talk("Q begin", "C[BEGIN] ZT");
    let mut sender = Client::login(pooler.port());
    let burst = "Q select pg_notify('x', i || repeat('x', 2000)) from generate_series(1, 20) i";
    let began = Instant::now();
    // Until the sockets between us are full, and the queue behind them.
    while !pooler.log().contains("listen_queue_size") && began.elapsed() < LIMIT {
        sender.say(burst);
        sender.hears_up_to("ZI");
        for _ in 0..20 {
            assert_eq!(reads.hear().tag, b'A');
        }
    }
    in_transaction.talk("Q select 1", "T D[1] C[SELECT 1] ZT");
    in_transaction.say("Q commit");
    for client in [&mut in_transaction, &mut sleeps] {
        let last = loop {
            let message = client.hear();
            if message.tag == b'E' {
                break message;
            }
        };
        assert_eq!(last.text(), "FATAL[53400]");
        assert_eq!(client.next_within(LIMIT), None);
    }
    reads.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    sender.talk("Q notify x, 'end'", "C[NOTIFY] ZI");
    reads.hears("A[x end ]");
}

/// The process that listens.
fn listener_pid(server: &PostgresServer) -> String {
    let sql = "select pid from pg_stat_activity where application_name = 'pgweir listener'";
    server.sql(APP_DATABASE, sql).unwrap().trim().to_owned()
}

fn signal(name: &str, pid: &str) {
    let status = std::process::Command::new("sh").args(["-c", "kill -$0 $1", name, pid]).status();
    assert!(status.unwrap().success());
}

#[test]
fn listener_that_does_not_answer_holds_nobody_up_for_long() {
    let cluster = cluster();
    let server = cluster.primary();
    let pooler = pooler_for(server, "default_pool_size = 1; server_connect_timeout = '2 s'");
    let mut client = Client::login(pooler.port());
    client.talk("Q listen x", "C[LISTEN] ZI");
    let stuck = listener_pid(server);
    signal("STOP", &stuck);
    client.say("Q notify x, '1'");
    let mut told = client.hears_up_to("ZI");
    assert!(told.starts_with("C[NOTIFY] N[01000]"), "{told}");
    // By another connection, before or after the answer.
    while told.matches("N[01000]").count() < 2 {
        told += &client.hear().text();
    }
    client.talk("Q notify x, '2'", "C[NOTIFY] A[x 2 ] ZI");
    signal("CONT", &stuck);
}

#[test]
fn client_that_leaves_while_it_is_caught_up_for_keeps_no_server() {
    let cluster = cluster();
    let server = cluster.primary();
    let settings = "default_pool_size = 1; cancel_wait_timeout = '60 s'";
    let pooler = pooler_for(server, &format!("{settings}; server_connect_timeout = '60 s'"));
    let mut client = Client::login(pooler.port());
    client.talk("Q listen x", "C[LISTEN] ZI");
    client.talk("Q begin", "C[BEGIN] ZT");
    let stuck = listener_pid(server);
    signal("STOP", &stuck);
    client.talk("Q commit", "C[COMMIT]");
    drop(client);
    let mut next = Client::login(pooler.port());
    next.say(&format!("Q {CHANNELS}"));
    next.hears_within("T D[] C[SELECT 1] ZI", Duration::from_secs(20), "");
    signal("CONT", &stuck);
}

#[test]
fn channel_that_code_listens_to_keeps_the_server() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    client.talk("Q listen a", "C[LISTEN] ZI");
    client.talk("Q do $$ begin execute 'listen b'; end $$", "C[DO] ZI");
    notify(shared(), "notify a, '1'");
    client.hears("A[a 1 ]");
    notify(shared(), "notify b, '2'");
    client.hears("A[b 2 ]");
    client.talk(&format!("Q {CHANNELS}"), "T D[a b] C[SELECT 1] ZI");
    client.talk("Q notify b, '3'", "C[NOTIFY] A[b 3 ] ZI");
    client.talk("Q unlisten b", "C[UNLISTEN] ZI");
    notify(shared(), "notify b; notify a, '4'");
    client.hears("A[a 4 ]");
    client.talk(&format!("Q {CHANNELS}"), "T D[a] C[SELECT 1] ZI");
    // A temporary table keeps it, too; it hears as before.
    client.talk("Q create temp table t (n int)", "C[CREATE TABLE] ZI");
    notify(shared(), "notify a, '5'");
    client.hears("A[a 5 ]");
    client.talk("Q notify a, '6'", "C[NOTIFY] A[a 6 ] ZI");
    client.talk("Q drop table t", "C[DROP TABLE] ZI");
    client.talk("Q notify a, '7'", "C[NOTIFY] A[a 7 ] ZI");
}

#[test]
fn client_with_too_many_channels_keeps_its_server() {
    let tables = format!("[users.boss]\npassword = \"{PASSWORD}\"\n");
    let settings = format!("admin_users = 'boss'; {HOPS}");
    let pooler = Pooler::start(&file(shared().port(), &settings, &tables));
    let boss = pooler.url("boss", PASSWORD, "pgweir");
    let heard = || -> Vec<_> {
        let shown = psql_rows(&boss, "SHOW LISTENERS");
        shown.lines().map(|line| line.split('|').nth(4).map(str::to_owned)).collect()
    };
    for (first, channels) in [("listen a", vec![Some("1".to_owned())]), ("select 1", Vec::new())] {
        let mut client = Client::login(pooler.port());
        let tag = if first == "listen a" { "C[LISTEN] ZI" } else { "T D[1] C[SELECT 1] ZI" };
        client.talk(&format!("Q {first}"), tag);
        let all: Vec<_> = (0..1_200).map(|at| format!("listen c{at}")).collect();
        client.talk(
            &format!("Q {}", all.join("; ")),
            &format!("{}ZI", "C[LISTEN] ".repeat(all.len())),
        );
        for channel in ["c0", "c1199"] {
            notify(shared(), &format!("notify {channel}, '1'"));
            client.hears(&format!("A[{channel} 1 ]"));
        }
        client.talk("Q notify c1100, '2'", "C[NOTIFY] A[c1100 2 ] ZI");
        assert_eq!(heard(), channels);
        client.talk("Q unlisten *; listen a", "C[UNLISTEN] C[LISTEN] ZI");
        client.talk(&format!("Q {CHANNELS}"), "T D[a] C[SELECT 1] ZI");
        notify(shared(), "notify c0; notify a, '3'");
        client.hears("A[a 3 ]");
        drop(client);
        eventually("nobody listens", LIMIT, || heard().is_empty());
    }
}

#[test]
fn client_that_leaves_leaves_nothing() {
    let pooler = pooler("default_pool_size = 1");
    for script in
        ["Q listen x", "Q begin / Q listen x", "P - listen x / B - / E / H", "P - listen x"]
    {
        let mut client = Client::login(pooler.port());
        client.say(script);
        drop(client);
        let mut next = Client::login(pooler.port());
        next.talk(&format!("Q {CHANNELS}"), "T D[] C[SELECT 1] ZI");
        eventually("nobody listens", LIMIT, || listeners(shared()) == "0");
    }
}

#[test]
fn pipelines_listen_in_their_order() {
    let pooler = pooler(HOPS);
    let mut client = Client::login(pooler.port());
    client.talk(
        "Q listen a / Q listen b / Q notify a, '1' / Q unlisten a / Q notify a, '2'",
        "C[LISTEN] ZI C[LISTEN] ZI C[NOTIFY] A[a 1 ] ZI C[UNLISTEN] ZI C[NOTIFY] ZI",
    );
    client.talk("Q notify b, '3'", "C[NOTIFY] A[b 3 ] ZI");
    client.talk(
        "P - listen c / B - / E / P - notify c, '4' / B - / E / S",
        "1 2 C[LISTEN] 1 2 C[NOTIFY] A[c 4 ] ZI",
    );
    client.talk(&format!("Q {CHANNELS}"), "T D[b c] C[SELECT 1] ZI");
}

#[test]
fn pauses_and_new_connections_are_told() {
    let cluster = cluster();
    let server = cluster.primary();
    let port = server.port();
    let tables = format!("[users.boss]\npassword = \"{PASSWORD}\"\n");
    let pooler = Pooler::start(&file(port, "admin_users = 'boss'; default_pool_size = 2", &tables));
    let boss = pooler.url("boss", PASSWORD, "pgweir");
    let mut client = Client::login(pooler.port());
    client.talk("Q listen x", "C[LISTEN] ZI");
    psql_rows(&boss, "RECONNECT");
    client.hears("N[01000] N[01000]");
    notify(server, "notify x, '1'");
    client.hears("A[x 1 ]");
    psql_rows(&boss, "PAUSE");
    client.hears("N[01000]");
    eventually("nobody listens", LIMIT, || listeners(server) == "0");
    psql_rows(&boss, "RESUME");
    client.hears("N[01000]");
    notify(server, "notify x, '2'");
    client.hears("A[x 2 ]");
    let shown = psql_rows(&boss, "SHOW LISTENERS");
    let columns: Vec<_> = shown.split('|').collect();
    assert_eq!(columns[1..6], ["shop", "UTF8", "listening", "1", "1"], "{shown}");
}

#[test]
fn encodings_are_each_clients_own() {
    let pooler = pooler(HOPS);
    let mut utf = Client::login(pooler.port());
    let latin = [USER[0], USER[1], ("client_encoding", "LATIN1")];
    let mut latin = Client::login_as(pooler.port(), &latin);
    utf.talk("Q listen x", "C[LISTEN] ZI");
    latin.talk("Q listen x", "C[LISTEN] ZI");
    notify(shared(), "notify x, 'caf\u{e9}'");
    assert_eq!(&utf.hear().body[6..], "caf\u{e9}\0".as_bytes());
    assert_eq!(&latin.hear().body[6..], b"caf\xe9\0");
    utf.talk("Q set client_encoding = 'LATIN1'", "C[SET] S[client_encoding=LATIN1] ZI");
    utf.hears("N[01000] N[01000]");
    notify(shared(), "notify x, 'caf\u{e9}'");
    assert_eq!(&utf.hear().body[6..], b"caf\xe9\0");
}

#[test]
fn reload_that_moves_the_database_is_followed() {
    let (old, new) = (cluster(), cluster());
    let pooler = Pooler::start(&file(old.primary().port(), HOPS, ""));
    let mut client = Client::login(pooler.port());
    client.talk("Q listen x", "C[LISTEN] ZI");
    pooler.rewrite(&file(new.primary().port(), HOPS, ""));
    pooler.signal("HUP");
    client.hears("N[01000] N[01000]");
    notify(old.primary(), "notify x, 'old'");
    notify(new.primary(), "notify x, 'new'");
    client.hears("A[x new ]");
    client.talk("Q notify x, 'own'", "C[NOTIFY] A[x own ] ZI");
    eventually("nobody listens there", LIMIT, || listeners(old.primary()) == "0");
}

#[test]
fn in_session_mode_the_server_notifies_and_the_numbers_are_right() {
    let pooler = pooler("pool_mode = 'session'; server_reset_query = ''");
    let mut client = Client::login(pooler.port());
    let mut other = Client::login(pooler.port());
    client.talk("Q listen x", "C[LISTEN] ZI");
    for (from, own) in [(0, true), (1, false)] {
        let sends = if from == 0 { &mut client } else { &mut other };
        sends.say("Q notify x");
        let key = sends.key.clone();
        let heard = loop {
            let message = client.hear();
            if message.tag == b'A' {
                break message;
            }
        };
        assert_eq!(sender(&heard), &key[..4]);
        assert_eq!(sender(&heard) == &client.key[..4], own);
    }
    assert_eq!(listeners(shared()), "0");
    drop((client, other));
    // What one listened to is not left to the next.
    let mut next = Client::login(pooler.port());
    let mut after = Client::login(pooler.port());
    for client in [&mut next, &mut after] {
        client.talk(&format!("Q {CHANNELS}"), "T D[] C[SELECT 1] ZI");
    }
}
