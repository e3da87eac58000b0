//! What each shard is asked of a request over several.

use std::time::Duration;

use super::Vain;
use super::asked::{Asked, Step};
use super::leg::{Leg, State};
use crate::server::prepared::text_of;
use crate::session::shards::{Planner, Spreading, declared, refused};
use crate::shard::copy;
use crate::shard::merge::Joined;
use crate::shard::{ShardId, ShardSet, Values};
use crate::sql::facts::{Hint, facts};
use crate::sql::fan::{Defining, Fan, Part, Rows};
use crate::wire::parameters::{Format, Parameters};
use crate::wire::reply;
use crate::wire::request;

/// See the module.
#[derive(Debug)]
pub(super) struct Work {
    pub shards: ShardSet,
    pub kind: Kind,
    /// What all of them are asked.
    all: Statement,
    /// What each is asked, where that differs.
    each: Vec<(ShardId, Statement)>,
    /// How rows are split that the client will send.
    pub splitting: Option<Box<Splitting>>,
    /// A lock may be waited for so long, where the client has said nothing of that.
    lock_timeout: Option<Duration>,
    /// What it reads, it reads on the primaries.
    pub primary: bool,
    /// What one of them says of the whole has to be known before: the types of its parameters, and whether
    /// it is right.
    pub learns: bool,
}

/// What kind of request it is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Rows are read, and put together so.
    Reads(Box<Fan>),
    /// Rows are changed in a transaction on each shard; what comes of them is put together so.
    Changes(Joined),
    /// Something is defined on each.
    Defines(Defining),
    /// The client sends rows, each for one of them.
    CopyIn,
}

/// How a client's rows are split.
#[derive(Debug)]
pub(super) struct Splitting {
    /// What splits them.
    pub rows: copy::Rows,
    /// The group that their keys are of.
    pub group: u16,
}

/// A statement with its values.
#[derive(Debug, Default)]
struct Statement {
    text: Box<[u8]>,
    /// The types of parameters, as in a Parse.
    types: Box<[u8]>,
    /// Formats and values of parameters, as in a Bind.
    parameters: Box<[u8]>,
    /// The numbers that its parameters have in the whole, from 1, where it is a part.
    numbers: Vec<u16>,
}

impl Work {
    /// Plans it.
    pub(super) fn new(
        asked: &Asked,
        shards: ShardSet,
        planner: &Planner<'_>,
        (row_max, lock_timeout): (usize, Option<Duration>),
    ) -> Result<Self, Vain> {
        let text = text_of(&asked.identity);
        let types = asked.identity.get(text.len() + 1..).unwrap_or_default();
        let known = declared(types);
        let given = Parameters::read(&asked.parameters);
        let mut values = match given {
            Some(given) => Values::of_bind(text, given, &known),
            None => Values::of_query(text),
        };
        if !planner.utf8() {
            values = values.in_ascii();
        }
        let mut all = Statement {
            text: text.into(),
            types: types.into(),
            parameters: asked.parameters.clone(),
            numbers: Vec::new(),
        };
        let mut each = Vec::new();
        let (mut learns, mut splitting) = (false, None);
        let spreading = planner.spreading(text, &mut values).map_err(Vain::Refused)?;
        let kind = match spreading {
            Spreading::Reads(fan) => {
                all.text = fan.text.as_bytes().into();
                Kind::Reads(fan)
            }
            Spreading::Changes => Kind::Changes(Joined::Turns(Vec::new())),
            Spreading::Copies => Kind::Changes(Joined::Same),
            Spreading::Rows(rows, of) => {
                // A row alone may have what several may not: functions that give several rows. And what is used
                // in several places is of one type in all.
                let is_open = |number: &u16| {
                    let at = usize::from(*number).checked_sub(1);
                    matches!(at.and_then(|at| known.get(at)), None | Some(0))
                };
                learns = rows.computes
                    || asked.steps.contains(&Step::Described)
                    || rows.shared().iter().any(is_open);
                each = parts(&rows, &of, shards, &known, given)
                    .ok_or_else(|| Vain::Refused(refused("a Bind that is cut", "")))?;
                let place = |shard: &ShardId| shards.iter().position(|other| other == *shard);
                Kind::Changes(Joined::Turns(of.iter().rev().filter_map(place).collect()))
            }
            Spreading::Defines(how) => Kind::Defines(how),
            Spreading::CopyIn { format, to } => {
                let rows = copy::Rows::new(format, to.key, to.fields, row_max);
                splitting = Some(Box::new(Splitting { rows, group: to.group }));
                Kind::CopyIn
            }
        };
        let primary = false;
        Ok(Self { shards, kind, all, each, splitting, lock_timeout, primary, learns })
    }

    /// How many columns shards give that are not the client's.
    fn extras(&self) -> u16 {
        match &self.kind {
            Kind::Reads(fan) => fan.extras,
            Kind::Changes(_) | Kind::Defines(_) | Kind::CopyIn => 0,
        }
    }

