//! What an ini says, key by key, in our keys.
//!
//! Of a key that is set twice the last line counts; a database's last line replaces the ones before.
//! What PgBouncer would do without a key is set where we would do something else.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeTable;

use super::super::auto::ANY;
use super::super::keys;
use super::super::model::General;
use super::super::nearest::nearest;
use super::super::problem::Problem;
use super::super::read::RESERVED;
use super::super::secret::Secret;
use super::super::setting::{Key, Kind, quote};
use super::document::{Document, Fate, Item, Remark, Set, Table, Toml, Weight};
use super::pairs::pairs;
use super::scan::{Entry, Place, Scanned, Section};
use super::special::{lowered, server_lifetime};
use super::theirs::{self, Theirs, Way};
use super::written::{seconds, whole, written};

/// What becomes of one setting.
pub(super) struct Outcome {
    pub(super) sets: Vec<Set>,
    pub(super) fate: Fate,
}

impl Outcome {
    /// Our general key of this name has this value.
    pub(super) fn ours(name: &'static str, value: &str) -> Self {
        let kind = general_key(name).map_or(Kind::Text, |key| key.kind);
        let set = Set { key: name, value: Toml::Shown(written(kind, value)) };
        Self { sets: vec![set], fate: Fate::Converted }
    }

    /// Our key has another value, as TOML has it, because.
    pub(super) fn adapted(name: &'static str, value: String, why: String) -> Self {
        Self { sets: vec![Set { key: name, value: Toml::Shown(value) }], fate: Fate::Adapted(why) }
    }

    pub(super) fn not_needed(why: &str) -> Self {
        Self::left_out(Fate::NotNeeded(why.to_owned()))
    }

    pub(super) fn left_out(fate: Fate) -> Self {
        Self { sets: Vec::new(), fate }
    }
}

/// All of `[pgbouncer]`, for keys that depend on others.
pub(super) struct View<'a> {
    /// The ini's name.
    pub(super) file: &'a str,
    last: BTreeMap<&'a str, &'a Entry>,
}

impl View<'_> {
    /// The value of a key, or PgBouncer's default.
    pub(super) fn value(&self, key: &str) -> &str {
        let default = || theirs::find(key).map_or("", |key| key.default);
        self.last.get(key).map_or_else(default, |entry| &entry.value)
    }

    /// The size of a pool that has none of its own.
    pub(super) fn default_pool_size(&self) -> Option<i64> {
        self.pool_size(self.value("default_pool_size"))
    }

    /// A pool's size; 0 is as many as there may be clients.
    fn pool_size(&self, text: &str) -> Option<i64> {
        match whole(text)? {
            0 => whole(self.value("max_client_conn")),
            size => Some(size),
        }
    }
}

/// Writes down an ini; what can't be is among the problems.
pub(super) fn translate(file: &str, scanned: &Scanned) -> (Document, Vec<Problem>) {
    let general = scanned.entries.iter().filter(|entry| entry.section == Section::Pgbouncer);
    let last = general.map(|entry| (entry.key.as_str(), entry)).collect();
    let view = View { file, last };
    let mut translator = Translator { view, document: Document::default(), problems: Vec::new() };
    translator.read(scanned);
    (translator.document, translator.problems)
}

struct Translator<'a> {
    view: View<'a>,
    document: Document,
    problems: Vec<Problem>,
}

impl<'a> Translator<'a> {
    fn read(&mut self, scanned: &'a Scanned) {
        self.defaults();
        let mut last = BTreeMap::new();
        for entry in &scanned.entries {
            last.insert((entry.section as u8, entry.key.as_str()), entry);
        }
        for entry in &scanned.entries {
            let counts = last.get(&(entry.section as u8, entry.key.as_str()));
            if let Some(again) = counts.filter(|again| again.place != entry.place) {
                self.overridden(entry, &again.place);
                continue;
            }
            match entry.section {
                Section::Pgbouncer => self.general(entry),
                Section::Databases => self.database(entry),
                Section::Users => self.user(entry),
                Section::Peers => self.peer(entry),
            }
        }
        self.look_up_databases();
        if let [_, more @ ..] = &*scanned.heads {
            self.document.remarks.extend(more.iter().map(|place| Remark {
                weight: Weight::Note,
                text: format!(
                    "{place}: [pgbouncer] is there once more: PgBouncer may forget what it said \
                     before, here all of it counts"
                ),
            }));
        }
        if !self.document.tables.iter().any(|table| table.parent == "databases") {
            let text = format!(
                "{}: there is no database: clients can reach the console alone (a pooler.toml must have one)",
                self.view.file
            );
            self.document.remarks.push(Remark { weight: Weight::Warning, text });
        }
    }

