//! Where a text has to run by the schemas that it names, and by those that the client's `search_path`
//! names, where schemas say where their tables are.
//!
//! What is looked up without a schema is looked up on the shard of the schema in `search_path`, as Postgres
//! there would. What a text names that is on the default shard alone can't be had elsewhere.

use super::doubt::{Doubt, Forced, SaidPath};
use super::planner::{Demand, Placed, Planner};
use super::plans::Planned;
use super::refusals::{not_utf8, refused};
use crate::catalog;
use crate::client::condition;
use crate::server::manner::Manner;
use crate::shard::ShardId;
use crate::sql::facts::{Builtin, Name, builtin};
use crate::sql::keys::{Plan, Table, Tables};
use crate::sql::{
    LookedUp, defines_alone, looked_up, names_path, path_setting, qualifiers, search_path,
};
use crate::wire::reply::Report;

/// What a text names, as far as it decides that.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are answers to as many questions")]
pub(super) struct BySchema {
    /// Schemas that say where their tables are.
    pub named: Box<[Box<str>]>,
    /// It may look names up in `search_path`.
    looks_up: bool,
    /// It does nothing of that kind but to set something by a function.
    only_sets: bool,
    /// It names what is in another schema, on the default shard alone.
    elsewhere: bool,
    /// It names what is without a schema, and on the default shard alone if it is in none of those.
    plain: bool,
    /// It asks what is found in `search_path`.
    asks: bool,
    /// What it names can't be read.
    unclear: bool,
}

/// Statements that begin so define something: names without a schema in them are looked up
/// where they run.
const DEFINING: [&str; 12] = [
    "alter", "analyse", "analyze", "cluster", "comment", "create", "drop", "grant", "refresh",
    "reindex", "revoke", "vacuum",
];
/// Functions that say what is found in `search_path`.
const ASKING: [&str; 8] = [
    "current_schema",
    "current_schemas",
    "pg_get_serial_sequence",
    "pg_table_is_visible",
    "to_regclass",
    "to_regproc",
    "to_regprocedure",
    "to_regtype",
];

impl BySchema {
    /// Of a text with this plan.
    pub(super) fn new(text: &[u8], plan: &Plan, tables: &Known<'_>) -> Self {
        // Before the dot of a setting there is no schema.
        if matches!(plan, Plan::Session) {
            return Self::default();
        }
        let Some(found) = qualifiers(text) else {
            return Self { unclear: true, looks_up: true, ..Self::default() };
        };
        let is_one = |name: &str| tables.is_schema(name);
        let named = found.before_dots.iter().filter(|name| is_one(name)).cloned().collect();
        let Some(LookedUp { relations, calls }) = looked_up(text) else {
            // Of what has a dot, tables are those that the default shard has.
            let elsewhere = found.pairs.iter().any(|name| {
                let schema = name.schema.as_deref().unwrap_or_default();
                let own = is_one(schema) || matches!(schema, "pg_catalog" | "information_schema");
                !own && tables.known.is_none_or(|known| !known.all_of_name(name, |_| false))
            });
            // What is no definition may be about what the default shard has.
            let plain = !defines_alone(text, &DEFINING);
            return Self { named, looks_up: true, elsewhere, plain, asks: true, ..Self::default() };
        };
        let is_default = |name: &Name| tables.all.table(name) == Table::Default;
        let plain = |name: &&Name| name.schema.is_none();
        let other = |name: &&Name| name.schema.as_ref().is_some_and(|schema| !is_one(schema));
        // Functions that read take no names, as far as is known here; others may, in strings.
        let asks = calls.iter().any(|name| ASKING.contains(&&*name.name));
        let may_look_up =
            |name: &Name| name.schema.is_none() && builtin(&name.name) != Some(Builtin::Reads);
        let (sets, calls): (Vec<_>, Vec<_>) = calls
            .iter()
            .filter(|name| may_look_up(name))
            .partition(|name| &*name.name == "set_config");
        let in_path = |name: &Name| match name.schema.as_deref() {
            None | Some("pg_catalog" | "information_schema") => true,
            Some(_) => false,
        };
        let looks_up = asks || !calls.is_empty() || relations.iter().any(in_path);
        Self {
            named,
            only_sets: !looks_up,
            looks_up: looks_up || !sets.is_empty(),
            elsewhere: relations.iter().filter(other).any(is_default),
            plain: relations.iter().filter(plain).any(is_default),
            asks,
            unclear: false,
        }
    }

