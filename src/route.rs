//! Where a text may run, and why: a decision about values, without a look at any server.
//!
//! It says *a replica* or *the primary*, never which. Whatever is in doubt goes to the primary.

pub mod decisions;

use std::sync::Arc;

use crate::sql::facts::{Access, Does, Facts, Hint, Isolation, Modes};

/// What a server has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows another; the primary will do as well.
    Replica,
}

impl Role {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// Where a text may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// On what.
    pub role: Role,
    /// Why.
    pub reason: Reason,
    /// The name or the words that the reason is about, where there are such.
    pub about: Option<Arc<str>>,
}

/// What a database's catalog has to say of the names in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is not known.
    NotLoaded,
    /// None of them does more than read.
    Harmless,
    /// One of them may do more, or can't be had on a replica.
    Doubtful(Reason, Arc<str>),
}

/// What counts of a session.
#[expect(clippy::struct_excessive_bools, reason = "each of them is a fact of its own")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// A transaction is open: it stays where it is.
    pub in_transaction: bool,
    /// Its transactions are read only, unless they say otherwise.
    pub read_only: bool,
    /// It may have temporary relations, which hide others of the same name.
    pub temporary: bool,
    /// Its client's encoding is another than UTF-8.
    pub other_encoding: bool,
    /// How its transactions are kept apart from others, unless they say otherwise.
    pub isolation: Isolation,
    /// Transactions that don't say that they write may begin on a replica
    /// (`transaction_routing = "optimistic"`).
    pub optimistic: bool,
    /// Where it wants to run what may run there (`pgweir.role`).
    pub wants: Option<Hint>,
}

macro_rules! reasons {
    ($($variant:ident, $role:ident, $name:literal, $text:literal;)*) => {
        /// Why a text may run where it may.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $(#[doc = $text] $variant,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// One word for it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, in one sentence.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Where it leads.
            pub fn role(self) -> Role {
                match self { $(Self::$variant => Role::$role,)* }
            }
        }
    };
}

reasons! {
    Reads, Replica, "reads", "All that it does is to read.";
    ReadOnly, Replica, "read_only",
        "The transaction is read only, by its own words or by the session's settings.";
    Optimistic, Replica, "optimistic",
        "It begins a transaction that may do no more than read (`transaction_routing`).";
    HintReplica, Replica, "hint_replica",
        "A comment or `pgweir.role` wants a replica, and it is not known to write, to lock or to be about \
         the session.";
    HintPrimary, Primary, "hint_primary", "A comment or `pgweir.role` wants the primary.";
    InTransaction, Primary, "in_transaction",
        "A transaction is open; it was begun on the primary and stays there.";
    Begins, Primary, "begins", "It begins a transaction that may write.";
    GoesOn, Primary, "goes_on",
        "Its transaction began on a replica, and does more than to read, or what can be done there alone.";
    Serializable, Primary, "serializable",
        "It is to be serializable, which no replica can do.";
    Nothing, Primary, "nothing", "There is nothing in it to be run anywhere else.";
    Session, Primary, "session", "It is about the session or the server that runs it.";
    Writes, Primary, "writes", "It writes, or acts on the server in another way.";
    Locks, Primary, "locks", "It locks rows or something else.";
    Opaque, Primary, "opaque", "It can't be understood with certainty.";
    Encoding, Primary, "encoding",
        "It is not plain ASCII, and its client's encoding is not UTF-8.";
    Temporary, Primary, "temporary",
        "The session may have a temporary relation of a name in it.";
    NotLoaded, Primary, "not_loaded", "The database's catalog is not known.";
    UnknownFunction, Primary, "unknown_function",
        "The catalog has no function of this name, or nothing is known of it.";
    VolatileFunction, Primary, "volatile_function",
        "A function of this name is volatile: it may write.";
    PrimaryFunction, Primary, "primary_function", "The function is listed in primary_functions.";
    PrimaryTable, Primary, "primary_table",
        "The table, or one behind it, is listed in primary_tables.";
    VolatileOperator, Primary, "volatile_operator",
        "An operator of this name calls a function that may write.";
    VolatileType, Primary, "volatile_type",
        "A type, domain or cast of this name calls a function that may write.";
    UnknownRelation, Primary, "unknown_relation", "The catalog has no relation of this name.";
    View, Primary, "view",
        "A view of this name, or one behind it, calls what may write, locks rows, or is about the \
         server.";
    Policy, Primary, "policy",
        "A policy of this table, or of one behind it, calls a function that may write.";
    Unlogged, Primary, "unlogged", "It is unlogged, or has unlogged parts: no replica has its rows.";
    Foreign, Primary, "foreign", "It is a foreign table, or has such parts.";
    Sequence, Primary, "sequence", "It is a sequence: replicas are ahead of its value.";
    NotAsked, Primary, "not_asked", "Only what says so itself is read from replicas (`read_routing`).";
    Listens, Primary, "listens", "The session listens to a channel.";
    NotWhole, Primary, "not_whole",
        "The request is too long to be seen whole, or runs something and ends with a Flush.";
    NoReplica, Primary, "no_replica", "No replica is there.";
    Lagging, Primary, "lagging", "All replicas lack more than `max_lag` allows.";
    NotFresh, Primary, "not_fresh",
        "No replica is known to have what the session has written or read.";
    RefusedBefore, Primary, "refused_before",
        "A replica has refused it, as it writes; definitions have not changed since.";
    Failed, Primary, "replica_failed", "A replica could not answer it.";
}

