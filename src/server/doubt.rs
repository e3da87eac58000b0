//! What may have been left in a server's session, and the question that finds out.
//!
//! The text of a statement shows what it *may* leave; what it did leave depends on errors,
//! rollbacks, savepoints and the code of functions. So nothing is concluded from a text but what
//! to ask for: when the transaction is over, the server is asked for the settings and objects in
//! question, and what it answers is taken for the truth. Names and values travel as hexadecimal
//! digits of their bytes in the database's encoding, whatever the client's encoding is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lent::Listed;
use super::params::{Params, ParamsTable, quote_text};
use crate::sql::Leaves;
use crate::wire::startup::Setting;
use crate::wire::view::Fields;

/// What may have been left in a session since it was last known.
#[derive(Debug, Default)]
pub struct Doubt {
    pub(super) leaves: Leaves,
    /// The settings in question, where they are known by name.
    pub(super) settings: Vec<Box<[u8]>>,
}

/// More names than that are not kept: then all settings are in question, and those of names that no
/// server lists may be overlooked.
pub const NAMES_MAX: usize = 500;

impl Doubt {
    /// These, too; `false` where those are too many to be known by name.
    #[must_use]
    pub fn add(&mut self, leaves: Leaves, settings: &[Box<[u8]>]) -> bool {
        self.leaves |= leaves;
        if self.settings.len() + settings.len() > NAMES_MAX {
            self.leaves |= Leaves::ANY_SETTINGS;
            return false;
        }
        for name in settings {
            if !self.settings.contains(name) {
                self.settings.push(name.clone());
            }
        }
        true
    }

    /// Takes what is of these kinds.
    pub(super) fn take(&mut self, kinds: Leaves) -> Self {
        let settings = match kinds.has(Leaves::SETTINGS) {
            true => std::mem::take(&mut self.settings),
            false => Vec::new(),
        };
        let taken = Self { leaves: self.leaves & kinds, settings };
        self.leaves = self.leaves.without(kinds);
        taken
    }

    /// What may have been left.
    #[inline]
    pub fn leaves(&self) -> Leaves {
        self.leaves
    }

    fn asks_for_statements(&self) -> bool {
        self.leaves.has_any(Leaves::STATEMENTS | Leaves::NO_STATEMENTS)
    }

    fn asks_for_channels(&self) -> bool {
        self.leaves.has_any(Leaves::LISTENER | Leaves::CODE)
    }

    /// The question that settles it, for a session that had these settings before; `None` where
    /// nothing can be asked for.
    fn question(&self, before: &Params, table: &ParamsTable) -> Option<(Vec<u8>, Scope)> {
        let known = |name: &[u8]| {
            is_identity(name)
                || is_custom(name)
                || before.get(name).is_some()
                || table.default_of(name).is_some()
        };
        let named = self.leaves.has(Leaves::SETTINGS);
        let all = self.leaves.has(Leaves::ANY_SETTINGS)
            || named && !self.settings.iter().all(|name| known(name));
        let mut sql = Vec::new();
        let mut names: BTreeSet<_> = self.settings.iter().cloned().collect();
        if all {
            sql.extend_from_slice(ALL_SETTINGS.as_bytes());
            let own = before.iter().filter(|(name, _)| is_custom(name));
            let own = own.map(|(name, _)| name.as_slice().into());
            names.extend(table.customs().into_iter().chain(own));
            names.extend([&b"role"[..], b"session_authorization"].map(Box::from));
        }
        if !names.is_empty() {
            sql.extend_from_slice(NAMED_SETTINGS.as_bytes());
            for (index, name) in names.iter().enumerate() {
                if index > 0 {
                    sql.push(b',');
                }
                quote_text(&mut sql, name);
            }
            sql.extend_from_slice(b"]::pg_catalog.text[]) n");
            if self.leaves.has(Leaves::CODE) {
                sql.extend_from_slice(HIDDEN_NAMES.as_bytes());
            }
            sql.extend_from_slice(b") n;");
        }
        if self.leaves.has_any(Leaves::OBJECTS | Leaves::NO_STATEMENTS) {
            sql.extend_from_slice(OBJECTS.as_bytes());
        }
        if self.asks_for_statements() {
            sql.extend_from_slice(STATEMENTS.as_bytes());
            sql.extend_from_slice(format!("{};", STATEMENTS_MAX + 1).as_bytes());
        }
        if self.asks_for_channels() {
            sql.extend_from_slice(CHANNELS.as_bytes());
        }
        (!sql.is_empty()).then_some((sql, if all { Scope::All } else { Scope::Named }))
    }
}