    /// What it takes, roughly.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.named.iter().map(|name| name.len() + 16).sum::<usize>()
    }
}

/// What tells schemas apart.
pub(super) struct Known<'a> {
    /// What all names stand for.
    pub all: &'a dyn Tables,
    /// What is known of the default shard.
    pub known: Option<&'a catalog::Known>,
    /// Those that say where their tables are.
    pub schemas: &'a crate::shard::Schemas,
}

impl Known<'_> {
    fn is_schema(&self, name: &str) -> bool {
        self.schemas.has(name)
    }
}

impl Planner<'_> {
    /// The shard of the schemas that a text names, or looks names up in; `None` where there are none.
    /// Notes what it says of what follows. It can't be another than the one that somebody has named, whose
    /// own name goes before `search_path`.
    pub(super) fn by_schema(
        &self,
        text: &[u8],
        planned: &Planned,
        (forced, everywhere): (Option<Forced>, bool),
        doubt: &mut Doubt,
    ) -> Result<Option<ShardId>, Box<Report>> {
        let Some(by) = &planned.schemas else { return Ok(None) };
        let by_hand = everywhere || forced.is_some_and(|forced| forced.by_name);
        let found = self.of_text(text, planned, by, by_hand, doubt)?;
        match (forced, found) {
            (Some(forced), Some(schema)) if forced.shard != schema => {
                Err(self.otherwise("its schema or search_path is", schema, forced.shard))
            }
            (_, found) => Ok(found),
        }
    }

    fn of_text(
        &self,
        text: &[u8],
        planned: &Planned,
        by: &BySchema,
        by_hand: bool,
        doubt: &mut Doubt,
    ) -> Result<Option<ShardId>, Box<Report>> {
        let changes = planned.changes;
        let before = doubt.path;
        // Behind the end of a transaction another path may count.
        let is_told = before != SaidPath::Settled || self.manner.search_path.is_some();
        if changes.ends && is_told && by.looks_up && !by_hand {
            return Err(behind_setting());
        }
        let by_code = planned.several && self.runs_code(text, planned);
        if changes.path || changes.by_function && names_path(text) || by_code {
            let is_utf8 = self.utf8() && !doubt.recodes;
            let is_read = |names: &[Box<str>]| is_utf8 || names.iter().all(|name| name.is_ascii());
            if let Some(setting) = path_setting(text).filter(|it| is_read(&it.schemas)) {
                let shard = self.of_path(&setting.schemas)?;
                doubt.path = match doubt.inside || !setting.local {
                    true => SaidPath::Here(shard),
                    // It counts for nothing, unless a transaction is begun for it.
                    false => SaidPath::Unclear,
                };
                return Ok(shard);
            }
            doubt.path = SaidPath::Unclear;
            // What is in the same text is looked up in one or the other.
            if by.looks_up && !by.only_sets && !by_hand {
                return Err(behind_setting());
            }
        }
        let is_free = planned.free && by.named.is_empty() && !by.asks;
        if is_free || matches!(planned.plan, Plan::Session) {
            return Ok(None);
        }
        if by.unclear {
            return Err(refused(
                "a text whose names can't be taken apart, where schemas say where tables are",
                "Write strings with a backslash as E'…'.",
            ));
        }
        if by.named.iter().any(|name| !name.is_ascii()) && (doubt.recodes || !self.utf8()) {
            return Err(not_utf8());
        }
        let named = self.of_path(&by.named)?;
        let path = if by.looks_up && !by_hand { self.path(before)? } else { None };
        let shard = match (named, path) {
            (Some(named), Some(path)) if named != path => {
                let (named, path) = (self.name(named), self.name(path));
                return Err(refused(
                    format!("a schema on shard {named}, and search_path is for shard {path}"),
                    "Name all tables with their schemas, or SET search_path first.",
                ));
            }
            (named, path) => named.or(path),
        };
        let default = self.layout.sharding.default_shard();
        let lacks = by.elsewhere || by.plain && path.is_none();
        match shard {
            Some(shard) if shard != default && lacks && !by_hand => {
                if !planned.has_catalog() && by.plain && path.is_none() {
                    return Err(Box::new(condition::SHARDS_UNKNOWN.report()));
                }
                Err(refused(
                    format!(
                        "its schema is on shard {}, and it names what is on {} alone",
                        self.name(shard),
                        self.name(default),
                    ),
                    "Read from them one after the other; or, if the shard has what it names: \
                     /* pgweir: shard=… */.",
                ))
            }
            shard => Ok(shard),
        }
    }

    /// What a demand comes to with the shard of its schemas.
    pub(super) fn of_schema(&self, demand: Demand, schema: Option<ShardId>) -> Placed {
        let Some(schema) = schema else { return Ok(demand) };
        let wrong = match demand {
            Demand::Anywhere => return Ok(Demand::On(schema)),
            Demand::On(shard) if shard == schema => return Ok(demand),
            Demand::On(shard) => format!("its key is on shard {}", self.name(shard)),
            Demand::Parts(..) => "it is for several shards".to_owned(),
        };
        Err(refused(
            format!("{wrong}, and its schema or search_path on {}", self.name(schema)),
            "Name its tables with their schemas.",
        ))
    }

    /// The shard of the schemas in the client's `search_path`.
    fn path(&self, said: SaidPath) -> Result<Option<ShardId>, Box<Report>> {
        let Manner { search_path: value, .. } = self.manner;
        match (said, value) {
            (SaidPath::Here(shard), _) => Ok(shard),
            (SaidPath::Unclear, _) => Err(behind_setting()),
            (SaidPath::Settled, None) => Ok(None),
            (SaidPath::Settled, Some(value)) => {
                let names = search_path(value).ok_or_else(|| {
                    refused("a search_path that can't be read", "Set it to a list of schemas.")
                })?;
                if names.iter().any(|name| !name.is_ascii()) && !self.utf8() {
                    return Err(not_utf8());
                }
                self.of_path(&names)
            }
        }
    }

    /// The one shard of those among some schemas that have one.
    fn of_path(&self, names: &[Box<str>]) -> Result<Option<ShardId>, Box<Report>> {
        let Some(schemas) = self.layout.sharding.schemas() else { return Ok(None) };
        let mut found: Option<(&str, ShardId)> = None;
        for name in names {
            let Some(shard) = schemas.shard(name) else { continue };
            let shard = shard.map_err(|why| {
                let what = format!("schema {name} has no shard: {why}");
                refused(what, "See [databases.NAME.schemas] in the configuration.")
            })?;
            match found {
                Some((other, there)) if there != shard => {
                    let (there, here) = (self.name(there), self.name(shard));
                    return Err(refused(
                        format!("schemas {other} on shard {there} and {name} on shard {here}"),
                        "Send a statement for each of them.",
                    ));
                }
                _ => found = Some((name, shard)),
            }
        }
        Ok(found.map(|(_, shard)| shard))
    }
}

fn behind_setting() -> Box<Report> {
    refused(
        "names without a schema behind a setting of its transaction that may be search_path",
        "Name the schema, or SET search_path by itself, to plain names.",
    )
}
