//! What a text does, as far as it shows: whether all of it only reads, and what it names that a
//! catalog has to judge before that is certain.
//!
//! A text is looked at twice. Its *tokens* show what can't be hidden from Postgres's own rules of
//! lexing: words that write or lock, and every name that may be called. Its *tree* (sqlparser)
//! shows which names are relations. What either does not understand is opaque; more may be said
//! than happens, never less.

mod builtins;
mod chains;
mod common;
mod hint;
mod keywords;
mod plain;
mod tokens;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{Command, command};
pub use builtins::{Builtin, builtin};
pub(super) use chains::by_word;
pub use common::{Places, common, common_and_places};
pub use hint::Hint;
pub(super) use keywords::is_reserved;
use tokens::{Kind, Look};
pub(super) use tokens::{is_operator, is_plain_value};
use tree::Tree;
pub(in crate::sql) use tree::has_no_foreign_clause;

/// Facts about a text of one or several statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The strongest of what its statements do.
    pub does: Does,
    /// How many statements there are, empty ones left out.
    pub statements: usize,
    /// What may be called, and whether that is certain.
    pub calls: BTreeMap<Name, Certainty>,
    /// The relations that are named; common table expressions are none.
    pub relations: BTreeSet<Name>,
    /// Operators, as written.
    pub operators: BTreeSet<Box<str>>,
    /// Names behind a dot that are not called, which may be functions all the same: `t.f` is `f(t)`
    /// where `t` has no column of that name.
    pub attributes: BTreeSet<Box<str>>,
    /// Every name, without what it is qualified by: types are among them.
    pub mentions: BTreeSet<Box<str>>,
    /// Where somebody wants it to run.
    pub hint: Option<Hint>,
    /// It means the same in every encoding.
    pub ascii: bool,
    /// It says or does something that is about the transaction that it is in.
    pub unsteady: bool,
    /// It may ask for `pgweir.last_route`: whether it does depends on what is not looked at here.
    pub may_ask_route: bool,
}

/// What a text does, the weakest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Does {
    /// Nothing: it is empty, or ends a transaction.
    Nothing,
    /// It reads, unless something that it names does more.
    Reads,
    /// It begins a transaction, or says what the one that is open may do.
    Begins(Modes),
    /// It is about the session or its server, by this command or function: no other server can
    /// answer.
    Session(Arc<str>),
    /// It can't be understood with certainty; why.
    Opaque(Opaque),
    /// It locks rows, or something else, by this.
    Locks(Arc<str>),
    /// It writes, or acts on the server in another way, by this.
    Writes(Arc<str>),
}

/// Why a text can't be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opaque {
    /// Its bytes are no text, or their meaning depends on a setting.
    Text,
    /// It is nested more deeply, or made of more parts, than we look at.
    Size,
    /// It is not in the grammar that we know.
    Grammar,
}

/// What a transaction is begun with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Modes {
    /// Whether it may write.
    pub access: Access,
    /// How it is kept apart from others.
    pub isolation: Isolation,
}

/// How a transaction is kept apart from others, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    /// As the session has it.
    #[default]
    Default,
    /// Each statement sees what is committed by then.
    ReadCommitted,
    /// All of them see the same.
    RepeatableRead,
    /// As if there were no others, which no replica can do.
    Serializable,
}

impl Isolation {
    /// The one of this name.
    pub fn read(name: &[u8]) -> Option<Self> {
        match name.to_ascii_lowercase().as_slice() {
            b"read uncommitted" | b"read committed" => Some(Self::ReadCommitted),
            b"repeatable read" => Some(Self::RepeatableRead),
            b"serializable" => Some(Self::Serializable),
            _ => None,
        }
    }

    /// The words for it; none where it is the session's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::ReadCommitted => "read committed",
            Self::RepeatableRead => "repeatable read",
            Self::Serializable => "serializable",
        }
    }
}

/// Whether a transaction may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// It may not.
    ReadOnly,
    /// It is as the session has it.
    #[default]
    Default,
    /// It may.
    ReadWrite,
}

/// A name as Postgres has it, and the schema that it is looked up in, where that is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The schema.
    pub schema: Option<Box<str>>,
    /// The name.
    pub name: Box<str>,
}