/// The settings that differ from what a new session has because somebody set them. A view over
/// them costs half a millisecond, so it is asked only for what can't be asked for by name.
const ALL_SETTINGS: &str = "SELECT 's',pg_catalog.encode(pg_catalog.convert_to(s.name,\
    pg_catalog.getdatabaseencoding()),'hex'),pg_catalog.encode(pg_catalog.convert_to(\
    pg_catalog.current_setting(s.name),pg_catalog.getdatabaseencoding()),'hex'),\
    CASE WHEN s.unit IS NULL THEN pg_catalog.encode(pg_catalog.convert_to(s.reset_val,\
    pg_catalog.getdatabaseencoding()),'hex') END \
    FROM pg_catalog.pg_show_all_settings() s WHERE s.source OPERATOR(pg_catalog.=) 'session';";

/// Settings by name, whoever set them; the names follow.
const NAMED_SETTINGS: &str = "SELECT 'n',pg_catalog.encode(pg_catalog.convert_to(n,\
    pg_catalog.getdatabaseencoding()),'hex'),pg_catalog.encode(pg_catalog.convert_to(\
    pg_catalog.current_setting(n,true),pg_catalog.getdatabaseencoding()),'hex') \
    FROM (SELECT n FROM pg_catalog.unnest(ARRAY[";

/// Custom settings are in no list, so their names are looked for in the functions of the database.
const HIDDEN_NAMES: &str = " UNION SELECT pg_catalog.lower(m[1]) FROM pg_catalog.pg_proc p,\
    pg_catalog.regexp_matches(p.prosrc,\
    '(?:set_config\\s*\\(\\s*''|\\mset\\s+(?:session\\s+)?)(\\w+(?:\\.\\w+)+)','gi') m \
    WHERE p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid";

/// Temporary objects (whatever is in this session's schema depends on it; 2615 is pg_namespace),
/// held cursors, session locks, and how many statements of ours there are.
const OBJECTS: &str = "SELECT 'o',\
    CASE WHEN pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN false \
    ELSE EXISTS(SELECT FROM pg_catalog.pg_depend d WHERE d.refclassid OPERATOR(pg_catalog.=) \
    2615::pg_catalog.oid AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) END,\
    EXISTS(SELECT FROM pg_catalog.pg_cursor() c WHERE c.is_holdable),\
    EXISTS(SELECT FROM pg_catalog.pg_lock_status() l WHERE l.pid OPERATOR(pg_catalog.=) \
    pg_catalog.pg_backend_pid() AND l.locktype OPERATOR(pg_catalog.=) 'advisory'),\
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_statement() p WHERE \
    pg_catalog.starts_with(p.name,'pgweir_'));";

/// Statements under names that are not ours, with the text of those that SQL has prepared; how many
/// follows. The text is that of the whole string which the command was in, once for each of its commands.
const STATEMENTS: &str = "SELECT 'p',p.name,CASE WHEN p.from_sql THEN CASE WHEN \
    pg_catalog.octet_length(p.statement) OPERATOR(pg_catalog.<) 65536 THEN p.statement ELSE '' END \
    END FROM pg_catalog.pg_prepared_statement() p WHERE NOT pg_catalog.starts_with(p.name,'pgweir_') \
    LIMIT ";

/// Where a session has more of them, they are not learnt, and stay where they are. Who prepares
/// statements by SQL has dozens.
const STATEMENTS_MAX: usize = 1000;

/// A longer answer is not taken: settings, channels and texts of statements have some hundred bytes each,
/// and most sessions a handful of them.
const ANSWER_MAX: usize = 1024 * 1024;

/// The channels that are listened to, in the client's encoding, in which notifications are told.
const CHANNELS: &str = "SELECT 'l',c FROM pg_catalog.pg_listening_channels() c";

