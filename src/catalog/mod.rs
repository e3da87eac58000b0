//! What the names in a text stand for in a database, as far as it decides where the text may run.
//!
//! Functions by their volatility, which is a promise of their owner; relations by what they are, and
//! views by what is behind them. A name without a schema stands for what it might be in any schema:
//! the strictest counts. A [`Catalog`] is as it was loaded; [`Current`] knows whether it is still in
//! force. Knows nothing of clients.

mod current;
mod defaults;
mod keys;
mod kin;
mod load;
mod orders;
mod readings;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub use current::{Attempt, Catalogs, Current, Figures, Known};
pub use defaults::{Defaults, Manners};
pub use keys::key_columns;
pub use load::{Imprint, Reader};
pub use orders::Orders;
pub use readings::{Kept, Reading, Readings};

use self::kin::Kin;
use crate::route::{Judgement, Reason};
use crate::shard::KeyColumn;
use crate::sql::facts::{Builtin, Certainty, Facts, Name, builtin};

/// The number of an object in its catalog.
pub type Oid = u32;

/// What the owner knows better than the catalog, as names with or without their schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Functions that only read, whatever they are declared to be.
    pub read_only: Vec<String>,
    /// Functions that are for the primary.
    pub primary: Vec<String>,
    /// Relations that are for the primary.
    pub primary_tables: Vec<String>,
    /// Tables, without their schemas, and their columns, whose types somebody wants to know.
    pub columns: Vec<(String, String)>,
}

/// One function, aggregate or window function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its number.
    pub oid: Oid,
    /// Where it is.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What its owner says of it.
    pub volatility: Volatility,
    /// It can be called as if it were a column of its only argument.
    pub is_attribute: bool,
}

/// What a function may do; of an aggregate, the worst of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatility {
    /// Always the same from the same arguments.
    Immutable,
    /// It may look at the database.
    Stable,
    /// It may do anything.
    Volatile,
}

/// What calls a function without its name being there.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// How.
    pub by: By,
    /// Its name.
    pub name: String,
    /// The function.
    pub function: Oid,
}

/// How a function is called without its name being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By an operator.
    Operator,
    /// By a check of a domain, or an explicit cast to a type.
    Type,
    /// By an implicit cast, which nothing in a text shows.
    ImplicitCast,
}

/// One relation.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its number.
    pub oid: Oid,
    /// Where it is.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its rows are not in the log that replicas follow.
    pub unlogged: bool,
}

/// What a relation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// A table, a materialized view, or a table with partitions.
    Table,
    /// A view.
    View,
    /// A foreign table.
    Foreign,
    /// A sequence.
    Sequence,
}

/// What is behind a relation: the query of a view, a policy, a partition.
#[derive(Clone, Debug, Default)]
pub struct Behind {
    /// The relation.
    pub relation: Oid,
    /// It is a policy.
    pub is_policy: bool,
    /// It locks rows.
    pub locks: bool,
    /// Its parts.
    pub relations: Vec<Oid>,
    /// The functions that it calls.
    pub functions: Vec<Oid>,
}

/// Everything that was loaded of a database.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Those that are there.
    pub functions: Vec<Function>,
    /// What calls them unseen.
    pub hidden: Vec<Hidden>,
    /// Those that are there, temporary ones left out.
    pub relations: Vec<Relation>,
    /// What is behind them.
    pub behind: Vec<Behind>,
    /// What transactions are like where nobody says anything.
    pub defaults: Defaults,
    /// How values are ordered.
    pub orders: Orders,
    /// The columns that were asked for.
    pub columns: Vec<KeyColumn>,
}

/// Why something may do more than read, and what it is.
type Doubt = (Reason, Arc<str>);

