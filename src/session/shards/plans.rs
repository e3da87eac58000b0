//! How a database is spread, with the plans of texts, kept by text as their facts are: what stands for
//! all texts that differ in plain literals alone has one plan.
//!
//! What is kept is bounded in bytes, in two generations: what is used is in the young one or comes back
//! into it. A plan counts under the catalog that it was made by.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::RandomState;
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use super::schemas::{self, BySchema};
use crate::catalog::{Current, Known};
use crate::shard::Sharding;
use crate::sql::facts::{
    Builtin, Certainty, Does, Facts, Name, Places, builtin, common_and_places, facts,
};
use crate::sql::fan::{Fan, changes as changes_rows, fan};
use crate::sql::keys::{Keyed, OneOf, Plan, Refusal, Slot, Table, Tables, plan};
use crate::sql::{
    Bracket, Changes, Leaves, ShardHint, WrongHint, bracket, changes, effects, leaves_nothing,
    shard_hint,
};

/// The shards of a database, and what is known of texts there.
#[derive(Debug)]
pub struct Layout {
    /// What is configured. Types of keys may be left to the catalog there; [`Self::typed`] has them.
    pub sharding: Arc<Sharding>,
    /// With the types of the catalog of this number.
    typed: RwLock<Option<(u64, Arc<Sharding>)>>,
    kept: RwLock<Generations>,
    /// Whose turn it is to wait for what several shards have no servers for.
    pub(in crate::session) turns: Arc<Semaphore>,
    /// Bytes that a generation may have.
    generation_max: AtomicUsize,
}

type Texts = HashSet<ByText, RandomState>;

/// What is known by its text.
#[derive(Debug)]
struct ByText(Arc<Planned>);

impl Borrow<[u8]> for ByText {
    fn borrow(&self) -> &[u8] {
        &self.0.text
    }
}

impl Hash for ByText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

impl PartialEq for ByText {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for ByText {}

/// The plan of this text, if it goes by the catalog of this number.
fn find(texts: &Texts, text: &[u8], by: Option<u64>) -> Option<Arc<Planned>> {
    texts.get(text).filter(|it| it.0.by == by).map(|it| Arc::clone(&it.0))
}

#[derive(Debug, Default)]
struct Generations {
    young: Texts,
    old: Texts,
    young_bytes: usize,
}

/// What there is to know of a text, but for the values in it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is about something else")]
pub(in crate::session) struct Planned {
    /// What stands for all texts that it is about.
    text: Box<[u8]>,
    /// The number of the catalog that it goes by; `None` = there was none.
    by: Option<u64>,
    /// With the types of keys that the catalog has.
    pub sharding: Arc<Sharding>,
    pub plan: Plan,
    /// It is the same wherever it runs.
    pub free: bool,
    /// It names relations, or may.
    pub relations: bool,
    /// It names some without a schema, or may.
    pub unqualified: bool,
    /// Nothing but its keys says where it runs, as far as it is up to the text.
    pub by_keys: bool,
    /// A backslash is in it.
    pub backslash: bool,
    /// What it may change.
    pub changes: Changes,
    /// It leaves nothing in the session that runs it, whatever its values.
    pub clean: bool,
    /// It calls functions whose code is not seen in it, or runs code by itself.
    pub code: bool,
    /// There are several statements in it.
    pub several: bool,
    /// What it is, where it does nothing but begin or end a transaction.
    pub bracket: Option<Bracket>,
    /// The schemas that it names, where those say where their tables are.
    pub(super) schemas: Option<Box<BySchema>>,
    /// Where comments in it say that it is for.
    pub hint: Result<Option<ShardHint>, WrongHint>,
    weight: usize,
}

/// Texts up to this many bytes are found without an allocation, and those up to so many faster.
const SHORT: usize = 1024;
const SHORTER: usize = 128;
/// A plan of up to so many bytes is kept by who needs it most.
const LIGHT: usize = 4 * 1024;

impl Layout {
    /// No text is known yet; they may take so many bytes.
    pub fn new(sharding: Sharding, bytes_max: usize) -> Self {
        let layout = Self {
            sharding: Arc::new(sharding),
            typed: RwLock::default(),
            kept: RwLock::default(),
            turns: Arc::new(Semaphore::new(1)),
            generation_max: AtomicUsize::new(0),
        };
        layout.resize(bytes_max);
        layout
    }

    /// So many bytes from now on; what is too much goes as other texts come.
    pub fn resize(&self, bytes_max: usize) {
        self.generation_max.store(bytes_max / 2, Ordering::Relaxed);
    }