/// In the order of the columns above.
const OBJECT_KINDS: [Leaves; 3] = [Leaves::TEMPORARY, Leaves::CURSOR, Leaves::LOCK];

/// They say who the session is, and are in none of the server's lists.
fn is_identity(name: &[u8]) -> bool {
    matches!(name, b"role" | b"session_authorization")
}

/// A name with a dot, which no server lists before a library has claimed it. Its default is empty.
fn is_custom(name: &[u8]) -> bool {
    name.contains(&b'.')
}

/// They go with the transaction, whatever is said of where they come from.
fn is_of_transaction(name: &[u8]) -> bool {
    matches!(name, b"transaction_isolation" | b"transaction_read_only" | b"transaction_deferrable")
}

/// Not shown to everybody who may have set them.
fn is_hidden(name: &[u8]) -> bool {
    matches!(name, b"dynamic_library_path" | b"session_preload_libraries")
}

/// Which settings were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Named,
}

/// A question that a server has been asked, and its answer so far.
#[derive(Debug)]
pub struct Question {
    /// What it settles.
    pub doubt: Doubt,
    /// The number of its message in the ledger.
    pub sequence: u64,
    scope: Scope,
    /// How many statements of ours the server is believed to have.
    prepared: usize,
    set: Vec<Setting>,
    named: Vec<Setting>,
    defaults: Vec<Setting>,
    objects: Option<Leaves>,
    /// Statements under names that are not ours, if they were asked for and are not too many.
    pub statements: Option<Vec<Listed>>,
    /// Whether there are any that can't be prepared elsewhere, if they were asked for.
    fixed: Option<bool>,
    channels: Option<Vec<Box<[u8]>>>,
    /// What the answer has taken so far, in bytes.
    bytes: usize,
    /// The server has as many of our statements as it is believed to have.
    statements_stand: bool,
}

/// What a session was found to have.
#[derive(Debug)]
pub struct Found {
    /// Its settings; `None` where they have to be asked for once more, and all of them, or are too much.
    pub settings: Option<Arc<Params>>,
    /// They are too much to be set again elsewhere.
    pub too_much: bool,
    /// Its objects, if they were asked for.
    pub objects: Option<Leaves>,
    /// Whether it has statements that can't be prepared elsewhere, if they were asked for.
    pub fixed: Option<bool>,
    /// The channels that it listens to, if they were asked for.
    pub channels: Option<Vec<Box<[u8]>>>,
    /// The server has the statements that it is believed to have.
    pub statements_stand: bool,
}

impl Question {
    /// The question that settles this doubt, of a session that had these settings `before`, with
    /// its SQL; the doubt itself where nothing can be asked for.
    pub(super) fn of(
        doubt: Doubt,
        before: &Params,
        table: &ParamsTable,
        prepared: usize,
    ) -> Result<(Self, Vec<u8>), Doubt> {
        let Some((sql, scope)) = doubt.question(before, table) else {
            return Err(doubt);
        };
        let channels = doubt.asks_for_channels().then(Vec::new);
        let statements = doubt.asks_for_statements().then(Vec::new);
        let question = Self {
            doubt,
            sequence: 0,
            scope,
            prepared,
            set: Vec::new(),
            named: Vec::new(),
            defaults: Vec::new(),
            objects: None,
            fixed: statements.as_ref().map(|_asked| false),
            statements,
            channels,
            bytes: 0,
            statements_stand: true,
        };
        Ok((question, sql))
    }

    /// Takes a row of the answer: the body of a DataRow. One that is none is left out, and the
    /// answer is then not believed.
    pub fn row(&mut self, body: &[u8]) {
        self.bytes = self.bytes.saturating_add(body.len());
        if self.is_too_long() {
            return self.forget();
        }
        let mut fields = Fields::new(body.get(2..).unwrap_or_default());
        match fields.value() {
            Some(b"s") => {
                if let (Some(name), Some(value)) = (hex(&mut fields), hex(&mut fields)) {
                    let name = name.to_ascii_lowercase();
                    if let Some(default) = hex(&mut fields) {
                        self.defaults.push((name.clone(), default));
                    }
                    self.set.push((name, value));
                }
            }
            Some(b"n") => {
                if let (Some(name), Some(value)) = (hex(&mut fields), hex(&mut fields)) {
                    self.named.push((name, value));
                }
            }
            Some(b"o") => self.take_objects(&mut fields),
            Some(b"p") => self.take_statement(&mut fields),
            Some(b"l") => {
                if let (Some(channels), Some(name)) = (&mut self.channels, fields.value()) {
                    channels.push(name.into());
                }
            }
            _ => {}
        }
    }

