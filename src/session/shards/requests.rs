//! A request that is whole: which texts of it are looked at, and how what they demand goes together.

use std::sync::Arc;

use super::doubt::Doubt;
use super::planner::{Demand, Placed, Planner};
use super::plans::Planned;
use super::refusals::{not_utf8, refusal_of, refused, too_long, too_much};
use crate::server::prepared::text_of;
use crate::session::names::{Names, Unnamed};
use crate::session::whole::{Few, Once, ends_request, is_whole};
use crate::shard::Values;
use crate::sql::facts::Places;
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
    /// The number of the catalog that it was planned by.
    pub catalog: Option<u64>,
}

/// A statement that is prepared, with its plan.
struct Text<'a> {
    text: &'a [u8],
    /// The types of its parameters, as far as they were declared.
    types: &'a [u8],
    planned: Arc<Planned>,
}

/// What the request itself has prepared, by name: text and types; `None` is nothing.
type Parsed<'a> = Few<&'a [u8], Option<&'a [u8]>>;

/// The plans of texts, and how long those are.
type Seen = Once<(usize, Arc<Planned>)>;

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
        if !is_whole(bytes, self.message_max) {
            return None;
        }
        let catalog = self.catalog.number();
        let mut parsed = Parsed::default();
        let mut seen = Seen::default();
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
                    return Some(Found { len, demand, runs: true, clean: false, doubt, catalog });
                }
            };
            len += header.message_len();
            runs |= matches!(header.tag, b'Q' | b'B' | b'E' | b'F');
            let next = match header.tag {
                b'Q' => Some(match view::query_text(body) {
                    Some(text) => {
                        let (planned, places) = self.planned_with(text);
                        clean &= planned.clean;
                        self.query(text, (&planned, places), &mut doubt)
                    }
                    None => Err(refusal_of(&Refusal { table: None, construct: Construct::Text })),
                }),
                b'P' => view::Parse::read(body).map(|parse| {
                    let text = match body.len() > self.statement_max {
                        true => Err(too_long()),
                        false => self.text(parse.identity, &mut seen),
                    };
                    clean &= text.as_ref().is_ok_and(|text| text.planned.clean);
                    parsed.insert(parse.name, Some(parse.identity));
                    self.prepared(&text?, &mut doubt)
                }),
                b'B' => view::Bind::read(body).and_then(|bind| {
                    let values = body.get(bind.names_len..).unwrap_or_default();
                    let text = self.prepared_as(bind.statement, &parsed, names, &mut seen);
                    let bound =
                        text.transpose()?.and_then(|text| self.bound(&text, values, &mut doubt));
                    Some(bound)
                }),
                b'D' => match view::Target::read(body) {
                    Some(view::Target::Statement(name)) => {
                        let text = self.prepared_as(name, &parsed, names, &mut seen).transpose();
                        text.map(|text| self.prepared(&text?, &mut doubt))
                    }
                    _ => None,
                },
                b'C' => {
                    if let Some(view::Target::Statement(name)) = view::Target::read(body) {
                        parsed.insert(name, None);
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
                return Some(Found { len, demand, runs, clean, doubt, catalog });
            }
        }
    }

    /// What a name stands for by then. `None` is nothing.
    fn prepared_as<'n>(
        &self,
        name: &[u8],
        parsed: &Parsed<'n>,
        names: &'n Names,
        seen: &mut Seen,
    ) -> Result<Option<Text<'n>>, Box<Report>> {
        if let Some(own) = parsed.get(name) {
            return (*own).map(|identity| self.text(identity, seen)).transpose();
        }
        if !name.is_empty() {
            if !self.follows_names {
                return Err(refused(
                    "a named statement that is not followed (max_prepared_statements is 0)",
                    "Raise max_prepared_statements.",
                ));
            }
            let statement = names.get(name);
            return statement.map(|own| self.text(&own.identity, seen)).transpose();
        }
        match names.unnamed() {
            Unnamed::Here(identity) | Unnamed::Elsewhere(identity) => {
                self.text(identity, seen).map(Some)
            }
            Unnamed::None => Ok(None),
            Unnamed::OnlyHere => Err(too_long()),
        }
    }

    /// What there is to know of a text with its types.
    fn text<'n>(&self, identity: &'n [u8], seen: &mut Seen) -> Result<Text<'n>, Box<Report>> {
        let last = |identity: &[u8]| self.planned_last(identity);
        let found = seen.of_known(identity, last, |identity| {
            let text = text_of(identity);
            (text.len(), self.planned_next(text))
        });
        let (len, planned) = found.ok_or_else(too_much)?;
        let (text, types) = (identity.get(..len), identity.get(len + 1..));
        Ok(Text { text: text.unwrap_or_default(), types: types.unwrap_or_default(), planned })
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

    fn query(
        &self,
        text: &[u8],
        (planned, places): (&Planned, Places),
        doubt: &mut Doubt,
    ) -> Placed {
        // All of it is decoded before any of it runs.
        self.is_decoded(text, planned, doubt)?;
        let placed = self.place(text, planned, doubt, |planner, keyed| {
            let mut values = Values::of_query_at(text, places);
            planner.as_strings_are(planned, &mut values);
            planner.target(planned, keyed, &mut values)
        });
        self.doubt_code(text, planned, doubt);
        placed
    }

    /// A statement that is prepared, or described: where its tables are.
    fn prepared(&self, text: &Text<'_>, doubt: &mut Doubt) -> Placed {
        let Text { text, planned, .. } = text;
        self.is_decoded(text, planned, doubt)?;
        // It does not run yet.
        match self.place(text, planned, &mut doubt.clone(), |_, _| Ok(Demand::Anywhere))? {
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
        let Text { text, types, planned } = statement;
        let recoded = doubt.recodes;
        doubt.recodes |= planned.changes.encoding;
        let placed = self.place(text, planned, doubt, |planner, keyed| {
            let cut = || refusal_of(&Refusal { table: None, construct: Construct::Text });
            let parameters = Parameters::read(values).ok_or_else(cut)?;
            let types = declared(types);
            let mut values = Values::of_bind(text, parameters, &types);
            if recoded || !planner.utf8() {
                values = values.in_ascii();
            }
            planner.as_strings_are(planned, &mut values);
            planner.target(planned, keyed, &mut values)
        });
        self.doubt_code(text, planned, doubt);
        placed
    }
}

