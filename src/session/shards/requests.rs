//! A request that is whole: which texts of it are looked at, and how what they demand goes together.

use std::sync::Arc;

use super::doubt::Doubt;
use super::planner::{Demand, Placed, Planner};
use super::plans::Planned;
use super::refusals::{not_utf8, refusal_of, refused, too_long};
use crate::server::prepared::text_of;
use crate::session::names::{Names, Unnamed};
use crate::shard::Values;
use crate::sql::keys::{Construct, Plan, Refusal};
use crate::wire::frame;
use crate::wire::parameters::Parameters;
use crate::wire::reply::Report;
use crate::wire::view;

/// What was found of a request that is whole.
#[derive(Debug)]
pub(in crate::session) struct Found {
    /// So many bytes.
    pub len: usize,
    /// Where it has to run, or why that can't be.
    pub demand: Result<Demand, Box<Report>>,
    /// Something is run by it.
    pub runs: bool,
    /// No text in it leaves anything in the session that runs it.
    pub clean: bool,
    /// What is in doubt behind it.
    pub doubt: Doubt,
}

/// A statement that is prepared: text and types, and its plan, if it was just looked for.
#[derive(Clone)]
struct Text<'a> {
    identity: &'a [u8],
    planned: Option<Arc<Planned>>,
}

fn ends_request(tag: u8) -> bool {
    matches!(tag, b'Q' | b'S' | b'H' | b'F' | b'X')
}

