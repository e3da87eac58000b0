//! Settings that a client brought in its startup packet, and how a server is made to match.
//!
//! A [`Params`] is shared by all clients that brought the same settings, so that "does this
//! server match?" is a comparison of pointers. Settings are known to be right (*proven*) once a
//! server has taken them: only then may they travel in the same write as a client's request.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use super::manner::Manner;
use super::reported::Reported;
use crate::sql::Resets;
use crate::wire::startup::Setting;

/// Settings by name, in lower case, sorted, each name once.
#[derive(Debug, Default)]
pub struct Params {
    settings: Vec<Setting>,
    /// See [`lookup`](Self::lookup).
    lookup: Box<[u8]>,
    manner: Manner,
    /// What a server reported with these settings in force; set once a server took them.
    proven: OnceLock<Arc<Reported>>,
    /// The same settings but for an application name that no server could refuse.
    unlabelled: Option<Arc<Params>>,
}

const LABEL: &[u8] = b"application_name";

/// Whether a server takes this application name as it is: it is one of the settings that differ
/// from client to client, and no reason to ask a server for each of them.
fn is_plain_label(value: &[u8]) -> bool {
    value.len() < 64 && value.iter().all(|byte| (0x20..=0x7e).contains(byte))
}

impl Params {
    /// What a server with these settings reports, once one has taken them.
    pub fn proven(&self) -> Option<&Arc<Reported>> {
        let known = self.proven.get();
        if known.is_some() {
            return known;
        }
        let mut reported = Reported::clone(self.unlabelled.as_ref()?.proven()?);
        reported.set(LABEL, self.label());
        Some(self.proven.get_or_init(|| Arc::new(reported)))
    }

    /// Records that a server took them. The first record stays.
    pub fn prove(&self, reported: Arc<Reported>) {
        if let Some(unlabelled) = &self.unlabelled
            && unlabelled.proven().is_none()
        {
            let mut reported = Reported::clone(&reported);
            reported.set(LABEL, b"");
            unlabelled.prove(Arc::new(reported));
        }
        self.proven.get_or_init(|| reported);
    }

    fn label(&self) -> &[u8] {
        self.get(LABEL).unwrap_or_default()
    }

    /// Whether a server has to be asked each time before a request may follow: being some role
    /// is not a matter of form, and a role that was there may be gone.
    pub fn must_ask(&self) -> bool {
        self.proven().is_none()
            || self.settings.iter().any(|(name, _)| PERISHABLE.contains(&name.as_slice()))
    }

    /// The value of a setting, by its name in lower case.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let found = self.settings.binary_search_by(|(known, _)| known.as_slice().cmp(name));
        self.settings.get(found.ok()?).map(|(_, value)| value.as_slice())
    }

    /// What decides about the meaning of names in a statement: the search path, and whose it is
    /// where it says `"$user"`. Empty where nothing is set.
    pub fn lookup(&self) -> &[u8] {
        &self.lookup
    }

    /// What they say of where requests may run.
    #[inline]
    pub fn manner(&self) -> &Manner {
        &self.manner
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter()
    }

    /// Whether they are too much to be set again on each server that their client changes to.
    pub fn is_too_much(&self) -> bool {
        let size = |(name, value): &Setting| name.len() + value.len() + SETTING_OVERHEAD;
        self.settings.iter().map(size).sum::<usize>() > SETTINGS_MAX
    }

    /// The SQL that sets those of these names; empty where there are none.
    pub fn restoring(&self, names: &Resets) -> Vec<u8> {
        let mut sql = Vec::new();
        set_all(&mut sql, self.settings.iter().filter(|(name, _)| names.has(name)));
        sql
    }

    /// The SQL that turns a session with these settings into one with `wanted`; empty where
    /// there is no difference.
    pub fn difference(&self, wanted: &Params) -> Vec<u8> {
        let mut sql = Vec::new();
        if self.settings == wanted.settings {
            return sql;
        }
        // What one role may change another may not: all is done as the user who logged in.
        let (identity, own): (Vec<_>, Vec<_>) =
            self.settings.iter().partition(|(name, _)| is_identity(name));
        for (name, _) in identity {
            reset(&mut sql, name);
        }
        for (name, value) in &own {
            // What is left out of a DateStyle stays as it was, so it has to be the server's own.
            let other = wanted.get(name);
            if other.is_none_or(|other| *name == b"datestyle" && other != value) {
                reset(&mut sql, name);
            }
        }
        let changed = |(name, value): &&Setting| {
            is_identity(name) || self.get(name) != Some(value.as_slice())
        };
        set_all(&mut sql, wanted.settings.iter().filter(changed));
        sql
    }
}