    /// Whether the answer was longer than what is taken, and is not known.
    pub fn is_too_long(&self) -> bool {
        self.bytes > ANSWER_MAX
    }

    fn forget(&mut self) {
        for settings in [&mut self.set, &mut self.named, &mut self.defaults] {
            *settings = Vec::new();
        }
        (self.statements, self.channels) = (None, None);
    }

    fn take_statement(&mut self, fields: &mut Fields<'_>) {
        let (Some(list), Some(name)) = (&mut self.statements, fields.value()) else {
            return;
        };
        let listed = Listed { name: name.into(), sql: fields.value().map(Box::from) };
        let fixed = list.len() >= STATEMENTS_MAX || listed.is_fixed();
        self.fixed = self.fixed.map(|before| before || fixed);
        if list.len() < STATEMENTS_MAX {
            list.push(listed);
        } else {
            self.statements = None;
        }
    }

    /// What the session has, now that the answer is complete. It had the settings `before`, its
    /// client brought `startup`, and it belongs to `user` unless it is said otherwise.
    pub(super) fn found(
        mut self,
        before: &Params,
        startup: &Params,
        user: &[u8],
        table: &ParamsTable,
    ) -> Found {
        let (objects, channels) = (self.objects, self.channels.take());
        let (fixed, statements_stand) = (self.fixed, self.statements_stand);
        let settings = self.settings(before, startup, user, table);
        let (settings, too_much) = match settings {
            Some(settings) if settings.is_too_much() => (None, true),
            settings => (settings, false),
        };
        Found { settings, too_much, objects, fixed, channels, statements_stand }
    }

    fn settings(
        self,
        before: &Params,
        startup: &Params,
        user: &[u8],
        table: &ParamsTable,
    ) -> Option<Arc<Params>> {
        let Self { doubt, scope, set, named, defaults, .. } = self;
        table.learn_defaults(defaults);
        table.learn_customs(named.iter().map(|(name, _)| name).filter(|name| is_custom(name)));
        let kept = |(name, _): &&Setting| scope == Scope::Named || is_hidden(name);
        let mut settings: BTreeMap<_, _> = before.iter().filter(kept).cloned().collect();
        settings.extend(set.into_iter().filter(|(name, _)| !is_of_transaction(name)));
        for (name, value) in named {
            let own = match name.as_slice() {
                b"role" => value == b"none",
                b"session_authorization" => value == user,
                other if is_custom(other) => {
                    let touched = doubt.settings.iter().any(|touched| **touched == *other);
                    value.is_empty() && before.get(other).is_none() && !touched
                }
                // Asked for by name beside all those that are set.
                _ if scope == Scope::All => continue,
                _ if is_of_transaction(&name) => continue,
                _ => {
                    // Nobody may have set it, for all that its value says.
                    let default = table.default_of(&name);
                    if before.get(&name).is_none() && default.as_deref() == Some(&*value) {
                        return None;
                    }
                    false
                }
            };
            if !own || startup.get(&name).is_some() {
                settings.insert(name, value);
            } else {
                settings.remove(&name);
            }
        }
        Some(table.share(settings))
    }

    fn take_objects(&mut self, fields: &mut Fields<'_>) {
        let mut found = Leaves::NOTHING;
        for kind in OBJECT_KINDS {
            if fields.value() != Some(b"f") {
                found |= kind;
            }
        }
        self.objects = Some(found);
        let count = fields.value().and_then(|count| std::str::from_utf8(count).ok()?.parse().ok());
        self.statements_stand = count == Some(self.prepared);
    }
}

/// The next value of a row, which is the hexadecimal digits of some bytes.
fn hex(fields: &mut Fields<'_>) -> Option<Vec<u8>> {
    let digits = fields.value()?;
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
