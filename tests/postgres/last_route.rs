//! `pgweir.last_route` tells in every protocol, and whatever the session is in, where its last request
//! ran and why.

use super::reads::Scene;
use crate::support::{APP_DATABASE, APP_USER, PASSWORD, Pooler, cluster};
use crate::wire::Client;

const SHOW: &str = "SHOW pgweir.last_route";
const CURRENT: &str = "SELECT current_setting('pgweir.last_route', true)";
const WRITE: &str = "Q INSERT INTO t VALUES (1, 1) ON CONFLICT DO NOTHING";

fn client(pooler: &Pooler) -> Client {
    let startup = [("user", APP_USER), ("database", APP_DATABASE)];
    Client::login_with(pooler.port(), &startup, PASSWORD)
}

/// Whoever comes next has the same server.
fn scene(general: &str) -> Scene {
    Scene::new(1, &format!("default_pool_size = 1\nread_your_writes = \"off\"\n{general}"))
}

fn at_replica(scene: &Scene, reason: &str) -> String {
    format!("replica 127.0.0.1:{}: {reason}", scene.cluster.replicas()[0].port())
}

#[test]
fn last_route_is_told_in_every_protocol() {
    let scene = scene("");
    let (here, read) = (scene.cluster.replicas()[0].port(), at_replica(&scene, "reads"));
    let mut client = client(&scene.pooler);
    let told = |route: &str| format!("T D[{route}] C[SHOW] ZI");
    // At once behind the reply, and without waiting for it.
    client.talk(WRITE, "C[INSERT 0 1] ZI");
    client.talk(&format!("Q {SHOW}"), &told("primary: writes"));
    let expected = format!("C[INSERT 0 0] ZI {}", told("primary: writes"));
    client.talk(&format!("{WRITE} / Q {SHOW}"), &expected);
    for (ask, route) in [
        (WRITE, "primary: writes"),
        ("Q SELECT here()", &read),
        ("Q SHOW work_mem", "primary: session"),
        ("P - SELECT here() / B - / E / S", &read),
    ] {
        client.say(ask);
        client.hears_up_to("ZI");
        // What asks is not told of, however often it does.
        for _ in 0..2 {
            let extended = format!("P - {SHOW} / B - / p / E / S");
            client.talk(&extended, &format!("1 2 {}", told(route)));
        }
        let current = format!("1 2 D[{route}] C[SELECT 1] ZI");
        client.talk(&format!("P - {CURRENT} / B - / E / S"), &current);
        let all = format!("T D[1] C[SELECT 1] T D[{route}] C[SHOW] T D[{route}] C[SELECT 1] ZI");
        client.talk(&format!("Q SELECT 1; {SHOW}; {CURRENT}"), &all);
        client.talk(&format!("Q {SHOW}"), &told(route));
    }
    client.talk(&format!("P named {SHOW} / D named / S"), "1 t T ZI");
    client.talk(&format!("P other {SHOW} / D other / H"), "1 t T");
    client.talk("B other / E / S", &format!("2 D[{read}] C[SHOW] ZI"));
    for (ask, route) in [(WRITE, "primary: writes"), ("Q SELECT here()", &read)] {
        for name in ["named", "other"] {
            client.say(ask);
            client.hears_up_to("ZI");
            client.talk(&format!("B {name} / p / E / S"), &format!("2 {}", told(route)));
            client.talk(&format!("D {name} / S"), "t T ZI");
        }
    }
    client.talk("Q SELECT here()", &format!("T D[{here}] C[SELECT 1] ZI"));
}

