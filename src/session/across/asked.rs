//! A client's request that runs one statement on several shards: what is asked of each, and what the
//! client is told, message by message.

use crate::session::names::{Names, Unnamed};
use crate::wire::frame;
use crate::wire::view::{self, Fields, Target};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The statement: text, NUL and types, as behind the name in a Parse.
    pub identity: Box<[u8]>,
    /// What a Bind says of parameters: formats and values.
    pub parameters: Box<[u8]>,
    /// The formats of columns that it wants: none for text, one for all, or one for each.
    formats: Box<[u16]>,
    /// What the client is told.
    pub steps: Vec<Step>,
    /// What becomes of its names, in their order.
    pub names: Vec<Naming>,
    /// So many of them count before it runs.
    pub early: usize,
    /// It asks for some of the rows only.
    pub limited: bool,
    /// It is a Query.
    pub is_query: bool,
}

/// What a client is told for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// ParseComplete.
    Parsed,
    /// ParameterDescription and RowDescription.
    Described,
    /// BindComplete.
    Bound,
    /// RowDescription.
    Columns,
    /// DataRows and CommandComplete.
    Rows,
    /// CloseComplete.
    Closed,
}

/// What becomes of a name of a statement.
#[derive(Debug)]
pub(super) enum Naming {
    /// It stands for the statement.
    Stands(Box<[u8]>),
    /// It is free.
    Freed(Box<[u8]>),
}

