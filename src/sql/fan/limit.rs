//! LIMIT, OFFSET and FETCH: shards are asked for all that may be among the rows wanted.

use sqlparser::ast::{Expr, Value};

use super::Count;
use super::clauses::{Amount, plain};
use super::making::{Making, Pushed};
use crate::sql::keys::{Construct, Found, Refusal};

use super::source::is_parameter;

impl Making<'_> {
    /// How many rows LIMIT or OFFSET say.
    pub(super) fn count(&self, amount: &Option<Amount<'_>>) -> Found<Count> {
        let refused = || Refusal::of(Construct::Count);
        let Some(amount) = amount else { return Ok(Count::None) };
        let Some(piece) = &amount.piece else { return Ok(Count::Number(1)) };
        let Expr::Value(value) = plain(piece.expr) else { return Err(refused()) };
        match &value.value {
            Value::Null => Ok(Count::None),
            Value::Number(number, _) => {
                let raw = self.source.value(number).ok_or(refused())?;
                let count = raw.parse::<i64>().ok().and_then(|count| u64::try_from(count).ok());
                count.map(Count::Number).ok_or(refused())
            }
            Value::Placeholder(_) => {
                let raw = self.source.raw(&self.source.bare(&piece.span));
                is_parameter(raw).map(Count::Parameter).ok_or(refused())
            }
            _ => Err(refused()),
        }
    }

    /// Has shards leave no rows out at the start; and no more out at the end than are not wanted, or
    /// none.
    pub(super) fn counts(&mut self, pushed: Pushed) -> Found<()> {
        let (limit, offset) = (self.count(&self.clauses.limit)?, self.count(&self.clauses.offset)?);
        let clauses = &self.clauses;
        if offset == Count::None && (pushed == Pushed::Yes || limit == Count::None) {
            return Ok(());
        }
        let limited = match (pushed, limit, offset) {
            (_, Count::None, _) | (Pushed::No, Count::Number(_), _) => String::new(),
            // It has to be there for its type to be known.
            (Pushed::No, Count::Parameter(limit), _) => {
                format!("LIMIT NULLIF(${limit}::bigint, ${limit}::bigint)")
            }
            (Pushed::Yes, Count::Number(limit), Count::Number(offset)) => limit
                .checked_add(offset)
                .filter(|sum| i64::try_from(*sum).is_ok())
                .map_or(String::new(), |sum| format!("LIMIT {sum}")),
            (Pushed::Yes, limit, offset) => {
                // Of NULL and a number the number is the least; NULL is no limit.
                let offset = format!("coalesce({}, 0)", number(offset));
                format!("LIMIT least({} + {offset}, {})::bigint", number(limit), i64::MAX)
            }
        };
        let left_out = match offset {
            Count::Parameter(offset) if pushed == Pushed::No || limit == Count::None => {
                format!("OFFSET ${offset}::bigint * 0")
            }
            _ => String::new(),
        };
        let of = |amount: &Option<Amount<'_>>| amount.as_ref().map(|amount| amount.clause.clone());
        for (clause, with) in [(of(&clauses.limit), limited), (of(&clauses.offset), left_out)] {
            if let Some(clause) = clause {
                let (from, to) = (self.source.start(clause.start), self.source.end(clause.end));
                self.edit(from, to, with);
            }
        }
        Ok(())
    }
}

/// A number of rows that can be added to without going out of range.
fn number(count: Count) -> String {
    match count {
        Count::None => "NULL::numeric".to_owned(),
        Count::Number(count) => format!("{count}::numeric"),
        Count::Parameter(number) => format!("${number}::bigint::numeric"),
    }
}
