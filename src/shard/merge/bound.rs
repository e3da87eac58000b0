//! Values of parameters that the rows wanted depend on.

use super::Fault;
use super::key::{int, oid};
use super::number::Number;
use crate::sql::fan::{Count, Fan};
use crate::wire::parameters::{Format, Parameters};

/// The parameters that a statement is bound with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bound<'a> {
    parameters: Option<Parameters<'a>>,
    types: &'a [u32],
}

/// Which of the rows are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// How many at most.
    pub limit: Option<u64>,
    /// How many are left out at the start.
    pub offset: u64,
}

impl<'a> Bound<'a> {
    /// No parameters.
    pub fn none() -> Self {
        Self::default()
    }

    /// These. `types` are what the server has described of them or the client has declared, as far
    /// as they are known: none, or 0 for each that is not.
    pub fn new(parameters: Parameters<'a>, types: &'a [u32]) -> Self {
        Self { parameters: Some(parameters), types }
    }

    /// The number that a parameter is; `None` is NULL.
    pub(super) fn number(&self, number: u16) -> Result<Option<Number>, Fault> {
        let fault = Fault::Parameter(number);
        let Some(at) = number.checked_sub(1) else { return Err(fault) };
        let found = self.parameters.and_then(|mut parameters| parameters.get(at));
        let Some(parameter) = found else { return Err(fault) };
        let known = self.types.get(usize::from(at)).copied().filter(|known| *known != 0);
        let Some(value) = parameter.value else { return Ok(None) };
        let mut read = Number::default();
        let done = match (known, parameter.format) {
            (None | Some(oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC), Format::Text) => {
                let text = value.trim_ascii();
                read.read_text(text.strip_prefix(b"+").unwrap_or(text))
            }
            (Some(oid::INT2 | oid::INT4 | oid::INT8), Format::Binary) => {
                int(value).map(|value| read.set(value.into()))
            }
            (Some(oid::NUMERIC), Format::Binary) => read.read_binary(value),
            _ => None,
        };
        done.map(|()| Some(read)).ok_or(fault)
    }

    fn count(&self, count: Count, negative: Fault) -> Result<Option<u64>, Fault> {
        let number = match count {
            Count::None => return Ok(None),
            Count::Number(count) => return Ok(Some(count)),
            Count::Parameter(number) => number,
        };
        let Some(value) = self.number(number)? else { return Ok(None) };
        let value = value.to_i64().ok_or(Fault::Parameter(number))?;
        u64::try_from(value).ok().map(Some).ok_or(negative)
    }
}

impl Window {
    /// The one that a query asks for. To be known before shards are asked: they don't see all that
    /// may be wrong with it.
    ///
    /// # Errors
    ///
    /// A parameter is negative, or no number.
    pub fn of(fan: &Fan, bound: &Bound<'_>) -> Result<Self, Fault> {
        // Postgres looks at OFFSET first.
        let offset = bound.count(fan.offset, Fault::NegativeOffset)?.unwrap_or(0);
        let limit = bound.count(fan.limit, Fault::NegativeLimit)?;
        Ok(Self { limit, offset })
    }
}