    /// Asks a shard what comes first: to begin, and to prepare and bind its part.
    pub(super) fn prepare(&self, asked: &Asked, leg: &mut Leg) {
        // Where it may read from a replica, what it is decides about that.
        let has_replicas = leg.tenancy.replicas.is_some() && !self.may_use_replicas();
        let hint = |text: &[u8]| match has_replicas && facts(text).hint != Some(Hint::Replica) {
            true => &b"\n/* pgweir: primary */"[..],
            false => b"",
        };
        if self.transacts() {
            leg.query(&[b"BEGIN", hint(b"")].concat());
            leg.inside = true;
            // It is idle while others have their turn.
            leg.query(b"SET LOCAL idle_in_transaction_session_timeout = 0");
            if let Some(limit) = self.lock_timeout {
                leg.query(format!("SET LOCAL lock_timeout = {}", limit.as_millis()).as_bytes());
            }
        }
        if matches!(self.kind, Kind::Defines(_) | Kind::CopyIn) {
            leg.state = State::Begins;
            return;
        }
        let mut out = Vec::new();
        let own = self.each.iter().find(|(of, _)| *of == leg.shard).map(|(_, own)| own);
        let Statement { text, types, parameters, .. } = own.unwrap_or(&self.all);
        reply::raw(&mut out, b'P', &[b"\0", text, hint(text), b"\0", types]);
        if own.is_none() {
            request::describe_statement(&mut out, b"");
        }
        let formats = asked.formats(self.extras());
        reply::raw(&mut out, b'B', &[b"\0\0", parameters, &formats]);
        reply::raw(&mut out, b'D', &[b"P\0"]);
        request::flush(&mut out);
        leg.ask(&out, 0);
    }

    /// Whether it may read from replicas.
    pub(super) fn may_use_replicas(&self) -> bool {
        matches!(self.kind, Kind::Reads(_)) && !self.primary
    }

    /// Whether rows are changed.
    pub(super) fn changes(&self) -> bool {
        matches!(self.kind, Kind::Changes(_))
    }

    /// Asks a shard for what it says of the whole.
    pub(super) fn ask_for_whole(&self, leg: &mut Leg) {
        let mut out = Vec::new();
        reply::raw(&mut out, b'P', &[b"\0", &self.all.text, b"\0", &self.all.types]);
        request::describe_statement(&mut out, b"");
        request::sync(&mut out);
        leg.ask(&out, 1);
        leg.state = State::Ended;
    }

    /// The parameters of the whole are of these types (ParameterDescription).
    pub(super) fn declare(&mut self, description: &[u8]) -> Option<()> {
        let types = declared(description);
        for (_, own) in &mut self.each {
            own.types = types_of(&own.numbers, &types)?.into();
        }
        Some(())
    }

    /// Whether it runs in a transaction of ours.
    pub(super) fn transacts(&self) -> bool {
        matches!(self.kind, Kind::Changes(_) | Kind::CopyIn | Kind::Defines(Defining::Together))
    }

    /// The text that all are asked.
    pub(super) fn text(&self) -> &[u8] {
        &self.all.text
    }
}

/// The rows of each shard, with their values.
fn parts(
    rows: &Rows<'_>,
    of: &[ShardId],
    shards: ShardSet,
    declared: &[u32],
    given: Option<Parameters<'_>>,
) -> Option<Vec<(ShardId, Statement)>> {
    let part = |shard: ShardId| {
        let own = of.iter().enumerate().filter(|(_, other)| **other == shard);
        let Part { text, parameters } = rows.part(own.map(|(row, _)| row));
        let statement = Statement {
            text: text.into_bytes().into(),
            types: types_of(&parameters, declared)?.into(),
            parameters: values_of(&parameters, given)?.into(),
            numbers: parameters,
        };
        Some((shard, statement))
    };
    shards.iter().map(part).collect()
}

/// The declared types of these parameters, by their numbers from 1.
fn types_of(numbers: &[u16], declared: &[u32]) -> Option<Vec<u8>> {
    let of = |number: &u16| {
        let at = usize::from(*number).checked_sub(1);
        at.and_then(|at| declared.get(at)).copied().unwrap_or(0)
    };
    let count = if declared.is_empty() { 0 } else { numbers.len() };
    let mut out = u16::try_from(count).ok()?.to_be_bytes().to_vec();
    out.extend(numbers.iter().take(count).flat_map(|number| of(number).to_be_bytes()));
    Some(out)
}

/// The formats and values of these parameters.
fn values_of(numbers: &[u16], given: Option<Parameters<'_>>) -> Option<Vec<u8>> {
    let count = u16::try_from(numbers.len()).ok()?.to_be_bytes();
    let (mut formats, mut values) = (count.to_vec(), count.to_vec());
    // In their order they take one walk.
    let mut order: Vec<(u16, usize)> = numbers.iter().copied().zip(0..).collect();
    order.sort_unstable();
    let mut found = vec![None; numbers.len()];
    let mut given = given;
    for (number, place) in order {
        let value = given.as_mut()?.get(number.checked_sub(1)?)?;
        *found.get_mut(place)? = Some(value);
    }
    for parameter in found {
        let parameter = parameter?;
        formats.extend([0, u8::from(parameter.format == Format::Binary)]);
        match parameter.value {
            None => values.extend(u32::MAX.to_be_bytes()),
            Some(value) => {
                values.extend(u32::try_from(value.len()).ok()?.to_be_bytes());
                values.extend(value);
            }
        }
    }
    formats.append(&mut values);
    Some(formats)
}