    /// What is configured, with the types of keys that the catalog of the default shard has, as far as it
    /// is known. What they were when they were first known, they stay: rows are where that says.
    pub fn typed(&self, known: Option<&Known>) -> Arc<Sharding> {
        if !self.sharding.is_open() {
            return Arc::clone(&self.sharding);
        }
        {
            let typed = self.typed.read();
            match (&*typed, known.map(Known::number)) {
                (Some((_, typed)), None) => return Arc::clone(typed),
                (Some((by, typed)), Some(number)) if *by >= number => return Arc::clone(typed),
                (None, None) => return Arc::clone(&self.sharding),
                (_, Some(_)) => {}
            }
        }
        let Some(known) = known else { return Arc::clone(&self.sharding) };
        let mut typed = self.typed.write();
        let before = typed.as_ref().map(|(_, before)| &**before);
        let next = Arc::new(self.sharding.typed(known.columns(), before));
        if before != Some(&*next) {
            for (group, keys) in next.groups() {
                match keys {
                    Ok((kind, _)) => tracing::info!(group, "keys of shards are of type {kind}"),
                    Err(why) => tracing::warn!("statements by key are refused: {why}"),
                }
            }
        }
        *typed = Some((known.number(), Arc::clone(&next)));
        next
    }

    /// What a query over several shards becomes. It has values of its text in it: it is for that alone.
    pub(super) fn fan(&self, text: &[u8], known: Option<&Known>) -> Result<Fan, Refusal> {
        fan(text, &Seen::new(&self.typed(known), known))
    }

    /// Whether a change of rows may run on several shards as it is; `copies`: of rows that all of them have.
    pub(super) fn changes(
        &self,
        text: &[u8],
        known: Option<&Known>,
        copies: bool,
    ) -> Result<(), Refusal> {
        changes_rows(text, &Seen::new(&self.typed(known), known), copies)
    }

    /// The plan of a text, by what is known of the default shard.
    /// With the places of its first values.
    pub(super) fn planned(&self, text: &[u8], catalog: &Current) -> (Arc<Planned>, Places) {
        match text.len() {
            len if len <= SHORTER => self.find_or_plan(text, catalog, &mut [0; SHORTER]),
            len if len <= SHORT => self.find_or_plan(text, catalog, &mut [0; SHORT]),
            len => self.find_or_plan(text, catalog, &mut vec![0; len]),
        }
    }

    /// The same, sooner where there are no literals in it.
    pub(super) fn planned_as_is(&self, text: &[u8], catalog: &Current) -> Arc<Planned> {
        let by = catalog.number();
        let found = find(&self.kept.read().young, text, by);
        found.unwrap_or_else(|| self.planned(text, catalog).0)
    }

    /// How many texts are known.
    #[cfg(test)]
    pub(super) fn texts(&self) -> usize {
        let kept = self.kept.read();
        kept.young.len() + kept.old.len()
    }

    fn find_or_plan(
        &self,
        text: &[u8],
        catalog: &Current,
        buffer: &mut [u8],
    ) -> (Arc<Planned>, Places) {
        let (key, places) = common_and_places(text, buffer);
        let by = catalog.number();
        let old = {
            let kept = self.kept.read();
            if let Some(planned) = find(&kept.young, key, by) {
                return (planned, places);
            }
            find(&kept.old, key, by)
        };
        let new = || Arc::new(Planned::new(self, key, catalog.remembered().as_deref()));
        let planned = old.unwrap_or_else(new);
        self.keep(&planned);
        (planned, places)
    }

    fn keep(&self, planned: &Arc<Planned>) {
        let max = self.generation_max.load(Ordering::Relaxed);
        if planned.weight > max {
            return;
        }
        let mut kept = self.kept.write();
        kept.old.remove(&*planned.text);
        let forgotten = if kept.young_bytes + planned.weight > max {
            kept.young_bytes = 0;
            let young = std::mem::take(&mut kept.young);
            std::mem::replace(&mut kept.old, young)
        } else {
            Texts::default()
        };
        let before = kept.young.replace(ByText(Arc::clone(planned)));
        let had = before.as_ref().map_or(0, |ByText(before)| before.weight);
        kept.young_bytes = (kept.young_bytes + planned.weight).saturating_sub(had);
        drop(kept);
        drop(forgotten);
    }
}

impl Planned {
    /// Whether each session may keep one.
    pub(super) fn is_light(&self) -> bool {
        self.weight <= LIGHT
    }

    /// It goes by a catalog: what names stand for was known.
    pub(super) fn has_catalog(&self) -> bool {
        self.by.is_some()
    }

    /// How long the text is that this begins with, where it is about that, under the catalog of this number.
    pub(super) fn text_len_in(&self, identity: &[u8], by: Option<u64>) -> Option<usize> {
        let len = self.text.len();
        let is_one = identity.get(len) == Some(&0) && identity.starts_with(&self.text);
        (is_one && self.by == by).then_some(len)
    }