/// What is known of a database.
#[derive(Debug, Default)]
pub struct Catalog {
    functions: HashMap<String, Vec<Meaning>>,
    relations: HashMap<String, Vec<Meaning>>,
    operators: Vec<Doubtful>,
    types: HashMap<String, Doubt>,
    /// Functions that are called as if they were columns.
    attributes: HashMap<String, Doubt>,
    /// Those that may not be the same in every transaction.
    unsteady_attributes: HashSet<String>,
    implicit_cast: Option<Doubt>,
    defaults: Defaults,
    orders: Orders,
    columns: Vec<KeyColumn>,
}

/// What a name stands for in one schema.
#[derive(Debug)]
struct Meaning {
    schema: String,
    doubt: Option<Doubt>,
    /// It is the same in whatever transaction it is looked at.
    steady: bool,
    /// Of a relation, others that have rows in common with it.
    kin: Option<Kin>,
}

#[derive(Debug)]
struct Doubtful {
    name: String,
    doubt: Doubt,
}

impl Catalog {
    /// What follows from what was loaded.
    pub fn new(loaded: Loaded, overrides: &Overrides) -> Self {
        let mut catalog = Self {
            defaults: loaded.defaults,
            orders: loaded.orders,
            columns: loaded.columns,
            ..Self::default()
        };
        let by_oid: HashMap<Oid, Option<Doubt>> = loaded
            .functions
            .iter()
            .map(|function| (function.oid, function.doubt(overrides)))
            .collect();
        // A function that is not among them is not known.
        let doubt_of = |oid: &Oid| match by_oid.get(oid) {
            Some(doubt) => doubt.clone(),
            None => Some((Reason::UnknownFunction, format!("function {oid}").into())),
        };
        for hidden in loaded.hidden {
            let Some((_, function)) = doubt_of(&hidden.function) else { continue };
            let about = Arc::from(format!("{} ({function})", hidden.name));
            match hidden.by {
                By::Operator => catalog
                    .operators
                    .push(Doubtful { name: hidden.name, doubt: (Reason::VolatileOperator, about) }),
                By::Type => {
                    catalog.types.insert(hidden.name, (Reason::VolatileType, about));
                }
                By::ImplicitCast => catalog.implicit_cast = Some((Reason::VolatileType, about)),
            }
        }
        let doubts = doubts(&loaded.relations, &loaded.behind, overrides, doubt_of);
        let watched: HashSet<Oid> =
            loaded.behind.iter().filter(|it| it.is_policy).map(|it| it.relation).collect();
        let mut kin = kin::kin(&loaded.relations, &loaded.behind);
        for Relation { oid, schema, name, kind, .. } in loaded.relations {
            let doubt = doubts.get(&oid).cloned();
            let steady = kind == RelationKind::Table && !watched.contains(&oid);
            let kin = kin.remove(&oid);
            let meaning = Meaning { schema, doubt, steady, kin };
            catalog.relations.entry(name).or_default().push(meaning);
        }
        for function in loaded.functions {
            let doubt = by_oid.get(&function.oid).cloned().flatten();
            if let Some(doubt) = doubt.clone().filter(|_| function.is_attribute) {
                catalog.attributes.insert(function.name.clone(), doubt);
            }
            let steady = function.is_steady();
            if function.is_attribute && !steady {
                catalog.unsteady_attributes.insert(function.name.clone());
            }
            let known = Meaning { schema: function.schema, doubt, steady, kin: None };
            catalog.functions.entry(function.name).or_default().push(known);
        }
        catalog
    }

    /// How many functions and relations it has.
    pub fn size(&self) -> (usize, usize) {
        let count = |names: &HashMap<String, Vec<Meaning>>| names.values().map(Vec::len).sum();
        (count(&self.functions), count(&self.relations))
    }

    /// What there is to say of the names in a text.
    pub fn judge(&self, facts: &Facts) -> Judgement {
        match self.doubt(facts) {
            Some((reason, about)) => Judgement::Doubtful(reason, about),
            None => Judgement::Harmless,
        }
    }

