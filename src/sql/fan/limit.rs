//! LIMIT, OFFSET and FETCH: shards are asked for all that may be among the rows wanted.

use sqlparser::ast::{CastKind, Expr, Value};

use super::Count;
use super::clauses::{Amount, plain};
use super::groups::is_whole_number;
use super::making::{Making, Pushed};
use crate::sql::keys::{Construct, Found, Refusal};

impl Making<'_> {
    /// How many rows LIMIT or OFFSET say.
    pub(super) fn count(&self, amount: &Option<Amount<'_>>) -> Found<Count> {
        let refused = || Refusal::of(Construct::Count);
        let Some(amount) = amount else { return Ok(Count::None) };
        let Some(piece) = &amount.piece else { return Ok(Count::Number(1)) };
        let Expr::Value(value) = uncast(plain(piece.expr)) else { return Err(refused()) };
        match &value.value {
            Value::Null => Ok(Count::None),
            // A number that is cast may be out of range.
            Value::Number(number, _) if is_bare(piece.expr) => {
                let raw = self.source.value(number).ok_or(refused())?;
                let count = raw.parse::<i64>().ok().and_then(|count| u64::try_from(count).ok());
                count.map(Count::Number).ok_or(refused())
            }
            Value::Placeholder(_) => {
                let number = self.source.parameters(&piece.span).next();
                number.map(Count::Parameter).ok_or(refused())
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
            (Pushed::No, Count::Parameter(number), _) => {
                let limit = self.parameter(&clauses.limit, number);
                format!("LIMIT NULLIF({limit}::bigint, {limit}::bigint)")
            }
            (Pushed::Yes, Count::Number(limit), Count::Number(offset)) => limit
                .checked_add(offset)
                .filter(|sum| i64::try_from(*sum).is_ok())
                .map_or(String::new(), |sum| format!("LIMIT {sum}")),
            (Pushed::Yes, limit, offset) => {
                // Of NULL and a number the number is the least; NULL is no limit.
                let offset = self.numeric(&clauses.offset, offset);
                let limit = self.numeric(&clauses.limit, limit);
                format!("LIMIT least({limit} + coalesce({offset}, 0), {})::bigint", i64::MAX)
            }
        };
        let left_out = match offset {
            Count::Parameter(number) if pushed == Pushed::No || limit == Count::None => {
                format!("OFFSET {}::bigint * 0", self.parameter(&clauses.offset, number))
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

    /// A number of rows that can be added to without going out of range.
    fn numeric(&self, amount: &Option<Amount<'_>>, count: Count) -> String {
        match count {
            Count::None => "NULL::numeric".to_owned(),
            Count::Number(count) => format!("{count}::numeric"),
            Count::Parameter(number) => {
                format!("{}::bigint::numeric", self.parameter(amount, number))
            }
        }
    }

    /// A parameter with the cast that it has, which may be what says its type.
    fn parameter(&self, amount: &Option<Amount<'_>>, number: u16) -> String {
        let piece = amount.as_ref().and_then(|amount| amount.piece.as_ref());
        match piece.filter(|piece| !is_bare(piece.expr)) {
            Some(piece) => format!("({})", self.source.raw(&piece.span)),
            None => format!("${number}"),
        }
    }
}

/// What is cast to a type of whole numbers.
fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast { kind, expr, data_type, format: None }
            if *kind != CastKind::TryCast && is_whole_number(data_type) =>
        {
            plain(expr)
        }
        _ => expr,
    }
}

/// Whether it is a value, and not a cast of one.
fn is_bare(expr: &Expr) -> bool {
    matches!(plain(expr), Expr::Value(_))
}
