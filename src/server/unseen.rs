//! Code that changes a session without being called by the text that runs it: triggers, views, rules,
//! defaults, policies, constraints, and what they call.
//!
//! Each database is asked for the relations that lead to such code. A text that names one of them
//! may leave anything in the session that runs it. As long as it is not known which these are, any
//! text may. What the code does is judged by its words, generously; code in C is taken to leave
//! nothing, as is whatever a name that means something else elsewhere leads to.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use ahash::RandomState;
use parking_lot::{Mutex, RwLock};

use super::schema::Schema;
use crate::sql;
use crate::wire::view::{self, Fields};

/// What is known of the code of one database.
#[derive(Debug)]
pub struct Unseen {
    state: AtomicU8,
    leads: RwLock<Arc<Leads>>,
    /// The names of functions with such code, or that call one.
    functions: RwLock<Arc<Names>>,
    /// Somebody should ask.
    due: AtomicBool,
    /// How often it may have changed since it was asked for.
    changes: AtomicU64,
}

/// Whether a text may run such code, by what was known when it was asked last.
#[derive(Debug, Default)]
pub struct MayRun(Mutex<Option<(Weak<Leads>, bool)>>);

type Names = HashSet<Box<[u8]>, RandomState>;

/// What leads to code that changes the session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Leads {
    /// Whatever names one of these relations.
    relations: Names,
    /// Whatever defines something.
    definitions: bool,
    /// Everything, as the code belongs to an operator, a cast or a domain.
    all: bool,
}

/// It is not known yet, or not any more.
const UNKNOWN: u8 = 0;
/// There is none.
const NONE: u8 = 1;
/// There is some.
const SOME: u8 = 2;

impl Default for Unseen {
    fn default() -> Self {
        Self {
            state: AtomicU8::new(UNKNOWN),
            leads: RwLock::default(),
            functions: RwLock::default(),
            due: AtomicBool::new(true),
            changes: AtomicU64::new(0),
        }
    }
}

impl Unseen {
    /// Whether this text may run such code.
    #[inline]
    pub fn may_run(&self, text: &[u8]) -> bool {
        match self.state.load(Ordering::Acquire) {
            NONE => false,
            SOME => {
                let leads = Arc::clone(&self.leads.read());
                leads.has(text)
            }
            _ => true,
        }
    }

    /// The same of a text that is run again and again.
    pub fn may_run_again(&self, text: &[u8], known: &MayRun) -> bool {
        if self.state.load(Ordering::Acquire) != SOME {
            return self.may_run(text);
        }
        let leads = Arc::clone(&self.leads.read());
        let mut known = known.0.lock();
        match &*known {
            Some((by, may)) if by.as_ptr() == Arc::as_ptr(&leads) => *may,
            _ => {
                let may = leads.has(text);
                *known = Some((Arc::downgrade(&leads), may));
                may
            }
        }
    }

    /// Whether this text, which writes nothing and runs no command, may leave anything in its session.
    pub fn may_leave(&self, text: &[u8]) -> bool {
        match self.state.load(Ordering::Acquire) {
            UNKNOWN => true,
            SOME if self.may_run(text) => true,
            _ => {
                let functions = Arc::clone(&self.functions.read());
                !functions.is_empty() && sql::names_any(text, |word| functions.contains(word))
            }
        }
    }

    /// Whether this text, which runs code that is not seen in it, may change a setting by that: by a function of
    /// a name that is known for it. Triggers and the like are not looked at.
    pub fn may_set(&self, text: &[u8]) -> bool {
        let functions = Arc::clone(&self.functions.read());
        self.state.load(Ordering::Acquire) == UNKNOWN
            || !functions.is_empty() && sql::names_any(text, |word| functions.contains(word))
    }

    /// Whether nothing is known, and somebody should ask.
    #[inline]
    pub fn is_unknown(&self) -> bool {
        self.state.load(Ordering::Acquire) == UNKNOWN && self.due.load(Ordering::Acquire)
    }

    /// Its triggers, views or functions may be others from now on.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.state.store(UNKNOWN, Ordering::Release);
        self.due.store(true, Ordering::Release);
    }

    /// It has not been asked for some time.
    pub fn is_old(&self) {
        self.due.store(true, Ordering::Release);
    }
}