impl Name {
    /// Without a schema.
    pub fn plain(name: &str) -> Self {
        Self { schema: None, name: name.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Whether what looks like a call is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It is.
    Called,
    /// It is most likely syntax: a keyword before a bracket, or an alias with its columns.
    Syntax,
}

/// Names of what Postgres itself brings that says when the transaction began, or what it may do.
const OF_A_TRANSACTION: [&str; 9] = [
    "now",
    "transaction_timestamp",
    "current_timestamp",
    "current_time",
    "current_date",
    "localtime",
    "localtimestamp",
    "age",
    "current_setting",
];

/// Texts of more bytes are not looked at.
pub const TEXT_MAX: usize = 256 * 1024;

/// Looks at a text.
pub fn facts(text: &[u8]) -> Facts {
    let mut facts = Facts {
        does: Does::Nothing,
        statements: 0,
        calls: BTreeMap::new(),
        relations: BTreeSet::new(),
        operators: BTreeSet::new(),
        attributes: BTreeSet::new(),
        mentions: BTreeSet::new(),
        hint: hint::hint(text),
        ascii: text.is_ascii(),
        unsteady: false,
        may_ask_route: false,
    };
    if text.len() > TEXT_MAX {
        facts.does = Does::Opaque(Opaque::Size);
        return facts;
    }
    match std::str::from_utf8(text) {
        Ok(text) => facts.look(text),
        Err(_) => facts.does = Does::Opaque(Opaque::Text),
    }
    facts.may_ask_route = facts.calls.keys().any(|call| &*call.name == "current_setting");
    // Every server answers that alike.
    if command(text) == Some(Command::LastRoute) {
        (facts.does, facts.may_ask_route) = (Does::Reads, true);
    }
    facts
}

impl Facts {
    /// Whether nothing in it is about the transaction that it is in: marks in it, the time of its
    /// beginning, or its number. Words in strings that mean a time are not looked at.
    pub fn is_steady(&self) -> bool {
        let is_of_it = |name: &str| {
            OF_A_TRANSACTION.contains(&name)
                || name.starts_with("txid_")
                || name.starts_with("pg_current_")
        };
        !self.unsteady && !self.calls.keys().any(|call| is_of_it(&call.name))
    }

    fn look(&mut self, text: &str) {
        let mut rest = text;
        loop {
            match tokens::statement(rest) {
                Ok(Some((look, after))) => {
                    self.statements += 1;
                    let does = self.judge(look);
                    self.strengthen(does);
                    rest = after;
                }
                Ok(None) => return,
                Err(why) => {
                    self.statements += 1;
                    return self.strengthen(Does::Opaque(why));
                }
            }
        }
    }

    /// Of two statements that begin a transaction, the stricter modes count.
    fn strengthen(&mut self, does: Does) {
        if does > self.does {
            self.does = does;
        }
    }

    /// What one statement does; adds what it names.
    fn judge(&mut self, look: Look<'_>) -> Does {
        self.unsteady |= look.unsteady;
        match look.kind {
            Kind::Query => self.query(look),
            Kind::Ends => Does::Nothing,
            Kind::Begins => Does::Begins(look.modes),
            Kind::Session(command) => Does::Session(command.into()),
            Kind::Locks(command) => Does::Locks(command.into()),
            Kind::Unknown => Does::Opaque(Opaque::Grammar),
            Kind::Writes(command) => Does::Writes(command.into()),
        }
    }

    fn query(&mut self, look: Look<'_>) -> Does {
        let Look { writes, locks, calls, operators, attributes, mentions, .. } = look;
        if let Some(by) = writes {
            return Does::Writes(by.into());
        }
        if let Some(by) = locks {
            return Does::Locks(by.into());
        }
        if look.deep {
            return Does::Opaque(Opaque::Size);
        }
        let tree = match look.query {
            Some(query) => tree::read(&query.text()),
            None => Some(Tree::default()),
        };
        let Some(tree) = tree else {
            return Does::Opaque(Opaque::Grammar);
        };
        let mut does = Does::Reads;
        for (name, certainty) in calls {
            let alias = name.schema.is_none() && tree.aliases.contains(&name.name);
            let certainty = if alias { Certainty::Syntax } else { certainty };
            does = does.max(called(&name));
            let known = self.calls.entry(name).or_insert(certainty);
            if certainty == Certainty::Called {
                *known = certainty;
            }
        }
        self.relations.extend(tree.relations);
        self.relations.extend(look.copied);
        self.operators.extend(operators);
        self.attributes.extend(attributes);
        self.mentions.extend(mentions);
        does
    }
}

/// What a call does, if the function is one of Postgres's own.
fn called(name: &Name) -> Does {
    if name.schema.as_deref().is_some_and(|schema| schema != "pg_catalog") {
        return Does::Reads;
    }
    let function = || Arc::from(&*name.name);
    match builtin(&name.name) {
        Some(Builtin::Writes) => Does::Writes(function()),
        Some(Builtin::Locks) => Does::Locks(function()),
        Some(Builtin::Session) => Does::Session(function()),
        Some(Builtin::Reads) | None => Does::Reads,
    }
}

impl Opaque {
    /// The words for it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Text => "its text can't be taken apart with certainty",
            Self::Size => "it is too long or too deeply nested to be looked at",
            Self::Grammar => "it is not in the grammar that is known here",
        }
    }
}

#[cfg(test)]
mod tests;
