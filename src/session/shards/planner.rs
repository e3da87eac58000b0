//! Which shard a text runs on, before any of it has been sent.
//!
//! What can't be said with certainty is refused, never guessed.

use std::sync::Arc;

use parking_lot::Mutex;

use super::doubt::{Doubt, Forced, Named, Said, SaidPath};
use super::plans::{Layout, Planned};
use super::refusals::{BY_HAND, about, refusal_of, refused, without_shard};
use crate::catalog::{Current, Known};
use crate::client::condition;
use crate::server::manner::Manner;
use crate::server::reported::Reported;
use crate::server::unseen::Unseen;
use crate::shard::{NoShard, ShardId, ShardSet, Target, Values};
use crate::sql::copy::Strings;
use crate::sql::facts::Places;
use crate::sql::keys::{Access, Everywhere, Keyed, Plan};
use crate::sql::{Bracket, ShardHint, WrongHint, names_shards, shard_setting};
use crate::wire::reply::Report;

/// What decides about the requests of a session.
#[derive(Clone)]
pub(in crate::session) struct Planner<'a> {
    pub layout: &'a Layout,
    /// What was planned last, by itself.
    pub last: Option<&'a Mutex<Option<Arc<Planned>>>>,
    /// What is known of the default shard.
    pub catalog: &'a Current,
    pub manner: &'a Manner,
    /// What servers have told of how the client's texts are read; `None` = in UTF-8, with strings as
    /// the standard has them.
    pub reported: Option<&'a Reported>,
    pub message_max: u32,
    /// Texts up to this many bytes are followed.
    pub statement_max: usize,
    /// Names of statements are.
    pub follows_names: bool,
    /// What has no key may change rows on all shards.
    pub fan_out_writes: bool,
    /// What code may set that texts run; `None` = nothing is known of that.
    pub unseen: Option<&'a Unseen>,
}

/// Where a request has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Demand {
    /// It is the same everywhere.
    Anywhere,
    /// On this shard.
    On(ShardId),
    /// A part of it on each of these, whose answers become one.
    Parts(ShardSet, Access),
}

pub(super) type Placed = Result<Demand, Box<Report>>;

/// Strings are in UTF-8 by what servers have told.
pub(in crate::session) fn is_utf8(reported: Option<&Reported>) -> bool {
    reported.is_none_or(|reported| reported.get("client_encoding") == Some(b"UTF8"))
}