    /// PgBouncer's defaults, where ours are others.
    fn defaults(&mut self) {
        for key in theirs::GENERAL {
            if self.view.last.contains_key(key.name) {
                continue;
            }
            let outcome = match key.way {
                Way::Ours => Outcome::ours(key.name, key.default),
                Way::Special(special) => special(&self.view, key.name, key.default),
                Way::OursByDefault | Way::NotNeeded(_) | Way::NotSupported(_) => continue,
            };
            if !outcome.sets.is_empty() && !are_defaults(&outcome.sets) {
                self.push_default(key.name, outcome.sets, "PgBouncer's default");
            }
        }
        let pages = Set { key: "http_listen", value: Toml::Shown("\"\"".to_owned()) };
        let why = "/metrics, /livez and /readyz: PgBouncer has none";
        self.push_default("http_listen", vec![pages], why);
    }

    fn push_default(&mut self, key: &str, sets: Vec<Set>, why: &'static str) {
        let (key, said) = (key.to_owned(), String::new());
        self.document.general.push(Item { place: None, key, said, sets, fate: Fate::Theirs(why) });
    }

    fn overridden(&mut self, entry: &Entry, by: &Place) {
        // A connection string may have a password in it.
        let said = match entry.section {
            Section::Pgbouncer => said(&entry.key, &entry.value),
            _ => entry.key.clone(),
        };
        self.document.general.push(Item {
            place: Some(entry.place.clone()),
            key: entry.key.clone(),
            said,
            sets: Vec::new(),
            fate: Fate::NotNeeded(format!("{by} says it again")),
        });
    }

    fn general(&mut self, entry: &Entry) {
        let Entry { key: name, value, place, .. } = entry;
        let Some(key) = theirs::find(name) else {
            let hint = unknown_hint(name);
            return self.problems.push(place.problem(name, "unknown key", hint));
        };
        let Outcome { sets, mut fate } = outcome(&self.view, key, value);
        let is_default = match &fate {
            Fate::Converted if sets.is_empty() => is_same(value, key.default),
            Fate::Converted => are_defaults(&sets),
            // What its default stands for there is what is here, unless it has been looked at.
            Fate::NotSupported(_) => {
                !matches!(key.way, Way::Special(_)) && is_same(value, key.default)
            }
            _ => false,
        };
        if is_default {
            fate = Fate::Default;
        }
        let (key, said) = (name.clone(), said(name, value));
        self.document.general.push(Item { place: Some(place.clone()), key, said, sets, fate });
    }

    fn database(&mut self, entry: &Entry) {
        let Some(read) = self.pairs(entry, theirs::DATABASE, is_database_key) else {
            return;
        };
        let value = |key: &str| {
            let pair = read.iter().rfind(|(_, ours, _)| *ours == key);
            pair.map(|(_, _, value)| value.as_str())
        };
        let (host, socket) = (value("host"), self.view.value("unix_socket_dir"));
        let mut items = Vec::new();
        match host {
            None if socket.starts_with('/') => items.push(Item {
                place: Some(entry.place.clone()),
                key: "host".to_owned(),
                said: "no host".to_owned(),
                sets: vec![Set { key: "host", value: Toml::Shown(quote(socket)) }],
                fate: Fate::Theirs("no host: the unix socket in unix_socket_dir, as in PgBouncer"),
            }),
            None => {
                let hint =
                    "add host=…; PgBouncer takes unix_socket_dir, which is no directory here";
                let key = format!("databases.{}.host", entry.key);
                self.problems.push(entry.place.problem(&key, "missing", Some(hint.to_owned())));
                return;
            }
            Some(host) if host.split(',').any(|host| host.trim().starts_with('@')) => {
                let what = "servers on abstract unix sockets can't be reached";
                let key = format!("databases.{}.host", entry.key);
                self.problems.push(entry.place.problem(&key, what, None));
                return;
            }
            Some(host) if host.contains(',') && value("load_balance_hosts").is_none() => {
                items.push(Item {
                    place: Some(entry.place.clone()),
                    key: "load_balance_hosts".to_owned(),
                    said: "several hosts".to_owned(),
                    sets: vec![Set {
                        key: "load_balance_hosts",
                        value: Toml::Shown(quote("round-robin")),
                    }],
                    fate: Fate::Theirs(
                        "PgBouncer's default; without it the primary is found, and used",
                    ),
                });
            }
            Some(_) => {}
        }
        let size = match value("pool_size") {
            Some(size) => self.view.pool_size(size),
            None => self.view.default_pool_size(),
        };
        items.extend(settings(entry, &read, keys::DATABASE, |ours, value| {
            match (ours, whole(value), size, seconds(value)) {
                ("min_pool_size", Some(min), Some(size), _) => lowered(ours, value, min, size),
                ("server_lifetime", _, _, Some(0.0)) => server_lifetime(&self.view, ours, value),
                _ => Outcome { sets: Vec::new(), fate: Fate::Converted },
            }
        }));
        self.push_table("databases", entry, items);
    }

