//! Settings that a database gives to clients that bring none of their own.

use crate::setup::{file, shared};
use crate::support::{APP_DATABASE, PASSWORD, Pooler, SUPERUSER};
use crate::wire::{Client, USER};

const NAMES: [&str; 4] = ["client_encoding", "datestyle", "timezone", "application_name"];

fn configuration(timezone: &str) -> String {
    let port = shared().port();
    let other = format!(
        "[databases.other]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"{APP_DATABASE}\"\n\
         client_encoding = \"LATIN1\"\ndatestyle = \"German\"\ntimezone = \"{timezone}\"\n\
         application_name = \"it's \\\\ one\"\n[users.{SUPERUSER}]\npassword = \"{PASSWORD}\"\n"
    );
    file(port, "debug_force_hop = true; default_pool_size = 2; admin_users = \"app\"", &other)
}

fn user<'a>(given: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[USER[0], ("database", "other")], given].concat()
}

#[track_caller]
fn check(client: &mut Client, wanted: [&str; 4]) {
    // Each from another server.
    for name in [NAMES, NAMES].concat() {
        let index = NAMES.iter().position(|known| *known == name).unwrap();
        assert_eq!(client.value(&format!("show {name}")), wanted[index], "{name}");
    }
}

#[track_caller]
fn run(client: &mut Client, sql: &str) {
    client.say(&format!("Q {sql}"));
    let heard = client.hears_up_to("ZI");
    assert!(!heard.contains("E["), "{sql}: {heard}");
}

#[test]
fn settings_of_a_database_are_those_of_clients_that_bring_none() {
    let pooler = Pooler::start(&configuration("Asia/Tokyo"));
    let login = |given: &[_]| Client::login_as(pooler.port(), &user(given));
    let defaults = ["LATIN1", "German, DMY", "Asia/Tokyo", "it's \\ one"];
    let mut plain = login(&[]);
    for (name, value) in
        ["client_encoding", "DateStyle", "TimeZone", "application_name"].into_iter().zip(defaults)
    {
        assert_eq!(plain.parameters[name], value);
    }
    let mut own = login(&[("TimeZone", "CET"), ("application_name", "mine")]);
    let mut optional = login(&[("options", "-c datestyle=ISO,MDY -c timezone=UTC")]);
    let mut elsewhere = Client::login(pooler.port());
    let of_the_server = NAMES.map(|name| elsewhere.value(&format!("show {name}")));
    for _ in 0..2 {
        check(&mut plain, defaults);
        check(&mut own, ["LATIN1", "German, DMY", "CET", "mine"]);
        check(&mut optional, ["LATIN1", "ISO, MDY", "UTC", "it's \\ one"]);
        check(&mut elsewhere, of_the_server.each_ref().map(String::as_str));
    }
    // They are what a reset goes back to.
    run(&mut plain, "set timezone = 'CET'");
    check(&mut plain, ["LATIN1", "German, DMY", "CET", "it's \\ one"]);
    run(&mut plain, "reset timezone");
    check(&mut plain, defaults);
    run(&mut plain, "set datestyle = 'ISO'; set application_name = 'x'");
    run(&mut plain, "discard all");
    check(&mut plain, defaults);
    run(&mut own, "reset all");
    check(&mut own, ["LATIN1", "German, DMY", "CET", "mine"]);
}

#[test]
fn settings_of_a_database_are_reloaded_and_a_wrong_one_is_told_by_the_server() {
    let pooler = Pooler::start(&configuration("Asia/Tokyo"));
    let port = pooler.port();
    let mut before = Client::login_as(port, &user(&[]));
    let mut console = Client::login_as(port, &[USER[0], ("database", "pgweir")]);
    for (timezone, told) in [("CET", None), ("Nowhere", Some("FATAL[22023]"))] {
        pooler.rewrite(&configuration(timezone));
        run(&mut console, "reload");
        let after = Client::try_login(port, &user(&[]));
        match (after, told) {
            (Ok(mut after), None) => assert_eq!(after.value("show timezone"), timezone),
            (Err(error), Some(told)) => assert_eq!(error.text(), told),
            (after, _) => panic!("{timezone}: {after:?}"),
        }
        assert_eq!(before.value("show timezone"), "Asia/Tokyo", "what it began with");
    }
    Client::login_as(port, &user(&[("timezone", "UTC")]));
}

#[test]
fn replication_has_the_settings_of_its_database() {
    let pooler = Pooler::start(&configuration("Asia/Tokyo"));
    let given = [("user", SUPERUSER), ("database", "other"), ("replication", "database")];
    let with = |more: &[_]| Client::login_as(pooler.port(), &[&given, more].concat()).parameters;
    assert_eq!(with(&[])["TimeZone"], "Asia/Tokyo");
    assert_eq!(with(&[("TimeZone", "CET")])["TimeZone"], "CET");
    let by_options = with(&[("options", "-c timezone=UTC")]);
    assert_eq!((&*by_options["TimeZone"], &*by_options["DateStyle"]), ("UTC", "German, DMY"));
}