#[test]
fn last_route_is_told_within_transactions_and_of_a_kept_server() {
    let scene = scene("transaction_routing = \"optimistic\"");
    let begun = at_replica(&scene, "optimistic");
    let mut client = client(&scene.pooler);
    let asks = |client: &mut Client, route: &str, status: char| {
        let told = format!("D[{route}] C[SHOW] Z{status}");
        client.talk(&format!("Q {SHOW}"), &format!("T {told}"));
        client.talk(&format!("P - {SHOW} / B - / E / S"), &format!("1 2 {told}"));
    };
    client.talk("Q BEGIN", "C[BEGIN] ZT");
    asks(&mut client, &begun, 'T');
    client.talk(WRITE, "C[INSERT 0 1] ZT");
    asks(&mut client, "primary: goes_on", 'T');
    client.talk("Q SELECT 1/0", "E[22012] ZE");
    client.talk(&format!("Q {SHOW}"), "E[25P02] ZE");
    client.talk(&format!("P - {SHOW} / B - / E / S"), "E[25P02] ZE");
    client.talk("Q ROLLBACK", "C[ROLLBACK] ZI");
    asks(&mut client, "primary: goes_on", 'I');
    // A request is not ended by what is asked in the midst of it.
    let insert = "P - INSERT INTO t VALUES (2, 1) / B - / E";
    client.talk(
        &format!("{insert} / P - {SHOW} / B - / E / P - SELECT 1/0 / B - / E / S"),
        "1 2 C[INSERT 0 1] 1 2 D[primary: goes_on] C[SHOW] 1 E[22012] ZI",
    );
    assert_eq!(client.value("/* pgweir: primary */ SELECT count(*) FROM t WHERE id = 2"), "0");
    client.talk("Q CREATE TEMP TABLE kept (a int)", "C[CREATE TABLE] ZI");
    asks(&mut client, "primary: writes", 'I');
}

/// Nor is what a server was told in the way of settings.
#[test]
fn last_route_of_one_client_is_not_seen_by_the_next() {
    let scene = scene("");
    let on_primary = [("options", "-c pgweir.role=primary")];
    let startup = [("user", APP_USER), ("database", APP_DATABASE), on_primary[0]];
    let login = || Client::login_with(scene.pooler.port(), &startup, PASSWORD);
    let (mut first, mut next) = (login(), login());
    let hidden = "Q SELECT pg_backend_pid(), current_setting(lower('PGWEIR.LAST_ROUTE'), true)";
    let seen = |client: &mut Client, hidden: &str| {
        client.say(hidden);
        let heard = client.hears_up_to("ZI");
        let row = heard.split(['[', ']']).nth(1).unwrap().split_once('|').unwrap();
        (row.0.to_owned(), row.1.to_owned())
    };
    let (server, before) = seen(&mut next, hidden);
    assert_eq!(before, "NULL");
    for (ask, told) in [
        (format!("P - {SHOW} / B - / E / S"), "1 2 D[primary: hint_primary] C[SHOW] ZI"),
        (format!("Q SELECT 1; {SHOW}"), "T D[1] C[SELECT 1] T D[primary: hint_primary] C[SHOW] ZI"),
    ] {
        first.talk("Q DELETE FROM t WHERE false", "C[DELETE 0] ZI");
        first.talk(&ask, told);
        assert_eq!(seen(&mut next, hidden), (server.clone(), String::new()));
    }
}

#[test]
fn last_route_is_told_where_there_are_no_replicas() {
    let cluster = cluster();
    for mode in ["transaction", "session"] {
        let pooler = Pooler::start(&format!(
            "listen_port = 0\npool_mode = \"{mode}\"\n[databases.{APP_DATABASE}]\n\
             host = \"127.0.0.1\"\nport = {}\n[users.{APP_USER}]\npassword = \"{PASSWORD}\"\n",
            cluster.primary().port()
        ));
        let mut client = client(&pooler);
        let route = "primary: nothing is read from replicas here";
        client.talk(&format!("Q {SHOW}"), &format!("T D[{route}] C[SHOW] ZI"));
        let extended = format!("P - {SHOW} / B - / E / S");
        client.talk(&extended, &format!("1 2 D[{route}] C[SHOW] ZI"));
        client
            .talk(&format!("Q BEGIN / Q {SHOW}"), &format!("C[BEGIN] ZT T D[{route}] C[SHOW] ZT"));
    }
}

/// What is told ahead of a Query ends nothing that is not over.
#[test]
fn asking_for_the_last_route_commits_nothing() {
    let scene = scene("");
    let mut client = client(&scene.pooler);
    client.talk("P i INSERT INTO t VALUES (7, 7) / S", "1 ZI");
    client.say(&format!("B i / E / Q {SHOW}; SELECT 1/0"));
    assert!(client.hears_up_to("ZI").contains("E[22012]"));
    assert_eq!(client.value("/* pgweir: primary */ SELECT count(*) FROM t"), "0");
}