    fn user(&mut self, entry: &Entry) {
        if let Some(read) = self.pairs(entry, theirs::USER, is_user_key) {
            let nothing =
                |_: &'static str, _: &str| Outcome { sets: Vec::new(), fate: Fate::Converted };
            let items = settings(entry, &read, keys::USER, nothing);
            self.push_table("users", entry, items);
        }
    }

    fn peer(&mut self, entry: &Entry) {
        let keys: Vec<_> = theirs::PEER.iter().map(|key| (*key, *key)).collect();
        if self.pairs(entry, &keys, |_| false).is_none() {
            return;
        }
        let effect = "a cancel request is not passed on to other processes; one process uses all \
                      cores";
        self.document.general.push(Item {
            place: Some(entry.place.clone()),
            key: format!("peers.{}", entry.key),
            said: format!("[peers] {} = {}", entry.key, entry.value),
            sets: Vec::new(),
            fate: Fate::NotSupported(effect.to_owned()),
        });
    }

    /// The pairs of a connection string with our names of their keys; `None` where it has a problem.
    fn pairs(
        &mut self,
        entry: &Entry,
        known: &[(&'static str, &'static str)],
        ours: fn(&str) -> bool,
    ) -> Option<Vec<(String, &'static str, String)>> {
        let Entry { section, key: name, value, place } = entry;
        let parent = match section {
            Section::Pgbouncer => "pgbouncer",
            Section::Databases => "databases",
            Section::Users => "users",
            Section::Peers => "peers",
        };
        let path = format!("{parent}.{name}");
        let read = match pairs(value) {
            Ok(read) => read,
            Err(what) => {
                let hint = "values with spaces stand in single quotes, ' inside as ''".to_owned();
                self.problems.push(place.problem(&path, what, Some(hint)));
                return None;
            }
        };
        let mut found = Vec::new();
        let before = self.problems.len();
        for (key, value) in read {
            match known.iter().find(|(theirs, _)| *theirs == key) {
                Some((_, ours)) => found.push((key, *ours, value)),
                None => {
                    let hint = if ours(&key) {
                        Some(
                            "a key of pgweir's own: `pgweir convert` makes a file that can have it"
                                .to_owned(),
                        )
                    } else {
                        let near = nearest(&key, known.iter().map(|(theirs, _)| *theirs));
                        near.map(|near| format!("did you mean `{near}`?"))
                    };
                    let path = format!("{path}.{key}");
                    self.problems.push(place.problem(&path, "unknown key", hint));
                }
            }
        }
        (self.problems.len() == before).then_some(found)
    }

    fn push_table(&mut self, parent: &'static str, entry: &Entry, items: Vec<Item>) {
        let (name, place) = (entry.key.clone(), entry.place.clone());
        self.document.tables.push(Table { parent, name, place, items });
    }

    /// Databases in which secrets are looked up may be those that `*` stands for, in PgBouncer: here
    /// they are listed.
    fn look_up_databases(&mut self) {
        let databases = || self.document.tables.iter().filter(|table| table.parent == "databases");
        let Some(any) = databases().find(|table| table.name == ANY).cloned() else {
            return;
        };
        let listed: BTreeSet<&str> = databases().map(|table| table.name.as_str()).collect();
        let items = databases().flat_map(|table| &table.items).chain(&self.document.general);
        let sets = items.flat_map(|item| &item.sets).filter(|set| set.key == "auth_dbname");
        let mut wanted = BTreeSet::new();
        for set in sets {
            if let Toml::Shown(value) = &set.value
                && let Some(name) = text_of(value)
                && !name.is_empty()
                && !listed.contains(name.as_str())
                && !RESERVED.contains(&name.as_str())
            {
                wanted.insert(name);
            }
        }
        for name in wanted {
            let text =
                format!("{}: databases.{name}: made of *, for auth_dbname names it", any.place);
            self.document.remarks.push(Remark { weight: Weight::Note, text });
            self.document.tables.push(Table { name, ..any.clone() });
        }
    }
}