    /// Whether every relation that a name may stand for, and all that have rows in common with it, pass;
    /// their names have a schema. What can't be said does not pass.
    pub fn all_kin(&self, name: &Name, passes: impl Fn(&Name) -> bool) -> bool {
        let known = self.relations.get(&*name.name).map(Vec::as_slice).unwrap_or_default();
        matching(known, name).all(|Meaning { schema, kin, .. }| {
            let own = Name { schema: Some(schema.as_str().into()), name: name.name.clone() };
            let pass = |kin: &Kin| {
                kin.as_ref().is_some_and(|kin| kin.iter().all(|names| names.iter().all(&passes)))
            };
            passes(&own) && kin.as_ref().is_none_or(pass)
        })
    }

    /// Whether every relation that a name may stand for passes; their names have a schema.
    pub fn all_of_name(&self, name: &Name, passes: impl Fn(&Name) -> bool) -> bool {
        let known = self.relations.get(&*name.name).map(Vec::as_slice).unwrap_or_default();
        matching(known, name).all(|known| {
            let schema = Some(known.schema.as_str().into());
            passes(&Name { schema, name: name.name.clone() })
        })
    }

    /// What transactions of this role are like where nobody says anything.
    pub fn manners(&self, role: &str) -> Manners {
        self.defaults.of(role)
    }

    /// Whether what a text reads does not depend on the transaction that it is in, such as on the time of
    /// its beginning: it may go on in another one then. Own operators, casts and checks of domains are
    /// not looked at.
    pub fn is_steady(&self, facts: &Facts) -> bool {
        let known = |names: &HashMap<String, Vec<Meaning>>, name: &Name| {
            let known = names.get(&*name.name).map(Vec::as_slice).unwrap_or_default();
            matching(known, name).all(|known| known.steady)
        };
        facts.is_steady()
            && facts.calls.keys().all(|name| known(&self.functions, name))
            && facts.relations.iter().all(|name| known(&self.relations, name))
            && !facts.attributes.iter().any(|name| self.unsteady_attributes.contains(&**name))
    }

    fn doubt(&self, facts: &Facts) -> Option<Doubt> {
        let calls = facts.calls.iter().find_map(|(name, certainty)| self.call(name, *certainty));
        calls
            .or_else(|| facts.relations.iter().find_map(|name| self.relation(name)))
            .or_else(|| {
                let mut operators = facts.operators.iter();
                operators.find_map(|operator| {
                    let found = self.operators.iter().find(|known| operator.contains(&known.name));
                    found.map(|known| known.doubt.clone())
                })
            })
            .or_else(|| {
                let mut attributes = facts.attributes.iter();
                attributes.find_map(|name| self.attributes.get(&**name).cloned())
            })
            .or_else(|| facts.mentions.iter().find_map(|name| self.types.get(&**name).cloned()))
            .or_else(|| self.implicit_cast.clone())
    }

    fn call(&self, name: &Name, certainty: Certainty) -> Option<Doubt> {
        let known = self.functions.get(&*name.name).map(Vec::as_slice).unwrap_or_default();
        let mut known = matching(known, name).peekable();
        if known.peek().is_some() {
            return known.find_map(|known| known.doubt.clone());
        }
        // Some are syntax, and no function at all.
        let built_in = name.schema.is_none() && builtin(&name.name) == Some(Builtin::Reads);
        let harmless = built_in || certainty == Certainty::Syntax;
        (!harmless).then(|| (Reason::UnknownFunction, name.to_string().into()))
    }

    fn relation(&self, name: &Name) -> Option<Doubt> {
        let known = self.relations.get(&*name.name).map(Vec::as_slice).unwrap_or_default();
        let mut known = matching(known, name).peekable();
        if known.peek().is_none() {
            return Some((Reason::UnknownRelation, name.to_string().into()));
        }
        known.find_map(|known| known.doubt.clone())
    }
}

fn matching<'k>(known: &'k [Meaning], name: &Name) -> impl Iterator<Item = &'k Meaning> {
    let schema = name.schema.clone();
    known.iter().filter(move |known| schema.as_deref().is_none_or(|schema| known.schema == schema))
}