    /// Of what stands for all texts that differ from it in literals: nothing here hangs on those, not even
    /// on how long they are.
    fn new(layout: &Layout, common: &[u8], known: Option<&Known>) -> Self {
        let sharding = layout.typed(known);
        let seen = Seen::new(&sharding, known);
        let plan = plan(common, &seen);
        let facts = facts(common);
        let schemas = layout.sharding.schemas().map(|schemas| {
            let tables = schemas::Known { all: &seen, known, schemas };
            Box::new(BySchema::new(common, &plan, &tables))
        });
        let hint = shard_hint(common);
        let said = hint.as_ref().map_or(0, |hint| hint.as_ref().map_or(0, ShardHint::len));
        // Only what reads names all that it is about; what calls a function that sets something does, too.
        let may_name_others = match &facts.does {
            Does::Nothing | Does::Reads => false,
            Does::Session(by) => &**by != "set_config" || facts.statements > 1,
            Does::Begins(_) | Does::Opaque(_) | Does::Locks(_) | Does::Writes(_) => true,
        };
        let effects = effects(common);
        let (changes, bracket) = (changes(common), bracket(common));
        let several = facts.statements > 1;
        let is_plain = changes == Changes::default() && bracket.is_none() && !several;
        Self {
            text: common.into(),
            by: known.map(Known::number),
            free: is_free(&facts),
            relations: may_name_others || !facts.relations.is_empty(),
            unqualified: may_name_others
                || facts.relations.iter().any(|name| name.schema.is_none()),
            by_keys: is_plain
                && matches!(plan, Plan::Keyed(_))
                && hint == Ok(None)
                && schemas.is_none(),
            backslash: memchr::memchr(b'\\', common).is_some(),
            changes,
            sharding,
            clean: leaves_nothing(common, &effects),
            code: effects.leaves.has(Leaves::CODE),
            several,
            bracket,
            weight: size_of::<Self>()
                + 64
                + common.len()
                + said
                + weight(&plan)
                + schemas.as_ref().map_or(0, |schemas| schemas.weight()),
            schemas,
            hint,
            plan,
        }
    }
}

/// Whether a text gives the same on every shard: it reads nothing but what is in it, and calls nothing
/// but what Postgres brings and is known to read.
fn is_free(facts: &Facts) -> bool {
    let harmless = |(name, certainty): (&Name, &Certainty)| {
        let own = name.schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
        own && builtin(&name.name) == Some(Builtin::Reads) || *certainty == Certainty::Syntax
    };
    matches!(facts.does, Does::Nothing | Does::Reads)
        && facts.relations.is_empty()
        && facts.calls.iter().all(harmless)
}

/// What a plan takes beside itself, roughly.
fn weight(plan: &Plan) -> usize {
    let Plan::Keyed(Keyed { roots, .. }) = plan else { return 64 };
    let slots = |one: &OneOf| size_of::<OneOf>() + one.slots.len() * size_of::<Slot>();
    roots.iter().map(|root| 128 + root.among.iter().map(slots).sum::<usize>()).sum()
}

/// What names stand for, by what is configured and what the default shard's catalog knows of views and
/// partitions.
struct Seen<'a> {
    sharding: &'a Sharding,
    known: Option<&'a Known>,
    /// Names of the default shard's tables that were looked at, and whether all that is behind them is
    /// there: a text may have one as often as it is long.
    looked_at: RefCell<HashMap<Name, bool, RandomState>>,
}

impl<'a> Seen<'a> {
    fn new(sharding: &'a Sharding, known: Option<&'a Known>) -> Self {
        Self { sharding, known, looked_at: RefCell::default() }
    }

    fn is_default(&self, name: &Name) -> bool {
        matches!(self.sharding.table(name), Table::Default | Table::Local)
    }

    fn all_default(&self, known: &Known, name: &Name) -> bool {
        if let Some(all) = self.looked_at.borrow().get(name) {
            return *all;
        }
        let all = known.all_kin(name, |name| self.is_default(name));
        self.looked_at.borrow_mut().insert(name.clone(), all);
        all
    }
}

impl Tables for Seen<'_> {
    fn table(&self, name: &Name) -> Table<'_> {
        let own = self.sharding.table(name);
        let Some(known) = self.known else { return own };
        let clear = match own {
            Table::Local | Table::Unclear => true,
            Table::Default => self.all_default(known, name),
            // It may be another table of this name, in another schema.
            Table::Sharded { .. } | Table::Reference => {
                name.schema.is_some() || known.all_of_name(name, |it| !self.is_default(it))
            }
        };
        if clear { own } else { Table::Unclear }
    }

    fn keeps(&self, group: u16, type_name: &str) -> bool {
        self.sharding.keeps(group, type_name)
    }
}