/// What becomes of a general key with this value.
fn outcome(view: &View<'_>, key: &'static Theirs, value: &str) -> Outcome {
    match key.way {
        Way::Ours | Way::OursByDefault => Outcome::ours(key.name, value),
        Way::Special(special) => special(view, key.name, value),
        Way::NotNeeded(why) => Outcome::not_needed(why),
        Way::NotSupported(effect) => Outcome::left_out(Fate::NotSupported(effect.to_owned())),
    }
}

/// The pairs of a table, of each key the last one. `special` may say what becomes of one.
fn settings<T>(
    entry: &Entry,
    read: &[(String, &'static str, String)],
    keys: &[Key<T>],
    special: impl Fn(&'static str, &str) -> Outcome,
) -> Vec<Item> {
    let mut items = Vec::new();
    for (index, (key, ours, value)) in read.iter().enumerate() {
        let again = read.iter().skip(index + 1).any(|(_, later, _)| later == ours);
        let kind = keys.iter().find(|key| key.name == *ours).map_or(Kind::Text, |key| key.kind);
        let secret = kind == Kind::Secret;
        let Outcome { mut sets, mut fate } = special(ours, value);
        if again {
            sets.clear();
            fate = Fate::NotNeeded("it is said again on the same line".to_owned());
        } else if secret {
            sets = vec![Set { key: ours, value: Toml::Secret(Secret::new(value)) }];
        } else if sets.is_empty() {
            sets = vec![Set { key: ours, value: Toml::Shown(written(kind, value)) }];
        }
        items.push(Item {
            place: Some(entry.place.clone()),
            key: key.clone(),
            said: if secret { format!("{key} = ***") } else { said(key, value) },
            sets,
            fate,
        });
    }
    items
}

fn said(key: &str, value: &str) -> String {
    if value.is_empty() { format!("{key} =") } else { format!("{key} = {value}") }
}

fn unknown_hint(name: &str) -> Option<String> {
    if general_key(name).is_some() {
        let variable = name.to_ascii_uppercase();
        return Some(format!(
            "a key of pgweir's own: set PGWEIR_{variable} in the environment, or let `pgweir \
             convert` make a file that can have it"
        ));
    }
    if is_database_key(name) || theirs::DATABASE.iter().any(|(theirs, _)| *theirs == name) {
        return Some("a key of a database: it stands on the database's line".to_owned());
    }
    let near = nearest(name, theirs::GENERAL.iter().map(|key| key.name));
    near.map(|near| format!("did you mean `{near}`?"))
}

fn general_key(name: &str) -> Option<&'static Key<General>> {
    keys::GENERAL.iter().flat_map(|group| group.keys).find(|key| key.name == name)
}

fn is_database_key(name: &str) -> bool {
    keys::DATABASE.iter().any(|key| key.name == name)
}

fn is_user_key(name: &str) -> bool {
    keys::USER.iter().any(|key| key.name == name)
}

/// Whether general keys have the values that they have without these lines.
fn are_defaults(sets: &[Set]) -> bool {
    let default = General::default();
    sets.iter().all(|set| {
        let (Some(key), Toml::Shown(value)) = (general_key(set.key), &set.value) else {
            return false;
        };
        let document = format!("key = {value}");
        let Ok(table) = DeTable::parse(&document) else { return false };
        let read = table.get_ref().get("key").and_then(|value| key.kind.read(value.get_ref()).ok());
        let Some(read) = read else { return false };
        let mut general = default.clone();
        (key.set)(&mut general, read);
        general == default
    })
}

/// The text that a value of TOML is.
pub(super) fn text_of(value: &str) -> Option<String> {
    let document = format!("key = {value}");
    let table = DeTable::parse(&document).ok()?;
    table.get_ref().get("key")?.get_ref().as_str().map(str::to_owned)
}

/// Whether two values of PgBouncer are the same.
fn is_same(one: &str, other: &str) -> bool {
    one == other || whole(one).is_some() && whole(one) == whole(other)
}