impl Planner<'_> {
    /// Plans the request that these bytes begin with; `None` where it is not whole. `doubt` is
    /// what is not settled before it.
    pub(in crate::session) fn request(
        &self,
        bytes: &[u8],
        names: &Names,
        mut doubt: Doubt,
    ) -> Option<Found> {
        // Nothing is looked at twice because it comes slowly.
        self.is_whole(bytes)?;
        let mut parsed: Vec<(&[u8], Option<Text<'_>>)> = Vec::new();
        let (mut len, mut demand) = (0, Ok(Demand::Anywhere));
        let (mut runs, mut clean) = (false, true);
        loop {
            let rest = bytes.get(len..).unwrap_or_default();
            let (header, body) = match frame::message(rest, self.message_max) {
                Ok(Some(message)) => message,
                Ok(None) => return None,
                // Who sends it on will say what is wrong.
                Err(_) => {
                    let len = len.max(1);
                    return Some(Found { len, demand, runs: true, clean: false, doubt });
                }
            };
            len += header.message_len();
            runs |= matches!(header.tag, b'Q' | b'B' | b'E' | b'F');
            let next = match header.tag {
                b'Q' => Some(match view::query_text(body) {
                    Some(text) => {
                        let planned = self.planned(text);
                        clean &= planned.clean;
                        self.query(text, &planned, &mut doubt)
                    }
                    None => Err(refusal_of(&Refusal { table: None, construct: Construct::Text })),
                }),
                b'P' => view::Parse::read(body).map(|parse| {
                    let is_long = body.len() > self.statement_max;
                    let planned = (!is_long).then(|| self.planned_as_is(parse.text));
                    clean &= planned.as_ref().is_some_and(|planned| planned.clean);
                    let text = Text { identity: parse.identity, planned };
                    let placed = match is_long {
                        true => Err(too_long()),
                        false => self.prepared(&text, &mut doubt),
                    };
                    parsed.push((parse.name, Some(text)));
                    placed
                }),
                b'B' => view::Bind::read(body).and_then(|bind| {
                    let values = body.get(bind.names_len..).unwrap_or_default();
                    match self.identity(bind.statement, &parsed, names) {
                        Ok(Some(text)) => Some(self.bound(&text, values, &mut doubt)),
                        Ok(None) => None,
                        Err(report) => Some(Err(report)),
                    }
                }),
                b'D' => match view::Target::read(body) {
                    Some(view::Target::Statement(name)) => {
                        match self.identity(name, &parsed, names) {
                            Ok(Some(text)) => Some(self.prepared(&text, &mut doubt)),
                            Ok(None) => None,
                            Err(report) => Some(Err(report)),
                        }
                    }
                    _ => None,
                },
                b'C' => {
                    if let Some(view::Target::Statement(name)) = view::Target::read(body) {
                        parsed.push((name, None));
                    }
                    None
                }
                // Whatever function that is: it sees what is there.
                b'F' => Some(Ok(Demand::On(self.layout.sharding.default_shard()))),
                _ => None,
            };
            if let Some(next) = next {
                demand = demand.and_then(|before| self.both(before, next?));
            }
            if ends_request(header.tag) {
                // What a request of several messages has set goes with it where one of them fails.
                if header.tag != b'Q' && !doubt.inside {
                    doubt.may_fail();
                }
                return Some(Found { len, demand, runs, clean, doubt });
            }
        }
    }

    /// Whether all of a request is there, or so much of it that it can't be one.
    fn is_whole(&self, mut bytes: &[u8]) -> Option<()> {
        loop {
            let Ok(message) = frame::message(bytes, self.message_max) else { return Some(()) };
            let (header, _) = message?;
            if ends_request(header.tag) {
                return Some(());
            }
            bytes = bytes.get(header.message_len()..)?;
        }
    }

    /// What a name stands for by then. `None` is nothing.
    fn identity<'n>(
        &self,
        name: &[u8],
        parsed: &[(&[u8], Option<Text<'n>>)],
        names: &'n Names,
    ) -> Result<Option<Text<'n>>, Box<Report>> {
        let text = |identity| Text { identity, planned: None };
        if let Some((_, own)) = parsed.iter().rev().find(|(own, _)| *own == name) {
            return Ok(own.clone());
        }
        if !name.is_empty() {
            if !self.follows_names {
                return Err(refused(
                    "a named statement that is not followed (max_prepared_statements is 0)",
                    "Raise max_prepared_statements.",
                ));
            }
            return Ok(names.get(name).map(|statement| text(&statement.identity)));
        }
        match names.unnamed() {
            Unnamed::Here(identity) | Unnamed::Elsewhere(identity) => Ok(Some(text(identity))),
            Unnamed::None => Ok(None),
            Unnamed::OnlyHere => Err(too_long()),
        }
    }

    fn both(&self, one: Demand, other: Demand) -> Placed {
        match (one, other) {
            (Demand::Anywhere, other) => Ok(other),
            (one, Demand::Anywhere) => Ok(one),
            (parts @ Demand::Parts(..), other) if parts == other => Ok(parts),
            (Demand::Parts(..), _) | (_, Demand::Parts(..)) => Err(refused(
                "several statements in a request for several shards",
                "Send its statements one by one, each with a Sync behind it.",
            )),
            (Demand::On(one), Demand::On(other)) if one == other => Ok(Demand::On(one)),
            (Demand::On(one), Demand::On(other)) => Err(refused(
                format!("a request for shards {} and {}", self.name(one), self.name(other)),
                "Send its statements one by one, each with a Sync behind it.",
            )),
        }
    }

    /// The plan of a text that has parameters, as a rule, in the place of literals.
    fn planned_as_is(&self, text: &[u8]) -> Arc<Planned> {
        self.layout.planned_as_is(text, self.known.as_deref())
    }

    fn plan_of(&self, text: &Text<'_>) -> Arc<Planned> {
        match &text.planned {
            Some(planned) => Arc::clone(planned),
            None => self.planned_as_is(text_of(text.identity)),
        }
    }

    fn query(&self, text: &[u8], planned: &Planned, doubt: &mut Doubt) -> Placed {
        // All of it is decoded before any of it runs.
        self.is_decoded(text, planned, doubt)?;
        self.place(text, planned, doubt, |planner, keyed| {
            planner.target(keyed, &mut Values::of_query(text))
        })
    }

    /// A statement that is prepared, or described: where its tables are.
    fn prepared(&self, text: &Text<'_>, doubt: &mut Doubt) -> Placed {
        let planned = self.plan_of(text);
        let text = text_of(text.identity);
        self.is_decoded(text, &planned, doubt)?;
        // It does not run yet.
        match self.place(text, &planned, &mut doubt.clone(), |_, _| Ok(Demand::Anywhere))? {
            Demand::Parts(..) => Ok(Demand::Anywhere),
            placed => Ok(placed),
        }
    }

    /// Notes what a text may change of the encoding; an error where it can't be said what a key in it is.
    fn is_decoded(
        &self,
        text: &[u8],
        planned: &Planned,
        doubt: &mut Doubt,
    ) -> Result<(), Box<Report>> {
        let recoded = doubt.recodes;
        doubt.recodes |= planned.changes.encoding;
        let is_plain = text.is_ascii() || !matches!(planned.plan, Plan::Keyed(_));
        match is_plain || !recoded && self.utf8() {
            true => Ok(()),
            false => Err(not_utf8()),
        }
    }

    fn bound(&self, statement: &Text<'_>, values: &[u8], doubt: &mut Doubt) -> Placed {
        let planned = self.plan_of(statement);
        let identity = statement.identity;
        let text = text_of(identity);
        let recoded = doubt.recodes;
        doubt.recodes |= planned.changes.encoding;
        self.place(text, &planned, doubt, |planner, keyed| {
            let cut = || refusal_of(&Refusal { table: None, construct: Construct::Text });
            let parameters = Parameters::read(values).ok_or_else(cut)?;
            let types = declared(identity.get(text.len() + 1..).unwrap_or_default());
            let mut values = Values::of_bind(text, parameters, &types);
            if recoded || !planner.utf8() {
                values = values.in_ascii();
            }
            planner.target(keyed, &mut values)
        })
    }
}

/// The types that a Parse declares, or a ParameterDescription tells.
pub(in crate::session) fn declared(types: &[u8]) -> Vec<u32> {
    let types = types.get(2..).unwrap_or_default();
    types.as_chunks().0.iter().map(|oid| u32::from_be_bytes(*oid)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plans::Layout;
    use super::*;
    use crate::server::manner::Manner;
    use crate::shard::Sharding;
    use crate::wire::request;

    #[test]
    fn nothing_is_planned_before_a_request_is_whole() {
        let layout = Layout::new(Sharding::default(), 1 << 20);
        let planner = Planner {
            layout: &layout,
            known: None,
            manner: &Manner::default(),
            reported: None,
            message_max: 1 << 20,
            statement_max: 1 << 20,
            follows_names: true,
            fan_out_writes: false,
        };
        let mut bytes = Vec::new();
        request::parse(&mut bytes, b"", b"SELECT 1\0\0\0");
        request::sync(&mut bytes);
        let names = Names::default();
        for part in 0..bytes.len() {
            let part = bytes.get(..part).unwrap();
            assert!(planner.request(part, &names, Doubt::default()).is_none(), "{part:?}");
        }
        assert_eq!(layout.texts(), 0);
        let found = planner.request(&bytes, &names, Doubt::default()).unwrap();
        assert_eq!((found.len, layout.texts()), (bytes.len(), 1));
    }
}
