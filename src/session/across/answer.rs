//! What a client is told of a request over several shards: one answer, of those of its legs.

use super::asked::{Asked, Step};
use super::leg::Leg;
use crate::shard::merge::{Bound, Fault, Joined, Manner, Merge, description};
use crate::sql::fan::Fan;
use crate::wire::parameters::Parameters;
use crate::wire::reply;
use crate::wire::view;

/// See the module.
#[derive(Debug)]
pub(super) struct Answer {
    steps: Box<[Step]>,
    is_query: bool,
    /// The body of the ParameterDescription.
    parameters: Box<[u8]>,
    /// The body of the RowDescription.
    columns: Box<[u8]>,
    pub merge: Merge,
}

impl Answer {
    /// Of so many legs, the first of which is this, and has described its parameters and rows.
    pub(super) fn of_rows(
        asked: &Asked,
        fan: &Fan,
        legs: usize,
        first: &Leg,
        manner: &Manner,
    ) -> Result<Self, Fault> {
        let Leg { parameters, columns, .. } = first;
        let (types, _) = parameters.get(2..).unwrap_or_default().as_chunks();
        let types: Vec<u32> = types.iter().map(|oid| u32::from_be_bytes(*oid)).collect();
        let bound = match Parameters::read(&asked.parameters) {
            Some(values) => Bound::new(values, &types),
            None => Bound::none(),
        };
        Ok(Self {
            steps: asked.steps.clone().into(),
            is_query: asked.is_query,
            parameters: parameters.as_slice().into(),
            columns: description(fan, columns)?.into(),
            merge: Merge::new(fan, columns, legs, &bound, manner)?,
        })
    }

    /// Of a change of rows.
    pub(super) fn of_change(
        asked: &Asked,
        joined: &Joined,
        legs: usize,
        (parameters, columns): (&[u8], &[u8]),
        held_max: usize,
    ) -> Result<Self, Fault> {
        let given = if columns.is_empty() { &NONE[..] } else { columns };
        Ok(Self {
            steps: asked.steps.clone().into(),
            is_query: asked.is_query,
            parameters: parameters.into(),
            columns: columns.into(),
            merge: Merge::of_change(joined.clone(), given, legs, held_max)?,
        })
    }

    /// Whether another leg has described the same.
    pub(super) fn fits(&self, leg: &Leg) -> Result<(), Fault> {
        // One that has a part of its own is not asked for its parameters.
        let fits = leg.parameters.is_empty() || *self.parameters == *leg.parameters;
        match (fits, &*self.columns, &*leg.columns) {
            (true, [], []) => Ok(()),
            (true, [_, ..], [_, ..]) => self.merge.described(&leg.columns),
            _ => Err(Fault::Differs),
        }
    }

    /// What was done, by what each shard says of that. Of what all of them have it counts once.
    pub(super) fn tag<'t>(
        &self,
        tags: impl IntoIterator<Item = &'t [u8]>,
    ) -> Result<String, Fault> {
        match self.merge.joined() {
            None => Ok(format!("SELECT {}", self.merge.rows())),
            Some(Joined::Turns(_)) => sum(tags).ok_or(Fault::Broken),
            Some(Joined::Same) => {
                let mut tags = tags.into_iter();
                let first = tags.next().ok_or(Fault::Broken)?;
                match tags.all(|tag| tag == first) {
                    true => Ok(worded(first)),
                    false => Err(Fault::Apart),
                }
            }
        }
    }

    /// Tells what comes before the rows.
    pub(super) fn begin(&self, out: &mut Vec<u8>) {
        for step in self.steps.iter().take_while(|step| **step != Step::Rows) {
            self.tell(*step, out);
        }
    }

    /// Tells what comes behind the rows.
    pub(super) fn finish(&self, tag: &str, out: &mut Vec<u8>) {
        reply::command_complete(out, tag);
        for step in self.steps.iter().skip_while(|step| **step != Step::Rows).skip(1) {
            self.tell(*step, out);
        }
    }

    fn tell(&self, step: Step, out: &mut Vec<u8>) {
        tell(step, self.is_query, (&self.parameters, &self.columns), out);
    }
}

/// Answers a message, but an Execute: of a statement with these parameters (as in a ParameterDescription) and
/// columns (as in a RowDescription; empty for none).
pub(super) fn tell(
    step: Step,
    is_query: bool,
    (parameters, columns): (&[u8], &[u8]),
    out: &mut Vec<u8>,
) {
    match step {
        Step::Parsed => reply::raw(out, b'1', &[]),
        Step::Bound => reply::raw(out, b'2', &[]),
        Step::Closed => out.extend_from_slice(&reply::CLOSE_COMPLETE),
        Step::Described => {
            reply::raw(out, b't', &[parameters]);
            match columns {
                [] => reply::raw(out, b'n', &[]),
                columns => reply::raw(out, b'T', &[&unformatted(columns)]),
            }
        }
        Step::Columns => match columns {
            // A Query is not told that there are none.
            [] if is_query => {}
            [] => reply::raw(out, b'n', &[]),
            columns => reply::raw(out, b'T', &[columns]),
        },
        Step::Rows => {}
    }
}

/// A description without parameters, or columns.
pub(super) const NONE: [u8; 2] = [0; 2];

/// The tag of a statement, without the NUL behind it.
pub(super) fn worded(tag: &[u8]) -> String {
    String::from_utf8_lossy(tag.strip_suffix(b"\0").unwrap_or(tag)).into_owned()
}

/// Tags with all their rows: `UPDATE 3` and `UPDATE 4` are `UPDATE 7`.
pub(super) fn sum<'t>(tags: impl IntoIterator<Item = &'t [u8]>) -> Option<String> {
    let (mut word, mut rows) = (None, 0_u64);
    for tag in tags {
        let tag = worded(tag);
        let (before, count) = tag.rsplit_once(' ')?;
        rows += count.parse::<u64>().ok()?;
        if *word.get_or_insert_with(|| before.to_owned()) != before {
            return None;
        }
    }
    Some(format!("{} {rows}", word?))
}

/// A RowDescription of a statement, of which nobody knows yet how its columns are wanted.
fn unformatted(columns: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(columns.len());
    let mut fields = view::Fields::new(columns);
    let count = fields.short().unwrap_or_default();
    body.extend_from_slice(&count.to_be_bytes());
    for _ in 0..count {
        let (Some(name), Some(kind)) = (fields.cstr(), fields.bytes(16)) else { return body };
        body.extend_from_slice(name);
        body.push(0);
        body.extend_from_slice(kind);
        fields.short();
        body.extend_from_slice(&[0; 2]);
    }
    body
}

/// Tells the client of an error of a shard, which is none of its own session.
pub(super) fn told(error: &[u8], shard: &str, out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(error.len() + shard.len() + 16);
    let mut fields = view::Fields::new(error);
    let mut context = format!("shard {shard}").into_bytes();
    while let Some(code) = fields.byte().filter(|code| *code != 0) {
        let Some(value) = fields.cstr() else { break };
        match code {
            b'S' | b'V' => push(&mut body, code, b"ERROR"),
            // A place in our text is none in the client's.
            b'P' => {}
            b'W' => context = [value, b"\n", &context].concat(),
            _ => push(&mut body, code, value),
        }
    }
    push(&mut body, b'W', &context);
    body.push(0);
    reply::raw(out, b'E', &[&body]);
}

fn push(body: &mut Vec<u8>, code: u8, value: &[u8]) {
    body.push(code);
    body.extend_from_slice(value);
    body.push(0);
}
