//! What operators have had done can be told later: by the log, and by SHOW EVENTS.

use crate::figures::table;
use crate::setup::{file, shared};
use crate::support::{APP_DATABASE, LIMIT, Pooler, eventually};
use crate::wire::{Client, USER};

#[test]
fn orders_are_in_the_log_in_the_words_of_pgbouncer_with_who_gave_them() {
    let pooler = Pooler::start(&file(shared().port(), "admin_users = \"app\"", ""));
    let mut client = Client::login(pooler.port());
    let mut console = Client::login_as(pooler.port(), &[USER[0], ("database", "pgbouncer")]);
    let ask = |console: &mut Client, command: &str| {
        console.say(&format!("Q {command}"));
        console.hears_up_to("ZI")
    };
    let clients = table(&pooler, "SHOW CLIENTS");
    let (id, addr) = (clients[0]["id"].clone(), clients[0]["addr"].clone());
    for (command, words) in [
        ("PAUSE shop", "PAUSE 'shop' command issued"),
        ("RESUME shop", "RESUME 'shop' command issued"),
        ("PAUSE", "PAUSE command issued"),
        ("RESUME", "RESUME command issued"),
        ("SUSPEND", "SUSPEND command issued"),
        ("RESUME;", "RESUME command issued"),
        ("DISABLE shop", "DISABLE 'shop' command issued"),
        ("ENABLE shop", "ENABLE 'shop' command issued"),
        ("RECONNECT", "RECONNECT command issued"),
        ("RELOAD", "RELOAD command issued"),
        ("SET max_events = 50", "SET max_events = \"50\" command issued"),
        ("SILENCE holder 90", "SILENCE 'holder' 90s command issued"),
        ("DRAIN", "DRAIN command issued"),
    ] {
        let answer = ask(&mut console, command);
        assert!(answer.starts_with("C["), "{command}: {answer}");
        let is_told = |line: &str| {
            let (_, line) = line.split_once(" pgbouncer/app@127.0.0.1:")?;
            Some(line.split_once(' ')?.1 == words)
        };
        eventually(words, LIMIT, || pooler.log().lines().any(|line| is_told(line) == Some(true)));
    }
    assert!(ask(&mut console, "KILL nowhere").starts_with("E[3D000]"));
    let failed = " KILL failed: no such database: nowhere";
    eventually(failed, LIMIT, || pooler.log().contains(failed));
    ask(&mut console, &format!("KILL_CLIENT {id}"));
    client.hears("FATAL[57P01] end");
    let whom = format!("client {id} (app@{APP_DATABASE} from {addr}:");
    let told = format!("KILL_CLIENT: {whom}");
    eventually(&told, LIMIT, || pooler.log().contains(&told));
    let events = table(&pooler, "SHOW EVENTS");
    let killed = events.iter().find(|row| row["about"] == id).unwrap();
    assert!(killed["event"].starts_with(&format!("KILL_CLIENT of {whom}")), "{killed:?}");
    assert!(killed["event"].contains(", by app@127.0.0.1:"), "{killed:?}");
}

/// Any name is a database where there is `*`, but for the console's own.
#[test]
fn console_is_not_steered_and_what_is_steered_ahead_is_shown() {
    let any = format!("[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {}\n", shared().port());
    let pooler = Pooler::start(&file(shared().port(), "admin_users = \"app\"", &any));
    let mut console = Client::login_as(pooler.port(), &[USER[0], ("database", "pgweir")]);
    let mut ask = |command: &str| {
        console.say(&format!("Q {command}"));
        let mut told = String::new();
        loop {
            let message = console.hear();
            match message.tag {
                b'Z' => return told,
                b'E' => told = message.field(b'M').unwrap(),
                _ => {}
            }
        }
    };
    for name in ["pgbouncer", "pgweir"] {
        for (order, verb) in [
            ("PAUSE", "pause"),
            ("RESUME", "resume"),
            ("KILL", "kill"),
            ("RECONNECT", "reconnect"),
            ("WAIT_CLOSE", "wait in"),
            ("DISABLE", "disable"),
            ("ENABLE", "enable"),
        ] {
            let told = ask(&format!("{order} {name}"));
            assert_eq!(told, format!("cannot {verb} admin db: {name}"), "{order}");
        }
    }
    assert_eq!([ask("PAUSE later"), ask("DISABLE closed")], ["", ""]);
    let marks = || -> Vec<String> {
        let rows = table(&pooler, "SHOW DATABASES");
        let marks = rows
            .iter()
            .map(|row| format!("{}: {}, {}", row["name"], row["paused"], row["disabled"]));
        marks.filter(|line| !line.ends_with(": 0, 0")).collect()
    };
    assert_eq!(marks(), ["closed: 0, 1", "later: 1, 0"]);
    assert_eq!([ask("RESUME later"), ask("ENABLE closed")], ["", ""]);
    assert_eq!(marks(), [""; 0]);
}

#[test]
fn end_that_waits_for_clients_is_not_hurried_by_asking_again() {
    let settings = "admin_users = \"app\"; drain_delay = 0; drain_timeout = 60";
    let pooler = Pooler::start(&file(shared().port(), settings, ""));
    let mut client = Client::login(pooler.port());
    client.talk("Q begin", "C[BEGIN] ZT");
    let mut console = Client::login_as(pooler.port(), &[USER[0], ("database", "pgweir")]);
    for command in
        ["SHUTDOWN WAIT_FOR_CLIENTS", "SHUTDOWN WAIT_FOR_CLIENTS", "SHUTDOWN WAIT_FOR_SERVERS"]
    {
        console.say(&format!("Q {command}"));
    }
    console.hears("C[SHUTDOWN] ZI E[57P01] ZI E[57P01] ZI");
    client.talk("Q select 1", "T D[1] C[SELECT 1] ZT");
    client.say("Q commit");
    client.hears("C[COMMIT] ZI FATAL[57P01] end");
    assert!(pooler.ended().success());
}

#[test]
fn key_that_was_set_has_its_own_value_again_after_reset() {
    let pooler =
        Pooler::start(&file(shared().port(), "admin_users = \"app\"; max_events = 70", ""));
    let mut console = Client::login_as(pooler.port(), &[USER[0], ("database", "pgweir")]);
    let value = || {
        let rows = table(&pooler, "SHOW CONFIG");
        rows.iter().find(|row| row["key"] == "max_events").unwrap()["value"].clone()
    };
    for (command, expected) in [
        ("SET max_events = 50", "50"),
        ("RESET ALL", "50"),
        ("RESET max_events", "70"),
        ("SET SESSION max_events = 51", "51"),
        ("SET max_events TO DEFAULT", "70"),
        ("RESET max_events", "70"),
    ] {
        console.say(&format!("Q {command}"));
        assert!(console.hears_up_to("ZI").starts_with("C["), "{command}");
        assert_eq!(value(), expected, "{command}");
    }
    console.say("Q SET max_events = -1");
    assert_eq!(console.hears_up_to("ZI"), "E[22023] ZI");
    let told = "SET failed, nothing has changed: SET: max_events: must be a whole number, ";
    eventually(told, LIMIT, || pooler.log().contains(told));
    let log = pooler.log();
    assert!(!log.contains("RELOAD failed") && !log.contains("SET failed: SET"), "{log}");
    let events = table(&pooler, "SHOW EVENTS");
    let failed = events.iter().find(|row| row["event"].starts_with("SET failed")).unwrap();
    assert!(failed["event"].starts_with(told), "{failed:?}");
    assert!(events.iter().all(|row| !row["event"].contains("RELOAD failed")), "{events:?}");
}