/// Most clients set a handful of settings, of some dozen bytes; a startup packet holds up to 10,000 bytes
/// of them. More than this is set with `SET` one by one, as by nobody who means well.
const SETTINGS_MAX: usize = 128 * 1024;
/// What each takes beside its name and value.
const SETTING_OVERHEAD: usize = 64;

/// Settings that a server may refuse though it has taken them before.
const PERISHABLE: [&[u8]; 6] = [
    b"role",
    b"session_authorization",
    b"default_tablespace",
    b"temp_tablespaces",
    b"default_table_access_method",
    b"default_text_search_config",
];

fn lookup(settings: &[Setting]) -> Box<[u8]> {
    let mut lookup = Vec::new();
    for (name, value) in settings {
        if is_identity(name) || name == b"search_path" {
            for part in [name, value] {
                lookup.extend_from_slice(part);
                lookup.push(0);
            }
        }
    }
    lookup.into()
}

/// Who the session is.
fn is_identity(name: &[u8]) -> bool {
    matches!(name, b"role" | b"session_authorization")
}

fn reset(sql: &mut Vec<u8>, name: &[u8]) {
    sql.extend_from_slice(b"RESET ");
    quote_name(sql, name);
    sql.push(b';');
}

/// Who the session is comes last: the role behind the authorization, which resets it.
fn set_all<'a>(sql: &mut Vec<u8>, settings: impl Iterator<Item = &'a Setting>) {
    let mut settings: Vec<_> = settings.collect();
    settings.sort_by_key(|(name, _)| match name.as_slice() {
        b"role" => 2,
        b"session_authorization" => 1,
        _ => 0,
    });
    for (index, (name, value)) in settings.into_iter().enumerate() {
        sql.extend_from_slice(if index == 0 {
            b"SELECT pg_catalog.set_config(".as_slice()
        } else {
            b",pg_catalog.set_config("
        });
        quote_text(sql, name);
        sql.push(b',');
        quote_text(sql, value);
        sql.extend_from_slice(b",false)");
    }
}

