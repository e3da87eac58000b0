//! Whether a row of a group is wanted.

use std::cmp::Ordering;

use super::Fault;
use super::bound::Bound;
use super::columns::Columns;
use super::key::{int, oid};
use super::number::Number;
use super::row::Held;
use crate::sql::fan::{Comparison, Condition, Operand};
use crate::wire::parameters::Format;

/// A condition, with the values of its parameters.
#[derive(Debug)]
pub(super) enum Having {
    And(Vec<Having>),
    Or(Vec<Having>),
    Not(Box<Having>),
    IsNull(usize),
    Compare(Side, Comparison, Side),
}

/// What is compared.
#[derive(Debug)]
pub(super) enum Side {
    Column {
        at: usize,
        format: Format,
        is_int: bool,
    },
    /// NULL is none.
    Value(Option<Number>),
}

impl Having {
    pub(super) fn new(
        condition: &Condition,
        columns: &Columns,
        bound: &Bound<'_>,
    ) -> Result<Self, Fault> {
        let all = |conditions: &[Condition]| -> Result<Vec<Self>, Fault> {
            conditions.iter().map(|each| Self::new(each, columns, bound)).collect()
        };
        Ok(match condition {
            Condition::And(conditions) => Self::And(all(conditions)?),
            Condition::Or(conditions) => Self::Or(all(conditions)?),
            Condition::Not(inner) => Self::Not(Box::new(Self::new(inner, columns, bound)?)),
            Condition::IsNull(at) => Self::IsNull((*at).into()),
            Condition::Compare(left, comparison, right) => {
                let left = Side::new(left, columns, bound)?;
                Self::Compare(left, *comparison, Side::new(right, columns, bound)?)
            }
        })
    }

    /// Whether it holds; `None` if that is unknown.
    pub(super) fn holds(&self, row: &Held) -> Option<bool> {
        match self {
            Self::And(conditions) => all(conditions, row, false),
            Self::Or(conditions) => all(conditions, row, true),
            Self::Not(inner) => inner.holds(row).map(|holds| !holds),
            Self::IsNull(at) => Some(row.value(*at).is_none()),
            Self::Compare(left, comparison, right) => {
                let order = left.value(row)?.compare(&right.value(row)?);
                Some(match comparison {
                    Comparison::Equal => order == Ordering::Equal,
                    Comparison::NotEqual => order != Ordering::Equal,
                    Comparison::Less => order == Ordering::Less,
                    Comparison::AtMost => order != Ordering::Greater,
                    Comparison::Greater => order == Ordering::Greater,
                    Comparison::AtLeast => order != Ordering::Less,
                })
            }
        }
    }
}

/// What conditions come to, of which one that is so decides.
fn all(conditions: &[Having], row: &Held, decides: bool) -> Option<bool> {
    let mut found = Some(!decides);
    for condition in conditions {
        match condition.holds(row) {
            Some(holds) if holds == decides => return Some(decides),
            Some(_) => {}
            None => found = None,
        }
    }
    found
}

impl Side {
    fn new(operand: &Operand, columns: &Columns, bound: &Bound<'_>) -> Result<Self, Fault> {
        Ok(match operand {
            Operand::Column(at) => {
                let field = columns.field((*at).into())?;
                let is_int = match field.type_oid {
                    oid::INT2 | oid::INT4 | oid::INT8 => true,
                    oid::NUMERIC => false,
                    other => return Err(Fault::NoOrder(other)),
                };
                Self::Column { at: (*at).into(), format: field.format, is_int }
            }
            Operand::Number(digits) => {
                let mut number = Number::default();
                number.read_text(digits.as_bytes()).ok_or(Fault::Broken)?;
                Self::Value(Some(number))
            }
            Operand::Parameter(number) => Self::Value(bound.number(*number)?),
        })
    }

    /// `None` is NULL.
    fn value(&self, row: &Held) -> Option<Number> {
        match self {
            Self::Value(number) => number.clone(),
            Self::Column { at, format, is_int } => {
                let value = row.value(*at)?;
                let mut number = Number::default();
                match (format, is_int) {
                    (Format::Text, _) => number.read_text(value)?,
                    (Format::Binary, true) => number.set(int(value)?.into()),
                    (Format::Binary, false) => number.read_binary(value)?,
                }
                Some(number)
            }
        }
    }
}