/// The types that a Parse declares, or a ParameterDescription tells.
pub(in crate::session) fn declared(types: &[u8]) -> Vec<u32> {
    let types = types.get(2..).unwrap_or_default();
    types.as_chunks().0.iter().map(|oid| u32::from_be_bytes(*oid)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::super::plans::Layout;
    use super::*;
    use crate::catalog::{Catalogs, Current};
    use crate::server::manner::Manner;
    use crate::session::names::NamesUndo;
    use crate::shard::Sharding;
    use crate::wire::request;

    fn planner(layout: &Layout) -> Planner<'_> {
        static MANNER: LazyLock<Manner> = LazyLock::new(Manner::default);
        static NOTHING: LazyLock<Arc<Current>> =
            LazyLock::new(|| Catalogs::new(Arc::default()).of("shop"));
        Planner {
            layout,
            last: None,
            catalog: &NOTHING,
            manner: &MANNER,
            reported: None,
            message_max: 1 << 20,
            statement_max: 1 << 20,
            follows_names: true,
            fan_out_writes: false,
            unseen: None,
        }
    }

    #[test]
    fn nothing_is_planned_before_a_request_is_whole() {
        let layout = Layout::new(Sharding::default(), 1 << 20);
        let planner = planner(&layout);
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

    #[test]
    fn long_text_is_not_bound_all_the_time() {
        let layout = Layout::new(Sharding::default(), 1 << 20);
        let text = format!("SELECT {}1", "a, ".repeat(60_000));
        let mut names = Names::default();
        let identity = [text.as_bytes(), b"\0\0\0"].concat();
        names.set_unnamed(&mut NamesUndo::default(), 1, Unnamed::Here(identity.into()));
        for (binds, refused) in [(100, false), (10_000, true)] {
            let bind = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0";
            let mut bytes = bind.repeat(binds);
            request::sync(&mut bytes);
            let found = planner(&layout).request(&bytes, &names, Doubt::default()).unwrap();
            assert_eq!((found.len, found.demand.is_err()), (bytes.len(), refused));
        }
    }
}
