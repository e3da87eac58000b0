//! Who waits for a server learns, and so does the operator, what there would have to be for it, and who has
//! that.

use crate::figures::{fetch, line, table};
use crate::setup::{file, shared};
use crate::support::{APP_DATABASE, LIMIT, PASSWORD, Pooler, SUPERUSER, eventually};
use crate::wire::{Client, USER};

fn start(settings: &str) -> Pooler {
    let more = format!(
        "[users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n[alerts]\nclients_waiting_for = 0\nresolve_after = 0\n"
    );
    let settings = format!("admin_users = \"app\"; default_pool_size = 3; {settings}");
    let text = file(shared().port(), &settings, &more);
    Pooler::start(&text.replace("http_listen = \"\"", "http_listen = \"127.0.0.1:0\""))
}

fn other(pooler: &Pooler) -> Client {
    let named = [("user", SUPERUSER), USER[1], ("application_name", "guilty")];
    Client::login_as(pooler.port(), &named)
}

fn console(pooler: &Pooler, command: &str) {
    let mut console = Client::login_as(pooler.port(), &[USER[0], ("database", "pgweir")]);
    console.say(&format!("Q {command}"));
    assert!(console.hears_up_to("ZI").starts_with("C["), "{command}");
}

/// What SHOW WAITING says of the one who waits.
fn waits(pooler: &Pooler) -> [String; 3] {
    let rows = table(pooler, "SHOW WAITING");
    assert_eq!(rows.len(), 1, "{rows:?}");
    ["waits_for", "holder_application_name", "sv_active"].map(|name| rows[0][name].clone())
}

#[test]
fn limit_over_several_pools_is_named_with_who_holds_what_it_bounds() {
    for (settings, word) in [
        ("max_db_connections = 1", "max_db_connections"),
        ("max_server_connections = 1", "max_server_connections"),
    ] {
        let pooler = start(&format!("{settings}; query_wait_timeout = 60"));
        let mut waiter = Client::login(pooler.port());
        let mut guilty = other(&pooler);
        guilty.talk("Q begin", "C[BEGIN] ZT");
        waiter.say("Q select 1");
        eventually("it is known what it waits for", LIMIT, || {
            !table(&pooler, "SHOW WAITING").is_empty() && waits(&pooler)[0] == word
        });
        assert_eq!(waits(&pooler), [word, "guilty", "0"]);
        let holders = table(&pooler, "SHOW HOLDERS");
        assert_eq!(line(&holders, "application_name", "guilty")["cl_waiting"], "1");
        eventually("the alert says so", LIMIT, || {
            let alerts = table(&pooler, "SHOW ALERTS");
            let mut own = alerts.iter().filter(|row| row["alert"] == "clients_waiting");
            own.any(|row| row["detail"].contains(word) && row["detail"].contains("guilty"))
        });
        guilty.talk("Q rollback", "C[ROLLBACK] ZI");
        waiter.hears("T D[1] C[SELECT 1] ZI");
    }
}

/// The detail and the hint of the error of one who asks in vain.
fn told(client: &mut Client) -> String {
    client.say("Q select 1");
    let message = loop {
        let message = client.hear();
        if message.tag == b'E' {
            break message;
        }
    };
    client.hears("ZI");
    String::from_utf8_lossy(&message.body).replace('\0', "\n")
}

#[test]
fn error_of_one_who_waited_in_vain_names_the_limit_and_its_holder() {
    let pooler = start("max_db_connections = 1; query_wait_timeout = 1");
    let mut guilty = other(&pooler);
    let mut waiter = Client::login(pooler.port());
    guilty.talk("Q begin", "C[BEGIN] ZT");
    let error = told(&mut waiter);
    for words in ["max_db_connections", "\"guilty\"", "\nHRaise max_db_connections "] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(!error.contains("default_pool_size"), "{error}");
    guilty.talk("Q rollback", "C[ROLLBACK] ZI");
    console(&pooler, &format!("PAUSE {APP_DATABASE}"));
    let error = told(&mut waiter);
    assert!(error.contains("paused") && error.contains("\nHRESUME"), "{error}");
    assert!(!error.contains("default_pool_size") && !error.contains("Held"), "{error}");
}

#[test]
fn pause_is_named_as_what_clients_wait_for() {
    let pooler = start("query_wait_timeout = 60");
    let mut waiter = Client::login(pooler.port());
    console(&pooler, &format!("PAUSE {APP_DATABASE}"));
    waiter.say("Q select 1");
    eventually("it waits", LIMIT, || !table(&pooler, "SHOW WAITING").is_empty());
    assert_eq!(waits(&pooler), ["paused", "NULL", "0"]);
    let page = fetch(&pooler, "/");
    assert!(page.contains(&format!("Database {APP_DATABASE} is paused.")), "{page}");
    console(&pooler, &format!("RESUME {APP_DATABASE}"));
    waiter.hears("T D[1] C[SELECT 1] ZI");
    let mut holder = Client::login(pooler.port());
    console(&pooler, "SET default_pool_size = 1");
    holder.talk("Q begin", "C[BEGIN] ZT");
    waiter.say("Q select 2");
    eventually("it waits", LIMIT, || !table(&pooler, "SHOW WAITING").is_empty());
    assert_eq!(waits(&pooler), ["pool_size", "", "1"]);
    holder.talk("Q rollback", "C[ROLLBACK] ZI");
    waiter.hears("T D[2] C[SELECT 1] ZI");
}