impl Leads {
    fn has(&self, text: &[u8]) -> bool {
        let is_one = |word: &[u8]| self.relations.contains(word);
        self.all || sql::names_any(text, is_one) || self.definitions && sql::defines(text)
    }
}

/// The question to a database is somebody's. When this is dropped without the answer, another one
/// asks.
#[derive(Debug)]
pub struct Asking {
    schema: Arc<Schema>,
    changes: u64,
    leads: Leads,
    functions: Names,
}

impl Asking {
    /// Takes the question, if it is due.
    pub fn take(schema: &Arc<Schema>) -> Option<Self> {
        let unseen = &schema.unseen;
        if !unseen.due.load(Ordering::Acquire) || !unseen.due.swap(false, Ordering::AcqRel) {
            return None;
        }
        let changes = unseen.changes.load(Ordering::Acquire);
        let (leads, functions) = (Leads::default(), Names::default());
        Some(Self { schema: Arc::clone(schema), changes, leads, functions })
    }

    /// Takes a row of the answer: the body of a DataRow.
    pub fn row(&mut self, body: &[u8]) {
        let mut fields = Fields::new(body.get(2..).unwrap_or_default());
        match (fields.value(), fields.value()) {
            (Some(b"r"), Some(name)) => drop(self.leads.relations.insert(name.into())),
            (Some(b"f"), Some(name)) => drop(self.functions.insert(name.into())),
            (Some(b"d"), _) => self.leads.definitions = true,
            (Some(b"a"), _) => self.leads.all = true,
            _ => {}
        }
    }

    /// The answer is complete.
    pub fn answered(mut self) {
        let leads = std::mem::take(&mut self.leads);
        let unseen = &self.schema.unseen;
        if unseen.changes.load(Ordering::Acquire) != self.changes {
            return;
        }
        let state = if leads == Leads::default() { NONE } else { SOME };
        *unseen.leads.write() = Arc::new(leads);
        *unseen.functions.write() = Arc::new(std::mem::take(&mut self.functions));
        unseen.state.store(state, Ordering::Release);
        // It may have changed since it was looked at.
        if unseen.changes.load(Ordering::Acquire) != self.changes {
            unseen.state.store(UNKNOWN, Ordering::Release);
        }
        self.changes = u64::MAX;
    }
}

impl Asking {
    /// The server has said no: it is asked again when that is due.
    pub fn refused(mut self, error: &[u8]) {
        let why = view::error_field(error, b'M').unwrap_or_default();
        let why = String::from_utf8_lossy(why);
        tracing::warn!(%why, "database does not say what code it has: every text counts as code");
        self.changes = u64::MAX;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.changes != u64::MAX {
            self.schema.unseen.due.store(true, Ordering::Release);
        }
    }
}