/// A string constant that means the same whatever standard_conforming_strings says, and byte for
/// byte what a startup packet would have meant, whatever the client's encoding.
pub(super) fn quote_text(sql: &mut Vec<u8>, text: &[u8]) {
    sql.extend_from_slice(b"E'");
    for &byte in text {
        match byte {
            b'\'' => sql.extend_from_slice(b"''"),
            b'\\' => sql.extend_from_slice(b"\\\\"),
            0x20..=0x7e => sql.push(byte),
            _ => sql.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    sql.push(b'\'');
}

/// The name of a setting: parts between dots, each an identifier.
fn quote_name(sql: &mut Vec<u8>, name: &[u8]) {
    for (index, part) in name.split(|&byte| byte == b'.').enumerate() {
        if index > 0 {
            sql.push(b'.');
        }
        sql.push(b'"');
        for &byte in part {
            sql.extend(std::iter::repeat_n(byte, if byte == b'"' { 2 } else { 1 }));
        }
        sql.push(b'"');
    }
}

/// The distinct settings of the clients of one pool.
#[derive(Debug, Default)]
pub struct ParamsTable {
    known: Mutex<HashMap<Vec<Setting>, Weak<Params>>>,
    /// What new sessions have, of settings that clients have changed.
    defaults: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    /// Names of settings that servers don't list.
    customs: Mutex<Vec<Box<[u8]>>>,
}

/// What is reset.
#[derive(Clone, Copy, Debug)]
pub enum Reset<'a> {
    /// The setting of this name.
    One(&'a [u8]),
    /// All settings but who the session is, as by `RESET ALL`.
    Settings,
    /// All, as by `DISCARD ALL`.
    Session,
}

/// More defaults than that are not kept.
const DEFAULTS_MAX: usize = 1000;
/// Nor more names of custom settings; what is above that and set by code unseen is lost.
const CUSTOMS_MAX: usize = 200;

impl ParamsTable {
    /// The shared value for these settings; of a name given twice the last counts.
    pub fn share(&self, settings: impl IntoIterator<Item = Setting>) -> Arc<Params> {
        let sorted: BTreeMap<_, _> =
            settings.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        self.share_sorted(sorted.into_iter().collect())
    }

    /// The settings `base` after a reset; `startup` is what the client brought.
    pub fn after(&self, base: &Params, startup: &Arc<Params>, reset: Reset<'_>) -> Arc<Params> {
        let stays = |name: &[u8]| match reset {
            Reset::One(reset) => name != reset,
            Reset::Settings => is_identity(name),
            Reset::Session => false,
        };
        let others = base.settings.iter().filter(|(name, _)| stays(name));
        let own = startup.settings.iter().filter(|(name, _)| !stays(name));
        self.share(others.chain(own).cloned())
    }

    /// What a new session has for this setting, if that is known.
    pub(super) fn default_of(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.defaults.lock().get(name).cloned()
    }

    pub(super) fn learn_defaults(&self, defaults: Vec<Setting>) {
        let mut known = self.defaults.lock();
        for (name, value) in defaults {
            if known.len() < DEFAULTS_MAX || known.contains_key(&name) {
                known.insert(name, value);
            }
        }
    }

    /// The names of settings that servers don't list.
    pub(super) fn customs(&self) -> Vec<Box<[u8]>> {
        self.customs.lock().clone()
    }

    pub(super) fn learn_customs<'a>(&self, names: impl Iterator<Item = &'a Vec<u8>>) {
        let mut known = self.customs.lock();
        for name in names {
            if known.len() < CUSTOMS_MAX && !known.iter().any(|other| **other == **name) {
                known.push(name.as_slice().into());
            }
        }
    }

    fn share_sorted(&self, sorted: Vec<Setting>) -> Arc<Params> {
        let labelled = sorted.iter().any(|(name, value)| name == LABEL && is_plain_label(value));
        let unlabelled = labelled.then(|| {
            let rest = sorted.iter().filter(|(name, _)| name != LABEL).cloned();
            self.share_sorted(rest.collect())
        });
        let mut known = self.known.lock();
        if let Some(params) = known.get(&sorted).and_then(Weak::upgrade) {
            return params;
        }
        // Those that no client has any more go when the table has doubled.
        if known.len() == known.capacity() {
            known.retain(|_, params| params.strong_count() > 0);
        }
        let proven = OnceLock::new();
        let (lookup, manner) = (lookup(&sorted), Manner::of(&sorted));
        let settings = sorted.clone();
        let params = Arc::new(Params { settings, lookup, manner, proven, unlabelled });
        known.insert(sorted, Arc::downgrade(&params));
        params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(table: &ParamsTable, settings: &[(&str, &str)]) -> Arc<Params> {
        table.share(settings.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())))
    }

    #[test]
    fn equal_settings_are_one_value() {
        let table = ParamsTable::default();
        let a = params(&table, &[("TimeZone", "UTC"), ("search_path", "x")]);
        let b = params(&table, &[("search_path", "y"), ("search_path", "x"), ("timezone", "UTC")]);
        assert!(Arc::ptr_eq(&a, &b));
        let c = params(&table, &[("timezone", "CET"), ("search_path", "x")]);
        assert!(!Arc::ptr_eq(&a, &c));
    }

    #[test]
    fn settings_in_any_number_are_compared_once() {
        let (done, finished) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let table = ParamsTable::default();
            let of = |value: &str| {
                let name = |index: usize| format!("a.b{index:06}").into_bytes();
                table.share((0..200_000).map(|index| (name(index), value.as_bytes().to_vec())))
            };
            let (one, other) = (of("1"), of("2"));
            let sql = one.difference(&other);
            done.send(sql.windows(10).filter(|part| part == b"set_config").count())
        });
        let compared = finished.recv_timeout(std::time::Duration::from_secs(10));
        assert_eq!(compared, Ok(200_000));
    }

    #[test]
    fn table_forgets_what_no_client_has() {
        let table = ParamsTable::default();
        for index in 0..1000 {
            params(&table, &[("application_name", &index.to_string())]);
        }
        assert!(table.known.lock().len() < 100);
    }

    #[test]
    fn only_the_difference_is_set_and_quoting_holds() {
        let table = ParamsTable::default();
        let a = params(&table, &[("a.b", "1"), ("timezone", "UTC")]);
        let b = params(&table, &[("timezone", "UTC"), ("x", "it's \\ é")]);
        assert!(a.difference(&a).is_empty());
        assert_eq!(
            String::from_utf8(a.difference(&b)).unwrap(),
            "RESET \"a\".\"b\";SELECT pg_catalog.set_config(E'x',E'it''s \\\\ \\xc3\\xa9',false)"
        );
        assert_eq!(
            String::from_utf8(Params::default().difference(&a)).unwrap(),
            "SELECT pg_catalog.set_config(E'a.b',E'1',false),\
             pg_catalog.set_config(E'timezone',E'UTC',false)"
        );
        assert_eq!(
            String::from_utf8(a.difference(&Params::default())).unwrap(),
            "RESET \"a\".\"b\";RESET \"timezone\";"
        );
    }

    #[test]
    fn a_name_cannot_end_its_quotes() {
        let table = ParamsTable::default();
        let odd = params(&table, &[("a.b\"; DROP TABLE t; --", "1")]);
        assert_eq!(
            String::from_utf8(odd.difference(&Params::default())).unwrap(),
            "RESET \"a\".\"b\"\"; drop table t; --\";"
        );
    }

    #[test]
    fn half_a_datestyle_does_not_keep_the_other_half_of_another_clients() {
        let table = ParamsTable::default();
        let german = params(&table, &[("DateStyle", "German"), ("timezone", "UTC")]);
        let iso = params(&table, &[("DateStyle", "ISO"), ("timezone", "UTC")]);
        assert_eq!(
            String::from_utf8(german.difference(&iso)).unwrap(),
            "RESET \"datestyle\";SELECT pg_catalog.set_config(E'datestyle',E'ISO',false)"
        );
        assert!(iso.difference(&iso).is_empty());
    }

    #[test]
    fn an_application_name_needs_no_proof_of_its_own() {
        let table = ParamsTable::default();
        let plain = params(&table, &[("timezone", "UTC")]);
        let named = params(&table, &[("timezone", "UTC"), ("application_name", "a")]);
        let odd = params(&table, &[("timezone", "UTC"), ("application_name", "\u{e9}")]);
        let mut reported = Reported::default();
        reported.set(b"application_name", b"a");
        named.prove(Arc::new(reported));
        assert_eq!(plain.proven().unwrap().get("application_name"), Some(&b""[..]));
        let other = params(&table, &[("timezone", "UTC"), ("application_name", "b")]);
        assert_eq!(other.proven().unwrap().get("application_name"), Some(&b"b"[..]));
        assert!(odd.proven().is_none());
    }

    #[test]
    fn a_role_is_asked_for_every_time() {
        let table = ParamsTable::default();
        for (name, asks) in [("role", true), ("timezone", false)] {
            let params = params(&table, &[(name, "x")]);
            assert!(params.must_ask());
            params.prove(Arc::default());
            assert_eq!(params.must_ask(), asks);
        }
    }
}