/// Decides. What a reason is `about` is left out where it says enough.
pub fn route(facts: &Facts, judgement: &Judgement, session: Session) -> Route {
    let because = |reason: Reason, about: Option<&Arc<str>>| Route {
        role: reason.role(),
        reason,
        about: about.cloned(),
    };
    let to = |reason| because(reason, None);
    if session.in_transaction {
        return to(Reason::InTransaction);
    }
    let hint = facts.hint.or(session.wants);
    if hint == Some(Hint::Primary) {
        return to(Reason::HintPrimary);
    }
    let wants_replica = hint == Some(Hint::Replica);
    let doubtful = |reason: Reason, about: Option<&Arc<str>>| match () {
        () if wants_replica => to(Reason::HintReplica),
        () if session.read_only => to(Reason::ReadOnly),
        () => because(reason, about),
    };
    let own = |isolation| match isolation {
        Isolation::Default => session.isolation,
        isolation => isolation,
    };
    let decided = match &facts.does {
        Does::Nothing => to(Reason::Nothing),
        Does::Session(command) => because(Reason::Session, Some(command)),
        Does::Writes(by) => because(Reason::Writes, Some(by)),
        Does::Locks(by) => because(Reason::Locks, Some(by)),
        Does::Opaque(why) => doubtful(Reason::Opaque, Some(&why.text().into())),
        Does::Begins(Modes { isolation, .. }) if own(*isolation) == Isolation::Serializable => {
            to(Reason::Serializable)
        }
        Does::Begins(Modes { access: Access::ReadWrite, .. }) => to(Reason::Begins),
        Does::Begins(Modes { access: Access::Default, isolation }) if !session.read_only => {
            // It has to be able to go on elsewhere, with what is committed by then.
            let movable = facts.statements == 1 && own(*isolation) < Isolation::RepeatableRead;
            to(if session.optimistic && movable { Reason::Optimistic } else { Reason::Begins })
        }
        // What stands before it is not part of it.
        Does::Begins(_) if facts.statements > 1 && *judgement != Judgement::Harmless => {
            to(Reason::Begins)
        }
        Does::Begins(_) => to(Reason::ReadOnly),
        Does::Reads if session.temporary && !facts.relations.is_empty() => to(Reason::Temporary),
        Does::Reads if session.other_encoding && !facts.ascii => doubtful(Reason::Encoding, None),
        Does::Reads => match judgement {
            Judgement::NotLoaded => doubtful(Reason::NotLoaded, None),
            Judgement::Doubtful(reason, about) => doubtful(*reason, Some(about)),
            Judgement::Harmless if session.read_only => to(Reason::ReadOnly),
            Judgement::Harmless if wants_replica => to(Reason::HintReplica),
            Judgement::Harmless => to(Reason::Reads),
        },
    };
    let begins = matches!(facts.does, Does::Begins(_));
    match decided.role {
        Role::Replica if !begins && session.isolation == Isolation::Serializable => {
            to(Reason::Serializable)
        }
        _ => decided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::facts::facts;

    fn judged(text: &str, judgement: &Judgement, session: Session) -> Reason {
        let Route { role, reason, .. } = route(&facts(text.as_bytes()), judgement, session);
        assert_eq!(role, reason.role());
        reason
    }

    #[test]
    fn doubt_goes_to_primary() {
        let doubt = Judgement::Doubtful(Reason::UnknownFunction, "f".into());
        let session = Session::default();
        for (text, judgement, reason) in [
            ("SELECT f(1)", &doubt, Reason::UnknownFunction),
            ("SELECT 1", &Judgement::NotLoaded, Reason::NotLoaded),
            ("SELECT '", &Judgement::Harmless, Reason::Opaque),
            ("wibble", &Judgement::Harmless, Reason::Opaque),
            ("", &Judgement::Harmless, Reason::Nothing),
        ] {
            assert_eq!(judged(text, judgement, session), reason, "{text}");
            assert_eq!(reason.role(), Role::Primary);
        }
        assert_eq!(judged("SELECT 1", &Judgement::Harmless, session), Reason::Reads);
    }

    #[test]
    fn session_decides_where_the_text_does_not() {
        let harmless = &Judgement::Harmless;
        let doubt = &Judgement::Doubtful(Reason::UnknownFunction, "f".into());
        let none = Session::default();
        let open = Session { in_transaction: true, ..none };
        let read_only = Session { read_only: true, ..none };
        let temporary = Session { temporary: true, ..none };
        let other = Session { other_encoding: true, ..none };
        for (text, judgement, session, reason) in [
            ("SELECT 1", harmless, open, Reason::InTransaction),
            ("SELECT f(1)", doubt, read_only, Reason::ReadOnly),
            ("INSERT INTO t VALUES (1)", harmless, read_only, Reason::Writes),
            ("BEGIN", harmless, none, Reason::Begins),
            ("BEGIN", harmless, read_only, Reason::ReadOnly),
            ("BEGIN READ WRITE", harmless, read_only, Reason::Begins),
            ("BEGIN READ ONLY", harmless, none, Reason::ReadOnly),
            ("BEGIN READ ONLY, ISOLATION LEVEL SERIALIZABLE", harmless, none, Reason::Serializable),
            ("SELECT * FROM t", harmless, temporary, Reason::Temporary),
            ("SELECT 1", harmless, temporary, Reason::Reads),
            ("SELECT 'é'", harmless, other, Reason::Encoding),
            ("SELECT 'e'", harmless, other, Reason::Reads),
        ] {
            assert_eq!(judged(text, judgement, session), reason, "{text} {session:?}");
        }
    }

    #[test]
    fn hint_overrules_doubt_and_nothing_that_is_known() {
        let doubt = &Judgement::Doubtful(Reason::View, "v".into());
        let none = Session::default();
        let temporary = Session { temporary: true, ..none };
        for (text, session, reason) in [
            ("/* pgweir: replica */ SELECT * FROM v", none, Reason::HintReplica),
            ("/* pgweir: replica */ SELECT * FROM v", temporary, Reason::Temporary),
            ("/* pgweir: replica */ DELETE FROM v", none, Reason::Writes),
            ("/* pgweir: replica */ SELECT nextval('s')", none, Reason::Writes),
            ("/* pgweir: primary */ SELECT 1", none, Reason::HintPrimary),
        ] {
            assert_eq!(judged(text, doubt, session), reason, "{text}");
        }
    }

    #[test]
    fn every_reason_is_documented_as_it_is() {
        let row = |reason: &Reason| {
            format!("| `{}` | {} | {} |", reason.name(), reason.role().name(), reason.text())
        };
        let wanted: Vec<String> = Reason::ALL.iter().map(row).collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/routing.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (_, section) = document.split_once("## Reasons").unwrap();
        let section = section.lines().take_while(|line| !line.starts_with("## "));
        let found: Vec<&str> = section.filter(|line| line.starts_with("| `")).collect();
        assert_eq!(found, wanted);
    }
}
