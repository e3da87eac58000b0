//! The lists of keys, the reference file and the documentation say the same.

use std::path::{Path, PathBuf};

use super::super::alerts::Alerts;
use super::super::database::Database;
use super::super::keys::{ALERTS, DATABASE, GENERAL, USER};
use super::super::model::General;
use super::super::reference;
use super::super::setting::Key;
use super::super::user::User;
use super::{load, problems};

fn top_level(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// With `UPDATE_REFERENCE` set, writes the file instead.
fn check_current(name: &str, wanted: &str) {
    let path = top_level(name);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(found == wanted, "{name} is behind src/config/keys.rs: UPDATE_REFERENCE=1 cargo test");
}

#[test]
fn reference_file_is_current() {
    check_current("pooler.toml", &reference::toml());
}

#[test]
fn documentation_is_current() {
    check_current("docs/config.md", &reference::markdown());
}

#[test]
fn reference_file_loads_with_the_defaults() {
    let config = load(&reference::toml());
    assert_eq!(config.general, General::default());
    assert_eq!(config.alerts, Alerts::default());
    assert_eq!(config.databases.len(), 1);
    assert_eq!(config.users.len(), 1);
}

/// The text of the file when each general key and each of alerts is uncommented; the example tables
/// one by one, for their keys exclude each other.
#[test]
fn reference_file_loads_with_every_general_key_uncommented() {
    let mut text = String::new();
    let mut in_tables = false;
    for line in reference::toml().lines() {
        in_tables |= line.starts_with('[') && line != "[alerts]";
        let key =
            line.strip_prefix('#').filter(|rest| rest.contains(" = ") && !rest.starts_with(' '));
        text.push_str(if in_tables { line } else { key.unwrap_or(line) });
        text.push('\n');
    }
    let config = load(&text);
    assert_eq!(config.general, General::default());
    assert_eq!(config.alerts, Alerts::default());
}

#[test]
fn each_key_stands_in_the_reference_file_once() {
    let text = reference::toml();
    let (general, tables) = text.split_once("[databases.postgres]").unwrap();
    let (databases, users) = tables.split_once("[users.postgres]").unwrap();
    let general_keys = GENERAL.iter().flat_map(|group| group.keys).map(|key| key.name);
    let (general, alerts) = general.split_once("[alerts]").unwrap();
    let lists: [(&str, Vec<&str>); 4] = [
        (general, general_keys.collect()),
        (alerts, ALERTS.iter().map(|key| key.name).collect()),
        (databases, DATABASE.iter().map(|key| key.name).collect()),
        (users, USER.iter().map(|key| key.name).collect()),
    ];
    for (part, keys) in lists {
        for key in keys {
            let is_key =
                |line: &&str| line.trim_start_matches('#').starts_with(&format!("{key} = "));
            assert_eq!(part.lines().filter(is_key).count(), 1, "{key}");
        }
    }
}

#[test]
fn unknown_key_in_the_reference_file_is_rejected() {
    for header in ["", "[alerts]\n", "[databases.postgres]\n", "[users.postgres]\n"] {
        let text = reference::toml();
        let at = if header.is_empty() { 0 } else { text.find(header).unwrap() + header.len() };
        let (before, after) = text.split_at(at);
        let problems = problems(&format!("{before}no_such_key_at_all = 1\n{after}"));
        let all: Vec<_> = problems.iter().collect();
        assert_eq!(all.len(), 1, "{problems}");
        assert_eq!(all[0].what, "unknown key");
        assert_eq!(all[0].line, Some(before.lines().count() + 1));
    }
}

/// A kind that does not fit its field would not be stored: each key stores its example and gives it
/// back.
#[test]
fn example_of_each_table_key_is_stored_and_read_back() {
    fn check<T>(keys: &[Key<T>], new: impl Fn() -> T) {
        for key in keys.iter().filter(|key| key.name != "url") {
            let document = format!("key = {}", key.example);
            let table = toml::de::DeTable::parse(&document).unwrap();
            let value = key.kind.read(table.get_ref().get("key").unwrap().get_ref());
            let value = value.unwrap_or_else(|wrong| panic!("{}: {wrong:?}", key.name));
            let mut target = new();
            (key.set)(&mut target, value.clone());
            assert_eq!((key.get)(&target), value, "{}", key.name);
            assert!(!key.doc.is_empty() && !key.otherwise.is_empty(), "{}", key.name);
        }
    }
    let general = General::default();
    check(DATABASE, || Database::new("shop", "db", &general));
    check(USER, || User::new("app", None, &general));
}

/// The same for keys with a default, with a value that is another.
#[test]
fn other_value_of_each_general_key_is_stored_and_read_back() {
    fn check<T: Default>(key: &Key<T>) {
        let others = [
            "true",
            "false",
            "9000",
            "99999",
            "7",
            "2",
            "\"session\"",
            "\"reject\"",
            "\"md5\"",
            "\"127.0.0.9:99\"",
            "\"/run\"",
            "\"0700\"",
            "\"require\"",
            "\"direct\"",
            "\"tlsv1.3\"",
            "\"TLS_AES_128_GCM_SHA256\"",
            "\"ECDHE-RSA-AES128-GCM-SHA256\"",
            "\"5/s\"",
            "\"20ms\"",
            "\"off\"",
            "\"random\"",
            "\"optimistic\"",
            "\"json\"",
        ];
        let stored = others.iter().any(|other| {
            let document = format!("key = {other}");
            let table = toml::de::DeTable::parse(&document).unwrap();
            let value = table.get_ref().get("key").unwrap().get_ref();
            let Ok(value) = key.kind.read(value) else { return false };
            let mut target = T::default();
            let before = (key.get)(&target);
            (key.set)(&mut target, value.clone());
            let after = (key.get)(&target);
            after == value && after != before
        });
        assert!(stored, "{} takes no value", key.name);
    }
    GENERAL.iter().flat_map(|group| group.keys).for_each(check::<General>);
    ALERTS.iter().for_each(check::<Alerts>);
}

#[test]
fn settings_are_listed_as_the_console_shows_them() {
    let text = "max_user_connections = 7\nserver_idle_timeout = 0\nquery_timeout = \"1500ms\"\n\
                admin_users = [\"a\", \"b\"]\ntcp_user_timeout = 250\n\
                tcp_keepalive = false\n[databases.shop]\nhost = \"db\"\n";
    let config = load(text);
    let value = |name: &str| {
        let setting = config.general.settings().find(|setting| setting.key == name).unwrap();
        (setting.value, setting.default)
    };
    let pair = |value: &str, default: &str| (value.to_owned(), default.to_owned());
    assert_eq!(value("max_user_connections"), pair("7", "0"));
    assert_eq!(value("max_client_conn"), pair("1000", "1000"));
    assert_eq!(value("server_idle_timeout"), pair("0", "600"));
    assert_eq!(value("query_timeout"), pair("1.5", "0"));
    assert_eq!(value("tcp_user_timeout"), pair("250", "0"));
    assert_eq!(value("tcp_keepalive"), pair("0", "1"));
    assert_eq!(value("admin_users"), pair("a,b", ""));
    assert_eq!(value("pool_mode"), pair("transaction", "transaction"));
}
