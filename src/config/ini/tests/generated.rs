//! Made-up inis: each is what was meant by it, and what is converted is what runs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::super::theirs::{self, Way};
use super::{Converted, FILES, convert, load, no_file};
use crate::config::database::Database;
use crate::config::keys::{DATABASE, GENERAL, USER};
use crate::config::setting::{Key, Kind};
use crate::config::user::User;
use crate::config::value::Value;
use crate::config::{Config, Environment};

/// A key, its value in an ini, and what the console shows of it, where that is known.
type Setting = (&'static str, String, Option<String>);

/// An ini as it is meant.
#[derive(Clone, Debug)]
struct Meant {
    general: Vec<Setting>,
    databases: BTreeMap<String, Vec<Setting>>,
    users: BTreeMap<String, Vec<Setting>>,
    /// Sections' order, and whether names stand in quotes.
    noise: Vec<u8>,
}

/// A value of this kind.
fn value(kind: Kind) -> BoxedStrategy<(String, Option<String>)> {
    let same = |text: String| (text.clone(), Some(text));
    let number = |number: u64| {
        select(vec![format!("{number}"), format!("{number:#x}"), format!("+{number}")])
            .prop_map(move |text| (text, Some(number.to_string())))
    };
    let words = |words: &[&'static str]| {
        let words: Vec<_> = words.to_vec();
        select(words).prop_map(|word: &str| (word.to_uppercase(), Some(word.to_owned()))).boxed()
    };
    match kind {
        Kind::Flag => select(vec!["0", "1"]).prop_map(move |text| same(text.to_owned())).boxed(),
        Kind::Count(min, max) => (min..=max.min(min + 5000)).prop_flat_map(number).boxed(),
        Kind::Limit(_, max) => (0..=max.min(5000)).prop_flat_map(number).boxed(),
        Kind::Time(..) | Kind::TimeLimit(..) => (10..3000_u32, any::<bool>())
            .prop_map(move |(number, fraction)| {
                let text = if fraction { format!("{number}.5") } else { number.to_string() };
                same(text)
            })
            .boxed(),
        Kind::Mode => words(&["session", "transaction", "statement"]),
        Kind::Auth => words(&["md5", "scram-sha-256", "trust", "plain"]),
        Kind::SslMode => words(&["disable", "allow", "prefer", "require"]),
        Kind::Balance => words(&["round-robin", "disable"]),
        Kind::Names | Kind::ListenAddrs => "[a-z]{1,5}(,[a-z]{1,5}){0,2}".prop_map(same).boxed(),
        Kind::Host => "[a-z]{1,5}(,[a-z]{1,5}){0,2}".prop_map(same).boxed(),
        Kind::FileMode => {
            select(vec!["0700", "0777"]).prop_map(move |text: &str| same(text.to_owned())).boxed()
        }
        Kind::SocketDir => "/[a-z]{1,9}".prop_map(same).boxed(),
        Kind::Secret => "[!-~ä]([ -~ä]{0,9}[!-~ä])?".prop_map(|text| (text, None)).boxed(),
        _ => "[!-~ä]([ -~ä]{0,9}[!-~ä])?".prop_map(same).boxed(),
    }
}

/// Some of these keys with values.
fn some<T>(keys: Vec<(&'static str, &'static Key<T>)>) -> BoxedStrategy<Vec<Setting>> {
    let all: Vec<_> = keys
        .into_iter()
        .map(|(name, key)| value(key.kind).prop_map(move |(text, shown)| (name, text, shown)))
        .collect();
    let count = all.len();
    subsequence((0..count).collect::<Vec<_>>(), 0..=count)
        .prop_flat_map(move |chosen| {
            chosen.into_iter().map(|index| all[index].clone()).collect::<Vec<_>>()
        })
        .boxed()
}

/// Keys that name files or other keys, or go with others.
const APART: [&str; 17] = [
    "auth_file",
    "auth_hba_file",
    "auth_ident_file",
    "auth_user",
    "auth_query",
    "auth_dbname",
    "client_tls_sslmode",
    "client_tls_protocols",
    "client_tls_ciphers",
    "client_tls13_ciphers",
    "server_tls_protocols",
    "server_tls_ciphers",
    "server_tls13_ciphers",
    "server_tls_key_file",
    "server_tls_cert_file",
    "client_tls_ca_file",
    "conffile",
];

fn general() -> BoxedStrategy<Vec<Setting>> {
    let ours =
        |name: &str| GENERAL.iter().flat_map(|group| group.keys).find(|key| key.name == name);
    let keys = theirs::GENERAL.iter().filter(|key| !APART.contains(&key.name));
    let keys = keys.filter_map(|key| Some((key, ours(key.name)?)));
    let (special, same): (Vec<_>, Vec<_>) =
        keys.partition(|(key, _)| matches!(key.way, Way::Special(_)));
    let named = |keys: Vec<(&'static theirs::Theirs, &'static _)>| {
        keys.into_iter().map(|(key, ours)| (key.name, ours)).collect()
    };
    // What becomes of these depends on more than their values.
    let special = some(named(special)).prop_map(|settings| {
        settings.into_iter().map(|(name, text, _)| (name, text, None)).collect::<Vec<_>>()
    });
    let absent = select(vec![
        ("pkt_buf", "99".to_owned(), None),
        ("server_lifetime", "0".to_owned(), None),
        ("client_login_timeout", "0".to_owned(), None),
        ("server_check_query", String::new(), None),
        ("client_tls_protocols", "tlsv1.1,tlsv1.3".to_owned(), None),
        ("server_tls_ciphers", "HIGH:!aNULL".to_owned(), None),
        ("min_pool_size", "6000".to_owned(), None),
    ]);
    let absent = proptest::collection::vec(absent, 0..3);
    (some(named(same)), special, absent)
        .prop_map(|(same, special, absent)| [same, special, absent].concat())
        .boxed()
}

fn meant() -> impl Strategy<Value = Meant> {
    let name = || {
        let name = "[a-zA-Z0-9_.-]{1,8}|[ -~ä]{1,8}".prop_map(|name| name.trim().to_owned());
        name.prop_filter("a name", |name| {
            !name.is_empty() && !["pgbouncer", "pgweir", "*"].contains(&name.as_str())
        })
    };
    let pairs: Vec<_> = theirs::DATABASE
        .iter()
        .filter(|(theirs, _)| !theirs.starts_with("auth_") && *theirs != "reserve_pool_size")
        .filter_map(|(theirs, ours)| Some((*theirs, DATABASE.iter().find(|k| k.name == *ours)?)))
        .collect();
    let of_user: Vec<_> = theirs::USER
        .iter()
        .filter_map(|(theirs, ours)| Some((*theirs, USER.iter().find(|key| key.name == *ours)?)))
        .collect();
    let databases = proptest::collection::btree_map(name(), some(pairs), 1..4);
    let users = proptest::collection::btree_map(name(), some(of_user), 0..3);
    let noise = proptest::collection::vec(any::<u8>(), 16);
    (general(), databases, users, noise).prop_map(|(general, databases, users, noise)| Meant {
        general,
        databases,
        users,
        noise,
    })
}

impl Meant {
    /// Written down, with what makes no difference as it comes.
    fn ini(&self) -> String {
        let mut turns = self.noise.iter().copied().cycle();
        let mut turn = move |of: u8| turns.next().is_some_and(|noise| noise % of == 0);
        let mut general = String::from("[pgbouncer]\n");
        for (name, text, _) in &self.general {
            if turn(5) {
                general += "; a comment\n\n # another\n";
            }
            let equals = if turn(3) { "=" } else { "\t = " };
            general += &format!("{}{name}{equals}{text}\n", if turn(4) { "  " } else { "" });
        }
        let mut lines = |tables: &BTreeMap<String, Vec<Setting>>| {
            let mut text = String::new();
            for (name, pairs) in tables {
                let bare = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
                let name = match name.chars().all(bare) && !turn(3) {
                    true => name.clone(),
                    false => format!("\"{}\"", name.replace('"', "\"\"")),
                };
                text += &format!("{name} =");
                for (key, value, _) in pairs {
                    let plain = !value.contains([' ', '\'', '\t']) && !turn(3);
                    let value = if plain {
                        value.clone()
                    } else {
                        format!("'{}'", value.replace('\'', "''"))
                    };
                    text += &format!(" {key}{}{value}", if turn(4) { " = " } else { "=" });
                }
                text += if turn(4) { "  \r\n" } else { "\n" };
            }
            text
        };
        let databases = format!("[databases]\n{}", lines(&self.databases));
        let users = format!("[users]\n{}", lines(&self.users));
        match self.noise.first() {
            Some(noise) if noise % 2 == 0 => [general, databases, users].concat(),
            _ => [users, databases, general].concat(),
        }
    }
}

/// That the settings of a table are those that were meant; `skip` are those that are changed.
fn compare<T>(
    keys: &[Key<T>],
    table: &T,
    meant: &[Setting],
    names: &[(&str, &str)],
    skip: &[&str],
) -> Result<(), TestCaseError> {
    for (name, text, shown) in meant.iter().filter(|(name, ..)| !skip.contains(name)) {
        let ours = names.iter().find(|(theirs, _)| theirs == name).map_or(*name, |(_, ours)| ours);
        let key = keys.iter().find(|key| key.name == ours).unwrap();
        match ((key.get)(table), shown) {
            (Value::Secret(secret), _) => prop_assert_eq!(secret.expose(), text),
            (value, Some(shown)) => prop_assert_eq!(&value.plain(), shown, "{}", name),
            (_, None) => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_converted_is_what_runs_and_was_meant(meant in meant()) {
        let text = meant.ini();
        let ran = load("pgbouncer.ini", &text, &no_file, &Environment::default());
        let ran = ran.map_err(|problems| TestCaseError::fail(format!("{text}\n{problems}")))?.config;

        let settings: BTreeMap<_, _> =
            ran.general.settings().map(|setting| (setting.key, setting.value)).collect();
        for (name, _, shown) in &meant.general {
            // The last line counts.
            let again = meant.general.iter().rev().find(|(other, ..)| other == name);
            if let (Some(shown), Some((.., Some(_)))) = (shown, again) {
                let zero = *name == "default_pool_size" && shown == "0";
                let shown = if zero { &settings["max_client_conn"] } else { shown };
                prop_assert_eq!(&settings[name], shown, "{}\n{}", name, text);
            }
        }
        prop_assert_eq!(ran.databases.len(), meant.databases.len());
        for (name, pairs) in &meant.databases {
            let database: &Database = &ran.databases[name];
            // 0 is as many as there may be clients; the minimum is lowered to the size.
            compare(DATABASE, database, pairs, theirs::DATABASE, &["pool_size", "min_pool_size"])?;
        }
        for (name, pairs) in &meant.users {
            let user: &User = &ran.users[name];
            compare(USER, user, pairs, theirs::USER, &["pool_size"])?;
        }

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwords").display().to_string();
        let files = super::Files { password_file: &path, ..FILES };
        let converted = convert("pgbouncer.ini", &text, &no_file, files);
        let Converted { toml, passwords, .. } = converted.unwrap();
        if let Some(passwords) = passwords {
            std::fs::write(&path, passwords.expose()).unwrap();
        }
        let mut loaded = Config::from_toml_str("pooler.toml", &toml)
            .map_err(|problems| TestCaseError::fail(format!("{text}\n{toml}\n{problems}")))?;
        loaded.general.password_file = None;
        prop_assert_eq!(loaded, ran, "{}\n{}", text, toml);
    }

    #[test]
    fn lines_in_any_order_and_half_ones_are_read_without_a_fall(
        meant in meant(),
        cuts in proptest::collection::vec(any::<Index>(), 6),
    ) {
        let mut text = meant.ini();
        for cut in cuts {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let at = places[cut.index(places.len())];
            text.insert_str(at, ["\n", "'", "\"", "=", "[", "%include x\n"][at % 6]);
        }
        let ran = load("pgbouncer.ini", &text, &no_file, &Environment::default());
        let converted = convert("pgbouncer.ini", &text, &no_file, FILES);
        prop_assert_eq!(ran.is_ok(), converted.is_ok());
    }
}