/// Asks for it, without a limit of time and without compiling it, which would take longer.
pub const QUESTION: &str = "SELECT pg_catalog.set_config('statement_timeout','0',true);\
    SELECT pg_catalog.set_config(s.name,'off',true) FROM \
    pg_catalog.pg_show_all_settings() s WHERE s.name OPERATOR(pg_catalog.=) 'jit';\
    WITH RECURSIVE code(oid,name,src,lang) AS MATERIALIZED ( SELECT \
    p.oid,p.proname::pg_catalog.text,pg_catalog.lower(CASE WHEN p.prosrc \
    OPERATOR(pg_catalog.=) '' AND l.oid OPERATOR(pg_catalog.=) 14::pg_catalog.oid THEN \
    pg_catalog.pg_get_functiondef(p.oid) ELSE p.prosrc END), l.lanname::pg_catalog.text FROM \
    pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang \
    WHERE p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND l.oid OPERATOR(pg_catalog.<>) \
    12::pg_catalog.oid AND l.oid OPERATOR(pg_catalog.<>) 13::pg_catalog.oid ), \
    leads(fk,fo,tk,too) AS MATERIALIZED ( SELECT 'f',t.tgfoid,'r',t.tgrelid FROM \
    pg_catalog.pg_trigger t WHERE NOT t.tgisinternal UNION ALL SELECT \
    'f',d.refobjid,'r',COALESCE(c.conrelid,a.adrelid,p.polrelid,r.ev_class,i.indrelid) FROM \
    pg_catalog.pg_depend d LEFT JOIN pg_catalog.pg_constraint c ON d.classid \
    OPERATOR(pg_catalog.=) 2606::pg_catalog.oid AND c.oid OPERATOR(pg_catalog.=) d.objid LEFT \
    JOIN pg_catalog.pg_attrdef a ON d.classid OPERATOR(pg_catalog.=) 2604::pg_catalog.oid AND \
    a.oid OPERATOR(pg_catalog.=) d.objid LEFT JOIN pg_catalog.pg_policy p ON d.classid \
    OPERATOR(pg_catalog.=) 3256::pg_catalog.oid AND p.oid OPERATOR(pg_catalog.=) d.objid LEFT \
    JOIN pg_catalog.pg_rewrite r ON d.classid OPERATOR(pg_catalog.=) 2618::pg_catalog.oid AND \
    r.oid OPERATOR(pg_catalog.=) d.objid LEFT JOIN pg_catalog.pg_index i ON d.classid \
    OPERATOR(pg_catalog.=) 1259::pg_catalog.oid AND i.indexrelid OPERATOR(pg_catalog.=) d.objid \
    WHERE d.refclassid OPERATOR(pg_catalog.=) 1255::pg_catalog.oid AND d.refobjid \
    OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid UNION ALL SELECT 'f',d.refobjid,'f',d.objid \
    FROM pg_catalog.pg_depend d WHERE d.classid OPERATOR(pg_catalog.=) 1255::pg_catalog.oid AND \
    d.refclassid OPERATOR(pg_catalog.=) 1255::pg_catalog.oid UNION ALL SELECT \
    'r',c.conrelid,'r',c.confrelid FROM pg_catalog.pg_constraint c WHERE \
    pg_catalog.strpos('cnd',c.confdeltype::pg_catalog.text) OPERATOR(pg_catalog.>) 0 OR \
    pg_catalog.strpos('cnd',c.confupdtype::pg_catalog.text) OPERATOR(pg_catalog.>) 0 UNION ALL \
    SELECT 'r',i.inhrelid,'r',i.inhparent FROM pg_catalog.pg_inherits i UNION ALL SELECT \
    'r',d.refobjid,'r',r.ev_class FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON \
    d.classid OPERATOR(pg_catalog.=) 2618::pg_catalog.oid AND r.oid OPERATOR(pg_catalog.=) \
    d.objid WHERE d.refclassid OPERATOR(pg_catalog.=) 1259::pg_catalog.oid AND d.refobjid \
    OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid ), hidden(kind,oid,name) AS ( SELECT \
    'f',c.oid,c.name FROM code c WHERE c.lang OPERATOR(pg_catalog.<>) 'sql' AND c.lang \
    OPERATOR(pg_catalog.<>) 'plpgsql' OR c.src OPERATOR(pg_catalog.~) \
    E'(^|;|\\\\mbegin|\\\\mthen|\\\\melse|\\\\mloop)(\\\\s|--[^\\\\n]*\\\\n)*(set|reset|discard|listen|unlisten|load|prepare|deallocate|do|call)\\\\M' \
    OR pg_catalog.strpos(c.src,'set_config') OPERATOR(pg_catalog.>) 0 OR \
    pg_catalog.strpos(c.src,'advisory_lock') OPERATOR(pg_catalog.>) 0 OR \
    pg_catalog.strpos(c.src,'advisory_unlock') OPERATOR(pg_catalog.>) 0 OR \
    pg_catalog.strpos(c.src,'setseed') OPERATOR(pg_catalog.>) 0 OR \
    pg_catalog.strpos(c.src,'execute') OPERATOR(pg_catalog.>) 0 OR \
    pg_catalog.strpos(c.src,'dblink') OPERATOR(pg_catalog.>) 0 OR \
    pg_catalog.strpos(c.src,'pg_temp') OPERATOR(pg_catalog.>) 0 OR c.src OPERATOR(pg_catalog.~) \
    E'\\\\mtemp(orary)?\\\\M|with\\\\s+hold' UNION SELECT x.kind,x.oid,x.name FROM hidden h \
    CROSS JOIN LATERAL ( SELECT l.tk AS kind,l.too AS oid,COALESCE( (SELECT \
    r.relname::pg_catalog.text FROM pg_catalog.pg_class r WHERE l.tk OPERATOR(pg_catalog.=) 'r' \
    AND r.oid OPERATOR(pg_catalog.=) l.too), (SELECT p.proname::pg_catalog.text FROM \
    pg_catalog.pg_proc p WHERE l.tk OPERATOR(pg_catalog.=) 'f' AND p.oid OPERATOR(pg_catalog.=) \
    l.too)) AS name FROM leads l WHERE l.fk OPERATOR(pg_catalog.=) h.kind AND l.fo \
    OPERATOR(pg_catalog.=) h.oid AND l.too IS NOT NULL UNION ALL SELECT 'f',c.oid,c.name FROM \
    code c WHERE pg_catalog.strpos(c.src,pg_catalog.lower(h.name)) OPERATOR(pg_catalog.>) 0 AND \
    (h.name OPERATOR(pg_catalog.!~) '^[a-z0-9_]+$' OR c.src OPERATOR(pg_catalog.~) (E'\\\\m' \
    OPERATOR(pg_catalog.||) h.name OPERATOR(pg_catalog.||) E'\\\\M')) ) x) SELECT 'r',h.name \
    FROM hidden h WHERE h.kind OPERATOR(pg_catalog.=) 'r' UNION ALL SELECT 'f',h.name FROM hidden \
    h WHERE h.kind OPERATOR(pg_catalog.=) 'f' UNION ALL SELECT 'a','' FROM hidden h WHERE h.kind \
    OPERATOR(pg_catalog.=) 'f' AND ( EXISTS(SELECT FROM pg_catalog.pg_operator o \
    WHERE o.oprcode::pg_catalog.oid OPERATOR(pg_catalog.=) h.oid) OR EXISTS(SELECT FROM \
    pg_catalog.pg_cast c WHERE c.castfunc OPERATOR(pg_catalog.=) h.oid) OR EXISTS(SELECT FROM \
    pg_catalog.pg_depend d JOIN pg_catalog.pg_constraint c ON c.oid OPERATOR(pg_catalog.=) \
    d.objid AND c.contypid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid WHERE d.classid \
    OPERATOR(pg_catalog.=) 2606::pg_catalog.oid AND d.refclassid OPERATOR(pg_catalog.=) \
    1255::pg_catalog.oid AND d.refobjid OPERATOR(pg_catalog.=) h.oid)) UNION ALL SELECT 'd','' \
    FROM hidden h JOIN pg_catalog.pg_event_trigger e ON e.evtfoid OPERATOR(pg_catalog.=) h.oid \
    WHERE h.kind OPERATOR(pg_catalog.=) 'f'";

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(schema: &Arc<Schema>, relation: Option<&[u8]>) {
        let mut asking = Asking::take(schema).unwrap();
        asking.leads.relations.extend(relation.map(Box::from));
        asking.answered();
    }

    #[test]
    fn what_is_run_again_is_as_the_last_answer_has_it() {
        let (schema, known) = (Arc::new(Schema::default()), MayRun::default());
        let text = b"INSERT INTO jobs VALUES (1)";
        let may = || schema.unseen.may_run_again(text, &known);
        assert!(may(), "nothing is known");
        for (relation, expected) in
            [(Some(&b"jobs"[..]), true), (Some(&b"users"[..]), false), (None, false)]
        {
            answer(&schema, relation);
            assert_eq!((may(), may()), (expected, expected), "{relation:?}");
            schema.unseen.changed();
            assert!(may(), "it is not known any more");
        }
        // Of another database with other code.
        let other = Arc::new(Schema::default());
        answer(&other, Some(b"jobs"));
        answer(&schema, Some(b"users"));
        assert_eq!((may(), other.unseen.may_run_again(text, &known), may()), (false, true, false));
    }
}