impl Planner<'_> {
    /// What a shard is called.
    pub(in crate::session) fn name(&self, shard: ShardId) -> &str {
        let name = self.layout.sharding.shards().get(usize::from(shard.0));
        name.map_or("", String::as_str)
    }

    pub(super) fn known(&self) -> Option<Arc<Known>> {
        self.catalog.remembered()
    }

    pub(super) fn planned(&self, text: &[u8]) -> Arc<Planned> {
        self.planned_with(text).0
    }

    /// With the places of the text's first values.
    pub(super) fn planned_with(&self, text: &[u8]) -> (Arc<Planned>, Places) {
        self.layout.planned(text, self.catalog)
    }

    /// The same of what is prepared, with the length of its text, where that is what was planned last.
    pub(super) fn planned_last(&self, identity: &[u8]) -> Option<(usize, Arc<Planned>)> {
        let last = self.last?.lock();
        let planned = last.as_ref()?;
        let len = planned.text_len_in(identity, self.catalog.number())?;
        Some((len, Arc::clone(planned)))
    }

    /// The same of what is prepared, where that is something else: as a rule there are no literals in it.
    pub(super) fn planned_next(&self, text: &[u8]) -> Arc<Planned> {
        let planned = self.layout.planned_as_is(text, self.catalog);
        if let Some(last) = self.last.filter(|_| planned.is_light()) {
            *last.lock() = Some(Arc::clone(&planned));
        }
        planned
    }

    /// Strings of the client are in UTF-8.
    pub(in crate::session) fn utf8(&self) -> bool {
        is_utf8(self.reported)
    }

    /// What a backslash in a string stands for.
    pub(super) fn strings(&self) -> Strings {
        let Some(reported) = self.reported else { return Strings::Conforming };
        match reported.get("standard_conforming_strings") {
            Some(b"on") => Strings::Conforming,
            _ => Strings::Unknown,
        }
    }

    /// Values in this text, which are read as the client's strings are.
    pub(super) fn as_strings_are(&self, planned: &Planned, values: &mut Values<'_>) {
        if planned.backslash && self.strings() != Strings::Conforming {
            values.doubt_backslashes();
        }
    }

    pub(super) fn target(
        &self,
        planned: &Planned,
        keyed: &Keyed,
        values: &mut Values<'_>,
    ) -> Placed {
        match planned.sharding.target(keyed, values) {
            Ok(Target::Any) => Ok(Demand::Anywhere),
            Ok(Target::One(shard)) => Ok(Demand::On(shard)),
            Ok(Target::Parts(set) | Target::Rows(set)) => Ok(Demand::Parts(set, keyed.access)),
            Err(NoShard::Several { refusal: why, .. }) => Err(refusal_of(&why)),
            Err(NoShard::UnknownType(number)) => Err(refused(
                NoShard::UnknownType(number),
                "Declare the parameter's type, or cast the key column's value nowhere else.",
            )),
            Err(other) => Err(without_shard(&other)),
        }
    }

    /// Where a text has to run, by its plan and by what is said by hand.
    pub(super) fn place(
        &self,
        text: &[u8],
        planned: &Planned,
        doubt: &mut Doubt,
        keys: impl FnOnce(&Self, &Keyed) -> Placed,
    ) -> Placed {
        // As a rule there is nothing but its keys, and what their names stand for is known.
        if let Plan::Keyed(keyed) = &planned.plan
            && planned.by_keys
            && !self.is_by_hand(doubt.said)
            && planned.has_catalog()
        {
            return keys(self, keyed);
        }
        self.place_by_all(text, planned, doubt, keys)
    }

    /// The same where more may say it than its keys.
    fn place_by_all(
        &self,
        text: &[u8],
        planned: &Planned,
        doubt: &mut Doubt,
        keys: impl FnOnce(&Self, &Keyed) -> Placed,
    ) -> Placed {
        let changes = planned.changes;
        if changes.listens {
            return Err(refused(
                "LISTEN",
                "Listen on a database of its own in the configuration, whose host is a shard's.",
            ));
        }
        if changes.ends && doubt.said != Said::Settled {
            doubt.said = Said::Unclear;
        }
        if changes.ends && doubt.path != SaidPath::Settled {
            doubt.path = SaidPath::Unclear;
        }
        // Whatever is wrong, a transaction can be ended.
        if matches!(planned.bracket, Some(Bracket::Commit | Bracket::Rollback)) {
            return Ok(Demand::Anywhere);
        }
        let setting = if changes.shard { shard_setting(text) } else { None };
        let set = setting.as_ref().map(|setting| self.forced(&setting.hint)).transpose()?;
        let everywhere = matches!(planned.hint, Ok(Some(ShardHint::All)));
        let mut forced = self.by_text(planned, set)?;
        let mut said = doubt.said;
        match (&setting, set) {
            (Some(setting), Some(set)) if doubt.inside || !setting.local => {
                doubt.said = self.said_behind(said, set);
            }
            _ if changes.shard
                || changes.by_function && names_shards(text)
                || planned.several && self.is_by_hand(said) && self.runs_code(text, planned) =>
            {
                doubt.said = Said::Unclear;
                // What calls a function and sees no table may go where it would have gone before.
                if changes.shard || planned.relations {
                    said = Said::Unclear;
                }
            }
            _ => {}
        }
        // It is about the session, which is the same everywhere.
        let is_session = matches!(planned.plan, Plan::Session);
        if !is_session && forced.is_none() && !everywhere {
            forced = self.by_session(said)?;
        }
        let schema = self.by_schema(text, planned, (forced, everywhere), doubt)?;
        if is_session {
            let shard = forced.map(|forced| forced.shard).or(schema);
            return Ok(shard.map_or(Demand::Anywhere, Demand::On));
        }
        let demand = match (&planned.plan, forced) {
            (
                Plan::Keyed(_)
                | Plan::Reference(_)
                | Plan::AllShards(_)
                | Plan::CopyIn(_)
                | Plan::Defines,
                _,
            ) if self.is_doubtful(planned, forced) => {
                return Err(Box::new(condition::SHARDS_UNKNOWN.report()));
            }
            (Plan::Keyed(keyed), _) => keys(self, keyed)?,
            (Plan::Default, None) if !planned.free && said == Said::Unclear && !everywhere => {
                return Err(refused(
                    "a statement without a key behind a setting of its transaction that may name a shard",
                    "Name the shard in the statement: /* pgweir: shard=… */.",
                ));
            }
            (Plan::Default | Plan::Reference(Access::Reads), _)
                if schema.is_some() && !everywhere =>
            {
                Demand::Anywhere
            }
            _ => self.unkeyed(planned, forced, everywhere)?,
        };
        match (demand, forced) {
            (Demand::On(shard), Some(forced)) if shard != forced.shard => {
                Err(self.otherwise("its key is", shard, forced.shard))
            }
            (Demand::Parts(..), Some(forced)) => {
                let forced = self.name(forced.shard);
                Err(refused(
                    format!(
                        "its keys are on several shards, and the hint or setting names {forced}"
                    ),
                    "Leave one of them out: RESET pgweir.shard, pgweir.shard_key.",
                ))
            }
            (_, Some(forced)) => Ok(Demand::On(forced.shard)),
            (demand, None) => self.of_schema(demand, schema),
        }
    }

    /// Whether its names may be those of other tables, as far as is known.
    fn is_doubtful(&self, planned: &Planned, forced: Option<Forced>) -> bool {
        !planned.has_catalog()
            && planned.unqualified
            && !forced.is_some_and(|forced| forced.by_name)
    }

    pub(super) fn otherwise(&self, what: &str, here: ShardId, forced: ShardId) -> Box<Report> {
        let (here, forced) = (self.name(here), self.name(forced));
        refused(
            format!("{what} on shard {here}, and the hint or setting names {forced}"),
            "Leave one of them out: RESET pgweir.shard, pgweir.shard_key.",
        )
    }

    /// Where a text has to run that has no key.
    fn unkeyed(&self, planned: &Planned, forced: Option<Forced>, everywhere: bool) -> Placed {
        let default = self.layout.sharding.default_shard();
        let all = |access| Demand::Parts(self.layout.sharding.all(), access);
        match (&planned.plan, forced) {
            // A key says nothing of what is not spread by keys.
            (Plan::Default, Some(Forced { shard, by_name: false }))
                if planned.relations && shard != default =>
            {
                Err(self.otherwise("its tables are", default, shard))
            }
            (Plan::Reference(Access::Writes), Some(Forced { by_name: false, .. })) => Err(refused(
                "a write to a reference table, which is for every shard, with a key given",
                "Leave the key out, or name the shard: /* pgweir: shard=… */.",
            )),
            (_, Some(forced)) => Ok(Demand::On(forced.shard)),
            (Plan::Default, None) if everywhere => Ok(all(Access::Writes)),
            (Plan::Default, None) if planned.free => Ok(Demand::Anywhere),
            (Plan::Default, None) if planned.relations && !planned.has_catalog() => {
                Err(Box::new(condition::SHARDS_UNKNOWN.report()))
            }
            (Plan::Default, None) => Ok(Demand::On(default)),
            (Plan::AllShards(Everywhere { table, access: Access::Writes, .. }), None)
                if !everywhere && !self.fan_out_writes =>
            {
                Err(about(table, "a change without a value of the key column", BY_HAND))
            }
            (Plan::AllShards(Everywhere { access, .. }), None) => Ok(all(*access)),
            (Plan::CopyIn(_) | Plan::Defines | Plan::Reference(Access::Writes), None) => {
                Ok(all(Access::Writes))
            }
            (Plan::Refused(why), None) => Err(refusal_of(why)),
            (Plan::Session | Plan::Keyed(_) | Plan::Reference(Access::Reads), None) => {
                Ok(Demand::Anywhere)
            }
        }
    }

    /// The shard that the text names.
    fn by_text(
        &self,
        planned: &Planned,
        set: Option<Forced>,
    ) -> Result<Option<Forced>, Box<Report>> {
        let wrong = |wrong: &WrongHint| refused(wrong, "Write /* pgweir: shard=… */, once.");
        let hint = planned.hint.as_ref().map_err(wrong)?;
        let named = hint.as_ref().filter(|hint| **hint != ShardHint::All);
        let hint = named.map(|hint| self.forced(hint)).transpose()?;
        self.agreed(hint, set)
    }

    /// The shard that the session's settings name.
    fn by_session(&self, said: Said) -> Result<Option<Forced>, Box<Report>> {
        match said {
            Said::Here(Named { by_name, by_key }) => self.agreed(
                by_name.map(|shard| Forced { shard, by_name: true }),
                by_key.map(|shard| Forced { shard, by_name: false }),
            ),
            Said::Unclear => Ok(None),
            Said::Settled => {
                let Manner { shard, shard_key, .. } = self.manner;
                let by_name = shard.clone().map(ShardHint::Shard);
                let by_key = shard_key.clone().map(ShardHint::Key);
                let named = by_name.map(|hint| self.forced(&hint)).transpose()?;
                self.agreed(named, by_key.map(|hint| self.forced(&hint)).transpose()?)
            }
        }
    }

    fn agreed(
        &self,
        one: Option<Forced>,
        other: Option<Forced>,
    ) -> Result<Option<Forced>, Box<Report>> {
        match (one, other) {
            (Some(one), Some(other)) if one.shard != other.shard => {
                let (one, other) = (self.name(one.shard), self.name(other.shard));
                let what = format!("two hints or settings that name shards {one} and {other}");
                Err(refused(what, "Leave one of them out."))
            }
            _ => Ok(one.or(other)),
        }
    }

    fn forced(&self, hint: &ShardHint) -> Result<Forced, Box<Report>> {
        match hint {
            ShardHint::Shard(name) => {
                self.shard_of_name(name).map(|shard| Forced { shard, by_name: true })
            }
            ShardHint::Key(key) => {
                self.shard_of_key(key).map(|shard| Forced { shard, by_name: false })
            }
            ShardHint::All => Err(refused("all_shards in the place of a shard", "")),
        }
    }

    pub(super) fn shard_of_name(&self, name: &[u8]) -> Result<ShardId, Box<Report>> {
        let shards = self.layout.sharding.shards();
        let found = shards.iter().position(|shard| shard.as_bytes() == name);
        let found = found.and_then(|at| u8::try_from(at).ok()).map(ShardId);
        let what = || format!("there is no shard {:?}", String::from_utf8_lossy(name));
        found.ok_or_else(|| refused(what(), "SHOW SHARDS, in the console, lists them."))
    }

    /// `42`, or `group:42` where there are several groups.
    pub(super) fn shard_of_key(&self, key: &[u8]) -> Result<ShardId, Box<Report>> {
        let sharding = self.layout.typed(self.known().as_deref());
        sharding.of_written(key).map_err(|why| without_shard(&why))
    }
}
