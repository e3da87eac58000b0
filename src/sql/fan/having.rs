//! HAVING: what is about aggregates holds of a group as a whole, and is left to where it is put
//! together; what is not holds of its parts as well, and is left to shards.

use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};

use super::clauses::{Piece, plain};
use super::functions::{gives, may_aggregate};
use super::making::Making;
use super::source::{Span, is_parameter};
use super::varying::inside;
use super::{Comparison, Condition, Operand};
use crate::sql::keys::{Construct, Found, Refusal};
use crate::sql::scan::Token;

fn refused() -> Refusal {
    Refusal::of(Construct::Having)
}

impl Making<'_> {
    /// What is left of HAVING. Shards are asked for groups whether that holds or not.
    pub(super) fn having(&mut self) -> Found<Option<Condition>> {
        let Some(having) = self.clauses.having.clone() else { return Ok(None) };
        if inside(having.expr).rows {
            return Err(refused());
        }
        if !inside(having.expr).aggregates {
            return Ok(None);
        }
        let span = self.source.bare(&having.span);
        let spans = self.source.split(&span, |at| self.source.is(at, "and"));
        let exprs = conjuncts(having.expr);
        if spans.len() != exprs.len() {
            return Err(refused());
        }
        let mut conditions = Vec::new();
        for (span, expr) in spans.into_iter().zip(exprs) {
            if self.source.expr(&span).as_ref() != Some(expr) {
                return Err(refused());
            }
            if inside(expr).aggregates {
                let mut calls = self.calls(&span).into_iter();
                conditions.push(self.condition(expr, &mut calls)?);
                if calls.next().is_some() {
                    return Err(refused());
                }
                // It stays in the text, for its parameters to be of the types that they are.
                let (from, to) = (self.source.start(span.start), self.source.end(span.end));
                self.edit(from, from, "(".to_owned());
                self.edit(to, to, " OR true)".to_owned());
            }
        }
        Ok(Some(Condition::And(conditions.into())))
    }

    /// The calls of aggregates among these tokens, from the left to the right.
    fn calls(&self, span: &Span) -> Vec<Span> {
        let mut calls = Vec::new();
        let mut at = span.start;
        while at < span.end {
            let is_call =
                is_aggregate(self.source.token(at)) && self.source.is_symbol(at + 1, b'(');
            let Some(close) = self.source.closing(at + 1).filter(|_| is_call) else {
                at += 1;
                continue;
            };
            let mut end = close + 1;
            if self.source.is(end, "filter") {
                end = self.source.closing(end + 1).map_or(end, |close| close + 1);
            }
            calls.push(at..end);
            at = end;
        }
        calls
    }

    fn condition(
        &mut self,
        expr: &Expr,
        calls: &mut impl Iterator<Item = Span>,
    ) -> Found<Condition> {
        match plain(expr) {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                let both = [self.condition(left, calls)?, self.condition(right, calls)?];
                Ok(Condition::And(both.into()))
            }
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                let both = [self.condition(left, calls)?, self.condition(right, calls)?];
                Ok(Condition::Or(both.into()))
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                Ok(Condition::Not(Box::new(self.condition(expr, calls)?)))
            }
            Expr::IsNull(expr) => Ok(Condition::IsNull(self.column(expr, calls)?)),
            Expr::IsNotNull(expr) => {
                Ok(Condition::Not(Box::new(Condition::IsNull(self.column(expr, calls)?))))
            }
            Expr::Between { expr, negated, low, high } => {
                let column = Operand::Column(self.column(expr, calls)?);
                let (low, high) = (self.operand(low, calls)?, self.operand(high, calls)?);
                let least = Condition::Compare(column.clone(), Comparison::AtLeast, low);
                let most = Condition::Compare(column, Comparison::AtMost, high);
                let both = Condition::And([least, most].into());
                Ok(if *negated { Condition::Not(Box::new(both)) } else { both })
            }
            Expr::BinaryOp { left, op, right } => {
                let comparison = match op {
                    BinaryOperator::Eq => Comparison::Equal,
                    BinaryOperator::NotEq => Comparison::NotEqual,
                    BinaryOperator::Lt => Comparison::Less,
                    BinaryOperator::LtEq => Comparison::AtMost,
                    BinaryOperator::Gt => Comparison::Greater,
                    BinaryOperator::GtEq => Comparison::AtLeast,
                    _ => return Err(refused()),
                };
                let (left, right) = (self.operand(left, calls)?, self.operand(right, calls)?);
                Ok(Condition::Compare(left, comparison, right))
            }
            _ => Err(refused()),
        }
    }

    fn operand(&mut self, expr: &Expr, calls: &mut impl Iterator<Item = Span>) -> Found<Operand> {
        match plain(expr) {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => Ok(Operand::Number(self.number(number)?.into())),
                Value::Placeholder(number) => {
                    let number = number.strip_prefix('$').ok_or(refused())?;
                    let raw = self.source.value(number).ok_or(refused())?;
                    let number = is_parameter(raw).ok_or(refused())?;
                    // Elsewhere it may have got another type.
                    if self.uses.get(&number).is_some_and(|uses| *uses > 1) {
                        return Err(refused());
                    }
                    Ok(Operand::Parameter(number))
                }
                _ => Err(refused()),
            },
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match plain(expr) {
                Expr::Value(value) => match &value.value {
                    Value::Number(number, _) => {
                        Ok(Operand::Number(format!("-{}", self.number(number)?).into()))
                    }
                    _ => Err(refused()),
                },
                _ => Err(refused()),
            },
            _ => Ok(Operand::Column(self.column(expr, calls)?)),
        }
    }

    /// Digits and a point alone.
    fn number(&self, number: &str) -> Found<&str> {
        let raw = self.source.value(number).ok_or(refused())?;
        let plain = raw.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if plain { Ok(raw) } else { Err(refused()) }
    }

    /// The column of an aggregate.
    fn column(&mut self, expr: &Expr, calls: &mut impl Iterator<Item = Span>) -> Found<u16> {
        let expr = plain(expr);
        let Expr::Function(_) = expr else { return Err(refused()) };
        let span = calls.next().ok_or(refused())?;
        if self.source.expr(&span).as_ref() != Some(expr) {
            return Err(refused());
        }
        self.aggregate(&Piece { span, expr })
    }
}

fn is_aggregate(token: Option<Token<'_>>) -> bool {
    let Some(Token::Word(word)) = token else { return false };
    let name = String::from_utf8_lossy(word).to_ascii_lowercase();
    gives(&name).is_some_and(may_aggregate)
}

/// What AND joins, from the left to the right.
fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    let mut found = Vec::new();
    let mut rest = plain(expr);
    while let Expr::BinaryOp { left, op: BinaryOperator::And, right } = rest {
        found.push(&**right);
        rest = left;
    }
    found.push(rest);
    found.reverse();
    found
}