impl Function {
    /// Whether it does not depend on the transaction that calls it. Of Postgres's own, those that do
    /// are known by name ([`Facts::is_steady`]).
    fn is_steady(&self) -> bool {
        self.schema == "pg_catalog" || self.volatility == Volatility::Immutable
    }

    /// Why it may do more than read.
    fn doubt(&self, overrides: &Overrides) -> Option<Doubt> {
        let about = format!("{}.{}", self.schema, self.name);
        let listed =
            |list: &[String]| list.iter().any(|listed| *listed == self.name || *listed == about);
        if listed(&overrides.primary) {
            return Some((Reason::PrimaryFunction, about.into()));
        }
        if self.schema == "pg_catalog" {
            // Here volatility is no promise: some that are stable take a transaction's number, or
            // run text.
            let harmless = match builtin(&self.name) {
                Some(does) => does == Builtin::Reads,
                None => self.volatility == Volatility::Immutable,
            };
            return (!harmless).then(|| (Reason::VolatileFunction, about.into()));
        }
        let volatile = self.volatility == Volatility::Volatile;
        let doubtful = volatile && !listed(&overrides.read_only);
        doubtful.then(|| (Reason::VolatileFunction, about.into()))
    }
}

/// Why each relation may do more than read: for what it is, for what it calls, or for a relation
/// behind it.
fn doubts(
    relations: &[Relation],
    behind: &[Behind],
    overrides: &Overrides,
    function: impl Fn(&Oid) -> Option<Doubt>,
) -> HashMap<Oid, Doubt> {
    let names: HashMap<Oid, String> = relations
        .iter()
        .map(|relation| (relation.oid, format!("{}.{}", relation.schema, relation.name)))
        .collect();
    let name = |oid: &Oid| names.get(oid).cloned().unwrap_or_else(|| format!("relation {oid}"));
    let mut doubts: HashMap<Oid, Doubt> = HashMap::new();
    for relation in relations {
        let listed = |listed: &String| *listed == relation.name || *listed == name(&relation.oid);
        let reason = match relation.kind {
            _ if overrides.primary_tables.iter().any(listed) => Reason::PrimaryTable,
            RelationKind::Foreign => Reason::Foreign,
            RelationKind::Sequence => Reason::Sequence,
            RelationKind::Table if relation.unlogged => Reason::Unlogged,
            RelationKind::Table | RelationKind::View => continue,
        };
        doubts.insert(relation.oid, (reason, name(&relation.oid).into()));
    }
    for part in behind {
        let reason = if part.is_policy { Reason::Policy } else { Reason::View };
        let called = part.functions.iter().find_map(&function);
        let unknown = part.relations.iter().find(|oid| !names.contains_key(oid));
        let about = match (part.locks, called, unknown) {
            (true, ..) => "locks rows".into(),
            (_, Some((_, called)), _) => called,
            (_, _, Some(unknown)) => format!("relation {unknown}").into(),
            _ => continue,
        };
        let about = format!("{}: {about}", name(&part.relation));
        doubts.entry(part.relation).or_insert_with(|| (reason, about.into()));
    }
    // From every doubtful relation to those that it is behind.
    let mut before: HashMap<Oid, Vec<Oid>> = HashMap::new();
    for part in behind {
        for oid in &part.relations {
            before.entry(*oid).or_default().push(part.relation);
        }
    }
    let mut open: Vec<Oid> = doubts.keys().copied().collect();
    let mut seen: HashSet<Oid> = open.iter().copied().collect();
    while let Some(oid) = open.pop() {
        let Some(doubt) = doubts.get(&oid).cloned() else { continue };
        for other in before.get(&oid).into_iter().flatten() {
            if seen.insert(*other) {
                let about = format!("{}: {}", name(other), doubt.1);
                doubts.insert(*other, (doubt.0, about.into()));
                open.push(*other);
            }
        }
    }
    doubts
}