impl Asked {
    /// Reads a request that is whole; what can't be done of it over several shards is an error.
    pub(super) fn read(request: &[u8], names: &Names) -> Result<Self, &'static str> {
        let mut asked = Self::default();
        let mut rest = request;
        while let Ok(Some((header, body))) = frame::message(rest, u32::MAX) {
            rest = rest.get(header.message_len()..).unwrap_or_default();
            match header.tag {
                b'Q' => asked.query(body)?,
                b'P' => asked.parse(body)?,
                b'B' => asked.bind(body, names)?,
                b'D' => asked.describe(body, names)?,
                b'E' if body.len() == 5 && body.first() == Some(&0) => {
                    asked.limited = body != [0; 5];
                    asked.step(Step::Rows)?;
                }
                b'E' => return Err(NAMED),
                b'C' => asked.close(body)?,
                b'S' if asked.runs() => return Ok(asked),
                b'H' => return Err("a Flush, where a Sync is needed"),
                _ => return Err(MIXED),
            }
        }
        // Only a Query has no Sync behind it.
        if asked.is_query { Ok(asked) } else { Err(MIXED) }
    }

    /// What a leg is asked to give columns in, with so many of ours behind the client's.
    pub(super) fn formats(&self, extras: u16) -> Vec<u8> {
        // Binary: nothing is lost in it.
        let ours = if self.formats.len() > 1 { usize::from(extras) } else { 0 };
        let formats = self.formats.iter().copied().chain(std::iter::repeat_n(1, ours));
        let count = u16::try_from(self.formats.len() + ours).unwrap_or(u16::MAX);
        std::iter::once(count).chain(formats).flat_map(u16::to_be_bytes).collect()
    }

    /// Whether it runs its statement.
    fn runs(&self) -> bool {
        self.steps.contains(&Step::Rows)
    }

    fn query(&mut self, body: &[u8]) -> Result<(), &'static str> {
        let text = view::query_text(body).ok_or(MIXED)?;
        if !self.closes_alone() {
            return Err(MIXED);
        }
        self.identity = [text, &[0; 3]].concat().into();
        self.steps.extend([Step::Columns, Step::Rows]);
        self.names.push(Naming::Freed(Box::default()));
        self.early = self.names.len();
        self.parameters = [0; 4].into();
        self.is_query = true;
        Ok(())
    }

    fn parse(&mut self, body: &[u8]) -> Result<(), &'static str> {
        let parse = view::Parse::read(body).ok_or(MIXED)?;
        if !self.closes_alone() {
            return Err(MIXED);
        }
        self.identity = parse.identity.into();
        self.names.push(Naming::Stands(parse.name.into()));
        self.step(Step::Parsed)
    }

    fn bind(&mut self, body: &[u8], names: &Names) -> Result<(), &'static str> {
        let bind = view::Bind::read(body).ok_or(MIXED)?;
        if !bind.portal.is_empty() {
            return Err(NAMED);
        }
        self.is_of(bind.statement, names)?;
        let values = body.get(bind.names_len..).unwrap_or_default();
        let (parameters, formats) = split(values).ok_or(MIXED)?;
        (self.parameters, self.formats) = (parameters.into(), formats);
        self.step(Step::Bound)
    }

    fn describe(&mut self, body: &[u8], names: &Names) -> Result<(), &'static str> {
        match Target::read(body).ok_or(MIXED)? {
            Target::Statement(name) => {
                self.is_of(name, names)?;
                self.step(Step::Described)
            }
            Target::Portal(b"") => self.step(Step::Columns),
            Target::Portal(_) => Err(NAMED),
        }
    }

    fn close(&mut self, body: &[u8]) -> Result<(), &'static str> {
        if let Target::Statement(name) = Target::read(body).ok_or(MIXED)? {
            // What comes behind would be about another statement.
            if !self.runs() && !self.identity.is_empty() {
                return Err(MIXED);
            }
            self.names.push(Naming::Freed(name.into()));
        }
        self.step(Step::Closed)
    }

    /// Nothing but Closes has come.
    fn closes_alone(&self) -> bool {
        self.steps.iter().all(|step| *step == Step::Closed)
    }

    fn step(&mut self, step: Step) -> Result<(), &'static str> {
        let bound = self.steps.contains(&Step::Bound);
        let fits = match step {
            Step::Parsed | Step::Closed | Step::Described => true,
            Step::Bound => !bound,
            Step::Columns | Step::Rows => bound && !self.runs(),
        };
        self.steps.push(step);
        if step == Step::Bound {
            self.early = self.names.len();
        }
        if fits { Ok(()) } else { Err(MIXED) }
    }

    /// Takes what this name stands for to be the statement, which has to be the only one.
    fn is_of(&mut self, name: &[u8], names: &Names) -> Result<(), &'static str> {
        let own =
            self.names.iter().any(|naming| matches!(naming, Naming::Stands(own) if **own == *name));
        if own {
            return Ok(());
        }
        let identity: &[u8] = match names.unnamed() {
            _ if !name.is_empty() => &names.get(name).ok_or(MIXED)?.identity,
            Unnamed::Here(identity) | Unnamed::Elsewhere(identity) => identity,
            Unnamed::None | Unnamed::OnlyHere => return Err(MIXED),
        };
        if !self.identity.is_empty() && *self.identity != *identity {
            return Err(MIXED);
        }
        self.identity = identity.into();
        Ok(())
    }
}

const MIXED: &str = "other statements or messages in one request with it";
const NAMED: &str = "a portal with a name";
pub(super) const LIMITED: &str = "a limit of rows in Execute, as a fetch size makes";

/// What a Bind says behind its names: formats and values of parameters, and formats of columns.
fn split(values: &[u8]) -> Option<(&[u8], Box<[u16]>)> {
    let mut fields = Fields::new(values);
    for _ in 0..fields.short()? {
        fields.short()?;
    }
    for _ in 0..fields.short()? {
        match fields.word()? {
            u32::MAX => {}
            len => drop(fields.bytes(usize::try_from(len).ok()?)?),
        }
    }
    let rest = fields.rest();
    let parameters = values.get(..values.len() - rest.len())?;
    let (count, formats) = rest.split_first_chunk::<2>()?;
    let (formats, more) = formats.as_chunks::<2>();
    let fits = more.is_empty() && formats.len() == usize::from(u16::from_be_bytes(*count));
    fits.then(|| (parameters, formats.iter().map(|format| u16::from_be_bytes(*format)).collect()))
}
